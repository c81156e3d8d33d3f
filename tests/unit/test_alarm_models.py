"""Alarms as data: what is refused, and CloudWatch's names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rqsqs import Alarm, AlarmEvent, AlarmState, CompositeAlarm, InvalidParameterValue, MetricQuery, QueueMetrics
from rqsqs._core import metric_history
from rqsqs.alarm_models import COUNTS, GAUGES, alarm_of, unit_of

AGE: dict[str, Any] = {
    "AlarmName": "orders late",
    "MetricName": "ApproximateAgeOfOldestMessage",
    "Namespace": "AWS/SQS",
    "Dimensions": [{"Name": "QueueName", "Value": "orders"}],
    "Statistic": "Maximum",
    "Period": 300,
    "EvaluationPeriods": 3,
    "Threshold": 600,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "AlarmActions": ["arn:aws:sqs:us-east-1:000000000000:pager"],
}
M1 = MetricQuery("m1", metric_name="sent", queue="orders", return_data=False)
RESULT = MetricQuery("m1", metric_name="sent", queue="orders")


def late(**changes: Any) -> Alarm:
    options = {"threshold": 600, "comparison_operator": ">=", "metric_name": "oldest_age_s", "queue": "orders"}
    return Alarm("orders late", **(options | changes))


def test_an_alarm_of_cloudwatch_comes_back_as_it_was() -> None:
    alarm = Alarm.from_json(AGE)
    assert (alarm.queue, alarm.period, alarm.evaluation_periods) == ("orders", 300, 3)
    expected = AGE | {"ActionsEnabled": True, "OKActions": [], "InsufficientDataActions": []}
    assert alarm.to_json() == expected
    assert alarm_of(json.loads(json.dumps(alarm.to_json()))) == alarm


def test_what_was_not_given_stays_so() -> None:
    """Terraform compares what it gave with what it reads."""
    assert {"TreatMissingData", "DatapointsToAlarm", "Unit", "AlarmDescription"}.isdisjoint(late().to_json())
    given = late(treat_missing_data="missing", datapoints_to_alarm=1, unit="Seconds", description="")
    found = given.to_json()
    assert (found["TreatMissingData"], found["DatapointsToAlarm"], found["AlarmDescription"]) == ("missing", 1, "")
    assert Alarm.from_json(found) == given


def test_every_attribute_survives_its_json() -> None:
    alarm = late(
        statistic="p99.5",
        evaluation_periods=5,
        datapoints_to_alarm=3,
        treat_missing_data="notBreaching",
        evaluate_low_sample_count_percentile="ignore",
        dimensions={"Region": "here"},
        description="Someone must look",
        actions_enabled=False,
        ok_actions=("log:",),
        insufficient_data_actions=["exec:page"],
        tags={"team": "blue"},
        updated_at_ms=1_764_259_999_123,
    )
    again = Alarm.from_json(json.loads(json.dumps(alarm.to_json())))
    assert again == alarm
    assert again.updated_at_ms == alarm.updated_at_ms
    math = Alarm(
        "share",
        threshold=0.5,
        comparison_operator="<",
        metrics=[M1, MetricQuery("e1", expression="m1 / 60", label="per second", period=60)],
    )
    assert Alarm.from_json(math.to_json()) == math
    assert math.result.id == "e1"
    assert (math.period_s, math.queues) == (60, ("orders",))
    both = CompositeAlarm("both", "ALARM(share) AND OK(orders)", tags={"a": ""}, description="two")
    assert alarm_of(both.to_json()) == both
    assert both.children == ("share", "orders")


def test_states_and_events_survive_their_json() -> None:
    state = AlarmState("ALARM", "because", '{"version":"1.0"}', 1_764_259_999_123, 1_764_259_999_001)
    assert AlarmState.from_json(json.loads(json.dumps(state.to_json()))) == state
    event = AlarmEvent("orders late", 1_764_259_999_123, "StateUpdate", "Alarm updated", {"a": [1, "ü"]}, True)
    assert AlarmEvent.from_json(json.loads(json.dumps(event.to_json()))) == event


@pytest.mark.parametrize(
    ("name", "statistic", "unit"),
    [
        ("oldest_age_s", "Maximum", "Seconds"),
        ("ApproximateAgeOfOldestMessage", "Maximum", "Seconds"),
        ("sent", "Sum", "Count"),
        ("NumberOfMessagesDeleted", "Sum", "Count"),
        ("SentMessageSize", "Sum", "Bytes"),
        ("dwell", "p99", "Seconds"),
        ("consumers", "Maximum", "Count"),
    ],
)
def test_a_metric_has_the_statistic_that_suits_it(name: str, statistic: str, unit: str) -> None:
    assert late(metric_name=name).statistic == statistic
    assert unit_of(name) == unit


def test_all_metrics_of_a_history_can_have_alarms() -> None:
    kept = {name.removesuffix("ms") + "s" if name.endswith("_ms") else name for name in metric_history.GAUGES}
    assert kept <= GAUGES
    assert {*metric_history.COUNTERS, "redelivered"} == COUNTS
    assert {name for name in COUNTS | GAUGES if hasattr(QueueMetrics("a", 0, 0), name)} >= kept | {"sent", "consumers"}


def test_a_metric_of_ones_own_has_any_name() -> None:
    alarm = late(metric_name="Temperature", namespace="Barn", queue=None, dimensions={"Cow": "7"})
    assert alarm.queues == ()
    assert alarm.to_json()["Dimensions"] == [{"Name": "Cow", "Value": "7"}]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"threshold": float("nan")}, "threshold must be a finite number, got nan"),
        ({"threshold": True}, "threshold must be a finite number, got True"),
        ({"comparison_operator": "=>"}, "comparison_operator must be '>'"),
        ({"comparison_operator": ["<"]}, "comparison_operator must be '>'"),
        ({"metric_name": "oldest_age"}, "did you mean 'oldest_age_s'"),
        ({"metric_name": "ApproximateAgeOfOldest"}, "did you mean 'ApproximateAgeOfOldestMessage'"),
        ({"metric_name": None}, "either metric_name or metrics, got neither"),
        ({"metrics": [RESULT]}, "either metric_name or metrics, got both"),
        ({"metric_name": None, "metrics": [RESULT]}, "queue must stand in the queries of metrics"),
        ({"queue": None}, "queue must be the name of the queue whose oldest_age_s is meant"),
        ({"queue": "a b"}, "queue must be a name of 1 to 80 letters"),
        ({"dimensions": {"QueueName": "orders"}}, "give it as queue"),
        ({"statistic": "avg"}, "statistic must be one of SampleCount"),
        ({"statistic": "p101"}, "statistic must be one of SampleCount"),
        ({"statistic": "tm99"}, "trimmed means and the like are not supported"),
        ({"metric_name": "dwell", "statistic": "Average"}, "SampleCount or a percentile"),
        ({"metric_name": "SentMessageSize", "statistic": "Maximum"}, "Sum, Average or SampleCount"),
        ({"metric_name": "used_memory"}, "must be a metric of rqsqs, got 'used_memory'"),
        ({"period": 90}, "period must be 10, 20, 30 or a multiple of 60"),
        ({"period": 60.0}, "period must be 10, 20, 30 or a multiple of 60"),
        ({"period": 1800, "evaluation_periods": 49}, "must be 86400 s at most"),
        ({"period": 3600, "evaluation_periods": 169}, "must be 604800 s at most"),
        ({"evaluation_periods": 0}, "evaluation_periods must be an int of 1 or more, got 0"),
        ({"evaluation_periods": True}, "evaluation_periods must be an int of 1 or more, got True"),
        ({"datapoints_to_alarm": 2}, "an int from 1 to evaluation_periods .1., got 2"),
        ({"treat_missing_data": "breching"}, "did you mean 'breaching'"),
        ({"evaluate_low_sample_count_percentile": "no"}, "must be one of evaluate, ignore"),
        ({"unit": "seconds"}, "did you mean 'Seconds'"),
        ({"namespace": ":a"}, "namespace must not begin with a colon"),
        ({"alarm_actions": ["log:"] * 6}, "alarm_actions must have 5 actions at most, got 6"),
        ({"alarm_actions": "log:"}, "alarm_actions must be a list, got 'log:'"),
        ({"ok_actions": ["a\nb"]}, "each of ok_actions must have no control characters"),
        ({"description": "x" * 1025}, "description must be a str of 0 to 1,024 characters"),
        ({"actions_enabled": 1}, "actions_enabled must be True or False, got 1"),
        ({"tags": {"a": 1}}, "the value of each of tags must be a str"),
    ],
)
def test_what_is_no_alarm_is_refused(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidParameterValue, match=error):
        late(**changes)


@pytest.mark.parametrize("name", ["", "a\x1bb", "x" * 256, 5, "\ud800"])
def test_a_name_is_checked(name: Any) -> None:
    with pytest.raises(InvalidParameterValue, match="name must"):
        Alarm(name, threshold=1, comparison_operator=">", metric_name="sent", queue="a")
    with pytest.raises(InvalidParameterValue, match="name must"):
        CompositeAlarm(name, "TRUE")


@pytest.mark.parametrize(
    ("metrics", "error"),
    [
        ([M1], "one of metrics must have return_data.* got 0: the others need return_data=False"),
        ([M1, M1], "an id of its own, got 'm1' more than once"),
        ([MetricQuery("e1", expression="1")], "1 to 10 queries with a metric_name, got 0"),
        ([M1, MetricQuery("m2", metric_name="sent", queue="a", period=300)], "the same period, got 60 and 300"),
        (["m1"], "each of metrics must be a MetricQuery"),
        ([M1] * 21, "metrics must have 20 queries at most"),
    ],
)
def test_what_are_no_metrics_is_refused(metrics: Any, error: str) -> None:
    with pytest.raises(InvalidParameterValue, match=error):
        Alarm("a", threshold=1, comparison_operator=">", metrics=metrics)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"id": "M1", "expression": "1"}, "id of a query must begin with a lower-case letter"),
        ({"id": "m1"}, "either metric_name or expression, got neither"),
        ({"id": "m1", "expression": "1", "metric_name": "sent"}, "either metric_name or expression, got both"),
        ({"id": "m1", "expression": "1", "statistic": "Sum"}, "statistic must not be given for an expression"),
        ({"id": "m1", "expression": ""}, "expression must be a str of 1 to 2,048 characters"),
    ],
)
def test_what_is_no_query_is_refused(query: Any, error: str) -> None:
    with pytest.raises(InvalidParameterValue, match=error):
        MetricQuery(**query)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"AlarmName": None}, "AlarmName must be given"),
        ({"Threshold": None}, "Threshold must be given"),
        ({"ThresholdMetricId": "ad1"}, "got 'ThresholdMetricId'"),
        ({"ExtendedStatistic": "p99"}, "either Statistic or ExtendedStatistic, got both"),
        ({"Dimensions": {"QueueName": "orders"}}, "Dimensions must be a list"),
        ({"Dimensions": [{"Name": "QueueName"}]}, "each of Dimensions must have Name and Value"),
        ({"Metrics": "m1"}, "Metrics must be a list"),
    ],
)
def test_json_that_is_no_alarm_is_refused(change: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidParameterValue, match=error):
        Alarm.from_json(AGE | change)


@pytest.mark.parametrize("data", [None, [], "text", 5])
def test_json_of_another_type_is_refused(data: Any) -> None:
    with pytest.raises(InvalidParameterValue, match="an alarm must be a JSON object"):
        alarm_of(data)


def test_an_alarm_does_not_change_with_what_it_was_made_of() -> None:
    tags = {"a": "b"}
    alarm = late(tags=tags)
    tags["a"] = "c"
    assert alarm.tags == {"a": "b"}


@pytest.mark.parametrize("data", ["[]", "no", '"a"', "{" * 10])
def test_reason_data_is_a_json_object(data: str) -> None:
    with pytest.raises(InvalidParameterValue, match="reason_data must be a JSON object"):
        AlarmState("OK", "", data)
