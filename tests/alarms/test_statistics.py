"""Datapoints out of histories."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rqsqs._core import metric_history
from rqsqs._core.metric_history import COLUMN, Last, Row
from rqsqs.alarms.statistics import Datapoint, datapoints
from rqsqs.metric_models import Histogram, HistoryPoint, MetricStatistics

MINUTE = 60_000
NOON = 490_000 * 3_600_000


def minute(number: int, dwell: Histogram = Histogram(), **values: float | None) -> HistoryPoint:  # noqa: B008 - frozen
    known = {
        name: MetricStatistics(value, value, value, value, 1) for name, value in values.items() if value is not None
    }
    return HistoryPoint(NOON + number * MINUTE, 60, 60.0 if known else 0.0, known, dwell)


HISTORY = [
    minute(0, visible=4, sent=10, oldest_age_s=3.5),
    minute(1, visible=6, sent=0, oldest_age_s=63.5),
    minute(2),
    minute(3, visible=0, sent=2),
    minute(4, visible=2, sent=8, oldest_age_s=1, consumers_running=2, consumers_lost=1),
]


def values(name: str, statistic: str, period_s: int = 60, count: int = 5, end: int = 5) -> list[float | None]:
    found = datapoints(HISTORY, name, statistic, period_s, count, NOON + end * MINUTE)
    assert [point.at_ms for point in found] == [NOON + end * MINUTE - n * 1000 * period_s for n in range(count, 0, -1)]
    return [point.value for point in found]


def test_what_was_not_measured_is_missing() -> None:
    assert values("visible", "Maximum") == [4, 6, None, 0, 2]
    assert values("ApproximateNumberOfMessagesVisible", "Average") == [4, 6, None, 0, 2]
    assert values("NumberOfMessagesSent", "Sum") == [10, 0, None, 2, 8]
    assert values("waiters", "Sum") == [None] * 5


def test_what_is_not_there_is_zero_if_it_was_measured() -> None:
    assert values("oldest_age_s", "Maximum") == [3.5, 63.5, None, 0, 1]
    assert values("consumers", "Minimum") == [0, 0, None, 0, 2]
    assert values("consumers_lost", "Maximum") == [0, 0, None, 0, 1]
    assert values("oldest_age_in_quiet_groups_s", "Maximum") == [None] * 5  # no fair queue


def test_statistics_of_longer_periods() -> None:
    expected = {"Sum": 12, "Average": 3, "Minimum": 0, "Maximum": 6, "SampleCount": 4, "p50": 2, "p100": 6, "p0": 0}
    assert {name: values("visible", name, 300, 1)[0] for name in expected} == expected
    assert values("oldest_age_s", "Minimum", 300, 1) == [0]
    assert values("visible", "Sum", 120, 2) == [6, 2]  # minutes 1-2, 3-4


def test_periods_slide() -> None:
    assert values("sent", "Sum", 180, 1, end=3) == [10]
    assert values("sent", "Sum", 180, 1, end=4) == [2]
    assert values("sent", "Sum", 180, 1, end=5) == [10]
    assert values("sent", "Sum", 180, 1, end=8) == [None]


def test_the_minute_that_is_not_over_does_not_count() -> None:
    assert values("sent", "Sum", count=2, end=4) == [None, 2]


def test_periods_below_a_minute_find_one_sample_a_minute() -> None:
    found = datapoints(HISTORY, "sent", "Sum", 20, 6, NOON + 5 * MINUTE)
    assert [point.value for point in found] == [2, None, None, 8, None, None]


def test_another_unit_finds_nothing() -> None:
    end = NOON + MINUTE
    assert datapoints(HISTORY, "oldest_age_s", "Maximum", 60, 1, end, "Seconds")[0].value == 3.5
    assert datapoints(HISTORY, "oldest_age_s", "Maximum", 60, 1, end, "Count") == [Datapoint(NOON)]


def test_percentiles_of_durations() -> None:
    history = [
        minute(0, Histogram((0, 0, 0, 99)), visible=1),
        minute(1, Histogram((0,) * 10 + (1,)), visible=1),
        minute(2, visible=1),
        minute(3),
    ]

    def found(statistic: str, period_s: int, count: int, end: int) -> list[tuple[float | None, int]]:
        points = datapoints(history, "dwell", statistic, period_s, count, NOON + end * MINUTE)
        return [(point.value, point.samples) for point in points]

    assert found("SampleCount", 60, 4, 4) == [(99, 99), (1, 1), (0, 0), (None, 0)]
    assert found("p50", 60, 4, 4)[2:] == [(None, 0), (None, 0)]
    assert found("p100", 120, 1, 2) == [(1.024, 100)]
    value, samples = found("p50", 120, 1, 2)[0]
    assert (value, samples) == (pytest.approx(0.006, abs=0.002), 100)


def test_each_message_is_a_sample_of_its_size() -> None:
    history = [minute(0, sent=4, sent_bytes=100), minute(1, sent=0, sent_bytes=0), minute(2, sent=5)]
    end = NOON + 3 * MINUTE
    found = {
        name: [point.value for point in datapoints(history, "SentMessageSize", name, 60, 3, end)]
        for name in ("Sum", "Average", "SampleCount")
    }
    assert found == {"Sum": [100, None, None], "Average": [25, None, None], "SampleCount": [4, None, None]}
    assert [point.value for point in datapoints(history, "sent_bytes", "Sum", 60, 3, end)] == [100, 0, None]


def test_the_history_of_a_queue() -> None:
    """Rows as scripts keep them, minutes in which nothing happened, and one that is not over."""
    rows = [
        Row(NOON + MINUTE + 200, MINUTE, {COLUMN["sent"]: 7, COLUMN["visible"]: 7, COLUMN["oldest_age_ms"]: 30_000}),
        Row(NOON + 4 * MINUTE + 200, MINUTE, {COLUMN["deleted"]: 7, COLUMN["visible"]: 0}),
        Row(NOON + 5 * MINUTE + 30_000, 30_000, {COLUMN["sent"]: 1, COLUMN["visible"]: 1}, is_present=True),
    ]
    last = Last(NOON + 5 * MINUTE + 200, NOON, NOON, {}, {})
    history = metric_history.points(rows, last, NOON, NOON + 5 * MINUTE + 30_000, 60)
    end = NOON + 5 * MINUTE
    found = {
        name: [point.value for point in datapoints(history, name, "Maximum", 60, 5, end)]
        for name in ("sent", "deleted", "visible", "oldest_age_s")
    }
    assert found == {
        "sent": [7, 0, 0, 0, 0],
        "deleted": [0, 0, 0, 7, 0],
        "visible": [7, 7, 7, 0, 0],
        "oldest_age_s": [30, pytest.approx(90, abs=1), pytest.approx(150, abs=1), 0, 0],
    }


@settings(max_examples=200)
@given(
    st.lists(st.none() | st.integers(0, 100), min_size=1, max_size=30),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 30),
)
def test_statistics_against_a_second_reckoning(samples: list[int | None], minutes: int, count: int, end: int) -> None:
    history = [minute(n, visible=value) for n, value in enumerate(samples)]
    for name, reckon in (("Sum", sum), ("Minimum", min), ("Maximum", max), ("SampleCount", len)):
        found = datapoints(reversed(history), "visible", name, 60 * minutes, count, NOON + end * MINUTE)
        for back, point in enumerate(reversed(found)):
            last = end - back * minutes
            within = [value for n, value in enumerate(samples) if last - minutes <= n < last and value is not None]
            assert point.value == (reckon(within) if within else None)  # type: ignore[operator]
            assert point.samples == len(within)
