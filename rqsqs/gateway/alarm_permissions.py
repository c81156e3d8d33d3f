"""What each action of CloudWatch needs: which permissions, on which alarms, and what conditions can look at.

As on AWS, what is about metrics, or about composite alarms, is about the resource `*`, and what lists alarms without
naming them is about `arn:aws:cloudwatch:REGION:ACCOUNT:alarm:*`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from rqsqs.alarm_models import MOST_NAME
from rqsqs.sqs import Context
from rqsqs.sqs.context import Params
from rqsqs.sqs.names import parse_arn

from .permissions import EVERYTHING, Permission, possible
from .protocols.cloudwatch_shapes import ACTIONS

ALL_ALARMS = "*"
MOST, MOST_QUERIES = 100, 500  # names of alarms and actions, queries; requests with more are refused anyway
_LISTS = ("OKActions", "AlarmActions", "InsufficientDataActions")
_OF_METRICS = frozenset({"DescribeAlarmsForMetric", "GetMetricData", "GetMetricStatistics", "ListMetrics"})
_OF_TAGS = frozenset({"ListTagsForResource", "TagResource", "UntagResource"})
_PUTS = frozenset({"PutCompositeAlarm", "PutMetricAlarm"})
_KIND = "alarm:"


def is_cloudwatch(action: str) -> bool:
    """Whether an action is one of CloudWatch: no name is of SQS, too."""
    return action in ACTIONS


def is_put(action: str) -> bool:
    """Whether an action puts an alarm, which may send messages."""
    return action in _PUTS


def needed(action: str, params: Params, context: Context) -> list[Permission]:
    """The permissions that a request needs, in the order in which they are told if they are missing.

    Args:
        action: of CloudWatch.
        params: its parameters.
        context: of the account whose alarms it is about.
    """
    found = [
        Permission(action, "", alarm, "cloudwatch", namespace)
        for alarm in dict.fromkeys(_alarms(action, params, context))
        for namespace in _namespaces(params)
    ]
    if params.get("Tags") and action in _PUTS:
        found.append(Permission("TagResource", "", _name(params.get("AlarmName")), "cloudwatch"))
    return [*found, *dict.fromkeys(_sends(params, context))]


def _alarms(action: str, params: Params, context: Context) -> Iterator[str]:
    """The names of the alarms that it is about."""
    if action in _OF_METRICS or action == "PutCompositeAlarm":
        yield EVERYTHING
    elif action in _OF_TAGS:
        arn = parse_arn(params.get("ResourceARN") or "")
        is_alarm = arn is not None and arn.service == "cloudwatch" and arn.name.startswith(_KIND)
        yield _name(arn.name[len(_KIND) :]) if arn is not None and is_alarm else EVERYTHING
    elif action in ("DescribeAlarms", "DescribeAlarmHistory") and _shows_composites(params):
        yield EVERYTHING
    elif names := params.get("AlarmNames"):
        yield from map(_name, islice(names, MOST + 1))
    elif action.startswith("Describe") and not params.get("AlarmName"):
        yield ALL_ALARMS
    else:
        yield _name(params.get("AlarmName"))


def _shows_composites(params: Params) -> bool:
    return bool(
        "CompositeAlarm" in (params.get("AlarmTypes") or ())
        or params.get("ChildrenOfAlarmName")
        or params.get("ParentsOfAlarmName")
    )


def _name(name: str | None) -> str:
    """The name of an alarm; "" instead of what can be none, which the action refuses or does not find."""
    return name if name is not None and len(name) <= MOST_NAME and name != EVERYTHING else ""


def _sends(params: Params, context: Context) -> Iterator[Permission]:
    """Who puts an alarm that sends messages must be allowed to send them."""
    for name in action_arns(params):
        arn = parse_arn(name)
        if arn is not None and arn.service == "sqs" and arn.account == context.account:
            yield Permission("SendMessage", possible(arn.name))


def action_arns(params: Params) -> list[str]:
    """What an alarm that is put does, as condition key cloudwatch:AlarmActions."""
    return [each for name in _LISTS for each in islice(params.get(name) or (), MOST)]


def _namespaces(params: Params) -> list[str]:
    """Those that a request names, each of which has to be allowed: condition key cloudwatch:namespace."""
    queries = islice([*(params.get("Metrics") or ()), *(params.get("MetricDataQueries") or ())], MOST_QUERIES)
    metrics = [(query.get("MetricStat") or {}).get("Metric") or {} for query in queries]
    found = {str(each.get("Namespace") or "")[:MOST_NAME] for each in (params, *metrics)} - {""}
    return sorted(found) or [""]
