"""Queues whose settings or keys are damaged: one error tells what it is, they can be looked at and removed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from tests.clusters import client_of

FIELDS = ["VisibilityTimeout", "MessageRetentionPeriod", "MaximumMessageSize", "created_us", "modified_us"]
VALUES = [None, b"garbage", b"", b"-5", b"nan", b"inf", b"0x10", b"1e3", b"9" * 30, b"\xff\x00"]
OTHERS = {
    "partition": [b"x", b"1/"],
    "RetryPolicy": [b"{", b"[]1", b'{"base": "x"}', b'{"exceptions": 5}', b'{"base": -1}'],
    "RedrivePolicy": [b"no", b"{}"],
    "DelaySeconds": [b"soon"],
    "max_receives": [b"many"],
}


@pytest.fixture
def connect(server_url: str, prefix: str) -> Iterator[Callable[[], rqsqs.Connection]]:
    """Opens connections that remember nothing."""
    opened: list[rqsqs.Connection] = []

    def connect() -> rqsqs.Connection:
        opened.append(rqsqs.connect(server_url, prefix=prefix))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def client(server_url: str) -> Any:
    return client_of(server_url)


def damage(client: Any, prefix: str, name: str, field: str, value: bytes | None) -> str:
    meta = f"{prefix}:{{{name}/0}}:{name}:meta"
    if value is None:
        client.hdel(meta, field)
    else:
        client.hset(meta, field, value)
    return meta


def send(queue: rqsqs.Queue) -> None:
    queue.send("x", **({"group": "g", "deduplication_id": str(uuid.uuid4())} if queue.is_fifo else {}))


def refusal(call: Callable[[], Any]) -> rqsqs.QueueDamaged | None:
    """What a call says of damage."""
    try:
        call()
    except rqsqs.QueueDamaged as error:
        return error
    return None


def left(client: Any, prefix: str, name: str) -> list[bytes]:
    """Keys of a queue, without those that end by themselves."""
    return [k for k in client.scan_iter(f"{prefix}:{{{name}/*") if client.ttl(k) < 0 and b":group:" not in k]


CASES = [(f, v) for f in FIELDS for v in VALUES] + [(f, v) for f, values in OTHERS.items() for v in values]


@pytest.mark.either_server
@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize(("field", "value"), CASES, ids=str)
def test_a_damaged_setting_is_named_and_the_queue_can_be_removed(
    connect: Callable[[], rqsqs.Connection], client: Any, prefix: str, name: str, field: str, value: bytes | None
) -> None:
    connection = connect()
    send(connection.create_queue(name))
    meta = damage(client, prefix, name, field, value)
    queue = connect().queue(name)
    refused = set()
    calls = {"send": lambda: send(queue), "receive": queue.receive, "counts": queue.counts, "peek": queue.peek}
    for what, call in calls.items():
        error = refusal(call)
        if error is not None:
            refused.add(what)
            assert (error.queue, error.key, error.field) == (name, meta, field)
            assert "bug" not in str(error)
            assert "delete the queue" in str(error)
    assert ("send" in refused) == ("receive" in refused) or field in OTHERS
    assert "send" in refused or field not in ("VisibilityTimeout", "MessageRetentionPeriod")
    info = queue.info()
    assert info.attributes.get(field, "") == (value or b"").decode(errors="replace") or not field[0].isupper()
    assert name in [q.name for q in connection.queues()]
    queue.purge()
    connection.delete_queue(name)
    assert left(client, prefix, name) == []
    assert list(connection.queues()) == []


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("value", [None, b"garbage", b"nan", b"-5", b"9" * 30])
@pytest.mark.parametrize("field", ["VisibilityTimeout", "MessageRetentionPeriod"])
def test_a_receive_loses_nothing_to_damaged_settings(
    connect: Callable[[], rqsqs.Connection], client: Any, prefix: str, name: str, field: str, value: bytes | None
) -> None:
    queue = connect().create_queue(name)
    send(queue)
    damage(client, prefix, name, field, value)
    for wait in (0, 0.1):
        with pytest.raises(rqsqs.QueueDamaged):
            queue.receive(wait=wait)
    damage(client, prefix, name, field, b"30")
    (message,) = queue.receive()
    assert message.body == "x"


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("key", ["meta", "store", "inflight", "delayed", "wakeups", "fair_ring", "available", "state",
                                 "shards", "paused", "tags", "tasks", "sources", "moved"])  # fmt: skip
def test_a_key_of_another_type_is_named_and_the_queue_can_be_removed(
    connect: Callable[[], rqsqs.Connection], client: Any, prefix: str, name: str, key: str
) -> None:
    connection = connect()
    connection.create_queue(name)
    full = f"{prefix}:{{{name}/0}}:{name}:{key}"
    client.delete(full)
    client.set(full, "garbage")
    queue = connect().queue(name)
    for call in (
        lambda: send(queue),
        queue.receive,
        queue.counts,
        queue.peek,
        queue.info,
        queue.tags,
        queue.move_tasks,
    ):
        error = refusal(call)
        assert error is None or (error.key == full and "is a string" in str(error)), error
    connection.delete_queue(name)
    assert left(client, prefix, name) == []


def test_a_receive_that_cannot_keep_messages_loses_none(
    connect: Callable[[], rqsqs.Connection], client: Any, prefix: str
) -> None:
    queue = connect().create_queue("q")
    queue.send_batch(["a", "b", "c"])
    store = f"{prefix}:{{q/0}}:q:store"
    client.set(store, "garbage")
    for _ in range(2):
        with pytest.raises(rqsqs.QueueDamaged, match="store"):
            queue.receive(2)
    client.delete(store)
    assert [m.body for m in queue.receive(10)] == ["a", "b", "c"]


def test_asyncio_names_it_too(
    connect: Callable[[], rqsqs.Connection], client: Any, prefix: str, server_url: str
) -> None:
    connect().create_queue("q")
    damage(client, prefix, "q", "VisibilityTimeout", None)

    async def run() -> None:
        async with aio.connect(server_url, prefix=prefix) as connection:
            with pytest.raises(rqsqs.QueueDamaged, match="VisibilityTimeout"):
                await connection.queue("q").send("x")
            with pytest.raises(rqsqs.QueueDamaged, match="VisibilityTimeout"):
                await connection.queue("q").receive(wait=0)
            await connection.delete_queue("q")

    asyncio.run(run())


def test_a_queue_that_is_gone_is_not_damaged(connect: Callable[[], rqsqs.Connection]) -> None:
    connection = connect()
    queue = connection.create_queue("q")
    connection.delete_queue("q")
    for call in (lambda: queue.send("x"), queue.receive, queue.counts, queue.peek):
        with pytest.raises(rqsqs.QueueDoesNotExist):
            call()
