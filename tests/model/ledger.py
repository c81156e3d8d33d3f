"""What happened to a queue, counted beside it; its metrics must say the same after every step."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from rqsqs import QueueMetrics


@dataclass
class Ledger:
    """The numbers of one queue.

    Attributes:
        vanished: messages that a purge took, or the end of their retention.
        first: first receives of a delivery cycle, by dwell time: counts by powers of two of ms.
        again: further receives, by their number in the cycle.
        is_dwell_certain: else nobody knows how long a message waited that was given back without being begun.
    """

    sent: int = 0
    deleted: int = 0
    deduplicated: int = 0
    dead_lettered: int = 0
    dead_letters: int = 0
    cancelled: int = 0
    redriven_out: int = 0
    redriven_in: int = 0
    empty_receives: int = 0
    vanished: int = 0
    first: Counter[int] = field(default_factory=Counter)
    again: Counter[int] = field(default_factory=Counter)
    is_dwell_certain: bool = True

    def receive(self, number: int, waited_ms: int) -> None:
        """A message was handed out, so many times in its cycle by now."""
        if number == 1:
            self.first[math.frexp(max(waited_ms, 0))[1]] += 1
        else:
            self.again[min(number, 4)] += 1

    def check(self, metrics: QueueMetrics, left: int) -> None:
        """Compare; `left` messages are still in the queue, as far as anybody can tell."""
        names = (
            "sent", "deleted", "deduplicated", "dead_lettered", "dead_letters", "cancelled", "redriven_out",
            "redriven_in", "damaged", "empty_receives",
        )  # fmt: skip
        found = {name: getattr(metrics, name) for name in names}
        expected = {name: getattr(self, name, 0) for name in names}
        assert found == expected, f"{metrics} but {self}"
        assert metrics.received == self.first.total() + self.again.total(), f"{metrics} but {self}"
        assert metrics.redelivered == (self.again[2], self.again[3], self.again[4]), f"{metrics} but {self}"
        assert metrics.dwell.total == self.first.total()
        if self.is_dwell_certain:
            dwell = {power: n for power, n in enumerate(metrics.dwell.counts) if n}
            assert dwell == dict(self.first), f"{metrics} but {self}"
        there = metrics.visible + metrics.in_flight + metrics.delayed
        assert metrics.expired + metrics.purged + there == self.vanished + left, f"{metrics} but {self}"
