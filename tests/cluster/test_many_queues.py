"""Waiters that share connections: whatever becomes of the servers, they go on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from tests.clusters import Cluster, Sentinels, home_of, until
from tests.servers import Server

MANY = 40
Wait = Callable[[str, str, Callable[[], Any]], None]


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are looked after often."""
    monkeypatch.setattr("rqsqs._io.tuning.WATCHDOG_S", 0.2)


def wait_sync(url: str, prefix: str, between: Callable[[], Any]) -> None:
    with rqsqs.connect(url, prefix=prefix) as connection:
        told: SimpleQueue[Any] = SimpleQueue()

        def consume(queue: rqsqs.Queue) -> None:
            told.put([message.body for message in queue.receive(wait=60, delete=True)])

        queues = [connection.create_queue(f"q{i}") for i in range(MANY)]
        for queue in queues:
            threading.Thread(target=consume, args=(queue,), daemon=True).start()
        between()
        with rqsqs.connect(url, prefix=prefix, socket_timeout=3) as sender:
            for queue in queues:
                sender.queue(queue.name).send("x")
        assert [told.get(timeout=60) for _ in queues] == [["x"]] * MANY


def wait_aio(url: str, prefix: str, between: Callable[[], Any]) -> None:
    async def scenario() -> None:
        async with aio.connect(url, prefix=prefix) as connection:
            queues = [await connection.create_queue(f"q{i}") for i in range(MANY)]
            waiting = [asyncio.create_task(queue.receive(wait=60, delete=True)) for queue in queues]
            await asyncio.to_thread(between)
            async with aio.connect(url, prefix=prefix, socket_timeout=3) as sender:
                for queue in queues:
                    await sender.queue(queue.name).send("x")
            async with asyncio.timeout(40):
                received = await asyncio.gather(*waiting)
            assert [[message.body for message in messages] for messages in received] == [["x"]] * MANY

    asyncio.run(scenario())


wait = pytest.mark.parametrize("wait", [wait_sync, wait_aio], ids=["sync", "aio"])


def listens(server: Server) -> None:
    with redis.Redis(port=server.port) as client:
        until(lambda: client.info("stats")["tracking_total_keys"] >= 10, "many wait")
        until(lambda: client.info("clients")["blocked_clients"] >= 1, "some block")


@wait
def test_they_go_on_when_a_master_dies(cluster: Cluster, prefix: str, wait: Wait) -> None:
    key = home_of("q0")

    def kill() -> None:
        listens(cluster.owner(key))
        cluster.await_failover(key, cluster.kill_master(key))

    wait(cluster.url, prefix, kill)


@wait
def test_they_go_on_when_slots_move(prefix: str, wait: Wait) -> None:
    with Cluster(replicas=0) as cluster:

        def move() -> None:
            for server in cluster.servers:
                listens(server)
            for i in range(0, MANY, 4):
                key = home_of(f"q{i}")
                owner = cluster.owner(key)
                cluster.migrate(key, next(server for server in cluster.servers if server is not owner))

        wait(cluster.url, prefix, move)


@wait
def test_they_go_on_when_a_master_falls_silent(prefix: str, wait: Wait) -> None:
    with contextlib.ExitStack() as stack:
        sentinels = stack.enter_context(Sentinels())

        def freeze() -> None:
            listens(sentinels.master)
            sentinels.master.freeze()
            stack.callback(sentinels.master.thaw)
            until(lambda: sentinels.known() == sentinels.replica.port, "the replica has been chosen")
            with redis.Redis(port=sentinels.replica.port) as client:
                until(lambda: client.info("replication")["role"] == "master", "it has become master")

        wait(sentinels.url, prefix, freeze)


@wait
def test_they_go_on_when_their_connections_are_cut(steady: Cluster, prefix: str, wait: Wait) -> None:
    def cut() -> None:
        for server in steady.masters:
            listens(server)
            with redis.Redis(port=server.port) as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")

    wait(steady.url, prefix, cut)
