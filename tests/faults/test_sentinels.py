"""Masters that Sentinels watch over die under load, and what everybody was told holds nevertheless.

RQSQS_FAILOVERS=50 python -m pytest tests/faults/test_sentinels.py -s      10 minutes
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs.cli.chaos.trial import Fault
from tests.clusters import Sentinels, until
from tests.faults.test_chaos import ALWAYS, FAILOVERS, FORGOTTEN, Broken, check_all_go_on, rather_fifo, run
from tests.servers import Server

CYCLE_S = 12.0  # about so long from one failover to the next: Sentinels rest in between
pytestmark = pytest.mark.timeout(120 + 4 * CYCLE_S * FAILOVERS)


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    with Sentinels(down_after=1500, **ALWAYS) as sentinels:
        for port in sentinels.ports:
            with redis.Redis(port=port) as client:
                client.execute_command("SENTINEL", "SET", "mymaster", "failover-timeout", "2000")
        yield sentinels


def is_replica_of(server: Server, master: Server) -> bool:
    with redis.Redis(port=server.port, socket_timeout=2) as client:
        info: Any = client.info("replication")
        return bool(info.get("master_port") == master.port and info["master_link_status"] == "up")


def may_be_chosen(sentinels: Sentinels, server: Server) -> bool:
    """Do all Sentinels know it as a replica in good order that may become master?"""
    for port in sentinels.ports:
        with redis.Redis(port=port, socket_timeout=2, decode_responses=True) as client:
            (fields,) = client.execute_command("SENTINEL", "REPLICAS", "mymaster")
            known = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
            told = [known[name] for name in ("port", "flags", "master-link-status", "slave-priority")]
            if told != [str(server.port), "slave", "ok", "100"]:
                return False
    return True


def fail_over(sentinels: Sentinels) -> tuple[float, float]:
    """Kill the master, and let it come back as the replica of the one that Sentinels choose.

    Returns:
        When it died, and when another one had been chosen.
    """
    master = next(server for server in sentinels.servers if server.port == sentinels.known())
    replica = next(server for server in sentinels.servers if server is not master)
    died = time.monotonic()
    master.kill9()
    until(lambda: sentinels.known() == replica.port, "the replica has been chosen")
    chosen = time.monotonic()
    time.sleep(0.5)
    for option in ("replicaof", "replica_priority"):
        replica.options.pop(option, None)
    # It shall not become master before it has caught up: it would bring back what was lost, late.
    master.options |= {"replicaof": f"127.0.0.1 {replica.port}", "replica_priority": 0}
    master.restart()
    until(lambda: is_replica_of(master, replica), "the old master is a replica in step")
    with redis.Redis(port=master.port) as client:
        client.config_set("replica-priority", "100")
    until(lambda: may_be_chosen(sentinels, master), "it may be chosen")
    return died, chosen


@rather_fifo
def test_after_the_death_of_a_master_all_go_on_with_the_one_that_sentinels_choose(
    sentinels: Sentinels, is_fifo: bool
) -> None:
    """Without a restart of anybody, and soon. What the dead one had not passed on is lost: replication is
    asynchronous."""
    announced: list[tuple[float, float]] = []

    faults: list[Fault] = [Broken("SIGKILL of the master", lambda: announced.append(fail_over(sentinels)))]
    verdict, events = run(sentinels.url, faults, 0.5, seconds=CYCLE_S * FAILOVERS, is_fifo=is_fifo)
    assert set(verdict.broken) <= FORGOTTEN
    check_all_go_on(events, announced)


def test_a_former_master_that_has_not_caught_up_brings_back_what_was_lost(tmp_path: Path, prefix: str) -> None:
    """Late, and so out of order: it must not become master again before it is in step."""

    def bodies(queue: rqsqs.Queue) -> list[Any]:
        return [message.body for message in queue.receive(10, delete=True)]

    with Server(folder=tmp_path, **ALWAYS) as master, Server(replicaof=f"127.0.0.1 {master.port}") as replica:
        until(lambda: is_replica_of(replica, master), "the replica is in step")
        with rqsqs.connect(master.url, prefix=prefix) as connection:
            queue = connection.create_queue("orders.fifo")
            queue.send(1, group="g", durability=rqsqs.Durability(replicas=1, timeout=20))
            with redis.Redis(port=replica.port) as client:
                client.execute_command("REPLICAOF", "NO", "ONE")
            queue.send(2, group="g")
        master.kill9()
        with rqsqs.connect(replica.url, prefix=prefix) as connection:
            queue = connection.queue("orders.fifo")
            queue.send(3, group="g")
            assert bodies(queue) == [1, 3]
        master.restart()
        with rqsqs.connect(master.url, prefix=prefix) as connection:
            assert bodies(connection.queue("orders.fifo")) == [1, 2]
