"""How safe a sent message has to be before a send returns: replicas, append-only files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from tests.clusters import until
from tests.servers import Server

ONE = rqsqs.Durability(replicas=1, timeout=5)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """A primary that writes an append-only file, and its replica."""
    folder: Path = tmp_path_factory.mktemp("primary")
    options: dict[str, Any] = {"repl_diskless_sync_delay": 0}
    with (
        Server("valkey", folder=folder, appendonly="yes", appendfsync="everysec", **options) as primary,
        Server("valkey", replicaof=f"127.0.0.1 {primary.port}", **options) as replica,
    ):
        with redis.Redis.from_url(replica.url) as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", "the replica is in step")
        yield primary, replica


@pytest.fixture
def queue(pair: tuple[Server, Server], prefix: str) -> Iterator[rqsqs.Queue]:
    with rqsqs.connect(pair[0].url, prefix=prefix) as connection:
        yield connection.create_queue("q")


def test_without_one_nothing_is_waited_for(queue: rqsqs.Queue) -> None:
    assert queue.send("a").durability is None


def test_a_replica_has_what_was_sent(queue: rqsqs.Queue, pair: tuple[Server, Server], prefix: str) -> None:
    sent = queue.send("a", durability=ONE)
    assert sent.durability == rqsqs.Reached(replicas=1, aof=None, is_enough=True)
    with redis.Redis.from_url(pair[1].url) as client:
        assert client.llen(f"{prefix}:{{q/0}}:q:ready") == 2


def test_the_append_only_file_has_what_was_sent(queue: rqsqs.Queue) -> None:
    sent = queue.send_batch(["a", "b"], durability=rqsqs.Durability(aof=True, timeout=5))
    assert {s.durability for s in sent} == {rqsqs.Reached(replicas=0, aof=True, is_enough=True)}


def test_a_queue_and_a_connection_say_it_for_all_sends(pair: tuple[Server, Server], prefix: str) -> None:
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=ONE) as connection:
        queue = connection.create_queue("q")
        assert queue.send("a").durability is not None
        aof = connection.queue("q", durability=rqsqs.Durability(aof=True, timeout=5))
        assert aof.send("b").durability == rqsqs.Reached(0, True, True)


def test_what_is_not_reached_is_an_error_and_the_message_is_there(queue: rqsqs.Queue) -> None:
    two = rqsqs.Durability(replicas=2, timeout=0.05)
    with pytest.raises(rqsqs.DurabilityNotReached, match=r"within 0.05 s 1 of 2 replicas had them") as caught:
        queue.send("a", durability=two)
    (sent,) = caught.value.sent
    assert sent.durability == rqsqs.Reached(1, None, False)
    assert queue.receive()[0].message_id == sent.message_id


def test_or_it_is_only_told(queue: rqsqs.Queue) -> None:
    sent = queue.send("a", durability=rqsqs.Durability(replicas=2, timeout=0.05, required=False))
    assert sent.durability == rqsqs.Reached(1, None, False)


def test_a_fifo_queue_and_partitions(queue: rqsqs.Queue, pair: tuple[Server, Server], prefix: str) -> None:
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=ONE) as connection:
        fifo = connection.create_queue("f.fifo", partitions=4, deduplication_scope="messageGroup")
        sent = fifo.send_batch([rqsqs.Entry(n, group=f"g{n}") for n in range(20)])
        assert all(s.durability and s.durability.is_enough for s in sent)
        many = connection.create_queue("many", partitions=4)
        with pytest.raises(rqsqs.DurabilityNotReached) as caught:
            many.send_batch(range(20), durability=rqsqs.Durability(replicas=2, timeout=0.05))
        assert len(caught.value.sent) == many.counts().visible == 20


def test_a_server_that_cannot_do_it_says_why(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:  # without an append-only file
        queue = connection.create_queue("q")
        with pytest.raises(rqsqs.DurabilityNotReached, match="appendonly"):
            queue.send("a", durability=rqsqs.Durability(aof=True))
        assert queue.counts().visible == 1


def test_a_replica_that_stands_still_is_waited_for_no_longer_than_that(
    queue: rqsqs.Queue, pair: tuple[Server, Server]
) -> None:
    pair[1].freeze()
    try:
        sent = queue.send("a", durability=rqsqs.Durability(replicas=1, timeout=0.1, required=False))
    finally:
        pair[1].thaw()
    assert sent.durability == rqsqs.Reached(0, None, False)
    until(lambda: queue.send("b", durability=ONE).durability.is_enough, "the replica is back")  # type: ignore[union-attr]


def test_tasks_wait_side_by_side(pair: tuple[Server, Server], prefix: str) -> None:
    async def main() -> None:
        async with aio.connect(pair[0].url, prefix=prefix, durability=ONE) as connection:
            queue = await connection.create_queue("q")
            sent = await asyncio.gather(*(queue.send(n) for n in range(100)))
            assert all(s.durability and s.durability.is_enough for s in sent)
            assert (await queue.counts()).visible == 100
            with pytest.raises(rqsqs.DurabilityNotReached):
                await queue.send("a", durability=rqsqs.Durability(replicas=2, timeout=0.05))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ("1", "it is a rqsqs.Durability"),
        (rqsqs.Durability(), "asks for replicas or aof"),
        (rqsqs.Durability(replicas=-1), "replicas"),
        (rqsqs.Durability(replicas=1, timeout=0), "timeout"),
        (rqsqs.Durability(replicas=1, timeout=61), "timeout"),
        (rqsqs.Durability(aof=1), "aof is 1"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(queue: rqsqs.Queue, wrong: Any, part: str) -> None:
    for call in (lambda: queue.send("a", durability=wrong), lambda: queue.send_batch(["a"], durability=wrong)):
        with pytest.raises(rqsqs.InvalidParameterValue, match=part):
            call()
    assert queue.counts().visible == 0
