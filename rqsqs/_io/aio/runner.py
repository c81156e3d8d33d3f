"""The asyncio runner: drives flows for any number of tasks of one event loop.

All tasks share one connection. Waits have another one for each of the first few sets of wakeup lists, however many
tasks wait, and one for all further sets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from types import GeneratorType
from typing import Any, ClassVar, TypeVar

from rqsqs._core.keys import Clock, Keyspace, QueueRef
from rqsqs._core.operation import AtOnce, Flow, IsWatched, MarkOutdated, Operation, Sleep, Spawn, Wait
from rqsqs._io import connect, error_mapping, tuning
from rqsqs._io.aio.caller import Caller
from rqsqs._io.aio.waiting import Waiting
from rqsqs._io.waits import closed
from rqsqs.errors import RqsqsError, UsageError
from rqsqs.models import Statistics

T = TypeVar("T")


class Link:
    """One server, or several, as seen from one event loop."""

    _shared: ClassVar[weakref.WeakKeyDictionary[Any, dict[tuple[Any, ...], Link]]] = weakref.WeakKeyDictionary()

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        settings, self._server = connect.settings_of(url, options)
        self.caller = Caller(url, settings)
        self.counters = self.caller.counters
        self.router = self.caller.router
        self.execute = self.caller.execute
        self.waiting = Waiting(self.caller)
        self.users = 0
        self.pid = os.getpid()

    @classmethod
    def share(cls, url: str, options: dict[str, Any]) -> Link:
        """The link of this URL in this event loop, opened if there is none."""
        links = cls._shared.setdefault(asyncio.get_running_loop(), {})
        key = (url, *sorted((k, repr(v)) for k, v in options.items()))
        link = links.get(key)
        if link is None or link.users == 0:
            link = links[key] = cls(url, options)
        link.users += 1
        return link

    async def release(self) -> None:
        self.users -= 1
        if self.users > 0:
            return
        await self.caller.close()
        self._release_server()

    def abandon(self) -> None:
        """The same after its event loop has ended, when nothing can be told to the server any more."""
        self.users -= 1
        if self.users == 0:
            self._release_server()

    def _release_server(self) -> None:
        if self._server is not None:
            self._server.release()


class Transport:
    """Runs flows on one server and key prefix, for the tasks of one event loop.

    Args:
        url: see rqsqs.connect().
        prefix: what all keys begin with.
        clock: tests only: the time that scripts use.
        options: for redis-py's connections.
    """

    def __init__(
        self, url: str | None = None, prefix: str = "rqsqs", clock: Clock | None = None, **options: Any
    ) -> None:
        self.url = connect.resolve(url)
        self.space = Keyspace(prefix, clock)
        self.options = options
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._is_ready = False  # it is open, and the format of the prefix is known
        self._waits: dict[asyncio.Timeout, asyncio.Future[None]] = {}

    def queue(self, name: str) -> QueueRef:
        return self.space.queue(name)

    @property
    def link(self) -> Link:
        """The link in the running event loop.

        Raises:
            UsageError: closed, or used from another event loop or a forked process.
        """
        if self._is_closed:
            raise UsageError("this connection is closed; open a new one")
        if self._link is None:
            self._link, self._loop = Link.share(self.url, self.options), asyncio.get_running_loop()
            self._link.counters.join(self)
        self.check_loop()
        return self._link

    def check_loop(self) -> None:
        """Raises UsageError if it was used before in another event loop, or by the process that forked this one."""
        link = self._link
        if link is not None and (self._loop is not asyncio.get_running_loop() or link.pid != os.getpid()):
            raise UsageError("an asyncio connection belongs to one event loop of one process; open one in each")

    def statistics(self) -> Statistics:
        return Statistics() if self._link is None else self._link.counters.statistics()

    async def run(self, step: Flow[T] | Operation) -> T:
        """Run an operation, or drive a flow to its end. If the task is cancelled, the flow may give back what it
        holds."""
        if not isinstance(step, Operation):
            return await self._drive(step)
        link = self._link
        if (
            link is None
            or not self._is_ready
            or self._loop is not asyncio.get_running_loop()
            or link.pid != os.getpid()
        ):
            link = await self._begin()
        if step.unless_watched is not None and self.space.clock is None:
            waiters = link.waiting.by_lists.get(step.unless_watched)
            if waiters is not None and waiters.has_leader:
                return await self._drive(step.line_up())  # type: ignore[attr-defined]
        result: Any
        try:
            result = await link.execute(step)
        except RqsqsError as e:
            result = step.recover(await self._explained(link, e, step))
        except asyncio.CancelledError as e:
            flow = step.recover(e)  # raises it again, unless there is something to give back
            link.caller.background(self._finish(link, flow, next(flow)))
            raise
        return await self._drive(result, link) if type(result) is GeneratorType else result

    async def _begin(self, flow: Flow[Any] | None = None) -> Link:
        try:
            link = self.link
            await link.caller.open(self.space.format)
            self.link  # noqa: B018 - raises if it was closed meanwhile
        except BaseException:
            if flow is not None:
                flow.close()
            raise
        self._is_ready = True
        return link

    async def _drive(self, flow: Flow[T], begun: Link | None = None) -> T:
        """Drive a flow to its end; `begun`: it goes on after a call, and may hold something even if this was closed."""
        try:
            step = next(flow)  # it may refuse its arguments before anything is asked
            link = begun or (self.link if self._is_ready else await self._begin(flow))
            while True:
                try:
                    result = await self._perform(link, step)
                except RqsqsError as e:
                    has_waited = type(step) is Wait
                    step = flow.throw(await self._explained(link, e, step))
                    if has_waited and self._is_closed:  # what it holds goes back before close() returns
                        link.caller.background(self._finish(link, flow, step))
                        raise
                except asyncio.CancelledError as e:
                    step = flow.throw(e)  # raises it again, unless there is something to give back
                    link.caller.background(self._finish(link, flow, step))
                    raise
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _finish(self, link: Link, flow: Flow[Any], step: Any) -> None:
        with contextlib.suppress(StopIteration, asyncio.CancelledError, RqsqsError):
            while True:
                step = flow.send(await self._perform(link, step))

    async def _explained(self, link: Link, error: RqsqsError, step: Any) -> BaseException:
        look = error_mapping.doubtful(error, step)
        if look is None:
            return error
        try:
            return error_mapping.explained(error, (await link.execute(look))[1])
        except RqsqsError:
            return error

    async def _perform(self, link: Link, step: Any) -> Any:
        if isinstance(step, Operation):
            return await link.execute(step)
        if type(step) is AtOnce:
            results = await link.caller.execute_at_once(step.operations)
            return [
                await self._explained(link, result, operation) if isinstance(result, RqsqsError) else result
                for operation, result in zip(step.operations, results, strict=True)
            ]
        if type(step) is Wait:
            return await self._wait(link, step)
        if type(step) is IsWatched:
            return link.waiting.is_watched(step.lists)
        if type(step) is MarkOutdated:
            return link.waiting.mark_outdated(step.lists)
        if type(step) is Sleep:
            return await asyncio.sleep(step.ms / 1000)
        if type(step) is Spawn:
            link.caller.background(self._spawned(step.flow(), step.name))
            return None
        raise UsageError(f"a flow asked for {step!r}, which no runner knows")

    async def _wait(self, link: Link, wait: Wait) -> tuple[Any, int]:
        """Wait until close() at the latest."""
        if self._is_closed:
            raise closed()
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._waits[scope] = asyncio.get_running_loop().create_future()
                return await link.waiting.wait(wait, self.space.clock)
        except TimeoutError:
            if not scope.expired():
                raise
            raise closed() from None
        finally:
            self._waits.pop(scope).set_result(None)

    async def _spawned(self, flow: Flow[Any], name: str) -> None:
        try:
            await self.run(flow)
        except Exception as e:
            error_mapping.log_stopped(name, e)

    async def close(self) -> None:
        """Give the connections up, and back what is still on its way; idempotent. What waits ends with UsageError.

        Raises:
            UsageError: it belongs to another event loop, which has not ended, or to the process that forked this one.
        """
        if self._is_closed:
            return
        link, loop = self._link, self._loop
        has_ended = loop is not None and loop.is_closed() and link is not None and link.pid == os.getpid()
        if not has_ended:
            self.check_loop()
        self._is_closed, self._is_ready = True, False
        if link is None or loop is None:
            return
        link.counters.leave(self)
        if has_ended:  # so have its tasks
            link.abandon()
            return
        for scope in self._waits:
            scope.reschedule(loop.time())
        if self._waits:
            await asyncio.wait(self._waits.values(), timeout=tuning.END_S)
        await link.release()
