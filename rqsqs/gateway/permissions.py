"""What each action needs: which permissions, on which queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rqsqs._core import flows
from rqsqs._core.operation import Flow
from rqsqs.errors import QueueDoesNotExist
from rqsqs.sqs import Context
from rqsqs.sqs.context import Params
from rqsqs.sqs.moves import source_of
from rqsqs.sqs.names import Arn, is_queue_name, parse_arn, partition_of
from rqsqs.sqs.permissions import OWNER_ONLY

OF_BATCHES = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
OF_RQSQS = {  # what the console does, and SQS has no action for
    "PeekMessages": "look at messages without receiving them",
    "RescheduleMessage": "let a message come earlier or later, or at once",
    "CancelMessage": "remove a message that nobody has received",
    "ListGroups": "see message groups, and who holds them",
    "PauseQueue": "pause and resume a queue or one of its message groups",
    "ListConsumers": "see consumers, and what they hold",
    "ControlConsumers": "drain and evict consumers",
    "ListEvents": "read the events of an account",
    "ListSessions": "see who is logged in to the console",
    "EndSessions": "log others out of the console",
    "DescribeServer": "see the server: findings, memory, replication, slow calls",
}
CHANGING = frozenset(  # what policies decide by
    {
        "AddPermission",
        "CreateQueue",
        "DeleteQueue",
        "RemovePermission",
        "SetQueueAttributes",
        "TagQueue",
        "UntagQueue",
    }
)
_MOVES = {
    "StartMessageMoveTask": ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"),
    "CancelMessageMoveTask": ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"),
    "ListMessageMoveTasks": ("GetQueueAttributes",),
}
SOURCES_AT_ONCE = 1000
EVERYTHING = "\0"  # which no alarm can be called


class Permission(NamedTuple):
    """A permission: `SendMessage` on the queue `orders`; without a queue on all of an account.

    Attributes:
        alarm: of CloudWatch, the name of the alarm; EVERYTHING = on no alarm in particular.
        service: `sqs` or `cloudwatch`; `rqsqs` for what only the console does with queues.
        namespace: of the metrics that it is about; "" if the request names none.
    """

    action: str
    queue: str
    alarm: str = ""
    service: str = "sqs"
    namespace: str = ""

    @property
    def full_action(self) -> str:
        """As policies have it: `sqs:SendMessage`."""
        return f"{self.service}:{self.action}"

    def resource(self, context: Context) -> str:
        """The ARN of what it is about, or `*`."""
        if self.service != "cloudwatch":
            return context.arn_of(self.queue)
        if self.alarm == EVERYTHING:
            return "*"
        return str(
            Arn(partition_of(context.region), self.service, context.region, context.account, f"alarm:{self.alarm}")
        )


def is_owners(action: str) -> bool:
    """Whether only the account of a queue may do it."""
    return action in OWNER_ONLY


def needed(action: str, params: Params, context: Context) -> list[Permission]:
    """The permissions that a request needs, in the order in which they are told if they are missing.

    Those on the queues that a move task without a destination goes back to are told by `destinations`.

    Args:
        action: of the request.
        params: its parameters, unsealed.
        context: of the account whose queues it is about.

    Raises:
        QueueDoesNotExist: the request names no queue.
    """
    if action in _MOVES:
        return list(_for_moves(action, params))
    if action == "ListQueues":
        return [Permission(action, "")]
    if action == "CreateQueue":
        queue = possible(params.get("QueueName"))
        return [Permission(action, queue), *([Permission("TagQueue", queue)] if params.get("tags") else [])]
    if action == "GetQueueUrl":
        return [Permission(action, possible(params.get("QueueName")))]
    return [Permission(OF_BATCHES.get(action, action), context.queue_of(params).name)]


def possible(name: str | None) -> str:
    """A queue name; "" instead of what is none, which the action refuses."""
    return name if name is not None and is_queue_name(name) else ""


def _for_moves(action: str, params: Params) -> Iterator[Permission]:
    arn = (
        source_of(params.get("TaskHandle") or "")
        if action.startswith("Cancel")
        else parse_arn(params.get("SourceArn") or "")
    )
    source = "" if arn is None else possible(arn.name)
    for each in (action, *_MOVES[action]):
        yield Permission(each, source)
    destination = parse_arn(params.get("DestinationArn") or "")
    if destination is not None and action == "StartMessageMoveTask":
        yield Permission("SendMessage", possible(destination.name))


def has_unnamed_destinations(action: str, params: Params) -> bool:
    """Whether messages go back to where they came from."""
    return action == "StartMessageMoveTask" and params.get("DestinationArn") is None


def destinations(params: Params, context: Context) -> Flow[list[Permission]]:
    """What a move task without a destination needs: to send to every queue whose dead letters are there."""
    arn = parse_arn(params.get("SourceArn") or "")
    found: list[Permission] = []
    if arn is None or not is_queue_name(arn.name):
        return found
    queue, after = context.queue(arn.name), ""
    while True:
        try:
            names = yield flows.dead_letter_sources(queue, after, SOURCES_AT_ONCE)
        except QueueDoesNotExist:
            return found
        found += [Permission("SendMessage", name) for name in names]
        if len(names) < SOURCES_AT_ONCE:
            return found
        after = names[-1]
