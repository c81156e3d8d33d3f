"""Builders and parsers of the message operations: pure functions, one script each."""

from __future__ import annotations

import hashlib
import heapq
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rqsqs._core import ids, portions, records
from rqsqs._core.keys import Partition
from rqsqs._core.operation import Arg, Operation
from rqsqs._core.receipts import Receipt
from rqsqs._core.records import Delivery
from rqsqs.errors import QueueDamaged
from rqsqs.limits import Limits
from rqsqs.models import Cause, Durability, Outgoing, SentMessage

log = logging.getLogger("rqsqs.damage")
ODD = (AttributeError, LookupError, TypeError, ValueError)  # what parsers raise about what they do not understand
SEND = "meta ready bell"
SEND_FIFO = "meta available bell keeper"
RECEIVE = "meta ready store inflight bell"
RECEIVE_FIFO = "meta available inflight state bell"
DELETE = "meta store inflight"
DELETE_FIFO = "meta available inflight state bell"
MIN_WINDOW_MS = 120_000  # a deduplication window that outlasts all repetitions of a call
CHANGE = "meta store inflight bell keeper"
CHANGE_FIFO = "meta available inflight state bell keeper"


def dedup_tail(dedup_id: str) -> str:
    """A deduplication id as part of a key name: short ones as they are, long ones as a digest."""
    if len(dedup_id) <= 32 and dedup_id.isascii():
        return dedup_id
    return "\x00" + hashlib.blake2b(dedup_id.encode(), digest_size=16).hexdigest()


def _due(message: Outgoing) -> str:
    if message.due_ms is not None:
        return f"@{message.due_ms}"
    if message.delay_ms is not None:
        return f"+{message.delay_ms}"
    return ""


class Moved:
    """A message that belongs to another partition.

    Attributes:
        permit: the pass for it (lua/lib/partition.lua), or "".
    """

    __slots__ = ("permit",)

    def __init__(self, permit: str) -> None:
        self.permit = permit


def send_messages(
    p: Partition,
    messages: Sequence[Outgoing],
    limits: Limits,
    news: list[bytes] | None = None,
    permit: str = "",
    durability: Durability | None = None,
    *,
    check: bool = False,
) -> Operation:
    """Send one or many; the result is a list in the same order: SentMessage, or Moved if it is not for this partition.

    Args:
        permit: the pass that the partition gave in which they would have been before (lua/lib/partition.lua).
        news: takes the topology of the queue, if the reply tells it.
        durability: how safe they have to be.
        check: whether the settings of the queue are damaged; the common send reads only one of them.
    """
    now = p.space.now_us()
    size = messages[0].size if len(messages) == 1 else max([m.size for m in messages])
    if p.is_fifo:
        return _send_fifo(p, messages, limits, now, size, permit or ("c" if check else ""), durability)
    tail, node = ids.tails(), p.node
    names = [tail + position for position in ids.POSITIONS[: len(messages)]]
    special = not all([m.is_plain for m in messages])
    stride = (f"6/{permit}" if permit else "6") if special else "2"
    args: list[Arg] = [now, str(size), f"{stride}c" if check else stride]
    for name, m in zip(names, messages, strict=True):
        args.append(name)
        args.append(m.record)
        if special:
            args += (
                _due(m),
                m.group or "",
                dedup_tail(m.dedup_id) if m.dedup_id is not None else "",
                "" if m.dedup_window_ms is None else str(m.dedup_window_ms),
            )

    def parse(reply: bytes | list[bytes]) -> list[SentMessage | Moved]:
        if isinstance(reply, bytes):
            stamp = reply.decode()
            return [SentMessage(stamp + name, node) for name in names]
        stamp = reply[0].decode()
        if news is not None:
            news.append(reply[1])
        if len(reply) == 2:
            return [SentMessage(stamp + name, node) for name in names]
        sent: list[SentMessage | Moved] = []
        for name, outcome in zip(names, reply[2:], strict=True):
            if not outcome:
                sent.append(SentMessage(stamp + name, node))
            elif outcome[:1] == b"!":
                sent.append(Moved(outcome[1:].decode()))
            else:
                sent.append(SentMessage(outcome.decode(), node, None, True))
        return sent

    return Operation("send_message", p.keys(SEND), tuple(args), parse, durability=durability, repeat_mark=2)


