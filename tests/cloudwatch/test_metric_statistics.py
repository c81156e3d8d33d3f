"""GetMetricStatistics and ListMetrics."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rqsqs.metric_models import CLOUDWATCH
from tests.cloudwatch.sampled import MINUTE_MS, Sampled
from tests.lua.conftest import Engine, engine, engine_at

__all__ = ["engine", "engine_at"]  # fixtures
SENT, VISIBLE = "NumberOfMessagesSent", "ApproximateNumberOfMessagesVisible"


@pytest.fixture
def sampled(engine: Engine) -> Sampled:
    found = Sampled(engine)
    q = found.queue("orders")
    for sent in (3, 0, 2, 4):
        found.minute(q, sent)
    return found


def asked(sampled: Sampled, **params: Any) -> dict[str, Any]:
    return {
        "Namespace": "AWS/SQS",
        "MetricName": SENT,
        "Dimensions": [{"Name": "QueueName", "Value": "orders"}],
        "StartTime": sampled.begin,
        "EndTime": sampled.now,
        "Period": 60,
    } | params


def statistics(sampled: Sampled, **params: Any) -> list[dict[str, Any]]:
    answer = sampled.cloudwatch("GetMetricStatistics", **asked(sampled, **params))
    assert answer["Label"] == params.get("MetricName", SENT)
    return list(answer["Datapoints"])


def test_a_datapoint_has_the_statistics_that_were_asked_for(sampled: Sampled) -> None:
    names = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]
    assert statistics(sampled, Period=120, Statistics=names) == [
        {
            "Timestamp": sampled.at(0), "Unit": "Count",
            "SampleCount": 2, "Average": 1.5, "Sum": 3, "Minimum": 0, "Maximum": 3,
        },
        {
            "Timestamp": sampled.at(2), "Unit": "Count",
            "SampleCount": 2, "Average": 3, "Sum": 6, "Minimum": 2, "Maximum": 4,
        },
    ]  # fmt: skip
    assert [point["Sum"] for point in statistics(sampled, Statistics=["Sum"])] == [3, 0, 2, 4]


def test_percentiles_stand_apart(sampled: Sampled) -> None:
    [found] = statistics(sampled, Period=240, ExtendedStatistics=["p50", "p100"], MetricName=VISIBLE)
    assert found == {"Timestamp": sampled.at(0), "Unit": "Count", "ExtendedStatistics": {"p50": 3, "p100": 9}}


def test_what_has_no_data_has_no_datapoints(sampled: Sampled) -> None:
    for params in (
        {"Unit": "Seconds"},
        {"Dimensions": [{"Name": "QueueName", "Value": "nobody"}]},
        {"Dimensions": []},
        {"Namespace": "AWS/EC2"},
        {"MetricName": "Nonsense"},
        {"StartTime": sampled.at(-60), "EndTime": sampled.begin},
        {"Namespace": "rqsqs", "MetricName": "dwell"},
    ):
        assert statistics(sampled, Statistics=["Sum"], **params) == []
    assert len(statistics(sampled, Statistics=["Sum"], Unit="Count")) == 4


def test_sizes_have_the_statistics_that_are_kept(sampled: Sampled) -> None:
    q = sampled.queue("f.fifo", ContentBasedDeduplication="true")
    sampled.minute(q, 1, bodies="Hello")
    size = {"MetricName": "SentMessageSize", "Dimensions": [{"Name": "QueueName", "Value": "f.fifo"}]}
    [point] = statistics(sampled, Statistics=["Sum", "Minimum", "SampleCount"], StartTime=sampled.at(4), **size)
    assert point == {"Timestamp": sampled.at(4), "Unit": "Bytes", "Sum": point["Sum"], "SampleCount": 1}
    assert point["Sum"] >= 5


def test_the_number_of_datapoints_is_limited(sampled: Sampled) -> None:
    begin = sampled.now - timedelta(days=1)
    assert statistics(sampled, StartTime=begin, Statistics=["Sum"])
    code, text = sampled.refused(
        "GetMetricStatistics", **asked(sampled, StartTime=begin - timedelta(seconds=1), Statistics=["Sum"])
    )
    assert code == "InvalidParameterCombination"
    assert text == (
        "You have requested up to 1441 datapoints, which exceeds the limit of 1440. You may reduce the datapoints "
        "requested by increasing Period, or decreasing the time range."
    )


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({}, "InvalidParameterCombination", "Must specify either Statistics or ExtendedStatistics"),
        (
            {"Statistics": ["Sum"], "ExtendedStatistics": ["p50"]},
            "InvalidParameterCombination",
            "The parameters Statistics and ExtendedStatistics are mutually exclusive and you have specified both.",
        ),
        (
            {"ExtendedStatistics": ["p50", "tm99"]},
            "InvalidParameterValue",
            "The value tm99 for parameter ExtendedStatistics is not supported.",
        ),
        (
            {"ExtendedStatistics": ["Sum"]},
            "InvalidParameterValue",
            "The value Sum for parameter ExtendedStatistics is not supported.",
        ),
        (
            {"Statistics": ["Sum"], "Period": 61},
            "InvalidParameterValue",
            "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60, got 61.",
        ),
        (
            {"Statistics": ["p50"]},
            "ValidationError",
            "1 validation error detected: Value 'p50' at 'statistics.1.member' failed to satisfy constraint: Member "
            "must satisfy enum value set: [SampleCount, Average, Sum, Minimum, Maximum]",
        ),
    ],
    ids=str,
)
def test_what_is_refused(sampled: Sampled, params: dict[str, Any], code: str, text: str) -> None:
    assert sampled.refused("GetMetricStatistics", **asked(sampled, **params)) == (code, text)


def test_the_start_must_be_before_the_end(sampled: Sampled) -> None:
    for end in (sampled.begin, sampled.at(-1)):
        assert sampled.refused("GetMetricStatistics", **asked(sampled, EndTime=end, Statistics=["Sum"])) == (
            "InvalidParameterValue",
            "The parameter StartTime must be less than the parameter EndTime.",
        )


# ListMetrics


def listed(sampled: Sampled, **params: Any) -> set[tuple[str, str, str]]:
    pages = sampled.cloudwatch.pages("ListMetrics", "Metrics", **params)
    assert all(len(page) <= 500 for page in pages)
    every = [
        (one["Namespace"], one["MetricName"], value["Value"])
        for page in pages
        for one in page
        for value in one["Dimensions"]
    ]
    assert len(set(every)) == len(every)
    return set(every)


def names(found: set[tuple[str, str, str]], queue: str = "orders") -> set[str]:
    return {name for _, name, its in found if its == queue}


def test_a_queue_has_the_metrics_of_its_kind(sampled: Sampled) -> None:
    sampled.queue("f.fifo", ContentBasedDeduplication="true")
    sampled.engine.send(sampled.queue("fair"), "x", group="g")
    of_fair_queues = {name for name in CLOUDWATCH if "QuietGroups" in name or "NoisyGroups" in name}
    of_fifo_queues = {"NumberOfDeduplicatedSentMessages", "ApproximateNumberOfGroupsWithInflightMessages"}
    sizes = {"SentMessageSize"}
    found = listed(sampled, Namespace="AWS/SQS")
    assert names(found) == set(CLOUDWATCH) - of_fair_queues - of_fifo_queues - sizes
    assert names(found, "fair") == set(CLOUDWATCH) - of_fifo_queues - sizes
    assert names(found, "f.fifo") == set(CLOUDWATCH) - of_fair_queues - sizes  # until a message is sent
    sampled.minute(sampled.engine.transport.queue("f.fifo"), 1)
    assert names(listed(sampled, Namespace="AWS/SQS"), "f.fifo") == set(CLOUDWATCH) - of_fair_queues


def test_what_is_listed_has_data_and_what_is_not_has_none(sampled: Sampled) -> None:
    fair = sampled.queue("fair")
    sampled.engine.send(fair, "x", group="g")
    fifo = sampled.queue("f.fifo", ContentBasedDeduplication="true")
    sampled.minute(fifo, 1)
    for queue in ("orders", "fair", "f.fifo"):
        dimensions = [{"Name": "QueueName", "Value": queue}]
        there = listed(sampled, Dimensions=dimensions)
        for namespace in ("AWS/SQS", "rqsqs"):
            every = set(CLOUDWATCH) if namespace == "AWS/SQS" else names(there, queue) - set(CLOUDWATCH)
            for name in every - {"NumberOfDeduplicatedSentMessages"}:
                points = statistics(
                    sampled,
                    Namespace=namespace,
                    MetricName=name,
                    Dimensions=dimensions,
                    StartTime=sampled.at(4),
                    Statistics=["SampleCount"],
                )
                assert bool(points) == ((namespace, name, queue) in there), (namespace, name, queue)


def test_filters(sampled: Sampled) -> None:
    sampled.queue("other")
    both = {("AWS/SQS", SENT, "orders"), ("AWS/SQS", SENT, "other")}
    assert listed(sampled, MetricName=SENT) == both
    assert listed(sampled, MetricName=SENT, RecentlyActive="PT3H") == both
    assert listed(sampled, MetricName=SENT, Dimensions=[{"Name": "QueueName"}]) == both
    one = [{"Name": "QueueName", "Value": "other"}]
    assert listed(sampled, MetricName=SENT, Dimensions=one) == {("AWS/SQS", SENT, "other")}
    assert {namespace for namespace, _, _ in listed(sampled, Dimensions=one)} == {"AWS/SQS", "rqsqs"}
    for nothing in (
        {"Namespace": "AWS/EC2"},
        {"MetricName": "Nonsense"},
        {"Dimensions": [{"Name": "InstanceId"}]},
        {"Dimensions": [{"Name": "QueueName", "Value": "nobody"}]},
        {"Dimensions": [{"Name": "QueueName", "Value": "no queue"}]},
        {"Dimensions": [*one, {"Name": "QueueName", "Value": "orders"}]},
        {"OwningAccount": "111111111111"},
    ):
        assert listed(sampled, **nothing) == set()


def test_owning_accounts_stand_beside_the_metrics(sampled: Sampled) -> None:
    answer = sampled.cloudwatch("ListMetrics", Namespace="AWS/SQS", IncludeLinkedAccounts=True)
    assert answer["OwningAccounts"] == ["000000000000"] * len(answer["Metrics"])


def test_pages_have_every_metric_once(sampled: Sampled) -> None:
    for n in range(120):
        sampled.queue(f"q{n:03}")
    found = listed(sampled)
    assert len({queue for _, _, queue in found}) == 121
    assert len(found) == 121 * len({one for one in found if one[2] == "orders"})
    first = sampled.cloudwatch("ListMetrics")
    assert len(first["Metrics"]) > 400
    code, _ = sampled.refused("ListMetrics", Namespace="rqsqs", NextToken=first["NextToken"])
    assert code == "InvalidNextToken"


def test_a_page_looks_at_a_thousand_queues_at_most(sampled: Sampled, monkeypatch: pytest.MonkeyPatch) -> None:
    from rqsqs.cloudwatch import list_metrics

    monkeypatch.setattr(list_metrics, "MOST_QUEUES", 50)
    for n in range(120):
        sampled.queue(f"q{n:03}")
    pages = sampled.cloudwatch.pages("ListMetrics", "Metrics", MetricName="ApproximateNumberOfNoisyGroups")
    assert pages == [[], [], []]
    assert len(sampled.cloudwatch.pages("ListMetrics", "Metrics", MetricName=SENT)) == 3


def test_clocks_that_differ_hide_nothing(sampled: Sampled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a gateway may be behind that of Redis."""
    from rqsqs.cloudwatch import metric_statistics

    late = sampled.engine.clock.ms - 10 * MINUTE_MS
    monkeypatch.setattr(metric_statistics, "now_ms", lambda _: late)
    assert [point["Sum"] for point in statistics(sampled, Statistics=["Sum"])] == [3, 0, 2, 4]
