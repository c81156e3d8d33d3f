"""Deleting and purging: in bounded steps, interrupted anywhere, nothing left."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs._core import flows
from rqsqs._core.operation import Operation
from rqsqs._core.operations import queues
from rqsqs.errors import PurgeQueueInProgress, QueueBeingDeleted, QueueDeletedRecently, QueueDoesNotExist
from rqsqs.limits import AWS, NATIVE
from tests.lua.conftest import Engine


class Killed(Exception):
    """The process died here."""


def interrupted(engine: Engine, flow: Any, after: int) -> bool:
    """Run the first `after` operations of a flow. False if it came to its end."""
    try:
        step = next(flow)
        for _ in range(after):
            step = flow.send(engine.execute(step))
            assert isinstance(step, Operation)
    except StopIteration:
        return False
    flow.close()
    return True


def fill(engine: Engine, name: str) -> tuple[Any, Any]:
    """A queue with messages in every state, in more groups than one step removes, and dead letters."""
    dlq = engine.queue("dead.fifo" if name.endswith(".fifo") else "dead")
    q = engine.queue(name, dlq.name)
    engine.send(q, "a", group="g" if q.is_fifo else None)
    engine.receive(q, visibility_ms=0)
    engine.receive(q)
    for start in range(0, 2500, 500):
        batch = [flows_record(i) for i in range(start, start + 500)]
        engine.run(flows.send_messages(q, batch, NATIVE))
    engine.receive(q, 700, 60_000)
    engine.send(q, "later", group="z", delay_ms=60_000)
    engine.run(flows.set_tags(q, {"k": "v"}))
    engine.run(flows.pause(q, resume=False, group="g2000"))
    for ref in (q, dlq):
        engine.run(flows.beat(ref, [], 1000, "worker", {"state": "running"}, 1000))
        engine.run(flows.order_consumer(ref, "worker", "drain"))
    return q, dlq


def flows_record(i: int) -> Any:
    from rqsqs._core import envelope

    return envelope.outgoing(i, group=f"g{i}", delay_ms=1000 if i % 5 == 0 else None)


def test_nothing_is_left_of_a_large_queue(engine: Engine, name: str) -> None:
    q, dlq = fill(engine, name)
    engine.run(flows.delete_queue(q, NATIVE))
    assert engine.run(flows.list_queues(engine.transport.space)) == [dlq.name]
    engine.run(flows.delete_queue(dlq, NATIVE))
    assert engine.names() == []


def test_a_purge_leaves_the_queue_and_its_pauses(engine: Engine, name: str) -> None:
    q, dlq = fill(engine, name)
    engine.run(flows.purge_queue(q, NATIVE))
    assert engine.counts(q) == (0, 0, 0)
    assert sum(engine.counts(dlq)) == 1
    assert engine.run(flows.get_tags(q)) == {"k": "v"}
    engine.clock.advance_ms(100_000)
    assert engine.bodies(q) == []
    engine.send(q, "b", group="g2000")
    assert engine.bodies(q) == []
    engine.run(flows.pause(q, resume=True, group="g2000"))
    assert engine.bodies(q) == ["b"]
    assert not [key for key in engine.names("{q*") if ":group:" in key and not q.is_fifo]


def test_a_purge_reaches_dead_letters_in_other_slots(engine: Engine, name: str) -> None:
    q, dlq = fill(engine, name)
    assert sum(engine.counts(dlq)) == 1
    engine.run(flows.purge_queue(dlq, NATIVE))
    assert engine.counts(dlq) == (0, 0, 0)
    assert sum(engine.counts(q)) > 2000


def test_purging_twice_within_a_minute_is_refused_by_the_strict_limits(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.run(flows.purge_queue(q, AWS))
    engine.clock.advance_ms(59_999)
    with pytest.raises(PurgeQueueInProgress):
        engine.run(flows.purge_queue(q, AWS))
    engine.run(flows.purge_queue(q, NATIVE))
    engine.clock.advance_ms(60_000)
    engine.run(flows.purge_queue(q, AWS))


@pytest.mark.parametrize("after", range(3, 6))
def test_a_deletion_that_was_interrupted_is_gone_for_all_and_finished_by_creating(
    engine: Engine, name: str, after: int
) -> None:
    q, _ = fill(engine, name)
    if not interrupted(engine, flows.delete_queue(q, NATIVE), after):
        pytest.skip("it was not interrupted")
    for flow in (
        flows.queue_info(q),
        flows.counts(q),
        flows.receive_messages(q, NATIVE),
        flows.purge_queue(q, NATIVE),
        flows.set_attributes(q, {"DelaySeconds": "1"}, NATIVE),
        flows.get_tags(q),
        flows.set_tags(q, {"x": "y"}),
    ):
        with pytest.raises(QueueDoesNotExist):
            engine.run(flow)  # type: ignore[arg-type]
    with pytest.raises(QueueDoesNotExist):
        engine.send(q, "x", group="g")
    assert engine.run(flows.create_queue(q, {}, NATIVE))
    assert engine.counts(q) == (0, 0, 0)
    assert engine.run(flows.get_tags(q)) == {}
    engine.clock.advance_ms(100_000)
    assert engine.bodies(q) == []
    engine.send(q, "new", group="g1")
    assert engine.bodies(q) == ["new"]


def test_a_deletion_that_was_interrupted_is_finished_by_deleting_again(engine: Engine, name: str) -> None:
    q, dlq = fill(engine, name)
    assert interrupted(engine, flows.delete_queue(q, NATIVE), 3)
    engine.run(flows.delete_queue(q, NATIVE))
    with pytest.raises(QueueDoesNotExist):
        engine.run(flows.delete_queue(q, NATIVE))
    assert engine.run(flows.dead_letter_sources(dlq)) == []
    engine.run(flows.delete_queue(dlq, NATIVE))
    assert engine.names() == []


def test_a_queue_being_deleted_is_not_created_beside(engine: Engine, name: str) -> None:
    q, _ = fill(engine, name)
    assert interrupted(engine, flows.delete_queue(q, NATIVE), 3)
    with pytest.raises(QueueBeingDeleted):
        engine.execute(queues.create_queue(q.home, {}, {}, NATIVE))


def test_a_name_rests_for_a_minute_by_the_strict_limits(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.run(flows.delete_queue(q, AWS))
    engine.clock.advance_ms(59_999)
    with pytest.raises(QueueDeletedRecently):
        engine.run(flows.create_queue(q, {}, AWS))
    engine.clock.advance_ms(1)
    assert engine.run(flows.create_queue(q, {}, AWS))


def test_a_new_life_knows_nothing_of_the_old_one(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    group = "g" if q.is_fifo else None
    engine.send(q, "a", group=group, dedup_id="d")
    (d,) = engine.receive(q)
    engine.run(flows.delete_queue(q, NATIVE))
    engine.clock.us += 1
    engine.queue(name)
    assert not engine.send(q, "b", group=group, dedup_id="d")[0].is_duplicate
    assert engine.delete(q, d) == [None]
    assert engine.bodies(q) == ["b"]


def test_names_are_listed_by_prefix_and_page(engine: Engine) -> None:
    for queue_name in ("a1", "a2", "aa", "b1", "b2", "c"):
        engine.queue(queue_name)
    space = engine.transport.space
    assert engine.run(flows.list_queues(space)) == ["a1", "a2", "aa", "b1", "b2", "c"]
    assert engine.run(flows.list_queues(space, "a", "", 2)) == ["a1", "a2"]
    assert engine.run(flows.list_queues(space, "a", "a2", 2)) == ["aa"]
    assert engine.run(flows.list_queues(space, "b", "a1")) == ["b1", "b2"]
    assert engine.run(flows.list_queues(space, "a", "b1")) == []
