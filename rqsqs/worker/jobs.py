"""One call of a handler, in a thread or as a task. It knows the worker around it as its Host."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rqsqs._core import flows, telemetry
from rqsqs._core.delivery import Delivery
from rqsqs._core.operation import Flow
from rqsqs.errors import DurabilityNotReached
from rqsqs.worker import middleware
from rqsqs.worker.context import Context, _current
from rqsqs.worker.forked_children import leave
from rqsqs.worker.handlers import DONE, Errors, for_each
from rqsqs.worker.outcomes import HandlerTimeout, MessageLost, Retry, failed

if TYPE_CHECKING:
    from rqsqs.models import Durability
    from rqsqs.worker.heartbeat import Heartbeat
    from rqsqs.worker.worker_queue import WorkerQueue

T = TypeVar("T")


class Host(Protocol):
    """The worker, as far as a job knows it."""

    consumer_id: str
    lock: threading.Lock  # guards the queues
    is_forked: bool  # this is a child of the process that serves
    max_extension: float  # seconds for which messages are kept at most
    durability: Durability | None  # of releases
    heartbeat: Heartbeat
    loop: asyncio.AbstractEventLoop

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Call something on the event loop."""

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call something that waits, in a thread."""

    def confirm(self, job: Job) -> bool:
        """Are its messages still ours? Others are left out. Those of a suspect count now."""

    def expired(self, job: Job, error: BaseException) -> None:
        """Its timeout is over, and its thread still runs."""


_raise_in = ctypes.pythonapi["PyThreadState_SetAsyncExc"]
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)


class _TooLate(BaseException):
    """Raised by Interruption.end() in place of what has not arrived."""


class Interruption:
    """Lets a timeout raise an exception in the thread that runs a call, and in nothing the thread does afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = threading.get_ident()
        self._is_sent = False

    def send(self, error: type[BaseException]) -> bool:
        """Raise `error` there, at its next step of Python code. False if the call has ended. To be called once."""
        with self._lock:
            if self._thread is None:
                return False
            self._is_sent = True
            _raise_in(self._thread, error)
            return True

    def end(self) -> None:
        """The call has ended. What was sent and has not arrived yet may be raised in here, but no later."""
        with self._lock:
            self._thread = None
        if self._is_sent:
            # It is replaced, not taken back: before 3.13, an interpreter that was told of an exception looks for it at
            # each step until one arrives. That is slow, and in 3.11 a thread that is traced stands still meanwhile.
            try:
                _raise_in(threading.get_ident(), _TooLate)
                while True:
                    pass
            except _TooLate:
                pass


