"""What one call of a FIFO script does at most: redis calls, and bytes of records."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs._core import flows, operations
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
