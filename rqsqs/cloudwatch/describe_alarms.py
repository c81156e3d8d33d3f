"""DescribeAlarms and DescribeAlarmsForMetric."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rqsqs._alarm_checks import dimensions_of
from rqsqs._core.flows import alarms as flows
from rqsqs._core.flows.alarm_states import read_all
from rqsqs._core.operation import Flow
from rqsqs._core.operations.alarms import Stored
from rqsqs.alarm_models import Alarm, CompositeAlarm
from rqsqs.sqs.context import Context, Params, Response, ResponseFlow

from .alarm_answers import alarm_answer, alarms_answer, child_answer, is_metric_alarm, parent_answer
from .constraints import check
from .errors import ValidationError
from .tokens import place_of, token_of

PAGE = 100  # alarms, if MaxRecords does not say how many


def describe_alarms(ctx: Context, params: Params) -> ResponseFlow:
    """DescribeAlarms: alarms in the order of their names."""
    params = check("DescribeAlarms", params)
    _check_combination(params)
    place = place_of("DescribeAlarms", params, (str,))
    after, most = (place[0] if place else ""), params.get("MaxRecords", PAGE)
    shown: Callable[[Context, Stored], Response] = alarm_answer
    if "ChildrenOfAlarmName" in params:
        shown = child_answer
        found = yield from _children(ctx, params["ChildrenOfAlarmName"])
    elif "ParentsOfAlarmName" in params:
        shown = parent_answer
        found = yield from _parents(ctx, params["ParentsOfAlarmName"], after, most + 1)
    elif names := params.get("AlarmNames"):
        known = yield from flows.read_named(ctx.space, sorted(set(names)))
        found = [each for each in known.values() if _is_wanted(each, params)]
    else:
        prefix = params.get("AlarmNamePrefix", "")
        found = yield from flows.list_named(ctx.space, prefix, after, most + 1, lambda each: _is_wanted(each, params))
    page = [each for each in found if each.name > after]
    answer = alarms_answer(ctx, page[:most], shown)
    if len(page) > most:
        answer["NextToken"] = token_of("DescribeAlarms", params, [page[most - 1].name])
    return answer


def describe_alarms_for_metric(ctx: Context, params: Params) -> ResponseFlow:
    """DescribeAlarmsForMetric: alarms on this metric, but for those with metric math."""
    params = check("DescribeAlarmsForMetric", params)
    queue, dimensions = dimensions_of(params.get("Dimensions"))
    statistic = params.get("Statistic") or params.get("ExtendedStatistic")

    def is_on_it(known: Stored) -> bool:
        alarm = known.alarm
        return (
            isinstance(alarm, Alarm)
            and not alarm.metrics
            and (alarm.namespace, alarm.metric_name) == (params["Namespace"], params["MetricName"])
            and (alarm.queue, alarm.dimensions) == (queue, dimensions)
            and statistic in (None, alarm.statistic)
            and params.get("Period") in (None, alarm.period)
            and params.get("Unit") in (None, alarm.unit)
        )

    known = yield from read_all(ctx.space)
    return {"MetricAlarms": [alarm_answer(ctx, each) for each in known.alarms.values() if is_on_it(each)]}


def _check_combination(params: Params) -> None:
    given = {name for name, value in params.items() if value != []}
    if {"AlarmNames", "AlarmNamePrefix"} <= given:
        raise ValidationError("AlarmNamePrefix and AlarmNames cannot be specified together.")
    for name in ("ChildrenOfAlarmName", "ParentsOfAlarmName"):
        if others := sorted(given - {name, "MaxRecords", "NextToken"}) if name in given else []:
            raise ValidationError(f"{name} cannot be specified together with {', '.join(others)}.")


def _is_wanted(known: Stored, params: Params) -> bool:
    alarm = known.alarm
    if alarm is None:
        return False
    kind = "MetricAlarm" if is_metric_alarm(known) else "CompositeAlarm"
    actions = (*alarm.ok_actions, *alarm.alarm_actions, *alarm.insufficient_data_actions)
    action = params.get("ActionPrefix")
    return (
        kind in (params.get("AlarmTypes") or ("MetricAlarm",))
        and params.get("StateValue") in (None, known.state.value)
        and (action is None or any(each.startswith(action) for each in actions))
    )


def _children(ctx: Context, name: str) -> Flow[Sequence[Stored]]:
    parent = (yield from flows.read_named(ctx.space, [name])).get(name)
    if parent is None or not isinstance(parent.alarm, CompositeAlarm) or not parent.alarm.children:
        return []
    found: dict[str, Stored] = yield from flows.read_named(ctx.space, sorted(parent.alarm.children))
    return [each for each in found.values() if each.alarm is not None]


def _parents(ctx: Context, name: str, after: str, most: int) -> Flow[list[Stored]]:
    def is_parent(known: Stored) -> bool:
        return isinstance(known.alarm, CompositeAlarm) and name in known.alarm.children

    return (yield from flows.list_named(ctx.space, "", after, most, is_parent))
