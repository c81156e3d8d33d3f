"""Wakeup tokens: one wakes a waiter; owners and backups guard the next due time (lua/lib/wakeups.lua)."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from rqsqs._core import envelope, flows, operations
from rqsqs._core.keys import QueueRef
from rqsqs.limits import AWS, NATIVE
from tests.lua.conftest import Engine


def ask(engine: Engine, q: QueueRef, waiter: str, wait: str = "+20000", count: int = 1) -> Any:
    return engine.execute(operations.receive_messages(q.home, NATIVE, count, None, wait, waiter))


def timer(engine: Engine, q: QueueRef) -> str | None:
    value = engine.redis.get(q.home.base + "timer")
    return value.decode() if value else None


def duty(got: Any) -> tuple[int, int]:
    assert got.messages == []
    return got.wake_at_ms, got.look_at_ms


def asked_for(engine: Engine, q: QueueRef) -> Any:
    """How many backups are asked for."""
    return engine.redis.llen(q.home.backup)


def called(engine: Engine, q: QueueRef) -> list[str]:
    """Waiters with a duty that are told of another due time."""
    return [key.rpartition(":")[2] for key in engine.names("*:wake:*")]


def later(engine: Engine, q: QueueRef, delay_ms: int = 5000, group: str = "g") -> int:
    """Send a message that is due so much later; returns when."""
    engine.send(q, "later", group=group if q.is_fifo else None, delay_ms=delay_ms)
    return int(engine.clock.ms) + delay_ms


def waited(engine: Engine, q: QueueRef, waiter: str, left_ms: int = 15_000, count: int = 1) -> Any:
    """What a waiter gets that was woken; 0 = its wait is over."""
    return ask(engine, q, waiter, str(engine.clock.ms + left_ms), count)


def leave(engine: Engine, q: QueueRef, waiter: str) -> None:
    engine.execute(operations.wake_waiter(q.home, waiter))


def test_a_send_puts_one_token_out_however_many_there_are(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    assert not engine.token(q.home)
    for body in range(3):
        engine.send(q, body, group="g" if q.is_fifo else None)
        assert engine.token(q.home)


def test_a_waiter_takes_the_token_away_and_guards_nothing_while_nothing_is_due(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.execute(operations.wake_waiter(q.home))
    got = ask(engine, q, "w1")
    assert (got.wake_at_ms, got.wait_until_ms) == (0, engine.clock.ms + 20_000)
    assert not engine.token(q.home)
    assert timer(engine, q) is None


def test_the_first_waiter_owns_the_next_due_time_and_two_others_are_its_backups(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    due = engine.clock.ms + 5000
    assert engine.token(q.home)  # somebody has to look at the new due time
    assert duty(ask(engine, q, "w1")) == (due, due + 700)
    assert (timer(engine, q), asked_for(engine, q)) == (f"{due}:w1", 2)
    assert duty(ask(engine, q, "w2")) == (0, due + 300)
    assert duty(ask(engine, q, "w3")) == (0, due + 500)
    assert (timer(engine, q), asked_for(engine, q)) == (f"{due}:w1:w2:w3", 0)
    assert duty(ask(engine, q, "w4")) == (0, 0)
    assert duty(ask(engine, q, "w1")) == (due, due + 700)  # who has a duty keeps it
    assert duty(ask(engine, q, "w3")) == (0, due + 500)
    assert timer(engine, q) == f"{due}:w1:w2:w3"


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
    engine.redis.delete(q.home.wakeups)  # a waiter was woken by it
    assert len(ask(engine, q, "w1").messages) == 1
    assert engine.token(q.home)


def test_the_timer_owner_that_gets_a_message_hands_its_duty_on(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    until = ask(engine, q, "w1").wait_until_ms
    engine.send(q, "now", group="h" if q.is_fifo else None)
    engine.redis.delete(q.home.wakeups)
    assert ask(engine, q, "w1", str(until)).messages
    assert engine.token(q.home)
    assert ask(engine, q, "w2").wake_at_ms == engine.clock.ms + 5000


def test_a_timer_owner_that_goes_away_wakes_another(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    ask(engine, q, "w1")
    engine.execute(operations.wake_waiter(q.home, "somebody else"))
    assert not engine.token(q.home)
    engine.execute(operations.wake_waiter(q.home, "w1"))
    assert engine.token(q.home)
    assert timer(engine, q) is None


def test_the_timer_owner_whose_wait_is_over_leaves(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    until = ask(engine, q, "w1", "+1000").wait_until_ms
    engine.clock.advance_ms(1000)
    got = ask(engine, q, "w1", str(until))
    assert got.wait_until_ms <= got.now_ms
    assert engine.token(q.home)
    assert timer(engine, q) is None


def test_a_guarded_time_that_has_passed_is_not_believed(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group="g" if q.is_fifo else None, delay_ms=5000)
    ask(engine, q, "dead")  # and never wakes anybody
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
        batch = [envelope.outgoing(i, group=next(groups), delay_ms=i) for i in (0, 1000)]
        engine.run(flows.send_messages(q, batch, NATIVE))
    elif how == "change":
        engine.run(flows.change_visibility(q, [(a.receipt_handle, 0), (b.receipt_handle, 1000)], NATIVE))
    else:
        engine.send(q, "c", "d", group=next(groups))
        assert len(engine.receive(q, 1, 1000)) == 1
        engine.send(q, "e", group=next(groups))
    assert engine.token(q.home)
    engine.redis.delete(q.home.wakeups)  # w2 wakes
    got = engine.execute(operations.receive_messages(q.home, NATIVE, 10, 600_000, str(until), "w2"))
    assert got.messages
    assert engine.token(q.home)
    assert ask(engine, q, "w3").wake_at_ms == engine.clock.ms + 1000


def test_dead_letters_wake_the_waiters_of_their_shard(engine: Engine, name: str) -> None:
    dlq = engine.queue("d.fifo" if name.endswith(".fifo") else "d")
    q = engine.queue(name, dlq.name)
    engine.send(q, "a", group="g" if q.is_fifo else None)
    engine.receive(q, visibility_ms=0)
    shard = dlq.partition(q.home.tag)
    engine.redis.delete(shard.wakeups)
    assert engine.bodies(q) == []
    assert engine.token(shard)


# Owners and backups


def test_the_owner_wakes_somebody_when_the_time_has_come_and_not_before(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    later(engine, q)
    ask(engine, q, "w1")
    engine.clock.advance_ms(4999)
    assert engine.execute(operations.watch(q.home, "w1")) == 1  # its clock is fast: it comes again
    assert not engine.token(q.home)
    engine.clock.advance_ms(1)
    assert engine.execute(operations.watch(q.home, "w1")) == 0
    assert engine.token(q.home)


def test_who_owns_a_time_no_more_wakes_nobody(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    later(engine, q, 5000)
    ask(engine, q, "w1")
    later(engine, q, 1000, "h")
    engine.redis.delete(q.home.wakeups)
    due = engine.clock.ms + 1000
    assert duty(waited(engine, q, "w2")) == (due, due + 700)
    assert engine.execute(operations.watch(q.home, "w1")) == 0
    assert not engine.token(q.home)


@pytest.mark.parametrize("look_ms", [300, 500])
def test_a_backup_gets_the_message_itself_if_the_owner_died(engine: Engine, name: str, look_ms: int) -> None:
    q = engine.queue(name)
    later(engine, q)
    ask(engine, q, "dead")
    backups = {duty(ask(engine, q, w))[1] - engine.clock.ms - 5000: w for w in ("w1", "w2")}
    engine.clock.advance_ms(5000 + look_ms)
    assert [d.body for d in waited(engine, q, backups[look_ms]).messages] == ["later"]


def test_a_waiter_that_blocked_before_there_was_a_due_time_becomes_a_backup(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for waiter in ("w1", "w2", "w3"):
        assert duty(ask(engine, q, waiter)) == (0, 0)
    due = later(engine, q)
    assert engine.redis.lpop(q.home.wakeups)  # one is woken
    assert asked_for(engine, q) == 1  # and another, in case that one dies
    assert duty(waited(engine, q, "w1")) == (due, due + 700)
    for waiter, look in (("w2", 300), ("w3", 500)):
        assert engine.redis.lpop(q.home.backup)
        assert duty(waited(engine, q, waiter)) == (0, due + look)
    assert asked_for(engine, q) == 0


def test_if_the_waiter_that_was_woken_dies_the_second_one_owns_the_due_time(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    due = later(engine, q)
    assert engine.redis.delete(q.home.wakeups)  # taken by somebody who dies
    assert engine.redis.lpop(q.home.backup)
    assert duty(waited(engine, q, "w2")) == (due, due + 700)


def test_the_owner_that_leaves_is_replaced_and_keeps_its_backups(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    due = later(engine, q)
    for waiter in ("w1", "w2", "w3"):
        ask(engine, q, waiter)
    leave(engine, q, "w1")
    assert (timer(engine, q), engine.token(q.home)) == (f"{due}:-:w2:w3", True)
    engine.redis.delete(q.home.wakeups)
    assert duty(waited(engine, q, "w4")) == (due, due + 700)
    assert (timer(engine, q), asked_for(engine, q)) == (f"{due}:w4:w2:w3", 0)


def test_a_backup_that_takes_over_from_the_owner_is_replaced(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    due = later(engine, q)
    for waiter in ("w1", "w2", "w3"):
        ask(engine, q, waiter)
    leave(engine, q, "w1")
    assert duty(waited(engine, q, "w2")) == (due, due + 700)
    assert (timer(engine, q), asked_for(engine, q)) == (f"{due}:w2:w3", 1)


@pytest.mark.parametrize("how", ["cancelled", "over", "served"])
def test_a_backup_that_leaves_is_replaced(engine: Engine, name: str, how: str) -> None:
    q = engine.queue(name)
    due = later(engine, q)
    for waiter in ("w1", "w2", "w3"):
        ask(engine, q, waiter)
    if how == "cancelled":
        leave(engine, q, "w2")
    elif how == "over":
        assert duty(waited(engine, q, "w2", 0)) == (0, 0)
    else:
        engine.send(q, "now", group="h" if q.is_fifo else None)
        assert waited(engine, q, "w2").messages
    assert (timer(engine, q), asked_for(engine, q)) == (f"{due}:w1:w3", 1)
    assert duty(waited(engine, q, "w4")) == (0, due + 500)


def test_backups_are_in_other_processes_than_the_owner(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    due = later(engine, q)
    assert duty(ask(engine, q, "p-1")) == (due, due + 700)
    assert duty(ask(engine, q, "p-2")) == (0, 0)
    assert asked_for(engine, q) == 2
    assert duty(ask(engine, q, "r-1")) == (0, due + 300)
    assert duty(ask(engine, q, "r-2")) == (0, 0)
    assert duty(ask(engine, q, "s-1")) == (0, due + 500)
    assert asked_for(engine, q) == 0


def test_who_takes_a_token_that_is_for_another_process_does_not_take_it_again(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    due = later(engine, q)
    ask(engine, q, "p-1")
    engine.redis.lpop(q.home.backup)
    assert duty(waited(engine, q, "p-2")) == (0, due + 300)  # it has a duty: it does not block on the list any more
    assert asked_for(engine, q) == 2  # and others are asked
    for n in range(3, 20):
        assert duty(waited(engine, q, f"p-{n}"))[1] > due
    assert len(str(timer(engine, q)).split(":")) == 10
    assert asked_for(engine, q) == 2


def test_an_earlier_due_time_is_told_to_all_who_have_a_duty(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    later(engine, q, 60_000)
    for waiter in ("w1", "w2", "w3"):
        ask(engine, q, waiter)
    engine.redis.delete(q.home.wakeups)
    due = later(engine, q, 1000, "h")
    assert duty(waited(engine, q, "w2")) == (due, due + 700)
    assert called(engine, q) == ["w1", "w3"]
    assert timer(engine, q) == f"{due}:w2"
    assert duty(waited(engine, q, "w1")) == (0, due + 300)
    assert duty(waited(engine, q, "w3")) == (0, due + 500)
    assert called(engine, q) == []
    assert asked_for(engine, q) == 0


def test_changed_settings_are_told_to_all_who_have_a_duty(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    due = later(engine, q)
    for waiter in ("w1", "w2"):
        ask(engine, q, waiter)
    engine.run(flows.set_attributes(q, {"VisibilityTimeout": "77"}, NATIVE))
    assert (timer(engine, q), engine.token(q.home)) == (None, True)
    assert called(engine, q) == ["w1", "w2"]
    assert duty(waited(engine, q, "w2")) == (due, due + 700)


def test_a_due_time_that_nothing_needs_any_more_is_kept_and_its_backups_too(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", group="g" if q.is_fifo else None)
    (d,) = engine.receive(q, visibility_ms=5000)
    due = engine.clock.ms + 5000
    assert duty(ask(engine, q, "w1")) == (due, due + 700)
    engine.delete(q, d)
    assert duty(waited(engine, q, "w1")) == (due, due + 700)
    later(engine, q, 9000)
    assert not engine.token(q.home)  # w1 looks before
    assert duty(waited(engine, q, "w2")) == (0, due + 300)


@pytest.mark.parametrize("waiter", ["w1", ""])
def test_a_token_that_comes_at_the_end_of_a_wait_is_passed_on(engine: Engine, name: str, waiter: str) -> None:
    q = engine.queue(name)
    later(engine, q)
    assert engine.redis.delete(q.home.wakeups, q.home.backup)  # taken just before the wait was over
    ask(engine, q, waiter, "0")
    assert engine.token(q.home)
    ask(engine, q, "w2")
    assert engine.redis.delete(q.home.backup)
    ask(engine, q, waiter, "0")
    assert not engine.token(q.home)  # w2 guards it
    assert asked_for(engine, q) == 2


def test_a_short_poll_leaves_tokens_alone(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    later(engine, q)
    assert engine.redis.delete(q.home.wakeups, q.home.backup)
    ask(engine, q, "", "")
    assert not engine.token(q.home)
    assert asked_for(engine, q) == 0


def test_a_waiter_at_its_limit_gives_up_what_it_has(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    one = dataclasses.replace(AWS, in_flight=1)
    due = later(engine, q)
    assert duty(ask(engine, q, "w1")) == (due, due + 700)
    engine.send(q, "a", "b", group="h" if q.is_fifo else None)
    assert len(engine.receive(q, 1, 60_000)) == 1
    engine.redis.delete(q.home.wakeups)  # w1 is woken
    until = str(engine.clock.ms + 15_000)
    got = engine.execute(operations.receive_messages(q.home, one, 1, None, until, "w1"))
    assert (duty(got), timer(engine, q), engine.token(q.home)) == ((-1, 0), None, True)


def test_a_deleted_queue_leaves_no_duties_behind(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    later(engine, q)
    for waiter in ("w1", "w2"):
        ask(engine, q, waiter)
    assert (timer(engine, q), asked_for(engine, q)) != (None, 0)
    engine.run(flows.delete_queue(q, NATIVE))
    assert (timer(engine, q), asked_for(engine, q)) == (None, 0)


def test_a_purge_leaves_duties_alone(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    due = later(engine, q)
    for waiter in ("w1", "w2"):
        ask(engine, q, waiter)
    engine.run(flows.purge_queue(q, NATIVE))
    assert timer(engine, q) == f"{due}:w1:w2"
