"""Gateways write the history of queues, of all accounts that they know."""

from __future__ import annotations

import pytest

import rqsqs
from rqsqs._core.keys import Keyspace
from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.settings import keyspace_of
from rqsqs.metrics.sampling import Sampler
from tests.cli.tools import wait_for
from tests.gateway.conftest import client_of, running
from tests.model.harness import client, two_minutes_ago


def test_a_gateway_samples_the_queues_of_its_accounts(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sampler, "delay", lambda self: 0.02)
    redis = client(valkey_url)
    account = keyspace_of(Keyspace(prefix), "123456789012")
    nobody = keyspace_of(Keyspace(prefix), "999999999999")
    with (
        rqsqs.connect(valkey_url, prefix=prefix, clock=two_minutes_ago()) as connection,
        rqsqs.connect(valkey_url, prefix=account.prefix, clock=two_minutes_ago()) as theirs,
        running(GatewaySettings(url=valkey_url, prefix=prefix, history=True)) as address,
    ):
        queue = connection.create_queue("own")
        theirs.create_queue("theirs")
        client_of(address, key="123456789012").list_queues()
        client_of(address, key="999999999999").list_queues()
        wait_for(lambda: redis.exists(*queue._ref.home.keys("history_last")))
        wait_for(lambda: redis.exists(*account.queue("theirs").home.keys("history_last")))
        assert not redis.exists(nobody.sampler)
        assert redis.exists(account.sampler)
