"""In which order waiting messages are handed out: as they became visible; groups of a fair queue take turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rqsqs._core import flows, operations
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import Outcome, queues
from rqsqs.errors import ReceiptHandleExpired
from rqsqs.limits import AWS, NATIVE
from rqsqs.models import Failure
from tests.clusters import infos
from tests.lua.conftest import Engine

WAITING = 1000
SEEDED = settings(
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_names = itertools.count()


def fresh(engine: Engine, **attributes: Any) -> QueueRef:
    return engine.queue(f"order-{next(_names)}", **attributes)


def by_visibility(engine: Engine, q: QueueRef, d: Any) -> None:
    engine.run(flows.change_visibility(q, [(d.receipt_handle, 0)], NATIVE))


def by_timeout(engine: Engine, q: QueueRef, d: Any) -> None:
    engine.run(flows.change_visibility(q, [(d.receipt_handle, 1)], NATIVE))
    engine.clock.advance_ms(1)


def by_failure(engine: Engine, q: QueueRef, d: Any) -> None:
    cause = Failure("ValueError", "", "", "w", 1, 1, d.receive_count)
    engine.run(flows.release(q, [Outcome(d, "retry", cause, ("ValueError",), 0)]))


def by_another_time(engine: Engine, q: QueueRef, d: Any) -> None:
    by_visibility(engine, q, d)
    assert engine.run(flows.reschedule(q, d.message_id, engine.clock.ms))


@pytest.mark.either_server
@pytest.mark.parametrize("group", [None, "tenant"], ids=["plain", "group"])
@pytest.mark.parametrize("refuse", [by_visibility, by_timeout, by_failure, by_another_time])
def test_what_came_back_lines_up_behind_what_waits(
    engine: Engine, refuse: Callable[[Engine, QueueRef, Any], None], group: str | None
) -> None:
    q = fresh(engine)
    engine.send(q, "poison", group=group)
    engine.clock.advance_ms(1)
    for start in range(0, WAITING, 100):
        engine.send(q, *range(start, start + 100), group=group)
    engine.clock.advance_ms(1)
    (poison,) = engine.receive(q, 1)
    refuse(engine, q, poison)
    engine.clock.advance_ms(1)
    engine.send(q, "later", group=group)
    received: list[Any] = []
    while len(received) < WAITING + 2:
        for d in engine.receive(q, 7):
            received.append(d.body)
            engine.delete(q, d)
    assert received == [*range(WAITING), "poison", "later"]


def test_a_receive_without_anything_due_looks_for_it_once(engine: Engine) -> None:
    q = fresh(engine)
    engine.send(q, *range(20))
    engine.receive(q, 1)
    assert calls_of(engine, lambda: engine.receive(q, 10)) == {
        "hget": 1, "hmget": 0, "zcount": 1, "lpop": 1, "hset": 1, "zadd": 1, "set": 1, "exists": 1,
    }  # fmt: skip


def calls_of(engine: Engine, act: Callable[[], Any]) -> dict[str, int]:
    """Commands that scripts ran meanwhile, among those a receive may use."""
    kinds = ("hget", "hmget", "zcount", "lpop", "hset", "zadd", "set", "exists")

    def count() -> dict[str, int]:
        servers = infos(engine.url, "commandstats")
        return {kind: sum(s.get(f"cmdstat_{kind}", {}).get("calls", 0) for s in servers) for kind in kinds}

    before = count()
    act()
    return {kind: n - before[kind] for kind, n in count().items()}


@dataclass
class Waiting:
    since_ms: int
    group: str | None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "delay", "receive", "receive", "back", "forget", "time"]),
        st.integers(0, 10_000),
    ),
    min_size=5,
    max_size=60,
)


@pytest.mark.parametrize("groups", [[None], [None, "a", "z"], ["a", "ü", "z/@:"]], ids=["plain", "some", "all"])
@SEEDED
@given(steps=STEPS)
@pytest.mark.either_server
def test_messages_of_a_line_come_in_the_order_in_which_they_became_visible(
    engine: Engine, groups: list[str | None], steps: list[tuple[str, int]]
) -> None:
    q = fresh(engine)
    waiting: dict[int, Waiting] = {}
    held: dict[int, Any] = {}
    bodies = itertools.count()
    for what, number in steps:
        group, now = groups[number % len(groups)], engine.clock.ms
        if what in ("send", "delay"):
            body, delay = next(bodies), number % 7 if what == "delay" else 0
            engine.send(q, body, group=group, delay_ms=delay)
            waiting[body] = Waiting(now + delay, group)
        elif what == "receive":
            ready = {body: m for body, m in waiting.items() if m.since_ms <= now}
            got = engine.receive(q, 1 + number % 4, 1_000_000)
            assert bool(got) == bool(ready)
            for d in got:
                m = ready.pop(d.body)
                rest = [o.since_ms for o in ready.values() if o.group == m.group or groups == [None]]
                assert m.since_ms <= min(rest, default=now)
                del waiting[d.body]
                held[d.body] = d, m.group
        elif what in ("back", "forget") and held:
            body = sorted(held)[number % len(held)]
            d, group = held.pop(body)
            hidden = 0 if what == "back" else number % 5
            engine.run(flows.change_visibility(q, [(d.receipt_handle, hidden)], NATIVE))
            waiting[body] = Waiting(now + hidden, group)
        else:
            engine.clock.advance_ms(number % 3)
    engine.clock.advance_ms(10)
    left = [d.body for _ in range(20) for d in engine.receive(q, 10, 1_000_000)]
    assert sorted(left) == sorted(waiting)
    engine.run(flows.delete_queue(q, NATIVE))


ARRIVALS = st.lists(
    st.lists(st.tuples(st.sampled_from([None, "a", "b", "m", "z", "ü"]), st.booleans()), max_size=4),
    min_size=3,
    max_size=60,
)


@SEEDED
@given(arrivals=ARRIVALS)
def test_a_group_with_a_ready_message_waits_at_most_one_round(
    engine: Engine, arrivals: list[list[tuple[str | None, bool]]]
) -> None:
    q = fresh(engine)
    ready: dict[str | None, int] = {}
    overtaken: dict[str | None, list[str | None]] = {}  # who was served while the group waited
    engine.send(q, "first of a group", group="z")
    engine.delete(q, *engine.receive(q, 1))
    for sent in arrivals:
        for group, fails in sent:
            engine.send(q, fails, group=group)
            if not ready.get(group):
                overtaken[group] = []
            ready[group] = ready.get(group, 0) + 1
        got = engine.receive(q, 1)
        assert len(got) == (sum(ready.values()) > 0)
        for d in got:
            group = d.group or None
            for other, n in ready.items():
                if n and other != group:
                    overtaken[other].append(group)
                    assert overtaken[other].count(group) == 1, f"{group!r} was served twice while {other!r} waited"
            ready[group] -= 1
            overtaken[group] = []
            if d.body:
                if not ready[group]:
                    overtaken[group] = []
                ready[group] += 1
                by_visibility(engine, q, d)  # it will be received again and again
            else:
                engine.delete(q, d)
    engine.run(flows.delete_queue(q, NATIVE))


def test_failures_of_a_noisy_tenant_take_no_more_than_its_turns(engine: Engine) -> None:
    q = fresh(engine)
    engine.send(q, *["fails"] * 5, group="noisy")
    engine.send(q, *range(200), group="quiet")
    handled = 0
    for _ in range(420):
        for d in engine.receive(q, 1):
            if d.body == "fails":
                by_visibility(engine, q, d)
            else:
                handled += 1
                engine.delete(q, d)
    assert handled == 200


def test_groups_take_turns_also_if_all_their_messages_are_delayed(engine: Engine) -> None:
    q = fresh(engine, DelaySeconds="1")
    engine.send(q, *["noisy"] * 100, group="noisy")
    engine.clock.advance_ms(1)
    engine.send(q, "quiet", group="quiet")
    engine.clock.advance_ms(1000)
    assert [engine.bodies(q, 1) for _ in range(2)] == [["noisy"], ["quiet"]]


@pytest.mark.parametrize("length", range(10, 15))  # with one of 12 bytes a key is as long as one in flight without
@pytest.mark.parametrize("delay_ms", [0, 5])
def test_a_message_of_a_paused_group_stays_in_it_whatever_its_name(engine: Engine, length: int, delay_ms: int) -> None:
    q, group = fresh(engine), "g" * length
    engine.send(q, "other", group="other")
    engine.send(q, "paused", group=group, delay_ms=delay_ms)
    if not delay_ms:
        assert engine.run(flows.release(q, [Outcome(d, "requeue") for d in engine.receive(q)])) == [0, 0]
    engine.run(flows.pause(q, resume=False, group=group))
    engine.clock.advance_ms(delay_ms)
    assert engine.bodies(q) == ["other"]
    engine.run(flows.pause(q, resume=True, group=group))
    assert engine.bodies(q) == ["paused"]


def test_what_was_never_received_and_what_came_back_are_counted_apart(engine: Engine) -> None:
    q = fresh(engine)
    engine.send(q, *range(3), group="g")
    engine.send(q, *range(2), group="g", delay_ms=5)
    for d in engine.receive(q, 2):
        by_visibility(engine, q, d)
    engine.clock.advance_ms(5)
    (d,) = engine.receive(q, 1)  # brings what is due to its group
    kept = engine.redis.hgetall(q.home.base + "meta")
    counted = {field: int(kept.get(field.encode(), b"0")) for field in ("grouped", "returned", "arrived")}
    assert counted == {"grouped": 0, "returned": 2, "arrived": 2}
    assert engine.counts(q) == (4, 1, 0)
    engine.run(flows.change_visibility(q, [(d.receipt_handle, 0)], NATIVE))
    engine.send(q, "other", group="other")
    assert len(engine.receive(q, 1)) == 1  # brings it to its group
    assert engine.counts(q) == (5, 1, 0)
    engine.delete(q, d, d)  # twice in one call
    assert engine.counts(q) == (4, 1, 0)
    engine.clock.advance_ms(30_000)
    while got := engine.receive(q, 10):
        engine.delete(q, *got)
    kept = engine.redis.hgetall(q.home.base + "meta")
    assert {int(kept[field]) for field in (b"grouped", b"returned", b"arrived")} == {0}


def test_a_dead_letter_given_another_time_is_counted_as_not_received(engine: Engine) -> None:
    dead = engine.queue("dead")
    q = fresh(engine, dlq="dead")
    engine.send(q, "m", group="g")
    assert engine.bodies(q, 1, 0) == ["m"]
    assert engine.bodies(q) == []  # dies
    shard = dead.partition(q.home.tag)
    (d,) = engine.receive(dead, 1)
    engine.execute(queues.pause_group(shard, "g", resume=False))  # takes turns from now on
    assert engine.run(flows.release(dead, [Outcome(d, "requeue")])) == [0]
    assert engine.run(flows.reschedule(dead, d.message_id, engine.clock.ms + 5, group="g"))
    engine.clock.advance_ms(5)
    assert engine.receive(dead) == []  # brings it to its group

    def counted() -> dict[str, int]:
        kept = engine.redis.hgetall(shard.base + "meta")
        return {field: int(kept.get(field.encode(), b"0")) for field in ("returned", "arrived")}

    assert counted() == {"returned": 0, "arrived": 1}
    assert engine.delete(dead, d) == [None]
    assert counted() == {"returned": 0, "arrived": 0}
    assert engine.counts(dead) == (0, 0, 0)


# Handles from before


def pause_group(engine: Engine, q: QueueRef, d: Any) -> None:
    engine.run(flows.pause(q, resume=False, group="g"))
    assert engine.receive(q) == []


def go_round(engine: Engine, q: QueueRef, _d: Any) -> None:
    engine.send(q, "other", group="other")
    assert [d.body for d in engine.receive(q, 1)] == ["other"]


def give_soon(engine: Engine, q: QueueRef, d: Any) -> None:
    assert engine.run(flows.reschedule(q, d.message_id, engine.clock.ms + 1000))


def give_far(engine: Engine, q: QueueRef, d: Any) -> None:
    assert engine.run(flows.reschedule(q, d.message_id, engine.clock.ms + 86_400_000))


def receive_999_times(engine: Engine, q: QueueRef, d: Any) -> None:
    score = f"{engine.clock.ms}999"
    assert engine.redis.zadd(q.home.base + "inflight", {d.receipt.key: float(score)}, xx=True) == 0
    assert [e.receive_count for e in engine.receive(q, 1, 0)] == [1000]


def bury(engine: Engine, q: QueueRef, _d: Any) -> None:
    engine.queue("grave")
    arn = "arn:aws:sqs:us-east-1:000000000000:grave"
    policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":1}}'
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy}, NATIVE))
    assert engine.receive(q) == []


@pytest.mark.parametrize(
    ("meanwhile", "group"),
    [
        (pause_group, "g"),
        *itertools.product([go_round, give_soon, give_far, receive_999_times, bury], [None, "g"]),
    ],
)
def test_a_delete_by_an_old_handle_is_final_or_refused(
    engine: Engine, meanwhile: Callable[[Engine, QueueRef, Any], None], group: str | None
) -> None:
    q = fresh(engine)
    engine.send(q, "m", group=group)
    (d,) = engine.receive(q, 1, 1)
    engine.clock.advance_ms(1)
    meanwhile(engine, q, d)
    before = sum(engine.counts(q))
    (failure,) = engine.delete(q, d)
    if failure is None:
        assert meanwhile not in (give_far, receive_999_times, bury)
        assert sum(engine.counts(q)) == before - 1
    else:
        assert isinstance(failure.error, ReceiptHandleExpired)
        assert meanwhile in (give_far, receive_999_times, bury)
        assert sum(engine.counts(q)) == before
        assert engine.run(flows.delete_messages(q, [d.receipt_handle], AWS)) == [None]  # as SQS answers
    engine.run(flows.pause(q, resume=True, group="g"))
    engine.clock.advance_ms(86_400_000)
    assert ("m" in engine.bodies(q)) == (failure is not None and meanwhile is not bury)
    if meanwhile is bury:
        assert engine.bodies(engine.transport.queue("grave")) == ["m"]


def test_a_message_given_back_unbegun_keeps_its_place_and_is_told_apart(engine: Engine) -> None:
    q = fresh(engine)
    engine.send(q, "a", "b")
    (first,) = engine.receive(q, 1)
    engine.clock.advance_ms(1)
    assert engine.run(flows.release(q, [Outcome(first, "requeue")])) == [0]
    (second, _) = engine.receive(q, 2)
    assert (second.body, second.receive_count) == ("a", 1)
    assert engine.delete(q, first) == [None]  # finds nothing
    assert engine.counts(q) == (0, 2, 0)
    assert engine.delete(q, second) == [None]
    assert engine.counts(q) == (0, 1, 0)


# Bytes


def test_large_records_come_in_portions(engine: Engine) -> None:
    q = fresh(engine)
    for _ in range(9):
        engine.send(q, "x" * 2**20)
    got = engine.execute(operations.receive_messages(q.home, NATIVE, 10, 0, "", "")).messages
    assert 1 <= len(got) <= 5
    rest = engine.execute(operations.receive_messages(q.home, NATIVE, 10, 0, "", "")).messages
    assert 1 <= len(rest) <= 5
    assert len(engine.receive(q, 10, 1000)) == 9  # several calls
    while got := engine.receive(q, 10):
        engine.delete(q, *got)


def test_large_records_that_are_too_old_count_as_read(engine: Engine) -> None:
    dead = engine.queue("dead", MessageRetentionPeriod="60")
    q = fresh(engine, dlq="dead")
    for body in ("old", "young"):
        for _ in range(28 if body == "old" else 4):
            engine.send(q, body + "x" * 2**18)
        engine.clock.advance_ms(50_000)
    got = engine.receive(q, 32, 1000)
    old, young = got[:28], got[28:]
    mixed = [d for n in range(4) for d in (young[n], *old[7 * n : 7 * n + 7])]
    engine.run(flows.change_visibility(q, [(d.receipt_handle, 1 + n) for n, d in enumerate(mixed)], NATIVE))
    engine.clock.advance_ms(40)
    while engine.receive(q):  # they die, in this order
        pass
    shard = dead.partition(q.home.tag)
    assert engine.redis.llen(shard.base + "ready") == 2 * 32
    bodies = [d.body for d in engine.execute(operations.receive_messages(shard, NATIVE, 32, 9000, "", "")).messages]
    assert [body[:5] for body in bodies] == ["young"] * 3  # 15 records were read at once, and one more
    assert engine.redis.llen(shard.base + "ready") == 2 * 15


@pytest.mark.parametrize("group", [None, "g"])
def test_messages_without_a_record_go_when_they_are_touched(engine: Engine, group: str | None) -> None:
    q = fresh(engine)
    engine.send(q, "begun", "back", "failed", "again", "delayed", group=group)
    begun, back, failed, again, delayed = engine.receive(q)
    by_visibility(engine, q, again)
    by_visibility(engine, q, delayed)
    assert engine.run(flows.reschedule(q, delayed.message_id, engine.clock.ms + 5))
    engine.redis.delete(q.home.base + "store")
    cause = Failure("ValueError", "", "", "w", 1, 1, 1)
    assert engine.run(flows.release(q, [Outcome(back, "requeue"), Outcome(failed, "retry", cause, ("E",), 0)])) == [
        0,
        -2,
    ]
    for d in (again, delayed):
        assert not engine.run(flows.reschedule(q, d.message_id, engine.clock.ms + 1000))
        assert not engine.run(flows.cancel(q, d.message_id))
    assert engine.counts(q) == (0, 1, 0)
    assert engine.delete(q, begun) == [None]
    engine.send(q, "good", group=group)
    assert engine.bodies(q) == ["good"]
