"""What queue.metrics() says of a FIFO queue: exact at each instant, after whatever happened."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from rqsqs import QueueMetrics
from rqsqs._core import envelope, flows, operations
from rqsqs._core.keys import QueueRef
from rqsqs.errors import MessageNotAvailable
from rqsqs.limits import AWS, NATIVE
from rqsqs.models import FailedEntry
from tests.lua.conftest import Engine, policy
from tests.lua.outcomes import DEAD_LETTERED, dead_letter, release, requeue, retry
from tests.model.harness import Lossy


@pytest.fixture
def q(engine: Engine) -> QueueRef:
    return engine.queue("q.fifo")


def metrics(engine: Engine, q: QueueRef) -> QueueMetrics:
    found: QueueMetrics = engine.run(flows.metrics(q))
    return found


def numbers(engine: Engine, q: QueueRef) -> dict[str, Any]:
    """The counts that are not 0."""
    m = metrics(engine, q)
    names = ("sent", "received", "deleted", "deduplicated", "redelivered", "dead_lettered", "expired", "cancelled")
    return {name: value for name in names if (value := getattr(m, name)) and value != (0, 0, 0)}


def test_messages_are_sent_received_and_deleted(engine: Engine, q: QueueRef) -> None:
    assert numbers(engine, q) == {}
    engine.send(q, 1, 2, group="a")
    engine.send(q, 3, group="b")
    assert numbers(engine, q) == {"sent": 3}
    (first,) = engine.receive(q, 1)
    assert numbers(engine, q) == {"sent": 3, "received": 1}
    engine.delete(q, first)
    engine.delete(q, first)
    assert numbers(engine, q) == {"sent": 3, "received": 1, "deleted": 1}
    engine.delete(q, *engine.receive(q))
    assert numbers(engine, q) == {"sent": 3, "received": 3, "deleted": 3}
    assert engine.counts(q) == (0, 0, 0)


def test_a_message_deleted_at_its_receive_counts_as_received_and_deleted(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2, group="a")
    engine.receive(q, 1, visibility_ms=0)
    assert len(engine.receive(q, delete=True)) == 2
    assert numbers(engine, q) == {"sent": 2, "received": 3, "deleted": 2, "redelivered": (1, 0, 0)}


def test_redeliveries_count_by_how_often(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, group="a")
    for _ in range(5):
        engine.receive(q, visibility_ms=1000)
        engine.clock.advance_ms(1001)
    assert numbers(engine, q) == {"sent": 1, "received": 5, "redelivered": (1, 1, 2)}


def test_a_message_returned_unbegun_is_handed_out_for_the_first_time_again(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, group="a")
    for n in (1, 2, 3):
        (d,) = engine.receive(q)
        assert numbers(engine, q) == {"sent": 1, "received": n}
        release(engine, q, requeue(d))
        assert numbers(engine, q) == {"sent": 1, "received": n}
    (d,) = engine.receive(q)
    release(engine, q, retry(d, chance=0))
    engine.receive(q, delete=True)
    assert numbers(engine, q) == {"sent": 1, "received": 5, "redelivered": (1, 0, 0), "deleted": 1}


@pytest.mark.parametrize("together", [1, 2, 10])
def test_the_wait_of_each_message_is_in_the_histogram(engine: Engine, q: QueueRef, together: int) -> None:
    for n in range(10):
        engine.send(q, n, group=f"g{n % 3}")
        engine.clock.advance_ms(1 << n)
    waits = Counter(((1 << 10) - (1 << n)).bit_length() for n in range(10))
    for _ in range(0, 10, together):
        engine.delete(q, *engine.receive(q, together))
    assert metrics(engine, q).dwell.counts == tuple(waits[power] for power in range(max(waits) + 1))


@pytest.mark.parametrize("own", [True, False], ids=["its own delay", "the delay of the queue"])
def test_the_wait_begins_when_a_message_is_due(engine: Engine, q: QueueRef, own: bool) -> None:
    if not own:
        engine.run(flows.set_attributes(q, {"DelaySeconds": "5"}, NATIVE))
    engine.send(q, 1, group="a", **({"delay_ms": 5000} if own else {}))
    engine.clock.advance_ms(5003)
    engine.receive(q)
    assert metrics(engine, q).dwell.counts == (0, 0, 1)


@pytest.mark.parametrize("own", [True, False], ids=["its own delay", "the delay of the queue"])
def test_the_wait_of_a_delayed_message_that_shall_be_visible_now_begins_now(
    engine: Engine, q: QueueRef, own: bool
) -> None:
    if not own:
        engine.run(flows.set_attributes(q, {"DelaySeconds": "60"}, NATIVE))
    (sent,) = engine.send(q, 1, group="a", **({"delay_ms": 60_000} if own else {}))
    engine.clock.advance_ms(20_000)
    assert engine.run(flows.reschedule(q, sent.message_id, "+0", "a"))
    engine.clock.advance_ms(3)
    (d,) = engine.receive(q)
    assert metrics(engine, q).dwell.counts == (0, 0, 1)
    assert engine.delete(q, d) == [None]


def test_a_visible_message_that_shall_be_visible_now_waits_on(engine: Engine, q: QueueRef) -> None:
    (sent, late) = engine.send(q, 1, group="a") + engine.send(q, 2, group="b", delay_ms=1000)
    engine.clock.advance_ms(1000)
    for message in (sent, late):
        assert engine.run(flows.reschedule(q, message.message_id, "+0"))
    engine.clock.advance_ms(3)
    assert len(engine.receive(q)) == 2
    assert metrics(engine, q).dwell.counts == (0, 0, 1, *[0] * 7, 1)  # one 3 ms, the other 1003 ms


def test_the_wait_of_a_dead_letter_begins_when_it_is_due(engine: Engine) -> None:
    dead = engine.queue("dead.fifo")
    q = engine.queue("q.fifo", dlq="dead.fifo")
    engine.send(q, 1, group="a")
    assert release(engine, q, *[dead_letter(d) for d in engine.receive(q)]) == [DEAD_LETTERED]
    engine.clock.advance_ms(10)
    (letter,) = engine.run(flows.peek(dead, "visible", 1))
    assert engine.run(flows.reschedule(dead, letter.message_id, "+60000"))
    engine.clock.advance_ms(60_003)
    assert len(engine.receive(dead)) == 1
    assert metrics(engine, dead).dwell.counts == (0, 0, 1)


def test_the_wait_of_a_dead_letter_begins_when_it_comes(engine: Engine) -> None:
    dead = engine.queue("dead.fifo")
    q = engine.queue("q.fifo", dlq="dead.fifo")
    engine.send(q, 1, group="a")
    (d,) = engine.receive(q)
    engine.clock.advance_ms(10_000)
    assert release(engine, q, dead_letter(d)) == [DEAD_LETTERED]
    engine.clock.advance_ms(3)
    engine.receive(dead)
    assert metrics(engine, dead).dwell.counts == (0, 0, 1)
    assert numbers(engine, q) == {"sent": 1, "received": 1, "dead_lettered": 1}


def test_a_dead_letter_that_a_receive_moves_is_counted(engine: Engine) -> None:
    engine.queue("dead.fifo")
    q = engine.queue("q.fifo", dlq="dead.fifo")
    engine.send(q, 1, 2, group="a")
    engine.receive(q, 1, visibility_ms=0)
    assert engine.bodies(q) == [2]
    assert numbers(engine, q) == {"sent": 2, "received": 2, "dead_lettered": 1}


@pytest.mark.parametrize("how", ["receive", "count"])
@pytest.mark.parametrize("was_received", [0, 1, 2])
def test_expired_messages_are_counted_whether_they_were_received_or_not(
    engine: Engine, q: QueueRef, how: str, was_received: int
) -> None:
    engine.run(flows.set_attributes(q, {"MessageRetentionPeriod": "60"}, NATIVE))
    engine.send(q, 1, 2, group="a")
    if was_received:
        engine.receive(q, was_received, visibility_ms=1000)
    engine.clock.advance_ms(60_001)
    if how == "receive":
        engine.receive(q)
    for _ in range(2):
        found = metrics(engine, q)
        assert (found.expired, found.sent, found.received, found.deleted) == (2, 2, was_received, 0)


def test_expired_messages_behind_one_that_is_not_are_counted(engine: Engine, q: QueueRef) -> None:
    engine.run(flows.set_attributes(q, {"MessageRetentionPeriod": "60"}, NATIVE))
    (first, *_) = engine.send(q, 1, 2, 3, group="a")
    engine.receive(q, 2, visibility_ms=1000)
    engine.clock.advance_ms(1001)
    assert engine.run(flows.reschedule(q, first.message_id, "+30000"))
    engine.clock.advance_ms(59_000)
    assert engine.bodies(q) == [1]
    assert numbers(engine, q) == {"sent": 3, "received": 3, "expired": 2, "redelivered": (1, 0, 0)}


@pytest.mark.parametrize("was_received", [False, True])
def test_a_cancelled_message_is_counted(engine: Engine, q: QueueRef, was_received: bool) -> None:
    (sent,) = engine.send(q, 1, group="a")
    if was_received:
        engine.receive(q, visibility_ms=0)
    assert engine.run(flows.reschedule(q, sent.message_id, "+1000"))
    assert engine.run(flows.cancel(q, sent.message_id))
    assert numbers(engine, q) == {"sent": 1, "cancelled": 1} | ({"received": 1} if was_received else {})


def test_duplicates_are_counted_and_repetitions_of_a_call_are_not(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2, group="a", dedup_id="x")
    engine.send(q, 3, group="a", dedup_id="x")
    assert numbers(engine, q) == {"sent": 1, "deduplicated": 2}
    batch = [envelope.outgoing(n, group="a", dedup_id=dedup_id) for n, dedup_id in enumerate("xyy")]
    lost = engine.lost(operations.send_messages(q.home, batch, AWS))
    assert numbers(engine, q) == {"sent": 2, "deduplicated": 4}
    lost.repeat()
    assert numbers(engine, q) == {"sent": 2, "deduplicated": 4}


def test_a_send_that_arrives_behind_its_repetition_is_no_duplicate(engine: Engine, q: QueueRef) -> None:
    lost = engine.lost(operations.send_messages(q.home, [envelope.outgoing(1, group="a", dedup_id="x")], AWS))
    lost.repeat()
    lost.arrive()
    assert numbers(engine, q) == {"sent": 1}


def test_the_bytes_of_what_was_sent_are_counted(engine: Engine, q: QueueRef) -> None:
    assert metrics(engine, q).sent_bytes == 0
    engine.send(q, "x" * 100, "y" * 5000, group="a")
    engine.send(q, "z", group="b", delay_ms=1000, dedup_id="z")
    stored = sum(len(record) for g in "ab" for record in engine.redis.lrange(q.home.keys("group:" + g)[0], 0, -1)[1::2])
    engine.send(q, "z", group="b", dedup_id="z")
    engine.delete(q, *engine.receive(q))
    assert metrics(engine, q).sent_bytes == stored > 5100


def test_unusable_counters_harm_no_message(engine: Engine, q: QueueRef) -> None:
    engine.redis.set(q.home.keys("stats")[0], "text")
    engine.send(q, 1, 2, group="a", dedup_id="x")
    engine.send(q, 3, 4, group="b")
    engine.delete(q, *engine.receive(q, 1), *engine.receive(q))
    assert engine.counts(q) == (0, 0, 0)


# A walk


@dataclass
class Tally:
    """Counted by hand."""

    sent: int = 0
    received: int = 0
    deleted: int = 0
    deduplicated: int = 0
    cancelled: int = 0
    purged: int = 0
    redelivered: list[int] = field(default_factory=lambda: [0, 0, 0])
    receives: Counter[str] = field(default_factory=Counter)  # that count, by message


class Walk:
    def __init__(self, engine: Engine, seed: int, *, is_lossy: bool) -> None:
        self.engine, self.draw, self.is_lossy = engine, random.Random(seed), is_lossy
        if is_lossy:  # calls are repeated, and first attempts arrive twice
            engine.transport.link = Lossy(engine.transport.link)  # type: ignore[assignment]
        self.dead = engine.queue("dead.fifo")
        self.q = engine.queue("q.fifo", MessageRetentionPeriod="70")
        self.bodies = itertools.count()
        self.tally = Tally()
        self.held: list[Any] = []
        self.sent: list[Any] = []

    def got(self, deliveries: list[Any], *, is_deleted: bool = False) -> None:
        tally = self.tally
        for d in deliveries:
            tally.received += 1
            tally.receives[d.message_id] += 1
            n = tally.receives[d.message_id]
            if n > 1:
                tally.redelivered[min(n, 4) - 2] += 1
            tally.deleted += is_deleted
            if not is_deleted:
                self.held.append(d)

    def some(self) -> list[Any]:
        count = min(len(self.held), self.draw.randint(1, 3))
        return self.draw.sample(self.held[-12:], min(count, 12))

    def step(self) -> None:
        names = [name for name in dir(self) if name.startswith("do_")]
        weights = [5 if name in ("do_send", "do_receive", "do_turn") else 2 for name in names]
        getattr(self, self.draw.choices(names, weights)[0])()

    def do_send(self) -> None:
        options: dict[str, Any] = {"group": self.draw.choice("aab")}
        if self.draw.random() < 0.2:
            options["delay_ms"] = self.draw.choice([1, 3000])
        if self.draw.random() < 0.3:
            options["dedup_id"] = self.draw.choice("xyz")
        batch = [envelope.outgoing(next(self.bodies), **options) for _ in range(self.draw.choice([1, 1, 3]))]
        for sent in self.engine.run(flows.send_messages(self.q, batch, NATIVE)):
            if sent.is_duplicate:
                self.tally.deduplicated += 1
            else:
                self.tally.sent += 1
                self.sent.append(sent)

    def do_receive(self) -> None:
        options = self.draw.choice([{}, {}, {"visibility_ms": 0}, {"visibility_ms": 2000}, {"delete": True}])
        found = self.engine.receive(self.q, self.draw.choice([1, 2, 10]), **options)
        self.got(found, is_deleted="delete" in options)

    def do_delete(self) -> None:
        limits = self.draw.choice([NATIVE, AWS])
        chosen = self.some()
        before = self.stored()
        answers = self.engine.run(flows.delete_messages(self.q, [d.receipt_handle for d in chosen], limits))
        gone = before - self.stored()
        assert gone <= sum(not isinstance(answer, FailedEntry) for answer in answers)
        self.tally.deleted += gone

    def stored(self) -> int:
        """How many messages lie there. (A count drops expired ones, which a delete may have brought to the head.)"""
        redis, base = self.engine.redis, self.q.home.base
        return sum(redis.llen(key) for key in redis.scan_iter(base + "group:*")) // 2

    def do_change_visibility(self) -> None:
        changes = [(d.receipt_handle, self.draw.choice([0, 1000])) for d in self.some()]
        self.engine.run(flows.change_visibility(self.q, changes, NATIVE))

    def do_requeue(self) -> None:
        for d in self.some():
            if release(self.engine, self.q, requeue(d)) == [0]:
                self.tally.receives[d.message_id] -= 1

    def do_fail(self) -> None:
        release(self.engine, self.q, *[self.draw.choice([retry, dead_letter])(d) for d in self.some()])

    def do_cancel_or_reschedule(self) -> None:
        if not self.sent:
            return
        chosen, due = self.draw.choice(self.sent[-10:]).message_id, self.draw.choice([None, "+0", "+3000"])
        flow = flows.cancel(self.q, chosen) if due is None else flows.reschedule(self.q, chosen, due)
        try:
            done = self.engine.run(flow)
        except MessageNotAvailable:
            return
        self.tally.cancelled += done and due is None

    def do_turn(self) -> None:
        self.engine.clock.us += self.draw.choice([1, 700, 1_000_000, 2_000_000, 31_000_000])

    def do_change_queue(self) -> None:
        changes: dict[str, str | None] = self.draw.choice(
            [
                {"DelaySeconds": "0"},
                {"DelaySeconds": "2"},
                {"RedrivePolicy": None},
                {"RedrivePolicy": policy("dead.fifo", 2)},
            ]
        )
        self.engine.run(flows.set_attributes(self.q, changes, NATIVE))

    def do_purge(self) -> None:
        if self.draw.random() < 0.2:
            before = sum(self.engine.counts(self.q))
            self.engine.run(flows.purge_queue(self.q, NATIVE))
            assert self.engine.counts(self.q) == (0, 0, 0)
            self.tally.purged += before

    def do_pause_group(self) -> None:
        self.engine.run(flows.pause(self.q, resume=self.draw.random() < 0.8, group=self.draw.choice("ab")))

    def compare(self) -> None:
        tally = self.tally
        m = metrics(self.engine, self.q)
        there, dead = m.visible + m.in_flight + m.delayed, sum(self.engine.counts(self.dead))
        assert (m.sent, m.received, m.deleted) == (tally.sent, tally.received, tally.deleted)
        assert (m.cancelled, m.dead_lettered, m.purged) == (tally.cancelled, dead, tally.purged)
        assert m.deduplicated == tally.deduplicated or (self.is_lossy and m.deduplicated > tally.deduplicated)
        assert m.redelivered == tuple(tally.redelivered)
        assert m.dwell.total == tally.received - sum(tally.redelivered)
        assert m.expired == tally.sent - tally.deleted - tally.cancelled - tally.purged - dead - there
        assert m.visible >= 0


@pytest.mark.parametrize("is_lossy", [False, True], ids=["answered", "lossy"])
@pytest.mark.parametrize("seed", range(3))
def test_a_walk_through_everything_counts_as_one_would_by_hand(engine: Engine, seed: int, is_lossy: bool) -> None:
    walk = Walk(engine, seed, is_lossy=is_lossy)
    for _ in range(200):
        walk.step()
        walk.compare()
