"""What the framework in front of CloudWatch checks of the parameters of actions, and how it says so.

These are the constraints of the service model: lengths, ranges, patterns, enumerations, and what must be there. A test
compares them with botocore's. What an action checks beyond that is in its own module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from rqsqs._text import printable, shortened
from rqsqs.alarm_models import STATISTICS, UNITS
from rqsqs.sqs.context import Params

from .errors import ValidationError

_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Member:
    """Constraints of one member of a structure.

    Attributes:
        least, most: of the length of text and lists, and of the value of a number.
        pattern: of text.
        allowed: an enumeration.
        items: of a list.
        members: of a structure.
        is_required: whether it must be there.
    """

    least: int | None = None
    most: int | None = None
    pattern: str | None = None
    allowed: tuple[str, ...] = ()
    items: Member | None = None
    members: Mapping[str, Member] = field(default_factory=dict)
    is_required: bool = False


def check(action: str, params: Params) -> dict[str, Any]:
    """Check the parameters of a request.

    Returns:
        The parameters without members that are None, at any depth.

    Raises:
        ValidationError: it names what is wrong, up to 20 values.
    """
    given: dict[str, Any] = _without_nulls(dict(params))
    if wrong := list(islice(_structure("", given, ACTIONS[action]), _MOST_TOLD)):
        heading = f"{len(wrong)} validation error{'' if len(wrong) == 1 else 's'} detected: "
        raise ValidationError(heading + "; ".join(wrong))
    return given


def shown(value: object) -> str:
    """A value that somebody gave, in the text of an error."""
    text = f"[{', '.join(map(str, value[:100]))}]" if isinstance(value, list) else str(value)
    return shortened(printable(shortened(text, 300)), 600)  # an escape has up to ten characters


def in_their_words(error: Exception) -> str:
    """What the native API says is wrong with an alarm, with CloudWatch's names of parameters."""
    rule, came, value = str(error).partition(", got ")
    subject, must, rest = rule.partition(" must ")
    subject = re.sub(r"\b[a-z]+(?:_[a-z]+)*\b", lambda word: _WORDS.get(word[0], word[0]), subject)
    rest = re.sub(r"\b[a-z]+(?:_[a-z]+)+\b", lambda word: _WORDS.get(word[0], word[0]), rest)
    return subject + must + rest + came + value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(each) for each in value if each is not None]
    return value


def _structure(path: str, given: Mapping[str, Any], members: Mapping[str, Member]) -> Iterator[str]:
    for name, member in members.items():
        place = f"{path}{name[0].lower()}{name[1:]}"
        if name in given:
            yield from _value(place, given[name], member)
        elif member.is_required:
            yield f"Value null at '{place}' failed to satisfy constraint: Member must not be null"


def _value(path: str, value: Any, member: Member) -> Iterator[str]:
    if rule := _broken(value, member):
        yield f"Value '{shown(value)}' at '{path}' failed to satisfy constraint: Member must {rule}"
    if member.items is not None:
        for number, item in enumerate(value, 1):
            yield from _value(f"{path}.{number}.member", item, member.items)
    if member.members:
        yield from _structure(f"{path}.", value, member.members)


