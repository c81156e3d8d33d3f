"""What is told of alarms, in the forms that were recorded of CloudWatch."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from rqsqs import Alarm, AlarmState, CompositeAlarm, MetricQuery
from rqsqs._core.alarm_records import history_data_of
from rqsqs.alarms.evaluation import evaluate
from rqsqs.alarms.reasons import notification_of, reason_data_of, reason_of, subject_of
from rqsqs.alarms.statistics import Datapoint


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def an_alarm(threshold: float = 50, **options: Any) -> Alarm:
    options = {"comparison_operator": ">", "metric_name": "Load", "namespace": "Mill", "statistic": "Average"} | options
    return Alarm("mill", threshold=threshold, **options)


def told(alarm: Alarm, *values: float | None, at_ms: int = at("2019-10-02T16:59:00")) -> str:
    """The reason, the last datapoint being of that time."""
    first = at_ms - (len(values) - 1) * 60_000
    points = [Datapoint(first + n * 60_000, value, int(value is not None)) for n, value in enumerate(values)]
    return reason_of(alarm, evaluate(alarm, points, "OK"))


WHEN = "(02/10/19 16:59:00)"


@pytest.mark.parametrize(
    ("alarm", "values", "expected"),
    [
        (an_alarm(21), [21.5], f"Threshold Crossed: 1 datapoint [21.5 {WHEN}] was greater than the threshold (21.0)."),
        (
            an_alarm(datapoints_to_alarm=1),
            [99.5],
            f"Threshold Crossed: 1 out of the last 1 datapoints [99.5 {WHEN}] was greater than the threshold (50.0) "
            "(minimum 1 datapoint for OK -> ALARM transition).",
        ),
        (
            an_alarm(datapoints_to_alarm=1),
            [0.06],
            f"Threshold Crossed: 1 out of the last 1 datapoints [0.06 {WHEN}] was not greater than the threshold "
            "(50.0) (minimum 1 datapoint for ALARM -> OK transition).",
        ),
        (
            an_alarm(evaluation_periods=3, datapoints_to_alarm=2),
            [60, 1, 70],
            f"Threshold Crossed: 2 out of the last 3 datapoints [70.0 {WHEN}, 60.0 (02/10/19 16:57:00)] were greater "
            "than the threshold (50.0) (minimum 2 datapoints for OK -> ALARM transition).",
        ),
        (
            an_alarm(evaluation_periods=2, treat_missing_data="breaching"),
            [None, None],
            "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as "
            "[Breaching].",
        ),
        (
            an_alarm(treat_missing_data="notBreaching"),
            [None],
            "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as "
            "[NonBreaching].",
        ),
        (
            an_alarm(),
            [None],
            "Insufficient Data: no datapoints were received for 1 period and 1 missing datapoint was treated as "
            "[Missing].",
        ),
        (
            an_alarm(evaluation_periods=2, treat_missing_data="breaching", comparison_operator="<="),
            [None, 50],
            f"Threshold Crossed: 1 datapoint [50.0 {WHEN}] was less than or equal to the threshold (50.0) and "
            "1 missing datapoint was treated as [Breaching].",
        ),
        (
            an_alarm(evaluation_periods=2, datapoints_to_alarm=1, treat_missing_data="breaching"),
            [None, 5],
            "Threshold Crossed: no datapoint was greater than the threshold (50.0) and 1 missing datapoint was treated "
            "as [Breaching].",
        ),
        (
            an_alarm(evaluation_periods=6, comparison_operator="<"),
            [1, 2, 3, 4, 5, 6],
            "Threshold Crossed: 6 datapoints were less than the threshold (50.0). The most recent datapoints which "
            f"crossed the threshold: [6.0 {WHEN}, 5.0 (02/10/19 16:58:00), 4.0 (02/10/19 16:57:00), "
            "3.0 (02/10/19 16:56:00), 2.0 (02/10/19 16:55:00)].",
        ),
    ],
)
def test_reasons(alarm: Alarm, values: list[float | None], expected: str) -> None:
    assert told(alarm, *values) == expected


def test_reason_data() -> None:
    alarm = an_alarm(21, unit="Seconds", evaluation_periods=2, treat_missing_data="breaching")
    points = [Datapoint(at("2026-02-26T10:13:00"), 21.5, 2), Datapoint(at("2026-02-26T10:14:00"))]
    data = reason_data_of(alarm, evaluate(alarm, points, "OK"), at("2026-02-26T10:15:01.007"))
    assert data == (
        '{"version":"1.0","queryDate":"2026-02-26T10:15:01.007+0000","startDate":"2026-02-26T10:13:00.000+0000",'
        '"unit":"Seconds","statistic":"Average","period":60,"recentDatapoints":[21.5],"threshold":21.0,'
        '"evaluatedDatapoints":[{"timestamp":"2026-02-26T10:14:00.000+0000"},'
        '{"timestamp":"2026-02-26T10:13:00.000+0000","sampleCount":2.0,"value":21.5}]}'
    )


def test_what_is_told_fits_into_a_state() -> None:
    alarm = an_alarm(-1e300, evaluation_periods=1000, datapoints_to_alarm=1000)
    points = [Datapoint(n * 60_000, 1 / 3 + n, 7) for n in range(1333)]
    decision = evaluate(alarm, points, "OK")
    state = AlarmState("ALARM", reason_of(alarm, decision), reason_data_of(alarm, decision, 10**12), 1, 1)
    data = json.loads(state.reason_data)
    assert data["recentDatapoints"][-1] == 1332 + 1 / 3
    assert 10 < len(data["recentDatapoints"]) == len(data["evaluatedDatapoints"])


def test_a_notification_is_as_sns_sends_it() -> None:
    alarm = an_alarm(
        21,
        metric_name="NumberOfMessagesSent",
        namespace="AWS/SQS",
        queue="orders",
        period=10,
        datapoints_to_alarm=1,
        treat_missing_data="ignore",
        unit="Count",
        statistic="SampleCount",
        alarm_actions=["arn:aws:sqs:us-east-1:111111111111:pager"],
        updated_at_ms=at("2026-02-26T10:13:58.123"),
    )
    state = AlarmState("ALARM", "because", "", 1, at("2026-02-26T10:14:09.456"))
    found = notification_of(alarm, "INSUFFICIENT_DATA", state, account="111111111111")
    assert json.dumps(found, separators=(",", ":")) == (
        '{"AlarmName":"mill","AlarmDescription":null,"AWSAccountId":"111111111111",'
        '"AlarmConfigurationUpdatedTimestamp":"2026-02-26T10:13:58.123+0000","NewStateValue":"ALARM",'
        '"NewStateReason":"because","StateChangeTime":"2026-02-26T10:14:09.456+0000","Region":"US East (N. Virginia)",'
        '"AlarmArn":"arn:aws:cloudwatch:us-east-1:111111111111:alarm:mill","OldStateValue":"INSUFFICIENT_DATA",'
        '"OKActions":[],"AlarmActions":["arn:aws:sqs:us-east-1:111111111111:pager"],"InsufficientDataActions":[],'
        '"ActionExecutedAfterMuteWindow":false,"Trigger":{"MetricName":"NumberOfMessagesSent","Namespace":"AWS/SQS",'
        '"StatisticType":"Statistic","Statistic":"SAMPLE_COUNT","Unit":"Count",'
        '"Dimensions":[{"value":"orders","name":"QueueName"}],"Period":10,"EvaluationPeriods":1,"DatapointsToAlarm":1,'
        '"ComparisonOperator":"GreaterThanThreshold","Threshold":21.0,"TreatMissingData":"ignore",'
        '"EvaluateLowSampleCountPercentile":""}}'
    )


def test_notifications_of_percentiles_and_of_metric_math() -> None:
    state = AlarmState("OK", "", "", 1, 1)
    trigger = notification_of(an_alarm(statistic="p99"), "ALARM", state)["Trigger"]
    assert (trigger["StatisticType"], trigger["ExtendedStatistic"]) == ("ExtendedStatistic", "p99")
    queries = [
        MetricQuery("m1", metric_name="sent", queue="orders", return_data=False),
        MetricQuery("e1", expression="m1 * 2", label="double"),
    ]
    alarm = Alarm("math", threshold=1, comparison_operator=">", metrics=queries)
    trigger = notification_of(alarm, "ALARM", state)["Trigger"]
    assert "MetricName" not in trigger
    metric = {"Namespace": "rqsqs", "MetricName": "sent", "Dimensions": [{"value": "orders", "name": "QueueName"}]}
    assert trigger["Metrics"] == [
        {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False},
        {"Id": "e1", "Expression": "m1 * 2", "Label": "double", "ReturnData": True},
    ]


def test_a_notification_of_a_composite_alarm() -> None:
    alarm = CompositeAlarm("both", "ALARM(a) AND ALARM(b)", ok_actions=["log:"], updated_at_ms=1)
    arn = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:a"
    when = "2022-07-22T15:57:45.394+0000"
    data = {"triggeringAlarms": [{"arn": arn, "state": {"value": "ALARM", "timestamp": when}}]}
    found = notification_of(alarm, "OK", AlarmState("ALARM", "it did", json.dumps(data), 1, 1))
    assert found["AlarmRule"] == "ALARM(a) AND ALARM(b)"
    assert found["TriggeringChildren"] == [{"Arn": arn, "State": {"Value": "ALARM", "Timestamp": when}}]
    assert "Trigger" not in found
    by_hand = AlarmState("ALARM", "by hand", '{"triggeringAlarms":[5,{"arn":"a"}]}', 1, 1)
    assert notification_of(alarm, "OK", by_hand)["TriggeringChildren"] == []


def test_subjects() -> None:
    assert subject_of(an_alarm(), "ALARM") == 'ALARM: "mill" in US East (N. Virginia)'
    assert subject_of(an_alarm(), "OK", "moon-1") == 'OK: "mill" in moon-1'
    long = CompositeAlarm("x" * 255, "TRUE")
    assert len(subject_of(long, "INSUFFICIENT_DATA")) == 100
    assert subject_of(long, "OK").endswith('xxx..." in US East (N. Virginia)')


def test_the_history_tells_both_states() -> None:
    before, after = AlarmState("OK", "fine"), AlarmState("ALARM", "bad", '{"version":"1.0"}')
    assert history_data_of(before, after) == {
        "version": "1.0",
        "oldState": {"stateValue": "OK", "stateReason": "fine"},
        "newState": {"stateValue": "ALARM", "stateReason": "bad", "stateReasonData": {"version": "1.0"}},
    }
