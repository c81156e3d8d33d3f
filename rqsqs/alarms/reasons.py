"""What is told of an alarm: reasons for people and as JSON, and notifications, in CloudWatch's form.

So a handler that was written for CloudWatch's alarms reads these, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from rqsqs._core.alarm_records import ACCOUNT, REGION, arn_of, timestamp
from rqsqs.alarm_models import (
    MOST_REASON,
    MOST_REASON_DATA,
    STATISTICS,
    Alarm,
    AlarmState,
    CompositeAlarm,
    MetricQuery,
    StateValue,
)

from .evaluation import Decision
from .statistics import Datapoint

_OPERATORS = {
    "GreaterThanThreshold": "greater than",
    "GreaterThanOrEqualToThreshold": "greater than or equal to",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "less than or equal to",
}
_TREATED = {"missing": "Missing", "ignore": "Ignore", "breaching": "Breaching", "notBreaching": "NonBreaching"}
_STATISTICS = {name: name.upper() for name in STATISTICS} | {"SampleCount": "SAMPLE_COUNT"}
_LISTED = 5  # datapoints in a reason
MOST_SUBJECT = 100  # characters, a limit of SNS
REGIONS: Mapping[str, str] = MappingProxyType(
    {
        "us-east-1": "US East (N. Virginia)",
        "us-east-2": "US East (Ohio)",
        "us-west-1": "US West (N. California)",
        "us-west-2": "US West (Oregon)",
        "ca-central-1": "Canada (Central)",
        "sa-east-1": "South America (Sao Paulo)",
        "eu-central-1": "EU (Frankfurt)",
        "eu-north-1": "EU (Stockholm)",
        "eu-south-1": "EU (Milan)",
        "eu-west-1": "EU (Ireland)",
        "eu-west-2": "EU (London)",
        "eu-west-3": "EU (Paris)",
        "ap-northeast-1": "Asia Pacific (Tokyo)",
        "ap-northeast-2": "Asia Pacific (Seoul)",
        "ap-northeast-3": "Asia Pacific (Osaka)",
        "ap-south-1": "Asia Pacific (Mumbai)",
        "ap-southeast-1": "Asia Pacific (Singapore)",
        "ap-southeast-2": "Asia Pacific (Sydney)",
        "ap-east-1": "Asia Pacific (Hong Kong)",
        "af-south-1": "Africa (Cape Town)",
        "me-south-1": "Middle East (Bahrain)",
    }
)


# Reasons


def reason_of(alarm: Alarm, decision: Decision) -> str:
    """Why an alarm is in a state, for people. Times are UTC."""
    number, missing = alarm.evaluation_periods, _missing(alarm, decision)
    if not decision.real:
        what = "Insufficient Data" if decision.state == "INSUFFICIENT_DATA" else "Threshold Crossed"
        return f"{what}: no datapoints were received for {_counted(number, 'period')} and {missing}."
    is_alarm = decision.state == "ALARM"
    breaching = {point.at_ms for point in decision.breaching}
    found = [point for point in decision.real if (point.at_ms in breaching) == is_alarm]
    compares = f"{'' if is_alarm else 'not '}{_OPERATORS[alarm.comparison_operator]} the threshold ({alarm.threshold})"
    were = "was" if len(found) <= 1 else "were"
    if not found:
        text = f"no datapoint was {compares}"
    elif alarm.datapoints_to_alarm is None:
        text = f"{_counted(len(found), 'datapoint')}{_listed(found)} {were} {compares}"
    else:
        text = f"{len(found)} out of the last {number} datapoints{_listed(found)} {were} {compares}"
    if decision.filled:
        text += f" and {missing}"
    if alarm.datapoints_to_alarm is not None and found:
        least = alarm.datapoints_to_alarm if is_alarm else number - alarm.datapoints_to_alarm + 1
        text += (
            f" (minimum {_counted(least, 'datapoint')} for {'OK -> ALARM' if is_alarm else 'ALARM -> OK'} transition)"
        )
    if len(found) > _LISTED:
        crossed = "crossed" if is_alarm else "did not cross"
        text += f". The most recent datapoints which {crossed} the threshold:{_listed(found[:_LISTED])}"
    return _cut(f"Threshold Crossed: {text}.", MOST_REASON)


def reason_data_of(alarm: Alarm, decision: Decision, now_ms: int) -> str:
    """The same as JSON. The oldest of many datapoints are left out, as it may have 4,000 characters."""
    query = alarm.result
    data: dict[str, Any] = {"version": "1.0", "queryDate": timestamp(now_ms)}
    if decision.evaluated:
        data["startDate"] = timestamp(decision.evaluated[-1].at_ms)
    if query.unit is not None:
        data["unit"] = query.unit
    if query.statistic is not None:
        data["statistic"] = query.statistic
    data |= {"period": alarm.period_s, "recentDatapoints": [], "threshold": alarm.threshold, "evaluatedDatapoints": []}
    for point in decision.evaluated:  # the newest first
        told: dict[str, Any] = {"timestamp": timestamp(point.at_ms)}
        if point.value is not None:
            told |= {"sampleCount": float(point.samples)} if point.samples else {}  # metric math has none
            told["value"] = point.value
        more = data | {"evaluatedDatapoints": [*data["evaluatedDatapoints"], told]}
        if point.value is not None:
            more["recentDatapoints"] = [point.value, *data["recentDatapoints"]]
        if len(_json(more)) > MOST_REASON_DATA:
            break
        data = more
    return _json(data)


def _missing(alarm: Alarm, decision: Decision) -> str:
    were = "was" if decision.filled == 1 else "were"
    treated = _TREATED[alarm.treat_missing_data or "missing"]
    return f"{_counted(decision.filled, 'missing datapoint')} {were} treated as [{treated}]"


def _listed(points: Sequence[Datapoint]) -> str:
    if len(points) > _LISTED:
        return ""
    return f" [{', '.join([f'{float(point.value or 0)} ({_day(point.at_ms)})' for point in points])}]"


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%d/%m/%y %H:%M:%S}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# Notifications


def notification_of(
    alarm: Alarm | CompositeAlarm,
    before: StateValue,
    state: AlarmState,
    *,
    region: str = REGION,
    account: str = ACCOUNT,
) -> dict[str, Any]:
    """What SNS would send as the message of a transition; its text is this as JSON.

    Args:
        before: the state that ended.
        state: the one that began.
    """
    found: dict[str, Any] = {"AlarmName": alarm.name, "AlarmDescription": alarm.description, "AWSAccountId": account}
    if alarm.updated_at_ms is not None and isinstance(alarm, Alarm):
        found["AlarmConfigurationUpdatedTimestamp"] = timestamp(alarm.updated_at_ms)
    found |= {
        "NewStateValue": state.value,
        "NewStateReason": state.reason,
        "StateChangeTime": timestamp(state.transitioned_at_ms),
        "Region": REGIONS.get(region, region),
        "AlarmArn": arn_of(alarm.name, region, account),
        "OldStateValue": before,
        "OKActions": list(alarm.ok_actions),
        "AlarmActions": list(alarm.alarm_actions),
        "InsufficientDataActions": list(alarm.insufficient_data_actions),
    }
    if isinstance(alarm, CompositeAlarm):
        return found | {"AlarmRule": alarm.rule, "TriggeringChildren": _triggers(state)}
    return found | {"ActionExecutedAfterMuteWindow": False, "Trigger": _trigger(alarm)}


def subject_of(alarm: Alarm | CompositeAlarm, value: StateValue, region: str = REGION) -> str:
    """The subject of a notification, in up to 100 characters: what does not fit is cut from the name."""
    head, tail = f'{value}: "', f'" in {REGIONS.get(region, region)}'
    return head + _cut(alarm.name, MOST_SUBJECT - len(head) - len(tail)) + tail


def _trigger(alarm: Alarm) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if alarm.metrics:
        found["Metrics"] = [_query(query) for query in alarm.metrics]
    else:
        found |= {"MetricName": alarm.metric_name, "Namespace": alarm.namespace} | _statistic(alarm.statistic or "")
        found |= {"Unit": alarm.unit, "Dimensions": _dimensions(alarm)}
    found["Period"] = alarm.period_s
    found["EvaluationPeriods"] = alarm.evaluation_periods
    if alarm.datapoints_to_alarm is not None:
        found["DatapointsToAlarm"] = alarm.datapoints_to_alarm
    return found | {
        "ComparisonOperator": alarm.comparison_operator,
        "Threshold": alarm.threshold,
        "TreatMissingData": alarm.treat_missing_data or "",
        "EvaluateLowSampleCountPercentile": alarm.evaluate_low_sample_count_percentile or "",
    }


def _statistic(name: str) -> dict[str, Any]:
    if name in _STATISTICS:
        return {"StatisticType": "Statistic", "Statistic": _STATISTICS[name]}
    return {"StatisticType": "ExtendedStatistic", "ExtendedStatistic": name}


def _query(query: MetricQuery) -> dict[str, Any]:
    found = query.to_json()
    if "MetricStat" in found:
        found["MetricStat"]["Metric"]["Dimensions"] = _dimensions(query)
    return found


def _dimensions(metric: Alarm | MetricQuery) -> list[dict[str, str]]:
    """With the value first, in lower case: as CloudWatch writes them in notifications, and nowhere else."""
    pairs = {**({} if metric.queue is None else {"QueueName": metric.queue}), **metric.dimensions}
    return [{"value": value, "name": name} for name, value in pairs.items()]


def _triggers(state: AlarmState) -> list[dict[str, Any]]:
    """The children whose change led to a state, out of its data."""
    data = json.loads(state.reason_data) if state.reason_data else {}
    triggers = []
    for one in data.get("triggeringAlarms") or ():
        try:
            child = one["state"]
            triggers.append({"Arn": one["arn"], "State": {"Value": child["value"], "Timestamp": child["timestamp"]}})
        except (KeyError, TypeError):  # data that was set by hand
            continue
    return triggers


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _json(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))
