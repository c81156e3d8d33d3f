"""The timeline of a message by the native API: sync and asyncio, partitions, workers, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from rqsqs._core import ids
from rqsqs.worker import Worker


@pytest.fixture
def connection(server_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        yield connection


def kinds(queue: rqsqs.Queue, message: Any) -> list[str]:
    return [step.kind for step in queue.timeline(message).steps]


@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
def test_it_tells_who_did_what_when(connection: rqsqs.Connection, name: str) -> None:
    queue = connection.create_queue(name, timeline=True)
    sent = queue.send("x", **({"group": "g"} if queue.is_fifo else {}))
    [message] = queue.receive()
    message.delete()
    found = queue.timeline(sent)
    assert found == queue.timeline(sent.message_id) == queue.timeline(message)
    assert (found.message_id, found.is_on) == (sent.message_id, True)
    assert found.since_ms == found.steps[0].at_ms
    assert [step.kind for step in found.steps] == ["sent", "received", "deleted"]
    assert {step.process for step in found.steps[:2]} == {ids.call_slots.process}
    assert found.steps[1].waited_s is not None
    assert found.steps[2].after_s is not None
    assert found.steps[0].to_json() == {
        "kind": "sent",
        "at": found.steps[0].to_json()["at"],
        "queue": name,
        "message_id": sent.message_id,
        "process": ids.call_slots.process,
    }


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_a_dead_letter_is_followed_back_where_only_its_source_kept_a_timeline(
    connection: rqsqs.Connection, suffix: str
) -> None:
    dead = connection.create_queue("dead" + suffix)
    queue = connection.create_queue("q" + suffix, dead_letter_queue=dead.name, max_receive_count=1, timeline=True)
    sent = queue.send("x", **({"group": "g"} if suffix else {}))  # type: ignore[arg-type]
    queue.receive(visibility_timeout=0)
    assert queue.receive() == []
    (letter,) = dead.receive()
    found = dead.timeline(letter)
    assert [step.kind for step in found.steps] == ["sent", "received", "dead_lettered"]
    assert found.steps == queue.timeline(sent).steps
    assert not found.is_on


def test_asyncio(server_url: str, prefix: str) -> None:
    async def run() -> list[str]:
        async with aio.connect(server_url, prefix=prefix) as connection:
            queue = await connection.create_queue("orders", timeline=True)
            sent = await queue.send("x")
            [message] = await queue.receive()
            await message.delete()
            return [step.kind for step in (await queue.timeline(sent)).steps]

    assert asyncio.run(run()) == ["sent", "received", "deleted"]


def test_partitions(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders", timeline=65_536, partitions=3)
    sent = [queue.send(str(n)) for n in range(9)]
    queue.configure(partitions=4)
    later = [queue.send(str(n)) for n in range(8)]
    while messages := queue.receive(max_messages=10):
        for message in messages:
            message.delete()
    for each in [*sent, *later]:
        assert kinds(queue, each) == ["sent", "received", "deleted"]


def test_workers_are_named_and_tell_why(connection: rqsqs.Connection, server_url: str, prefix: str) -> None:
    dead = connection.create_queue("dead", timeline=True)
    queue = connection.create_queue(
        "orders",
        timeline=True,
        dead_letter_queue=dead,
        max_receive_count=2,
        retry_policy=rqsqs.RetryPolicy(0.001, 0.001),
    )
    good, bad = queue.send("good"), queue.send("bad")
    worker = Worker(server_url, prefix=prefix)
    done: list[str] = []

    @worker.handler("orders")
    def handle(message: rqsqs.Message) -> None:
        done.append(message.body)
        if message.body == "bad":
            raise ValueError("no such customer")
        if len(done) >= 3:
            worker.stop()

    @worker.handler("dead")
    def bury(message: rqsqs.Message) -> None:
        worker.stop()

    worker.run()
    assert kinds(queue, good)[-2:] == ["received", "deleted"]
    steps = [step for step in queue.timeline(bad).steps if step.kind != "received"]
    told = [step for step in steps if step.outcome != "requeue"]  # what was taken ahead may go back unbegun
    assert [step.kind for step in told] == ["sent", "released", "released", "dead_lettered", "deleted"]
    first, _, died = told[1:4]
    assert first.cause == "ValueError: no such customer"
    assert (first.outcome, died.outcome) == ("retry", "released")
    assert (died.source, died.destination) == ("orders", "dead")
    assert first.consumer
    assert {step.consumer for step in queue.timeline(bad).steps if step.kind == "received"} == {first.consumer}


def test_it_is_switched_on_and_off(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    before = queue.send("x")
    assert kinds(queue, before) == []
    assert queue.timeline(before).is_on is False
    queue.configure(timeline=True)
    assert queue.info().attributes["Timeline"] == "1048576"
    assert kinds(queue, queue.send("y")) == ["sent"]
    queue.configure(timeline=20_000)
    assert queue.info().attributes["Timeline"] == "20000"
    queue.configure(timeline=False)
    assert "Timeline" not in queue.info().attributes
    assert kinds(queue, queue.send("z")) == []


@pytest.mark.parametrize("value", [0, 1, 16_383, 67_108_865, "on", 1.5, timedelta(1)])
def test_wrong_settings(connection: rqsqs.Connection, value: Any) -> None:
    with pytest.raises(
        rqsqs.InvalidParameterValue, match="timeline must be True, False, or bytes from 16384 to 67108864"
    ):
        connection.create_queue("orders", timeline=value)


@pytest.mark.parametrize("value", ["x", "", None, 5])
def test_wrong_ids(connection: rqsqs.Connection, value: Any) -> None:
    queue = connection.create_queue("orders", timeline=True)
    with pytest.raises(rqsqs.InvalidParameterValue, match="message must be"):
        queue.timeline(value)
    with pytest.raises(rqsqs.QueueDoesNotExist):
        connection.queue("none").timeline("0199c1a2-7f3e-7000-8000-0123456789ab")
