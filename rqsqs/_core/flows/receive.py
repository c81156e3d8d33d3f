"""Flows that receive messages, and delete others on the way."""

from __future__ import annotations

import logging
import operator
import uuid
from collections.abc import Sequence
from typing import Any

from msgpack import unpackb

from rqsqs._core import operations, portions
from rqsqs._core.delivery import Delivery
from rqsqs._core.envelope import BODY_TYPES, NO_HEADERS, OBJECT, UNREADABLE, is_newer
from rqsqs._core.flows.send import send_messages
from rqsqs._core.flows.settle import DELETED, by_partition, delete_at, delete_messages, fail_refused
from rqsqs._core.flows.topology import at, whole
from rqsqs._core.flows.waiting import (
    GOES_ON,
    NOW,
    Polling,
    give_back,
    holding,
    now_ms,
    wait_and_receive,
    wait_word,
    waiter_names,
)
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, IsWatched, Operation
from rqsqs._core.operations import Received
from rqsqs._core.operations import browse as browsing
from rqsqs._core.receipts import Receipt
from rqsqs._core.results import for_deletes, not_reached
from rqsqs._core.sent import Outgoing
from rqsqs.errors import DurabilityNotReached, FormatNewer, RqsqsError
from rqsqs.limits import Limits
from rqsqs.models import Durability, DurabilityResult, FailedEntry

log = logging.getLogger("rqsqs.damage")
ENVELOPE = operator.attrgetter("_envelope")
STAY = 8  # one call in this many goes to another partition than the last one
MOST_BESIDE = portions.SPECIAL, portions.BESIDE  # messages that a receive deletes: of standard queues, of FIFO queues


class ReceiveSpec:
    """What a caller asks for when it receives, checked; callers keep it for the next time.

    Attributes:
        count: up to this many messages.
        visibility_ms: None = the queue's VisibilityTimeout.
        wait_ms: None = the queue's ReceiveMessageWaitTimeSeconds.
        delete: delete at once what is received.
        attempt_id: ReceiveRequestAttemptId (FIFO).
        per_group: up to this many of one message group (FIFO); 0 = no limit.
        slots: of a worker, whose receives do not count yet; 0 = it is none (lua/lib/ahead.lua).
    """

    __slots__ = (
        "attempt_id", "count", "delete", "limits", "per_group", "slots", "visibility_ms", "wait", "wait_ms",
        "words",
    )  # fmt: skip

    def __init__(
        self,
        limits: Limits,
        count: int,
        visibility_ms: int | None,
        wait_ms: int | None,
        delete: bool = False,
        attempt_id: str | None = None,
        per_group: int = 0,
        slots: int = 0,
    ) -> None:
        self.limits, self.count, self.visibility_ms, self.wait_ms = limits, count, visibility_ms, wait_ms
        self.delete, self.attempt_id, self.per_group, self.slots = delete, attempt_id, per_group, slots
        self.wait = wait_word(wait_ms)
        self.words = str(count), operations.how_word(visibility_ms, limits.in_flight, delete, slots)

    def ask(
        self,
        p: Partition,
        wait: str,
        waiter: str,
        count: int,
        finished: Sequence[Receipt] = (),
        statuses: list[int] | None = None,
    ) -> Operation:
        """The operation for one of several partitions, or for the second call to one."""
        visibility_ms, attempt_id = self.visibility_ms, self.attempt_id
        return operations.receive_messages(
            p, self.limits, count, visibility_ms, wait, waiter, attempt_id, self.delete, finished, statuses,
            self.per_group, self.slots,
        )  # fmt: skip


