"""Rules of composite alarms: from text to steps that a stack can take, so that no rule is too deep to be read.

    ALARM("orders late") AND NOT (OK(workers) OR FALSE)

NOT binds before AND, AND before OR. Keywords are taken in any case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rqsqs._text import shown
from rqsqs.errors import InvalidParameterValue

MOST_CHARACTERS, MOST_CHILDREN, MOST_ELEMENTS = 10_240, 100, 500

_TOKEN = re.compile(r"\s*(?:([()])|([A-Za-z_]+)|(\S))")
_CHILD = re.compile(r'\s*\(\s*(?:"([^"]*)"|([^\s()",]+))\s*\)')
_ARN = re.compile(r"arn:[^:]*:cloudwatch:[^:]*:[^:]*:alarm:(.+)", re.DOTALL)
_BINDS = {"OR": 1, "AND": 2, "NOT": 3}
_STATES = ("ALARM", "OK", "INSUFFICIENT_DATA")


@dataclass(frozen=True, slots=True)
class Child:
    """Is the alarm in this state?

    Attributes:
        arn: what the rule calls it; "" = by its name.
    """

    name: str
    state: str
    arn: str = ""


Step = Child | bool | Literal["AND", "OR", "NOT"]  # in the order of a stack: operands before their operator


def name_of(reference: str) -> str:
    """The name of an alarm, which may be given as its ARN."""
    found = _ARN.fullmatch(reference)
    return found[1] if found else reference


def references(rule: str) -> tuple[str, ...]:
    """The names of the alarms in a rule, each once, in their order."""
    return tuple(dict.fromkeys(step.name for step in parse(rule) if isinstance(step, Child)))


def arns(rule: str) -> dict[str, str]:
    """The names of the alarms that a rule calls by ARNs, by these."""
    return {step.arn: step.name for step in parse(rule) if isinstance(step, Child) and step.arn}


@lru_cache(maxsize=1024)
def _parse(rule: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    waiting: list[str] = []  # operators, and parentheses
    elements, place, wants_operand = 0, 0, True
    while (found := _TOKEN.match(rule, place)) is not None:
        start, place = found.start(found.lastindex or 0), found.end()
        word = found[0].strip().upper()
        if word in ("AND", "OR") if not wants_operand else False:
            while waiting and _BINDS.get(waiting[-1], 0) >= _BINDS[word]:
                steps.append(waiting.pop())  # type: ignore[arg-type]
            waiting.append(word)
            wants_operand = True
        elif wants_operand and word in ("NOT", "("):
            waiting.append(word)
            elements += word == "("
        elif wants_operand and word in ("TRUE", "FALSE"):
            steps.append(word == "TRUE")
            elements, wants_operand = elements + 1, False
        elif wants_operand and word in _STATES:
            child = _CHILD.match(rule, place)
            if child is None or not (child[1] or child[2]):
                raise _wrong(rule, place, f'the name of an alarm as in {word}(name) or {word}("name")')
            reference = child[1] or child[2]
            name = name_of(reference)
            steps.append(Child(name, word, "" if name == reference else reference))
            elements, wants_operand, place = elements + 1, False, child.end()
        elif not wants_operand and word == ")" and "(" in waiting:
            while (operator := waiting.pop()) != "(":
                steps.append(operator)  # type: ignore[arg-type]
        elif wants_operand and word == "AT_LEAST":
            raise InvalidParameterValue("rule must do without AT_LEAST, which is not supported: use AND and OR")
        else:
            wanted = "ALARM(...), OK(...), INSUFFICIENT_DATA(...), TRUE, FALSE, NOT or '('"
            raise _wrong(rule, start, wanted if wants_operand else "AND, OR or ')' of a '('")
        if not wants_operand:
            while waiting and waiting[-1] == "NOT":
                steps.append("NOT")
                waiting.pop()
        if elements > MOST_ELEMENTS:
            raise InvalidParameterValue(
                f"rule must have {MOST_ELEMENTS} elements at most (alarms, TRUE, FALSE, parentheses), got more"
            )
    if wants_operand or "(" in waiting:
        raise _wrong(rule, len(rule), "a condition such as ALARM(name)" if wants_operand else "')'")
    steps += reversed(waiting)  # type: ignore[arg-type]
    return tuple(steps)


def parse(rule: object) -> tuple[Step, ...]:
    """The steps of a rule.

    Raises:
        InvalidParameterValue: it is no rule, or larger than allowed.
    """
    if not isinstance(rule, str) or not 1 <= len(rule) <= MOST_CHARACTERS:
        length = f" ({len(rule)} characters)" if isinstance(rule, str) and rule else ""
        raise InvalidParameterValue(
            f"rule must be a str of 1 to {MOST_CHARACTERS:,} characters, got {shown(rule)}{length}"
        )
    steps = _parse(rule)
    children = {step.name for step in steps if isinstance(step, Child)}
    if len(children) > MOST_CHILDREN:
        raise InvalidParameterValue(f"rule must name {MOST_CHILDREN} alarms at most, got {len(children)}")
    return steps


def _wrong(rule: str, place: int, wanted: str) -> InvalidParameterValue:
    rest = shown(rule[place : place + 60]) if rule[place:].strip() else "the end"
    return InvalidParameterValue(f"rule must have {wanted} at character {place + 1}, got {rest}")
