"""The asyncio runner: drives flows for any number of tasks of one event loop.

All tasks share one connection: requests are written as they come and answers read in order (a *pipe*). Waiting takes
one connection more for each of the first few sets of bells, however many tasks wait, and one for all others. A task
that is cancelled loses nothing: what the server had already handed out to it is given back at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Coroutine, Sequence
from types import GeneratorType
from typing import Any, ClassVar, NamedTuple, TypeVar

import redis.exceptions as rx

from rqsqs._core import scripts
from rqsqs._core.keys import Clock, Keyspace, QueueRef
from rqsqs._core.operation import Flow, IsWatched, Operation, Sleep, Spawn, Wait
from rqsqs._io import connect, error_mapping, protocol, tuning
from rqsqs._io.aio.hubs import Hub
from rqsqs._io.aio.pipes import HIGH_WATER, Pipe, exchange, replies_to
from rqsqs._io.aio.routing import router_of
from rqsqs._io.aio.servers import Node
from rqsqs._io.attempts import FAILED, Attempts, Opening
from rqsqs._io.counters import Counters
from rqsqs._io.directory import by_slot
from rqsqs._io.listening import Listener
from rqsqs._io.protocol import CLOSED, BrokenOff, CallSlot
from rqsqs.errors import RqsqsError, UsageError
from rqsqs.models import DurabilityResult, Statistics

T = TypeVar("T")
log = logging.getLogger("rqsqs")


class _Post:
    """Where the tasks that wait on one set of bells line up: one leads and blocks on the server, the others follow."""

    __slots__ = ("followers", "has_leader")

    def __init__(self) -> None:
        self.has_leader = False
        self.followers: deque[asyncio.Future[None]] = deque()

    def call_next(self) -> None:
        """The leader leaves: one of the followers takes over."""
        while self.followers:
            follower = self.followers.popleft()
            if not follower.done():
                follower.set_result(None)
                return


class _Blocked(NamedTuple):
    """A connection that blocks, and its CLIENT ID."""

    node: Node
    connection: Any
    number: int
    bells: tuple[str, ...]


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


class Link:
    """One server, or several, as seen from one event loop."""

    _shared: ClassVar[weakref.WeakKeyDictionary[Any, dict[tuple[Any, ...], Link]]] = weakref.WeakKeyDictionary()

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = url
        self.where = connect.shown(url)
        settings, self.server = connect.settings_of(url, options)
        self.counters = Counters()
        self.router = router_of(url, settings, self.counters, self._orphaned)
        self.users = 0
        self.pid = os.getpid()
        self.posts: dict[tuple[str, ...], _Post] = {}
        self.slots = protocol.CallSlots()  # for calls that do not take their turn on a pipe
        self.tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    def share(cls, url: str, options: dict[str, Any]) -> Link:
        """The link of this URL in this event loop, opened if there is none."""
        links = cls._shared.setdefault(asyncio.get_running_loop(), {})
        key = (url, *sorted((k, repr(v)) for k, v in options.items()))
        link = links.get(key)
        if link is None or link.users == 0:
            link = links[key] = cls(url, options)
        link.users += 1
        return link

    async def release(self) -> None:
        """One user less; the last one closes the connections."""
        self.users -= 1
        if self.users > 0:
            return
        while self.tasks:
            await asyncio.wait(set(self.tasks), timeout=2)
            for task in list(self.tasks):
                task.cancel()
        await self.router.close()
        if self.server is not None:
            self.server.release()

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine beside the caller and keep it alive."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def open(self, key: str) -> None:
        """Make sure that a server answers, within one limit for everything that is tried, and that what is stored has a
        format that we know.

        Args:
            key: which tells the format.
        """
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

    # Operations

    async def execute(self, operation: Operation, slot: CallSlot | None = None) -> Any:
        """Run one operation, and again if its answer is lost, also where it has moved to.

        Args:
            slot: that of an earlier attempt of the same call, whose answer was lost.
        """
        router = self.router
        attempts = Attempts(self, operation, slot) if slot is not None else None
        while True:
            node: Node | None = None
            pipe: Pipe | None = None
            slot = None
            try:
                node = router.only or await router.node(operation.keys[0])
                if operation.durability is not None:  # waits on its connection, and so not on that of all
                    async with node.durable:
                        connection, number = await node.rested()
                        slot = self.slots.take()
                        if attempts is None:
                            packed = protocol.pack(operation, router.is_cluster, slot)
                        else:
                            packed = attempts.packed(slot)
                        try:
                            result = await self._confirmed(connection, node.patience, operation, packed)
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
                packed = (
                    protocol.pack(operation, router.is_cluster, slot) if attempts is None else attempts.packed(slot)
                )
                answer = pipe.ask(packed, operation)
                try:
                    if pipe.buffered() > HIGH_WATER:
                        await pipe.drain()
                    reply = await answer
                except asyncio.CancelledError:
                    pipe.not_wanted(answer, operation)
                    raise
                except rx.NoScriptError:
                    reply = await self._load_and_repeat(pipe, operation, packed)
                break
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
            await asyncio.sleep(pause)
            if attempts.is_refused:
                await router.follow(attempts.error, operation.keys[0], node)
            else:
                await router.refresh()
        if operation.keeps_answer:
            asked = attempts.slot if attempts is not None and attempts.slot is not None else slot
            self._forget(protocol.forgetting(operation, asked, reply))
        free.append(slot)
        if node.unawaited is not None:
            node.warn(operation)
        return reply if operation.parse is None else operation.parse(reply)

    def _forget(self, forgetting: Operation | None) -> None:
        """The answer has arrived: the server need not keep a large one."""
        if forgetting is not None:
            self.background(self._quietly(forgetting, "a large answer stays in the server's memory for two minutes"))

    async def _confirmed(
        self, connection: Any, patience: float | None, operation: Operation, packed: bytes
    ) -> tuple[Any, DurabilityResult]:
        """Run an operation, and wait until what it wrote is as safe as it has to be, or its time is over."""
        assert operation.durability is not None
        try:
            async with asyncio.timeout(patience):
                (reply,) = await replies_to(connection, [packed])
                if isinstance(reply, rx.NoScriptError):
                    _, reply = await replies_to(connection, [protocol.load(operation), packed])
            if isinstance(reply, rx.ResponseError):
                raise reply
            async with asyncio.timeout(operation.durability.timeout + tuning.GRACE_S):
                reached = await exchange(connection, protocol.confirmation(operation, self.router.is_dynamic))
        except TimeoutError:
            raise rx.TimeoutError("no answer in time") from None
        return reply if operation.parse is None else operation.parse(reply), reached

    async def _load_and_repeat(self, pipe: Pipe, operation: Operation, packed: bytes) -> Any:
        turns = tuning.LOADS
        while True:
            await pipe.ask(protocol.load(operation))
            answer = pipe.ask(packed, operation)
            try:
                return await answer
            except asyncio.CancelledError:
                pipe.not_wanted(answer, operation)
                raise
            except rx.NoScriptError:  # flushed again
                turns -= 1
                if not turns:
                    raise

    def _orphaned(self, operation: Operation, reply: Any) -> None:
        """An answer came and nobody is there any more to take it."""
        if operation.undo is None:
            return
        result = reply if operation.parse is None else operation.parse(reply)
        for undo in operation.undo(result):
            self.background(self._quietly(undo))

    async def _quietly(
        self,
        operation: Operation,
        otherwise: str = "what a cancelled receive got stays invisible until its visibility timeout",
    ) -> None:
        try:
            await self.execute(operation)
        except RqsqsError:
            log.warning(otherwise, exc_info=True)

    # Waiting

    def is_watched(self, bells: tuple[str, ...]) -> bool:
        """Does a task block on these bells?"""
        post = self.posts.get(bells)
        return post is not None and post.has_leader

    def watched(self) -> list[tuple[str, ...]]:
        """All bells on which a task blocks."""
        return [bells for bells, post in self.posts.items() if post.has_leader]

    async def wait(self, wait: Wait, clock: Clock | None) -> tuple[Any, int]:
        """See Wait."""
        start = time.monotonic()
        deadline = start + wait.timeout_ms / 1000
        wake_at = start + wait.wake_in_ms / 1000 if wait.wake_in_ms is not None and wait.wake else None
        if clock is not None:  # it may be put forward at any moment
            await asyncio.sleep(min(wait.timeout_ms, tuning.TEST_WAIT_MS) / 1000)
            result = await self.execute(wait.then()) if wait.then is not None else None
            return result, max(0, round((deadline - time.monotonic()) * 1000))
        post = self.posts.setdefault(wait.lists, _Post())
        until = deadline if wait.wake_in_ms is None else min(deadline, time.monotonic() + wait.wake_in_ms / 1000)
        while post.has_leader:
            left = until - time.monotonic()
            if left <= 0:  # over, or a keeper that only follows: it looks for itself
                return None, max(0, round((deadline - time.monotonic()) * 1000))
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            post.followers.append(turn)
            try:
                async with asyncio.timeout(left):
                    await turn
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    post.call_next()  # it was our turn: pass it on
                raise
        post.has_leader = True
        try:
            result = await self._lead(wait, deadline, wake_at)
        finally:
            post.has_leader = False
            post.call_next()
        return result, max(0, round((deadline - time.monotonic()) * 1000))

    async def _lead(self, wait: Wait, deadline: float, wake_at: float | None) -> Any:
        # BLPOP and the receive that follows it travel together: the server runs the receive the moment a token comes.
        operation: Operation | None = None
        blocked: list[_Blocked] = []
        occupied: list[Node] = []
        try:
            by_node = await self._by_node(wait.lists + wait.also)
            hubs: list[tuple[Hub, tuple[str, ...]]] = []
            if not _occupy([node for node, _ in by_node], occupied):
                hubs = [(hub, lists) for node, lists in by_node if (hub := await node.open_hub(self._hub)) is not None]
                if len(hubs) < len(by_node):  # somebody does not let us listen
                    _occupy([node for node, _ in by_node], occupied, always=True)
                    hubs = []
            for node, bells in () if hubs else by_node:
                blocked.append(_Blocked(node, *await node.rested(), bells))
        except BaseException as e:
            for one in blocked:
                await one.node.rest(one.connection, one.number)
            _vacate(occupied)
            if isinstance(e, (*protocol.BROKEN, rx.ResponseError)):
                await self.router.refresh()
                return None  # the next operation says why
            raise
        if hubs:
            return await self._listen(hubs, wait, deadline, wake_at)
        if wait.then is not None and len(by_node) == 1:
            operation = wait.then()
        exchange = self.background(self._exchange(blocked, wait, operation, deadline, wake_at))
        exchange.add_done_callback(lambda _: _vacate(occupied))
        try:
            result = await asyncio.shield(exchange)
        except asyncio.CancelledError:
            self.background(self._give_up(exchange, tuple(blocked), wait, operation))
            raise
        if operation is None and wait.then is not None:
            return await self.execute(wait.then())
        return result

    def _hub(self, connection: Any) -> Hub:
        hub = Hub(connection, lambda bells: self.background(self.ring(bells)), self._orphaned_listener)
        if self.router.is_dynamic:
            hub.beside(self._guard_hub(hub))
        return hub

    def _orphaned_listener(self, listener: Listener, reply: Any) -> None:
        if listener.operation is not None and not isinstance(reply, Exception):
            self._orphaned(listener.operation, reply)
        self.background(self.ring(listener.bells))  # its receive may have taken on a duty

    async def _listen(
        self, hubs: list[tuple[Hub, tuple[str, ...]]], wait: Wait, deadline: float, wake_at: float | None
    ) -> Any:
        """Wait without a connection of one's own (listening.py)."""
        operation = wait.then() if wait.then is not None and len(hubs) == 1 else None
        slot = self.slots.take()
        packed = protocol.pack(operation, self.router.is_cluster, slot) if operation is not None else b""
        told = asyncio.Event()
        listener = Listener(packed, told.set, operation, wait.lists)
        watch = None
        if wake_at is not None and wait.wake is not None:
            watch = self.background(self._watch(wait.wake, wake_at - time.monotonic()))
        try:
            for hub, lists in hubs:
                hub.listen(listener, lists)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline - time.monotonic()):
                    await told.wait()
            if listener.is_receiving and not listener.is_done:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(tuning.GRACE_S):
                        await told.wait()
        except asyncio.CancelledError:
            if not listener.finish(None):
                self._not_wanted(listener)
            raise
        except protocol.BROKEN as e:
            listener.finish(e)
        finally:
            if watch is not None:
                watch.cancel()
            for hub, _ in hubs:
                hub.leave(listener)
                if not listener.is_done:  # nothing came: is the server there?
                    hub.probe()
        if not listener.is_done:
            listener.finish(rx.TimeoutError("no answer in time") if listener.is_receiving else None)
        return await self._outcome(listener, slot, wait)

    def _not_wanted(self, listener: Listener) -> None:
        """A waiter was cancelled when its outcome had come."""
        if listener.is_receiving:
            self._orphaned_listener(listener, listener.outcome)
        elif isinstance(listener.outcome, str):
            self.background(self.ring([listener.outcome]))

    async def _outcome(self, listener: Listener, slot: CallSlot, wait: Wait) -> Any:
        outcome, operation = listener.outcome, listener.operation
        if isinstance(outcome, Exception) and self.users <= 0:
            raise asyncio.CancelledError("the connection was closed")
        if isinstance(outcome, rx.NoScriptError):  # nothing was done
            self.slots.give(slot)
        elif isinstance(outcome, rx.ResponseError):
            if protocol.is_elsewhere(outcome):
                self.counters.count("broken_waits")
                await self.router.refresh()
                return None  # the next operation finds out
            if operation is None:
                raise error_mapping.server(outcome, sent=True, where=self.where) or outcome from outcome
            raise error_mapping.refused(outcome, scripts.get(operation.script), operation.keys, self.where) from outcome
        elif isinstance(outcome, Exception):
            self.counters.count("broken_waits" if isinstance(outcome, BrokenOff) else "connections_lost")
            await self.router.refresh()
            if operation is not None and listener.is_receiving:
                self.counters.count("repeated_calls")
                return await self.execute(operation, slot)
            self.slots.give(slot)
        elif listener.is_receiving and operation is not None:
            self._forget(protocol.forgetting(operation, slot, outcome))
            self.slots.give(slot)
            return outcome if operation.parse is None else operation.parse(outcome)
        else:
            self.slots.give(slot)
            if wait.then is None:
                return outcome
        # The time is over, or the connection broke before there was anything to receive.
        return await self.execute(operation or wait.then()) if wait.then is not None else None

    async def _guard_hub(self, hub: Hub) -> None:
        while True:
            await asyncio.sleep(tuning.WATCHDOG_S)
            if not hub.switch.is_used:
                continue
            self.counters.count("wait_checks")
            hub.probe()  # if it does not answer, the hub fails
            await self.router.refresh(tuning.WATCHDOG_S)
            gone = []
            for bell in hub.switch.lists:
                with contextlib.suppress(*protocol.BROKEN, rx.ResponseError, RqsqsError):
                    if (await self.router.node(bell)).hub is hub:
                        continue
                gone.append(bell)
            if gone:
                hub.switch.fail(BrokenOff("the server does not have the wakeup list any more"), gone)

    async def _by_node(self, bells: tuple[str, ...]) -> list[tuple[Node, tuple[str, ...]]]:
        """Bells that one connection can block on: those of one slot."""
        if not self.router.is_cluster:
            return [(await self.router.node(bells[0]), bells)]
        return [(await self.router.node(found[0]), found) for found in by_slot(bells)]

    async def _exchange(
        self,
        blocked: list[_Blocked],
        wait: Wait,
        operation: Operation | None,
        deadline: float,
        wake_at: float | None,
    ) -> Any:
        left = max(deadline - time.monotonic(), 0.001)
        slot = self.slots.take()
        packed = protocol.pack(operation, self.router.is_cluster, slot) if operation is not None else b""
        beside = []
        is_broken = False
        if wake_at is not None and wait.wake is not None:
            beside.append(self.background(self._watch(wait.wake, wake_at - time.monotonic())))
        try:
            async with asyncio.timeout(left + tuning.GRACE_S):
                for one in blocked:
                    commands = [protocol.command("BLPOP", *one.bells, f"{left:.3f}")]
                    if operation is not None:
                        commands.append(packed)
                    await one.connection.send_packed_command(commands, check_health=False)
                if self.router.is_dynamic:
                    reply = await self._first(blocked, operation, packed)
                else:
                    reply = await self._answer(blocked[0], operation, packed)
            while blocked:
                one = blocked.pop()
                await one.node.rest(one.connection, one.number)
        except rx.ResponseError as e:
            if protocol.is_unblocked(e) or (self.router.is_dynamic and protocol.is_elsewhere(e)):
                self.counters.count("broken_waits")
                return None  # the next operation finds out
            if operation is None:
                raise error_mapping.server(e, sent=True, where=self.where) or e from e
            raise error_mapping.refused(e, scripts.get(operation.script), operation.keys, self.where) from e
        except protocol.BROKEN as e:
            self.counters.count("broken_waits" if isinstance(e, BrokenOff) else "connections_lost")
            await self.router.refresh()
            is_broken = True
        finally:
            for task in beside:
                task.cancel()
            for one in blocked:
                await one.connection.disconnect(nowait=True)
        if is_broken:  # what waited can receive no more: the next operation reconnects, or says why it cannot
            if operation is None:
                return None
            self.counters.count("repeated_calls")
            return await self.execute(operation, slot)
        if operation is None:
            return reply
        self._forget(protocol.forgetting(operation, slot, reply))
        self.slots.give(slot)
        return reply if operation.parse is None else operation.parse(reply)

    async def _answer(self, one: _Blocked, operation: Operation | None, packed: bytes) -> Any:
        """Read what a connection that blocked tells: what the operation behind it got, or the bell if there is none."""
        connection, trouble = one.connection, None
        reply: Any = None
        try:
            rung = await connection.read_response(disable_decoding=True)
            reply = rung[0].decode() if rung is not None else None
        except rx.ResponseError as e:
            trouble = e
        if operation is not None:
            try:
                reply = await connection.read_response(disable_decoding=True)
            except rx.NoScriptError:
                await connection.send_packed_command([protocol.load(operation)], check_health=False)
                await connection.read_response(disable_decoding=True)
                await connection.send_packed_command([packed], check_health=False)
                reply = await connection.read_response(disable_decoding=True)
        if trouble is not None and (operation is None or not protocol.is_elsewhere(trouble)):
            raise trouble
        return reply

    async def _first(self, blocked: list[_Blocked], operation: Operation | None, packed: bytes) -> Any:
        """Wait until one of the bells has rung, then end the waiting for the others. See to it that nobody waits for a
        server that is no master any more.

        Raises:
            ConnectionError, TimeoutError, ResponseError: one of the servers fell silent, or said why it has no answer.
        """
        answers = [self.background(self._answer(one, operation, packed)) for one in blocked]
        guard = self.background(self._guard(blocked))
        try:
            await asyncio.wait((*answers, guard), return_when=asyncio.FIRST_COMPLETED)
            if not any(answer.done() for answer in answers):
                await guard  # raises
            for one, answer in zip(blocked, answers, strict=True):
                await self._end(one, answer)
            told = [await answer for answer in answers]
            if operation is not None:
                return told[0]
            rung = [bell for bell in told if bell is not None]
            self.background(self.ring(rung[1:]))  # the caller has use for one token only
            return rung[0] if rung else None
        finally:
            for task in (guard, *answers):
                task.cancel()
            await asyncio.gather(guard, *answers, return_exceptions=True)

    async def _end(self, one: _Blocked, answer: asyncio.Task[Any]) -> None:
        """Let a connection block no more: then it has its answer."""
        end = time.monotonic() + tuning.ASK_S
        while not answer.done():
            if not one.number or time.monotonic() > end:
                raise rx.ConnectionError(f"a wait at {one.node.where} cannot be ended")
            await one.node.ask("CLIENT", "UNBLOCK", one.number, "TIMEOUT")
            await asyncio.wait((answer,), timeout=0.05)  # it may be about to block

    async def _guard(self, blocked: Sequence[_Blocked]) -> None:
        while True:
            await asyncio.sleep(tuning.WATCHDOG_S)
            self.counters.count("wait_checks")
            for one in blocked:
                try:
                    await one.node.ask("PING")
                except rx.ResponseError:
                    pass  # an answer is an answer
                except protocol.BROKEN as e:
                    raise BrokenOff(f"{one.node.where} is silent") from e
            await self.router.refresh(tuning.WATCHDOG_S)
            for one in blocked:
                if await self.router.node(one.bells[0]) is not one.node:
                    raise BrokenOff(f"{one.node.where} does not have {one.bells[0]} any more")

    async def _watch(self, wake: Operation, after_s: float) -> None:
        """What a waiter does that keeps a due time or looks after its keeper."""
        with contextlib.suppress(RqsqsError):
            while after_s >= 0:
                await asyncio.sleep(after_s)
                after_s = (await self.execute(wake) or -1) / 1000

    async def _give_up(
        self, exchange: asyncio.Task[Any], blocked: Sequence[_Blocked], wait: Wait, operation: Operation | None
    ) -> None:
        """The leader was cancelled while it blocked: what was handed out meanwhile goes back, wake tokens are put out
        again."""
        try:
            for one in blocked:
                await self._end(one, exchange)
            result = await exchange
            for undo in (
                operation.undo(result) if operation is not None and operation.undo is not None and result else ()
            ):
                await self._quietly(undo)
        except (RqsqsError, rx.RedisError, OSError):
            exchange.cancel()
            await asyncio.wait((exchange,))
        await self.ring(wait.lists)

    async def ring(self, bells: Sequence[str]) -> None:
        """Put wake tokens out, as far as that can be done."""
        for bell in bells:
            with contextlib.suppress(RqsqsError):
                await self.execute(Operation("wake_waiter", (bell, bell), ("", "", "")))


