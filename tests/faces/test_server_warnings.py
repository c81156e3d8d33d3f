"""A connection warns of what a server's settings can cost: once, at the first look, without a further round trip."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from tests.clusters import Cluster, Sentinels, until
from tests.faces.test_native_trouble import fake_server
from tests.servers import KINDS, Kind, Server, find_binary

Send = Callable[..., None]
SAFE = {"appendonly": "yes"}


def send_sync(url: str, prefix: str, durability: rqsqs.Durability | None = None) -> None:
    with rqsqs.connect(url, prefix=prefix, durability=durability) as connection:
        connection.create_queue("orders").send("x")


def send_aio(url: str, prefix: str, durability: rqsqs.Durability | None = None) -> None:
    async def scenario() -> None:
        async with aio.connect(url, prefix=prefix, durability=durability) as connection:
            await (await connection.create_queue("orders")).send("x")

    asyncio.run(asyncio.wait_for(scenario(), 100))


@pytest.fixture(params=[send_sync, send_aio], ids=["sync", "aio"])
def send(request: pytest.FixtureRequest, prefix: str) -> Send:
    """Opens a connection and sends a message, in either colour."""
    return lambda url, durability=None: request.param(url, prefix, durability)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The warnings since the last call, without the URL of the server."""
    caplog.set_level(logging.WARNING, "rqsqs.server")

    def get() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.name == "rqsqs.server"]
        assert all(record.levelno == logging.WARNING for record in caplog.records)
        caplog.clear()
        assert all(re.match(r"(redis|unix)://\S+: ", text) for text in found)
        return [text.partition(": ")[2] for text in found]

    return get


@pytest.fixture(params=KINDS)
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Starts servers of either kind."""
    kind: Kind = request.param
    if find_binary(kind) is None:
        pytest.skip(f"no {kind} server program here")
    started: list[Server] = []

    def start(**options: Any) -> Server:
        started.append(Server(kind, repl_diskless_sync_delay=0, **options).start())
        return started[-1]

    yield start
    for server in started:
        server.kill9()  # with replicas it takes its time to end
        server.stop()


def test_each_setting_that_costs_messages_is_named_once(
    start: Callable[..., Server], send: Send, said: Callable[[], list[str]]
) -> None:
    for options, expected in (
        (SAFE, None),
        ({"save": "900 1"}, None),
        (
            {},
            "in memory only: the queues are gone when the server ends; set appendonly to yes; appendfsync always loses "
            "nothing",
        ),
        (
            SAFE | {"appendfsync": "no"},
            "append-only file with appendfsync no: a crash may cost seconds; set appendfsync to everysec or always",
        ),
        (
            SAFE | {"maxmemory_policy": "volatile-lru"},
            "maxmemory-policy is volatile-lru: full memory would cost messages; set maxmemory-policy to noeviction, in "
            "its configuration file as well, and keep caches on another server",
        ),
    ):
        server = start(**options)
        for _ in range(2):
            send(server.url)
        assert said() == ([] if expected is None else [expected])


def test_replicas_that_sends_do_not_wait_for(
    start: Callable[..., Server], send: Send, said: Callable[[], list[str]]
) -> None:
    server = start(**SAFE)
    start(**SAFE, replicaof=f"127.0.0.1 {server.port}")
    with redis.Redis.from_url(server.url) as client:
        until(lambda: client.info("replication")["connected_slaves"] == 1, "it has a replica")
    send(server.url, rqsqs.Durability(replicas=1, timeout=20))
    assert said() == []
    for _ in range(2):
        send(server.url)
    (text,) = said()
    assert text == (
        "1 replica, and sends do not wait for it: a failover can cost messages that were acknowledged; connect with "
        "durability=rqsqs.Durability(replicas=1)"
    )


@pytest.mark.parametrize("rights", [("-info",), ("-config",), ("-info", "-config")])
def test_a_user_who_may_not_look_hears_nothing_and_works(
    start: Callable[..., Server], send: Send, said: Callable[[], list[str]], rights: tuple[str, ...]
) -> None:
    server = start()
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "tenant", "on", ">secret", "~*", "+@all", *rights)
    send(server.url.replace("redis://", "redis://tenant:secret@"))
    assert said() == []


def test_the_embedded_server_was_chosen_knowingly(send: Send, said: Callable[[], list[str]]) -> None:
    send("embedded://")
    assert said() == []
    with rqsqs.embedded.acquire("embedded://") as server:
        send(f"unix://{server.socket_path}")
    assert said() == []


def test_every_master_of_a_cluster_is_looked_at(said: Callable[[], list[str]], prefix: str) -> None:
    with Cluster(replicas=0, maxmemory_policy="allkeys-lru") as cluster, rqsqs.connect(cluster.url, prefix=prefix) as c:
        for server in cluster.servers:
            c.create_queue(cluster.name_on(server))
        found = said()
    assert len(found) == 6
    assert sum("allkeys-lru" in text for text in found) == sum("in memory only" in text for text in found) == 3


def test_the_master_behind_sentinels_is_looked_at_and_they_are_not(send: Send, said: Callable[[], list[str]]) -> None:
    with Sentinels() as sentinels:
        send(sentinels.url)
        assert sorted(text.split()[1] for text in said()) == ["memory", "replica,"]
        sentinels.master.kill9()
        until(lambda: sentinels.known() == sentinels.replica.port, "the replica has been chosen")
        send(sentinels.url)
        assert [text.split()[1] for text in said()] == ["memory"]  # another server


def test_it_can_be_switched_off(caplog: pytest.LogCaptureFixture, prefix: str) -> None:
    caplog.set_level(logging.ERROR, "rqsqs.server")
    with Server() as server:
        send_sync(server.url, prefix)
    assert not caplog.records


def test_the_questions_take_one_round_trip() -> None:
    requests: list[bytes] = []

    def answer(request: bytes) -> bytes:
        requests.append(request)
        return b"-NOPERM\r\n" if b"EVALSHA" in request else b"+OK\r\n" * request.count(b"*")

    with fake_server(answer) as url, rqsqs.connect(url) as connection, pytest.raises(rqsqs.AuthenticationFailed):
        connection.exists("orders")
    assert [b"CONFIG" in request for request in requests if b"\r\nINFO\r\n" in request] == [True]
