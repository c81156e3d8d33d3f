"""The format of what is stored: who meets a newer one stops before it does anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from rqsqs._io import server_checks
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


def test_a_prefix_is_looked_at_on_connections_that_are_there(server_url: str, prefix: str, client: Any) -> None:
    """Whoever shares the connections of others meets a newer format, and enters ours, at the first call."""
    newer, fresh = f"{prefix}-newer", f"{prefix}-fresh"
    client.set(f"{newer}:{{queues}}:format", "2")
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        list(connection.queues())
        with rqsqs.connect(server_url, prefix=newer) as other:
            assert other.transport.link is connection.transport.link
            for _ in range(2):
                with pytest.raises(rqsqs.FormatNewer, match="format 2"):
                    other.create_queue("q")
            with pytest.raises(rqsqs.FormatNewer):
                rqsqs.connect(server_url, prefix=newer).queue("q").send("x")
        with rqsqs.connect(server_url, prefix=fresh) as other:
            other.exists("q")
        assert client.get(f"{fresh}:{{queues}}:format") == b"1"

    async def run() -> None:
        async with aio.connect(server_url, prefix=prefix) as connection:
            await connection.exists("q")
            async with aio.connect(server_url, prefix=newer) as other:
                with pytest.raises(rqsqs.FormatNewer, match="format 2"):
                    await other.create_queue("q")
            async with aio.connect(server_url, prefix=fresh + "2") as other:
                await other.exists("q")

    asyncio.run(run())
    assert client.get(f"{fresh}2:{{queues}}:format") == b"1"
    assert list(client.scan_iter(f"{newer}:*")) == [f"{newer}:{{queues}}:format".encode()]


def test_each_prefix_is_asked_for_once(
    server_url: str, prefix: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    words = server_checks.format_words
    monkeypatch.setattr(server_checks, "format_words", lambda key: asked.append(key) or words(key))
    with rqsqs.connect(server_url, prefix=prefix, socket_timeout=8.25) as first:
        first.exists("q")
        for number in range(20):
            with rqsqs.connect(server_url, prefix=f"{prefix}{number % 10}", socket_timeout=8.25) as connection:
                connection.exists("q")
                connection.exists("q")
        node = first.transport.link.router.node(first.transport.space.format)
        taken = [node.calls.take() for _ in range(3)]  # new connections ask nothing more
        assert all(taken)
        # In a cluster each server is asked by its first connection, and one of them has the key.
        assert {asked.count(f"{prefix}{number}:{{queues}}:format") for number in range(10)} <= {1, 2, 3}
        if "cluster" not in server_url:
            assert len(asked) == 11
        asked.clear()
        node.calls.lose(taken.pop())  # another server may be there: who is open asks it
        node.calls.drop(taken.pop())
        node.calls.give(node.calls.take(beyond=True))
        node.calls.drop(taken.pop())
        assert set(asked) <= {first.transport.space.format}


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
