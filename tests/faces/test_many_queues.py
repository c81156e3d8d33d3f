"""One process that waits on many queues: with few connections, and no later than on one queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from rqsqs import aio
from rqsqs._io import nodes
from tests.servers import KINDS, Kind, Server, find_binary

MANY = 1000
MOST_CONNECTIONS = 8
OTHER_LINK: dict[str, Any] = {"socket_connect_timeout": 4}  # options of its own: connections of its own


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    kind: Kind = request.param
    if find_binary(kind) is None:
        pytest.skip(f"no {kind} server program here")
    with Server(kind) as one:
        yield one


def connections(server: Server) -> int:
    """How many connections there are, besides this one."""
    with redis.Redis.from_url(server.url) as client:
        return len(client.client_list()) - 1


async def hand_over(sender: aio.Connection, queue: aio.Queue) -> float:
    """Seconds from a send to the end of the receive that waited for it."""
    waiting = asyncio.create_task(queue.receive(wait=20, delete=True))
    await asyncio.sleep(0.005)
    started = time.perf_counter()
    await sender.queue(queue.name).send("x")
    assert [message.body for message in await waiting] == ["x"]
    return time.perf_counter() - started


def test_tasks_that_wait_on_a_thousand_queues_share_few_connections(server: Server, prefix: str) -> None:
    async def scenario() -> None:
        async with (
            aio.connect(server.url, prefix=prefix) as connection,
            aio.connect(server.url, prefix=prefix, **OTHER_LINK) as sender,
        ):
            queues = [await connection.create_queue(f"q{i}") for i in range(MANY)]
            await sender.exists("q0")
            one = min([await hand_over(sender, queues[0]) for _ in range(50)])
            before = connections(server)
            waiting = [asyncio.create_task(queue.receive(wait=60, delete=True)) for queue in queues[: MANY - 1]]
            await asyncio.sleep(1)
            while connections(server) - before < nodes.BLOCKING:
                await asyncio.sleep(0.01)
            many = min([await hand_over(sender, queues[-1]) for _ in range(50)])
            assert many < 2 * one + 0.001  # the shortest of each, as the machine may be busy
            for i in range(MANY - 1):
                await sender.queue(f"q{i}").send(i)
                if i % 100 == 0:
                    assert connections(server) <= MOST_CONNECTIONS + 1  # and that of the sender
            received = await asyncio.gather(*waiting)
            assert [[message.body for message in messages] for messages in received] == [[i] for i in range(MANY - 1)]

    asyncio.run(asyncio.wait_for(scenario(), 50))


def test_tasks_that_are_cancelled_lose_nothing_while_many_wait(server: Server, prefix: str) -> None:
    async def scenario() -> None:
        async with (
            aio.connect(server.url, prefix=prefix) as connection,
            aio.connect(server.url, prefix=prefix, **OTHER_LINK) as sender,
        ):
            queues = [await connection.create_queue(f"q{i}") for i in range(60)]
            received: list[Any] = []

            async def consume(queue: aio.Queue) -> None:
                received.extend([message.body for message in await queue.receive(wait=60, visibility_timeout=600)])

            for turn in range(20):
                waiting = [asyncio.create_task(consume(queue)) for queue in queues]
                await asyncio.sleep(0.01)
                for i, queue in enumerate(queues):
                    await sender.queue(queue.name).send([turn, i])
                    waiting[(i + turn) % 60].cancel()
                await asyncio.sleep(0)
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
            while len(received) < 20 * 60:
                for queue in queues:
                    received.extend([message.body for message in await queue.receive(10, wait=0, delete=True)])
            assert sorted(received) == [[turn, i] for turn in range(20) for i in range(60)]

    asyncio.run(asyncio.wait_for(scenario(), 50))
