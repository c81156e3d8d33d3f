"""Gateways evaluate the alarms of all accounts that they know, and say at /readyz if nobody does."""

from __future__ import annotations

from pathlib import Path

import pytest

import rqsqs
from rqsqs import Alarm
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow
from rqsqs._core.operations.alarms import mark_evaluation
from rqsqs.alarms.evaluator import Evaluator
from rqsqs.errors import UsageError
from rqsqs.gateway import GatewaySettings, evaluating
from rqsqs.gateway.settings import keyspace_of
from tests.cli.tools import wait_for
from tests.gateway.conftest import ask, client_of, running
from tests.model.harness import client

ACCOUNT = "123456789012"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluator, "delay", lambda self: 0.05)
    monkeypatch.setattr(evaluating, "LOOK_S", 0.05)


def alarm(queue: str, *actions: str) -> Alarm:
    """It goes off as soon as it is evaluated."""
    return Alarm("always", metric_name="visible", queue=queue, threshold=0, comparison_operator=">=",
                 treat_missing_data="breaching", alarm_actions=actions)  # fmt: skip


@pytest.mark.usefixtures("quick")
def test_a_gateway_evaluates_the_alarms_of_its_accounts(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    topic = "arn:aws:sns:us-east-1:000000000000:ops"
    actions = tmp_path / "actions.toml"
    actions.write_text(f'[topics]\n"{topic}" = "arn:aws:sqs:eu-west-1:{ACCOUNT}:pages"\n')
    settings = GatewaySettings(url=valkey_url, prefix=prefix, region="eu-west-1", alarms=True, actions=actions)
    nobody = keyspace_of(Keyspace(prefix), "999999999999")
    with rqsqs.connect(valkey_url, prefix=prefix) as connection, rqsqs.connect(valkey_url, prefix=prefix) as other:
        other.transport.space = keyspace_of(other.transport.space, ACCOUNT)
        connection.create_queue("own")
        connection.alarms.put(alarm("own", "log:"))
        pages = other.create_queue("pages")
        other.alarms.put(alarm("pages", topic))
        with running(settings) as address, client(valkey_url) as redis:
            for account in (ACCOUNT, "999999999999"):
                client_of(address, key=account, region="eu-west-1").list_queues()
            wait_for(lambda: connection.alarms.get("always").state.value == "ALARM")
            (message,) = pages.receive(wait=60)
            assert f"arn:aws:cloudwatch:eu-west-1:{ACCOUNT}:alarm:always" in str(message.body)
            assert "EU (Ireland)" in str(message.body)
            assert ask(address, path="/readyz", method="GET").status == 200
            assert not redis.exists(*nobody.alarms("evaluator evaluated"))


def test_readyz_says_that_nobody_evaluates(valkey_url: str, prefix: str) -> None:
    """Somebody has the lease and does nothing."""
    settings = GatewaySettings(url=valkey_url, prefix=prefix, alarms=True)
    with rqsqs.connect(valkey_url, prefix=prefix) as connection, client(valkey_url) as redis:
        lease, evaluated = connection.transport.space.alarms("evaluator evaluated")
        redis.set(lease, "somebody", ex=600)
        with running(settings) as address:
            assert ask(address, path="/readyz", method="GET").status == 200  # no alarms
            connection.alarms.put(alarm("q"))
            answer = ask(address, path="/readyz", method="GET")
            assert (answer.status, answer.body) == (503, b"alarms are not evaluated, last: never\n")
            connection.transport.run(_mark(connection, 0))
            assert ask(address, path="/readyz", method="GET").status == 200
            connection.transport.run(_mark(connection, 200_000))
            assert b"alarms are not evaluated, last: 200 seconds ago" in ask(address, path="/readyz", method="GET").body
            assert ask(address, path="/livez", method="GET").status == 200
            assert ask(address, path="/readyz", method="GET").status == 503
            redis.delete(evaluated)
    with running(GatewaySettings(url=valkey_url, prefix=prefix)) as address:
        assert ask(address, path="/readyz", method="GET").status == 200  # it was not told to evaluate


def _mark(connection: rqsqs.Connection, ago_ms: int) -> Flow[None]:
    from rqsqs._core.alarm_records import AlarmEvaluation
    from rqsqs._core.operations.alarms import read_health

    health = yield read_health(connection.transport.space)
    at_ms = health.now_ms - ago_ms
    minute = health.now_ms // 60_000 + (ago_ms > 0)
    yield mark_evaluation(connection.transport.space, AlarmEvaluation(at_ms, 0.0, minute, "me", 1))


def test_actions_belong_to_alarms(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="actions goes with alarms"):
        GatewaySettings(actions=tmp_path / "actions.toml")
