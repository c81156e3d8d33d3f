"""Samples of a queue's metrics: what is appended, packed, read, forgotten; and the lease of who samples."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgpack
import pytest

from rqsqs._core import flows
from rqsqs._core import metric_history as histories
from rqsqs._core.flows.metric_history import history, sample
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import leases, metric_history
from rqsqs._periods import periods_of
from rqsqs.limits import NATIVE
from rqsqs.metric_models import HistoryPoint, QueueMetrics
from tests.lua.conftest import Engine

MINUTE_MS = 60_000


@pytest.fixture
def q(engine: Engine, name: str) -> QueueRef:
    """A queue that was created at the beginning of a minute."""
    to_the_minute(engine)
    return engine.queue(name)


def to_the_minute(engine: Engine) -> None:
    engine.clock.advance_ms(-engine.clock.ms % MINUTE_MS)


def a_minute(engine: Engine, minutes: int = 1, late_ms: int = 0) -> Any:
    """Let time pass, and sample."""
    engine.clock.advance_ms(minutes * MINUTE_MS + late_ms)
    sampled = engine.run(sample(engine.transport.space))
    assert not sampled.errors
    return sampled.taken


def points(engine: Engine, q: QueueRef, since: Any = timedelta(hours=1), **options: Any) -> list[HistoryPoint]:
    given = periods_of(since, options.get("until"), options.get("period", 60))
    return engine.run(history(q, *given))


def sums(found: list[HistoryPoint], name: str = "sent") -> list[float | None]:
    return [None if point.is_gap else point.metrics[name].sum for point in found]


def send(engine: Engine, q: QueueRef, n: int) -> None:
    engine.send(q, *range(n), group="g" if q.is_fifo else None)


def stored(engine: Engine, q: QueueRef) -> set[str]:
    return {key.decode().rpartition(":")[2] for key in engine.redis.scan_iter(q.home.base + "history*")}


def test_what_happened_in_a_minute_is_a_row(engine: Engine, q: QueueRef) -> None:
    for n in (3, 0, 2):
        if n:
            send(engine, q, n)
            engine.delete(q, *engine.receive(q, 1))
        assert a_minute(engine) == 1
    send(engine, q, 5)
    engine.clock.advance_ms(30_000)
    found = points(engine, q, timedelta(minutes=3, seconds=30))
    assert sums(found) == [3, 0, 2, 5]
    assert sums(found, "deleted") == [1, 0, 1, 0]
    assert sums(found, "visible") == [2, 2, 3, 8]
    assert [point.span_s for point in found] == [60, 60, 60, 30]
    assert engine.redis.llen(q.home.base + "history") == 2  # nothing happened in the second minute


def test_a_sample_in_the_first_minute_of_a_queue_takes_nothing_away_from_that_minute(engine: Engine, name: str) -> None:
    to_the_minute(engine)
    engine.clock.advance_ms(20_000)
    q = engine.queue(name)
    send(engine, q, 2)
    engine.clock.advance_ms(10_000)
    assert engine.run(sample(engine.transport.space)).taken == 0
    send(engine, q, 3)
    engine.clock.advance_ms(30_000)
    assert engine.run(sample(engine.transport.space)).taken == 1
    before, first = points(engine, q, timedelta(minutes=2))
    assert before.is_gap
    assert (first.metrics["sent"].sum, first.span_s) == (5, 40)


def test_a_minute_is_sampled_once(engine: Engine, q: QueueRef) -> None:
    send(engine, q, 3)
    assert a_minute(engine) == 1
    send(engine, q, 2)
    assert a_minute(engine, 0, 59_000) == 0
    assert engine.redis.llen(q.home.base + "history") == 1
    assert a_minute(engine, 0, 1_000) == 1
    assert sums(points(engine, q, timedelta(minutes=2))) == [3, 2]


def test_a_late_answer_to_an_earlier_minute_changes_nothing(engine: Engine, q: QueueRef) -> None:
    send(engine, q, 3)
    engine.clock.advance_ms(MINUTE_MS)
    early = engine.run(flows.metrics(q))
    send(engine, q, 1)
    assert a_minute(engine) == 1
    assert engine.execute(metric_history.append(q.home, early)) == (False, {}, [])
    assert sums(points(engine, q, timedelta(minutes=2))) == [None, 4]


def test_samples_that_are_missing_are_a_gap_and_nothing_is_lost(engine: Engine, q: QueueRef) -> None:
    send(engine, q, 1)
    a_minute(engine)
    send(engine, q, 4)
    a_minute(engine, 4)
    a_minute(engine)
    a_minute(engine, 3)  # nothing happened, but nobody looked
    found = points(engine, q, timedelta(minutes=9))
    assert sums(found) == [1, None, None, None, 4, 0, None, None, 0]
    assert [point.span_s for point in found] == [60, 0, 0, 0, 240, 60, 0, 0, 180]


def test_an_idle_queue_has_no_rows_and_hardly_anything_else(engine: Engine, q: QueueRef) -> None:
    for _ in range(130):
        assert a_minute(engine) == 1
    assert stored(engine, q) == {"history_last"}
    assert engine.redis.memory_usage(q.home.base + "history_last") <= 320
    found = points(engine, q, timedelta(hours=2))
    assert sums(found) == sums(found, "visible") == [0] * 120


def test_messages_that_wait_need_no_rows(engine: Engine, q: QueueRef) -> None:
    send(engine, q, 2)
    for _ in range(60):
        a_minute(engine)
    rows, hours = engine.redis.llen(q.home.base + "history"), engine.redis.hlen(q.home.base + "history_hours")
    assert (rows, hours) in ((1, 0), (0, 1))
    found = points(engine, q)
    assert sums(found, "visible") == [2] * 60
    assert [round(point.metrics["oldest_age_s"].last) for point in found] == [60 * n for n in range(1, 61)]


def test_of_an_old_queue_nothing_counts_that_was_before_the_first_sample(engine: Engine, q: QueueRef) -> None:
    send(engine, q, 7)
    a_minute(engine, 90)
    send(engine, q, 2)
    a_minute(engine)
    found = points(engine, q, timedelta(minutes=3))
    assert [point.is_gap for point in found] == [True, False, False]
    assert "sent" not in found[1].metrics
    assert sums(found, "visible")[1:] == [7, 9]
    assert found[2].metrics["sent"].sum == 2


def test_a_queue_that_was_created_again_begins_anew(engine: Engine, q: QueueRef) -> None:
    send(engine, q, 7)
    a_minute(engine)
    before = engine.run(flows.metrics(q))
    engine.run(flows.delete_queue(q, NATIVE))
    assert stored(engine, q) == set()
    engine.queue(q.name)
    assert engine.execute(metric_history.append(q.home, before)) == (False, {}, [])
    send(engine, q, 1)
    a_minute(engine)
    assert sums(points(engine, q, timedelta(minutes=2))) == [None, 1]


def test_data_that_was_put_back_makes_no_number_negative(engine: Engine, q: QueueRef) -> None:
    send(engine, q, 5)
    a_minute(engine)
    backup = {key: engine.redis.dump(key) for key in engine.redis.scan_iter(q.home.base + "*") if b"call:" not in key}
    for _ in range(3):
        send(engine, q, 4)
        a_minute(engine)
    last = engine.redis.get(q.home.base + "history_last")
    for key in engine.redis.scan_iter(q.home.base + "*"):
        if b"history" not in key:
            engine.redis.delete(key)
    for key, data in backup.items():
        if b"history" not in key:
            engine.redis.restore(key, 0, data)
    assert engine.redis.get(q.home.base + "history_last") == last
    a_minute(engine)
    send(engine, q, 1)
    a_minute(engine)
    found = points(engine, q, timedelta(minutes=6))
    assert sums(found) == [5, 4, 4, 4, 0, 1]
    assert sums(found, "visible") == [5, 9, 13, 17, 5, 6]


def test_a_clock_that_was_put_back_begins_anew(engine: Engine, q: QueueRef) -> None:
    send(engine, q, 5)
    a_minute(engine, 120)
    numbers = engine.run(flows.metrics(q))
    earlier = QueueMetrics(q.name, numbers.at_ms - 100 * MINUTE_MS, numbers.created_at_ms, visible=5, sent=6)
    assert engine.execute(metric_history.append(q.home, earlier)).is_taken
    last = histories.read_last(engine.redis.get(q.home.base + "history_last") or b"")
    assert last is not None
    assert (last.at_ms, last.totals["1"]) == (earlier.at_ms, 6)


def test_a_column_that_is_new_counts_from_its_first_sample_on(engine: Engine, q: QueueRef) -> None:
    send(engine, q, 5)
    a_minute(engine)
    key = q.home.base + "history_last"
    at, created, since, totals, gauges, *_ = msgpack.unpackb(engine.redis.get(key) or b"")
    del totals["1"]
    engine.redis.set(key, msgpack.packb([at, created, since, totals, gauges]))
    send(engine, q, 1)
    a_minute(engine)
    send(engine, q, 1)
    a_minute(engine)
    assert sums(points(engine, q, timedelta(minutes=3))) == [5, 0, 1]


@pytest.mark.parametrize("damage", [b"", b"x", msgpack.packb([1, 2, 3, 4, 5]), msgpack.packb(7)], ids=repr)
def test_a_last_sample_that_cannot_be_read_is_replaced(engine: Engine, q: QueueRef, damage: bytes) -> None:
    send(engine, q, 5)
    a_minute(engine)
    engine.redis.set(q.home.base + "history_last", damage)
    assert points(engine, q, timedelta(minutes=1))
    send(engine, q, 5)
    a_minute(engine, 80)
    send(engine, q, 1)
    a_minute(engine)
    assert sums(points(engine, q, timedelta(minutes=1))) == [1]


def test_rows_that_cannot_be_read_are_passed_over(engine: Engine, q: QueueRef) -> None:
    for n in range(1, 4):
        send(engine, q, n)
        a_minute(engine)
    engine.redis.lset(q.home.base + "history", 1, engine.redis.lindex(q.home.base + "history", 1)[:13] + b"\xc1")
    assert sums(points(engine, q, timedelta(minutes=3))) == [1, 0, 3]
    for _ in range(60):
        a_minute(engine)
    assert sums(points(engine, q, timedelta(minutes=63)))[:3] == [1, 0, 3]
    hour = next(iter(engine.redis.hkeys(q.home.base + "history_hours")))
    for broken in (b"\x01", b"\x01\x80", b"\x01\x01\x05\x05" + b"\xff" * 40, b"{}"):
        engine.redis.hset(q.home.base + "history_hours", hour, broken)
        assert len(points(engine, q, timedelta(minutes=63))) == 63


def test_what_has_another_type_is_said_by_doctor_and_goes_with_the_queue(engine: Engine, q: QueueRef) -> None:
    for key in ("history", "history_last", "history_hours"):
        engine.redis.delete(q.home.base + key)
        engine.redis.sadd(q.home.base + key, "x")
    damages = engine.run(flows.find_damage(q))[1]
    assert {error.key.rpartition(":")[2] for error in damages} == stored(engine, q)
    engine.clock.advance_ms(MINUTE_MS)
    send(engine, q, 1)
    assert len(engine.run(sample(engine.transport.space)).errors) == 1
    engine.run(flows.delete_queue(q, NATIVE))
    assert stored(engine, q) == set()


def test_an_hour_that_is_over_is_packed_once_by_whom_it_may_be(engine: Engine, q: QueueRef) -> None:
    engine.clock.advance_ms(-engine.clock.ms % histories.HOUR_MS)
    a_minute(engine, 0)
    for n in range(60):
        send(engine, q, 1 + n % 3)
        a_minute(engine)
    send(engine, q, 1)
    engine.clock.advance_ms(MINUTE_MS)
    (numbers,) = engine.run(flows.all_metrics([q]))
    assert isinstance(numbers, QueueMetrics)
    appended = engine.execute(metric_history.append(q.home, numbers))
    assert len(appended.to_pack) == 60
    before = points(engine, q, timedelta(minutes=61))
    assert engine.execute(metric_history.pack(q.home, appended.to_pack))
    assert not engine.execute(metric_history.pack(q.home, appended.to_pack))
    assert engine.redis.llen(q.home.base + "history") == 1
    assert sums(points(engine, q, timedelta(minutes=61))) == sums(before) == [1 + n % 3 for n in range(60)] + [1]


def test_rows_wait_for_somebody_who_packs_them(engine: Engine, q: QueueRef) -> None:
    for n in range(300):
        send(engine, q, 1)
        engine.clock.advance_ms(MINUTE_MS)
        (numbers,) = engine.run(flows.all_metrics([q]))
        appended = engine.execute(metric_history.append(q.home, numbers))
        assert len(appended.to_pack) <= 60
        assert engine.redis.llen(q.home.base + "history") == min(n + 1, 240)
    for _ in range(6):
        send(engine, q, 1)
        a_minute(engine)
    assert engine.redis.llen(q.home.base + "history") <= 60
    assert sums(points(engine, q, timedelta(minutes=230))) == [1] * 230


def test_a_lease_is_held_by_one_until_it_ends(engine: Engine) -> None:
    lease = engine.transport.space.sampler
    assert engine.execute(leases.take_lease(lease, "a", 60_000))[0] == "a"
    assert engine.execute(leases.take_lease(lease, "b", 60_000))[0] == "a"
    holder, now_ms = engine.execute(leases.take_lease(lease, "a", 50_000))
    assert holder == "a"
    assert 0 < engine.redis.pttl(lease) <= 50_000
    seconds, _ = engine.redis.time()
    assert abs(now_ms / 1000 - seconds) < 30
    engine.redis.delete(lease)
    assert engine.execute(leases.take_lease(lease, "b", 60_000))[0] == "b"


def counted(found: list[HistoryPoint]) -> list[float | None]:
    return [point.metrics["sent"].sum if "sent" in point.metrics else None for point in found]


HOSTILE = [
    b"x",
    b"-000000000001" + msgpack.packb([1, {}]),
    b"1700000000000",
    b"1700000000000" + msgpack.packb([1, {"1": -5, "2": 1e300, "3": "x", "4": float("nan"), "": 1, "d": 2, "dx": 3}]),
    b"1700000000000" + msgpack.packb([1, {5: 1, "d99": 1, "c:": 2, "20": None, "21": [1], "40": 2.0**65}]),
    b"1700000000000" + msgpack.packb([-1e9, {"20": 5}]),
    b"1700000000000" + msgpack.packb(7),
    b"9999999999999" + msgpack.packb([1, {"1": 5}]),
]


@pytest.mark.either_server
@pytest.mark.parametrize("row", HOSTILE, ids=range(len(HOSTILE)))
def test_a_row_written_by_hand_stands_in_nobodys_way(engine: Engine, q: QueueRef, name: str, row: bytes) -> None:
    other = engine.queue(f"{name.removesuffix('.fifo')}-z")  # sampled later
    a_minute(engine)
    engine.redis.rpush(q.home.base + "history", row)
    minutes = 300 if row == HOSTILE[-1] else 125  # one of the future is there until there are 240
    for each in range(minutes):
        send(engine, q, 1)
        send(engine, other, 1)
        if each == 30 and row != HOSTILE[-1]:
            engine.redis.rpush(q.home.base + "history", row)
        assert a_minute(engine) == 2
    for one in (q, other):
        found = points(engine, one, timedelta(hours=5))
        assert sum([s or 0 for s in counted(found)]) == minutes
    assert engine.redis.hlen(q.home.base + "history_hours") >= 1


LASTS = [
    b"",
    b"\xc1",
    msgpack.packb(5),
    msgpack.packb(["x", 0, "x", {}, {}]),
    msgpack.packb([{}, 0, [], 5, "x"]),
]


@pytest.mark.either_server
@pytest.mark.parametrize("last", LASTS, ids=range(len(LASTS)))
@pytest.mark.parametrize("is_of_queue", [False, True])
def test_a_last_sample_written_by_hand_is_none(engine: Engine, q: QueueRef, last: bytes, is_of_queue: bool) -> None:
    send(engine, q, 2)
    a_minute(engine)
    created_ms = int(engine.redis.hget(q.home.base + "meta", "created_us")) // 1000
    if is_of_queue and len(last) > 5:
        found = msgpack.unpackb(last, strict_map_key=False)
        last = msgpack.packb([found[0], created_ms, *found[2:]])
    engine.redis.set(q.home.base + "history_last", last)
    points(engine, q)
    for _ in range(3):
        send(engine, q, 1)
        assert a_minute(engine) == 1
    assert counted(points(engine, q))[-4:] in ([2, 0, 1, 1], [2, None, 1, 1])


@pytest.mark.parametrize("totals", [{"1": "x"}, {"1": {}}, {"1": -7}, {"1": 1e300}, {"2": None, "d3": "x"}])
def test_totals_written_by_hand_count_from_now(engine: Engine, q: QueueRef, totals: dict[str, Any]) -> None:
    a_minute(engine)
    key = q.home.base + "history_last"
    at_ms, created_ms, since_ms, *_ = msgpack.unpackb(engine.redis.get(key), strict_map_key=False)
    engine.redis.set(key, msgpack.packb([at_ms, created_ms, since_ms, totals, totals]))
    points(engine, q)
    for _ in range(3):
        send(engine, q, 1)
        assert a_minute(engine) == 1
    assert counted(points(engine, q))[-2:] == [1, 1]


def test_huge_and_negative_counters_are_sampled(engine: Engine, q: QueueRef, name: str) -> None:
    other = engine.queue(f"{name.removesuffix('.fifo')}-z")
    stats = q.home.base + "stats"
    for n in range(130):
        send(engine, other, 1)
        engine.redis.hset(stats, mapping={"A": str(2**62 + n * 2**55), "r3": str(-(2**62)), "dedup": "-3", "K": "nan"})
        engine.redis.hset(stats, mapping={"moved_in": str(n * 2**55), "s5": str(2**63 - 1), "reclaimed": "1e9"})
        assert a_minute(engine) == 2
    found = points(engine, q, timedelta(hours=3))
    assert all(each.minimum >= 0 for point in found for each in point.metrics.values())
    assert sum([s or 0 for s in counted(points(engine, other, timedelta(hours=3)))]) == 130


def test_a_clock_that_is_put_back_keeps_nobody_from_being_sampled(engine: Engine, q: QueueRef, name: str) -> None:
    other = engine.queue(f"{name.removesuffix('.fifo')}-z")
    for back in (1, 59, 61, 75, 200):
        for _ in range(95):
            for one in (q, other):
                send(engine, one, 1)
            engine.clock.advance_ms(MINUTE_MS)
            assert not engine.run(sample(engine.transport.space)).errors
        engine.clock.advance_ms(-back * MINUTE_MS)
        engine.redis.unlink(q.home.base + "history_last")
        points(engine, q)
        points(engine, other)
    for _ in range(400):
        a_minute(engine)
    assert engine.redis.llen(q.home.base + "history") < 120


def test_what_was_read_before_the_last_sample_came_is_none(engine: Engine, name: str) -> None:
    """Two samplers at the turn of a minute: one reads the home of a queue first and the other partitions last."""
    is_fifo = name.endswith(".fifo")
    settings = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"} if is_fifo else {}
    q = engine.queue(name, Partitions="2", **settings)
    to_the_minute(engine)
    a_minute(engine)
    for _ in range(3):
        to_the_minute(engine)
        engine.clock.advance_ms(2 * MINUTE_MS - 100)
        less = engine.run(flows.metrics(q))
        for n in range(20):
            engine.send(q, n, group=str(n))
        more = replace(engine.run(flows.metrics(q)), at_ms=less.at_ms)
        engine.clock.advance_ms(150)
        less = replace(less, at_ms=engine.clock.ms)
        engine.clock.advance_ms(50)
        assert engine.execute(metric_history.append(q.home, more)).is_taken
        assert not engine.execute(metric_history.append(q.home, less)).is_taken
    a_minute(engine)
    assert sum([s or 0 for s in counted(points(engine, q))]) == 60
