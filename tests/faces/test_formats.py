"""The format of what is stored: who meets a newer one stops before it does anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from tests.clusters import client_of


@pytest.fixture
def client(server_url: str) -> Any:
    return client_of(server_url)


def test_the_first_connection_enters_the_format(server_url: str, prefix: str, client: Any) -> None:
    url = f"{server_url}{'&' if '?' in server_url else '?'}socket_timeout=9"  # a link of its own
    with rqsqs.connect(url, prefix=prefix) as connection:
        connection.create_queue("q").send("x")
    assert client.get(f"{prefix}:{{queues}}:format") == b"1"


def test_a_newer_format_is_refused_at_the_first_call(server_url: str, prefix: str, client: Any) -> None:
    client.set(f"{prefix}:{{queues}}:format", "2")
    with rqsqs.connect(server_url, prefix=prefix, socket_timeout=8.5) as connection:
        for call in (lambda: list(connection.queues()), lambda: connection.create_queue("q")):
            with pytest.raises(rqsqs.FormatNewer, match="format 2"):
                call()

    async def run() -> None:
        async with aio.connect(server_url, prefix=prefix, socket_timeout=8.5) as other:
            with pytest.raises(rqsqs.FormatNewer, match="format 2"):
                [queue async for queue in other.queues()]

    asyncio.run(run())
    assert list(client.scan_iter(f"{prefix}:*")) == [f"{prefix}:{{queues}}:format".encode()]


def test_an_older_format_and_garbage_are_no_newer_one(server_url: str, prefix: str, client: Any) -> None:
    for text in ("0", "garbage", ""):
        client.set(f"{prefix}:{{queues}}:format", text)
        with rqsqs.connect(server_url, prefix=prefix, socket_timeout=8.5) as connection:
            connection.create_queue("q").send("x")


def test_who_is_connected_goes_on_when_all_is_flushed(server_url: str, prefix: str, client: Any) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        connection.create_queue("q").send("x")
        for key in list(client.scan_iter(f"{prefix}:*")):
            client.delete(key)
        with pytest.raises(rqsqs.QueueDoesNotExist):
            connection.queue("q").send("x")
        connection.create_queue("q").send("y")
        assert [m.body for m in connection.queue("q").receive(10)] == ["y"]
