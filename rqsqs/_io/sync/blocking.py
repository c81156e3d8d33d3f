"""A wait on connections that block at the server (BLPOP)."""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import redis.exceptions as rx

from rqsqs._core.operation import Operation, Wait
from rqsqs._io import protocol, tuning
from rqsqs._io.protocol import BrokenOff
from rqsqs._io.sync.caller import Caller
from rqsqs._io.sync.pools import PooledConnection
from rqsqs._io.sync.servers import Node
from rqsqs.errors import RqsqsError

if TYPE_CHECKING:
    from rqsqs._io.sync.waiting import Waiters


class Blocked:
    """A connection that blocks.

    Attributes:
        number: its CLIENT ID while it blocks; 0 if the server does not tell.
    """

    __slots__ = ("channel", "lists", "node", "number")

    def __init__(self, node: Node, channel: PooledConnection, lists: tuple[str, ...]) -> None:
        self.node = node
        self.channel = channel
        self.lists = lists
        self.number = 0


class BlockingWait:
    """One wait.

    Args:
        operation: the receive that is sent behind BLPOP: the server runs it the moment a token comes.
        blocked: one connection for each hash slot of the wakeup lists.
    """

    def __init__(self, caller: Caller, wait: Wait, operation: Operation | None, blocked: list[Blocked]) -> None:
        self._caller = caller
        self._router = caller.router
        self._wait = wait
        self._operation = operation
        self._blocked = blocked
        self._packed = b""

    def run(self, deadline: float, wake_at: float | None, waiters: Waiters) -> Any:
        operation, blocked = self._operation, self._blocked
        slot = self._caller.slots.take()
        outcome: Any
        try:
            if operation is not None:
                self._packed = protocol.pack(operation, self._router.is_cluster, slot)
            left = max(deadline - time.monotonic(), 0.001)
            for one in blocked:
                one.number = _client_id(one.channel)
                waiters.blocked = tuple((b.node, b.number) for b in blocked if b.number)
                commands = [protocol.command("BLPOP", *one.lists, f"{left:.3f}")]
                if operation is not None:
                    commands.append(self._packed)
                one.channel.connection.send_packed_command(commands, check_health=False)
            first = self._first(deadline + tuning.GRACE_S, wake_at)
            outcome = self._answer(first)
            for one in blocked if len(blocked) > 1 else ():
                if one is not first:
                    self._end(one)
                    token = self._answer(one)
                    if token is not None:  # the caller has use for one token only
                        self._caller.wake([token])
            while blocked:
                one = blocked.pop()
                one.node.blocking.discard(one.channel)
                one.node.calls.give(one.channel)
        except BaseException as e:
            if not isinstance(e, (rx.ResponseError, *protocol.BROKEN)) or protocol.is_from_outside(e):
                self._give_up()
                raise
            outcome = e
        finally:
            for one in blocked:
                one.node.blocking.discard(one.channel)
                one.node.calls.drop(one.channel)
        return self._caller.follow(self._wait, outcome, operation, slot, is_sent=True)

    def _answer(self, one: Blocked) -> Any:
        """Read what a connection that blocked tells: what the operation behind it got, or the list with a token if
        there is no operation."""
        one.number, error = 0, None
        reply: Any = None
        operation, connection = self._operation, one.channel.connection
        try:
            token = connection.read_response(disable_decoding=True)
            if operation is None and token is not None:
                reply = token[0].decode()
        except rx.ResponseError as e:
            error = e
        if operation is not None:
            try:
                reply = connection.read_response(disable_decoding=True)
            except rx.NoScriptError:
                reply = one.channel.load_and_ask(protocol.load(operation), self._packed)
        if error is not None and (operation is None or not protocol.is_elsewhere(error)):
            raise error
        return reply

    def _end(self, one: Blocked) -> None:
        """Unblock a connection: then it has something to read.

        Raises:
            ConnectionError, TimeoutError, ResponseError: that cannot be done.
        """
        end = time.monotonic() + tuning.ASK_S
        while one.number and time.monotonic() < end:  # it may be about to block
            one.node.ask("CLIENT", "UNBLOCK", one.number, "TIMEOUT")
            if one.channel.connection.can_read(0.05):
                return
        raise rx.ConnectionError(f"a wait at {one.node.where} cannot be ended")

    def _give_up(self) -> None:
        """The wait was interrupted: messages that were received meanwhile go back, and tokens are put out again."""
        for one in self._blocked:
            with contextlib.suppress(rx.RedisError, OSError, RqsqsError):
                self._end(one)
                reply = self._answer(one)
                if self._operation is not None:
                    self._caller.give_back(self._operation, reply)
        if self._blocked:
            self._caller.wake(self._wait.lists)

    def _first(self, end: float, wake_at: float | None) -> Blocked:
        """Wait until one of the connections has something to read. Meanwhile keep due times, and end the wait at a
        server that is no longer a master.

        Raises:
            ConnectionError, TimeoutError: one of the servers fell silent.
        """
        is_dynamic = self._router.is_dynamic
        while True:
            now = time.monotonic()
            until = min(end, wake_at or end, now + tuning.WATCHDOG_S if is_dynamic else end)
            found = _readable(self._blocked, max(until - now, 0))
            if found is not None:
                return found
            now = time.monotonic()
            if now >= end:
                raise rx.ConnectionError("a blocked connection fell silent")
            if wake_at is not None and now >= wake_at:
                assert self._wait.wake is not None
                again = self._caller.execute(self._wait.wake)
                wake_at = time.monotonic() + again / 1000 if again else None
            elif is_dynamic:
                self._check()

    def _check(self) -> None:
        """Do the servers answer, and do they still have the lists?"""
        self._caller.counters.count("wait_checks")
        for one in self._blocked:
            try:
                one.node.ask("PING")
            except rx.ResponseError:
                pass  # an answer is an answer
            except protocol.BROKEN as e:
                raise BrokenOff(f"{one.node.where} is silent") from e
        self._router.refresh(tuning.WATCHDOG_S)
        for one in self._blocked:
            if self._router.node(one.lists[0]) is not one.node:
                raise BrokenOff(f"{one.node.where} does not have {one.lists[0]} any more")


def _readable(blocked: Sequence[Blocked], timeout: float) -> Blocked | None:
    """The first connection with something to read."""
    if len(blocked) == 1:
        return blocked[0] if blocked[0].channel.connection.can_read(timeout) else None
    for one in blocked:
        if one.channel.connection.can_read(0):
            return one
    with selectors.DefaultSelector() as selector:
        for one in blocked:
            selector.register(one.channel.connection._sock, selectors.EVENT_READ, one)
        for key, _ in selector.select(timeout):
            found: Blocked = key.data
            return found
    return None


def _client_id(channel: PooledConnection) -> int:
    """The server's number of a connection, asked for once; 0 if it does not tell."""
    if channel.client_id is None:
        channel.connection.send_command("CLIENT", "ID")
        try:
            channel.client_id = int(channel.connection.read_response(disable_decoding=True))
        except (rx.ResponseError, ValueError):
            channel.client_id = 0
    return channel.client_id
