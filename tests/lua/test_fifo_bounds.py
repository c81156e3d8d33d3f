"""What one call of a FIFO script does at most: redis calls, and bytes of records."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs._core import envelope, flows, operations
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import browse as browsing
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine

CALLS = 2500
MIB = 1024 * 1024


def calls_of(engine: Engine, operation: Any) -> tuple[int, Any]:
    """How many commands one script ran, and what it answered."""

    def total() -> int:
        stats: dict[str, Any] = engine.redis.info("commandstats")  # type: ignore[assignment]
        return sum(s["calls"] for name, s in stats.items() if name not in ("cmdstat_info", "cmdstat_evalsha"))

    before = total()
    answer = engine.execute(operation)
    return total() - before, answer


def receive(q: QueueRef, count: int = 1000, **options: Any) -> Any:
    return operations.receive_messages(q.home, NATIVE, count, 30_000, "", "", **options)


def in_groups(engine: Engine, q: QueueRef, number: int, **options: Any) -> None:
    for i in range(number):
        engine.send(q, i, group=f"g{i}", **options)


@pytest.mark.parametrize(
    "state", ["fresh", "settle", "received", "given back", "expired", "dead", "over", "delayed", "many finished"]
)
def test_a_receive_from_a_thousand_groups_is_bounded(engine: Engine, state: str) -> None:
    engine.queue("dead.fifo")
    q = engine.queue("q.fifo", "dead.fifo" if state == "dead" else None, MessageRetentionPeriod="3600")
    in_groups(engine, q, 700, **({"delay_ms": 1000} if state == "delayed" else {}))
    finished: list[Any] = []
    if state in ("received", "given back", "dead", "over"):
        engine.execute(operations.receive_messages(q.home, NATIVE, 1000, 1000 if state == "over" else 0, "", ""))
    if state == "given back":
        for d in engine.receive(q, 1000):
            engine.run(flows.release(q, [operations.Outcome(d, "requeue")]))
    if state == "many finished":
        finished = [d.receipt for d in engine.execute(receive(q, 100)).messages]
    engine.clock.advance_ms(4_000_000 if state == "expired" else 2000)
    calls, got = calls_of(engine, receive(q, delete=state == "settle", finished=finished, statuses=[]))
    assert calls <= CALLS
    if state not in ("expired", "dead"):
        assert len(got.messages) >= 100
    else:
        assert got.wake_at_ms == got.now_ms
        left = 700 - len(got.messages)
        for _ in range(20):
            calls, got = calls_of(engine, receive(q))
            assert calls <= CALLS
            left -= len(got.messages)
        assert engine.counts(q)[0] == 0


def test_an_expired_backlog_is_dropped_by_hundreds(engine: Engine) -> None:
    q = engine.queue("q.fifo", MessageRetentionPeriod="60")
    engine.send(q, *range(1000), group="g")
    engine.clock.advance_ms(61_000)
    engine.send(q, "fresh", group="g")
    engine.send(q, "fresh", group="h")
    rounds = 0
    while not (got := engine.execute(receive(q, 1))).messages:
        assert got.wake_at_ms == got.now_ms
        rounds += 1
    assert [d.body for d in got.messages] == ["fresh"]
    assert rounds <= 4


def test_a_receive_stops_at_four_mebibytes(engine: Engine) -> None:
    q = engine.queue("q.fifo", MaximumMessageSize=str(4 * MIB))
    for i in range(4):
        engine.send(q, "x" * (3 * MIB // 2), "y" * (3 * MIB // 2), group=f"g{i}")
    got = engine.execute(receive(q)).messages
    assert 2 * MIB <= sum(len(d.record) for d in got) <= 4 * MIB + 3 * MIB // 2
    bodies = [d.body[:1] for d in got]
    bodies += [d.body[:1] for d in engine.receive(q, 1000)]
    assert bodies.count("x") == 4


def test_a_count_of_many_groups_is_bounded(engine: Engine) -> None:
    q = engine.queue("q.fifo", MessageRetentionPeriod="60")
    in_groups(engine, q, 700)
    engine.clock.advance_ms(61_000)
    for _ in range(20):
        calls, (_, _, _, _, more) = calls_of(engine, browsing.count(q.home))
        assert calls <= CALLS
        if more < 0:
            break
    assert engine.counts(q) == (0, 0, 0)


@pytest.mark.parametrize("returned", [0, 2])
def test_a_group_of_more_bytes_than_a_call_carries_is_served_after_a_message_came_back(
    engine: Engine, returned: int
) -> None:
    q = engine.queue("q.fifo")
    for n in range(6):
        engine.send(q, f"{n}" + "x" * (MIB - 200), group="g")
    got = engine.receive(q, returned + 1)
    engine.run(flows.change_visibility(q, [(d.receipt_handle, 0) for d in reversed(got)], NATIVE))
    bodies: list[str] = []
    for _ in range(6):
        found = engine.receive(q, 10)
        bodies += [d.body[:1] for d in found]
        engine.delete(q, *found)
    assert bodies == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("odd", ["none", "delayed", "received", "expired"])
def test_groups_that_are_popped_together_are_served_in_their_order(engine: Engine, odd: str) -> None:
    q = engine.queue("q.fifo", MessageRetentionPeriod="60")
    names: list[str] = [f"g{i}" for i in range(8)]
    expected: list[str] = []
    if odd == "received":  # and visible again before the others were sent
        engine.send(q, "old", "g4", "g4 again", group="g4")
        (got,) = engine.receive(q, 1)
        engine.run(flows.change_visibility(q, [(got.receipt_handle, 0)], NATIVE))
        names.remove("g4")
        expected += ["old", "g4", "g4 again"]
    elif odd == "expired":
        engine.send(q, "old", group="g4")
        engine.clock.advance_ms(59_500)
    for name in names:
        engine.clock.advance_ms(10)
        if odd == "delayed" and name == "g4":
            engine.send(q, name, group=name)
            engine.send(q, "late", group=name, delay_ms=5000)
            expected.append(name)
        else:
            engine.send(q, name, f"{name} again", group=name)
            expected += [name, f"{name} again"]
    engine.clock.advance_ms(1000)
    assert engine.bodies(q, 4) == expected[:4]
    cut = expected[3].split()[0]  # the rest of this group waits
    left = [text for text in expected[4:] if not text.startswith(cut)]
    assert engine.bodies(q, 9) == left[:9]
    cut = left[8].split()[0]
    assert engine.bodies(q, 10) == [text for text in left[9:] if not text.startswith(cut)]


@pytest.mark.parametrize(("groups", "sends", "receives", "deletes"), [(1, 15, 10, 7), (10, 24, 20, 15)])
def test_ten_messages_take_few_calls_whatever_the_order_of_the_deletes(
    engine: Engine, groups: int, sends: int, receives: int, deletes: int
) -> None:
    q = engine.queue("q.fifo")
    for turn in range(2):
        batch = [envelope.outgoing(i, group=f"g{i * groups // 10}", dedup_id=f"{turn} {i}") for i in range(10)]
        sent, _ = calls_of(engine, operations.send_messages(q.home, batch, NATIVE))
        received, got = calls_of(engine, receive(q, 10))
        receipts = [d.receipt for d in reversed(got.messages)]
        deleted, _ = calls_of(engine, operations.delete_messages(q.home, receipts, NATIVE))
    # On a cluster only one of its servers may have been asked for its counts.
    assert sent <= sends
    assert received <= receives
    assert deleted <= deletes


def test_a_batch_whose_groups_take_turns_is_stored_in_its_order(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    batch = [envelope.outgoing(n, group=group, dedup_id=str(n % 6)) for n, group in enumerate("aababbaab")]
    outcomes = engine.execute(operations.send_messages(q.home, batch, NATIVE))
    assert [n for n, sent in enumerate(outcomes) if sent.is_duplicate] == [6, 7, 8]
    assert engine.bodies(q) == [0, 1, 3, 2, 4, 5]
