"""The sync runner: drives flows over redis-py connections from any number of threads."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from types import GeneratorType
from typing import Any, ClassVar, TypeVar

from rqsqs._core.keys import Clock, Keyspace, QueueRef
from rqsqs._core.operation import AtOnce, Flow, IsWatched, MarkOutdated, Operation, Sleep, Spawn, Wait
from rqsqs._io import connect, error_mapping, tuning
from rqsqs._io.sync.caller import Caller
from rqsqs._io.sync.waiting import Waiter, Waiting
from rqsqs.errors import RqsqsError, UsageError
from rqsqs.models import Statistics

T = TypeVar("T")


class Link:
    """One server, or several, as seen from this process, shared by every connection with the same URL and options."""

    _shared: ClassVar[weakref.WeakValueDictionary[tuple[Any, ...], Link]] = weakref.WeakValueDictionary()
    _all: ClassVar[weakref.WeakSet[Link]] = weakref.WeakSet()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        settings, self._server = connect.settings_of(url, options)
        self.caller = Caller(url, settings)
        self.counters = self.caller.counters
        self.router = self.caller.router
        self.where = self.caller.where
        self.execute = self.caller.execute
        self.users = 0
        self._start()
        self._all.add(self)

    def _start(self) -> None:
        self.waiting = Waiting(self.caller)
        self.drivers: set[threading.Thread] = set()
        self.waits: set[Waiter] = set()

    @classmethod
    def share(cls, url: str, options: dict[str, Any]) -> Link:
        """The link of this URL, opened if there is none."""
        key = (url, *sorted((k, repr(v)) for k, v in options.items()))
        with cls._lock:
            link = cls._shared.get(key)
            if link is None or link.users == 0:
                link = cls._shared[key] = cls(url, options)
            link.users += 1
            return link

    def release(self) -> None:
        """One user less; the last one closes the connections."""
        with self._lock:
            self.users -= 1
            if self.users > 0:
                return
        self.caller.close()
        if self._server is not None:
            self._server.release()

    @classmethod
    def after_fork(cls) -> None:
        """In a child: its connections are the parent's, so it begins with none."""
        cls._lock = threading.Lock()
        for link in list(cls._all):
            link.caller.after_fork()
            link._start()


os.register_at_fork(after_in_child=Link.after_fork)


