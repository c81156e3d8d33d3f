"""What the authorizer keeps, for how long, and what conditions can look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rqsqs._io.sync.runner import Transport
from rqsqs.gateway.authorization import KEPT_S, Authorizer
from rqsqs.gateway.callers import ANONYMOUS, Caller, root_of, user_of
from rqsqs.gateway.condition_keys import ConditionKeys
from rqsqs.gateway.permissions import needed
from rqsqs.gateway.policies import read_identity_policy
from rqsqs.gateway.refusals import AccessDenied
from rqsqs.gateway.request import HttpRequest
from rqsqs.sqs import ACTIONS, Context, perform
from rqsqs.sqs.context import DEFAULT_ACCOUNT
from tests.clusters import client_of

URL = f"http://localhost/{DEFAULT_ACCOUNT}/orders"
ARN = f"arn:aws:sqs:us-east-1:{DEFAULT_ACCOUNT}:orders"
REQUEST = HttpRequest("POST", b"/", b"", {"host": "localhost", "user-agent": "me"}, peer="192.0.2.1")
ALICE = user_of("alice", DEFAULT_ACCOUNT, key_id="A")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gateway:
    """One process's authorizer on a server, and its actions."""

    def __init__(self, url: str, prefix: str, clock: Clock) -> None:
        self.transport = Transport(url, prefix)
        self.context = Context(self.transport.space)
        self.authorizer = Authorizer(clock=clock, wall_clock=clock)

    def may(self, caller: Caller, action: str = "SendMessage", **params: Any) -> bool:
        try:
            pending = self.authorizer.check(caller, action, {"QueueUrl": URL, **params}, REQUEST, self.context)
            if pending is not None:
                self.transport.run(pending)
        except AccessDenied:
            return False
        return True

    def run(self, action: str, **params: Any) -> None:
        self.transport.run(perform(self.context, action, params))

    def put(self, *statements: dict[str, Any]) -> None:
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}) if statements else ""
        self.run("SetQueueAttributes", QueueUrl=URL, Attributes={"Policy": policy})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateways(valkey_url: str, prefix: str, clock: Clock) -> Iterator[tuple[Gateway, Gateway]]:
    found = Gateway(valkey_url, prefix, clock), Gateway(valkey_url, prefix, clock)
    found[0].run("CreateQueue", QueueName="orders")
    yield found
    for each in found:
        each.transport.close()


ALLOW = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}


def test_a_change_counts_at_once_here_and_after_five_seconds_elsewhere(
    gateways: tuple[Gateway, Gateway], clock: Clock
) -> None:
    here, there = gateways
    assert not here.may(ALICE)
    assert not there.may(ALICE)
    here.put(ALLOW)
    here.authorizer.forget(DEFAULT_ACCOUNT, "orders")
    assert here.may(ALICE)
    assert not there.may(ALICE)
    clock.now += KEPT_S + 0.1
    assert there.may(ALICE)
    assert here.may(ALICE)  # read again, and kept
    there.put()
    there.authorizer.forget(DEFAULT_ACCOUNT, "orders")
    assert here.may(ALICE)
    clock.now += KEPT_S + 0.1
    assert not here.may(ALICE)


def test_what_was_read_before_a_change_is_not_kept_after_it(gateways: tuple[Gateway, Gateway]) -> None:
    here, _ = gateways
    pending = here.authorizer.check(ALICE, "SendMessage", {"QueueUrl": URL}, REQUEST, here.context)
    assert pending is not None
    step = next(pending)  # type: ignore[call-overload] - it asks for the queue's attributes
    answer = here.transport.run(step)
    here.put(ALLOW)
    here.authorizer.forget(DEFAULT_ACCOUNT, "orders")  # while the old policy is on its way
    with pytest.raises(AccessDenied):
        pending.send(answer)  # type: ignore[union-attr]
    assert here.may(ALICE)


def test_a_known_decision_asks_nobody(gateways: tuple[Gateway, Gateway]) -> None:
    here, _ = gateways
    here.put(ALLOW)
    assert here.may(ALICE)
    assert here.authorizer.check(ALICE, "SendMessage", {"QueueUrl": URL}, REQUEST, here.context) is None


