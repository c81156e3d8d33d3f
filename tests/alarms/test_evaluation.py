"""How an alarm is evaluated: CloudWatch's tables and examples, and a second evaluator that was written differently."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rqsqs import Alarm
from rqsqs.alarm_models import STATES, StateValue
from rqsqs.alarms.evaluation import Decision, enough_samples, evaluate, interval_s, range_of, span_of
from rqsqs.alarms.statistics import Datapoint

TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
KEPT = "kept"
NOW = 1_764_259_980_000

# Newest right; 0 is fine, X breaches, - is missing. Then the state by treatment, in the order of TREATMENTS.
TABLE_3_OF_3 = [
    ("0 - X - X", "OK OK OK OK"),
    ("0 - - - -", "OK OK OK OK"),
    ("- - - - -", "INSUFFICIENT_DATA kept ALARM OK"),
    ("0 X X - X", "ALARM ALARM ALARM ALARM"),
    ("- - X - -", "ALARM kept ALARM OK"),
]
TABLE_2_OF_3 = [
    ("0 - X - X", "ALARM ALARM ALARM ALARM"),
    ("0 0 X 0 X", "ALARM ALARM ALARM ALARM"),
    ("0 - X - -", "OK OK ALARM OK"),
    ("- - - - 0", "OK OK ALARM OK"),
    ("- - - X -", "ALARM kept ALARM OK"),
]
PROSE = [  # no alarm at once where the next datapoint may be fine; then what it becomes
    (3, "- - - - X", "kept kept ALARM OK"),
    (3, "- - - X -", "kept kept ALARM OK"),
    (3, "- - - X 0", "OK OK OK OK"),
    (3, "- - X - 0", "OK OK OK OK"),
    (3, "- X - - -", "ALARM kept ALARM OK"),
    (3, "- - 0 - X", "OK OK OK OK"),
    (2, "- - - - X", "kept kept ALARM OK"),
    (2, "- - X - -", "ALARM kept ALARM OK"),
    (2, "- - - X X", "ALARM ALARM ALARM ALARM"),
]


def an_alarm(needed: int = 3, number: int = 3, **options: Any) -> Alarm:
    options = {"metric_name": "oldest_age_s", "queue": "orders", "period": 300} | options
    return Alarm(
        "a", threshold=50, comparison_operator=">", evaluation_periods=number, datapoints_to_alarm=needed, **options
    )


def points(text: str, period_s: int = 300) -> list[Datapoint]:
    values = {"0": 10.0, "X": 99.5, "-": None}
    marks = text.split()
    return [
        Datapoint(NOW - (len(marks) - n) * period_s * 1000, values[mark], 0 if mark == "-" else 5)
        for n, mark in enumerate(marks)
    ]


def state(decision: Decision) -> str:
    return KEPT if decision.is_kept else decision.state


@pytest.mark.parametrize(
    ("needed", "text", "expected"),
    [*((3, *row) for row in TABLE_3_OF_3), *((2, *row) for row in TABLE_2_OF_3), *PROSE],
)
@pytest.mark.parametrize("current", STATES)
def test_the_tables_and_examples_of_cloudwatch(needed: int, text: str, expected: str, current: StateValue) -> None:
    for treatment, wanted in zip(TREATMENTS, expected.split(), strict=True):
        decision = evaluate(an_alarm(needed, treat_missing_data=treatment), points(text), current)
        assert state(decision) == wanted, treatment
        assert decision.state == (current if wanted == KEPT else wanted)


def test_a_missing_datapoint_is_missing_unless_something_else_is_said() -> None:
    assert evaluate(an_alarm(), points("- - - - -"), "ALARM").state == "INSUFFICIENT_DATA"


def test_silence_becomes_an_alarm_once_the_last_good_datapoint_has_left_the_range() -> None:
    alarm = an_alarm(treat_missing_data="breaching")
    assert evaluate(alarm, points("0 - - - -"), "OK").state == "OK"
    assert evaluate(alarm, points("- - - - -"), "OK").state == "ALARM"


@pytest.mark.parametrize(
    ("comparison", "states"),
    [(">", "OK OK ALARM"), (">=", "OK ALARM ALARM"), ("<", "ALARM OK OK"), ("<=", "ALARM ALARM OK")],
)
def test_each_comparison(comparison: str, states: str) -> None:
    alarm = Alarm("a", threshold=0, comparison_operator=comparison, metric_name="sent", queue="b")
    found = [evaluate(alarm, [Datapoint(NOW, value, 1)], "OK").state for value in (-0.5, 0.0, 0.5)]
    assert found == states.split()


def test_a_decision_says_what_it_was_decided_from() -> None:
    decision = evaluate(an_alarm(treat_missing_data="breaching"), points("- 0 - X -"), "OK")
    assert [point.value for point in decision.evaluated] == [None, 99.5, 10.0]
    assert [point.value for point in decision.breaching] == [99.5]
    assert [point.value for point in decision.real] == [99.5, 10.0]
    assert decision.filled == 1
    full = evaluate(an_alarm(), points("X X X X 0"), "OK")
    assert ([point.value for point in full.evaluated], full.filled) == ([10.0, 99.5, 99.5], 0)


@pytest.mark.parametrize(("number", "expected"), [(1, 3), (2, 4), (3, 5), (6, 8), (9, 12), (1440, 1920)])
def test_the_evaluation_range(number: int, expected: int) -> None:
    assert range_of(an_alarm(1, number, period=60)) == expected


def test_the_range_slides_with_each_minute() -> None:
    alarm = an_alarm(1, 1)
    assert span_of(alarm, NOW + 59_999) == (NOW - 3 * 300_000, NOW)
    assert span_of(alarm, NOW + 60_000) == (NOW + 60_000 - 3 * 300_000, NOW + 60_000)


def test_long_alarms_are_evaluated_once_an_hour() -> None:
    assert interval_s(an_alarm(1, 1, period=86_400)) == 60
    assert interval_s(an_alarm(1, 2, period=86_400)) == 3_600


def test_percentiles_of_few_samples_do_not_count_if_that_is_wanted() -> None:
    assert [enough_samples(percent) for percent in (99, 50, 10)] == pytest.approx([1000, 20, 100])
    options = {"metric_name": "dwell", "statistic": "p99", "evaluate_low_sample_count_percentile": "ignore"}
    alarm = an_alarm(1, 1, **options)
    few, many = Datapoint(NOW, 99.5, 999), Datapoint(NOW, 99.5, 1000)
    assert evaluate(alarm, [few], "OK") == Decision("OK", (few,), (few,), 0, True)
    assert evaluate(alarm, [many], "OK").state == "ALARM"
    assert (
        evaluate(an_alarm(1, 1, **options | {"evaluate_low_sample_count_percentile": "evaluate"}), [few], "OK").state
        == "ALARM"
    )
    assert evaluate(an_alarm(1, 1, evaluate_low_sample_count_percentile="ignore"), [few], "OK").state == "ALARM"


# The second evaluator: it tries out what missing datapoints may have been.


def independent(marks: str, needed: int, number: int, treatment: str, current: str) -> str:
    """The same from the guide's sentences. `marks` has one character for each period of the range, oldest first."""
    real = marks.replace("-", "")
    if len(real) < number and treatment in ("breaching", "notBreaching"):
        real += ("X" if treatment == "breaching" else "0") * (number - len(real))
    if len(real) >= number:
        return "ALARM" if real[len(real) - number :].count("X") >= needed else "OK"
    if real == "":
        return current if treatment == "ignore" else "INSUFFICIENT_DATA"
    if real.count("X") >= needed:
        return "ALARM"
    if "0" in real:
        return "OK"
    newest_periods = marks[len(marks) - needed + 1 :] if needed > 1 else ""
    is_old = marks.find("X") < len(marks) - len(newest_periods)
    return "ALARM" if is_old and treatment == "missing" else current


@settings(max_examples=500)
@given(st.data())
def test_a_second_evaluator_decides_the_same(data: st.DataObject) -> None:
    number = data.draw(st.integers(1, 7))
    needed = data.draw(st.integers(1, number))
    treatment = data.draw(st.sampled_from(TREATMENTS))
    current = data.draw(st.sampled_from(STATES))
    alarm = an_alarm(needed, number, treat_missing_data=treatment)
    marks = data.draw(st.lists(st.sampled_from("0X-"), min_size=range_of(alarm), max_size=range_of(alarm)))
    found = evaluate(alarm, points(" ".join(marks)), current)
    assert found.state == independent("".join(marks), needed, number, treatment, current)
    assert len(found.real) + found.filled == number
    assert len(found.evaluated) <= number
