"""Operations that receive messages, and that wake those who wait for them."""

from __future__ import annotations

import functools
import heapq
import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from msgpack import unpackb

from rqsqs._core import portions, receipts
from rqsqs._core.delivery import Delivery, MarkedDelivery
from rqsqs._core.envelope import BODY_TYPES, NO_HEADERS, OBJECT, UNREADABLE
from rqsqs._core.keys import Partition
from rqsqs._core.operation import Arg, Operation
from rqsqs._core.operations.settle import Outcome, release_messages
from rqsqs._core.receipts import Receipt
from rqsqs.errors import QueueDamaged
from rqsqs.limits import Limits

log = logging.getLogger("rqsqs.damage")
MARK = receipts.MARK.encode()
RECEIVE = "meta ready store inflight stats wakeups"
RECEIVE_FIFO = "meta available inflight state wakeups"
CHECK_EVERY = 1024  # the first send and receive, and then every 1,024th, look whether the queue is damaged


class Received:
    """The answer of one receive.

    Attributes:
        now_ms: the server's time.
        topology: version of the queue's partitions.
        wake_at_ms: > now_ms: the caller owns a due time and comes to watch() then; = now_ms: it receives again at once.
        look_at_ms: the caller has a duty, as the owner or a backup, and receives then; 0 = it has none.
        wait_until_ms: until when the caller waits; 0 if there are messages.
        missing_dlq: name of a dead-letter queue that has no shard here, or "".
        messages: what was received.
    """

    __slots__ = (
        "look_at_ms",
        "messages",
        "missing_dlq",
        "now_ms",
        "partition",
        "topology",
        "wait_until_ms",
        "wake_at_ms",
    )

    def __init__(self, partition: Partition, reply: list[Any], is_ahead: bool = False) -> None:
        self.partition = partition
        if isinstance(reply[0], bytes):  # messages, and nothing else to tell
            now = (reply.pop() if partition.is_fifo else reply[0][-13:]).decode()
            self.now_ms = int(now)
            self.topology: bytes = reply.pop() if partition.is_fifo or len(reply) % 2 else b""
            self.wake_at_ms = self.wait_until_ms = self.look_at_ms = 0
            self.missing_dlq = ""
            if partition.is_fifo:
                self.messages = _fresh_fifo(partition, reply, now)
            else:
                self.messages = _fresh(partition, reply, now, -1 if is_ahead else 0)
            return
        self.now_ms, self.topology, duty, self.wait_until_ms = reply[:4]
        self.wake_at_ms, self.look_at_ms = duty if isinstance(duty, list) else (duty, 0)
        self.missing_dlq = reply[4].decode()
        now, flat, stride = str(self.now_ms), reply[5], 4 if partition.is_fifo else 3
        is_marked = bool(flat) and flat[0][:1] == MARK
        for i in range(0, len(flat) if is_marked else 0, stride):
            flat[i] = flat[i][1:]
        if partition.is_fifo:
            self.messages = _fifo(partition, zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True), now)
        else:
            self.messages = _of_any_stay(partition, flat, now)
        for d in self.messages if is_marked else ():
            d.__class__ = MarkedDelivery


def receive_messages(
    p: Partition,
    limits: Limits,
    count: int,
    visibility_ms: int | None,
    wait: str,
    waiter: str,
    attempt_id: str | None = None,
    delete: bool = False,
    finished: Sequence[Receipt] = (),
    statuses: list[int] | None = None,
    per_group: int = 0,
    slots: int = 0,
) -> Operation:
    """Receive from one partition; the result is a Received.

    Args:
        finished: to be deleted first, in the same step.
        statuses: takes what became of them, as delete_messages() tells it (FIFO).
        per_group: up to that many messages of one message group (FIFO); 0 = no limit.
        slots: of a worker, whose receives do not count yet (lua/lib/ahead.lua); 0 = it is none.
    """
    is_check = not p.received % CHECK_EVERY

    def parse(reply: list[Any]) -> Received:
        has_statuses = p.is_fifo or (len(reply) == 7 and not isinstance(reply[0], bytes))  # else none is refused
        if finished and statuses is not None and has_statuses:
            statuses[:] = reply.pop()
        p.received += 1
        return Received(p, reply, slots > 0)

    def undo(got: Received) -> list[Operation]:
        return not_received(got, waiter, delete=delete)

    if p.is_fifo:
        how = how_word_fifo(visibility_ms, limits.in_flight, delete, limits.strict, per_group, attempt_id, is_check)
        args: tuple[Arg, ...] = (
            *(p.space.now_us(), str(count), how, f"{wait} {waiter}" if wait else ""),
            *[a for r in finished for a in (r.key, r.group, r.receives)],
        )
        return Operation("receive_message_fifo", p.keys(RECEIVE_FIFO), args, parse, undo=undo, keeps_answer=delete)
    how, wait = how_word(visibility_ms, limits.in_flight, delete, slots), f"{wait} {waiter}" if wait else ""
    args = (p.space.now_us(), str(count), checking(how) if is_check else how, wait, *[r.key for r in finished])
    return Operation("receive_message", p.keys(RECEIVE), args, parse, undo=undo, keeps_answer=delete)


