"""Waiters of the same wakeup lists line up: one waits at the server, with or without a connection of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Any

import redis.exceptions as rx

from rqsqs._core.keys import Clock
from rqsqs._core.operation import Operation, Wait
from rqsqs._io import error_mapping, protocol, tuning
from rqsqs._io.sync.blocking import Blocked, BlockingWait
from rqsqs._io.sync.caller import Caller
from rqsqs._io.sync.hub_waits import HubWaits
from rqsqs._io.sync.hubs import Hub
from rqsqs._io.sync.pools import PooledConnection
from rqsqs._io.sync.servers import Node
from rqsqs._io.tracking import Listener
from rqsqs._io.waits import closed

ByNode = list[tuple[Node, tuple[str, ...]]]  # wakeup lists at each server; more than once for lists of several slots


class Waiters:
    """Those who wait for the same wakeup lists: one leads and waits at the server, the others follow.

    Attributes:
        lock: guards what follows. It is no threading.Condition: a signal can leave that locked, or make it forget whom
            it woke.
        followers: each waits until its lock is released.
        blocked: the leader's connections: server and CLIENT ID.
        listener: the leader, if it listens.
        in_tests: waiters under a test clock: they do not line up, as each has to look when it is moved.
        outdated_at: see MarkOutdated; 0 = never.
    """

    __slots__ = ("blocked", "followers", "has_leader", "in_tests", "listener", "lock", "outdated_at")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.followers: deque[threading.Lock] = deque()
        self.has_leader = False
        self.blocked: tuple[tuple[Node, int], ...] = ()
        self.listener: Listener | None = None
        self.in_tests = 0
        self.outdated_at = 0.0


class Waiter:
    """A call that waits.

    Args:
        owner: whose call it is; see Transport.

    Attributes:
        waiters: those it stands in line with, as soon as it does.
        turn: what it waits for as a follower; None = it leads.
        is_ended: its connection was closed.
    """

    __slots__ = ("is_ended", "owner", "thread", "turn", "waiters")

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self.thread = threading.get_ident()
        self.waiters: Waiters | None = None
        self.turn: threading.Lock | None = None
        self.is_ended = False

    def check(self) -> None:
        if self.is_ended:
            raise closed()


class Waiting:
    """All waits of a process for the servers of a URL.

    Attributes:
        by_lists: the waiters of each set of wakeup lists.
    """

    def __init__(self, caller: Caller) -> None:
        self.by_lists: dict[tuple[str, ...], Waiters] = {}
        self._caller = caller
        self._lock = threading.Lock()
        self._hub_waits = HubWaits(caller)

    def waiters(self, lists: tuple[str, ...]) -> Waiters:
        waiters = self.by_lists.get(lists)
        if waiters is None:
            with self._lock:
                waiters = self.by_lists.setdefault(lists, Waiters())
        return waiters

    def is_watched(self, lists: tuple[str, ...]) -> bool:
        """Does a thread wait at the server for these wakeup lists?"""
        return self.waiters(lists).has_leader

    def watched(self) -> list[tuple[str, ...]]:
        """All wakeup lists for which a thread waits at the server."""
        return [lists for lists, waiters in list(self.by_lists.items()) if waiters.has_leader or waiters.in_tests]

    def mark_outdated(self, lists: tuple[str, ...]) -> None:
        waiters = self.waiters(lists)
        with waiters.lock:
            waiters.outdated_at = time.monotonic()
            while waiters.followers:
                waiters.followers.popleft().release()

    def wait(self, wait: Wait, clock: Clock | None, waiter: Waiter) -> tuple[Any, int]:
        start = time.monotonic()
        deadline = start + wait.timeout_ms / 1000
        wake_at = start + wait.wake_in_ms / 1000 if wait.wake_in_ms is not None and wait.wake else None
        waiters = self.waiters(wait.lists)
        if clock is not None:
            with waiters.lock:
                waiters.in_tests += 1
            try:
                result = self._lead(wait, min(deadline, start + tuning.TEST_WAIT_MS / 1000), wake_at, clock, waiters)
            finally:
                with waiters.lock:
                    waiters.in_tests -= 1
            return result, max(0, round((deadline - time.monotonic()) * 1000))
        leads = False
        turn: threading.Lock | None = None
        waiter.waiters = waiters
        try:
            while True:
                with waiters.lock:
                    waiter.check()
                    if wait.is_outdated(waiters.outdated_at):
                        return None, max(0, round((deadline - time.monotonic()) * 1000))
                    if not waiters.has_leader:
                        waiter.turn = None
                        waiters.has_leader = leads = True
                        break
                    now = time.monotonic()
                    if now >= min(deadline, wake_at or deadline):  # a timer owner that only follows looks for itself
                        return None, max(0, round((deadline - now) * 1000))
                    waiter.turn = turn = threading.Lock()
                    turn.acquire()
                    waiters.followers.append(turn)
                if not turn.acquire(timeout=min(deadline, wake_at or deadline) - now):
                    with waiters.lock:
                        if turn in waiters.followers:
                            waiters.followers.remove(turn)
            result = self._lead(wait, deadline, wake_at, clock, waiters)
            if wait.marks(result):
                waiters.outdated_at = time.monotonic()
        finally:
            waiter.waiters = None
            with waiters.lock:
                if leads:
                    waiters.has_leader = False
                    waiters.blocked = ()
                if turn is not None and turn in waiters.followers:
                    waiters.followers.remove(turn)
                if waiters.followers and not waiters.has_leader:  # also if it was our turn when we were interrupted
                    waiters.followers.popleft().release()
        return result, max(0, round((deadline - time.monotonic()) * 1000))

    def unblock(self, lists: tuple[str, ...]) -> None:
        """Let the thread that waits at the server for these wakeup lists continue as if its time were over.

        It may be about to block: call it again until it has left.
        """
        self._unblock(self.waiters(lists))

    def end(self, waiter: Waiter) -> None:
        """End the wait of one call. It may be about to wait: call this again, as unblock()."""
        waiter.is_ended = True
        waiters = waiter.waiters
        if waiters is None:
            return
        if not waiters.lock.acquire(timeout=1):  # this may be a signal handler of the thread that holds it
            return
        try:
            turn = waiter.turn
            if turn is not None and turn in waiters.followers:
                waiters.followers.remove(turn)
                turn.release()
        finally:
            waiters.lock.release()
        if turn is None and waiter.waiters is waiters:
            self._unblock(waiters)

    def _unblock(self, waiters: Waiters) -> None:
        self._hub_waits.unblock(waiters.listener)
        for node, number in waiters.blocked:
            with contextlib.suppress(rx.ResponseError, *protocol.BROKEN):  # if forbidden, it ends by itself
                node.ask("CLIENT", "UNBLOCK", number, "TIMEOUT")

    def _lead(self, wait: Wait, deadline: float, wake_at: float | None, clock: Clock | None, waiters: Waiters) -> Any:
        caller, router = self._caller, self._caller.router
        operation: Operation | None = None
        try:
            by_node = [(router.node(part[0]), part) for part in router.parts(wait.lists + wait.also)]
            # The receive travels with what waits: the server runs it the moment a token comes. Under a test clock it
            # comes later, as it needs the new time.
            if wait.then is not None and clock is None and len(by_node) == 1:
                operation = wait.then()
            connections, hubs = self._means(by_node)
        except rx.ResponseError as e:
            known = error_mapping.server(e, sent=False, where=caller.where)
            if known is None:
                raise
            raise known from None
        except protocol.BROKEN:
            router.refresh()
            return None  # the next call says why
        if hubs:
            return self._hub_waits.wait(hubs, wait, operation, deadline, wake_at, waiters)
        blocked = [Blocked(node, own, lists) for (node, lists), own in zip(by_node, connections, strict=True)]
        return BlockingWait(caller, wait, operation, blocked).run(deadline, wake_at, waiters)

    def _means(self, by_node: ByNode) -> tuple[list[PooledConnection], list[tuple[Hub, tuple[str, ...]]]]:
        """What to wait with: connections that block, or those over which all others listen."""
        channels: list[PooledConnection] = []
        hubs: list[tuple[Hub, tuple[str, ...]]] = []
        try:
            for node, _ in by_node if len(by_node) <= tuning.BLOCKING * len({node for node, _ in by_node}) else ():
                channel = node.block()
                if channel is None:
                    break
                channels.append(channel)
            if len(channels) == len(by_node):
                return channels, []
            hubs = [(hub, lists) for node, lists in by_node if (hub := node.open_hub(self._hub_waits.hub)) is not None]
            if len(hubs) < len(by_node):  # a server does not let us listen
                for node, _ in by_node[len(channels) :]:
                    channel = node.block(always=True)
                    if channel is None:
                        raise rx.ConnectionError("no connection to block on")
                    channels.append(channel)
                return channels, []
        except BaseException:
            hubs = []
            raise
        finally:
            if len(channels) < len(by_node):
                for (node, _), channel in zip(by_node, channels, strict=False):
                    node.blocking.discard(channel)
                    node.calls.give(channel)
        return [], hubs
