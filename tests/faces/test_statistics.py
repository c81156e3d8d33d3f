"""Connections count what they went through."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from tests.clusters import until
from tests.servers import Server

Act = Callable[[], Any]


def wait_sync(url: str, prefix: str, meanwhile: Act) -> rqsqs.Statistics:
    """Let something happen while a receive waits, then send it something."""
    with rqsqs.connect(url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        got: list[Any] = []
        waiter = threading.Thread(target=lambda: got.extend(queue.receive(wait=30)), daemon=True)
        waiter.start()
        meanwhile()
        queue.send("x")
        waiter.join(30)
        assert [message.body for message in got] == ["x"]
        return connection.statistics()


def wait_aio(url: str, prefix: str, meanwhile: Act) -> rqsqs.Statistics:
    async def scenario() -> rqsqs.Statistics:
        async with aio.connect(url, prefix=prefix) as connection:
            assert connection.statistics() == rqsqs.Statistics()
            queue = await connection.create_queue("orders")
            waiter = asyncio.create_task(queue.receive(wait=30))
            await asyncio.to_thread(meanwhile)
            await queue.send("x")
            assert [message.body for message in await waiter] == ["x"]
            return connection.statistics()

    return asyncio.run(asyncio.wait_for(scenario(), 100))


wait = pytest.mark.parametrize("wait", [wait_sync, wait_aio], ids=["sync", "aio"])
Wait = Callable[[str, str, Act], rqsqs.Statistics]


def blocks(client: redis.Redis) -> None:
    until(lambda: client.info("clients")["blocked_clients"], "it waits")


@wait
def test_what_goes_well_is_not_counted(prefix: str, wait: Wait) -> None:
    with Server() as server, redis.Redis.from_url(server.url) as client:
        assert wait(server.url, prefix, lambda: blocks(client)) == rqsqs.Statistics()


@wait
def test_lost_connections_and_repeated_calls(prefix: str, wait: Wait) -> None:
    def cut() -> None:
        blocks(client)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        blocks(client)

    with Server() as server, redis.Redis.from_url(server.url) as client:
        found = wait(server.url, prefix, cut)
    assert found.connections_lost >= 1
    assert found.repeated_calls >= 1
    assert found.failovers == found.wait_checks == found.broken_waits == 0


def test_a_child_counts_its_own(prefix: str) -> None:
    with Server() as server, rqsqs.connect(server.url, prefix=prefix) as connection:
        connection.transport.link.counters.count("failovers")
        child = os.fork()
        if not child:
            os._exit(connection.statistics().failovers)
        assert os.waitpid(child, 0)[1] == 0
        assert connection.statistics().failovers == 1
