"""The history of a queue: packed hours, and points made of rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqsqs._core import metric_history as history
from rqsqs._core import packed_history as packed
from rqsqs._core.flows.metric_history import Wanted, measured
from rqsqs._core.keys import Keyspace
from rqsqs._core.metric_history import COLUMN, Last, Row
from rqsqs._core.operation import AtOnce, Sleep
from rqsqs._core.operations.metric_history import Stored
from rqsqs.metric_models import Histogram, HistoryPoint, QueueMetrics

MINUTE = history.MINUTE_MS
NOON = 490_000 * history.HOUR_MS
NUMBERS = st.integers(0, 2**50) | st.integers(0, 300)
NAMES = st.sampled_from([*COLUMN.values(), "d0", "d9", "d61", "p3", "c:running", "c:zu Ende", "40"])


def row(minute: int, span_ms: int = MINUTE, **values: int) -> Row:
    """The sample that ends a minute behind noon."""
    named = {COLUMN.get(name, name): value for name, value in values.items()}
    return Row(NOON + (minute + 1) * MINUTE + 200, span_ms, named)


def in_tenths(one: Row) -> Row:
    start = (one.at_ms - one.span_ms) // 100
    is_zero = history.is_first_counter
    values = {name: value for name, value in one.values.items() if value or not is_zero(name)}
    return Row(one.at_ms // 100 * 100, one.at_ms // 100 * 100 - start * 100, values)


@given(
    st.lists(st.tuples(st.dictionaries(NAMES, NUMBERS, max_size=6), st.integers(0, 59_999)), min_size=1, max_size=20),
    st.integers(0, 10**9),
)
def test_what_is_packed_comes_back(hour: list[tuple[dict[str, int], int]], span_ms: int) -> None:
    rows = [
        Row(NOON + (n + 1) * MINUTE + late, span_ms if n == 0 else MINUTE, values)
        for n, (values, late) in enumerate(hour)
    ]
    found = packed.unpack(packed.pack(rows))
    wanted = [in_tenths(one) for one in rows]
    assert [(one.at_ms, one.span_ms) for one in found] == [(one.at_ms, one.span_ms) for one in wanted]
    unshared = [
        [{name: v for name, v in one.values.items() if not history.is_shared(name)} for one in some]
        for some in (found, wanted)
    ]
    assert unshared[0] == unshared[1]
    for name in {name for one in rows for name in one.values}:
        assert sum(one.values.get(name, 0) for one in found) == sum(one.values.get(name, 0) for one in rows)
    data, names = packed.pack(rows), sorted({name for one in rows for name in one.values})
    for chosen in ({names[0], names[-1]}, set(names[::2])) if names else ():
        some = packed.unpack(data, chosen)
        for name in chosen:
            assert [one.values.get(name) for one in some] == [one.values.get(name) for one in found]


@given(st.binary(max_size=60))
def test_what_is_no_packed_hour_has_no_rows(data: bytes) -> None:
    assert isinstance(packed.unpack(b"\x01" + data), list)
    assert packed.unpack(b"\x01\x01" + b"\xff" * 20 + b"\x00" + data) == []


def test_a_quiet_hour_is_small_and_keeps_each_minute() -> None:
    rows = [row(n, sent=n % 3, received=n % 3, deleted=n % 3, visible=5, d4=n % 3) for n in range(60)]
    data = packed.pack(rows)
    assert len(data) < 120
    assert packed.unpack(data) == [in_tenths(one) for one in rows]


def test_minutes_of_a_busy_hour_share_histograms_so_that_it_stays_small() -> None:
    draw = random.Random(1).randrange
    rows = [row(n, sent=draw(60_000), visible=draw(900), **{f"d{k}": draw(5000) for k in range(20)}) for n in range(60)]
    data = packed.pack(rows)
    assert len(data) <= packed.PACKED_BYTES
    found = packed.unpack(data)
    assert [one.values[COLUMN["sent"]] for one in found] == [one.values[COLUMN["sent"]] for one in rows]
    minutes = data[1]
    assert minutes in packed.SHARING
    assert minutes > 1
    for n, one in enumerate(found):
        shared = rows[n + 1 - minutes : n + 1] if n % minutes == minutes - 1 else []
        assert one.values.get("d7", 0) == sum(each.values.get("d7", 0) for each in shared)


def test_what_a_later_version_packed_is_passed_over() -> None:
    assert packed.unpack(b"\x02" + packed.pack([row(0, sent=1)])[1:]) == []
    found = packed.unpack(packed.pack([row(0, sent=1, **{"41": 5})]))
    (point,) = history.points(found, None, NOON, NOON + MINUTE, 60)
    assert point.metrics["sent"].sum == 1


def test_the_numbers_of_columns_never_change() -> None:
    assert (COLUMN["sent"], COLUMN["failed"], COLUMN["visible"], COLUMN["waiters"]) == ("1", "19", "20", "30")
    assert max(map(int, COLUMN.values())) < min(history.BUCKETS.values())


def test_every_number_of_metrics_has_a_column() -> None:
    others = {"queue", "at_ms", "created_at_ms", "is_paused", "is_dead_letter_queue", "oldest_sent_at_ms"}
    others |= {"dwell", "processing", "consumers", "redelivered"}
    columns = {name.replace("_ms", "_s") for name in COLUMN if not name.startswith("redelivered_")}
    assert columns == set(QueueMetrics.__dataclass_fields__) - others


LAST = Last(NOON + 60 * MINUTE + 200, NOON, NOON, {}, {COLUMN["visible"]: 3})


def points(*rows: Row, last: Last | None = LAST, minutes: int = 1, until: int = 10) -> list[HistoryPoint]:
    return history.points(rows, last, NOON, NOON + until * MINUTE, 60 * minutes)


def sums(found: list[HistoryPoint], name: str = "sent") -> list[float | None]:
    return [None if point.is_gap else point.metrics[name].sum for point in found]


def test_a_minute_without_a_row_is_one_in_which_nothing_happened() -> None:
    found = points(row(2, sent=6, visible=6), row(6, sent=1, visible=7))
    assert sums(found) == [0, 0, 6, 0, 0, 0, 1, 0, 0, 0]
    assert sums(found, "visible") == [0, 0, 6, 6, 6, 6, 7, 7, 7, 7]
    assert [point.span_s for point in found] == pytest.approx([60] * 10, abs=0.2)
    assert found[2].rate("sent") == 0.1
    assert [point.at_ms for point in found] == [NOON + n * MINUTE for n in range(10)]


def test_minutes_that_no_sample_ended_are_a_gap() -> None:
    found = points(row(1, sent=5, visible=1), row(6, 5 * MINUTE, sent=30, visible=2))
    assert sums(found) == [0, 5, None, None, None, None, 30, 0, 0, 0]
    assert found[6].span_s == 300
    assert found[6].rate("sent") == 0.1
    assert found[3] == HistoryPoint(NOON + 3 * MINUTE, 60)
    assert found[3].rate("sent") is None
    five = points(row(1, sent=5, visible=1), row(6, 5 * MINUTE, sent=30, visible=2), minutes=5)
    assert sums(five) == [5, 30]
    assert [point.span_s for point in five] == pytest.approx([120, 480], abs=0.4)
    assert five[1].metrics["visible"].sample_count == 4


def test_nothing_is_known_of_the_time_before_the_first_sample_and_behind_the_last() -> None:
    last = replace(LAST, since_ms=NOON + 3 * MINUTE, at_ms=NOON + 7 * MINUTE + 9)
    assert sums(points(row(4, sent=2), last=last)) == [None, None, None, 0, 2, 0, 0, None, None, None]
    assert all(point.is_gap for point in points(last=None))


def test_a_first_row_without_a_span_tells_what_is_there_and_counts_nothing() -> None:
    found = points(row(3, 0, visible=4), row(5, sent=1), last=replace(LAST, since_ms=row(3).at_ms))
    assert [point.is_gap for point in found[:5]] == [True, True, True, False, False]
    assert found[3].metrics.keys() == {"visible"}
    assert found[3].rate("sent") is None
    assert sums(found[4:]) == [0, 1, 0, 0, 0, 0]


def test_what_a_queue_had_all_the_time_is_in_the_last_sample() -> None:
    assert sums(points(), "visible") == [3] * 10


def test_statistics_are_those_of_the_minutes() -> None:
    rows = [row(n, sent=n, visible=10 - n, oldest_age_ms=1000 * n, **{"c:running": 2}) for n in range(1, 6)]
    (point,) = points(*rows, minutes=5, until=5)
    sent, visible = point.metrics["sent"], point.metrics["visible"]
    assert (sent.sum, sent.minimum, sent.maximum, sent.last, sent.sample_count, sent.average) == (10, 0, 4, 4, 5, 2)
    assert (visible.minimum, visible.maximum, visible.last) == (0, 9, 6)
    assert point.metrics["oldest_age_s"].maximum == 4
    assert point.metrics["consumers_running"].last == 2
    assert point.metrics["redelivered"].sum == 0
    assert "sent_bytes" not in point.metrics


def test_the_age_of_what_stays_grows() -> None:
    found = points(row(1, visible=1, oldest_age_ms=500))
    assert [point.metrics["oldest_age_s"].last for point in found[1:4]] == pytest.approx([0.5, 60.3, 120.3])


def test_histograms_of_minutes_add_up() -> None:
    (point,) = points(row(1, received=3, d0=1, d3=2), row(2, received=4, d3=4, p10=1), minutes=10)
    assert point.dwell == Histogram((1, 0, 0, 6))
    assert point.dwell.percentile(50) == pytest.approx(0.0063, abs=0.001)
    assert point.processing.total == 1


def test_the_present_is_what_happened_since_the_last_sample() -> None:
    last = Last(NOON + 200, NOON - 5, NOON - 5, {COLUMN["sent"]: 10, "d2": 1}, {})
    now = QueueMetrics("q", NOON + 30_200, NOON - 5, visible=2, sent=14, deleted=9, dwell=Histogram((0, 0, 3, 1)))
    found = history.present(now, last)
    assert (found.minute, found.span_ms) == (NOON // MINUTE, 30_000)
    assert found.values[COLUMN["sent"]] == 4
    assert found.values[COLUMN["deleted"]] == 0  # a column of a later version counts from its first sample on
    assert (found.values["d2"], found.values["d3"]) == (2, 1)
    late = history.present(replace(now, at_ms=NOON + 300_000), last)
    assert (late.minute, late.span_ms) == (NOON // MINUTE + 5, 299_800)
    soon = history.present(replace(now, at_ms=NOON + 60_100), last)  # the sample of the minute before is about to come
    assert (soon.minute, soon.span_ms) == (NOON // MINUTE, 59_900)


def test_the_present_without_samples_is_what_happened_since_the_queue_was_created_lately() -> None:
    now = QueueMetrics("q", NOON + 30_000, NOON, sent=14)
    assert history.present(now, None).values[COLUMN["sent"]] == 14
    old = history.present(replace(now, created_at_ms=NOON - 2 * history.HOUR_MS), None)
    assert (old.span_ms, COLUMN["sent"] in old.values) == (0, False)


def test_no_rate_is_negative_if_the_data_went_back() -> None:
    last = Last(NOON, NOON - 5, NOON - 5, {COLUMN["sent"]: 10}, {})
    assert history.present(QueueMetrics("q", NOON + 9, NOON - 5, sent=4), last).values[COLUMN["sent"]] == 0


def test_blocks_take_as_few_bytes_as_their_numbers_need() -> None:
    sizes = [len(packed._block(values)) for values in ([7] * 60, [n * 1000 for n in range(60)], [0] * 59 + [10**6])]
    assert sizes == sorted(sizes)
    assert max(sizes) < 18


@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.dictionaries(NAMES, NUMBERS, max_size=8)), max_size=20),
    st.sets(st.sampled_from(["sent", "visible", "oldest_age_s", "redelivered", "redelivered_2", "consumers", "dwell"])),
    st.integers(0, 30),
)
def test_only_some_metrics_are_the_same_as_those_among_all(
    parts: list[tuple[int, bool, dict[str, int]]], names: set[str], since: int
) -> None:
    rows: list[Row] = []
    for steps, is_known, values in parts:
        minute = (rows[-1].minute - NOON // MINUTE if rows else -1) + steps
        rows.append(row(minute, steps * MINUTE if is_known else 0, **values, visible=minute))
    begin, end = NOON + since * MINUTE, NOON + 90 * MINUTE
    every = history.points(rows, LAST, begin, end, 60)
    chosen = history.Chosen.of(names | {"sent", "visible"})  # each sample has one of these
    some = list(history.measured(rows, LAST, begin, end, chosen))  # a minute may have two samples
    for other in every:
        parts_of_it = [point for point in some if point.at_ms == other.at_ms]
        assert bool(parts_of_it) != other.is_gap
        for name in [each for each in other.metrics if each in names or each.removesuffix("_running") in names]:
            found = [point.metrics[name] for point in parts_of_it if name in point.metrics]
            assert sum([one.sum for one in found]) == other.metrics[name].sum
            assert sum([one.sample_count for one in found]) == other.metrics[name].sample_count
        if "dwell" in names:
            assert sum([point.dwell for point in parts_of_it], Histogram()) == other.dwell
    assert {point.at_ms for point in some} <= {point.at_ms for point in every}


def test_an_event_loop_is_free_while_many_minutes_are_looked_at() -> None:
    rows = [row(n, sent=n, visible=n) for n in range(5_000)]
    last = replace(LAST, at_ms=rows[-1].at_ms)
    q = Keyspace("p").queue("q")
    wanted = Wanted(q, NOON, last.at_ms, history.Chosen.of({"sent"}))
    found: list[HistoryPoint] = []

    def use(_: Wanted, points: list[HistoryPoint]) -> Iterator[Any]:
        found.extend(points)
        return len(points)
        yield

    flow: Any = measured([wanted], use)
    breaks = hours = 0
    answer = None
    try:
        while True:
            step = flow.send(answer)
            breaks += isinstance(step, Sleep)
            if isinstance(step, AtOnce):
                answer = [Stored(last, rows if not hours else [])]
                assert len(step.operations) == 1  # 48 hours at once are enough
                hours += int(step.operations[0].args[1])
    except StopIteration as end:
        result = end.value
    assert result == [5_000]
    assert hours == len(wanted.hours)
    assert breaks >= 10
    assert [point.metrics["sent"].sum for point in found] == list(range(5_000))