class Receive(Operation):
    """Receive from a queue of one partition. The result is what could be read of the messages.

    Args:
        finished: messages of this partition to be deleted first, in the same step.
    """

    __slots__ = ("_end", "_finished", "_got", "_queue", "_spec", "_waiter", "unless_watched")

    durability = repeat_mark = None

    def __init__(self, q: QueueRef, spec: ReceiveSpec, finished: Sequence[Delivery] = ()) -> None:
        p = q.home
        self._queue, self._spec, self._finished = q, spec, finished
        self._got: Received | None = None
        self._waiter = waiter = ""
        self.unless_watched = None
        if spec.wait_ms != 0:
            self._waiter = waiter = f"{waiter_names.process}-{next(waiter_names.numbers)}"
            if spec.wait_ms:
                self._end = now_ms(q) + spec.wait_ms
                if not finished:
                    self.unless_watched = p.waits_on
        clock = p.space.clock
        now = "" if clock is None else p.space.now_us()
        is_check = not p.received % operations.CHECK_EVERY
        self.keeps_answer = spec.delete
        if p.is_fifo:
            self.script, names = "receive_message_fifo", operations.RECEIVE_FIFO
            limits, at_most, attempt_id = spec.limits, spec.per_group, spec.attempt_id
            how = operations.how_word_fifo(
                spec.visibility_ms, limits.in_flight, spec.delete, limits.strict, at_most, attempt_id, is_check
            )
            self.args = (now, spec.words[0], how, f"{spec.wait} {waiter}" if waiter else "")
            for r in [d.receipt for d in finished]:
                self.args += (r.key, r.group, r.receives)
        else:
            self.script, names = "receive_message", operations.RECEIVE
            count, how = spec.words
            if is_check:
                how = operations.checking(how)
            self.args = (now, count, how, f"{spec.wait} {waiter}" if waiter else "")
            for d in finished:
                self.args += (d.key if d.__class__ is Delivery else d.receipt.key,)
        self.keys = p.found_keys.get(names) or p.keys(names)

    def parse(self, reply: Any) -> Any:
        """The messages, or a flow where there is more to do."""
        q, n = self._queue, len(reply)
        q.home.received += 1
        # messages, and nothing else to tell
        if type(reply[0]) is bytes and (reply[-1] if n % 2 else b"") == q.topology and not q.is_fifo:
            p, received_ms = q.home, reply[0][-13:].decode()
            now_ms, found = int(received_ms), []
            try:
                for i in range(0, n - 1, 2):
                    key, record = reply[i].decode(), reply[i + 1]
                    kind, body = unpackb(record, strict_map_key=False)
                    if not (key[:16].isdigit() and key[21:24].isdigit()):
                        raise ValueError
                    if kind != OBJECT and type(body) is not BODY_TYPES[kind]:
                        raise ValueError
                    found.append(
                        Delivery(p, key, record, received_ms, 1, now_ms, 0, "", None, 0, (kind, body, NO_HEADERS))
                    )
            except UNREADABLE:  # it has headers, or was not written by us
                pass
            else:
                if len(found) == self._spec.count or not portions.is_cut(found):
                    return found
        return self._finish(reply)

    def _finish(self, reply: Any) -> Any:
        q, statuses = self._queue, []
        if self._finished and (q.is_fifo or (len(reply) == 7 and not isinstance(reply[0], bytes))):
            statuses = reply.pop()
        self._got = got = Received(q.home, reply)
        failures: list[Any] = [None] * len(statuses)
        if statuses:
            handles = [d.receipt for d in self._finished]
            fail_refused(q, self._spec.limits, failures, handles, [*range(len(failures))], statuses)
            failures = [failure for failure in failures if failure is not None]
        found = got.messages
        is_all = len(found) == self._spec.count or not portions.is_cut(found)
        if found and is_all and not (got.missing_dlq or got.topology != q.topology or _may_be_newer(found)):
            return self._result(readable(found, must=not failures), failures)
        return self._go_on(got, failures)

    def _go_on(self, got: Received, failures: list[FailedEntry]) -> Flow[Any]:
        q, spec, received = self._queue, self._spec, list(got.messages)
        if not received or got.missing_dlq or got.topology != q.topology:
            end = self._end if spec.wait_ms else None
            polling = Polling(q, spec.ask, spec.count, spec.wait_ms, self._waiter, end)
            received = yield from polling.go_on(got)
        received = yield from _completed(q, spec, received)
        return self._result(readable(received, must=not failures), failures)

    def _result(self, found: list[Delivery], failures: list[FailedEntry]) -> Any:
        return found

    def line_up(self) -> Flow[list[Delivery]]:
        """Nothing is visible, or the waiter who watches would have it: wait behind that without asking."""
        q, spec = self._queue, self._spec
        received = yield from Polling(q, spec.ask, spec.count, spec.wait_ms, self._waiter).line_up()
        return readable((yield from _completed(q, spec, received)), must=True)

    def undo(self, result: Any) -> list[Operation]:
        """Give back what nobody is there to take."""
        got = self._got
        if got is not None:
            return operations.not_received(got, self._waiter, delete=self._spec.delete)
        return [] if self._spec.delete else operations.give_back(self._queue.home, result)


