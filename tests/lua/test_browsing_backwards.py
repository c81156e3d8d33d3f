"""Browsing from the end shows the same messages as browsing from the beginning, the newest first."""

from __future__ import annotations

import pytest

from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import queues
from rqsqs.models import State
from tests.lua.conftest import Engine

STATES: tuple[State, ...] = ("visible", "in_flight", "delayed")


def walk(engine: Engine, q: QueueRef, state: State, limit: int, *, newest_first: bool) -> list[Delivery]:
    found: list[Delivery] = []
    cursor, is_first = "", True
    while cursor or is_first:
        page, cursor = engine.run(flows.browse(q, state, cursor, limit, newest_first=newest_first))
        is_first = False
        found += page
    return found


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
@pytest.mark.parametrize("size", [10, 5_000], ids=["small", "large"])
def test_all_are_there_the_newest_first(engine: Engine, limit: int, size: int) -> None:
    q = engine.queue("q", MaximumMessageSize="1048576")
    for n in range(9):
        engine.send(q, f"{n}" + "x" * size, delay_ms=50_000 + n)
        engine.send(q, f"{n}" + "x" * size)
        engine.clock.advance_ms(1)
    (cancelled,) = engine.send(q, "cancelled")
    engine.run(flows.cancel(q, cancelled.message_id))
    engine.receive(q, 2, 90_000)
    for state, number in zip(STATES, (7, 2, 9), strict=True):
        forwards = [d.body[:1] for d in walk(engine, q, state, limit, newest_first=False)]
        backwards = [d.body[:1] for d in walk(engine, q, state, limit, newest_first=True)]
        assert len(forwards) == number
        assert backwards == forwards[::-1]


def test_what_came_back_and_what_has_a_group_is_there_too(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, "a", "b", "c", delay_ms=1_000)
    engine.send(q, *range(6))
    engine.send(q, *"xyz", group="g")
    engine.receive(q, 4, 0)
    engine.clock.advance_ms(2_000)
    for limit in (1, 100):
        seen = [d.body for d in walk(engine, q, "visible", limit, newest_first=True)]
        assert sorted(map(str, seen)) == sorted(
            map(str, [d.body for d in walk(engine, q, "visible", limit, newest_first=False)])
        )
        assert len(seen) == len(set(seen)) == 12


@pytest.mark.parametrize("of", [None, "h"])
def test_a_group_is_browsed_alone(engine: Engine, name: str, of: str | None) -> None:
    q = engine.queue(name)
    for n in range(4):
        engine.send(q, f"g{n}", group="g")
        engine.send(q, f"h{n}", group="h")
    engine.send(q, "later", group="g", delay_ms=5_000)
    engine.receive(q, 1)
    found = {}
    for state in STATES:
        cursor, is_first = "", True
        while cursor or is_first:
            page, cursor = engine.run(flows.browse_group(q, state, of or "g", cursor))
            is_first = False
            for d in page:
                assert (d.body, state) not in found
                found[d.body, state] = d.group
    assert {group for group in found.values()} == {of or "g"}
    assert len(found) == (4 if of else 5)


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
@pytest.mark.parametrize("size", [10, 5_000], ids=["small", "large"])
def test_a_fifo_queue_shows_each_group_from_its_end_on(engine: Engine, limit: int, size: int) -> None:
    q = engine.queue("q.fifo", MaximumMessageSize="1048576")
    for n in range(5):
        for group in "abcd":
            engine.send(q, f"{group}{n}" + "x" * size, group=group)
            engine.clock.advance_ms(1)
    for n in range(4):
        engine.send(q, f"{n}" + "x" * size, group=f"later{n % 2}", delay_ms=50_000 + n)
    engine.execute(queues.pause_group(q.home, "d", resume=False))
    engine.receive(q, 2, 90_000)  # of a
    engine.clock.advance_ms(1)
    engine.receive(q, 1, 95_000)  # of b
    seen = {
        state: [d.body[:2].rstrip("x") for d in walk(engine, q, state, limit, newest_first=True)] for state in STATES
    }
    assert seen["in_flight"] == ["b0", "a1", "a0"]
    assert seen["delayed"] == ["3", "2", "1", "0"]
    of_groups = {group: [body for body in seen["visible"] if body[0] == group] for group in "abcd"}
    assert of_groups["a"] == ["a4", "a3", "a2"]
    assert of_groups["b"] == ["b4", "b3", "b2", "b1"]
    for group in "cd":
        assert of_groups[group] == [f"{group}{n}" for n in reversed(range(5))]
    for state in STATES:
        forwards = [d.body[:2].rstrip("x") for d in walk(engine, q, state, limit, newest_first=False)]
        assert sorted(seen[state]) == sorted(forwards)


@pytest.mark.parametrize("limit", [7, 1000])
def test_very_many_groups_are_walked_through_from_the_end(engine: Engine, limit: int) -> None:
    q = engine.queue("q.fifo")
    for n in range(450):
        engine.send(q, f"visible{n}", group=f"v{n}")
        engine.send(q, f"delayed{n}", group=f"d{n}", delay_ms=10_000 + 10 * (n // 50))
    engine.clock.advance_ms(10_045)  # 250 of these are due now
    seen = [d.body for d in walk(engine, q, "visible", limit, newest_first=True)]
    assert len(seen) == len(set(seen)) == 700
    waiting = [d.body for d in walk(engine, q, "delayed", limit, newest_first=True)]
    assert len(waiting) == len(set(waiting)) == 200
    assert waiting == [d.body for d in walk(engine, q, "delayed", limit, newest_first=False)][::-1]


def test_what_was_met_last_may_have_left(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    for n in range(6):
        engine.send(q, f"{n}", group=f"g{n}")
        engine.clock.advance_ms(1)
    page, cursor = engine.run(flows.browse(q, "visible", "", 2, newest_first=True))
    assert [d.body for d in page] == ["5", "4"]
    assert engine.run(flows.cancel(q, page[1].message_id))
    engine.send(q, "6", group="g6")
    page, cursor = engine.run(flows.browse(q, "visible", cursor, 2, newest_first=True))
    assert [d.body for d in page] == ["3", "2"]
