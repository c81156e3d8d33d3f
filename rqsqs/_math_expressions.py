"""Expressions of metric math: from text to steps that a stack can take.

    IF(visible > 0, 100 * received / deleted, 0)

Loosest first: OR ||, AND &&, comparisons, + -, * /, the minus of a number, ^. What functions do is in _metric_math.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

from rqsqs._text import did_you_mean, shown
from rqsqs.errors import InvalidParameterValue

MOST_CHARACTERS, MOST_STEPS, MOST_DEPTH = 2_048, 100, 30
FUNCTIONS = {  # name -> how many arguments there must be at least and at most
    **dict.fromkeys(("ABS", "CEIL", "FLOOR", "LOG", "LOG10"), (1, 1)),
    **dict.fromkeys(("SUM", "AVG", "MIN", "MAX", "STDDEV", "DATAPOINT_COUNT"), (1, 1)),
    **dict.fromkeys(("DIFF", "DIFF_TIME", "RATE", "RUNNING_SUM"), (1, 1)),
    **dict.fromkeys(("FIRST", "LAST", "REMOVE_EMPTY", "METRIC_COUNT", "PERIOD", "TIME_SERIES"), (1, 1)),
    **dict.fromkeys(("MINUTE", "HOUR", "DAY", "DATE", "MONTH", "YEAR", "EPOCH"), (1, 1)),
    "FILL": (2, 2),
    "IF": (2, 3),
    "METRICS": (0, 1),
    "SLICE": (2, 3),
    "SORT": (3, 4),
}
WORDS = frozenset({"REPEAT", "LINEAR", "ASC", "DESC", "AVG", "MIN", "MAX", "SUM"})
_NOT_SUPPORTED = ("SEARCH", "INSIGHT_RULE_METRIC", "SERVICE_QUOTA", "ANOMALY_DETECTION_BAND", "LAMBDA")
_SAME = {"&&": "AND", "||": "OR"}
_BINDS = {
    "OR": 1,
    "AND": 2,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 3),
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "^": 7,
}
_MINUS = 6
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<text>\"[^\"]*\"|'[^']*')|(?P<sign>[<>=!]=|&&|\|\||[-+*/^<>()\[\],])|(?P<other>\S))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Number:
    """Push a number."""

    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """Push a text, or one of WORDS."""

    value: str


@dataclass(frozen=True, slots=True)
class Name:
    """Push the result of another query."""

    id: str


@dataclass(frozen=True, slots=True)
class Apply:
    """Take so many values and push what a function or an operator ("[]" = an array) makes of them."""

    name: str
    count: int


Step = Number | Text | Name | Apply


@lru_cache(maxsize=1024)
def parse(expression: str) -> tuple[Step, ...]:
    """The steps of an expression.

    Raises:
        InvalidParameterValue: it cannot be understood, is not supported or too large.
    """
    reader = _Reader(expression)
    reader.expression(0)
    if reader.token:
        raise reader.wrong("an operator or the end")
    return tuple(reader.steps)


def names_in(expression: str) -> tuple[str, ...]:
    """The ids of the queries that an expression names."""
    return tuple(dict.fromkeys(step.id for step in parse(expression) if isinstance(step, Name)))


class _Reader:
    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not 1 <= len(text) <= MOST_CHARACTERS:
            raise InvalidParameterValue(f"expression must be a str of 1 to 2,048 characters, got {shown(text)}")
        self.text = text
        self.steps: list[Step] = []
        self.depth = 0
        self.place = self.start = 0
        self.kind = self.token = ""
        self.advance()

    def advance(self) -> str:
        """The token that was the present one."""
        before = self.token
        found = _TOKEN.match(self.text, self.place)
        if found is None:
            self.kind, self.token, self.start = "", "", len(self.text)
        else:
            self.kind = found.lastgroup or ""
            self.token, self.start, self.place = found[self.kind], found.start(self.kind), found.end()
            if self.token in ("AND", "OR"):
                self.kind = "sign"
            self.token = _SAME.get(self.token, self.token)
        return before

    def wrong(self, wanted: str) -> InvalidParameterValue:
        came = shown(self.text[self.start : self.start + 40]) if self.token else "the end"
        return InvalidParameterValue(f"expression must have {wanted} at character {self.start + 1}, got {came}")

    def push(self, step: Step) -> None:
        self.steps.append(step)
        if len(self.steps) > MOST_STEPS:
            raise InvalidParameterValue(f"expression must have {MOST_STEPS} parts at most, got more")

    def expect(self, sign: str) -> None:
        if self.token != sign or self.kind != "sign":
            raise self.wrong(repr(sign))
        self.advance()

    def expression(self, least: int) -> None:
        """What binds at least so."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise InvalidParameterValue(f"expression must be nested {MOST_DEPTH} times at most, got more")
        self.operand()
        while self.kind == "sign" and (binds := _BINDS.get(self.token, 0)) and binds >= least:
            sign = self.advance()
            self.expression(binds + (sign != "^"))
            self.push(Apply(sign, 2))
        self.depth -= 1

    def operand(self) -> None:
        kind, token = self.kind, self.token
        if kind == "number":
            if not isfinite(float(token)):
                raise self.wrong("numbers that a float can hold")
            self.advance()
            self.push(Number(float(token)))
        elif kind == "text":
            self.advance()
            self.push(Text(token[1:-1]))
        elif kind == "name":
            self.named(token)
        elif kind == "sign" and token == "-":
            self.advance()
            self.expression(_MINUS)
            self.push(Apply("-", 1))
        elif kind == "sign" and token == "(":
            self.advance()
            self.expression(0)
            self.expect(")")
        elif kind == "sign" and token == "[":
            self.advance()
            self.push(Apply("[]", self.arguments("]")))
        else:
            raise self.wrong("a number, the id of a query, a function or '('")

    def named(self, name: str) -> None:
        wrong = self.wrong("a function or the id of a query")
        self.advance()
        if self.token != "(":
            if name in WORDS:
                self.push(Text(name))
            elif name[0].islower():
                self.push(Name(name))
            elif name == "SELECT":
                raise InvalidParameterValue("expression must be metric math: there is no Metrics Insights (SELECT)")
            else:
                raise wrong
            return
        if name not in FUNCTIONS:
            if name.upper() in _NOT_SUPPORTED:
                raise InvalidParameterValue(
                    f"expression must have functions that are supported here, got {name.upper()}"
                )
            near = did_you_mean(name, FUNCTIONS)
            raise InvalidParameterValue(f"expression must have functions that exist, got {shown(name)}{near}")
        self.advance()
        count, (fewest, most) = self.arguments(")"), FUNCTIONS[name]
        if not fewest <= count <= most:
            number = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise InvalidParameterValue(f"{name} must have {number} argument{'s' * (number != '1')}, got {count}")
        self.push(Apply(name, count))

    def arguments(self, end: str) -> int:
        count = 0
        if self.token != end:
            self.expression(0)
            count = 1
            while self.token == "," and self.kind == "sign":
                self.advance()
                self.expression(0)
                count += 1
        self.expect(end)
        return count
