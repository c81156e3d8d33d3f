"""A day of alarms in virtual time, minute by minute: from what a queue's samples say to states, against an evaluator
that shares nothing with ours. It has the day as plain lists, and takes the guide's sentences one after the other."""

from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rqsqs import Alarm, MetricQuery
from rqsqs._core import metric_history
from rqsqs._core.metric_history import COLUMN, Last, Row
from rqsqs.alarm_models import OPERATORS, StateValue
from rqsqs.alarms.evaluation import evaluate, span_of
from rqsqs.alarms.math import measured, of_histories
from rqsqs.metric_models import HistoryPoint

MINUTE, DAY = 60_000, 1_440
BEGIN = 20_000 * DAY * MINUTE
TREATMENTS = (None, "missing", "ignore", "breaching", "notBreaching")
Sample = tuple[int, int, int | None]  # sent in a minute; visible and the oldest age in s at its end

PHASES = st.lists(
    st.tuples(
        st.integers(1, 90),
        st.sampled_from(["gap", "empty", "calm", "busy", "stuck", "flapping", "patchy"]),
    ),
    min_size=4,
    max_size=40,
)
ALARMS = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(["sent", "visible", "oldest_age_s", "share"]),
        "statistic": st.sampled_from(["Sum", "Average", "Minimum", "Maximum", "SampleCount"]),
        "minutes": st.sampled_from([1, 1, 2, 5, 15]),
        "number": st.integers(1, 6),
        "needed": st.integers(1, 6),
        "treatment": st.sampled_from(TREATMENTS),
        "comparison": st.sampled_from(list(OPERATORS)),
        "threshold": st.sampled_from([0, 1, 3, 10, 60, 200]),
    }
)


def a_day(phases: list[tuple[int, str]]) -> list[Sample | None]:
    """What each minute of a day was, None = nobody sampled; the phases again and again."""
    day: list[Sample | None] = []
    while len(day) < DAY:
        for minutes, kind in phases:
            for n in range(minutes):
                day.append(
                    {
                        "gap": None,
                        "empty": (0, 0, None),
                        "calm": (2, 1, n % 4),
                        "busy": (90 + n % 20, 10 * n, 30 + n),
                        "stuck": (1, n + 1, 60 * n + 60),
                        "flapping": (5, 100, 300) if n % 2 else (0, 0, None),
                        "patchy": (5, 100, 300) if n % 3 == 0 else None,
                    }[kind]
                )
    return day[:DAY]


def history_of(day: list[Sample | None]) -> list[HistoryPoint]:
    """As a queue that was sampled would answer it."""
    rows: list[Row] = []
    for n, sample in enumerate(day):
        if sample is not None:
            sent, visible, age = sample
            values = {COLUMN["sent"]: sent, COLUMN["visible"]: visible}
            if age is not None:
                values[COLUMN["oldest_age_ms"]] = 1000 * age
            at_ms = BEGIN + (n + 1) * MINUTE
            rows.append(Row(at_ms, at_ms - rows[-1].at_ms if rows else MINUTE, values))
    return metric_history.points(rows, None, BEGIN, BEGIN + DAY * MINUTE, 60)


def an_alarm(wanted: dict) -> Alarm:  # type: ignore[type-arg]
    options = {
        "threshold": wanted["threshold"],
        "comparison_operator": wanted["comparison"],
        "evaluation_periods": wanted["number"],
        "datapoints_to_alarm": min(wanted["needed"], wanted["number"]),
        "treat_missing_data": wanted["treatment"],
    }
    period, statistic = 60 * wanted["minutes"], wanted["statistic"]
    if wanted["metric"] != "share":
        return Alarm("a", metric_name=wanted["metric"], queue="orders", statistic=statistic, period=period, **options)
    queries = [
        MetricQuery(id, metric_name=name, queue="orders", statistic=statistic, period=period, return_data=False)
        for id, name in (("m1", "sent"), ("m2", "visible"))
    ]
    share = MetricQuery("share", expression="IF(m2 > 1, 100 * m1 / m2, m1 - m2)")
    return Alarm("a", metrics=[*queries, share], **options)


# The other evaluator


