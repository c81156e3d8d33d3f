"""Looks at queues: their metrics at a moment, and what happened since the look before, per second.

Nothing here is estimated: a rate is the difference of two exact numbers by the time between them, on the server's
clock. What two looks cannot say is None: at the first one, and if a queue was created anew in between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rqsqs._base_message import moment
from rqsqs.metric_models import Histogram, QueueMetrics

from . import words

CAME = ("sent", "dead_letters", "redriven_in")
LEFT = ("deleted", "dead_lettered", "expired", "purged", "cancelled", "redriven_out", "damaged")
FAILED = ("redelivered", "dead_lettered")
COUNTED = (
    *("sent", "received", "deleted", "empty_receives", "deduplicated", "sent_bytes", "redelivered", "dead_lettered"),
    *("dead_letters", "expired", "purged", "cancelled", "redriven_out", "redriven_in", "reclaimed", "damaged"),
    "failed",
)
PERCENTS = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Look:
    """A queue at one moment.

    Attributes:
        now: its metrics.
        before: those of the look before, or None.
        first: those of the first look.
    """

    now: QueueMetrics
    before: QueueMetrics | None
    first: QueueMetrics

    @property
    def queue(self) -> str:
        return self.now.queue

    @property
    def depth(self) -> int:
        """All messages that are there."""
        return depth(self.now)

    @property
    def span_s(self) -> float | None:
        """Seconds since the look before."""
        return None if self.before is None else (self.now.at_ms - self.before.at_ms) / 1000

    def per_s(self, *fields: str) -> float | None:
        """How fast the sum of some numbers grew."""
        grown = 0
        if self.before is None:
            return None
        for field in fields:
            here, there = count(self.now, field), count(self.before, field)
            if here is None or there is None or here < there:  # the server lost what was counted
                return None
            grown += here - there
        return grown * 1000 / (self.now.at_ms - self.before.at_ms)

    @property
    def in_per_s(self) -> float | None:
        """Messages that came: sent, brought by moves, or as dead letters."""
        return self.per_s(*CAME)

    @property
    def out_per_s(self) -> float | None:
        """Messages that left, deleted or otherwise."""
        return self.per_s(*LEFT)

    @property
    def failures_per_s(self) -> float | None:
        """Messages that were handed out again or went to the dead-letter queue."""
        return self.per_s(*FAILED)

    @property
    def change_per_s(self) -> float | None:
        """By how much the number of messages grew."""
        span_s = self.span_s
        return None if self.before is None or span_s is None else (self.depth - depth(self.before)) / span_s

    @property
    def empty_in_s(self) -> float | None:
        """Seconds until the queue is empty if it goes on shrinking like this; None if it does not shrink."""
        change = self.change_per_s
        return self.depth / -change if change is not None and change < 0 and self.depth else None

    @property
    def consumers(self) -> int:
        """How many there are without the lost ones."""
        return sum([n for state, n in self.now.consumers.items() if state != "lost"])

    @property
    def holds_dead_letters(self) -> bool:
        return self.now.is_dead_letter_queue and self.depth > 0

    @property
    def is_problem(self) -> bool:
        """It holds dead letters, messages fail, or it is paused while messages wait."""
        return self.holds_dead_letters or bool(self.failures_per_s) or (self.now.is_paused and self.now.visible > 0)

    def record(self) -> dict[str, Any]:
        """All of it as JSON."""
        m = self.now
        record: dict[str, Any] = {"at": moment(m.at_ms), "queue": m.queue, "paused": m.is_paused}
        for field in dataclasses.fields(m):
            value = getattr(m, field.name)
            if isinstance(value, Histogram):
                record[f"{field.name}_s"] = percentiles(value)
                record[f"{field.name}_counts"] = value.counts
            elif field.name.endswith("_at_ms"):
                record[field.name.removesuffix("_ms")] = None if value is None else moment(value)
            elif field.name not in ("at_ms", "is_paused"):
                record[field.name] = value
        record |= {"span_s": self.span_s, "empty_in_s": _rounded(self.empty_in_s)}
        for name in ("in_per_s", "out_per_s", "failures_per_s", "change_per_s"):
            record[name] = _rounded(getattr(self, name))
        return record | {"per_s": {field: _rounded(self.per_s(field)) for field in COUNTED}}


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def depth(metrics: QueueMetrics) -> int:
    """All messages that are there."""
    return metrics.visible + metrics.in_flight + metrics.delayed


def count(metrics: QueueMetrics, field: str) -> int | None:
    """One of COUNTED."""
    value = getattr(metrics, field)
    return sum(value) if isinstance(value, tuple) else value


def percentiles(histogram: Histogram) -> dict[str, float] | None:
    """Seconds by p50, p95 and p99; None if nothing was measured."""
    found = {f"p{percent}": histogram.percentile(percent) for percent in PERCENTS}
    return {name: round(seconds, 4) for name, seconds in found.items() if seconds is not None} or None


class Looks:
    """Remembers the metrics of queues, for the rates between two looks."""

    def __init__(self) -> None:
        self._last: dict[str, Look] = {}

    def add(self, read: Iterable[QueueMetrics]) -> list[Look]:
        """The queues as they are now.

        Args:
            read: the metrics of all of them.
        """
        found = {}
        for now in read:
            last = self._last.get(now.queue)
            if last is None or last.now.created_at_ms != now.created_at_ms:
                found[now.queue] = Look(now, None, now)
            elif now.at_ms > last.now.at_ms:
                found[now.queue] = Look(now, last.now, last.first)
            else:  # within the same millisecond
                found[now.queue] = Look(now, last.before, last.first)
        self._last = found
        return list(found.values())


class Looker:
    """Looks at queues again and again.

    Args:
        read: reads the metrics of all of them.
    """

    def __init__(self, read: Callable[[], Iterable[QueueMetrics]]) -> None:
        self._read, self._looks = read, Looks()

    def look(self) -> list[Look]:
        """The queues as they are now."""
        return self._looks.add(self._read())


ORDERS: dict[str, Callable[[Look], Any]] = {  # what comes first
    "name": lambda look: look.queue,
    "visible": lambda look: -look.now.visible,
    "in_flight": lambda look: -look.now.in_flight,
    "delayed": lambda look: -look.now.delayed,
    "total": lambda look: -look.depth,
    "oldest": lambda look: -(look.now.oldest_age_s or 0),
    "in": lambda look: -(look.in_per_s or 0),
    "out": lambda look: -(look.out_per_s or 0),
    "failures": lambda look: -(look.failures_per_s or 0),
    "consumers": lambda look: -look.consumers,
    "empty": lambda look: float("inf") if look.empty_in_s is None else look.empty_in_s,
    "change": lambda look: -abs(look.change_per_s or 0),
}


def in_order(looks: Iterable[Look], order: str, *, is_reversed: bool = False) -> list[Look]:
    """Sorted; what is equal, by name."""
    return sorted(sorted(looks, key=ORDERS["name"]), key=ORDERS[order], reverse=is_reversed)


def empty_in(look: Look) -> str:
    """`paused`, or how long it takes until the queue is empty, or nothing: not if that is before the next look."""
    seconds = look.empty_in_s
    if look.now.is_paused:
        return "paused"
    if seconds is None or seconds < (look.span_s or 0):
        return ""
    return "> 1 y" if seconds > 31_557_600 else words.age(seconds)