@functools.lru_cache(maxsize=1000)
def how_word(visibility_ms: int | None, in_flight: int, delete: bool, slots: int) -> str:
    """Of a receive from a standard queue: what is not as in most calls, in one argument (lua/receive_message.lua)."""
    visibility = "" if visibility_ms is None else visibility_ms
    word = f"{visibility}/{in_flight or ''}/{'1' if delete else f'+{slots}' if slots else ''}"
    return "" if word == "//" else word


@functools.lru_cache(maxsize=1000)
def how_word_fifo(
    visibility_ms: int | None,
    in_flight: int,
    delete: bool,
    strict: bool,
    per_group: int,
    attempt_id: str | None,
    check: bool,
) -> str:
    """The same of a receive from a FIFO queue (lua/receive_message_fifo.lua)."""
    visibility = "" if visibility_ms is None else visibility_ms
    options = ("1" if delete else "") + ("c" if check else "")
    word = f"{visibility}/{in_flight or ''}/{options}/{'1' if strict else ''}/{per_group or ''}/{attempt_id or ''}"
    return "" if word == "/////" else word


def checking(how: str) -> str:
    """The same of a receive that looks whether the settings are damaged."""
    return f"{how or '//'}c"


def not_received(got: Received, waiter: str, *, delete: bool) -> list[Operation]:
    """What to do with an answer that nobody is there to take."""
    p = got.partition
    if got.messages:
        return [] if delete else give_back(p, got.messages)
    if got.wake_at_ms == got.now_ms and waiter:  # something may be visible, and it may have taken a token
        return [wake_waiter(p)]
    return [wake_waiter(p, waiter)] if got.look_at_ms else []


def give_back(p: Partition, deliveries: Sequence[Delivery]) -> list[Operation]:
    """Make messages that nobody has seen since they were received visible again, last one first, so that order
    holds; the receive does not count."""
    outcomes = [Outcome(d, "requeue") for d in reversed(deliveries)]
    most = portions.ORDERED if p.is_fifo else portions.RELEASED
    return [release_messages(p, some) for some in portions.portions(outcomes, most)]


def key_text(key: bytes) -> str:
    """The key of a standard message as text."""
    text = key.decode()
    if len(text) < 24 or not (text[:16].isdigit() and text[21:24].isdigit()):
        raise ValueError(text)
    return text


def stamp_text(key: bytes) -> str:
    """The same of FIFO messages."""
    text = key.decode()
    if not (text[:16].isdigit() and len(text) >= 16):
        raise ValueError(text)
    return text


def pass_over(p: Partition, where: str, member: object) -> None:
    """Something in a list or set is no message of ours. Nobody could do anything with it but purge the queue."""
    key = p.base + where
    error = QueueDamaged.at(key, str(member)[2:62], "is no message of rqsqs")
    log.warning("passed over: %s", error, extra={"damage": error})


def history(member: str) -> tuple[int, int, int, str | None, str]:
    """What a member of `inflight` (standard) says of its past: first receive (ms), receives before this delivery cycle,
    those of them in other queues, source, group."""
    rest, _, group = member[24:].partition("@")
    first, _, past = rest.partition("/")
    if not past:
        return int(first or 0), 0, 0, None, group
    total, count, _due, _moved, source = past.split("/", 4)
    return int(first or 0), int(total), int(total) - int(count), source or None, group


def _of_any_stay(p: Partition, flat: list[Any], now: str) -> list[Delivery]:
    messages = []
    for i in range(0, len(flat), 3):
        try:
            member, receives = key_text(flat[i]), flat[i + 1]
            first, before, elsewhere, source, group = history(member)
            total = before + (max(receives, 1) if receives >= -1 else -1 - receives)
            # in the handle the receives tell two of them within a millisecond apart
            messages.append(Delivery(p, member, flat[i + 2], now, total, first, receives, group, source, elsewhere))
        except UNREADABLE:
            pass_over(p, "inflight", flat[i])
    return messages


