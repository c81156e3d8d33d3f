"""Deleting and purging in steps: interrupted anywhere, repeated, beside others, with thousands of groups."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import redis

from rqsqs._core import flows
from rqsqs._core.flows import topology
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow
from rqsqs._core.operations import queues
from rqsqs.errors import QueueDoesNotExist, RqsqsError
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine


@pytest.fixture
def dead(name: str) -> str:
    return "dead.fifo" if name.endswith(".fifo") else "dead"


def group(q: QueueRef) -> str | None:
    return "g" if q.is_fifo else None


def die(engine: Engine, q: QueueRef, body: str) -> None:
    """Send a message and receive it once too often."""
    engine.send(q, body, group=group(q))
    assert engine.bodies(q, visibility_ms=0) == [body]
    assert engine.bodies(q, visibility_ms=0) == []


def step_by_step(engine: Engine, flow: Flow[Any], after: int) -> bool:
    """Run so many operations of a flow and let the process die before the next. False if all was done."""
    try:
        step = next(flow)
        for _ in range(after):
            step = flow.send(engine.execute(step))
        if step.script == "add_event":
            return False
    except StopIteration:
        return False
    flow.close()
    return True


def finish(engine: Engine, flow: Flow[Any], step: Any = None, is_lossy: bool = False) -> None:
    """Drive a flow to its end from `step` on; is_lossy: the first answer to each operation is lost."""
    step = step or next(flow)
    with contextlib.suppress(StopIteration):
        while True:
            lost = None
            with contextlib.suppress(redis.ResponseError):
                lost = engine.lost(step) if is_lossy else None
            try:
                result = lost.repeat() if lost else engine.execute(step)
            except RqsqsError as e:
                step = flow.throw(e)
            else:
                step = flow.send(result)


def in_list(engine: Engine) -> list[str]:
    found: list[str] = engine.run(flows.list_queues(engine.transport.space))
    return found


@pytest.mark.parametrize("after", range(3, 9))
def test_an_interrupted_deletion_can_be_finished_and_leaves_nothing(
    engine: Engine, name: str, dead: str, after: int
) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    die(engine, q, "a")
    engine.send(dlq, "b", group=group(dlq))
    if step_by_step(engine, flows.delete_queue(dlq, NATIVE), after):
        with pytest.raises(QueueDoesNotExist):
            engine.receive(dlq)
        engine.run(flows.delete_queue(dlq, NATIVE))
    with pytest.raises(QueueDoesNotExist):
        engine.run(flows.delete_queue(dlq, NATIVE))
    assert not [key for key in engine.names() if f":{dead}:" in key]
    assert in_list(engine) == [name]


@pytest.mark.parametrize("after", range(3, 9))
def test_creating_a_queue_finishes_its_interrupted_deletion(engine: Engine, name: str, dead: str, after: int) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    die(engine, q, "old")
    step_by_step(engine, flows.delete_queue(dlq, NATIVE), after)
    engine.clock.advance_ms(1)
    dlq = engine.queue(dead)
    assert engine.counts(dlq) == (0, 0, 0)
    assert in_list(engine) == sorted([dead, name])
    die(engine, q, "new")
    assert engine.counts(q) == (0, 0, 0)
    stranger = type(dlq)(engine.transport.space, dead)
    assert engine.bodies(stranger) == ["new"]


def test_a_deletion_that_is_only_marked_still_knows_its_shards(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    die(engine, q, "a")
    assert not engine.execute(queues.delete_queue(dlq.home, NATIVE, purge=False, first=True)).is_done
    _, tags = engine.execute(queues.get_members(dlq))
    assert q.home.tag in tags
    assert dead in in_list(engine)


def test_the_shards_go_before_the_name_and_the_queue_itself(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    die(engine, q, "a")
    flow = flows.delete_queue(dlq, NATIVE)
    step = next(flow)
    while step.script != "register_queue":
        step = flow.send(engine.execute(step))
    assert not engine.names(f"{{{q.home.tag}}}:{dead}:meta")
    assert engine.names(f"{{{dlq.home.tag}}}:{dead}:meta")
    flow.close()


def test_every_step_of_a_deletion_may_be_repeated(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    die(engine, q, "a")
    finish(engine, flows.delete_queue(dlq, NATIVE), is_lossy=True)
    assert not [key for key in engine.names() if f":{dead}:" in key]


def test_two_that_delete_a_queue_at_the_same_time_leave_nothing(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    die(engine, q, "a")
    both: list[Flow[None]] = [flows.delete_queue(dlq, NATIVE), flows.delete_queue(dlq, NATIVE)]
    steps = [next(flow) for flow in both]
    running = [0, 1]
    while running:
        for i in list(running):
            try:
                try:
                    result = engine.execute(steps[i])
                except QueueDoesNotExist as e:
                    steps[i] = both[i].throw(e)
                else:
                    steps[i] = both[i].send(result)
            except (StopIteration, QueueDoesNotExist):
                running.remove(i)
    assert not [key for key in engine.names() if f":{dead}:" in key]
    assert in_list(engine) == [name]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_no_shard_is_made_for_a_queue_that_is_deleted_meanwhile(
    engine: Engine, name: str, dead: str, after: int
) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    engine.run(flows.delete_queue(dlq, NATIVE))
    engine.clock.advance_ms(1)
    dlq = engine.queue(dead)
    flow = topology.attach(dlq, name, [q.home])
    step = next(flow)
    for _ in range(after):
        step = flow.send(engine.execute(step))
    engine.run(flows.delete_queue(dlq, NATIVE))
    with pytest.raises(QueueDoesNotExist):
        finish(engine, flow, step)
    assert not [key for key in engine.names() if f":{dead}:" in key]


@pytest.mark.parametrize("anew", ["at once", "later"])
@pytest.mark.parametrize("before", range(1, 7))
def test_dead_letters_met_while_their_queue_is_deleted_can_be_received_in_the_end(
    engine: Engine, name: str, dead: str, before: int, anew: str
) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    engine.run(flows.delete_queue(dlq, NATIVE))
    engine.clock.advance_ms(1)
    engine.queue(dead)  # without a shard
    engine.send(q, "a", group=group(q))
    assert engine.bodies(q, visibility_ms=0) == ["a"]
    flow = flows.receive_messages(q, NATIVE, 10, 0)
    steps = 0
    with contextlib.suppress(StopIteration):
        step = next(flow)
        while True:
            steps += 1
            if steps == before:
                engine.clock.advance_ms(1)
                engine.run(flows.delete_queue(dlq, NATIVE))
                engine.clock.advance_ms(1)
                if anew == "at once":
                    engine.queue(dead)
            try:
                result = engine.execute(step)
            except RqsqsError as e:
                step = flow.throw(e)
            else:
                step = flow.send(result)
    if steps < before:
        pytest.skip("it was quick")
    if anew == "later":
        engine.queue(dead)
    engine.send(q, "b", group=group(q))
    for _ in range(3):
        engine.clock.advance_ms(60_001)
        engine.receive(q, visibility_ms=0)
    assert engine.counts(q) == (0, 0, 0)
    stranger = type(dlq)(engine.transport.space, dead)
    letters = engine.bodies(stranger) + engine.bodies(stranger)
    assert letters in (["a", "b"], ["b"])  # the first may have been there and gone with its queue
    assert engine.counts(dlq) == (0, len(letters), 0)


# Many groups


@pytest.fixture
def many(engine: Engine, name: str) -> QueueRef:
    """A queue with a message in each of 1,500 groups."""
    q = engine.queue(name)
    for i in range(1500):
        engine.send(q, i, group=f"g{i}")
    assert engine.counts(q) == (1500, 0, 0)
    return q


def test_counts_hold_after_the_first_step_of_a_purge(engine: Engine, many: QueueRef) -> None:
    assert not engine.execute(queues.delete_queue(many.home, NATIVE, purge=True, first=True)).is_done
    visible, in_flight, delayed = engine.counts(many)
    assert 0 < visible < 1500
    assert (in_flight, delayed) == (0, 0)
    received = engine.receive(many, 1000) + engine.receive(many, 1000)
    assert len(received) == visible
    assert engine.counts(many) == (0, visible, 0)
    engine.run(flows.purge_queue(many, NATIVE))
    assert engine.counts(many) == (0, 0, 0)
    engine.send(many, "after", group="g1")
    assert engine.counts(many) == (1, 0, 0)
    assert engine.bodies(many) == ["after"]


@pytest.fixture
def paused(engine: Engine, name: str) -> QueueRef:
    """A queue with 8,200 paused groups and messages in some of them."""
    q = engine.queue(name)
    engine.execute(queues.pause_group(q.home, "g0", resume=False))
    engine.redis.sadd(q.home.base + "paused", *(f"g{i}" for i in range(8200)))
    for i in range(3):
        engine.send(q, i, group=f"g{i}")
    assert engine.bodies(q) == []
    return q


def test_a_queue_with_thousands_of_paused_groups_can_be_deleted(engine: Engine, paused: QueueRef) -> None:
    engine.run(flows.delete_queue(paused, NATIVE))
    assert engine.names() == []


def test_a_queue_with_thousands_of_paused_groups_can_be_purged_and_keeps_them(engine: Engine, paused: QueueRef) -> None:
    engine.run(flows.purge_queue(paused, NATIVE))
    assert engine.counts(paused) == (0, 0, 0)
    assert engine.redis.scard(paused.home.base + "paused") == 8200
    engine.send(paused, "held", group="g7")
    engine.send(paused, "free", group="other")
    assert engine.bodies(paused) == ["free"]
    engine.run(flows.pause(paused, resume=True, group="g7"))
    assert engine.bodies(paused) == ["held"]


# What is too old, and dead letters of a paused group


def test_expired_messages_of_hundreds_of_fair_groups_count_no_more_at_once(engine: Engine) -> None:
    q = engine.queue("q", MessageRetentionPeriod="60")
    for i in range(250):
        engine.send(q, i, group=f"g{i}")
    engine.clock.advance_ms(60_001)
    assert engine.counts(q) == (0, 0, 0)


def test_young_messages_behind_expired_ones_of_many_fair_groups_are_counted(engine: Engine) -> None:
    q = engine.queue("q", MessageRetentionPeriod="60")
    for i in range(250):
        engine.send(q, i, group=f"g{i}")
    engine.clock.advance_ms(30_000)
    for i in range(0, 250, 5):
        engine.send(q, i, group=f"g{i}")
    engine.clock.advance_ms(30_001)
    assert engine.counts(q) == (50, 0, 0)
    bodies: list[int] = []
    while found := engine.bodies(q, 1000):  # one receive goes past some hundred groups
        bodies += found
    assert sorted(bodies) == list(range(0, 250, 5))


def test_a_paused_group_of_a_standard_dead_letter_queue_hands_nothing_out(engine: Engine) -> None:
    dlq = engine.queue("dead")
    q = engine.queue("q", "dead")
    for name in ("g", "h"):
        engine.send(q, name, group=name)
    assert engine.bodies(q, visibility_ms=0) == ["g", "h"]
    assert engine.bodies(q) == []
    engine.run(flows.pause(dlq, resume=False, group="g"))
    assert engine.bodies(dlq) == ["h"]
    assert engine.bodies(dlq) == []
    assert engine.counts(dlq) == (1, 1, 0)
    engine.run(flows.pause(dlq, resume=True, group="g"))
    (letter,) = engine.receive(dlq)
    assert (letter.body, letter.receive_count, letter.dead_letter_source) == ("g", 2, "q")


@pytest.mark.parametrize("purge", [True, False], ids=["purged", "deleted"])
def test_thousands_of_paused_groups_go_in_steps(engine: Engine, name: str, purge: bool) -> None:
    q = engine.queue(name)
    groups = [f"g{n}" for n in range(2600)]
    for group in groups[::100]:
        engine.send(q, 1, group=group)
    engine.run(flows.pause(q, resume=False, group="first"))
    engine.redis.sadd(q.home.base + "paused", *groups)
    engine.redis.zrem(q.home.base + ("available" if q.is_fifo else "fair_ring"), *groups)
    steps, cursor = 0, "0"
    first = True
    while True:
        step = engine.execute(queues.delete_queue(q.home, NATIVE, purge=purge, first=first, cursor=cursor))
        first, cursor, steps = False, step.cursor, steps + 1
        if step.is_done:
            break
    assert steps > 4
    left = [key for key in engine.names() if key.startswith(f"{{{q.home.tag}}}") and key.rsplit(":", 1)[1] != "wakeups"]
    if purge:
        assert engine.counts(q) == (0, 0, 0)
        assert engine.redis.scard(q.home.base + "paused") == 2601
        assert not [key for key in left if ":group:" in key]
    else:
        assert left == []
