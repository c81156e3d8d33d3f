"""A call whose answer was lost is repeated: it is done once and gives the first answer, whatever happened meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rqsqs._core import envelope, flows, ids, operations
from rqsqs._core.operations import browse as browsing
from rqsqs._core.operations import moves, queues
from rqsqs._core.sent import Outgoing
from rqsqs.errors import PurgeQueueInProgress
from rqsqs.limits import AWS, NATIVE
from tests.lua.conftest import Engine, policy


@pytest.fixture(params=["q", "q.fifo"], ids=["standard", "fifo"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def outgoing(name: str, *bodies: str, **options: Any) -> list[Outgoing]:
    if name.endswith(".fifo"):
        options.setdefault("group", "g")
    return [envelope.outgoing(body, **options) for body in bodies]


SENDS: list[dict[str, Any]] = [
    {},
    {"delay_ms": 5000},
    {"group": "other"},
    {"dedup_id": "d"},
    {"dedup_id": "d", "dedup_window_ms": 1},
    {"dedup_id": "d", "dedup_window_ms": 0},
]


@pytest.mark.parametrize("bodies", [["a"], ["a", "b", "c"]], ids=["one", "batch"])
@pytest.mark.parametrize("options", SENDS, ids=str)
def test_a_send_is_stored_once(engine: Engine, name: str, bodies: list[str], options: dict[str, Any]) -> None:
    q = engine.queue(name)
    batch = outgoing(name, *bodies, **options)
    lost = engine.lost(operations.send_messages(q.home, batch, NATIVE))
    expected = [(m.message_id, m.sequence_number) for m in lost.first()]
    engine.clock.advance_ms(3)
    again = lost.repeat()
    assert [(m.message_id, m.sequence_number) for m in again] == expected
    assert not again[0].is_duplicate
    stored = len(set(expected))
    lost.arrive()  # the first attempt was only late
    c = engine.run(flows.counts(q))
    assert c.visible + c.delayed == stored


@pytest.mark.parametrize("is_purged", [False, True], ids=["deleted", "purged"])
@pytest.mark.parametrize("options", SENDS, ids=str)
def test_a_send_whose_message_is_gone_is_not_stored_again(
    engine: Engine, name: str, options: dict[str, Any], is_purged: bool
) -> None:
    q = engine.queue(name)
    lost = engine.lost(operations.send_messages(q.home, outgoing(name, "a", **options), NATIVE))
    engine.clock.advance_ms(6000)
    if is_purged:
        engine.run(flows.purge_queue(q, NATIVE))
    else:
        engine.delete(q, *engine.receive(q))
    assert lost.repeat()[0].message_id == lost.first()[0].message_id
    lost.arrive()
    assert engine.counts(q) == (0, 0, 0)
    assert engine.run(flows.metrics(q)).sent == 1


def test_a_duplicate_is_called_one_also_when_its_send_is_repeated(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    (first,) = engine.send(q, "a", group="g", dedup_id="d")
    lost = engine.lost(operations.send_messages(q.home, outgoing("q.fifo", "b", dedup_id="d"), NATIVE))
    again = lost.repeat()[0]
    assert again.is_duplicate
    assert again.message_id == first.message_id


@pytest.mark.parametrize("has_arrived", [True, False])
def test_a_batch_with_an_id_twice_has_one_duplicate_also_when_it_is_repeated(engine: Engine, has_arrived: bool) -> None:
    q = engine.queue("q.fifo")
    batch = outgoing("q.fifo", "a", dedup_id="d") + outgoing("q.fifo", "b", dedup_id="d")
    lost = engine.lost(operations.send_messages(q.home, batch, NATIVE), has_arrived=has_arrived)
    assert [m.is_duplicate for m in lost.repeat()] == [False, True]
    assert [m.is_duplicate for m in lost.repeat()] == [False, True]
    lost.arrive()
    metrics = engine.run(flows.metrics(q))
    assert (metrics.sent, metrics.deduplicated) == (1, 1)


def test_what_comes_next_in_a_slot_is_done(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for n in range(5):
        engine.send(q, n, **({"group": "g"} if q.is_fifo else {}))
    assert len(list(engine.redis.scan_iter(q.home.base + "call:*"))) == 1
    assert engine.counts(q)[0] == 5


def test_a_slot_ends_by_itself(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, 1, **({"group": "g"} if q.is_fifo else {}))
    engine.receive(q)
    keys = list(engine.redis.scan_iter(q.home.base + "call:*"))
    assert keys
    assert all(0 < engine.redis.pttl(key) <= 120_000 for key in keys)  # type: ignore[operator]


def test_a_slot_in_which_a_call_was_repeated_is_not_used_again(engine: Engine) -> None:
    q = engine.queue("q")
    lost = engine.lost(operations.send_messages(q.home, outgoing("q", "a"), NATIVE))
    lost.repeat()
    engine.send(q, "b")
    lost.arrive()
    assert engine.bodies(q) == ["a", "b"]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("received_before", [False, True], ids=["fresh", "retried"])
def test_a_receive_gets_the_same_messages(engine: Engine, name: str, count: int, received_before: bool) -> None:
    q = engine.queue(name)
    for body in "abcde":
        engine.send(q, body, **({"group": "g"} if q.is_fifo else {}))
    if received_before:
        engine.receive(q, count, visibility_ms=1000)
        engine.clock.advance_ms(1001)
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, count, None, "", ""))
    first = lost.first().messages
    engine.clock.advance_ms(5)
    again = lost.repeat().messages

    def seen(deliveries: list[Any]) -> list[Any]:
        return [(d.body, d.message_id, d.receive_count, d.first_received_at_ms, d.group) for d in deliveries]

    assert len(again) == count
    assert seen(again) == seen(first)
    assert engine.counts(q)[1] == count
    engine.delete(q, *again)
    assert engine.counts(q) == (5 - count, 0, 0)


def test_messages_that_others_have_by_now_are_not_received_again(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for n in range(4):
        engine.send(q, n, **({"group": str(n)} if q.is_fifo else {}))
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, 2, 1000, "", ""))
    engine.clock.advance_ms(1001)
    other = engine.receive(q, 1)
    again = lost.repeat().messages
    ours = {d.message_id for d in again}
    assert ours
    assert other[0].message_id not in ours


def test_a_receive_that_got_nothing_receives_when_it_is_repeated(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, 2, None, "", ""))
    engine.send(q, "a", **({"group": "g"} if q.is_fifo else {}))
    assert [d.body for d in lost.repeat().messages] == ["a"]
    assert [d.body for d in lost.repeat().messages] == ["a"]


@pytest.mark.parametrize("count", [1, 3])
def test_what_was_deleted_at_once_is_not_lost_with_the_answer(engine: Engine, name: str, count: int) -> None:
    q = engine.queue(name)
    for body in "abc":
        engine.send(q, body, **({"group": "g"} if q.is_fifo else {}))
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, count, None, "", "", delete=True))
    assert [d.body for d in lost.repeat().messages] == list("abc")[:count]
    assert engine.counts(q) == (3 - count, 0, 0)


def test_deletes_and_the_receive_behind_them_come_again(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    for body in "abc":
        engine.send(q, body, **({"group": body} if q.is_fifo else {}))
    done = engine.receive(q, 1)
    statuses: list[int] = []
    receipts = [d.receipt for d in done]
    operation = operations.receive_messages(q.home, AWS, 1, None, "", "", finished=receipts, statuses=statuses)
    lost = engine.lost(operation)
    assert [d.body for d in lost.repeat().messages] == ["b"]
    assert all(status != -1 for status in statuses)
    assert engine.counts(q) == (1, 1, 0)


def test_a_visibility_change_does_not_end_the_receive_of_somebody_else(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", **({"group": "g"} if q.is_fifo else {}))
    (mine,) = engine.receive(q)
    lost = engine.lost(operations.change_visibility(q.home, [(mine.receipt, 0)], 0))
    engine.clock.advance_ms(1)
    assert engine.bodies(q) == ["a"]
    assert lost.repeat() == lost.first() == [1]
    assert engine.counts(q) == (0, 1, 0)


def test_a_repeated_receive_does_not_delete_what_its_first_attempt_handed_out(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", group="g" if q.is_fifo else None)
    (d,) = engine.receive(q)
    assert engine.run(flows.release(q, [operations.Outcome(d, "requeue")])) == [0]
    statuses: list[int] = []
    lost = engine.lost(
        operations.receive_messages(q.home, NATIVE, 10, 5000, "", "", finished=[d.receipt], statuses=statuses)
    )
    first = [d.body for d in lost.first().messages]
    assert not q.is_fifo or first == ["a"]  # a standard queue may know by that name what came back
    told = list(statuses)
    for _ in range(2):
        assert [d.body for d in lost.repeat().messages] == first
        assert statuses == told
    assert engine.counts(q) == (0, len(first), 0)


def test_an_attempt_that_makes_its_messages_visible_is_answered_again(engine: Engine) -> None:
    engine.queue("dead.fifo")
    q = engine.queue("q.fifo", RedrivePolicy=policy("dead.fifo", 1))
    engine.send(q, "a", "b", group="g")
    first = engine.receive(q, 1, 5000, attempt_id="x")
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, 1, 0, "", "", "x"))
    again = lost.repeat().messages
    assert [d.receipt_handle for d in again] == [d.receipt_handle for d in first]
    assert [d.body for d in lost.first().messages] == ["a"]
    assert engine.bodies(q) == ["b"]  # "a" was received as often as it may be


def test_a_repeated_receive_tells_that_what_it_was_to_delete_is_gone(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    engine.send(q, "a", "b", "c", group="g")
    (old,) = engine.receive(q, 1, 0)
    a, b = engine.receive(q, 2)
    statuses: list[int] = []
    finished = [a.receipt, old.receipt, b.receipt]
    lost = engine.lost(
        operations.receive_messages(q.home, NATIVE, 10, 5000, "", "", finished=finished, statuses=statuses)
    )
    assert [d.body for d in lost.first().messages] == ["c"]
    assert statuses == [1, 0, 1]
    assert [d.body for d in lost.repeat().messages] == ["c"]
    assert statuses == [0, 0, 0]


@pytest.mark.parametrize("kind", ["requeue", "retry", "dead-letter"])
def test_a_release_does_not_end_the_receive_of_somebody_else(engine: Engine, name: str, kind: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", **({"group": "g"} if q.is_fifo else {}))
    (mine,) = engine.receive(q)
    lost = engine.lost(operations.release_messages(q.home, [operations.Outcome(mine, kind)]))
    engine.clock.advance_ms(24 * 3600 * 1000)
    assert engine.bodies(q) == ["a"]
    assert lost.repeat() == lost.first()
    lost.arrive()
    assert engine.counts(q) == (0, 1, 0)


def test_a_cancel_says_what_it_said(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    (sent,) = engine.send(q, "a", **({"group": "g"} if q.is_fifo else {}))
    key = ids.key_of(sent.message_id, q.home.node, q.is_fifo)
    assert key
    lost = engine.lost(browsing.cancel(q.home, key, ["g"], None))
    assert lost.first() == 1
    assert lost.repeat() == 1


def test_a_purge_is_not_refused_because_it_was_done(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "a", **({"group": "g"} if q.is_fifo else {}))
    lost = engine.lost(queues.delete_queue(q.home, AWS, purge=True, first=True))
    assert lost.repeat() == lost.first()
    with pytest.raises(PurgeQueueInProgress):
        engine.execute(queues.delete_queue(q.home, AWS, purge=True, first=True))


def test_a_move_task_is_started_once_and_moves_what_its_answer_says(engine: Engine, name: str) -> None:
    dead = "d.fifo" if name.endswith(".fifo") else "d"
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    for n in range(5):
        engine.send(q, n, **({"group": str(n)} if q.is_fifo else {}))
    engine.receive(q, 10, visibility_ms=0)
    engine.clock.advance_ms(1)
    assert engine.receive(q, 10) == []
    lost = engine.lost(moves.start(dlq, "task", "", None, 5))
    assert lost.repeat() == lost.first()
    shard = dlq.partition(q.home.tag)
    moved = engine.lost(moves.move(shard, 2, ""))
    assert moved.repeat() == moved.first()
    assert moved.first()[0] == 2
    assert engine.counts(q)[0] == 2
    told = engine.lost(moves.update(dlq, "task", "advance", 2))
    assert told.repeat() == told.first() == ("RUNNING", 2)


def test_an_error_is_no_answer(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    operation = operations.send_messages(q.home, outgoing(name, "x" * 2000), NATIVE)
    engine.run(flows.set_attributes(q, {"MaximumMessageSize": "1024"}, NATIVE))
    with pytest.raises(Exception, match="MESSAGE_TOO_LARGE"):
        engine.lost(operation)
    engine.run(flows.set_attributes(q, {"MaximumMessageSize": "4096"}, NATIVE))
    assert len(engine.execute(operation)) == 1


# What arrives late.


def late(engine: Engine, operation: Any) -> Callable[[], Any]:
    """Only the repetition of a call arrives; what is returned lets the first attempt arrive, and gives its reply."""
    lost = engine.lost(operation, has_arrived=False)
    lost.repeat()
    return lost.arrive


def age(engine: Engine, ms: int) -> None:
    """Time passes, for keys that end by themselves as well."""
    engine.clock.advance_ms(ms)
    for key in engine.redis.scan_iter(engine.transport.space.prefix + ":*", count=1000):
        left = engine.redis.pttl(key)
        if left >= 0:  # type: ignore[operator]
            engine.redis.pexpire(key, max(left - ms, 1))  # type: ignore[operator]
            if left <= ms:  # type: ignore[operator]
                engine.redis.delete(key)


@pytest.mark.either_server
@pytest.mark.parametrize("minutes", [1, 30])
@pytest.mark.parametrize("bodies", [["a"], ["a", "b"]], ids=["one", "batch"])
@pytest.mark.parametrize(
    "options",
    [*SENDS, {"dedup_id": "d", "dedup_window_ms": 130_000}, {"dedup_id": "d", "dedup_window_ms": 10**7}],
    ids=str,
)
def test_a_first_attempt_that_arrives_long_after_its_repetition_stores_nothing(
    engine: Engine, name: str, bodies: list[str], options: dict[str, Any], minutes: int
) -> None:
    q = engine.queue(name)
    arrive = late(engine, operations.send_messages(q.home, outgoing(name, *bodies, **options), NATIVE))
    stored = sum(engine.counts(q))
    age(engine, minutes * 60_000)
    arrive()
    assert sum(engine.counts(q)) == stored > 0


def test_an_id_may_be_used_again_after_its_window_also_if_its_send_was_repeated(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    batch = outgoing(name, "a", dedup_id="d")
    late(engine, operations.send_messages(q.home, batch, NATIVE))
    age(engine, 299_000)
    assert engine.run(flows.send_messages(q, batch, NATIVE))[0].is_duplicate
    age(engine, 2_000)
    assert not engine.run(flows.send_messages(q, batch, NATIVE))[0].is_duplicate
    assert engine.counts(q)[0] == 2


@pytest.mark.parametrize("size", [10, 20_000])
@pytest.mark.parametrize("repetitions", [0, 1, 2])
def test_a_late_receive_that_deletes_takes_nothing(engine: Engine, name: str, size: int, repetitions: int) -> None:
    q = engine.queue(name)
    for body in "abc":
        engine.send(q, body * size, **({"group": "g"} if q.is_fifo else {}))
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, 1, None, "", "", delete=True))
    for _ in range(repetitions):
        lost.repeat()
    if repetitions:
        age(engine, 30 * 60_000)
    lost.arrive()
    assert engine.counts(q) == (2, 0, 0)


def test_a_receive_that_was_not_deleted_and_stays_visible_comes_again_whatever_its_size(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    engine.send(q, "x" * 20_000, group="g")
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, 1, 0, "", ""))
    assert max(engine.redis.strlen(key) for key in engine.redis.scan_iter(q.home.base + "call:*")) < 10_000
    assert [d.body for d in lost.repeat().messages] == ["x" * 20_000]
    assert engine.counts(q) == (1, 0, 0)


def test_forgetting_an_answer_leaves_the_next_one_in_its_slot(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, "a", "b")
    operation = operations.receive_messages(q.home, NATIVE, 1, None, "", "", delete=True)
    lost = engine.lost(operation)
    slot = q.home.base + "call:" + lost.slot.name
    known = engine.redis.get(slot)
    assert engine.execute(operations.forget_answer(slot, lost.slot.number - 1)) == 0
    assert engine.redis.get(slot) == known
    assert engine.execute(operations.forget_answer(slot, lost.slot.number)) == 1
    assert engine.redis.strlen(slot) == 9
    assert 0 < engine.redis.pttl(slot) <= 120_000
