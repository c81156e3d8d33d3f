"""PutMetricAlarm and PutCompositeAlarm. What rqsqs does not have is refused, so that nobody relies on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rqsqs import errors
from rqsqs._alarm_checks import WEEK_S
from rqsqs._alarm_rules import arns
from rqsqs._core.flows import alarms as flows
from rqsqs._core.flows.action_checks import actions_of, check_actions
from rqsqs._core.operation import Flow
from rqsqs.alarm_models import DAY_S, HOUR_S, OPERATORS, TREATMENTS, Alarm, CompositeAlarm, percentile_of
from rqsqs.sqs.context import Context, Params, ResponseFlow

from .alarm_answers import alarm_arn
from .constraints import check, in_their_words, shown
from .errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter, ValidationError
from .tags import tags_of

_TREATMENTS = ("breaching", "notBreaching", "ignore", "missing")  # in the order in which CloudWatch names them
_OF_A_METRIC = (
    "MetricName", "Namespace", "Dimensions", "Period", "Unit", "Statistic", "ExtendedStatistic",
)  # fmt: skip
UNSUPPORTED = {
    "ActionConfiguration": "tags do not go along with notifications",
    "ActionsSuppressor": "there are no suppressors: put NOT ALARM(...) into AlarmRule",
    "ActionsSuppressorExtensionPeriod": "there are no suppressors",
    "ActionsSuppressorWaitPeriod": "there are no suppressors",
    "EvaluationCriteria": "there is no PromQL",
    "EvaluationInterval": "there is no PromQL",
    "EvaluationWindow": "windows slide",
    "ThresholdMetricId": "there is no anomaly detection",
    "WarmUpConfiguration": "alarms are evaluated at once",
}


def put_metric_alarm(ctx: Context, params: Params) -> ResponseFlow:
    """PutMetricAlarm: the whole definition is replaced; its state and its tags stay."""
    params = check("PutMetricAlarm", params)
    _check_supported(params)
    _check_metric_alarm(params)
    yield from _put(ctx, params, Alarm)
    return {}


def put_composite_alarm(ctx: Context, params: Params) -> ResponseFlow:
    """PutCompositeAlarm: the same."""
    params = check("PutCompositeAlarm", params)
    _check_supported(params)
    yield from _put(ctx, params, CompositeAlarm)
    return {}


def _put(ctx: Context, params: Params, kind: type[Alarm | CompositeAlarm]) -> Flow[None]:
    tags_of(params.get("Tags", []))
    try:
        alarm = kind.from_json(params)
        if isinstance(alarm, CompositeAlarm):
            _check_arns(ctx, alarm.rule)
        yield from _check_actions(ctx, alarm)
        yield from flows.put(ctx.space, alarm, keeps_tags=True)
    except errors.InvalidParameterValue as error:
        if error.detail:
            raise _no_such_alarms(error.detail) from None
        raise ValidationError(in_their_words(error)) from None


def _check_arns(ctx: Context, rule: str) -> None:
    """An ARN of another account or region is not that of the alarm which has its name here."""
    if foreign := [arn for arn, name in arns(rule).items() if arn != alarm_arn(ctx, name)]:
        raise _no_such_alarms(", ".join(foreign))


def _no_such_alarms(names: str) -> ValidationError:
    return ValidationError(
        f"Could not save the composite alarm as alarms [{shown(names)}] in the alarm rule do not exist"
    )


def _check_actions(ctx: Context, alarm: Alarm | CompositeAlarm) -> Flow[None]:
    try:
        yield from check_actions(ctx.space, actions_of(alarm), region=ctx.region, account=ctx.account)
    except errors.InvalidParameterValue as error:
        raise ValidationError(str(error)) from None


def _check_supported(params: Params) -> None:
    for name, why in UNSUPPORTED.items():
        if name in params:
            raise ValidationError(f"The parameter {name} is not supported here: {why}.")


def _check_metric_alarm(params: Params) -> None:
    """What CloudWatch words itself."""
    if "MetricName" in params and params.get("Metrics"):
        raise ValidationError("Exactly one of MetricName and Metrics must be given, got both.")
    if params.get("Metrics"):
        if others := [name for name in _OF_A_METRIC if params.get(name)]:
            raise ValidationError(f"{', '.join(others)} must stand in Metrics, not beside it.")
        _check_queries(params["Metrics"])
    elif "MetricName" in params:
        _check_metric(params)
    else:
        raise ValidationError("Exactly one of MetricName and Metrics must be given, got neither.")
    for name in ("EvaluationPeriods", "ComparisonOperator", "Threshold"):
        if name not in params:
            raise _missing(name)
    operator = params["ComparisonOperator"]
    if operator not in OPERATORS.values():
        raise ValidationError(
            f"ComparisonOperator must compare with a threshold, got {operator}: there is no anomaly detection."
        )
    for period in _periods(params):
        _check_period(period, params["EvaluationPeriods"])
    treatment = params.get("TreatMissingData", "missing")
    if treatment not in TREATMENTS:
        raise ValidationError(
            f"The value {shown(treatment)} is not supported for TreatMissingData parameter. "
            f"Supported values are [{', '.join(_TREATMENTS)}]."
        )
    option = params.get("EvaluateLowSampleCountPercentile", "evaluate")
    if option not in ("evaluate", "ignore"):
        raise ValidationError(
            f"Option {shown(option)} is not supported. "
            "Supported options for parameter EvaluateLowSampleCountPercentile are evaluate and ignore."
        )


def _check_metric(params: Params) -> None:
    for name in ("Namespace", "Period"):
        if name not in params:
            raise _missing(name)
    if ("Statistic" in params) == ("ExtendedStatistic" in params):
        came = "both" if "Statistic" in params else "neither"
        raise InvalidParameterCombination(f"Must specify either Statistic or ExtendedStatistic, got {came}.")
    if "ExtendedStatistic" in params:
        statistic = params["ExtendedStatistic"]
        percent = percentile_of(statistic)
        if percent is None or percent > 100:
            raise InvalidParameterValue(
                f"The value {shown(statistic)} for parameter ExtendedStatistic is not supported."
            )


def _check_queries(queries: list[Mapping[str, Any]]) -> None:
    for number, query in enumerate(queries, 1):
        if "AccountId" in query:
            raise ValidationError("The parameter AccountId is not supported here: metrics are those of one account.")
        if ("MetricStat" in query) == ("Expression" in query):
            came = "both" if "Expression" in query else "neither"
            raise ValidationError(f"Metrics.member.{number} must have either MetricStat or Expression, got {came}.")
        if "MetricStat" in query and "MetricName" not in query["MetricStat"]["Metric"]:
            raise _missing(f"Metrics.member.{number}.MetricStat.Metric.MetricName")
    if len([query for query in queries if query.get("ReturnData", True)]) != 1:
        raise ValidationError(
            "Exactly one element of the metrics list should return data: give the others ReturnData false."
        )


def _periods(params: Params) -> Iterator[int]:
    if "MetricName" in params:
        yield params["Period"]
    for query in params.get("Metrics") or ():
        if "MetricStat" in query:
            yield query["MetricStat"]["Period"]
        elif "Period" in query:
            yield query["Period"]


def _check_period(period: int, number: int) -> None:
    if period not in (10, 20, 30) and period % 60:  # CloudWatch does not name 20, which is newer
        raise ValidationError("Period must be 10, 30 or a multiple of 60")
    most, span = (WEEK_S, "seven days") if period >= HOUR_S else (DAY_S, "a day")
    if period * number > most:
        raise ValidationError(
            f"Metrics cannot be checked across more than {span} (EvaluationPeriods * Period must be <= {most})."
        )


def _missing(name: str) -> MissingParameter:
    return MissingParameter(f"The parameter {name} is required.")
