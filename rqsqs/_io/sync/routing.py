"""Which of several servers has a key."""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol

import redis.exceptions as rx

from rqsqs._io import connect, protocol, tuning
from rqsqs._io.counters import Counters
from rqsqs._io.directory import directory_of
from rqsqs._io.sync.servers import Node
from rqsqs._io.urls import Address, Place, place_of
from rqsqs.errors import RqsqsError


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

    def node(self, key: str, until: float | None = None) -> Node:
        """The server that has a key.

        Args:
            until: when to give up, by time.monotonic().

        Raises:
            ConnectionError, ResponseError, RqsqsError: nobody says which, and why.
        """

    def refresh(self, age: float = tuning.FRESH_S, until: float | None = None) -> None:
        """Find out which server has what, unless that was done in the last `age` seconds. Does not fail; the next call
        says what is wrong."""

    def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """A server refused a key: find out why, or whom to ask instead."""

    def after_fork(self) -> None:
        """In a child: the connections are the parent's."""

    def close(self) -> None:
        """Hang up."""


class SingleServerRouter:
    """One server, always the same."""

    is_dynamic = is_cluster = False

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters) -> None:
        self.only = Node(url, settings, counters)
        self.after_fork = self.only.forget
        self.close = self.only.close

    @property
    def opening_s(self) -> float | None:
        """That of the server."""
        return self.only.opening_s

    def node(self, key: str, until: float | None = None) -> Node:
        """The server."""
        return self.only

    def refresh(self, age: float = tuning.FRESH_S, until: float | None = None) -> None:
        """Nothing to be found out."""

    def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """Nowhere to go."""


class DiscoveringRouter:
    """The servers of a cluster or of Sentinels, as a directory knows them. One thread at a time asks for news."""

    only = None

    def __init__(self, place: Place, settings: dict[str, Any], counters: Counters) -> None:
        self.directory = directory_of(place)
        self._counters = counters
        self.is_cluster = place.kind == "cluster"
        self._settings = settings
        self._nodes: dict[Address, Node] = {}
        self._guard = threading.Lock()
        self._learned = -tuning.FRESH_S
        self._is_open = False
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

    def node(self, key: str, until: float | None = None) -> Node:
        """The server that has a key."""
        address = self.directory.owner(key)
        if address is None:
            self.refresh(until=until)
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

    def refresh(self, age: float = tuning.FRESH_S, until: float | None = None) -> None:
        """Find out what has changed, unless somebody just did."""
        asked = time.monotonic()
        with self._guard:
            if self._learned < asked - age:
                self._learn(until)
                self._learned = time.monotonic()

    def _learn(self, until: float | None) -> None:
        before = set(self.directory.masters())
        for number, address in enumerate(self.directory.candidates()):
            if number and until is not None and time.monotonic() >= until:
                break
            try:
                reply = self._at(address).ask(*self.directory.question, until=until)
            except (*protocol.BROKEN, rx.ResponseError, RqsqsError) as e:
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
    return (
        SingleServerRouter(url, settings, counters) if place is None else DiscoveringRouter(place, settings, counters)
    )
