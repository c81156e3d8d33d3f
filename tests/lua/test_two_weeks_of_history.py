"""Two weeks of history and a day more, in virtual time: each minute is that of a model, and the memory is bounded."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

import rqsqs
from rqsqs._core.flows.metric_history import history
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import AtOnce, Flow
from rqsqs._core.operations import metric_history
from rqsqs._periods import periods_of
from rqsqs.metric_models import Histogram, HistoryPoint, QueueMetrics
from tests.clusters import ALL_ON_CLUSTER
from tests.lua.conftest import Engine

DAYS = 15
MINUTES = DAYS * 24 * 60
KEPT = 14 * 24 * 60
MINUTE_MS = 60_000
COUNTED = ("sent", "received", "deleted", "empty_receives", "dead_lettered")
DWELL = (0, 0, 0, 0, 2, 9, 28, 30, 18, 8, 3, 1, 0.5, 0.2)  # per cent, by powers of two of ms
PROCESSING = (0, 0, 0, 3, 12, 40, 30, 12, 3)


@dataclass
class Minute:
    """What happened in a minute, and what was there at its end."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    redelivered: int = 0
    dwell: tuple[int, ...] = (0,) * len(DWELL)
    processing: tuple[int, ...] = (0,) * len(PROCESSING)
    visible: int = 0
    in_flight: int = 0
    age_ms: int | None = None
    is_sampled: bool = True


def about(mean: float, draw: random.Random) -> int:
    return max(round(draw.gauss(mean, math.sqrt(mean))), 0) if mean else 0


def busy(minute: int, draw: random.Random) -> Minute:
    """About 30 messages a second, more in the daytime than at night."""
    mean = 1800 * (1 + 0.6 * math.sin(minute / 1440 * math.tau)) * draw.gauss(1, 0.03)
    dwell = tuple([about(mean * share / 100, draw) for share in DWELL])
    again = about(mean / 100, draw)
    counts = {
        "sent": sum(dwell) + draw.randrange(-9, 10),
        "received": sum(dwell) + again,
        "deleted": max(sum(dwell) - about(5, draw) + about(5, draw), 0),
        "empty_receives": about(20, draw),
        "dead_lettered": about(0.5, draw),
    }
    processing = tuple([about(mean * share / 100, draw) for share in PROCESSING])
    return Minute(counts, again, dwell, processing, about(9, draw), about(12, draw), draw.randrange(10, 700))


def now_and_then(minute: int, draw: random.Random) -> Minute:
    """A few messages every third minute."""
    if minute % 3:
        return Minute()
    n = draw.randrange(1, 5)
    dwell = tuple([n * (power == 6) for power in range(len(DWELL))])
    return Minute(dict.fromkeys(COUNTED[:3], n) | dict.fromkeys(COUNTED[3:], 0), 0, dwell)


def idle(minute: int, draw: random.Random) -> Minute:
    return Minute()


def with_gaps(minutes: list[Minute], draw: random.Random) -> None:
    """Nobody samples for a while, every few hours: but hours, days and the end are sampled."""
    for start in range(500, MINUTES, 611):
        for minute in minutes[start : start + draw.randrange(1, 40)]:
            minute.is_sampled = False


def append_all(q: QueueRef, created_ms: int, minutes: list[Minute], draw: random.Random) -> Flow[None]:
    """Sample each minute, a little late."""
    totals = dict.fromkeys(COUNTED, 0)
    again, dwell, processing = 0, [0] * len(DWELL), [0] * len(PROCESSING)
    appends = []
    for number, minute in enumerate(minutes, 1):
        at_ms = created_ms + number * MINUTE_MS + draw.randrange(200, 500)
        totals = {name: total + minute.counts[name] for name, total in totals.items()}
        again += minute.redelivered
        dwell = [a + b for a, b in zip(dwell, minute.dwell, strict=True)]
        processing = [a + b for a, b in zip(processing, minute.processing, strict=True)]
        if minute.is_sampled:
            numbers = QueueMetrics(
                q.name, at_ms, created_ms, visible=minute.visible, in_flight=minute.in_flight,
                oldest_age_s=None if minute.age_ms is None else minute.age_ms / 1000, redelivered=(again, 0, 0),
                dwell=Histogram(tuple(dwell)), processing=Histogram(tuple(processing)), consumers={"running": 4},
                **totals,
            )  # fmt: skip
            appends.append(metric_history.append(q.home, numbers))
        if len(appends) == 25 or number == len(minutes):
            found = yield AtOnce(appends)
            assert all(appended.is_taken for appended in found)
            if found and found[-1].to_pack:
                yield metric_history.pack(q.home, found[-1].to_pack)
            appends = []


