"""What the native face has for workers: retry policies, causes, consumers and orders to them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

import rqsqs
from rqsqs import RetryPolicy, aio
from rqsqs._core import flows
from rqsqs._core.operations import Outcome
from rqsqs.testing import VirtualClock
from rqsqs.worker.outcomes import failed, requeue

pytestmark = pytest.mark.either_server  # the subject is the client

KINDS = pytest.mark.parametrize("name", ["orders", "orders.fifo"])


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def connection(server_url: str, prefix: str, clock: VirtualClock) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix, clock=clock) as connection:
        yield connection


@pytest.fixture(params=["orders", "orders.fifo"])
def queue(connection: rqsqs.Connection, request: pytest.FixtureRequest) -> rqsqs.Queue:
    """A standard queue, then a FIFO queue."""
    return connection.create_queue(request.param)


def send(queue: rqsqs.Queue, body: Any = "x", **options: Any) -> None:
    queue.send(body, group="g" if queue.is_fifo else None, **options)


def release(queue: rqsqs.Queue, *outcomes: Outcome) -> list[int]:
    return queue._run(flows.release(queue._ref, outcomes))


def fail(queue: rqsqs.Queue, message: rqsqs.Message, error: BaseException) -> int:
    """As a worker does when a handler raised `error`; the longest delay comes out."""
    try:
        raise error
    except BaseException as e:
        return release(queue, dataclasses.replace(failed(message._delivery, e, "worker-1"), chance=1_000_000))[0]


def policy_of(queue: rqsqs.Queue) -> Any:
    return json.loads(queue.info().attributes["RetryPolicy"])


# Retry policies


@KINDS
def test_a_retry_policy_is_stored_shown_and_changed(connection: rqsqs.Connection, name: str) -> None:
    queue = connection.create_queue(
        name,
        retry_policy=RetryPolicy(
            base=timedelta(seconds=2),  # type: ignore[arg-type]
            cap=60.5,
            dead_letter=(KeyError, "shop.OutOfStock"),
            exceptions={ConnectionError: RetryPolicy(0.001, 5), "Busy": RetryPolicy(9, 9)},
        ),
    )
    assert policy_of(queue) == {
        "base": 2000,
        "cap": 60_500,
        "exceptions": {
            "builtins.KeyError": "dead",
            "shop.OutOfStock": "dead",
            "builtins.ConnectionError": {"base": 1, "cap": 5000},
            "Busy": {"base": 9000, "cap": 9000},
        },
    }
    queue.configure(retry_policy=RetryPolicy())
    assert policy_of(queue) == {"base": 1000, "cap": 300_000}
    queue.configure(delay=1)
    assert policy_of(queue) == {"base": 1000, "cap": 300_000}
    assert "RetryPolicy" not in connection.create_queue("other").info().attributes


@KINDS
def test_creating_again_is_fine_with_the_same_retry_policy_only(connection: rqsqs.Connection, name: str) -> None:
    one = RetryPolicy(1, 60, ("A", ValueError), {"B": RetryPolicy(2, 2), "C": RetryPolicy(3, 3)})
    same = RetryPolicy(1.0, 60.0, (ValueError, "A"), {"C": RetryPolicy(3, 3), "B": RetryPolicy(2, 2)})
    queue = connection.create_queue(name, retry_policy=one)
    connection.create_queue(name, retry_policy=same)
    connection.create_queue(name)
    for other in (RetryPolicy(1, 61, one.dead_letter, one.exceptions), RetryPolicy()):
        with pytest.raises(rqsqs.QueueNameExists, match=f"the queue '{name}' exists with another value of RetryPolicy"):
            connection.create_queue(name, retry_policy=other)
    assert policy_of(queue)["cap"] == 60_000


def test_a_failed_message_is_tried_again_by_the_policy(queue: rqsqs.Queue, clock: VirtualClock) -> None:
    special: Any = {LookupError: RetryPolicy(50, 50), "OSError": RetryPolicy(9, 9)}
    queue.configure(retry_policy=RetryPolicy(4, 4, exceptions=special))
    send(queue)
    delays = []
    for error in (ValueError("v"), KeyError("k"), ConnectionResetError("o")):
        (message,) = queue.receive(visibility_timeout=600)
        delays.append(fail(queue, message, error))
        clock.advance(60)
    (message,) = queue.receive()
    assert message.receive_count == 4
    assert delays == [4000, 50_000, 9000]


@KINDS
def test_dead_letters_obey_the_policy_of_their_own_queue(
    connection: rqsqs.Connection, clock: VirtualClock, name: str
) -> None:
    dead_name = name.replace("orders", "dead")
    dead = connection.create_queue(dead_name, retry_policy=RetryPolicy(7, 7, ("Never",)))
    queue = connection.create_queue(name, dead_letter_queue=dead, max_receive_count=1)
    send(queue)
    (message,) = queue.receive()
    assert fail(queue, message, ValueError("no")) == -3
    (letter,) = dead.receive()
    assert fail(dead, letter, ValueError("no")) == 7000
    dead.configure(retry_policy=RetryPolicy(100, 100, ("builtins.ValueError",)))
    clock.advance(30)
    (letter,) = dead.receive()
    assert fail(dead, letter, UnicodeError("no")) == 100_000  # there is nowhere to go


# Causes


def test_a_message_tells_why_it_failed(queue: rqsqs.Queue) -> None:
    send(queue, {"a": 1}, attributes={"n": 5})
    (message,) = queue.receive(visibility_timeout=600)
    assert message.cause is None
    assert fail(queue, message, ValueError("no good")) == 1000
    (seen,) = queue.peek(state="in_flight")
    assert seen.cause
    assert (seen.cause.type, seen.cause.message, seen.cause.worker) == ("ValueError", "no good", "worker-1")
    assert (seen.cause.failures, seen.cause.receives) == (1, 1)
    assert "raise error" in seen.cause.traceback
    assert seen.cause.at_ms
    assert (seen.body, seen.attributes) == ({"a": 1}, {"n": 5})


@KINDS
def test_a_dead_letter_tells_why(connection: rqsqs.Connection, name: str) -> None:
    dead = connection.create_queue(name.replace("orders", "dead"))
    queue = connection.create_queue(name, dead_letter_queue=dead, max_receive_count=1)
    send(queue, "told")
    (message,) = queue.receive()
    assert fail(queue, message, KeyError("k")) == -3
    send(queue, "silent")
    queue.receive(visibility_timeout=0)
    assert queue.receive() == []
    causes = {m.body: m.cause for m in dead.peek(10)}
    assert {body: cause.type for body, cause in causes.items() if cause} == {
        "told": "KeyError",
        "silent": "ReceivedTooOften",
    }


def test_what_comes_back_is_received_as_if_for_the_first_time(queue: rqsqs.Queue) -> None:
    send(queue)
    (message,) = queue.receive()
    assert release(queue, requeue(message._delivery)) == [0]
    (message,) = queue.receive()
    assert (message.receive_count, message.cause) == (1, None)


# The SQS faces


@KINDS
def test_the_drop_in_neither_shows_the_policy_nor_loses_it(
    connection: rqsqs.Connection, server_url: str, prefix: str, name: str
) -> None:
    pytest.importorskip("boto3")
    import rqsqs.boto3

    queue = connection.create_queue(name, retry_policy=RetryPolicy(5, 5), visibility_timeout=30)
    client: Any = rqsqs.boto3.Session(region_name="us-east-1").client("sqs", endpoint_url=server_url)
    rqsqs.boto3.attach(client, server_url, prefix=prefix)
    more = {"FifoQueue": "true"} if queue.is_fifo else {}
    url = client.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "30", **more})["QueueUrl"]
    shown = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert shown["VisibilityTimeout"] == "30"
    assert "RetryPolicy" not in shown
    client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "40"})
    assert policy_of(queue) == {"base": 5000, "cap": 5000}
    with pytest.raises(client.exceptions.InvalidAttributeName):
        client.set_queue_attributes(QueueUrl=url, Attributes={"RetryPolicy": "{}"})
    with pytest.raises(client.exceptions.InvalidAttributeName):
        client.get_queue_attributes(QueueUrl=url, AttributeNames=["RetryPolicy"])


@KINDS
@pytest.mark.parametrize("body", ["text", "ü\U0001f600", b"\x00\xff", {"a": [1]}], ids=repr)
def test_the_drop_in_receives_what_failed_as_it_was_sent(
    connection: rqsqs.Connection, server_url: str, prefix: str, name: str, body: Any
) -> None:
    pytest.importorskip("boto3")
    import rqsqs.boto3

    queue = connection.create_queue(name)
    client: Any = rqsqs.boto3.Session(region_name="us-east-1").client("sqs", endpoint_url=server_url)
    rqsqs.boto3.attach(client, server_url, prefix=prefix, clock=VirtualClock())
    url = client.get_queue_url(QueueName=name)["QueueUrl"]
    send(queue, body, attributes={"n": 5, "b": b"\x00", "s": "ü"})

    def receive() -> dict[str, Any]:
        (got,) = client.receive_message(
            QueueUrl=url,
            VisibilityTimeout=0,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        )["Messages"]
        got.pop("ReceiptHandle")
        return dict(got)

    before = receive()
    (message,) = queue.receive(visibility_timeout=600)
    outcome = failed(message._delivery, ValueError("x" * 500), "w")
    assert release(queue, dataclasses.replace(outcome, wanted_ms=0)) == [0]
    (message,) = queue.receive(visibility_timeout=0)
    assert message.cause
    assert receive() == before


# Consumers


def beat(queue: Any, consumer: str, **says: Any) -> Any:
    return flows.beat(queue._ref, (), 10_000, consumer, {"state": "running", "host": "h", "pid": 7, **says}, 20_000)


def test_consumers_are_listed_and_ordered(queue: rqsqs.Queue, clock: VirtualClock) -> None:
    assert queue.consumers() == []
    assert queue.drain("a") is False
    queue._run(beat(queue, "a", concurrency=3))
    (found,) = queue.consumers()
    assert isinstance(found, rqsqs.Consumer)
    assert (found.consumer_id, found.queue, found.is_alive, found.state) == ("a", queue.name, True, "running")
    assert (found.host, found.pid, found.concurrency) == ("h", 7, 3)
    assert queue.drain(found) is True
    assert queue.consumers()[0].state == "drain"
    assert queue._run(beat(queue, "a")) == ("drain", [])
    assert queue.evict("a") is True
    assert queue._run(beat(queue, "a")) == ("evict", [])
    clock.advance(20)
    assert [c.is_alive for c in queue.consumers()] == [False]
    clock.advance(60)
    assert queue.consumers() == []


def test_consumers_in_the_other_colour(server_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with aio.connect(server_url, prefix=prefix) as connection:
            for name in ("orders", "orders.fifo"):
                queue = await connection.create_queue(name, retry_policy=RetryPolicy(3, 3))
                assert json.loads((await queue.info()).attributes["RetryPolicy"]) == {"base": 3000, "cap": 3000}
                assert await queue.consumers() == []
                assert await queue.evict("a") is False
                await queue._run(beat(queue, "a"))
                (found,) = await queue.consumers()
                assert (found.consumer_id, found.queue, found.is_alive) == ("a", name, True)
                assert await queue.drain(found) is True
                assert await queue._run(beat(queue, "a")) == ("drain", [])
                assert await queue.evict("a") is True
                assert await queue._run(beat(queue, "a")) == ("evict", [])
                await queue.send("x", group="g" if queue.is_fifo else None)
                (message,) = await queue.receive(visibility_timeout=600)
                assert message.cause is None
                outcome = failed(message._delivery, ValueError("no"), "a")
                at_once = dataclasses.replace(outcome, wanted_ms=0)
                await queue._run(flows.release(queue._ref, [at_once]))
                (message,) = await queue.receive()
                assert message.cause
                assert message.cause.message == "no"
                await connection.delete_queue(queue)
                with pytest.raises(rqsqs.QueueDoesNotExist):
                    await queue.consumers()
                assert await queue.drain("a") is False

    asyncio.run(asyncio.wait_for(scenario(), 100))


def test_a_queue_that_does_not_exist_has_no_consumers(connection: rqsqs.Connection) -> None:
    queue = connection.queue("nowhere")
    with pytest.raises(rqsqs.QueueDoesNotExist):
        queue.consumers()
    assert queue.drain("a") is False
    assert queue.evict("a") is False
