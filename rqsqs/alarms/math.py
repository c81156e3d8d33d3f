"""What an alarm measures: the datapoints of its metric, or those that its metric math makes. No I/O is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from rqsqs._metric_math import Queries
from rqsqs.alarm_models import AWS_NAMESPACE, NAMESPACE, SERVER_METRICS, Alarm, MetricQuery
from rqsqs.metric_models import HistoryPoint

from .evaluation import range_of, span_of
from .statistics import Datapoint, begins, datapoints

SERVER = ""  # instead of the name of a queue
Read = Callable[[MetricQuery, int, int], Sequence[Datapoint]]  # so many datapoints of a query, until a time (epoch ms)


def measured(alarm: Alarm, now_ms: int, read: Read) -> list[Datapoint]:
    """The datapoints of its evaluation range, the oldest first.

    Args:
        now_ms: the range ends with the last full minute.
        read: the datapoints of a query with a metric.
    """
    count, (_, end_ms) = range_of(alarm), span_of(alarm, now_ms)
    if not alarm.metrics:
        return list(read(alarm.queries[0], count, end_ms))
    known = {
        query.id: tuple([point.value for point in read(query, count, end_ms)])
        for query in alarm.metrics
        if query.expression is None
    }
    starts = begins(alarm.period_s, count, end_ms)
    expressions = {query.id: query.expression for query in alarm.metrics if query.expression is not None}
    found = Queries(known, expressions, starts, alarm.period_s).result(alarm.result.id)
    return [Datapoint(at_ms, value) for at_ms, value in zip(starts, found, strict=True)]


def is_of_server(query: MetricQuery) -> bool:
    """Is it a metric of the server, and of no queue?"""
    return query.namespace == NAMESPACE and query.metric_name in SERVER_METRICS


def sources(alarm: Alarm) -> tuple[str, ...]:
    """The names of the queues that an alarm looks at, and SERVER if it looks at that."""
    return (*alarm.queues, *([SERVER] if any(map(is_of_server, alarm.queries)) else []))


def of_histories(histories: Mapping[str, Iterable[HistoryPoint]]) -> Read:
    """Reads metrics of queues out of their histories.

    Args:
        histories: points of one minute each by the name of the queue, or SERVER. Other queues, and metrics of other
            namespaces, are missing.
    """

    def read(query: MetricQuery, count: int, end_ms: int) -> list[Datapoint]:
        is_ours = query.namespace in (AWS_NAMESPACE, NAMESPACE) and not query.dimensions
        source = SERVER if is_of_server(query) else query.queue
        history = histories.get(source, ()) if is_ours and source is not None else ()
        name, statistic, period_s = query.metric_name or "", query.statistic or "", query.period or 60
        return datapoints(history, name, statistic, period_s, count, end_ms, query.unit)

    return read
