"""Receiving so many messages of a FIFO group at most, as workers do: one handler, one group."""

from __future__ import annotations

from collections import Counter

import pytest

from rqsqs._core import flows, operations
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine
from tests.lua.outcomes import DEAD_LETTERED, dead_letter, release, requeue, retry


def take(
    engine: Engine, q: QueueRef, count: int, per_group: int, *finished: Delivery, extension_ms: int = 60_000
) -> list[Delivery]:
    found: list[Delivery] = engine.run(flows.finish_and_receive(q, finished, count, extension_ms, 0, per_group))
    return found


def bodies(found: list[Delivery]) -> list[str]:
    return [str(d.body) for d in found]


@pytest.fixture
def q(engine: Engine) -> QueueRef:
    """Three groups of four, one after the other."""
    q = engine.queue("q.fifo", "q.fifo", 1000)
    for group in "abc":
        engine.send(q, *(f"{group}{i}" for i in range(4)), group=group)
        engine.clock.advance_ms(1)
    return q


@pytest.mark.parametrize(
    ("count", "per_group", "expected"),
    [
        (10, 1, "a0 b0 c0"),
        (2, 1, "a0 b0"),
        (10, 2, "a0 a1 b0 b1 c0 c1"),
        (3, 2, "a0 a1 b0"),
        (10, 3, "a0 a1 a2 b0 b1 b2 c0 c1 c2"),
        (10, 4, "a0 a1 a2 a3 b0 b1 b2 b3 c0 c1"),
        (10, 1000, "a0 a1 a2 a3 b0 b1 b2 b3 c0 c1"),
        (10, 0, "a0 a1 a2 a3 b0 b1 b2 b3 c0 c1"),
    ],
)
def test_so_many_of_each_group_in_the_order_of_the_groups(
    engine: Engine, q: QueueRef, count: int, per_group: int, expected: str
) -> None:
    found = take(engine, q, count, per_group)
    assert bodies(found) == expected.split()
    assert engine.counts(q) == (12 - len(found), len(found), 0)
    groups = {d.group for d in found}
    assert {d.group for d in engine.receive(q, 12)} == set("abc") - groups  # those are locked


def test_a_group_goes_on_where_it_was(engine: Engine, q: QueueRef) -> None:
    seen: list[str] = []
    found = take(engine, q, 10, 1)
    while found:
        assert max(Counter(d.group for d in found).values()) == 1
        seen += bodies(found)
        engine.clock.advance_ms(1)
        found = take(engine, q, 10, 1, *found)
    assert seen == [f"{group}{i}" for i in range(4) for group in "abc"]
    assert engine.counts(q) == (0, 0, 0)


@pytest.mark.parametrize("per_group", [1, 2, 3])
def test_what_was_received_before_counts_alike(engine: Engine, q: QueueRef, per_group: int) -> None:
    first = take(engine, q, 12, 2)
    engine.send(q, "d0", group="d", delay_ms=1)
    engine.clock.advance_ms(1)
    assert release(engine, q, *[retry(d, chance=0) if i % 2 else requeue(d) for i, d in enumerate(first)]) == [0] * 6
    found = take(engine, q, 12, per_group)
    assert Counter(d.group for d in found) == {"a": per_group, "b": per_group, "c": per_group, "d": 1}
    for group in "abc":
        assert [d.body for d in found if d.group == group] == [f"{group}{i}" for i in range(per_group)]
    assert {d.receive_count for d in found if str(d.body)[1] == "1"} <= {2}


def test_what_is_dropped_on_the_way_takes_no_room(engine: Engine) -> None:
    dlq = engine.queue("dead.fifo")
    q = engine.queue("q.fifo", "dead.fifo", 1)
    engine.send(q, "a0", "a1", "a2", "a3", group="a")
    assert bodies(take(engine, q, 10, 2, extension_ms=1000)) == ["a0", "a1"]
    engine.clock.advance_ms(1000)
    assert bodies(take(engine, q, 10, 1)) == ["a2"]
    assert engine.counts(dlq) == (2, 0, 0)
    assert engine.counts(q) == (1, 1, 0)


def test_a_message_in_flight_further_on_ends_the_turn_of_its_group(engine: Engine, q: QueueRef) -> None:
    a0, a1, *_ = take(engine, q, 4, 0)
    assert release(engine, q, requeue(a0)) == [0]
    assert bodies(take(engine, q, 10, 3)) == ["a0", "b0", "b1", "b2", "c0", "c1", "c2"]
    assert engine.delete(q, a1) == [None]


def test_settling_at_once_obeys_as_well(engine: Engine, q: QueueRef) -> None:
    def settle(count: int) -> list[str]:
        operation = operations.receive_messages(q.home, NATIVE, count, None, "", "", delete=True, per_group=2)
        return bodies(engine.execute(operation).messages)

    assert settle(10) == ["a0", "a1", "b0", "b1", "c0", "c1"]
    assert engine.counts(q) == (6, 0, 0)
    assert settle(3) == ["a2", "a3", "b2"]
    assert settle(10) == ["b3", "c2", "c3"]
    assert engine.counts(q) == (0, 0, 0)


def test_dead_letters_of_several_slots_obey_as_well(engine: Engine) -> None:
    dlq = engine.queue("dead.fifo")
    for name in ("x.fifo", "y.fifo"):
        source = engine.queue(name, "dead.fifo", 1)
        engine.send(source, *(f"{name}{i}" for i in range(3)), group="g")
        assert release(engine, source, *map(dead_letter, engine.receive(source))) == [DEAD_LETTERED] * 3
    engine.send(dlq, "own0", "own1", group="g")
    assert engine.counts(dlq) == (8, 0, 0)  # from now on it knows its slots
    found = take(engine, dlq, 10, 1)
    assert sorted(bodies(found)) == ["own0", "x.fifo0", "y.fifo0"]  # each slot keeps its own order
    found = take(engine, dlq, 10, 1, *found)
    assert sorted(bodies(found)) == ["own1", "x.fifo1", "y.fifo1"]
    assert engine.counts(dlq) == (2, 3, 0)


def test_a_standard_queue_knows_no_such_limit(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, *range(5), group="g")
    assert len(take(engine, q, 10, 1)) == 5