def reckoned(day: list[Sample | None], metric: str, statistic: str, first: int, end: int) -> float | None:
    found = [sample for sample in day[max(first, 0) : max(end, 0)] if sample]
    if not found:
        return None
    if metric == "share":
        sent = reckoned(day, "sent", statistic, first, end)
        visible = reckoned(day, "visible", statistic, first, end)
        assert sent is not None
        assert visible is not None
        return 100 * sent / visible if visible > 1 else sent - visible
    column = [(sample[["sent", "visible", "oldest_age_s"].index(metric)] or 0) for sample in found]
    match statistic:
        case "Sum":
            return float(sum(column))
        case "Average":
            return sum(column) / len(column)
        case "Minimum":
            return float(sorted(column)[0])
        case "Maximum":
            return float(sorted(column)[-1])
    return float(len(column))


def another_state(values: list[float | None], wanted: dict, current: StateValue) -> StateValue:  # type: ignore[type-arg]
    """The newest value is the last."""
    number, needed = wanted["number"], min(wanted["needed"], wanted["number"])
    treatment, threshold = wanted["treatment"] or "missing", wanted["threshold"]
    marks = ""
    for value in values:
        if value is None:
            marks += "-"
        else:
            is_over = {">": value > threshold, "<": value < threshold}.get(wanted["comparison"][0], False)
            marks += "X" if is_over or ("=" in wanted["comparison"] and value == threshold) else "0"
    known = marks.replace("-", "")
    if len(known) < number and treatment in ("breaching", "notBreaching"):
        known += ("X" if treatment == "breaching" else "0") * (number - len(known))
    if len(known) >= number:
        return "ALARM" if known[-number:].count("X") >= needed else "OK"
    if not known:
        return current if treatment == "ignore" else "INSUFFICIENT_DATA"
    if known.count("X") >= needed:
        return "ALARM"
    if "0" in known:
        return "OK"
    is_old = "X" in marks[: len(marks) - needed + 1]
    return "ALARM" if is_old and treatment == "missing" else current


def run(day: list[Sample | None], wanted: dict) -> set[str]:  # type: ignore[type-arg]
    """Evaluate an alarm in each minute of the day, with both; the states that there were."""
    alarm, history = an_alarm(wanted), history_of(day)
    starts = [point.at_ms for point in history]
    ours: StateValue = "INSUFFICIENT_DATA"
    theirs: StateValue = "INSUFFICIENT_DATA"
    states = set()
    size, length = wanted["minutes"], wanted["number"] + max(2, math.floor(wanted["number"] / 3))
    for minute in range(1, DAY + 1):
        now_ms = BEGIN + minute * MINUTE + 17_000
        since_ms, until_ms = span_of(alarm, now_ms)
        part = history[bisect_left(starts, since_ms) : bisect_left(starts, until_ms)]
        ours = evaluate(alarm, measured(alarm, now_ms, of_histories({"orders": part})), ours).state
        values = [
            reckoned(day, wanted["metric"], wanted["statistic"], minute - (n + 1) * size, minute - n * size)
            for n in reversed(range(length))
        ]
        theirs = another_state(values, wanted, theirs)
        assert ours == theirs, f"minute {minute}: {values}"
        states.add(ours)
    return states


@settings(max_examples=10)
@given(PHASES, ALARMS)
def test_a_day_of_any_alarm(phases: list[tuple[int, str]], wanted: dict) -> None:  # type: ignore[type-arg]
    run(a_day(phases), wanted)


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_a_day_with_everything(treatment: str | None) -> None:
    """An alarm begins, ends and misses data."""
    phases = [(60, "calm"), (45, "stuck"), (20, "empty"), (30, "gap"), (25, "flapping"), (40, "patchy"), (30, "busy")]
    for number, needed in ((1, 1), (3, 2), (5, 5)):
        wanted = {
            "metric": "oldest_age_s",
            "statistic": "Maximum",
            "minutes": 1,
            "number": number,
            "needed": needed,
            "treatment": treatment,
            "comparison": ">=",
            "threshold": 200,
        }
        states = run(a_day(phases), wanted)
        assert {"OK", "ALARM"} <= states
        assert ("INSUFFICIENT_DATA" in states) == (treatment in (None, "missing"))


def test_the_samples_of_the_day_come_from_the_history() -> None:
    """An hour without a sample is a gap, an hour in which nothing happened is none."""
    rows = [Row(BEGIN + MINUTE, MINUTE, {COLUMN["sent"]: 1, COLUMN["visible"]: 1})]
    idle = metric_history.points(rows, Last(BEGIN + 60 * MINUTE, BEGIN, BEGIN, {}, {}), BEGIN, BEGIN + 60 * MINUTE, 60)
    assert [point.is_gap for point in idle] == [False] * 60
    gap = history_of([(1, 1, 1)] + [None] * (DAY - 1))
    assert [point.is_gap for point in gap[:60]] == [False] + [True] * 59
