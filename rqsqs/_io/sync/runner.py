"""The sync runner: drives flows over redis-py connections from any number of threads."""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import GeneratorType
from typing import Any, ClassVar, TypeVar

import redis.exceptions as rx

from rqsqs._core import scripts
from rqsqs._core.keys import Clock, Keyspace, QueueRef
from rqsqs._core.operation import Flow, IsWatched, Operation, Sleep, Spawn, Wait
from rqsqs._io import connect, error_mapping, protocol, tuning
from rqsqs._io.attempts import FAILED, Attempts, Opening
from rqsqs._io.counters import Counters
from rqsqs._io.directory import by_slot
from rqsqs._io.listening import Listener
from rqsqs._io.protocol import CLOSED, BrokenOff, CallSlot
from rqsqs._io.sync.hubs import Hub
from rqsqs._io.sync.pipes import SharedLine, exchange
from rqsqs._io.sync.pools import Line
from rqsqs._io.sync.routing import router_of
from rqsqs._io.sync.servers import Node
from rqsqs.errors import RqsqsError, UsageError
from rqsqs.models import Statistics

T = TypeVar("T")


class _Post:
    """Where the waiters of one set of bells line up: one leads and blocks on the server, the others follow.

    Attributes:
        lock: guards what follows. It is no condition, which may stay locked, or lose whom it woke, when a signal comes.
        followers: each waits until its lock is released.
        blocked: the leader's connections: server and CLIENT ID.
        listener: the leader, if it listens.
        in_tests: waiters under a test clock: they do not line up, as each has to look when it is moved.
    """

    __slots__ = ("blocked", "followers", "has_leader", "in_tests", "listener", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.followers: deque[threading.Lock] = deque()
        self.has_leader = False
        self.blocked: tuple[tuple[Node, int], ...] = ()
        self.listener: Listener | None = None
        self.in_tests = 0


class _Waiter:
    """A call that waits.

    Attributes:
        post: where, as soon as it has got there.
        turn: what it waits for as a follower; None = it leads.
        is_ended: its connection was closed.
    """

    __slots__ = ("is_ended", "post", "thread", "turn")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.post: _Post | None = None
        self.turn: threading.Lock | None = None
        self.is_ended = False

    def check(self) -> None:
        """Raise UsageError if its connection was closed."""
        if self.is_ended:
            raise UsageError(CLOSED)


class Link:
    """One server, or several, as seen from this process, shared by every connection with the same URL and options."""

    _shared: ClassVar[weakref.WeakValueDictionary[tuple[Any, ...], Link]] = weakref.WeakValueDictionary()
    _all: ClassVar[weakref.WeakSet[Link]] = weakref.WeakSet()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = url
        self.where = connect.shown(url)
        settings, self.server = connect.settings_of(url, options)
        self.counters = Counters()
        self.router = router_of(url, settings, self.counters)
        self.users = 0
        self._start()
        self._all.add(self)

    def _start(self) -> None:
        self.posts: dict[tuple[str, ...], _Post] = {}
        self._posts_lock = threading.Lock()
        self._switches = threading.Lock()  # guards the hubs and their listeners
        self.slots = protocol.CallSlots()  # for receives of those who listen
        self.drivers: set[threading.Thread] = set()

    @classmethod
    def share(cls, url: str, options: dict[str, Any]) -> Link:
        """The link of this URL, opened if there is none."""
        key = (url, *sorted((k, repr(v)) for k, v in options.items()))
        with cls._lock:
            link = cls._shared.get(key)
            if link is None or link.users == 0:
                link = cls._shared[key] = cls(url, options)
            link.users += 1
            return link

    def release(self) -> None:
        """One user less; the last one closes the connections."""
        with self._lock:
            self.users -= 1
            if self.users > 0:
                return
        self.router.close()
        if self.server is not None:
            self.server.release()

    @classmethod
    def after_fork(cls) -> None:
        """In a child: its connections are the parent's, so it begins with none."""
        cls._lock = threading.Lock()
        for link in list(cls._all):
            link._start()
            link.counters.forget()
            link.router.after_fork()

    def open(self, key: str) -> None:
        """Make sure that a server answers, within one limit for everything that is tried, and that what is stored has a
        format that we know.

        Args:
            key: which tells the format.
        """
        router, opening = self.router, Opening(self)
        while True:
            node = None
            try:
                node = router.node(key, opening.until)
                if not node.has_answered and not router.is_dynamic:
                    node.open(opening.until)
                return node.look(key)
            except FAILED as e:
                pause = opening.after(e, None if node is None else node.where)
            if pause is None:
                return None
            time.sleep(pause)
            router.refresh(until=opening.until)

    # Operations

    def execute(self, operation: Operation, slot: CallSlot | None = None) -> Any:
        """Run one operation, and again if its answer is lost, also where it has moved to.

        Args:
            slot: that of an earlier attempt of the same call, whose answer was lost.
        """
        router = self.router
        attempts = Attempts(self, operation, slot) if slot is not None else None
        forgetting: Operation | None = None
        while True:
            node: Node | None = None
            line: Line | SharedLine | None = None
            try:
                node = router.only or router.node(operation.keys[0])
                if operation.durability is not None:
                    line = node.durable.take()
                else:
                    line = node.calls.take() or node.pipe().line()
                if attempts is None:
                    packed = protocol.pack(operation, router.is_cluster, line.slot)
                else:
                    packed = attempts.packed(line.slot)
                try:
                    reply = line.ask(packed)
                except rx.NoScriptError:
                    reply = line.load_and_ask(protocol.load(operation), packed)
                if operation.durability is None:
                    reached = None
                else:  # wait until what it wrote is as safe as it has to be, or the time is over
                    steps = protocol.confirmation(operation, router.is_dynamic)
                    reached = exchange(line.connection, steps, operation.durability.timeout + tuning.GRACE_S)
                if operation.keeps_answer:
                    asked = attempts.slot if attempts is not None and attempts.slot is not None else line.slot
                    forgetting = protocol.forgetting(operation, asked, reply)
                line.pool.give(line)
                break
            except rx.ResponseError as e:
                if line is not None:
                    line.pool.refuse(line, e)
                attempts = attempts or Attempts(self, operation)
                pause = attempts.after(e, None if node is None else node.where, None)
            except protocol.BROKEN as e:
                if line is not None:
                    line.pool.lose(line, e)
                attempts = attempts or Attempts(self, operation)
                pause = attempts.after(
                    e, None if node is None else node.where, line.slot if line is not None and line.is_sent else None
                )
            except BaseException:
                if line is not None:
                    line.pool.drop(line)
                raise
            time.sleep(pause)
            if attempts.is_refused:
                router.follow(attempts.error, operation.keys[0], node)
            else:
                router.refresh()
        if node.unawaited is not None:
            node.warn(operation)
        if forgetting is not None:
            self._forget(forgetting)
        result = reply if operation.parse is None else operation.parse(reply)
        return result if reached is None else (result, reached)

    def _forget(self, forgetting: Operation | None) -> None:
        """The answer has arrived: the server need not keep a large one."""
        if forgetting is not None:
            with contextlib.suppress(RqsqsError):  # it ends by itself
                self.execute(forgetting)

    # Waiting

    def _post(self, bells: tuple[str, ...]) -> _Post:
        post = self.posts.get(bells)
        if post is None:
            with self._posts_lock:
                post = self.posts.setdefault(bells, _Post())
        return post

    def is_watched(self, bells: tuple[str, ...]) -> bool:
        """Does a thread block on these bells?"""
        return self._post(bells).has_leader

    def watched(self) -> list[tuple[str, ...]]:
        """All bells on which a thread blocks."""
        return [bells for bells, post in list(self.posts.items()) if post.has_leader or post.in_tests]

    def wait(self, wait: Wait, clock: Clock | None, waiter: _Waiter) -> tuple[Any, int]:
        """See Wait."""
        start = time.monotonic()
        deadline = start + wait.timeout_ms / 1000
        wake_at = start + wait.wake_in_ms / 1000 if wait.wake_in_ms is not None and wait.wake else None
        post = self._post(wait.lists)
        if clock is not None:
            with post.lock:
                post.in_tests += 1
            try:
                result = self._lead(wait, min(deadline, start + tuning.TEST_WAIT_MS / 1000), wake_at, clock, post)
            finally:
                with post.lock:
                    post.in_tests -= 1
            return result, max(0, round((deadline - time.monotonic()) * 1000))
        leads = False
        turn: threading.Lock | None = None
        waiter.post = post
        try:
            while True:
                with post.lock:
                    waiter.check()
                    if not post.has_leader:
                        waiter.turn = None
                        post.has_leader = leads = True
                        break
                    now = time.monotonic()
                    if now >= min(deadline, wake_at or deadline):  # a keeper that only follows looks for itself
                        return None, max(0, round((deadline - now) * 1000))
                    waiter.turn = turn = threading.Lock()
                    turn.acquire()
                    post.followers.append(turn)
                if not turn.acquire(timeout=min(deadline, wake_at or deadline) - now):
                    with post.lock:
                        if turn in post.followers:
                            post.followers.remove(turn)
            result = self._lead(wait, deadline, wake_at, clock, post)
        finally:
            waiter.post = None
            with post.lock:
                if leads:
                    post.has_leader = False
                    post.blocked = ()
                if turn is not None and turn in post.followers:
                    post.followers.remove(turn)
                if post.followers and not post.has_leader:  # also if it was our turn when we were interrupted
                    post.followers.popleft().release()
        return result, max(0, round((deadline - time.monotonic()) * 1000))

    def unblock(self, bells: tuple[str, ...]) -> None:
        """Let the thread that blocks on these bells go on as if its time were over.

        It may be about to block: call it again until it has left.
        """
        self._unblock(self._post(bells))

    def end(self, waiter: _Waiter) -> None:
        """Let a call wait no more, whoever else uses this link. It may be about to wait: the same as unblock()."""
        waiter.is_ended = True
        post = waiter.post
        if post is None or not post.lock.acquire(timeout=1):  # a signal handler of whoever holds it may be here
            return
        try:
            turn = waiter.turn
            if turn is not None and turn in post.followers:
                post.followers.remove(turn)
                turn.release()
        finally:
            post.lock.release()
        if turn is None and waiter.post is post:
            self._unblock(post)

    def _unblock(self, post: _Post) -> None:
        with self._switches:
            if post.listener is not None and not post.listener.is_receiving:
                post.listener.finish(None)
        for node, number in post.blocked:
            with contextlib.suppress(rx.ResponseError, *protocol.BROKEN):  # if forbidden, it ends by itself
                node.ask("CLIENT", "UNBLOCK", number, "TIMEOUT")

    def _lead(self, wait: Wait, deadline: float, wake_at: float | None, clock: Clock | None, post: _Post) -> Any:
        # BLPOP and the receive that follows it travel together: the server runs the receive the moment a token comes.
        # Under a test clock it comes later, as the time has to be told anew.
        operation: Operation | None = None
        packed, is_broken = b"", False
        slot: CallSlot | None = None
        forgetting: Operation | None = None
        blocked: list[_Blocked] = []
        try:
            by_node = self._by_node(wait.lists + wait.also)
            lines, hubs = self._means(by_node)
        except rx.ResponseError as e:
            known = error_mapping.server(e, sent=False, where=self.where)
            if known is None:
                raise
            raise known from None
        except protocol.BROKEN:
            self.router.refresh()
            return None  # the next operation says why
        if hubs:
            return self._listen(hubs, wait, deadline, wake_at, clock, post)
        try:
            blocked = [_Blocked(node, lines.pop(0), bells[0]) for node, bells in by_node]
            if wait.then is not None and clock is None and len(by_node) == 1:
                operation, slot = wait.then(), blocked[0].line.slot
                packed = protocol.pack(operation, self.router.is_cluster, slot)
            left = max(deadline - time.monotonic(), 0.001)
            for one, (_, bells) in zip(blocked, by_node, strict=True):
                one.number = _client_id(one.line)
                post.blocked = tuple((b.node, b.number) for b in blocked if b.number)
                commands = [protocol.command("BLPOP", *bells, f"{left:.3f}")]
                if operation is not None:
                    commands.append(packed)
                one.line.connection.send_packed_command(commands, check_health=False)
            first = self._first(blocked, deadline + tuning.GRACE_S, wake_at, wait)
            result = self._answer(first, operation, packed)
            for one in blocked:
                if one is not first:
                    self._end(one)
                    rung = self._answer(one)
                    if rung is not None:  # the caller has use for one token only
                        self.ring([rung])
            if operation is not None and slot is not None and operation.keeps_answer:
                forgetting = protocol.forgetting(operation, slot, result)
            while blocked:
                one = blocked.pop()
                one.node.vacate(one.line)
                one.node.calls.give(one.line)
        except rx.ResponseError as e:
            if protocol.is_unblocked(e) or (self.router.is_dynamic and protocol.is_elsewhere(e)):
                self.counters.count("broken_waits")
                return None  # the next operation finds out
            if operation is None:
                raise error_mapping.server(e, sent=True, where=self.where) or e from e
            raise error_mapping.refused(e, scripts.get(operation.script), operation.keys, self.where) from e
        except protocol.BROKEN as e:
            if self.users <= 0:
                raise UsageError(CLOSED) from e
            self._broke(e, blocked, operation)
            self.router.refresh()
            is_broken = True
        except BaseException:
            self._give_up(blocked, wait, operation, packed)
            raise
        finally:
            for one in blocked:
                one.node.vacate(one.line)
                one.node.calls.drop(one.line)
        if is_broken:  # what waited can receive no more: the next operation reconnects, or says why it cannot
            return None if operation is None else self.execute(operation, slot)
        if operation is not None:
            self._forget(forgetting)
            return result if operation.parse is None else operation.parse(result)
        if wait.then is not None:
            return self.execute(wait.then())
        return result

    def _means(
        self, by_node: list[tuple[Node, tuple[str, ...]]]
    ) -> tuple[list[Line], list[tuple[Hub, tuple[str, ...]]]]:
        """What to wait with: connections that block, or those over which all others listen."""
        lines: list[Line] = []
        hubs: list[tuple[Hub, tuple[str, ...]]] = []
        try:
            for node, _ in by_node if len(by_node) <= tuning.BLOCKING * len({node for node, _ in by_node}) else ():
                line = node.block()
                if line is None:
                    break
                lines.append(line)
            if len(lines) == len(by_node):
                return lines, []
            hubs = [(hub, lists) for node, lists in by_node if (hub := node.open_hub(self._hub)) is not None]
            if len(hubs) < len(by_node):  # somebody does not let us listen
                for node, _ in by_node[len(lines) :]:
                    line = node.block(always=True)
                    if line is None:
                        raise rx.ConnectionError("no connection to block on")
                    lines.append(line)
                return lines, []
        except BaseException:
            hubs = []
            raise
        finally:
            if len(lines) < len(by_node):
                for (node, _), line in zip(by_node, lines, strict=False):
                    node.vacate(line)
                    node.calls.give(line)
        return [], hubs

    def _hub(self, connection: Any) -> Hub:
        hub = Hub(connection, self._switches, self.ring, self._orphaned)
        if self.router.is_dynamic:
            threading.Thread(target=self._guard_hub, args=(hub,), name="rqsqs-hub-guard", daemon=True).start()
        return hub

    def _guard_hub(self, hub: Hub) -> None:
        while not hub.ended.wait(tuning.WATCHDOG_S):
            with self._switches:
                lists = hub.switch.lists
            if not lists:
                continue
            self.counters.count("wait_checks")
            hub.probe()  # if it does not answer, the hub fails
            self.router.refresh(tuning.WATCHDOG_S)
            gone = []
            for name in lists:
                with contextlib.suppress(*protocol.BROKEN, rx.ResponseError, RqsqsError):
                    if self.router.node(name).hub is hub:
                        continue
                gone.append(name)
            with self._switches:
                hub.switch.fail(BrokenOff("the server does not have the wakeup list any more"), gone)

    def _orphaned(self, listener: Listener, reply: Any) -> None:
        """A receive was answered when its waiter was gone."""
        operation = listener.operation
        with contextlib.suppress(RqsqsError):
            if operation is not None and operation.undo is not None and not isinstance(reply, Exception):
                for undo in operation.undo(reply if operation.parse is None else operation.parse(reply)):
                    self.execute(undo)
        self.ring(listener.bells)  # the receive may have taken on a duty

    def _listen(
        self,
        hubs: list[tuple[Hub, tuple[str, ...]]],
        wait: Wait,
        deadline: float,
        wake_at: float | None,
        clock: Clock | None,
        post: _Post,
    ) -> Any:
        """Wait without a connection of one's own (listening.py)."""
        operation = wait.then() if wait.then is not None and clock is None and len(hubs) == 1 else None
        slot = self.slots.take()
        packed = protocol.pack(operation, self.router.is_cluster, slot) if operation is not None else b""
        told = threading.Lock()
        told.acquire()
        listener = Listener(packed, told.release, operation, wait.lists)
        try:
            post.listener = listener
            for hub, lists in hubs:
                hub.listen(listener, lists)
            while not listener.is_done:
                now = time.monotonic()
                if told.acquire(timeout=max(min(deadline, wake_at or deadline) - now, 0)) or now >= deadline:
                    break
                if wake_at is not None and time.monotonic() >= wake_at:
                    assert wait.wake is not None
                    again = self.execute(wait.wake)
                    wake_at = time.monotonic() + again / 1000 if again else None
            for hub, _ in hubs:
                hub.leave(listener)
            if listener.is_receiving and not listener.is_done:  # it had a token before it left
                told.acquire(timeout=tuning.GRACE_S)
        except protocol.BROKEN as e:
            with self._switches:
                listener.finish(e)
        except BaseException:
            with self._switches:
                is_late = not listener.finish(None)
            if is_late and listener.is_receiving:
                self._orphaned(listener, listener.outcome)
            elif is_late and isinstance(listener.outcome, str):
                self.ring([listener.outcome])
            raise
        finally:
            post.listener = None
            for hub, _ in hubs:
                hub.leave(listener)
                if not listener.is_done:  # nothing came: is the server there?
                    hub.probe()
        with self._switches:
            if not listener.is_done:
                listener.finish(rx.TimeoutError("no answer in time") if listener.is_receiving else None)
        return self._outcome(listener, slot, wait)

    def _outcome(self, listener: Listener, slot: CallSlot, wait: Wait) -> Any:
        outcome, operation = listener.outcome, listener.operation
        if isinstance(outcome, Exception) and self.users <= 0:
            raise UsageError(CLOSED)
        if isinstance(outcome, rx.NoScriptError):  # nothing was done
            self.slots.give(slot)
        elif isinstance(outcome, rx.ResponseError):
            if protocol.is_elsewhere(outcome):
                self.counters.count("broken_waits")
                self.router.refresh()
                return None  # the next operation finds out
            if operation is None:
                raise error_mapping.server(outcome, sent=True, where=self.where) or outcome from outcome
            raise error_mapping.refused(outcome, scripts.get(operation.script), operation.keys, self.where) from outcome
        elif isinstance(outcome, Exception):
            is_off = isinstance(outcome, BrokenOff)
            self.counters.count("broken_waits" if is_off else "connections_lost")
            self.router.refresh()
            if operation is not None and listener.is_receiving:
                self.counters.count("repeated_calls")
                return self.execute(operation, slot)
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
        return self.execute(operation or wait.then()) if wait.then is not None else None

    def _broke(self, error: Exception, blocked: Sequence[_Blocked], operation: Operation | None) -> None:
        if blocked:
            self.counters.count("broken_waits" if isinstance(error, BrokenOff) else "connections_lost")
            if operation is not None:
                self.counters.count("repeated_calls")

    def _by_node(self, bells: tuple[str, ...]) -> list[tuple[Node, tuple[str, ...]]]:
        """Bells that one connection can block on: those of one slot."""
        if not self.router.is_cluster:
            return [(self.router.node(bells[0]), bells)]
        return [(self.router.node(found[0]), found) for found in by_slot(bells)]

    def _answer(self, one: _Blocked, operation: Operation | None = None, packed: bytes = b"") -> Any:
        """Read what a connection that blocked tells: what the operation behind it got, or the bell if there is none."""
        one.number, trouble = 0, None
        reply: Any = None
        try:
            rung = one.line.connection.read_response(disable_decoding=True)
            reply = rung[0].decode() if rung is not None else None
        except rx.ResponseError as e:
            trouble = e
        if operation is not None:
            try:
                reply = one.line.connection.read_response(disable_decoding=True)
            except rx.NoScriptError:
                reply = one.line.load_and_ask(protocol.load(operation), packed)
        if trouble is not None and (operation is None or not protocol.is_elsewhere(trouble)):
            raise trouble
        return reply

    def _end(self, one: _Blocked) -> None:
        """Let a connection block no more: then it has something to tell.

        Raises:
            ConnectionError, TimeoutError, ResponseError: that cannot be done.
        """
        end = time.monotonic() + tuning.ASK_S
        while one.number and time.monotonic() < end:  # it may be about to block
            one.node.ask("CLIENT", "UNBLOCK", one.number, "TIMEOUT")
            if one.line.connection.can_read(0.05):
                return
        raise rx.ConnectionError(f"a wait at {one.node.where} cannot be ended")

    def _give_up(self, blocked: Sequence[_Blocked], wait: Wait, operation: Operation | None, packed: bytes) -> None:
        """The waiting is broken off: what was handed out meanwhile goes back, wake tokens are put out again."""
        for one in blocked:
            with contextlib.suppress(rx.RedisError, OSError, RqsqsError):
                self._end(one)
                reply = self._answer(one, operation, packed)
                if operation is not None and operation.undo is not None:
                    for undo in operation.undo(reply if operation.parse is None else operation.parse(reply)):
                        self.execute(undo)
        if blocked:
            self.ring(wait.lists)

    def ring(self, bells: Iterable[str]) -> None:
        """Put wake tokens out, as far as that can be done."""
        for bell in bells:
            with contextlib.suppress(RqsqsError):
                self.execute(Operation("wake_waiter", (bell, bell), ("", "", "")))

    def _first(self, blocked: Sequence[_Blocked], end: float, wake_at: float | None, wait: Wait) -> _Blocked:
        """Wait until one of the connections has something to tell, keep due times on the way, and see to it that nobody
        waits for a server that is no master any more.

        Raises:
            ConnectionError, TimeoutError: one of the servers fell silent.
        """
        while True:
            now = time.monotonic()
            until = min(end, wake_at or end, now + tuning.WATCHDOG_S if self.router.is_dynamic else end)
            found = _readable(blocked, max(until - now, 0))
            if found is not None:
                return found
            now = time.monotonic()
            if now >= end:
                raise rx.ConnectionError("a blocked connection fell silent")
            if wake_at is not None and now >= wake_at:
                assert wait.wake is not None
                again = self.execute(wait.wake)
                wake_at = time.monotonic() + again / 1000 if again else None
            elif self.router.is_dynamic:
                self._check(blocked)

    def _check(self, blocked: Sequence[_Blocked]) -> None:
        self.counters.count("wait_checks")
        for one in blocked:
            try:
                one.node.ask("PING")
            except rx.ResponseError:
                pass  # an answer is an answer
            except protocol.BROKEN as e:
                raise BrokenOff(f"{one.node.where} is silent") from e
        self.router.refresh(tuning.WATCHDOG_S)
        for one in blocked:
            if self.router.node(one.bell) is not one.node:
                raise BrokenOff(f"{one.node.where} does not have {one.bell} any more")


class _Blocked:
    """A connection that blocks."""

    __slots__ = ("bell", "line", "node", "number")

    def __init__(self, node: Node, line: Line, bell: str) -> None:
        self.node = node
        self.line = line
        self.bell = bell
        self.number = 0  # CLIENT ID


def _readable(blocked: Sequence[_Blocked], timeout: float) -> _Blocked | None:
    """The first connection with something to read."""
    if len(blocked) == 1:
        return blocked[0] if blocked[0].line.connection.can_read(timeout) else None
    for one in blocked:
        if one.line.connection.can_read(0):
            return one
    with selectors.DefaultSelector() as selector:
        for one in blocked:
            selector.register(one.line.connection._sock, selectors.EVENT_READ, one)
        for key, _ in selector.select(timeout):
            found: _Blocked = key.data
            return found
    return None


def _client_id(line: Line) -> int:
    """The server's number of a connection, asked for once; 0 if it does not tell."""
    if line.client_id is None:
        line.connection.send_command("CLIENT", "ID")
        try:
            line.client_id = int(line.connection.read_response(disable_decoding=True))
        except (rx.ResponseError, ValueError):
            line.client_id = 0
    return line.client_id


os.register_at_fork(after_in_child=Link.after_fork)


class Transport:
    """Runs flows on one server and key prefix.

    Args:
        url: see rqsqs.connect().
        prefix: what all keys begin with.
        clock: tests only: the time scripts shall believe in.
        is_interruptible: it has a link of its own, whose waits can be ended with link.unblock().
        options: for redis-py's connections, for example socket_timeout in seconds.
    """

    def __init__(
        self,
        url: str | None = None,
        prefix: str = "rqsqs",
        clock: Clock | None = None,
        *,
        is_interruptible: bool = False,
        **options: Any,
    ) -> None:
        self.url = connect.resolve(url)
        self.space = Keyspace(prefix, clock)
        if is_interruptible:
            self.link = Link(self.url, options)
            self.link.users = 1
        else:
            self.link = Link.share(self.url, options)
        self.link.counters.join(self)
        self._is_closed = False
        self._is_ready = False  # it is open, and the format of the prefix is known
        self._waiters: set[_Waiter] = set()
        if clock is not None and hasattr(clock, "watch"):
            clock.watch(self)

    @classmethod
    def open(
        cls, url: str | None = None, prefix: str = "rqsqs", clock: Clock | None = None, **options: Any
    ) -> Transport:
        """The same as the constructor."""
        return cls(url, prefix, clock, **options)

    def queue(self, name: str) -> QueueRef:
        """What is known about the queue of this name."""
        return self.space.queue(name)

    def statistics(self) -> Statistics:
        """What its link went through; from any thread."""
        return self.link.counters.statistics()

    def run(self, step: Flow[T] | Operation) -> T:
        """Run an operation, or drive a flow to its end."""
        if not isinstance(step, Operation):
            return self._drive(step)
        if not self._is_ready:
            self._begin()
        if step.unless_watched is not None and self.space.clock is None:
            post = self.link.posts.get(step.unless_watched)
            if post is not None and post.has_leader:
                return self._drive(step.line_up())  # type: ignore[attr-defined, no-any-return]
        try:
            result = self.link.execute(step)
        except BaseException as e:
            result = step.recover(self._explained(e, step))
        return self._drive(result) if type(result) is GeneratorType else result  # type: ignore[no-any-return]

    def _drive(self, flow: Flow[T]) -> T:
        execute = self.link.execute
        try:
            step = next(flow)  # it may refuse its arguments before anything is asked
            if not self._is_ready:
                self._begin(flow)
            while True:
                try:
                    result = execute(step) if isinstance(step, Operation) else self._other(step)
                except BaseException as e:  # a flow may answer an error, and give back what it holds when interrupted
                    step = flow.throw(self._explained(e, step))
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    def _begin(self, flow: Flow[Any] | None = None) -> None:
        """Before the first call.

        Raises:
            UsageError: this is closed.
            FormatNewer: a newer version of rqsqs wrote what is stored.
        """
        try:
            if self._is_closed:
                raise UsageError("this connection is closed; open a new one")
            self.link.open(self.space.format)
        except BaseException:
            if flow is not None:
                flow.close()
            raise
        self._is_ready = not self._is_closed

    def _explained(self, error: BaseException, step: Any) -> BaseException:
        """Is something damaged behind an error?"""
        look = error_mapping.doubtful(error, step)
        if look is None:
            return error
        try:
            return error_mapping.explained(error, self.link.execute(look)[1])
        except RqsqsError:
            return error

    def _other(self, step: Any) -> Any:
        if type(step) is Wait:
            waiter = _Waiter()
            self._waiters.add(waiter)
            try:
                waiter.is_ended = self._is_closed
                waiter.check()
                return self.link.wait(step, self.space.clock, waiter)
            finally:
                self._waiters.discard(waiter)
        if type(step) is IsWatched:
            return self.space.clock is None and self.link.is_watched(step.lists)
        if type(step) is Sleep:
            time.sleep(step.ms / 1000)
            return None
        if type(step) is Spawn:
            self.spawn(step.flow, step.name)
            return None
        raise UsageError(f"a flow asked for {step!r}, which no runner knows")

    def spawn(self, make: Callable[[], Flow[Any]], name: str) -> None:
        """Run a flow in a thread of its own."""
        link = self.link

        def work() -> None:
            try:
                self.run(make())
            except Exception as e:
                error_mapping.log_stopped(name, e)
            finally:
                link.drivers.discard(threading.current_thread())

        thread = threading.Thread(target=work, name=name, daemon=True)
        link.drivers.add(thread)
        thread.start()

    def wake_waiters(self) -> None:
        """Let every waiter of this process look again (a test clock has moved)."""
        for bells in [] if self._is_closed else self.link.watched():
            self.link.ring(bell for bell in bells if bell.startswith(self.space.prefix + ":"))

    def close(self) -> None:
        """Give the connections up; idempotent. Calls that wait end with UsageError."""
        if self._is_closed:
            return
        self._is_closed, self._is_ready = True, False
        self.link.counters.leave(self)
        for waiter in list(self._waiters):  # also who stands in line behind one whose connection breaks now
            waiter.is_ended = True
        self.link.release()
        end, me = time.monotonic() + tuning.END_S, threading.get_ident()
        while self.link.users > 0 and (waiters := list(self._waiters)):
            for waiter in waiters:
                self.link.end(waiter)
            if all(waiter.thread == me for waiter in waiters) or time.monotonic() > end:  # or in a signal handler
                return
            time.sleep(0.01)

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _finish_drivers(patience_s: float = 10.0) -> None:
    """At exit: let running move tasks go on for a moment."""
    deadline = time.monotonic() + patience_s
    for link in list(Link._shared.values()):
        for thread in list(link.drivers):
            thread.join(max(deadline - time.monotonic(), 0))


atexit.register(_finish_drivers)
