"""What programs written for CloudWatch do, unchanged: in process, and over the gateway in both protocols."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("boto3")

import boto3
from botocore.exceptions import ClientError, WaiterError

from rqsqs._core.flows.metric_history import sample
from tests.cloudwatch.calls import check
from tests.lua.conftest import Engine

ACCOUNT = "000000000000"
HOOK = f"arn:aws:sns:us-east-1:{ACCOUNT}:ops"


def alarm(name: str, **more: Any) -> dict[str, Any]:
    """A small alarm on a queue."""
    return {
        "AlarmName": name,
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": "orders"}],
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 3,
        "Threshold": 300.0,
        "ComparisonOperator": "GreaterThanThreshold",
        **more,
    }


def test_an_alarm_from_put_to_delete(cloudwatch: Any) -> None:
    before = datetime.now(UTC)
    given = alarm("late", AlarmDescription="a & b <c>", AlarmActions=[HOOK], DatapointsToAlarm=2)
    cloudwatch.put_metric_alarm(**given, Tags=[{"Key": "team", "Value": "web"}])
    [found] = cloudwatch.describe_alarms(AlarmNames=["late"])["MetricAlarms"]
    check(found, cloudwatch.meta.service_model.shape_for("MetricAlarm"), "MetricAlarm")
    assert {name: found[name] for name in given} == given
    assert found["AlarmArn"] == f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:late"
    assert (found["StateValue"], found["StateReason"]) == ("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation")
    assert (found["OKActions"], found["InsufficientDataActions"], found["ActionsEnabled"]) == ([], [], True)
    assert before - timedelta(minutes=1) < found["StateUpdatedTimestamp"] < before + timedelta(minutes=1)
    tags = cloudwatch.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "web"}]
    cloudwatch.tag_resource(ResourceARN=found["AlarmArn"], Tags=[{"Key": "cost", "Value": ""}])
    cloudwatch.untag_resource(ResourceARN=found["AlarmArn"], TagKeys=["team"])
    tags = cloudwatch.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"]
    assert tags == [{"Key": "cost", "Value": ""}]
    cloudwatch.disable_alarm_actions(AlarmNames=["late"])
    [found] = cloudwatch.describe_alarms(AlarmNames=["late"])["MetricAlarms"]
    assert found["ActionsEnabled"] is False
    cloudwatch.set_alarm_state(AlarmName="late", StateValue="ALARM", StateReason="a drill", StateReasonData='{"a":1}')
    [found] = cloudwatch.describe_alarms(StateValue="ALARM", AlarmNamePrefix="la")["MetricAlarms"]
    assert (found["StateReason"], found["StateReasonData"]) == ("a drill", '{"a":1}')
    cloudwatch.enable_alarm_actions(AlarmNames=["late"])
    dimensions = given["Dimensions"]
    same = cloudwatch.describe_alarms_for_metric(
        Namespace="AWS/SQS", MetricName="ApproximateAgeOfOldestMessage", Dimensions=dimensions
    )
    assert [each["AlarmName"] for each in same["MetricAlarms"]] == ["late"]
    history = cloudwatch.describe_alarm_history(AlarmName="late", HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert [each["HistorySummary"] for each in history] == ["Alarm updated from INSUFFICIENT_DATA to ALARM"]
    cloudwatch.delete_alarms(AlarmNames=["late"])
    assert cloudwatch.describe_alarms(AlarmNames=["late"])["MetricAlarms"] == []


def test_waiters(cloudwatch: Any) -> None:
    waiter = cloudwatch.get_waiter("alarm_exists")
    with pytest.raises(WaiterError):
        waiter.wait(AlarmNames=["late"], WaiterConfig={"Delay": 0, "MaxAttempts": 2})
    cloudwatch.put_metric_alarm(**alarm("late"))
    waiter.wait(AlarmNames=["late"], WaiterConfig={"Delay": 0, "MaxAttempts": 1})
    cloudwatch.put_composite_alarm(AlarmName="any", AlarmRule="ALARM(late)")
    cloudwatch.get_waiter("composite_alarm_exists").wait(
        AlarmNames=["any"], AlarmTypes=["CompositeAlarm"], WaiterConfig={"Delay": 0, "MaxAttempts": 1}
    )


def test_paginators(cloudwatch: Any) -> None:
    names = [f"a{n:02}" for n in range(5)]
    for name in names:
        cloudwatch.put_metric_alarm(**alarm(name))
    pages = list(cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 2}))
    assert [[each["AlarmName"] for each in page["MetricAlarms"]] for page in pages] == [
        names[:2],
        names[2:4],
        names[4:],
    ]
    history = cloudwatch.get_paginator("describe_alarm_history").paginate(
        ScanBy="TimestampAscending", PaginationConfig={"PageSize": 3}
    )
    assert sorted(item["AlarmName"] for page in history for item in page["AlarmHistoryItems"]) == names


def test_errors(cloudwatch: Any) -> None:
    with pytest.raises(ClientError) as caught:
        cloudwatch.set_alarm_state(AlarmName="none", StateValue="OK", StateReason="x")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFound"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert isinstance(caught.value, cloudwatch.exceptions.ResourceNotFound)
    with pytest.raises(ClientError) as caught:
        cloudwatch.put_metric_alarm(**alarm("late", TreatMissingData="never"))
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert caught.value.response["Error"]["Message"].startswith("The value never is not supported for TreatMissingData")
    with pytest.raises(ClientError, match="PutDashboard of CloudWatch is not supported here"):
        cloudwatch.put_dashboard(DashboardName="d", DashboardBody="{}")


# Terraform: internal/service/cloudwatch of its provider, call by call


def read_alarm(cloudwatch: Any, name: str, kind: str = "MetricAlarm") -> dict[str, Any] | None:
    """The provider wants exactly one, of the type that it asks for."""
    found = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=[kind])
    alarms = found["MetricAlarms" if kind == "MetricAlarm" else "CompositeAlarms"]
    assert len(alarms) <= 1
    return alarms[0] if alarms else None


def tags_of(cloudwatch: Any, arn: str) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"]}


def test_terraform_makes_changes_and_removes_a_metric_alarm(cloudwatch: Any) -> None:
    given = alarm(
        "late",
        ActionsEnabled=True,
        AlarmActions=[HOOK],
        OKActions=[HOOK],
        InsufficientDataActions=[],
        AlarmDescription="",
        TreatMissingData="missing",
        DatapointsToAlarm=1,
    )
    cloudwatch.put_metric_alarm(**given, Tags=[{"Key": "Environment", "Value": "test"}])
    for _ in range(2):  # after it was made, and at the next plan: nothing has changed
        found = read_alarm(cloudwatch, "late")
        assert found is not None
        assert {name: found.get(name, "") for name in given} == given
        assert tags_of(cloudwatch, found["AlarmArn"]) == {"Environment": "test"}
    changed = {**given, "Threshold": 60.0, "AlarmDescription": "an hour", "OKActions": []}
    cloudwatch.put_metric_alarm(**changed)
    cloudwatch.untag_resource(ResourceARN=found["AlarmArn"], TagKeys=["Environment"])
    cloudwatch.tag_resource(ResourceARN=found["AlarmArn"], Tags=[{"Key": "Team", "Value": "web"}])
    found = read_alarm(cloudwatch, "late")
    assert found is not None
    assert {name: found[name] for name in changed} == changed
    assert tags_of(cloudwatch, found["AlarmArn"]) == {"Team": "web"}
    cloudwatch.delete_alarms(AlarmNames=["late"])
    assert read_alarm(cloudwatch, "late") is None


def test_terraform_makes_an_alarm_with_metric_queries(cloudwatch: Any) -> None:
    def metric(name: str, metric_name: str) -> dict[str, Any]:
        dimensions = [{"Name": "QueueName", "Value": "orders"}]
        return {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": "AWS/SQS", "MetricName": metric_name, "Dimensions": dimensions},
                "Period": 120,
                "Stat": "Sum",
                "Unit": "Count",
            },
            "ReturnData": False,
        }

    queries = [
        {"Id": "e1", "Expression": "IF(m2 > 0, m1 / m2 * 100, 0)", "Label": "Per cent", "ReturnData": True},
        metric("m1", "NumberOfMessagesReceived"),
        metric("m2", "NumberOfMessagesSent"),
    ]
    given = {
        "AlarmName": "rate",
        "Metrics": queries,
        "EvaluationPeriods": 2,
        "Threshold": 10.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
    }
    cloudwatch.put_metric_alarm(**given)
    found = read_alarm(cloudwatch, "rate")
    assert found is not None
    assert {name: found[name] for name in given} == given
    assert "MetricName" not in found
    assert "Period" not in found


def test_terraform_makes_changes_and_removes_a_composite_alarm(cloudwatch: Any) -> None:
    for name in ("late", "dead"):
        cloudwatch.put_metric_alarm(**alarm(name))
    given = {
        "AlarmName": "any",
        "AlarmRule": 'ALARM("late") OR\nALARM("dead")',
        "ActionsEnabled": True,
        "AlarmActions": [HOOK],
        "OKActions": [],
        "InsufficientDataActions": [],
        "AlarmDescription": "either",
    }
    cloudwatch.put_composite_alarm(**given, Tags=[{"Key": "Environment", "Value": "test"}])
    found = read_alarm(cloudwatch, "any", "CompositeAlarm")
    assert found is not None
    assert {name: found[name] for name in given} == given
    assert tags_of(cloudwatch, found["AlarmArn"]) == {"Environment": "test"}
    changed = {**given, "AlarmRule": "NOT OK(late)", "AlarmActions": []}
    cloudwatch.put_composite_alarm(**changed)
    found = read_alarm(cloudwatch, "any", "CompositeAlarm")
    assert found is not None
    assert {name: found[name] for name in changed} == changed
    cloudwatch.delete_alarms(AlarmNames=["any"])
    assert read_alarm(cloudwatch, "any", "CompositeAlarm") is None
    assert read_alarm(cloudwatch, "late") is not None


# Metrics of the last minutes


@pytest.fixture
def sampled(valkey_url: str, prefix: str) -> Iterator[datetime]:
    """Twenty minutes in each of which five messages were sent; when they ended."""
    engine = Engine(valkey_url, prefix)
    end_ms = int(time.time() // 60) * 60_000
    engine.clock.advance_ms(end_ms - 20 * 60_000 - engine.clock.ms)
    queue = engine.queue("orders")
    for _ in range(20):
        engine.send(queue, *"abcde")
        engine.clock.advance_ms(60_000)
        assert not engine.run(sample(engine.transport.space)).errors
    yield datetime.fromtimestamp(end_ms / 1000, UTC)
    engine.transport.close()


DIMENSIONS = [{"Name": "QueueName", "Value": "orders"}]


def keda(cloudwatch: Any, query: dict[str, Any], now: datetime, period_s: int = 300) -> float:
    """The scaler aws-cloudwatch: a window that ends with a period, newest point first, of which it takes the first."""
    end = datetime.fromtimestamp(now.timestamp() // period_s * period_s, UTC)
    answer = cloudwatch.get_metric_data(
        StartTime=end - timedelta(seconds=300), EndTime=end, ScanBy="TimestampDescending", MetricDataQueries=[query]
    )
    assert answer["MetricDataResults"]
    return float(answer["MetricDataResults"][0]["Values"][0])


def test_keda_scales_by_a_metric(cloudwatch: Any, sampled: datetime) -> None:
    def query(stat: str, name: str, **more: Any) -> dict[str, Any]:
        metric = {"Namespace": "AWS/SQS", "MetricName": name, "Dimensions": DIMENSIONS}
        return {"Id": "c1", "MetricStat": {"Metric": metric, "Period": 300, "Stat": stat, **more}, "ReturnData": True}

    assert keda(cloudwatch, query("Sum", "NumberOfMessagesSent"), sampled) == 25
    assert keda(cloudwatch, query("Sum", "NumberOfMessagesSent", Unit="Count"), sampled) == 25
    assert keda(cloudwatch, query("Average", "ApproximateNumberOfMessagesVisible"), sampled) > 0
    with pytest.raises(ClientError) as refused:  # an expression there is SQL of Metrics Insights
        keda(cloudwatch, {"Id": "q1", "Expression": 'SELECT MAX(x) FROM "AWS/SQS"', "Period": 60}, sampled)
    assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_metrics_by_all_three_actions(cloudwatch: Any, sampled: datetime) -> None:
    start = sampled - timedelta(minutes=10)
    found = cloudwatch.get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="NumberOfMessagesSent",
        Dimensions=DIMENSIONS,
        StartTime=start,
        EndTime=sampled,
        Period=60,
        Statistics=["Sum", "SampleCount"],
    )
    assert found["Label"] == "NumberOfMessagesSent"
    points = sorted(found["Datapoints"], key=lambda point: point["Timestamp"])
    assert [point["Timestamp"] for point in points] == [start + timedelta(minutes=n) for n in range(10)]
    assert {(point["Sum"], point["Unit"]) for point in points} == {(5.0, "Count")}

    queries = [
        {
            "Id": "sent",
            "MetricStat": {
                "Metric": {"Namespace": "AWS/SQS", "MetricName": "NumberOfMessagesSent", "Dimensions": DIMENSIONS},
                "Period": 60,
                "Stat": "Sum",
            },
            "ReturnData": False,
        },
        {"Id": "twice", "Expression": "sent * 2", "Label": "${LABEL} x 2"},
    ]
    data = cloudwatch.get_metric_data(
        MetricDataQueries=queries, StartTime=start, EndTime=sampled, ScanBy="TimestampAscending"
    )
    [result] = data["MetricDataResults"]
    assert (result["Id"], result["StatusCode"], result["Values"]) == ("twice", "Complete", [10.0] * 10)
    assert result["Timestamps"] == [start + timedelta(minutes=n) for n in range(10)]
    del queries[0]["ReturnData"]
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries[:1], StartTime=start, EndTime=sampled, PaginationConfig={"PageSize": 4}
    )
    assert [value for page in pages for result in page["MetricDataResults"] for value in result["Values"]] == [5.0] * 10

    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="AWS/SQS", Dimensions=DIMENSIONS)
    metrics = [metric for page in pages for metric in page["Metrics"]]
    assert "NumberOfMessagesSent" in {metric["MetricName"] for metric in metrics}
    assert all(metric["Dimensions"] == DIMENSIONS for metric in metrics)


def test_resources(cloudwatch: Any, sampled: datetime) -> None:
    """boto3's resource: alarms and metrics as objects."""
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    resource = session.resource("cloudwatch", endpoint_url="http://127.0.0.1:9")
    resource.meta.client = cloudwatch
    metric = resource.Metric("AWS/SQS", "NumberOfMessagesSent")
    put = alarm("busy", MetricName="NumberOfMessagesSent", Statistic="Sum")
    found = metric.put_alarm(**{name: put[name] for name in put if name not in ("Namespace", "MetricName")})
    assert found.name == "busy"
    assert found.threshold == 300.0
    assert [each.name for each in resource.alarms.all()] == ["busy"]
    statistics = metric.get_statistics(
        Dimensions=DIMENSIONS, StartTime=sampled - timedelta(minutes=5), EndTime=sampled, Period=300, Statistics=["Sum"]
    )
    assert sum(point["Sum"] for point in statistics["Datapoints"]) == 25
    found.set_state(StateValue="OK", StateReason="a drill")
    found.reload()
    assert found.state_value == "OK"
    found.delete()
    assert list(resource.alarms.all()) == []
