"""Alarms: their states, one of them in full, and what can be done with them."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from rqsqs import Alarm, AlarmEvent, AlarmInfo, CompositeAlarm
from rqsqs._action_targets import SendTo, parse_target
from rqsqs._base_message import moment
from rqsqs._core.actors import putter
from rqsqs.alarms.conditions import alarm_from, condition_of
from rqsqs.alarms.conditions import defaults as defaults_of
from rqsqs.alarms.math import measured, of_histories
from rqsqs.console.pages.shown import Shown
from rqsqs.console.visits import Visit
from rqsqs.console.written import typed, whole_of
from rqsqs.errors import InvalidParameterValue, QueueDoesNotExist, RequestError
from rqsqs.inspection.queues import dead_letter_queue
from rqsqs.metric_models import HistoryPoint

STATES = ("ALARM", "INSUFFICIENT_DATA", "OK")
PERMISSIONS = {
    "delete": "cloudwatch:DeleteAlarms",
    "enable": "cloudwatch:EnableAlarmActions",
    "disable": "cloudwatch:DisableAlarmActions",
    **{state: "cloudwatch:SetAlarmState" for state in STATES},
}
EVENTS = 100
DRAWN = timedelta(hours=3)
OPTIONS = ("queue", "statistic", "treat_missing_data", "description")
NUMBERS = ("period", "evaluation_periods", "datapoints_to_alarm")
TITLES = ("ALARM", "OK", "INSUFFICIENT_DATA")
ACTIONS = ("alarm_actions", "ok_actions", "insufficient_data_actions")


async def index(visit: Visit) -> Shown:
    """All alarms, those in ALARM first, and whether somebody evaluates them."""
    alarms = visit.connection.alarms

    async def load() -> tuple[list[AlarmInfo], Any]:
        found, evaluation = await asyncio.gather(alarms.list(), alarms.evaluation())
        return sorted(found, key=lambda info: (STATES.index(info.state.value), info.name)), evaluation

    found, evaluation = await visit.read("alarms", load)
    state = visit.query.get("state", "")
    return Shown(
        "alarms.html",
        {
            "section": "Alarms",
            "title": "Alarms",
            "alarms": [info for info in found if state in ("", info.state.value)],
            "conditions": {info.name: condition_of(info.alarm) for info in found},
            "all": len(found),
            "counts": {each: sum(info.state.value == each for info in found) for each in STATES},
            "state": state,
            "evaluation": evaluation,
        },
    )


async def show(visit: Visit) -> Shown:
    """An alarm: its state, its metric against the threshold, and its history."""
    alarms, name = visit.connection.alarms, visit.part("alarm")

    async def load_history() -> list[AlarmEvent]:
        return await alarms.history(name, max_events=EVENTS)

    info = await visit.read(("alarm", name), lambda: alarms.get(name))
    alarm = info.alarm
    events, chart = None, None
    if visit.may("cloudwatch:DescribeAlarmHistory", name):
        events = await visit.read(("alarm history", name), load_history)
    if isinstance(alarm, Alarm) and await _may_measure(visit, alarm):
        chart = await visit.read(("alarm chart", name), lambda: _chart(visit, alarm), 30.0)
    return Shown(
        "alarm.html",
        {
            "section": "Alarms",
            "title": name,
            "info": info,
            "alarm": alarm,
            "is_composite": not isinstance(alarm, Alarm),
            "condition": condition_of(alarm),
            "chart": chart,
            "events": None
            if events is None
            else [{"at": moment(e.at_ms), "kind": e.kind, "summary": e.summary, "why": _why(e)} for e in events],
            "actions": [(title, getattr(alarm, each)) for title, each in zip(TITLES, ACTIONS, strict=True)],
            "may": {what: visit.may(permission, name) for what, permission in PERMISSIONS.items()},
            "states": STATES,
        },
    )


async def put(visit: Visit) -> Response:
    """Create an alarm, or replace it."""
    form = await visit.form()
    name = typed(form, "name")
    given: dict[str, Any] = {key: text for key in OPTIONS if (text := typed(form, key))}
    given |= {key: whole_of(key, text, 0) for key in NUMBERS if (text := typed(form, key))}
    given |= {key: tuple(lines) for key in ACTIONS if (lines := typed(form, key).split())}
    try:
        alarm = alarm_from(name, typed(form, "condition"), given)
    except TypeError:
        raise InvalidParameterValue(
            "a rule over other alarms must have no queue, statistic, period, datapoints and missing data: these belong "
            "to the alarms that it names"
        ) from None
    await _put(visit, alarm)
    visit.changed()
    return visit.back_to(visit.url("alarms", name), f"{name} was set.")


async def put_defaults(visit: Visit) -> Response:
    """Set the alarms that are worth having for a queue."""
    form = await visit.form()
    queue = visit.connection.queue(typed(form, "queue"))
    await visit.require("sqs:GetQueueAttributes", queue.name)
    found = defaults_of(queue.name, dead_letter_queue(await queue.info()), typed(form, "alarm_actions").split())
    for alarm in found:
        await _put(visit, alarm)
    visit.changed()
    return visit.back_to(visit.url("alarms"), f"{len(found)} alarms for {queue.name} were set.")


async def change(visit: Visit) -> Response:
    """Give it a state, enable or disable its actions, or delete it."""
    form = await visit.form()
    alarms, name, what = visit.connection.alarms, visit.part("alarm"), typed(form, "do")
    if what not in PERMISSIONS:
        raise InvalidParameterValue(f"do must be {', '.join(PERMISSIONS)}, got {what!r:.80}")
    await visit.require(PERMISSIONS[what], name)
    if what == "delete":
        visit.check_name(name, form, "alarm")
        await alarms.delete(name)
        visit.changed()
        return visit.back_to(visit.url("alarms"), f"{name} was deleted.")
    if what == "enable":
        await alarms.enable_actions(name)
        told = f"The actions of {name} are done again."
    elif what == "disable":
        await alarms.disable_actions(name)
        told = f"The actions of {name} are not done any more."
    else:
        await alarms.set_state(name, what, "a test: from the console")  # type: ignore[arg-type]
        told = f"{name} is {what} until it is evaluated."
    visit.changed()
    return visit.back_to(visit.url("alarms", name), told)


async def _put(visit: Visit, alarm: Alarm | CompositeAlarm) -> None:
    """Set an alarm, if the caller may do that, and send to the queues that its actions send to."""
    action = "PutMetricAlarm" if isinstance(alarm, Alarm) else "PutCompositeAlarm"
    await visit.require_action(action, alarm.to_json())
    for target in (*alarm.alarm_actions, *alarm.ok_actions, *alarm.insufficient_data_actions):
        parsed = parse_target(target)
        if isinstance(parsed, SendTo):
            await visit.require("sqs:SendMessage", parsed.queue)
    putter.set(visit.rights.putter)
    await visit.connection.alarms.put(alarm)


async def _may_measure(visit: Visit, alarm: Alarm) -> bool:
    """Whether the caller may see the numbers that an alarm looks at."""
    await visit.learn(*alarm.queues)
    return visit.may("cloudwatch:GetMetricData", "") or all(
        visit.may("sqs:GetQueueAttributes", queue) for queue in alarm.queues
    )


async def _chart(visit: Visit, alarm: Alarm) -> dict[str, Any] | None:
    """The last hours of what it measures, and its threshold."""
    histories: dict[str, list[HistoryPoint]] = {}
    for queue in alarm.queues:
        with contextlib.suppress(QueueDoesNotExist):
            histories[queue] = await visit.connection.queue(queue).history(DRAWN)
    newest = max([point.at_ms for points in histories.values() for point in points], default=0)
    if not newest:
        return None
    try:
        points = _measured(alarm, histories, newest)
    except RequestError:
        return None
    times = [at_ms // 1000 for at_ms, _ in points]
    values = [None if value is None else round(value, 3) for _, value in points]
    if all(value is None for value in values):
        return None
    lines = [condition_of(alarm).rpartition(" ")[0].rpartition(" ")[0], "threshold"]
    return {"title": lines[0], "lines": lines, "data": [times, values, [alarm.threshold] * len(times)]}


def _measured(alarm: Alarm, histories: dict[str, list[HistoryPoint]], newest_ms: int) -> list[tuple[int, float | None]]:
    """Each period of the last hours, as an evaluation measures it."""
    read = of_histories(histories)
    found: dict[int, float | None] = {}
    step_ms = max(alarm.period_s, 60) * 1000
    end_ms = newest_ms
    while end_ms > newest_ms - DRAWN.total_seconds() * 1000:
        points = measured(alarm, end_ms, read)
        for point in points:
            found.setdefault(point.at_ms, point.value)
        end_ms -= step_ms * len(points)
    return sorted(found.items())


def _why(event: AlarmEvent) -> str:
    state = event.data.get("newState")
    return str((state.get("stateReason") if isinstance(state, dict) else event.data.get("error")) or "")
