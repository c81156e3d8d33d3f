"""One call of a handler, in a thread or as a task."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rqsqs._core import flows
from rqsqs._core.operation import Flow
from rqsqs._core.records import Delivery
from rqsqs.errors import DurabilityNotReached
from rqsqs.worker import middleware
from rqsqs.worker.context import Context, _current
from rqsqs.worker.forks import leave
from rqsqs.worker.handlers import Outcomes
from rqsqs.worker.interruption import Interruption
from rqsqs.worker.outcomes import HandlerTimeout, MessageLost, Retry, failed

if TYPE_CHECKING:
    from rqsqs.worker.lanes import Lane
    from rqsqs.worker.runtime import Runtime


class Job:
    """One call of a handler.

    Attributes:
        since: when its messages were received (monotonic).
        began: when it was begun.
        by_hand: messages that its handler settled itself (None), or that failed in their `with` block.
        lost: messages that are not ours any more.
        is_settled: what becomes of its messages is decided; if it is still running, that changes nothing any more.
        outcomes: one for each message, when it has ended.
        seconds: what it took, then.
    """

    __slots__ = (
        "_context",
        "_interruption",
        "_timer",
        "began",
        "by_hand",
        "deliveries",
        "is_settled",
        "lane",
        "lost",
        "outcomes",
        "runtime",
        "seconds",
        "since",
        "task",
    )

    def __init__(self, runtime: Runtime, lane: Lane, deliveries: list[Delivery], since: float) -> None:
        self.runtime = runtime
        self.lane = lane
        self.deliveries = deliveries
        self.since = self.began = since
        self.lost: frozenset[Delivery] = frozenset()
        self.by_hand: dict[Delivery, BaseException | None] | None = None  # made when it is needed
        self.is_settled = False
        self.outcomes: Outcomes = ()
        self.seconds = 0.0
        self.task: asyncio.Task[None] | None = None
        self._context: Context | None = None
        self._interruption: Interruption | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def context(self) -> Context:
        """What its handler knows; made when somebody asks."""
        if self._context is None:
            timeout, hold = self.lane.handler.timeout, self.runtime.settings.max_extension
            ends = self.since + hold if timeout is None else min(self.began + timeout, self.since + hold)
            message, queue = self.lane.message, self.lane.queue
            messages = [message(queue, d, self) for d in self.deliveries]
            self._context = Context(self, self.lane.ref.name, self.runtime.consumer_id, messages, ends)
        return self._context

    def lose(self, lost: Sequence[Delivery]) -> None:
        """Some of its messages are not ours any more. A coroutine that lost all is cancelled."""
        self.lost = self.lost.union(lost)
        if self.task is not None and len(self.lost) == len(self.deliveries):
            self.runtime.soon(self.task.cancel)

    def _is_doubtful(self) -> bool:
        """About to begin: may others have its messages, because this process stood still for a while?"""
        self.began = now = time.monotonic()
        heart = self.runtime.heart
        is_late = now - self.since > heart.lease_s and now - heart.last > heart.lease_s
        return is_late or self.is_settled or len(self.lost) > 0

    def _begin(self) -> Any:
        """Call the function; a coroutine function gives its coroutine."""
        handler = self.lane.handler
        _current.set(self)
        if handler.middleware:
            messages = self.context.messages
            run = middleware.run_async if handler.is_coroutine else middleware.run
            return run(handler.middleware, self._handle, messages if handler.batch else messages[0])
        if handler.wants_context:
            context = self.context
            return handler.function(context.messages if handler.batch else context.message, context)
        message, queue = self.lane.message, self.lane.queue
        if handler.batch:
            return handler.function([message(queue, d, self) for d in self.deliveries])
        return handler.function(message(queue, self.deliveries[0], self))

    def _handle(self, argument: Any) -> Any:
        """What middleware calls in the end."""
        handler = self.lane.handler
        return handler.function(argument, self.context) if handler.wants_context else handler.function(argument)

    def _end(self, outcomes: Outcomes) -> None:
        if self.by_hand:
            errors = [self.by_hand.get(d) for d in self.deliveries]
            outcomes = [o if e is None else e for e, o in zip(errors, outcomes, strict=True)]
        self.outcomes = outcomes
        self.seconds = time.monotonic() - self.began

    # What its handler does with its messages itself

    def is_by_hand(self, delivery: Delivery) -> bool:
        """Did its handler settle this message?"""
        return self.by_hand is not None and delivery in self.by_hand and self.by_hand[delivery] is None

    def check(self, delivery: Delivery) -> None:
        """See rqsqs._base_message.Holder."""
        if not self.is_by_hand(delivery) and (self.is_settled or delivery not in self.lane.held):
            raise MessageLost(
                f"the message {delivery.message_id} of {self.lane.ref.name!r} is not this worker's any more: its "
                "handler has ended, or it was lost"
            )

    def take(self, delivery: Delivery, *, done: bool = True) -> bool:
        """See rqsqs._base_message.Holder. The heartbeat leaves it alone as well."""
        with self.runtime._lock:
            self.check(delivery)
            if self.is_by_hand(delivery):
                return False
            self.by_hand = {**(self.by_hand or {}), delivery: None}
            del self.lane.held[delivery]
            self._count(done, 1)
            return True

    def put_back(self, delivery: Delivery, *, done: bool = True) -> None:
        """See rqsqs._base_message.Holder. If its handler has ended meanwhile, it becomes visible by itself."""
        with self.runtime._lock:
            self.by_hand = {d: error for d, error in (self.by_hand or {}).items() if d is not delivery}
            self._count(done, -1)
            if not self.is_settled:
                self.lane.held[delivery] = self

    def _count(self, done: bool, number: int) -> None:
        if done:
            self.lane.succeeded += number
        else:
            self.lane.failed += number

    def release(self, delivery: Delivery, delay_ms: int) -> Flow[None]:
        """See rqsqs._base_message.Holder. A word about it is left, else it seems to kill its workers."""
        error = Retry("its handler released it", after=delay_ms / 1000)
        verdict = failed(delivery, error, self.runtime.consumer_id)
        weak: list[DurabilityNotReached] = []
        is_taken = self.take(delivery, done=False)
        try:
            (status,) = yield from flows.release(self.lane.ref, [verdict], self.runtime.durability, weak.append)
        except BaseException:
            if is_taken:
                self.put_back(delivery, done=False)
            raise
        if status in (-1, -2):
            raise MessageLost(f"the message {delivery.message_id} of {self.lane.ref.name!r} was lost to another")
        if weak:
            raise weak[0]

    def fail(self, delivery: Delivery, error: BaseException) -> None:
        """See rqsqs._base_message.Holder."""
        with self.runtime._lock:
            if not self.is_by_hand(delivery):
                self.by_hand = {**(self.by_hand or {}), delivery: error}

    # In a thread

    def run(self) -> None:
        """Run it in this thread."""
        if self._is_doubtful() and not self.runtime.confirm(self):
            return
        outcomes: Outcomes
        try:
            try:
                if self.lane.handler.timeout is not None:
                    self._interruption = Interruption()
                    self.runtime.soon(self._arm, self.lane.handler.timeout)
                result = contextvars.copy_context().run(self._begin)  # nothing of it stays in the thread
                outcomes = self.lane.handler.outcomes(self.deliveries, result)
            finally:
                if self._interruption is not None:
                    self._interruption.end()
        except BaseException as e:
            if self.runtime.is_forked:
                leave(e)
            outcomes = [e] * len(self.deliveries)
        if self.runtime.is_forked:
            leave()
        self._end(outcomes)
        if self._interruption is not None:
            self.runtime.soon(self._disarm)

    def _arm(self, timeout: float) -> None:
        self._timer = self.runtime.loop.call_later(timeout, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        if self._interruption is not None and self._interruption.send(HandlerTimeout):
            self.runtime.expired(self)

    # As a task

    async def run_as_task(self) -> None:
        """Run it on the event loop."""
        try:
            if self._is_doubtful() and not await self.runtime.call(self.runtime.confirm, self):
                return
        except asyncio.CancelledError:  # lost or given back meanwhile
            self.is_settled = True
            return
        handler = self.lane.handler
        outcomes: Outcomes
        clock: Any = None
        try:
            if handler.timeout is None:
                outcomes = handler.outcomes(self.deliveries, await self._begin())
            else:
                async with asyncio.timeout(handler.timeout) as clock:
                    outcomes = handler.outcomes(self.deliveries, await self._begin())
        except BaseException as e:
            if self.runtime.is_forked:
                leave(e)
            error: BaseException = e
            if isinstance(e, TimeoutError) and clock is not None and clock.expired():
                where = None if e.__cause__ is None else e.__cause__.__traceback__  # it waited there
                error = HandlerTimeout(f"the handler took longer than {handler.timeout:g} s").with_traceback(where)
            outcomes = [error] * len(self.deliveries)
        if self.runtime.is_forked:
            leave()
        self._end(outcomes)
