"""The asyncio runner: drives flows for any number of tasks of one event loop.

All tasks share one connection: requests are written as they come and answers read in order (a *pipe*). Waiting takes
one connection more for each set of bells, however many tasks wait. A task that is cancelled loses nothing: what the
server had already handed out to it is given back at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

import redis.exceptions as rx
from redis.asyncio.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs._core import scripts
from rqsqs._core.keys import Clock, Keyspace, QueueRef
from rqsqs._core.operation import Flow, IsWatched, Operation, Sleep, Spawn, Wait
from rqsqs._io import connect, failures, wire
from rqsqs._io.wire import GRACE_S, LOADS, RETRY_AFTER_S, TEST_WAIT_MS
from rqsqs.errors import RqsqsError, UsageError

T = TypeVar("T")
log = logging.getLogger("rqsqs")

ANSWER_S = 10.0  # so long an answer may take


class _Pipe:
    """One connection on which requests of many tasks follow each other."""

    def __init__(self, connection: Any, orphaned: Callable[[Operation, Any], None]) -> None:
        self.connection = connection
        self.orphaned = orphaned
        self.pending: deque[tuple[asyncio.Future[Any], Operation | None]] = deque()
        self.failure: Exception | None = None
        self.used = time.monotonic()
        self.reader = asyncio.create_task(self._read())

    async def ask(self, packed: bytes, operation: Operation | None = None) -> Any:
        """Send a request and wait for its answer."""
        if self.failure is not None:
            raise self.failure
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.pending.append((answer, operation))
        self.used = time.monotonic()
        try:
            await self.connection.send_packed_command([packed], check_health=False)
        except wire.BROKEN as e:
            self._fail(e)
        try:
            return await answer
        except asyncio.CancelledError:
            # The answer may have come in the same turn of the loop: then the reader found somebody waiting for it.
            if operation is not None and not answer.cancelled() and answer.done() and answer.exception() is None:
                self.orphaned(operation, answer.result())
            raise

    async def _read(self) -> None:
        try:
            while True:
                try:
                    reply: Any = await self.connection.read_response(disable_decoding=True)
                except rx.ResponseError as e:
                    reply = e
                answer, operation = self.pending.popleft()
                if answer.cancelled():
                    if operation is not None and not isinstance(reply, Exception):
                        self.orphaned(operation, reply)
                elif isinstance(reply, Exception):
                    answer.set_exception(reply)
                else:
                    answer.set_result(reply)
        except (rx.RedisError, OSError, IndexError) as e:
            self._fail(e)
        except asyncio.CancelledError:
            self._fail(rx.ConnectionError("the connection was closed"))
            raise

    def _fail(self, error: Exception) -> None:
        self.failure = error
        while self.pending:
            answer, _ = self.pending.popleft()
            if not answer.done():
                answer.set_exception(rx.ConnectionError(str(error)))

    async def close(self) -> None:
        """Let what was asked be answered, then hang up."""
        if self.pending:
            await asyncio.wait([answer for answer, _ in self.pending], timeout=2)
        self.reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.reader
        await self.connection.disconnect()


class _Post:
    """Where the tasks that wait on one set of bells line up: one leads and blocks on the server, the others follow."""

    __slots__ = ("followers", "has_leader")

    def __init__(self) -> None:
        self.has_leader = False
        self.followers: deque[asyncio.Future[None]] = deque()

    def call_next(self) -> None:
        """The leader leaves: one of the followers takes over."""
        while self.followers:
            follower = self.followers.popleft()
            if not follower.done():
                follower.set_result(None)
                return


class Link:
    """One server as seen from one event loop."""

    _shared: ClassVar[weakref.WeakKeyDictionary[Any, dict[tuple[Any, ...], Link]]] = weakref.WeakKeyDictionary()

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = url
        self.where = connect.shown(url)
        settings, self.server = connect.settings_of(url, options)
        settings["socket_timeout"] = None  # answers have a deadline of their own
        self.pool = connect.open_pool(url, settings, ConnectionPool, UnixDomainSocketConnection)
        self.users = 0
        self.pid = os.getpid()
        self._pipe: _Pipe | None = None
        self._opening = asyncio.Lock()
        self._resting: list[tuple[Any, int]] = []
        self._posts: dict[tuple[str, ...], _Post] = {}
        self._is_checked = False
        self.tasks: set[asyncio.Task[Any]] = set()

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
        """One user less; the last one closes the connections."""
        self.users -= 1
        if self.users > 0:
            return
        while self.tasks:
            await asyncio.wait(set(self.tasks), timeout=2)
            for task in list(self.tasks):
                task.cancel()
        if self._pipe is not None:
            await self._pipe.close()
            self._pipe = None
        while self._resting:
            await self._resting.pop()[0].disconnect()
        if self.server is not None:
            self.server.release()

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine beside the caller and keep it alive."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # Connections

    async def _connect(self) -> Any:
        connection: Any = self.pool.connection_class(**self.pool.connection_kwargs)
        try:
            await connection.connect()
            if not self._is_checked:
                await connection.send_command("INFO", "server")
                reply: Any
                try:
                    reply = await connection.read_response(disable_decoding=True)
                except rx.ResponseError as e:
                    reply = e
                connect.check_version(reply, self.where)
                self._is_checked = True
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _open_pipe(self) -> _Pipe:
        async with self._opening:
            pipe = self._pipe
            if pipe is not None and pipe.failure is None:
                return pipe
            self._pipe = pipe = _Pipe(await self._connect(), self._orphaned)
            return pipe

    # Operations

    async def execute(self, operation: Operation) -> Any:
        """Run one operation, repeating it on a new connection where that is safe."""
        packed = wire.call(operation)
        for attempt in range(len(RETRY_AFTER_S) + 1):
            sent = False
            try:
                pipe = self._pipe
                if pipe is None or pipe.failure is not None:
                    pipe = await self._open_pipe()
                sent = True
                try:
                    async with asyncio.timeout(ANSWER_S):
                        try:
                            reply = await pipe.ask(packed, operation)
                        except rx.NoScriptError:
                            reply = await self._load_and_repeat(pipe, operation, packed)
                except TimeoutError:
                    if self._pipe is pipe:
                        self._pipe = None
                    self.background(pipe.close())
                    raise rx.TimeoutError("no answer in time") from None
                break
            except rx.ResponseError as e:
                if isinstance(e, rx.ReadOnlyError) and pipe is not None and self._pipe is pipe:
                    self._pipe = None  # a name may point elsewhere by now
                    self.background(pipe.close())
                raise failures.refused(e, scripts.get(operation.script), operation.keys) from e
            except wire.BROKEN as e:
                known = failures.server(e, sent=sent, where=self.where)
                is_lost = isinstance(e, rx.TimeoutError) and sent
                if isinstance(e, rx.BusyLoadingError | rx.AuthenticationError) or known is None:
                    raise known or e from e
                if attempt == len(RETRY_AFTER_S) or is_lost or (sent and not operation.is_repeatable):
                    raise known from e
                await asyncio.sleep(RETRY_AFTER_S[attempt])
        return reply if operation.parse is None else operation.parse(reply)

    async def _load_and_repeat(self, pipe: _Pipe, operation: Operation, packed: bytes) -> Any:
        for _ in range(LOADS - 1):
            await pipe.ask(wire.load(operation))
            with contextlib.suppress(rx.NoScriptError):  # flushed again
                return await pipe.ask(packed, operation)
        await pipe.ask(wire.load(operation))
        return await pipe.ask(packed, operation)

    def _orphaned(self, operation: Operation, reply: Any) -> None:
        """An answer came and nobody is there any more to take it."""
        if operation.undo is None:
            return
        result = reply if operation.parse is None else operation.parse(reply)
        undo = operation.undo(result)
        if undo is not None:
            self.background(self._quietly(undo))

    async def _quietly(self, operation: Operation) -> None:
        try:
            await self.execute(operation)
        except RqsqsError:
            log.warning("what a cancelled receive got stays invisible until its visibility timeout", exc_info=True)

    # Waiting

    def is_watched(self, bells: tuple[str, ...]) -> bool:
        """Does a task block on these bells?"""
        post = self._posts.get(bells)
        return post is not None and post.has_leader

    def watched(self) -> list[tuple[str, ...]]:
        """All bells on which a task blocks."""
        return [bells for bells, post in self._posts.items() if post.has_leader]

    async def wait(self, wait: Wait, clock: Clock | None) -> tuple[Any, int]:
        """See Wait."""
        start = time.monotonic()
        deadline = start + wait.timeout_ms / 1000
        wake_at = start + wait.wake_in_ms / 1000 if wait.wake_in_ms is not None and wait.wake else None
        if clock is not None:  # it may be put forward at any moment
            await asyncio.sleep(min(wait.timeout_ms, TEST_WAIT_MS) / 1000)
            result = await self.execute(wait.then()) if wait.then is not None else None
            return result, max(0, round((deadline - time.monotonic()) * 1000))
        post = self._posts.setdefault(wait.bells, _Post())
        until = deadline if wait.wake_in_ms is None else min(deadline, time.monotonic() + wait.wake_in_ms / 1000)
        while post.has_leader:
            left = until - time.monotonic()
            if left <= 0:  # over, or a keeper that only follows: it looks for itself
                return None, max(0, round((deadline - time.monotonic()) * 1000))
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            post.followers.append(turn)
            try:
                async with asyncio.timeout(left):
                    await turn
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    post.call_next()  # it was our turn: pass it on
                raise
        post.has_leader = True
        try:
            result = await self._lead(wait, deadline, wake_at)
        finally:
            post.has_leader = False
            post.call_next()
        return result, max(0, round((deadline - time.monotonic()) * 1000))

    async def _lead(self, wait: Wait, deadline: float, wake_at: float | None) -> Any:
        try:
            connection, number = await self._rested()
        except wire.BROKEN:
            return None  # the next operation says why
        operation = wait.then() if wait.then is not None else None
        exchange = self.background(self._exchange(connection, number, wait, operation, deadline, wake_at))
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            if not exchange.done():
                self.background(self._abandon(exchange, number, operation))
            elif not exchange.cancelled() and exchange.exception() is None:
                self._give_back(operation, exchange.result())
            raise

    async def _rested(self) -> tuple[Any, int]:
        """A connection for blocking and its CLIENT ID."""
        while self._resting:
            connection, number = self._resting.pop()
            if connection.is_connected:
                return connection, number
        connection = await self._connect()
        try:
            await connection.send_command("CLIENT", "ID")
            return connection, int(await connection.read_response(disable_decoding=True))
        except rx.ResponseError:
            return connection, 0
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _exchange(
        self,
        connection: Any,
        number: int,
        wait: Wait,
        operation: Operation | None,
        deadline: float,
        wake_at: float | None,
    ) -> Any:
        # BLPOP and the receive that follows it travel together: the server runs the receive the moment the bell rings.
        left = max(deadline - time.monotonic(), 0.001)
        commands = [wire.command("BLPOP", *wait.bells, f"{left:.3f}")]
        if operation is not None:
            commands.append(wire.call(operation))
        timer = None
        if wake_at is not None and wait.wake is not None:
            timer = self.background(self._watch(wait.wake, wake_at - time.monotonic()))
        reply: Any = None
        try:
            async with asyncio.timeout(left + GRACE_S):
                await connection.send_packed_command(commands, check_health=False)
                await connection.read_response(disable_decoding=True)
                if operation is not None:
                    try:
                        reply = await connection.read_response(disable_decoding=True)
                    except rx.NoScriptError:
                        await connection.send_packed_command([wire.load(operation)], check_health=False)
                        await connection.read_response(disable_decoding=True)
                        await connection.send_packed_command([commands[1]], check_health=False)
                        reply = await connection.read_response(disable_decoding=True)
            self._resting.append((connection, number))
        except rx.ResponseError as e:
            await connection.disconnect(nowait=True)
            if operation is None or "UNBLOCKED" in str(e):
                return None
            raise failures.refused(e, scripts.get(operation.script), operation.keys) from e
        except wire.BROKEN:
            await connection.disconnect(nowait=True)
            return None  # the next operation reconnects, or says why it cannot
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if operation is None:
            return None
        return reply if operation.parse is None else operation.parse(reply)

    async def _watch(self, wake: Operation, after_s: float) -> None:
        """What a waiter does that keeps a due time or looks after its keeper."""
        with contextlib.suppress(RqsqsError):
            while after_s >= 0:
                await asyncio.sleep(after_s)
                after_s = (await self.execute(wake) or -1) / 1000

    async def _abandon(self, exchange: asyncio.Task[Any], number: int, operation: Operation | None) -> None:
        """The leader was cancelled while it blocked: end that, and give back what the server handed out meanwhile."""
        try:
            pipe = await self._open_pipe()
            await pipe.ask(wire.command("CLIENT", "UNBLOCK", number, "TIMEOUT"))
            self._give_back(operation, await exchange)
        except (RqsqsError, rx.RedisError, OSError):
            exchange.cancel()

    def _give_back(self, operation: Operation | None, result: Any) -> None:
        if operation is not None and operation.undo is not None and result is not None:
            undo = operation.undo(result)
            if undo is not None:
                self.background(self._quietly(undo))


class Transport:
    """Runs flows on one server and key prefix, for the tasks of one event loop.

    Args:
        url: redis://, rediss://, unix:// or embedded://; None = RQSQS_URL or redis://localhost:6379/0.
        prefix: what all keys begin with.
        clock: tests only: the time scripts shall believe in.
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

    def queue(self, name: str) -> QueueRef:
        """What is known about the queue of this name."""
        return self.space.queue(name)

    def now_ms(self) -> int:
        """The client's clock, or the test clock. Scripts decide by the server's."""
        clock = self.space.clock
        return clock.now_us() // 1000 if clock is not None else time.time_ns() // 1_000_000

    @property
    def link(self) -> Link:
        """The link in the running event loop.

        Raises:
            UsageError: closed, or used from another event loop or a forked process.
        """
        if self._is_closed:
            raise UsageError("this connection is closed; open a new one")
        loop = asyncio.get_running_loop()
        if self._link is None:
            self._link, self._loop = Link.share(self.url, self.options), loop
        elif self._loop is not loop or self._link.pid != os.getpid():
            raise UsageError("an asyncio connection belongs to one event loop of one process; open one in each")
        return self._link

    async def run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end. If the task is cancelled, the flow may give back what it holds."""
        try:
            link = self.link
        except UsageError:
            flow.close()
            raise
        try:
            step = next(flow)
            while True:
                try:
                    result = await self._perform(link, step)
                except RqsqsError as e:
                    step = flow.throw(e)
                except asyncio.CancelledError as e:
                    step = flow.throw(e)  # raises it again, unless there is something to give back
                    link.background(self._finish(link, flow, step))
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

    async def _perform(self, link: Link, step: Any) -> Any:
        if type(step) is Operation:
            return await link.execute(step)
        if type(step) is Wait:
            return await link.wait(step, self.space.clock)
        if type(step) is IsWatched:
            return link.is_watched(step.bells)
        if type(step) is Sleep:
            return await asyncio.sleep(step.ms / 1000)
        if type(step) is Spawn:
            link.background(self._spawned(step.flow(), step.name))
            return None
        raise UsageError(f"a flow asked for {step!r}, which no runner knows")

    async def _spawned(self, flow: Flow[Any], name: str) -> None:
        try:
            await self.run(flow)
        except Exception:
            log.exception("%s stopped; the next process that lists the tasks takes over", name)

    async def close(self) -> None:
        """Give the connections up, and back what is still on its way; idempotent."""
        if not self._is_closed:
            self._is_closed = True
            if self._link is not None and self._loop is asyncio.get_running_loop():
                await self._link.release()
