"""Servers as the sync runner sees them: their connections, and which of them has what."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol
from urllib.parse import urlsplit

import redis.exceptions as rx
from redis.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs._io import connect, wire
from rqsqs._io.addresses import Address, Place, SlotMap, slot_of
from rqsqs.errors import RqsqsError

IDLE_CHECK_S = 0.5  # a connection that rested longer is looked at before it is used
ASK_S = 2.0  # so long a server may take to tell where others are
FRESH_S = 0.05  # what was just learned is not asked for again


class Node:
    """One server. Connections rest in a deque, so that threads take and return them without a lock."""

    def __init__(self, url: str, settings: dict[str, Any]) -> None:
        self.where = connect.shown(url)
        self.host = urlsplit(url).hostname or ""
        self.pool = connect.open_pool(url, settings, ConnectionPool, UnixDomainSocketConnection)
        self.forget()

    def forget(self) -> None:
        """Begin without connections."""
        self._idle: deque[tuple[Any, float]] = deque()
        self._is_checked = False

    def take(self) -> Any:
        """A connection that works, as far as one can see."""
        connection: Any
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - since > IDLE_CHECK_S:
                try:
                    if connection.can_read(0):  # nothing should come unasked
                        raise rx.ConnectionError("unexpected data")
                except wire.BROKEN:
                    connection.disconnect()
                    continue
            return connection
        connection = self.pool.connection_class(**self.pool.connection_kwargs)
        try:
            connection.connect()
            if not self._is_checked:
                connection.send_command("INFO", "server")
                reply: Any
                try:
                    reply = connection.read_response(disable_decoding=True)
                except rx.ResponseError as e:
                    reply = e
                connect.check_version(reply, self.where)
                self._is_checked = True
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def give(self, connection: Any) -> None:
        """Back; somebody else may use it."""
        self._idle.append((connection, time.monotonic()))

    def ask(self, *words: Any) -> Any:
        """Send one command, with little patience."""
        connection = self.take()
        try:
            connection.send_command(*words)
            if not connection.can_read(ASK_S):
                raise rx.TimeoutError(f"{self.where} does not answer")
            reply = connection.read_response(disable_decoding=True)
        except rx.ResponseError:
            self.give(connection)
            raise
        except BaseException:
            connection.disconnect()
            raise
        self.give(connection)
        return reply

    def close(self) -> None:
        """Hang up."""
        while self._idle:
            self._idle.pop()[0].disconnect()


class Router(Protocol):
    """Knows which server has a key."""

    is_dynamic: bool  # it may change

    def node(self, key: str) -> Node:
        """The server that has a key."""

    def refresh(self) -> None:
        """Something has changed: find out what. Does not fail; the next call says what is wrong."""

    def moved(self, key: str, address: Address) -> None:
        """A server said where the slot of a key is."""

    def at(self, address: Address) -> Node:
        """The server of an address."""

    def nodes(self) -> Iterable[Node]:
        """All that are known."""

    def after_fork(self) -> None:
        """In a child: the connections are the parent's."""


class Fixed:
    """One server, always the same."""

    is_dynamic = False

    def __init__(self, node: Node) -> None:
        self._node = node

    def node(self, key: str) -> Node:
        """The server."""
        return self._node

    def refresh(self) -> None:
        """Nothing to be found out."""

    def moved(self, key: str, address: Address) -> None:
        """It is of a cluster, and the URL does not say so."""

    def at(self, address: Address) -> Node:
        """The server."""
        return self._node

    def nodes(self) -> Iterable[Node]:
        """The server."""
        return (self._node,)

    def after_fork(self) -> None:
        """In a child: the connections are the parent's."""
        self._node.forget()


class Several:
    """What Sentinels and clusters have in common: servers by address, and news that one thread asks for at a time."""

    is_dynamic = True

    def __init__(self, place: Place, settings: dict[str, Any]) -> None:
        self.place = place
        self.settings = settings
        self._nodes: dict[Address, Node] = {}
        self._guard = threading.Lock()
        self._learned = 0.0

    def at(self, address: Address) -> Node:
        """The server of an address."""
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes.setdefault(address, Node(self.place.url(address), self.settings))
        return node

    def nodes(self) -> Iterable[Node]:
        """All that are known."""
        return list(self._nodes.values())

    def after_fork(self) -> None:
        """In a child: the connections are the parent's."""
        self._guard = threading.Lock()
        for node in self.nodes():
            node.forget()

    def refresh(self) -> None:
        """Find out what has changed, unless somebody just did."""
        asked = time.monotonic()
        with self._guard:
            if self._learned < asked - FRESH_S:
                self._learn()
                self._learned = time.monotonic()

    def _learn(self) -> None:
        raise NotImplementedError

    def moved(self, key: str, address: Address) -> None:
        """Only servers of a cluster say so."""


class Sentinels(Several):
    """A master that Sentinels watch over."""

    def __init__(self, place: Place, settings: dict[str, Any]) -> None:
        super().__init__(place, settings)
        self._master: Address | None = None
        plain = {name: value for name, value in settings.items() if name not in ("username", "password", "db")}
        login = Place("", place.scheme, "", (), "", 0, place.query)
        self._watchers = [Node(login.url(seed), plain) for seed in place.seeds]

    def node(self, key: str) -> Node:
        """The master."""
        if self._master is None:
            self.refresh()
        if self._master is None:
            seeds = ", ".join(map(str, self.place.seeds))
            raise rx.ConnectionError(f"none of the Sentinels {seeds} knows a master {self.place.service!r}")
        return self.at(self._master)

    def _learn(self) -> None:
        for watcher in self._watchers:
            with contextlib.suppress(*wire.BROKEN, rx.ResponseError, RqsqsError):
                found = watcher.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.place.service)
                if found:
                    self._master = Address(found[0].decode(), int(found[1]))
                    return


class Shards(Several):
    """A cluster: each hash slot has a master."""

    def __init__(self, place: Place, settings: dict[str, Any]) -> None:
        super().__init__(place, settings)
        self.map = SlotMap()

    def node(self, key: str) -> Node:
        """The master of the key's slot."""
        address = self.map.owners[slot_of(key)]
        if address is None:
            self.refresh()
            address = self.map.owners[slot_of(key)]
            if address is None:
                raise rx.ClusterDownError("Hash slot not served")
        return self.at(address)

    def moved(self, key: str, address: Address) -> None:
        """A server said where the slot of a key is."""
        self.map.owners[slot_of(key)] = address

    def _learn(self) -> None:
        known = list(dict.fromkeys((*self.map.addresses(), *self.place.seeds)))
        for address in known:
            with contextlib.suppress(*wire.BROKEN, rx.ResponseError, RqsqsError):
                reply = self.at(address).ask("CLUSTER", "SLOTS")
                if reply:
                    self.map.learn(reply, address)
                    return


def router_of(url: str, place: Place | None, settings: dict[str, Any]) -> Router:
    """The router of a URL."""
    if place is None:
        return Fixed(Node(url, settings))
    return (Shards if place.kind == "cluster" else Sentinels)(place, settings)