class DeleteAndReceive(Receive):
    """The same; the result is a pair: messages, and a FailedEntry for each finished one that could not be deleted."""

    __slots__ = ()

    def parse(self, reply: Any) -> Any:
        """The pair, or a flow where there is more to do."""
        found = super().parse(reply)
        return (found, []) if type(found) is list else found

    def _result(self, found: list[Delivery], failures: list[FailedEntry]) -> Any:
        return found, failures

    def undo(self, result: Any) -> list[Operation]:
        """Give back what nobody is there to take."""
        return super().undo(result[0] if type(result) is tuple else result)


def receive(q: QueueRef, spec: ReceiveSpec) -> Flow[list[Delivery]]:
    """Receive what can be read. MessageDamaged if there was something, and nothing of it can."""
    if spec.attempt_id or len(q.partitions) > 1:
        received = yield from receive_messages(
            q, spec.limits, spec.count, spec.visibility_ms, spec.wait_ms, spec.attempt_id, spec.delete
        )
        return readable(received, must=True)
    asking = Receive(q, spec)
    if asking.unless_watched is not None and (yield IsWatched(asking.unless_watched)):
        return (yield from asking.line_up())
    found: list[Delivery] = yield from whole(asking)
    return found


def receive_messages(
    q: QueueRef,
    limits: Limits,
    max_messages: int = 1,
    visibility_ms: int | None = None,
    wait_ms: int | None = 0,
    attempt_id: str | None = None,
    delete: bool = False,
) -> Flow[list[Delivery]]:
    """Receive up to max_messages, waiting for the first; see ReceiveSpec."""
    spec = ReceiveSpec(limits, max_messages, visibility_ms, wait_ms, delete, attempt_id)
    if attempt_id and len(q.partitions) > 1:
        again: list[Delivery] = []  # what the attempt was answered before
        for p in q.partitions:
            if (yield from at(q, p, browsing.find_duplicate(p, p.attempt(attempt_id), forget=False), "")):
                got = yield from holding(again, at(q, p, spec.ask(p, GOES_ON, "", max_messages), None))
                again += got.messages if got else ()
        if again:
            return again
    received = yield from wait_and_receive(q, spec.ask, max_messages, wait_ms)
    return (yield from _completed(q, spec, received))


def delete_and_receive(
    q: QueueRef,
    limits: Limits,
    handles: Sequence[Receipt | str],
    max_messages: int = 1,
    visibility_ms: int | None = None,
    wait_ms: int | None = 0,
    durability: Durability | None = None,
) -> Flow[tuple[list[Delivery], list[FailedEntry]]]:
    """Delete what is finished and receive what comes next, in one call; arguments as above. If deletes have to be safe,
    they go first, in a call of their own.

    Returns:
        The messages received, and the failures of delete_messages(), to which what is not as safe as required belongs.
    """
    spec = ReceiveSpec(limits, max_messages, visibility_ms, wait_ms)
    results: list[Any] = [None] * len(handles)
    if handles and for_deletes(durability):
        results = list((yield from delete_messages(q, handles, limits, durability)))
        weak = not_reached(durability, results, DELETED)
        if weak is not None:
            results = [_weak(i, r, weak) for i, r in enumerate(results)]
        received, _ = yield from receive_after(q, spec, ())
        return received, [r for r in results if isinstance(r, FailedEntry)]
    parts = by_partition(q, handles, results)
    last: tuple[list[int], list[Receipt]] = ([], [])
    if parts and may_stay(q, parts[-1][0]):
        last = parts.pop()[1:]
    indices, finished = last
    most = MOST_BESIDE[q.is_fifo]
    if len(finished) > most:
        parts.append((finished[0].partition, indices[:-most], finished[:-most]))
        indices, finished = indices[-most:], finished[-most:]
    for p, others, found in parts:
        statuses, _ = yield from delete_at(q, p, found, limits)
        fail_refused(q, limits, results, handles, others, statuses)
    received, statuses = yield from receive_after(q, spec, finished)
    fail_refused(q, limits, results, handles, indices, statuses)
    return received, [r for r in results if isinstance(r, FailedEntry)]


