"""Datapoints: the statistic of a metric of a queue in each of several periods, out of its history. No I/O is here.

What was not measured is missing. What was measured and is not there counts 0: the age of the oldest message of an empty
queue, and consumers of a queue without any. So an alarm knows when all is well again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rqsqs.alarm_models import BYTES, DURATIONS, percentile_of, unit_of
from rqsqs.metric_models import CLOUDWATCH, Histogram, HistoryPoint, MetricStatistics

_ALIVE = ("running", "draining", "drain", "evicted", "evict")  # states of consumers that are not lost
_IS_THERE = {  # a metric that is left out if there is none -> one that is measured whenever it could be
    "oldest_age_s": "visible",
    "oldest_age_in_quiet_groups_s": "noisy_groups",
}


@dataclass(frozen=True, slots=True)
class Datapoint:
    """The statistic of one period.

    Attributes:
        at_ms: when the period began, epoch ms.
        value: None = missing.
        samples: how many there are in it.
    """

    at_ms: int
    value: float | None = None
    samples: int = 0


def is_kept(metric_name: str, statistic: str) -> bool:
    """Is what is kept of a metric enough for a statistic? Times are counted by powers of two, and of the sizes of
    messages only the sum is kept."""
    if CLOUDWATCH.get(metric_name, metric_name) in DURATIONS:
        return statistic == "SampleCount" or percentile_of(statistic) is not None
    return metric_name != BYTES or statistic in ("Sum", "Average", "SampleCount")


def needed(metric_name: str) -> frozenset[str]:
    """The names of what datapoints() looks at."""
    name = CLOUDWATCH.get(metric_name, metric_name)
    if metric_name == BYTES:
        return frozenset({"sent_bytes", "sent"})
    if name in DURATIONS or name.startswith("consumers"):
        return frozenset({name, "sent", "visible"})  # these tell that something was measured
    return frozenset({name, _IS_THERE.get(name, name)})


def begins(period_s: int, count: int, end_ms: int) -> range:
    """When each of so many periods begins, the last of which ends at `end_ms`."""
    period_ms = 1000 * period_s
    return range(end_ms - count * period_ms, end_ms, period_ms)


def datapoints(
    history: Iterable[HistoryPoint],
    metric_name: str,
    statistic: str,
    period_s: int,
    count: int,
    end_ms: int,
    unit: str | None = None,
) -> list[Datapoint]:
    """The last periods of a metric, the oldest first.

    Args:
        history: points of one minute each, in any order; those outside the periods do not count.
        metric_name: by its name here or in AWS/SQS.
        period_s: of a datapoint. With less than a minute each sample is in the period in which its minute begins.
        count: how many datapoints.
        end_ms: when the last period ends, a full minute. Periods slide: they begin where this leads to, not at full
            hours.
        unit: if the metric is measured in another one, all are missing.
    """
    starts = begins(period_s, count, end_ms)
    found: list[list[HistoryPoint]] = [[] for _ in starts]
    if unit is None or unit == unit_of(metric_name):
        for point in history:
            if starts.start <= point.at_ms < end_ms:
                found[(point.at_ms - starts.start) // starts.step].append(point)
    return [_datapoint(at_ms, points, metric_name, statistic) for at_ms, points in zip(starts, found, strict=True)]


def _datapoint(at_ms: int, points: Sequence[HistoryPoint], metric_name: str, statistic: str) -> Datapoint:
    name = CLOUDWATCH.get(metric_name, metric_name)
    measured = [point for point in points if not point.is_gap]
    if name in DURATIONS:
        return _of_histogram(at_ms, measured, name, statistic)
    if metric_name == BYTES:
        return _of_sizes(at_ms, measured, statistic)
    values = [value for point in measured if (value := of_point(point, name)) is not None]
    if not values:
        return Datapoint(at_ms)
    samples = sum(value.sample_count for value in values)
    percent = percentile_of(statistic)
    if percent is not None:
        every = sorted([value.average for value in values for _ in range(value.sample_count)])
        return Datapoint(at_ms, every[max(math.ceil(len(every) * percent / 100) - 1, 0)], samples)
    total = float(sum(value.sum for value in values))
    result = {
        "SampleCount": float(samples),
        "Sum": total,
        "Average": total / samples,
        "Minimum": float(min(value.minimum for value in values)),
        "Maximum": float(max(value.maximum for value in values)),
    }[statistic]
    return Datapoint(at_ms, result, samples)


def of_point(point: HistoryPoint, name: str) -> MetricStatistics | None:
    """A metric in a minute, by its name here; None = it was not measured."""
    if name == "consumers":
        parts = [of_point(point, f"consumers_{state}") for state in _ALIVE]
        return _added([part for part in parts if part is not None])
    found = point.metrics.get(name)
    beside = point.metrics.get("visible" if name.startswith("consumers_") else _IS_THERE.get(name, ""))
    if beside is None or (found is not None and found.sample_count >= beside.sample_count):
        return found
    if found is None:
        return MetricStatistics(0, 0, 0, 0, beside.sample_count)
    return MetricStatistics(found.sum, min(found.minimum, 0), max(found.maximum, 0), found.last, beside.sample_count)


def _added(parts: Sequence[MetricStatistics]) -> MetricStatistics | None:
    """The sum of gauges of the same samples. A minute has one sample, so the smallest is that of the sum."""
    if not parts:
        return None
    return MetricStatistics(
        sum=sum(part.sum for part in parts),
        minimum=sum(part.minimum for part in parts),
        maximum=sum(part.maximum for part in parts),
        last=sum(part.last for part in parts),
        sample_count=max(part.sample_count for part in parts),
    )


def _of_histogram(at_ms: int, points: Sequence[HistoryPoint], name: str, statistic: str) -> Datapoint:
    if not points:
        return Datapoint(at_ms)
    histogram = sum([getattr(point, name) for point in points], Histogram())
    percent = percentile_of(statistic)
    value = float(histogram.total) if percent is None else histogram.percentile(percent)
    return Datapoint(at_ms, value, histogram.total)


def _of_sizes(at_ms: int, points: Sequence[HistoryPoint], statistic: str) -> Datapoint:
    """SentMessageSize: there each message is a sample. Only the sum of all is known."""
    pairs = [(point.metrics.get("sent_bytes"), point.metrics.get("sent")) for point in points]
    known = [(size.sum, sent.sum) for size, sent in pairs if size is not None and sent is not None]
    total, samples = sum(size for size, _ in known), int(sum(sent for _, sent in known))
    if not samples:
        return Datapoint(at_ms)
    return Datapoint(at_ms, {"Sum": float(total), "Average": total / samples}.get(statistic, float(samples)), samples)
