"""Messages of many tasks, sent in few calls.

There is one call at a time. A task that finds nobody else sends its message itself; the others gather meanwhile, and a
task in the background sends for them. So a caller that is cancelled never takes others along.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from rqsqs._core.gathering import Gathering, Ticket, closed, interrupted, same_error, sending
from rqsqs._core.keys import QueueRef
from rqsqs._core.sent import Outgoing, SentMessage
from rqsqs._io.aio.runner import Transport
from rqsqs.limits import Limits
from rqsqs.models import Durability


class Caller(Ticket):
    """A task that waits for its message to be sent.

    Attributes:
        answer: becomes the SentMessage, or an error.
    """

    __slots__ = ("answer",)

    def __init__(self, message: Outgoing | None, durability: Durability | None, answer: asyncio.Future[Any]) -> None:
        self.message = message
        self.durability = durability
        self.answer = answer


class Sending:
    """Sends messages of any number of tasks of one event loop to a queue.

    Args:
        transport: runs the calls.
        linger: see Gathering.
        most: messages in one call.
    """

    def __init__(self, transport: Transport, q: QueueRef, limits: Limits, linger: float, most: int) -> None:
        self._transport, self._run, self._queue, self._limits = transport, transport.run, q, limits
        self._gathering = Gathering(linger, most)
        self._is_closed = False
        self._is_busy = False  # somebody makes a call, or is about to
        self._complete: asyncio.Future[None] | None = None  # of who waits for more
        self._task: asyncio.Task[None] | None = None

    async def send(self, message: Outgoing, durability: Durability | None) -> SentMessage:
        """Send a message together with those of others; returns when it is stored."""
        if self._is_closed:
            raise closed()
        sent: SentMessage
        if self._is_busy:
            sent = await self._wait_for(message, durability)
            return sent
        self._is_busy = True
        try:
            began = time.monotonic()
            (outcome,) = await self._outcomes([Ticket(message, durability)])
            self._gathering.took(1, time.monotonic() - began)
        finally:
            self._go_on()
        if isinstance(outcome, Exception):
            raise outcome
        sent = outcome
        return sent

    async def flush(self) -> None:
        """Wait until all that came before is sent, or has failed."""
        self._transport.check_loop()
        if self._is_busy:
            await self._wait_for(None, None)

    async def close(self) -> None:
        """Take no more, and wait for what was taken."""
        self._transport.check_loop()
        self._is_closed = True
        await self.flush()

    async def _wait_for(self, message: Outgoing | None, durability: Durability | None) -> Any:
        self._transport.link  # noqa: B018 - raises in another event loop or a forked child
        gathering = self._gathering
        caller = Caller(message, durability, asyncio.get_running_loop().create_future())
        gathering.add(caller)
        if self._complete is not None and gathering.is_complete and not self._complete.done():
            self._complete.set_result(None)
        try:
            return await caller.answer
        except asyncio.CancelledError:
            gathering.discard(caller)
            raise

    def _go_on(self) -> None:
        self._is_busy = bool(self._gathering.waiting)
        if self._is_busy:
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        """Send for those who wait, until nobody does."""
        gathering = self._gathering
        batch: list[Caller] = []
        try:
            while gathering.waiting:
                if gathering.linger:
                    await asyncio.sleep(0)  # so may others
                    if seconds := gathering.linger:
                        await self._company(seconds)
                gathering.take(batch)
                behind = len(gathering.waiting)
                began = time.monotonic()
                outcomes = await self._outcomes([caller for caller in batch if caller.message is not None])
                if outcomes:
                    gathering.took(len(batch), time.monotonic() - began)
                    if behind:
                        gathering.fail_behind(batch, outcomes, behind)
                _answer(batch, outcomes)
                batch = []
                if not gathering.waiting:
                    await asyncio.sleep(0)  # those who just got their answers may send more
            self._is_busy = False
        except BaseException:  # the loop ends, or somebody cancels all its tasks
            waiting = gathering.clear()
            self._is_busy = False
            _answer(batch, [interrupted(is_sent=True) for _ in batch])
            _answer(waiting, [interrupted(is_sent=False) for _ in waiting])
            raise

    async def _company(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._complete = complete = loop.create_future()
        timer = loop.call_later(seconds, _finish, complete)
        try:
            await complete
        finally:
            timer.cancel()
            self._complete = None

    async def _outcomes(self, batch: Sequence[Ticket]) -> list[Any]:
        """What became of each, in order."""
        if not batch:
            return []
        try:
            outcome = await self._run(sending(self._queue, self._limits, batch))
        except Exception as e:
            return [e] * len(batch)
        return outcome if type(outcome) is list else [outcome]


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _answer(batch: Sequence[Caller], outcomes: Sequence[Any]) -> None:
    following = iter(outcomes)
    for caller in batch:
        outcome = None if caller.message is None else next(following)
        if not caller.answer.done():
            if isinstance(outcome, Exception):
                caller.answer.set_exception(same_error(outcome))
            else:
                caller.answer.set_result(outcome)
