"""Counts and histories that somebody wrote by hand, or deleted: no message is blocked or lost, no number is negative,
and doctor tells how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import rqsqs
from rqsqs._core import flows
from rqsqs._core.flows.metric_history import sample
from rqsqs._core.flows.metrics import doubts
from rqsqs.metrics import prometheus
from rqsqs.metrics.exposition import OPENMETRICS, TEXT
from tests.clusters import client_of

KEYS = ("stats", "history", "history_last", "history_hours")
FIELDS: dict[str, list[str]] = {
    "@": ["nan", "-5", "1e5", "", "9" * 19, "9" * 40],
    "crossed": ["x", "-1", "-9223372036854775808"],
    "expired_r": ["-9", "inf"],
    "expired_u": ["-9"],
    "moved_in": ["-3"],
    "r2": ["-7"],
    "empty": ["-4", "9223372036854775807"],
    "s7": ["-1"],
    "reclaimed": ["soon"],
}
IMPOSSIBLE = {("crossed", "-1"), ("expired_r", "-9"), ("expired_u", "-9"), ("crossed", "-9223372036854775808")}
POSSIBLE = {("@", "9" * 19), ("empty", "9223372036854775807")}


@pytest.fixture
def connection(server_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix) as one:
        yield one


@pytest.fixture
def client(server_url: str) -> Any:
    return client_of(server_url)


def group(queue: rqsqs.Queue) -> dict[str, Any]:
    return {"group": "g"} if queue.is_fifo else {}


def check_work(queue: rqsqs.Queue) -> None:
    """Three messages go through it."""
    queue.send_batch([rqsqs.Entry(n, **group(queue)) for n in range(3)])
    got = queue.receive(10)
    assert [message.body for message in got] == [0, 1, 2]
    queue.delete_batch(got)
    assert not queue.receive()


def check_numbers(queue: rqsqs.Queue) -> None:
    """They can be read and written, and none is negative."""
    found = queue.metrics()
    numbers = [getattr(found, name) for name in found.__dataclass_fields__]
    assert min(number for number in numbers if isinstance(number, int)) >= 0
    assert min([0, *found.redelivered, *found.dwell.counts, *found.processing.counts]) >= 0
    for form in (TEXT, OPENMETRICS):
        assert " -" not in "".join(prometheus.write([found], form)).replace("# UNIT", "")


def told(connection: rqsqs.Connection, queue: rqsqs.Queue) -> list[str]:
    """What doctor has to say."""
    ref = connection.transport.queue(queue.name)
    damage = [str(error) for error in connection.transport.run(flows.find_damage(ref))[1]]
    return damage + [doubt.repair for doubt in connection.transport.run(doubts(ref))]


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_another_type_is_told_and_harms_no_message(
    connection: rqsqs.Connection, client: Any, name: str, key: str
) -> None:
    queue = connection.create_queue(name)
    full = connection.transport.queue(name).home.base + key
    client.zadd(full, {"x": 1})
    check_work(queue)
    check_numbers(queue)
    assert connection.transport.run(sample(connection.transport.space)) is not None
    [damage] = [text for text in told(connection, queue) if "damaged" in text]
    assert "unlink that key" in damage
    client.unlink(full)
    check_work(queue)
    queue.history()
    assert not told(connection, queue)


@pytest.mark.either_server
@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in FIELDS.items() for v in values])
def test_a_count_written_by_hand_is_told_and_harms_no_message(
    connection: rqsqs.Connection, client: Any, name: str, field: str, value: str
) -> None:
    queue = connection.create_queue(name)
    stats = connection.transport.queue(name).home.base + "stats"
    client.hset(stats, field, value)
    says = told(connection, queue)
    if (field, value) in IMPOSSIBLE:
        assert any(stats in repair for repair in says)
    elif (field, value) not in POSSIBLE:
        assert any(stats in damage and "unlink that key" in damage for damage in says)
    check_work(queue)
    check_numbers(queue)
    assert not connection.transport.run(sample(connection.transport.space)).errors
    queue.history()


@pytest.mark.either_server
@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_counts_that_were_deleted_begin_anew(connection: rqsqs.Connection, client: Any, name: str) -> None:
    queue = connection.create_queue(name)
    queue.send_batch([rqsqs.Entry(n, **group(queue)) for n in range(4)])
    got = queue.receive(3)
    base = connection.transport.queue(name).home.base
    client.unlink(base + "stats")
    check_numbers(queue)
    assert told(connection, queue) == [f"HINCRBY {base}stats crossed 3"]
    queue.delete_batch(got)
    assert not told(connection, queue)
    assert queue.metrics().sent == 1
