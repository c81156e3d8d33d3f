"""What was measured: datapoints of queues for GetMetricData and GetMetricStatistics, from their histories.

A request names a metric by namespace, name and dimensions. `AWS/SQS` has the names of AWS, `rqsqs` has ours; the one
dimension is QueueName; the memory of the server has none. Anything else has no data, and neither has a queue that does
not exist: that is no error.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rqsqs._core.flows.metric_history import Wanted, measured
from rqsqs._core.flows.server_memory import memory_history
from rqsqs._core.keys import Keyspace
from rqsqs._core.metric_history import Chosen
from rqsqs._core.operation import Flow, Sleep
from rqsqs._core.portions import portions
from rqsqs.alarm_models import (
    AWS_NAMESPACE,
    NAMESPACE,
    QUEUE_METRICS,
    SERVER_METRICS,
    STATISTICS,
    percentile_of,
    unit_of,
)
from rqsqs.alarms.math import SERVER
from rqsqs.alarms.statistics import datapoints, is_kept, needed
from rqsqs.errors import QueueDoesNotExist, RequestError
from rqsqs.metric_models import CLOUDWATCH, HistoryPoint
from rqsqs.sqs.context import Context
from rqsqs.sqs.names import is_queue_name

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
KEPT_MS = 14 * DAY_MS  # the history of a queue
MINUTES = 1_000  # of a queue that are looked at without a break
KEPT_BELOW_A_MINUTE_MS = 3 * HOUR_MS  # as CloudWatch keeps points of such periods
NAMES: Mapping[str, Iterable[str]] = {AWS_NAMESPACE: frozenset(CLOUDWATCH), NAMESPACE: QUEUE_METRICS}
QUEUE_NAME = "QueueName"
Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as a request names it.

    Attributes:
        queue: SERVER = it is of the server; None = there is no data of it.
        dimensions: names and values, as given.
    """

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    queue: str | None

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Metric:
        """From the members Namespace, MetricName and Dimensions of a request."""
        namespace, name = params.get("Namespace") or "", params.get("MetricName") or ""
        dimensions = {one["Name"]: one["Value"] for one in params.get("Dimensions") or ()}
        queue = dimensions.get(QUEUE_NAME)
        if namespace == NAMESPACE and name in SERVER_METRICS and not params.get("Dimensions"):
            return cls(namespace, name, dimensions, SERVER)
        is_ours = name in NAMES.get(namespace, ()) and len(params.get("Dimensions") or ()) == 1
        return cls(namespace, name, dimensions, queue if is_ours and queue and is_queue_name(queue) else None)

    @property
    def unit(self) -> str:
        return unit_of(self.name)


