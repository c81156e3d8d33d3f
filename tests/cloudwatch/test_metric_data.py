"""GetMetricData: which datapoints there are, metric math, pages, labels and refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import AtOnce
from rqsqs.cloudwatch import measured, metric_data
from tests.cloudwatch.sampled import MINUTE_MS, Sampled, math, metric
from tests.lua.conftest import Engine, engine, engine_at

__all__ = ["engine", "engine_at"]  # fixtures
SENT, VISIBLE, AGE = "NumberOfMessagesSent", "ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"


@pytest.fixture
def sampled(engine: Engine) -> Sampled:
    return Sampled(engine)


@pytest.fixture
def orders(sampled: Sampled) -> QueueRef:
    """A queue to which 3, 0, 2, 4 messages were sent in its first minutes, and 5 in the present one."""
    q = sampled.queue("orders")
    for sent in (3, 0, 2, 4):
        sampled.minute(q, sent)
    sampled.engine.send(q, *range(5))
    sampled.engine.clock.advance_ms(30_000)
    return q


# Datapoints


def test_the_memory_of_the_server_has_no_dimension(sampled: Sampled, orders: QueueRef) -> None:
    used = {"Namespace": "rqsqs", "MetricName": "memory_used_percent"}
    of_queue = used | {"Dimensions": [{"Name": "QueueName", "Value": "orders"}]}
    queries = [
        {"Id": f"m{n}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}}
        for n, metric in enumerate((used, of_queue, {"Namespace": "AWS/SQS", "MetricName": "memory_used_percent"}))
    ]
    found = sampled.values(*queries)
    assert list(found["m0"]) == [0, 1, 2, 3]
    assert all(0 < value < 100 for value in found["m0"].values())
    assert found["m1"] == found["m2"] == {}
    listed = sampled.cloudwatch("ListMetrics", MetricName="memory_used_percent")["Metrics"]
    assert listed == [{**used, "Dimensions": []}]
    by_dimension = sampled.cloudwatch("ListMetrics", Namespace="rqsqs", Dimensions=[{"Name": "QueueName"}])["Metrics"]
    assert all(each["Dimensions"] for each in by_dimension)


def test_a_datapoint_has_the_time_at_which_its_period_begins(sampled: Sampled, orders: QueueRef) -> None:
    found = sampled.values(
        metric("sent", SENT), metric("there", VISIBLE, stat="Maximum"), metric("age", AGE, stat="Maximum")
    )
    assert found["sent"] == {0: 3, 1: 0, 2: 2, 3: 4, 4: 5}  # the present minute counts so far
    assert found["there"] == {0: 3, 1: 3, 2: 5, 3: 9, 4: 14}
    assert found["age"] == {0: 60, 1: 120, 2: 180, 3: 240, 4: 270}


def test_the_start_is_in_it_and_the_end_is_not(sampled: Sampled, orders: QueueRef) -> None:
    assert sampled.values(metric("a", SENT), start=1, end=3)["a"] == {1: 0, 2: 2}
    assert sampled.values(metric("a", SENT), start=1.9, end=3.1)["a"] == {1: 0, 2: 2, 3: 4}  # rounded down
    assert sampled.values(metric("a", SENT), start=4, end=90)["a"] == {4: 5}
    assert sampled.values(metric("a", SENT), start=60, end=90)["a"] == {}
    assert sampled.values(metric("a", SENT), start=-90, end=-60)["a"] == {}


def test_periods_begin_where_the_start_is(sampled: Sampled, orders: QueueRef) -> None:
    assert sampled.values(metric("a", SENT, period=120))["a"] == {0: 3, 2: 6, 4: 5}
    assert sampled.values(metric("a", SENT, period=120), start=1)["a"] == {1: 2, 3: 9}
    assert sampled.values(metric("a", SENT, period=300), start=-2)["a"] == {-2: 5, 3: 9}
    assert sampled.values(metric("a", SENT, period=180), end=4)["a"] == {0: 5, 3: 4}  # cut off by the end


def test_statistics_of_a_period(sampled: Sampled, orders: QueueRef) -> None:
    expected = {"Sum": 9, "Average": 2.25, "Minimum": 0, "Maximum": 4, "SampleCount": 4, "p50": 2, "p100": 4}
    queries = [metric(f"s{n}", SENT, stat=stat, period=240) for n, stat in enumerate(expected)]
    assert list(sampled.values(*queries, end=4).values()) == [{0: value} for value in expected.values()]


def test_a_minute_that_nobody_sampled_has_no_datapoint(sampled: Sampled) -> None:
    q = sampled.queue("orders")
    sampled.minute(q, 2)
    sampled.engine.clock.advance_ms(3 * MINUTE_MS)
    sampled.minute(q, 1)
    assert sampled.values(metric("a", SENT))["a"] == {0: 2, 4: 1}
    assert sampled.values(metric("a", SENT, period=120))["a"] == {0: 2, 4: 1}


def test_periods_below_a_minute_have_one_datapoint_a_minute(sampled: Sampled, orders: QueueRef) -> None:
    assert sampled.values(metric("a", SENT, period=10))["a"] == {0: 3, 1: 0, 2: 2, 3: 4, 4: 5}
    assert sampled.values(metric("a", SENT, period=1), start=1.5)["a"] == {2: 2, 3: 4, 4: 5}


def test_data_is_kept_for_two_weeks_and_periods_below_a_minute_for_three_hours(sampled: Sampled) -> None:
    q = sampled.queue("orders")
    sampled.minute(q, 7)
    sampled.pass_(4 * 60)
    hours = metric("a", SENT, period=3600)
    assert sampled.values(hours)["a"] == {0: 7, 60: 0, 120: 0, 180: 0, 240: 0}
    assert min(sampled.values(metric("a", SENT, period=10))["a"]) == 61
    sampled.engine.clock.advance_ms(14 * 24 * 60 * MINUTE_MS - 5 * 60 * MINUTE_MS)
    sampled.minute(q, 1)
    far = sampled.values(hours, start=-60 * 24 * 365)["a"]
    assert list(far.values()) == [7, 0, 0, 0, 0, 1]


def test_old_starts_are_rounded_as_cloudwatch_does(sampled: Sampled, orders: QueueRef) -> None:
    for days, to_minutes in ((1, 1), (16, 5), (70, 60)):
        start = -days * 1440 + 7.5
        [at] = sampled.values(metric("a", SENT, period=100 * 86_400), start=start)["a"]
        assert at == start - start % to_minutes


def test_our_namespace_has_our_metrics(sampled: Sampled) -> None:
    q = sampled.queue("orders")
    sampled.engine.send(q, "x", "y")
    assert len(sampled.engine.receive(q, visibility_ms=600_000)) == 2
    sampled.pass_(1)
    queries = [
        metric("a", "in_flight", stat="Maximum", namespace="rqsqs"),
        metric("b", "consumers", stat="Maximum", namespace="rqsqs"),
        metric("c", "dwell", stat="SampleCount", namespace="rqsqs"),
        metric("d", "redelivered", namespace="rqsqs"),
        metric("e", "sent", namespace="rqsqs"),
    ]
    found = sampled.values(*queries, end=1)
    assert found == {"a": {0: 2}, "b": {0: 0}, "c": {0: 2}, "d": {0: 0}, "e": {0: 2}}


def test_what_is_not_there_has_no_data(sampled: Sampled, orders: QueueRef) -> None:
    plain = metric("a", SENT)
    other = {"Name": "Region", "Value": "x"}
    plain["MetricStat"]["Metric"]["Dimensions"].append(other)
    no_dimension = metric("b", SENT)
    del no_dimension["MetricStat"]["Metric"]["Dimensions"]
    queries = [
        plain,
        no_dimension,
        metric("c", SENT, queue="nobody"),
        metric("d", SENT, queue="no queue"),
        metric("e", "Nonsense"),
        metric("f", "sent"),  # ours
        metric("g", SENT, namespace="rqsqs"),  # theirs
        metric("h", SENT, namespace="AWS/EC2"),
        metric("i", SENT, Unit="Seconds"),
        metric("j", "SentMessageSize"),  # of a standard queue it is not counted
        metric("k", "ApproximateNumberOfNoisyGroups"),
    ]
    assert list(sampled.values(*queries).values()) == [{}] * len(queries)
    assert sampled.values(metric("i", SENT, Unit="Count"), end=1) == {"i": {0: 3}}


def test_a_statistic_that_cannot_be_told_is_said(sampled: Sampled, orders: QueueRef) -> None:
    [found] = sampled.data(metric("a", "dwell", stat="Average", namespace="rqsqs"))["MetricDataResults"]
    assert (found["Values"], found["StatusCode"]) == ([], "Complete")
    assert "Average of dwell" in found["Messages"][0]["Value"]


def test_another_account_is_forbidden(sampled: Sampled, orders: QueueRef) -> None:
    queries = [metric("a", SENT, AccountId="000000000000"), metric("b", SENT, AccountId="111111111111")]
    ours, theirs = sampled.data(*queries)["MetricDataResults"]
    assert (len(ours["Values"]), ours["StatusCode"]) == (5, "Complete")
    assert (theirs["Values"], theirs["StatusCode"]) == ([], "Forbidden")


def test_only_what_returns_data_is_returned_in_the_order_of_the_queries(sampled: Sampled, orders: QueueRef) -> None:
    queries = [math("z", "a + b"), metric("b", SENT, ReturnData=False), metric("a", SENT)]
    assert list(sampled.values(*queries)) == ["z", "a"]


def test_a_queue_that_was_created_again_is_another_one(sampled: Sampled, orders: QueueRef) -> None:
    from rqsqs._core import flows

    sampled.engine.run(flows.delete_queue(orders, sampled.engine.limits))
    assert sampled.values(metric("a", SENT))["a"] == {}


def test_a_damaged_queue_keeps_nobody_from_the_others(sampled: Sampled, orders: QueueRef) -> None:
    damaged = sampled.queue("damaged")
    sampled.engine.redis.set(damaged.home.base + "history", "x")
    queries = [metric("a", SENT), metric("b", SENT, "damaged"), math("c", "a + 1"), math("d", "a + b")]
    results = sampled.data(*queries)["MetricDataResults"]
    assert [result["StatusCode"] for result in results] == ["Complete", "InternalError", "Complete", "InternalError"]
    assert [len(result["Values"]) for result in results] == [5, 0, 5, 0]
    assert all("damaged" in result["Messages"][0]["Value"] for result in (results[1], results[3]))
    params = {"StartTime": sampled.begin, "EndTime": sampled.now, "Period": 60, "Statistics": ["Sum"]}
    code, text = sampled.refused(
        "GetMetricStatistics",
        Namespace="AWS/SQS",
        MetricName=SENT,
        Dimensions=[{"Name": "QueueName", "Value": "damaged"}],
        **params,
    )
    assert code == "InternalServiceError"
    assert "damaged" in text


# Order and pages


def test_the_newest_come_first_unless_asked_otherwise(sampled: Sampled, orders: QueueRef) -> None:
    descending = {"ScanBy": "TimestampDescending"}
    [found] = sampled.data(metric("a", SENT), **descending)["MetricDataResults"]
    assert found["Values"] == [5, 4, 2, 0, 3]
    assert found["Timestamps"] == [sampled.at(n) for n in (4, 3, 2, 1, 0)]
    params = {"MetricDataQueries": [metric("a", SENT)], "StartTime": sampled.begin, "EndTime": sampled.now}
    [same] = sampled.cloudwatch("GetMetricData", **params)["MetricDataResults"]
    assert same == found


@pytest.mark.parametrize("scan", ["TimestampAscending", "TimestampDescending"])
@pytest.mark.parametrize("most", [1, 2, 4, 5, 7, 100])
def test_pages_have_all_datapoints_once(sampled: Sampled, orders: QueueRef, scan: str, most: int) -> None:
    queries = [
        metric("a", SENT),
        metric("b", SENT, queue="nobody"),
        math("c", "FILL(b, 1) + a"),
        math("d", "[a, b]"),
        metric("e", VISIBLE, period=300),
    ]
    params = {"MetricDataQueries": queries, "StartTime": sampled.begin, "EndTime": sampled.now, "ScanBy": scan}
    whole = sampled.cloudwatch("GetMetricData", **params)
    assert "NextToken" not in whole
    pages = sampled.cloudwatch.pages("GetMetricData", "MetricDataResults", **params, MaxDatapoints=most)
    assert all(sum(len(result["Values"]) for result in page) <= most for page in pages)
    joined: dict[tuple[str, str], list[Any]] = {}
    for page in pages:
        for result in page:
            one = joined.setdefault((result["Id"], result["Label"]), [[], []])
            one[0] += result["Timestamps"]
            one[1] += result["Values"]
            one[2:] = [result["StatusCode"]]
            is_last = result["StatusCode"] == "Complete"
            assert is_last or page is not pages[-1]
    expected = {
        (one["Id"], one["Label"]): [one["Timestamps"], one["Values"], "Complete"] for one in whole["MetricDataResults"]
    }
    assert joined == expected
    assert len(pages) == max(1, -(-sum(len(one[1]) for one in expected.values()) // most))


def test_pages_hold_while_time_goes_on(sampled: Sampled, orders: QueueRef) -> None:
    params: dict[str, Any] = {
        "MetricDataQueries": [metric("a", SENT)],
        "StartTime": sampled.begin,
        "EndTime": sampled.at(60),
        "MaxDatapoints": 3,
    }
    first = sampled.cloudwatch("GetMetricData", **params)
    sampled.engine.clock.advance_ms(30_000)
    sampled.minute(orders, 9)
    second = sampled.cloudwatch("GetMetricData", **params, NextToken=first["NextToken"])
    assert [one["MetricDataResults"][0]["Values"] for one in (first, second)] == [[5, 4, 2], [0, 3]]


def test_a_token_is_for_its_own_request(sampled: Sampled, orders: QueueRef) -> None:
    params = {"StartTime": sampled.begin, "EndTime": sampled.now, "MaxDatapoints": 1}
    token = sampled.cloudwatch("GetMetricData", **params, MetricDataQueries=[metric("a", SENT)])["NextToken"]
    for queries, given in (
        ([metric("a", VISIBLE)], token),
        ([metric("a", SENT)], "nonsense"),
        ([metric("a", SENT)], ""),
    ):
        code, _ = sampled.refused("GetMetricData", **params, MetricDataQueries=queries, NextToken=given)
        assert code == "InvalidNextToken"


def test_a_page_ends_before_it_takes_long(sampled: Sampled, orders: QueueRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_data, "MOST_WORK", 12)
    queries = [metric(id, SENT) for id in "abcdef"] + [math("g", "a + f")]
    params = {"MetricDataQueries": queries, "StartTime": sampled.begin, "EndTime": sampled.now}
    pages = sampled.cloudwatch.pages("GetMetricData", "MetricDataResults", **params)
    assert len(pages) > 2
    assert [result["Id"] for result in pages[0]] == list("abcdefg")
    assert [(r["Id"], r["Values"]) for page in pages for r in page if r["StatusCode"] == "Complete"] == [
        *[(id, [5, 4, 2, 0, 3]) for id in "abcdef"],
        ("g", [10, 8, 4, 0, 6]),
    ]


def test_a_small_page_reads_no_more_than_it_needs(
    sampled: Sampled, orders: QueueRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_data, "PERIODS", 12)
    queries = [metric(id, SENT, queue=f"queue-{id}") for id in "abcdef"] + [metric("g", SENT)]
    params = {"MetricDataQueries": queries, "StartTime": sampled.begin, "EndTime": sampled.now}
    read: list[str] = []

    def noting(ctx: Any, asked: Any) -> Any:
        read.extend(one.metric.queue for one in asked)
        return (yield from measured.read(ctx, asked))

    monkeypatch.setattr(metric_data, "read", noting)
    first = sampled.cloudwatch("GetMetricData", **params, MaxDatapoints=1)
    assert read == ["queue-a", "queue-b"]
    assert "NextToken" in first
    pages = sampled.cloudwatch.pages("GetMetricData", "MetricDataResults", **params, MaxDatapoints=1)
    assert [value for page in pages for result in page for value in result["Values"]] == [5, 4, 2, 0, 3]
    read.clear()
    sampled.cloudwatch("GetMetricData", **params)
    assert len(read) == len(queries)


# Metric math


def test_expressions_use_metrics_and_each_other(sampled: Sampled, orders: QueueRef) -> None:
    found = sampled.values(
        metric("m1", SENT, ReturnData=False),
        metric("m2", VISIBLE, stat="Maximum", ReturnData=False),
        math("ratio", "100 * m1 / m2"),
        math("twice", "ratio * 2"),
        math("rate", "RATE(m2)"),
        math("total", "TIME_SERIES(SUM(m1))"),
        math("both", "MAX(METRICS())"),
        math("high", "IF(m1 > 2, m1)"),
        end=4,
    )
    assert found["ratio"] == pytest.approx({0: 100, 1: 0, 2: 40, 3: 400 / 9})
    assert found["twice"] == pytest.approx({0: 200, 1: 0, 2: 80, 3: 800 / 9})
    assert found["rate"] == pytest.approx({1: 0, 2: 2 / 60, 3: 4 / 60})
    assert found["total"] == dict.fromkeys(range(4), 9)
    assert found["both"] == {0: 3, 1: 3, 2: 5, 3: 9}
    assert found["high"] == {0: 3, 3: 4}


def test_fillers_end_with_the_present(sampled: Sampled, orders: QueueRef) -> None:
    queries = [metric("m", SENT, queue="nobody", ReturnData=False), math("e", "FILL(m, 0) + 1")]
    assert sampled.values(*queries, start=2, end=50)["e"] == {2: 1, 3: 1, 4: 1}
    assert sampled.values(*queries, start=20, end=50)["e"] == {}


def test_an_expression_without_metrics_has_the_period_of_the_others(sampled: Sampled, orders: QueueRef) -> None:
    assert sampled.values(math("e", "TIME_SERIES(7)"), end=3)["e"] == {0: 7, 1: 7, 2: 7}
    assert sampled.values(math("e", "TIME_SERIES(7)", Period=120), end=4)["e"] == {0: 7, 2: 7}
    queries = [math("e", "TIME_SERIES(7)"), metric("m", SENT, period=120, ReturnData=False)]
    assert sampled.values(*queries, end=4)["e"] == {0: 7, 2: 7}


def test_an_array_is_one_result_for_each_series(sampled: Sampled, orders: QueueRef) -> None:
    queries = [
        metric("m1", SENT, ReturnData=False),
        metric("m2", VISIBLE, stat="Maximum", ReturnData=False, Label="there"),
        math("all", "METRICS() / 2", Label="half of"),
        math("two", "SORT([m1, m2], SUM, DESC)"),
        math("one", "SLICE(METRICS(), 1, 2)"),
    ]
    results = sampled.data(*queries, end=2)["MetricDataResults"]
    assert [(one["Id"], one["Label"], one["Values"]) for one in results] == [
        ("all", f"half of {SENT} Sum", [1.5, 0]),
        ("all", "half of there", [1.5, 1.5]),
        ("two", "there", [3, 3]),
        ("two", f"{SENT} Sum", [3, 0]),
        ("one", "there", [3, 3]),
    ]


def test_what_only_the_data_shows_is_said_in_the_result(sampled: Sampled, orders: QueueRef) -> None:
    queries = [
        metric("m", SENT, queue="nobody"),
        math("e", "FIRST(REMOVE_EMPTY(METRICS()))"),
        metric("n", SENT, queue="no"),
    ]
    first, second, _ = sampled.data(*queries)["MetricDataResults"]
    assert (first["StatusCode"], second["StatusCode"], second["Values"]) == ("Complete", "InternalError", [])
    assert "FIRST must have an array" in second["Messages"][0]["Value"]


# Labels


def labels(sampled: Sampled, *queries: dict[str, Any], **params: Any) -> list[str]:
    return [result["Label"] for result in sampled.data(*queries, **params)["MetricDataResults"]]


def test_a_default_label_tells_metrics_apart(sampled: Sampled, orders: QueueRef) -> None:
    assert labels(sampled, metric("a", SENT)) == [SENT]
    assert labels(sampled, metric("a", SENT), metric("b", VISIBLE)) == [SENT, VISIBLE]
    assert labels(sampled, metric("a", SENT), metric("b", SENT, stat="Average")) == [f"{SENT} Sum", f"{SENT} Average"]
    assert labels(sampled, metric("a", SENT), metric("b", SENT, "other", period=300)) == [
        f"orders {SENT} 60",
        f"other {SENT} 300",
    ]
    assert labels(sampled, metric("a", SENT), math("e1", "a + 1"), math("e2", "a", Label="a line")) == [
        SENT,
        "e1",
        "a line",
    ]


def test_a_dynamic_label_has_values(sampled: Sampled, orders: QueueRef) -> None:
    now = sampled.now

    def label(text: str, id: str = "a", **params: Any) -> str:
        [found] = labels(sampled, metric(id, SENT, Label=text), end=4, **params)
        return found

    assert label("${LABEL}: ${MIN} to ${MAX}, ${AVG}, ${SUM}") == f"{SENT}: 0 to 4, 2.25, 9"
    assert label("${FIRST} ${LAST} ${DATAPOINT_COUNT}") == "3 4 4"
    assert label("${MIN_MAX_RANGE}; ${FIRST_LAST_RANGE}") == "0 - 4; 3 - 4"
    assert label("${MAX_TIME}") == f"{sampled.at(3):%Y-%m-%d %H:%M:%S} UTC"
    local = sampled.at(3) + timedelta(hours=1, minutes=30)
    assert label("${LAST_TIME}", LabelOptions={"Timezone": "+0130"}) == f"{local:%Y-%m-%d %H:%M:%S} +0130"
    assert now - sampled.at(0) == timedelta(minutes=4, seconds=30)
    assert label("${FIRST_TIME_RELATIVE}") == "4m 30s"
    assert label(
        "${PROP('Dim.QueueName')} ${PROP(\"Stat\")} ${PROP('Period')} ${PROP('Region')} ${PROP('AccountId')}"
    ) == ("orders Sum 60 us-east-1 000000000000")
    assert label("${PROP('MetricName')} ${PROP('Namespace')} ${PROP('Dim.Nothing')}.") == f"{SENT} AWS/SQS ."
    assert label("$5 ${MAXIMUM} ${} ${MAX") == "$5 ${MAXIMUM} ${} ${MAX"
    [nothing] = labels(sampled, metric("a", SENT, "nobody", Label="${MAX} ${LAST_TIME} ${DATAPOINT_COUNT}"))
    assert nothing == "-- -- 0"
    [_, expression] = labels(sampled, metric("a", SENT), math("e", "a * 2", Label="${LABEL} ${MAX}"))
    assert expression == "e 10"


# Refusals


@pytest.mark.parametrize(
    ("queries", "text"),
    [
        ([], "The collection MetricDataQueries must not have a size of 0."),
        (
            [metric(f"m{n}", SENT) for n in range(501)],
            "The collection MetricDataQueries must not have a size greater than 500.",
        ),
        ([metric("a", SENT)] * 2, "The values for parameter id in MetricDataQueries are not unique."),
        ([{"Id": "a"}], "The parameter MetricDataQueries.member.1.MetricStat is required.\n"),
        (
            [metric("a", SENT, Expression="1")],
            "The parameters MetricDataQueries.member.1.Expression and MetricDataQueries.member.1.MetricStat are "
            "mutually exclusive and you have specified both.",
        ),
        (
            [metric("A b", SENT)],
            "The value A b for parameter MetricDataQueries.member.1.Id is not matching the expected pattern "
            "^[a-z][a-zA-Z0-9_]*$.",
        ),
        (
            [metric("a", SENT), metric("b", SENT, stat="Avg")],
            "The value Avg for parameter MetricDataQueries.member.2.MetricStat.Stat is not supported.",
        ),
        (
            [metric("a", SENT, stat="p101")],
            "The value p101 for parameter MetricDataQueries.member.1.MetricStat.Stat is not supported.",
        ),
        (
            [metric("a", SENT, period=90)],
            "The parameter MetricDataQueries.member.1.MetricStat.Period must be 1, 5, 10, 20, 30 or a multiple of 60, "
            "got 90.",
        ),
        (
            [metric("a", SENT, period=0)],
            "1 validation error detected: Value '0' at 'metricDataQueries.1.member.metricStat.period' failed to "
            "satisfy constraint: Member must have value greater than or equal to 1",
        ),
        (
            [metric("a", SENT, Label="${MAX}" * 6)],
            "The parameter MetricDataQueries.member.1.Label must have 5 dynamic expressions at most, got 6.",
        ),
        (
            [metric("a", SENT, Label="${LABEL}${LABEL}")],
            "The parameter MetricDataQueries.member.1.Label must have ${LABEL} once at most, got it 2 times.",
        ),
        ([math("e", "a +")], "Error in expression 'e': expression must have a number, the id of a query"),
        ([math("e", "a + 1")], "Error in expression 'e': expression must name other queries, got 'a', which is none"),
        (
            [math("e", "f + 1"), math("f", "e + 1")],
            "Error in expression 'e': expressions must not need each other, got e -> f -> e",
        ),
        ([math("e", "1 + 1")], "Error in expression 'e': the result of e must be a series, got a single value"),
        (
            [metric("a", SENT), math("e", "SEARCH('x', 'Sum')")],
            "Error in expression 'e': expression must have functions that",
        ),
        (
            [metric("a", SENT), metric("b", SENT, period=300), math("e", "a + b")],
            "Error in expression 'e': all metrics of an expression must have the same period, got 60 and 300",
        ),
        (
            [metric("a", SENT), math("e", "+".join(["a"] * 200))],
            "Error in expression 'e': expression must have 100 parts at most",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_what_is_refused(sampled: Sampled, queries: list[dict[str, Any]], text: str) -> None:
    times = {"StartTime": sampled.at(-60), "EndTime": sampled.now}
    code, said = sampled.refused("GetMetricData", MetricDataQueries=queries, **times)
    assert code == "ValidationError"
    assert said.startswith(text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"EndTime": datetime(2023, 1, 1, tzinfo=UTC)}, "The parameter StartTime must not equal parameter EndTime."),
        ({"EndTime": datetime(2022, 1, 1, tzinfo=UTC)}, "The parameter EndTime must be greater than StartTime."),
        ({"MaxDatapoints": 0}, "The parameter MaxDatapoints must be 1 to 100800, got 0."),
        ({"MaxDatapoints": 100_801}, "The parameter MaxDatapoints must be 1 to 100800, got 100801."),
        ({"LabelOptions": {"Timezone": "+1"}}, "The parameter LabelOptions.Timezone must be + or - and four digits"),
        (
            {"LabelOptions": {"Timezone": "\x1b[2J\n"}},
            "The parameter LabelOptions.Timezone must be + or - and four digits, such as +0130, got \\x1b[2J\\n.",
        ),
        ({"LabelOptions": {"Timezone": "+2400"}}, "The parameter LabelOptions.Timezone must be + or - and four digits"),
        ({"StartTime": None}, "1 validation error detected: Value null at 'startTime' failed to satisfy constraint"),
        ({"ScanBy": "Up"}, "1 validation error detected: Value 'Up' at 'scanBy' failed to satisfy constraint"),
    ],
    ids=str,
)
def test_what_else_is_refused(sampled: Sampled, change: dict[str, Any], text: str) -> None:
    start, end = datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)
    params = {"MetricDataQueries": [metric("a", SENT)], "StartTime": start, "EndTime": end} | change
    code, said = sampled.refused("GetMetricData", **params)
    assert code == "ValidationError"
    assert said.startswith(text)


def test_math_without_end_is_refused(sampled: Sampled) -> None:
    times = {"StartTime": sampled.begin - timedelta(days=14), "EndTime": sampled.now}
    many = [metric(f"m{n}", SENT, f"q{n}", ReturnData=False) for n in range(60)]
    code, said = sampled.refused("GetMetricData", MetricDataQueries=[*many, math("e", "SUM(METRICS())")], **times)
    assert (code, said[:55]) == ("ValidationError", "Error in expression 'e': an expression must look at 2,0")
    hourly = [metric(f"m{n}", SENT, f"q{n}", period=3600, ReturnData=False) for n in range(60)]
    code, said = sampled.refused("GetMetricData", MetricDataQueries=[*hourly, math("e", "SUM(METRICS())")], **times)
    assert (code, said[:59]) == ("ValidationError", "Error in expression 'e': the metrics of an expression must ")
    sampled.engine.clock.advance_ms(MINUTE_MS)
    chain = [metric("m", SENT), *[math(f"e{n}", f"e{n - 1} + 1" if n else "m") for n in range(400)]]
    assert len(sampled.data(*chain)["MetricDataResults"]) == 401
    code, said = sampled.refused("GetMetricData", MetricDataQueries=chain, **times)
    assert "an expression must look at 2,000,000 values at most" in said
    wide = [metric(f"m{n}", SENT, ReturnData=False) for n in range(400)]
    wide += [math(f"e{n}", " + ".join(["SUM(METRICS())"] * 20)) for n in range(100)]
    code, said = sampled.refused("GetMetricData", MetricDataQueries=wide, **times)
    assert (code, said[:56]) == ("ValidationError", "The expressions of a request must look at 500,000 series")


# How it reads


def test_many_queues_are_read_in_few_round_trips(sampled: Sampled) -> None:
    names = [f"q{n:03}" for n in range(120)]
    for name in names:
        sampled.queue(name)
    sampled.minute(sampled.engine.transport.queue("q007"), 7)
    queries = [metric(f"m{n}", SENT, name) for n, name in enumerate(names)]
    queries += [metric(f"v{n}", VISIBLE, name, stat="Maximum") for n, name in enumerate(names)]
    from rqsqs.cloudwatch import perform

    flow = perform(
        sampled.cloudwatch.context,
        "GetMetricData",
        {"MetricDataQueries": queries, "StartTime": sampled.begin, "EndTime": sampled.at(1)},
    )
    trips, result = 0, None
    try:
        while True:
            step = flow.send(result)
            trips += isinstance(step, AtOnce)
            result = sampled.engine.run(_alone(step))
    except StopIteration as end:
        answer = end.value
    assert [one["Values"] for one in answer["MetricDataResults"]][7::120] == [[7], [7]]
    assert trips == 3  # 50 queues each, and no other reads: all is sampled


def _alone(step: Any) -> Any:
    return (yield step)
