"""Flows of metrics: what is in a queue, and what happened to it."""

from __future__ import annotations

from collections.abc import Sequence

from rqsqs._core import portions
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import AtOnce, Flow
from rqsqs._core.operations.metrics import PartitionMetrics, read_metrics
from rqsqs._core.operations.queues import get_members
from rqsqs.errors import QueueDoesNotExist, RqsqsError
from rqsqs.metric_models import Histogram, QueueMetrics

AT_ONCE = 100  # partitions that are read in one round trip
Found = dict[Partition, PartitionMetrics | RqsqsError]


def metrics(q: QueueRef) -> Flow[QueueMetrics]:
    """All partitions of a queue, summed."""
    [found] = yield from all_metrics([q])
    if isinstance(found, RqsqsError):
        raise found
    return found


def all_metrics(queues: Sequence[QueueRef]) -> Flow[list[QueueMetrics | RqsqsError]]:
    """The metrics of queues, or the error of each."""
    found: list[QueueMetrics | RqsqsError] = []
    for some in portions.portions(queues, AT_ONCE):
        found += yield from _metrics_of(some)
    return found


def _metrics_of(queues: Sequence[QueueRef]) -> Flow[list[QueueMetrics | RqsqsError]]:
    found: Found = {}
    yield from _read([q.home for q in queues], found)
    changed = [q for q in queues if getattr(found[q.home], "topology", q.topology) != q.topology]
    if changed:
        for q, members in zip(changed, (yield AtOnce([get_members(q) for q in changed])), strict=True):
            if isinstance(members, RqsqsError):
                found[q.home] = members
            else:
                q.learn(*members)
    partitions = [() if isinstance(found[q.home], RqsqsError) else q.partitions[1:] for q in queues]
    yield from _read([p for others in partitions for p in others], found)
    return [_of(q, others, found) for q, others in zip(queues, partitions, strict=True)]


def _read(partitions: list[Partition], found: Found) -> Flow[None]:
    """Read partitions, each to its end."""
    wanted = [(p, 0) for p in partitions]
    while wanted:
        some, wanted = wanted[:AT_ONCE], wanted[AT_ONCE:]
        results = yield AtOnce([read_metrics(p, start) for p, start in some])
        for (p, _), read in zip(some, results, strict=True):
            before = found.get(p)
            if isinstance(read, PartitionMetrics):
                found[p] = before.goes_on(read) if isinstance(before, PartitionMetrics) else read
                if read.next >= 0:
                    wanted.append((p, read.next))
            else:
                found[p] = read


def _of(q: QueueRef, others: Sequence[Partition], found: Found) -> QueueMetrics | RqsqsError:
    read: list[PartitionMetrics] = []
    for p in (q.home, *others):
        result = found[p]
        if isinstance(result, PartitionMetrics):
            read.append(result)
        elif p is q.home or not isinstance(result, QueueDoesNotExist):  # a shard may have gone, or not be there yet
            return result
    return summed(q.name, read)


def summed(name: str, partitions: list[PartitionMetrics]) -> QueueMetrics:
    """The metrics of a queue from those of its partitions, the home first."""
    oldest = min([p.oldest_sent_at_ms for p in partitions if p.oldest_sent_at_ms is not None], default=None)
    at_ms = max([p.at_ms for p in partitions])

    def total(field: str) -> int:
        return sum([p[field] for p in partitions])

    def left(cause: str) -> int:
        return sum([p.left(cause) for p in partitions])

    again = total("r2"), total("r3"), total("r4")
    first = sum([p.first_receives for p in partitions])
    return QueueMetrics(
        queue=name,
        at_ms=at_ms,
        created_at_ms=partitions[0].created_at_ms,
        is_paused=partitions[0].is_paused,
        is_dead_letter_queue=partitions[0].is_dead_letter_queue,
        visible=sum([p.visible for p in partitions]),
        in_flight=sum([p.in_flight for p in partitions]),
        delayed=sum([p.delayed for p in partitions]),
        oldest_sent_at_ms=oldest,
        oldest_age_s=None if oldest is None else max(at_ms - oldest, 0) / 1000,
        sent=sum([p.sent for p in partitions]),
        received=first + sum(again),
        deleted=sum([p.deleted for p in partitions]),
        empty_receives=total("empty"),
        deduplicated=total("dedup"),
        sent_bytes=total("bytes") if any(["bytes" in p.stats for p in partitions]) else None,
        redelivered=again,
        dead_lettered=left("dead"),
        dead_letters=total("dead_in"),
        expired=left("expired"),
        purged=left("purged"),
        cancelled=left("cancelled"),
        redriven_out=left("moved"),
        redriven_in=total("moved_in"),
        reclaimed=total("reclaimed"),
        damaged=left("damaged"),
        dwell=sum([p.dwell for p in partitions], Histogram()),
        processing=partitions[0].processing,
        failed=partitions[0].failed,
        consumers=partitions[0].consumers,
        waiters=partitions[0]["waiters"],
    )
