"""GetMetricStatistics: one metric, several statistics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rqsqs.alarms.statistics import is_kept
from rqsqs.errors import RequestError
from rqsqs.sqs.context import Context, Params, ResponseFlow

from .constraints import check, shown
from .errors import InvalidParameterCombination, InvalidParameterValue
from .measured import Asked, Metric, Times, Values, is_period, is_statistic, ms_of, now_ms, read

MOST_DATAPOINTS = 1_440


def get_metric_statistics(ctx: Context, params: Params) -> ResponseFlow:
    """GetMetricStatistics. Datapoints come the oldest first; in CloudWatch they are in no order."""
    params = check("GetMetricStatistics", params)
    start_ms, end_ms, period_s = ms_of(params["StartTime"]), ms_of(params["EndTime"]), params["Period"]
    _check(params, start_ms, end_ms, period_s)
    metric, times = Metric.of(params), Times.of(start_ms, end_ms, period_s, now_ms(ctx.space))
    wanted: Sequence[str] = params.get("Statistics") or params["ExtendedStatistics"]
    statistics = [name for name in dict.fromkeys(wanted) if is_kept(metric.name, name)]
    asked = [Asked(metric, name, times, params.get("Unit")) for name in statistics]
    series: list[Values] = []
    for values in (yield from read(ctx, asked)):
        if isinstance(values, RequestError):
            raise values
        series.append(values)
    points: list[dict[str, Any]] = []
    for at_ms, *found in zip(times.begins_ms, *series, strict=True):
        known = {name: value for name, value in zip(statistics, found, strict=True) if value is not None}
        if known:
            members: dict[str, Any] = known if params.get("Statistics") else {"ExtendedStatistics": known}
            points.append({"Timestamp": datetime.fromtimestamp(at_ms / 1000, UTC), "Unit": metric.unit, **members})
    return {"Label": metric.name, "Datapoints": points}


def _check(params: Params, start_ms: int, end_ms: int, period_s: int) -> None:
    if start_ms >= end_ms:
        raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
    if not is_period(period_s):
        raise InvalidParameterValue(
            f"The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60, got {period_s}."
        )
    statistics, extended = params.get("Statistics"), params.get("ExtendedStatistics")
    if not statistics and not extended:
        raise InvalidParameterCombination("Must specify either Statistics or ExtendedStatistics")
    if statistics and extended:
        raise InvalidParameterCombination(
            "The parameters Statistics and ExtendedStatistics are mutually exclusive and you have specified both."
        )
    for name in extended or ():
        if not is_statistic(name) or name[0] != "p":
            raise InvalidParameterValue(f"The value {shown(name)} for parameter ExtendedStatistics is not supported.")
    if (count := -(-(end_ms - start_ms) // (1000 * period_s))) > MOST_DATAPOINTS:
        raise InvalidParameterCombination(
            f"You have requested up to {count} datapoints, which exceeds the limit of {MOST_DATAPOINTS}. You may "
            "reduce the datapoints requested by increasing Period, or decreasing the time range."
        )
