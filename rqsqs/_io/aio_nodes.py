"""Servers as the asyncio runner sees them; the other colour of nodes.py."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import hiredis
import redis.exceptions as rx
from redis.asyncio.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs._core.operation import Operation
from rqsqs._io import connect, fitness, opening, wire
from rqsqs._io.addresses import Address, Place, directory_of, place_of
from rqsqs._io.counters import Counters
from rqsqs._io.listening import START, START_ANSWERS, Listener, Switch
from rqsqs._io.nodes import ASK_S, BLOCKING, DURABLE, FRESH_S, BrokenOff
from rqsqs._io.wire import GRACE_S
from rqsqs.errors import RqsqsError

Orphaned = Callable[[Operation, Any], None]

_MORE = object()  # told by a parser that needs more bytes
READ = 262_144  # bytes read at once
HIGH_WATER = 65_536  # bytes that wait to be sent, beyond which senders wait


class Pipe:
    """One connection on which requests of many tasks follow each other.

    Args:
        patience: so many seconds the server may be silent while it owes an answer; None = for ever. What counts is the
            next answer: the last of many large ones may take longer.

    Attributes:
        slots: for its calls.
        buffered: how many bytes wait to be sent; drain() is due when they are many.
    """

    def __init__(self, connection: Any, counters: Counters, orphaned: Orphaned, patience: float | None) -> None:
        self.connection = connection
        self.counters = counters
        self.orphaned = orphaned
        self.slots = wire.CallSlots()
        self.pending: deque[tuple[asyncio.Future[Any], Operation | None, float]] = deque()
        self.failure: Exception | None = None
        self._patience = patience
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.buffered: Callable[[], int] = connection._writer.transport.get_write_buffer_size
        self._reader = hiredis.Reader(replyError=connection._parser.parse_error, notEnoughData=_MORE)
        self.reader = asyncio.create_task(self._read())

    def ask(self, packed: bytes, operation: Operation | None = None) -> asyncio.Future[Any]:
        """Send a request; the answer comes as the result. Whoever is cancelled while it waits tells not_wanted().

        Raises:
            ConnectionError: it broke; so it did for all others. Or the answer has it.
            TimeoutError: (as the answer) the same, and none came for as long as the server may be silent.
        """
        writer = self.connection._writer
        if self.failure is not None or writer is None:
            raise self.failure or rx.ConnectionError("the connection is closed")
        answer: asyncio.Future[Any] = self._loop.create_future()
        now = time.monotonic()
        if not self.pending:
            self._heard = now
        self.pending.append((answer, operation, now))
        if self._watch is None and self._patience is not None:
            self._watch = self._loop.call_later(self._patience, self._check)
        writer.write(packed)
        return answer

    def not_wanted(self, answer: asyncio.Future[Any], operation: Operation) -> None:
        """The task that waited for an answer was cancelled. It may have come in the same turn of the loop: then the
        reader found somebody waiting for it."""
        if not answer.cancel() and not answer.cancelled() and answer.exception() is None:
            self.orphaned(operation, answer.result())

    async def drain(self) -> None:
        """Let much that was written go."""
        try:
            await self.connection._writer.drain()
        except OSError as e:
            self._break(e)

    def _check(self) -> None:
        """Has the server been silent for too long?"""
        self._watch = None
        if not self.pending or self._patience is None:
            return
        left = self._heard + self._patience - time.monotonic()
        if left > 0:
            self._watch = self._loop.call_later(left, self._check)
            return
        self._break(rx.TimeoutError("no answer in time"))
        self.reader.cancel()

    async def _read(self) -> None:
        stream, reader, pending = self.connection._reader, self._reader, self.pending
        try:
            while True:
                data = await stream.read(READ)
                if not data:
                    raise rx.ConnectionError("Connection closed by server.")
                self._heard = time.monotonic()
                reader.feed(data)
                while (reply := reader.gets(False)) is not _MORE:
                    if type(reply) is hiredis.PushNotification:
                        continue
                    if isinstance(reply, rx.ConnectionError):
                        raise reply
                    answer, operation, _ = pending.popleft()
                    if answer.cancelled():
                        if operation is not None and not isinstance(reply, Exception):
                            self.orphaned(operation, reply)
                    elif isinstance(reply, Exception):
                        answer.set_exception(reply)
                    else:
                        answer.set_result(reply)
        except (rx.RedisError, OSError, IndexError, hiredis.HiredisError) as e:
            self._break(e)
        except asyncio.CancelledError:
            self._fail(rx.ConnectionError("the connection was closed"))
            raise
        except BaseException as e:  # a signal handler's, or a bug: nobody shall wait for what is not read any more
            self._break(rx.ConnectionError(f"reading was broken off: {e!r:.200}"))
            raise
        finally:
            if self._watch is not None:
                self._watch.cancel()
            await self.connection.disconnect(nowait=True)

    def _break(self, error: Exception) -> None:
        if self.failure is None:
            self.counters.count("connections_lost")
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failure = rx.ConnectionError(str(error))
        is_silent = isinstance(error, rx.TimeoutError) and self._patience is not None
        late = time.monotonic() - (self._patience or 0) / 2
        while self.pending:
            answer, _, since = self.pending.popleft()
            if not answer.done():  # who has not waited for long asks again
                kind = rx.TimeoutError if is_silent and since <= late else rx.ConnectionError
                answer.set_exception(kind(str(error)))

    async def close(self) -> None:
        """Let what was asked be answered, then hang up."""
        pending = [answer for answer, _, _ in self.pending]
        if pending:
            await asyncio.wait(pending, timeout=2)
        self.reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.reader
        await self.connection.disconnect()


class Hub:
    """One connection over which any number of tasks listen (listening.py)."""

    def __init__(
        self, connection: Any, spare: Callable[[list[str]], object], orphaned: Callable[[Listener, Any], None]
    ) -> None:
        self.connection = connection
        self.switch = Switch()
        self.failure: Exception | None = None
        self._spare = spare
        self._orphaned = orphaned
        self._reader = hiredis.Reader(replyError=connection._parser.parse_error, notEnoughData=_MORE)
        self._owing_since = 0.0  # the server, its next answer; 0 = none
        self._tasks = [asyncio.create_task(self._read())]

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something as long as this connection lives."""
        self._tasks.append(asyncio.create_task(work))

    def listen(self, listener: Listener, lists: Sequence[str]) -> None:
        """Hear of tokens.

        Raises:
            ConnectionError: it broke.
        """
        if self.failure is not None:
            raise rx.ConnectionError(str(self.failure))
        self._send(self.switch.listen(listener, lists))

    def leave(self, listener: Listener) -> None:
        """A task waits no more."""
        out = self.switch.leave(listener)
        if self.failure is None:
            self._send(out)

    def probe(self) -> None:
        """See to it that a server that is silent is found out."""
        if self.failure is None and not self.switch.is_silent:
            self._send(self.switch.probe())

    def fail(self, error: Exception) -> None:
        """It is of no use any more."""
        if self.failure is None:
            self.failure = error
            self.switch.fail(error)
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()

    def _send(self, data: bytes) -> None:
        if data:
            self._owing_since = self._owing_since or time.monotonic()
            self.connection._writer.write(data)

    async def _read(self) -> None:
        stream, reader, switch = self.connection._reader, self._reader, self.switch
        try:
            while True:
                try:
                    async with asyncio.timeout(GRACE_S / 4) as patience:
                        data = await stream.read(65_536)
                except TimeoutError:
                    if not patience.expired():  # the network gave up
                        raise
                    if self._owing_since and time.monotonic() - self._owing_since >= GRACE_S:
                        raise rx.TimeoutError("no answer in time") from None
                    continue
                if not data:
                    raise rx.ConnectionError("the server closed the connection")
                reader.feed(data)
                out = b""
                while (reply := reader.gets(False)) is not _MORE:
                    if isinstance(reply, rx.ConnectionError):
                        raise reply
                    out += switch.told(reply)
                self._owing_since = time.monotonic() if switch.is_silent else 0.0
                self._send(out)
                if switch.spare:
                    self._spare(switch.spare)
                    switch.spare = []
                while switch.orphans:
                    self._orphaned(*switch.orphans.pop())
        except Exception as e:  # whatever it is: nobody shall wait for what is not read any more
            self.fail(e)
        finally:
            await self.connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Hang up."""
        self.fail(BrokenOff("the connection was closed"))
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Node:
    """One server: a pipe for requests, connections that block or rest until one has to, and one to listen.

    Attributes:
        blocking: how many connections block; no more than BLOCKING, unless the server lets nobody listen.
        hub: what listens, if somebody had to.
        current_pipe: for requests, if it was opened; it may have failed.
        copied: what it told, if it has replicas; None after the first send.
        has_answered: it did, at least once.
        opening_s: seconds it has to do so; None = no limit.
    """

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters, orphaned: Orphaned) -> None:
        self.where = connect.shown(url)
        self.host = urlsplit(url).hostname or ""
        self.pool = connect.open_pool(url, settings, ConnectionPool, UnixDomainSocketConnection)
        self.copied: fitness.Told | None = None
        # Answers have a deadline of their own: connections may be silent for long. And with one of redis-py's a send
        # goes through asyncio.wait_for(), which swallows cancellations before Python 3.12.
        self.patience: float | None = self.pool.connection_kwargs.get("socket_timeout")
        self.opening_s = connect.opening_s(self.pool.connection_kwargs)
        self.pool.connection_kwargs["socket_timeout"] = None
        self._counters = counters
        self._orphaned = orphaned
        self.current_pipe: Pipe | None = None
        self._opening = asyncio.Lock()
        self.durable = asyncio.Semaphore(DURABLE)
        self._resting: list[tuple[Any, int]] = []
        self.blocking = 0
        self.is_hub_refused = False
        self.hub: Hub | None = None
        self._opening_hub: asyncio.Task[Hub | None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.has_answered = self._is_checked = self._is_closed = False
        self._looked = fitness.Looked()

    async def _connect(self, until: float | None = None, **options: Any) -> Any:
        connection: Any = self.pool.connection_class(**{**self.pool.connection_kwargs, **options})
        is_new = not self._is_checked  # whoever has answered before may be busy for a while
        end = opening.end_of(self.opening_s if is_new else self.patience, until)
        left = end - time.monotonic()
        if left <= 0:  # others have tried meanwhile
            raise opening.silent(self.opening_s, False)
        try:
            async with asyncio.timeout(None if math.isinf(left) else left):
                await connection.connect()
                if not self._is_checked or self._looked.missing(self._counters.formats):
                    await self._check(connection)
        except (TimeoutError, rx.TimeoutError):
            await connection.disconnect(nowait=True)
            if is_new:
                raise opening.silent(self.opening_s, connection.has_connected) from None
            raise rx.TimeoutError("no answer in time") from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _check(self, connection: Any) -> None:
        formats = self._looked.missing(self._counters.formats)
        questions = [fitness.QUESTIONS, *map(fitness.format_question, formats)]
        await connection.send_packed_command(questions, check_health=False)
        replies: list[Any] = []
        for _ in range(2 + len(formats)):
            try:
                replies.append(await connection.read_response(disable_decoding=True))
            except rx.ResponseError as e:
                replies.append(e)
        self.has_answered = True
        told = fitness.judge(self.where, *replies[:2])
        fitness.judge_formats(self.where, formats, replies[2:])
        self._is_checked = told.is_master  # what becomes one is asked again
        self._looked.add(formats)
        self.copied = told if told.replicas else None

    async def look(self, key: str) -> None:
        """Make sure that what is stored has a format that we know, unless the first connection is going to."""
        if not self._is_checked or not self._looked.missing({key}):
            return
        try:
            found = await self.ask(*fitness.format_words(key))
        except rx.ResponseError as e:
            found = e
        except wire.BROKEN:
            return  # the first operation says why
        fitness.judge_formats(self.where, [key], [found])
        self._looked.add([key])

    async def pipe(self, until: float | None = None) -> Pipe:
        """The pipe, opened if need be.

        Args:
            until: when to give up, by time.monotonic(); None = after opening_s, where it has not answered before.
        """
        pipe = self.current_pipe
        if pipe is not None and pipe.failure is None:
            return pipe
        async with self._opening:
            pipe = self.current_pipe
            if pipe is None or pipe.failure is not None:
                if pipe is not None:  # another server may be there
                    self._looked.forget()
                self.current_pipe = pipe = Pipe(
                    await self._connect(until), self._counters, self._orphaned, self.patience
                )
            return pipe

    def drop(self, pipe: Pipe) -> None:
        """Use this pipe no more."""
        if self.current_pipe is pipe:
            self.current_pipe = None
            task = asyncio.create_task(pipe.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def rested(self) -> tuple[Any, int]:
        """A connection for blocking and its CLIENT ID."""
        while self._resting:
            connection, number = self._resting.pop()
            if connection.is_connected and not connection._reader.at_eof():
                return connection, number
            await connection.disconnect(nowait=True)
        connection = await self._connect()
        try:
            async with asyncio.timeout(self.patience):
                await connection.send_command("CLIENT", "ID")
                return connection, int(await connection.read_response(disable_decoding=True))
        except (rx.ResponseError, ValueError):
            return connection, 0
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def rest(self, connection: Any, number: int) -> None:
        """It does not block any more."""
        if self._is_closed:
            await connection.disconnect(nowait=True)
        else:
            self._resting.append((connection, number))

    def occupy(self, always: bool) -> bool:
        """May one more connection block?"""
        if self.blocking >= BLOCKING and not (always or self.is_hub_refused):
            return False
        self.blocking += 1
        return True

    async def open_hub(self, make: Callable[[Any], Hub]) -> Hub | None:
        """The connection to listen, opened if need be; None if the server does not let us listen."""
        if self.hub is not None and self.hub.failure is None:
            return self.hub
        if self.is_hub_refused:
            return None
        if self._opening_hub is None:
            self._opening_hub = asyncio.create_task(self._open_hub(make))
            self._opening_hub.add_done_callback(self._hub_is_open)
        return await asyncio.shield(self._opening_hub)

    def _hub_is_open(self, opening: asyncio.Task[Hub | None]) -> None:
        self._opening_hub = None
        if not opening.cancelled():
            opening.exception()  # those who waited for it tell

    async def _open_hub(self, make: Callable[[Any], Hub]) -> Hub | None:
        try:
            connection = await self._connect(protocol=3)
        except rx.ResponseError:
            self.is_hub_refused = True
            return None
        try:
            async with asyncio.timeout(self.patience):
                await connection.send_packed_command([START], check_health=False)
                for _ in range(START_ANSWERS):
                    await connection.read_response(disable_decoding=True)
        except rx.ResponseError as e:
            if wire.is_elsewhere(e):
                raise rx.ConnectionError(str(e)) from e
            self.is_hub_refused = True
            await connection.disconnect(nowait=True)
            return None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if self._is_closed:
            await connection.disconnect(nowait=True)
            raise rx.ConnectionError("the connection was closed")
        self.hub = hub = make(connection)
        return hub

    async def ask(self, *words: Any, until: float | None = None) -> Any:
        """Send one command, with little patience."""
        try:
            async with asyncio.timeout(opening.end_of(ASK_S, until) - time.monotonic()):
                pipe = await self.pipe(until)
                return await pipe.ask(wire.command(*words))
        except TimeoutError:
            raise rx.TimeoutError(f"{self.where} does not answer") from None

    async def close(self) -> None:
        """Hang up."""
        self._is_closed = True
        if self.hub is not None:
            await self.hub.close()
        if self.current_pipe is not None:
            self.drop(self.current_pipe)
        while self._resting:
            await self._resting.pop()[0].disconnect(nowait=True)
        await asyncio.gather(*self._closing)


class Router(Protocol):
    """Knows which server has a key."""

    is_cluster: bool

    @property
    def only(self) -> Node | None:
        """The server, if there is always the same one."""

    @property
    def is_dynamic(self) -> bool:
        """May another server take over?"""

    @property
    def opening_s(self) -> float | None:
        """Seconds for everything that is tried until a server with keys has answered; None = no limit."""

    async def node(self, key: str, until: float | None = None) -> Node:
        """The server that has a key.

        Args:
            until: when to give up, by time.monotonic().

        Raises:
            ConnectionError, ResponseError, RqsqsError: nobody says which, and why.
        """

    async def refresh(self, age: float = FRESH_S, until: float | None = None) -> None:
        """Find out which server has what, unless that was done in the last `age` seconds. Does not fail; the next call
        says what is wrong."""

    async def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """A server refused a key: find out why, or whom to ask instead."""

    async def close(self) -> None:
        """Hang up."""


class Fixed:
    """One server, always the same."""

    is_dynamic = is_cluster = False

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters, orphaned: Orphaned) -> None:
        self.only = Node(url, settings, counters, orphaned)
        self.close = self.only.close

    @property
    def opening_s(self) -> float | None:
        """That of the server."""
        return self.only.opening_s

    async def node(self, key: str, until: float | None = None) -> Node:
        """The server."""
        return self.only

    async def refresh(self, age: float = FRESH_S, until: float | None = None) -> None:
        """Nothing to be found out."""

    async def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """Nowhere to go."""


class Several:
    """Servers of which a directory tells. One task at a time asks for news."""

    only = None

    def __init__(self, place: Place, settings: dict[str, Any], counters: Counters, orphaned: Orphaned) -> None:
        self.directory = directory_of(place)
        self._counters = counters
        self.is_cluster = place.kind == "cluster"
        self._settings = settings
        self._orphaned = orphaned
        self._nodes: dict[Address, Node] = {}
        self._guard = asyncio.Lock()
        self._learned = -FRESH_S
        self._is_open = False
        self._closing: set[asyncio.Task[None]] = set()
        for seed in place.seeds:  # tells at once whether the options exist
            self._at(seed)

    @property
    def is_dynamic(self) -> bool:
        """May another server take over? Not before one has answered: what is wrong with the URL, or with what servers
        tell of each other, shall not be tried for long."""
        if not self._is_open:
            found = [self._nodes.get(address) for address in self.directory.masters()]
            self._is_open = any(node is not None and node.has_answered for node in found)
        return self._is_open

    @property
    def opening_s(self) -> float | None:
        """At least the default, as each of the servers has a part of that."""
        each = self._at(self.directory.place.seeds[0]).opening_s
        return None if each is None else max(each, connect.OPENING_S)

    async def node(self, key: str, until: float | None = None) -> Node:
        """The server that has a key."""
        address = self.directory.owner(key)
        if address is None:
            await self.refresh(until=until)
            address = self.directory.owner(key)
            if address is None:
                raise self.directory.trouble
        return self._at(address)

    def _at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            url, settings = self.directory.access(address, self._settings)
            node = self._nodes[address] = Node(url, settings, self._counters, self._orphaned)
        return node

    async def refresh(self, age: float = FRESH_S, until: float | None = None) -> None:
        """Find out what has changed, unless somebody just did."""
        asked = time.monotonic()
        async with self._guard:
            if self._learned < asked - age:
                await self._learn(until)
                self._learned = time.monotonic()

    async def _learn(self, until: float | None) -> None:
        before = set(self.directory.masters())
        for number, address in enumerate(self.directory.informants()):
            if number and until is not None and time.monotonic() >= until:
                break
            try:
                reply = await self._at(address).ask(*self.directory.question, until=until)
            except (*wire.BROKEN, rx.ResponseError, RqsqsError) as e:
                self.directory.failed(address, e)
            else:
                if self.directory.told(address, reply):
                    break
        self._counters.count("failovers", len(before.difference(self.directory.masters())))
        for gone in self._nodes.keys() - self.directory.addresses():
            task = asyncio.create_task(self._nodes.pop(gone).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """Ask for news, and believe what the server said about this key."""
        await self.refresh()
        if isinstance(error, rx.MovedError) and node is not None:
            self.directory.moved(key, error, node.host)

    async def close(self) -> None:
        """Hang up."""
        for node in list(self._nodes.values()):
            await node.close()
        await asyncio.gather(*self._closing)


def router_of(url: str, settings: dict[str, Any], counters: Counters, orphaned: Orphaned) -> Router:
    """The router of a URL."""
    place = place_of(url)
    if place is None:
        return Fixed(url, settings, counters, orphaned)
    return Several(place, settings, counters, orphaned)
