"""The queries of GetMetricData: checked, and what each of them needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar

from rqsqs._math_expressions import Apply, Text, names_in, parse
from rqsqs._metric_math import Queries
from rqsqs.alarms.statistics import is_kept
from rqsqs.errors import InvalidParameterValue
from rqsqs.sqs.context import Context, Params

from .constraints import shown
from .errors import ValidationError
from .labels import check_label
from .measured import Asked, Metric, Times, is_period, is_statistic, ms_of

T = TypeVar("T")
MOST_QUERIES = 500
MOST_SERIES = 500_000  # that the expressions of a request look at, step by step
MOST_MINUTES = 1_000_000  # of history that one expression looks at: more than ten seconds
MOST_VALUES = 2_000_000  # that one expression and those that it needs look at, step by step: about half a second
_ID = re.compile(r"[a-z][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Query:
    """One of the queries.

    Attributes:
        times: its periods.
        needs: the ids of the metrics that it is made of.
        asked: the metric; None = it is an expression.
        order: an expression: the ids of the expressions that it needs, each behind those that it needs itself.
        math: how many values its expressions look at, step by step.
        label: as given; "" = none.
        is_forbidden: it is about another account.
        message: why it has no data, if that is known.
    """

    id: str
    times: Times
    needs: tuple[str, ...]
    asked: Asked | None = None
    expression: str = ""
    order: tuple[str, ...] = ()
    math: int = 0
    label: str = ""
    return_data: bool = True
    is_forbidden: bool = False
    message: str = ""


def queries_of(ctx: Context, params: Params, now_ms: int) -> dict[str, Query]:
    """The queries of a request, by their ids, in its order.

    Raises:
        ValidationError.
    """
    start_ms, end_ms = ms_of(params["StartTime"]), ms_of(params["EndTime"])
    if start_ms == end_ms:
        raise ValidationError("The parameter StartTime must not equal parameter EndTime.")
    if end_ms < start_ms:
        raise ValidationError("The parameter EndTime must be greater than StartTime.")
    given: Sequence[Mapping[str, Any]] = params["MetricDataQueries"]
    if not 1 <= len(given) <= MOST_QUERIES:
        rule = f"a size greater than {MOST_QUERIES}" if given else "a size of 0"
        raise ValidationError(f"The collection MetricDataQueries must not have {rule}.")
    if len({each["Id"] for each in given}) < len(given):
        raise ValidationError("The values for parameter id in MetricDataQueries are not unique.")

    def times(period_s: int) -> Times:
        return Times.of(start_ms, end_ms, period_s, now_ms)

    found: dict[str, Query] = {}
    for number, each in enumerate(given, 1):
        _check_query(each, f"MetricDataQueries.member.{number}")
        if (stat := each.get("MetricStat")) is not None:
            asked = Asked(Metric.of(stat["Metric"]), stat["Stat"], times(stat["Period"]), stat.get("Unit"))
            found[each["Id"]] = _metric(ctx, each, asked)
    if expressions := {each["Id"]: each["Expression"] for each in given if "Expression" in each}:
        made = _Expressions(expressions, found)
        periods = [query.times.period_s for query in found.values()]
        for each in given:
            if (id := each["Id"]) in expressions:
                period_s = made.period_of(id, each.get("Period") or min(periods, default=60))
                found[id] = made.query(id, times(period_s), each)
    return {each["Id"]: found[each["Id"]] for each in given}


def _check_query(query: Mapping[str, Any], where: str) -> None:
    if not _ID.fullmatch(query["Id"]):
        raise ValidationError(
            f"The value {shown(query['Id'])} for parameter {where}.Id is not matching the expected pattern "
            "^[a-z][a-zA-Z0-9_]*$."
        )
    stat, expression = query.get("MetricStat"), query.get("Expression")
    if stat is None and expression is None:
        raise ValidationError(f"The parameter {where}.MetricStat is required.\n")
    if stat is not None and expression is not None:
        raise ValidationError(
            f"The parameters {where}.Expression and {where}.MetricStat are mutually exclusive and you have specified "
            "both."
        )
    check_label(query.get("Label", ""), f"{where}.Label")
    if stat is not None and not is_statistic(stat["Stat"]):
        raise ValidationError(
            f"The value {shown(stat['Stat'])} for parameter {where}.MetricStat.Stat is not supported."
        )
    period, place = (stat["Period"], ".MetricStat.Period") if stat is not None else (query.get("Period"), ".Period")
    if period is not None and not is_period(period):
        raise ValidationError(
            f"The parameter {where}{place} must be 1, 5, 10, 20, 30 or a multiple of 60, got {period}."
        )


def _metric(ctx: Context, given: Mapping[str, Any], asked: Asked) -> Query:
    metric = asked.metric
    is_forbidden = given.get("AccountId", ctx.account) != ctx.account
    message = ""
    if is_forbidden:
        asked = replace(asked, metric=replace(metric, queue=None))
        message = f"There is no access to the account {shown(given['AccountId'])} here, only to {ctx.account}."
    elif metric.queue is not None and not is_kept(metric.name, asked.statistic):
        message = f"{asked.statistic} of {metric.name} cannot be told: what is kept of it is not enough."
    return Query(
        given["Id"],
        asked.times,
        (given["Id"],),
        asked,
        label=given.get("Label", ""),
        return_data=given.get("ReturnData", True),
        is_forbidden=is_forbidden,
        message=message,
    )


class _Expressions:
    """The expressions of a request.

    Args:
        texts: by their ids.
        metrics: by the ids of their queries.

    Raises:
        ValidationError: one has a mistake, or they are too much work.
    """

    def __init__(self, texts: Mapping[str, str], metrics: Mapping[str, Query]) -> None:
        self.texts, self.metrics = texts, metrics
        named = {id: self._or_refuse(id, names_in, text) for id, text in texts.items()}
        try:
            in_order = [id for id in TopologicalSorter(named).static_order() if id in texts]
        except CycleError as error:
            circle = list(reversed(error.args[1]))
            raise _refused(circle[0], f"expressions must not need each other, got {' -> '.join(circle)}") from None
        self.below: dict[str, dict[str, None]] = {}  # the expressions that one needs, in order
        self.needs: dict[str, tuple[str, ...]] = {}
        self.steps = {id: len(parse(text)) for id, text in texts.items()}
        for id in in_order:
            below: dict[str, None] = {}
            metrics_of = {name for name in named[id] if name in metrics} | self._by_metrics_function(texts[id])
            for name in named[id]:
                if name in texts:
                    below |= self.below[name] | {name: None}
                    metrics_of |= set(self.needs[name])
            self.below[id] = below
            self.needs[id] = tuple([name for name in metrics if name in metrics_of])
        if (work := sum([count * max(len(self.needs[id]), 1) for id, count in self.steps.items()])) > MOST_SERIES:
            raise ValidationError(
                f"The expressions of a request must look at {MOST_SERIES:,} series at most, step by step, got "
                f"{work:,}: ask for some of them at a time."
            )
        self.tried = Queries(dict.fromkeys(metrics, (1.0,)), texts, (0,), 60)
        for id in in_order:
            self._or_refuse(id, self.tried.value, id)

    def period_of(self, id: str, default: int) -> int:
        """The seconds of the periods of an expression."""
        periods = sorted({self.metrics[name].times.period_s for name in self.needs[id]})
        if len(periods) > 1:
            named = " and ".join(map(str, periods))
            raise _refused(id, f"all metrics of an expression must have the same period, got {named}")
        return periods[0] if periods else default

    def query(self, id: str, times: Times, given: Mapping[str, Any]) -> Query:
        needs, order = self.needs[id], tuple(self.below[id])
        work = sum([self.steps[name] * max(len(self.needs[name]), 1) for name in (id, *order)]) * len(times.begins_ms)
        if work > MOST_VALUES:
            raise _refused(
                id,
                f"an expression must look at {MOST_VALUES:,} values at most, step by step, got {work:,}: choose a "
                "longer period, or less time",
            )
        if (minutes := sum([self.metrics[name].times.work for name in needs])) > MOST_MINUTES:
            raise _refused(
                id,
                f"the metrics of an expression must be {MOST_MINUTES:,} minutes at most, all together, got "
                f"{minutes:,}: choose less time",
            )
        is_returned = given.get("ReturnData", True)
        if is_returned:
            self._check_result(id)
        return Query(
            id,
            times,
            needs,
            expression=self.texts[id],
            order=order,
            math=work,
            label=given.get("Label", ""),
            return_data=is_returned,
        )

    def _check_result(self, id: str) -> None:
        if isinstance(self.tried.value(id), float | str):
            self._or_refuse(id, self.tried.result, id)

    def _by_metrics_function(self, text: str) -> set[str]:
        """The ids of the metrics that METRICS() and METRICS("part") of an expression mean."""
        found: set[str] = set()
        steps = parse(text)
        for n, step in enumerate(steps):
            if isinstance(step, Apply) and step.name == "METRICS":
                before = steps[n - 1] if step.count else None
                part = before.value if isinstance(before, Text) else ""
                found |= {id for id in self.metrics if part in id}
        return found

    def _or_refuse(self, id: str, function: Callable[[str], T], text: str) -> T:
        try:
            return function(text)
        except InvalidParameterValue as error:
            raise _refused(id, str(error)) from error


def _refused(id: str, why: str) -> ValidationError:
    return ValidationError(f"Error in expression '{id}': {why}")
