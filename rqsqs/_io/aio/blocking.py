"""A wait on connections that block at the server (BLPOP)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import redis.exceptions as rx

from rqsqs._core.operation import Operation, Wait
from rqsqs._io import protocol, tuning
from rqsqs._io.aio.caller import Caller
from rqsqs._io.aio.servers import Node
from rqsqs._io.protocol import BrokenOff
from rqsqs.errors import RqsqsError


class Blocked(NamedTuple):
    """A connection that blocks, and its CLIENT ID; 0 if the server does not tell."""

    node: Node
    connection: Any
    number: int
    lists: tuple[str, ...]


class BlockingWait:
    def __init__(self, caller: Caller, wait: Wait, operation: Operation | None, blocked: list[Blocked]) -> None:
        self._caller = caller
        self._router = caller.router
        self._wait = wait
        self._operation = operation
        self._blocked = blocked
        self._slot = caller.slots.take()
        self._packed = b""
        if operation is not None:
            self._packed = protocol.pack(operation, caller.router.is_cluster, self._slot)

    async def run(self, deadline: float, vacate: Callable[[], None]) -> Any:
        """Wait, receive and return the result.

        Args:
            vacate: called when the connections have stopped blocking, also if the caller was cancelled before.
        """
        caller, blocked = self._caller, tuple(self._blocked)
        exchange = caller.background(self._exchange(deadline))
        exchange.add_done_callback(lambda _: vacate())
        try:
            outcome = await asyncio.shield(exchange)
        except asyncio.CancelledError:
            caller.background(self._give_up(exchange, blocked))
            raise
        return await caller.follow(self._wait, outcome, self._operation, self._slot, is_sent=True)

    async def _exchange(self, deadline: float) -> Any:
        """The outcome: a reply, or the exception of one of the connections."""
        blocked = self._blocked
        left = max(deadline - time.monotonic(), 0.001)
        try:
            async with asyncio.timeout(left + tuning.GRACE_S):
                for one in blocked:
                    commands = [protocol.command("BLPOP", *one.lists, f"{left:.3f}")]
                    if self._operation is not None:
                        commands.append(self._packed)
                    await one.connection.send_packed_command(commands, check_health=False)
                outcome = await (self._first() if self._router.is_dynamic else self._answer(blocked[0]))
            while blocked:
                one = blocked.pop()
                await one.node.rest(one.connection, one.number)
        except (rx.ResponseError, *protocol.BROKEN) as e:
            return e
        finally:
            for one in blocked:
                await one.connection.disconnect(nowait=True)
        return outcome

    async def _answer(self, one: Blocked) -> Any:
        connection, operation, error = one.connection, self._operation, None
        reply: Any = None
        try:
            token = await connection.read_response(disable_decoding=True)
            reply = token[0].decode() if token is not None else None
        except rx.ResponseError as e:
            error = e
        if operation is not None:
            try:
                reply = await connection.read_response(disable_decoding=True)
            except rx.NoScriptError:
                await connection.send_packed_command([protocol.load(operation)], check_health=False)
                await connection.read_response(disable_decoding=True)
                await connection.send_packed_command([self._packed], check_health=False)
                reply = await connection.read_response(disable_decoding=True)
        if error is not None and (operation is None or not protocol.is_elsewhere(error)):
            raise error
        return reply

    async def _first(self) -> Any:
        """Wait until one of the lists has a token, then end the wait for the others. End it as well at a server that is
        no longer a master.

        Raises:
            ConnectionError, TimeoutError, ResponseError: one of the servers fell silent, or said why it has no answer.
        """
        blocked = self._blocked
        answers = [self._caller.background(self._answer(one)) for one in blocked]
        guard = self._caller.background(self._guard())
        try:
            await asyncio.wait((*answers, guard), return_when=asyncio.FIRST_COMPLETED)
            if not any(answer.done() for answer in answers):
                await guard  # raises
            for one, answer in zip(blocked, answers, strict=True):
                await _end(one, answer)
            told = [await answer for answer in answers]
            if self._operation is not None:
                return told[0]
            tokens = [name for name in told if name is not None]
            self._caller.background(self._caller.wake(tokens[1:]))  # the caller has use for one token only
            return tokens[0] if tokens else None
        finally:
            for task in (guard, *answers):
                task.cancel()
            await asyncio.gather(guard, *answers, return_exceptions=True)

    async def _guard(self) -> None:
        """Do the servers answer, and do they still have the lists? Raises if not."""
        while True:
            await asyncio.sleep(tuning.WATCHDOG_S)
            self._caller.counters.count("wait_checks")
            for one in self._blocked:
                try:
                    await one.node.ask("PING")
                except rx.ResponseError:
                    pass  # an answer is an answer
                except protocol.BROKEN as e:
                    raise BrokenOff(f"{one.node.where} is silent") from e
            await self._router.refresh(tuning.WATCHDOG_S)
            for one in self._blocked:
                if await self._router.node(one.lists[0]) is not one.node:
                    raise BrokenOff(f"{one.node.where} does not have {one.lists[0]} any more")

    async def _give_up(self, exchange: asyncio.Task[Any], blocked: tuple[Blocked, ...]) -> None:
        """The wait was cancelled: messages that were received meanwhile go back, and tokens are put out again."""
        outcome: Any = self._slot
        try:
            for one in blocked:
                await _end(one, exchange)
            outcome = await exchange
        except (RqsqsError, rx.RedisError, OSError):
            exchange.cancel()
            await asyncio.wait((exchange,))
        if self._operation is not None:
            is_lost = isinstance(outcome, protocol.BROKEN)
            self._caller.give_back(self._operation, self._slot if is_lost else outcome)
        await self._caller.wake(self._wait.lists)


async def _end(one: Blocked, answer: asyncio.Task[Any]) -> None:
    """Unblock a connection: then it has its answer."""
    end = time.monotonic() + tuning.ASK_S
    while not answer.done():
        if not one.number or time.monotonic() > end:
            raise rx.ConnectionError(f"a wait at {one.node.where} cannot be ended")
        await one.node.ask("CLIENT", "UNBLOCK", one.number, "TIMEOUT")
        await asyncio.wait((answer,), timeout=0.05)  # it may be about to block
