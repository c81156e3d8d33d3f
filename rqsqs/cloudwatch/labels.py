"""Labels of the results of GetMetricData: those that nobody gave, and dynamic ones such as `${MAX} at ${MAX_TIME}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from statistics import fmean
from typing import Any

from rqsqs.sqs.context import Context, Params

from .constraints import shown
from .errors import ValidationError
from .measured import Asked

MOST_EXPRESSIONS = 5  # dynamic ones in a label
NO_DATA = "--"
_EXPRESSION = re.compile(r"\$\{\s*([A-Z_]+)(?:\(\s*(['\"])([^'\"}]*)\2\s*\))?\s*\}")
_TIMEZONE = re.compile(r"([+-])(\d\d)([0-5]\d)", re.ASCII)
Point = tuple[int, float]  # when its period begins, epoch ms; its value


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a label is about.

    Attributes:
        default: the label that it would have without one.
        points: the oldest first.
        properties: of the metric, such as "Stat" or "Dim.QueueName".
    """

    default: str
    points: Sequence[Point]
    properties: Mapping[str, str]
    now_ms: int
    timezone: timezone


def default_labels(asked: Mapping[str, Asked]) -> dict[str, str]:
    """The labels of metrics by the ids of their queries: the name of the metric, and what tells it from the others of
    the request: dimensions, statistic, period."""

    def differ(part: Callable[[Asked], Any]) -> bool:
        return len({part(one) for one in asked.values()}) > 1

    by_dimensions = differ(lambda one: tuple(one.metric.dimensions.values()))
    by_statistic, by_period = differ(lambda one: one.statistic), differ(lambda one: one.times.period_s)
    return {
        id: " ".join(
            [
                *(one.metric.dimensions.values() if by_dimensions else ()),
                one.metric.name,
                *([one.statistic] if by_statistic else ()),
                *([str(one.times.period_s)] if by_period else ()),
            ]
        )
        for id, one in asked.items()
    }


def properties_of(ctx: Context, asked: Asked | None, period_s: int) -> dict[str, str]:
    """What PROP('...') may name."""
    found = {"AccountId": ctx.account, "AccountLabel": ctx.account, "Region": ctx.region, "Period": str(period_s)}
    if asked is not None:
        metric = asked.metric
        found |= {"MetricName": metric.name, "Namespace": metric.namespace, "Stat": asked.statistic}
        found |= {f"Dim.{name}": value for name, value in metric.dimensions.items()}
    return found


def check_label(label: str, where: str) -> None:
    """Refuse what no label may have.

    Args:
        where: the member of the request.
    """
    names = [found[1] for found in _EXPRESSION.finditer(label)]
    if len(names) > MOST_EXPRESSIONS:
        raise ValidationError(
            f"The parameter {where} must have {MOST_EXPRESSIONS} dynamic expressions at most, got {len(names)}."
        )
    if names.count("LABEL") > 1:
        raise ValidationError(
            f"The parameter {where} must have ${{LABEL}} once at most, got it {names.count('LABEL')} times."
        )


def timezone_of(params: Params) -> timezone:
    """That of the LabelOptions of a request."""
    text = (params.get("LabelOptions") or {}).get("Timezone") or "+0000"
    found = _TIMEZONE.fullmatch(text)
    offset = timedelta(hours=int(found[2]), minutes=int(found[3])) if found else timedelta(days=1)
    if found is None or offset >= timedelta(days=1):
        raise ValidationError(
            f"The parameter LabelOptions.Timezone must be + or - and four digits, such as +0130, got {shown(text)}."
        )
    return timezone(-offset if found[1] == "-" else offset)


def filled(label: str, about: Labelled) -> str:
    """A label with values instead of its dynamic expressions. What is none stays as it is."""

    def value(found: re.Match[str]) -> str:
        name, of = found[1], found[3]
        if name == "PROP" and of is not None:
            return about.properties.get(of, "")
        if of is not None:
            return found[0]
        if name == "LABEL":
            return about.default
        if name == "DATAPOINT_COUNT":
            return str(len(about.points))
        known = _NUMBERS.get(name) or _TIMES.get(name.removesuffix("_TIME_RELATIVE").removesuffix("_TIME"))
        if known is None:
            return found[0]
        if not about.points:
            return NO_DATA
        if name in _NUMBERS:
            return _written(_NUMBERS[name](about.points))
        at_ms, _ = _TIMES[name.removesuffix("_TIME_RELATIVE").removesuffix("_TIME")](about.points)
        return _ago(about.now_ms - at_ms) if name.endswith("_RELATIVE") else _time(at_ms, about.timezone)

    return _EXPRESSION.sub(value, label)


def _value(point: Point) -> float:
    return point[1]


_TIMES: Mapping[str, Callable[[Sequence[Point]], Point]] = {
    "FIRST": lambda points: points[0],
    "LAST": lambda points: points[-1],
    "MAX": lambda points: max(points, key=_value),
    "MIN": lambda points: min(points, key=_value),
}
_NUMBERS: Mapping[str, Callable[[Sequence[Point]], Sequence[float]]] = {
    "AVG": lambda points: [fmean(map(_value, points))],
    "SUM": lambda points: [sum(map(_value, points))],
    "FIRST": lambda points: [_value(points[0])],
    "LAST": lambda points: [_value(points[-1])],
    "MAX": lambda points: [max(map(_value, points))],
    "MIN": lambda points: [min(map(_value, points))],
    "FIRST_LAST_RANGE": lambda points: [_value(points[0]), _value(points[-1])],
    "MIN_MAX_RANGE": lambda points: [min(map(_value, points)), max(map(_value, points))],
}


def _written(values: Sequence[float]) -> str:
    return " - ".join(
        [
            f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) >= 0.01 or not value else f"{value:.3g}"
            for value in values
        ]
    )


def _time(at_ms: int, zone: timezone) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, zone)
    return f"{at:%Y-%m-%d %H:%M:%S} " + ("UTC" if zone == UTC else f"{at:%z}")


def _ago(ms: int) -> str:
    """How long ago, as its two largest units: 3h 20m."""
    seconds, parts = max(ms, 0) // 1000, list[str]()
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if seconds >= length or (unit == "s" and not parts):
            parts.append(f"{seconds // length}{unit}")
            seconds %= length
    return " ".join(parts[:2])
