"""What a handler knows beside its message."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

from rqsqs._not_copied import NotCopied
from rqsqs.errors import UsageError
from rqsqs.worker.outcomes import MessageLost

if TYPE_CHECKING:
    from rqsqs import aio
    from rqsqs._sync.message import Message
    from rqsqs.worker.jobs import Job

    AnyMessage = Message | aio.Message

_current: ContextVar[Job | None] = ContextVar("rqsqs-job", default=None)
SHOWN = 10  # messages of a batch that a log record names


class Context(NotCopied):
    """One call of a handler.

    Attributes:
        queue: name of the queue.
        consumer_id: name of this worker process, as `rqsqs consumers` shows it.
        messages: what the handler was called with, also if it is one message: rqsqs.Message, or rqsqs.aio.Message of a
            coroutine function.
    """

    __module__ = "rqsqs.worker"
    _instead = "pass what you need of it instead, as the bodies of its messages"
    __slots__ = ("_ends", "_job", "consumer_id", "messages", "queue")

    def __init__(self, job: Job, queue: str, consumer_id: str, messages: Sequence[AnyMessage], ends: float) -> None:
        self._job = job
        self._ends = ends
        self.queue: str = queue
        self.consumer_id: str = consumer_id
        self.messages: Sequence[AnyMessage] = messages

    @property
    def message(self) -> AnyMessage:
        """The message; of a batch, the first."""
        return self.messages[0]

    @property
    def remaining(self) -> float:
        """Seconds the handler still has: until its timeout, or until the worker's `max_extension`; not below 0."""
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
    """Gives each log record the fields `queue`, `message_id`, `receive_count` and `consumer_id` of the handler that is
    running, or "-". What the worker itself says of a message has them as well.

    A batch names its first ten messages, and has no receive_count. If a line of a handler has a field of these names as
    `extra`, that is kept as `extra_queue` and so on.

    handler.addFilter(LogFilter()); handler.setFormatter(logging.Formatter("%(message_id)s %(message)s"))
    """

    __module__ = "rqsqs.worker"

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; nothing is left out."""
        fields = record.__dict__
        if "rqsqs_fields" in fields:  # another handler has this filter as well, perhaps in another thread
            return True
        fields["rqsqs_fields"] = True
        job = _current.get()
        is_known = job is None or record.name.startswith("rqsqs.")
        for name, value in _fields(job).items():
            if name in fields:
                if is_known:
                    continue
                fields[f"extra_{name}"] = fields[name]
            fields[name] = value
        return True


def _fields(job: Job | None) -> dict[str, object]:
    if job is None:
        return dict.fromkeys(("queue", "message_id", "receive_count", "consumer_id"), "-")
    deliveries = job.deliveries
    ids = [d.message_id for d in deliveries[:SHOWN]]
    if len(deliveries) > SHOWN:
        ids.append(f"+{len(deliveries) - SHOWN}")
    return {
        "queue": job.queue.name,
        "message_id": ",".join(ids),
        "receive_count": deliveries[0].receive_count if len(deliveries) == 1 else "-",
        "consumer_id": job.host.consumer_id,
    }
