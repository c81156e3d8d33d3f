"""Rules of composite alarms: what they mean, what is refused, and cycles."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rqsqs import CompositeAlarm, InvalidParameterValue
from rqsqs._alarm_rules import MOST_CHARACTERS
from rqsqs._core.composite_alarms import evaluation_order, state_of
from rqsqs.alarm_models import STATES, StateValue

ALARM: StateValue = "ALARM"
OK: StateValue = "OK"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("ALARM(a)", True),
        ("OK(a)", False),
        ("OK(b)", True),
        ("INSUFFICIENT_DATA(c)", True),
        ("ALARM(unknown) OR OK(unknown)", False),
        ("INSUFFICIENT_DATA(unknown)", True),
        ("TRUE", True),
        ("false", False),
        ('ALARM("a")', True),
        (' ALARM ( "a" ) ', True),
        ('ALARM("with (spaces), too") AND alarm(a)', True),
        ("ALARM(arn:aws:cloudwatch:us-east-1:000000000000:alarm:a)", True),
        ('ALARM("arn:aws:cloudwatch:us-east-1:000000000000:alarm:with (spaces), too")', True),
        ("NOT ALARM(a)", False),
        ("NOT NOT ALARM(a)", True),
        ("NOT ALARM(b) AND ALARM(a)", True),
        ("NOT (ALARM(b) AND ALARM(a))", True),
        ("NOT(ALARM(a))", False),
        ("TRUE OR TRUE AND FALSE", True),  # AND binds before OR
        ("(TRUE OR TRUE) AND FALSE", False),
        ("FALSE AND FALSE OR TRUE", True),
        ("FALSE AND (FALSE OR TRUE)", False),
        ("TRUE AND NOT FALSE AND TRUE", True),
        ("ALARM(a)\n  AND\tOK(b)", True),
        ("ALARM(and)", False),
        ("ALARM(ALARM)", False),
    ],
)
def test_rules(rule: str, expected: bool) -> None:
    states: dict[str, StateValue] = {"a": ALARM, "b": OK, "c": "INSUFFICIENT_DATA", "with (spaces), too": ALARM}
    assert state_of(rule, states) == ("ALARM" if expected else "OK")


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ("", "rule must be a str of 1 to 10,240 characters, got ''"),
        (5, "rule must be a str of 1 to 10,240 characters, got 5"),
        ("  ", "a condition such as ALARM.name. at character 3, got the end"),
        ("a", r"rule must have ALARM\(...\), .* at character 1, got 'a'"),
        ("ALARM", "the name of an alarm as in ALARM.name."),
        ("ALARM()", "the name of an alarm"),
        ('ALARM("")', "the name of an alarm"),
        ("ALARM(a b)", "the name of an alarm"),
        ("ALARM(a", "the name of an alarm"),
        ("OK(a) OK(b)", "AND, OR or '.' of a '.' at character 7, got 'OK.b.'"),
        ("OK(a) AND", "a condition such as ALARM.name. at character 10, got the end"),
        ("OK(a) AND OR OK(b)", "at character 11"),
        ("AND OK(a)", "at character 1"),
        ("(OK(a)", "must have '.' at character 7"),
        ("OK(a))", "at character 6"),
        ("()", "at character 2"),
        ("OK(a) NOT OK(b)", "at character 7"),
        ("TRUE\x1b", r"at character 5, got '\\x1b'"),
        ("AT_LEAST(1, ALARM, (a, b))", "without AT_LEAST"),
        (" OR ".join(f"OK(a{n})" for n in range(101)), "100 alarms at most, got 101"),
        ("(" * 501 + "TRUE" + ")" * 501, "500 elements at most"),
        ("TRUE" + " " * MOST_CHARACTERS, "10244 characters"),
    ],
)
def test_what_is_no_rule_is_refused(rule: str, error: str) -> None:
    with pytest.raises(InvalidParameterValue, match=error):
        CompositeAlarm("x", rule)


def test_the_deepest_rules_are_read() -> None:
    assert state_of("(" * 499 + "TRUE" + ")" * 499, {}) == "ALARM"
    assert state_of("NOT " * 2_559 + "TRUE", {}) == "OK"


def test_an_alarm_does_not_name_itself() -> None:
    with pytest.raises(InvalidParameterValue, match="rule must name other alarms, got 'x' itself"):
        CompositeAlarm("x", "OK(a) OR ALARM(x)")


TREES = st.recursive(
    st.sampled_from(["True", "False", *(f"{state}({name})" for state in STATES for name in "ab")]),
    lambda inner: st.tuples(st.sampled_from(["not", "and", "or"]), inner, inner),
    max_leaves=12,
)


def written(tree: object) -> str:
    if isinstance(tree, str):
        return tree
    assert isinstance(tree, tuple)
    operator, left, right = tree
    return f"not ({written(left)})" if operator == "not" else f"({written(left)}) {operator} {written(right)}"


@settings(max_examples=200)
@given(TREES)
def test_rules_mean_what_python_says(tree: object) -> None:
    """Python's and, or and not bind as those of a rule do."""
    rule = written(tree)
    for a, b in itertools.product(STATES, STATES):
        states: dict[str, StateValue] = {"a": a, "b": b}
        terms = {f"{state}({name})": str(states[name] == state) for state in STATES for name in "ab"}
        expected = eval(re.sub(r"[A-Z_]+\([ab]\)", lambda found: terms[found[0]], rule))  # noqa: B023 - at once
        assert state_of(rule, states) == ("ALARM" if expected else "OK")


def test_those_in_cycles_are_not_evaluated() -> None:
    rules = {"a": "ALARM(b) OR OK(m)", "b": "ALARM(c)", "c": "OK(m) AND ALARM(a)", "d": "ALARM(a)", "e": "ALARM(m)"}
    assert evaluation_order(rules) == ["e"]


def test_each_is_evaluated_behind_its_children() -> None:
    rules = {
        "top": "ALARM(left) AND ALARM(right)",
        "left": "ALARM(m)",
        "right": "ALARM(left) OR ALARM(n)",
        "x": "OK(y)",
    }
    order = evaluation_order(rules)
    assert sorted(order) == sorted(rules)
    assert order.index("left") < order.index("right") < order.index("top")
