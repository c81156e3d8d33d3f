"""`rqsqs doctor` looks whether counts and metrics add up, and says how to put right what does not."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

pytest.importorskip("click")

import rqsqs
from tests.cli.tools import Run, records
from tests.clusters import client_of


@pytest.fixture
def client(valkey_url: str) -> Any:
    return client_of(valkey_url)


def findings(run: Run) -> list[dict[str, str]]:
    return [record for record in records(run("doctor", "--json")) if record["check"] == "numbers"]


def put_right(run: Run, client: Any) -> list[str]:
    """Do as the findings say until there are none; the texts of the first ones."""
    first: list[str] = []
    for _ in range(5):
        found = [record for record in findings(run) if record["level"] != "ok"]
        if not found:
            return first
        first = first or [record["text"] for record in found]
        for record in found:
            command = re.search(r"Run redis-cli (.*), then doctor again$", record["advice"])
            assert command, record
            client.execute_command(*shlex.split(command[1]))
    raise AssertionError(found)


@pytest.fixture(params=["q", "q.fifo"], ids=["standard", "fifo"])
def queue(request: pytest.FixtureRequest, connection: rqsqs.Connection) -> rqsqs.Queue:
    """Messages in all states and groups, some of them cancelled."""
    queue = connection.create_queue(request.param)
    for n in range(12):
        options: dict[str, Any] = {"deduplication_id": f"{n}"} if queue.is_fifo else {}
        sent = queue.send("x", group=f"g{n % 4}", delay=60 * (n % 3 == 2), **options)
        if n == 9:
            queue.cancel(sent)
    for message in queue.receive(4)[:2]:
        message.delete()
    return queue


def test_a_queue_that_works_adds_up(run: Run, queue: rqsqs.Queue) -> None:
    assert [record["level"] for record in findings(run)] == ["ok"]


@pytest.mark.parametrize(
    ("queue", "field"),
    [("q", "grouped"), ("q", "tombstones"), ("q", "returned"), ("q.fifo", "messages")],
    indirect=["queue"],
)
def test_a_counter_that_is_off_is_told_and_put_right(
    run: Run, queue: rqsqs.Queue, client: Any, prefix: str, field: str
) -> None:
    before = queue.counts()
    key = f"{prefix}:{{{queue.name}/0}}:{queue.name}:meta"
    client.hincrby(key, field, 7)
    assert queue.counts() != before
    (text,) = put_right(run, client)
    assert re.search(rf"^{queue.name}: its counter {field} says \d+, but \d+ are there$", text)
    assert queue.counts() == before


def test_metrics_below_zero_are_told_and_put_right(run: Run, queue: rqsqs.Queue, client: Any, prefix: str) -> None:
    key = f"{prefix}:{{{queue.name}/0}}:{queue.name}:stats"
    client.delete(key)  # as in a restore that left it out
    assert queue.metrics().deleted == 0  # not below
    assert any("its metric deleted is -2, which is impossible" in text for text in put_right(run, client))
    assert queue.metrics().deleted == 0
    for message in queue.receive(10, wait=0):
        message.delete()
    assert queue.metrics().deleted >= 0
    client.hset(key, "expired_u", -1000)
    assert any("its metric expired is -1,000" in text for text in put_right(run, client))
    assert queue.metrics().expired == 0
