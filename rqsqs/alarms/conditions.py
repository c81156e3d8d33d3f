"""Alarms from one line of text, as `rqsqs alarms set` takes them, and the defaults for a queue. No I/O is here.

oldest_age_s > 300                    a metric and a threshold
received - 3 * deleted > 30           metric math over metrics, then a threshold
ALARM(late) AND NOT ALARM(deploying)  a rule over the states of other alarms
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rqsqs.alarm_models import OPERATORS, QUEUE_METRICS, SERVER_METRICS, Alarm, CompositeAlarm, MetricQuery
from rqsqs.errors import InvalidParameterValue
from rqsqs.metric_models import CLOUDWATCH

_RULE = re.compile(r"\b(?:ALARM|OK|INSUFFICIENT_DATA)\s*\(|^\s*(?:TRUE|FALSE)\s*$", re.IGNORECASE)
_THRESHOLD = re.compile(
    r"(?P<what>.*?)\s*(?P<operator>>=|<=|>|<)\s*(?P<threshold>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*",
    re.IGNORECASE | re.DOTALL,
)
SIGNS = {name: sign for sign, name in OPERATORS.items()}
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IN_FLIGHT = 120_000  # of SQS
SERVER_MEMORY = "server-memory"  # the name of the alarm that all queues share


def alarm_from(name: str, condition: str, options: Mapping[str, Any]) -> Alarm | CompositeAlarm:
    """The alarm that a condition describes.

    Args:
        options: further attributes of the alarm, those given: `queue`, `statistic`, `period` ... A composite alarm
            takes those that it has.

    Raises:
        InvalidParameterValue.
    """
    if _RULE.search(condition):
        return CompositeAlarm(name, condition, **options)
    found = _THRESHOLD.fullmatch(condition)
    if found is None or not found["what"].strip():
        raise InvalidParameterValue(
            "a condition must be a metric and a threshold such as 'oldest_age_s > 300', or a rule such as "
            f"'ALARM(late) AND OK(workers)', got {condition!r}"
        )
    what = found["what"].strip()
    given = dict(options) | {"threshold": float(found["threshold"]), "comparison_operator": found["operator"]}
    if _WORD.fullmatch(what):
        return Alarm(name, metric_name=what, **given)
    of_metric: dict[str, Any] = {key: given.pop(key) for key in ("queue", "statistic", "period") if key in given}
    return Alarm(name, metrics=queries_of(what, of_metric), **given)


def condition_of(alarm: Alarm | CompositeAlarm) -> str:
    """The condition that describes an alarm, for people."""
    if isinstance(alarm, CompositeAlarm):
        return alarm.rule
    result = alarm.result
    return f"{result.expression or result.metric_name} {SIGNS[alarm.comparison_operator]} {alarm.threshold:g}"


def queries_of(expression: str, of_metric: Mapping[str, Any]) -> list[MetricQuery]:
    """The queries of metric math over metrics that are named as they are: `received - 3 * deleted`."""
    queries: dict[str, MetricQuery] = {}

    def named(word: re.Match[str]) -> str:
        metric = word[0]
        if metric not in QUEUE_METRICS | SERVER_METRICS and metric not in CLOUDWATCH:
            return metric
        id = CLOUDWATCH.get(metric, metric)
        given = {name: value for name, value in of_metric.items() if name != "queue" or metric not in SERVER_METRICS}
        queries[id] = MetricQuery(id, metric_name=metric, return_data=False, **given)
        return id

    text = _WORD.sub(named, expression)
    return [*queries.values(), MetricQuery("result", expression=text, label=expression)]


def defaults(
    queue: str, dead_letter_queue: str | None = None, actions: Sequence[str] = (), ok_actions: Sequence[str] = ()
) -> list[Alarm]:
    """Alarms worth having for a queue, and that of the server, which all queues share.

    Args:
        queue: its name.
        dead_letter_queue: the one that it has.
        actions: what each does on ALARM.
        ok_actions: what each does on OK.
    """
    common: dict[str, Any] = {
        "treat_missing_data": "notBreaching",
        "alarm_actions": tuple(actions),
        "ok_actions": tuple(ok_actions),
    }

    def alarm(what: str, condition: str, description: str, periods: int, **more: Any) -> Alarm:
        options = common | {"queue": queue, "evaluation_periods": periods, "description": description} | more
        found = alarm_from(f"{queue}-{what}", condition, options)
        assert isinstance(found, Alarm)
        return found

    found = [
        alarm("old-messages", "oldest_age_s > 900", "The oldest message has waited for more than 15 minutes.", 5),
        alarm(
            "received-again",
            "received - 3 * deleted > 30",
            "Messages are received far more often than they are deleted: handlers fail, or take longer than the "
            "visibility timeout.",
            2,
            period=300,
        ),
        alarm(
            "no-consumer",
            "IF(consumers < 1 AND received < 1, visible, 0) > 0",
            "Messages wait, and there is no worker and nobody receives.",
            5,
        ),
        alarm(
            "in-flight",
            f"in_flight > {_IN_FLIGHT * 9 // 10}",
            f"More than 90 % of the {_IN_FLIGHT:,} messages that SQS lets be in flight.",
            1,
        ),
    ]
    if dead_letter_queue is not None:
        description = f"There are dead letters of {queue} in {dead_letter_queue}."
        found.insert(1, alarm("dead-letters", "visible > 0", description, 1, queue=dead_letter_queue))
    memory = "The server has used more than 80 % of its memory: when it is full, sends are refused."
    options = common | {"evaluation_periods": 5, "datapoints_to_alarm": 3, "description": memory}
    of_server = alarm_from(SERVER_MEMORY, "memory_used_percent > 80", options)
    assert isinstance(of_server, Alarm)
    found.append(of_server)
    return found
