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
from rqsqs.errors import RqsqsError


class Router(KnownServers[Node]):
    def __init__(self, url: str, settings: dict[str, Any], counters: Counters, give_back: GiveBack) -> None:
        super().__init__(url, settings, counters, lambda url, settings: Node(url, settings, counters, give_back))
        self._guard = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def node(self, key: str, until: float | None = None) -> Node:
        node = self.known(key)
        if node is None:
            await self.refresh(until=until)
            node = self.known(key)
            if node is None:
                raise self.directory.error
        return node

    async def refresh(self, age: float = tuning.FRESH_S, until: float | None = None) -> None:
        if self.only is not None:
            return
        since = time.monotonic() - age
        async with self._guard:
            if self.refreshed_at >= since:
                return
            steps = self.changes(until)
            try:
                node = next(steps)
                while True:
                    reply: Any
                    try:
                        reply = await node.ask(*self.directory.question, until=until)
                    except (*protocol.BROKEN, rx.ResponseError, RqsqsError) as e:
                        reply = e
                    node = steps.send(reply)
            except StopIteration as end:
                for gone in end.value:
                    task = asyncio.create_task(gone.close())
                    self._closing.add(task)
                    task.add_done_callback(self._closing.discard)

    async def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        await self.refresh()
        self.believe(error, key, node)

    async def close(self) -> None:
        for node in self.used:
            await node.close()
        await asyncio.gather(*self._closing)
