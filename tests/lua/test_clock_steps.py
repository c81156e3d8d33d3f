"""The server's clock is set, forward and back by an hour, while messages come and go."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.lua.conftest import Engine

HOUR_MS = 3_600_000


@pytest.mark.parametrize("seed", range(4))
def test_a_clock_that_jumps_loses_nothing_and_keeps_the_order(engine: Engine, name: str, seed: int) -> None:
    draw = random.Random(seed)
    q = engine.queue(name)
    sent: dict[Any, list[int]] = {"a": [], "b": [], None: []}
    first: dict[Any, list[int]] = {"a": [], "b": [], None: []}
    deleted: set[int] = set()
    sequence, ids = [], set()
    held: list[Any] = []

    def receive() -> None:
        for d in engine.receive(q, draw.randint(1, 10), visibility_ms=20_000):
            group = d.group_name if q.is_fifo else None
            assert d.body not in deleted, "delivered after its delete"
            if d.body not in first[group]:
                first[group].append(d.body)
            held.append(d)

    def delete() -> None:
        draw.shuffle(held)
        while held and draw.random() < 0.8:
            d = held.pop()
            if not any(f is not None for f in engine.delete(q, d)):
                deleted.add(d.body)

    number = 0
    for _ in range(60):
        engine.clock.advance_ms(draw.choice([0, 1, 500, 15_000, HOUR_MS, -HOUR_MS]))
        for _ in range(draw.randint(0, 4)):
            group = draw.choice("ab") if q.is_fifo else None
            (result,) = engine.send(q, number, group=group)
            sent[group].append(number)
            ids.add(result.message_id)
            sequence.append(result.sequence_number)
            number += 1
        receive()
        delete()
    for _ in range(200):
        engine.clock.advance_ms(HOUR_MS)
        receive()
        delete()
        if not sum(engine.counts(q)):
            break
    assert deleted == set(range(number)), "lost"
    assert len(ids) == number
    if q.is_fifo:
        assert first == sent
        assert sequence == sorted(set(sequence)), "stamps grow, whatever the clock says"


def test_a_visibility_timeout_ends_early_or_late_by_the_step_and_no_message_is_lost(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    group = "g" if q.is_fifo else None
    engine.send(q, "forward", group=group)
    assert engine.bodies(q, visibility_ms=30_000) == ["forward"]
    engine.clock.advance_ms(HOUR_MS)
    (d,) = engine.receive(q)
    assert (d.body, d.receive_count) == ("forward", 2), "early: it is delivered twice"
    engine.delete(q, d)
    engine.send(q, "back", group=group)
    assert engine.bodies(q, visibility_ms=30_000) == ["back"]
    engine.clock.advance_ms(-HOUR_MS)
    engine.clock.advance_ms(30_000)
    assert engine.bodies(q) == [], "late"
    engine.clock.advance_ms(HOUR_MS)
    assert engine.bodies(q) == ["back"]
