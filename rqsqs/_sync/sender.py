# Made by tools/unasync.py from rqsqs/_async/sender.py: edit that, and run `make sync`.
"""Senders: many callers, few calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from rqsqs import _arguments as arguments
from rqsqs import _settings
from rqsqs._arguments import SendOptions
from rqsqs._core import envelope, portions
from rqsqs._core.sent import Outgoing, SentMessage
from rqsqs._not_copied import NotCopied
from rqsqs.errors import UsageError
from rqsqs.models import Durability

if TYPE_CHECKING:
    from rqsqs._sync.queue import Queue


class Sender(NotCopied):
    """Sends messages of many threads to a queue in few calls; made by Queue.sender().

    Thread-safe. There is one call at a time: while it is under way, messages
    gather for the next one. As a context manager it is closed at the end.
    """

    __module__ = "rqsqs"
    _instead = (
        "pass the URL, the prefix and the queue's name instead; "
        "rqsqs.connect(url, prefix=prefix).queue(name).sender() makes another one"
    )
    __slots__ = ("_queue", "_sending")

    def __init__(self, queue: Queue, linger: float, max_batch: int) -> None:
        from rqsqs._io.sync.sending import Sending  # few programs need it

        self._queue = queue
        most = min(max_batch, portions.ORDERED) if queue.is_fifo else max_batch  # one step: done as a whole, or not
        self._sending: Sending = Sending(queue._connection.transport, queue._ref, queue._limits, linger, most)

    @property
    def queue(self) -> Queue:
        """Where the messages go."""
        return self._queue

    def send(
        self, body: Any, *, durability: Durability | str | None = None, **options: Unpack[SendOptions]
    ) -> SentMessage:
        """Send one message, together with those that others send at the same time.

        It is checked and packed here, so what is wrong with it is the caller's own error. A message that the queue
        refuses fails alone. A caller that is cancelled or interrupted leaves the others alone; its message may be
        stored or not.

        Args:
            body: as for Queue.send().
            durability: as for Queue.send(). Messages with different ones go in different calls.
            options: as for Queue.send().

        Returns:
            SentMessage, when the message is stored.

        Raises:
            UsageError: the sender is closed.
            As Queue.send(). If the call failed that had the message, all whose messages it had get this error.
        """
        queue = self._queue
        safe = queue._durability if durability is None else _settings.durability(durability)
        if options or queue._ref.is_fifo:
            message = arguments.outgoing(queue._ref, queue._limits, body, options)
        else:
            message = Outgoing(*envelope.plain(body))
        return self._sending.send(message, safe)

    def flush(self) -> None:
        """Return when everything is sent, or has failed, that was given to send() before. Nobody lingers then."""
        self._sending.flush()

    def close(self) -> None:
        """Take no more messages, and return when those that were taken are sent, or have failed; idempotent. The
        connection stays open.
        """
        self._sending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    if not TYPE_CHECKING:  # type checkers see that these are not there

        def __aenter__(self):
            raise UsageError("a sender must be used with `with`, got `async with`: write `with queue.sender()`")

        __aexit__ = __aenter__

    def __repr__(self) -> str:
        return f"<rqsqs.Sender of {self._queue.name!r}>"
