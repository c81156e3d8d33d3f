"""One call after another: takes a connection, sends, and tries again where that is right."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

import redis.exceptions as rx

from rqsqs._core.operation import Operation, Wait
from rqsqs._io import connect, protocol, tuning
from rqsqs._io.attempts import FAILED, UNANSWERED, Attempts, Opening, failure, parsed
from rqsqs._io.counters import Counters
from rqsqs._io.protocol import CallSlot
from rqsqs._io.sync.pipes import PipeTurn, exchange
from rqsqs._io.sync.pools import PooledConnection
from rqsqs._io.sync.routing import Router
from rqsqs._io.sync.servers import Node
from rqsqs._io.waits import REFRESH, ended
from rqsqs.errors import RqsqsError


class Caller:
    """Makes calls to the servers of a URL, from any number of threads.

    Attributes:
        where: the URL, for messages.
        slots: for calls that do not have that of their connection.
        is_closed: the connections were closed.
    """

    def __init__(self, url: str, settings: dict[str, Any]) -> None:
        self.where = connect.shown(url)
        self.counters = Counters()
        self.router = Router(url, settings, self.counters)
        self.slots = protocol.CallSlots()
        self.is_closed = False

    def after_fork(self) -> None:
        """In a child: the connections belong to the parent."""
        self.slots = protocol.CallSlots()
        self.counters.forget()
        self.router.after_fork()

    def close(self) -> None:
        self.is_closed = True
        self.router.close()

    def open(self, key: str) -> None:
        """Make sure that a server answers, within one limit for all attempts, and that what is stored has a format that
        we know.

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
            channel: PooledConnection | PipeTurn | None = None
            try:
                node = router.only or router.node(operation.keys[0])
                if operation.durability is not None:
                    channel = node.durable.take()
                else:
                    channel = node.calls.take() or node.pipe().turn()
                if attempts is None:
                    packed = protocol.pack(operation, router.is_cluster, channel.slot)
                else:
                    packed = attempts.packed(channel.slot)
                try:
                    reply = channel.ask(packed)
                except rx.NoScriptError:
                    reply = channel.load_and_ask(protocol.load(operation), packed)
                if operation.durability is None:
                    reached = None
                else:  # wait until what it wrote is as safe as it has to be, or the time is over
                    steps = protocol.confirmation(operation, router.is_dynamic)
                    reached = exchange(channel.connection, steps, operation.durability.timeout + tuning.GRACE_S)
                if operation.keeps_answer:
                    asked = attempts.slot if attempts is not None and attempts.slot is not None else channel.slot
                    forgetting = protocol.forgetting(operation, asked, reply)
                done, channel = channel, None  # from now on it is not ours to hang up, whatever interrupts us
                done.pool.give(done)
                break
            except rx.ResponseError as e:
                if channel is not None:
                    channel.pool.refuse(channel, e)
                attempts = attempts or Attempts(self, operation)
                pause = attempts.after(e, None if node is None else node.where, None)
            except protocol.BROKEN as e:
                if channel is not None:
                    channel.pool.lose(channel, e)
                if protocol.is_from_outside(e):
                    raise
                attempts = attempts or Attempts(self, operation)
                lost = channel.slot if channel is not None and channel.is_sent else None
                pause = attempts.after(e, None if node is None else node.where, lost)
            except BaseException:
                if channel is not None:
                    channel.pool.drop(channel)
                raise
            time.sleep(pause)
            if attempts.is_refused:
                router.follow(attempts.error, operation.keys[0], node)
            else:
                router.refresh()
        if node.unawaited is not None:
            node.warn(operation)
        if forgetting is not None:
            self.forget(forgetting)
        result = reply if operation.parse is None else operation.parse(reply)
        return result if reached is None else (result, reached)

    def execute_at_once(self, operations: Sequence[Operation]) -> list[Any]:
        """Run operations as AtOnce says. Returns the result of each, or its RqsqsError."""
        results: list[Any] = [UNANSWERED] * len(operations)
        for node, numbers in self.router.shares(operations).items():
            if node is not None:
                wanted = [operations[i] for i in numbers]
                for i, reply in zip(numbers, self._replies(node, wanted), strict=False):  # without any if it broke
                    results[i] = parsed(operations[i], reply)
            error: RqsqsError | None = None
            for i in numbers:
                if results[i] is UNANSWERED:
                    results[i] = error or self._outcome(operations[i])
                    error = failure(results[i])
        return results

    def _replies(self, node: Node, operations: Sequence[Operation]) -> list[Any]:
        channel: PooledConnection | None = None
        try:
            channel = node.calls.take(beyond=True)
            assert channel is not None
            replies = exchange(channel.connection, protocol.at_once(operations, self.router.is_cluster, node.scripts))
        except FAILED:
            if channel is not None:
                channel.pool.lose(channel)
            return []
        except BaseException:
            if channel is not None:
                channel.pool.drop(channel)
            raise
        node.calls.give(channel)
        node.calls.shrink()
        return replies

    def _outcome(self, operation: Operation) -> Any:
        try:
            return self.execute(operation)
        except RqsqsError as e:
            return e

    def follow(self, wait: Wait, outcome: Any, operation: Operation | None, slot: CallSlot, is_sent: bool) -> Any:
        """See waits.ended()."""
        if is_sent and operation is not None and not (operation.keeps_answer or isinstance(outcome, Exception)):
            self.slots.free.append(slot)  # the common case
            return outcome if operation.parse is None else operation.parse(outcome)
        steps = ended(self, wait, outcome, operation, slot, is_sent=is_sent)
        result: Any = None
        try:
            while True:
                step = steps.send(result)
                if step is REFRESH:
                    self.router.refresh()
                else:
                    result = self.execute(*step)
        except StopIteration as end:
            return end.value

    def forget(self, forgetting: Operation | None) -> None:
        """The answer has arrived: the server need not keep a large one."""
        if forgetting is not None:
            with contextlib.suppress(RqsqsError):  # it ends by itself
                self.execute(forgetting)

    def give_back(self, operation: Operation, reply: Any) -> None:
        """No caller is left to take a reply: give back the messages in it."""
        if operation.undo is not None and not isinstance(reply, Exception):
            for undo in operation.undo(reply if operation.parse is None else operation.parse(reply)):
                self.execute(undo)

    def wake(self, lists: Iterable[str]) -> None:
        """Put wakeup tokens out, as far as that can be done."""
        for name in lists:
            with contextlib.suppress(RqsqsError):
                self.execute(Operation("wake_waiter", (name, name), ("", "", "")))
