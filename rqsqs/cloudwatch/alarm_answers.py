"""Alarms as the answers of CloudWatch show them, and their ARNs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rqsqs._core.alarm_records import arn_of
from rqsqs._core.operations.alarms import Stored
from rqsqs.alarm_models import MOST_REASON, MOST_REASON_DATA, Alarm, AlarmEvent, AlarmState, CompositeAlarm
from rqsqs.sqs.context import Context, Response
from rqsqs.sqs.names import partition_of

MOST_HISTORY_DATA = 4_095  # characters
_OWN = re.compile(re.escape(arn_of("")))
_LEFT_OUT: Sequence[tuple[str, ...]] = (  # of the data of an entry that is too long, one after the other
    ("oldState", "stateReasonData"),
    ("newState", "stateReasonData"),
    ("createdAlarm",),
    ("updatedAlarm",),
    ("publishedMessage",),
    ("oldState", "stateReason"),
    ("newState", "stateReason"),
)


def alarm_arn(ctx: Context, name: str) -> str:
    """The ARN of an alarm in the context's region and account."""
    return f"arn:{partition_of(ctx.region)}:cloudwatch:{ctx.region}:{ctx.account}:alarm:{name}"


def alarm_answer(ctx: Context, known: Stored) -> Response:
    """An alarm of either kind, as in MetricAlarms or CompositeAlarms. What was not given when it was put is left out.

    Args:
        known: an alarm whose definition can be read.
    """
    assert known.alarm is not None
    found = known.alarm.to_json()
    found.pop("Tags", None)
    if "Metrics" in found:
        found["Dimensions"] = []
    if known.alarm.updated_at_ms is not None:
        found["AlarmConfigurationUpdatedTimestamp"] = moment(known.alarm.updated_at_ms)
    return {"AlarmArn": alarm_arn(ctx, known.name)} | found | _state(ctx, known.state)


def parent_answer(ctx: Context, known: Stored) -> Response:
    """What is told of the parents of an alarm."""
    return {"AlarmName": known.name, "AlarmArn": alarm_arn(ctx, known.name)}


def child_answer(ctx: Context, known: Stored) -> Response:
    """What is told of the children of an alarm."""
    state = _state(ctx, known.state)
    names = ("StateValue", "StateUpdatedTimestamp", "StateTransitionedTimestamp")
    return parent_answer(ctx, known) | {name: state[name] for name in names}


def alarms_answer(ctx: Context, alarms: Sequence[Stored], shown: Callable[[Context, Stored], Response]) -> Response:
    """Alarms of both kinds: all three lists are there, as in CloudWatch's answers."""
    kinds: dict[str, list[Response]] = {"CompositeAlarms": [], "MetricAlarms": [], "LogAlarms": []}
    for each in alarms:
        kinds["CompositeAlarms" if isinstance(each.alarm, CompositeAlarm) else "MetricAlarms"].append(shown(ctx, each))
    return dict(kinds)


def is_metric_alarm(known: Stored) -> bool:
    """Is it one, and can it be read?"""
    return isinstance(known.alarm, Alarm)


def history_answer(ctx: Context, event: AlarmEvent) -> Response:
    """An entry of the history of an alarm."""
    found = event.to_json()
    return found | {
        "Timestamp": moment(event.at_ms),
        "HistoryData": _history_data(ctx, event.data),
    }


def moment(at_ms: int) -> datetime:
    """A time for an answer."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _state(ctx: Context, state: AlarmState) -> dict[str, Any]:
    found = state.to_json()
    for name, most in (("StateReason", MOST_REASON), ("StateReasonData", MOST_REASON_DATA)):
        if name in found and len(text := _localized(ctx, found[name])) <= most:
            found[name] = text
    found["StateUpdatedTimestamp"] = moment(state.updated_at_ms)
    found["StateTransitionedTimestamp"] = moment(state.transitioned_at_ms)
    return found


def _localized(ctx: Context, text: str) -> str:
    """The same with the ARNs of the context, as those in reasons know no region or account."""
    return _OWN.sub(lambda _: alarm_arn(ctx, ""), text)


def _history_data(ctx: Context, data: Mapping[str, Any]) -> str:
    """As JSON, as long as it may be."""
    data = {name: dict(value) if isinstance(value, Mapping) else value for name, value in data.items()}
    text = _dumped(ctx, data)
    for *path, name in _LEFT_OUT:
        if len(text) <= MOST_HISTORY_DATA:
            return text
        place: Any = data
        for one in path:
            place = place.get(one)
        if isinstance(place, dict):
            place.pop(name, None)
            text = _dumped(ctx, data)
    return text if len(text) <= MOST_HISTORY_DATA else '{"version":"1.0"}'


def _dumped(ctx: Context, data: Mapping[str, Any]) -> str:
    return _localized(ctx, json.dumps(data, separators=(",", ":")))