class Transport:
    """Runs flows on one server and key prefix, for the tasks of one event loop.

    Args:
        url: see rqsqs.connect().
        prefix: what all keys begin with.
        clock: tests only: the time scripts shall believe in.
        options: for redis-py's connections.
    """

    def __init__(
        self, url: str | None = None, prefix: str = "rqsqs", clock: Clock | None = None, **options: Any
    ) -> None:
        self.url = connect.resolve(url)
        self.space = Keyspace(prefix, clock)
        self.options = options
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._is_ready = False  # it is open, and the format of the prefix is known
        self._waits: dict[asyncio.Timeout, asyncio.Future[None]] = {}

    def queue(self, name: str) -> QueueRef:
        """What is known about the queue of this name."""
        return self.space.queue(name)

    @property
    def link(self) -> Link:
        """The link in the running event loop.

        Raises:
            UsageError: closed, or used from another event loop or a forked process.
        """
        if self._is_closed:
            raise UsageError("this connection is closed; open a new one")
        loop = asyncio.get_running_loop()
        if self._link is None:
            self._link, self._loop = Link.share(self.url, self.options), loop
            self._link.counters.join(self)
        elif self._loop is not loop or self._link.pid != os.getpid():
            raise UsageError("an asyncio connection belongs to one event loop of one process; open one in each")
        return self._link

    def statistics(self) -> Statistics:
        """What its link went through; from any thread."""
        return Statistics() if self._link is None else self._link.counters.statistics()

    async def run(self, step: Flow[T] | Operation) -> T:
        """Run an operation, or drive a flow to its end. If the task is cancelled, the flow may give back what it
        holds."""
        if not isinstance(step, Operation):
            return await self._drive(step)
        link = self._link
        if (
            link is None
            or not self._is_ready
            or self._loop is not asyncio.get_running_loop()
            or link.pid != os.getpid()
        ):
            link = await self._begin()
        if step.unless_watched is not None and self.space.clock is None:
            post = link.posts.get(step.unless_watched)
            if post is not None and post.has_leader:
                return await self._drive(step.line_up())  # type: ignore[attr-defined]
        result: Any
        try:
            result = await link.execute(step)
        except RqsqsError as e:
            result = step.recover(await self._explained(link, e, step))
        except asyncio.CancelledError as e:
            flow = step.recover(e)  # raises it again, unless there is something to give back
            link.background(self._finish(link, flow, next(flow)))
            raise
        return await self._drive(result) if type(result) is GeneratorType else result

    async def _begin(self, flow: Flow[Any] | None = None) -> Link:
        """Before the first call.

        Raises:
            UsageError: this is closed.
            FormatNewer: a newer version of rqsqs wrote what is stored.
        """
        try:
            link = self.link
            await link.open(self.space.format)
        except BaseException:
            if flow is not None:
                flow.close()
            raise
        self._is_ready = not self._is_closed
        return link

    async def _drive(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)  # it may refuse its arguments before anything is asked
            link = self.link if self._is_ready else await self._begin(flow)
            while True:
                try:
                    result = await self._perform(link, step)
                except RqsqsError as e:
                    step = flow.throw(await self._explained(link, e, step))
                except asyncio.CancelledError as e:
                    step = flow.throw(e)  # raises it again, unless there is something to give back
                    link.background(self._finish(link, flow, step))
                    raise
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _finish(self, link: Link, flow: Flow[Any], step: Any) -> None:
        with contextlib.suppress(StopIteration, asyncio.CancelledError, RqsqsError):
            while True:
                step = flow.send(await self._perform(link, step))

    async def _explained(self, link: Link, error: RqsqsError, step: Any) -> BaseException:
        """Is something damaged behind an error?"""
        look = error_mapping.doubtful(error, step)
        if look is None:
            return error
        try:
            return error_mapping.explained(error, (await link.execute(look))[1])
        except RqsqsError:
            return error

    async def _perform(self, link: Link, step: Any) -> Any:
        if isinstance(step, Operation):
            return await link.execute(step)
        if type(step) is Wait:
            return await self._wait(link, step)
        if type(step) is IsWatched:
            return link.is_watched(step.lists)
        if type(step) is Sleep:
            return await asyncio.sleep(step.ms / 1000)
        if type(step) is Spawn:
            link.background(self._spawned(step.flow(), step.name))
            return None
        raise UsageError(f"a flow asked for {step!r}, which no runner knows")

    async def _wait(self, link: Link, wait: Wait) -> tuple[Any, int]:
        """Wait until close() at the latest."""
        if self._is_closed:
            raise UsageError(CLOSED)
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._waits[scope] = asyncio.get_running_loop().create_future()
                return await link.wait(wait, self.space.clock)
        except TimeoutError:
            if not scope.expired():
                raise
            raise UsageError(CLOSED) from None
        finally:
            self._waits.pop(scope).set_result(None)

    async def _spawned(self, flow: Flow[Any], name: str) -> None:
        try:
            await self.run(flow)
        except Exception as e:
            error_mapping.log_stopped(name, e)

    async def close(self) -> None:
        """Give the connections up, and back what is still on its way; idempotent. What waits ends with UsageError."""
        if not self._is_closed:
            self._is_closed, self._is_ready = True, False
            if self._link is not None and self._loop is asyncio.get_running_loop():
                for scope in self._waits:
                    scope.reschedule(self._loop.time())
                if self._waits:
                    await asyncio.wait(self._waits.values(), timeout=tuning.END_S)
                self._link.counters.leave(self)
                await self._link.release()
