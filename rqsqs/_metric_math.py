"""Metric math: what expressions make of series of datapoints. No I/O is here.

A value is a number, a series or an array of series. All series have the same periods, the oldest first; None is a
missing datapoint. In arithmetic and comparisons a missing datapoint counts 0 where the other side has one. What is no
number, such as a division by zero, is missing. The module is long, as it has all functions.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NoReturn

from rqsqs._math_expressions import Apply, Name, Number, Step, Text, names_in, parse
from rqsqs._text import did_you_mean, shown
from rqsqs.errors import InvalidParameterValue

Maybe = float | None
Series = tuple[Maybe, ...]


@dataclass(frozen=True, slots=True)
class Array:
    """Several series.

    Attributes:
        ids: of the queries that they come from, "" = of none alone; all left out if that is not known of any.
    """

    series: tuple[Series, ...]
    ids: tuple[str, ...] = field(default=(), compare=False)

    def chosen(self, numbers: Iterable[int]) -> Array:
        """Some of them, by their places."""
        places = tuple(numbers)
        return Array(tuple([self.series[n] for n in places]), tuple([self.ids[n] for n in places if self.ids]))

    def made(self, function: Callable[[Series], Series]) -> Array:
        """What a function makes of each."""
        return Array(tuple([function(one) for one in self.series]), self.ids)


Value = float | str | Series | Array


@dataclass(frozen=True, slots=True)
class Queries:
    """What expressions are about.

    Attributes:
        measured: the series of metrics by the ids of their queries.
        expressions: by their ids.
        begins_ms: when the period of each datapoint begins.
        period_s: of each datapoint.
    """

    measured: Mapping[str, Series]
    expressions: Mapping[str, str]
    begins_ms: Sequence[int]
    period_s: int
    _known: dict[str, Value] = field(default_factory=dict)

    def result(self, id: str) -> Series:
        """The series of a query.

        Raises:
            InvalidParameterValue: its result is a number or an array.
        """
        found = self.value(id)
        if isinstance(found, tuple):
            return found
        if isinstance(found, Array):
            raise InvalidParameterValue(
                f"the result of {id} must be one series, got an array: use SUM, MAX, FIRST or the like"
            )
        raise InvalidParameterValue(f"the result of {id} must be a series, got a single value: use TIME_SERIES(value)")

    def value(self, id: str, users: tuple[str, ...] = ()) -> Value:
        """The result of a query.

        Args:
            users: the expressions that need it.
        """
        if id in self.measured:
            return self.measured[id]
        if id not in self.expressions:
            near = did_you_mean(id, (*self.measured, *self.expressions))
            raise InvalidParameterValue(f"expression must name other queries, got {shown(id)}, which is none{near}")
        if id in users:
            raise InvalidParameterValue(f"expressions must not need each other, got {' -> '.join((*users, id))}")
        if id not in self._known:
            for needed in names_in(self.expressions[id]):
                self.value(needed, (*users, id))
            self._known[id] = self._run(self.expressions[id])
        return self._known[id]

    def _run(self, expression: str) -> Value:
        stack: list[Value] = []
        steps = parse(expression)
        for n, step in enumerate(steps):
            if isinstance(step, Number | Text):
                stack.append(step.value)
            elif isinstance(step, Name):
                stack.append(self.value(step.id))
            else:
                arguments = stack[len(stack) - step.count :]
                del stack[len(stack) - step.count :]
                before = steps[n - 1]
                if step.name == "[]":
                    stack.append(_joined(arguments, steps[n - step.count : n]))
                    continue
                if step.name == "PERIOD" and not (isinstance(before, Name) and before.id in self.measured):
                    raise InvalidParameterValue("PERIOD must have the id of a metric as its argument, got another")
                stack.append(self._apply(step, arguments))
        return stack.pop()

    def _apply(self, step: Apply, arguments: Sequence[Value]) -> Value:
        name = step.name
        if step.count == 2 and name in _OPERATORS:
            return _both(name, _OPERATORS[name], *arguments)
        if name in _POINTWISE and step.count == 1:
            return _each(name, _POINTWISE[name], arguments[0])
        if name in _OVER:
            if isinstance(arguments[0], Array) and not arguments[0].series:
                return (None,) * len(self.begins_ms)
            return _over(name, _OVER[name], arguments[0])
        if name in _MAPPED:
            function = _MAPPED[name]
            return _map(name, lambda series: function(series, self.period_s), arguments[0])
        if name in _TIMES:
            _series(name, arguments[0])
            return tuple([float(_TIMES[name](datetime.fromtimestamp(at / 1000, UTC))) for at in self.begins_ms])
        return _OTHERS[name](self, arguments)


# One of two values


def _compared(compare: Callable[[float, float], bool]) -> Callable[[float, float], float]:
    return lambda a, b: float(compare(a, b))


_OPERATORS: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": math.pow,
    "==": _compared(operator.eq),
    "!=": _compared(operator.ne),
    "<": _compared(operator.lt),
    "<=": _compared(operator.le),
    ">": _compared(operator.gt),
    ">=": _compared(operator.ge),
    "AND": _compared(lambda a, b: bool(a and b)),
    "OR": _compared(lambda a, b: bool(a or b)),
}
_POINTWISE: Mapping[str, Callable[[float], float]] = {
    "-": operator.neg,
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
    "LOG": math.log,
    "LOG10": math.log10,
}


def _calculated(function: Callable[..., float], *values: Any) -> Maybe:
    """None if it is no number."""
    try:
        found = float(function(*values))
    except (ArithmeticError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _number(value: Maybe) -> float:
    """As a value of its own: what is no number makes everything that is calculated with it missing."""
    return math.nan if value is None else value


def _both(name: str, function: Callable[[float, float], float], left: Value, right: Value) -> Value:
    for value in (left, right):
        if isinstance(value, str):
            _refuse(name, "numbers and series", value)
    if isinstance(left, Array) and isinstance(right, Array):
        raise InvalidParameterValue(f"{name} must have one array at most, got two: use SUM or the like of each")
    if isinstance(left, Array):
        return left.made(lambda one: _pair(function, one, right))
    if isinstance(right, Array):
        return right.made(lambda one: _pair(function, left, one))
    if isinstance(left, float) and isinstance(right, float):
        return _number(_calculated(function, left, right))
    return _pair(function, left, right)


def _pair(function: Callable[[float, float], float], left: Value, right: Value) -> Series:
    """One of them is a series at least."""
    if isinstance(left, float):
        assert isinstance(right, tuple)
        return tuple([None if b is None or math.isnan(left) else _calculated(function, left, b) for b in right])
    assert isinstance(left, tuple)
    if isinstance(right, float):
        return tuple([None if a is None or math.isnan(right) else _calculated(function, a, right) for a in left])
    assert isinstance(right, tuple)
    return tuple(
        [
            None if a is None and b is None else _calculated(function, a or 0.0, b or 0.0)
            for a, b in zip(left, right, strict=True)
        ]
    )


def _each(name: str, function: Callable[[float], float], value: Value) -> Value:
    if isinstance(value, float):
        return _number(_calculated(function, value))
    return _map(name, lambda series: tuple([None if a is None else _calculated(function, a) for a in series]), value)


def _map(name: str, function: Callable[[Series], Series], value: Value) -> Value:
    if isinstance(value, Array):
        return value.made(function)
    return function(_series(name, value))


# Over time, or over several series


def _average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation, of a population."""
    average = _average(values)
    return math.sqrt(_average([(value - average) ** 2 for value in values]))