def test_conditions_on_the_time_are_looked_at_each_time(gateways: tuple[Gateway, Gateway], clock: Clock) -> None:
    here, _ = gateways
    here.put({**ALLOW, "Condition": {"NumericLessThan": {"aws:EpochTime": "1002"}}})
    assert here.may(ALICE)
    clock.now += 2
    assert not here.may(ALICE)


def test_a_queue_that_does_not_exist_is_nobodys_business(gateways: tuple[Gateway, Gateway]) -> None:
    here, _ = gateways
    statement = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    bob = user_of("bob", DEFAULT_ACCOUNT, key_id="B", policies=(read_identity_policy({"Statement": statement}),))
    absent = {"QueueUrl": URL.replace("orders", "absent")}
    assert not here.may(ALICE, **absent)
    assert here.may(bob, **absent)  # the action tells him
    assert not here.may(ANONYMOUS, **absent)
    assert not here.may(ANONYMOUS, QueueUrl="nonsense")


def test_damage_lets_nobody_in_but_the_root_user_who_mends_it(
    gateways: tuple[Gateway, Gateway], valkey_url: str
) -> None:
    from rqsqs.errors import QueueDamaged

    here, _ = gateways
    with client_of(valkey_url) as client:
        key = here.context.queue("orders").home.keys("meta")[0]
        client.delete(key)
        client.set(key, "x")
    root = root_of(DEFAULT_ACCOUNT)
    for caller in (ALICE, root):
        with pytest.raises(QueueDamaged):
            here.may(caller)
    assert here.may(root, "DeleteQueue")


def keys_of(request: HttpRequest, caller: Caller = ALICE, **params: Any) -> ConditionKeys:
    return ConditionKeys(
        caller, "TagQueue", params, request, region="us-east-1", owner=DEFAULT_ACCOUNT, tags={"Team": "web"}, now=0.0
    )


def test_condition_keys_come_from_what_the_gateway_knows() -> None:
    spoofed = {
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-proto": "https",
        "x-real-ip": "10.0.0.1",
        "forwarded": "for=10.0.0.1",
        "aws:sourcearn": ARN,
        "x-amz-source-arn": ARN,
        "x-amz-source-account": DEFAULT_ACCOUNT,
        "user-agent": "me",
    }
    keys = keys_of(HttpRequest("POST", b"/", b"", spoofed, peer="192.0.2.1"), Tags={"env": "dev"})
    expected = {
        "aws:sourceip": ["192.0.2.1"],
        "aws:securetransport": ["false"],
        "aws:sourcearn": None,
        "aws:sourceaccount": None,
        "aws:tokenissuetime": None,
        "aws:multifactorauthpresent": None,
        "aws:useragent": ["me"],
        "aws:currenttime": ["1970-01-01T00:00:00Z"],
        "aws:requestedregion": ["us-east-1"],
        "aws:principalarn": [ALICE.arn],
        "aws:username": ["alice"],
        "aws:resourcetag/team": ["web"],
        "aws:resourcetag/other": None,
        "aws:requesttag/env": ["dev"],
        "aws:tagkeys": ["env"],
    }
    assert {key: keys(key) for key in expected} == expected


def test_condition_keys_of_other_callers() -> None:
    nobody, root = keys_of(REQUEST, ANONYMOUS), keys_of(REQUEST, root_of(DEFAULT_ACCOUNT))
    assert [nobody(key) for key in ("aws:principalarn", "aws:principalaccount", "aws:username")] == [None] * 3
    assert (nobody("aws:principaltype"), root("aws:principaltype")) == (["Anonymous"], ["Account"])
    assert root("aws:username") is None
    assert keys_of(HttpRequest("POST", b"/", b"", {}, peer="unix"))("aws:sourceip") is None


def test_every_action_needs_a_permission(valkey_url: str) -> None:
    transport = Transport(valkey_url, "p")
    context = Context(transport.space)
    params = {"QueueUrl": URL, "QueueName": "orders", "SourceArn": ARN}
    for action in ACTIONS:
        first = needed(action, params, context)[0]
        assert first.action == action.removesuffix("Batch")
        assert first.queue == ("" if action in ("ListQueues", "CancelMessageMoveTask") else "orders")
    transport.close()