def _broken(value: Any, member: Member) -> str:
    is_number = isinstance(value, int | float)
    what = "value" if is_number else "length"
    if member.least is not None and (value if is_number else len(value)) < member.least:
        return f"have {what} greater than or equal to {member.least}"
    if member.most is not None and (value if is_number else len(value)) > member.most:
        return f"have {what} less than or equal to {member.most}"
    if isinstance(value, str) and not _is_unicode(value):
        return "be valid Unicode"
    if member.pattern is not None and not re.fullmatch(member.pattern, value, re.DOTALL):
        return f"satisfy regular expression pattern: {member.pattern}"
    if member.allowed and value not in member.allowed:
        return f"satisfy enum value set: [{', '.join(member.allowed)}]"
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_WORDS = {
    "actions_enabled": "ActionsEnabled",
    "alarm_actions": "AlarmActions",
    "comparison_operator": "ComparisonOperator",
    "datapoints_to_alarm": "DatapointsToAlarm",
    "description": "AlarmDescription",
    "dimensions": "Dimensions",
    "evaluate_low_sample_count_percentile": "EvaluateLowSampleCountPercentile",
    "evaluation_periods": "EvaluationPeriods",
    "expression": "Expression",
    "id": "Id",
    "insufficient_data_actions": "InsufficientDataActions",
    "label": "Label",
    "metric_name": "MetricName",
    "metrics": "Metrics",
    "name": "AlarmName",
    "namespace": "Namespace",
    "ok_actions": "OKActions",
    "period": "Period",
    "queue": "the dimension QueueName",
    "return_data": "ReturnData",
    "rule": "AlarmRule",
    "statistic": "Statistic",
    "tags": "Tags",
    "threshold": "Threshold",
    "treat_missing_data": "TreatMissingData",
    "unit": "Unit",
}


# The model