def _send_fifo(
    p: Partition,
    messages: Sequence[Outgoing],
    limits: Limits,
    now: str,
    size: int,
    permit: str,
    durability: Durability | None,
) -> Operation:
    all_have_ids = limits.strict or all(
        [m.dedup_id is not None and (m.dedup_window_ms is None or m.dedup_window_ms >= MIN_WINDOW_MS) for m in messages]
    )
    args: list[Arg] = [now, str(size), "1" if all_have_ids else "", permit]
    for m in messages:
        if m.dedup_id is not None:
            dedup = "=" + dedup_tail(m.dedup_id)
        elif m.content_hash is not None:
            dedup = "#" + dedup_tail(m.content_hash)
        else:
            dedup = ""
        window = "" if m.dedup_window_ms is None else str(m.dedup_window_ms)
        args += (m.record, m.group or "", dedup, _due(m), window)

    def parse(reply: list[bytes]) -> list[SentMessage | Moved]:
        sent: list[SentMessage | Moved] = []
        for outcome in reply:
            stamp = outcome.decode()
            if stamp[0] == "!":
                sent.append(Moved(stamp[1:]))
                continue
            is_duplicate = stamp[0] == "="
            if is_duplicate:
                stamp = stamp[1:]
            sent.append(SentMessage(stamp, p.node, ids.sequence_number(stamp), is_duplicate))
        return sent

    return Operation("send_message_fifo", p.keys(SEND_FIFO), tuple(args), parse, durability=durability)


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

    def __init__(self, partition: Partition, reply: list[Any]) -> None:
        self.partition = partition
        if isinstance(reply[0], bytes):  # messages, and nothing else to tell
            self.topology: bytes = reply[-2]
            now = reply[-1].decode()
            self.now_ms = int(now)
            self.wake_at_ms = self.wait_until_ms = self.look_at_ms = 0
            self.missing_dlq = ""
            del reply[-2:]
            self.messages = _fifo(partition, reply, now) if partition.is_fifo else _fresh(partition, reply, now)
            return
        self.now_ms, self.topology, duty, self.wait_until_ms = reply[:4]
        self.wake_at_ms, self.look_at_ms = duty if isinstance(duty, list) else (duty, 0)
        self.missing_dlq = reply[4].decode()
        now = str(self.now_ms)
        if partition.is_fifo:
            self.messages = _fifo(partition, reply[5], now)
        else:
            self.messages = _of_any_stay(partition, reply[5], now)


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
) -> Operation:
    """Receive from one partition; the result is a Received.

    Args:
        finished: to be deleted first, in the same step.
        statuses: takes what became of them, as delete_messages() tells it (FIFO).
        per_group: so many messages of one message group at most (FIFO); 0 = no limit.
    """
    args: tuple[Arg, ...] = (
        p.space.now_us(),
        str(count),
        "" if visibility_ms is None else str(visibility_ms),
        wait,
        waiter,
        str(limits.in_flight),
        "1" if delete else "",
    )

    def parse(reply: list[Any]) -> Received:
        has_statuses = p.is_fifo or (len(reply) == 7 and not isinstance(reply[0], bytes))  # else none is refused
        if finished and statuses is not None and has_statuses:
            statuses[:] = reply.pop()
        return Received(p, reply)

    def undo(got: Received) -> list[Operation]:
        if got.messages:
            return [] if delete else give_back(p, got.messages)
        if got.wake_at_ms == got.now_ms and waiter:  # something may be visible, and it may have taken a token
            return [ring(p)]
        return [ring(p, waiter)] if got.look_at_ms else []

    if p.is_fifo:
        strict = "1" if limits.strict else ""
        finished_args = (a for r in finished for a in (r.key, r.group, r.receives))
        args = (*args, attempt_id or "", strict, str(per_group), *finished_args)
        return Operation("receive_message_fifo", p.keys(RECEIVE_FIFO), args, parse, undo=undo, keeps_answer=delete)
    args = (*args, *[r.key for r in finished])
    return Operation("receive_message", p.keys(RECEIVE), args, parse, undo=undo, keeps_answer=delete)


