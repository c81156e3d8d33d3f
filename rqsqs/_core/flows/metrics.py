"""Flows of metrics: what is in a queue, and what happened to it."""

from __future__ import annotations

from rqsqs._core.flows.topology import at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow
from rqsqs._core.operations.metrics import PartitionMetrics, read_metrics
from rqsqs.metric_models import Histogram, QueueMetrics


def metrics(q: QueueRef) -> Flow[QueueMetrics]:
    """All partitions of a queue, summed."""
    yield from refresh(q)
    found: list[PartitionMetrics] = []
    for p in q.partitions:
        read = yield from at(q, p, _read(p), None)
        if read is not None:
            found.append(read)
    return summed(q.name, found)


def _read(p: Partition) -> Flow[PartitionMetrics]:
    read: PartitionMetrics = yield read_metrics(p)
    while read.next >= 0:
        read = read.goes_on((yield read_metrics(p, read.next)))
    return read


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
    )