def _fresh(p: Partition, flat: list[bytes], now: str, receives: int) -> list[Delivery]:
    """Messages without group and history."""
    now_ms, found = int(now), []
    try:
        for i in range(0, len(flat), 2):
            key, record = flat[i].decode(), flat[i + 1]
            kind, body = unpackb(record, strict_map_key=False)
            if not (key[:16].isdigit() and key[21:24].isdigit()):
                raise ValueError
            if kind != OBJECT and type(body) is not BODY_TYPES[kind]:
                raise ValueError
            found.append(Delivery(p, key, record, now, 1, now_ms, receives, "", None, 0, (kind, body, NO_HEADERS)))
    except UNREADABLE:  # it has headers, or was not written by us
        return _any_fresh(p, flat, now, receives)
    return found


def _any_fresh(p: Partition, flat: list[bytes], now: str, receives: int) -> list[Delivery]:
    """The same, read when somebody asks; what is no message of ours is passed over."""
    now_ms = int(now)
    try:
        return [Delivery(p, key_text(flat[i]), flat[i + 1], now, 1, now_ms, receives) for i in range(0, len(flat), 2)]
    except UNREADABLE:
        if len(flat) > 2:
            return [d for i in range(0, len(flat), 2) for d in _any_fresh(p, flat[i : i + 2], now, receives)]
        pass_over(p, "ready", flat[0])
        return []


def fifo_history(key: str) -> tuple[int | None, int, str | None]:
    """What a FIFO key says of its past as a dead letter: first receive (ms), receives before, source."""
    _, _, past = key.partition("/")
    if not past:
        return None, 0, None
    first, total, _moved, source = past.split("/", 3)
    return int(first) if first else None, int(total), source or None


def _fresh_fifo(p: Partition, flat: list[bytes], now: str) -> list[Delivery]:
    """Messages that were not received before in their delivery cycle."""
    return _fifo(p, zip(flat[::3], flat[1::3], itertools.repeat(b""), flat[2::3]), now)


def _fifo(p: Partition, found: Iterable[tuple[bytes, bytes, bytes, bytes]], now: str) -> list[Delivery]:
    messages = []
    for packed_key, packed_group, past, record in found:
        try:
            key, group = stamp_text(packed_key), packed_group.decode()
            receives, first, received, counted = 1, now, now, 1
            if past:
                text, first, received, *returned = past.decode().split("/")
                receives = counted = int(text)
                if returned:  # it came back unbegun once
                    counted -= int(returned[0])
            first_before, before, source = fifo_history(key) if len(key) > 16 else (None, 0, None)
            first_ms = first_before or int(first)
        except UNREADABLE:
            pass_over(p, f"group:{packed_group!r}", packed_key)
            continue
        total = before + counted
        messages.append(Delivery(p, key, record, received, total, first_ms, receives, group, source, before))
    return messages


def wake_waiter(p: Partition, waiter: str = "") -> Operation:
    """Wake one waiter; with a waiter's name: it goes away, and if it has a duty another one takes it over."""
    return Operation("wake_waiter", p.keys("wakeups timer"), (p.space.now_us(), waiter, ""))


def count_empty_receives(p: Partition, number: int) -> Operation:
    """Count receives that found nothing and ended without a last call."""
    return Operation("count_empty_receives", p.keys("meta stats"), (str(number),))


def watch(p: Partition, waiter: str) -> Operation:
    """Wake one waiter if the time has come that this one owns; the result is in how many ms it comes again, or 0."""
    return Operation("wake_waiter", p.keys("wakeups timer"), (p.space.now_us(), waiter, "1"))


def watch_all(times: Sequence[tuple[int, Partition]], waiter: str) -> tuple[int | None, Operation | None]:
    """watch() several partitions, each after some ms: when to begin, and an operation that goes from one to the
    next."""
    if not times:
        return None, None
    ahead = [(ms, n, p) for n, (ms, p) in enumerate(times)]
    heapq.heapify(ahead)
    operation = watch(ahead[0][2], waiter)

    def parse(again_ms: int) -> int:
        passed, n, p = heapq.heappop(ahead)
        if again_ms:
            heapq.heappush(ahead, (passed + again_ms, n, p))
        if not ahead:
            return 0
        following = watch(ahead[0][2], waiter)
        operation.keys, operation.args = following.keys, following.args
        return max(ahead[0][0] - passed, 1)

    operation.parse = parse
    return ahead[0][0], operation
