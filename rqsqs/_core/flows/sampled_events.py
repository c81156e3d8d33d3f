"""Events that no caller makes: the sampler finds them, once a minute, as it reads the metrics of all queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rqsqs._causes import pattern_of
from rqsqs._core.delivery import Delivery
from rqsqs._core.flows.browse import browse
from rqsqs._core.flows.events import tell
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow
from rqsqs._core.operations.consumers import list_consumers
from rqsqs._core.operations.queues import get_queue
from rqsqs._text import shortened
from rqsqs.errors import QueueDamaged, RqsqsError
from rqsqs.metric_models import QueueMetrics
from rqsqs.models import Consumer

LOST_MS = 600_000  # a lost worker is listed for a minute
LOOKED_AT, MOST_CAUSES, LONGEST = 100, 5, 200  # dead letters; their causes, and characters of each
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
            if causes := (yield from _causes(q, fields["dlq"], dead)):
                detail["causes"] = causes
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


def _causes(q: QueueRef, dead_letter_queue: str, count: int) -> Flow[dict[str, int]]:
    """Why the last of them died: how many have which cause, the most frequent ones, as far as workers said so.

    A FIFO queue does not know which messages came last; there the first ones are looked at.
    """
    is_fifo = dead_letter_queue.endswith(".fifo")
    place = q.space.queue(dead_letter_queue)
    letters: list[Delivery] = (yield from browse(place, "visible", limit=LOOKED_AT, newest_first=not is_fifo))[0]
    own = [d.cause for d in letters if d.damage is None and d.dead_letter_source == q.name and d.cause is not None]
    found = Counter(
        [
            shortened(pattern_of(cause.type, cause.message), LONGEST)
            for cause in (own[-count:] if is_fifo else own[:count])
        ]
    )
    return dict(found.most_common(MOST_CAUSES))


def tell_damaged(q: QueueRef, error: QueueDamaged) -> Flow[None]:
    """Tell that a queue could not be read, once a day."""
    detail = {"key": error.key} | ({"field": error.field} if error.field else {})
    yield from tell(q.space, "damage-found", q.name, detail=detail, once=error.key[-500:], once_ms=DAMAGED_MS)
