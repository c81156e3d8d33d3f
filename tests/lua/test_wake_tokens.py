"""Bell and keeper: a token wakes one waiter, a keeper guards the next due time (lua/lib/bell.lua)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from rqsqs._core import flows, messages, records
from rqsqs._core.keys import QueueRef
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine


def ask(engine: Engine, q: QueueRef, waiter: str, wait: str = "+20000", count: int = 1) -> Any:
    return engine.execute(messages.receive_messages(q.home, NATIVE, count, None, wait, waiter))


def keeper(engine: Engine, q: QueueRef) -> str | None:
    value = engine.redis.get(q.home.base + "keeper")
    return value.decode() if value else None


def test_a_send_puts_one_token_out_however_many_there_are(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    assert not engine.token(q.home)
    for body in range(3):
        engine.send(q, body, group="g" if q.is_fifo else None)
        assert engine.token(q.home)


def test_a_waiter_takes_the_token_away_and_guards_nothing_while_nothing_is_due(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.execute(messages.ring(q.home))
    got = ask(engine, q, "w1")
    assert (got.wake_at_ms, got.wait_until_ms) == (0, engine.clock.ms + 20_000)
    assert not engine.token(q.home)
    assert keeper(engine, q) is None


def test_the_first_waiter_guards_the_next_due_time_and_others_rely_on_it(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    due = engine.clock.ms + 5000
    assert engine.token(q.home)  # somebody has to look at the new due time
    assert ask(engine, q, "w1").wake_at_ms == due
    assert keeper(engine, q) == f"{due}:w1"
    assert ask(engine, q, "w2").wake_at_ms == due + 500  # it looks after the keeper
    assert keeper(engine, q) == f"{due}:w1"


def test_an_earlier_due_time_wakes_a_waiter_and_a_later_one_does_not(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    group = "g" if q.is_fifo else None
    engine.send(q, "later", group=group, delay_ms=5000)
    ask(engine, q, "w1")
    engine.send(q, "even later", group=group, delay_ms=9000)
    assert not engine.token(q.home)
    engine.send(q, "earlier", group="h" if q.is_fifo else None, delay_ms=1000)
    assert engine.token(q.home)


def test_a_message_in_flight_is_a_due_time_too(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", group="g" if q.is_fifo else None)
    engine.receive(q, visibility_ms=3000)
    assert ask(engine, q, "w1").wake_at_ms == engine.clock.ms + 3000


def test_receiving_with_more_left_passes_the_baton(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", group="g" if q.is_fifo else None)
    engine.send(q, "b", group="h" if q.is_fifo else None)
    engine.redis.delete(q.home.bell)  # a waiter was woken by it
    assert len(ask(engine, q, "w1").messages) == 1
    assert engine.token(q.home)


def test_the_keeper_that_gets_a_message_hands_its_duty_on(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    until = ask(engine, q, "w1").wait_until_ms
    engine.send(q, "now", group="h" if q.is_fifo else None)
    engine.redis.delete(q.home.bell)
    assert ask(engine, q, "w1", str(until)).messages
    assert engine.token(q.home)
    assert ask(engine, q, "w2").wake_at_ms == engine.clock.ms + 5000


def test_a_keeper_that_goes_away_wakes_another(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    ask(engine, q, "w1")
    engine.execute(messages.ring(q.home, "somebody else"))
    assert not engine.token(q.home)
    engine.execute(messages.ring(q.home, "w1"))
    assert engine.token(q.home)
    assert keeper(engine, q) is None


def test_the_keeper_whose_wait_is_over_leaves(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    until = ask(engine, q, "w1", "+1000").wait_until_ms
    engine.clock.advance_ms(1000)
    got = ask(engine, q, "w1", str(until))
    assert got.wait_until_ms <= got.now_ms
    assert engine.token(q.home)
    assert keeper(engine, q) is None


def test_a_guarded_time_that_has_passed_is_not_believed(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    ask(engine, q, "dead")  # and never rings
    engine.clock.advance_ms(6000)
    engine.send(q, "much later", group="h" if q.is_fifo else None, delay_ms=50_000)
    assert engine.token(q.home)


@pytest.mark.parametrize("visibility_ms", [0, 500])
def test_an_earlier_end_of_visibility_wakes_a_waiter(engine: Engine, name: str, visibility_ms: int) -> None:
    q = engine.queue(name)
    engine.send(q, "a", group="g" if q.is_fifo else None)
    (d,) = engine.receive(q)
    ask(engine, q, "w1")
    assert not engine.token(q.home)
    engine.run(flows.change_visibility(q, [(d.receipt_handle, visibility_ms)], NATIVE))
    assert engine.token(q.home)


def test_deleting_the_last_in_flight_message_of_a_group_wakes_a_waiter(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    engine.send(q, "a", "b", "c", group="g")
    first, second = engine.receive(q, 2)
    ask(engine, q, "w1")
    engine.delete(q, first)
    assert not engine.token(q.home)
    engine.delete(q, second)
    assert engine.token(q.home)
    assert engine.bodies(q) == ["c"]


def test_resuming_and_changing_attributes_wake_a_waiter(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.run(flows.pause(q, resume=False))
    engine.send(q, "a", group="g" if q.is_fifo else None)
    assert not ask(engine, q, "w1").messages
    assert not engine.token(q.home)
    engine.run(flows.pause(q, resume=True))
    assert engine.token(q.home)
    assert ask(engine, q, "w1").messages


@pytest.mark.parametrize("how", ["send", "change", "poll"])
def test_who_takes_a_token_and_a_message_leaves_no_earlier_time_unguarded(engine: Engine, name: str, how: str) -> None:
    q = engine.queue(name)
    groups = itertools.cycle("ghijk" if q.is_fifo else [None])
    engine.send(q, "much later", group=next(groups), delay_ms=60_000)
    for body in ("a", "b"):
        engine.send(q, body, group=next(groups))
    a, b = engine.receive(q, 2, 600_000)
    ask(engine, q, "w1")  # guards a minute
    until = ask(engine, q, "w2").wait_until_ms
    assert not engine.token(q.home)
    if how == "send":
        batch = [records.outgoing(i, group=next(groups), delay_ms=i) for i in (0, 1000)]
        engine.run(flows.send_messages(q, batch, NATIVE))
    elif how == "change":
        engine.run(flows.change_visibility(q, [(a.receipt_handle, 0), (b.receipt_handle, 1000)], NATIVE))
    else:
        engine.send(q, "c", "d", group=next(groups))
        assert len(engine.receive(q, 1, 1000)) == 1
        engine.send(q, "e", group=next(groups))
    assert engine.token(q.home)
    engine.redis.delete(q.home.bell)  # w2 wakes
    got = engine.execute(messages.receive_messages(q.home, NATIVE, 10, 600_000, str(until), "w2"))
    assert got.messages
    assert engine.token(q.home)
    assert ask(engine, q, "w3").wake_at_ms == engine.clock.ms + 1000


def test_dead_letters_wake_the_waiters_of_their_shard(engine: Engine, name: str) -> None:
    dlq = engine.queue("d.fifo" if name.endswith(".fifo") else "d")
    q = engine.queue(name, dlq.name)
    engine.send(q, "a", group="g" if q.is_fifo else None)
    engine.receive(q, visibility_ms=0)
    shard = dlq.partition(q.home.tag)
    engine.redis.delete(shard.bell)
    assert engine.bodies(q) == []
    assert engine.token(shard)


def test_a_waiter_looks_after_the_keeper_and_rings_for_one_that_died(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    due = ask(engine, q, "dead").wake_at_ms
    assert ask(engine, q, "alive").wake_at_ms == due + 500
    assert engine.execute(messages.watch(q.home, "alive")) == 5500  # too early: it comes again
    assert not engine.token(q.home)
    engine.clock.advance_ms(5500)
    assert engine.execute(messages.watch(q.home, "alive")) == 0
    assert engine.token(q.home)


def test_who_looks_after_a_keeper_that_did_its_duty_does_nothing(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    group = "g" if q.is_fifo else None
    engine.send(q, "soon", group=group, delay_ms=1000)
    engine.send(q, "later", group=group, delay_ms=9000)
    assert ask(engine, q, "w1").wake_at_ms == engine.clock.ms + 1000
    assert ask(engine, q, "w2").wake_at_ms == engine.clock.ms + 1500
    engine.clock.advance_ms(1000)
    assert engine.execute(messages.watch(q.home, "w1")) == 0
    assert len(ask(engine, q, "w1").messages) == 1
    assert engine.redis.delete(q.home.bell) == 1  # w2 looks, as the next due time is unguarded
    next_due = ask(engine, q, "w2").wake_at_ms
    engine.clock.advance_ms(500)
    left = engine.execute(messages.watch(q.home, "w3"))
    assert left == next_due - engine.clock.ms + 500
    assert not engine.token(q.home)