_OVER: Mapping[str, Callable[[Sequence[float]], float]] = {
    "SUM": math.fsum,
    "AVG": _average,
    "MIN": min,
    "MAX": max,
    "STDDEV": _deviation,
    "DATAPOINT_COUNT": len,
}


def _over(name: str, function: Callable[[Sequence[float]], float], value: Value) -> Value:
    if isinstance(value, Array):
        columns = zip(*value.series, strict=True)
        return tuple([_column(name, function, column) for column in columns])
    known = [one for one in _series(name, value) if one is not None]
    return _number(_calculated(function, known)) if known or name == "DATAPOINT_COUNT" else math.nan


def _column(name: str, function: Callable[[Sequence[float]], float], column: Iterable[Maybe]) -> Maybe:
    values = list(column)
    known = [one for one in values if one is not None]
    if not known:
        return None
    if name == "AVG":  # here a missing one counts 0
        known += [0.0] * (len(values) - len(known))
    return _calculated(function, known)


def _steps(series: Series, period_s: int, function: Callable[[float, float], float]) -> Series:
    """What a function makes of each difference to the datapoint before, and of the seconds between."""
    found: list[Maybe] = []
    last: tuple[int, float] | None = None
    for n, value in enumerate(series):
        if value is None:
            found.append(None)
            continue
        found.append(None if last is None else _calculated(function, value - last[1], float((n - last[0]) * period_s)))
        last = (n, value)
    return tuple(found)


