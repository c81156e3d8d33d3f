"""Which server has a key."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import redis.exceptions as rx

from rqsqs._io import protocol, tuning
from rqsqs._io.aio.pipes import GiveBack
from rqsqs._io.aio.servers import Node
from rqsqs._io.counters import Counters
from rqsqs._io.routing import KnownServers
from rqsqs._io.urls import Place, place_of
from rqsqs.errors import RqsqsError


class SingleServerRouter:
    """One server, always the same. Its methods are those of DiscoveringRouter."""

    is_dynamic = is_cluster = False

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters, give_back: GiveBack) -> None:
        self.only = Node(url, settings, counters, give_back)
        self.used = (self.only,)
        self.opening_s = self.only.opening_s
        self.close = self.only.close

    async def node(self, key: str, until: float | None = None) -> Node:
        """The server."""
        return self.only

    async def refresh(self, age: float = tuning.FRESH_S, until: float | None = None) -> None:
        """There is nothing to find out."""

    async def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """There is no other server."""


class DiscoveringRouter(KnownServers[Node]):
    """Servers of a cluster or behind Sentinels. One task at a time asks where they are."""

    def __init__(self, place: Place, settings: dict[str, Any], counters: Counters, give_back: GiveBack) -> None:
        super().__init__(place, settings, counters, lambda url, settings: Node(url, settings, counters, give_back))
        self._guard = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def node(self, key: str, until: float | None = None) -> Node:
        """The server that has a key.

        Args:
            until: when to give up, by time.monotonic().

        Raises:
            ConnectionError, ResponseError, RqsqsError: no server says which one has it, and why.
        """
        node = self.known(key)
        if node is None:
            await self.refresh(until=until)
            node = self.known(key)
            if node is None:
                raise self.directory.error
        return node

    async def refresh(self, age: float = tuning.FRESH_S, until: float | None = None) -> None:
        """Find out which server has what, unless that was done in the last `age` seconds. Does not fail: the next call
        says what is wrong."""
        since = time.monotonic() - age
        async with self._guard:
            if self.refreshed_at >= since:
                return
            steps = self.changes(until)
            try:
                address = next(steps)
                while True:
                    reply: Any
                    try:
                        reply = await self.at(address).ask(*self.directory.question, until=until)
                    except (*protocol.BROKEN, rx.ResponseError, RqsqsError) as e:
                        reply = e
                    address = steps.send(reply)
            except StopIteration as end:
                for node in end.value:
                    task = asyncio.create_task(node.close())
                    self._closing.add(task)
                    task.add_done_callback(self._closing.discard)

    async def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """A server refused a key: ask where it is, and believe what that server said."""
        await self.refresh()
        self.believe(error, key, node)

    @property
    def used(self) -> tuple[Node, ...]:
        """All servers."""
        return tuple(self.nodes.values())

    async def close(self) -> None:
        """Hang up."""
        for node in self.used:
            await node.close()
        await asyncio.gather(*self._closing)


Router = SingleServerRouter | DiscoveringRouter


def router_of(url: str, settings: dict[str, Any], counters: Counters, give_back: GiveBack) -> Router:
    """The router of a URL."""
    place = place_of(url)
    if place is None:
        return SingleServerRouter(url, settings, counters, give_back)
    return DiscoveringRouter(place, settings, counters, give_back)
