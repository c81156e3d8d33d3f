"""How many messages a group has, and what its first one does."""

from __future__ import annotations

from rqsqs._core import flows
from rqsqs._core.operations.browse import MOST_LOOKED_AT, GroupLook
from tests.lua.conftest import Engine


def test_groups_of_a_fifo_queue(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    for group in "abc":
        engine.send(q, *range(3), group=group)
        engine.clock.advance_ms(1)
    (first,) = engine.receive(q, 1, 5_000)
    engine.send(q, "later", group="d", delay_ms=9_000)
    engine.run(flows.pause(q, resume=False, group="b"))
    looks = engine.run(flows.look_at_groups(q, ["a", "b", "c", "d", "nothing"]))
    assert looks["a"] == GroupLook(3, False, "in_flight", first.message_id, engine.clock.ms + 5_000)
    assert looks["b"][:3] == (3, True, "visible")
    assert looks["c"][:3] == (3, False, "visible")
    assert looks["d"][:3] == (1, False, "delayed")
    assert looks["d"].until_ms == engine.clock.ms + 9_000
    assert looks["nothing"] == GroupLook()
    engine.clock.advance_ms(5_000)
    assert engine.run(flows.look_at_groups(q, ["a"]))["a"] == GroupLook(3, False, "visible", first.message_id)


def test_groups_of_a_fair_queue_in_all_partitions(engine: Engine) -> None:
    q = engine.queue("q", Partitions="2")
    for number in range(40):
        engine.send(q, number, group=f"g{number % 2}")
    engine.run(flows.pause(q, resume=False, group="g1"))
    looks = engine.run(flows.look_at_groups(q, ["g0", "g1", "g2"]))
    assert looks == {"g0": GroupLook(20), "g1": GroupLook(20, True), "g2": GroupLook()}


def test_many_groups_take_several_calls(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    names = [f"g{n}" for n in range(2 * MOST_LOOKED_AT + 1)]
    for name in names:
        engine.send(q, "x", group=name)
    assert [look.messages for look in engine.run(flows.look_at_groups(q, names)).values()] == [1] * len(names)
