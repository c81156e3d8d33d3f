"""Whatever a request about metrics holds, it is answered as the service model says or refused, and its pages end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from rqsqs._math_expressions import FUNCTIONS
from rqsqs._text import printable
from rqsqs.alarm_models import QUEUE_METRICS
from rqsqs.errors import RequestError
from rqsqs.metric_models import CLOUDWATCH
from tests.cloudwatch.sampled import Sampled
from tests.lua.conftest import Engine

IDS = ["a", "b", "c", "d", "e"]
TERMS = st.sampled_from([*IDS, "1", "0", "-2.5", "METRICS()", 'METRICS("a")', "REPEAT", "[a, b]", "1e308", "'x'"])
EXPRESSIONS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from([*"+-*/^", "<", ">=", "==", "AND", "||"]), inner),
        st.builds("{}({})".format, st.sampled_from(sorted(FUNCTIONS)), inner),
        st.builds("{}({}, {})".format, st.sampled_from(["FILL", "IF", "SLICE"]), inner, inner),
        st.builds("IF({}, {}, {})".format, inner, inner, inner),
        st.builds("SORT({}, {}, {})".format, inner, st.sampled_from(["AVG", "MAX"]), st.sampled_from(["ASC", "DESC"])),
    ),
    max_leaves=8,
)
LABELS = st.text(max_size=10) | st.lists(
    st.sampled_from(
        ["${MAX}", "${LAST_TIME}", "${MIN_TIME_RELATIVE}", "${LABEL}", "${PROP('Dim.QueueName')}", "${", "x"]
    ),
    max_size=7,
).map("".join)
PERIODS = st.sampled_from([60, 60, 60, 300, 10, 1, 86_400, 0, 7, 2**31 - 8, 10**30])
STATS = st.sampled_from(["Sum", "Average", "Minimum", "Maximum", "SampleCount", "p0", "p99.9", "p101", "tm99", "\x1b"])
METRICS = st.sampled_from([*CLOUDWATCH, *sorted(QUEUE_METRICS), "x"])
QUEUES = st.sampled_from(["orders", "orders", "f.fifo", "nobody", "\x00"])
DAYS = st.sampled_from([-800_000, -70, -20, -3, -1, 0, 1, 2_000_000]) | st.floats(-1, 1)


@st.composite
def queries(draw: st.DrawFn, id: str) -> dict[str, Any]:
    query: dict[str, Any] = {"Id": id}
    if draw(st.integers(0, 2)):
        metric = {
            "Namespace": draw(st.sampled_from(["AWS/SQS", "rqsqs", "x"])),
            "MetricName": draw(METRICS),
            "Dimensions": draw(st.lists(QUEUES.map(lambda name: {"Name": "QueueName", "Value": name}), max_size=2)),
        }
        query["MetricStat"] = {"Metric": metric, "Period": draw(PERIODS), "Stat": draw(STATS)}
    else:
        query["Expression"] = draw(EXPRESSIONS)
    if draw(st.booleans()):
        query["Label"] = draw(LABELS)
    if draw(st.integers(0, 3)) == 0:
        query["ReturnData"] = False
    return query


@pytest.fixture(scope="module")
def sampled(valkey_url: str) -> Iterator[Sampled]:
    engine = Engine(valkey_url, "metric_fuzz")
    found = Sampled(engine)
    for name in ("orders", "f.fifo"):
        q = found.queue(name)
        for sent in (3, 0, 2):
            found.minute(q, sent)
    yield found
    for key in engine.redis.scan_iter("metric_fuzz:*"):
        engine.redis.delete(key)
    engine.transport.close()


def at(sampled: Sampled, days: float) -> datetime:
    try:
        return sampled.now + timedelta(days=days)
    except OverflowError:
        return datetime(1 if days < 0 else 9999, 1, 1, tzinfo=UTC)


@given(
    st.lists(st.sampled_from(IDS), min_size=1, max_size=5, unique=True).flatmap(
        lambda ids: st.tuples(*[queries(id) for id in ids])
    ),
    DAYS,
    DAYS,
    st.sampled_from([None, 1, 2, 100, 100_800]),
    st.booleans(),
)
@settings(max_examples=300)
def test_any_request_for_data_is_answered_or_refused(
    sampled: Sampled, asked: tuple[dict[str, Any], ...], start: float, end: float, most: int | None, is_ascending: bool
) -> None:
    params: dict[str, Any] = {
        "MetricDataQueries": list(asked),
        "StartTime": at(sampled, min(start, end)),
        "EndTime": at(sampled, max(start, end)),
        "ScanBy": "TimestampAscending" if is_ascending else "TimestampDescending",
    }
    if most is not None:
        params["MaxDatapoints"] = most
    refusals = []
    for _ in range(30):
        try:
            answer = sampled.cloudwatch.unchecked("GetMetricData", params)
        except RequestError as error:
            refusals.append(error.sqs_message.strip())
            break
        shown = sum(len(result["Values"]) for result in answer["MetricDataResults"])
        assert shown <= params.get("MaxDatapoints", 100_800)
        for result in answer["MetricDataResults"]:
            times = result["Timestamps"]
            assert sorted(times, reverse=not is_ascending) == times
            assert len(times) == len(result["Values"])
            assert all(isinstance(value, float) and abs(value) < float("inf") for value in result["Values"])
        if "NextToken" not in answer:
            break
        assert shown or answer["NextToken"] != params.get("NextToken")  # a page goes on, if only to the next query
        params["NextToken"] = answer["NextToken"]
    assert [printable(text) for text in refusals] == refusals


@given(METRICS, QUEUES, PERIODS, st.lists(STATS, max_size=6), st.booleans(), DAYS, DAYS)
@settings(max_examples=150)
def test_any_request_for_statistics_is_answered_or_refused(
    sampled: Sampled, name: str, queue: str, period: int, stats: list[str], is_extended: bool, start: float, end: float
) -> None:
    params = {
        "Namespace": "AWS/SQS" if name in CLOUDWATCH else "rqsqs",
        "MetricName": name,
        "Dimensions": [{"Name": "QueueName", "Value": queue}],
        "Period": period,
        "StartTime": at(sampled, start),
        "EndTime": at(sampled, end),
        "ExtendedStatistics" if is_extended else "Statistics": stats,
    }
    refusals, datapoints = [], []
    try:
        datapoints = sampled.cloudwatch.unchecked("GetMetricStatistics", params)["Datapoints"]
    except RequestError as error:
        refusals.append(error.sqs_message)
    assert [printable(text) for text in refusals] == refusals
    assert len(datapoints) <= 1_440
