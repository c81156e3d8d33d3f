"""Message move tasks: StartMessageMoveTask, ListMessageMoveTasks, CancelMessageMoveTask."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from rqsqs._core import flows
from rqsqs.errors import InvalidParameterValue, MoveTaskRefused, QueueDoesNotExist, ResourceNotFound
from rqsqs.models import MoveTask

from .context import Context, Params, Response, ResponseFlow
from .names import Arn, is_queue_name, missing, parse_arn

if TYPE_CHECKING:
    from rqsqs._core.keys import QueueRef
    from rqsqs._core.operation import Flow

MAX_PER_SECOND = 500
MAX_LISTED = 10

_REFUSALS = {
    "not_dead_letter_queue": "Source queue must be configured as a Dead Letter Queue.",
    "already_running": (
        "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
    ),
    "not_running": "Only active tasks can be cancelled.",
}


def start_message_move_task(ctx: Context, params: Params) -> ResponseFlow:
    """StartMessageMoveTask."""
    source_name = _queue_name(params, "SourceArn")
    destination_name = _queue_name(params, "DestinationArn") if params.get("DestinationArn") is not None else None
    rate = params.get("MaxNumberOfMessagesPerSecond")
    if rate is not None and not 1 <= rate <= MAX_PER_SECOND:
        raise InvalidParameterValue(
            "Value for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: You must enter a number that's "
            f"between 1 and {MAX_PER_SECOND}."
        )
    source = yield from _existing(ctx, source_name, "SourceArn")
    destination = None
    if destination_name is not None:
        destination = yield from _existing(ctx, destination_name, "DestinationArn")
        yield from _check_pair(source, destination)
    try:
        task_id = yield from flows.start_move(source, destination, rate, ctx.durability)
    except ResourceNotFound as error:
        raise _not_found("DestinationArn" if error.detail == "destination" else "SourceArn") from None
    except MoveTaskRefused as error:
        raise _refused(error) from None
    return {"TaskHandle": _handle_of(task_id, params["SourceArn"])}


def list_message_move_tasks(ctx: Context, params: Params) -> ResponseFlow:
    """ListMessageMoveTasks."""
    name = _queue_name(params, "SourceArn")
    limit = params.get("MaxResults")
    if limit is not None and not 1 <= limit <= MAX_LISTED:
        raise InvalidParameterValue(
            f"Value for parameter MaxResults is invalid. Reason: You must enter a number that's between 1 and "
            f"{MAX_LISTED}."
        )
    source = yield from _existing(ctx, name, "SourceArn")
    tasks = yield from flows.list_moves(source, 1 if limit is None else limit, ctx.durability)
    return {"Results": [_entry(ctx, task) for task in tasks]} if tasks else {}


def cancel_message_move_task(ctx: Context, params: Params) -> ResponseFlow:
    """CancelMessageMoveTask."""
    handle = params.get("TaskHandle")
    if not handle:
        raise missing("TaskHandle")
    task_id, source_name = _parts_of(handle)
    source = yield from _existing(ctx, source_name, "SourceArn")
    try:
        moved = yield from flows.cancel_move(source, task_id)
    except ResourceNotFound:
        raise ResourceNotFound("Task does not exist.") from None
    except MoveTaskRefused as error:
        raise _refused(error) from None
    return {"ApproximateNumberOfMessagesMoved": moved}


def _queue_name(params: Params, parameter: str) -> str:
    text: str | None = params.get(parameter)
    if not text and parameter == "SourceArn":
        raise missing(parameter)
    arn = parse_arn(text or "")
    if arn is None:
        raise InvalidParameterValue(
            f"You must use this format to specify the {parameter}: "
            "arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
        )
    return arn.name


def _existing(ctx: Context, name: str, parameter: str) -> Flow[QueueRef]:
    if not is_queue_name(name):
        raise _not_found(parameter)
    queue = ctx.queue(name)
    try:
        yield flows.get_queue(queue.home)
    except QueueDoesNotExist:
        raise _not_found(parameter) from None
    return queue


def _check_pair(source: QueueRef, destination: QueueRef) -> Flow[None]:
    """What forbids this destination, after SQS's own order: a source that is no dead-letter queue comes first."""
    if source.name == destination.name:
        text = "Source queue arn and destination queue arn cannot be the same."
    elif source.is_fifo != destination.is_fifo:
        text = "The source queue and destination queue must be of the same queue type."
    else:
        return
    if not (yield flows.dead_letter_sources(source, "", 1)):
        text = _REFUSALS["not_dead_letter_queue"]
    raise InvalidParameterValue(text)


def _not_found(parameter: str) -> ResourceNotFound:
    return ResourceNotFound(f"The resource that you specified for the {parameter} parameter doesn't exist.")


def _refused(error: MoveTaskRefused) -> InvalidParameterValue:
    return InvalidParameterValue(_REFUSALS.get(error.detail, str(error)))


def _handle_of(task_id: str, source_arn: str) -> str:
    text = json.dumps({"taskId": task_id, "sourceArn": source_arn}, separators=(",", ":"))
    return base64.b64encode(text.encode()).decode()


def _parts_of(handle: str) -> tuple[str, str]:
    """The task id and the name of the source queue in a TaskHandle."""
    arn = source_of(handle)
    if arn is not None:
        return json.loads(base64.b64decode(handle))["taskId"], arn.name
    raise InvalidParameterValue("Value for parameter TaskHandle is invalid.")


def source_of(handle: str) -> Arn | None:
    """The source queue that a TaskHandle names; None if it is none."""
    try:
        parts = json.loads(base64.b64decode(handle, validate=True))
        arn = parse_arn(parts["sourceArn"])
        is_ours = isinstance(parts["taskId"], str) and parts["taskId"].isascii()
    except (binascii.Error, ValueError, TypeError, KeyError, RecursionError):
        return None
    return arn if is_ours else None


def _entry(ctx: Context, task: MoveTask) -> Response:
    source_arn = ctx.arn_of(task.source)
    entry: Response = {
        "TaskHandle": _handle_of(task.task_id, source_arn) if task.status == "RUNNING" else None,
        "Status": task.status,
        "SourceArn": source_arn,
        "DestinationArn": None if task.destination is None else ctx.arn_of(task.destination),
        "MaxNumberOfMessagesPerSecond": task.max_per_second,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "FailureReason": task.failure_reason if task.status == "FAILED" else None,
        "StartedTimestamp": task.started_at_ms,
    }
    return {name: value for name, value in entry.items() if value is not None}
