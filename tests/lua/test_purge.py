"""A purge takes several steps. After each of them the queue is whole, and its counts and metrics are right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from rqsqs import QueueMetrics
from rqsqs._core import envelope, flows
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import queues
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine
from tests.lua.outcomes import release, requeue


def steps(engine: Engine, q: QueueRef) -> Iterator[int]:
    """The number of each step of a purge, after it."""
    step = engine.execute(queues.delete_queue(q.home, NATIVE, purge=True, first=True))
    yield 1
    n = 1
    while not step.is_done:
        n += 1
        step = engine.execute(queues.delete_queue(q.home, NATIVE, purge=True, first=False, cursor=step.cursor))
        yield n


def metrics(engine: Engine, q: QueueRef) -> QueueMetrics:
    found: QueueMetrics = engine.run(flows.metrics(q))
    return found


def assert_whole(engine: Engine, q: QueueRef) -> None:
    """Every message has what belongs to it, nothing is known of others, and the counters say what is there."""
    redis, base = engine.redis, q.home.base
    count = {field.decode(): int(n) for field, n in redis.hgetall(base + "meta").items() if n.isdigit()}
    lists = {
        key.decode().removeprefix(base + "group:"): redis.lrange(key, 0, -1)[::2]
        for key in redis.scan_iter(base + "group:*", count=10_000)
    }
    if q.is_fifo:
        members = {key[:16].decode() + group for group, keys in lists.items() for key in keys}
        assert count.get("messages", 0) == len(members)
        assert {state.decode() for state in redis.hkeys(base + "state")} <= {member[:16] for member in members}
        for name in ("inflight", "delayed", "postponed"):
            assert {member.decode() for member in redis.zrange(base + name, 0, -1)} <= members
        assert {group.decode() for group in redis.zrange(base + "available", 0, -1)} <= set(lists)
        return
    again = [
        entry
        for key in redis.scan_iter(base + "again:*", count=10_000)
        for entry in redis.zrange(key, 0, -1, withscores=True, score_cast_func=lambda score: int(float(score)) % 1000)
    ]
    others = [*redis.zrange(base + "inflight", 0, -1), *redis.zrange(base + "delayed", 0, -1)]
    assert set(redis.hkeys(base + "store")) == {*others, *[member for member, _ in again]}
    assert count.get("returned", 0) == len([1 for _, receives in again if receives])
    assert count.get("arrived", 0) == len([1 for _, receives in again if not receives])
    assert count.get("grouped", 0) == sum(map(len, lists.values()))
    keys = [*redis.lrange(base + "ready", 0, -1)[::2], *[key for found in lists.values() for key in found]]
    assert count.get("tombstones", 0) == len([key for key in keys if key.endswith(b"-") and len(key) == 25])


def send(engine: Engine, q: QueueRef, groups: list[str], body: str = "old", **options: int) -> None:
    engine.run(flows.send_messages(q, [envelope.outgoing(body, group=group, **options) for group in groups], NATIVE))


def stir(engine: Engine, q: QueueRef, draw: random.Random, groups: list[str]) -> None:
    """Do a bit of everything, so that there are messages of every kind."""
    send(engine, q, draw.sample(groups, 60))
    send(engine, q, draw.sample(groups, 20), delay_ms=draw.choice([500, 60_000]))
    found = engine.receive(q, 40, visibility_ms=draw.choice([0, 1000, 100_000]))
    engine.delete(q, *found[:5])
    release(engine, q, *[requeue(d) for d in found[5:10]])
    for message in engine.run(flows.peek(q, "visible", 5)):
        engine.run(flows.cancel(q, message.message_id, group=message.group))
    for message in engine.run(flows.peek(q, "visible", 5)):
        engine.run(flows.reschedule(q, message.message_id, engine.clock.ms + 700, group=message.group))
    engine.run(flows.pause(q, resume=draw.random() < 0.3, group=draw.choice(groups)))
    engine.clock.advance_ms(400)


@pytest.mark.parametrize("has_paused", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_queue_is_whole_after_each_step(engine: Engine, name: str, has_paused: bool, seed: int) -> None:
    draw = random.Random(seed)
    q = engine.queue(name, DelaySeconds="1" if name == "q.fifo" and seed == 2 else "0")
    groups = [f"g{n}" for n in range(1100)]
    for group in draw.sample(groups, 15) if has_paused else []:
        engine.run(flows.pause(q, resume=False, group=group))
    for _ in range(2):
        send(engine, q, groups)
        engine.clock.advance_ms(600)
    for _ in range(10):
        stir(engine, q, draw, groups)
    if not has_paused:
        for group in engine.redis.smembers(q.home.base + "paused"):
            engine.run(flows.pause(q, resume=True, group=group.decode()))
    assert_whole(engine, q)
    before, last = metrics(engine, q), 0
    for step in steps(engine, q):
        last = step
        assert_whole(engine, q)
        now = metrics(engine, q)
        assert (now.sent, now.received, now.deleted) == (before.sent, before.received, before.deleted)
        left = now.visible + now.in_flight + now.delayed
        assert now.sent == now.deleted + now.purged + now.cancelled + left
        stir(engine, q, draw, groups)
        assert_whole(engine, q)
        before = metrics(engine, q)
    assert last > 2
    while engine.receive(q, 100, delete=True):
        pass
    assert metrics(engine, q).damaged == 0


def test_all_that_was_sent_before_a_purge_is_gone(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    groups = [f"g{n}" for n in range(700)]
    draw = random.Random(1)
    send(engine, q, groups)
    for _ in range(5):
        stir(engine, q, draw, groups)
    for _ in steps(engine, q):
        pass
    assert engine.counts(q) == (0, 0, 0)
    assert_whole(engine, q)
    left = [key for key in engine.names(f"{{{q.home.tag}}}:*") if ":group:" in key or ":again:" in key]
    assert left == []


@pytest.fixture
def passed(engine: Engine, name: str) -> tuple[QueueRef, list[str], Callable[[], list[int]]]:
    """A queue in the middle of a purge; paused groups that it has passed; a function that ends the purge."""
    q = engine.queue(name)
    groups = [f"g{n}" for n in range(600)]
    send(engine, q, ["first"])
    for group in groups:
        engine.run(flows.pause(q, resume=False, group=group))
    send(engine, q, groups)
    purge = steps(engine, q)
    next(purge)
    lists = set(engine.names("*:group:*"))
    gone = [group for group in groups if not any(key.endswith(f":group:{group}") for key in lists)]
    assert 100 < len(gone) < 600
    return q, gone[:20], lambda: list(purge)


def test_received_messages_that_stay_in_paused_groups_keep_what_is_known_of_them(
    engine: Engine, passed: tuple[QueueRef, list[str], Callable[[], list[int]]]
) -> None:
    q, groups, end = passed
    for group in groups:
        engine.run(flows.pause(q, resume=True, group=group))
    send(engine, q, groups, "new")
    assert len(engine.receive(q, 100, visibility_ms=0)) == 20
    for group in groups:
        engine.run(flows.pause(q, resume=False, group=group))
    assert engine.receive(q) == []  # brings them to their groups
    before = metrics(engine, q)
    assert end()
    now = metrics(engine, q)
    assert now.visible == 20
    assert (now.sent, now.received, now.deleted) == (before.sent, before.received, before.deleted)
    assert now.purged == now.sent - 20
    assert_whole(engine, q)
    for group in groups:
        engine.run(flows.pause(q, resume=True, group=group))
    assert [(d.body, d.receive_count) for d in engine.receive(q, 100, delete=True)] == [("new", 2)] * 20
    assert metrics(engine, q).redelivered == (20, 0, 0)
    assert metrics(engine, q).deleted == 20
    assert engine.counts(q) == (0, 0, 0)


@pytest.mark.parametrize("what", ["large", "delayed", "unsorted"])
def test_an_emptied_queue_is_quick_again(engine: Engine, name: str, what: str) -> None:
    q = engine.queue(name)

    def fields() -> list[bytes | None]:
        return engine.redis.hmget(q.home.base + "meta", "quick", "sends" if q.is_fifo else "plain", "special")  # type: ignore[return-value]

    usual = fields()
    assert None not in usual[:2]
    group = "g" if q.is_fifo else None
    if what == "large":
        engine.send(q, "x" * 5000, group=group)
    elif what == "delayed":
        engine.send(q, "later", group=group, delay_ms=5000)
    else:
        engine.redis.hset(q.home.base + "meta", "unsorted", "1")
        engine.run(flows.set_attributes(q, {"VisibilityTimeout": "30"}, NATIVE))
    assert fields()[0] is None
    engine.run(flows.purge_queue(q, NATIVE))
    assert fields() == usual
