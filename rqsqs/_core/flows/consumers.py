"""Flows of workers: settle what is finished or failed, beat, look at the consumers of a queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rqsqs._core import operations, portions
from rqsqs._core.delivery import Delivery
from rqsqs._core.flows.events import tell
from rqsqs._core.flows.receive import MOST_BESIDE, ReceiveSpec, may_stay, receive_after
from rqsqs._core.flows.settle import DELETED, delete_at, safely
from rqsqs._core.flows.topology import adopt_shard
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow
from rqsqs._core.operations import MISSING_DLQ, Outcome, consumers
from rqsqs._core.results import for_deletes, not_reached
from rqsqs.errors import DurabilityNotReached, QueueDoesNotExist
from rqsqs.limits import NATIVE
from rqsqs.models import Durability

PROLONGED = 1000  # messages of a FIFO queue in one heartbeat (standard: portions.SPECIAL)
MOST_OF_CAUSE = 10_000  # bytes
Weak = Callable[[DurabilityNotReached], object]  # takes what is not as safe as required


def finish_and_receive(
    q: QueueRef,
    finished: Sequence[Delivery],
    max_messages: int,
    extension_ms: int,
    wait_ms: int,
    per_group: int,
    durability: Durability | None = None,
    weak: Weak | None = None,
    slots: int = 0,
) -> Flow[list[Delivery]]:
    """Delete what is finished and receive what comes next, in one call; in two if deletes have to be safe.

    Args:
        extension_ms: for how long the messages received are invisible without a heartbeat.
        per_group: up to this many messages of one message group (FIFO); 0 = no limit.
        weak: as for finish().
        slots: of a worker, whose receives do not count yet; 0 = they do (lua/lib/ahead.lua).
    """
    first: Sequence[Delivery] = finished
    if finished and for_deletes(durability):
        first = ()
        yield from finish(q, finished, durability, weak)
    elif len(q.partitions) > 1 or any([d.partition is not q.home for d in finished]):
        parts = _by_partition(finished)
        first = parts.pop()[1] if parts and may_stay(q, parts[-1][0]) else ()
        for _, part in parts:
            yield from finish(q, part)
    most = MOST_BESIDE[q.is_fifo]
    if len(first) > most:
        yield from finish(q, first[:-most])
        first = first[-most:]
    spec = ReceiveSpec(NATIVE, max_messages, extension_ms, wait_ms, per_group=per_group, slots=slots)
    handles: list[Any] = [d if type(d) is Delivery and not q.is_fifo else d.receipt for d in first]  # `key` will do
    got, _ = yield from receive_after(q, spec, handles)
    return got


def finish(
    q: QueueRef,
    finished: Sequence[Delivery],
    durability: Durability | None = None,
    weak: Weak | None = None,
) -> Flow[None]:
    """Delete what is finished. What is gone, or was received by another meanwhile (FIFO), does not matter.

    Args:
        weak: called with an exception if that is not as safe as required.
    """
    safe = for_deletes(durability)
    reached: list[Any] = []
    for p, found in _by_partition(finished):
        reached.append((yield from delete_at(q, p, [d.receipt for d in found], NATIVE, safe))[1])
    _tell(weak, not_reached(safe, reached, DELETED))


def _tell(weak: Weak | None, error: DurabilityNotReached | None) -> None:
    if weak is not None and error is not None:
        weak(error)


def release(
    q: QueueRef,
    outcomes: Sequence[Outcome],
    durability: Durability | None = None,
    weak: Weak | None = None,
) -> Flow[list[int]]:
    """Say what was not finished.

    Args:
        weak: as for finish().

    Returns:
        As operations.release_messages(), without MISSING_DLQ.
    """
    results = [operations.GONE] * len(outcomes)
    safe = for_deletes(durability)
    reached: list[Any] = []
    left = list(enumerate(outcomes))
    most = portions.ORDERED if q.is_fifo else portions.RELEASED
    while left:
        again = []
        for p in dict.fromkeys(v.delivery.partition for _, v in left):
            part = [(i, v) for i, v in left if v.delivery.partition is p]
            statuses: list[int] = []
            missing_dlq = ""
            for some in portions.portions([v for _, v in part], most, _size):
                operation = operations.release_messages(p, some, safe)
                gone = [operations.GONE] * len(some), ""
                (found, missing), reached_for_some = yield from safely(q, p, operation, gone)
                reached.append(reached_for_some)
                statuses += found
                missing_dlq = missing_dlq or missing
            for (i, v), status in zip(part, statuses, strict=True):
                if status == MISSING_DLQ:
                    again.append((i, v))
                else:
                    results[i] = status
            if missing_dlq:
                yield from adopt_shard(q, p, missing_dlq)
        left = again
    _tell(weak, not_reached(safe, reached, "the messages are released"))
    return results


def _size(outcome: Outcome) -> int:
    return 0 if outcome.kind == "requeue" else len(outcome.delivery.record) + MOST_OF_CAUSE


def beat(
    q: QueueRef,
    held: Sequence[Delivery],
    extension_ms: int,
    consumer_id: str,
    description: Mapping[str, Any] | None,
    life_ms: int,
    *,
    is_same: bool = False,
) -> Flow[tuple[str, list[Delivery]]]:
    """Keep what a worker holds invisible, and show that the worker lives; see consumers.beat().

    Returns:
        The order it was given ("", "drain" or "evict"), and what it does not hold any more.
    """
    if is_same:
        order, _ = yield consumers.beat(q.home, (), extension_ms, consumer_id, None, life_ms, is_same=True)
        if order != "?":
            return order, []
    order, lost = "", []
    most = PROLONGED if q.is_fifo else portions.SPECIAL
    parts = dict(_by_partition(held))
    for p in (q.home, *(p for p in parts if p is not q.home)):
        for n, mine in enumerate(portions.portions(parts.get(p, []), most) or [()]):
            try:
                if p is q.home and n == 0:
                    order, positions = yield consumers.beat(p, mine, extension_ms, consumer_id, description, life_ms)
                    if order == "evict":
                        return order, []
                else:
                    _, positions = yield consumers.beat(p, mine, extension_ms)
            except QueueDoesNotExist:
                if p is q.home:
                    raise
                positions = range(len(mine))
            lost += [mine[i] for i in positions]
    return order, lost


def begin(delivery: Delivery, extension_ms: int) -> Flow[bool]:
    """The handler of a suspect begins, and its receive counts (lua/lib/ahead.lua). False if it was lost meanwhile."""
    is_there: bool = yield consumers.begin(delivery, extension_ms)
    if is_there:
        delivery.count()
    return is_there


def order_consumer(q: QueueRef, consumer_id: str, command: str) -> Flow[bool]:
    """Give a worker a command, "drain" or "evict"; False if there is no such worker."""
    is_there: bool = yield consumers.order_consumer(q, consumer_id, command)
    if is_there:
        yield from tell(q.space, "worker-commanded", q.name, detail={"worker": consumer_id, "command": command})
    return is_there


def _by_partition(deliveries: Sequence[Delivery]) -> list[tuple[Partition, list[Delivery]]]:
    found: dict[Partition, list[Delivery]] = {}
    for d in deliveries:
        found.setdefault(d.partition, []).append(d)
    return list(found.items())
