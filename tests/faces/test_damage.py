"""What cannot be read: it is passed over and told of, in every face, and the good messages behind it are in reach."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from rqsqs._core import envelope
from tests.clusters import client_of

RECORDS = {
    "garbage": b"\xc1\xc1",
    "text": b"hello",
    "nothing": b"",
    "one part": b"\x91\x00",
    "four parts": b"\x94\x00\xa1x\x80\x80",
    "no list": b"\x05",
    "text that is bytes": b"\x92\x00\xc4\x01x",
    "no UTF-8": b"\x92\x00\xa2\xff\xfe",
    "cut": b"\x92\x00\xabhello",
    "garbage behind it": b"\x92\x00\xa1x\xc1",
    "a cause of two parts": b"\x92\x00\xa1x\x92\x01\x02",
    "headers that are text": b"\x93\x00\xa1x\xa1y",
    "odd attributes": b"\x93\x00\xa1x\x81\xa1a\x81\xa1b\x01",
    "odd group": b"\x93\x00\xa1x\x81\xa1g\x01",
    "a list as key": b"\x92\x02\x81\x91\x01\x02",
}
NEWER = b"\x92\x04\xa1x"
DAMAGED = "bad"  # the body of what is to be damaged


@pytest.fixture
def connection(server_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        yield connection


@pytest.fixture
def client(server_url: str) -> Any:
    return client_of(server_url)


@pytest.fixture(params=["q", "q.fifo"], ids=["standard", "fifo"])
def queue(request: pytest.FixtureRequest, connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue(request.param)


def put(client: Any, prefix: str, queue: rqsqs.Queue, record: bytes, *good: str) -> None:
    """Send something that is damaged then, and good messages behind it."""
    for body in (DAMAGED, *good):
        queue.send(body, **({"group": body, "deduplication_id": str(uuid.uuid4())} if queue.is_fifo else {}))
    key = f"{prefix}:{{{queue.name}/0}}:{queue.name}:{f'group:{DAMAGED}' if queue.is_fifo else 'ready'}"
    client.lset(key, next(i for i, item in enumerate(client.lrange(key, 0, -1)) if b"\xa3bad" in item[:6]), record)


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_message_that_cannot_be_read_is_passed_over(
    client: Any, prefix: str, queue: rqsqs.Queue, record: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    put(client, prefix, queue, record, "good")
    assert [m.body for m in queue.peek(10)] == ["good"]
    assert [m.body for m in queue.browse()[0]] == ["good"]
    assert [m.body for m in queue.peek(1)] == ["good"]  # behind it
    caplog.clear()
    with caplog.at_level(logging.WARNING, "rqsqs.damage"):
        (message,) = queue.receive(10)
    assert message.body == "good"
    (warning,) = [r.damage for r in caplog.records if hasattr(r, "damage")]
    assert isinstance(warning, rqsqs.MessageDamaged)
    assert queue.name in str(warning)
    assert warning.message_id in str(warning)
    message.delete()
    queue.delete(warning.receipt_handle)
    assert queue.counts() == rqsqs.Counts(0, 0, 0, None)


def test_where_nothing_else_is_returned_an_error_tells(client: Any, prefix: str, queue: rqsqs.Queue) -> None:
    put(client, prefix, queue, b"\xc1", "good")
    with pytest.raises(rqsqs.MessageDamaged, match="is damaged") as caught:
        queue.receive()
    assert caught.value.queue == queue.name
    assert [m.body for m in queue.receive()] == ["good"]
    queue.change_visibility(caught.value.receipt_handle, 0)
    with pytest.raises(rqsqs.MessageDamaged):
        queue.peek()
    assert queue.browse()[0] == []
    assert queue.cancel(caught.value.message_id)
    assert queue.peek() == []


def test_who_iterates_meets_the_good_ones_alone(client: Any, prefix: str, queue: rqsqs.Queue, server_url: str) -> None:
    put(client, prefix, queue, b"\xc1", "a", "b")
    assert [m.body for m in queue.messages(wait=0, visibility_timeout=30)] == ["a", "b"]

    async def run() -> list[Any]:
        async with aio.connect(server_url, prefix=prefix) as other:
            theirs = other.queue(queue.name)
            assert [m.body for m in await theirs.peek(2, "in_flight")] == ["a", "b"]
            return [m.body async for m in theirs.messages(wait=0)]

    put(client, prefix, queue, b"\xc1", "c")
    assert asyncio.run(run()) == ["c"]


def test_what_came_too_often_goes_to_the_dead_letter_queue(
    client: Any, prefix: str, connection: rqsqs.Connection
) -> None:
    dead = connection.create_queue("dead")
    queue = connection.create_queue("q", dead_letter_queue="dead", max_receive_count=2, visibility_timeout=0)
    put(client, prefix, queue, b"\xc1")
    for _ in range(2):
        with pytest.raises(rqsqs.MessageDamaged):
            queue.receive()
    assert queue.receive() == []
    assert dead.counts().visible == 1


def test_delete_and_receive_passes_it_over_too(client: Any, prefix: str, queue: rqsqs.Queue) -> None:
    put(client, prefix, queue, b"\xc1", "good")
    received, failures = queue.delete_and_receive([], 10)
    assert ([m.body for m in received], failures) == (["good"], [])


@pytest.mark.parametrize("key", [b"x", b"1" * 24 + b"/1/2", b"\xff" * 30, b"17000000000000009999999z"])
def test_what_is_no_message_is_passed_over(
    client: Any, prefix: str, connection: rqsqs.Connection, key: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    queue = connection.create_queue("q")
    client.rpush(f"{prefix}:{{q/0}}:q:ready", key, "foreign")
    queue.send("good")
    assert [m.body for m in queue.peek(10)] == ["good"]
    assert [m.body for m in queue.receive(10)] == ["good"]
    assert "is no message of rqsqs" in caplog.text
    queue.purge()
    assert queue.counts() == rqsqs.Counts(0, 0, 0, None)


@pytest.mark.parametrize("delete", [False, True])
def test_who_meets_a_newer_format_stops_and_spends_no_receive(
    client: Any, prefix: str, queue: rqsqs.Queue, delete: bool
) -> None:
    put(client, prefix, queue, NEWER, "good")
    for _ in range(3):
        with pytest.raises(rqsqs.FormatNewer, match="format 2"):
            queue.receive(10, delete=delete)
    assert queue.counts().visible == 2
    with pytest.raises(rqsqs.FormatNewer):
        queue.browse()
    key = f"{prefix}:{{{queue.name}/0}}:{queue.name}:store"
    for name, record in client.hgetall(key).items():
        if record == NEWER:
            client.hset(key, name, envelope.outgoing("x").record)
    for name in client.scan_iter(f"{prefix}:*", _type="list"):
        for i, record in enumerate(client.lrange(name, 0, -1)):
            if record == NEWER:
                client.lset(name, i, envelope.outgoing("x").record)
    assert {m.body: m.receive_count for m in queue.receive(10)} == {"x": 1, "good": 1}


def test_asyncio_stops_at_a_newer_format_too(client: Any, prefix: str, queue: rqsqs.Queue, server_url: str) -> None:
    put(client, prefix, queue, NEWER)

    async def run() -> None:
        async with aio.connect(server_url, prefix=prefix) as other:
            with pytest.raises(rqsqs.FormatNewer):
                await other.queue(queue.name).receive(wait=0)

    asyncio.run(run())
    assert queue.counts().visible == 1


def str_of(body: Any) -> str:
    """The same in every process."""
    return "nested" if isinstance(body, list) else repr(body).split(" at ")[0][:40]


def nested(levels: int) -> Any:
    body: Any = 1
    for _ in range(levels):
        body = [body]
    return body


@pytest.mark.parametrize(
    "body",
    [
        {(1, 2): 3},
        [{"a": {(1,): 2}}],
        {"a": memoryview(b"abcdef")[::2]},
        {1, 2},
        {frozenset(): 1},
        2**64,
        -(2**63) - 1,
        {"a": "\ud800"},
        {"\udfff": 1},
        nested(2000),
        object,
    ],
    ids=str_of,
)
def test_a_body_that_could_not_be_read_is_refused_when_it_is_sent(connection: rqsqs.Connection, body: Any) -> None:
    queue = connection.create_queue("q")
    with pytest.raises(rqsqs.InvalidParameterValue, match="cannot be packed"):
        queue.send(body)
    with pytest.raises(rqsqs.InvalidParameterValue, match="cannot be packed"):
        queue.send_batch(["good", body])
    assert queue.counts().visible == 0


@pytest.mark.parametrize(
    "body",
    [
        {b"\xff": 1},
        {1: "a", None: 2, 1.5: 3, False: 4},
        {"a": {b"k": [1, {2: b"\x00"}]}},
        nested(500),
        memoryview(b"abcdef")[::2],
        memoryview(b"abc"),
        bytearray(b"abc"),
        float("inf"),
        2**64 - 1,
        "",
        b"",
        None,
    ],
    ids=str_of,
)
def test_what_is_accepted_comes_back_equal(connection: rqsqs.Connection, body: Any) -> None:
    queue = connection.create_queue("q")
    queue.send(body)
    (message,) = queue.receive()
    assert message.body == body
    assert isinstance(message._delivery.text(), str)  # what boto3 shows
