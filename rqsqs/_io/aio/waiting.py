"""Waiters of the same wakeup lists line up: one waits at the server, with or without a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import redis.exceptions as rx

from rqsqs._core.keys import Clock
from rqsqs._core.operation import Operation, Wait
from rqsqs._io import protocol, tuning
from rqsqs._io.aio.blocking import Blocked, BlockingWait
from rqsqs._io.aio.caller import Caller
from rqsqs._io.aio.hub_waits import HubWaits
from rqsqs._io.aio.hubs import Hub
from rqsqs._io.aio.servers import Node
from rqsqs.errors import RqsqsError

ByNode = list[tuple[Node, tuple[str, ...]]]  # wakeup lists at each server; more than once for lists of several slots


class Waiters:
    """Those who wait for the same wakeup lists: one leads and waits at the server, the others follow.

    Attributes:
        outdated_at: see MarkOutdated; 0 = never.
    """

    __slots__ = ("followers", "has_leader", "outdated_at")

    def __init__(self) -> None:
        self.has_leader = False
        self.outdated_at = 0.0
        self.followers: deque[asyncio.Future[None]] = deque()

    def call_next(self) -> None:
        """The leader leaves: one of the followers takes over."""
        while self.followers:
            follower = self.followers.popleft()
            if not follower.done():
                follower.set_result(None)
                return


class Waiting:
    """All waits of an event loop for the servers of a URL.

    Attributes:
        by_lists: the waiters of each set of wakeup lists.
    """

    def __init__(self, caller: Caller) -> None:
        self.by_lists: dict[tuple[str, ...], Waiters] = {}
        self._caller = caller
        self._hub_waits = HubWaits(caller)

    def is_watched(self, lists: tuple[str, ...]) -> bool:
        waiters = self.by_lists.get(lists)
        return waiters is not None and waiters.has_leader

    def watched(self) -> list[tuple[str, ...]]:
        return [lists for lists, waiters in self.by_lists.items() if waiters.has_leader]

    def mark_outdated(self, lists: tuple[str, ...]) -> None:
        waiters = self.by_lists.setdefault(lists, Waiters())
        waiters.outdated_at = time.monotonic()
        while waiters.followers:
            waiters.call_next()

    async def wait(self, wait: Wait, clock: Clock | None) -> tuple[Any, int]:
        start = time.monotonic()
        deadline = start + wait.timeout_ms / 1000
        wake_at = start + wait.wake_in_ms / 1000 if wait.wake_in_ms is not None and wait.wake else None
        if clock is not None:  # it may be put forward at any moment
            await asyncio.sleep(min(wait.timeout_ms, tuning.TEST_WAIT_MS) / 1000)
            result = await self._caller.execute(wait.then()) if wait.then is not None else None
            return result, max(0, round((deadline - time.monotonic()) * 1000))
        waiters = self.by_lists.setdefault(wait.lists, Waiters())
        until = deadline if wait.wake_in_ms is None else min(deadline, time.monotonic() + wait.wake_in_ms / 1000)
        while waiters.has_leader and not wait.is_outdated(waiters.outdated_at):
            left = until - time.monotonic()
            if left <= 0:  # over, or a timer owner that only follows: it looks for itself
                return None, max(0, round((deadline - time.monotonic()) * 1000))
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiters.followers.append(turn)
            try:
                async with asyncio.timeout(left):
                    await turn
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    waiters.call_next()  # it was our turn: pass it on
                raise
        if wait.is_outdated(waiters.outdated_at):
            if not waiters.has_leader:
                waiters.call_next()
            return None, max(0, round((deadline - time.monotonic()) * 1000))
        waiters.has_leader = True
        try:
            result = await self._lead(wait, deadline, wake_at)
            if wait.marks(result):
                waiters.outdated_at = time.monotonic()
        finally:
            waiters.has_leader = False
            waiters.call_next()
        return result, max(0, round((deadline - time.monotonic()) * 1000))

    async def _lead(self, wait: Wait, deadline: float, wake_at: float | None) -> Any:
        router = self._caller.router
        operation: Operation | None = None
        blocked: list[Blocked] = []
        occupied: list[Node] = []
        try:
            by_node = [(await router.node(part[0]), part) for part in router.parts(wait.lists + wait.also)]
            hubs: list[tuple[Hub, tuple[str, ...]]] = []
            if not _occupy([node for node, _ in by_node], occupied):
                opened = [(await node.open_hub(self._hub_waits.hub), lists) for node, lists in by_node]
                hubs = [(hub, lists) for hub, lists in opened if hub is not None]
                if len(hubs) < len(by_node):  # a server does not let us listen
                    _occupy([node for node, _ in by_node], occupied, always=True)
                    hubs = []
            for node, lists in () if hubs else by_node:
                blocked.append(Blocked(node, *await node.rested(), lists))
        except BaseException as e:
            for one in blocked:
                await one.node.rest(one.connection, one.number)
            _vacate(occupied)
            if isinstance(e, (*protocol.BROKEN, rx.ResponseError)):
                await router.refresh()
                return None  # the next call says why
            raise
        # The receive travels with what waits: the server runs it the moment a token comes.
        if wait.then is not None and len(by_node) == 1:
            operation = wait.then()
        with self._due_times(wait, wake_at):
            if hubs:
                return await self._hub_waits.wait(hubs, wait, operation, deadline)
            return await BlockingWait(self._caller, wait, operation, blocked).run(deadline, lambda: _vacate(occupied))

    @contextlib.contextmanager
    def _due_times(self, wait: Wait, wake_at: float | None) -> Iterator[None]:
        """Meanwhile look after the due times that the waiter owns, or is the backup for."""
        if wake_at is None or wait.wake is None:
            yield
            return
        timer = self._caller.background(self._keep(wait.wake, max(wake_at - time.monotonic(), 0)))
        try:
            yield
        finally:
            timer.cancel()

    async def _keep(self, wake: Operation, after_s: float) -> None:
        with contextlib.suppress(RqsqsError):
            while after_s >= 0:
                await asyncio.sleep(after_s)
                after_s = (await self._caller.execute(wake) or -1) / 1000


def _occupy(nodes: Sequence[Node], occupied: list[Node], always: bool = False) -> bool:
    """May a connection to each of these servers block, or one more for each time it is named?"""
    for node in nodes:
        if not node.occupy(always):
            _vacate(occupied)
            return False
        occupied.append(node)
    return True


def _vacate(occupied: list[Node]) -> None:
    while occupied:
        occupied.pop().blocking -= 1
