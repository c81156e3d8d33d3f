"""Messages that a worker sends to the dead-letter queue, with their last failure or at once, and their causes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rqsqs import RetryPolicy
from rqsqs._core import flows, operations
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import Outcome
from rqsqs.errors import QueueDoesNotExist, ServerOutOfMemory
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine, policy
from tests.lua.outcomes import (
    DEAD_LETTERED,
    GONE,
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
from tests.servers import KINDS, Server, find_binary


@pytest.fixture
def dead(name: str) -> str:
    """The name of a dead-letter queue."""
    return "dead.fifo" if name.endswith(".fifo") else "dead"


def letter_of(engine: Engine, dlq: QueueRef) -> Delivery:
    """Receive the one dead letter there is."""
    return again(engine, dlq, 0)


def test_the_last_failure_sends_a_message_to_the_dead_letter_queue_at_once(
    engine: Engine, name: str, dead: str
) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 3)
    engine.send(q, "a", group=group(q))
    for n in range(1, 4):
        d = again(engine, q)
        assert release(engine, q, retry(d, f"E{n}", chance=0)) == [DEAD_LETTERED if n == 3 else 0]
    assert (engine.counts(q), engine.counts(dlq)) == ((0, 0, 0), (1, 0, 0))
    found = letter_of(engine, dlq)
    assert (found.body, found.dead_letter_source, found.receive_count, found.received_before) == ("a", name, 4, 3)
    assert found.message_id == d.message_id
    assert found.first_received_at_ms == d.first_received_at_ms
    assert found.cause
    assert (found.cause.type, found.cause.failures, found.cause.receives) == ("E3", 3, 3)
    assert release(engine, q, retry(d, "E3")) == [GONE]
    assert engine.counts(dlq) == (1, 0, 0)


def test_receives_without_a_word_count_as_well(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 3)
    engine.send(q, "a", group=group(q))
    for _ in range(2):
        again(engine, q, 0)
    d = again(engine, q)
    assert d.unreported_receives == 2
    assert release(engine, q, retry(d, "E")) == [DEAD_LETTERED]
    found = letter_of(engine, dlq)
    assert found.cause
    assert (found.cause.type, found.cause.failures, found.cause.receives) == ("E", 1, 3)


def test_what_came_back_has_its_receive_again(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 1)
    engine.send(q, "a", group=group(q))
    for _ in range(5):
        assert release(engine, q, requeue(again(engine, q))) == [0]
    assert engine.counts(dlq) == (0, 0, 0)
    assert release(engine, q, retry(again(engine, q))) == [DEAD_LETTERED]
    assert letter_of(engine, dlq).received_before == 1


@pytest.mark.parametrize("by", ["outcome", "policy"])
def test_what_shall_not_be_tried_again_goes_at_once(engine: Engine, name: str, dead: str, by: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 100, **retry_policy(dead_letter=("shop.Gone",), exceptions={"Odd": RetryPolicy()}))
    d = received(engine, q)
    outcome = dead_letter(d) if by == "outcome" else retry(d, "app.Mine", "shop.Gone", "Exception", wanted_ms=5)
    assert release(engine, q, outcome) == [DEAD_LETTERED]
    assert letter_of(engine, dlq).cause == outcome.cause
    assert engine.counts(q) == (0, 0, 0)


def test_a_policy_for_the_class_itself_goes_before_that_of_a_base_class(engine: Engine, name: str, dead: str) -> None:
    engine.queue(dead)
    q = engine.queue(name, dead, 100, **retry_policy(dead_letter=("Base",), exceptions={"Special": RetryPolicy(3, 3)}))
    assert release(engine, q, retry(received(engine, q), "Special", "Base")) == [3000]


@pytest.mark.parametrize("by", ["outcome", "policy"])
def test_without_a_dead_letter_queue_it_is_tried_again_after_the_longest_delay(
    engine: Engine, name: str, by: str
) -> None:
    q = engine.queue(name, **retry_policy(1, 77, dead_letter=("Gone",)))
    d = received(engine, q)
    assert release(engine, q, dead_letter(d) if by == "outcome" else retry(d, "Gone", wanted_ms=1)) == [77_000]
    engine.clock.advance_ms(77_000)
    d = again(engine, q)
    assert (d.receive_count, d.failures) == (2, 1)


def test_a_dead_letter_wakes_its_queue_and_frees_the_group(engine: Engine, dead: str) -> None:
    dlq = engine.queue("dead.fifo")
    q = engine.queue("q.fifo", "dead.fifo", 5)
    engine.send(q, "a", "b", "c", group="g")
    a, b = engine.receive(q, 2, 600_000)
    shard = dlq.partition(q.home.tag)
    for p in (q.home, shard):
        engine.redis.delete(p.wakeups)
    assert release(engine, q, dead_letter(a)) == [DEAD_LETTERED]
    assert engine.token(shard)
    assert not engine.token(q.home)  # b is in flight: the group is locked
    assert release(engine, q, dead_letter(b)) == [DEAD_LETTERED]
    assert engine.token(q.home)
    assert engine.bodies(q) == ["c"]
    assert [d.body for d in engine.receive(dlq, 10, 0)] == ["a", "b"]


def test_messages_of_one_call_go_their_different_ways(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 2)
    engine.send(q, "a", "b", "c", "d", "e", group=group(q))
    got = engine.receive(q, 5)
    engine.delete(q, got[4])
    outcomes = [dead_letter(got[0]), requeue(got[1]), retry(got[2]), retry(got[3], chance=0), retry(got[4])]
    assert release(engine, q, *outcomes) == [DEAD_LETTERED, 0, 1000, 0, GONE]
    assert (engine.counts(q), engine.counts(dlq)) == ((2, 1, 0), (1, 0, 0))
    engine.clock.advance_ms(1000)
    got = sorted(engine.receive(q), key=lambda d: str(d.body))
    assert [(d.body, d.receive_count) for d in got] == [("b", 1), ("c", 2), ("d", 2)]
    assert release(engine, q, *map(retry, got)) == [1000, DEAD_LETTERED, DEAD_LETTERED]
    assert (engine.counts(q), engine.counts(dlq)) == ((0, 1, 0), (3, 0, 0))
    assert [d.body for d in engine.receive(dlq, 10, 0)] == ["a", "c", "d"]


def test_a_thousand_at_once(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 2)
    engine.send(q, *range(1000), group=group(q))
    got = engine.receive(q, 1000)
    assert release(engine, q, *[retry(d, chance=0) for d in got]) == [0] * 1000
    got = engine.receive(q, 1000)
    assert release(engine, q, *map(requeue, got)) == [0] * 1000
    got = engine.receive(q, 1000)
    assert {d.receive_count for d in got} == {2}
    assert release(engine, q, *map(retry, got)) == [DEAD_LETTERED] * 1000
    assert (engine.counts(q), engine.counts(dlq)) == ((0, 0, 0), (1000, 0, 0))


# The dead-letter queue is not there


@pytest.fixture
def unmarked(engine: Engine, name: str, dead: str) -> QueueRef:
    """A queue whose dead-letter queue has no shard yet: the process that set the policy died."""
    q = engine.queue(name, name, 1)  # a policy before there is a shard: the queue is its own
    dlq = engine.queue(dead)
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead, 1)}, NATIVE))
    engine.redis.delete(dlq.partition(q.home.tag).base + "meta")
    return q


def test_a_shard_is_made_when_it_is_needed(engine: Engine, unmarked: QueueRef, dead: str) -> None:
    q = unmarked
    engine.send(q, "a", "b", "c", group=group(q))
    a, b, c = engine.receive(q)
    operation = operations.release_messages(q.home, [retry(a), requeue(b), dead_letter(c)])
    assert engine.execute(operation) == ([operations.MISSING_DLQ, 0, operations.MISSING_DLQ], dead)
    assert engine.counts(q) == (1, 2, 0)
    assert release(engine, q, retry(a), dead_letter(c)) == [DEAD_LETTERED, DEAD_LETTERED]
    dlq = engine.transport.queue(dead)
    assert [d.body for d in engine.receive(dlq)] == ["a", "c"]
    assert engine.counts(q) == (1, 0, 0)


@pytest.mark.parametrize("how", ["last", "dead-letter"])
def test_with_a_deleted_dead_letter_queue_it_is_tried_again(engine: Engine, name: str, dead: str, how: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 1, **retry_policy(2, 50))
    engine.run(flows.delete_queue(dlq, NATIVE))
    d = received(engine, q)
    assert release(engine, q, retry(d) if how == "last" else dead_letter(d)) == [2000 if how == "last" else 50_000]
    assert engine.counts(q) == (0, 1, 0)
    engine.queue(dead)
    engine.clock.advance_ms(50_000)
    d = again(engine, q)
    assert (d.receive_count, d.failures) == (2, 1)
    assert release(engine, q, retry(d)) == [4000]  # the source does not look again within a minute
    engine.clock.advance_ms(10_001)
    if q.is_fifo:
        engine.counts(q)
    assert release(engine, q, retry(d)) == [DEAD_LETTERED]
    assert [x.body for x in engine.receive(dlq)] == ["a"]


def test_a_queue_may_be_its_own_dead_letter_queue(engine: Engine, name: str) -> None:
    q = engine.queue(name, name, 1)
    d = received(engine, q)
    assert release(engine, q, retry(d)) == [DEAD_LETTERED]
    assert engine.counts(q) == (1, 0, 0)
    d = again(engine, q)
    assert (d.receive_count, d.dead_letter_source, d.received_before) == (2, name, 1)
    assert d.cause
    assert (d.cause.type, d.cause.receives) == ("ValueError", 1)
    assert release(engine, q, dead_letter(d)) == [DEAD_LETTERED]
    assert engine.counts(q) == (1, 0, 0)


# Messages with a history


@pytest.mark.parametrize("kind", [requeue, retry])
def test_a_message_that_was_received_a_thousand_times(
    engine: Engine, name: str, kind: Callable[[Delivery], Outcome]
) -> None:
    q = engine.queue(name)
    engine.send(q, "a", group=group(q))
    for n in range(1, 998):
        assert again(engine, q, 0).receive_count == n
    for n in range(998, 1004):
        d = again(engine, q)
        assert d.receive_count == n
        assert release(engine, q, requeue(d)) == [0]
        d = again(engine, q)
        assert d.receive_count == n
        assert release(engine, q, retry(d, chance=0)) == [0]
        assert release(engine, q, retry(d, chance=0)) == [0]  # nobody received it since
        assert engine.counts(q) == (1, 0, 0)
    old = d
    d = again(engine, q)
    assert (d.receive_count, d.failures) == (1004, 6)
    assert release(engine, q, kind(old)) == [LOST]
    assert release(engine, q, kind(d)) == [0 if kind is requeue else 64_000]
    if kind is retry:
        engine.clock.advance_ms(63_999)
        assert engine.bodies(q) == []
        engine.clock.advance_ms(1)
    assert again(engine, q).receive_count == (1004 if kind is requeue else 1005)


def test_a_message_received_a_thousand_times_dies_by_its_true_number(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name)
    engine.send(q, "a", group=group(q))
    for _ in range(999):
        again(engine, q, 0)
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead, 1000)}, NATIVE))
    assert release(engine, q, retry(again(engine, q))) == [DEAD_LETTERED]
    assert letter_of(engine, dlq).received_before == 1000


def test_a_dead_letter_can_fail_and_go_further(engine: Engine, name: str, dead: str) -> None:
    end = "end.fifo" if name.endswith(".fifo") else "end"
    final = engine.queue(end)
    dlq = engine.queue(dead, end, 2)
    q = engine.queue(name, dead, 1)
    engine.send(q, "a", group="g")
    assert release(engine, q, retry(again(engine, q), "E1")) == [DEAD_LETTERED]
    d = again(engine, dlq)
    assert (d.failures, d.receive_count, d.group) == (1, 2, "g")
    assert release(engine, dlq, retry(d, "E2")) == [2000]
    engine.clock.advance_ms(2000)
    assert release(engine, dlq, retry(again(engine, dlq), "E3")) == [DEAD_LETTERED]
    found = letter_of(engine, final)
    assert (found.dead_letter_source, found.received_before, found.group) == (dead, 3, "g")
    assert found.cause
    assert (found.cause.type, found.cause.failures, found.cause.receives) == ("E3", 3, 3)


def test_a_standard_message_that_is_too_old_ends_either_way(engine: Engine, dead: str) -> None:
    dlq = engine.queue("dead", MessageRetentionPeriod="60")
    q = engine.queue("q", "dead", 5, MessageRetentionPeriod="60")
    engine.send(q, "a", "b", "c")
    a, b, c = engine.receive(q, 3, 600_000)
    engine.clock.advance_ms(60_001)
    assert release(engine, q, requeue(a), retry(b, chance=0), dead_letter(c)) == [0, 0, DEAD_LETTERED]
    assert engine.bodies(q) == []
    assert engine.bodies(dlq) == []
    assert engine.counts(q) == engine.counts(dlq) == (0, 0, 0)


def test_a_fifo_message_that_is_too_old_ends_and_a_dead_letter_begins_anew(engine: Engine) -> None:
    dlq = engine.queue("dead.fifo", MessageRetentionPeriod="60")
    q = engine.queue("q.fifo", "dead.fifo", 5, MessageRetentionPeriod="60")
    for body in ("a", "b", "c"):
        engine.send(q, body, group=body)
    a, b, c = engine.receive(q, 3, 600_000)
    engine.clock.advance_ms(60_001)
    assert release(engine, q, requeue(a), retry(b, chance=0), dead_letter(c)) == [0, 0, DEAD_LETTERED]
    assert engine.bodies(q) == []
    assert engine.bodies(dlq) == ["c"]
    assert (engine.counts(q), engine.counts(dlq)) == ((0, 0, 0), (0, 1, 0))


def test_a_group_of_a_fair_queue_goes_along(engine: Engine) -> None:
    dlq = engine.queue("dead")
    q = engine.queue("q", "dead", 1)
    engine.send(q, "a", group="a/@b")
    engine.send(q, "b", group="h")
    engine.send(q, "free")
    got = engine.receive(q)
    assert release(engine, q, *map(retry, got)) == [DEAD_LETTERED] * 3
    assert engine.counts(q) == (0, 0, 0)
    assert {d.body: d.group for d in engine.receive(dlq)} == {"a": "a/@b", "b": "h", "free": None}


# Why: the cause of a dead letter


def test_a_message_nobody_said_a_word_about_was_received_too_often(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 2)
    engine.send(q, "a", group=group(q))
    for _ in range(2):
        assert again(engine, q, 0).cause is None
    assert engine.bodies(q) == []
    found = letter_of(engine, dlq)
    assert found.cause
    assert (found.cause.type, found.cause.failures, found.cause.receives) == ("ReceivedTooOften", 0, 2)
    assert found.cause.at_ms is None
    assert found.cause.message.startswith("2 receives ended without a word")
    assert found.failures == 0


def test_a_message_whose_last_receives_ended_without_a_word(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 3)
    engine.send(q, "a", group=group(q))
    assert release(engine, q, retry(again(engine, q), "E", chance=0)) == [0]
    for silent in range(2):
        d = again(engine, q, 0)
        assert (d.unreported_receives, d.failures) == (silent, 1)
        assert d.cause
        assert d.cause.type == "E"
    assert engine.bodies(q) == []
    found = letter_of(engine, dlq)
    assert found.cause
    assert (found.cause.type, found.cause.failures, found.cause.receives) == ("ReceivedTooOften", 1, 3)
    assert found.cause.message.startswith("the last 2 receives ended without a word")


def test_causes_along_a_chain_of_dead_letter_queues(engine: Engine, name: str, dead: str) -> None:
    end = "end.fifo" if name.endswith(".fifo") else "end"
    final = engine.queue(end)
    dlq = engine.queue(dead, end, 1)
    q = engine.queue(name, dead, 1)
    engine.send(q, "told", "silent", group=group(q))
    told, _silent = engine.receive(q, 2, 1000)
    assert release(engine, q, retry(told, "E")) == [DEAD_LETTERED]
    engine.clock.advance_ms(1000)
    assert engine.bodies(q) == []
    causes = {d.body: d.cause for d in engine.receive(dlq, 10, 1000)}
    assert {body: (c.type, c.receives) for body, c in causes.items()} == {
        "told": ("E", 1),
        "silent": ("ReceivedTooOften", 1),
    }
    engine.clock.advance_ms(1000)
    assert engine.bodies(dlq) == []
    found = {d.body: d.cause for d in engine.receive(final, 10, 0)}
    assert {body: (c.type, c.failures, c.receives) for body, c in found.items()} == {
        "told": ("ReceivedTooOften", 1, 2),
        "silent": ("ReceivedTooOften", 0, 2),
    }


def test_after_a_redrive_failures_count_anew_and_the_old_cause_is_still_known(
    engine: Engine, name: str, dead: str
) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 2)
    engine.send(q, "a", group=group(q))
    for n in (1, 2):
        release(engine, q, retry(again(engine, q), f"E{n}", chance=0))
    engine.run(flows.start_move(dlq))
    d = again(engine, q)
    assert (d.receive_count, d.failures, d.unreported_receives, d.dead_letter_source) == (1, 0, 0, None)
    assert d.cause
    assert (d.cause.type, d.cause.failures, d.cause.receives) == ("E2", 2, 2)
    assert release(engine, q, retry(d, "E3")) == [1000]  # the first failure of its new life
    engine.clock.advance_ms(1000)
    d = again(engine, q)
    assert (d.failures, d.unreported_receives) == (1, 0)
    assert release(engine, q, retry(d, "E4")) == [DEAD_LETTERED]
    found = letter_of(engine, dlq)
    assert found.cause
    assert (found.cause.type, found.cause.failures, found.cause.receives) == ("E4", 2, 2)


def test_silence_after_a_redrive_is_not_covered_by_an_old_word(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 2)
    engine.send(q, "a", group=group(q))
    for n in (1, 2):
        release(engine, q, retry(again(engine, q), f"E{n}", chance=0))
    engine.run(flows.start_move(dlq))
    for silent in (0, 1):
        assert again(engine, q, 0).unreported_receives == silent
    assert engine.bodies(q) == []
    found = letter_of(engine, dlq)
    assert found.cause
    assert (found.cause.type, found.cause.failures, found.cause.receives) == ("ReceivedTooOften", 0, 2)
    assert found.cause.message.startswith("2 receives ended")


def test_browsing_shows_the_cause(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 2)
    outcome = retry(received(engine, q), "E")
    release(engine, q, outcome)
    (seen,), _ = engine.run(flows.browse(q, "in_flight", "", 10))
    assert seen.cause == outcome.cause
    engine.clock.advance_ms(1000)
    outcome = dead_letter(again(engine, q), "E2")
    assert release(engine, q, outcome) == [DEAD_LETTERED]
    (seen,), _ = engine.run(flows.browse(dlq, "visible", "", 10))
    assert seen.cause == outcome.cause


# Gone, full


@pytest.mark.parametrize("how", [requeue, retry, dead_letter])
def test_of_a_queue_that_does_not_exist_nothing_can_be_said(
    engine: Engine, name: str, how: Callable[[Delivery], Outcome]
) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    engine.run(flows.delete_queue(q, NATIVE))
    with pytest.raises(QueueDoesNotExist):
        release(engine, q, how(d))
    assert engine.names() == []


@pytest.mark.parametrize("how", [requeue, retry, dead_letter])
def test_what_was_purged_is_gone(engine: Engine, name: str, how: Callable[[Delivery], Outcome]) -> None:
    q = engine.queue(name)
    d = received(engine, q)
    engine.run(flows.purge_queue(q, NATIVE))
    assert release(engine, q, how(d)) == [GONE]
    assert engine.counts(q) == (0, 0, 0)


@pytest.mark.parametrize("how", [requeue, retry, dead_letter])
def test_of_a_shard_that_went_with_its_queue_everything_is_gone(
    engine: Engine, name: str, dead: str, how: Callable[[Delivery], Outcome]
) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 1)
    release(engine, q, retry(received(engine, q)))
    letter = again(engine, dlq)
    engine.run(flows.delete_queue(dlq, NATIVE))
    dlq = engine.queue(dead)
    assert release(engine, dlq, how(letter)) == [GONE]
    assert engine.counts(dlq) == (0, 0, 0)


@pytest.fixture(scope="module", params=KINDS)
def full_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if find_binary(request.param) is None:
        pytest.skip(f"no {request.param} server program here")
    with Server(request.param, maxmemory_policy="noeviction") as server:
        yield server


def test_when_memory_is_full_workers_go_on(full_server: Server, engine_at: Callable[..., Engine], name: str) -> None:
    engine = engine_at(full_server.url)
    dead = "dead.fifo" if name.endswith(".fifo") else "dead"
    dlq = engine.queue(dead)
    q = engine.queue(name, dead, 5)
    engine.send(q, "a", "b", "c", "d", group=group(q))
    a, b, c, d = engine.receive(q)
    engine.redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(ServerOutOfMemory):
            engine.send(q, "refused", group=group(q))
        assert engine.run(flows.beat(q, [a, b, c, d], 90_000, "w", {"state": "running"}, 5000)) == ("", [])
        assert [x.consumer_id for x in engine.run(flows.list_consumers(q))] == ["w"]
        assert release(engine, q, requeue(a), retry(b), dead_letter(c)) == [0, 1000, DEAD_LETTERED]
        assert engine.run(flows.finish(q, [d])) is None
        assert engine.run(flows.beat(q, [], 90_000, "w", None, 0)) == ("", [])
    finally:
        engine.redis.config_set("maxmemory", "0")
    assert (engine.counts(q), engine.counts(dlq)) == ((1, 1, 0), (1, 0, 0))
    engine.clock.advance_ms(1000)
    assert [(m.body, m.receive_count, m.failures) for m in engine.receive(q)] == [
        ("a", 1, 0),
        ("b", 2, 1),
    ]
