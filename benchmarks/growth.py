"""Loads that differ in one size alone: waiting, in flight, message groups, partitions, queues.

Of the kinds LEAST they are the minimum that keeps answers and counts receives (benchmarks/minimal.py): it touches the
keys that ours touch, so it shows what of the growth no script of such a queue can avoid.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.minimal import Minimal, MinimalFair, MinimalFifo
from benchmarks.scripts import BODY, GROUPS, LOW, Cycles, Load, OneByOne, drive
from benchmarks.server import Bench, Cost, Costs, percentile, spent
from rqsqs._core import envelope, flows, operations, receipts
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import Keyspace, Partition, QueueRef
from rqsqs._core.operations import consumers
from rqsqs.limits import NATIVE

LEAST = "bare calls"
LEAST_FIFO = "bare calls, FIFO"
EACH = 10  # messages in each of many partitions or queues at the beginning
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Grown:
    """Server time of a message with much of something, over that with little of it.

    Attributes:
        batch: 0 = not about messages.
        bare: the same of the minimum, None if there is none.
        is_most: there is no larger size.
    """

    what: str
    batch: int
    ours: float
    bare: float | None = None
    is_most: bool = False

    @property
    def value(self) -> float:
        """What is held against the target: growth that bare calls on the same keys do not have."""
        return self.ours / max(1.0, self.bare or 1.0)


def waiting(bench: Bench, kind: str, size: int) -> Cycles:
    """So many messages are waiting."""
    if kind == LEAST_FIFO:
        return MinimalFifo(bench, size, BODY, GROUPS)
    return Load(bench, kind, size)


def in_flight(bench: Bench, kind: str, size: int) -> Cycles:
    """So many messages are in flight, 10,000 are waiting."""
    if kind == LEAST:
        return Minimal(bench, 10_000, BODY, in_flight=size, is_kept=True)
    if kind == LEAST_FIFO:
        return MinimalFifo(bench, 10_000, BODY, GROUPS, in_flight=size)
    return Load(bench, kind, 10_000, size)


def groups(bench: Bench, kind: str, size: int) -> Cycles:
    """So many message groups have one message each; one group has 1,000."""
    waiting = max(size, 1000)
    if kind == LEAST:
        return MinimalFair(bench, waiting, BODY, size, is_kept=True)
    if kind == LEAST_FIFO:
        return MinimalFifo(bench, waiting, BODY, size, one_by_one=True)
    make = OneByOne if kind == "fifo" else Load
    return make(bench, kind, waiting, groups=size)


def queues(bench: Bench, kind: str, size: int) -> Cycles:
    """So many queues are used in turn."""
    if kind == LEAST:
        return Minimal(bench, EACH, BODY, size, is_kept=True)
    if kind == LEAST_FIFO:
        return MinimalFifo(bench, EACH, BODY, GROUPS, size)
    space = Keyspace("bench")
    refs = [space.queue(f"{kind}-{n}" + (".fifo" if kind == "fifo" else "")) for n in range(size)]
    for ref in refs:
        drive(bench, flows.create_queue(ref, {}, NATIVE, None))
    return Many(bench, refs, [ref.home for ref in refs])


def partitions(bench: Bench, kind: str, size: int) -> Cycles:
    """One queue has so many partitions, used in turn; the minimum has as many queues."""
    return queues(bench, kind, size) if kind in (LEAST, LEAST_FIFO) else partitioned(bench, kind, size)


def partitioned(bench: Any, kind: str, size: int) -> Many:
    """One queue has so many partitions, used in turn.

    Args:
        bench: or Masters.
    """
    ref = Keyspace("bench").queue(f"parts-{size}" + (".fifo" if kind == "fifo" else ""))
    attributes = {"Partitions": str(size)} if size > 1 else {}
    if kind == "fifo":
        attributes["DeduplicationScope"] = "messageGroup"
    drive(bench, flows.create_queue(ref, attributes, NATIVE, None))
    return Many(bench, [ref], ref.own)


class Many:
    """Partitions, of one queue or of several, that are used in turn: each call goes to the next one. All have something
    waiting and something in flight, so that it is not measured how keys come and go.

    Args:
        bench: or Masters.
    """

    def __init__(self, bench: Any, refs: Sequence[QueueRef], parts: Sequence[Partition]) -> None:
        self.bench = bench
        self.refs = {ref.name: ref for ref in refs}
        self.is_fifo = refs[0].is_fifo
        self._parts = itertools.cycle(parts)
        self._numbers = itertools.count()
        self._groups = {p: self._groups_of(p, "flying") for p in parts} if self.is_fifo else {}
        for start in range(0, len(parts), 1000):
            some = parts[start : start + 1000]
            bench.run([self._send(p, 1) for p in some])
            bench.run([operations.receive_messages(p, NATIVE, 1, DAY_MS, "", "") for p in some])
        self._groups = {p: self._groups_of(p, "group") for p in self._groups}
        for start in range(0, len(parts), 1000):
            bench.run([self._send(p, EACH) for p in parts[start : start + 1000]])

    def _groups_of(self, p: Partition, stem: str) -> Iterator[str]:
        """Message groups that belong to a partition, round and round."""
        ref = self.refs[p.queue]
        return (group for n in itertools.count() if ref.owner(group := f"{stem}-{n % 1000}") is p)

    def _send(self, p: Partition, batch: int) -> Any:
        fifo = [{}] * batch
        if self.is_fifo:
            fifo = [
                {"group": next(self._groups[p]), "dedup_id": f"message-{next(self._numbers):012d}"}
                for _ in range(batch)
            ]
        return operations.send_messages(p, [envelope.outgoing(BODY, **options) for options in fifo], NATIVE)

    def steps(self, batch: int, count: int) -> Iterator[str]:
        """Send, receive and delete `count` messages; comes back after each step."""
        parts = list(itertools.islice(self._parts, count // batch))
        self.bench.run([self._send(p, batch) for p in parts])
        yield "send"
        got = self.bench.run([operations.receive_messages(p, NATIVE, batch, None, "", "") for p in parts])
        assert sum(len(r.messages) for r in got) == count
        yield "receive"
        self.bench.run([self._delete(p, r.messages) for p, r in zip(parts, got, strict=True)])
        yield "delete"

    def _delete(self, p: Partition, found: Sequence[Delivery]) -> Any:
        handles = [receipts.decode(self.refs[p.queue], d.receipt_handle) for d in found]
        return operations.delete_messages(p, handles, NATIVE)

    def cycle(self, batch: int, count: int) -> Iterator[tuple[str, Costs]]:
        """The same, with the costs of each step."""
        before = self.bench.costs()
        for step in self.steps(batch, count):
            yield step, spent(before, self.bench.costs())
            before = self.bench.costs()


def cost_of_creating(bench: Bench, count: int) -> float:
    """Server µs for one more queue."""
    space, usec = Keyspace("bench"), []
    for n in range(count):
        before = bench.costs().get("evalsha", Cost())
        drive(bench, flows.create_queue(space.queue(f"late-{n}"), {}, NATIVE, None))
        usec.append(bench.costs()["evalsha"].usec - before.usec)
    return percentile(usec, LOW)


def cost_of_beating(bench: Bench, workers: int, slices: int = 20) -> float:
    """Server µs of one idle worker's heartbeat, at the home of a queue that so many workers serve."""
    ref = Keyspace("bench").queue(f"served-by-{workers}")
    drive(bench, flows.create_queue(ref, {}, NATIVE, None))
    says = {"host": "host", "pid": 1, "state": "running", "started": 1}
    beats = [consumers.beat(ref.home, [], 10_000, f"consumer-{n}", says, 10_000) for n in range(workers)]
    bench.run(beats)
    turns, usec = itertools.cycle(beats), []
    for _ in range(slices):
        before = bench.costs()
        bench.run(list(itertools.islice(turns, 200)))
        usec.append(spent(before, bench.costs())["evalsha"].usec / 200)
    return percentile(usec, LOW)
