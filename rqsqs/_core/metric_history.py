"""The history of a queue, as it is stored and as it is read. No I/O is here.

A *row* is what happened in one minute, or in several if samples are missing (lua/append_history.lua). Its columns have
short names: digits for counters and gauges, and a letter with a power of two for the buckets of the histograms. The
rows of an hour are *packed* when it is over (packed_history.py).

Minutes without a row in which nothing happened are no gaps: a gap is a minute that no sample ended.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgpack

from rqsqs.metric_models import Histogram, HistoryPoint, MetricStatistics, QueueMetrics

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
KEPT_HOURS = 14 * 24
MISSING_MS = 90_000  # since the last sample: one is missing (lua/append_history.lua)

COUNTERS = (
    "sent", "received", "deleted", "empty_receives", "deduplicated", "sent_bytes", "redelivered_2", "redelivered_3",
    "redelivered_4", "dead_lettered", "dead_letters", "expired", "purged", "cancelled", "redriven_out", "redriven_in",
    "reclaimed", "damaged", "failed",
)  # fmt: skip
GAUGES = (
    "visible", "in_flight", "delayed", "oldest_age_ms", "groups_in_flight", "noisy_groups", "visible_in_quiet_groups",
    "in_flight_in_quiet_groups", "delayed_in_quiet_groups", "oldest_age_in_quiet_groups_ms", "waiters",
)  # fmt: skip
# Columns by names. The numbers never change; a new one, below 64, gets the next.
COLUMN = {name: str(number) for number, name in enumerate((*COUNTERS, *GAUGES), 1)}
NAMES = {column: name for name, column in COLUMN.items()}
FIRST_COUNTERS = 19  # of the first version
AGES = frozenset(COLUMN[name] for name in GAUGES if name.endswith("_ms"))
MOST = 2**70
UNREADABLE = (ValueError, TypeError, OverflowError, AttributeError)
_OURS = re.compile(r"[1-9]\d?|[dp](?:[1-5]?\d|6[0-3])|c:.{1,80}")
KNOWN_GAUGES = frozenset(COLUMN[name] for name in GAUGES)
DWELL, PROCESSING, CONSUMERS = "d", "p", "c:"  # d10 = dwell times below 2^10 ms; c:running = a gauge of consumers
BUCKETS = {DWELL: 64, PROCESSING: 128}  # with the number of their first column when packed


@dataclass(frozen=True, slots=True)
class Row:
    """What one sample told.

    Attributes:
        at_ms: when it was taken.
        span_ms: since the sample before. 0 = what was counted is not known.
        values: column -> what was counted meanwhile, or the gauge (ages as such).
        is_present: it is of the minute that is not over.
    """

    at_ms: int
    span_ms: int
    values: Mapping[str, int] = field(default_factory=dict)
    is_present: bool = False

    @property
    def minute(self) -> int:
        """The minute that it ends, since 1970."""
        return self.at_ms // MINUTE_MS - (not self.is_present)


@dataclass(frozen=True, slots=True)
class Last:
    """The last sample.

    Attributes:
        since_ms: since when there are samples, with or without gaps.
        gauges: ages as times since when.
    """

    at_ms: int
    created_ms: int
    since_ms: int
    totals: Mapping[str, int]
    gauges: Mapping[str, int]


# Metrics -> columns


def totals_of(metrics: QueueMetrics) -> dict[str, int]:
    """Columns that only grow. Buckets without any case are left out, and what is not counted."""
    found: dict[str, int] = {}
    for name in COUNTERS:
        stem, _, number = name.rpartition("_")
        value = metrics.redelivered[int(number) - 2] if stem == "redelivered" else getattr(metrics, name)
        if value is not None:
            found[COLUMN[name]] = max(value, 0)
    for letter, histogram in ((DWELL, metrics.dwell), (PROCESSING, metrics.processing)):
        found |= {f"{letter}{power}": count for power, count in enumerate(histogram.counts) if count > 0}
    return found


def gauges_of(metrics: QueueMetrics) -> dict[str, int]:
    """The other columns. Ages are given as the time since when: that stays as it is as long as nothing happens."""
    found: dict[str, int] = {}
    for name in GAUGES:
        value = getattr(metrics, name.removesuffix("ms") + "s" if name.endswith("_ms") else name)
        if value is not None:
            found[COLUMN[name]] = metrics.at_ms - round(value * 1000) if name.endswith("_ms") else max(value, 0)
    return found | {CONSUMERS + state: count for state, count in metrics.consumers.items() if count > 0}


# As scripts keep it


def read_last(data: bytes) -> Last | None:
    """None if it cannot be read: then the next sample begins anew."""
    try:
        at_ms, created_ms, since_ms, totals, gauges, *_ = msgpack.unpackb(data, strict_map_key=False)
        return Last(int(at_ms), int(created_ms), int(since_ms), usable(totals), usable(gauges))
    except UNREADABLE:
        return None


def read_rows(stored: Iterable[bytes], chosen: Chosen | None = None) -> list[Row]:
    """Rows; those that cannot be read are left out.

    Args:
        chosen: nothing but these columns; None = all.
    """
    found = []
    for data in stored:
        with contextlib.suppress(*UNREADABLE):
            if not data[:13].isdigit():
                continue
            at_ms = int(data[:13])
            span_ms, values = msgpack.unpackb(data[13:], strict_map_key=False)
            known = usable(values if chosen is None else {c: v for c, v in values.items() if c in chosen})
            found.append(Row(at_ms, max(int(span_ms), 0), with_ages(known, at_ms)))
    return found


def usable(values: Mapping[str, int]) -> dict[str, int]:
    """Columns that we may have written, as whole numbers: Redis makes floats of those above 2^63. Who writes into a
    queue's keys by hand may write anything, and it must not keep others from being sampled."""
    return {
        column: int(value)
        for column, value in dict(values).items()
        if isinstance(column, str) and _OURS.fullmatch(column) and 0 <= value < MOST
    }