def _running_sum(series: Series, _: int) -> Series:
    total, found = 0.0, []
    for value in series:
        total += value or 0.0
        found.append(None if value is None or not math.isfinite(total) else total)
    return tuple(found)


_MAPPED: Mapping[str, Callable[[Series, int], Series]] = {
    "DIFF": lambda series, period_s: _steps(series, period_s, lambda change, _: change),
    "DIFF_TIME": lambda series, period_s: _steps(series, period_s, lambda _, seconds: seconds),
    "RATE": lambda series, period_s: _steps(series, period_s, operator.truediv),
    "RUNNING_SUM": _running_sum,
}
_TIMES: Mapping[str, Callable[[datetime], float]] = {
    "MINUTE": lambda at: at.minute,
    "HOUR": lambda at: at.hour,
    "DAY": lambda at: at.isoweekday(),
    "DATE": lambda at: at.day,
    "MONTH": lambda at: at.month,
    "YEAR": lambda at: at.year,
    "EPOCH": lambda at: at.timestamp(),
}


# The others


def _fill(queries: Queries, arguments: Sequence[Value]) -> Value:
    value, filler = arguments
    if isinstance(filler, Array) or (isinstance(filler, str) and filler not in ("REPEAT", "LINEAR")):
        _refuse("FILL", "a number, a series, REPEAT or LINEAR as its second argument", filler)
    return _map("FILL", lambda series: _filled(series, filler), value)


def _filled(series: Series, filler: Value) -> Series:
    if filler == "REPEAT":
        last: Maybe = None
        return tuple([last := last if one is None else one for one in series])
    if filler == "LINEAR":
        found = list(series)
        known = [n for n, one in enumerate(series) if one is not None]
        for left, right in pairwise(known):
            low, high = series[left] or 0.0, series[right] or 0.0
            for n in range(left + 1, right):
                found[n] = _calculated(operator.add, low, (high - low) * (n - left) / (right - left))
        return tuple(found)
    if isinstance(filler, tuple):
        return tuple([b if a is None else a for a, b in zip(series, filler, strict=True)])
    assert isinstance(filler, float)
    return tuple([_known(filler) if one is None else one for one in series])


def _if(queries: Queries, arguments: Sequence[Value]) -> Value:
    condition, yes, no = (*arguments, None)[:3]
    for value in (condition, yes, no):
        if isinstance(value, str | Array):
            _refuse("IF", "numbers and series", value)
    nothing: Series = (None,) * len(queries.begins_ms)
    if isinstance(condition, float):
        if math.isnan(condition):
            return nothing
        chosen = yes if condition else no
        return nothing if chosen is None else chosen
    assert isinstance(condition, tuple)

    def at(value: Value | None, n: int) -> Maybe:
        if isinstance(value, tuple):
            return value[n]
        return _known(value) if isinstance(value, float) else None

    found: list[Maybe] = []
    for n, one in enumerate(condition):
        if one is None:
            found.append(None)
        elif one:
            value = at(yes, n)
            found.append(0.0 if value is None and isinstance(yes, tuple) else value)
        else:
            found.append(at(no, n))
    return tuple(found)


def _metrics(queries: Queries, arguments: Sequence[Value]) -> Value:
    part = arguments[0] if arguments else ""
    if not isinstance(part, str):
        _refuse("METRICS", "a text in quotes", part)
    ids = tuple([id for id in queries.measured if part in id])
    return Array(tuple([queries.measured[id] for id in ids]), ids)


