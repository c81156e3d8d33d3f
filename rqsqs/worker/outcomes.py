"""How a handler can end: as exceptions for its author, as outcomes for the queue."""

from __future__ import annotations

import random
import time

from rqsqs._core.delivery import Delivery
from rqsqs._core.operations import Outcome
from rqsqs._tracebacks import formatted, name_of, text_of
from rqsqs.errors import RqsqsError, UsageError
from rqsqs.models import Failure

TEXT = 500  # characters of an exception's text that are kept
TRACEBACK = 2000  # characters of its traceback that are kept


class Retry(RqsqsError):
    """Raise it in a handler: the message failed and shall be tried again.

    Args:
        reason: the cause that is recorded.
        after: seconds until then; None = as the queue's retry policy says. Any other exception with an attribute
            `retry_after` (seconds) is understood as well.
    """

    __module__ = "rqsqs.worker"

    def __init__(self, reason: str = "to be tried again", *, after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = after


class DeadLetter(RqsqsError):
    """Raise it in a handler: the message can never be handled and goes to the dead-letter queue at once.

    Without a dead-letter queue it is tried again after the longest delay of the queue's retry policy.
    """

    __module__ = "rqsqs.worker"

    def __init__(self, reason: str = "it can never be handled") -> None:
        super().__init__(reason)


class HandlerTimeout(BaseException):
    """The handler took longer than its timeout. It is raised inside the handler, wherever that is: like
    asyncio.CancelledError, it is no Exception, so that neither `except Exception` nor a call of this library that may
    fail keeps it from ending the call."""

    __module__ = "rqsqs.worker"


class MessageLost(RqsqsError):
    """The message is not this worker's any more: go no further, another one has it."""

    __module__ = "rqsqs.worker"


class WorkerDied(RqsqsError):
    """A message was received again and again, and each time its worker died and reported nothing."""

    __module__ = "rqsqs.worker"


def requeue(delivery: Delivery) -> Outcome:
    """It was not begun, or its worker stops: it is visible again at once, and the receive does not count."""
    return Outcome(delivery, "requeue")


def failed(delivery: Delivery, error: BaseException, worker: str, seconds: float | None = None) -> Outcome:
    after = _wanted(error)
    return Outcome(
        delivery,
        "dead-letter" if isinstance(error, (DeadLetter, WorkerDied)) else "retry",
        Failure(
            name_of(type(error)),
            text_of(error, TEXT),
            formatted(error, TRACEBACK, TEXT),
            worker,
            time.time_ns() // 1_000_000,
            delivery.failures + 1,
            delivery.receive_count,
        ),
        kinds_of(type(error)),
        None if after is None else round(after * 1000),
        random.randint(0, 1_000_000),
        error,
        seconds,
    )


def as_error(outcome: object) -> BaseException:
    if isinstance(outcome, BaseException):
        return outcome
    return UsageError(f"a batch handler must return None or an exception for each message, got {outcome!r}")


def kinds_of(kind: type) -> tuple[str, ...]:
    """All names under which a retry policy may list an exception, the most special first."""
    found: list[str] = []
    for base in kind.__mro__:
        if issubclass(base, BaseException):
            found += (f"{base.__module__}.{base.__qualname__}", base.__qualname__)
    return tuple(found)


def _wanted(error: BaseException) -> float | None:
    try:
        after = getattr(error, "retry_after", None)
    except Exception:
        return None
    if isinstance(after, bool) or not isinstance(after, (int, float)) or not 0 <= after <= 315_360_000:
        return None
    return after