class Job:
    """One call of a handler.

    Attributes:
        host, queue, deliveries: whose call it is, and its messages.
        since: when its messages were received (monotonic).
        began: when it was begun; until then, the same.
        lost: messages that are not ours any more.
        by_hand: messages that its handler settled itself (None), or that failed in their `with` block; made when it is
            needed.
        released: those of them that its handler released.
        has_slot: it has one of its own; else a thread runs it in the slot of its burst.
        is_suspect: its message may have killed its worker: the receive counts as it begins.
        is_settled: what becomes of its messages is decided; running on, it changes nothing any more.
        errors: when it has ended, one for each message; None = done.
        seconds: what it took, then.
        task: in which it runs, if it is a coroutine.
    """

    # An object has of its own what differs from these: there is one for each message, and it rarely does.
    lost: frozenset[Delivery] = frozenset()
    by_hand: dict[Delivery, BaseException | None] | None = None
    released: frozenset[Delivery] = frozenset()
    has_slot = True
    is_suspect = False
    is_settled = False
    errors: Errors = ()
    seconds = 0.0
    task: asyncio.Task[None] | None = None
    _context: Context | None = None
    _interruption: Interruption | None = None
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, host: Host, queue: WorkerQueue, deliveries: list[Delivery], since: float) -> None:
        self.host = host
        self.queue = queue
        self.deliveries = deliveries
        self.since = self.began = since

    @property
    def context(self) -> Context:
        """What its handler knows; made when somebody asks."""
        if self._context is None:
            timeout, hold = self.queue.handler.timeout, self.host.max_extension
            ends = self.since + hold if timeout is None else min(self.began + timeout, self.since + hold)
            message, queue = self.queue.message, self.queue.api_queue
            messages = [message(queue, d, self) for d in self.deliveries]
            self._context = Context(self, self.queue.name, self.host.consumer_id, messages, ends)
        return self._context

    def lose(self, lost: Sequence[Delivery]) -> None:
        """Some of its messages are not ours any more. A coroutine that lost all is cancelled."""
        self.lost = self.lost.union(lost)
        if self.task is not None and len(self.lost) == len(self.deliveries):
            self.host.soon(self.task.cancel)

    def _is_doubtful(self) -> bool:
        """About to begin: may others have its messages, because this process stood still for a while?"""
        self.began = now = time.monotonic()
        heartbeat = self.host.heartbeat
        is_late = now - self.since > heartbeat.extension_s and now - heartbeat.last > heartbeat.extension_s
        return is_late or self.is_suspect or self.is_settled or len(self.lost) > 0

    def _begin(self) -> Any:
        """Call the function, watched by telemetry if that is on; a coroutine function gives its coroutine."""
        on = telemetry.current
        return self._call() if on is None else on.process(self, self._call)

    def _call(self) -> Any:
        handler = self.queue.handler
        _current.set(self)
        if handler.middleware:
            messages = self.context.messages
            run = middleware.run_async if handler.is_coroutine else middleware.run
            return run(handler.middleware, self._handle, messages if handler.batch else messages[0])
        if handler.wants_context:
            context = self.context
            return handler.function(context.messages if handler.batch else context.message, context)
        message, queue = self.queue.message, self.queue.api_queue
        if handler.batch:
            return handler.function([message(queue, d, self) for d in self.deliveries])
        return handler.function(message(queue, self.deliveries[0], self))

    def _handle(self, argument: Any) -> Any:
        """What middleware calls in the end."""
        handler = self.queue.handler
        return handler.function(argument, self.context) if handler.wants_context else handler.function(argument)

    def _end(self, errors: Errors) -> None:
        if self.by_hand:
            found = zip(map(self.by_hand.get, self.deliveries), for_each(errors, self.deliveries), strict=True)
            errors = [error if own is None else own for own, error in found]
        self.errors = errors
        self.seconds = time.monotonic() - self.began

    # What its handler does with its messages itself

    def is_by_hand(self, delivery: Delivery) -> bool:
        """Did its handler settle this message?"""
        return self.by_hand is not None and delivery in self.by_hand and self.by_hand[delivery] is None

    def check(self, delivery: Delivery) -> None:
        """See rqsqs._base_message.Holder."""
        if not self.is_by_hand(delivery) and (self.is_settled or delivery not in self.queue.held):
            raise MessageLost(
                f"the message {delivery.message_id} of {self.queue.name!r} is not this worker's any more: its "
                "handler has ended, or it was lost"
            )

    def take(self, delivery: Delivery, *, done: bool = True) -> bool:
        """See rqsqs._base_message.Holder. The heartbeat leaves it alone as well."""
        with self.host.lock:
            self.check(delivery)
            if self.is_by_hand(delivery):
                return False
            self.by_hand = {**(self.by_hand or {}), delivery: None}
            if not done:
                self.released |= {delivery}
            del self.queue.held[delivery]
            self._count(done, 1)
            return True

    def put_back(self, delivery: Delivery, *, done: bool = True) -> None:
        """See rqsqs._base_message.Holder. If its handler has ended meanwhile, it becomes visible by itself."""
        with self.host.lock:
            self.by_hand = {d: error for d, error in (self.by_hand or {}).items() if d is not delivery}
            self.released -= {delivery}
            self._count(done, -1)
            if not self.is_settled:
                self.queue.held[delivery] = self

    def _count(self, done: bool, number: int) -> None:
        if done:
            self.queue.succeeded += number
        else:
            self.queue.failed += number

    def release(self, delivery: Delivery, delay_ms: int) -> Flow[None]:
        """See rqsqs._base_message.Holder. It is reported, else it would seem to kill its workers."""
        error = Retry("its handler released it", after=delay_ms / 1000)
        outcome = failed(delivery, error, self.host.consumer_id)
        weak: list[DurabilityNotReached] = []
        is_taken = self.take(delivery, done=False)
        try:
            (status,) = yield from flows.release(self.queue.ref, [outcome], self.host.durability, weak.append)
        except BaseException:
            if is_taken:
                self.put_back(delivery, done=False)
            raise
        if status in (-1, -2):
            raise MessageLost(f"the message {delivery.message_id} of {self.queue.name!r} was lost to another")
        if weak:
            raise weak[0]

    def fail(self, delivery: Delivery, error: BaseException) -> None:
        """See rqsqs._base_message.Holder."""
        with self.host.lock:
            if not self.is_by_hand(delivery):
                self.by_hand = {**(self.by_hand or {}), delivery: error}

    # In a thread

    def run(self) -> None:
        if self._is_doubtful() and not self.host.confirm(self):
            return
        handler = self.queue.handler
        errors: Errors
        try:
            try:
                if handler.timeout is not None:
                    self._interruption = Interruption()
                    self.host.soon(self._arm, handler.timeout)
                begin = self._call if telemetry.current is None else self._begin
                result = contextvars.copy_context().run(begin)  # nothing of it stays in the thread
                errors = DONE if result is None else handler.errors_of(self.deliveries, result)
            finally:
                if self._interruption is not None:
                    self._interruption.end()
        except BaseException as e:
            if self.host.is_forked:
                leave(e)
            errors = [e] * len(self.deliveries)
        if self.host.is_forked:
            leave()
        self._end(errors)
        if self._interruption is not None:
            self.host.soon(self._disarm)

    def _arm(self, timeout: float) -> None:
        self._timer = self.host.loop.call_later(timeout, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _too_long(self) -> str:
        return f"the handler took longer than {self.queue.handler.timeout:g} s"

    def _expire(self) -> None:
        if self._interruption is not None and self._interruption.send(HandlerTimeout):
            self.host.expired(self, HandlerTimeout(self._too_long()))

    # As a task

    async def run_as_task(self) -> None:
        try:
            if self._is_doubtful() and not await self.host.call(self.host.confirm, self):
                return
        except asyncio.CancelledError:  # lost or given back meanwhile
            self.is_settled = True
            return
        handler = self.queue.handler
        errors: Errors
        clock: Any = None
        try:
            begin = self._call if telemetry.current is None else self._begin
            if handler.timeout is None:
                result = await begin()
            else:
                async with asyncio.timeout(handler.timeout) as clock:
                    result = await begin()
            errors = DONE if result is None else handler.errors_of(self.deliveries, result)
        except BaseException as e:
            if self.host.is_forked:
                leave(e)
            error: BaseException = e
            if isinstance(e, TimeoutError) and clock is not None and clock.expired():
                where = None if e.__cause__ is None else e.__cause__.__traceback__  # it waited there
                error = HandlerTimeout(self._too_long()).with_traceback(where)
            errors = [error] * len(self.deliveries)
        if self.host.is_forked:
            leave()
        self._end(errors)
