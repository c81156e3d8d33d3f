"""The life of an alarm, as a program for CloudWatch sees it: data, reasons, history."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from rqsqs._core import flows
from rqsqs.alarms.evaluator import evaluate_all
from tests.cloudwatch.sampled import Sampled
from tests.lua.conftest import Engine, engine, engine_at

__all__ = ["engine", "engine_at"]  # fixtures


def state(sampled: Sampled, kind: str = "MetricAlarm") -> dict[str, Any]:
    """The alarm, after an evaluation."""
    engine = sampled.engine
    engine.run(evaluate_all(engine.transport.space, "me"))
    (found,) = sampled.cloudwatch("DescribeAlarms", AlarmTypes=[kind])[f"{kind}s"]
    assert isinstance(found, dict)
    return found


def test_states_reasons_and_history_are_those_that_aws_tells(engine: Engine) -> None:
    sampled = Sampled(engine)
    q = sampled.queue("orders")
    cloudwatch = sampled.cloudwatch
    cloudwatch(
        "PutMetricAlarm",
        AlarmName="deep",
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": "orders"}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=2,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    cloudwatch("PutCompositeAlarm", AlarmName="page", AlarmRule="ALARM(deep)")
    sampled.minute(q, sent=5)
    found = state(sampled)
    day = f"{sampled.at(0):%d/%m/%y %H:%M:%S}"
    assert found["StateValue"] == "ALARM"
    assert found["StateReason"] == (
        f"Threshold Crossed: 1 datapoint [5.0 ({day})] was greater than the threshold (2.0)."
    )
    data = json.loads(found["StateReasonData"])
    stamp = f"{sampled.at(0):%Y-%m-%dT%H:%M:%S}.000+0000"
    assert data.pop("queryDate").endswith("+0000")
    assert data == {
        "version": "1.0",
        "startDate": stamp,
        "statistic": "Average",
        "period": 60,
        "recentDatapoints": [5.0],
        "threshold": 2.0,
        "evaluatedDatapoints": [{"timestamp": stamp, "sampleCount": 1.0, "value": 5.0}],
    }
    arn = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:deep"
    page = state(sampled, "CompositeAlarm")
    assert page["StateReason"] == f"{arn} transitioned to ALARM at {sampled.now:%A %d %B, %Y %H:%M:%S} UTC"
    (trigger,) = json.loads(page["StateReasonData"])["triggeringAlarms"]
    assert (trigger["arn"], trigger["state"]["value"]) == (arn, "ALARM")

    engine.run(flows.purge_queue(q, engine.limits))
    sampled.minute(q)
    day = f"{sampled.at(1):%d/%m/%y %H:%M:%S}"
    assert state(sampled)["StateReason"] == (
        f"Threshold Crossed: 1 datapoint [0.0 ({day})] was not greater than the threshold (2.0)."
    )
    items = cloudwatch("DescribeAlarmHistory", AlarmName="deep")["AlarmHistoryItems"]
    assert [(each["HistoryItemType"], each["HistorySummary"]) for each in items] == [
        ("StateUpdate", "Alarm updated from ALARM to OK"),
        ("StateUpdate", "Alarm updated from INSUFFICIENT_DATA to ALARM"),
        ("ConfigurationUpdate", 'Alarm "deep" created'),
    ]
    told = json.loads(items[1]["HistoryData"])
    assert told["oldState"] == {
        "stateValue": "INSUFFICIENT_DATA",
        "stateReason": "Unchecked: Initial alarm creation",
    }
    assert told["newState"]["stateReason"] == found["StateReason"]
    assert told["newState"]["stateReasonData"] == json.loads(found["StateReasonData"])
    assert json.loads(items[2]["HistoryData"])["type"] == "Create"
    assert items[1]["Timestamp"] == found["StateUpdatedTimestamp"] == found["StateTransitionedTimestamp"]


def test_a_state_that_was_set_goes_back_with_the_next_evaluation_that_of_a_composite_stays(engine: Engine) -> None:
    sampled = Sampled(engine)
    q = sampled.queue("orders")
    cloudwatch = sampled.cloudwatch
    cloudwatch(
        "PutMetricAlarm",
        AlarmName="deep",
        MetricName="visible",
        Namespace="rqsqs",
        Dimensions=[{"Name": "QueueName", "Value": "orders"}],
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=2,
        ComparisonOperator="GreaterThanThreshold",
    )
    cloudwatch("PutCompositeAlarm", AlarmName="page", AlarmRule="ALARM(deep)")
    sampled.minute(q)
    assert state(sampled)["StateValue"] == "OK"
    for name in ("page", "deep"):
        cloudwatch("SetAlarmState", AlarmName=name, StateValue="ALARM", StateReason=f"a test of {name}")
    sampled.minute(q)
    assert state(sampled)["StateValue"] == "OK"  # and so its parent's
    assert state(sampled, "CompositeAlarm")["StateValue"] == "OK"
    cloudwatch("SetAlarmState", AlarmName="page", StateValue="ALARM", StateReason="a test")
    began = sampled.now
    sampled.pass_(3)
    page = state(sampled, "CompositeAlarm")
    assert (page["StateValue"], page["StateReason"]) == ("ALARM", "a test")
    assert page["StateUpdatedTimestamp"] - began < timedelta(seconds=1)