def give_back(p: Partition, deliveries: Sequence[Delivery]) -> list[Operation]:
    """Make messages that nobody has seen since they were received visible again, last one first, so that order
    holds; the receive does not count."""
    verdicts = [Verdict(d, "back") for d in reversed(deliveries)]
    most = portions.ORDERED if p.is_fifo else portions.RELEASED
    return [release_messages(p, some) for some in portions.portions(verdicts, most)]


def key_text(key: bytes) -> str:
    """The key of a standard message as text.

    Raises:
        ValueError: it is none.
    """
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
    """What a member of `inflight` (standard) says of its past: first receive (ms), receives before this stay, those of
    them in other queues, source, group."""
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
            total = before + max(receives, 1)
            # in the handle the receives tell two of them within a millisecond apart
            messages.append(Delivery(p, member, flat[i + 2], now, total, first, receives, group, source, elsewhere))
        except ODD:
            pass_over(p, "inflight", flat[i])
    return messages


def _fresh(p: Partition, flat: list[bytes], now: str) -> list[Delivery]:
    """Messages without group and history."""
    try:
        return [Delivery(p, key_text(flat[i]), flat[i + 1], now, 1, int(now)) for i in range(0, len(flat), 2)]
    except ODD:
        if len(flat) > 2:
            return [d for i in range(0, len(flat), 2) for d in _fresh(p, flat[i : i + 2], now)]
        pass_over(p, "ready", flat[0])
        return []


def fifo_history(key: str) -> tuple[int | None, int, str | None]:
    """What a FIFO key says of its past as a dead letter: first receive (ms), receives before, source."""
    _, _, past = key.partition("/")
    if not past:
        return None, 0, None
    first, total, _moved, source = past.split("/", 3)
    return int(first) if first else None, int(total), source or None


def _fifo(p: Partition, flat: list[bytes], now: str) -> list[Delivery]:
    messages = []
    for i in range(0, len(flat), 4):
        try:
            key, group = stamp_text(flat[i]), flat[i + 1].decode()
            receives, first, received, counted = 1, now, now, 1
            if flat[i + 2]:
                text, first, received, *returned = flat[i + 2].decode().split("/")
                receives = counted = int(text)
                if returned:  # it came back unbegun once
                    counted -= int(returned[0])
            first_before, before, source = fifo_history(key) if len(key) > 16 else (None, 0, None)
            first_ms = first_before or int(first)
        except ODD:
            pass_over(p, f"group:{flat[i + 1]!r}", flat[i])
            continue
        messages.append(
            Delivery(
                p,
                key,
                flat[i + 3],
                received,
                before + counted,
                first_ms,
                receives,
                group,
                source,
                before,
            )
        )
    return messages


def delete_messages(
    p: Partition, receipts: Sequence[Receipt], limits: Limits, durability: Durability | None = None
) -> Operation:
    """Delete by receipts of one partition; the result is a list of status numbers (1, 0 gone, -1 expired).

    The script of standard queues only counts, unless it refuses some: if one was gone, all are 0."""
    if p.is_fifo:
        args: list[Arg] = [p.space.now_us(), "1" if limits.strict else ""]
        for r in receipts:
            args += (r.key, r.group, r.receives)
        return Operation("delete_message_fifo", p.keys(DELETE_FIFO), tuple(args), durability=durability)
    count = len(receipts)
    return Operation(
        "delete_message",
        p.keys(DELETE),
        tuple([r.key for r in receipts]),
        lambda reply: reply if isinstance(reply, list) else [int(reply == count)] * count,
        durability=durability,
    )


