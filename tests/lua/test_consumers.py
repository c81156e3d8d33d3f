"""Heartbeats: what they prolong, what they tell, who is listed, orders, what stays behind."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import consumers
from rqsqs.errors import QueueDoesNotExist
from rqsqs.limits import NATIVE
from rqsqs.models import Consumer, InFlight, Statistics
from tests.lua.conftest import Engine
from tests.lua.outcomes import DEAD_LETTERED, again, group, received, release, requeue, retry
from tests.lua.test_wake_tokens import ask

DAY_MS = 86_400_000
SAYS: dict[str, Any] = {
    "state": "running",
    "host": "h",
    "pid": 5,
    "started": 1_700_000_000_123,
    "concurrency": 8,
    "in_flight": 2,
    "held": [["id", 1_700_000_000_456]],
    "succeeded": 3,
    "failed": 4,
    "statistics": {"failovers": 1, "of a newer version": 2},
}


def beat(
    engine: Engine,
    q: QueueRef,
    *held: Delivery,
    extension_ms: int = 20_000,
    name: str = "w",
    says: dict[str, Any] | None = SAYS,
    life_ms: int = 21_000,
) -> tuple[str, list[Any]]:
    """The order, and the bodies of what is not held any more."""
    order, lost = engine.run(flows.beat(q, held, extension_ms, name, says, life_ms))
    return order, [d.body for d in lost]


def listed(engine: Engine, q: QueueRef) -> list[str]:
    return [c.consumer_id for c in engine.run(flows.list_consumers(q))]


def order(engine: Engine, q: QueueRef, what: str, name: str = "w") -> bool:
    found: bool = engine.run(flows.order_consumer(q, name, what))
    return found


def keys_of_consumers(engine: Engine) -> list[str]:
    return [key for key in engine.names() if key.rsplit(":", 1)[1] in ("heartbeats", "consumers", "commands")]


# What is held


def test_what_is_held_stays_invisible_from_beat_to_beat(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", "b", group=group(q))
    a, b = engine.receive(q, 2, 20_000)
    for _ in range(5):
        engine.clock.advance_ms(19_999)
        assert engine.bodies(q) == []
        assert beat(engine, q, a, b) == ("", [])
        assert engine.counts(q) == (0, 2, 0)
    engine.clock.advance_ms(19_999)
    assert engine.bodies(q) == []
    engine.clock.advance_ms(1)
    assert [d.receive_count for d in engine.receive(q)] == [2, 2]


def test_a_beat_tells_what_is_not_held_any_more_and_leaves_that_alone(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for body in "abcde":
        engine.send(q, body, group=group(q, body))
    a, b, c, d, e = sorted(engine.receive(q, 5, 1000), key=lambda d: str(d.body))
    engine.delete(q, b)
    release(engine, q, requeue(c))
    engine.run(flows.change_visibility(q, [(a.receipt_handle, 60_000), (d.receipt_handle, 60_000)], NATIVE))
    engine.clock.advance_ms(1000)
    assert sorted(engine.bodies(q, visibility_ms=7000)) == ["c", "e"]
    order, lost = beat(engine, q, a, b, d, e, extension_ms=90_000)
    assert (order, lost) == ("", ["b", "e"])
    engine.clock.advance_ms(7000)
    assert sorted(engine.bodies(q)) == ["c", "e"]
    engine.clock.advance_ms(83_000)
    assert {"a", "d"} <= set(engine.bodies(q))


def test_a_message_that_was_received_again_is_lost(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    mine = received(engine, q)
    engine.clock.advance_ms(60_000)
    other = again(engine, q)
    assert beat(engine, q, mine, extension_ms=500_000) == ("", ["a"])
    assert beat(engine, q, other, extension_ms=70_000) == ("", [])
    engine.clock.advance_ms(69_999)
    assert engine.counts(q) == (0, 1, 0)
    engine.clock.advance_ms(1)
    assert engine.counts(q) == (1, 0, 0)


def test_positions_are_those_of_what_was_said(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, *range(6), group=group(q))
    got = engine.receive(q, 6)
    engine.delete(q, got[0], got[3], got[5])
    assert engine.execute(consumers.beat(q.home, got, 1000)) == ("", [0, 3, 5])
    assert engine.execute(consumers.beat(q.home, [], 1000)) == ("", [])


def test_a_beat_does_not_shorten_what_was_asked_for(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    engine.run(flows.change_visibility(q, [(d.receipt_handle, 3_600_000)], NATIVE))
    assert beat(engine, q, d) == ("", [])
    engine.clock.advance_ms(3_599_999)
    assert engine.counts(q) == (0, 1, 0)


def test_a_beat_that_crosses_a_failure_does_not_bring_the_retry_forward(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    assert release(engine, q, retry(d, wanted_ms=300_000)) == [300_000]
    beat(engine, q, d)
    engine.clock.advance_ms(299_999)
    assert engine.bodies(q) == []
    engine.clock.advance_ms(1)
    assert engine.bodies(q) == ["a"]


def test_a_late_beat_prolongs_what_nobody_received_yet(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    engine.clock.advance_ms(60_000)
    assert beat(engine, q, d) == ("", [])
    assert engine.counts(q) == (0, 1, 0)
    assert engine.bodies(q) == []


def test_what_a_fifo_queue_has_given_up_is_lost(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    d = received(engine, q)
    engine.clock.advance_ms(60_000)
    assert engine.counts(q) == (1, 0, 0)  # ends what is over: the group may be served
    assert beat(engine, q, d) == ("", ["a"])
    assert again(engine, q).receive_count == 2


def test_dead_letters_in_other_slots_are_prolonged_too(engine: Engine, name: str) -> None:
    dlq = engine.queue("dead.fifo" if name.endswith(".fifo") else "dead")
    q = engine.queue(name, dlq.name)
    assert release(engine, q, retry(received(engine, q))) == [DEAD_LETTERED]
    engine.send(dlq, "b", group=group(dlq))
    held = engine.receive(dlq, 1, 1000) + engine.receive(dlq, 1, 1000)
    assert len({d.partition for d in held}) == 2
    assert beat(engine, dlq, *held) == ("", [])
    engine.clock.advance_ms(19_999)
    assert engine.counts(dlq) == (0, 2, 0)
    assert listed(engine, dlq) == ["w"]
    assert len(keys_of_consumers(engine)) == 2  # at home only
    letter = next(d for d in held if d.partition is not dlq.home)
    engine.delete(dlq, letter)
    assert beat(engine, dlq, *held) == ("", ["a"])


def test_messages_of_a_shard_that_is_gone_are_lost(engine: Engine, name: str) -> None:
    dlq = engine.queue("dead.fifo" if name.endswith(".fifo") else "dead")
    q = engine.queue(name, dlq.name)
    assert release(engine, q, retry(received(engine, q))) == [DEAD_LETTERED]
    letter = again(engine, dlq)
    engine.run(flows.delete_queue(dlq, NATIVE))
    with pytest.raises(QueueDoesNotExist):
        beat(engine, dlq, letter)
    engine.queue(dlq.name)
    assert beat(engine, dlq, letter) == ("", ["a"])


def test_the_thousandth_receive_is_held_like_any_other(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", group=group(q))
    for _ in range(997):
        again(engine, q, 0)
    for n in range(998, 1003):
        d = again(engine, q, 1000)
        assert d.receive_count == n
        assert beat(engine, q, d) == ("", [])
        engine.clock.advance_ms(19_999)
        assert engine.counts(q) == (0, 1, 0)
        engine.clock.advance_ms(1)


def test_waiters_come_when_a_prolonged_message_becomes_visible(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    assert ask(engine, q, "w1").wake_at_ms == engine.clock.ms + 60_000
    engine.clock.advance_ms(50_000)
    assert beat(engine, q, d) == ("", [])
    engine.clock.advance_ms(10_000)  # the timer owner wakes nobody and looks again
    got = ask(engine, q, "w1")
    assert got.messages == []
    assert got.wake_at_ms == engine.clock.ms + 10_000


# Who lives


def test_a_consumer_is_listed_as_it_describes_itself(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    assert engine.run(flows.list_consumers(q)) == []
    beat(engine, q)
    assert engine.run(flows.list_consumers(q)) == [
        Consumer(
            consumer_id="w",
            queue=name,
            is_alive=True,
            state="running",
            host="h",
            pid=5,
            started_at_ms=1_700_000_000_123,
            last_seen_at_ms=engine.clock.ms,
            alive_until_ms=engine.clock.ms + 21_000,
            concurrency=8,
            in_flight=2,
            held=(InFlight("id", 1_700_000_000_456),),
            succeeded=3,
            failed=4,
            statistics=Statistics(failovers=1),
        )
    ]
    beat(engine, q, says={"state": "draining"}, life_ms=5000)
    (found,) = engine.run(flows.list_consumers(q))
    assert (found.state, found.host, found.held, found.alive_until_ms) == ("draining", "", (), engine.clock.ms + 5000)


def test_a_consumer_lapses_without_a_beat_and_is_forgotten_after_a_minute(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    beat(engine, q)
    engine.clock.advance_ms(20_999)
    assert [c.is_alive for c in engine.run(flows.list_consumers(q))] == [True]
    began_ms = engine.clock.ms - 20_999
    engine.clock.advance_ms(1)
    (found,) = engine.run(flows.list_consumers(q))
    assert (found.is_alive, found.state, found.last_seen_at_ms) == (False, "lost", began_ms)
    engine.clock.advance_ms(59_999)
    assert listed(engine, q) == ["w"]
    engine.clock.advance_ms(1)
    assert listed(engine, q) == []
    beat(engine, q)
    assert listed(engine, q) == ["w"]


def test_an_idle_consumer_shows_itself_with_a_call_of_few_commands(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    beat(engine, q)
    (before,) = engine.run(flows.list_consumers(q))
    engine.clock.advance_ms(20_000)

    def again() -> tuple[str, list[Any]]:
        found: tuple[str, list[Any]] = engine.run(flows.beat(q, (), 20_000, "w", SAYS, 21_000, is_same=True))
        return found

    calls = [c["calls"] for c in engine.redis.info("commandstats").values()]
    assert again() == ("", [])
    more = [c["calls"] for c in engine.redis.info("commandstats").values()]
    assert sum(more) - sum(calls) <= 4  # the script, two commands (and TIME without a test clock), INFO
    (after,) = engine.run(flows.list_consumers(q))
    assert after == dataclasses.replace(
        before, last_seen_at_ms=engine.clock.ms, alive_until_ms=engine.clock.ms + 21_000
    )
    assert order(engine, q, "drain")
    engine.clock.advance_ms(1)
    assert again() == ("drain", [])


def test_a_consumer_that_was_forgotten_describes_itself_again(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    assert engine.run(flows.beat(q, (), 20_000, "w", SAYS, 21_000, is_same=True)) == ("", [])
    assert [c.pid for c in engine.run(flows.list_consumers(q))] == [5]
    engine.run(flows.delete_queue(q, NATIVE))
    with pytest.raises(QueueDoesNotExist):
        engine.run(flows.beat(q, (), 20_000, "w", SAYS, 21_000, is_same=True))


def test_every_beat_clears_away_ten_that_died(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for i in range(25):
        beat(engine, q, name=f"dead{i}")
        assert order(engine, q, "drain", f"dead{i}")
    engine.clock.advance_ms(81_000)
    base = q.home.base
    for left in (16, 6, 1, 1):  # this one included
        beat(engine, q)
        assert engine.redis.zcard(base + "heartbeats") == left
        assert engine.redis.hlen(base + "consumers") == 2 * left
        assert engine.redis.hlen(base + "commands") == left - 1
    assert listed(engine, q) == ["w"]


def test_a_beat_without_a_name_registers_nobody(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    assert engine.execute(consumers.beat(q.home, [d], 1000)) == ("", [])
    assert keys_of_consumers(engine) == []


def test_who_signs_off_is_gone_with_everything(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for consumer in ("w", "other"):
        beat(engine, q, name=consumer)
        order(engine, q, "drain", consumer)
    assert beat(engine, q, says=None) == ("drain", [])
    assert listed(engine, q) == ["other"]
    beat(engine, q, says=None, name="other")
    assert keys_of_consumers(engine) == []
    beat(engine, q, says=None, name="never seen")
    assert keys_of_consumers(engine) == []


def test_those_that_lapse_last_come_first_and_a_thousand_at_most(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for i in range(1003):
        beat(engine, q, name=f"w{i:04d}", life_ms=10_000 + i)
    found = listed(engine, q)
    assert found == [f"w{i:04d}" for i in range(1002, 2, -1)]


def test_after_the_last_worker_nothing_stays(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    beat(engine, q)
    order(engine, q, "drain")
    assert len(keys_of_consumers(engine)) == 3
    prefix = engine.transport.space.prefix + ":"
    for key in keys_of_consumers(engine):
        assert DAY_MS - 10_000 < int(engine.redis.pttl(prefix + key)) <= DAY_MS
        engine.redis.pexpire(prefix + key, 5000)
    beat(engine, q)
    for key in keys_of_consumers(engine):
        expected = 5000 if key.endswith("commands") else DAY_MS
        assert expected - 4000 < int(engine.redis.pttl(prefix + key)) <= expected


def test_a_deleted_queue_leaves_no_consumers_and_a_purged_one_keeps_them(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    beat(engine, q)
    order(engine, q, "evict")
    engine.run(flows.purge_queue(q, NATIVE))
    assert listed(engine, q) == ["w"]
    assert len(keys_of_consumers(engine)) == 3
    engine.run(flows.delete_queue(q, NATIVE))
    assert engine.names() == []
    assert not order(engine, q, "drain")
    for call in (lambda: beat(engine, q), lambda: beat(engine, q, says=None), lambda: listed(engine, q)):
        with pytest.raises(QueueDoesNotExist):
            call()
    assert engine.names() == []
    engine.queue(name)
    assert listed(engine, q) == []


def test_a_queue_that_is_being_deleted_has_no_heart(engine: Engine, name: str) -> None:
    from rqsqs._core.operations import queues

    q = engine.queue(name)
    beat(engine, q)
    engine.execute(queues.delete_queue(q.home, NATIVE, purge=False, first=True))
    with pytest.raises(QueueDoesNotExist):
        beat(engine, q)
    with pytest.raises(QueueDoesNotExist):
        listed(engine, q)
    engine.run(flows.delete_queue(q, NATIVE))
    assert engine.names() == []


# What they count


def says(*, state: str = "running", waiters: int = 0, **counted: int) -> dict[str, Any]:
    return {**SAYS, "state": state, "waiters": waiters, "counted": counted}


def counted(engine: Engine, q: QueueRef) -> tuple[tuple[int, ...], int, int]:
    """Processing times, failures, reclaimed messages."""
    found = engine.run(flows.metrics(q))
    return found.processing.counts, found.failed, found.reclaimed


def test_what_consumers_counted_is_added_once_and_stays(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    beat(engine, q, says=says())
    beat(engine, q, says=says(), name="other")
    assert counted(engine, q) == ((), 0, 0)
    for _ in range(2):  # a heartbeat whose answer was lost is sent again
        beat(engine, q, says=says(s0=5, s3=2, f1=1, reclaimed=1))
        assert counted(engine, q) == ((5, 1, 0, 2), 1, 1)
    beat(engine, q, says=says(s0=1), name="other")
    beat(engine, q, says=says(s0=7, s3=2, f1=1, f12=3, reclaimed=1))
    total = (8, 1, 0, 2, *[0] * 8, 3), 4, 1
    assert counted(engine, q) == total
    engine.run(flows.beat(q, (), 20_000, "w", says(s0=7), 21_000, is_same=True))
    engine.clock.advance_ms(500_000)  # they are lost
    beat(engine, q, name="one more", says=says())  # forgets them
    assert listed(engine, q) == ["one more"]
    assert counted(engine, q) == total
    assert engine.redis.hlen(q.home.base + "consumers") == 2


def test_a_consumer_leaves_with_its_last_counts(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    beat(engine, q, says=says())
    for _ in range(2):
        beat(engine, q, says=says(s1=4), life_ms=0)
        assert counted(engine, q) == ((0, 4), 0, 0)
    assert keys_of_consumers(engine) == []


def test_a_consumer_that_comes_back_is_not_counted_again(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    beat(engine, q, says=says())
    beat(engine, q, says=says(s1=4))
    engine.clock.advance_ms(21_000)  # lost, and still known
    beat(engine, q, says=says(s1=5))
    assert counted(engine, q) == ((0, 5), 0, 0)
    engine.clock.advance_ms(81_000)
    beat(engine, q, says=says(), name="other")  # forgets it
    beat(engine, q, says=says(s1=5))
    beat(engine, q, says=says(s1=6))
    assert counted(engine, q) == ((0, 6), 0, 0)
    engine.clock.advance_ms(500_000)
    beat(engine, q, says=says(s1=7))  # nobody has forgotten it meanwhile
    assert counted(engine, q) == ((0, 7), 0, 0)
    assert listed(engine, q) == ["w"]


def test_a_queue_created_anew_does_not_count_what_was_handled_before(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    beat(engine, q, says=says())
    beat(engine, q, says=says(s1=4))
    engine.run(flows.delete_queue(q, NATIVE))
    engine.queue(name)
    beat(engine, q, says=says(s1=5))
    assert counted(engine, q) == ((), 0, 0)
    beat(engine, q, says=says(s1=6))
    assert counted(engine, q) == ((0, 1), 0, 0)


def test_metrics_count_consumers_by_state_and_waiters(engine: Engine, name: str) -> None:
    q = engine.queue(name)

    def found() -> tuple[dict[str, int], int]:
        metrics = engine.run(flows.metrics(q))
        return metrics.consumers, metrics.waiters

    assert found() == ({}, 0)
    beat(engine, q, name="lost", says=says(waiters=1), life_ms=1000)
    engine.clock.advance_ms(1000)
    for n in range(3):
        beat(engine, q, name=f"w{n}", says=says(waiters=n))
    beat(engine, q, name="d", says=says(state="draining"))
    beat(engine, q, name="e", says=says(state="evicted"))
    beat(engine, q, name="foreign", says={"state": 'a"\\\n'})
    order(engine, q, "evict", "w0")
    order(engine, q, "drain", "d")
    states = {"running": 2, "evict": 1, "draining": 1, "evicted": 1, "lost": 1, "unknown": 1}
    assert found() == (states, 3)
    named = [c.state for c in engine.run(flows.list_consumers(q))]
    assert {state: named.count(state) for state in states if state != "unknown"} == {
        state: n for state, n in states.items() if state != "unknown"
    }
    engine.clock.advance_ms(21_000)
    assert found() == ({"lost": 7}, 0)
    engine.clock.advance_ms(60_000)
    assert found() == ({}, 0)


def test_all_of_many_consumers_are_counted(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    base, many = q.home.base, 2500
    names = [f"w{n:04}" for n in range(many)]
    brief = '{"state":"running","waiters":1}'
    engine.redis.zadd(base + "heartbeats", dict.fromkeys(names, engine.clock.ms + 1000))
    engine.redis.hset(base + "consumers", mapping={f"={n}": brief for n in names})
    metrics = engine.run(flows.metrics(q))
    assert (metrics.consumers, metrics.waiters) == ({"running": many}, many)


# Orders


def test_drain_is_told_with_every_beat_until_the_worker_leaves(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    beat(engine, q)
    beat(engine, q, name="other")
    assert order(engine, q, "drain")
    assert [c.state for c in engine.run(flows.list_consumers(q)) if c.consumer_id == "w"] == ["drain"]
    for _ in range(2):
        assert beat(engine, q, d) == ("drain", [])
    assert beat(engine, q, d, says={**SAYS, "state": "draining"}) == ("drain", [])
    assert {c.consumer_id: c.state for c in engine.run(flows.list_consumers(q))} == {
        "w": "draining",
        "other": "running",
    }
    engine.clock.advance_ms(19_999)
    assert engine.counts(q) == (0, 1, 0)  # what it holds is prolonged on
    assert beat(engine, q, name="other") == ("", [])
    beat(engine, q, says=None)
    beat(engine, q)
    assert beat(engine, q) == ("", [])  # a new life


def test_evict_ends_the_prolonging(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    beat(engine, q)
    assert order(engine, q, "drain")
    assert order(engine, q, "evict")  # the later word counts
    assert beat(engine, q, d, extension_ms=600_000) == ("evict", [])
    engine.clock.advance_ms(60_000)
    assert again(engine, q).receive_count == 2


def test_an_order_to_nobody_is_refused(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    assert not order(engine, q, "drain")
    beat(engine, q)
    assert not order(engine, q, "drain", "W")
    assert engine.redis.hlen(q.home.base + "commands") == 0


def test_odd_names_and_descriptions(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for consumer in ("ü 🦊", "a:b", "{x}", "-", "x" * 500):
        beat(engine, q, name=consumer, says={"state": 'a"\n', "host": "🦊"})
        (found,) = engine.run(flows.list_consumers(q))
        assert (found.consumer_id, found.state, found.host) == (consumer, 'a"\n', "🦊")
        assert order(engine, q, "evict", consumer)
        assert beat(engine, q, name=consumer, says=None) == ("evict", [])
    assert listed(engine, q) == []
