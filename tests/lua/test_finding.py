"""A message is found by its id wherever it is, as browsing shows it, and nothing changes by that."""

from __future__ import annotations

import pytest

from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs.models import State
from tests.lua.conftest import Engine

STATES: tuple[State, ...] = ("visible", "in_flight", "delayed")


def everything(engine: Engine, q: QueueRef) -> dict[str, tuple[State, object]]:
    """Message id -> state and what is told of it, by browsing."""
    found: dict[str, tuple[State, object]] = {}
    for state in STATES:
        cursor, is_first = "", True
        while cursor or is_first:
            page, cursor = engine.run(flows.browse(q, state, cursor, 100))
            is_first = False
            found |= {d.message_id: (state, told(d)) for d in page}
    return found


def told(d: Delivery) -> object:
    facts = d.body, d.group, d.receive_count, d.first_received_at_ms, d.visible_at_ms, d.dead_letter_source
    return (*facts, d.sequence_number, d.receipt_handle)


@pytest.mark.parametrize("with_groups", [False, True], ids=["plain", "groups"])
def test_a_message_is_found_in_every_state(engine: Engine, name: str, with_groups: bool) -> None:
    q = engine.queue(name)
    for n in range(6):
        group = f"g{n % 3}" if with_groups or q.is_fifo else None
        engine.send(q, f"a{n}", f"b{n}", group=group)
        engine.send(q, f"later{n}", group=f"l{n}" if group else None, delay_ms=5_000 + n)
        engine.clock.advance_ms(1)
    engine.receive(q, 3, 1_000)
    engine.clock.advance_ms(2_000)  # these are visible again
    engine.receive(q, 4, 50_000)
    engine.receive(q, 1, 0)
    seen = everything(engine, q)
    assert {state for state, _ in seen.values()} == set(STATES)
    assert len(seen) == 18
    before = engine.counts(q)
    for message_id, expected in seen.items():
        group = expected[1][1]  # type: ignore[index]
        for known in {None, group}:
            state, d = engine.run(flows.find(q, message_id, known))
            assert (state, told(d)) == expected
    assert engine.counts(q) == before
    engine.clock.advance_ms(3_003)  # some are due
    for message_id, expected in everything(engine, q).items():
        state, d = engine.run(flows.find(q, message_id))
        assert (state, told(d)) == expected


def test_a_dead_letter_is_found(engine: Engine, name: str) -> None:
    dlq = engine.queue("dead.fifo" if name.endswith(".fifo") else "dead")
    q = engine.queue(name, dlq.name)
    (sent,) = engine.send(q, "x", group="g" if q.is_fifo else None)
    engine.receive(q, 1, 0)
    assert not engine.receive(q)
    state, d = engine.run(flows.find(dlq, sent.message_id))
    assert (state, d.body, d.dead_letter_source) == ("visible", "x", q.name)
    assert engine.run(flows.find(q, sent.message_id)) is None


def test_what_is_not_there_is_not_found(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    group = "g" if q.is_fifo else None
    cancelled, deleted = engine.send(q, "x", "y", group=group)
    assert engine.run(flows.cancel(q, cancelled.message_id))
    engine.delete(q, *engine.receive(q))
    engine.send(q, "z", group=group)
    other = engine.queue("other.fifo" if q.is_fifo else "other")
    (elsewhere,) = engine.send(other, "x", group=group)
    for message_id in (cancelled.message_id, deleted.message_id, elsewhere.message_id, "", "no id", "*" * 36):
        assert engine.run(flows.find(q, message_id)) is None
        assert engine.run(flows.find(q, message_id, "g")) is None
