"""What queue.metrics() says of a standard queue: exact at each instant, whatever happened to its messages."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs import QueueMetrics
from rqsqs._core import envelope, flows, operations
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operations import moves, queues
from rqsqs.errors import MessageNotAvailable
from rqsqs.limits import NATIVE
from rqsqs.models import State
from tests.lua.conftest import Engine
from tests.lua.outcomes import DEAD_LETTERED, GONE, dead_letter, release, requeue, retry

DAY_MS = 86_400_000
RETENTION_MS = 4 * DAY_MS
COUNTS = (
    "visible", "in_flight", "delayed", "sent", "received", "deleted", "deduplicated", "redelivered", "dead_lettered",
    "dead_letters", "expired", "purged", "cancelled", "redriven_out", "redriven_in", "damaged",
)  # fmt: skip


def metrics(engine: Engine, q: QueueRef) -> QueueMetrics:
    found: QueueMetrics = engine.run(flows.metrics(q))
    return found


def check(engine: Engine, q: QueueRef, **expected: Any) -> None:
    """Compare all counts; those that are not named are 0. `first`: the receives of which there is a dwell time."""
    m = metrics(engine, q)
    found = {name: getattr(m, name) for name in COUNTS} | {"first": m.dwell.total}
    assert _told(found) == _told(expected)


def _told(counts: dict[str, Any]) -> dict[str, Any]:
    return {name: count for name, count in counts.items() if count not in (0, (0, 0, 0))}


@pytest.fixture
def q(engine: Engine) -> QueueRef:
    return engine.queue("q")


@pytest.fixture
def work(engine: Engine) -> QueueRef:
    """A queue with a dead-letter queue."""
    engine.queue("dead")
    return engine.queue("work", "dead", 2)


@pytest.fixture
def dead(engine: Engine, work: QueueRef) -> QueueRef:
    return engine.transport.queue("dead")


@pytest.fixture(params=[None, "g"], ids=["plain", "fair"])
def group(request: pytest.FixtureRequest) -> str | None:
    """Of the messages: with one, the queue is fair."""
    return None if request.param is None else str(request.param)


def bury(engine: Engine, q: QueueRef, *bodies: Any, **options: Any) -> None:
    """Send messages that are dead letters afterwards."""
    engine.send(q, *bodies, **options)
    got = engine.receive(q)
    assert release(engine, q, *[dead_letter(d) for d in got]) == [DEAD_LETTERED] * len(bodies)


def cancel(engine: Engine, q: QueueRef, message: Any, group: str | None = None) -> bool:
    return bool(engine.run(flows.cancel(q, message.message_id, group=group)))


def reschedule(engine: Engine, q: QueueRef, message: Any, group: str | None = None, delay_ms: int = 1000) -> None:
    assert engine.run(flows.reschedule(q, message.message_id, engine.clock.ms + delay_ms, group))


def seen(engine: Engine, q: QueueRef, state: State = "visible") -> list[Any]:
    return list(engine.run(flows.peek(q, state, 100)))


def promote(engine: Engine, q: QueueRef) -> None:
    """Let a receive of a fair queue bring what is visible to its groups, without handing it out: they are paused."""
    engine.run(flows.pause(q, resume=False, group="g"))
    assert engine.receive(q) == []


def lose_records(engine: Engine, p: Partition) -> None:
    assert engine.redis.delete(p.base + "store")


# Receiving and deleting


def test_messages_are_sent_received_and_deleted(engine: Engine, q: QueueRef, group: str | None) -> None:
    check(engine, q)
    engine.send(q, 1, 2, 3, group=group)
    check(engine, q, visible=3, sent=3)
    (first,) = engine.receive(q, 1)
    check(engine, q, visible=2, in_flight=1, sent=3, received=1, first=1)
    engine.delete(q, first)
    engine.delete(q, first, first)
    check(engine, q, visible=2, sent=3, received=1, first=1, deleted=1)
    engine.delete(q, *engine.receive(q))
    check(engine, q, sent=3, received=3, first=3, deleted=3)


def test_what_is_deleted_at_its_receive_counts_as_received_and_deleted(
    engine: Engine, q: QueueRef, group: str | None
) -> None:
    engine.send(q, 1, 2, group=group)
    assert len(engine.receive(q, 1, visibility_ms=0)) == 1
    assert len(engine.receive(q, delete=True)) == 2
    check(engine, q, sent=2, received=3, first=2, redelivered=(1, 0, 0), deleted=2)


def test_redeliveries_count_by_how_often(engine: Engine, q: QueueRef, group: str | None) -> None:
    engine.send(q, 1, group=group)
    for _ in range(5):
        (d,) = engine.receive(q, visibility_ms=1000)
        engine.clock.advance_ms(1001)
    check(engine, q, visible=1, sent=1, received=5, first=1, redelivered=(1, 1, 2))
    engine.delete(q, d)
    check(engine, q, sent=1, received=5, first=1, redelivered=(1, 1, 2), deleted=1)


def test_receives_beyond_the_thousandth_count_as_redeliveries(engine: Engine, q: QueueRef) -> None:
    """The thousandth leaves the member, and the one after it is the second of a new delivery cycle."""
    engine.send(q, 1)
    for _ in range(1002):
        (d,) = engine.receive(q, visibility_ms=0)
    assert d.receive_count == 1002
    check(engine, q, visible=1, sent=1, received=1002, first=1, redelivered=(2, 2, 997))
    engine.delete(q, d)
    check(engine, q, sent=1, received=1002, first=1, redelivered=(2, 2, 997), deleted=1)


@pytest.mark.parametrize(("waited_ms", "power"), [(0, 0), (1, 1), (5, 3), (1000, 10), (3_600_000, 22)])
def test_the_dwell_time_counts_from_when_a_message_was_visible(
    engine: Engine, q: QueueRef, group: str | None, waited_ms: int, power: int
) -> None:
    engine.send(q, "at once", group=group)
    engine.send(q, "later", group=group, delay_ms=60_000)
    engine.clock.advance_ms(waited_ms)
    assert engine.bodies(q, 1, DAY_MS) == ["at once"]
    engine.clock.advance_ms(60_000)
    assert engine.bodies(q) == ["later"]
    assert metrics(engine, q).dwell.counts == (0,) * power + (2,)


def test_the_dwell_times_of_one_receive_may_differ(engine: Engine, q: QueueRef) -> None:
    for waited_ms in (1000, 3, 0):
        engine.send(q, waited_ms)
        engine.clock.advance_ms(waited_ms)
    assert engine.bodies(q) == [1000, 3, 0]
    assert metrics(engine, q).dwell.counts == (1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1)


def test_a_clock_that_goes_back_gives_no_negative_dwell_time(engine: Engine, q: QueueRef, group: str | None) -> None:
    engine.send(q, 1, 2, group=group)
    engine.clock.advance_ms(-5000)
    assert engine.bodies(q) == [1, 2]
    assert metrics(engine, q).dwell.counts == (2,)


def test_a_receive_whose_answer_is_lost_counts_once(engine: Engine, q: QueueRef, group: str | None) -> None:
    engine.send(q, *range(4), group=group)
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, 2, None, "", ""))
    assert len(lost.repeat().messages) == 2
    check(engine, q, visible=2, in_flight=2, sent=4, received=2, first=2)
    gone = engine.lost(operations.receive_messages(q.home, NATIVE, 2, None, "", "", delete=True))
    assert len(gone.repeat().messages) == 2
    gone.arrive()
    check(engine, q, in_flight=2, sent=4, received=4, first=4, deleted=2)


def test_messages_that_were_given_back_to_the_queue_count_as_received(
    engine: Engine, q: QueueRef, group: str | None
) -> None:
    """A client is gone that was answered: they were handed out, and are so again."""
    engine.send(q, 1, 2, group=group)
    got = engine.receive(q)
    for operation in operations.give_back(q.home, got):
        engine.execute(operation)
    check(engine, q, visible=2, sent=2, received=2, first=2)
    assert engine.bodies(q) == [1, 2]
    check(engine, q, in_flight=2, sent=2, received=4, first=4)


def test_what_was_rescheduled_and_is_deleted_by_an_old_handle_counts_as_deleted(
    engine: Engine, q: QueueRef, group: str | None
) -> None:
    engine.send(q, 1, 2, 3, group=group)
    got = engine.receive(q, visibility_ms=0)
    for d in got:
        reschedule(engine, q, d, group)
    received = {"sent": 3, "received": 3, "first": 3}
    check(engine, q, delayed=3, **received)
    assert engine.delete(q, got[0]) == [None]
    check(engine, q, delayed=2, deleted=1, **received)
    engine.clock.advance_ms(1000)
    assert engine.delete(q, got[1]) == [None]
    check(engine, q, visible=1, deleted=2, **received)
    if group:
        promote(engine, q)
        check(engine, q, visible=1, deleted=2, **received)
    assert engine.delete(q, *got) == [None, None, None]
    check(engine, q, deleted=3, **received)


def test_visible_messages_of_a_group_change_their_visibility(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2, group="g")
    first, second = engine.receive(q, visibility_ms=0)
    engine.send(q, 3, group="g", delay_ms=10)
    engine.clock.advance_ms(10)
    promote(engine, q)
    received = {"sent": 3, "received": 2, "first": 2}
    check(engine, q, visible=3, **received)
    assert engine.run(flows.change_visibility(q, [(first.receipt_handle, 5000)], NATIVE)) == [None]
    check(engine, q, visible=2, in_flight=1, **received)
    engine.run(flows.beat(q, [second], 5000, "c", {"state": "running"}, 5000))
    check(engine, q, visible=1, in_flight=2, **received)


def test_a_handle_may_be_of_a_message_that_was_given_back_and_arrived_in_its_group(
    engine: Engine, dead: QueueRef
) -> None:
    """Its member is then that of the key under which it waits, as a letter remembers its first receive."""
    bury(engine, engine.transport.queue("work"), 1, group="g")
    engine.run(flows.counts(dead))
    (d,) = engine.receive(dead)
    release(engine, dead, requeue(d))
    reschedule(engine, dead, d, "g")
    engine.clock.advance_ms(1000)
    promote(engine, dead)
    check(engine, dead, visible=1, dead_letters=1, received=1, first=1)
    assert engine.run(flows.change_visibility(dead, [(d.receipt_handle, 5000)], NATIVE)) == [None]
    check(engine, dead, in_flight=1, dead_letters=1, received=1, first=1)
    engine.run(flows.pause(dead, resume=True, group="g"))
    engine.clock.advance_ms(5000)
    assert engine.bodies(dead) == [1]
    check(engine, dead, in_flight=1, dead_letters=1, received=2, first=2)


# Sending


def test_duplicates_are_counted_and_not_sent(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, dedup_id="a")
    engine.send(q, 2, 3, dedup_id="a")
    engine.send(q, 4, 5, dedup_id="b", delay_ms=1000)
    check(engine, q, visible=1, delayed=1, sent=2, deduplicated=3)


def test_a_send_whose_answer_is_lost_is_no_duplicate(engine: Engine, q: QueueRef) -> None:
    lost = engine.lost(operations.send_messages(q.home, [envelope.outgoing(1, dedup_id="a")], NATIVE))
    lost.repeat()
    lost.arrive()
    check(engine, q, visible=1, sent=1)
    slots = [key for key in engine.redis.scan_iter(engine.transport.space.prefix + ":*:call:*")]
    engine.redis.delete(*slots)  # a server that lost them
    lost.arrive()
    check(engine, q, visible=1, sent=1)


# Cancelling and rescheduling


@pytest.mark.parametrize("was_received", [False, True])
def test_cancelled_messages_count_wherever_they_were(
    engine: Engine, q: QueueRef, group: str | None, was_received: bool
) -> None:
    received = {"received": 3, "first": 3} if was_received else {}
    sent = engine.send(q, *range(3), group=group)
    if was_received:
        engine.receive(q, visibility_ms=0)
    assert cancel(engine, q, sent[0], group)
    check(engine, q, visible=2, sent=3, cancelled=1, **received)
    reschedule(engine, q, sent[1], group)
    check(engine, q, visible=1, delayed=1, sent=3, cancelled=1, **received)
    assert cancel(engine, q, sent[1], group)
    check(engine, q, visible=1, sent=3, cancelled=2, **received)
    reschedule(engine, q, sent[2], group)
    engine.clock.advance_ms(1000)
    if group:
        promote(engine, q)
    assert cancel(engine, q, sent[2], group)
    check(engine, q, sent=3, cancelled=3, **received)
    assert engine.bodies(q) == []
    check(engine, q, sent=3, cancelled=3, **received)


@pytest.mark.parametrize("delay_ms", [1000, DAY_MS], ids=["soon", "far"])
def test_rescheduled_messages_are_received_as_before(
    engine: Engine, q: QueueRef, group: str | None, delay_ms: int
) -> None:
    (sent,) = engine.send(q, 1, group=group)
    engine.receive(q, visibility_ms=0)
    for _ in range(2):
        reschedule(engine, q, sent, group, delay_ms)
        check(engine, q, delayed=1, sent=1, received=1, first=1)
    engine.clock.advance_ms(delay_ms)
    (d,) = engine.receive(q)
    again = {"first": 2} if delay_ms == DAY_MS else {"first": 1, "redelivered": (1, 0, 0)}  # a new delivery cycle
    check(engine, q, in_flight=1, sent=1, received=2, **again)
    engine.delete(q, d)
    check(engine, q, sent=1, received=2, deleted=1, **again)


def test_a_message_in_flight_is_not_cancelled(engine: Engine, q: QueueRef) -> None:
    (sent,) = engine.send(q, 1)
    engine.receive(q)
    with pytest.raises(MessageNotAvailable):
        cancel(engine, q, sent)
    check(engine, q, in_flight=1, sent=1, received=1, first=1)


# What workers did not finish


def test_what_was_not_begun_is_received_for_the_first_time_again(
    engine: Engine, q: QueueRef, group: str | None
) -> None:
    engine.send(q, 1, group=group)
    for n in (1, 2, 3):
        (d,) = engine.receive(q)
        check(engine, q, in_flight=1, sent=1, received=n, first=n)
        assert release(engine, q, requeue(d), requeue(d)) == [0, GONE]
        check(engine, q, visible=1, sent=1, received=n, first=n)
    (d,) = engine.receive(q)
    assert release(engine, q, retry(d, chance=0)) == [0]
    (d,) = engine.receive(q)
    assert release(engine, q, requeue(d)) == [0]
    check(engine, q, visible=1, sent=1, received=5, first=4, redelivered=(1, 0, 0))
    assert len(engine.receive(q, delete=True)) == 1
    check(engine, q, sent=1, received=6, first=4, redelivered=(2, 0, 0), deleted=1)


def test_dead_letters_of_workers_are_no_deletions_and_no_sends(
    engine: Engine, work: QueueRef, dead: QueueRef, group: str | None
) -> None:
    bury(engine, work, 1, 2, group=group)
    check(engine, work, sent=2, received=2, first=2, dead_lettered=2)
    check(engine, dead, visible=2, dead_letters=2)
    engine.delete(dead, *engine.receive(dead))
    check(engine, dead, dead_letters=2, received=2, first=2, deleted=2)


def test_what_was_received_too_often_goes_to_the_dead_letter_queue(
    engine: Engine, work: QueueRef, dead: QueueRef, group: str | None
) -> None:
    engine.send(work, 1, 2, 3, group=group)
    for _ in range(2):
        assert len(engine.receive(work, visibility_ms=0)) == 3
    assert engine.receive(work) == []
    check(engine, work, sent=3, received=6, first=3, redelivered=(3, 0, 0), dead_lettered=3)
    check(engine, dead, visible=3, dead_letters=3)


def test_a_letter_that_has_no_shard_yet_stays_and_is_counted_when_it_goes(
    engine: Engine, work: QueueRef, dead: QueueRef, group: str | None
) -> None:
    (sent,) = engine.send(work, 1, group=group)
    for _ in range(2):
        engine.receive(work, visibility_ms=0)
    reschedule(engine, work, sent, group, DAY_MS)  # its key remembers its receives
    engine.execute(queues.remove_shard(dead.partition(work.home.tag)))
    engine.clock.advance_ms(DAY_MS)
    received = {"sent": 1, "received": 2, "first": 1, "redelivered": (1, 0, 0)}
    got = engine.execute(operations.receive_messages(work.home, NATIVE, 10, None, "", ""))
    assert (got.messages, got.missing_dlq) == ([], "dead")
    check(engine, work, visible=1, **received)
    assert engine.receive(work) == []
    check(engine, work, dead_lettered=1, **received)
    check(engine, dead, visible=1, dead_letters=1)


# Moves


@pytest.mark.parametrize("to_other", [False, True], ids=["same slot", "other slot"])
def test_moved_messages_leave_one_queue_and_come_to_the_other(
    engine: Engine, work: QueueRef, dead: QueueRef, group: str | None, to_other: bool
) -> None:
    destination = engine.queue("other") if to_other else work
    bury(engine, work, *range(5), group=group)
    buried = {"sent": 5, "received": 5, "first": 5, "dead_lettered": 5}
    check(engine, dead, visible=5, dead_letters=5)
    first, second, third = engine.receive(dead, 3, visibility_ms=0)
    reschedule(engine, dead, first, group)
    reschedule(engine, dead, second, group, DAY_MS)
    reschedule(engine, dead, second, group)
    engine.clock.advance_ms(1000)
    engine.run(flows.start_move(dead, destination if to_other else None))
    letters = {"dead_letters": 5, "received": 3, "first": 3, "redriven_out": 5}
    check(engine, dead, **letters)
    assert third.body in range(5)
    if to_other:
        check(engine, work, **buried)
        check(engine, destination, visible=5, redriven_in=5)
    else:
        check(engine, work, visible=5, redriven_in=5, **buried)
    assert len(engine.receive(destination, delete=True)) == 5


@pytest.mark.parametrize("to_other", [False, True], ids=["same slot", "other slot"])
def test_a_chosen_message_is_moved(
    engine: Engine, work: QueueRef, dead: QueueRef, group: str | None, to_other: bool
) -> None:
    destination = engine.queue("other") if to_other else work
    bury(engine, work, *range(4), group=group)
    letters = seen(engine, dead)
    got = engine.receive(dead, 2, visibility_ms=0)
    chosen = [(d.message_id, group) for d in (letters[3], *got)]
    engine.run(flows.move_chosen(dead, chosen, destination if to_other else None))
    check(engine, dead, visible=1, dead_letters=4, received=2, first=2, redriven_out=3)
    m = metrics(engine, destination)
    assert (m.redriven_in, m.visible, m.sent) == (3, 3, 0 if to_other else 4)


def test_what_cannot_arrive_is_put_back_and_was_not_moved(
    engine: Engine, work: QueueRef, dead: QueueRef, group: str | None
) -> None:
    bury(engine, work, *range(6), group=group)
    got = engine.receive(dead, 3, visibility_ms=0)
    reschedule(engine, dead, got[0], group)
    engine.send(dead, "late", group=group, delay_ms=500)
    engine.clock.advance_ms(1000)
    if group:
        assert engine.receive(dead, 1, visibility_ms=0)
    counted = metrics(engine, dead)
    shard = dead.partitions[1]
    for p in (shard, dead.home):
        taken = engine.execute(moves.take(p, 100, "nowhere", "batch"))
        assert taken
        assert engine.execute(moves.take(p, 100, "nowhere", "other batch")) == taken
        during = metrics(engine, dead)
        assert during.redriven_out == (6 if p is shard else 1)
        assert (during.sent, during.deleted, during.received) == (1, 0, counted.received)
        engine.execute(moves.clear(p, "batch", "back"))
        engine.execute(moves.clear(p, "batch", "back"))
        after = metrics(engine, dead)
        assert after.redriven_out == 0
        assert [getattr(after, name) for name in COUNTS] == [getattr(counted, name) for name in COUNTS]
        engine.execute(moves.clear(p, "batch", "end"))


# What is dropped, purged or damaged


def test_expired_messages_count_wherever_they_were(engine: Engine, q: QueueRef, group: str | None) -> None:
    engine.send(q, *range(4), group=group)
    got = engine.receive(q, 2, visibility_ms=0)
    engine.send(q, "late", group=group, delay_ms=1000)
    reschedule(engine, q, got[0], group)
    engine.clock.advance_ms(1000)
    received = {"sent": 5, "received": 2, "first": 2}
    check(engine, q, visible=5, **received)
    engine.clock.advance_ms(RETENTION_MS + 1)
    assert engine.bodies(q) == []
    check(engine, q, expired=5, **received)


@pytest.mark.parametrize("is_promoted", [False, True])
def test_expired_messages_that_a_count_drops_are_counted(
    engine: Engine, q: QueueRef, group: str | None, is_promoted: bool
) -> None:
    engine.send(q, *range(3), group=group)
    got = engine.receive(q, 2, visibility_ms=0)
    engine.send(q, "late", group=group, delay_ms=1000)
    reschedule(engine, q, got[0], group)
    engine.clock.advance_ms(1000)
    if group and is_promoted:
        promote(engine, q)
    engine.clock.advance_ms(RETENTION_MS + 1)
    assert engine.counts(q) == (0, 0, 0)
    check(engine, q, sent=4, received=2, first=2, expired=4)


def test_purged_messages_count_wherever_they_were(engine: Engine, q: QueueRef, group: str | None) -> None:
    engine.send(q, *range(7), group=group)
    got = engine.receive(q, 3, visibility_ms=0)
    reschedule(engine, q, got[0], group)
    engine.receive(q, 1)
    engine.send(q, "late", group=group, delay_ms=1000)
    assert cancel(engine, q, seen(engine, q)[-1], group)
    before = metrics(engine, q)
    engine.run(flows.purge_queue(q, NATIVE))
    expected = {name: getattr(before, name) for name in COUNTS[3:]} | {"purged": 7, "first": before.dwell.total}
    check(engine, q, **expected)
    engine.send(q, 1, group=group)
    assert len(engine.receive(q, delete=True)) == 1


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_the_counts_hold_between_the_steps_of_a_purge(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    sent = 2400
    batch = [envelope.outgoing(n, group=f"g{n // 2}") for n in range(sent)]
    engine.run(flows.send_messages(q, batch, NATIVE))
    for n in (1, 3, 700):
        engine.run(flows.pause(q, resume=False, group=f"g{n}"))
    received = len(engine.receive(q, 100)) + len(engine.receive(q, 100, visibility_ms=0))
    step = engine.execute(queues.delete_queue(q.home, NATIVE, purge=True, first=True))
    steps = 1
    while not step.is_done:
        m = metrics(engine, q)
        assert (m.sent, m.received, m.deleted) == (sent, received, steps - 1)
        assert 0 < m.purged < sent
        engine.send(q, "new", group="g3")
        engine.send(q, "new", group=f"new{steps}")
        sent, received = sent + 2, received + len(engine.receive(q, 1, delete=True))
        step = engine.execute(queues.delete_queue(q.home, NATIVE, purge=True, first=False, cursor=step.cursor))
        steps += 1
    assert steps > 1
    m = metrics(engine, q)
    assert (m.sent, m.received) == (sent, received)
    assert m.sent - m.deleted - m.purged == m.visible
    engine.run(flows.purge_queue(q, NATIVE))
    m = metrics(engine, q)
    assert (m.sent, m.visible, m.sent - m.deleted - m.purged) == (sent, 0, 0)
    assert engine.receive(q) == []


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_messages_that_come_to_paused_groups_during_a_purge_stay_counted(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    groups = [f"g{n}" for n in range(600)]
    engine.send(q, "first", group="g0")
    for group in groups:
        engine.run(flows.pause(q, resume=False, group=group))
    batch = [envelope.outgoing(group, group=group) for group in groups]
    engine.run(flows.send_messages(q, batch, NATIVE))
    step = engine.execute(queues.delete_queue(q.home, NATIVE, purge=True, first=True))
    assert not step.is_done
    engine.run(flows.send_messages(q, batch, NATIVE))
    while not step.is_done:
        step = engine.execute(queues.delete_queue(q.home, NATIVE, purge=True, first=False, cursor=step.cursor))
    m = metrics(engine, q)
    assert 0 < m.visible < 600
    assert (m.sent, m.purged) == (1201, 1201 - m.visible)
    for group in groups:
        engine.run(flows.pause(q, resume=True, group=group))
    got = 0
    while some := engine.receive(q, 100, delete=True):
        got += len(some)
    assert got == m.visible
    m = metrics(engine, q)
    assert (m.sent, m.deleted, m.visible) == (1201, got, 0)


def test_messages_whose_record_is_gone_count_as_damaged(engine: Engine, work: QueueRef, group: str | None) -> None:
    sent = engine.send(work, *range(4), group=group)
    first, second, third, _ = engine.receive(work, visibility_ms=0)
    engine.send(work, "late", group=group, delay_ms=1000)
    lose_records(engine, work.home)
    received = {"sent": 5, "received": 4, "first": 4}
    check(engine, work, visible=4, delayed=1, **received)
    assert release(engine, work, requeue(first), retry(second)) == [0, GONE]
    check(engine, work, visible=2, delayed=1, damaged=2, **received)
    assert not cancel(engine, work, sent[2], group)
    check(engine, work, visible=1, delayed=1, damaged=3, **received)
    engine.clock.advance_ms(1000)
    assert engine.receive(work) == []
    check(engine, work, damaged=5, **received)
    assert engine.delete(work, third) == [None]
    check(engine, work, damaged=5, **received)


def test_the_counts_end_with_the_queue(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2)
    engine.receive(q)
    engine.run(flows.delete_queue(q, NATIVE))
    assert not engine.names(f"{{{q.home.tag}}}:*stats")
    check(engine, engine.queue("q"))


def test_counts_that_cannot_be_written_harm_no_message(engine: Engine, work: QueueRef, group: str | None) -> None:
    stats = work.home.base + "stats"
    engine.redis.set(stats, "no hash")
    sent = engine.send(work, *range(5), group=group)
    got = engine.receive(work, 3)
    assert release(engine, work, requeue(got[0]), dead_letter(got[1])) == [0, DEAD_LETTERED]
    assert engine.delete(work, got[2]) == [None]
    assert cancel(engine, work, sent[4], group)
    assert engine.counts(work) == (2, 0, 0)
    engine.run(flows.purge_queue(work, NATIVE))
    assert engine.counts(work) == (0, 0, 0)
