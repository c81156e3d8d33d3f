"""Metric math: CloudWatch's examples, each function, and what is refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rqsqs import Alarm, InvalidParameterValue, MetricQuery
from rqsqs._math_expressions import FUNCTIONS, MOST_STEPS
from rqsqs._metric_math import Array, Queries, Series, Value
from rqsqs.alarms.math import measured, of_histories
from rqsqs.alarms.statistics import Datapoint
from rqsqs.metric_models import HistoryPoint, MetricStatistics

BEGIN = round(datetime(2026, 11, 27, 23, 58, tzinfo=UTC).timestamp() * 1000)
_ = None
SERIES: dict[str, Series] = {
    "m1": (30, 20, 0, 0, 10),
    "m2": (20, _, 20, _, 5),
    "m3": (_, _, _, _, _),
    "cond": (1, 1, 0, 0, _),
    "yes": (30, _, 0, 0, 30),
    "no": (0, 0, 20, _, 20),
}


def value(expression: str, **series: Series) -> Value:
    known = series or SERIES
    count = len(next(iter(known.values())))
    return Queries(known, {"e": expression}, [BEGIN + n * 60_000 for n in range(count)], 60).value("e")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # CloudWatch's own
        ("m1 < m2", (0, 0, 1, 0, 0)),
        ("m1 >= 30", (1, 0, 0, 0, 0)),
        ("m1 > 15 AND m2 > 15", (1, 0, 0, 0, 0)),
        ("IF(cond, yes, no)", (30, 0, 20, _, _)),
        ("IF(cond, 5, no)", (5, 5, 20, _, _)),
        # operators
        ("m1 + m2", (50, 20, 20, 0, 15)),
        ("m1 - m2 * 2", (-10, 20, -40, 0, 0)),
        ("m1 / m2", (1.5, _, 0, _, 2)),
        ("m2 / m1", (2 / 3, 0, _, _, 0.5)),
        ("m2 + 1", (21, _, 21, _, 6)),
        ("1 - m2", (-19, _, -19, _, -4)),
        ("m3 + m3", (_,) * 5),
        ("m1 / 0", (_,) * 5),
        ("m1 + 1 / 0", (_,) * 5),
        ("-m2", (-20, _, -20, _, -5)),
        ("m2 ^ 2 ^ 0", (20, _, 20, _, 5)),
        ("TIME_SERIES(-2 ^ 2)", (-4,) * 5),
        ("TIME_SERIES(2 * -3 + 1)", (-5,) * 5),
        ("TIME_SERIES((2 + 3) * 4 - 5 - 6)", (9,) * 5),
        ("TIME_SERIES(1 || 0 && 0)", (1,) * 5),
        ("TIME_SERIES(1 == 1.0 AND 2 != 3 AND 1 <= 1 AND NOTHING < 1)".replace(" AND NOTHING < 1", ""), (1,) * 5),
        ("TIME_SERIES(.5 + 1e1 + 2.)", (12.5,) * 5),
        ("m1 == 0 OR m2 == 5", (0, 0, 1, 1, 1)),
        ("m1 ^ 1000", (_, _, 0, 0, _)),
        # over time and over several series
        ("m1 - AVG(m1)", (18, 8, -12, -12, -2)),
        ("m1 * 0 + SUM(m2)", (45,) * 5),
        ("m1 * 0 + MIN(m2) + MAX(m2)", (25,) * 5),
        ("m1 * 0 + DATAPOINT_COUNT(m2) + DATAPOINT_COUNT(m3)", (3,) * 5),
        ("m1 + SUM(m3)", (_,) * 5),
        ("SUM([m1, m2])", (50, 20, 20, 0, 15)),
        ("AVG([m1, m2])", (25, 10, 10, 0, 7.5)),
        ("MIN([m1, m2])", (20, 20, 0, 0, 5)),
        ("MAX([m1, m2, m3])", (30, 20, 20, 0, 10)),
        ("STDDEV([m1, m2])", (5, 0, 10, 0, 2.5)),
        ("DATAPOINT_COUNT([m1, m2, m3])", (2, 1, 2, 1, 2)),
        ("SUM([m3])", (_,) * 5),
        ("SUM([m1, m2] * 2)", (100, 40, 40, 0, 30)),
        ("SUM(m1 / [m2])", (1.5, _, 0, _, 2)),
        ("SUM(METRICS('m'))", (50, 20, 20, 0, 15)),
        ('SUM(METRICS("m2"))', (20, _, 20, _, 5)),
        ("SUM(METRICS('none'))", (_,) * 5),
        ("TIME_SERIES(METRIC_COUNT(METRICS()))", (6,) * 5),
        # one series
        ("ABS(m2 - 20)", (0, _, 0, _, 15)),
        ("CEIL(m2 / 7) + FLOOR(m2 / 7)", (5, _, 5, _, 1)),
        ("LOG10(m1 * 10)", (math.log10(300), math.log10(200), _, _, 2)),
        ("TIME_SERIES(LOG(1))", (0,) * 5),
        ("DIFF(m2)", (_, _, 0, _, -15)),
        ("DIFF_TIME(m2)", (_, _, 120, _, 120)),
        ("RATE(m2)", (_, _, 0, _, -0.125)),
        ("RUNNING_SUM(m2)", (20, _, 40, _, 45)),
        ("m1 / PERIOD(m1)", (0.5, 1 / 3, 0, 0, 1 / 6)),
        ("FILL(m2, 0)", (20, 0, 20, 0, 5)),
        ("FILL(m2, m1)", (20, 20, 20, 0, 5)),
        ("FILL(m2, REPEAT)", (20, 20, 20, 20, 5)),
        ("FILL(m2, LINEAR)", (20, 20, 20, 12.5, 5)),
        ("FILL(DIFF(m2), REPEAT)", (_, _, 0, 0, -15)),
        ("FILL(m2, 1 / 0)", (20, _, 20, _, 5)),
        ("IF(m1 > 15, m1)", (30, 20, _, _, _)),
        ("IF(1, m1, m2)", (30, 20, 0, 0, 10)),
        ("IF(0, m1)", (_,) * 5),
        ("FIRST([m2, m1])", (20, _, 20, _, 5)),
        ("LAST([m2, m1])", (30, 20, 0, 0, 10)),
        ("SLICE([m1, m2, m3], 1)", (20, _, 20, _, 5)),
        ("SUM(SLICE([m1, m2, m3], 1, 3))", (20, _, 20, _, 5)),
        ("FIRST(SORT([m1, m2], AVG, DESC))", (20, _, 20, _, 5)),
        ("FIRST(SORT([m2, m1], MIN, ASC))", (30, 20, 0, 0, 10)),
        ("TIME_SERIES(METRIC_COUNT(SORT(METRICS(), SUM, DESC, 2)))", (2,) * 5),
        ("TIME_SERIES(METRIC_COUNT(REMOVE_EMPTY([m1, m2, m3])))", (2,) * 5),
        ("RUNNING_SUM(m1 * 5e306)", (1.5e308, _, _, _, _)),
        ("FILL(IF(m2, (m2 - 10) * 1.7e307), LINEAR)", (1.7e308, 1.7e308, 1.7e308, _, -8.5e307)),
        ("FIRST(SORT([m1 * 5e306, m2], SUM, DESC))", (20, _, 20, _, 5)),
        ("HOUR(m3)", (23, 23, 0, 0, 0)),
        ("MINUTE(m1)", (58, 59, 0, 1, 2)),
        ("DAY(m1) * 100 + DATE(m1)", (527, 527, 628, 628, 628)),
        ("YEAR(m1) * 100 + MONTH(m1)", (202611,) * 5),
        ("EPOCH(m1) - 60 * MINUTE(m1)", ((BEGIN / 1000 - 58 * 60,) * 2 + (BEGIN / 1000 + 120,) * 3)),
    ],
)
def test_expressions(expression: str, expected: Series) -> None:
    assert value(expression) == pytest.approx(expected)


def test_all_functions_are_there() -> None:
    """None is understood that nobody can do."""
    for name, (least, _most) in FUNCTIONS.items():
        given = ["m1", "AVG", "DESC"] if name == "SORT" else ["m1", "0"] if name == "SLICE" else ["m1"] * least
        argument = ", ".join(["2"] if name == "TIME_SERIES" else given)
        assert value(f"{name}({argument})") is not None


def test_what_is_a_number_and_what_is_an_array() -> None:
    assert value("SUM(m1)") == 60.0
    assert value("STDDEV(m1)") == pytest.approx(math.sqrt(136))
    assert isinstance(value("METRICS()"), Array)
    assert math.isnan(value("1 / 0"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("", "1 to 2,048 characters"),
        ("x" * 2049, "1 to 2,048 characters"),
        ("m1 +", "a number, the id of a query, a function or '.' at character 5, got the end"),
        ("m1 m2", "an operator or the end at character 4, got 'm2'"),
        ("(m1", r"'\)' at character 4, got the end"),
        ("m1)", r"an operator or the end at character 3, got '\)'"),
        ("SUM(m1", r"'\)' at character 7"),
        ("m1 $ m2", r"at character 4, got '\$ m2'"),
        ("m1 + 'a", 'got "\'a"'),
        ("SUM()", "SUM must have 1 argument, got 0"),
        ("IF(1)", "IF must have 2 to 3 arguments, got 1"),
        ("SUMM(m1)", "got 'SUMM'; did you mean 'SUM'"),
        ("sum(m1)", "got 'sum'; did you mean 'SUM'"),
        ("SEARCH('a', 'Sum')", "supported here, got SEARCH"),
        ('SELECT MAX("oldest_age_s") FROM "AWS/SQS"', r"metric math: there is no Metrics Insights \(SELECT\)"),
        ("M1 + 1", "a function or the id of a query at character 1, got 'M1"),
        ("m4 + 1", "must name other queries, got 'm4', which is none"),
        ("+".join(["m1"] * 300), f"{MOST_STEPS} parts at most"),
        ("(" * 100 + "m1" + ")" * 100, "nested 30 times at most"),
        ("-" * 100 + "m1", "nested 30 times at most"),
        ("2^" * 100 + "2", "nested 30 times at most"),
        ("1e999", "numbers that a float can hold"),
        ("METRICS() + METRICS()", r"\+ must have one array at most, got two"),
        ("m1 + 'a'", r"\+ must have numbers and series, got a text"),
        ("PERIOD(m1 + 1)", "PERIOD must have the id of a metric"),
        ("PERIOD(e)", "expressions must not need each other, got e -> e"),
        ("RATE(5)", "RATE must have a series or an array, got a number"),
        ("FILL(m1, ASC)", "FILL must have a number, a series, REPEAT or LINEAR"),
        ("FILL(m1, 'x')", "FILL must have a number, a series, REPEAT or LINEAR"),
        ("IF(METRICS(), 1)", "IF must have numbers and series, got an array"),
        ("METRICS(m1)", "METRICS must have a text in quotes, got a series"),
        ("SORT(m1, ASC, AVG)", "SORT must have AVG, MIN, MAX or SUM, then ASC or DESC"),
        ("SLICE(METRICS(), 0.5)", "SLICE must have whole numbers of 0 or more"),
        ("SLICE(METRICS(), 9)", "SLICE must have an array with such a series, got one of 6"),
        ("FIRST(METRICS('none'))", "FIRST must have an array with such a series, got one of 0"),
        ("TIME_SERIES(m1)", "TIME_SERIES must have a number, got a series"),
    ],
)
def test_what_cannot_be_calculated_is_refused(expression: str, error: str) -> None:
    with pytest.raises(InvalidParameterValue, match=error):
        value(expression)


def an_alarm(*expressions: str, queue: str = "orders") -> Alarm:
    """The last expression is the result."""
    metrics = [
        MetricQuery("sent", metric_name="sent", queue=queue, return_data=False),
        MetricQuery("old", metric_name="oldest_age_s", queue=queue, return_data=False),
    ]
    for n, expression in enumerate(expressions, 1):
        metrics.append(MetricQuery(f"e{n}", expression=expression, return_data=n == len(expressions)))
    return Alarm("math", threshold=1, comparison_operator=">", metrics=metrics)


@pytest.mark.parametrize(
    ("expressions", "error"),
    [
        (["sent +"], "got the end"),
        (["other"], "got 'other', which is none"),
        (["SUM(sent)"], "the result of e1 must be a series, got a single value: use TIME_SERIES"),
        (["METRICS()"], "the result of e1 must be one series, got an array"),
        (["e2", "e1"], "expressions must not need each other, got e1 -> e2 -> e1"),
        (["RATE(5)", "sent"], "RATE must have a series"),
    ],
)
def test_an_alarm_is_refused_whose_math_cannot_work(expressions: list[str], error: str) -> None:
    with pytest.raises(InvalidParameterValue, match=error):
        an_alarm(*expressions)


def test_the_datapoints_of_an_alarm() -> None:
    def minute(n: int, **values: float) -> HistoryPoint:
        return HistoryPoint(
            BEGIN + n * 60_000, 60, 60, {name: MetricStatistics(one, one, one, one, 1) for name, one in values.items()}
        )

    history = [minute(0, sent=4, visible=1, oldest_age_s=8), minute(1, sent=6, visible=0), HistoryPoint(BEGIN, 60)]
    read = of_histories({"orders": history, "others": []})
    now = BEGIN + 3 * 60_000 + 5
    found = measured(an_alarm("sent * 2", "FILL(e1, -1) + old"), now, read)
    assert found == [
        Datapoint(BEGIN, 16),
        Datapoint(BEGIN + 60_000, 12),
        Datapoint(BEGIN + 120_000, -1),
    ]
    assert [point.value for point in measured(an_alarm("sent", queue="others"), now, read)] == [None] * 3
    plain = Alarm("a", threshold=1, comparison_operator=">", metric_name="sent", queue="orders")
    assert measured(plain, now, read) == [
        Datapoint(BEGIN, 4, 1),
        Datapoint(BEGIN + 60_000, 6, 1),
        Datapoint(BEGIN + 120_000),
    ]
    elsewhere = Alarm("a", threshold=1, comparison_operator=">", metric_name="sent", queue="orders", namespace="Mill")
    assert [point.value for point in measured(elsewhere, now, read)] == [None] * 3


SIGNS = (*"+-*/^<()[],$", "==", "AND", "||", "\x00", "\x1b")
OPERANDS = ("m1", "m2", "m3", "e", "1", "0", "2.5", "1.7e308", "'m'", "REPEAT", "LINEAR", "ASC", "AVG")
TOKENS = st.sampled_from([*SIGNS, *OPERANDS, *(f"{name}(" for name in FUNCTIONS)])


@settings(max_examples=1_000)
@given(st.lists(TOKENS, min_size=1, max_size=30))
def test_any_text_is_calculated_or_refused(tokens: list[str]) -> None:
    try:
        found = value(" ".join(tokens))
    except InvalidParameterValue as error:
        error_text = str(error)
        found = ()
    else:
        error_text = ""
    assert error_text.isprintable()
    for series in found.series if isinstance(found, Array) else [found] if isinstance(found, tuple) else []:
        assert len(series) in (0, 5)
        assert all(point is None or math.isfinite(point) for point in series)


@settings(max_examples=200)
@given(
    st.recursive(st.sampled_from(["m1", "m2", "7"]), lambda x: st.tuples(x, st.sampled_from("+-*/"), x), max_leaves=15)
)
def test_arithmetic_is_that_of_python(tree: Any) -> None:
    def written(node: Any) -> str:
        return node if isinstance(node, str) else f"({written(node[0])}) {node[1]} {written(node[2])}"

    text = written(tree)
    for a, b in ((30.0, 20.0), (1.5, -3.0)):
        try:
            expected = eval(text, {"m1": a, "m2": b})
        except ZeroDivisionError:
            continue  # a missing datapoint counts 0 further out: that is tested above
        found = value(text, m1=(a,), m2=(b,))
        assert (found[0] if isinstance(found, tuple) else found) == pytest.approx(expected)