def hour_of(stored: bytes) -> int:
    """The hour of a stored row, since 1970."""
    return Row(int(stored[:13]), 0).minute // 60


def with_ages(values: Mapping[str, int], at_ms: int) -> dict[str, int]:
    """Ages instead of times since when."""
    return {column: max(at_ms - value, 0) if column in AGES else value for column, value in values.items()}


def is_shared(column: str) -> bool:
    """May several minutes share its value?"""
    return column[0] in BUCKETS or column == COLUMN["sent_bytes"]


def is_first_counter(column: str) -> bool:
    """Is it a counter of the first version? A row without it counts 0; others are not there then."""
    return column[0] in BUCKETS or (column.isdigit() and int(column) <= FIRST_COUNTERS)


# Reading


def present(metrics: QueueMetrics, last: Last | None, is_first: bool = True) -> Row:
    """What happened since the last sample.

    Args:
        is_first: nothing was sampled before, as far as is known.
    """
    gauges = with_ages(gauges_of(metrics), metrics.at_ms)
    if last is None and is_first and metrics.at_ms - metrics.created_at_ms <= HOUR_MS:
        last = Last(
            metrics.created_at_ms, metrics.created_at_ms, metrics.created_at_ms, dict.fromkeys(COLUMN.values(), 0), {}
        )
    if last is None or last.created_ms != metrics.created_at_ms:
        return Row(metrics.at_ms, 0, gauges, True)
    counted = {
        column: max(total - last.totals.get(column, 0 if column[0] in BUCKETS else total), 0)
        for column, total in totals_of(metrics).items()
    }
    span_ms = max(metrics.at_ms - last.at_ms, 0)
    is_late = metrics.at_ms // MINUTE_MS > last.at_ms // MINUTE_MS and span_ms <= MISSING_MS  # the next sample
    return Row(metrics.at_ms, span_ms, counted | gauges, is_present=not is_late)


def samples(rows: Iterable[Row], last: Last | None, first: int) -> Iterator[Row]:
    """Rows, and between them one for each minute in which nothing happened, from the `first` minute on.

    Args:
        rows: in their order; one of the present at the end.
    """
    found = list(rows)
    before = _first(found, last)
    for row in found:
        yield from _idle(before, last, row.at_ms - row.span_ms, first)
        yield row
        before = row
    if last is not None:
        yield from _idle(before, last, last.at_ms, first)


def _first(rows: Sequence[Row], last: Last | None) -> Row | None:
    """What is known of the time before the first row."""
    if last is None:
        return None
    gauges: dict[str, int] = {}
    if not rows:  # they have not changed
        gauges = with_ages(last.gauges, last.since_ms)
    elif rows[0].at_ms - last.since_ms < KEPT_HOURS * HOUR_MS:  # else it may be forgotten
        gauges = dict.fromkeys((COLUMN["visible"], COLUMN["in_flight"], COLUMN["delayed"]), 0)
    return Row(last.since_ms, 0, gauges)


def _idle(before: Row | None, last: Last | None, until_ms: int, first: int) -> Iterator[Row]:
    """Minutes in which nothing happened: the gauges are those before."""
    if before is None:
        return
    begin_ms = before.at_ms
    if last is not None and begin_ms < last.since_ms <= until_ms:  # samples began anew
        begin_ms = last.since_ms
    begin, end = begin_ms // MINUTE_MS, until_ms // MINUTE_MS
    if max(begin, first) >= end:
        return
    gauges = {column: value for column, value in before.values.items() if is_gauge(column)}
    span_ms = (until_ms - begin_ms) // max(end - begin, 1)
    for minute in range(max(begin, first) + 1, end + 1):
        at_ms = minute * MINUTE_MS
        older = max(at_ms - before.at_ms, 0)
        yield Row(at_ms, span_ms, {c: v + older if c in AGES else v for c, v in gauges.items()})


def is_gauge(column: str) -> bool:
    return column in KNOWN_GAUGES or column.startswith(CONSUMERS)


