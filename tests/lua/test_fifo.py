"""FIFO queues: the rules as sqs-behaviour words them, and what the model does not see."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from rqsqs._core import envelope, flows
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import Outcome
from rqsqs.errors import DeduplicationIdRequired, MessageNotAvailable, QueueDamaged, ReceiptHandleExpired
from rqsqs.limits import AWS, NATIVE
from tests.lua.conftest import Engine


@pytest.fixture
def q(engine: Engine) -> QueueRef:
    return engine.queue("q.fifo")


def change(engine: Engine, q: QueueRef, delivery: Any, ms: int) -> Any:
    return engine.run(flows.change_visibility(q, [(delivery.receipt_handle, ms)], NATIVE))[0]


def send(engine: Engine, q: QueueRef, *names: str) -> list[Any]:
    """Names like "g1-m1", sent one by one."""
    sent = []
    for text in names:
        engine.clock.us += 10
        sent += engine.send(q, text, group=text.split("-")[0])
    return sent


def test_one_receive_takes_one_group_first(engine: Engine, q: QueueRef) -> None:
    send(engine, q, "g1-m1", "g2-m1", "g1-m2", "g1-m3")
    assert engine.bodies(q) == ["g1-m1", "g1-m2", "g1-m3", "g2-m1"]


@pytest.mark.parametrize(
    ("extended", "visible"),
    [(0, []), (1, ["g1-m1"]), (2, ["g1-m1", "g1-m2"])],
)
def test_a_group_is_delivered_up_to_the_first_that_is_still_invisible(
    engine: Engine, q: QueueRef, extended: int, visible: list[str]
) -> None:
    send(engine, q, "g1-m1", "g1-m2", "g1-m3")
    got = engine.receive(q, visibility_ms=1000)
    change(engine, q, got[extended], 60_000)
    engine.clock.advance_ms(1001)
    assert engine.bodies(q) == visible


def test_ending_the_first_ones_timeout_queues_its_group_behind_others(engine: Engine, q: QueueRef) -> None:
    send(engine, q, "g1-m1", "g1-m2", "g2-m1")
    got = engine.receive(q, 2)
    engine.clock.advance_ms(1)
    change(engine, q, got[0], 0)
    assert engine.bodies(q) == ["g2-m1", "g1-m1"]


def test_visible_and_in_flight_are_counted_as_sqs_does(engine: Engine, q: QueueRef) -> None:
    send(engine, q, "g1-1", "g1-2", "g2-1", "g2-2", "g3-1", "g3-2")
    engine.receive(q, 1)
    engine.receive(q, 1)
    assert engine.counts(q) == (4, 2, 0)


def test_deleting_some_keeps_the_lock_and_deleting_all_ends_it(engine: Engine, q: QueueRef) -> None:
    send(engine, q, "g1-m1", "g1-m2", "g1-m3")
    first, second = engine.receive(q, 2)
    engine.delete(q, second)
    assert engine.bodies(q) == []
    engine.delete(q, first)
    assert engine.bodies(q) == ["g1-m3"]


def test_a_late_delete_of_the_head_does_not_hand_out_what_is_in_flight(engine: Engine, q: QueueRef) -> None:
    send(engine, q, "g1-m1", "g1-m2")
    first, second = engine.receive(q, 2, 1000)
    change(engine, q, second, 60_000)
    engine.clock.advance_ms(1001)
    engine.counts(q)  # the first one is visible again
    assert engine.delete(q, first) == [None]
    assert engine.bodies(q, 1) == []
    assert engine.delete(q, second) == [None]


def test_a_receipt_of_an_earlier_receive_never_works(engine: Engine, q: QueueRef) -> None:
    send(engine, q, "g1-m1")
    (old,) = engine.receive(q, visibility_ms=0)
    (new,) = engine.receive(q)
    for limits in (AWS, NATIVE):
        (failure,) = engine.run(flows.delete_messages(q, [old.receipt_handle], limits))
        assert isinstance(failure.error, ReceiptHandleExpired)
    assert isinstance(change(engine, q, old, 5).error, ReceiptHandleExpired)
    assert engine.delete(q, new) == [None]
    assert isinstance(change(engine, q, new, 5).error, MessageNotAvailable)
    assert engine.delete(q, new) == [None]


def test_a_late_receipt_deletes_what_was_given_another_time(engine: Engine, q: QueueRef) -> None:
    (sent,) = send(engine, q, "g1-m1")
    (d,) = engine.receive(q, visibility_ms=0)
    engine.run(flows.reschedule(q, sent.message_id, engine.clock.ms + 5000))
    assert engine.delete(q, d) == [None]
    assert engine.counts(q) == (0, 0, 0)
    engine.clock.advance_ms(5000)
    assert engine.bodies(q) == []


def test_a_receive_count_past_999_keeps_receipts_apart(engine: Engine, q: QueueRef) -> None:
    send(engine, q, "g1-m1")
    for _ in range(1005):
        (d,) = engine.receive(q, visibility_ms=0)
    assert d.receive_count == 1005
    (d,) = engine.receive(q)
    assert d.receive_count == 1006
    assert engine.run(flows.delete_messages(q, [d.receipt_handle], AWS)) == [None]
    assert engine.counts(q) == (0, 0, 0)


def test_dead_letters_of_a_fifo_queue_can_be_deleted_and_extended(engine: Engine) -> None:
    dlq = engine.queue("dead.fifo")
    q = engine.queue("q.fifo", "dead.fifo", 2)
    send(engine, q, "g-1", "g-2")
    for _ in range(2):
        engine.receive(q, visibility_ms=0)
    assert engine.bodies(q) == []
    first, second = engine.receive(dlq)
    assert (first.receive_count, second.receive_count) == (3, 3)
    assert change(engine, dlq, first, 60_000) is None
    assert engine.run(flows.delete_messages(dlq, [first.receipt_handle, second.receipt_handle], AWS)) == [None, None]
    assert engine.counts(dlq) == (0, 0, 0)


def test_a_late_delete_of_what_became_a_dead_letter_is_refused(engine: Engine) -> None:
    dlq = engine.queue("dead.fifo")
    q = engine.queue("q.fifo", "dead.fifo")
    send(engine, q, "g-1")
    (d,) = engine.receive(q, visibility_ms=0)
    assert engine.bodies(q) == []
    for limits in (AWS, NATIVE):
        (failure,) = engine.run(flows.delete_messages(q, [d.receipt_handle], limits))
        assert isinstance(failure.error, ReceiptHandleExpired)
    (letter,) = engine.receive(dlq, visibility_ms=0)
    engine.run(flows.start_move(dlq, None, None))
    (failure,) = engine.delete(dlq, letter)
    assert isinstance(failure.error, ReceiptHandleExpired)
    assert engine.bodies(q) == ["g-1"]


def test_a_receive_that_was_given_back_has_no_say_any_more(engine: Engine, q: QueueRef) -> None:
    send(engine, q, "g-1")
    (old,) = engine.receive(q)
    assert engine.run(flows.release(q, [Outcome(old, "requeue")])) == [0]
    for _ in range(2):
        for limits in (AWS, NATIVE):
            (failure,) = engine.run(flows.delete_messages(q, [old.receipt_handle], limits))
            assert isinstance(failure.error, ReceiptHandleExpired)
        assert isinstance(change(engine, q, old, 5).error, ReceiptHandleExpired)
        for d in engine.receive(q):
            assert (d.receive_count, d.first_received_at_ms) == (1, engine.clock.ms)
    assert engine.counts(q) == (0, 1, 0)


def test_sequence_numbers_grow_while_the_clock_steps_back(engine: Engine, q: QueueRef) -> None:
    numbers = [send(engine, q, "g-1")[0].sequence_number]
    for _ in range(3):
        engine.clock.advance_ms(-60_000)
        numbers += [s.sequence_number for s in send(engine, q, "g-2", "h-1")]
    assert numbers == sorted(set(numbers))
    assert engine.bodies(q, 100)[:4] == ["g-1", "g-2", "g-2", "g-2"]


def test_a_purge_forgets_ids_of_stamps_that_ran_ahead(engine: Engine, q: QueueRef) -> None:
    engine.send(q, *range(50), group="g")
    engine.send(q, "a", group="g", dedup_id="d")
    engine.run(flows.purge_queue(q, NATIVE))
    assert not engine.send(q, "b", group="g", dedup_id="d")[0].is_duplicate


def test_ids_count_after_a_purge_while_the_clock_steps_back(engine: Engine, q: QueueRef) -> None:
    engine.run(flows.purge_queue(q, NATIVE))
    engine.clock.advance_ms(-60_000)
    first = engine.send(q, "a", group="g", dedup_id="d")
    again = engine.send(q, "b", group="g", dedup_id="d")
    assert [s.is_duplicate for s in first + again] == [False, True]
    assert engine.bodies(q, 10) == ["a"]


def test_deduplication_is_required_by_the_strict_limits(engine: Engine, q: QueueRef) -> None:
    outgoing = [envelope.outgoing("a", group="g", dedup_id="d"), envelope.outgoing("b", group="g", content_hash="h")]
    with pytest.raises(DeduplicationIdRequired):
        engine.run(flows.send_messages(q, outgoing, AWS))
    assert engine.counts(q) == (0, 0, 0)
    engine.run(flows.set_attributes(q, {"ContentBasedDeduplication": "true"}, AWS))
    engine.run(flows.send_messages(q, outgoing, AWS))
    assert [s.is_duplicate for s in engine.run(flows.send_messages(q, outgoing, AWS))] == [True, True]
    assert engine.counts(q) == (2, 0, 0)


@pytest.mark.parametrize("pause", ["queue", "group"])
def test_sending_to_what_is_paused_waits(engine: Engine, q: QueueRef, pause: str) -> None:
    group = None if pause == "queue" else "g"
    engine.run(flows.pause(q, resume=False, group=group))
    engine.send(q, "a", "b", group="g")
    assert engine.bodies(q) == []
    assert engine.counts(q) == (2, 0, 0)
    engine.run(flows.pause(q, resume=True, group=group))
    assert engine.bodies(q) == ["a", "b"]


def test_the_queue_delay_acts_on_what_is_delayed(engine: Engine) -> None:
    q = engine.queue("q.fifo", DelaySeconds="60")
    engine.send(q, "a", group="g")
    assert engine.counts(q) == (0, 0, 1)
    engine.run(flows.set_attributes(q, {"DelaySeconds": "10"}, NATIVE))
    engine.clock.advance_ms(9_999)
    assert engine.bodies(q) == []
    engine.clock.advance_ms(1)
    assert engine.bodies(q) == ["a"]


def test_a_delayed_message_holds_its_group_back(engine: Engine, q: QueueRef) -> None:
    engine.send(q, "a", group="g", delay_ms=1000)
    engine.send(q, "b", group="g")
    engine.send(q, "c", group="h")
    assert engine.bodies(q) == ["c"]
    engine.clock.advance_ms(1000)
    assert engine.bodies(q) == ["a", "b"]


def test_retention_of_a_group_is_enforced_in_bounded_steps(engine: Engine) -> None:
    q = engine.queue("q.fifo", MessageRetentionPeriod="60")
    for _ in range(2):
        engine.send(q, *range(1000), group="g")
    engine.clock.advance_ms(61_000)
    engine.send(q, "fresh", group="g")
    assert next(found for _ in range(100) if (found := engine.bodies(q))) == ["fresh"]
    assert engine.counts(q) == (0, 1, 0)


def test_many_groups_whose_time_is_over_all_come_back(engine: Engine, q: QueueRef) -> None:
    for i in range(300):
        engine.send(q, i, group=f"g{i}")
    assert len(engine.receive(q, 1000, 1000)) == 300
    engine.clock.advance_ms(1000)
    assert sorted(engine.bodies(q, 1000) + engine.bodies(q, 1000) + engine.bodies(q, 1000)) == list(range(300))


def test_an_attempt_id_gives_the_same_receipts(engine: Engine, q: QueueRef) -> None:
    send(engine, q, "g-1", "h-1")
    first = engine.receive(q, 10, 5000, attempt_id="x")
    engine.clock.advance_ms(4000)
    again = engine.receive(q, 10, 5000, attempt_id="x")
    assert [d.receipt_handle for d in again] == [d.receipt_handle for d in first]
    assert [d.receive_count for d in again] == [1, 1]
    engine.clock.advance_ms(4000)
    assert engine.receive(q, 10, attempt_id="y") == []
    engine.delete(q, first[0])
    assert engine.receive(q, 10, attempt_id="x") == []


@pytest.mark.parametrize("how", ["delete", "delete and receive", "delete at once"])
def test_a_group_with_a_backlog_lets_others_have_their_turn(engine: Engine, q: QueueRef, how: str) -> None:
    engine.send(q, *range(50), group="busy")
    engine.clock.advance_ms(1000)
    engine.send(q, "x", group="quiet")
    engine.clock.advance_ms(1)
    got = engine.receive(q, 1, delete=how == "delete at once")
    for _ in range(2):
        engine.clock.advance_ms(1000)
        if how == "delete and receive":
            again, _failures = engine.run(flows.delete_and_receive(q, NATIVE, [got[-1].receipt_handle], 1, None, 0))
            got += again
        else:
            engine.delete(q, got[-1])
            got += engine.receive(q, 1, delete=how == "delete at once")
    assert [d.body for d in got] == [0, "x", 1]


def test_an_attempt_gets_its_messages_of_many_groups_again(engine: Engine, q: QueueRef) -> None:
    for i in range(5):
        engine.send(q, *range(10 * i, 10 * i + 4), group=f"g{i}")
    first = engine.receive(q, 18, 5000, attempt_id="x")
    assert len(first) == 18
    again = engine.receive(q, 18, 5000, attempt_id="x")
    assert [(d.body, d.receipt_handle) for d in again] == [(d.body, d.receipt_handle) for d in first]


def test_in_flight_at_the_limit_nothing_is_handed_out_and_nothing_raised(engine: Engine, q: QueueRef) -> None:
    import dataclasses

    limits = dataclasses.replace(NATIVE, in_flight=2)
    send(engine, q, "a-1", "b-1", "c-1")
    got = engine.run(flows.receive_messages(q, limits, 2))
    assert len(got) == 2
    assert engine.run(flows.receive_messages(q, limits, 2)) == []
    engine.delete(q, got[0])
    assert len(engine.run(flows.receive_messages(q, limits, 2))) == 1


@pytest.mark.parametrize("step", [1, -1, 3, 7])
def test_a_batch_is_deleted_in_any_order_and_the_rest_stays_in_order(engine: Engine, q: QueueRef, step: int) -> None:
    engine.send(q, *range(40), group="g")
    got = engine.receive(q, 30)
    chosen = got[::step] if step < 7 else [got[i * step % 30] for i in range(20)]
    assert engine.delete(q, *chosen) == [None] * len(chosen)
    engine.clock.advance_ms(30_000)
    gone = {d.body for d in chosen}
    assert engine.bodies(q, 100) == [i for i in range(40) if i not in gone]
    assert engine.counts(q) == (0, 40 - len(gone), 0)


@pytest.mark.parametrize("due_in_ms", [-5, 1000, 100_000])
def test_a_batch_deletes_what_was_given_another_time(engine: Engine, q: QueueRef, due_in_ms: int) -> None:
    sent = send(engine, q, *[f"g-{i}" for i in range(6)])
    got = engine.receive(q, 5, 0)
    for i in (1, 3):
        engine.run(flows.reschedule(q, sent[i].message_id, engine.clock.ms + due_in_ms))
    engine.clock.advance_ms(2000)
    assert engine.delete(q, *reversed(got)) == [None] * 5
    engine.clock.advance_ms(100_000)
    assert engine.bodies(q) == ["g-5"]
    assert engine.counts(q) == (0, 1, 0)


def test_a_batch_deleted_in_reverse_takes_as_few_calls_as_in_order(engine: Engine, q: QueueRef) -> None:
    def calls() -> int:
        stats: dict[str, Any] = engine.redis.info("commandstats")  # type: ignore[assignment]
        return sum(s["calls"] for name, s in stats.items() if name not in ("cmdstat_info", "cmdstat_evalsha"))

    took = []
    for step in (1, 1, -1):  # the first call may have to load the script
        engine.send(q, *range(300), group="g")
        got = engine.receive(q, 300)[100:]
        before = calls()
        engine.delete(q, *got[::step])
        took.append(calls() - before)
        engine.run(flows.purge_queue(q, NATIVE))
    assert took[1] == took[2]


@pytest.mark.parametrize("us", [0, 1, 999])
@pytest.mark.parametrize("how", ["timeout", "change", "delay", "queue delay", "retry", "attempt", "reschedule"])
def test_nothing_is_visible_before_its_time(engine: Engine, how: str, us: int) -> None:
    q = engine.queue("q.fifo", VisibilityTimeout="1", DelaySeconds="1" if how == "queue delay" else "0")
    engine.clock.us += us
    (sent,) = engine.send(q, "a", group="g", **({"delay_ms": 1000} if how == "delay" else {}))
    if how == "reschedule":
        assert engine.run(flows.reschedule(q, sent.message_id, "+1000"))
    elif "delay" not in how:
        (d,) = engine.receive(q, visibility_ms=1000 if how == "timeout" else 60_000, attempt_id="x")
        if how == "change":
            assert change(engine, q, d, 1000) is None
        elif how == "retry":
            assert engine.run(flows.release(q, [Outcome(d, "retry", wanted_ms=1000)])) == [1000]
        elif how == "attempt":
            assert len(engine.receive(q, visibility_ms=1000, attempt_id="x")) == 1
    engine.clock.us += 999_999
    assert engine.bodies(q) == []
    engine.clock.us += 1 + (1000 - us) % 1000
    assert engine.bodies(q) == ["a"]


def test_a_timeout_of_nothing_is_over_at_once(engine: Engine, q: QueueRef) -> None:
    engine.clock.us += 999
    engine.send(q, "a", group="g", delay_ms=0)
    (d,) = engine.receive(q, visibility_ms=0)
    (d,) = engine.receive(q)
    assert change(engine, q, d, 0) is None
    assert engine.bodies(q) == ["a"]


@pytest.mark.parametrize("where", ["visible", "came back", "in flight", "partly in flight", "queue delay", "paused"])
def test_what_is_over_its_retention_is_not_counted(engine: Engine, where: str) -> None:
    q = engine.queue("q.fifo", MessageRetentionPeriod="60", DelaySeconds="900" if where == "queue delay" else "0")
    engine.send(q, *range(5), group="g")
    if "in flight" in where:
        engine.receive(q, 5 if where == "in flight" else 1, 600_000)
    elif where == "came back":
        engine.receive(q, 1, 30_000)
    elif where == "paused":
        engine.run(flows.pause(q, resume=False, group="g"))
    engine.clock.advance_ms(50_000)
    engine.send(q, "fresh", group="g", delay_ms=0)
    assert sum(engine.counts(q)) == 6
    engine.clock.advance_ms(20_000)
    assert engine.counts(q) == (1, 0, 0)
    assert engine.bodies(q) == ([] if where == "paused" else ["fresh"])


def test_a_waiter_learns_of_what_was_behind_an_expired_message_in_flight(engine: Engine) -> None:
    q = engine.queue("q.fifo", MessageRetentionPeriod="60")
    engine.send(q, "old", group="g")
    engine.receive(q, 1, 600_000)
    engine.clock.advance_ms(50_000)
    engine.send(q, "fresh", group="g")
    engine.redis.delete(q.home.wakeups)
    engine.clock.advance_ms(20_000)
    assert engine.counts(q) == (1, 0, 0)
    assert engine.token(q.home)


def test_sends_and_receives_read_one_setting_while_nothing_is_out_of_the_ordinary(engine: Engine, q: QueueRef) -> None:
    def fields() -> list[bytes | None]:
        return engine.redis.hmget(q.home.base + "meta", "quick", "sends")  # type: ignore[return-value]

    def configure(**attributes: str | None) -> None:
        engine.run(flows.set_attributes(q, attributes, NATIVE))

    usual = [b"        30    345600", b"1048576"]
    assert fields() == usual
    configure(ContentBasedDeduplication="true", MaximumMessageSize="2048")
    assert fields() == [usual[0], b"c2048"]
    configure(DeduplicationScope="messageGroup")
    assert fields() == [usual[0], b"cg2048"]
    configure(ContentBasedDeduplication="false", DeduplicationScope="queue", MaximumMessageSize="1048576")
    assert fields() == usual
    engine.run(flows.pause(q, resume=False, group="h"))
    assert fields() == [None, None]
    engine.run(flows.pause(q, resume=True, group="h"))
    assert fields() == usual
    configure(DelaySeconds="5")
    assert fields() == [usual[0], None]
    configure(DelaySeconds="0", Timeline="3600")
    assert fields() == [None, None]
    configure(Timeline=None)
    assert fields() == usual
    engine.send(q, "later", group="i", delay_ms=1000)
    assert fields() == [None, usual[1]]
    assert engine.bodies(q) == []
    engine.clock.advance_ms(1001)
    assert engine.bodies(q) == ["later"]


def test_a_message_in_front_of_a_dead_letter_is_received_for_the_first_time(engine: Engine) -> None:
    grave = engine.queue("grave.fifo")
    dead = engine.queue("dead.fifo", grave.name)
    q = engine.queue("q.fifo", dead.name)

    def die(queue: QueueRef) -> None:
        engine.receive(queue, visibility_ms=1000)
        engine.clock.advance_ms(1001)
        assert engine.receive(queue) == []

    send(engine, q, "g-redriven")
    die(q)
    die(dead)
    engine.run(flows.start_move(grave, dead))
    send(engine, q, "g-letter")
    die(q)
    assert [(d.body, d.receive_count) for d in engine.receive(dead)] == [("g-redriven", 1), ("g-letter", 2)]
    assert engine.counts(grave) == (0, 0, 0)


@pytest.mark.parametrize("damaged", ["state", "group:a", "group:c"])
@pytest.mark.parametrize("before", ["new", "received before", "large"])
@pytest.mark.parametrize("count", [1, 10])
def test_no_group_is_lost_while_a_key_is_damaged(
    engine: Engine, q: QueueRef, damaged: str, before: str, count: int
) -> None:
    for group in "abcde":
        engine.send(q, group * (5000 if before == "large" else 1), group=group)
    if before == "received before":
        engine.receive(q, visibility_ms=0)
    key = q.home.base + damaged
    value = engine.redis.dump(key)
    engine.redis.set(key, "not what it was")
    for _ in range(3):
        with contextlib.suppress(QueueDamaged):
            engine.receive(q, count, 1000)
    engine.redis.delete(key)
    if value is not None:
        engine.redis.restore(key, 0, value)
    engine.clock.advance_ms(2000)
    assert {body[0] for body in engine.bodies(q)} == set("abcde")
