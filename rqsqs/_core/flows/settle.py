"""Flows that say what became of received messages: delete them, or change their visibility."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rqsqs._core import operations, portions, receipts
from rqsqs._core.delivery import Delivery
from rqsqs._core.flows.topology import at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, Operation
from rqsqs._core.operations import browse as browsing
from rqsqs._core.receipts import Receipt
from rqsqs._core.results import for_deletes, least
from rqsqs.errors import (
    InvalidParameterValue,
    MessageNotAvailable,
    QueueDoesNotExist,
    ReceiptHandleExpired,
    ReceiptHandleIsInvalid,
)
from rqsqs.limits import Limits
from rqsqs.models import Durability, DurabilityResult, FailedEntry

DELETED, CHANGED = "the messages are deleted", "the visibility is changed"


class DeleteOne(Operation):
    """Delete a message that was received from a queue. The result is None; deleting what is gone succeeds.

    Raises:
        ReceiptHandleExpired: FIFO: its visibility timeout is over; standard: it left.
    """

    __slots__ = ("_delivery", "_limits")

    repeat_mark = None
    keeps_answer = False
    undo = durability = None

    def __init__(self, limits: Limits, d: Delivery | Receipt) -> None:
        self._delivery, self._limits = d, limits
        p = d.partition
        if p.is_fifo:
            self.script = "delete_message_fifo"
            self.keys = p.found_keys.get(operations.DELETE_FIFO) or p.keys(operations.DELETE_FIFO)
            receipt, now = d.receipt, p.space.now_us()
            self.args = (f"!{now}" if limits.strict else now, receipt.key, receipt.group, receipt.receives)
        else:
            self.script = "delete_message"
            self.keys = p.found_keys.get(operations.DELETE) or p.keys(operations.DELETE)
            self.args = (d.key if d.__class__ is Delivery else d.receipt.member,)

    def parse(self, reply: Any) -> None:
        """Nothing to tell."""
        if type(reply) is not int and reply[0] == operations.EXPIRED:
            is_fifo = self._delivery.partition.is_fifo
            if is_fifo or not self._limits.strict:
                raise (_expired if is_fifo else _left)(self._delivery.receipt)

    def recover(self, error: BaseException) -> Any:
        """The partition may be no more, and the message with it, without the queue being so."""
        p = self._delivery.partition
        q = p.space.queue(p.queue)
        if isinstance(error, QueueDoesNotExist) and p.tag != q.home.tag:
            return refresh(q)
        raise error


def delete_messages(
    q: QueueRef, handles: Sequence[Receipt | str], limits: Limits, durability: Durability | None = None
) -> Flow[list[FailedEntry | DurabilityResult | None]]:
    """Delete by receipts, or receipt handles from outside. Deleting what is gone succeeds.

    Returns:
        For each handle None, what was reached if deletes have to be safe, or a FailedEntry: ReceiptHandleIsInvalid, or
        ReceiptHandleExpired (FIFO: its visibility timeout is over; standard: the message left).
    """
    results: list[Any] = [None] * len(handles)
    safe = for_deletes(durability)
    for p, indices, found in by_partition(q, handles, results):
        statuses, reached = yield from delete_at(q, p, found, limits, safe)
        for i in indices:
            results[i] = reached
        fail_refused(q, limits, results, handles, indices, statuses)
    return results


def delete_at(
    q: QueueRef, p: Partition, found: Sequence[Receipt], limits: Limits, safe: Durability | None = None
) -> Flow[tuple[list[int], DurabilityResult | None]]:
    """Delete receipts of a partition, in as many calls as they take; returns what became of them, as
    operations.delete_messages() tells it, and how safe that is."""
    statuses: list[int] = []
    reached: list[Any] = []
    for part in portions.portions(found, portions.ORDERED if p.is_fifo else portions.PLAIN):
        of_part, reached_for_part = yield from _delete_part(q, p, part, limits, safe)
        statuses += of_part
        reached.append(reached_for_part)
    return statuses, least(reached) if safe else None


def _delete_part(
    q: QueueRef, p: Partition, found: Sequence[Receipt], limits: Limits, safe: Durability | None
) -> Flow[tuple[list[int], DurabilityResult | None]]:
    """A failover may have forgotten that a message was received. Then it waits again and is not found in flight: it
    looks as if it was gone. A delete that has to be safe looks for it."""
    operation = operations.delete_messages(p, found, limits, safe)
    statuses, reached = yield from safely(q, p, operation, [0] * len(found))
    if safe is None or 0 not in statuses:
        return statuses, reached
    looked: list[int] = []
    for receipt, status in zip(found, statuses, strict=True):
        if p.is_fifo:
            key, groups = receipt.unmarked[:16], [receipt.group]
        else:
            key, group = receipt.unmarked[:24], operations.history(receipt.unmarked)[4]
            groups = [group] if group else []
        looked.append(status if status else (yield from at(q, p, browsing.cancel(p, key, groups, "-"), 0)))
    if 1 in [new for new, old in zip(looked, statuses, strict=True) if old == 0]:
        _, reached = yield from safely(q, p, operation, None)  # waits for all that was written before
    return looked, reached


def safely(q: QueueRef, p: Partition, operation: Operation, if_gone: Any) -> Flow[tuple[Any, DurabilityResult | None]]:
    """topology.at() of an operation that may have to be safe: its result, and what was reached."""
    if operation.durability is None:
        return (yield from at(q, p, operation, if_gone)), None
    both: tuple[Any, DurabilityResult | None] = yield from at(q, p, operation, (if_gone, None))
    return both


def fail_refused(
    q: QueueRef,
    limits: Limits,
    results: list[Any],
    handles: Sequence[Receipt | str],
    indices: list[int],
    statuses: list[int],
) -> None:
    """Turn refusals into failures. SQS says of a standard queue's message that moved away that it is deleted."""
    for i, status in zip(indices, statuses, strict=False):  # standard queues have none if nothing is refused
        if status == operations.EXPIRED and (q.is_fifo or not limits.strict):
            results[i] = FailedEntry(i, _expired(handles[i]) if q.is_fifo else _left(handles[i]))


