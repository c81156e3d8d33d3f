"""What a queue once had makes its receives look for it. They stop to do so when it is no longer there."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs._core import flows
from rqsqs._core.keys import QueueRef
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine

pytestmark = pytest.mark.either_server
LARGE = "x" * 5000
A_WHILE_MS = 600_000


def is_quick(engine: Engine, q: QueueRef) -> bool:
    """Do its receives read one field only?"""
    return bool(engine.redis.hexists(q.home.base + "meta", "quick"))


def group(q: QueueRef, name: str = "g") -> dict[str, Any]:
    return {"group": name} if q.is_fifo else {}


def empty(engine: Engine, q: QueueRef) -> list[Any]:
    """Receive all that is visible, delete it, and find nothing."""
    found = engine.receive(q)
    engine.delete(q, *found)
    assert engine.receive(q) == []
    return [d.body for d in found]


def test_a_queue_is_quick_again_when_its_last_delayed_message_is_visible(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "soon", delay_ms=500, **group(q, "a"))
    engine.send(q, "later", delay_ms=5000, **group(q, "b"))
    engine.clock.advance_ms(500)
    assert engine.bodies(q) == ["soon"]
    assert not is_quick(engine, q)
    engine.clock.advance_ms(4500)
    assert engine.bodies(q) == ["later"]
    engine.receive(q)
    assert is_quick(engine, q)
    engine.send(q, "again", delay_ms=500, **group(q, "c"))
    assert not is_quick(engine, q)
    assert engine.bodies(q) == []
    engine.clock.advance_ms(500)
    assert engine.bodies(q) == ["again"]


def test_a_backlog_behind_the_last_delayed_message_is_received_quickly(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "delayed", delay_ms=500, **group(q))
    for i in range(30):
        engine.send(q, i, **group(q, f"g{i}"))
    engine.clock.advance_ms(500)
    got = engine.bodies(q, 1) + engine.bodies(q, 1)
    while "delayed" not in got:
        got += engine.bodies(q, 1)
        assert len(got) <= 31
    engine.send(q, "behind", **group(q, "h"))
    engine.receive(q, 1)
    assert is_quick(engine, q)


@pytest.mark.parametrize("how", ["cancelled", "rescheduled", "purged"])
def test_a_queue_is_quick_again_when_its_last_delayed_message_is(engine: Engine, name: str, how: str) -> None:
    q = engine.queue(name)
    (sent,) = engine.send(q, "x", delay_ms=5000, **group(q))
    if how == "cancelled":
        assert engine.run(flows.cancel(q, sent.message_id))
    elif how == "rescheduled":
        assert engine.run(flows.reschedule(q, sent.message_id, engine.clock.ms))
    else:
        engine.run(flows.purge_queue(q, NATIVE))
    assert engine.bodies(q) == (["x"] if how == "rescheduled" else [])
    engine.receive(q)
    assert is_quick(engine, q)


def test_a_purge_ends_the_turns_of_groups(engine: Engine) -> None:
    q = engine.queue("q")
    for i in range(20):
        engine.send(q, i, group=f"g{i}")
    engine.send(q, "without")
    engine.receive(q, 5)
    engine.run(flows.purge_queue(q, NATIVE))
    fields = engine.redis.hgetall(q.home.base + "meta")
    assert (b"fair" in fields, b"plain" in fields, b"special" in fields) == (False, True, False)
    engine.send(q, "a")
    assert engine.bodies(q) == ["a"]
    engine.send(q, "b1", "b2", group="b")
    engine.send(q, "c", group="c")
    assert sorted(engine.bodies(q)) == ["b1", "b2", "c"]


def test_a_fifo_queue_that_delays_all_messages_stays_as_it_is_until_it_does_no_longer(engine: Engine) -> None:
    q = engine.queue("q.fifo", DelaySeconds="5")
    engine.send(q, "x", group="g")
    engine.clock.advance_ms(5000)
    assert engine.bodies(q) == ["x"]
    assert not is_quick(engine, q)
    engine.run(flows.set_attributes(q, {"DelaySeconds": "0"}, NATIVE))
    engine.receive(q)
    assert is_quick(engine, q)


def test_a_queue_is_quick_again_a_while_after_its_last_large_message(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, LARGE, **group(q))
    assert empty(engine, q) == [LARGE]
    engine.clock.advance_ms(A_WHILE_MS - 1)
    engine.send(q, "small", **group(q))
    assert empty(engine, q) == ["small"]
    assert not is_quick(engine, q)
    engine.send(q, "behind", "behind", **group(q))
    engine.clock.advance_ms(1)
    assert len(engine.receive(q, 1)) == 1  # it is not empty now
    assert is_quick(engine, q)


@pytest.mark.parametrize("when", ["before it was empty", "after that"])
def test_a_queue_with_large_messages_does_not_forget_it(engine: Engine, name: str, when: str) -> None:
    q = engine.queue(name)
    engine.send(q, LARGE, **group(q))
    if when == "after that":
        empty(engine, q)
        engine.send(q, LARGE, **group(q))
    else:
        assert len(engine.receive(q, visibility_ms=10 * A_WHILE_MS)) == 1
        engine.send(q, "small", **group(q, "h"))
        assert empty(engine, q) == ["small"]
    for _ in range(3):
        engine.clock.advance_ms(A_WHILE_MS)
        engine.send(q, "small", **group(q, "h"))
        engine.receive(q, 1, visibility_ms=10 * A_WHILE_MS)
        assert not is_quick(engine, q)
    assert engine.redis.hexists(q.home.base + "meta", "large")


def test_a_dead_letter_queue_is_quick_again_a_while_after_its_last_message(engine: Engine) -> None:
    dead = engine.queue("dead")
    q = engine.queue("q", dead.name)
    engine.send(q, "x")
    engine.receive(q, visibility_ms=1)
    engine.clock.advance_ms(2)
    assert engine.bodies(q) == []
    shard = f"{engine.transport.space.prefix}:{{q/0}}:dead:meta"
    assert empty(engine, dead) == ["x"]
    assert engine.redis.hexists(shard, "unsorted")
    engine.clock.advance_ms(A_WHILE_MS)
    assert empty(engine, dead) == []
    assert not engine.redis.hexists(shard, "unsorted")
    assert engine.redis.hexists(shard, "quick")
