"""ListMetrics: what is measured of queues, as far as it is there for a kind of queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rqsqs._core.flows.metrics import metrics_of_those_there
from rqsqs._core.operations.queues import list_queues
from rqsqs.alarm_models import AWS_NAMESPACE, BYTES, NAMESPACE, QUEUE_METRICS, SERVER_METRICS
from rqsqs.metric_models import CLOUDWATCH, QueueMetrics
from rqsqs.sqs.context import Context, Params, Response, ResponseFlow
from rqsqs.sqs.names import is_queue_name

from .constraints import check
from .measured import QUEUE_NAME
from .tokens import place_of, token_of

ACTION = "ListMetrics"
PAGE = 500  # metrics
AT_ONCE, MOST_QUEUES = 50, 1_000  # that are looked at in one round trip; for one page
_ALL = [(AWS_NAMESPACE, name) for name in CLOUDWATCH] + [(NAMESPACE, name) for name in sorted(QUEUE_METRICS)]


def list_metrics(ctx: Context, params: Params) -> ResponseFlow:
    """ListMetrics: queue by queue, in the order of their names. A page ends with all metrics of a queue.

    A queue is measured as long as it exists. So whatever is there was there within the last three hours.
    """
    params = check(ACTION, params)
    place = place_of(ACTION, params, (str,))
    after: str = place[0] if place else ""
    wanted = [
        (namespace, name)
        for namespace, name in _ALL
        if params.get("Namespace", namespace) == namespace and params.get("MetricName", name) == name
    ]
    only, is_possible = _queue_of(params)
    found: list[Response] = [] if after else _of_server(ctx, params)
    looked_at, is_more = 0, bool(wanted) and is_possible and params.get("OwningAccount", ctx.account) == ctx.account
    while is_more:
        names: Sequence[str] = [only] if only else (yield list_queues(ctx.space, "", after, AT_ONCE))
        metrics: list[QueueMetrics] = yield from metrics_of_those_there([ctx.queue(name) for name in names])
        is_more, looked_at = not only and len(names) == AT_ONCE, looked_at + len(names)
        for numbers in metrics:
            there = [_metric(numbers.queue, *one) for one in wanted if _is_there(numbers, *one)]
            if len(found) + len(there) > PAGE:
                return _page(ctx, params, found, after)
            found += there
            after = numbers.queue
        after = names[-1] if names else after
        if is_more and looked_at >= MOST_QUEUES:
            return _page(ctx, params, found, after)
    return _page(ctx, params, found, "")


def _of_server(ctx: Context, params: Params) -> list[Response]:
    """The metrics of no queue, which accounts of a gateway do not have."""
    if not ctx.space.is_whole or params.get("Dimensions") or params.get("Namespace", NAMESPACE) != NAMESPACE:
        return []
    if params.get("OwningAccount", ctx.account) != ctx.account:
        return []
    names = [name for name in sorted(SERVER_METRICS) if params.get("MetricName", name) == name]
    return [{"Namespace": NAMESPACE, "MetricName": name, "Dimensions": []} for name in names]


def _page(ctx: Context, params: Params, found: list[Response], after: str) -> Response:
    response: Response = {"Metrics": found}
    if after:
        response["NextToken"] = token_of(ACTION, params, [after])
    if params.get("IncludeLinkedAccounts"):
        response["OwningAccounts"] = [ctx.account] * len(found)
    return response


def _queue_of(params: Params) -> tuple[str, bool]:
    """The one queue that the dimensions mean, "" = all; and whether there can be a metric with these dimensions."""
    values: set[Any] = set()
    for each in params.get("Dimensions") or ():
        if each["Name"] != QUEUE_NAME:
            return "", False
        values.add(each.get("Value"))
    values.discard(None)
    if not values:
        return "", True
    name = str(values.pop())
    return name, not values and is_queue_name(name)


def _metric(queue: str, namespace: str, name: str) -> Response:
    return {"Namespace": namespace, "MetricName": name, "Dimensions": [{"Name": QUEUE_NAME, "Value": queue}]}


def _is_there(numbers: QueueMetrics, namespace: str, name: str) -> bool:
    """Does a queue have a metric?"""
    ours = CLOUDWATCH.get(name, name)
    if ours == "oldest_age_s":
        return True  # 0 if there is no message
    if ours == "oldest_age_in_quiet_groups_s":
        return numbers.noisy_groups is not None
    if name == BYTES:
        return bool(numbers.sent_bytes)
    if ours == "deduplicated" and namespace == AWS_NAMESPACE:
        return numbers.queue.endswith(".fifo")
    return getattr(numbers, ours, 0) is not None
