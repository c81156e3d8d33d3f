"""Standard queues: what the model does not see."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs._core import envelope, flows
from rqsqs._core.keys import QueueRef
from rqsqs.errors import InvalidParameterValue, MessageNotAvailable
from rqsqs.limits import NATIVE
from rqsqs.models import FailedEntry
from tests.lua.conftest import Engine


def store_size(engine: Engine, q: object) -> int:
    return engine.redis.hlen(q.home.base + "store")  # type: ignore[attr-defined, return-value]


def test_where_a_message_is_on_its_way(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, "a")
    base = "{q/0}:q:"
    own = [f"{base}meta", f"{base}wakeups"]
    assert engine.names("{q/0}*") == sorted([*own, f"{base}ready"])
    (d,) = engine.receive(q)
    assert engine.names("{q/0}*") == sorted([*own, f"{base}inflight", f"{base}stats", f"{base}store"])
    engine.delete(q, d)
    assert engine.names("{q/0}*") == sorted([*own, f"{base}stats"])


def test_the_receive_count_goes_on_past_999(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, "a")
    first_ms = engine.clock.ms
    handles = []
    for expected in range(1, 2003):
        (d,) = engine.receive(q, visibility_ms=0)
        assert d.receive_count == expected
        handles.append(d)
    assert d.first_received_at_ms == first_ms
    assert store_size(engine, q) == 1
    assert engine.delete(q, d) == [None]
    assert engine.counts(q) == (0, 0, 0)
    assert store_size(engine, q) == 0


def test_the_receive_count_past_999_decides_about_dead_letters(engine: Engine) -> None:
    dlq = engine.queue("dead")
    q = engine.queue("q", "dead", 1000)
    engine.send(q, "a")
    for _ in range(1000):
        assert engine.bodies(q, visibility_ms=0) == ["a"]
    assert engine.bodies(q) == []
    assert engine.receive(dlq)[0].receive_count == 1001


def test_cancelled_messages_leave_tombstones_that_nobody_sees(engine: Engine) -> None:
    q = engine.queue("q")
    sent = engine.send(q, *range(100))
    for s in sent[:99]:
        assert engine.run(flows.cancel(q, s.message_id))
    assert engine.counts(q) == (1, 0, 0)
    assert engine.bodies(q, 1) == [99]
    assert engine.counts(q) == (0, 1, 0)
    assert not engine.run(flows.cancel(q, sent[0].message_id))
    with pytest.raises(MessageNotAvailable):
        engine.run(flows.cancel(q, sent[99].message_id))


def test_tombstones_in_groups_are_not_counted(engine: Engine) -> None:
    q = engine.queue("q")
    sent = engine.send(q, *range(10), group="g")
    for s in sent[:9]:
        assert engine.run(flows.cancel(q, s.message_id, group="g"))
    assert engine.counts(q) == (1, 0, 0)
    assert engine.bodies(q) == [9]
    assert engine.counts(q) == (0, 1, 0)


def test_a_message_of_another_queue_cannot_be_cancelled(engine: Engine) -> None:
    q, other = engine.queue("q"), engine.queue("other")
    (sent,) = engine.send(q, "a")
    with pytest.raises(InvalidParameterValue):
        engine.run(flows.cancel(other, sent.message_id))


def test_cancelling_finds_grouped_messages_in_every_state(engine: Engine) -> None:
    q = engine.queue("q")
    sent = engine.send(q, "in flight", "again", group="g")
    sent += engine.send(q, "delayed", group="g", delay_ms=5)
    flying, again = engine.receive(q)
    engine.run(flows.change_visibility(q, [(again.receipt_handle, 0)], NATIVE))
    with pytest.raises(MessageNotAvailable):
        engine.run(flows.cancel(q, sent[0].message_id))
    assert engine.run(flows.cancel(q, sent[1].message_id))
    assert engine.run(flows.cancel(q, sent[2].message_id))
    assert engine.counts(q) == (0, 1, 0)
    assert engine.delete(q, flying) == [None]


def test_cancelling_finds_dead_letters(engine: Engine) -> None:
    dlq = engine.queue("dead")
    q = engine.queue("q", "dead")
    engine.send(dlq, "own")
    sent = engine.send(q, *range(20))
    handles = engine.receive(q, 20, 1000)
    engine.run(flows.change_visibility(q, [(handles[i].receipt_handle, 0) for i in range(10, 20)], NATIVE))
    assert engine.bodies(q) == []
    engine.clock.advance_ms(1000)
    assert engine.bodies(q) == []
    assert engine.counts(dlq) == (21, 0, 0)
    for s in sent:
        assert engine.run(flows.cancel(dlq, s.message_id)), "its list is not in the order of ids"
    assert engine.bodies(dlq, 1000) == ["own"]


def test_rescheduling_keeps_the_receive_count(engine: Engine) -> None:
    q = engine.queue("q")
    (sent,) = engine.send(q, "a")
    engine.receive(q, visibility_ms=0)
    engine.receive(q, visibility_ms=0)
    assert engine.run(flows.reschedule(q, sent.message_id, engine.clock.ms + 1000))
    assert engine.run(flows.reschedule(q, sent.message_id, engine.clock.ms + 2000))
    assert engine.counts(q) == (0, 0, 1)
    engine.clock.advance_ms(2000)
    (d,) = engine.receive(q)
    assert d.receive_count == 3
    assert d.first_received_at_ms == engine.clock.ms - 2000
    assert store_size(engine, q) == 1
    assert engine.delete(q, d) == [None]
    assert store_size(engine, q) == 0


@pytest.mark.parametrize("us", [0, 1, 999])
def test_what_is_rescheduled_is_not_visible_before_its_time(engine: Engine, us: int) -> None:
    q = engine.queue("q")
    engine.clock.us += us
    (sent,) = engine.send(q, "a")
    assert engine.run(flows.reschedule(q, sent.message_id, "+1000"))
    engine.clock.us += 999_999
    assert engine.bodies(q) == []
    engine.clock.us += 1 + (1000 - us) % 1000
    assert engine.bodies(q) == ["a"]


def test_retention_is_enforced_in_bounded_steps(engine: Engine) -> None:
    q = engine.queue("q", MessageRetentionPeriod="60")
    for _ in range(3):
        engine.send(q, *range(1000))
    engine.clock.advance_ms(60_001)
    engine.send(q, "fresh")
    assert engine.redis.llen(q.home.base + "ready") == 6002
    assert polled(engine, q) == ["fresh"]
    assert engine.redis.llen(q.home.base + "ready") == 0
    assert engine.counts(q) == (0, 1, 0)


def polled(engine: Engine, q: QueueRef) -> list[Any]:
    """What short polls find; each one drops only a part of what lies in front."""
    return next(found for _ in range(100) if (found := engine.bodies(q)))


def test_counting_drops_what_is_too_old_in_bounded_steps(engine: Engine) -> None:
    q = engine.queue("q", MessageRetentionPeriod="60")
    engine.send(q, *range(1000))
    engine.send(q, *range(700))
    engine.receive(q, 300, 3_600_000)
    engine.clock.advance_ms(60_001)
    engine.send(q, "fresh")
    assert engine.counts(q) == (1, 0, 0)
    assert store_size(engine, q) == 0


def test_a_retention_of_exactly_its_period_still_counts(engine: Engine) -> None:
    q = engine.queue("q", MessageRetentionPeriod="60")
    engine.send(q, "a")
    engine.clock.advance_ms(60_000)
    assert engine.bodies(q, visibility_ms=0) == ["a"]
    engine.clock.advance_ms(1)
    assert engine.bodies(q) == []


def test_a_clock_that_steps_back_loses_nothing(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, *["before"] * 5)
    engine.clock.advance_ms(-3_600_000)
    sent = engine.send(q, "after", "cancelled")
    assert engine.run(flows.cancel(q, sent[1].message_id)), "the list is not in the order of ids"
    got = engine.receive(q, visibility_ms=1000)
    assert [d.body for d in got] == ["before"] * 5 + ["after"]
    engine.clock.advance_ms(-3_600_000)
    assert engine.counts(q) == (0, 6, 0)
    engine.clock.advance_ms(2 * 3_600_000)
    assert sorted(engine.bodies(q)) == ["after"] + ["before"] * 5


def test_a_fair_queue_serves_groups_in_turn(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, *[("noisy", i) for i in range(100)], group="noisy")
    engine.send(q, ("quiet", 0), ("quiet", 1), group="quiet")
    engine.send(q, ("none", 0))
    first = [tuple(b) for b in engine.bodies(q, 12)]
    assert {("quiet", 0), ("quiet", 1), ("none", 0)} <= set(first)
    rest = [tuple(b) for b in engine.bodies(q, 1000)]
    assert len(set(first + rest)) == 103
    assert [b[1] for b in first + rest if b[0] == "noisy"] == list(range(100))
    assert engine.redis.zcard(q.home.base + "fair_ring") == 0


def test_a_group_that_joins_late_does_not_wait_and_does_not_overtake_all(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, *range(1000), group="old")
    for _ in range(10):
        engine.receive(q, 10, 1_000_000)
    engine.send(q, *["new"] * 100, group="new")
    got = engine.bodies(q, 40, 1_000_000)
    assert 15 <= got.count("new") <= 25


def test_a_long_list_that_is_out_of_order_is_searched(engine: Engine) -> None:
    dlq = engine.queue("dead")
    q = engine.queue("q", "dead")
    sent = engine.send(q, *range(700))
    handles = engine.receive(q, 700, 1000)
    engine.run(flows.change_visibility(q, [(d.receipt_handle, 0) for d in handles[350:]], NATIVE))
    assert engine.bodies(q, 1000) == []
    engine.clock.advance_ms(1000)
    assert engine.bodies(q, 1000) == []
    engine.delete(dlq, *engine.receive(dlq, 3))
    assert [engine.run(flows.cancel(dlq, s.message_id)) for s in (sent[0], sent[699])] == [True, True]
    assert not engine.run(flows.cancel(dlq, sent[0].message_id))
    assert not engine.run(flows.cancel(dlq, sent[350].message_id))


@pytest.mark.parametrize("delay_ms", [None, 100])
def test_messages_in_front_of_the_first_grouped_one_of_a_batch_are_served(engine: Engine, delay_ms: int | None) -> None:
    q = engine.queue("q")
    grouped = envelope.outgoing("b", group="g", delay_ms=delay_ms)
    batch = [envelope.outgoing("a"), grouped, envelope.outgoing("c")]
    engine.run(flows.send_messages(q, batch, engine.limits))
    engine.clock.advance_ms(100)
    assert sorted(engine.bodies(q)) == ["a", "b", "c"]


def test_the_first_grouped_messages_of_a_queue_may_become_due_while_their_group_is_paused(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, "a", group="g", delay_ms=1000)
    engine.send(q, "plain")
    engine.run(flows.pause(q, resume=False, group="g"))
    engine.clock.advance_ms(1000)
    assert engine.bodies(q) == ["plain"]
    assert engine.bodies(q) == []
    engine.run(flows.pause(q, resume=True, group="g"))
    assert engine.bodies(q) == ["a"]


def test_a_message_is_found_behind_the_tombstone_it_left_itself(engine: Engine) -> None:
    q = engine.queue("q")
    (sent,) = engine.send(q, "a", group="g")
    engine.run(flows.pause(q, resume=False, group="g"))
    for _ in range(3):
        assert engine.run(flows.reschedule(q, sent.message_id, engine.clock.ms + 1_000_000, group="g"))
        engine.clock.advance_ms(1_000_000)
        assert engine.bodies(q) == []  # put back into its paused group
    assert engine.run(flows.cancel(q, sent.message_id))
    assert engine.counts(q) == (0, 0, 0)


def test_receives_and_sends_read_one_setting_while_nothing_is_out_of_the_ordinary(engine: Engine) -> None:
    q = engine.queue("q")

    def fields() -> list[bytes | None]:
        return engine.redis.hmget(q.home.base + "meta", "quick", "plain")  # type: ignore[return-value]

    def configure(**attributes: str | None) -> None:
        engine.run(flows.set_attributes(q, attributes, NATIVE))

    usual = [b"        30    345600", b"1048576"]
    assert fields() == usual
    configure(VisibilityTimeout="7", MessageRetentionPeriod="1209600", MaximumMessageSize="999", Metrics="full")
    assert fields() == [b"         7   1209600", b"+ 999"]
    configure(VisibilityTimeout="30", MessageRetentionPeriod="345600", MaximumMessageSize="1048576", Metrics=None)
    assert fields() == usual
    engine.run(flows.pause(q, resume=False))
    assert fields() == [None, b"1048576"]
    engine.run(flows.pause(q, resume=True))
    assert fields() == usual
    engine.send(q, "later", delay_ms=1000)
    assert fields() == [None, b"1048576"]
    engine.clock.advance_ms(1001)
    assert engine.bodies(q) == ["later"]
    assert engine.bodies(q) == []
    assert fields() == usual
    configure(DelaySeconds="5")
    assert fields() == [usual[0], None]
    configure(DelaySeconds="0", Timeline="3600")
    assert fields() == [None, None]
    configure(Timeline=None)
    assert fields() == usual
    engine.send(q, "first", group="g")
    assert fields() == [b"        30    345600f", None]
    engine.run(flows.pause(q, resume=False, group="g"))
    assert fields() == [None, None]
    engine.run(flows.pause(q, resume=True, group="g"))
    assert fields() == [b"        30    345600f", None]
    engine.send(q, "x" * 5000)
    assert fields() == [None, None]


@pytest.mark.parametrize("size", [900, 1100, 5000])
@pytest.mark.parametrize("limit", ["850", "1050", "4000"])
@pytest.mark.parametrize("metrics", [None, "full"])
def test_a_message_that_is_too_large_is_refused(engine: Engine, size: int, limit: str, metrics: str | None) -> None:
    q = engine.queue("q", MaximumMessageSize=limit)
    if metrics:
        engine.run(flows.set_attributes(q, {"Metrics": metrics}, NATIVE))
    engine.send(q, "settings are looked at now, and not again")
    (sent,) = engine.send(q, "x" * size)
    assert isinstance(sent, FailedEntry) == (size > int(limit))
    assert len(engine.bodies(q)) == 2 - (size > int(limit))