@dataclass(frozen=True, slots=True)
class Times:
    """The periods of a query.

    Attributes:
        begins_ms: when each begins.
        since_ms, until_ms: what counts: not what is so old that it is not kept, nor what is behind the end.
    """

    begins_ms: range
    period_s: int
    since_ms: int
    until_ms: int

    @classmethod
    def of(cls, start_ms: int, end_ms: int, period_s: int, now_ms: int) -> Times:
        """The periods from a start on, which is rounded down as CloudWatch does it: the older, the more.

        Periods of which nothing is kept any more are left out.
        """
        period_ms, age_ms = 1000 * period_s, now_ms - start_ms
        if period_s < 60:
            start_ms -= start_ms % period_ms
        else:
            start_ms -= start_ms % ((60 if age_ms > 63 * DAY_MS else 5 if age_ms > 15 * DAY_MS else 1) * MINUTE_MS)
        kept_ms = now_ms - (KEPT_BELOW_A_MINUTE_MS if period_s < 60 else KEPT_MS)
        begin_ms = start_ms + max(kept_ms - start_ms, 0) // period_ms * period_ms
        until_ms = min(end_ms, now_ms + HOUR_MS)  # other clocks may be ahead of this one
        begins_ms = range(begin_ms, max(until_ms, begin_ms), period_ms)
        return cls(begins_ms, period_s, max(begin_ms, kept_ms), until_ms)

    @property
    def work(self) -> int:
        """How much reading them is: minutes, or periods if these are more."""
        return max((self.until_ms - self.since_ms) // MINUTE_MS + 1, len(self.begins_ms), 1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A statistic of a metric that was asked for."""

    metric: Metric
    statistic: str
    times: Times
    unit: str | None = None

    @property
    def has_data(self) -> bool:
        """May there be any?"""
        metric, times = self.metric, self.times
        is_unit = self.unit is None or self.unit == metric.unit
        is_time = times.since_ms < times.until_ms
        return metric.queue is not None and is_unit and is_time and is_kept(metric.name, self.statistic)


def read(ctx: Context, asked: Sequence[Asked]) -> Flow[list[Values | RequestError]]:
    """The values of each, for each of its periods, None = there is none; or the error of a queue that is damaged."""
    found: dict[int, Values | RequestError] = {}
    of_queues: dict[str, list[int]] = {}
    for n, one in enumerate(asked):
        if one.has_data and one.metric.queue is not None:
            of_queues.setdefault(one.metric.queue, []).append(n)

    def use(wanted: Wanted, points: list[HistoryPoint]) -> Flow[None]:
        for n in of_queues[wanted.q.name]:
            found[n] = yield from _values(asked[n], points)

    wanted = [
        Wanted(
            ctx.queue(queue),
            min([asked[n].times.since_ms for n in numbers]),
            max([asked[n].times.until_ms for n in numbers]),
            Chosen.of({name for n in numbers for name in needed(asked[n].metric.name)}),
        )
        for queue, numbers in of_queues.items()
        if queue != SERVER
    ]
    if of_server := of_queues.get(SERVER):
        times = [asked[n].times for n in of_server]
        since_ms, until_ms = min([each.since_ms for each in times]), max([each.until_ms for each in times])
        points = yield from memory_history(ctx.space, since_ms, until_ms)
        for n in of_server:
            found[n] = yield from _values(asked[n], points)
    for each, error in zip(wanted, (yield from measured(wanted, use)), strict=True):
        if isinstance(error, RequestError) and not isinstance(error, QueueDoesNotExist):
            found |= dict.fromkeys(of_queues[each.q.name], error)
    return [found.get(n, (None,) * len(one.times.begins_ms)) for n, one in enumerate(asked)]


def _values(asked: Asked, points: Sequence[HistoryPoint]) -> Flow[Values]:
    """The values of each period, some at a time: an event loop has other things to do.

    Args:
        points: the oldest first.
    """
    times, values, begin = asked.times, list[float | None](), 0
    for some in portions(times.begins_ms, max(MINUTES * 60 // times.period_s, 1)):
        end_ms = some[-1] + 1000 * times.period_s
        end = bisect_left(points, min(end_ms, times.until_ms), begin, key=lambda point: point.at_ms)
        name, statistic = asked.metric.name, asked.statistic
        found = datapoints(points[begin:end], name, statistic, times.period_s, len(some), end_ms)
        values += [point.value for point in found]
        begin = end
        yield Sleep(0)
    return tuple(values)


def is_statistic(text: str) -> bool:
    """Is it one that is supported here?"""
    percent = percentile_of(text)
    return text in STATISTICS or (percent is not None and percent <= 100)


def is_period(seconds: int) -> bool:
    """May a datapoint be that long?"""
    return seconds in (1, 5, 10, 20, 30) or (60 <= seconds < 2**31 and seconds % 60 == 0)


def ms_of(at: datetime) -> int:
    """Epoch ms."""
    return round(at.timestamp() * 1000)


def now_ms(space: Keyspace) -> int:
    """By the clock of this machine, or that of a test."""
    given = space.now_us()
    return int(given) // 1000 if given else round(time.time() * 1000)
