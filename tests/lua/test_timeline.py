"""The timeline of a message: every kind of step, what it may take, and that nothing of it is there while it is off."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from rqsqs._core import envelope, flows, ids, operations
from rqsqs._core.flows.timeline import timeline
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import Outcome
from rqsqs.errors import ServerOutOfMemory
from rqsqs.limits import NATIVE
from rqsqs.models import Failure
from rqsqs.timeline_models import Timeline, TimelineStep
from tests.largest import Meter
from tests.lua.conftest import Engine
from tests.lua.outcomes import release, requeue, retry
from tests.servers import Server

ON = {"Timeline": "65536"}


def read(engine: Engine, q: QueueRef, message_id: str) -> Timeline:
    found = engine.run(timeline(q, message_id))
    assert isinstance(found, Timeline)
    return found


def steps(engine: Engine, q: QueueRef, message_id: str) -> tuple[TimelineStep, ...]:
    return read(engine, q, message_id).steps


def kinds(engine: Engine, q: QueueRef, message_id: str) -> list[str]:
    return [step.kind for step in steps(engine, q, message_id)]


def send(engine: Engine, q: QueueRef, body: Any = "body", **options: Any) -> str:
    if q.is_fifo:
        options.setdefault("group", "g")
    [sent] = engine.send(q, body, **options)
    return str(sent.message_id)


def failed(d: Any, kind: str = "retry", wanted_ms: int | None = None) -> Outcome:
    why = Failure("ValueError", "no such customer", "Traceback ...", "box-1-abc", None, 1, 1)
    return Outcome(d, kind, why, ("ValueError",), wanted_ms, 1_000_000)


def test_sent_received_and_deleted(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    message_id = send(engine, q)
    engine.clock.advance_ms(1500)
    [d] = engine.receive(q, visibility_ms=30_000)
    assert d.message_id == message_id
    engine.clock.advance_ms(2000)
    assert engine.delete(q, d) == [None]
    sent, received, deleted = steps(engine, q, message_id)
    assert (sent.kind, received.kind, deleted.kind) == ("sent", "received", "deleted")
    assert {(step.message_id, step.queue) for step in (sent, received, deleted)} == {(message_id, q.name)}
    assert (sent.after_s, received.after_s, deleted.after_s) == (None, 1.5, 2)
    assert (received.waited_s, received.receive_count) == (1.5, 1)
    assert received.visible_at_ms == received.at_ms + 30_000
    assert sent.process == received.process == ids.call_slots.process
    assert engine.counts(q) == (0, 0, 0)


def test_only_the_message_that_is_asked_for(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    first, second = send(engine, q), send(engine, q, "other", group="h" if q.is_fifo else None)
    engine.delete(q, *engine.receive(q, 1))
    assert kinds(engine, q, first) == ["sent", "received", "deleted"]
    assert kinds(engine, q, second) == ["sent"]


@pytest.mark.parametrize("many", [1, 3, 10])
def test_batches(engine: Engine, name: str, many: int) -> None:
    q = engine.queue(name, **ON)
    sent = engine.send(q, *range(many), group="g" if q.is_fifo else None)
    got = engine.receive(q, many)
    engine.delete(q, *got)
    engine.delete(q, *got)  # they are gone: no step
    for each in sent:
        assert kinds(engine, q, each.message_id) == ["sent", "received", "deleted"]


def test_received_and_deleted_at_once(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    message_id = send(engine, q)
    engine.receive(q, delete=True)
    assert kinds(engine, q, message_id) == ["sent", "received", "deleted"]


def test_deleted_with_the_call_that_receives_the_next(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    first, second = send(engine, q, "a"), send(engine, q, "b")
    [d] = engine.receive(q, 1)
    engine.clock.advance_ms(10)
    got, failures = engine.run(flows.delete_and_receive(q, NATIVE, [d.receipt], 1))
    assert [failures, [d.message_id for d in got]] == [[], [second]]
    assert kinds(engine, q, first) == ["sent", "received", "deleted"]
    assert kinds(engine, q, second) == ["sent", "received"]
    assert steps(engine, q, first)[-1].at_ms == engine.clock.ms


def test_delayed_until(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    message_id = send(engine, q, due_ms=engine.clock.ms + 5000)
    engine.clock.advance_ms(7000)
    [d] = engine.receive(q)
    sent, received = steps(engine, q, message_id)
    assert sent.visible_at_ms == sent.at_ms + 5000
    assert received.waited_s == 2
    assert d.message_id == message_id


def test_a_visibility_timeout_that_is_over_is_told_by_the_next_receive(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    message_id = send(engine, q)
    engine.receive(q, visibility_ms=1000)
    engine.clock.advance_ms(5000)
    assert kinds(engine, q, message_id) == ["sent", "received"]
    engine.receive(q, visibility_ms=1000)
    _, first, over, second = steps(engine, q, message_id)
    assert (first.kind, over.kind, second.kind) == ("received", "timed_out", "received")
    assert over.at_ms == first.visible_at_ms
    assert (second.receive_count, second.waited_s) == (2, 4)


def test_the_visibility_is_changed(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    message_id = send(engine, q)
    [d] = engine.receive(q, visibility_ms=1000)
    assert engine.run(flows.change_visibility(q, [(d.receipt_handle, 9000)], NATIVE)) == [None]
    changed = steps(engine, q, message_id)[-1]
    assert (changed.kind, changed.visible_at_ms) == ("visibility_changed", engine.clock.ms + 9000)
    assert engine.run(flows.change_visibility(q, [(d.receipt_handle, 0)], NATIVE)) == [None]
    engine.clock.advance_ms(1)
    engine.receive(q)
    assert kinds(engine, q, message_id) == ["sent", "received", *["visibility_changed"] * 2, "received"]


def test_released_by_a_worker(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    message_id = send(engine, q)
    [d] = engine.receive(q)
    assert release(engine, q, requeue(d)) == [0]
    engine.clock.advance_ms(1)
    [d] = engine.receive(q)
    assert release(engine, q, failed(d, wanted_ms=3000)) == [3000]
    engine.clock.advance_ms(4000)
    engine.receive(q)
    found = steps(engine, q, message_id)
    assert [step.kind for step in found] == ["sent", "received", "released", "received", "released", "received"]
    assert (found[2].outcome, found[2].cause) == ("requeue", None)
    assert (found[4].outcome, found[4].cause) == ("retry", "ValueError: no such customer")
    assert found[4].consumer == "box-1-abc"
    assert found[4].visible_at_ms == found[4].at_ms + 3000


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("on", ["both", "q", "dead"])
def test_dead_lettered_and_redriven(engine: Engine, name: str, is_told: bool, on: str) -> None:
    dlq = engine.queue("dead.fifo" if name.endswith(".fifo") else "dead", **(ON if on != "q" else {}))
    q = engine.queue(name, dlq.name, **(ON if on != "dead" else {}))
    message_id = send(engine, q)
    [d] = engine.receive(q, visibility_ms=1000)
    if is_told:
        release(engine, q, failed(d, "dead-letter"))
    else:
        engine.clock.advance_ms(2000)
        assert engine.receive(q) == []
    engine.clock.advance_ms(1000)
    engine.run(flows.drive_move(dlq, engine.run(flows.start_move(dlq, None, None))))
    [d] = engine.receive(q)
    assert d.message_id != message_id
    first = [] if on == "dead" else ["sent", "received"] + ["released"] * is_told
    last = [] if on == "dead" else ["received"]
    for where, known_as in ((q, message_id), (dlq, message_id), (q, d.message_id)):
        found = steps(engine, where, known_as)
        if on == "both" or (where is dlq) == (on == "dead"):
            assert [step.kind for step in found] == [*first, "dead_lettered", "moved", *last]
    source = q if on != "dead" else dlq
    died, moved = [step for step in steps(engine, source, message_id) if step.kind in ("dead_lettered", "moved")]
    assert (died.source, died.destination, died.receive_count) == (q.name, dlq.name, 1)
    assert died.outcome == ("released" if is_told else "receives")
    assert (moved.source, moved.destination) == (dlq.name, q.name)
    assert (moved.message_id, moved.new_message_id) == (message_id, d.message_id)


def test_redriven_to_another_slot(engine: Engine, name: str) -> None:
    suffix = ".fifo" if name.endswith(".fifo") else ""
    dlq, other = engine.queue("dead" + suffix, **ON), engine.queue("other" + suffix, **ON)
    q = engine.queue(name, dlq.name, **ON)
    message_id = send(engine, q)
    while sum(engine.counts(q)):
        engine.receive(q, visibility_ms=0)
    engine.run(flows.drive_move(dlq, engine.run(flows.start_move(dlq, other, None))))
    [d] = engine.receive(other)
    expected = ["sent", "received", "dead_lettered", "moved", "received"]
    for where, known_as in ((q, message_id), (dlq, message_id), (other, message_id), (other, d.message_id)):
        assert kinds(engine, where, known_as)[-5:] == [*expected[:1], *kinds(engine, q, message_id)[1:]][-5:]
    assert [kind for kind in kinds(engine, q, message_id) if kind != "visibility_changed"] == expected
    moved = next(step for step in steps(engine, other, d.message_id) if step.kind == "moved")
    assert (moved.message_id, moved.new_message_id, moved.destination) == (message_id, d.message_id, other.name)
    assert kinds(engine, q, send(engine, q, "another")) == ["sent"]


def test_cancelled_and_rescheduled(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    message_id = send(engine, q)
    assert engine.run(flows.reschedule(q, message_id, engine.clock.ms + 60_000)) is True
    assert engine.run(flows.cancel(q, message_id)) is True
    sent, moved, cancelled = steps(engine, q, message_id)
    assert (sent.kind, moved.kind, cancelled.kind) == ("sent", "rescheduled", "cancelled")
    assert moved.visible_at_ms == engine.clock.ms + 60_000


def test_a_duplicate(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    message_id = send(engine, q, dedup_id="once")
    assert send(engine, q, dedup_id="once") == message_id
    assert kinds(engine, q, message_id) == ["sent", "duplicate"]


@pytest.mark.parametrize("by", ["receive", "count"])
@pytest.mark.parametrize("was_received", [False, True])
def test_expired(engine: Engine, name: str, by: str, was_received: bool) -> None:
    q = engine.queue(name, MessageRetentionPeriod="60", **ON)
    first, second = send(engine, q, "a"), send(engine, q, "b")
    if was_received:
        engine.receive(q, 2, 1000)
    engine.clock.advance_ms(70_000)
    if by == "receive":
        assert engine.receive(q) == []
    assert engine.counts(q) == (0, 0, 0)
    expected = ["sent", *["received"] * was_received, "expired"]
    assert kinds(engine, q, first) == kinds(engine, q, second) == expected


def test_purged(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    deleted, purged = send(engine, q, "a"), send(engine, q, "b")
    engine.delete(q, *engine.receive(q, 1))
    engine.clock.advance_ms(1000)
    engine.run(flows.purge_queue(q, NATIVE))
    engine.clock.advance_ms(1000)
    later = send(engine, q, "c")
    assert kinds(engine, q, deleted) == ["sent", "received", "deleted"]
    assert kinds(engine, q, purged) == ["sent", "purged"]
    assert kinds(engine, q, later) == ["sent"]


def test_fair_queues(engine: Engine) -> None:
    q = engine.queue("q", **ON)
    message_id = send(engine, q, group="a")
    send(engine, q, group="b")
    got = engine.receive(q, visibility_ms=1000)
    engine.clock.advance_ms(2000)
    engine.receive(q, visibility_ms=1000)
    engine.clock.advance_ms(2000)
    engine.counts(q)
    engine.receive(q, 1)  # the others wait in their group
    engine.delete(q, *got)
    assert kinds(engine, q, message_id)[-1] == "deleted"
    assert [kind for kind in kinds(engine, q, message_id) if kind == "deleted"] == ["deleted"]


def test_a_repeated_call_is_one_step(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    batch = [envelope.outgoing("a", group="g" if q.is_fifo else None)]
    [sent] = engine.run(flows.send_messages(q, batch, NATIVE))
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, 1, 30_000, "", ""))
    [d] = lost.repeat().messages
    assert d.receipt.key.startswith("~")
    engine.delete(q, d)
    assert kinds(engine, q, sent.message_id) == ["sent", "received", "deleted"]


def test_a_receive_attempt_that_is_repeated_is_one_step(engine: Engine) -> None:
    q = engine.queue("q.fifo", **ON)
    message_id = send(engine, q)
    for _ in range(2):
        [d] = engine.receive(q, visibility_ms=30_000, attempt_id="again")
    assert engine.delete(q, d) == [None]
    assert kinds(engine, q, message_id) == ["sent", "received", "deleted"]


def test_an_old_receipt_of_a_time_without_a_timeline_still_works_and_the_other_way_round(
    engine: Engine, name: str
) -> None:
    q = engine.queue(name)
    message_id = send(engine, q)
    [before] = engine.receive(q)
    engine.run(flows.set_attributes(q, ON, NATIVE))
    other = send(engine, q, "b", group="h" if q.is_fifo else None)
    [meanwhile] = engine.receive(q)
    engine.run(flows.set_attributes(q, {"Timeline": None}, NATIVE))
    assert engine.delete(q, before, meanwhile) == [None, None]
    assert engine.counts(q) == (0, 0, 0)
    assert kinds(engine, q, message_id) == []  # the delete has no mark
    assert kinds(engine, q, other) == ["sent", "received"]  # it is off again
    found = read(engine, q, other)
    assert (found.is_on, found.since_ms) == (False, engine.clock.ms)


def test_nothing_is_written_while_it_is_off(engine: Engine, name: str) -> None:
    dlq = engine.queue("dead.fifo" if name.endswith(".fifo") else "dead")
    q = engine.queue(name, dlq.name)
    message_id = send(engine, q, due_ms=engine.clock.ms + 1)
    engine.clock.advance_ms(10)
    [d] = engine.receive(q, visibility_ms=1000)
    assert not d.receipt.key.startswith("~")
    release(engine, q, retry(d))
    engine.clock.advance_ms(100_000)
    engine.receive(q)
    engine.run(flows.cancel(dlq, message_id))
    engine.run(flows.purge_queue(q, NATIVE))
    assert not [key for key in engine.names() if "timeline" in key]
    assert read(engine, q, message_id) == Timeline(message_id, (), False, None)


def test_it_costs_no_call_of_redis_while_it_is_off(engine: Engine, name: str) -> None:
    suffix = ".fifo" if name.endswith(".fifo") else ""
    once, never = engine.queue("once" + suffix, **ON), engine.queue("never" + suffix)
    engine.run(flows.set_attributes(once, {"Timeline": None}, NATIVE))
    derived = [engine.redis.hmget(q.home.base + "meta", "special", "plain", "quick") for q in (once, never)]
    assert derived[0] == derived[1]
    for q in (never, once):
        send(engine, q)
        engine.delete(q, *engine.receive(q))
    with contextlib.closing(Meter(engine)) as meter:
        for q in (never, once):
            batch = [envelope.outgoing("a", group="g" if q.is_fifo else None)]
            for _ in range(2):
                meter(flows.send_messages(q, batch, NATIVE))
                got = meter(flows.receive_messages(q, NATIVE, 1))
                meter(flows.delete_messages(q, [d.receipt for d in got], NATIVE))
            if q is never:
                expected, meter.calls = meter.calls, {}
        assert meter.calls == expected


@pytest.mark.parametrize("bound", [16_384, 65_536])
def test_it_never_takes_more_than_it_may(engine: Engine, name: str, bound: int) -> None:
    q = engine.queue(name, Timeline=str(bound))
    most, sent = 0, []
    for i in range(120):
        sent += engine.send(q, *range(10), group=f"g{i}" if q.is_fifo else None)
        engine.delete(q, *engine.receive(q, 10))
        records = engine.redis.lrange(q.home.base + "timeline", 0, -1)
        size = sum(map(len, records))
        most = max(most, size)
        assert size <= bound
        offsets = [msgpack.unpackb(record)[0] for record in records]
        assert offsets == sorted(set(offsets))
    assert most > bound / 2
    assert engine.redis.memory_usage(q.home.base + "timeline", samples=0) < bound * 1.2
    assert kinds(engine, q, sent[-1].message_id) == ["sent", "received", "deleted"]  # the oldest dropped out
    assert kinds(engine, q, sent[0].message_id) == []
    engine.run(flows.set_attributes(q, {"Timeline": "16384"}, NATIVE))
    send(engine, q)
    assert sum(map(len, engine.redis.lrange(q.home.base + "timeline", 0, -1))) <= 16_384


def test_a_long_timeline_is_read_in_steps(engine: Engine, name: str) -> None:
    q = engine.queue(name, Timeline=str(8 * 1024 * 1024))
    first = send(engine, q)
    for _ in range(40):
        engine.send(q, *range(1000), group="g" if q.is_fifo else None)
    last = send(engine, q)
    records = engine.redis.lrange(q.home.base + "timeline", 0, -1)
    assert sum(map(len, records)) > 2 * 1024 * 1024 or len(records) > 40_000
    assert kinds(engine, q, first) == kinds(engine, q, last) == ["sent"]


def test_a_damaged_timeline_harms_no_message(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    key = q.home.base + "timeline"
    for damage in (
        lambda: engine.redis.rpush(key, b"nonsense", msgpack.packb([1]), b"\xc1"),
        lambda: engine.redis.delete(key) and engine.redis.set(key, "text"),
    ):
        damage()
        message_id = send(engine, q)
        [d] = engine.receive(q)
        assert engine.delete(q, d) == [None]
        assert engine.counts(q) == (0, 0, 0)
        with contextlib.suppress(Exception):
            assert kinds(engine, q, message_id) == ["sent", "received", "deleted"]


def test_it_goes_with_the_queue(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    send(engine, q)
    assert [name for name in engine.names() if name.endswith(":timeline")]
    engine.run(flows.delete_queue(q, NATIVE))
    assert not [name for name in engine.names() if "timeline" in name]


def test_workers_are_named(engine: Engine, name: str) -> None:
    q = engine.queue(name, **ON)
    message_id = send(engine, q)
    engine.receive(q)
    engine.execute(operations.consumers.beat(q.home, (), 1000, "box-7-c0ffee", {"host": "box", "pid": 7}, 60_000))
    found = steps(engine, q, message_id)
    assert [step.consumer for step in found] == ["box-7-c0ffee"] * 2
    engine.execute(operations.consumers.beat(q.home, (), 1000, "box-7-c0ffee", None, 0))
    assert steps(engine, q, message_id) == found  # it has gone, its name stays


def test_when_memory_is_full_a_message_goes_its_way(
    small_server: Server, engine_at: Callable[..., Engine], name: str
) -> None:
    engine = engine_at(small_server.url)
    q = engine.queue(name, **ON)
    message_id = send(engine, q)
    engine.redis.config_set("maxmemory", "1mb")
    try:
        before = engine.redis.lrange(q.home.base + "timeline", 0, -1)
        with pytest.raises(ServerOutOfMemory):
            send(engine, q, "refused")
        assert engine.redis.lrange(q.home.base + "timeline", 0, -1) == before
        [d] = engine.receive(q)
        assert engine.run(flows.change_visibility(q, [(d.receipt_handle, 9000)], NATIVE)) == [None]
        assert engine.delete(q, d) == [None]
    finally:
        engine.redis.config_set("maxmemory", "0")
    assert engine.counts(q) == (0, 0, 0)
    assert kinds(engine, q, message_id)[0] == "sent"


def test_the_process_is_told_whatever_the_prefix(server_url: str, prefix: str, name: str) -> None:
    engine = Engine(server_url, f"{prefix}call")
    try:
        q = engine.queue(name, **ON)
        message_id = send(engine, q)
        engine.receive(q)
        assert {step.process for step in steps(engine, q, message_id)} == {ids.call_slots.process}
    finally:
        engine.transport.close()