def _weak(index: int, result: Any, weak: DurabilityNotReached) -> Any:
    return FailedEntry(index, weak) if isinstance(result, DurabilityResult) and not result.is_enough else result


def may_stay(q: QueueRef, p: Partition) -> bool:
    """Shall a caller that has something to delete in a partition receive from the same one? So it does both in one
    call; but now and then it goes on to the others."""
    if len(q.partitions) == 1:
        return p is q.home
    q.stays += 1
    return q.stays % STAY > 0 and p in q.partitions


def receive_after(
    q: QueueRef, spec: ReceiveSpec, finished: Sequence[Receipt]
) -> Flow[tuple[list[Delivery], list[int]]]:
    """Receive, and delete receipts with the first call; they are all of one partition.

    Returns:
        The messages received, and what became of the receipts, as operations.delete_messages() tells it (FIFO).
    """
    statuses: list[int] = []
    start = finished[0].partition if finished else None

    def first(wait: str, waiter: str) -> Operation:
        return spec.ask(finished[0].partition, wait, waiter, spec.count, finished, statuses)

    received = yield from wait_and_receive(q, spec.ask, spec.count, spec.wait_ms, first if finished else None, start)
    return (yield from _completed(q, spec, received)), statuses


def _completed(q: QueueRef, spec: ReceiveSpec, received: list[Delivery]) -> Flow[list[Delivery]]:
    """Receive more where one call handed out as much as it may, until there are as many as asked for or no more come.
    If a newer version wrote one of them, this one receives no more, gives them back and raises FormatNewer."""
    if len(received) < spec.count and not spec.attempt_id and portions.is_cut(received):
        for p in {d.partition: None for d in received}:
            last = [d for d in received if d.partition is p]
            while len(received) < spec.count and portions.is_cut(last):
                got = yield from holding(received, _look_once_more(p, spec, len(received)))
                last = got.messages if got is not None else []
                received += last
    if None in map(ENVELOPE, received) and _may_be_newer(received):  # one that was read already is not
        yield from _stop_at_newer(q, spec, received)
    return received


def _look_once_more(p: Partition, spec: ReceiveSpec, have: int) -> Flow[Any]:
    try:
        return (yield spec.ask(p, NOW, "", spec.count - have))
    except RqsqsError:  # what is in hand is not lost with it
        return None


def _may_be_newer(received: Sequence[Delivery]) -> bool:
    return any([d.record[1:2] > b"\x03" and is_newer(d.record) for d in received])


def _stop_at_newer(q: QueueRef, spec: ReceiveSpec, received: Sequence[Delivery]) -> Flow[None]:
    newer = None
    for d in received:
        try:
            d.damage  # noqa: B018 - raises, unless it is no record at all
        except FormatNewer as e:
            newer = e
    if newer is None:
        return
    if not spec.delete:
        yield from give_back(received)
    for d in received if spec.delete else ():  # they are deleted: send them again
        dedup_id = str(uuid.uuid4()) if q.is_fifo else None
        message = Outgoing(d.record, 0, d.group_name or None, dedup_id, None, None, None)
        yield from send_messages(q, [message], spec.limits)
    raise newer


def readable(found: Sequence[Delivery], *, must: bool) -> list[Delivery]:
    """Pass over what cannot be read, and tell the logger. MessageDamaged if there `must` be something and is not."""
    good, trouble = [], None
    for d in found:
        damage = d.damage
        if damage is None:
            good.append(d)
        else:
            trouble = trouble or damage
            log.warning("passed over: %s", damage, extra={"damage": damage, "delivery": d})
    if trouble is not None and must and not good:
        raise trouble
    return good
