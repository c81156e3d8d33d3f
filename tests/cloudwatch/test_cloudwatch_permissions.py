"""Who may do what with alarms and metrics at a gateway: `cloudwatch:*` in the policies of callers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rqsqs._core.keys import Keyspace
from rqsqs._io.sync.runner import Transport
from rqsqs.gateway.alarm_permissions import needed
from rqsqs.gateway.authorization import Authorizer
from rqsqs.gateway.callers import ANONYMOUS, Caller, root_of, user_of
from rqsqs.gateway.policies import read_identity_policy
from rqsqs.gateway.protocols.cloudwatch_shapes import ACTIONS
from rqsqs.gateway.refusals import AccessDenied
from rqsqs.gateway.request import HttpRequest
from rqsqs.sqs import Context, perform
from rqsqs.sqs.context import DEFAULT_ACCOUNT

REQUEST = HttpRequest("POST", b"/", b"", {"host": "localhost"}, peer="192.0.2.1")
ALARMS = f"arn:aws:cloudwatch:us-east-1:{DEFAULT_ACCOUNT}:alarm:"
QUEUE = f"arn:aws:sqs:us-east-1:{DEFAULT_ACCOUNT}:orders"
CONTEXT = Context(Keyspace("p"))
EVERYTHING = "*"


def user(*statements: dict[str, Any]) -> Caller:
    """A user with these statements."""
    policy = read_identity_policy(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    return user_of("ann", DEFAULT_ACCOUNT, key_id="A", policies=(policy,))


def allow(action: str, resource: str = "*", **condition: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": action,
        "Resource": resource,
        **({"Condition": condition} if condition else {}),
    }


def deny(action: str, resource: str = "*", **condition: Any) -> dict[str, Any]:
    return {**allow(action, resource, **condition), "Effect": "Deny"}


def refusal(caller: Caller, action: str, **params: Any) -> str:
    """Why a request is refused; "" if it is not."""
    try:
        pending = Authorizer(allow_anonymous=True).check(caller, action, params, REQUEST, CONTEXT)
        if pending is not None:
            for _ in pending:
                raise AssertionError("nothing has to be read")
    except AccessDenied as error:
        return str(error)
    return ""


def may(caller: Caller, action: str, **params: Any) -> bool:
    return not refusal(caller, action, **params)


def about(action: str, **params: Any) -> list[tuple[str, str]]:
    """Actions and resources that a request has to be allowed."""
    return [(each.full_action, each.resource(CONTEXT)) for each in needed(action, params, CONTEXT)]


@pytest.mark.parametrize("action", ["DescribeAlarmsForMetric", "GetMetricData", "GetMetricStatistics", "ListMetrics"])
def test_metrics_are_about_no_resource(action: str) -> None:
    assert about(action) == [(f"cloudwatch:{action}", EVERYTHING)]
    assert may(user(allow("cloudwatch:Get*"), allow("cloudwatch:ListMetrics"), allow("cloudwatch:Desc*")), action)
    assert not may(user(allow("cloudwatch:*", f"{ALARMS}*")), action)


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("PutMetricAlarm", {"AlarmName": "late"}),
        ("SetAlarmState", {"AlarmName": "late"}),
        ("DescribeAlarmHistory", {"AlarmName": "late"}),
        ("DescribeAlarms", {"AlarmNames": ["late"]}),
        ("DeleteAlarms", {"AlarmNames": ["late"]}),
        ("EnableAlarmActions", {"AlarmNames": ["late"]}),
        ("DisableAlarmActions", {"AlarmNames": ["late"]}),
        ("TagResource", {"ResourceARN": f"{ALARMS}late"}),
        ("UntagResource", {"ResourceARN": f"{ALARMS}late"}),
        ("ListTagsForResource", {"ResourceARN": f"{ALARMS}late"}),
    ],
)
def test_alarms_are_resources(action: str, params: dict[str, Any]) -> None:
    assert about(action, **params) == [(f"cloudwatch:{action}", f"{ALARMS}late")]
    assert may(user(allow("cloudwatch:*", f"{ALARMS}la*")), action, **params)
    assert not may(user(allow("cloudwatch:*", f"{ALARMS}early")), action, **params)
    assert not may(user(allow("cloudwatch:*"), deny(f"cloudwatch:{action}", f"{ALARMS}late")), action, **params)


def test_every_action_has_a_rule_and_none_is_allowed_without_a_policy() -> None:
    for action in ACTIONS:
        for params in ({}, {"AlarmName": "a"}, {"AlarmNames": ["a", "b"]}):
            assert about(action, **params), action
            assert not may(user(allow("sqs:*")), action, **params)
            assert not may(ANONYMOUS, action, **params)
            assert may(root_of(DEFAULT_ACCOUNT), action, **params)


def test_each_alarm_that_is_named_must_be_allowed() -> None:
    ann = user(allow("cloudwatch:DeleteAlarms", f"{ALARMS}mine-*"))
    assert may(ann, "DeleteAlarms", AlarmNames=["mine-1", "mine-2"])
    assert refusal(ann, "DeleteAlarms", AlarmNames=["mine-1", "yours"]) == (
        f"User: {ann.arn} is not authorized to perform: cloudwatch:DeleteAlarms on resource: {ALARMS}yours because no "
        "identity-based policy allows the cloudwatch:DeleteAlarms action"
    )


def test_lists_of_alarms_are_about_all_alarms_and_composites_about_everything() -> None:
    assert about("DescribeAlarms") == about("DescribeAlarms", AlarmNamePrefix="x")
    assert about("DescribeAlarms") == [("cloudwatch:DescribeAlarms", f"{ALARMS}*")]
    assert about("DescribeAlarmHistory") == [("cloudwatch:DescribeAlarmHistory", f"{ALARMS}*")]
    for params in (
        {"AlarmTypes": ["MetricAlarm", "CompositeAlarm"], "AlarmNames": ["a"]},
        {"ChildrenOfAlarmName": "a"},
        {"ParentsOfAlarmName": "a"},
    ):
        assert about("DescribeAlarms", **params) == [("cloudwatch:DescribeAlarms", EVERYTHING)]
    history = about("DescribeAlarmHistory", AlarmTypes=["CompositeAlarm"], AlarmName="a")
    assert history == [("cloudwatch:DescribeAlarmHistory", EVERYTHING)]
    assert about("PutCompositeAlarm", AlarmName="a") == [("cloudwatch:PutCompositeAlarm", EVERYTHING)]
    ann = user(allow("cloudwatch:DescribeAlarms", f"{ALARMS}mine-*"))
    assert not may(ann, "DescribeAlarms", AlarmNamePrefix="mine-")
    assert not may(ann, "DescribeAlarms", AlarmNames=["*"])
    assert not may(ann, "DescribeAlarms", AlarmNames=["\0"])
    assert refusal(ann, "ListMetrics") == (
        f"User: {ann.arn} is not authorized to perform: cloudwatch:ListMetrics because no identity-based policy allows "
        "the cloudwatch:ListMetrics action"
    )


def test_names_that_no_alarm_can_have_are_no_way_around_a_policy() -> None:
    ann = user(allow("cloudwatch:*", f"{ALARMS}mine-*"))
    for name in ("*", "\0", "", "mine-" + "x" * 300):
        assert not may(ann, "DeleteAlarms", AlarmNames=[name])
        assert not may(ann, "PutMetricAlarm", AlarmName=name)


def test_tags_of_a_new_alarm_need_a_permission_of_their_own() -> None:
    tags = [{"Key": "team", "Value": "web"}]
    ann = user(allow("cloudwatch:PutMetricAlarm"))
    assert may(ann, "PutMetricAlarm", AlarmName="a")
    assert "cloudwatch:TagResource" in refusal(ann, "PutMetricAlarm", AlarmName="a", Tags=tags)
    ann = user(allow("cloudwatch:*", StringEquals={"aws:RequestTag/team": "web"}))
    assert may(ann, "PutMetricAlarm", AlarmName="a", Tags=tags)
    assert not may(ann, "PutMetricAlarm", AlarmName="a", Tags=[{"Key": "team", "Value": "mail"}])
    assert not may(ann, "PutMetricAlarm", AlarmName="a", Tags=[{}])
    assert not may(ann, "PutMetricAlarm", AlarmName="a")
    ann = user(allow("cloudwatch:UntagResource", **{"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}))
    assert may(ann, "UntagResource", ResourceARN=f"{ALARMS}a", TagKeys=["team"])
    assert not may(ann, "UntagResource", ResourceARN=f"{ALARMS}a", TagKeys=["team", "cost"])


def test_the_namespace_is_a_condition_key() -> None:
    ann = user(allow("cloudwatch:*", StringEquals={"cloudwatch:namespace": "AWS/SQS"}))
    assert may(ann, "ListMetrics", Namespace="AWS/SQS")
    assert not may(ann, "ListMetrics", Namespace="rqsqs")
    assert not may(ann, "ListMetrics")

    def query(namespace: str) -> dict[str, Any]:
        return {"Id": "m", "MetricStat": {"Metric": {"Namespace": namespace, "MetricName": "x"}}}

    assert may(ann, "GetMetricData", MetricDataQueries=[query("AWS/SQS"), {"Id": "e", "Expression": "m"}])
    assert may(ann, "PutMetricAlarm", AlarmName="a", Metrics=[query("AWS/SQS")])
    spared = user(allow("cloudwatch:*"), deny("cloudwatch:*", StringEquals={"cloudwatch:namespace": "rqsqs"}))
    only = user(allow("cloudwatch:*"), deny("cloudwatch:*", StringNotEquals={"cloudwatch:namespace": "AWS/SQS"}))
    for caller in (ann, spared, only):
        assert not may(caller, "GetMetricData", MetricDataQueries=[query("AWS/SQS"), query("rqsqs")])
        assert not may(caller, "PutMetricAlarm", AlarmName="a", Metrics=[query("AWS/SQS"), query("rqsqs")])


def test_the_actions_of_an_alarm_are_a_condition_key() -> None:
    hook, other = "arn:aws:sns:us-east-1:000000000000:ops", "arn:aws:sns:us-east-1:000000000000:all"
    ann = user(allow("cloudwatch:*", **{"ForAllValues:StringEquals": {"cloudwatch:AlarmActions": [hook]}}))
    assert may(ann, "PutMetricAlarm", AlarmName="a", AlarmActions=[hook], OKActions=[hook])
    assert not may(ann, "PutMetricAlarm", AlarmName="a", AlarmActions=[hook], InsufficientDataActions=[other])
    ann = user(
        allow("cloudwatch:*"),
        deny("cloudwatch:Put*", **{"ForAnyValue:StringEquals": {"cloudwatch:AlarmActions": [other]}}),
    )
    assert may(ann, "PutCompositeAlarm", AlarmName="a", AlarmActions=[hook])
    assert not may(ann, "PutCompositeAlarm", AlarmName="a", AlarmActions=[hook, other])


class TestMessagesOfAlarms:
    """An alarm that sends messages is put by somebody who may send them."""

    @pytest.fixture
    def transport(self, valkey_url: str, prefix: str) -> Iterator[Transport]:
        transport = Transport(valkey_url, prefix)
        transport.run(perform(Context(transport.space), "CreateQueue", {"QueueName": "orders"}))
        yield transport
        transport.close()

    def may(self, transport: Transport, caller: Caller, **params: Any) -> bool:
        try:
            pending = Authorizer().check(
                caller, "PutMetricAlarm", {"AlarmName": "a", **params}, REQUEST, Context(transport.space)
            )
            if pending is not None:
                transport.run(pending)
        except AccessDenied as error:
            return f"sqs:sendmessage on resource: {QUEUE}" not in str(error)
        return True

    @pytest.mark.parametrize("name", ["OKActions", "AlarmActions", "InsufficientDataActions"])
    def test_by_the_policies_of_the_caller_and_of_the_queue(self, transport: Transport, name: str) -> None:
        puts = allow("cloudwatch:PutMetricAlarm")
        target = {name: [QUEUE]}
        assert not self.may(transport, user(puts), **target)
        assert self.may(transport, user(puts), **{name: ["arn:aws:sns:us-east-1:000000000000:ops"]})
        sends = user(puts, allow("sqs:SendMessage", QUEUE))
        assert self.may(transport, sends, **target)
        context = Context(transport.space)
        url = "http://localhost/000000000000/orders"

        def put(statement: dict[str, Any]) -> None:
            policy = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Principal": "*"}]})
            params = {"QueueUrl": url, "Attributes": {"Policy": policy}}
            transport.run(perform(context, "SetQueueAttributes", params))

        put(allow("sqs:SendMessage", QUEUE))
        assert self.may(transport, user(puts), **target)
        put(deny("sqs:SendMessage", QUEUE))
        assert not self.may(transport, sends, **target)