def points(engine: Engine, q: QueueRef, since: timedelta, period_s: int) -> list[HistoryPoint]:
    return engine.run(history(q, *periods_of(since, None, period_s)))


def added(parts: list[tuple[int, ...]]) -> Histogram:
    return sum([Histogram(part) for part in parts], Histogram())


@pytest.mark.slow
@pytest.mark.either_server
@pytest.mark.timeout(600)  # 21,600 samples
@pytest.mark.skipif(ALL_ON_CLUSTER, reason="a cluster does the same, and takes longer")
@pytest.mark.parametrize(("kind", "most_kib"), [(busy, 300), (now_and_then, 130), (idle, 0.5)])
def test_each_minute_is_that_of_the_model(
    engine: Engine, kind: Callable[[int, random.Random], Minute], most_kib: float
) -> None:
    draw = random.Random(7)
    engine.clock.advance_ms(-engine.clock.ms % (24 * 60 * MINUTE_MS))
    q = engine.queue("q")
    created_ms = engine.clock.ms
    minutes = [kind(number, draw) for number in range(MINUTES)]
    if kind is not idle:
        with_gaps(minutes, draw)
    with rqsqs.connect(engine.url, prefix=engine.transport.space.prefix, clock=engine.clock) as connection:
        connection.transport.run(append_all(q, created_ms, minutes, draw))
    engine.clock.advance_ms(MINUTES * MINUTE_MS + 1000)
    check_memory(engine, q, most_kib)
    check_minutes(points(engine, q, timedelta(minutes=KEPT - 120), 60)[:-1], minutes[120 - KEPT :])
    check_hours(points(engine, q, timedelta(minutes=KEPT - 120), 3600), minutes[120 - KEPT :])


def check_memory(engine: Engine, q: QueueRef, most_kib: float) -> None:
    keys = q.home.keys("history history_last history_hours")
    sizes = {key.rpartition(":")[2]: engine.redis.memory_usage(key, samples=0) or 0 for key in keys}
    kib = sum(sizes.values()) / 1024
    print(f"{kib:.1f} KiB: {sizes}")  # pytest -rA
    assert kib <= most_kib
    assert engine.redis.hlen(q.home.keys("history_hours")[0]) <= 14 * 24 + 1


def check_minutes(found: list[HistoryPoint], minutes: list[Minute]) -> None:
    assert len(found) == len(minutes)
    carried = Minute()
    missing = 0
    for point, minute in zip(found, minutes, strict=True):
        for name in COUNTED:
            carried.counts[name] += minute.counts[name]
        carried.redelivered += minute.redelivered
        if not minute.is_sampled:
            assert point.is_gap
            missing += 1
            continue
        assert {name: point.metrics[name].sum for name in COUNTED} == carried.counts
        assert point.metrics["redelivered"].sum == carried.redelivered
        assert (point.metrics["visible"].last, point.metrics["in_flight"].last) == (minute.visible, minute.in_flight)
        age = point.metrics.get("oldest_age_s")
        assert (None if age is None else age.last) == (
            None if minute.age_ms is None else pytest.approx(minute.age_ms / 1000, abs=0.11)
        )
        assert point.span_s == pytest.approx(60 * (1 + missing), abs=1)
        carried, missing = Minute(), 0


def check_hours(found: list[HistoryPoint], minutes: list[Minute]) -> None:
    """Histograms are exact by the hour, whatever minutes share them; where samples are missing, by the next hour."""
    expected: list[Any] = []
    carried: list[Minute] = []
    for start in range(0, len(minutes), 60):
        hour = minutes[start : start + 60]
        last = max([n for n, minute in enumerate(hour) if minute.is_sampled], default=-1)
        told, carried = carried + hour[: last + 1], hour[last + 1 :] if last >= 0 else carried + hour
        expected.append((added([m.dwell for m in told]), added([m.processing for m in told])) if last >= 0 else None)
    for point, one in zip(found, expected, strict=False):
        if one is None:
            assert point.is_gap
            continue
        for histogram, wanted in zip((point.dwell, point.processing), one, strict=True):
            assert histogram.total == wanted.total
            assert (histogram - wanted).total == 0
            assert not any((histogram - wanted).counts)
            assert histogram.percentile(95) == wanted.percentile(95)