def change_visibility(
    p: Partition, changes: Sequence[tuple[Receipt, int]], total_ms: int, durability: Durability | None = None
) -> Operation:
    """Change visibility by receipts of one partition; the result is a list of status numbers (see the scripts).

    Args:
        changes: receipts and milliseconds from now.
        total_ms: longest invisibility counted from the receive; 0 = no limit.
    """
    args: list[Arg] = [p.space.now_us(), str(total_ms)]
    for r, visibility_ms in changes:
        if p.is_fifo:
            args += (r.key, r.group, r.receives, r.received_ms, str(visibility_ms))
        else:
            args += (r.key, r.received_ms, str(visibility_ms))
    name, keys = ("change_message_visibility_fifo", CHANGE_FIFO) if p.is_fifo else ("change_message_visibility", CHANGE)
    return Operation(name, p.keys(keys), tuple(args), durability=durability)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a worker says of a message it did not finish.

    Attributes:
        delivery: the message as it was received.
        kind: "back" = it was not begun, "fail", "dead" = it shall not be tried again.
        cause: why, if it failed.
        kinds: names of the classes of its exception, the most special first.
        wanted_ms: when it shall be tried again, if the handler said so.
        chance: 0 to 1,000,000, for the jitter.
        error: the exception itself, for the log.
        seconds: what the handler took, for the log.
    """

    delivery: Delivery
    kind: str
    cause: Cause | None = None
    kinds: tuple[str, ...] = ()
    wanted_ms: int | None = None
    chance: int = 0
    error: BaseException | None = None
    seconds: float | None = None


MISSING_DLQ = -4  # release_messages(): nothing was done, the dead-letter queue has no shard beside the partition


def release_messages(p: Partition, verdicts: Sequence[Verdict], durability: Durability | None = None) -> Operation:
    """Say what was not finished; the result is (status numbers as the script tells them, missing_dlq)."""
    args: list[Arg] = [p.space.now_us()]
    for v in verdicts:
        d, why = v.delivery, v.cause
        receipt = d.receipt
        args += (receipt.key, receipt.group, receipt.receives) if p.is_fifo else d.held
        size, packed = records.with_cause(d, why) if why else (0, b"")
        args += (
            v.kind,
            packed,
            str(size),
            str(why.failures) if why else "1",
            "" if v.wanted_ms is None else str(v.wanted_ms),
            str(v.chance),
            " ".join(v.kinds),
        )
    name, keys = ("release_message_fifo", CHANGE_FIFO) if p.is_fifo else ("release_message", CHANGE)
    return Operation(name, p.keys(keys), tuple(args), lambda r: (r[:-1], r[-1].decode()), durability=durability)


def ring(p: Partition, waiter: str = "") -> Operation:
    """Wake one waiter; with a waiter's name: it goes away, and if it has a duty another one takes it over."""
    return Operation("ring_bell", p.keys("bell keeper"), (p.space.now_us(), waiter, ""))


def watch(p: Partition, waiter: str) -> Operation:
    """Wake one waiter if the time has come that this one owns; the result is in how many ms it comes again, or 0."""
    return Operation("ring_bell", p.keys("bell keeper"), (p.space.now_us(), waiter, "1"))


def watch_all(times: Sequence[tuple[int, Partition]], waiter: str) -> tuple[int | None, Operation | None]:
    """watch() several partitions, each after so many ms: when to begin, and an operation that goes from one to the
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


def forget_answer(slot: str, number: int) -> Operation:
    """The caller has the answer to a call: its call slot, by its key, need not keep it."""
    return Operation("forget_answer", (slot,), (str(number),))


def mark_connection(operation: Operation) -> Operation:
    """Write something where an operation may have found nothing to write."""
    return Operation("mark_connection", (operation.keys[0].rpartition(":")[0] + ":call:mark",), ())
