"""One call after another: takes a connection, sends, and tries again where that is right.

All tasks share one connection: requests are written as they come and replies are read in order (a *pipe*). A task that
is cancelled loses nothing: what the server had already handed out to it is given back at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

import redis.exceptions as rx

from rqsqs._core.operation import Operation, Wait
from rqsqs._io import connect, protocol, tuning
from rqsqs._io.aio.pipes import HIGH_WATER, Pipe, exchange, replies_to
from rqsqs._io.aio.routing import Router
from rqsqs._io.aio.servers import Node
from rqsqs._io.attempts import FAILED, UNANSWERED, Attempts, Opening, failure, parsed
from rqsqs._io.counters import Counters
from rqsqs._io.protocol import CallSlot
from rqsqs._io.waits import REFRESH, ended
from rqsqs.errors import RqsqsError
from rqsqs.models import DurabilityResult

log = logging.getLogger("rqsqs")
STRANDED = "what a cancelled receive got stays invisible until its visibility timeout"


class Caller:
    """Makes calls to the servers of a URL, from any number of tasks.

    Attributes:
        where: the URL, for messages.
        slots: for calls that do not take their turn on a pipe.
        is_closed: the connections were closed, or are about to be.
    """

    def __init__(self, url: str, settings: dict[str, Any]) -> None:
        self.where = connect.shown(url)
        self.counters = Counters()
        self.router = Router(url, settings, self.counters, self.give_back)
        self.slots = protocol.CallSlots()
        self.is_closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Hang up, when what runs in the background is done."""
        self.is_closed = True
        for pipe in [node.current_pipe for node in self.router.used]:
            if pipe is not None:
                await pipe.answered()
        while self._tasks:
            await asyncio.wait(set(self._tasks), timeout=2)
            for task in list(self._tasks):
                task.cancel()
        await self.router.close()

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine beside the caller and keep it alive."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def open(self, key: str) -> None:
        router, opening = self.router, Opening(self)
        while True:
            node = None
            try:
                node = await router.node(key, opening.until)
                if not node.has_answered and not router.is_dynamic:
                    await node.pipe(opening.until)
                return await node.look(key)
            except FAILED as e:
                pause = opening.after(e, None if node is None else node.where)
            if pause is None:
                return None
            await asyncio.sleep(pause)
            await router.refresh(until=opening.until)

    async def execute(self, operation: Operation, slot: CallSlot | None = None) -> Any:
        router = self.router
        attempts = Attempts(self, operation, slot) if slot is not None else None
        while True:
            node: Node | None = None
            pipe: Pipe | None = None
            answer: asyncio.Future[Any] | None = None
            slot = None
            try:
                node = router.only or await router.node(operation.keys[0])
                if operation.durability is not None:  # waits on its connection, and so not on that of all
                    since = time.monotonic()
                    async with node.durable:
                        connection, number = await node.rested(since)
                        slot = self.slots.take()
                        if attempts is None:
                            packed = protocol.pack(operation, router.is_cluster, slot)
                        else:
                            packed = attempts.packed(slot)
                        try:
                            result = await self._confirmed(connection, node.timeout, operation, packed)
                        except rx.ResponseError as e:
                            if isinstance(e, rx.ReadOnlyError):  # a name may point elsewhere by now
                                await connection.disconnect(nowait=True)
                            else:
                                await node.rest(connection, number)
                            raise
                        except BaseException:
                            await connection.disconnect(nowait=True)
                            raise
                        await node.rest(connection, number)
                    self.slots.give(slot)
                    return result
                pipe = node.current_pipe
                if pipe is None or pipe.failure is not None:
                    pipe = await node.pipe()
                free = pipe.slots.free
                slot = free.pop() if free else CallSlot()
                if attempts is None:
                    packed, asked = protocol.pack(operation, router.is_cluster, slot), slot
                else:
                    packed, asked = attempts.packed(slot), attempts.slot or slot
                answer = pipe.ask(packed, operation, asked)
                try:
                    if pipe.buffered() > HIGH_WATER:
                        await pipe.drain()
                    reply = await answer
                except rx.NoScriptError:
                    reply = await self._load_and_repeat(pipe, operation, packed, asked)
                break
            except asyncio.CancelledError:
                if answer is not None and pipe is not None:
                    pipe.not_wanted(answer, operation, asked)
                elif attempts is not None and attempts.slot is not None:
                    self.give_back(operation, attempts.slot)
                raise
            except rx.ResponseError as e:
                if slot is not None:
                    (self if pipe is None else pipe).slots.give(slot)
                if isinstance(e, rx.ReadOnlyError) and pipe is not None and node is not None:
                    node.drop(pipe)  # a name may point elsewhere by now
                attempts = attempts or Attempts(self, operation)
                pause = attempts.after(e, None if node is None else node.where, None)
            except protocol.BROKEN as e:
                if slot is not None and pipe is None:
                    self.counters.count("connections_lost")
                attempts = attempts or Attempts(self, operation)
                pause = attempts.after(e, None if node is None else node.where, slot)
            try:
                await asyncio.sleep(pause)
                if attempts.is_refused:
                    await router.follow(attempts.error, operation.keys[0], node)
                else:
                    await router.refresh()
            except asyncio.CancelledError:
                if attempts.slot is not None:
                    self.give_back(operation, attempts.slot)
                raise
        if operation.keeps_answer:
            self.forget(protocol.forgetting(operation, asked, reply))
        free.append(slot)
        if node.unawaited is not None:
            node.warn(operation)
        return reply if operation.parse is None else operation.parse(reply)

    async def _confirmed(
        self, connection: Any, limit: float | None, operation: Operation, packed: bytes
    ) -> tuple[Any, DurabilityResult]:
        """Run an operation, and wait until what it wrote is as safe as it has to be, or its time is over."""
        assert operation.durability is not None
        try:
            async with asyncio.timeout(limit):
                (reply,) = await replies_to(connection, [packed])
                for _ in range(tuning.LOADS):  # it may be flushed again
                    if not isinstance(reply, rx.NoScriptError):
                        break
                    _, reply = await replies_to(connection, [protocol.load(operation), packed])
            if isinstance(reply, rx.ResponseError):
                raise reply
            async with asyncio.timeout(operation.durability.timeout + tuning.GRACE_S):
                reached = await exchange(connection, protocol.confirmation(operation, self.router.is_dynamic))
        except TimeoutError:
            raise rx.TimeoutError("no answer in time") from None
        return reply if operation.parse is None else operation.parse(reply), reached

    async def _load_and_repeat(self, pipe: Pipe, operation: Operation, packed: bytes, slot: CallSlot) -> Any:
        turns = tuning.LOADS
        while True:
            await pipe.ask(protocol.load(operation))
            answer = pipe.ask(packed, operation, slot)
            try:
                return await answer
            except asyncio.CancelledError:
                pipe.not_wanted(answer, operation, slot)
                raise
            except rx.NoScriptError:  # flushed again
                turns -= 1
                if not turns:
                    raise

    async def execute_at_once(self, operations: Sequence[Operation]) -> list[Any]:
        results: list[Any] = [UNANSWERED] * len(operations)
        shares = self.router.shares(operations)
        await asyncio.gather(*[self._share(node, numbers, operations, results) for node, numbers in shares.items()])
        return results

    async def _share(
        self, node: Node | None, numbers: list[int], operations: Sequence[Operation], results: list[Any]
    ) -> None:
        """Do what one server can do, and put the results into their places."""
        if node is not None:
            wanted = [operations[i] for i in numbers]
            for i, reply in zip(numbers, await self._replies(node, wanted), strict=False):  # without any if it broke
                results[i] = parsed(operations[i], reply)
        error: RqsqsError | None = None
        for i in numbers:
            if results[i] is UNANSWERED:
                results[i] = error or await self._outcome(operations[i])
                error = failure(results[i])

    async def _replies(self, node: Node, operations: Sequence[Operation]) -> list[Any]:
        steps = protocol.at_once(operations, self.router.is_cluster, node.scripts)
        answers: list[asyncio.Future[Any]] = []
        replies: list[Any] = []
        try:
            pipe = await node.pipe()
            answers = pipe.ask_at_once(next(steps))
            if pipe.buffered() > HIGH_WATER:
                await pipe.drain()
            for answer in answers:
                try:
                    replies.append(await answer)
                except rx.ResponseError as e:
                    replies.append(e)
            steps.send(replies)
        except StopIteration as end:
            return list(end.value)
        except FAILED:
            pass
        finally:
            for answer in answers:
                if not answer.cancel() and not answer.cancelled():
                    answer.exception()  # nobody needs it any more
        return []

    async def _outcome(self, operation: Operation) -> Any:
        try:
            return await self.execute(operation)
        except RqsqsError as e:
            return e

    async def follow(self, wait: Wait, outcome: Any, operation: Operation | None, slot: CallSlot, is_sent: bool) -> Any:
        steps = ended(self, wait, outcome, operation, slot, is_sent=is_sent)
        result: Any = None
        try:
            while True:
                step = steps.send(result)
                if step is REFRESH:
                    await self.router.refresh()
                else:
                    result = await self.execute(*step)
        except StopIteration as end:
            return end.value

    def forget(self, forgetting: Operation | None) -> None:
        if forgetting is not None:
            self.background(self.quietly(forgetting, "a large answer stays in the server's memory for two minutes"))

    def give_back(self, operation: Operation, reply: Any) -> None:
        """No caller is left to take a reply: give back the messages in it.

        Args:
            reply: or the call slot, if the reply was lost: then it is asked for again.
        """
        if operation.undo is None or isinstance(reply, Exception):
            return
        if isinstance(reply, CallSlot):
            if not self.is_closed:
                self.background(self._take_back(operation, reply))
        else:
            for undo in operation.undo(reply if operation.parse is None else operation.parse(reply)):
                self.background(self.quietly(undo))

    async def _take_back(self, operation: Operation, slot: CallSlot) -> None:
        try:
            result = await self.execute(operation, slot)
        except RqsqsError:
            log.warning(STRANDED, exc_info=True)
            return
        for undo in operation.undo(result) if operation.undo is not None else ():
            await self.quietly(undo)

    async def quietly(
        self,
        operation: Operation,
        otherwise: str = STRANDED,
    ) -> None:
        """Run an operation; if it fails, the log says what follows."""
        try:
            await self.execute(operation)
        except RqsqsError:
            log.warning(otherwise, exc_info=True)

    async def wake(self, lists: Iterable[str]) -> None:
        for name in lists:
            with contextlib.suppress(RqsqsError):
                await self.execute(Operation("wake_waiter", (name, name), ("", "", "")))
