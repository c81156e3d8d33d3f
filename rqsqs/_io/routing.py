"""What the routers of both variants do without I/O; see sync/routing.py and aio/routing.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, Generic, Protocol, TypeVar

import redis.exceptions as rx

from rqsqs._io import tuning
from rqsqs._io.counters import Counters
from rqsqs._io.directory import directory_of
from rqsqs._io.urls import Address, Place


class Server(Protocol):
    """A node of either variant."""

    has_answered: bool
    host: str
    opening_s: float | None


N = TypeVar("N", bound=Server)


class KnownServers(Generic[N]):
    """The servers of a directory, as far as a router does no I/O.

    Args:
        make: a server from its URL and settings.
    """

    only = None

    def __init__(
        self, place: Place, settings: dict[str, Any], counters: Counters, make: Callable[[str, dict[str, Any]], N]
    ) -> None:
        self.directory = directory_of(place)
        self.is_cluster = place.kind == "cluster"
        self.nodes: dict[Address, N] = {}
        self._settings = settings
        self._counters = counters
        self._make = make
        self.refreshed_at = -tuning.FRESH_S
        self._has_answered = False
        for seed in place.seeds:  # raises now if an option does not exist
            self.at(seed)

    @property
    def is_dynamic(self) -> bool:
        """May another server take over? Not before one has answered: then something is wrong with the URL, or with the
        addresses that servers tell of each other, and trying for long does not help."""
        if not self._has_answered:
            found = [self.nodes.get(address) for address in self.directory.masters()]
            self._has_answered = any(node is not None and node.has_answered for node in found)
        return self._has_answered

    @property
    def opening_s(self) -> float | None:
        """Seconds until a server with keys must have answered; None = no limit. Each server has a part of it, so it is
        the default at least."""
        each = self.at(self.directory.place.seeds[0]).opening_s
        return None if each is None else max(each, tuning.OPENING_S)

    def at(self, address: Address) -> N:
        """The server at an address."""
        node = self.nodes.get(address)
        if node is None:
            node = self.nodes.setdefault(address, self._make(*self.directory.access(address, self._settings)))
        return node

    def known(self, key: str) -> N | None:
        """The server that has a key, if the directory knows it."""
        address = self.directory.owner(key)
        return None if address is None else self.at(address)

    def changes(self, until: float | None) -> Generator[Address, Any, list[N]]:
        """See Directory.refresh(); returns the servers that are not used any more."""
        before = set(self.directory.masters())
        yield from self.directory.refresh(until)
        self._counters.count("failovers", len(before.difference(self.directory.masters())))
        self.refreshed_at = time.monotonic()
        return [self.nodes.pop(gone) for gone in self.nodes.keys() - self.directory.addresses()]

    def believe(self, error: rx.ResponseError, key: str, node: N | None) -> None:
        """Believe what a server said about a key."""
        if isinstance(error, rx.MovedError) and node is not None:
            self.directory.moved(key, error, node.host)
