"""Deleting what is finished and receiving what comes next, in one call."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import rqsqs
from rqsqs import aio
from rqsqs.testing import VirtualClock


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_whole_queue_is_worked_off_with_one_call_per_batch(server_url: str, prefix: str, name: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue(name)
        options = {"group": "g"} if queue.is_fifo else {}
        queue.send_batch([rqsqs.Entry(n, **options) for n in range(50)])
        seen: list[int] = []
        batch, failures = queue.delete_and_receive([], 10)
        while batch:
            seen += [m.body for m in batch]
            batch, failures = queue.delete_and_receive(batch, 10)
            assert failures == []
        assert seen == list(range(50))
        assert queue.counts() == rqsqs.Counts()


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_it_waits_for_the_next_message_after_deleting(valkey_url: str, prefix: str, name: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue(name)
        options = {"group": "g"} if queue.is_fifo else {}
        queue.send("first", **options)
        (first,) = queue.receive()
        threading.Timer(0.2, queue.send, ("second",), options).start()
        start = time.monotonic()
        (second,), failures = queue.delete_and_receive([first], wait=40)
        assert (second.body, failures) == ("second", [])
        assert time.monotonic() - start < 30
        assert queue.counts().in_flight == 1


def test_a_finished_message_lets_its_group_go_on_in_the_same_call(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("q.fifo")
        queue.send_batch([rqsqs.Entry(n, group="g") for n in range(2)])
        (first,) = queue.receive()
        assert queue.receive() == []
        (second,), _ = queue.delete_and_receive([first])
        assert second.body == 1


def test_what_cannot_be_deleted_is_told(server_url: str, prefix: str) -> None:
    clock = VirtualClock()
    with rqsqs.connect(server_url, prefix=prefix, clock=clock) as connection:
        queue = connection.create_queue("q.fifo", visibility_timeout=30)
        queue.send("a", group="g")
        (late,) = queue.receive()
        clock.advance(seconds=31)
        (again,) = queue.receive()
        found, failures = queue.delete_and_receive([late, "garbage"])
        assert found == []
        assert [(f.index, type(f.error)) for f in failures] == [
            (0, rqsqs.ReceiptHandleExpired),
            (1, rqsqs.ReceiptHandleIsInvalid),
        ]
        again.delete()


def test_letters_of_several_sources_are_deleted_where_they_are(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        dead = connection.create_queue("dead")
        for name in ("a", "b"):
            source = connection.create_queue(name, dead_letter_queue="dead", max_receive_count=1)
            source.send(name)
            source.receive(visibility_timeout=0)
            assert source.receive() == []
        letters = dead.receive(10)
        assert sorted(m.body for m in letters) == ["a", "b"]
        assert dead.delete_and_receive(letters, 10) == ([], [])
        assert dead.counts() == rqsqs.Counts()


def test_asyncio(valkey_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with aio.connect(valkey_url, prefix=prefix) as connection:
            queue = await connection.create_queue("q")
            await queue.send_batch([1, 2])
            (first,) = await queue.receive()
            (second,), failures = await queue.delete_and_receive([first], wait=1)
            assert (second.body, failures) == (2, [])
            assert (await queue.counts()).in_flight == 1

    asyncio.run(scenario())
