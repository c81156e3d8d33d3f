"""SetAlarmState, EnableAlarmActions, DisableAlarmActions, DeleteAlarms."""

from __future__ import annotations

from rqsqs import errors
from rqsqs._alarm_checks import check_json
from rqsqs._core.flows import alarms as flows
from rqsqs._core.operations.alarms import Stored
from rqsqs.alarm_models import MOST_REASON_DATA, CompositeAlarm
from rqsqs.sqs.context import Context, Params, ResponseFlow

from .constraints import check, shown
from .errors import InvalidFormat, ResourceConflict, ResourceNotFound, ValidationError


def set_alarm_state(ctx: Context, params: Params) -> ResponseFlow:
    """SetAlarmState: the next evaluation can give back another state."""
    params = check("SetAlarmState", params)
    data = params.get("StateReasonData", "")
    try:
        check_json("StateReasonData", data, MOST_REASON_DATA)
    except errors.InvalidParameterValue as error:
        raise InvalidFormat(f"{error}.") from None
    yield from flows.set_state(ctx.space, params["AlarmName"], params["StateValue"], params["StateReason"], data)
    return {}


def enable_alarm_actions(ctx: Context, params: Params) -> ResponseFlow:
    """EnableAlarmActions: names without an alarm are passed by, as CloudWatch declares no error for them."""
    names = check("EnableAlarmActions", params)["AlarmNames"]
    yield from flows.enable_actions(ctx.space, names, enabled=True, must_exist=False)
    return {}


def disable_alarm_actions(ctx: Context, params: Params) -> ResponseFlow:
    """DisableAlarmActions: the same."""
    names = check("DisableAlarmActions", params)["AlarmNames"]
    yield from flows.enable_actions(ctx.space, names, enabled=False, must_exist=False)
    return {}


def delete_alarms(ctx: Context, params: Params) -> ResponseFlow:
    """DeleteAlarms. Those that exist are deleted, also if others do not; only then is that an error."""
    names = list(dict.fromkeys(check("DeleteAlarms", params)["AlarmNames"]))
    if not names:
        return {}
    known: dict[str, Stored] = yield from flows.read_named(ctx.space, names)
    if len([name for name, each in known.items() if isinstance(each.alarm, CompositeAlarm)]) > 1:
        raise ValidationError("DeleteAlarms can delete one composite alarm at most in a request: delete others first.")
    try:
        if known:
            yield from flows.delete(ctx.space, list(known))
    except errors.InvalidParameterValue as error:
        if not error.detail:
            raise
        raise ResourceConflict(
            f"Cannot delete {shown(error.detail)} as there are composite alarm(s) depending on it."
        ) from None
    if missing := [name for name in names if name not in known]:
        raise ResourceNotFound(f"there is no alarm {missing[0]!r}")
    return {}
