"""Connections count what they went through: masters that were replaced, waits that were looked after."""

from __future__ import annotations

import contextlib
import time

import pytest
import redis

from tests.clusters import Cluster, Sentinels, home_of, until
from tests.faces.test_statistics import Wait, wait
from tests.servers import Server


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are looked after often."""
    monkeypatch.setattr("rqsqs._io.tuning.WATCHDOG_S", 0.05)


def blocks(server: Server) -> None:
    with redis.Redis(port=server.port) as client:
        until(lambda: client.info("clients")["blocked_clients"], "it waits")


@wait
def test_a_wait_is_looked_after_all_the_time(steady: Cluster, prefix: str, wait: Wait) -> None:
    found = wait(steady.url, prefix, lambda: time.sleep(0.5))
    assert found.wait_checks >= 2
    assert found.failovers == found.broken_waits == found.connections_lost == found.repeated_calls == 0


@wait
def test_a_wait_for_a_slot_that_moves_is_broken_off(prefix: str, wait: Wait) -> None:
    with Cluster(replicas=0) as cluster:
        key = home_of("orders")
        owner = cluster.owner(key)
        target = next(server for server in cluster.servers if server is not owner)

        def move() -> None:
            blocks(owner)
            cluster.migrate(key, target)
            blocks(target)

        found = wait(cluster.url, prefix, move)
    assert found.broken_waits >= 1
    assert found.failovers == found.connections_lost == 0


@wait
def test_a_master_that_died_was_replaced_once(cluster: Cluster, prefix: str, wait: Wait) -> None:
    key = home_of("orders")

    def kill() -> None:
        blocks(cluster.owner(key))
        old = cluster.kill_master(key)
        cluster.await_failover(key, old)
        blocks(cluster.owner_as_told_by([s for s in cluster.servers if s is not old], key))

    found = wait(cluster.url, prefix, kill)
    assert found.failovers == 1
    assert found.connections_lost >= 1
    assert found.repeated_calls >= 1


@wait
def test_a_wait_for_a_master_that_fell_silent_is_broken_off(prefix: str, wait: Wait) -> None:
    with contextlib.ExitStack() as stack:
        sentinels = stack.enter_context(Sentinels())

        def freeze() -> None:
            blocks(sentinels.master)
            sentinels.master.freeze()
            stack.callback(sentinels.master.thaw)
            until(lambda: sentinels.known() == sentinels.replica.port, "the replica has been chosen")
            blocks(sentinels.replica)

        found = wait(sentinels.url, prefix, freeze)
    assert found.failovers == 1
    assert found.broken_waits == 1
    assert found.wait_checks >= 1
