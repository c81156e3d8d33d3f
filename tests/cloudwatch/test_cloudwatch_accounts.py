"""Alarms of accounts at a gateway: each account has its own, tags decide, and events tell who did what."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")

import rqsqs
from rqsqs.gateway.keys_editing import NewKey, NewUser, add_key
from tests.gateway.direct import Direct

OWN, OTHER = "000000000000", "123456789012"
ANYTHING = {"Effect": "Allow", "Action": "cloudwatch:*", "Resource": "*"}
ALARM: dict[str, Any] = {
    "AlarmName": "late",
    "Namespace": "AWS/SQS",
    "MetricName": "ApproximateAgeOfOldestMessage",
    "Dimensions": [{"Name": "QueueName", "Value": "orders"}],
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 300,
    "ComparisonOperator": "GreaterThanThreshold",
}


def arn(account: str, name: str = "late") -> str:
    return f"arn:aws:cloudwatch:us-east-1:{account}:alarm:{name}"


class Town:
    """Ann of one account, Eve of another one, and the gateway between them."""

    def __init__(self, url: str, prefix: str, path: Path) -> None:
        self.url, self.prefix, self.path = url, prefix, path
        self.ann = self.key("ann", OWN, ANYTHING)
        self.eve = self.key("eve", OTHER, ANYTHING)
        self.team = self.key(
            "team",
            OWN,
            {**ANYTHING, "Condition": {"StringEquals": {"aws:ResourceTag/team": "web"}}},
        )
        self.at = Direct(url=url, prefix=prefix, keys=path)

    def key(self, name: str, account: str, *statements: dict[str, Any]) -> NewKey:
        return add_key(self.path, name, NewUser(account=account, statements=statements))

    def call(self, key: NewKey, action: str, **params: Any) -> tuple[int, Any]:
        return self.at.call(key, action, **params)

    def names(self, key: NewKey) -> list[str]:
        return [each["AlarmName"] for each in self.call(key, "DescribeAlarms")[1]["MetricAlarms"]]


@pytest.fixture
def town(valkey_url: str, prefix: str, tmp_path: Path) -> Iterator[Town]:
    town = Town(valkey_url, prefix, tmp_path / "keys.toml")
    with contextlib.closing(town.at):
        yield town


def test_each_account_has_alarms_of_its_own(town: Town) -> None:
    assert town.call(town.ann, "PutMetricAlarm", **ALARM)[0] == 200
    assert town.names(town.ann) == ["late"]
    assert town.names(town.eve) == []
    [found] = town.call(town.ann, "DescribeAlarms")[1]["MetricAlarms"]
    assert found["AlarmArn"] == arn(OWN)
    for action, params in (
        ("TagResource", {"Tags": [{"Key": "a", "Value": "b"}]}),
        ("UntagResource", {"TagKeys": ["a"]}),
        ("ListTagsForResource", {}),
    ):
        status, answer = town.call(town.eve, action, ResourceARN=arn(OWN), **params)
        assert status in (400, 403, 404), answer
    status, _ = town.call(town.eve, "SetAlarmState", AlarmName="late", StateValue="OK", StateReason="x")
    assert status == 404
    town.call(town.eve, "DeleteAlarms", AlarmNames=["late"])
    assert town.names(town.ann) == ["late"]
    assert town.call(town.eve, "PutMetricAlarm", **ALARM)[0] == 200
    [found] = town.call(town.eve, "DescribeAlarms")[1]["MetricAlarms"]
    assert found["AlarmArn"] == arn(OTHER)


def test_tags_of_alarms_decide(town: Town) -> None:
    for name, team in (("ours", "web"), ("theirs", "mail")):
        tags = [{"Key": "team", "Value": team}]
        assert town.call(town.ann, "PutMetricAlarm", **{**ALARM, "AlarmName": name, "Tags": tags})[0] == 200
    drill = {"StateValue": "ALARM", "StateReason": "a drill"}
    assert town.call(town.team, "SetAlarmState", AlarmName="ours", **drill)[0] == 200
    assert town.call(town.team, "SetAlarmState", AlarmName="theirs", **drill)[0] == 403
    assert town.call(town.team, "DeleteAlarms", AlarmNames=["ours", "theirs"])[0] == 403
    assert town.call(town.team, "DescribeAlarms")[0] == 403
    assert town.call(town.team, "SetAlarmState", AlarmName="none", **drill)[0] == 403
    town.call(town.ann, "UntagResource", ResourceARN=arn(OWN, "ours"), TagKeys=["team"])
    assert town.call(town.team, "SetAlarmState", AlarmName="ours", **drill)[0] == 403


def test_events_tell_which_key_changed_an_alarm(town: Town) -> None:
    town.call(town.ann, "PutMetricAlarm", **ALARM)
    town.call(town.ann, "DeleteAlarms", AlarmNames=["late"])
    with rqsqs.connect(town.url, prefix=town.prefix) as connection:
        found = [event for event in connection.events() if event.kind == "alarm-changed"]
    assert len(found) == 2
    assert {(event.who.api, event.who.name, event.who.account) for event in found} == {
        ("gateway", town.ann.key_id, OWN)
    }


def test_denials_are_refused_in_the_words_of_cloudwatch(town: Town) -> None:
    bob = town.key("bob", OWN, {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"})
    keys = town.at.actions._access._keys
    assert keys is not None
    keys.look()
    status, answer = town.call(bob, "DescribeAlarms", AlarmNames=["late"])
    assert status == 403
    assert answer["Message"] == (
        f"User: arn:aws:iam::{OWN}:user/bob is not authorized to perform: cloudwatch:DescribeAlarms on resource: "
        f"{arn(OWN)} because no identity-based policy allows the cloudwatch:DescribeAlarms action"
    )
