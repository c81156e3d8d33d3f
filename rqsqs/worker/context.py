"""What a handler knows beside its message."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

from rqsqs.errors import UsageError
from rqsqs.worker.outcomes import MessageLost

if TYPE_CHECKING:
    from rqsqs import aio
    from rqsqs.queue import Message
    from rqsqs.worker.jobs import Job

    AnyMessage = Message | aio.Message

_current: ContextVar[Job | None] = ContextVar("rqsqs-job", default=None)


class Context:
    """One call of a handler.

    Attributes:
        queue: name of the queue.
        consumer_id: name of this worker process, as `rqsqs consumers` shows it.
        messages: what the handler was called with, also if it is one message: rqsqs.Message, or rqsqs.aio.Message of a
            coroutine function.
    """

    __module__ = "rqsqs.worker"
    __slots__ = ("_ends", "_job", "consumer_id", "messages", "queue")

    def __init__(self, job: Job, queue: str, consumer_id: str, messages: Sequence[AnyMessage], ends: float) -> None:
        self._job = job
        self._ends = ends
        self.queue = queue
        self.consumer_id = consumer_id
        self.messages = messages

    @property
    def message(self) -> AnyMessage:
        """The message; of a batch, the first."""
        return self.messages[0]

    @property
    def remaining(self) -> float:
        """Seconds the handler still has: until its timeout, or until the worker's `max_hold`; not below 0."""
        return max(self._ends - time.monotonic(), 0.0)

    @property
    def lost(self) -> list[AnyMessage]:
        """Messages that are not this worker's any more: deleted, received by another, or given back."""
        lost = self._job.lost
        return [m for m in self.messages if m._delivery in lost]

    @property
    def is_lost(self) -> bool:
        """Are all messages lost? Then there is no use in going on. Coroutines are cancelled in this case."""
        return len(self._job.lost) == len(self.messages)

    def raise_if_lost(self) -> None:
        """Leave the handler if there is no use in going on.

        Raises:
            MessageLost.
        """
        if self.is_lost:
            raise MessageLost(f"{self.message.message_id} of {self.queue!r} is not ours any more")

    def __repr__(self) -> str:
        return f"<Context of {self.messages!r}>"


def current() -> Context:
    """The context of the handler that is running in this thread or task.

    Raises:
        UsageError: there is none.
    """
    job = _current.get()
    if job is None:
        raise UsageError("no handler is running here")
    return job.context


class LogFilter(logging.Filter):
    """Gives each log record the fields `queue`, `message_id` and `consumer_id` of the handler that is running, or "-".

    handler.addFilter(LogFilter()); handler.setFormatter(logging.Formatter("%(message_id)s %(message)s"))
    """

    __module__ = "rqsqs.worker"

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; nothing is left out."""
        job = _current.get()
        context = job.context if job is not None else None
        record.queue = context.queue if context else "-"
        record.message_id = ",".join(m.message_id for m in context.messages) if context else "-"
        record.consumer_id = context.consumer_id if context else "-"
        return True
