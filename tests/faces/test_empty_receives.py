"""Receives that find nothing are counted, each once: NumberOfEmptyReceives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import rqsqs
from rqsqs import aio, boto3
from tests.proxy import Proxy


@pytest.fixture
def connection(server_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix) as one:
        yield one


@pytest.fixture(params=["orders", "orders.fifo"])
def queue(request: pytest.FixtureRequest, connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue(request.param)


def empty(queue: rqsqs.Queue) -> int:
    return queue.metrics().empty_receives


def send(queue: rqsqs.Queue, body: str = "a") -> None:
    if queue.is_fifo:
        queue.send(body, group=body, deduplication_id=body)
    else:
        queue.send(body)


def test_each_receive_that_finds_nothing_counts_once(queue: rqsqs.Queue) -> None:
    assert empty(queue) == 0
    for n, receive in enumerate(
        [
            queue.receive,
            lambda: queue.receive(10),
            lambda: queue.receive(wait=0.05),
            lambda: queue.receive(10, wait=0.05),
            lambda: queue.receive(delete=True),
            lambda: queue.delete_and_receive([])[0],
        ],
        1,
    ):
        assert receive() == []
        assert empty(queue) == n


def test_receives_that_find_messages_do_not_count(queue: rqsqs.Queue) -> None:
    for body in "abc":
        send(queue, body)
    (first,) = queue.receive()
    assert len(queue.receive(10, wait=1)) == 2
    threading.Timer(0.1, send, (queue, "later")).start()
    (later,) = queue.receive(wait=30)
    assert queue.delete_and_receive([first, later]) == ([], [])
    assert empty(queue) == 1


def test_the_wait_of_the_queue_is_one_receive(queue: rqsqs.Queue) -> None:
    queue.configure(wait=1)
    assert queue.receive() == []
    assert empty(queue) == 1


def test_a_paused_queue_gives_empty_receives(queue: rqsqs.Queue) -> None:
    send(queue)
    queue.pause()
    assert queue.receive() == queue.receive(wait=0.05) == []
    assert empty(queue) == 2


@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
def test_a_receive_counts_once_however_many_partitions_it_asks(connection: rqsqs.Connection, name: str) -> None:
    scope = {"deduplication_scope": "messageGroup"} if name.endswith(".fifo") else {}
    queue = connection.create_queue(name, partitions=4, **scope)  # type: ignore[arg-type]
    assert queue.receive() == queue.receive(10) == queue.receive(wait=0.05) == []
    assert empty(queue) == 3
    for body in "abcdefgh":
        send(queue, body)
    held: list[rqsqs.Message] = []
    while len(held) < 8:
        held += queue.receive(3)
    assert empty(queue) == 3
    queue.receive(wait=1)
    assert empty(queue) == 4


def test_the_count_never_goes_back(server_url: str, prefix: str, connection: rqsqs.Connection) -> None:
    """A call gets lost, and its repetition learns of another partition, where there are messages."""
    queue = connection.create_queue("orders")
    with Proxy(server_url) as proxy, rqsqs.connect(proxy.url, prefix=prefix) as other:
        assert other.queue("orders").receive() == []
        queue.configure(partitions=2)
        while queue.metrics().visible < 20:
            queue.send("a")
        home = connection.transport.queue("orders").home
        held = queue.receive(20)
        while found := queue.receive(20):
            held += found
        away = [message for message in held if message._delivery.partition is not home]
        for message in away:
            message.release()
        before = empty(queue)
        proxy.is_silent = True
        timer = threading.Timer(0.2, lambda: (setattr(proxy, "is_silent", False), proxy.cut()))
        timer.start()
        assert len(other.queue("orders").receive(20)) == len(away) > 0
        timer.join()
        assert other.statistics().repeated_calls == 1
        assert empty(queue) >= before


def test_receives_of_the_boto3_api_count(server_url: str, prefix: str, queue: rqsqs.Queue) -> None:
    client = boto3.Session(region_name="us-east-1").client("sqs", endpoint_url=server_url)
    boto3.attach(client, server_url, prefix=prefix)
    url = client.get_queue_url(QueueName=queue.name)["QueueUrl"]
    assert "Messages" not in client.receive_message(QueueUrl=url)
    assert "Messages" not in client.receive_message(QueueUrl=url, WaitTimeSeconds=1, MaxNumberOfMessages=10)
    assert empty(queue) == 2


def test_waiters_in_threads_count_each(queue: rqsqs.Queue) -> None:
    """They line up behind one, and ask nothing themselves."""
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(queue.receive(wait=0.3))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[]] * 20
    assert empty(queue) == 20


def test_waiting_tasks_count_each(server_url: str, prefix: str) -> None:
    async def work() -> None:
        async with aio.connect(server_url, prefix=prefix) as connection:
            for name in ("orders", "orders.fifo"):
                queue = await connection.create_queue(name)
                found = await asyncio.gather(*[queue.receive(wait=0.3) for _ in range(200)])
                assert found == [[]] * 200
                assert (await queue.metrics()).empty_receives == 200
                waiting = asyncio.create_task(queue.receive(wait=30))
                await asyncio.sleep(0.05)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                assert (await queue.metrics()).empty_receives == 200

    asyncio.run(work())
