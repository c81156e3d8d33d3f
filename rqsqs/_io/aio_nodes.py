"""Servers as the asyncio runner sees them; the other colour of nodes.py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import urlsplit

import redis.exceptions as rx
from redis.asyncio.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs._core.operation import Operation
from rqsqs._io import connect, wire
from rqsqs._io.addresses import Address, Place, SlotMap, slot_of
from rqsqs._io.nodes import ASK_S, FRESH_S
from rqsqs.errors import RqsqsError

Orphaned = Callable[[Operation, Any], None]


class Pipe:
    """One connection on which requests of many tasks follow each other."""

    def __init__(self, connection: Any, orphaned: Orphaned) -> None:
        self.connection = connection
        self.orphaned = orphaned
        self.pending: deque[tuple[asyncio.Future[Any] | None, Operation | None]] = deque()
        self.failure: Exception | None = None
        self.reader = asyncio.create_task(self._read())

    async def ask(self, packed: bytes, operation: Operation | None = None, *, ahead: bytes | None = None) -> Any:
        """Send a request and wait for its answer.

        Args:
            ahead: a request to be sent right before it, whose answer does not matter.
        """
        if self.failure is not None:
            raise self.failure
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if ahead is not None:
            self.pending.append((None, None))
        self.pending.append((answer, operation))
        try:
            await self.connection.send_packed_command(
                [packed] if ahead is None else [ahead, packed], check_health=False
            )
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
                if answer is None:
                    continue
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
            if answer is not None and not answer.done():
                answer.set_exception(rx.ConnectionError(str(error)))

    async def close(self) -> None:
        """Let what was asked be answered, then hang up."""
        pending = [answer for answer, _ in self.pending if answer is not None]
        if pending:
            await asyncio.wait(pending, timeout=2)
        self.reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.reader
        await self.connection.disconnect()


class Node:
    """One server: a pipe for requests, and connections that block or rest until one has to."""

    def __init__(self, url: str, settings: dict[str, Any], orphaned: Orphaned) -> None:
        self.where = connect.shown(url)
        self.host = urlsplit(url).hostname or ""
        self.pool = connect.open_pool(url, settings, ConnectionPool, UnixDomainSocketConnection)
        self._orphaned = orphaned
        self._pipe: Pipe | None = None
        self._opening = asyncio.Lock()
        self._resting: list[tuple[Any, int]] = []
        self._is_checked = False

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

    async def pipe(self) -> Pipe:
        """The pipe, opened if need be."""
        pipe = self._pipe
        if pipe is not None and pipe.failure is None:
            return pipe
        async with self._opening:
            pipe = self._pipe
            if pipe is None or pipe.failure is not None:
                self._pipe = pipe = Pipe(await self._connect(), self._orphaned)
            return pipe

    def drop(self, pipe: Pipe) -> None:
        """Use this pipe no more."""
        if self._pipe is pipe:
            self._pipe = None

    async def rested(self) -> tuple[Any, int]:
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

    def rest(self, connection: Any, number: int) -> None:
        """It does not block any more."""
        self._resting.append((connection, number))

    async def ask(self, *words: Any) -> Any:
        """Send one command, with little patience."""
        pipe = None
        try:
            async with asyncio.timeout(ASK_S):
                pipe = await self.pipe()
                return await pipe.ask(wire.command(*words))
        except TimeoutError:
            if pipe is not None:
                self.drop(pipe)
            raise rx.TimeoutError(f"{self.where} does not answer") from None

    async def close(self) -> None:
        """Hang up."""
        if self._pipe is not None:
            await self._pipe.close()
            self._pipe = None
        while self._resting:
            await self._resting.pop()[0].disconnect()


class Router(Protocol):
    """Knows which server has a key."""

    is_dynamic: bool  # it may change

    async def node(self, key: str) -> Node:
        """The server that has a key."""

    async def refresh(self) -> None:
        """Something has changed: find out what. Does not fail; the next call says what is wrong."""

    def moved(self, key: str, address: Address) -> None:
        """A server said where the slot of a key is."""

    def at(self, address: Address) -> Node:
        """The server of an address."""

    def nodes(self) -> Iterable[Node]:
        """All that are known."""


class Fixed:
    """One server, always the same."""

    is_dynamic = False

    def __init__(self, node: Node) -> None:
        self._node = node

    async def node(self, key: str) -> Node:
        """The server."""
        return self._node

    async def refresh(self) -> None:
        """Nothing to be found out."""

    def moved(self, key: str, address: Address) -> None:
        """It is of a cluster, and the URL does not say so."""

    def at(self, address: Address) -> Node:
        """The server."""
        return self._node

    def nodes(self) -> Iterable[Node]:
        """The server."""
        return (self._node,)


class Several:
    """What Sentinels and clusters have in common: servers by address, and news that one task asks for at a time."""

    is_dynamic = True

    def __init__(self, place: Place, settings: dict[str, Any], orphaned: Orphaned) -> None:
        self.place = place
        self.settings = settings
        self.orphaned = orphaned
        self._nodes: dict[Address, Node] = {}
        self._guard = asyncio.Lock()
        self._learned = 0.0

    def at(self, address: Address) -> Node:
        """The server of an address."""
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(self.place.url(address), self.settings, self.orphaned)
        return node

    def nodes(self) -> Iterable[Node]:
        """All that are known."""
        return list(self._nodes.values())

    async def refresh(self) -> None:
        """Find out what has changed, unless somebody just did."""
        asked = time.monotonic()
        async with self._guard:
            if self._learned < asked - FRESH_S:
                await self._learn()
                self._learned = time.monotonic()

    async def _learn(self) -> None:
        raise NotImplementedError

    def moved(self, key: str, address: Address) -> None:
        """Only servers of a cluster say so."""


class Sentinels(Several):
    """A master that Sentinels watch over."""

    def __init__(self, place: Place, settings: dict[str, Any], orphaned: Orphaned) -> None:
        super().__init__(place, settings, orphaned)
        self._master: Address | None = None
        plain = {name: value for name, value in settings.items() if name not in ("username", "password", "db")}
        login = Place("", place.scheme, "", (), "", 0, place.query)
        self._watchers = [Node(login.url(seed), plain, orphaned) for seed in place.seeds]

    async def node(self, key: str) -> Node:
        """The master."""
        if self._master is None:
            await self.refresh()
        if self._master is None:
            seeds = ", ".join(map(str, self.place.seeds))
            raise rx.ConnectionError(f"none of the Sentinels {seeds} knows a master {self.place.service!r}")
        return self.at(self._master)

    def nodes(self) -> Iterable[Node]:
        """All that are known."""
        return [*super().nodes(), *self._watchers]

    async def _learn(self) -> None:
        for watcher in self._watchers:
            with contextlib.suppress(*wire.BROKEN, rx.ResponseError, RqsqsError):
                found = await watcher.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.place.service)
                if found:
                    self._master = Address(found[0].decode(), int(found[1]))
                    return


class Shards(Several):
    """A cluster: each hash slot has a master."""

    def __init__(self, place: Place, settings: dict[str, Any], orphaned: Orphaned) -> None:
        super().__init__(place, settings, orphaned)
        self.map = SlotMap()

    async def node(self, key: str) -> Node:
        """The master of the key's slot."""
        address = self.map.owners[slot_of(key)]
        if address is None:
            await self.refresh()
            address = self.map.owners[slot_of(key)]
            if address is None:
                raise rx.ClusterDownError("Hash slot not served")
        return self.at(address)

    def moved(self, key: str, address: Address) -> None:
        """A server said where the slot of a key is."""
        self.map.owners[slot_of(key)] = address

    async def _learn(self) -> None:
        known = list(dict.fromkeys((*self.map.addresses(), *self.place.seeds)))
        for address in known:
            with contextlib.suppress(*wire.BROKEN, rx.ResponseError, RqsqsError):
                reply = await self.at(address).ask("CLUSTER", "SLOTS")
                if reply:
                    self.map.learn(reply, address)
                    return


def router_of(url: str, place: Place | None, settings: dict[str, Any], orphaned: Orphaned) -> Router:
    """The router of a URL."""
    if place is None:
        return Fixed(Node(url, settings, orphaned))
    return (Shards if place.kind == "cluster" else Sentinels)(place, settings, orphaned)