def _slice(queries: Queries, arguments: Sequence[Value]) -> Value:
    array = _array("SLICE", arguments[0])
    first, *last = [_index("SLICE", value) for value in arguments[1:]]
    if not last:
        return _one_of("SLICE", array.series, first)
    return array.chosen(range(len(array.series))[first : last[0]])


def _sort(queries: Queries, arguments: Sequence[Value]) -> Value:
    array, by, direction = _array("SORT", arguments[0]), arguments[1], arguments[2]
    if by not in ("AVG", "MIN", "MAX", "SUM") or direction not in ("ASC", "DESC"):
        raise InvalidParameterValue("SORT must have AVG, MIN, MAX or SUM, then ASC or DESC, got others")
    most = _index("SORT", arguments[3]) if len(arguments) > 3 else None
    assert isinstance(by, str)
    function = _OVER[by]

    def key(n: int) -> float:
        known = [one for one in array.series[n] if one is not None]
        found = _calculated(function, known) if known else None
        return -math.inf if found is None else found

    return array.chosen(sorted(range(len(array.series)), key=key, reverse=direction == "DESC")[:most])


def _remove_empty(queries: Queries, arguments: Sequence[Value]) -> Value:
    value = arguments[0]
    if isinstance(value, Array):
        there = [n for n, one in enumerate(value.series) if any(point is not None for point in one)]
        return value.chosen(there)
    return _series("REMOVE_EMPTY", value)


def _time_series(queries: Queries, arguments: Sequence[Value]) -> Value:
    if not isinstance(arguments[0], float):
        _refuse("TIME_SERIES", "a number", arguments[0])
    return (_known(arguments[0]),) * len(queries.begins_ms)


_OTHERS: Mapping[str, Callable[[Queries, Sequence[Value]], Value]] = {
    "FILL": _fill,
    "IF": _if,
    "METRICS": _metrics,
    "SLICE": _slice,
    "SORT": _sort,
    "REMOVE_EMPTY": _remove_empty,
    "TIME_SERIES": _time_series,
    "PERIOD": lambda queries, _: float(queries.period_s),
    "METRIC_COUNT": lambda _, arguments: float(len(_array("METRIC_COUNT", arguments[0]).series)),
    "FIRST": lambda _, arguments: _one_of("FIRST", _array("FIRST", arguments[0]).series, 0),
    "LAST": lambda _, arguments: _one_of("LAST", _array("LAST", arguments[0]).series, -1),
}


# Arguments


def _known(value: float) -> Maybe:
    return None if math.isnan(value) else value


def _refuse(name: str, wanted: str, value: object) -> NoReturn:
    kind = {float: "a number", str: "a text", tuple: "a series", Array: "an array"}.get(type(value), "nothing")
    raise InvalidParameterValue(f"{name} must have {wanted}, got {kind}")


def _series(name: str, value: Value) -> Series:
    if not isinstance(value, tuple):
        _refuse(name, "a series or an array", value)
    return value


def _array(name: str, value: Value) -> Array:
    return value if isinstance(value, Array) else Array((_series(name, value),))


def _joined(values: Sequence[Value], steps: Sequence[Step]) -> Array:
    """An array of series and arrays, that the last steps made: where these are names, it is known which is which."""
    ids = [step.id if isinstance(step, Name) else "" for step in steps]
    if len(steps) != len(values) or not all(ids):
        ids = [""] * len(values)
    arrays = [_array("an array", value) for value in values]
    return Array(
        tuple([one for array in arrays for one in array.series]),
        tuple([own for array, id in zip(arrays, ids, strict=True) for own in array.ids or (id,) * len(array.series)]),
    )


def _one_of(name: str, series: Sequence[Series], index: int) -> Series:
    try:
        return series[index]
    except IndexError:
        raise InvalidParameterValue(f"{name} must have an array with such a series, got one of {len(series)}") from None


def _index(name: str, value: Value) -> int:
    if not isinstance(value, float) or value < 0 or value != math.floor(value):
        raise InvalidParameterValue(f"{name} must have whole numbers of 0 or more, got another")
    return int(value)
