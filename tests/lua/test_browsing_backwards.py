"""Browsing from the end shows the same messages as browsing from the beginning, the newest first."""

from __future__ import annotations

import pytest

from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
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
