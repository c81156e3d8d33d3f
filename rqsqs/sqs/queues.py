"""Actions on queues as such: create, find, list, configure, purge, delete."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from rqsqs._core import flows
from rqsqs.errors import InvalidParameterValue, QueueDoesNotExist, ResourceNotFound

from . import attributes, tags
from .context import Context, Params, ResponseFlow
from .names import QUEUE_DOES_NOT_EXIST, check_new_queue_name, is_queue_name, missing, missing_queue_name
from .paging import page
from .redrive_policies import redrive_refused

if TYPE_CHECKING:
    from rqsqs._core.keys import QueueRef
    from rqsqs._core.operation import Flow

_NO_TARGET = "Dead letter target does not exist."
_OTHER_TYPE = "Dead-letter queue must be same type of queue as the source.."
_NOT_ALLOWED = "Dead-letter target does not allow this queue as a source in its RedriveAllowPolicy."


def create_queue(ctx: Context, params: Params) -> ResponseFlow:
    """CreateQueue."""
    sent = params.get("Attributes") or {}
    is_fifo = sent.get("FifoQueue", "").lower() == "true"
    name = check_new_queue_name(params.get("QueueName"), is_fifo=is_fifo)
    change = attributes.check(
        sent, is_fifo=is_fifo, is_new=True, region=ctx.region, account=ctx.account, limits=ctx.limits
    )
    attributes.check_fifo_throughput({}, change)
    new_tags = tags.check_tags(name, params.get("tags") or {})
    queue = ctx.queue(name)
    yield from _check_dead_letter_target(ctx, queue, change)
    values = {each: value for each, value in change.values.items() if value is not None and each != "FifoQueue"}
    try:
        yield from flows.create_queue(queue, values, ctx.limits, tags=new_tags, arn=ctx.arn_of(name))
    except (ResourceNotFound, InvalidParameterValue) as error:
        raise _target_error(error, change) from None
    return {"QueueUrl": ctx.url_of(name)}


def get_queue_url(ctx: Context, params: Params) -> ResponseFlow:
    """GetQueueUrl."""
    name = params.get("QueueName")
    if not name:
        raise missing_queue_name()
    if not is_queue_name(name):
        raise QueueDoesNotExist(QUEUE_DOES_NOT_EXIST)
    yield flows.get_queue(ctx.queue(name).home)
    return {"QueueUrl": ctx.url_of(name)}


def list_queues(ctx: Context, params: Params) -> ResponseFlow:
    """ListQueues."""
    prefix = params.get("QueueNamePrefix") or ""
    if not prefix.isascii():  # no name begins so
        return {}
    response = yield from page(ctx, params, "QueueUrls", functools.partial(flows.list_queues, ctx.space, prefix))
    return response if response["QueueUrls"] else {}


def list_dead_letter_source_queues(ctx: Context, params: Params) -> ResponseFlow:
    """ListDeadLetterSourceQueues."""
    queue = ctx.queue_of(params)
    return (yield from page(ctx, params, "queueUrls", functools.partial(flows.dead_letter_sources, queue)))


def get_queue_attributes(ctx: Context, params: Params) -> ResponseFlow:
    """GetQueueAttributes."""
    queue = ctx.queue_of(params)
    wanted = attributes.requested(params.get("AttributeNames") or ())
    if not wanted:
        yield flows.get_queue(queue.home)
        return {}
    info = yield from flows.queue_info(queue)
    shown = attributes.shown(info.attributes, wanted)
    computed = {
        "CreatedTimestamp": str(info.created_at_ms // 1000),
        "LastModifiedTimestamp": str(info.modified_at_ms // 1000),
        "QueueArn": ctx.arn_of(queue.name),
    }
    if not wanted.isdisjoint(attributes.COUNTERS):
        counts = yield from flows.counts(queue)
        computed |= {name: str(getattr(counts, field)) for name, field in attributes.COUNTERS.items()}
    shown |= {name: value for name, value in computed.items() if name in wanted}
    return {"Attributes": shown} if shown else {}


def set_queue_attributes(ctx: Context, params: Params) -> ResponseFlow:
    """SetQueueAttributes."""
    queue = ctx.queue_of(params)
    sent = params.get("Attributes")
    if not sent:
        raise missing("Attributes")
    change = attributes.check(
        sent, is_fifo=queue.is_fifo, is_new=False, region=ctx.region, account=ctx.account, limits=ctx.limits
    )
    if change.concerns_fifo_throughput:
        info = yield from flows.queue_info(queue)
        attributes.check_fifo_throughput(info.attributes, change)
    yield from _check_dead_letter_target(ctx, queue, change)
    try:
        yield from flows.set_attributes(queue, change.values, ctx.limits, arn=ctx.arn_of(queue.name))
    except (ResourceNotFound, InvalidParameterValue) as error:
        raise _target_error(error, change) from None
    return {}


def purge_queue(ctx: Context, params: Params) -> ResponseFlow:
    """PurgeQueue."""
    yield from flows.purge_queue(ctx.queue_of(params), ctx.limits)
    return {}


def delete_queue(ctx: Context, params: Params) -> ResponseFlow:
    """DeleteQueue."""
    yield from flows.delete_queue(ctx.queue_of(params), ctx.limits)
    return {}


def _check_dead_letter_target(ctx: Context, source: QueueRef, change: attributes.Change) -> Flow[None]:
    """Check what the engine does not: that a new RedrivePolicy names a queue of the same type."""
    policy, as_sent = change.redrive_policy, change.redrive_policy_as_sent
    if policy is None:
        return
    if not is_queue_name(policy.target.name):
        raise redrive_refused(as_sent, _NO_TARGET)
    target = ctx.queue(policy.target.name)
    if target.is_fifo != source.is_fifo:
        try:
            yield flows.get_queue(target.home)
        except QueueDoesNotExist:
            raise redrive_refused(as_sent, _NO_TARGET) from None
        raise redrive_refused(as_sent, _OTHER_TYPE)


def _target_error(error: ResourceNotFound | InvalidParameterValue, change: attributes.Change) -> Exception:
    """What the engine found wrong with the target of a RedrivePolicy."""
    if change.redrive_policy is None:
        return error
    reason = _NO_TARGET if isinstance(error, ResourceNotFound) else _NOT_ALLOWED
    return redrive_refused(change.redrive_policy_as_sent, reason)