class Transport:
    """Runs flows on one server and key prefix.

    Args:
        url: see rqsqs.connect().
        prefix: what all keys begin with.
        clock: tests only: the time that scripts use.
        is_interruptible: it has a link of its own, whose waits can be ended with link.waiting.unblock().
        options: for redis-py's connections, for example socket_timeout in seconds.
    """

    def __init__(
        self,
        url: str | None = None,
        prefix: str = "rqsqs",
        clock: Clock | None = None,
        *,
        is_interruptible: bool = False,
        **options: Any,
    ) -> None:
        self.url = connect.resolve(url)
        self.space = Keyspace(prefix, clock)
        if is_interruptible:
            self.link = Link(self.url, options)
            self.link.users = 1
        else:
            self.link = Link.share(self.url, options)
        self.link.counters.join(self)
        self._is_closed = False
        self._is_ready = False  # it is open, and the format of the prefix is known
        if clock is not None and hasattr(clock, "watch"):
            clock.watch(self)

    def queue(self, name: str) -> QueueRef:
        return self.space.queue(name)

    def statistics(self) -> Statistics:
        """What its link went through; from any thread."""
        return self.link.counters.statistics()

    def run(self, step: Flow[T] | Operation) -> T:
        """Run an operation, or drive a flow to its end."""
        if not isinstance(step, Operation):
            return self._drive(step)
        if not self._is_ready:
            self._begin()
        if step.unless_watched is not None and self.space.clock is None:
            waiters = self.link.waiting.by_lists.get(step.unless_watched)
            if waiters is not None and waiters.has_leader:
                return self._drive(step.line_up())  # type: ignore[attr-defined, no-any-return]
        try:
            result = self.link.execute(step)
        except BaseException as e:
            result = step.recover(self._explained(e, step))
        return self._drive(result, True) if type(result) is GeneratorType else result  # type: ignore[no-any-return]

    def _drive(self, flow: Flow[T], is_begun: bool = False) -> T:
        """Drive a flow to its end; `is_begun`: it goes on after a call, and may hold something even if this was
        closed."""
        execute = self.link.execute
        try:
            step = next(flow)  # it may refuse its arguments before anything is asked
            if not (is_begun or self._is_ready):
                self._begin(flow)
            while True:
                try:
                    result = execute(step) if isinstance(step, Operation) else self._other(step)
                except BaseException as e:  # a flow may answer an error, and give back what it holds when interrupted
                    step = flow.throw(self._explained(e, step))
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    def _begin(self, flow: Flow[Any] | None = None) -> None:
        """Before the first call.

        Raises:
            UsageError: this is closed.
            FormatNewer: a newer version of rqsqs wrote what is stored.
        """
        try:
            self._check_open()
            self.link.caller.open(self.space.format)
            self._is_ready = True
            self._check_open()  # another thread may have closed it meanwhile
        except BaseException:
            self._is_ready = False
            if flow is not None:
                flow.close()
            raise

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError("this connection is closed; open a new one")

    def _explained(self, error: BaseException, step: Any) -> BaseException:
        """Is something damaged behind an error?"""
        look = error_mapping.doubtful(error, step)
        if look is None:
            return error
        try:
            return error_mapping.explained(error, self.link.execute(look)[1])
        except RqsqsError:
            return error

    def _other(self, step: Any) -> Any:
        if type(step) is AtOnce:
            results = self.link.caller.execute_at_once(step.operations)
            return [
                self._explained(result, operation) if isinstance(result, RqsqsError) else result
                for operation, result in zip(step.operations, results, strict=True)
            ]
        if type(step) is Wait:
            waiter, waits = Waiter(self), self.link.waits
            waits.add(waiter)
            try:
                waiter.is_ended = self._is_closed
                waiter.check()
                return self.link.waiting.wait(step, self.space.clock, waiter)
            finally:
                waits.discard(waiter)
        if type(step) is IsWatched:
            return self.space.clock is None and self.link.waiting.is_watched(step.lists)
        if type(step) is MarkOutdated:
            return self.link.waiting.mark_outdated(step.lists)
        if type(step) is Sleep:
            time.sleep(step.ms / 1000)
            return None
        if type(step) is Spawn:
            self.spawn(step.flow, step.name)
            return None
        raise UsageError(f"a flow asked for {step!r}, which no runner knows")

    def spawn(self, make: Callable[[], Flow[Any]], name: str) -> None:
        """Run a flow in a thread of its own."""
        link = self.link

        def work() -> None:
            try:
                self.run(make())
            except Exception as e:
                error_mapping.log_stopped(name, e)
            finally:
                link.drivers.discard(threading.current_thread())

        thread = threading.Thread(target=work, name=name, daemon=True)
        link.drivers.add(thread)
        thread.start()

    def wake_waiters(self) -> None:
        """Let every waiter of this process look again (a test clock has moved)."""
        for lists in [] if self._is_closed else self.link.waiting.watched():
            self.link.caller.wake(name for name in lists if name.startswith(self.space.prefix + ":"))

    def close(self) -> None:
        """Give the connections up; idempotent. Calls that wait end with UsageError."""
        if self._is_closed:
            return
        self._is_closed, self._is_ready = True, False
        self.link.counters.leave(self)
        for waiter in self._waiters():  # also who stands in line behind one whose connection breaks now
            waiter.is_ended = True
        self.link.release()
        end, me = time.monotonic() + tuning.END_S, threading.get_ident()
        while self.link.users > 0 and (waiters := self._waiters()):
            for waiter in waiters:
                self.link.waiting.end(waiter)
            if all(waiter.thread == me for waiter in waiters) or time.monotonic() > end:  # or in a signal handler
                return
            time.sleep(0.01)

    def _waiters(self) -> list[Waiter]:
        return [waiter for waiter in list(self.link.waits) if waiter.owner is self]

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _finish_drivers(timeout: float = 10.0) -> None:
    """At exit: let running move tasks go on for a moment."""
    deadline = time.monotonic() + timeout
    for link in list(Link._shared.values()):
        for thread in list(link.drivers):
            thread.join(max(deadline - time.monotonic(), 0))


atexit.register(_finish_drivers)
