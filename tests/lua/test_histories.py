"""What a message has behind it: another time, a thousand receives, thousands of cancelled ones before it."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs._core import flows
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import moves
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine

HOUR_MS = 3_600_000


# A FIFO message that was received before and is given another time


@pytest.fixture
def postponed(engine: Engine) -> QueueRef:
    """A dead-letter queue with the received and postponed letter `x` in group g, and `v` in group h."""
    dlq = engine.queue("dead.fifo")
    q = engine.queue("q.fifo", "dead.fifo")
    engine.send(q, "x", group="g")
    engine.send(q, "v", group="h")
    assert sorted(engine.bodies(q, visibility_ms=0)) == ["v", "x"]
    assert engine.bodies(q) == []
    letters = {d.body: d for d in engine.receive(dlq, visibility_ms=0)}
    assert sorted(letters) == ["v", "x"]
    assert engine.run(flows.reschedule(dlq, letters["x"].message_id, engine.clock.ms + HOUR_MS, "g"))
    assert engine.counts(dlq) == (1, 0, 1)
    return dlq


def test_the_group_of_a_received_and_postponed_head_is_not_available(engine: Engine, postponed: QueueRef) -> None:
    shard = postponed.partitions[1]
    assert engine.redis.zrange(shard.base + "available", 0, -1) == [b"h"]
    assert engine.bodies(postponed) == ["v"]


def test_a_move_leaves_a_received_and_postponed_letter_where_it_is(engine: Engine, postponed: QueueRef) -> None:
    q = engine.transport.queue("q.fifo")
    engine.run(flows.start_move(postponed))
    assert engine.bodies(q) == ["v"]
    assert engine.counts(postponed) == (0, 0, 1)
    engine.clock.advance_ms(HOUR_MS)
    (letter,) = engine.receive(postponed)
    assert (letter.body, letter.receive_count) == ("x", 3)
    assert engine.delete(postponed, letter) == [None]
    assert engine.counts(postponed) == (0, 0, 0)


def test_a_move_to_another_slot_leaves_it_as_well(engine: Engine, postponed: QueueRef) -> None:
    other = engine.queue("other.fifo")
    engine.run(flows.start_move(postponed, other))
    assert engine.bodies(other) == ["v"]
    assert engine.counts(postponed) == (0, 0, 1)


def test_what_stands_behind_a_received_and_postponed_message_waits_for_it(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    first, _ = engine.send(q, "a", "b", group="g")
    assert engine.bodies(q, 1, 0) == ["a"]
    assert engine.run(flows.reschedule(q, first.message_id, engine.clock.ms + 1000, "g"))
    engine.run(flows.pause(q, resume=False, group="g"))
    engine.run(flows.pause(q, resume=True, group="g"))
    assert engine.bodies(q) == []
    assert engine.counts(q)[0] + engine.counts(q)[2] == 2
    engine.clock.advance_ms(1000)
    assert engine.bodies(q) == ["a", "b"]


# More receives than a score can count


@pytest.fixture
def often(engine: Engine, name: str) -> tuple[QueueRef, list[Any]]:
    """A queue whose message was received a thousand and one times, and those receives."""
    q = engine.queue(name)
    engine.send(q, "x", group="g")
    deliveries = []
    for _ in range(1001):
        engine.clock.advance_ms(1001)
        deliveries += engine.receive(q, 1, 1000)
    assert [d.receive_count for d in deliveries] == list(range(1, 1002))
    return q, deliveries


def test_an_old_receipt_of_the_thousandth_receive_deletes_nothing(
    engine: Engine, often: tuple[QueueRef, list[Any]]
) -> None:
    q, deliveries = often
    for old in (deliveries[-2], deliveries[-3], deliveries[998]):
        if q.is_fifo:
            (failure,) = engine.delete(q, old)
            assert type(failure.error).__name__ == "ReceiptHandleExpired"
            assert engine.counts(q) == (0, 1, 0)
    assert engine.delete(q, deliveries[-1]) == [None]
    assert engine.counts(q) == (0, 0, 0)
    assert engine.names(f"{{{q.home.tag}}}:*state") == []


def test_an_old_receipt_of_the_thousandth_receive_changes_no_visibility(
    engine: Engine, often: tuple[QueueRef, list[Any]]
) -> None:
    q, deliveries = often
    if not q.is_fifo:
        return  # standard queues go by the message
    (failure,) = engine.run(flows.change_visibility(q, [(deliveries[-2].receipt_handle, 0)], NATIVE))
    assert type(failure.error).__name__ == "ReceiptHandleExpired"
    assert engine.counts(q) == (0, 1, 0)
    assert engine.run(flows.change_visibility(q, [(deliveries[-1].receipt_handle, 0)], NATIVE)) == [None]
    assert engine.counts(q) == (1, 0, 0)
    (again,) = engine.receive(q)
    assert again.receive_count == 1002
    assert engine.delete(q, again) == [None]


# A move over the tombstones of cancelled messages


class Holes:
    """A dead-letter queue with thousands of messages that were cancelled while they waited, between two others."""

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
        self.dlq = engine.queue("dead")
        self.q = engine.queue("q", "dead")
        self.other = engine.queue("other")
        self.group = "g" if where == "fair" else None
        self.p = self.dlq.partition(self.q.home.tag) if where == "shard" else self.dlq.home
        self.enter("first")
        base = self.p.base
        target = f"{base}group:{self.group}" if self.group else base + "ready"
        stamp = engine.clock.us
        engine.redis.rpush(target, *(x for i in range(5000) for x in (f"{stamp}{i:08d}-", "")))
        engine.redis.hincrby(base + "meta", "tombstones", 5000)
        if self.group:
            engine.redis.hincrby(base + "meta", "grouped", 5000)
        self.enter("last")

    def enter(self, body: str) -> None:
        if self.p is self.dlq.home:
            self.engine.send(self.dlq, body, group=self.group)
        else:
            self.engine.send(self.q, body)
            assert self.engine.bodies(self.q, visibility_ms=0) == [body]
            assert self.engine.bodies(self.q) == []

    def left(self) -> int:
        return int(self.engine.redis.hget(self.p.base + "meta", "tombstones") or 0)  # type: ignore[arg-type]


@pytest.fixture(params=["home", "fair", "shard"])
def tombstones(request: pytest.FixtureRequest, engine: Engine) -> Holes:
    return Holes(engine, request.param)


def test_a_step_of_a_move_goes_over_a_bounded_number_of_tombstones(engine: Engine, tombstones: Holes) -> None:
    steps, before = 0, tombstones.left()
    assert before == 5000
    while before:
        steps += 1
        assert steps < 20
        if tombstones.p is tombstones.dlq.home:
            batch = f"batch{steps}"
            if engine.execute(moves.take(tombstones.p, 100, "other", batch)) is not None:
                engine.execute(moves.clear(tombstones.p, batch, "end"))
        else:
            engine.execute(moves.move(tombstones.p, 100, ""))
        assert before - tombstones.left() <= 300
        before = tombstones.left()
    assert steps >= 5


@pytest.mark.parametrize("to_other", [False, True], ids=["source", "other"])
def test_a_move_gets_over_thousands_of_tombstones_and_moves_everything(
    engine: Engine, tombstones: Holes, to_other: bool
) -> None:
    destination = tombstones.other if to_other else tombstones.q
    assert engine.counts(tombstones.dlq) == (2, 0, 0)
    engine.run(flows.start_move(tombstones.dlq, destination))
    (task,) = engine.run(flows.list_moves(tombstones.dlq))
    assert (task.status, task.moved) == ("COMPLETED", 2)
    assert sorted(engine.bodies(destination)) == ["first", "last"]
    assert engine.counts(tombstones.dlq) == (0, 0, 0)
