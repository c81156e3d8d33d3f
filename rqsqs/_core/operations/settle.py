"""Operations that say what became of received messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rqsqs._core import delivery
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import Partition
from rqsqs._core.operation import Arg, Operation
from rqsqs._core.receipts import Receipt
from rqsqs.limits import Limits
from rqsqs.models import Durability, Failure

DELETE = "store inflight"
DELETE_FIFO = "meta inflight state"
CHANGE = "meta store inflight wakeups timer"
CHANGE_FIFO = "meta available inflight state wakeups timer"
# What became of a receipt, as the scripts tell it
CHANGED = 1
EXPIRED = -1  # another receive has the message
GONE = -2  # the message does not exist any more
TOO_LONG = -3  # it would be invisible for too long
DEAD_LETTERED = -3  # of a release: it went to the dead-letter queue
MISSING_DLQ = -4  # of a release: nothing was done, the dead-letter queue has no shard beside the partition


def delete_messages(
    p: Partition, receipts: Sequence[Receipt], limits: Limits, durability: Durability | None = None
) -> Operation:
    """Delete by receipts of one partition; the result is a list: 1, 0 (it was gone), or EXPIRED.

    The script of standard queues only counts, unless it refuses some: if one was gone, all are 0."""
    if p.is_fifo:
        args: list[Arg] = [f"!{p.space.now_us()}" if limits.strict else p.space.now_us()]
        for r in receipts:
            args += (r.key, r.group, r.receives)
        return Operation("delete_message_fifo", p.keys(DELETE_FIFO), tuple(args), durability=durability)
    count = len(receipts)
    return Operation(
        "delete_message",
        p.keys(DELETE),
        tuple([r.key if p.space.clock is None else r.member for r in receipts]),
        lambda reply: reply if isinstance(reply, list) else [int(reply == count)] * count,
        durability=durability,
    )


def change_visibility(
    p: Partition, changes: Sequence[tuple[Receipt, int]], total_ms: int, durability: Durability | None = None
) -> Operation:
    """Change visibility by receipts of one partition; the result is a list of CHANGED, EXPIRED, GONE or TOO_LONG.

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
class Outcome:
    """What a worker says of a message it did not finish.

    Attributes:
        delivery: the message as it was received.
        kind: "requeue" = it was not begun, "retry" = it failed, "dead-letter" = it shall not be tried again.
        cause: why, if it failed.
        kinds: names of the classes of its exception, the most special first.
        wanted_ms: when it shall be tried again, if the handler said so.
        chance: 0 to 1,000,000, for the jitter.
        error: the exception itself, for the log.
        seconds: what the handler took, for the log.
    """

    delivery: Delivery
    kind: str
    cause: Failure | None = None
    kinds: tuple[str, ...] = ()
    wanted_ms: int | None = None
    chance: int = 0
    error: BaseException | None = None
    seconds: float | None = None


def release_messages(p: Partition, outcomes: Sequence[Outcome], durability: Durability | None = None) -> Operation:
    """Say what was not finished; the result is a pair: for each in how many ms it is visible again, EXPIRED, GONE,
    DEAD_LETTERED or MISSING_DLQ; and the name of that dead-letter queue, or ""."""
    args: list[Arg] = [p.space.now_us()]
    for v in outcomes:
        d, why = v.delivery, v.cause
        receipt = d.receipt
        receives = d.held[1] + "+" * d.is_suspect
        args += (receipt.key, receipt.group, receipt.receives) if p.is_fifo else (receipt.key, receives)
        size, packed = delivery.with_cause(d, why) if why else (0, b"")
        was_suspect = (d.receives == 1 or d.is_suspect) and not p.is_fifo  # others have 0 or -1 the first time
        kind = "return" if v.kind == "requeue" and was_suspect else v.kind
        args += (
            kind,
            packed,
            str(size),
            str(why.failures) if why else "1",
            "" if v.wanted_ms is None else str(v.wanted_ms),
            str(v.chance),
            " ".join(v.kinds),
        )
    name, keys = ("release_message_fifo", CHANGE_FIFO) if p.is_fifo else ("release_message", CHANGE)
    return Operation(name, p.keys(keys), tuple(args), lambda r: (r[:-1], r[-1].decode()), durability=durability)


def forget_answer(slot: str, number: int) -> Operation:
    """The caller has the answer to a call: its call slot, by its key, need not keep it."""
    return Operation("forget_answer", (slot,), (str(number),))


def mark_connection(operation: Operation) -> Operation:
    """Write something where an operation may have found nothing to write."""
    return Operation("mark_connection", (operation.keys[0].rpartition(":")[0] + ":call:mark",), ())