def points(rows: Iterable[Row], last: Last | None, since_ms: int, until_ms: int, period_s: int) -> list[HistoryPoint]:
    """Points from the minute of `since_ms` on, one for each period; the last one may be shorter.

    Args:
        rows: in their order, also one before `since_ms`, if there is one.
    """
    first, end, minutes = since_ms // MINUTE_MS, -(-until_ms // MINUTE_MS), period_s // 60
    found = [_Period() for _ in range(first, end, minutes)]
    for sample in samples(rows, last, first):
        if first <= sample.minute < end:
            found[(sample.minute - first) // minutes].add(sample)
    return [period.point((first + n * minutes) * 60_000, period_s) for n, period in enumerate(found)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Columns of some metrics: to read many hours, and little of each.

    Attributes:
        numbers: columns of counters and gauges, with the metric (as in HistoryPoint) of each.
        letters: with which the others begin.
        idle: the counters, which are 0 in a sample without them.
    """

    numbers: Mapping[str, str]
    letters: frozenset[str]
    idle: Mapping[str, float]

    @classmethod
    def of(cls, names: Collection[str]) -> Chosen:
        """Those of some metrics; of consumers, all of them."""
        wanted = {*names, *_AGAIN} if "redelivered" in names else set(names)
        letters = {letter for letter, name in ((DWELL, "dwell"), (PROCESSING, "processing")) if name in names}
        letters |= {CONSUMERS[0] for name in names if name.startswith("consumers")}
        numbers = {column: _shown(name) for column, name in NAMES.items() if _shown(name) in wanted}
        return cls(numbers, frozenset(letters), {name: 0.0 for name in _IDLE if name in wanted})

    def __contains__(self, column: object) -> bool:
        return column in self.numbers or str(column)[0] in self.letters


def measured(
    rows: Iterable[Row], last: Last | None, since_ms: int, until_ms: int, chosen: Chosen
) -> Iterator[HistoryPoint]:
    """A point of one minute for each sample that has something of what was chosen. There are no gaps among them.

    Args:
        rows: as for points().
    """
    first, end = since_ms // MINUTE_MS, -(-until_ms // MINUTE_MS)
    has_buckets, nothing = not chosen.letters.isdisjoint(BUCKETS), Histogram()
    for sample in samples(rows, last, first):
        minute = sample.minute
        if first <= minute < end and (numbers := _numbers(sample, chosen.idle, chosen.numbers)):
            metrics = {name: MetricStatistics(value, value, value, value, 1) for name, value in numbers.items()}
            dwell, processing = _histograms(sample.values) if has_buckets else (nothing, nothing)
            yield HistoryPoint(minute * MINUTE_MS, 60, sample.span_ms / 1000, metrics, dwell, processing)


def _numbers(sample: Row, idle: Mapping[str, float], shown: Mapping[str, str]) -> dict[str, float]:
    """The counters and gauges of a sample, as users see them.

    Args:
        idle: what counts 0 if a sample of some time does not have it.
        shown: columns and names.
    """
    values = dict(idle) if sample.span_ms else {}
    for column, value in sample.values.items():
        if column in shown:  # else it is a bucket, or of a later version
            values[shown[column]] = value / 1000 if column in AGES else value
        elif column.startswith(CONSUMERS):
            values["consumers_" + column.removeprefix(CONSUMERS)] = value
    if sample.span_ms and values.keys() >= _AGAIN:
        values["redelivered"] = sum([values[name] for name in _AGAIN])
    return values


def _histograms(*samples: Mapping[str, int]) -> tuple[Histogram, Histogram]:
    buckets: dict[str, dict[int, int]] = {DWELL: {}, PROCESSING: {}}
    for values in samples:
        for column, value in values.items():
            if column[0] in BUCKETS:
                powers = buckets[column[0]]
                powers[int(column[1:])] = powers.get(int(column[1:]), 0) + value
    return _histogram(buckets[DWELL]), _histogram(buckets[PROCESSING])


def _histogram(powers: Mapping[int, int]) -> Histogram:
    return Histogram(tuple([powers.get(power, 0) for power in range(max(powers, default=-1) + 1)]))


class _Period:
    """Adds samples up."""

    def __init__(self) -> None:
        self.span_ms = 0
        self.numbers: dict[str, list[float]] = {}
        self.samples: list[Mapping[str, int]] = []

    def add(self, sample: Row) -> None:
        self.span_ms += sample.span_ms
        self.samples.append(sample.values)
        for name, number in _numbers(sample, _IDLE, _SHOWN).items():
            self.numbers.setdefault(name, []).append(number)

    def point(self, at_ms: int, period_s: int) -> HistoryPoint:
        metrics = {
            name: MetricStatistics(sum(found), min(found), max(found), found[-1], len(found))
            for name, found in self.numbers.items()
        }
        return HistoryPoint(at_ms, period_s, self.span_ms / 1000, metrics, *_histograms(*self.samples))


def _shown(name: str) -> str:
    """As users see it: ages in seconds."""
    return name.removesuffix("ms") + "s" if name.endswith("_ms") else name


_AGAIN = frozenset({"redelivered_2", "redelivered_3", "redelivered_4"})
_IDLE: Mapping[str, float] = {name: 0 for name in COUNTERS if name != "sent_bytes"}
_SHOWN = {column: _shown(name) for column, name in NAMES.items()}
