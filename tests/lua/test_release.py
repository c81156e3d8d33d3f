"""What a worker did not finish: requeued, retried, dead-lettered."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import msgpack
import pytest

from rqsqs import RetryPolicy
from rqsqs._core import flows, operations
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import Outcome
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine
from tests.lua.outcomes import (
    DEAD_LETTERED,
    GONE,
    LATEST,
    LOST,
    again,
    dead_letter,
    group,
    received,
    release,
    requeue,
    retry,
    retry_policy,
)
from tests.lua.test_waiting_flows import Receiver


def ask(engine: Engine, q: QueueRef, waiter: str, wait: str = "+600000", visibility_ms: int | None = None) -> Any:
    """One look of a waiting receive."""
    return engine.execute(operations.receive_messages(q.home, NATIVE, 10, visibility_ms, wait, waiter))


@pytest.fixture
def dead(name: str) -> str:
    """The name of a dead-letter queue."""
    return "dead.fifo" if name.endswith(".fifo") else "dead"


# Back: it was not begun


def test_what_was_not_begun_is_visible_at_once_and_the_receive_does_not_count(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for _ in range(3):
        d = received(engine, q) if not sum(engine.counts(q)) else again(engine, q)
        assert d.receive_count == 1
        assert release(engine, q, requeue(d)) == [0]
        assert engine.counts(q) == (1, 0, 0)
    assert release(engine, q, retry(again(engine, q), chance=0)) == [0]
    d = again(engine, q)
    assert d.receive_count == 2
    assert release(engine, q, requeue(d)) == [0]
    assert again(engine, q).receive_count == 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_messages_that_come_back_keep_their_order(engine: Engine, name: str, order: tuple[int, ...]) -> None:
    q = engine.queue(name)
    engine.send(q, "a", "b", "c", "d", group=group(q))
    got = engine.receive(q, 3)
    assert release(engine, q, *[requeue(got[i]) for i in order]) == [0, 0, 0]
    assert engine.bodies(q) == ["a", "b", "c", "d"]


def test_a_group_waits_for_a_head_in_flight_when_a_later_message_comes_back(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    engine.send(q, "a", "b", "c", group="g")
    first, second, _ = engine.receive(q, 3)
    assert release(engine, q, requeue(second)) == [0]
    assert engine.bodies(q) == []
    assert engine.counts(q) == (1, 2, 0)
    assert release(engine, q, requeue(first)) == [0]
    assert engine.bodies(q) == ["a", "b"]  # c is in flight behind them


def test_a_group_that_comes_back_takes_its_old_turn(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    engine.send(q, "a", group="g")
    engine.clock.advance_ms(1)
    engine.send(q, "b", group="h")
    (first,) = engine.receive(q, 1)
    assert first.body == "a"
    assert release(engine, q, requeue(first)) == [0]
    assert engine.bodies(q) == ["a", "b"]


def test_a_group_that_was_received_before_lines_up_when_it_comes_back(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    release(engine, q, retry(received(engine, q), chance=0))
    d = again(engine, q)
    engine.send(q, "b", group="h")
    engine.clock.advance_ms(1)
    assert release(engine, q, requeue(d)) == [0]
    assert engine.bodies(q) == ["b", "a"]


def test_what_is_behind_a_message_that_comes_back_wakes_a_waiter(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    assert ask(engine, q, "w1").messages == []
    assert not engine.token(q.home)
    release(engine, q, requeue(d))
    assert engine.token(q.home)
    assert len(ask(engine, q, "w1").messages) == 1


def test_a_receive_that_lapsed_comes_back_as_well(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    engine.clock.advance_ms(60_000)
    assert engine.counts(q) == (1, 0, 0)
    assert release(engine, q, requeue(d)) == [0]
    assert again(engine, q).receive_count == 1


def test_back_said_twice_finds_nothing_the_second_time(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    first, second = release(engine, q, requeue(d), requeue(d))
    assert first == 0
    assert second == (LOST if q.is_fifo else GONE)  # a standard message waits as if nobody had received it
    assert engine.counts(q) == (1, 0, 0)
    assert again(engine, q).receive_count == 1


def test_a_late_second_back_loses_nothing(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    mine = received(engine, q)
    release(engine, q, requeue(mine))
    third = other = again(engine, q)
    if q.is_fifo:
        assert release(engine, q, requeue(mine)) == [LOST]
        assert engine.counts(q) == (0, 1, 0)
    else:
        assert release(engine, q, requeue(mine)) == [0]  # two first receives look the same
        assert engine.counts(q) == (1, 0, 0)
        third = again(engine, q)
    assert third.receive_count == 1
    assert release(engine, q, retry(third, chance=0)) == [0]
    fourth = again(engine, q)
    assert fourth.receive_count == 2
    for late in (mine, other, third):
        assert release(engine, q, requeue(late)) == [LOST]
    assert engine.counts(q) == (0, 1, 0)
    engine.delete(q, fourth)
    assert engine.counts(q) == (0, 0, 0)
    assert release(engine, q, requeue(fourth), requeue(mine)) == [GONE, GONE]


def test_back_in_a_fair_queue_keeps_the_group(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, "a1", "a2", group="a")
    engine.send(q, "b1", group="b")
    engine.send(q, "free")
    got = engine.receive(q)
    assert release(engine, q, *map(requeue, got)) == [0] * 4
    assert engine.counts(q) == (4, 0, 0)
    assert {d.body: (d.group, d.receive_count) for d in engine.receive(q)} == {
        "a1": ("a", 1),
        "a2": ("a", 1),
        "b1": ("b", 1),
        "free": (None, 1),
    }


@pytest.mark.parametrize("how", ["requeue", "retry"])
def test_what_is_released_into_a_paused_group_waits_there(engine: Engine, name: str, how: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", group="g")
    (d,) = engine.receive(q)
    engine.run(flows.pause(q, resume=False, group="g"))
    assert release(engine, q, requeue(d) if how == "requeue" else retry(d, chance=0)) == [0]
    assert engine.bodies(q) == []
    assert engine.counts(q) == (1, 0, 0)
    engine.run(flows.pause(q, resume=True, group="g"))
    d = again(engine, q)
    assert (d.receive_count, d.failures) == ((1, 0) if how == "requeue" else (2, 1))
    assert release(engine, q, requeue(d)) == [0]
    assert again(engine, q).receive_count == d.receive_count
    assert engine.counts(q) == (0, 1, 0)


def test_what_came_back_can_be_cancelled_rescheduled_and_moved(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    d = received(engine, q)
    release(engine, q, requeue(d))
    assert engine.run(flows.reschedule(q, d.message_id, engine.clock.ms + 1000, group=group(q) or ""))
    assert engine.counts(q) == (0, 0, 1)
    engine.clock.advance_ms(1000)
    d = again(engine, q)
    assert d.receive_count == 1
    assert release(engine, q, dead_letter(d)) == [DEAD_LETTERED]
    (letter,) = engine.receive(dlq)
    release(engine, dlq, requeue(letter))
    assert engine.counts(dlq) == (1, 0, 0)
    engine.clock.advance_ms(1)
    engine.run(flows.start_move(dlq))
    d = again(engine, q)
    assert (d.receive_count, d.dead_letter_source) == (1, None)
    release(engine, q, requeue(d))
    assert engine.run(flows.cancel(q, d.message_id))
    assert engine.counts(q) == engine.counts(dlq) == (0, 0, 0)


# Failed: it is tried again when the retry policy says so


@pytest.mark.parametrize(
    ("failures", "chance", "delay_ms"),
    [
        (1, 0, 0),
        (1, LATEST, 1000),
        (1, 500_000, 500),
        (2, LATEST, 2000),
        (4, 123_456, 987),
        (9, LATEST, 256_000),
        (10, LATEST, 300_000),
        (5000, LATEST, 300_000),
        (5000, 1, 0),
    ],
)
def test_the_delay_doubles_with_every_failure_up_to_a_cap(
    engine: Engine, name: str, failures: int, chance: int, delay_ms: int
) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    outcome = retry(d, chance=chance)
    assert outcome.cause
    late = dataclasses.replace(outcome, cause=dataclasses.replace(outcome.cause, failures=failures))
    assert release(engine, q, late) == [delay_ms]
    assert engine.counts(q) == ((0, 1, 0) if delay_ms else (1, 0, 0))
    if delay_ms:
        engine.clock.advance_ms(delay_ms - 1)
        assert engine.bodies(q) == []
        engine.clock.advance_ms(1)
    d = again(engine, q)
    assert (d.receive_count, d.failures) == (2, failures)


RULES = {
    "ValueError": RetryPolicy(2, 8),
    "shop.Busy": RetryPolicy(10, 1000),
    OSError: RetryPolicy(0.5, 0.5),
}


@pytest.mark.parametrize(
    ("kinds", "failures", "delay_ms"),
    [
        (["TypeError"], 1, 4000),
        (["TypeError"], 9, 100_000),
        (["ValueError"], 1, 2000),
        (["ValueError"], 3, 8000),
        (["ValueError"], 4, 8000),  # the cap of its own
        (["shop.Busy"], 9, 1_000_000),  # which may be longer
        (["UnicodeError", "ValueError", "Exception"], 1, 2000),
        (["json.JSONDecodeError", "builtins.ValueError", "ValueError"], 2, 4000),
        (["shop.Busy", "ValueError"], 1, 10_000),  # the first one found decides
        (["ValueError", "shop.Busy"], 1, 2000),
        (["TimeoutError", "builtins.OSError", "OSError"], 7, 500),
        (["OSError"], 1, 4000),  # a class is known by its full name
        (["shop.Busy2", "Busy", "xshop.Busy"], 1, 4000),
    ],
)
def test_exceptions_may_have_policies_of_their_own(
    engine: Engine, name: str, kinds: list[str], failures: int, delay_ms: int
) -> None:
    q = engine.queue(name, **retry_policy(4, 100, exceptions=RULES))
    outcome = retry(received(engine, q), *kinds)
    assert outcome.cause
    late = dataclasses.replace(outcome, cause=dataclasses.replace(outcome.cause, failures=failures))
    assert release(engine, q, late) == [delay_ms]


@pytest.mark.parametrize("wanted_ms", [0, 1, 7_000_000, 315_360_000_000])
def test_the_handler_may_say_when(engine: Engine, name: str, wanted_ms: int) -> None:
    q = engine.queue(
        name, **retry_policy(1, 2, exceptions={"ValueError": RetryPolicy(1, 1)}), MessageRetentionPeriod="3153600000"
    )
    assert release(engine, q, retry(received(engine, q), wanted_ms=wanted_ms)) == [wanted_ms]
    if wanted_ms:
        engine.clock.advance_ms(wanted_ms - 1)
        assert engine.bodies(q) == []
        engine.clock.advance_ms(1)
    assert engine.bodies(q) == ["a"]


def test_a_changed_policy_counts_from_the_next_failure_on(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    assert release(engine, q, retry(received(engine, q))) == [1000]
    engine.run(flows.set_attributes(q, retry_policy(7, 7), NATIVE))
    engine.clock.advance_ms(1000)
    d = again(engine, q)
    assert release(engine, q, retry(d)) == [7000]
    engine.run(flows.set_attributes(q, {"RetryPolicy": None}, NATIVE))
    assert release(engine, q, retry(d)) == [2000]  # the receive is still the last one: the later word counts


BODIES = ["text", "", "ü\x00\U0001f600" * 99, b"", b"\x00\xff\x93", [1, {"a": None}, [b"x"]], {"k": [1.5]}, None, 7]


@pytest.mark.parametrize("body", BODIES, ids=lambda b: repr(b)[:12])
def test_the_cause_stands_behind_the_record_and_is_replaced(engine: Engine, name: str, body: Any) -> None:
    q = engine.queue(name)
    attributes: dict[str, Any] = {"n": ("Number", "5"), "b": ("Binary", b"\x00")}
    d = received(engine, q, body, attributes=attributes, trace_header="trace", dedup_id="i")
    record = d.record
    for n in range(1, 5):
        assert d.cause is None if n == 1 else d.cause is not None
        outcome = retry(d, "E" * n * n, chance=0)
        assert release(engine, q, outcome) == [0]
        d = again(engine, q)
        assert d.cause == outcome.cause
        assert (d.failures, d.receive_count, d.unreported_receives) == (n, n + 1, 0)
        assert d.record[: d.size] == record
        assert msgpack.unpackb(d.trailer)[2] == "E" * n * n  # one cause, and no more
        assert type(d.body) is type(body)
        assert (d.body, d.attributes, d.trace_header) == (body, attributes, "trace")
        assert (d.group, d.dedup_id) == (group(q), "i")
    assert release(engine, q, retry(d, "short", chance=0)) == [0]
    assert again(engine, q).cause.type == "short"  # type: ignore[union-attr]


def test_a_failure_without_a_cause_leaves_the_record_alone(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    assert release(engine, q, Outcome(d, "retry")) == [0]
    d = again(engine, q)
    assert (d.body, d.cause) == ("a", None)
    release(engine, q, retry(d, "E", chance=0))
    assert release(engine, q, Outcome(again(engine, q), "retry")) == [0]
    d = again(engine, q)
    assert (d.body, d.cause.type) == ("a", "E")  # type: ignore[union-attr]


def test_an_exception_that_is_not_text_can_be_told(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    outcome = retry(received(engine, q), chance=0)
    assert outcome.cause
    odd = dataclasses.replace(outcome, cause=dataclasses.replace(outcome.cause, message="\ud800 \x00"))
    assert release(engine, q, odd) == [0]
    d = again(engine, q)
    assert (d.body, d.cause.message) == ("a", "\\ud800 \x00")  # type: ignore[union-attr]


def test_a_waiter_is_woken_for_what_becomes_due(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    due = ask(engine, q, "w1").wake_at_ms
    assert due == engine.clock.ms + 60_000
    assert release(engine, q, retry(d)) == [1000]
    assert engine.token(q.home)  # sooner than anybody guards
    assert ask(engine, q, "w1").wake_at_ms == engine.clock.ms + 1000
    assert ask(engine, q, "w2").look_at_ms == engine.clock.ms + 1300  # it looks after the owner
    engine.clock.advance_ms(1000)
    assert [d.body for d in ask(engine, q, "w1").messages] == ["a"]


def test_a_retry_later_than_what_is_guarded_wakes_nobody(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    engine.send(q, "b", group=group(q, "h"), delay_ms=500)
    assert ask(engine, q, "w1").wake_at_ms == engine.clock.ms + 500
    assert release(engine, q, retry(d)) == [1000]
    assert not engine.token(q.home)


def test_a_waiting_receive_is_served_when_a_failed_message_becomes_due(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    waiting = Receiver(engine, flows.receive_messages(q, NATIVE, 1, None, 100_000))
    waiting.until_it_rests()
    release(engine, q, retry(d, wanted_ms=7000))
    assert engine.redis.lpop(q.home.wakeups)
    waiting.wake(100_000)
    assert waiting.live() == 7000
    assert [d.body for d in waiting.result] == ["a"]


def test_some_back_and_some_failed_at_once(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for body in ("a", "b", "c"):
        engine.send(q, body, group=group(q, body))
    a, b, c = sorted(engine.receive(q, 3, 600_000), key=lambda d: str(d.body))
    for waiter in ("w1", "w2"):
        assert ask(engine, q, waiter).messages == []
    assert release(engine, q, retry(a), requeue(b), retry(c, wanted_ms=500)) == [1000, 0, 500]
    assert engine.token(q.home)
    engine.redis.delete(q.home.wakeups)  # w2 wakes
    (d,) = ask(engine, q, "w2", str(engine.clock.ms + 600_000), 3_600_000).messages
    assert d.body == "b"
    assert engine.token(q.home)
    assert ask(engine, q, "w3").wake_at_ms == engine.clock.ms + 500


# The order of a FIFO group


def test_a_group_stands_still_while_a_failed_message_waits(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    engine.send(q, "a", "b", group="g")
    engine.send(q, "c", group="h")
    (a,) = engine.receive(q, 1)
    assert release(engine, q, retry(a)) == [1000]
    assert engine.bodies(q) == ["c"]
    assert engine.counts(q) == (1, 2, 0)
    engine.clock.advance_ms(1000)
    got = engine.receive(q)
    assert [(d.body, d.receive_count) for d in got] == [("a", 2), ("b", 1)]


def test_later_messages_of_the_group_may_be_in_flight_meanwhile(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    engine.send(q, "a", "b", "c", "d", group="g")
    a, b, c = engine.receive(q, 3, 600_000)
    assert release(engine, q, retry(a), retry(c, chance=0)) == [1000, 0]
    assert engine.bodies(q) == []
    assert engine.delete(q, b) == [None]
    assert engine.bodies(q) == []
    assert engine.counts(q) == (2, 1, 0)
    engine.clock.advance_ms(1000)
    assert [(d.body, d.receive_count) for d in engine.receive(q)] == [("a", 2), ("c", 2), ("d", 1)]


def test_a_failed_message_behind_the_head_does_not_free_the_group(engine: Engine) -> None:
    q = engine.queue("q.fifo", "q.fifo", 5)
    engine.send(q, "a", "b", "c", group="g")
    a, b, c = engine.receive(q, 3, 600_000)
    assert release(engine, q, retry(b, chance=0), requeue(c)) == [0, 0]
    assert engine.bodies(q) == []
    assert release(engine, q, retry(a, chance=0)) == [0]
    assert [(d.body, d.receive_count) for d in engine.receive(q)] == [("a", 2), ("b", 2), ("c", 1)]


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("how", ["requeue", "retry now", "retry", "dead-letter"])
def test_a_word_after_the_visibility_timeout_counts_while_nobody_received_it(
    engine: Engine, name: str, dead: str, seen: bool, how: str
) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 5)
    engine.send(q, "a", "b", group=group(q))
    a, b = engine.receive(q, 2, 60_000)
    engine.clock.advance_ms(60_000)
    if seen:
        engine.counts(q)  # ends what is over
    outcome = {
        "requeue": requeue(a),
        "retry now": retry(a, chance=0),
        "retry": retry(a),
        "dead-letter": dead_letter(a),
    }[how]
    assert release(engine, q, outcome) == [{"retry": 1000, "dead-letter": DEAD_LETTERED}.get(how, 0)]
    if how == "dead-letter":
        assert (engine.counts(q), engine.counts(dlq)) == ((1, 0, 0), (1, 0, 0))
        assert engine.bodies(q) == ["b"]
        assert release(engine, q, dead_letter(a)) == [GONE]
        return
    if how == "retry":
        assert engine.counts(q) == (1, 1, 0)
        assert engine.bodies(q) == ([] if q.is_fifo else ["b"])
        engine.clock.advance_ms(1000)
    found = {d.body: d for d in engine.receive(q)}
    assert found["a"].receive_count == (1 if how == "requeue" else 2)
    assert found["a"].failures == (0 if how == "requeue" else 1)
    if how != "requeue":
        assert release(engine, q, retry(a), requeue(b)) == [LOST, LOST]


def test_a_word_after_the_last_message_of_a_group_lapsed_leaves_no_group_behind(engine: Engine, dead: str) -> None:
    engine.queue("dead.fifo")
    q = engine.queue("q.fifo", "dead.fifo", 5)
    d = received(engine, q)
    engine.clock.advance_ms(60_000)
    assert engine.counts(q) == (1, 0, 0)
    assert release(engine, q, dead_letter(d)) == [DEAD_LETTERED]
    assert engine.redis.zcard(q.home.base + "available") == 0
    assert engine.counts(q) == (0, 0, 0)


def test_a_message_that_was_given_another_time_meanwhile_is_not_theirs(engine: Engine, name: str, dead: str) -> None:
    engine.queue(dead)
    q = engine.queue(name, dead, 5)
    d = received(engine, q)
    engine.clock.advance_ms(60_000)
    assert engine.run(flows.reschedule(q, d.message_id, engine.clock.ms + 5000, group=group(q) or ""))
    for outcome in (requeue(d), retry(d), dead_letter(d)):
        assert release(engine, q, outcome) == [GONE]
    assert engine.counts(q) == (0, 0, 1)
    engine.clock.advance_ms(5000)
    assert again(engine, q).receive_count == 2
