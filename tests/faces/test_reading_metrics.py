"""Metrics of many queues are read at once, whatever happens to some of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from tests.clusters import client_of
from tests.proxy import Proxy
from tests.servers import Server

MANY = 250
Read = Callable[..., list[rqsqs.QueueMetrics]]


@pytest.fixture(params=["sync", "aio"])
def read(request: pytest.FixtureRequest) -> Read:
    """Reads metrics over a new connection, twice."""

    def sync(url: str, prefix: str, *args: Any, **options: Any) -> list[rqsqs.QueueMetrics]:
        with rqsqs.connect(url, prefix=prefix) as connection:
            connection.metrics(*args, **options)
            return connection.metrics(*args, **options)

    async def asyncio_variant(url: str, prefix: str, *args: Any, **options: Any) -> list[rqsqs.QueueMetrics]:
        async with aio.connect(url, prefix=prefix) as connection:
            await connection.metrics(*args, **options)
            return await connection.metrics(*args, **options)

    return sync if request.param == "sync" else lambda *args, **options: asyncio.run(asyncio_variant(*args, **options))


@pytest.fixture
def connection(server_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix) as one:
        yield one


def test_many_queues_take_few_round_trips(server: Server, read: Read, prefix: str) -> None:
    with rqsqs.connect(server.url, prefix=prefix) as connection, redis.Redis.from_url(server.url) as client:
        for i in range(MANY):
            queue = connection.create_queue(f"q{i:03}")
            for n in range(i % 4):
                queue.send(n)
        before = client.info("stats")["total_reads_processed"]
        found = read(server.url, prefix)
        assert client.info("stats")["total_reads_processed"] - before < 40
    assert [(m.queue, m.visible, m.sent) for m in found] == [(f"q{i:03}", i % 4, i % 4) for i in range(MANY)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("valkey") as one:
        yield one


def test_chosen_queues_come_in_the_order_asked_for(connection: rqsqs.Connection, read: Read, server_url: str) -> None:
    prefix = connection.transport.space.prefix
    for name in ["a", "b", "c.fifo"]:
        connection.create_queue(name)
    named = ["c.fifo", connection.queue("a"), "missing", "a"]
    assert [m.queue for m in read(server_url, prefix, queues=named)] == ["c.fifo", "a"]
    assert [m.queue for m in read(server_url, prefix, "a", queues=named)] == ["a"]
    assert [m.queue for m in read(server_url, prefix, "b")] == ["b"]
    assert read(server_url, prefix, queues=[]) == []


@pytest.mark.parametrize("queues", ["q", 5, [5], ["no name"]])
def test_what_cannot_be_queues_is_refused(connection: rqsqs.Connection, queues: Any) -> None:
    with pytest.raises(rqsqs.InvalidParameterValue):
        connection.metrics(queues=queues)


@pytest.mark.parametrize("field", ["type", "retention", "grouped"])
def test_a_damaged_queue_and_one_half_gone_are_left_out(
    connection: rqsqs.Connection, read: Read, server_url: str, field: str
) -> None:
    prefix = connection.transport.space.prefix
    for name in ["a", "b", "c", "d"]:
        connection.create_queue(name).send("x")
    with client_of(server_url) as client:
        base = f"{prefix}:{{b/0}}:b:"
        if field == "type":
            client.delete(base + "ready")
            client.set(base + "ready", "x")
        else:
            client.hset(base + "meta", "MessageRetentionPeriod" if field == "retention" else "grouped", "x")
        client.delete(f"{prefix}:{{c/0}}:c:meta")
    assert [(m.queue, m.visible) for m in read(server_url, prefix)] == [("a", 1), ("d", 1)]
    with pytest.raises(rqsqs.QueueDamaged):
        connection.queue("b").metrics()
    with pytest.raises(rqsqs.QueueDoesNotExist):
        connection.queue("c").metrics()


def test_answers_that_are_lost_are_asked_for_again(valkey_url: str, prefix: str, variant: str) -> None:
    names = [f"q{i:02}" for i in range(60)]

    async def scenario(proxy: Proxy) -> list[rqsqs.QueueMetrics]:
        async with aio.connect(proxy.url, prefix=prefix) as connection:
            await connection.metrics()
            proxy.lose_replies(1)
            return await connection.metrics(queues=names)

    with Proxy(valkey_url) as proxy, rqsqs.connect(proxy.url, prefix=prefix) as connection:
        for i, name in enumerate(names):
            connection.create_queue(name).send(i)
        if variant == "sync":
            proxy.lose_replies(1)
            found = connection.metrics(queues=names)
        else:
            found = asyncio.run(scenario(proxy))
        assert proxy.lost == 1
        assert [(m.queue, m.visible) for m in found] == [(name, 1) for name in names]


def test_a_server_that_is_gone_is_tried_once_for_all_queues(server: Server, prefix: str, variant: str) -> None:
    names = [f"q{i:03}" for i in range(250)]

    async def scenario(proxy: Proxy) -> None:
        async with aio.connect(proxy.url, prefix=prefix) as connection:
            await connection.metrics()
            leave(proxy)
            await connection.metrics(queues=names)

    def leave(proxy: Proxy) -> None:
        proxy.is_closed = True
        proxy.cut()

    with Proxy(server.url) as proxy, rqsqs.connect(proxy.url, prefix=prefix) as connection:
        connection.create_queue("q000")
        before = proxy.connections
        if variant == "aio":
            with pytest.raises(rqsqs.ConnectionFailed):
                asyncio.run(scenario(proxy))
        else:
            leave(proxy)
            with pytest.raises(rqsqs.ConnectionFailed):
                connection.metrics(queues=names)
        assert proxy.connections - before < 10


@pytest.fixture(params=["sync", "aio"])
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_reader_that_is_cancelled_leaves_the_connection_as_it_was(server_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with aio.connect(server_url, prefix=prefix) as connection:
            for i in range(60):
                await (await connection.create_queue(f"q{i:02}")).send(i)
            for turns in range(12):
                task = asyncio.create_task(connection.metrics())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                (message,) = await connection.queue(f"q{turns:02}").receive()
                assert message.body == turns
            assert [m.received for m in await connection.metrics()] == [1] * 12 + [0] * 48

    asyncio.run(scenario())


def test_partitions_that_others_add_and_take_away_are_seen(connection: rqsqs.Connection, server_url: str) -> None:
    prefix = connection.transport.space.prefix
    queue = connection.create_queue("q")
    with rqsqs.connect(server_url, prefix=prefix) as other:
        assert other.queue("q").metrics().sent == 0
        queue.configure(partitions=5)
        for n in range(30):
            queue.send(n)
        assert other.queue("q").metrics().sent == 30
        connection.delete_queue("q")
        assert other.metrics() == []
        connection.create_queue("q").send("x")
        assert [m.sent for m in other.metrics()] == [1]


def test_a_server_that_forgets_the_scripts_is_given_them_again(connection: rqsqs.Connection, server_url: str) -> None:
    for i in range(3):
        connection.create_queue(f"q{i}").send("x")
    assert len(connection.metrics()) == 3
    with client_of(server_url) as client:
        client.script_flush()
    assert [m.visible for m in connection.metrics()] == [1, 1, 1]
