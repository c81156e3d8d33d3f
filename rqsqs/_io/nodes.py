"""Servers as the sync runner sees them: their connections, and which of them has what."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Protocol
from urllib.parse import urlsplit

import redis.exceptions as rx
from redis.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs._io import connect, failures, fitness, wire
from rqsqs._io.addresses import Address, Place, directory_of, place_of
from rqsqs._io.counters import Counters
from rqsqs.errors import RqsqsError

IDLE_CHECK_S = 0.5  # a connection that rested longer is looked at before it is used
BLOCKING = 4  # so many connections to a server block, each for one partition; further waiters share one (listening.py)
ASK_S = 2.0  # so long a server may take to tell where others are
FRESH_S = 0.2  # what was just learned is not asked for again


class BrokenOff(rx.ConnectionError):
    """Somebody waited for a server that is silent, or no master any more."""


class Node:
    """One server. Connections rest in a deque, so that threads take and return them without a lock.

    Attributes:
        copied: what it told, if it has replicas; None after the first send.
    """

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters) -> None:
        self.where = connect.shown(url)
        self.host = urlsplit(url).hostname or ""
        self.pool = connect.open_pool(url, settings, ConnectionPool, UnixDomainSocketConnection)
        self.copied: fitness.Told | None = None
        self._counters = counters
        self.forget()

    def forget(self) -> None:
        """Begin without connections."""
        self._idle: deque[tuple[Any, float]] = deque()
        self._is_checked = self._is_closed = False

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
                    self.lose(connection)
                    continue
            return connection
        connection = self.pool.connection_class(**self.pool.connection_kwargs)
        try:
            connection.connect()
            if not self._is_checked:
                self._check(connection)
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def _check(self, connection: Any) -> None:
        connection.send_packed_command([fitness.QUESTIONS], check_health=False)
        replies: list[Any] = []
        for _ in range(2):
            try:
                replies.append(connection.read_response(disable_decoding=True))
            except rx.ResponseError as e:
                replies.append(e)
        told = fitness.judge(self.where, *replies)
        self._is_checked = told.is_master  # what becomes one is asked again
        self.copied = told if told.replicas else None

    def give(self, connection: Any) -> None:
        """Back; somebody else may use it."""
        if self._is_closed:
            connection.disconnect()
        else:
            self._idle.append((connection, time.monotonic()))

    def lose(self, connection: Any) -> None:
        """It broke."""
        connection.disconnect()
        self._counters.count("connections_lost")

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
        except wire.BROKEN:
            self.lose(connection)
            raise
        except BaseException:
            connection.disconnect()
            raise
        self.give(connection)
        return reply

    def close(self) -> None:
        """Hang up."""
        self._is_closed = True
        while self._idle:
            self._idle.pop()[0].disconnect()


class Router(Protocol):
    """Knows which server has a key."""

    is_cluster: bool

    @property
    def is_dynamic(self) -> bool:
        """May another server take over?"""

    def node(self, key: str) -> Node:
        """The server that has a key.

        Raises:
            ConnectionError, ResponseError, RqsqsError: nobody says which, and why.
        """

    def refresh(self, age: float = FRESH_S) -> None:
        """Find out which server has what, unless that was done in the last `age` seconds. Does not fail; the next call
        says what is wrong."""

    def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """A server refused a key: find out why, or whom to ask instead."""

    def after_fork(self) -> None:
        """In a child: the connections are the parent's."""

    def close(self) -> None:
        """Hang up."""


class Fixed:
    """One server, always the same."""

    is_dynamic = is_cluster = False

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters) -> None:
        self._node = Node(url, settings, counters)
        self.after_fork = self._node.forget
        self.close = self._node.close

    def node(self, key: str) -> Node:
        """The server."""
        return self._node

    def refresh(self, age: float = FRESH_S) -> None:
        """Nothing to be found out."""

    def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """Nowhere to go."""


class Several:
    """Servers of which a directory tells. One thread at a time asks for news."""

    def __init__(self, place: Place, settings: dict[str, Any], counters: Counters) -> None:
        self.directory = directory_of(place)
        self._counters = counters
        self.is_cluster = place.kind == "cluster"
        self._settings = settings
        self._nodes: dict[Address, Node] = {}
        self._guard = threading.Lock()
        self._learned = -FRESH_S
        for seed in place.seeds:  # tells at once whether the options exist
            self._at(seed)

    @property
    def is_dynamic(self) -> bool:
        """May another server take over? Not before one is known: a URL that is wrong shall not be tried for long."""
        return bool(self.directory.masters())

    def node(self, key: str) -> Node:
        """The server that has a key."""
        address = self.directory.owner(key)
        if address is None:
            self.refresh()
            address = self.directory.owner(key)
            if address is None:
                raise self.directory.trouble
        return self._at(address)

    def _at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            url, settings = self.directory.access(address, self._settings)
            node = self._nodes.setdefault(address, Node(url, settings, self._counters))
        return node

    def refresh(self, age: float = FRESH_S) -> None:
        """Find out what has changed, unless somebody just did."""
        asked = time.monotonic()
        with self._guard:
            if self._learned < asked - age:
                self._learn()
                self._learned = time.monotonic()

    def _learn(self) -> None:
        before = set(self.directory.masters())
        for address in self.directory.informants():
            try:
                reply = self._at(address).ask(*self.directory.question)
            except (*wire.BROKEN, rx.ResponseError, RqsqsError) as e:
                self.directory.failed(address, e)
            else:
                if self.directory.told(address, reply):
                    break
        self._counters.count("failovers", len(before.difference(self.directory.masters())))
        for gone in self._nodes.keys() - self.directory.addresses():
            self._nodes.pop(gone).close()

    def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """Ask for news, and believe what the server said about this key."""
        self.refresh()
        if isinstance(error, rx.MovedError) and node is not None:
            self.directory.moved(key, error, node.host)

    def after_fork(self) -> None:
        """In a child: the connections are the parent's."""
        self._guard = threading.Lock()
        for node in self._nodes.values():
            node.forget()

    def close(self) -> None:
        """Hang up."""
        for node in list(self._nodes.values()):
            node.close()


def router_of(url: str, settings: dict[str, Any], counters: Counters) -> Router:
    """The router of a URL."""
    place = place_of(url)
    return Fixed(url, settings, counters) if place is None else Several(place, settings, counters)


def master_urls(url: str) -> list[str]:
    """The URL of each server that has keys.

    Raises:
        RqsqsError: nobody says which.
    """
    place = place_of(url)
    if place is None:
        return [url]
    several = Several(place, connect.settings_of(url, {})[0], Counters())
    try:
        several.refresh()
        trouble, found = several.directory.trouble, several.directory.masters()
    finally:
        several.close()
    if found:
        return [several.directory.access(address, {})[0] for address in found]
    raise failures.server(trouble, sent=False, where=connect.shown(url)) or trouble
