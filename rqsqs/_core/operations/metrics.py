"""Builders and parsers of metrics: what happened in a partition (lua/lib/counting.lua)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from rqsqs._core.keys import Partition
from rqsqs._core.operation import Operation
from rqsqs._core.operations import browse
from rqsqs.metric_models import Histogram

CAUSES = ("dead", "expired", "purged", "cancelled", "moved", "damaged")
_LEFT = {cause: (cause + "_r", cause + "_u") for cause in CAUSES}
_LEFT_RECEIVED, _LEFT_UNRECEIVED = zip(*_LEFT.values(), strict=True)
NOISY = 10  # messages
MINUS = ord("-")
FIRST = ord("@")  # the field of the first bucket
BUCKETS = [chr(FIRST + power) for power in range(64)]


Tally = dict[bytes, tuple[int, int, int, int | None]]  # message group -> visible, in flight, delayed, age in ms


@dataclass(frozen=True, slots=True)
class PartitionMetrics:
    """A partition at one instant, or all partitions of a queue together.

    Attributes:
        topology: that of the queue, if it is the home (QueueRef.learn()).
        unreceived, received: messages that are there, by their place.
        is_paused, is_dead_letter_queue: as the queue's home says.
        oldest_age_ms: of the oldest message that has an age (lua/lib/gauges.lua).
        groups_in_flight: of a FIFO queue.
        tally: of a fair queue.
        stats: the fields of `stats`.
    """

    visible: int
    in_flight: int
    delayed: int
    oldest_sent_at_ms: int | None
    at_ms: int
    created_at_ms: int
    topology: bytes
    unreceived: int
    received: int
    is_paused: bool
    is_dead_letter_queue: bool
    oldest_age_ms: int | None = None
    groups_in_flight: int | None = None
    tally: Tally | None = None
    stats: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        """A field of `stats`, 0 if it is not there."""
        return self.stats.get(name, 0)

    def left(self, cause: str) -> int:
        """How many messages left for that cause."""
        received, unreceived = _LEFT[cause]
        return self.stats.get(received, 0) + self.stats.get(unreceived, 0)

    @property
    def dwell(self) -> Histogram:
        """How long messages waited before they were received for the first time."""
        last = max([ord(name) for name in self.stats if len(name) == 1], default=FIRST - 1)
        get = self.stats.get
        return Histogram(tuple([get(name, 0) for name in BUCKETS[: last - FIRST + 1]]))

    @property
    def processing(self) -> tuple[Histogram, Histogram]:
        """How long workers handled messages: those that they finished, and those that failed."""
        return self._durations("s"), self._durations("f")

    def _durations(self, outcome: str) -> Histogram:
        found = [int(name[1:]) for name in self.stats if name[:1] == outcome and name[1:].isdecimal() and len(name) < 4]
        return Histogram(tuple([self[f"{outcome}{power}"] for power in range(max(found) + 1)]) if found else ())

    @property
    def consumers(self) -> dict[str, int]:
        """How many consumers there are by state."""
        return {name[10:]: n for name, n in sorted(self.stats.items()) if name.startswith("consumers:")}

    @property
    def first_receives(self) -> int:
        return sum([n for name, n in self.stats.items() if len(name) == 1])

    @property
    def deleted(self) -> int:
        get = self.stats.get
        gone = sum([get(name, 0) for name in _LEFT_RECEIVED])
        return self.first_receives + self["crossed"] - self.received - gone

    @property
    def sent(self) -> int:
        get = self.stats.get
        gone = sum([get(name, 0) for name in _LEFT_UNRECEIVED])
        come = self["moved_in"] + self["dead_in"]
        return self.first_receives + self["crossed"] + self.unreceived + gone - come


def read_metrics(p: Partition, start: int = 0) -> Operation:
    """The result is a PartitionMetrics, or with what to call again: what was over its retention had to be dropped
    first. It is read in the script that counts messages, so all of it is of one instant.

    Args:
        start: with what the last call said to go on.
    """
    counting = browse.count(p, start, "1")

    def parse(reply: list[Any]) -> PartitionMetrics | int:
        visible, in_flight, delayed, oldest, following = browse.counted(p, reply[:5])
        if following >= 0:
            return following
        at_ms, created_us, topology, unreceived, received, marks, since, groups, *fields = reply[5:]
        now = int(at_ms)
        stats = {
            name.decode(errors="replace"): int(n)
            for name, n in zip(fields[::2], fields[1::2], strict=True)
            if is_whole(n) and (n[0] != MINUS or name == b"crossed" or name[-2:] in (b"_r", b"_u"))
        }
        return PartitionMetrics(
            visible,
            in_flight,
            delayed,
            oldest_sent_at_ms=oldest,
            at_ms=now,
            created_at_ms=int(created_us) // 1000 if is_whole(created_us) else 0,
            topology=topology,
            unreceived=unreceived,
            received=received,
            is_paused=b"p" in marks,
            is_dead_letter_queue=b"d" in marks,
            oldest_age_ms=_age(now, since),
            groups_in_flight=groups if p.is_fifo else None,
            tally=_tally(now, groups) if not p.is_fifo and groups else None,
            stats=stats,
        )

    return Operation(counting.script, counting.keys, counting.args, parse)


def recount(p: Partition) -> Operation:
    """The result is [(field of meta, what it says, what was found)] of counters that are wrong."""

    def parse(reply: list[Any]) -> list[tuple[str, int, int]]:
        return [(field.decode(), said, found) for field, said, found in zip(*[iter(reply)] * 3, strict=True)]

    return Operation("recount_messages", p.keys("meta"), ("1" if p.is_fifo else "",), parse)


def _age(now: int, since: bytes) -> int | None:
    return max(now - int(since), 0) if is_whole(since) else None


def _tally(now: int, packed: bytes) -> Tally:
    flat = msgpack.unpackb(packed, raw=True, strict_map_key=False)
    found: Tally = {}
    for i in range(0, len(flat), 5):
        name, visible, in_flight, delayed, since = flat[i : i + 5]
        found[name] = int(visible), in_flight, delayed, _age(now, since)
    return found


def together(partitions: Sequence[PartitionMetrics]) -> PartitionMetrics:
    """All partitions of a queue, the home first, by whose clock they are. A message group can be in several of them."""
    if len(partitions) == 1:
        return partitions[0]
    home, stats = partitions[0], Counter[str]()
    tallies = [p.tally for p in partitions if p.tally is not None]
    tally: Tally = {}
    for name, numbers in itertools.chain.from_iterable([each.items() for each in tallies]):
        tally[name] = _added(tally[name], numbers) if name in tally else numbers
    for p in partitions:
        stats.update(p.stats)
    return replace(
        home,
        visible=sum([p.visible for p in partitions]),
        in_flight=sum([p.in_flight for p in partitions]),
        delayed=sum([p.delayed for p in partitions]),
        oldest_sent_at_ms=min(
            [p.oldest_sent_at_ms for p in partitions if p.oldest_sent_at_ms is not None], default=None
        ),
        unreceived=sum([p.unreceived for p in partitions]),
        received=sum([p.received for p in partitions]),
        oldest_age_ms=_oldest([p.oldest_age_ms for p in partitions]),
        groups_in_flight=None if home.groups_in_flight is None else sum([p.groups_in_flight or 0 for p in partitions]),
        tally=tally if tallies else None,
        stats=stats,
    )


def _added(
    a: tuple[int, int, int, int | None], b: tuple[int, int, int, int | None]
) -> tuple[int, int, int, int | None]:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], _oldest([a[3], b[3]])


def _oldest(ages: Iterable[int | None]) -> int | None:
    return max([age for age in ages if age is not None], default=None)


@dataclass(frozen=True, slots=True)
class Quiet:
    """What is in the quiet groups of a fair queue, messages without a group among them; None = no fair queue."""

    noisy_groups: int | None = None
    visible: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    oldest_age_ms: int | None = None


def quiet(p: PartitionMetrics) -> Quiet:
    """A group is noisy that has at least NOISY messages visible or in flight, and more than twice as many as the other
    groups that have some do on average."""
    if p.tally is None:
        return Quiet()
    shares = {name: numbers[0] + numbers[1] for name, numbers in p.tally.items() if name}
    total, others = sum(shares.values()), len([share for share in shares.values() if share]) - 1
    noisy = {
        name for name, share in shares.items() if others > 0 and share >= NOISY and share * others > 2 * (total - share)
    }
    taken = [p.tally[name] for name in noisy]
    return Quiet(
        noisy_groups=len(noisy),
        visible=max(p.visible - sum([numbers[0] for numbers in taken]), 0),
        in_flight=max(p.in_flight - sum([numbers[1] for numbers in taken]), 0),
        delayed=max(p.delayed - sum([numbers[2] for numbers in taken]), 0),
        oldest_age_ms=_oldest([numbers[3] for name, numbers in p.tally.items() if name not in noisy]),
    )


def is_whole(text: bytes) -> bool:
    """Is it a whole number? Who writes into a queue's keys by hand may write anything."""
    return len(text) < 20 and text.removeprefix(b"-").isdigit()
