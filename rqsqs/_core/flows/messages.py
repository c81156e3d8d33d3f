"""Flows of single messages: send, receive, delete, change visibility."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rqsqs._core import operations, portions, receipts
from rqsqs._core.durability import for_deletes, not_reached
from rqsqs._core.flows.partitions import complete, settle
from rqsqs._core.flows.topology import adopt_shard, at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, IsWatched, Operation, Sleep, Wait
from rqsqs._core.operations import Moved
from rqsqs._core.operations import browse as browsing
from rqsqs._core.receipts import Receipt
from rqsqs._core.records import Delivery, is_newer
from rqsqs.errors import (
    DurabilityNotReached,
    FormatNewer,
    InvalidParameterValue,
    MessageNotAvailable,
    MessageTooLarge,
    PartitionMoved,
    QueueDoesNotExist,
    ReceiptHandleExpired,
    ReceiptHandleIsInvalid,
    RqsqsError,
    ServerError,
)
from rqsqs.limits import Limits
from rqsqs.models import Durability, Failure, Outgoing, Reached, SentMessage

T = TypeVar("T")
log = logging.getLogger("rqsqs.damage")
NOW = "0"  # the `wait` of a look by a caller that waits: it is over
AT_LIMIT = -1  # a receive's wake_at when there are too many messages in flight
LOOK_AGAIN_MS = 500
POLL_CALLS = 10  # a receive that does not wait makes at most so many calls, whatever lies in front
STAY = 8  # one call of so many goes to another partition than the last one
CHECK_EVERY = 1024  # one send of so many looks whether the queue's settings are damaged, the first one among them
TURNS = 10  # attempts to send to partitions that are being changed
PATIENT_TURNS = 2  # after so many an interrupted change is completed
SETTLE_AFTER = 256  # messages that were not in their old place any more, until a sender looks whether any is,
SETTLE_UP_TO = 10_000  # among so many message groups
BLOCK_MS = 60_000  # a waiter looks again at least this often, whatever happened to its wake token
DELETED, CHANGED = "the messages are deleted", "the visibility is changed"
_HERE = secrets.token_hex(4)  # with the process's number it names a process among all on all machines
_waiter_numbers = itertools.count()


def send_messages(
    q: QueueRef, batch: Sequence[Outgoing], limits: Limits, durability: Durability | None = None
) -> Flow[list[SentMessage | Failure]]:
    """Send messages in order; one that is larger than the queue allows fails alone, with MessageTooLarge. Of a queue
    of several partitions each gets its messages in one call; if one cannot be asked, the others' are sent. Very many
    messages, or large ones, take several calls (portions): if one of them fails, what comes behind it is not sent.

    Raises:
        QueueDoesNotExist, DeduplicationIdRequired: nothing was sent.
        DurabilityNotReached: they are stored, as far as nothing failed, but not as safely as required.
    """
    results = yield from _send(q, batch, limits, durability)
    weak = not_reached(durability, results, "the messages are stored", "had them")
    if weak is not None:
        raise weak
    return results


def _send(
    q: QueueRef, batch: Sequence[Outgoing], limits: Limits, durability: Durability | None
) -> Flow[list[SentMessage | Failure]]:
    answers: list[Any]
    results: list[Any] = [None] * len(batch)
    left: Sequence[int] = range(len(batch))
    permits: dict[int, str] = {}  # message -> the pass that its old partition gave
    if len(q.own) == 1:
        answers = yield from _send_to(q, q.home, batch, limits, "", durability)
        if not any([type(answer) is Moved for answer in answers]):
            return answers
        left = _take_in(results, permits, left, answers)
        yield from refresh(q)
    trouble: ServerError | None = None
    for turn in range(TURNS):
        anywhere = q.next_own()
        places: dict[tuple[Partition, str], list[int]] = {}
        for i in left:
            places.setdefault(_place(q, batch[i], anywhere, permits.get(i, "")), []).append(i)
        left = []
        # what may be refused as a whole goes first
        for (p, permit), indices in sorted(places.items(), key=lambda item: _has_ids([batch[i] for i in item[1]])):
            try:
                answers = yield from _send_to(q, p, [batch[i] for i in indices], limits, permit, durability)
            except QueueDoesNotExist:
                if p is q.home:
                    raise
                answers = [Moved("")] * len(indices)
            except ServerError as e:
                answers, trouble = [Failure(i, e) for i in indices], e
            left += _take_in(results, permits, indices, answers)
        if not left:
            break
        if any(not permits[i].startswith(f"{len(q.own)}:") for i in left):  # there are others than we know
            yield from refresh(q)
            if turn >= PATIENT_TURNS:
                with contextlib.suppress(InvalidParameterValue):
                    yield from complete(q)
            if turn:
                yield Sleep(LOOK_AGAIN_MS // TURNS)
        left.sort()
    if left:
        raise PartitionMoved(f"the partitions of {q.name!r} are being changed, and that takes too long")
    if trouble is not None and all(isinstance(r, Failure) and isinstance(r.error, ServerError) for r in results):
        raise trouble
    q.moves += len(permits)
    if q.moves >= SETTLE_AFTER:  # many messages take the long way: is it still needed?
        q.moves = 0
        with contextlib.suppress(ServerError, QueueDoesNotExist):
            yield from settle(q, SETTLE_UP_TO)
    return results


def _take_in(results: list[Any], permits: dict[int, str], indices: Sequence[int], answers: Sequence[Any]) -> list[int]:
    """Put what became of messages into the results; returns those that have to go elsewhere."""
    left = []
    for i, answer in zip(indices, answers, strict=True):
        if type(answer) is Moved:
            permits[i] = answer.permit
            left.append(i)
        else:
            results[i] = Failure(i, answer.error) if type(answer) is Failure else answer
    return left


def _has_ids(batch: Sequence[Outgoing]) -> bool:
    return all([m.dedup_id is not None for m in batch])


def _place(q: QueueRef, message: Outgoing, anywhere: Partition, permit: str) -> tuple[Partition, str]:
    """Where a message belongs: FIFO by its group, standard by its deduplication id; without one anywhere. While it may
    have something in its old place that is asked first, and gives a pass for the new one."""
    if q.is_fifo:
        text = message.group or ""
    elif message.dedup_id is not None:
        text = operations.dedup_tail(message.dedup_id)
    else:
        return anywhere, ""
    return q.owner(text, 0 if permit else q.before), permit


def _send_to(
    q: QueueRef,
    p: Partition,
    batch: Sequence[Outgoing],
    limits: Limits,
    permit: str,
    durability: Durability | None,
) -> Flow[list[Any]]:
    parts = portions.portions(batch, _at_once(p, batch), _length) if len(batch) > 1 else ()
    if len(parts) > 1:
        return (yield from _send_parts(q, p, parts, limits, permit, durability))
    news: list[bytes] = []
    try:
        check = q.checked % CHECK_EVERY == 0
        sent: Any = yield operations.send_messages(p, batch, limits, news, permit, durability, check=check)
        q.checked += 1
        if durability is not None:
            sent, reached = sent
            for one in sent:
                if type(one) is SentMessage:
                    one.durability = reached
        if news and p is q.home and news[0] != q.topology:
            yield from _holding((), refresh(q))
        answers: list[Any] = sent
        return answers
    except MessageTooLarge as e:
        if not e.detail:  # for the server, whatever the queue says
            raise
        limit = int(e.detail)
    results: list[Any] = [
        Failure(i, _too_large(m.size, limit)) if m.size > limit else None for i, m in enumerate(batch)
    ]
    rest = [m for m in batch if m.size <= limit]
    if not rest:
        return results
    others = iter((yield from _send_to(q, p, rest, limits, permit, durability)))
    return _numbered([next(others) if r is None else r for r in results])


def _send_parts(
    q: QueueRef,
    p: Partition,
    parts: Sequence[Sequence[Outgoing]],
    limits: Limits,
    permit: str,
    durability: Durability | None,
) -> Flow[list[Any]]:
    answers: list[Any] = []
    trouble: ServerError | None = None
    for part in parts:
        if trouble is None:
            try:
                answers += yield from _send_to(q, p, part, limits, permit, durability)
                continue
            except ServerError as e:
                if not answers:
                    raise
                trouble = e
        answers += [Failure(0, trouble)] * len(part)
    return _numbered(answers)


def _numbered(answers: list[Any]) -> list[Any]:
    return [Failure(i, a.error) if type(a) is Failure else a for i, a in enumerate(answers)]


def _at_once(p: Partition, batch: Sequence[Outgoing]) -> int:
    if p.is_fifo:
        return portions.ORDERED
    return portions.PLAIN if all([m.is_plain for m in batch]) else portions.SPECIAL


def _length(message: Outgoing) -> int:
    return len(message.record)


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
        return operations.receive_messages(p, limits, count, visibility_ms, wait, waiter, attempt_id, delete)

    if attempt_id and len(q.partitions) > 1:
        again: list[Delivery] = []  # what the attempt was answered before
        for p in q.partitions:
            if (yield from at(q, p, browsing.find_duplicate(p, p.attempt(attempt_id), forget=False), "")):
                got = yield from _holding(again, at(q, p, ask(p, "", "", max_messages), None))
                again += got.messages if got else ()
        if again:
            return again
    received = yield from _receive(q, ask, max_messages, wait_ms)
    if not attempt_id:
        received = yield from _fill(q, ask, received, max_messages)
    yield from _stop_at_newer(q, received, limits, deleted=delete)
    return received


def _fill(
    q: QueueRef, ask: Callable[[Partition, str, str, int], Operation], received: list[Delivery], count: int
) -> Flow[list[Delivery]]:
    """Receive more where one call handed out as much as it may, until there are `count` messages or no more come."""
    if len(received) >= count or not portions.is_cut(received):
        return received

    def look(p: Partition) -> Flow[Any]:
        try:
            return (yield ask(p, NOW, "", count - len(received)))
        except RqsqsError:  # what is in hand is not lost with it
            return None

    for p in {d.partition: None for d in received}:
        last = [d for d in received if d.partition is p]
        while len(received) < count and portions.is_cut(last):
            got = yield from _holding(received, look(p))
            last = got.messages if got is not None else []
            received += last
    return received


def _stop_at_newer(q: QueueRef, received: Sequence[Delivery], limits: Limits, *, deleted: bool = False) -> Flow[None]:
    """A newer version wrote one of these messages: whoever cannot read it receives no more, and gives them back.

    Args:
        deleted: they were deleted when they were received, and have to be sent again.

    Raises:
        FormatNewer.
    """
    newer = None
    for d in received:
        if d.record[1:2] > b"\x03" and is_newer(d.record):
            try:
                d.damage  # noqa: B018 - raises, unless it is no record at all
            except FormatNewer as e:
                newer = e
    if newer is None:
        return
    if not deleted:
        yield from _give_back(received)
    for d in received if deleted else ():
        dedup_id = str(uuid.uuid4()) if q.is_fifo else None
        message = Outgoing(d.record, 0, d.group_name or None, dedup_id, None, None, None)
        yield from _send(q, [message], limits, None)
    raise newer


def only_readable(flow: Flow[list[Delivery]]) -> Flow[list[Delivery]]:
    """What a flow receives, without what cannot be read."""
    return readable((yield from flow), must=True)


def readable(found: Sequence[Delivery], *, must: bool) -> list[Delivery]:
    """Pass over what cannot be read, and tell the logger.

    Raises:
        MessageDamaged: there is nothing else, and there must be.
    """
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


def delete_and_receive(
    q: QueueRef,
    limits: Limits,
    handles: Sequence[str],
    max_messages: int = 1,
    visibility_ms: int | None = None,
    wait_ms: int | None = 0,
    durability: Durability | None = None,
) -> Flow[tuple[list[Delivery], list[Failure]]]:
    """Delete what is finished and receive what comes next, in one call; arguments as above. If deletes have to be safe,
    they go first, in a call of their own.

    Returns:
        The messages received, and the failures of delete_messages(), to which what is not as safe as required belongs.
    """
    results: list[Any] = [None] * len(handles)
    if handles and for_deletes(durability):
        results = list((yield from delete_messages(q, handles, limits, durability)))
        weak = not_reached(durability, results, DELETED)
        if weak is not None:
            results = [_weak(i, r, weak) for i, r in enumerate(results)]
        received, _ = yield from receive_after(q, limits, (), max_messages, visibility_ms, wait_ms)
        return received, [r for r in results if isinstance(r, Failure)]
    parts = _by_partition(q, handles, results)
    last: tuple[list[int], list[Receipt]] = ([], [])
    if parts and may_stay(q, parts[-1][0]):
        last = parts.pop()[1:]
    indices, finished = last
    most = portions.BESIDE if q.is_fifo else portions.SPECIAL
    if len(finished) > most:
        parts.append((finished[0].partition, indices[:-most], finished[:-most]))
        indices, finished = indices[-most:], finished[-most:]
    for p, others, found in parts:
        _fail_refused(q, limits, results, handles, others, (yield from delete_at(q, p, found, limits, None, [])))
    received, statuses = yield from receive_after(q, limits, finished, max_messages, visibility_ms, wait_ms)
    _fail_refused(q, limits, results, handles, indices, statuses)
    return received, [r for r in results if isinstance(r, Failure)]


def _weak(index: int, result: Any, weak: DurabilityNotReached) -> Any:
    return Failure(index, weak) if isinstance(result, Reached) and not result.is_enough else result


def may_stay(q: QueueRef, p: Partition) -> bool:
    """Shall a caller that has something to delete in a partition receive from the same one? So it does both in one
    call; but now and then it goes on to the others."""
    if len(q.partitions) == 1:
        return p is q.home
    q.stays += 1
    return q.stays % STAY > 0 and p in q.partitions


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
        The messages received, and what became of the receipts, as operations.delete_messages() tells it (FIFO).
    """
    statuses: list[int] = []
    start = finished[0].partition if finished else q.home

    def ask(p: Partition, wait: str, waiter: str, count: int) -> Operation:
        return operations.receive_messages(p, limits, count, visibility_ms, wait, waiter, per_group=per_group)

    def first(wait: str, waiter: str) -> Operation:
        return operations.receive_messages(
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
    received = yield from _fill(q, ask, received, max_messages)
    yield from _stop_at_newer(q, received, limits)
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
        return (yield from _receive_everywhere(q, ask, max_messages, wait_ms, first, start if first else None))
    home, bells = q.home, (q.home.bell,)
    wait = waiter = ""
    if wait_ms != 0:
        wait = "?" if wait_ms is None else f"+{wait_ms}"
        waiter = _waiter_name()
        if wait_ms and first is None and (yield IsWatched(bells)):
            # Nothing is visible, or the one who watches would have it: line up behind it without asking.
            then = functools.partial(ask, home, NOW, "", max_messages)
            got, spare = yield Wait(bells, min(wait_ms, BLOCK_MS), then=then, also=(home.backup,))
            wait_ms -= min(wait_ms, BLOCK_MS) - spare
            if got is not None and got.messages:
                return list(got.messages)
            if wait_ms <= 0:
                if got is not None and got.wake_at_ms == got.now_ms:
                    yield operations.ring(home)  # something may be visible, and it may have taken a token
                return []
            wait = f"+{wait_ms}"

    end = _now_ms(q) + wait_ms if wait_ms else 0
    calls, again = 1, False
    got = yield first(wait, waiter) if first else ask(home, wait, waiter, max_messages)
    if got.messages and not got.missing_dlq and got.topology == q.topology:  # the common case
        return list(got.messages)
    if not end:
        end = _now_ms(q) + (got.wait_until_ms - got.now_ms if wait_ms is None else 0)
    try:
        while True:
            again = bool(got.missing_dlq) or got.wake_at_ms == got.now_ms
            if got.missing_dlq:
                yield from _holding(got.messages, adopt_shard(q, home, got.missing_dlq))
            if got.topology != q.topology:
                yield from _holding(got.messages, refresh(q))
            if got.messages:
                return list(got.messages)
            if waiter:
                wait = str(got.wait_until_ms)  # from now on the caller may have a duty
            left = min(got.wait_until_ms - got.now_ms, end - _now_ms(q))
            if len(q.partitions) > 1:
                if waiter:
                    yield operations.ring(home, waiter)
                return (yield from _receive_everywhere(q, ask, max_messages, max(left, 0), heard=(home,)))
            if again and (left > 0 or calls < POLL_CALLS):
                got = yield ask(home, wait, waiter, max_messages)
                calls += 1
                continue
            if left <= 0:
                if waiter and (again or got.look_at_ms):
                    yield operations.ring(home, waiter)
                    if again:
                        yield operations.ring(home)
                return []
            if got.wake_at_ms == AT_LIMIT:
                yield Sleep(min(left, LOOK_AGAIN_MS))
                got = yield ask(home, wait, waiter, max_messages)
                continue
            block, wake_in, wake, also = min(left, BLOCK_MS), None, None, (home.backup,)
            if got.look_at_ms:
                block = min(block, max(got.look_at_ms - got.now_ms, 1))
                also = (home.wake(waiter),)
                if got.wake_at_ms:
                    wake_in, wake = got.wake_at_ms - got.now_ms, operations.watch(home, waiter)
            then = functools.partial(ask, home, wait, waiter, max_messages)
            duty = got.look_at_ms
            got, spare = yield Wait(bells, block, wake_in, wake, then, also)
            if got is None:
                if left <= block - spare:
                    if duty:
                        yield operations.ring(home, waiter)  # another one has to take it over
                    return []
                got = yield ask(home, wait, waiter, max_messages)
            calls += 1
    except QueueDoesNotExist:
        yield operations.ring(home)  # whoever else waits finds out as well
        raise
    except BaseException as e:
        if waiter and not isinstance(e, GeneratorExit | ServerError):
            yield operations.ring(home, waiter)
            if again:
                yield operations.ring(home)
        raise


def _receive_everywhere(
    q: QueueRef,
    ask: Callable[[Partition, str, str, int], Operation],
    count: int,
    wait_ms: int | None,
    first: Callable[[str, str], Operation] | None = None,
    start: Partition | None = None,
    heard: tuple[Partition, ...] = (),
) -> Flow[list[Delivery]]:
    """Receive from a queue of several partitions, each in its turn first; begin at `start`, with `first` if given.

    One round over all partitions finds messages, or makes the caller a waiter of every one. A token tells where to look
    then, and only there: what holds of tokens and due times (lua/lib/bell.lua) holds for each partition by itself.
    Whoever takes a token receives there, and whoever has duties and goes away gives them up.

    Args:
        heard: the partitions whose wakeup lists were listened to.
    """
    wait, waiter, end = "", "", _now_ms(q) + (wait_ms or 0)
    ends: dict[Partition, str] = {}  # when the waiting ends, by the clock of the partition's server
    duties: dict[Partition, tuple[int, int]] = {}  # when to wake somebody (0 = not) and to look, by the client's clock
    owed: dict[Partition, None] = {}  # where a token may have been taken and nobody looked yet
    calls = left = 0
    try:
        if wait_ms != 0:
            wait = "?" if wait_ms is None else f"+{wait_ms}"
            waiter = _waiter_name()
            bells = tuple([p.bell for p in q.partitions])
            if wait_ms and first is None and not heard and (yield IsWatched(bells)):
                # Nothing is visible, or the one who watches would have it: line up behind it without asking.
                heard = q.partitions
                rang, spare = yield Wait(bells, min(wait_ms, BLOCK_MS), also=tuple([p.backup for p in heard]))
                wait_ms = max(wait_ms - min(wait_ms, BLOCK_MS) + spare, 0)
                if not wait_ms and rang is None:
                    return []
                wait, start = f"+{wait_ms}" if wait_ms else NOW, _with_list(heard, rang)
                if start is not None:
                    owed[start] = None
        order = q.in_turn(start)
        if first is not None and start is not None and start not in order:
            order = (start, *order)
        while True:
            partitions = q.partitions
            found: list[Delivery] = []
            again: list[Partition] = []
            limited: list[Partition] = []
            is_stale = False
            for p in order:
                look = NOW if waiter and found else ends.get(p, wait)
                if first is not None and p is start:
                    operation, first = first(look, waiter), None
                else:
                    operation = ask(p, look, waiter if look != NOW or p in duties else "", count - len(found))
                calls += 1
                got = yield from _holding(found, at(q, p, operation, False))
                if got is None:
                    break
                owed.pop(p, None)
                if got is False:  # no such shard, or not yet
                    duties.pop(p, None)
                    continue
                found += got.messages
                if waiter and (got.missing_dlq or got.wake_at_ms == got.now_ms):
                    owed[p] = None
                if got.missing_dlq:
                    yield from _holding(found, adopt_shard(q, p, got.missing_dlq))
                if p is q.home and got.topology != q.topology:
                    yield from _holding(found, refresh(q))
                    is_stale = True
                if got.messages:
                    duties.pop(p, None)
                    if len(found) >= count:
                        break
                    continue
                now = _now_ms(q)
                if waiter and look != NOW:
                    if wait_ms is None and not ends:
                        end = now + got.wait_until_ms - got.now_ms
                    left = min(got.wait_until_ms - got.now_ms, end - now)
                    ends[p], wait = str(got.wait_until_ms), f"+{max(left, 0)}"
                if got.missing_dlq or got.wake_at_ms == got.now_ms:
                    again.append(p)
                elif got.look_at_ms:
                    duties[p] = (
                        got.wake_at_ms and now + got.wake_at_ms - got.now_ms,
                        now + got.look_at_ms - got.now_ms,
                    )
                else:
                    duties.pop(p, None)
                    if got.wake_at_ms == AT_LIMIT:
                        limited.append(p)
            left = min(left, end - _now_ms(q))
            is_stale = is_stale or partitions != q.partitions
            goes_on = left > 0 or calls < POLL_CALLS
            if not found and (again or is_stale) and goes_on:
                order = q.in_turn(None) if is_stale else tuple(again)
                if left <= 0:
                    order = order[: POLL_CALLS - calls]
                continue
            if heard and heard != q.partitions and (found or left > 0):
                yield from _holding(found, _ring(q.home))  # whoever listens to the same lists learns of the others
            if found or left <= 0:
                yield from _holding(found, _leave(duties, waiter, owed))
                return found
            # Nothing anywhere: block on the lists of all.
            heard = q.partitions
            block = min(left, BLOCK_MS, LOOK_AGAIN_MS if limited else left)
            if duties:
                block = min(block, max(min([at for _, at in duties.values()]) - _now_ms(q), 1))
            listened = [p for p in heard if p not in limited]
            if not listened:
                yield Sleep(block)
                order = heard
                continue
            wake_in, wake = operations.watch_all(
                [(max(at - _now_ms(q), 0), p) for p, (at, _) in duties.items() if at], waiter
            )
            also = tuple([p.wake(waiter) if p in duties else p.backup for p in listened])
            rang, spare = yield Wait(tuple([p.bell for p in listened]), block, wake_in, wake, also=also)
            if rang is not None:
                rung = _with_list(heard, rang)
                order = (rung,) if rung is not None else heard
                owed.update(dict.fromkeys(order))
                continue
            if left <= block - spare:
                yield from _leave(duties, waiter, owed)
                return []
            now = _now_ms(q)
            come = [p for p, (wake_at, look_at) in duties.items() if (wake_at or look_at) <= now or look_at <= now]
            order = tuple(come) or (tuple(limited) if limited and spare == 0 else q.in_turn(None))
    except QueueDoesNotExist:
        if heard or ends:
            yield operations.ring(q.home)  # whoever else waits finds out as well
        raise
    except BaseException as e:
        if not isinstance(e, GeneratorExit | ServerError):
            yield from _leave(duties, waiter, owed)
        raise


def _waiter_name() -> str:
    """PROCESS-NUMBER, as lua/lib/bell.lua wants it."""
    return f"{_HERE}.{os.getpid():x}-{next(_waiter_numbers)}"


def _now_ms(q: QueueRef) -> int:
    """A clock to measure time with, or the test clock."""
    clock = q.space.clock
    return clock.now_us() // 1000 if clock is not None else time.monotonic_ns() // 1_000_000


def _with_list(partitions: Sequence[Partition], key: str | None) -> Partition | None:
    """The partition to which a wakeup list belongs."""
    return next((p for p in partitions if key.startswith(p.base)), None) if key else None


def _leave(duties: dict[Partition, tuple[int, int]], waiter: str, owed: dict[Partition, None]) -> Flow[None]:
    while duties:
        yield operations.ring(duties.popitem()[0], waiter)
    while owed:
        yield operations.ring(owed.popitem()[0])


def _ring(p: Partition) -> Flow[None]:
    yield operations.ring(p)


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
            yield from _give_back(deliveries)
        raise


def _give_back(deliveries: Sequence[Delivery]) -> Flow[None]:
    for p in {d.partition: None for d in deliveries}:
        held = [d for d in deliveries if d.partition is p]
        for operation in operations.give_back(p, held):  # noqa: UP028 - a list takes no answers
            yield operation


def delete_messages(
    q: QueueRef, handles: Sequence[str], limits: Limits, durability: Durability | None = None
) -> Flow[list[Failure | Reached | None]]:
    """Delete by receipt handles. Deleting what is gone succeeds.

    Returns:
        For each handle None, what was reached if deletes have to be safe, or a Failure: ReceiptHandleIsInvalid, or
        ReceiptHandleExpired (FIFO: its visibility timeout is over; standard: the message left).
    """
    results: list[Any] = [None] * len(handles)
    safe = for_deletes(durability)
    for p, indices, found in _by_partition(q, handles, results):
        told: list[Any] = []
        statuses = yield from delete_at(q, p, found, limits, safe, told)
        for i in indices if told else ():
            results[i] = worst(told)
        _fail_refused(q, limits, results, handles, indices, statuses)
    return results


def delete_at(
    q: QueueRef, p: Partition, found: Sequence[Receipt], limits: Limits, safe: Durability | None, told: list[Any]
) -> Flow[list[int]]:
    """Delete receipts of a partition, in as many calls as they take; returns what became of them, as
    operations.delete_messages() tells it.

    A failover may have forgotten that a message was received. Then it waits again and is not found in flight: it looks
    as if it was gone. A delete that has to be safe looks for it.
    """
    parts = portions.portions(found, portions.ORDERED if p.is_fifo else portions.PLAIN)
    if len(parts) > 1:
        all_statuses: list[int] = []
        for part in parts:
            of_part: list[Any] = []
            all_statuses += yield from delete_at(q, p, part, limits, safe, of_part)
            told += of_part
        return all_statuses
    operation = operations.delete_messages(p, found, limits, safe)
    statuses: list[int] = yield from safely(q, p, operation, [0] * len(found), told)
    if safe is None or 0 not in statuses:
        return statuses
    looked: list[int] = []
    for receipt, status in zip(found, statuses, strict=True):
        if p.is_fifo:
            key, groups = receipt.key[:16], [receipt.group]
        else:
            key, group = receipt.key[:24], operations.history(receipt.key)[4]
            groups = [group] if group else []
        looked.append(status if status else (yield from at(q, p, browsing.cancel(p, key, groups, None), 0)))
    if 1 in [new for new, old in zip(looked, statuses, strict=True) if old == 0]:
        told.clear()
        yield from safely(q, p, operation, None, told)  # waits for all that was written before
    return looked


def safely(q: QueueRef, p: Partition, operation: Operation, if_gone: Any, told: list[Any]) -> Flow[Any]:
    """topology.at() of an operation that may have to be safe: `told` takes what was reached."""
    if operation.durability is None:
        return (yield from at(q, p, operation, if_gone))
    result, reached = yield from at(q, p, operation, (if_gone, None))
    told.append(reached)
    return result


def worst(told: Sequence[Reached]) -> Reached | None:
    """What all calls for a partition reached at least."""
    return min(told, key=lambda reached: reached.is_enough) if told else None


def _fail_refused(
    q: QueueRef, limits: Limits, results: list[Any], handles: Sequence[str], indices: list[int], statuses: list[int]
) -> None:
    """Turn refusals into failures. SQS says of a standard queue's message that moved away that it is deleted."""
    for i, status in zip(indices, statuses, strict=False):  # standard queues have none if nothing is refused
        if status == -1 and (q.is_fifo or not limits.strict):
            results[i] = Failure(i, _expired(handles[i]) if q.is_fifo else _left(handles[i]))


def _left(handle: str) -> ReceiptHandleExpired:
    return ReceiptHandleExpired(
        "the receipt handle does not delete any more: the message was moved to another queue, or given another time, "
        "since it was received; receive it again to delete it",
        sqs_message=f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
    )


def change_visibility(
    q: QueueRef, changes: Sequence[tuple[str, int]], limits: Limits, durability: Durability | None = None
) -> Flow[list[Failure | Reached | None]]:
    """Set how long from now messages stay invisible, by receipt handle and milliseconds.

    Returns:
        For each change None, what was reached if deletes have to be safe, or a Failure: ReceiptHandleIsInvalid,
        ReceiptHandleExpired (FIFO), MessageNotAvailable, or InvalidParameterValue with detail "total_visibility".
    """
    results: list[Any] = [None] * len(changes)
    safe = for_deletes(durability)
    handles = [handle for handle, _ in changes]
    for p, indices, found in _by_partition(q, handles, results):
        changed = [(receipt, changes[i][1]) for receipt, i in zip(found, indices, strict=True)]
        told: list[Any] = []
        statuses: list[int] = []
        for part in portions.portions(changed, portions.ORDERED if p.is_fifo else portions.SPECIAL):
            operation = operations.change_visibility(p, part, limits.total_visibility_ms, safe)
            statuses += yield from safely(q, p, operation, [-2] * len(part), told)
        for i, status in zip(indices, statuses, strict=True):
            results[i] = worst(told)
            if status != 1:
                results[i] = Failure(i, _not_changed(status, *changes[i], limits))
    return results


def _by_partition(
    q: QueueRef, handles: Sequence[str], results: list[Any]
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
