# Made by tools/unasync.py from rqsqs/_async/message.py: edit that, and run `make sync`.
"""Received messages: their data is in rqsqs._base_message, their methods are here."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rqsqs import _arguments as arguments
from rqsqs._arguments import Seconds
from rqsqs._base_message import BaseMessage, Holder, holder_of
from rqsqs._core.delivery import Delivery
from rqsqs.models import DurabilityResult

if TYPE_CHECKING:
    from rqsqs._sync.queue import Queue


class Message(BaseMessage):
    """A received message. As a context manager it is deleted at the end, and made visible again if there was an error.

    with message:
        handle(message.body)

    One that a worker gave to a handler has the same methods. What they settle, the worker does not settle again; an
    error in the block means that the message has failed. When the handler has ended they raise MessageLost.
    """

    __module__ = "rqsqs"
    __slots__ = ("queue",)

    def __init__(self, queue: Queue, delivery: Delivery, holder: Holder | None = None) -> None:
        self.queue: Queue = queue
        self._delivery = delivery
        self._holder = holder

    def delete(self) -> DurabilityResult | None:
        """It is done with: delete it.

        Returns:
            As Queue.delete().

        Raises:
            As Queue.delete().
        """
        reached = self.queue.delete(self)
        self._is_settled = True
        return reached

    def change_visibility(self, timeout: Seconds) -> DurabilityResult | None:
        """Stay invisible from now on for a while.

        Args:
            timeout: seconds from now, 0 to 10 years; 0 = release().

        Returns:
            As Queue.change_visibility().

        Raises:
            As Queue.change_visibility().
        """
        reached = self.queue.change_visibility(self, timeout)
        if not timeout:
            self._is_settled = True
        return reached

    def release(self, delay: Seconds = 0) -> DurabilityResult | None:
        """Give it back, so that others can receive it. In a handler of a worker it has failed.

        Args:
            delay: seconds until it is visible to others, 0 to 10 years.

        Returns:
            As Queue.change_visibility().

        Raises:
            As Queue.change_visibility().
        """
        queue, holder = self.queue, holder_of(self)
        ms = arguments.milliseconds("delay", delay, queue.limits.visibility_ms)
        if holder is None:
            reached = queue._change_visibility(self, ms, queue._durability)
        else:
            reached = queue._run(holder.release(self._delivery, ms))
        self._is_settled = True
        return reached

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if getattr(self, "_is_settled", False):  # inside of the block
            return
        holder = holder_of(self)
        if error is None:
            self.delete()
        elif holder is not None:
            holder.fail(self._delivery, error)
        else:
            self.queue._change_visibility(self, 0, None)

    def __repr__(self) -> str:
        return f"<rqsqs.Message {self.message_id} of {self.queue.name!r}>"
