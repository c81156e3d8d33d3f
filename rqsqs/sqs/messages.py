"""SendMessage, ReceiveMessage, DeleteMessage, ChangeMessageVisibility, and the batches of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rqsqs._core import envelope, flows, receipts
from rqsqs._core.envelope import content_hash
from rqsqs._core.operation import Flow, Operation, Sleep
from rqsqs._core.results import for_deletes, not_reached
from rqsqs._core.sent import Outgoing, SentMessage
from rqsqs.errors import DurabilityNotReached, InvalidParameterValue, MessageTooLarge, RequestError
from rqsqs.limits import Limits
from rqsqs.models import DurabilityResult, FailedEntry

from . import batches
from .context import Context, Params, Response, ResponseFlow
from .digests import md5_of_attributes, md5_of_body
from .durability_header import told
from .error_responses import too_large
from .message_attributes import (
    TRACE_HEADER,
    as_shape,
    check_attributes,
    check_body,
    check_system_attributes,
    select,
    shown,
    size_of,
)
from .names import check_id, invalid, missing

if TYPE_CHECKING:
    from rqsqs._core.delivery import Delivery
    from rqsqs._core.keys import QueueRef

T = TypeVar("T")

# Parameters that no request of a client has: who calls actions may set them.
TRACE_CONTEXT = "rqsqs.trace_context"  # of a message to be sent, or an entry of a batch: its fields
RECEIVED = "rqsqs.received"  # a list, which takes the deliveries of a receive

_WRONG_QUEUE_TYPE = "The request include parameter that is not valid for this queue type."


class _Checked(NamedTuple):
    """A message of a request that passed its checks."""

    outgoing: Outgoing
    digests: dict[str, str]
    size: int


def send_message(ctx: Context, params: Params) -> ResponseFlow:
    """SendMessage."""
    queue = ctx.queue_of(params)
    message = _check_message(ctx.limits, queue, params, "SendMessage")
    if ctx.durability is None and len(queue.own) == 1:  # the common case takes the path of the native API
        try:
            sent = yield from flows.whole(_send_one(queue, ctx.limits, message.outgoing))
        except MessageTooLarge as error:
            raise too_large(error, in_batch=False) from None
        return _sent(message, sent)
    weak, [outcome] = yield from _send(ctx, queue, [message.outgoing])
    if isinstance(outcome, FailedEntry):
        raise _send_error(outcome, in_batch=False)
    return told(_sent(message, outcome), [outcome], weak)


def _send_one(queue: QueueRef, limits: Limits, outgoing: Outgoing) -> Operation:
    if outgoing.is_plain and not queue.is_fifo:
        return flows.SendOne(queue, limits, None, (outgoing.record, outgoing.size))
    return flows.SendWithOptions(queue, limits, outgoing)


def _send(
    ctx: Context, queue: QueueRef, outgoing: list[Outgoing]
) -> Flow[tuple[DurabilityNotReached | None, list[SentMessage | FailedEntry]]]:
    try:
        return None, (yield from flows.send_messages(queue, outgoing, ctx.limits, ctx.durability))
    except DurabilityNotReached as error:
        return error, error.sent


def send_message_batch(ctx: Context, params: Params) -> ResponseFlow:
    """SendMessageBatch."""
    queue = ctx.queue_of(params)
    entries = batches.check_envelope(params, "SendMessageBatchRequestEntry", ctx.limits)

    def check(entry: batches.Entry) -> _Checked:
        return _check_message(ctx.limits, queue, entry, "SendMessageBatch")

    checked = [_attempt(check, entry) for entry in entries]
    batches.check_total_size(sum(each.size for each in checked if isinstance(each, _Checked)), ctx.limits)
    if queue.is_fifo and any(entry.get("MessageGroupId") is None for entry in entries):
        raise InvalidParameterValue(str(missing("MessageGroupId")))
    to_send = [each.outgoing for each in checked if isinstance(each, _Checked)]
    weak: DurabilityNotReached | None = None
    results: list[SentMessage | FailedEntry] = []
    if to_send:
        weak, results = yield from _send(ctx, queue, to_send)
    sent = iter(results)
    response = yield from batches.respond(queue, entries, [_send_outcome(each, sent) for each in checked])
    return told(response, results, weak)


def receive_message(ctx: Context, params: Params) -> ResponseFlow:
    """ReceiveMessage."""
    queue, limits = ctx.queue_of(params), ctx.limits
    max_messages = params.get("MaxNumberOfMessages")
    if max_messages is None:
        max_messages = 1
    elif not 1 <= max_messages <= limits.receive_messages:
        reason = f"Must be between 1 and {limits.receive_messages}, if provided."
        raise invalid("MaxNumberOfMessages", max_messages, reason)
    wait_ms = _optional_seconds(params, "WaitTimeSeconds", limits.wait_ms)
    visibility_ms = _optional_seconds(params, "VisibilityTimeout", limits.visibility_ms)
    attempt_id: str | None = params.get("ReceiveRequestAttemptId")
    if attempt_id is not None:
        _check_attempt_id(queue, attempt_id)
    spec = flows.ReceiveSpec(limits, max_messages, visibility_ms, wait_ms, False, attempt_id)
    deliveries = yield from flows.receive(queue, spec)
    if RECEIVED in params:
        params[RECEIVED].extend(deliveries)
    if not deliveries:
        return {}
    if ctx.can_hang_up and wait_ms != 0:
        yield from flows.holding(deliveries, _occasion())
    wanted, older = params.get("MessageSystemAttributeNames"), params.get("AttributeNames")
    system_names = {*(wanted or ()), *(older or ())} if wanted or older else None
    names = params.get("MessageAttributeNames") or ()
    return {"Messages": [_received(ctx, queue, delivery, system_names, names) for delivery in deliveries]}


def _occasion() -> Flow[None]:
    """Let who runs a receive look whether somebody still wants its messages."""
    yield Sleep(0)


def delete_message(ctx: Context, params: Params) -> ResponseFlow:
    """DeleteMessage."""
    queue, handle = ctx.queue_of(params), _check_handle(params)
    if for_deletes(ctx.durability) is None:
        yield from flows.whole(flows.DeleteOne(ctx.limits, receipts.decode(queue, handle)))
        return {}
    results = yield from flows.delete_messages(queue, [handle], ctx.limits, ctx.durability)
    return _single(ctx, results, flows.DELETED)


def delete_message_batch(ctx: Context, params: Params) -> ResponseFlow:
    """DeleteMessageBatch."""
    entry_type = "DeleteMessageBatchRequestEntry"
    return (yield from _batch(ctx, params, entry_type, _check_handle, flows.delete_messages, flows.DELETED))


def change_message_visibility(ctx: Context, params: Params) -> ResponseFlow:
    """ChangeMessageVisibility."""
    queue = ctx.queue_of(params)
    change = _check_visibility(ctx.limits, params)
    results = yield from flows.change_visibility(queue, [change], ctx.limits, ctx.durability)
    return _single(ctx, results, flows.CHANGED)


def change_message_visibility_batch(ctx: Context, params: Params) -> ResponseFlow:
    """ChangeMessageVisibilityBatch."""
    entry_type, check = "ChangeMessageVisibilityBatchRequestEntry", functools.partial(_check_visibility, ctx.limits)
    return (yield from _batch(ctx, params, entry_type, check, flows.change_visibility, flows.CHANGED))


def _attempt(check: Callable[[batches.Entry], T], entry: batches.Entry) -> T | RequestError:
    try:
        return check(entry)
    except RequestError as error:
        return error


def _check_message(limits: Limits, queue: QueueRef, params: Params, action: str) -> _Checked:
    body = check_body(params.get("MessageBody"))
    if len(params) == 2 and not queue.is_fifo:  # nothing but the body, beside the queue's URL or the id of the entry
        record, size = envelope.plain(body)
        return _Checked(Outgoing(record, size), {"MD5OfMessageBody": md5_of_body(body)}, size)
    given, given_system = params.get("MessageAttributes"), params.get("MessageSystemAttributes")
    attributes = check_attributes(given, action, limits.attributes) if given else {}
    system = check_system_attributes(given_system) if given_system else {}
    group, dedup_id = params.get("MessageGroupId"), params.get("MessageDeduplicationId")
    if group is not None:
        check_id("MessageGroupId", group)
    elif queue.is_fifo:
        raise missing("MessageGroupId")
    if dedup_id is not None:
        if not queue.is_fifo:
            raise invalid("MessageDeduplicationId", dedup_id, _WRONG_QUEUE_TYPE)
        check_id("MessageDeduplicationId", dedup_id)
    delay, size = params.get("DelaySeconds"), size_of(body, attributes)
    outgoing = envelope.outgoing(
        body,
        attributes=attributes or None,
        trace_header=str(system[TRACE_HEADER][1]) if system else None,
        trace_context=params.get(TRACE_CONTEXT),
        group=group,
        dedup_id=dedup_id,
        delay_ms=None if delay is None else _check_delay(limits, queue, delay),
        size=size,
        content_hash=content_hash(body) if queue.is_fifo and dedup_id is None else None,
    )
    digests = {"MD5OfMessageBody": md5_of_body(body)}
    if attributes:
        digests["MD5OfMessageAttributes"] = md5_of_attributes(attributes)
    if system:
        digests["MD5OfMessageSystemAttributes"] = md5_of_attributes(system)
    return _Checked(outgoing, digests, size)


def _check_delay(limits: Limits, queue: QueueRef, seconds: int) -> int | None:
    """The message's own delay in ms; None = the queue's."""
    if queue.is_fifo and limits.strict:
        if seconds:
            raise invalid("DelaySeconds", seconds, _WRONG_QUEUE_TYPE)
        return None
    most = limits.delay_ms // 1000
    if not 0 <= seconds <= most:
        raise invalid("DelaySeconds", seconds, f"DelaySeconds must be >= 0 and <= {most}.")
    return seconds * 1000


def _optional_seconds(params: Params, name: str, most_ms: int) -> int | None:
    seconds: int | None = params.get(name)
    if seconds is None:
        return None
    if not 0 <= seconds <= most_ms // 1000:
        raise invalid(name, seconds, f"Must be >= 0 and <= {most_ms // 1000}, if provided.")
    return seconds * 1000


def _check_attempt_id(queue: QueueRef, attempt_id: str) -> None:
    if not queue.is_fifo:
        raise invalid("ReceiveRequestAttemptId", attempt_id, _WRONG_QUEUE_TYPE)
    check_id("ReceiveRequestAttemptId", attempt_id)


def _check_handle(entry: batches.Entry) -> str:
    handle: str | None = entry.get("ReceiptHandle")
    if not handle:
        raise missing("ReceiptHandle")
    return handle


def _check_visibility(limits: Limits, entry: batches.Entry) -> tuple[str, int]:
    handle = _check_handle(entry)
    seconds: int | None = entry.get("VisibilityTimeout")
    if seconds is None:
        raise missing("VisibilityTimeout")
    most = limits.visibility_ms // 1000
    if not 0 <= seconds <= most:
        reason = f"VisibilityTimeout must be an integer between 0 and {most}."
        raise invalid("VisibilityTimeout", seconds, reason)
    return handle, seconds * 1000


def _send_outcome(checked: _Checked | RequestError, sent: Iterator[SentMessage | FailedEntry]) -> Response | Exception:
    if isinstance(checked, RequestError):
        return checked
    outcome = next(sent)
    return _send_error(outcome, in_batch=True) if isinstance(outcome, FailedEntry) else _sent(checked, outcome)


def _send_error(failure: FailedEntry, *, in_batch: bool) -> Exception:
    error = failure.error
    return too_large(error, in_batch=in_batch) if isinstance(error, MessageTooLarge) else error


def _sent(message: _Checked, sent: SentMessage) -> Response:
    response: Response = {**message.digests, "MessageId": sent.message_id}
    if sent.sequence_number is not None:
        response["SequenceNumber"] = sent.sequence_number
    return response


def _single(ctx: Context, results: list[FailedEntry | DurabilityResult | None], done: str) -> Response:
    """The response to a request with one receipt handle."""
    if isinstance(results[0], FailedEntry):
        raise results[0].error
    return told({}, results, not_reached(ctx.durability, results, done))


def _batch(
    ctx: Context,
    params: Params,
    entry_type: str,
    check: Callable[[batches.Entry], Any],
    settle: Callable[..., Flow[list[FailedEntry | DurabilityResult | None]]],
    done: str,
) -> ResponseFlow:
    """A batch of receipt handles. An entry that is not as safe as required has failed: unlike a send it can be
    repeated."""
    queue = ctx.queue_of(params)
    entries = batches.check_envelope(params, entry_type, ctx.limits)
    checked = [_attempt(check, entry) for entry in entries]
    good = [each for each in checked if not isinstance(each, RequestError)]
    results = (yield from settle(queue, good, ctx.limits, ctx.durability)) if good else []
    weak, left = not_reached(ctx.durability, results, done), iter(results)
    outcomes: list[Response | Exception] = []
    for each in checked:
        result: Any = each if isinstance(each, RequestError) else next(left)
        if isinstance(result, FailedEntry):
            result = result.error
        is_weak = weak is not None and isinstance(result, DurabilityResult) and not result.is_enough
        outcomes.append(weak if weak and is_weak else result if isinstance(result, Exception) else {})
    response = yield from batches.respond(queue, entries, outcomes)
    return told(response, results)


def _received(
    ctx: Context, queue: QueueRef, delivery: Delivery, system_names: set[str] | None, names: Sequence[str]
) -> Response:
    body = delivery.text()
    message: Response = {
        "MessageId": delivery.message_id,
        "ReceiptHandle": delivery.receipt_handle,
        "MD5OfBody": md5_of_body(body),
        "Body": body,
    }
    if system_names:
        attributes = _system_attributes(ctx, queue, delivery, body, system_names)
        if attributes:
            message["Attributes"] = attributes
    if names:
        selected = select(shown(delivery, names), names)
        if selected:
            message["MD5OfMessageAttributes"] = md5_of_attributes(selected)
            message["MessageAttributes"] = as_shape(selected)
    return message


def _system_attributes(
    ctx: Context, queue: QueueRef, delivery: Delivery, body: str, wanted: set[str]
) -> dict[str, str]:
    attributes = {
        "SenderId": ctx.account,
        "SentTimestamp": str(delivery.sent_at_ms),
        "ApproximateReceiveCount": str(delivery.receive_count),
        "ApproximateFirstReceiveTimestamp": str(delivery.first_received_at_ms),
    }
    if delivery.group is not None:
        attributes["MessageGroupId"] = delivery.group
    if delivery.trace_header is not None:
        attributes["AWSTraceHeader"] = delivery.trace_header
    if delivery.dead_letter_source is not None:
        attributes["DeadLetterQueueSourceArn"] = ctx.arn_of(delivery.dead_letter_source)
    if queue.is_fifo:
        attributes["SequenceNumber"] = str(delivery.sequence_number)
        attributes["MessageDeduplicationId"] = _shown_dedup_id(delivery, body)
    return attributes if "All" in wanted else {name: attributes[name] for name in attributes if name in wanted}


def _shown_dedup_id(delivery: Delivery, body: str) -> str:
    """A dead letter goes by its MessageId, so that no two of them are taken for the same."""
    if delivery.dead_letter_source is not None:
        return delivery.message_id
    return content_hash(body) if delivery.dedup_id is None else delivery.dedup_id
