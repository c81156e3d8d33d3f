"""Flows of metrics: what is in a queue, and what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rqsqs._core import portions
from rqsqs._core.flows.topology import at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import AtOnce, Flow
from rqsqs._core.operations.metrics import CAUSES, PartitionMetrics, quiet, read_metrics, recount, together
from rqsqs._core.operations.queues import get_members
from rqsqs.errors import QueueDamaged, QueueDoesNotExist, RqsqsError
from rqsqs.metric_models import QueueMetrics

AT_ONCE = 50  # partitions that are read in one round trip; an event loop has other things to do
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


@dataclass(frozen=True, slots=True)
class Doubt:
    """A number of a partition that cannot be right.

    Attributes:
        name: of the number.
        says: what it is.
        found: what it has to be; None = anything but less than 0.
        repair: a command of Redis that puts it right; "" = only a bug of ours can have done it.
    """

    name: str
    says: int
    found: int | None
    repair: str


def doubts(q: QueueRef) -> Flow[list[Doubt]]:
    """What does not add up in the numbers of a queue: counters that say something else than lies there, and numbers of
    metrics below 0."""
    found: list[Doubt] = []
    yield from refresh(q)
    for p in q.partitions:
        wrong: list[tuple[str, int, int]] = yield from at(q, p, recount(p), [])
        for name, says, there in wrong:
            found.append(Doubt(name, says, there, f"HINCRBY {p.base}meta {name} {there - says}"))
        if wrong:  # metrics are off as well
            continue
        read: Found = {}
        yield from _read([p], read)
        numbers = read[p]
        if isinstance(numbers, QueueDoesNotExist) and p is not q.home:
            continue
        if isinstance(numbers, RqsqsError):
            raise numbers
        stats = f"{p.base}stats"
        total = numbers.visible + numbers.in_flight + numbers.delayed
        if total != numbers.unreceived + numbers.received:
            whole = numbers.unreceived + numbers.received
            found.append(Doubt("visible + in_flight + delayed", total, whole, ""))
        if numbers.deleted < 0:  # they were received before it was counted
            found.append(Doubt("deleted", numbers.deleted, None, f"HINCRBY {stats} crossed {-numbers.deleted}"))
        for name, number in [("sent", numbers.sent), *[(cause, numbers.left(cause)) for cause in CAUSES]]:
            if number < 0:
                found.append(Doubt(name, number, None, f"UNLINK {stats}"))
    return found


def metrics_of_those_there(queues: Sequence[QueueRef]) -> Flow[list[QueueMetrics]]:
    """The metrics of queues. One that does not exist, or is damaged, is left out; another error ends it."""
    found: list[QueueMetrics] = []
    for some in portions.portions(queues, AT_ONCE):
        for each in (yield from _metrics_of(some)):
            if isinstance(each, QueueMetrics):
                found.append(each)
            elif not isinstance(each, QueueDoesNotExist | QueueDamaged):
                raise each
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
            if isinstance(read, int):
                wanted.append((p, read))
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
    p = together(partitions)
    in_quiet, again = quiet(p), (p["r2"], p["r3"], p["r4"])
    finished, failed = partitions[0].processing
    return QueueMetrics(
        queue=name,
        at_ms=p.at_ms,
        created_at_ms=p.created_at_ms,
        is_paused=p.is_paused,
        is_dead_letter_queue=p.is_dead_letter_queue,
        visible=p.visible,
        in_flight=p.in_flight,
        delayed=p.delayed,
        oldest_sent_at_ms=p.oldest_sent_at_ms,
        oldest_age_s=_seconds(p.oldest_age_ms),
        groups_in_flight=p.groups_in_flight,
        noisy_groups=in_quiet.noisy_groups,
        visible_in_quiet_groups=in_quiet.visible,
        in_flight_in_quiet_groups=in_quiet.in_flight,
        delayed_in_quiet_groups=in_quiet.delayed,
        oldest_age_in_quiet_groups_s=_seconds(in_quiet.oldest_age_ms),
        sent=max(p.sent, 0),  # keys may have been edited: doctor tells of it
        received=p.first_receives + sum(again),
        deleted=max(p.deleted, 0),
        empty_receives=p["empty"],
        deduplicated=p["dedup"],
        sent_bytes=p.stats.get("bytes"),
        redelivered=again,
        dead_lettered=max(p.left("dead"), 0),
        dead_letters=p["dead_in"],
        expired=max(p.left("expired"), 0),
        purged=max(p.left("purged"), 0),
        cancelled=max(p.left("cancelled"), 0),
        redriven_out=max(p.left("moved"), 0),
        redriven_in=p["moved_in"],
        reclaimed=p["reclaimed"],
        damaged=max(p.left("damaged"), 0),
        dwell=p.dwell,
        processing=finished + failed,
        failed=failed.total,
        consumers=partitions[0].consumers,
        waiters=partitions[0]["waiters"],
    )


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