def _invalid(handle: Receipt | str, reason: str) -> str:
    text = handle.handle if isinstance(handle, Receipt) else handle
    return f"Value {text} for parameter ReceiptHandle is invalid. Reason: {reason}"


def _left(handle: Receipt | str) -> ReceiptHandleExpired:
    return ReceiptHandleExpired(
        "the receipt handle does not delete any more: the message was moved to another queue, or given another time, "
        "since it was received; receive it again to delete it",
        sqs_message=_invalid(handle, "The receipt handle has expired."),
    )


def change_visibility(
    q: QueueRef, changes: Sequence[tuple[Receipt | str, int]], limits: Limits, durability: Durability | None = None
) -> Flow[list[FailedEntry | DurabilityResult | None]]:
    """Set how long from now messages stay invisible, by receipt, or receipt handle from outside, and milliseconds.

    Returns:
        For each change None, what was reached if deletes have to be safe, or a FailedEntry: ReceiptHandleIsInvalid,
        ReceiptHandleExpired (FIFO), MessageNotAvailable, or InvalidParameterValue with detail "total_visibility".
    """
    results: list[Any] = [None] * len(changes)
    safe = for_deletes(durability)
    handles = [handle for handle, _ in changes]
    for p, indices, found in by_partition(q, handles, results):
        changed = [(receipt, changes[i][1]) for receipt, i in zip(found, indices, strict=True)]
        statuses: list[int] = []
        reached: list[Any] = []
        for part in portions.portions(changed, portions.ORDERED if p.is_fifo else portions.SPECIAL):
            operation = operations.change_visibility(p, part, limits.total_visibility_ms, safe)
            of_part, reached_for_part = yield from safely(q, p, operation, [operations.GONE] * len(part))
            statuses += of_part
            reached.append(reached_for_part)
        safety = least(reached) if safe else None
        for i, status in zip(indices, statuses, strict=True):
            failure = None if status == operations.CHANGED else _not_changed(status, *changes[i], limits)
            results[i] = FailedEntry(i, failure) if failure else safety
    return results


def by_partition(
    q: QueueRef, handles: Sequence[Receipt | str], results: list[Any]
) -> list[tuple[Partition, list[int], list[Receipt]]]:
    found: dict[Partition, tuple[list[int], list[Receipt]]] = {}
    for i, handle in enumerate(handles):
        try:
            receipt = receipts.read(q, handle)
        except ReceiptHandleIsInvalid as e:
            results[i] = FailedEntry(i, e)
            continue
        indices, of_partition = found.setdefault(receipt.partition, ([], []))
        indices.append(i)
        of_partition.append(receipt)
    return [(p, indices, of_partition) for p, (indices, of_partition) in found.items()]


def _expired(handle: Receipt | str) -> ReceiptHandleExpired:
    return ReceiptHandleExpired(
        "the receipt handle has expired: its visibility timeout is over, another consumer may have the message",
        sqs_message=_invalid(handle, "The receipt handle has expired."),
    )


def _not_changed(status: int, handle: Receipt | str, visibility_ms: int, limits: Limits) -> InvalidParameterValue:
    if status == operations.EXPIRED:
        return _expired(handle)
    if status == operations.GONE:
        return MessageNotAvailable(
            "the message does not exist any more, its visibility cannot be changed",
            sqs_message=_invalid(handle, "Message does not exist or is not available for visibility timeout change."),
        )
    total_s = limits.total_visibility_ms // 1000
    return InvalidParameterValue(
        f"a message must become visible at most {total_s} s after its receive, got {visibility_ms / 1000:g} s from now",
        sqs_message=f"Value {visibility_ms // 1000} for parameter VisibilityTimeout is invalid. Reason: Total "
        f"VisibilityTimeout for the message is beyond the limit [{total_s} seconds]",
        detail="total_visibility",
    )
