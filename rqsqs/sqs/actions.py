"""The 23 actions of SQS, and the one way to run them.

    flow = perform(context, "SendMessage", {"QueueUrl": url, "MessageBody": "hello"})
    response = transport.run(flow)

An action is a function of a context and the parameters of a request, in the shapes of the AWS JSON protocol with
blobs as bytes. It returns a flow, whose result is the response in the same shapes, without ResponseMetadata. A
refusal is a `rqsqs.errors.RequestError`; `error_responses` says how SQS words it.

Nothing here knows about HTTP, boto3 or connections.
"""

from __future__ import annotations

from collections.abc import Callable

from rqsqs._core import flows
from rqsqs.errors import QueueDoesNotExist, RequestError

from . import messages, moves, permissions, queues, tags
from .context import Context, Params, ResponseFlow
from .service import Service

ACTIONS: dict[str, Callable[[Context, Params], ResponseFlow]] = {
    "AddPermission": permissions.add_permission,
    "CancelMessageMoveTask": moves.cancel_message_move_task,
    "ChangeMessageVisibility": messages.change_message_visibility,
    "ChangeMessageVisibilityBatch": messages.change_message_visibility_batch,
    "CreateQueue": queues.create_queue,
    "DeleteMessage": messages.delete_message,
    "DeleteMessageBatch": messages.delete_message_batch,
    "DeleteQueue": queues.delete_queue,
    "GetQueueAttributes": queues.get_queue_attributes,
    "GetQueueUrl": queues.get_queue_url,
    "ListDeadLetterSourceQueues": queues.list_dead_letter_source_queues,
    "ListMessageMoveTasks": moves.list_message_move_tasks,
    "ListQueueTags": tags.list_queue_tags,
    "ListQueues": queues.list_queues,
    "PurgeQueue": queues.purge_queue,
    "ReceiveMessage": messages.receive_message,
    "RemovePermission": permissions.remove_permission,
    "SendMessage": messages.send_message,
    "SendMessageBatch": messages.send_message_batch,
    "SetQueueAttributes": queues.set_queue_attributes,
    "StartMessageMoveTask": moves.start_message_move_task,
    "TagQueue": tags.tag_queue,
    "UntagQueue": tags.untag_queue,
}


def perform(ctx: Context, action: str, params: Params) -> ResponseFlow:
    """Run an action.

    SQS looks for the queue before it looks at the other parameters. Doing so each time would cost a round trip, so
    the queue is only looked for once something else was found wrong; a script refuses a missing queue by itself.

    Args:
        ctx: where the request is answered.
        action: one of `ACTIONS`.
        params: the parameters of the request; members that are None count as absent.

    Returns:
        The response; members that would be empty are left out. ResponseMetadata is among them, with headers to add, if
        there is something to tell of the context's durability.

    Raises:
        RequestError: the request is refused; its `sqs_message` is SQS's text.
        durability_header.NotSafeEnough: it was done, and is not as safe as required.
        ServerError: Redis failed.
    """
    try:
        return (yield from ACTIONS[action](ctx, params))
    except RequestError as error:
        if params.get("QueueUrl") and not isinstance(error, QueueDoesNotExist):
            yield flows.get_queue(ctx.queue_of(params).home)
        raise


SQS = Service(
    name="sqs",
    signing_name="sqs",
    version="2012-11-05",
    target="AmazonSQS",
    json_namespace="com.amazonaws.sqs",
    xml_namespace="http://queue.amazonaws.com/doc/2012-11-05/",
    perform=perform,
)
