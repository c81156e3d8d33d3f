"""The actions of CloudWatch that are here, and the one way to run them.

    flow = perform(context, "DescribeAlarms", {"AlarmNamePrefix": "orders"})
    response = transport.run(flow)

An action is a function of a context and the parameters of a request, in the shapes of the service model: lists and
structures as in JSON, times as aware datetimes, numbers with a fraction as floats. It returns a flow, whose result is
the response in the same shapes, without ResponseMetadata. A refusal is a `rqsqs.errors.RequestError`, mostly one of
`errors`.

The context is that of SQS: its region and account are in the ARNs of alarms.
"""

from __future__ import annotations

from collections.abc import Callable

from rqsqs.errors import RequestError
from rqsqs.sqs.context import Context, Params, ResponseFlow
from rqsqs.sqs.service import Service

from . import (
    alarm_states,
    describe_alarm_history,
    describe_alarms,
    list_metrics,
    metric_data,
    metric_statistics,
    put_alarms,
    tags,
)
from .constraints import shown
from .errors import UnsupportedAction, as_cloudwatch

ACTIONS: dict[str, Callable[[Context, Params], ResponseFlow]] = {
    "DeleteAlarms": alarm_states.delete_alarms,
    "DescribeAlarmHistory": describe_alarm_history.describe_alarm_history,
    "DescribeAlarms": describe_alarms.describe_alarms,
    "DescribeAlarmsForMetric": describe_alarms.describe_alarms_for_metric,
    "DisableAlarmActions": alarm_states.disable_alarm_actions,
    "EnableAlarmActions": alarm_states.enable_alarm_actions,
    "GetMetricData": metric_data.get_metric_data,
    "GetMetricStatistics": metric_statistics.get_metric_statistics,
    "ListMetrics": list_metrics.list_metrics,
    "ListTagsForResource": tags.list_tags_for_resource,
    "PutCompositeAlarm": put_alarms.put_composite_alarm,
    "PutMetricAlarm": put_alarms.put_metric_alarm,
    "SetAlarmState": alarm_states.set_alarm_state,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
}


def perform(ctx: Context, action: str, params: Params) -> ResponseFlow:
    """Run an action.

    Args:
        ctx: where the request is answered.
        action: of CloudWatch's service model.
        params: the parameters of the request; members that are None count as absent.

    Returns:
        The response.

    Raises:
        RequestError: the request is refused; its `sqs_message` is CloudWatch's text. UnsupportedAction: rqsqs has no
            such action.
        ServerError: Redis failed.
    """
    function = ACTIONS.get(action)
    if function is None:
        raise unsupported(action)
    try:
        return (yield from function(ctx, {name: value for name, value in params.items() if value is not None}))
    except RequestError as error:
        known = as_cloudwatch(error)
        if known is error:
            raise
        raise known from error


def unsupported(action: str) -> UnsupportedAction:
    """The refusal of an action that CloudWatch has, or nobody."""
    return UnsupportedAction(
        f"The action {shown(action)} of CloudWatch is not supported here. There are {', '.join(ACTIONS)}."
    )


CLOUDWATCH = Service(
    name="cloudwatch",
    signing_name="monitoring",
    version="2010-08-01",
    target="GraniteServiceVersion20100801",
    json_namespace="com.amazonaws.cloudwatch.v2010_08_01",
    xml_namespace="http://monitoring.amazonaws.com/doc/2010-08-01/",
    perform=perform,
)
