"""Signal handlers raise at any moment of a call: time limits by SIGALRM, Ctrl-C."""

from __future__ import annotations

import asyncio
import importlib.metadata
from contextlib import ExitStack
from typing import Any

import hiredis
import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs._io import connect
from tests.clusters import ALL_ON_CLUSTER
from tests.servers import Server


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """All that is given to hiredis to be packed."""
    seen: list[tuple[Any, ...]] = []
    real = hiredis.pack_command

    def pack(words: tuple[Any, ...]) -> bytes:
        seen.append(words)
        return real(words)  # type: ignore[no-any-return]

    monkeypatch.setattr(hiredis, "pack_command", pack)
    return seen


def test_hiredis_is_given_text_and_bytes_only(valkey_url: str, prefix: str, packed: list[tuple[Any, ...]]) -> None:
    # for the text of anything else it asks Python, which handles signals then; if the handler raises, hiredis crashes
    url = valkey_url if ALL_ON_CLUSTER else valkey_url.removesuffix("/0") + "/1"
    with rqsqs.connect(url, prefix=prefix, client_name="me") as connection, ExitStack() as later:
        queues = [connection.create_queue(f"q{n}", tags={"a": "b"}, partitions=2) for n in range(3)]
        queues.append(connection.create_queue("q.fifo"))
        for queue in queues:
            options: dict[str, Any] = {"group": "g"} if queue.name.endswith(".fifo") else {}
            queue.send(1, delay=5, durability=rqsqs.Durability(aof=True, timeout=0.01, required=False), **options)
            queue.send_batch([rqsqs.Entry(2, **options), rqsqs.Entry(3, **options)])
            for message in queue.receive(max_messages=2, wait=0.01, visibility_timeout=3):
                message.change_visibility(7)
                message.delete()
            queue.peek(2)
            queue.counts()
            later.callback(queue.purge)

        async def wait() -> None:
            async with aio.connect(url, prefix=prefix) as other:
                names = [f"many{n}" for n in range(7)]
                made = [await other.create_queue(name) for name in names]
                await asyncio.gather(*(queue.receive(wait=0.05) for queue in made))

        asyncio.run(wait())
    assert {b"EVALSHA", "BLPOP", "SCRIPT"} <= {words[0] for words in packed}
    assert {type(word) for words in packed for word in words} == {str, bytes}


def test_connections_are_opened_without_looking_for_the_version_of_redis_py(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: looked.append(name) or real(name))
    real_from = importlib.metadata.Distribution.from_name
    monkeypatch.setattr(
        importlib.metadata.Distribution, "from_name", lambda name: looked.append(name) or real_from(name)
    )
    for number in range(3):
        with rqsqs.connect(valkey_url, prefix=prefix, client_name=f"c{number}") as connection:
            connection.create_queue("q")
    assert looked == []


def test_a_connection_says_nothing_that_old_servers_refuse(prefix: str) -> None:
    with Server("valkey") as server, redis.Redis.from_url(server.url) as client:
        client.config_resetstat()
        with rqsqs.connect(server.url, prefix=prefix) as connection:
            connection.create_queue("q").receive(wait=0.01)
        assert not [name for name in client.info("commandstats") if "setinfo" in name]
    assert connect.settings_of(server.url, {"lib_name": "mine"})[0].keys().isdisjoint({"driver_info", "lib_version"})
