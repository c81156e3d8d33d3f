"""Metrics of many queues on a cluster: what moves, breaks or dies meanwhile is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs._core.flows.server_memory import memory
from tests.clusters import Cluster, home_of

MANY, PATIENT_MS = 120, 15_000
Between = Callable[[], Any]
EXPECTED = [(f"q{i:03}", i % 3) for i in range(MANY)]


def prepare(connection: rqsqs.Connection) -> None:
    for i in range(MANY):
        queue = connection.create_queue(f"q{i:03}", partitions=1 + 2 * (i % 2))
        for n in range(i % 3):
            queue.send(n)


def read_sync(url: str, prefix: str, between: Between) -> list[list[rqsqs.QueueMetrics]]:
    with rqsqs.connect(url, prefix=prefix) as connection:
        first = connection.metrics()
        between()
        return [first, connection.metrics()]


def read_aio(url: str, prefix: str, between: Between) -> list[list[rqsqs.QueueMetrics]]:
    async def scenario() -> list[list[rqsqs.QueueMetrics]]:
        async with aio.connect(url, prefix=prefix) as connection:
            first = await connection.metrics()
            await asyncio.to_thread(between)
            return [first, await connection.metrics()]

    return asyncio.run(scenario())


read = pytest.mark.parametrize("read", [read_sync, read_aio], ids=["sync", "aio"])


@read
def test_slots_that_moved_are_followed(prefix: str, read: Callable[..., Any]) -> None:
    with (
        Cluster(replicas=0, node_timeout=PATIENT_MS) as cluster,
        rqsqs.connect(cluster.url, prefix=prefix) as connection,
    ):
        prepare(connection)

        def move() -> None:
            for i in range(0, MANY, 20):
                key = home_of(f"q{i:03}")
                owner = cluster.owner(key)
                cluster.migrate(key, next(server for server in cluster.servers if server is not owner))

        for found in read(cluster.url, prefix, move):
            assert [(m.queue, m.visible) for m in found] == EXPECTED


@read
def test_connections_that_are_cut_are_made_again(steady: Cluster, prefix: str, read: Callable[..., Any]) -> None:
    def cut() -> None:
        for server in steady.masters:
            with redis.Redis(port=server.port) as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")

    with rqsqs.connect(steady.url, prefix=prefix) as connection:
        prepare(connection)
        for found in read(steady.url, prefix, cut):
            assert [(m.queue, m.visible) for m in found] == EXPECTED


@read
def test_a_master_that_dies_is_waited_for(cluster: Cluster, prefix: str, read: Callable[..., Any]) -> None:
    with rqsqs.connect(cluster.url, prefix=prefix, durability="replicas=1") as connection:
        prepare(connection)
        for found in read(cluster.url, prefix, lambda: cluster.kill_master(home_of("q000"))):
            assert [(m.queue, m.visible) for m in found] == EXPECTED


def test_the_memory_of_a_cluster_is_that_of_all_masters(steady: Cluster, prefix: str) -> None:
    nodes = []
    for server in steady.servers:
        with redis.Redis(port=server.port) as client:
            if client.info("replication")["role"] == "master":
                nodes.append(client.info("memory")["used_memory"])
    assert len(nodes) > 1
    with rqsqs.connect(steady.url, prefix=prefix) as connection:
        found = connection.transport.run(memory(connection.transport.space))
    assert found is not None
    assert 0.5 < found.used / sum(nodes) < 2
    assert found.used > max(nodes)
    assert found.percent >= 100 * found.used / found.limit * 0.99
