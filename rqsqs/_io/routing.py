"""What the routers of both variants do without I/O; see sync/routing.py and aio/routing.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

import redis.exceptions as rx

from rqsqs._core.operation import Operation
from rqsqs._io import tuning
from rqsqs._io.counters import Counters
from rqsqs._io.directory import Directory, by_slot, directory_of
from rqsqs._io.servers import KnownServer
from rqsqs._io.urls import Address, place_of

N = TypeVar("N", bound=KnownServer)


class KnownServers(Generic[N]):
    """The servers of a URL, as far as a router does no I/O.

    Args:
        make: a server from its URL and settings.

    Attributes:
        only: the server, if the URL is that of one; such a router has no directory.
        directory: which of several servers has a key.
    """

    directory: Directory

    def __init__(
        self, url: str, settings: dict[str, Any], counters: Counters, make: Callable[[str, dict[str, Any]], N]
    ) -> None:
        place = place_of(url)
        self.only = make(url, settings) if place is None else None
        self.is_cluster = place is not None and place.kind == "cluster"
        self.nodes: dict[Address, N] = {}
        self._settings = settings
        self._counters = counters
        self._make = make
        self.refreshed_at = -tuning.FRESH_S
        self._has_answered = False
        if place is not None:
            self.directory = directory_of(place)
            for seed in place.seeds:  # raises now if an option does not exist
                self.at(seed)

    @property
    def used(self) -> tuple[N, ...]:
        return tuple(self.nodes.values()) if self.only is None else (self.only,)

    @property
    def is_dynamic(self) -> bool:
        """May another server take over? Not before one has answered: then something is wrong with the URL, or with the
        addresses that servers tell of each other, and trying for long does not help."""
        if not self._has_answered and self.only is None:
            found = [self.nodes.get(address) for address in self.directory.masters()]
            self._has_answered = any(node is not None and node.has_answered for node in found)
        return self._has_answered

    @property
    def opening_s(self) -> float | None:
        """Seconds until a server with keys must have answered; None = no limit. Each of several servers has a part of
        it, so it is the default at least."""
        if self.only is not None:
            return self.only.opening_s
        each = self.at(self.directory.place.seeds[0]).opening_s
        return None if each is None else max(each, tuning.OPENING_S)

    def at(self, address: Address) -> N:
        node = self.nodes.get(address)
        if node is None:
            node = self.nodes.setdefault(address, self._make(*self.directory.access(address, self._settings)))
        return node

    def known(self, key: str) -> N | None:
        """The server that has a key, if that is known."""
        if self.only is not None:
            return self.only
        address = self.directory.owner(key)
        return None if address is None else self.at(address)

    def shares(self, operations: Sequence[Operation]) -> dict[N | None, list[int]]:
        """Which operations each server can do, by their places; None has those of which that is not known."""
        shares: dict[N | None, list[int]] = {}
        for i, operation in enumerate(operations):
            shares.setdefault(self.known(operation.keys[0]), []).append(i)
        return shares

    def parts(self, lists: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Lists that one connection can block on: those of one slot."""
        return by_slot(lists) if self.is_cluster else [lists]

    def changes(self, until: float | None) -> Generator[N, Any, list[N]]:
        """See Directory.refresh(); yields the server to ask, and returns those that are not used any more."""
        before = set(self.directory.masters())
        steps = self.directory.refresh(until)
        reply = None
        try:
            while True:
                reply = yield self.at(steps.send(reply))
        except StopIteration:
            pass
        self._counters.count("failovers", len(before.difference(self.directory.masters())))
        self.refreshed_at = time.monotonic()
        return [self.nodes.pop(gone) for gone in self.nodes.keys() - self.directory.addresses()]

    def believe(self, error: rx.ResponseError, key: str, node: N | None) -> None:
        """Believe what a server said about a key."""
        if isinstance(error, rx.MovedError) and node is not None and self.only is None:
            self.directory.moved(key, error, node.host)
