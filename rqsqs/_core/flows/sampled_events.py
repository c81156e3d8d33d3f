"""Events that no caller makes: the sampler finds them, once a minute, as it reads the metrics of all queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rqsqs._core.flows.events import tell
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow
from rqsqs._core.operations.consumers import list_consumers
from rqsqs._core.operations.queues import get_queue
from rqsqs.errors import QueueDamaged, RqsqsError
from rqsqs.metric_models import QueueMetrics
from rqsqs.models import Consumer

LOST_MS = 600_000  # a lost worker is listed for a minute
DAMAGED_MS = 86_400_000  # damage stays until somebody mends it


def tell_sampled(q: QueueRef, metrics: QueueMetrics, counted: Mapping[str, int]) -> Flow[None]:
    """Tell what a sample shows.

    Args:
        counted: since the sample before, by names of metrics.
    """
    if dead := counted.get("dead_lettered", 0):
        detail: dict[str, object] = {"count": dead}
        try:
            fields: Mapping[str, str] = yield get_queue(q.home)
            detail["dead_letter_queue"] = fields["dlq"]
        except (RqsqsError, KeyError):  # it has none any more
            pass
        yield from tell(q.space, "dead-lettered", q.name, detail=detail)
    if damaged := counted.get("damaged", 0):
        yield from tell(q.space, "damage-found", q.name, detail={"messages": damaged})
    if metrics.consumers.get("lost"):
        try:
            consumers: Sequence[Consumer] = yield list_consumers(q)
        except RqsqsError:  # others read them again, and say what is wrong
            return
        for each in consumers:
            if not each.is_alive:
                yield from tell(
                    q.space,
                    "worker-lost",
                    q.name,
                    detail={
                        "worker": each.consumer_id,
                        "host": each.host,
                        "last_seen_at_ms": each.last_seen_at_ms,
                        "in_flight": each.in_flight,
                    },
                    once=each.consumer_id,
                    once_ms=LOST_MS,
                )


def tell_damaged(q: QueueRef, error: QueueDamaged) -> Flow[None]:
    """Tell that a queue could not be read, once a day."""
    detail = {"key": error.key} | ({"field": error.field} if error.field else {})
    yield from tell(q.space, "damage-found", q.name, detail=detail, once=error.key[-500:], once_ms=DAMAGED_MS)
