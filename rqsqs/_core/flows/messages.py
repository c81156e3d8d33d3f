"""Flows of single messages: send, receive, delete, change visibility."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rqsqs._core import messages, receipts
from rqsqs._core.flows.topology import adopt_shard, at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, IsWatched, Operation, Sleep, Wait
from rqsqs._core.receipts import Receipt
from rqsqs._core.records import Delivery
from rqsqs.errors import (
    DurabilityNotReached,
    InvalidParameterValue,
    MessageNotAvailable,
    MessageTooLarge,
    PartitionMoved,
    QueueDoesNotExist,
    ReceiptHandleExpired,
    ReceiptHandleIsInvalid,
    ServerError,
)
from rqsqs.limits import Limits
from rqsqs.types import Durability, Failure, Outgoing, SentMessage

T = TypeVar("T")
NOW = "0"  # the `wait` of a look by a caller that waits: it is over
AT_LIMIT = -1  # a receive's wake_at when there are too many messages in flight
LOOK_AGAIN_MS = 500
TURNS = 10  # attempts to send to partitions that are being changed
BLOCK_MS = 60_000  # a waiter looks again at least this often, whatever happened to its wake token
_waiter_numbers = itertools.count()


def send_messages(
    q: QueueRef, batch: Sequence[Outgoing], limits: Limits, durability: Durability | None = None
) -> Flow[list[SentMessage | Failure]]:
    """Send messages in order; one that is larger than the queue allows fails alone, with MessageTooLarge.

    Raises:
        QueueDoesNotExist, DeduplicationIdRequired: nothing was sent.
    """
    if len(q.own) == 1:
        try:
            return (yield from _send_to(q, q.home, batch, limits, "", durability))
        except PartitionMoved:
            yield from refresh(q)
    results: list[Any] = [None] * len(batch)
    left = list(range(len(batch)))
    weak: DurabilityNotReached | None = None
    refused: dict[int, str] = {}  # message -> what the old partition of its group said
    for _ in range(TURNS):
        turn = q.next_own()
        places: dict[tuple[Partition, str, str | None], list[int]] = {}
        for i in left:
            places.setdefault(_place(q, batch[i], turn, refused.get(i, "")), []).append(i)
        left = []
        for (p, said, group), indices in places.items():
            try:
                answers = yield from _send_to(q, p, [batch[i] for i in indices], limits, said, durability)
            except DurabilityNotReached as e:  # the others are sent all the same
                answers, weak = e.sent, e
            except (PartitionMoved, QueueDoesNotExist) as e:  # partitions were added, or the queue was made anew
                if isinstance(e, QueueDoesNotExist) and p is q.home:
                    raise
                for i in indices:
                    refused.pop(i, None)
                if isinstance(e, PartitionMoved) and group is not None and not said:
                    refused.update(dict.fromkeys(indices, e.detail))
                left += indices
                continue
            for i, answer in zip(indices, answers, strict=True):
                results[i] = Failure(i, answer.error) if isinstance(answer, Failure) else answer
        if not left:
            if weak is not None:
                raise DurabilityNotReached(str(weak), results)
            return results
        if not all(i in refused for i in left):
            yield from refresh(q)
            yield Sleep(LOOK_AGAIN_MS // TURNS)
    raise PartitionMoved(f"the partitions of {q.name!r} are being changed, and that takes too long")


def _place(q: QueueRef, message: Outgoing, turn: Partition, refused: str) -> tuple[Partition, str, str | None]:
    """Where a message belongs: FIFO by its group, standard by its deduplication id; without one anywhere. While groups
    may be in their old places those are asked first, for each group."""
    group = message.group or ""
    if not q.is_fifo:
        return (turn if message.dedup_id is None else q.owner(messages.dedup_tail(message.dedup_id))), "", None
    if not q.before:
        return q.owner(group), "", None
    return q.owner(group, 0 if refused else q.before), refused, group


def _send_to(
    q: QueueRef,
    p: Partition,
    batch: Sequence[Outgoing],
    limits: Limits,
    refused: str,
    durability: Durability | None,
) -> Flow[list[SentMessage | Failure]]:
    news: list[bytes] = []
    try:
        sent: list[SentMessage | Failure] = yield messages.send_messages(p, batch, limits, news, refused, durability)
        if news and p is q.home and news[0] != q.topology:
            yield from _holding((), refresh(q))
        return sent
    except MessageTooLarge as e:
        limit = int(e.detail)
    results: list[Any] = [
        Failure(i, _too_large(m.size, limit)) if m.size > limit else None for i, m in enumerate(batch)
    ]
    rest = [m for m in batch if m.size <= limit]
    if rest:
        answers = iter((yield from _send_to(q, p, rest, limits, refused, durability)))
        results = [next(answers) if r is None else r for r in results]
    return results


def _too_large(size: int, limit: int) -> MessageTooLarge:
    return MessageTooLarge(
        f"the message has {size} bytes; the queue's MaximumMessageSize is {limit}",
        sqs_message=f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes.",
        detail=str(limit),
    )


def receive_messages(
    q: QueueRef,
    limits: Limits,
    max_messages: int = 1,
    visibility_ms: int | None = None,
    wait_ms: int | None = 0,
    attempt_id: str | None = None,
    delete: bool = False,
) -> Flow[list[Delivery]]:
    """Receive up to max_messages, waiting for the first.

    Args:
        visibility_ms: None = the queue's VisibilityTimeout.
        wait_ms: None = the queue's ReceiveMessageWaitTimeSeconds.
        attempt_id: ReceiveRequestAttemptId (FIFO).
        delete: delete at once what is received.
    """

    def ask(p: Partition, wait: str, waiter: str, count: int) -> Operation:
        return messages.receive_messages(p, limits, count, visibility_ms, wait, waiter, attempt_id, delete)

    return (yield from _receive(q, ask, max_messages, wait_ms))


def delete_and_receive(
    q: QueueRef,
    limits: Limits,
    handles: Sequence[str],
    max_messages: int = 1,
    visibility_ms: int | None = None,
    wait_ms: int | None = 0,
) -> Flow[tuple[list[Delivery], list[Failure]]]:
    """Delete what is finished and receive what comes next, in one call; arguments as above.

    Returns:
        The messages received, and the failures of delete_messages().
    """
    results: list[Failure | None] = [None] * len(handles)
    at_home: tuple[list[int], list[Receipt]] = ([], [])
    for p, indices, found in _by_partition(q, handles, results):
        if p is q.home and len(q.partitions) == 1:
            at_home = indices, found
        else:
            _fail_expired(
                results,
                handles,
                indices,
                (yield from at(q, p, messages.delete_messages(p, found, limits), [0] * len(found))),
            )
    indices, finished = at_home
    received, statuses = yield from receive_after(q, limits, finished, max_messages, visibility_ms, wait_ms)
    _fail_expired(results, handles, indices, statuses)
    return received, [r for r in results if r is not None]


def receive_after(
    q: QueueRef,
    limits: Limits,
    finished: Sequence[Receipt],
    max_messages: int,
    visibility_ms: int | None,
    wait_ms: int | None,
    per_group: int = 0,
) -> Flow[tuple[list[Delivery], list[int]]]:
    """Receive, and delete receipts with the first call; they are all of one partition.

    Returns:
        The messages received, and what became of the receipts, as messages.delete_messages() tells it (FIFO).
    """
    statuses: list[int] = []
    start = finished[0].partition if finished else q.home

    def ask(p: Partition, wait: str, waiter: str, count: int) -> Operation:
        return messages.receive_messages(p, limits, count, visibility_ms, wait, waiter, per_group=per_group)

    def first(wait: str, waiter: str) -> Operation:
        return messages.receive_messages(
            start,
            limits,
            max_messages,
            visibility_ms,
            wait,
            waiter,
            finished=finished,
            statuses=statuses,
            per_group=per_group,
        )

    received = yield from _receive(q, ask, max_messages, wait_ms, first if finished else None, start)
    return received, statuses


def _receive(
    q: QueueRef,
    ask: Callable[[Partition, str, str, int], Operation],
    max_messages: int,
    wait_ms: int | None,
    first: Callable[[str, str], Operation] | None = None,
    start: Partition | None = None,
) -> Flow[list[Delivery]]:
    """Receive from a queue; `first` makes the first operation if it is another one than `ask` makes, for the partition
    `start`."""
    if len(q.partitions) > 1:
        return (yield from _receive_everywhere(q, ask, max_messages, wait_ms, start, first))
    home, bells = q.home, (q.home.bell,)
    wait = waiter = ""
    if wait_ms != 0:
        wait = "?" if wait_ms is None else f"+{wait_ms}"
        waiter = f"{os.getpid()}-{next(_waiter_numbers)}"
        if wait_ms and first is None and (yield IsWatched(bells)):
            # Nothing is visible, or the one who watches would have it: line up behind it without asking.
            got, spare = yield Wait(bells, min(wait_ms, BLOCK_MS), then=lambda: ask(home, NOW, "", max_messages))
            wait_ms -= min(wait_ms, BLOCK_MS) - spare
            if got is not None and got.messages:
                return list(got.messages)
            if wait_ms <= 0:
                return []
            wait = f"+{wait_ms}"

    got = yield first(wait, waiter) if first else ask(home, wait, waiter, max_messages)
    try:
        while True:
            if got.missing_dlq:
                yield from _holding(got.messages, adopt_shard(q, home, got.missing_dlq))
            if got.topology != q.topology:
                yield from _holding(got.messages, refresh(q))
            if got.messages:
                return list(got.messages)
            if waiter:
                wait = str(got.wait_until_ms)  # from now on the caller may be the keeper of a due time
            left = got.wait_until_ms - got.now_ms
            if len(q.partitions) > 1:
                yield messages.ring(home, waiter)
                yield messages.ring(home)  # the next waiter shall learn of it as well
                return (yield from _receive_everywhere(q, ask, max_messages, max(left, 0)))
            if got.missing_dlq or got.wake_at_ms == got.now_ms:
                got = yield ask(home, wait, waiter, max_messages)
                continue
            if left <= 0:
                return []
            if got.wake_at_ms == AT_LIMIT:
                yield Sleep(min(left, LOOK_AGAIN_MS))
                got = yield ask(home, wait, waiter, max_messages)
                continue
            block = min(left, BLOCK_MS)
            wake_in = got.wake_at_ms - got.now_ms if got.wake_at_ms else None
            then = functools.partial(ask, home, wait, waiter, max_messages)
            got, spare = yield Wait(bells, block, wake_in, messages.watch(home, waiter), then)
            if got is None:
                if left <= block - spare:
                    if wake_in is not None:
                        yield messages.ring(home, waiter)  # another one has to keep the time
                    return []
                got = yield ask(home, wait, waiter, max_messages)
    except QueueDoesNotExist:
        yield messages.ring(home)  # whoever else waits finds out as well
        raise
    except BaseException as e:
        if waiter and not isinstance(e, GeneratorExit | ServerError):
            yield messages.ring(home, waiter)
        raise


def _receive_everywhere(
    q: QueueRef,
    ask: Callable[[Partition, str, str, int], Operation],
    count: int,
    wait_ms: int | None,
    start: Partition | None = None,
    first: Callable[[str, str], Operation] | None = None,
) -> Flow[list[Delivery]]:
    """Receive from a queue of several partitions, each in its turn first; begin with `first` at `start`, if given."""
    found: list[Delivery] = []
    wait = "?" if wait_ms is None else f"+{wait_ms}"
    waiter = f"{os.getpid()}-{next(_waiter_numbers)}"
    while True:
        turn = q.turn = q.turn + 1
        partitions = q.partitions
        order = partitions[turn % len(partitions) :] + partitions[: turn % len(partitions)]
        if start is not None:
            order = (start, *(p for p in order if p is not start))
        again = False
        look = "" if wait == "+0" else NOW
        for p in order:
            if first is not None and p is start:
                operation, first = first(look, ""), None
            else:
                operation = ask(p, look, "", count - len(found))
            got = yield from _holding(found, at(q, p, operation, False))
            if got is None:
                break
            if got is False:  # no such shard
                continue
            found += got.messages
            if got.missing_dlq:
                yield from _holding(found, adopt_shard(q, p, got.missing_dlq))
                again = True
            again = again or (got.wake_at_ms == got.now_ms and not got.messages)
            if p is q.home and got.topology != q.topology:
                yield from _holding(found, refresh(q))
                again = True
            if len(found) >= count:
                break
        start = None
        if found:
            return found
        if again:
            continue
        if wait == "+0":
            return []
        # Nothing anywhere: register as a waiter with every partition, then block on all their bells.
        try:
            wakes: list[tuple[int, Partition]] = []
            left = 0
            for p in order:
                got = yield from at(q, p, ask(p, wait, waiter, count), None)
                if got is None:
                    continue
                if got.messages:
                    yield from _holding(got.messages, _leave(order, waiter))
                    return list(got.messages)
                if wait[0] in "?+":
                    wait = str(got.wait_until_ms)
                left = got.wait_until_ms - got.now_ms
                if left <= 0:
                    return []
                if got.wake_at_ms == AT_LIMIT:
                    wakes.append((LOOK_AGAIN_MS, p))
                elif got.wake_at_ms:
                    wakes.append((got.wake_at_ms - got.now_ms, p))
            wake_in, keeper_of = min(wakes, key=lambda pair: pair[0], default=(None, None))
            wake = messages.watch(keeper_of, waiter) if keeper_of else None
            rang, _ = yield Wait(tuple(p.bell for p in partitions), min(left, BLOCK_MS), wake_in, wake)
            start = next((p for p in partitions if p.bell == rang), None)  # whoever takes a token looks there
        except BaseException as e:
            if not isinstance(e, GeneratorExit | ServerError):
                yield from _leave(order, waiter)
            raise
        yield from _leave(order, waiter)


def _leave(partitions: Sequence[Partition], waiter: str) -> Flow[None]:
    for p in partitions:
        yield messages.ring(p, waiter)


def _holding(deliveries: Sequence[Delivery], step: Flow[T]) -> Flow[T | None]:
    """Do a step while messages are in hand: trouble with the server must not lose them, an interruption gives them
    back."""
    try:
        return (yield from step)
    except ServerError:
        if not deliveries:
            raise
        return None
    except BaseException as e:
        if not isinstance(e, GeneratorExit):
            for p in {d.partition: None for d in deliveries}:
                yield messages.give_back(p, [d for d in deliveries if d.partition is p])
        raise


def delete_messages(q: QueueRef, handles: Sequence[str], limits: Limits) -> Flow[list[Failure | None]]:
    """Delete by receipt handles. Deleting what is gone succeeds.

    Returns:
        For each handle None or a Failure: ReceiptHandleIsInvalid, or ReceiptHandleExpired (FIFO).
    """
    results: list[Failure | None] = [None] * len(handles)
    for p, indices, found in _by_partition(q, handles, results):
        _fail_expired(
            results,
            handles,
            indices,
            (yield from at(q, p, messages.delete_messages(p, found, limits), [0] * len(found))),
        )
    return results


def _fail_expired(
    results: list[Failure | None], handles: Sequence[str], indices: list[int], statuses: list[int]
) -> None:
    for i, status in zip(indices, statuses, strict=False):  # standard queues have none: deleting always succeeds
        if status == -1:
            results[i] = Failure(i, _expired(handles[i]))


def change_visibility(q: QueueRef, changes: Sequence[tuple[str, int]], limits: Limits) -> Flow[list[Failure | None]]:
    """Set how long from now messages stay invisible, by receipt handle and milliseconds.

    Returns:
        For each change None or a Failure: ReceiptHandleIsInvalid, ReceiptHandleExpired (FIFO), MessageNotAvailable,
        or InvalidParameterValue with detail "total_visibility".
    """
    results: list[Failure | None] = [None] * len(changes)
    handles = [handle for handle, _ in changes]
    for p, indices, found in _by_partition(q, handles, results):
        changed = [(receipt, changes[i][1]) for receipt, i in zip(found, indices, strict=True)]
        operation = messages.change_visibility(p, changed, limits.total_visibility_ms)
        statuses = yield from at(q, p, operation, [-2] * len(found))
        for i, status in zip(indices, statuses, strict=True):
            if status != 1:
                results[i] = Failure(i, _not_changed(status, *changes[i], limits))
    return results


def _by_partition(
    q: QueueRef, handles: Sequence[str], results: list[Failure | None]
) -> list[tuple[Partition, list[int], list[Receipt]]]:
    found: dict[Partition, tuple[list[int], list[Receipt]]] = {}
    for i, handle in enumerate(handles):
        try:
            receipt = receipts.decode(q, handle)
        except ReceiptHandleIsInvalid as e:
            results[i] = Failure(i, e)
            continue
        indices, of_partition = found.setdefault(receipt.partition, ([], []))
        indices.append(i)
        of_partition.append(receipt)
    return [(p, indices, of_partition) for p, (indices, of_partition) in found.items()]


def _expired(handle: str) -> ReceiptHandleExpired:
    return ReceiptHandleExpired(
        "the receipt handle has expired: its visibility timeout is over, another consumer may have the message",
        sqs_message=f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
    )


def _not_changed(status: int, handle: str, visibility_ms: int, limits: Limits) -> InvalidParameterValue:
    if status == -1:
        return _expired(handle)
    if status == -2:
        return MessageNotAvailable(
            "the message does not exist any more, its visibility cannot be changed",
            sqs_message=f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is "
            "not available for visibility timeout change.",
        )
    total_s = limits.total_visibility_ms // 1000
    return InvalidParameterValue(
        f"a visibility timeout of {visibility_ms / 1000:g} s from now ends more than {total_s} s after the receive",
        sqs_message=f"Value {visibility_ms // 1000} for parameter VisibilityTimeout is invalid. Reason: Total "
        f"VisibilityTimeout for the message is beyond the limit [{total_s} seconds]",
        detail="total_visibility",
    )
