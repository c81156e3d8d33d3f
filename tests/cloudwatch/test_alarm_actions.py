"""Alarms by the actions of CloudWatch: what is put comes back, and what is wrong is refused in CloudWatch's words."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rqsqs._core.flows import alarm_states
from rqsqs._core.flows import alarms as flows
from rqsqs._core.keys import Keyspace
from rqsqs._core.operations import alarms as operations
from rqsqs._core.operations.alarms import read_actions
from rqsqs.cloudwatch.errors import (
    ConcurrentModification,
    InternalServiceError,
    InvalidFormat,
    InvalidNextToken,
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
    MissingParameter,
    ResourceConflict,
    ResourceNotFound,
    TaggedResourceNotFound,
    ValidationError,
)
from rqsqs.errors import RequestError
from tests.cloudwatch.calls import CloudWatch
from tests.lua.conftest import Engine, engine, engine_at

__all__ = ["engine", "engine_at"]  # fixtures
MINIMAL: dict[str, Any] = {
    "AlarmName": "late",
    "Namespace": "AWS/SQS",
    "MetricName": "ApproximateAgeOfOldestMessage",
    "Dimensions": [{"Name": "QueueName", "Value": "orders"}],
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 300.0,
    "ComparisonOperator": "GreaterThanThreshold",
}
ARN = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:"


@pytest.fixture
def cloudwatch(engine: Engine) -> CloudWatch:
    return CloudWatch(engine)


def minimal(name: str = "late", **changes: Any) -> dict[str, Any]:
    """Parameters of PutMetricAlarm; those that become None are left out."""
    return {key: value for key, value in {**MINIMAL, "AlarmName": name, **changes}.items() if value is not None}


def refused(call: Callable[[], Any], kind: type[RequestError]) -> str:
    with pytest.raises(kind) as info:
        call()
    assert type(info.value) is kind
    return info.value.sqs_message


def names(cloudwatch: CloudWatch, **params: Any) -> list[str]:
    answer = cloudwatch("DescribeAlarms", AlarmTypes=["MetricAlarm", "CompositeAlarm"], **params)
    return [each["AlarmName"] for each in (*answer["MetricAlarms"], *answer["CompositeAlarms"])]


# PutMetricAlarm and DescribeAlarms


def test_a_minimal_alarm_comes_back_as_from_aws(cloudwatch: CloudWatch) -> None:
    now = datetime.fromtimestamp(cloudwatch.engine.clock.ms / 1000, UTC)
    assert cloudwatch("PutMetricAlarm", **minimal(Dimensions=None, Namespace="own", MetricName="m")) == {}
    assert cloudwatch("DescribeAlarms") == {
        "CompositeAlarms": [],
        "LogAlarms": [],
        "MetricAlarms": [
            {
                "ActionsEnabled": True,
                "AlarmActions": [],
                "AlarmArn": ARN + "late",
                "AlarmConfigurationUpdatedTimestamp": now,
                "AlarmName": "late",
                "ComparisonOperator": "GreaterThanThreshold",
                "Dimensions": [],
                "EvaluationPeriods": 1,
                "InsufficientDataActions": [],
                "MetricName": "m",
                "Namespace": "own",
                "OKActions": [],
                "Period": 60,
                "StateReason": "Unchecked: Initial alarm creation",
                "StateTransitionedTimestamp": now,
                "StateUpdatedTimestamp": now,
                "StateValue": "INSUFFICIENT_DATA",
                "Statistic": "Maximum",
                "Threshold": 300.0,
            }
        ],
    }


def test_all_that_was_given_comes_back(cloudwatch: CloudWatch) -> None:
    cloudwatch.engine.queue("pages")
    given = minimal(
        AlarmDescription="",
        ActionsEnabled=False,
        OKActions=["arn:aws:sns:us-east-1:000000000000:ok"],
        AlarmActions=["arn:aws:sqs:us-east-1:000000000000:pages"],
        InsufficientDataActions=["log:"],
        Statistic=None,
        ExtendedStatistic="p99.9",
        Unit="Seconds",
        EvaluationPeriods=3,
        DatapointsToAlarm=2,
        TreatMissingData="notBreaching",
        EvaluateLowSampleCountPercentile="ignore",
    )
    cloudwatch("PutMetricAlarm", **given, Tags=[{"Key": "team", "Value": "blue"}])
    (found,) = cloudwatch("DescribeAlarms")["MetricAlarms"]
    assert {name: found.get(name) for name in given} == given
    assert "Tags" not in found


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("mail:me", "an action must be like https://"),
        ("arn:aws:automate:us-east-1:ec2:stop", "the ARN of an action must be that of a queue"),
        ("arn:aws:sqs:us-east-1:000000000000:missing", "the queue of an action must exist, got arn:aws:sqs"),
        ("arn:aws:sqs:eu-west-1:000000000000:pages", "the queue of an action must be of the region us-east-1"),
        ("arn:aws:sqs:us-east-1:111111111111:pages", "the queue of an action must be of the account 000000000000"),
    ],
)
def test_an_action_that_could_never_be_done_is_refused(cloudwatch: CloudWatch, action: str, text: str) -> None:
    cloudwatch.engine.queue("pages")
    with pytest.raises(ValidationError, match=text):
        cloudwatch("PutMetricAlarm", **minimal(OKActions=[action]))
    assert cloudwatch("DescribeAlarms")["MetricAlarms"] == []


def test_metric_math_comes_back(cloudwatch: CloudWatch) -> None:
    metrics = [
        {"Id": "share", "Expression": "failed / received", "Label": "Failed", "ReturnData": True},
        *[
            {
                "Id": id,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "rqsqs",
                        "MetricName": id,
                        "Dimensions": [{"Name": "QueueName", "Value": "orders"}],
                    },
                    "Period": 300,
                    "Stat": "Sum",
                },
                "ReturnData": False,
            }
            for id in ("failed", "received")
        ],
    ]
    left_out = dict.fromkeys(("Namespace", "MetricName", "Dimensions", "Statistic", "Period"))
    cloudwatch("PutMetricAlarm", **minimal(**left_out, Metrics=metrics))
    (found,) = cloudwatch("DescribeAlarms")["MetricAlarms"]
    assert found["Metrics"] == metrics
    assert found["Dimensions"] == []
    assert not {"Period", "Statistic", "MetricName", "Namespace"} & found.keys()


def test_an_update_replaces_all_but_state_and_tags(cloudwatch: CloudWatch) -> None:
    cloudwatch("PutMetricAlarm", **minimal(AlarmDescription="one", Tags=[{"Key": "a", "Value": "1"}]))
    cloudwatch("SetAlarmState", AlarmName="late", StateValue="ALARM", StateReason="a test")
    cloudwatch("PutMetricAlarm", **minimal(Threshold=5.0, Tags=[{"Key": "b", "Value": "2"}]))
    (found,) = cloudwatch("DescribeAlarms")["MetricAlarms"]
    assert found["Threshold"] == 5
    assert "AlarmDescription" not in found
    assert (found["StateValue"], found["StateReason"]) == ("ALARM", "a test")
    assert cloudwatch("ListTagsForResource", ResourceARN=ARN + "late")["Tags"] == [{"Key": "a", "Value": "1"}]


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"TreatMissingData": "no"}, ValidationError, "The value no is not supported for TreatMissingData parameter. "
            "Supported values are [breaching, notBreaching, ignore, missing]."),
        ({"Period": 7}, ValidationError, "Period must be 10, 30 or a multiple of 60"),
        ({"EvaluateLowSampleCountPercentile": "x"}, ValidationError, "Option x is not supported. Supported options "
            "for parameter EvaluateLowSampleCountPercentile are evaluate and ignore."),
        ({"Statistic": None, "ExtendedStatistic": "q9"}, InvalidParameterValue,
            "The value q9 for parameter ExtendedStatistic is not supported."),
        ({"Statistic": None, "ExtendedStatistic": "p101"}, InvalidParameterValue,
            "The value p101 for parameter ExtendedStatistic is not supported."),
        ({"Statistic": None}, InvalidParameterCombination,
            "Must specify either Statistic or ExtendedStatistic, got neither."),
        ({"ExtendedStatistic": "p99"}, InvalidParameterCombination,
            "Must specify either Statistic or ExtendedStatistic, got both."),
        ({"Period": None}, MissingParameter, "The parameter Period is required."),
        ({"Namespace": None}, MissingParameter, "The parameter Namespace is required."),
        ({"EvaluationPeriods": None}, MissingParameter, "The parameter EvaluationPeriods is required."),
        ({"Threshold": None}, MissingParameter, "The parameter Threshold is required."),
        ({"ComparisonOperator": None}, MissingParameter, "The parameter ComparisonOperator is required."),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, ValidationError,
            "ComparisonOperator must compare with a threshold, got GreaterThanUpperThreshold: there is no anomaly "
            "detection."),
        ({"EvaluationPeriods": 1441}, ValidationError,
            "Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= 86400)."),
        ({"Period": 3600, "EvaluationPeriods": 169}, ValidationError,
            "Metrics cannot be checked across more than seven days (EvaluationPeriods * Period must be <= 604800)."),
        ({"DatapointsToAlarm": 2}, ValidationError,
            "DatapointsToAlarm must be an int from 1 to EvaluationPeriods (1), got 2"),
        ({"MetricName": None}, ValidationError, "Exactly one of MetricName and Metrics must be given, got neither."),
        ({"Metrics": [{"Id": "m1", "Expression": "1"}]}, ValidationError,
            "Exactly one of MetricName and Metrics must be given, got both."),
        ({"MetricName": None, "Metrics": [{"Id": "m1", "Expression": "1"}]}, ValidationError,
            "Namespace, Dimensions, Period, Statistic must stand in Metrics, not beside it."),
        ({"MetricName": "NumberOfMessages"}, ValidationError, "MetricName must be a metric of AWS/SQS, got"),
        ({"Dimensions": None}, ValidationError, "the dimension QueueName must be the name of the queue whose"),
        ({"AlarmName": "a\nb"}, ValidationError, "AlarmName must have no control characters"),
        ({"Threshold": float("nan")}, ValidationError, "Threshold must be a finite number, got nan"),
        ({"Dimensions": [{"Name": "QueueName", "Value": "a"}] * 2}, ValidationError, "each of Dimensions must have"),
        ({"Tags": [{"Key": "a", "Value": ""}] * 2}, InvalidParameterValue, "Each of Tags must have another Key."),
        ({"Tags": [{"Key": "aws:x", "Value": ""}]}, InvalidParameterValue, "Tag keys cannot start with aws:"),
        ({"WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 5}}, ValidationError,
            "The parameter WarmUpConfiguration is not supported here: alarms are evaluated at once."),
        ({"EvaluationCriteria": {"PromQLCriteria": {"Query": "up"}}}, ValidationError,
            "The parameter EvaluationCriteria is not supported here: there is no PromQL."),
    ],
)  # fmt: skip
def test_what_cannot_be_an_alarm_is_refused(
    cloudwatch: CloudWatch, changes: dict[str, Any], kind: type[RequestError], text: str
) -> None:
    told = refused(lambda: cloudwatch("PutMetricAlarm", **minimal(**changes)), kind)
    assert told.startswith(text)
    assert cloudwatch("DescribeAlarms")["MetricAlarms"] == []


@pytest.mark.parametrize(
    ("queries", "text"),
    [
        ([("m1", True), ("m2", True)], "Exactly one element of the metrics list should return data"),
        ([("m1", False)], "Exactly one element of the metrics list should return data"),
        ([("M", True)], "Id of a query must begin with a lower-case letter"),
        ([("e1", True)], "Metrics must have 1 to 10 queries with a MetricName"),
    ],
)
def test_queries_that_do_not_fit_are_refused(cloudwatch: CloudWatch, queries: list[Any], text: str) -> None:
    stat = {"Metric": {"Namespace": "own", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
    metrics = [
        {"Id": id, "ReturnData": returns} | ({"Expression": "1"} if id[0] == "e" else {"MetricStat": stat})
        for id, returns in queries
    ]
    left_out = dict.fromkeys(("Namespace", "MetricName", "Dimensions", "Statistic", "Period"))
    told = refused(lambda: cloudwatch("PutMetricAlarm", **minimal(**left_out, Metrics=metrics)), ValidationError)
    assert told.startswith(text)


def test_more_alarms_than_a_prefix_may_have(cloudwatch: CloudWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rqsqs._core.operations.alarms.MOST", 1)
    cloudwatch("PutMetricAlarm", **minimal("a"))
    cloudwatch("PutMetricAlarm", **minimal("a"))
    refused(lambda: cloudwatch("PutMetricAlarm", **minimal("b")), LimitExceeded)


def test_alarms_that_others_change_all_the_time_are_no_limit(
    cloudwatch: CloudWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, outdated = operations.put_alarm, [b"99999"] * 10

    def put_late(space: Keyspace, revision: bytes, *rest: Any) -> Any:
        return put(space, outdated.pop() if outdated else revision, *rest)

    monkeypatch.setattr(alarm_states, "MOST_PAUSE_MS", 1)
    monkeypatch.setattr(operations, "put_alarm", put_late)
    cloudwatch("PutMetricAlarm", **minimal("a"))
    assert names(cloudwatch) == ["a"]
    assert not outdated
    outdated += [b"99999"] * 1_000
    told = refused(lambda: cloudwatch("PutMetricAlarm", **minimal("a")), ConcurrentModification)
    assert told.endswith("try again")


def test_who_comes_too_late_waits_longer_each_time() -> None:
    assert not list(alarm_states.give_way(0))
    for tried in range(1, 50):
        [pause] = alarm_states.give_way(tried)
        assert 0 <= pause.ms < min(2**tried, 100)


def test_more_rules_than_may_name_an_alarm(cloudwatch: CloudWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rqsqs._core.flows.alarms.MOST_PARENTS", 2)
    cloudwatch("PutMetricAlarm", **minimal("a"))
    for name in ("p", "q", "p"):
        cloudwatch("PutCompositeAlarm", AlarmName=name, AlarmRule="ALARM(a)")
    rule = "OK(p) OR OK(a)"
    told = refused(lambda: cloudwatch("PutCompositeAlarm", AlarmName="r", AlarmRule=rule), LimitExceeded)
    assert told == "an alarm must be in the rules of 2 composite alarms at most, got one more for 'a'"
    cloudwatch("PutCompositeAlarm", AlarmName="r", AlarmRule="OK(p)")


def test_pages_are_in_the_order_of_names_and_a_token_belongs_to_its_request(cloudwatch: CloudWatch) -> None:
    wanted = sorted(["é", "Z", "a", *[f"a{n:02}" for n in range(8)]])
    for name in wanted:
        cloudwatch("PutMetricAlarm", **minimal(name))
    pages = cloudwatch.pages("DescribeAlarms", "MetricAlarms", MaxRecords=4)
    assert [[each["AlarmName"] for each in page] for page in pages] == [wanted[:4], wanted[4:8], wanted[8:]]
    assert len(cloudwatch.pages("DescribeAlarms", "MetricAlarms", MaxRecords=11)) == 1
    pages = cloudwatch.pages("DescribeAlarms", "MetricAlarms", MaxRecords=3, AlarmNames=wanted)
    assert [each["AlarmName"] for page in pages for each in page] == wanted
    token = cloudwatch("DescribeAlarms", MaxRecords=4)["NextToken"]
    for params in ({"AlarmNamePrefix": "a"}, {"StateValue": "OK"}):
        refused(lambda params=params: cloudwatch("DescribeAlarms", **params, NextToken=token), InvalidNextToken)
    for bad in ("", "x", "é", token[:-4], "W10=", "bnVsbA==", "A" * 100_000):
        refused(lambda bad=bad: cloudwatch("DescribeAlarms", NextToken=bad), InvalidNextToken)


def test_a_page_is_found_though_alarms_come_and_go(cloudwatch: CloudWatch) -> None:
    for name in "bdfh":
        cloudwatch("PutMetricAlarm", **minimal(name))
    answer = cloudwatch("DescribeAlarms", MaxRecords=2)
    cloudwatch("DeleteAlarms", AlarmNames=["b", "d"])
    cloudwatch("PutMetricAlarm", **minimal("a"))
    assert names(cloudwatch) == ["a", "f", "h"]
    rest = cloudwatch("DescribeAlarms", MaxRecords=2, NextToken=answer["NextToken"])["MetricAlarms"]
    assert [each["AlarmName"] for each in rest] == ["f", "h"]


def test_more_alarms_than_are_read_at_once_are_looked_through(cloudwatch: CloudWatch) -> None:
    for n in range(230):
        cloudwatch.engine.run(flows.put(cloudwatch.context.space, alarm(f"n{n:03}")))
    cloudwatch("SetAlarmState", AlarmName="n229", StateValue="ALARM", StateReason="")
    assert names(cloudwatch, StateValue="ALARM") == ["n229"]
    assert len(names(cloudwatch)) == 100
    pages = cloudwatch.pages("DescribeAlarms", "MetricAlarms")
    assert [len(page) for page in pages] == [100, 100, 30]


def alarm(name: str) -> Any:
    from rqsqs.alarm_models import Alarm

    return Alarm.from_json(minimal(name))


def test_alarms_are_chosen_by_name_prefix_state_kind_and_action(cloudwatch: CloudWatch) -> None:
    cloudwatch("PutMetricAlarm", **minimal("orders late", OKActions=["arn:aws:sns:us-east-1:000000000000:x"]))
    cloudwatch("PutMetricAlarm", **minimal("orders dead"))
    cloudwatch("PutCompositeAlarm", AlarmName="page", AlarmRule='ALARM("orders late")', AlarmActions=["log:"])
    assert names(cloudwatch, AlarmNames=["page", "orders dead", "missing"]) == ["orders dead", "page"]
    assert names(cloudwatch, AlarmNamePrefix="orders") == ["orders dead", "orders late"]
    assert names(cloudwatch, ActionPrefix="arn:aws:sns:us-east-1:000000000000:") == ["orders late"]
    assert names(cloudwatch, ActionPrefix="log") == ["page"]
    assert names(cloudwatch, StateValue="OK") == ["page"]
    only = cloudwatch("DescribeAlarms", AlarmNames=["page", "orders dead"])
    assert (len(only["MetricAlarms"]), only["CompositeAlarms"]) == (1, [])
    only = cloudwatch("DescribeAlarms", AlarmTypes=["CompositeAlarm"])
    assert (only["MetricAlarms"], len(only["CompositeAlarms"])) == ([], 1)
    assert names(cloudwatch, AlarmNames=[]) == ["orders dead", "orders late", "page"]
    told = refused(lambda: cloudwatch("DescribeAlarms", AlarmNames=["a"], AlarmNamePrefix="a"), ValidationError)
    assert told == "AlarmNamePrefix and AlarmNames cannot be specified together."
    assert names(cloudwatch, AlarmNames=[], AlarmNamePrefix="orders l") == ["orders late"]


def test_children_and_parents_are_told_shortly(cloudwatch: CloudWatch) -> None:
    for name in ("a", "b", "c"):
        cloudwatch("PutMetricAlarm", **minimal(name))
    cloudwatch("PutCompositeAlarm", AlarmName="p1", AlarmRule=f"ALARM({ARN}a) OR OK(b)")
    cloudwatch("PutCompositeAlarm", AlarmName="p2", AlarmRule="ALARM(p1) AND NOT ALARM(a)")
    found = cloudwatch("DescribeAlarms", ChildrenOfAlarmName="p2")
    times = {"StateUpdatedTimestamp", "StateTransitionedTimestamp"}
    for kind, name, state in (("MetricAlarms", "a", "INSUFFICIENT_DATA"), ("CompositeAlarms", "p1", "OK")):
        (one,) = found[kind]
        assert one.keys() == {"AlarmName", "AlarmArn", "StateValue", *times}
        assert (one["AlarmName"], one["AlarmArn"], one["StateValue"]) == (name, ARN + name, state)
    found = cloudwatch("DescribeAlarms", ParentsOfAlarmName="a")
    assert found["CompositeAlarms"] == [{"AlarmName": name, "AlarmArn": ARN + name} for name in ("p1", "p2")]
    pages = cloudwatch.pages("DescribeAlarms", "CompositeAlarms", ParentsOfAlarmName="a", MaxRecords=1)
    assert [[each["AlarmName"] for each in page] for page in pages] == [["p1"], ["p2"]]
    pages = cloudwatch.pages("DescribeAlarms", "MetricAlarms", ChildrenOfAlarmName="p1", MaxRecords=1)
    assert [[each["AlarmName"] for each in page] for page in pages] == [["a"], ["b"]]
    for name in ("ChildrenOfAlarmName", "ParentsOfAlarmName"):
        nothing = cloudwatch("DescribeAlarms", **{name: "missing"})
        assert nothing == {"CompositeAlarms": [], "MetricAlarms": [], "LogAlarms": []}
        told = refused(lambda name=name: cloudwatch("DescribeAlarms", **{name: "a"}, StateValue="OK"), ValidationError)
        assert told == f"{name} cannot be specified together with StateValue."
    assert cloudwatch("DescribeAlarms", ChildrenOfAlarmName="p1", AlarmNames=[], AlarmTypes=[])["MetricAlarms"]


def test_alarms_of_a_metric(cloudwatch: CloudWatch) -> None:
    cloudwatch("PutMetricAlarm", **minimal("a"))
    cloudwatch("PutMetricAlarm", **minimal("b", Period=300, Unit="Seconds", Statistic=None, ExtendedStatistic="p50"))
    cloudwatch("PutMetricAlarm", **minimal("c", Dimensions=[{"Name": "QueueName", "Value": "other"}]))
    metric = {name: MINIMAL[name] for name in ("Namespace", "MetricName", "Dimensions")}

    def found(**params: Any) -> list[str]:
        answer = cloudwatch("DescribeAlarmsForMetric", **{**metric, **params})
        return [each["AlarmName"] for each in answer["MetricAlarms"]]

    assert found() == ["a", "b"]
    assert found(Period=300) == found(Unit="Seconds") == found(ExtendedStatistic="p50") == ["b"]
    assert found(Statistic="Maximum") == ["a"]
    assert found(Statistic="Minimum") == found(Dimensions=[]) == []
    assert found(Dimensions=[{"Name": "QueueName", "Value": "other"}]) == ["c"]


def test_region_and_account_of_the_caller_are_in_arns_and_reasons(engine: Engine) -> None:
    cloudwatch = CloudWatch(engine, region="cn-north-1", account="111122223333")
    cloudwatch("PutMetricAlarm", **minimal())
    cloudwatch("PutCompositeAlarm", AlarmName="page", AlarmRule="ALARM(late)")
    cloudwatch("SetAlarmState", AlarmName="late", StateValue="ALARM", StateReason="a test")
    (page,) = cloudwatch("DescribeAlarms", AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    arn = "arn:aws-cn:cloudwatch:cn-north-1:111122223333:alarm:"
    assert page["AlarmArn"] == arn + "page"
    assert page["StateReason"].startswith(f"{arn}late transitioned to ALARM at ")
    assert json.loads(page["StateReasonData"])["triggeringAlarms"][0]["arn"] == arn + "late"
    events = cloudwatch("DescribeAlarmHistory", AlarmTypes=["CompositeAlarm"], HistoryItemType="StateUpdate")
    assert f"{arn}late" in events["AlarmHistoryItems"][0]["HistoryData"]
    assert cloudwatch("ListTagsForResource", ResourceARN=arn + "page") == {"Tags": []}
    cloudwatch("PutCompositeAlarm", AlarmName="page 2", AlarmRule=f'ALARM("{arn}late") AND OK(page)')
    foreign = (
        ARN,
        arn.replace("aws-cn", "aws"),
        arn.replace("cn-north-1", "cn-northwest-1"),
        arn.replace("111122223333", "444455556666"),
    )
    for other in foreign:
        refused(
            lambda other=other: cloudwatch("ListTagsForResource", ResourceARN=f"{other}page"), TaggedResourceNotFound
        )
        rule = f'ALARM("{other}late") OR OK({other}page) OR OK("{arn}late")'
        told = refused(
            lambda rule=rule: cloudwatch("PutCompositeAlarm", AlarmName="page 3", AlarmRule=rule), ValidationError
        )
        names = f"[{other}late, {other}page]"
        assert told == f"Could not save the composite alarm as alarms {names} in the alarm rule do not exist"


def test_many_children_that_change_at_once_fit_into_the_reason(engine: Engine) -> None:
    cloudwatch = CloudWatch(engine, region="ap-northeast-1", account="111122223333")
    children = [f"{n:02}" + "c" * 60 for n in range(25)]
    for name in children:
        cloudwatch("PutMetricAlarm", **minimal(name))
    cloudwatch("PutCompositeAlarm", AlarmName="page", AlarmRule=" OR ".join(f"ALARM({name})" for name in children))
    (page,) = cloudwatch("DescribeAlarms", AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert len(json.loads(page["StateReasonData"])["triggeringAlarms"]) > 15  # and no more than the model allows


# PutCompositeAlarm


def test_a_composite_alarm_is_evaluated_at_once(cloudwatch: CloudWatch) -> None:
    cloudwatch("PutMetricAlarm", **minimal())
    rule = f'NOT ALARM("{ARN}late")'
    cloudwatch("PutCompositeAlarm", AlarmName="page", AlarmRule=rule, AlarmDescription="d")
    (found,) = cloudwatch("DescribeAlarms", AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert (found["AlarmRule"], found["AlarmDescription"]) == (rule, "d")
    assert found["StateReason"] == f"{ARN}page was created and its alarm rule evaluates to ALARM"
    assert (found["ActionsEnabled"], found["OKActions"]) == (True, [])


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"AlarmRule": "ALARM(x) OR OK(y) OR OK(late)"},
            "Could not save the composite alarm as alarms [x, y] in the alarm rule do not exist"),
        ({"AlarmRule": "ALARM("}, "AlarmRule must have the name of an alarm as in ALARM(name)"),
        ({"AlarmRule": "ALARM(page)"}, "AlarmRule must name other alarms, got 'page' itself"),
        ({"AlarmRule": "ALARM(late)", "ActionsSuppressor": "late"},
            "The parameter ActionsSuppressor is not supported here: there are no suppressors"),
        ({"AlarmName": "late", "AlarmRule": "TRUE"}, "an alarm must stay what it is"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_composite_alarm_is_refused(cloudwatch: CloudWatch, params: dict[str, Any], text: str) -> None:
    cloudwatch("PutMetricAlarm", **minimal())
    told = refused(lambda: cloudwatch("PutCompositeAlarm", **{"AlarmName": "page", **params}), ValidationError)
    assert told.startswith(text)


# SetAlarmState, EnableAlarmActions, DisableAlarmActions


def test_a_state_is_set_with_its_reason(cloudwatch: CloudWatch) -> None:
    cloudwatch("PutMetricAlarm", **minimal())
    data = '{"a": 1}'
    cloudwatch("SetAlarmState", AlarmName="late", StateValue="ALARM", StateReason="", StateReasonData=data)
    (found,) = cloudwatch("DescribeAlarms")["MetricAlarms"]
    assert (found["StateValue"], found["StateReason"], found["StateReasonData"]) == ("ALARM", "", data)
    told = refused(
        lambda: cloudwatch(
            "SetAlarmState", AlarmName="late", StateValue="OK", StateReason="r", StateReasonData="{invalid"
        ),
        InvalidFormat,
    )
    assert told == "StateReasonData must be a JSON object, got '{invalid'."
    missing = {"AlarmName": "missing", "StateValue": "OK", "StateReason": "r"}
    assert refused(lambda: cloudwatch("SetAlarmState", **missing), ResourceNotFound) == ""


def test_actions_are_enabled_and_disabled_and_unknown_names_passed_by(cloudwatch: CloudWatch) -> None:
    for name in ("a", "b"):
        cloudwatch("PutMetricAlarm", **minimal(name))
    cloudwatch("DisableAlarmActions", AlarmNames=["missing", "b", "b"])

    def enabled() -> list[bool]:
        return [each["ActionsEnabled"] for each in cloudwatch("DescribeAlarms")["MetricAlarms"]]

    assert enabled() == [True, False]
    cloudwatch("EnableAlarmActions", AlarmNames=["b", "missing"])
    assert enabled() == [True, True]
    cloudwatch("EnableAlarmActions", AlarmNames=[])


def test_actions_are_due_once_a_state_begins_unless_they_are_disabled(cloudwatch: CloudWatch) -> None:
    def actions() -> list[str]:
        cloudwatch.engine.clock.advance_ms(10)
        return [entry.action for entry in cloudwatch.engine.execute(read_actions(cloudwatch.context.space)).entries]

    topic = "arn:aws:sns:us-east-1:000000000000:ok"
    cloudwatch("PutMetricAlarm", **minimal(AlarmActions=["log:"], OKActions=[topic], ActionsEnabled=False))
    for state in ("ALARM", "OK"):
        cloudwatch("SetAlarmState", AlarmName="late", StateValue=state, StateReason="r")
    assert actions() == []
    cloudwatch("EnableAlarmActions", AlarmNames=["late"])
    for _ in range(2):
        cloudwatch("SetAlarmState", AlarmName="late", StateValue="ALARM", StateReason="r")
        cloudwatch.engine.clock.advance_ms(10)
    assert actions() == ["log:"]


# DeleteAlarms


def test_those_that_exist_are_deleted_and_missing_ones_told(cloudwatch: CloudWatch) -> None:
    for name in ("a", "b", "c"):
        cloudwatch("PutMetricAlarm", **minimal(name))
    cloudwatch("DeleteAlarms", AlarmNames=["a", "a"])
    assert names(cloudwatch) == ["b", "c"]
    for missing in (["a"], ["b", "a"]):
        told = refused(lambda missing=missing: cloudwatch("DeleteAlarms", AlarmNames=missing), ResourceNotFound)
        assert told == ""
    assert names(cloudwatch) == ["c"]
    cloudwatch("DeleteAlarms", AlarmNames=[])


def test_an_alarm_that_a_composite_alarm_needs_is_not_deleted(cloudwatch: CloudWatch) -> None:
    for name in ("a", "b"):
        cloudwatch("PutMetricAlarm", **minimal(name))
    cloudwatch("PutCompositeAlarm", AlarmName="p", AlarmRule="ALARM(a)")
    cloudwatch("PutCompositeAlarm", AlarmName="q", AlarmRule="TRUE")
    told = refused(lambda: cloudwatch("DeleteAlarms", AlarmNames=["b", "a"]), ResourceConflict)
    assert told == "Cannot delete a as there are composite alarm(s) depending on it."
    refused(lambda: cloudwatch("DeleteAlarms", AlarmNames=["p", "q"]), ValidationError)
    assert names(cloudwatch) == ["a", "b", "p", "q"]
    cloudwatch("DeleteAlarms", AlarmNames=["p", "a"])
    assert names(cloudwatch) == ["b", "q"]


def test_an_alarm_whose_definition_cannot_be_read_is_in_nobodys_way(cloudwatch: CloudWatch) -> None:
    for name in ("a", "b", "c"):
        cloudwatch("PutMetricAlarm", **minimal(name))
    (definitions,) = cloudwatch.context.space.alarms("definitions")
    cloudwatch.engine.redis.hset(definitions, "b", "no JSON")
    assert names(cloudwatch) == names(cloudwatch, AlarmNames=["a", "b", "c"]) == ["a", "c"]
    metric = {name: MINIMAL[name] for name in ("Namespace", "MetricName", "Dimensions")}
    assert len(cloudwatch("DescribeAlarmsForMetric", **metric)["MetricAlarms"]) == 2
    cloudwatch("DisableAlarmActions", AlarmNames=["a", "b", "c"])
    cloudwatch("SetAlarmState", AlarmName="b", StateValue="OK", StateReason="r")
    for action, params in (("ListTagsForResource", {}), ("UntagResource", {"TagKeys": ["a"]})):
        told = refused(
            lambda action=action, params=params: cloudwatch(action, ResourceARN=ARN + "b", **params),
            InternalServiceError,
        )
        assert told == "the definition of the alarm 'b' must be readable, but it is not: put it again"
    cloudwatch("PutMetricAlarm", **minimal("b"))
    assert names(cloudwatch) == ["a", "b", "c"]
    cloudwatch.engine.redis.hset(definitions, "b", "[]")
    cloudwatch("DeleteAlarms", AlarmNames=["b"])
    assert names(cloudwatch) == ["a", "c"]


# DescribeAlarmHistory


def test_what_happened_is_told_in_either_order_and_page_by_page(cloudwatch: CloudWatch) -> None:
    for _ in range(3):  # in the same millisecond
        cloudwatch("PutMetricAlarm", **minimal())
    cloudwatch("PutCompositeAlarm", AlarmName="page", AlarmRule="ALARM(late)")
    begin = moment(cloudwatch)
    states = ["ALARM", "OK", "ALARM", "INSUFFICIENT_DATA", "OK"]
    for state in states:
        cloudwatch("SetAlarmState", AlarmName="late", StateValue=state, StateReason="r")
        cloudwatch.engine.clock.advance_ms(1)
    cloudwatch.engine.clock.advance_ms(10)
    cloudwatch("DeleteAlarms", AlarmNames=["page", "late"])

    def told(**params: Any) -> list[str]:
        pages = cloudwatch.pages("DescribeAlarmHistory", "AlarmHistoryItems", **params)
        assert all(len(page) == params.get("MaxRecords", 100) for page in pages[:-1])
        return [each["HistorySummary"] for page in pages for each in page]

    updates = [f"Alarm updated from {a} to {b}" for a, b in zip(["INSUFFICIENT_DATA", *states], states, strict=False)]
    wanted = ['Alarm "late" created', *['Alarm "late" updated'] * 2, *updates, 'Alarm "late" deleted']
    assert told(AlarmName="late") == told() == wanted[::-1]
    assert told(AlarmName="late", ScanBy="TimestampAscending") == wanted
    for most in (1, 2, 3):
        assert told(AlarmName="late", MaxRecords=most) == told(MaxRecords=most) == wanted[::-1]
        assert told(ScanBy="TimestampAscending", MaxRecords=most) == wanted
    assert told(HistoryItemType="StateUpdate") == updates[::-1]
    assert told(HistoryItemType="StateUpdate", MaxRecords=2) == updates[::-1]
    both = told(AlarmTypes=["MetricAlarm", "CompositeAlarm"], MaxRecords=4)
    assert sorted(both) == sorted([*wanted, *told(AlarmTypes=["CompositeAlarm"])])
    assert told(AlarmTypes=["CompositeAlarm"])[0] == 'Alarm "page" deleted'
    assert told(AlarmName="page") == []
    assert told(AlarmName="page", AlarmTypes=["CompositeAlarm"]) == told(AlarmTypes=["CompositeAlarm"])
    assert told(EndDate=begin - timedelta(seconds=1)) == []
    assert told(StartDate=begin + timedelta(days=1)) == []
    assert told(StartDate=begin - timedelta(days=1), EndDate=begin + timedelta(days=1)) == wanted[::-1]
    item = cloudwatch("DescribeAlarmHistory", HistoryItemType="StateUpdate", MaxRecords=1)["AlarmHistoryItems"][0]
    assert item["AlarmType"] == "MetricAlarm"
    data = json.loads(item["HistoryData"])
    assert data["version"] == "1.0"
    assert (data["oldState"]["stateValue"], data["newState"]["stateValue"]) == ("INSUFFICIENT_DATA", "OK")


def moment(cloudwatch: CloudWatch) -> datetime:
    return datetime.fromtimestamp(cloudwatch.engine.clock.ms / 1000, UTC)


def test_a_page_of_the_history_begins_where_the_last_one_ended(cloudwatch: CloudWatch) -> None:
    cloudwatch("PutMetricAlarm", **minimal())
    for n in range(4):
        cloudwatch.engine.clock.advance_ms(1000)
        cloudwatch("SetAlarmState", AlarmName="late", StateValue="OK" if n % 2 else "ALARM", StateReason="r")
    first = cloudwatch("DescribeAlarmHistory", MaxRecords=2)
    cloudwatch.engine.clock.advance_ms(1000)
    cloudwatch("SetAlarmState", AlarmName="late", StateValue="ALARM", StateReason="new")
    second = cloudwatch("DescribeAlarmHistory", MaxRecords=2, NextToken=first["NextToken"])
    times = [each["Timestamp"] for answer in (first, second) for each in answer["AlarmHistoryItems"]]
    assert times == sorted(set(times), reverse=True)
    assert len(times) == 4
    refused(lambda: cloudwatch("DescribeAlarmHistory", NextToken="x"), InvalidNextToken)
    other = first["NextToken"]
    refused(lambda: cloudwatch("DescribeAlarmHistory", AlarmName="late", NextToken=other), InvalidNextToken)


def test_data_of_the_history_is_as_long_as_it_may_be(cloudwatch: CloudWatch) -> None:
    dimensions = [{"Name": f"n{n:02}", "Value": "v" * 1000} for n in range(30)]
    cloudwatch("PutMetricAlarm", **minimal(Namespace="own", MetricName="m", Dimensions=dimensions))
    for state in ("ALARM", "OK"):
        data = json.dumps({"a": "x" * 3900})
        cloudwatch("SetAlarmState", AlarmName="late", StateValue=state, StateReason="é" * 1023, StateReasonData=data)
    items = cloudwatch("DescribeAlarmHistory")["AlarmHistoryItems"]  # the lengths are those of the model
    assert [json.loads(each["HistoryData"])["version"] for each in items] == ["1.0"] * 3


# Tags


def test_tags_are_set_listed_and_removed(cloudwatch: CloudWatch) -> None:
    cloudwatch("PutMetricAlarm", **minimal(Tags=[{"Key": "a", "Value": "1"}]))
    before = cloudwatch("DescribeAlarms")["MetricAlarms"]
    arn = ARN + "late"

    def tags() -> dict[str, str]:
        found = cloudwatch("ListTagsForResource", ResourceARN=arn)["Tags"]
        return {tag["Key"]: tag["Value"] for tag in found}

    cloudwatch.engine.clock.advance_ms(1000)
    cloudwatch("TagResource", ResourceARN=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}])
    assert tags() == {"a": "2", "b": ""}
    cloudwatch("UntagResource", ResourceARN=arn, TagKeys=["a", "missing"])
    assert tags() == {"b": ""}
    assert cloudwatch("DescribeAlarms")["MetricAlarms"] == before
    assert len(cloudwatch("DescribeAlarmHistory")["AlarmHistoryItems"]) == 1
    many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    told = refused(lambda: cloudwatch("TagResource", ResourceARN=arn, Tags=many), InvalidParameterValue)
    assert told == "Tags must be 50 at most, got 51"
    assert tags() == {"b": ""}


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("TagResource", {"Tags": [{"Key": "a", "Value": ""}]}),
        ("UntagResource", {"TagKeys": ["a"]}),
        ("ListTagsForResource", {}),
    ],
)
def test_tags_of_what_is_no_alarm(cloudwatch: CloudWatch, action: str, params: dict[str, Any]) -> None:
    for arn in (f"{ARN}missing", ARN.replace("us-east-1", "eu-west-1") + "late"):
        refused(lambda arn=arn: cloudwatch(action, ResourceARN=arn, **params), TaggedResourceNotFound)
    for arn in ("late", "arn:aws:sqs:us-east-1:000000000000:late", ARN.replace(":alarm:", ":dashboard:") + "x"):
        refused(lambda arn=arn: cloudwatch(action, ResourceARN=arn, **params), InvalidParameterValue)
