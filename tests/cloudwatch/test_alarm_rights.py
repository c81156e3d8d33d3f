"""An alarm that a gateway's caller put sends messages as long as the caller's right to do so lasts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rqsqs
import rqsqs.aio
from rqsqs._action_targets import SendTo
from rqsqs._core.alarm_records import PutBy
from rqsqs.alarms.running import AlarmRunner
from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.alarm_rights import SendRights, why_not
from rqsqs.gateway.keys_editing import NewKey, NewUser, add_key
from rqsqs.gateway.policies import read_queue_policy
from rqsqs.worker import Worker
from tests.gateway.conftest import running
from tests.gateway.direct import Direct
from tests.worker.serving import Running, until

OWN, OTHER = "000000000000", "123456789012"
ALARM, QUEUE = f"arn:aws:cloudwatch:us-east-1:{OWN}:alarm:late", f"arn:aws:sqs:us-east-1:{OWN}:pages"
TARGET = SendTo("us-east-1", OWN, "pages", QUEUE)
ANN = f"arn:aws:iam::{OWN}:user/ann"
SERVICE = {"Service": "cloudwatch.amazonaws.com"}


def statement(effect: str, principal: Any, **condition: Any) -> dict[str, Any]:
    found = {"Effect": effect, "Principal": principal, "Action": "sqs:SendMessage", "Resource": "*"}
    return found | ({"Condition": condition} if condition else {})


def text_of(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


BY_ALARM = {"ArnLike": {"aws:SourceArn": ALARM}}
BY_OTHERS = {"ArnNotLike": {"aws:SourceArn": "arn:aws:cloudwatch:*:*:alarm:late"}}


@pytest.mark.parametrize(
    ("relies", "statements", "may"),
    [
        (False, [], True),
        (True, [], False),
        (True, [statement("Allow", {"AWS": ANN})], True),
        (True, [statement("Allow", {"AWS": f"arn:aws:iam::{OWN}:user/eve"})], False),
        (True, [statement("Allow", {"AWS": ANN}, **BY_ALARM)], True),
        (True, [statement("Allow", SERVICE, **BY_ALARM)], True),
        (True, [statement("Allow", SERVICE, ArnLike={"aws:SourceArn": ALARM + "2"})], False),
        (True, [statement("Allow", SERVICE, StringEquals={"aws:SourceAccount": OWN})], True),
        (True, [statement("Allow", {"Service": "events.amazonaws.com"})], False),
        (False, [statement("Deny", {"AWS": ANN})], False),
        (False, [statement("Deny", SERVICE)], False),
        (False, [statement("Deny", "*", **BY_ALARM)], False),
        (False, [statement("Deny", "*", **BY_OTHERS)], True),
        (False, [statement("Deny", "*", Bool={"aws:SecureTransport": "false"})], True),
        (False, [statement("Deny", {"AWS": f"arn:aws:iam::{OWN}:user/eve"})], True),
    ],
)
def test_the_policy_of_the_queue_decides_each_time(relies: bool, statements: list[dict[str, Any]], may: bool) -> None:
    policy = read_queue_policy(text_of(*statements)) if statements else None
    put_by = PutBy(ANN, ("pages",) if relies else ())
    reason = why_not(put_by, policy, TARGET, ALARM, OWN)
    assert (reason == "") is may
    assert may or "not authorized to perform: sqs:sendmessage" in reason


def test_a_policy_that_nobody_can_read_denies() -> None:
    assert "explicit deny" in why_not(PutBy(ANN), read_queue_policy("{"), TARGET, ALARM, OWN)


def test_the_root_user_may_unless_it_is_denied() -> None:
    root = PutBy(f"arn:aws:iam::{OWN}:root", ("pages",))
    assert why_not(root, None, TARGET, ALARM, OWN) == ""
    assert why_not(root, read_queue_policy(text_of(statement("Deny", "*"))), TARGET, ALARM, OWN) != ""


class Town:
    """A gateway with a queue `pages`, on which an alarm is to send."""

    def __init__(self, url: str, prefix: str, path: Path) -> None:
        def allow(*actions: str) -> dict[str, Any]:
            return {"Effect": "Allow", "Action": list(actions), "Resource": "*"}

        self.url, self.prefix = url, prefix
        self.ann = add_key(path, "ann", NewUser(statements=(allow("cloudwatch:*", "sqs:*"),), account=OWN))
        self.bob = add_key(path, "bob", NewUser(statements=(allow("cloudwatch:*"),), account=OWN))
        self.eve = add_key(path, "eve", NewUser(statements=(allow("cloudwatch:*", "sqs:*"),), account=OTHER))
        self.at = Direct(url=url, prefix=prefix, keys=path)
        self.call(self.ann, "CreateQueue", QueueName="pages")

    def call(self, key: NewKey, action: str, **params: Any) -> Any:
        status, answer = self.at.call(key, action, **params)
        assert status == 200, answer
        return answer

    def policy(self, *statements: dict[str, Any]) -> None:
        url = f"http://h/{OWN}/pages"
        text = text_of(*statements) if statements else ""
        self.call(self.ann, "SetQueueAttributes", QueueUrl=url, Attributes={"Policy": text})

    def put(self, key: NewKey, **params: Any) -> tuple[int, Any]:
        given = {
            "AlarmName": "late",
            "Namespace": "own",
            "MetricName": "m",
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanThreshold",
            "AlarmActions": [QUEUE],
        }
        return self.at.call(key, "PutMetricAlarm", **given | params)

    def fire(self, *, with_rights: bool = True) -> list[str]:
        """Let the alarm go off, and do what it does; returns what the history says of that."""

        async def main() -> None:
            async with rqsqs.aio.connect(self.url, prefix=self.prefix) as connection:
                await connection.alarms.set_state("late", "OK", "a test")
                await connection.alarms.set_state("late", "ALARM", "a test")
                rights = SendRights(connection.transport, OWN) if with_rights else None
                await AlarmRunner(connection, may_send=rights).outbox.until_done()

        asyncio.run(main())
        with rqsqs.connect(self.url, prefix=self.prefix) as connection:
            found = [event for event in connection.alarms.history("late") if event.kind == "Action"]
            return [str(event.data.get("error", "")) for event in found]


@pytest.fixture
def town(valkey_url: str, prefix: str, tmp_path: Path) -> Iterator[Town]:
    town = Town(valkey_url, prefix, tmp_path / "keys.toml")
    with contextlib.closing(town.at):
        yield town


def test_an_alarm_sends_until_the_policy_of_the_queue_denies_it(town: Town) -> None:
    assert town.put(town.ann)[0] == 200
    assert town.fire() == [""]
    town.policy(statement("Deny", SERVICE, **BY_ALARM))
    assert "User: cloudwatch.amazonaws.com is not authorized" in town.fire()[0]
    town.policy(statement("Deny", {"AWS": ANN}, **BY_ALARM))
    assert f"User: {ANN} is not authorized" in town.fire()[0]
    town.policy(statement("Deny", {"AWS": ANN}, ArnNotLike={"aws:SourceArn": ALARM}))
    assert town.fire()[0] == ""


def test_who_may_send_by_the_policy_of_the_queue_may_as_long_as_it_says_so(town: Town) -> None:
    assert town.put(town.bob)[0] == 403
    town.policy(statement("Allow", {"AWS": ANN.replace("ann", "bob")}))
    assert town.put(town.bob)[0] == 200
    assert town.fire() == [""]
    town.policy()
    assert "is not authorized" in town.fire()[0]


def test_the_right_stays_with_the_alarm_until_it_is_put_again(town: Town) -> None:
    town.policy(statement("Allow", {"AWS": ANN.replace("ann", "bob")}))
    assert town.put(town.bob)[0] == 200
    town.policy()
    town.call(town.ann, "DisableAlarmActions", AlarmNames=["late"])
    town.call(town.ann, "EnableAlarmActions", AlarmNames=["late"])
    town.call(town.ann, "TagResource", ResourceARN=ALARM, Tags=[{"Key": "a", "Value": "b"}])
    assert "is not authorized" in town.fire()[0]
    shown = town.call(town.ann, "DescribeAlarms")["MetricAlarms"][0]
    assert "PutBy" not in shown
    with rqsqs.connect(town.url, prefix=town.prefix) as connection:
        connection.alarms.put(connection.alarms.get("late").alarm)  # who has Redis may do everything
    assert town.fire()[0] == ""


def test_who_cannot_find_out_sends_nothing(town: Town) -> None:
    assert town.put(town.ann)[0] == 200
    assert "cannot find out" in town.fire(with_rights=False)[0]
    assert town.fire()[0] == ""


def test_an_alarm_sends_within_its_account_and_region(town: Town) -> None:
    status, answer = town.put(town.eve)
    assert (status, answer["message"][:47]) == (400, "the queue of an action must be of the account 1")
    status, answer = town.put(town.ann, AlarmActions=[QUEUE.replace("us-east-1", "eu-west-1")])
    assert (status, answer["message"][:45]) == (400, "the queue of an action must be of the region ")


def test_a_gateway_with_an_actions_file_refuses_what_that_does_not_allow(town: Town, tmp_path: Path) -> None:
    file = tmp_path / "actions.toml"
    file.write_text("listed_only = true\n[commands.page]\nargv = ['/bin/true']\n")
    keys = tmp_path / "keys.toml"
    with contextlib.closing(Direct(url=town.url, prefix=town.prefix, keys=keys, actions=file, alarms=True)) as at:
        town.at = at
        assert town.put(town.ann, AlarmActions=["command:page"])[0] == 200
        for action in ("command:pages", "https://hooks.example.com/x", "arn:aws:sns:us-east-1:000000000000:ops"):
            status, answer = town.put(town.ann, AlarmActions=[action])
            assert (status, "actions.toml" in answer["message"]) == (400, True), answer


def test_events_tell_who_put_an_alarm_and_which_went_off(town: Town) -> None:
    town.put(town.ann, AlarmActions=["https://hooks.example.com/secret"])
    town.put(town.ann, AlarmActions=["https://hooks.example.com/secret"])  # is so
    town.put(town.ann, Threshold=2, AlarmActions=["https://hooks.example.com/secret"])
    town.call(town.ann, "SetAlarmState", AlarmName="late", StateValue="ALARM", StateReason="a test")
    town.call(town.ann, "DisableAlarmActions", AlarmNames=["late"])
    town.call(town.ann, "DeleteAlarms", AlarmNames=["late"])
    with rqsqs.connect(town.url, prefix=town.prefix) as connection:
        found = list(connection.events(kind="alarm-changed"))
    assert [event.detail["change"] for event in found] == ["created", "updated", "state", "updated", "deleted"]
    assert {(event.who.name, event.detail["alarm"]) for event in found} == {(town.ann.key_id, "late")}
    assert (found[1].before, found[1].after) == ({"Threshold": "1.0"}, {"Threshold": "2.0"})
    assert (found[2].before, found[2].after) == ({"StateValue": "INSUFFICIENT_DATA"}, {"StateValue": "ALARM"})
    assert (found[3].before, found[3].after) == ({"ActionsEnabled": "true"}, {"ActionsEnabled": "false"})
    assert found[4].before["AlarmActions"] == "https://hooks.example.com/..."
    assert "secret" not in str(found)


@pytest.mark.parametrize("who", ["gateway", "worker"])
def test_whoever_evaluates_can_find_out_who_may_send(
    town: Town, who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rqsqs.alarms.outbox.LOOK_S", 0.05)
    assert town.put(town.ann)[0] == 200
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(rqsqs.connect(town.url, prefix=town.prefix))
        connection.alarms.set_state("late", "ALARM", "a test")
        if who == "gateway":
            stack.enter_context(running(GatewaySettings(url=town.url, prefix=town.prefix, alarms=True)))
        else:
            (tmp_path / "actions.toml").touch()
            worker = Worker(town.url, prefix=town.prefix, actions=tmp_path / "actions.toml")
            worker.create_queue("other")
            worker.add("other", print)
            stack.enter_context(Running(worker))

        def done() -> list[str]:
            return [event.summary for event in connection.alarms.history("late") if event.kind == "Action"]

        until(done)
        assert done() == [f"Successfully executed action {QUEUE}"]
