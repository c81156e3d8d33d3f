"""Builders and parsers of metrics: what happened in a partition (lua/lib/counting.lua)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rqsqs._core.keys import Partition
from rqsqs._core.operation import Operation
from rqsqs._core.operations import browse
from rqsqs.metric_models import Histogram

CAUSES = ("dead", "expired", "purged", "cancelled", "moved", "damaged")
FIRST = ord("@")  # the field of the first bucket


@dataclass(frozen=True, slots=True)
class PartitionMetrics:
    """A partition at one instant.

    Attributes:
        topology: that of the queue, if it is the home (QueueRef.learn()).
        next: with which group the counting of a fair queue goes on, -1 at the end; a FIFO partition: 0 = once more.
        unreceived, received: messages that are there, by their place.
        is_paused, is_dead_letter_queue: as the queue's home says.
        stats: the fields of `stats`.
    """

    visible: int
    in_flight: int
    delayed: int
    oldest_sent_at_ms: int | None
    next: int
    at_ms: int
    created_at_ms: int
    topology: bytes
    unreceived: int
    received: int
    is_paused: bool
    is_dead_letter_queue: bool
    stats: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        """A field of `stats`, 0 if it is not there."""
        return self.stats.get(name, 0)

    def left(self, cause: str) -> int:
        """How many messages left for that cause."""
        return self[cause + "_r"] + self[cause + "_u"]

    @property
    def dwell(self) -> Histogram:
        """How long messages waited before they were received for the first time."""
        last = max([ord(name) for name in self.stats if len(name) == 1], default=FIRST - 1)
        return Histogram(tuple([self[chr(power)] for power in range(FIRST, last + 1)]))

    @property
    def processing(self) -> Histogram:
        """How long workers handled messages."""
        return self._durations("s") + self._durations("f")

    @property
    def failed(self) -> int:
        """How many messages workers could not finish, each time counted."""
        return self._durations("f").total

    def _durations(self, outcome: str) -> Histogram:
        found = [int(name[1:]) for name in self.stats if name[:1] == outcome and name[1:].isdecimal() and len(name) < 4]
        return Histogram(tuple([self[f"{outcome}{power}"] for power in range(max(found, default=-1) + 1)]))

    @property
    def consumers(self) -> dict[str, int]:
        """How many consumers there are by state."""
        return {name[10:]: n for name, n in sorted(self.stats.items()) if name.startswith("consumers:")}

    @property
    def first_receives(self) -> int:
        return sum([n for name, n in self.stats.items() if len(name) == 1])

    @property
    def deleted(self) -> int:
        gone = sum([self[cause + "_r"] for cause in CAUSES])
        return self.first_receives + self["crossed"] - self.received - gone

    @property
    def sent(self) -> int:
        gone = sum([self[cause + "_u"] for cause in CAUSES])
        come = self["moved_in"] + self["dead_in"]
        return self.first_receives + self["crossed"] + self.unreceived + gone - come

    def goes_on(self, later: PartitionMetrics) -> PartitionMetrics:
        """What another call says that counted on from where this one stopped."""
        oldest = [at for at in (self.oldest_sent_at_ms, later.oldest_sent_at_ms) if at is not None]
        return replace(later, oldest_sent_at_ms=min(oldest, default=None))


def read_metrics(p: Partition, start: int = 0) -> Operation:
    """The result is a PartitionMetrics. It is read in the script that counts messages, so both are of one instant.

    Args:
        start: with what the last call said to go on.
    """
    counting = browse.count(p, start, "1")

    def parse(reply: list[Any]) -> PartitionMetrics:
        visible, in_flight, delayed, oldest, following = browse.counted(p, reply[:5])
        at_ms, created_us, topology, unreceived, received, marks, *fields = reply[5:]
        names, numbers = fields[::2], fields[1::2]
        stats = {name.decode(errors="replace"): int(n) for name, n in zip(names, numbers, strict=True) if is_whole(n)}
        created_ms = int(created_us) // 1000 if is_whole(created_us) else 0
        counts = visible, in_flight, delayed, oldest, following
        is_ = b"p" in marks, b"d" in marks
        return PartitionMetrics(*counts, int(at_ms), created_ms, topology, unreceived, received, *is_, stats)

    return Operation(counting.script, counting.keys, counting.args, parse)


def is_whole(text: bytes) -> bool:
    """Is it a whole number? Who writes into a queue's keys by hand may write anything."""
    return text.removeprefix(b"-").isdigit()
