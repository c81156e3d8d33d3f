"""What the worker logs about messages: one function for each kind of line.

The text of a line has the facts for people, the record has them as attributes for programs: `queue`, `message_id`,
`receive_count`, `duration`, `error_type`, `error_message` and `retry_after`. docs/worker.md lists them all.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import rqsqs
from rqsqs._core.delivery import Delivery
from rqsqs._core.operations import Outcome
from rqsqs._text import printable, shortened

log = logging.getLogger("rqsqs.worker")

NAMES = 1000  # characters of the names of all queues
DEAD_LETTERED = -3
ERROR = 1000  # characters of an exception's text


def started(consumer: str, queues: Sequence[str], server: str, slots: int) -> None:
    log.info(
        "%s serves %s at %s with %d slots, rqsqs %s",
        consumer,
        shortened(", ".join(queues), NAMES),
        server,
        slots,
        rqsqs.__version__,
        extra={"version": rqsqs.__version__, "server": server, "queues": list(queues), "slots": slots},
    )


def names(handlers: Iterable[tuple[str, Callable[..., Any]]]) -> str:
    """Functions and their queues, with the number of calls."""
    found = Counter(
        f"{getattr(f, '__module__', '?')}.{getattr(f, '__qualname__', f)} of {queue}" for queue, f in handlers
    )
    return printable(shortened(", ".join(f"{name} ({n})" for name, n in found.items()), NAMES))


def wants_handled() -> bool:
    """Is there a line for each message that was handled?"""
    return log.isEnabledFor(logging.DEBUG)


def handled(queue: str, delivery: Delivery, seconds: float) -> None:
    log.debug("message %s of %s was handled (%s)", delivery.message_id, queue, _about(delivery, seconds),
              extra=_fields(queue, delivery, seconds))  # fmt: skip


def failed(queue: str, outcome: Outcome, *, is_settled: bool = False) -> None:
    """Its handler has raised an exception, or said that it failed; is_settled: after it had settled the message."""
    d = outcome.delivery
    when = "failed after its handler had settled it" if is_settled else "failed"
    log.warning(f"message %s of %s {when}: %s (%s)", d.message_id, queue, _error(outcome), _about(d, outcome.seconds),
                exc_info=outcome.error, extra=_outcome_fields(queue, outcome))  # fmt: skip


def released(queue: str, outcome: Outcome, status: int) -> None:
    """The server has put it off, or moved it, or found that it was lost; status is that of flows.release()."""
    d = outcome.delivery
    if status >= 0:
        after = status / 1000
        log.info("message %s of %s is tried again in %g s", d.message_id, queue, after,
                 extra=_outcome_fields(queue, outcome) | {"retry_after": after})  # fmt: skip
    elif status == DEAD_LETTERED:
        log.error("message %s of %s went to the dead-letter queue: %s (%s)", d.message_id, queue, _error(outcome),
                  _about(d, outcome.seconds), exc_info=outcome.error,
                  extra=_outcome_fields(queue, outcome))  # fmt: skip
    else:
        lost(queue, d)


def lost(queue: str, delivery: Delivery) -> None:
    """Another worker has it, or nobody."""
    log.warning("message %s of %s was lost to another", delivery.message_id, queue, extra=_fields(queue, delivery))


def _error(outcome: Outcome) -> str:
    """Type and text of the exception, in one line whatever they hold."""
    cause = outcome.cause
    if cause is None:
        return "no cause"
    return printable(shortened(f"{cause.type}: {cause.message}" if cause.message else cause.type, ERROR))


def _about(delivery: Delivery, seconds: float | None) -> str:
    receive = f"receive {delivery.receive_count}"
    return receive if seconds is None else f"{receive}, {seconds:.3f} s"


def _fields(queue: str, delivery: Delivery, seconds: float | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "queue": queue,
        "message_id": delivery.message_id,
        "receive_count": delivery.receive_count,
    }
    return found if seconds is None else found | {"duration": round(seconds, 6)}


def _outcome_fields(queue: str, outcome: Outcome) -> dict[str, Any]:
    found, cause = _fields(queue, outcome.delivery, outcome.seconds), outcome.cause
    return found if cause is None else found | {"error_type": cause.type, "error_message": cause.message}