_NAME = Member(1, 255)
_ID = Member(1, 255)
_PERIOD = Member(1)
_STATISTIC = Member(allowed=STATISTICS)
_UNIT = Member(allowed=UNITS)
_NAMESPACE = Member(1, 255, pattern="[^:].*")
_TYPES = Member(items=Member(allowed=("CompositeAlarm", "MetricAlarm", "LogAlarm")))
_STATE = ("INSUFFICIENT_DATA", "ALARM", "OK")
_TARGETS = Member(most=5, items=Member(1, 1_024))
_NAMES = Member(most=100, items=_NAME, is_required=True)
_PAGE = Member(1, 100)
_TAG = Member(members={"Key": Member(1, 128, is_required=True), "Value": Member(0, 256, is_required=True)})
_TAGS = Member(items=_TAG)
_ARN = Member(1, 1_024, is_required=True)
_DIMENSIONS = Member(
    most=30,
    items=Member(members={"Name": Member(1, 255, is_required=True), "Value": Member(1, 1_024, is_required=True)}),
)
_METRIC = Member(members={"Namespace": _NAMESPACE, "MetricName": _NAME, "Dimensions": _DIMENSIONS}, is_required=True)
_METRIC_STAT = Member(
    members={
        "Metric": _METRIC,
        "Period": Member(1, is_required=True),
        "Stat": Member(is_required=True),
        "Unit": _UNIT,
    }
)
_QUERY = Member(
    members={
        "Id": Member(1, 255, is_required=True),
        "MetricStat": _METRIC_STAT,
        "Expression": Member(1, 2_048),
        "Label": Member(),
        "ReturnData": Member(),
        "Period": _PERIOD,
        "AccountId": Member(1, 255),
    }
)
_OPERATORS = (
    "GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold",
    "LessThanLowerOrGreaterThanUpperThreshold", "LessThanLowerThreshold", "GreaterThanUpperThreshold",
)  # fmt: skip
_SCAN_BY = Member(allowed=("TimestampDescending", "TimestampAscending"))
_KINDS = (
    "ConfigurationUpdate", "StateUpdate", "Action", "AlarmContributorStateUpdate", "AlarmContributorAction",
)  # fmt: skip
_ALARM = {
    "AlarmName": Member(1, 255, is_required=True),
    "AlarmDescription": Member(0, 1_024),
    "ActionsEnabled": Member(),
    "OKActions": _TARGETS,
    "AlarmActions": _TARGETS,
    "InsufficientDataActions": _TARGETS,
    "Tags": _TAGS,
}
ACTIONS: Mapping[str, Mapping[str, Member]] = {
    "PutMetricAlarm": {
        **_ALARM,
        "MetricName": _NAME,
        "Namespace": _NAMESPACE,
        "Statistic": _STATISTIC,
        "ExtendedStatistic": Member(),
        "Dimensions": _DIMENSIONS,
        "Period": _PERIOD,
        "Unit": _UNIT,
        "EvaluationPeriods": Member(1),
        "DatapointsToAlarm": Member(1),
        "Threshold": Member(),
        "ComparisonOperator": Member(allowed=_OPERATORS),
        "TreatMissingData": Member(1, 255),
        "EvaluateLowSampleCountPercentile": Member(1, 255),
        "Metrics": Member(items=_QUERY),
    },
    "PutCompositeAlarm": {**_ALARM, "AlarmRule": Member(1, 10_240, is_required=True)},
    "DescribeAlarms": {
        "AlarmNames": Member(most=100, items=_NAME),
        "AlarmNamePrefix": _NAME,
        "AlarmTypes": _TYPES,
        "ChildrenOfAlarmName": _NAME,
        "ParentsOfAlarmName": _NAME,
        "StateValue": Member(allowed=_STATE),
        "ActionPrefix": Member(1, 1_024),
        "MaxRecords": _PAGE,
        "NextToken": Member(),
    },
    "DescribeAlarmsForMetric": {
        "MetricName": Member(1, 255, is_required=True),
        "Namespace": Member(1, 255, pattern="[^:].*", is_required=True),
        "Statistic": _STATISTIC,
        "ExtendedStatistic": Member(),
        "Dimensions": _DIMENSIONS,
        "Period": _PERIOD,
        "Unit": _UNIT,
    },
    "DescribeAlarmHistory": {
        "AlarmName": _NAME,
        "AlarmContributorId": Member(1, 16),
        "AlarmTypes": _TYPES,
        "HistoryItemType": Member(allowed=_KINDS),
        "StartDate": Member(),
        "EndDate": Member(),
        "MaxRecords": _PAGE,
        "NextToken": Member(),
        "ScanBy": _SCAN_BY,
    },
    "GetMetricData": {
        "MetricDataQueries": Member(items=_QUERY, is_required=True),
        "StartTime": Member(is_required=True),
        "EndTime": Member(is_required=True),
        "NextToken": Member(),
        "ScanBy": _SCAN_BY,
        "MaxDatapoints": Member(),
        "LabelOptions": Member(members={"Timezone": Member()}),
    },
    "GetMetricStatistics": {
        "Namespace": Member(1, 255, pattern="[^:].*", is_required=True),
        "MetricName": Member(1, 255, is_required=True),
        "Dimensions": _DIMENSIONS,
        "StartTime": Member(is_required=True),
        "EndTime": Member(is_required=True),
        "Period": Member(1, is_required=True),
        "Statistics": Member(1, 5, items=_STATISTIC),
        "ExtendedStatistics": Member(1, 10, items=Member()),
        "Unit": _UNIT,
    },
    "ListMetrics": {
        "Namespace": _NAMESPACE,
        "MetricName": _NAME,
        "Dimensions": Member(
            most=10, items=Member(members={"Name": Member(1, 255, is_required=True), "Value": Member(1, 1_024)})
        ),
        "NextToken": Member(),
        "RecentlyActive": Member(allowed=("PT3H",)),
        "IncludeLinkedAccounts": Member(),
        "OwningAccount": Member(1, 255),
    },
    "SetAlarmState": {
        "AlarmName": Member(1, 255, is_required=True),
        "StateValue": Member(allowed=_STATE, is_required=True),
        "StateReason": Member(0, 1_023, is_required=True),
        "StateReasonData": Member(0, 4_000),
    },
    "EnableAlarmActions": {"AlarmNames": _NAMES},
    "DisableAlarmActions": {"AlarmNames": _NAMES},
    "DeleteAlarms": {"AlarmNames": _NAMES},
    "TagResource": {
        "ResourceARN": _ARN,
        "Tags": Member(items=_TAG, is_required=True),
    },
    "UntagResource": {"ResourceARN": _ARN, "TagKeys": Member(items=Member(1, 128), is_required=True)},
    "ListTagsForResource": {"ResourceARN": _ARN},
}
