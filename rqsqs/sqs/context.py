"""What an action knows beside the parameters of its request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rqsqs._arns import DEFAULT_ACCOUNT as DEFAULT_ACCOUNT
from rqsqs._arns import DEFAULT_REGION as DEFAULT_REGION
from rqsqs._core.keys import Keyspace, QueueRef
from rqsqs._core.operation import Flow
from rqsqs.errors import QueueDoesNotExist
from rqsqs.limits import AWS, Limits
from rqsqs.models import Durability

from .names import QUEUE_DOES_NOT_EXIST, Arn, endpoint_of, partition_of, queue_name_of_url

Params = Mapping[str, Any]
Response = dict[str, Any]
ResponseFlow = Flow[Response]


@dataclass(frozen=True, slots=True)
class Context:
    """Where a request is answered.

    Region and account only appear in URLs and ARNs. They do not separate queues: whoever uses the same server and key
    prefix sees the same queues.

    Attributes:
        space: the engine's keys.
        region: AWS region in URLs and ARNs.
        account: AWS account number in URLs and ARNs, and the SenderId of messages.
        limits: what requests may ask for.
        endpoint: what queue URLs start with; None = the address of SQS in the region.
        durability: how safe messages have to be, and deletes if it says so.
        can_hang_up: whether who asked may be gone when the answer is there. The runner cancels the flow then, and a
            receive that has waited gives it the occasion.
    """

    space: Keyspace
    region: str = DEFAULT_REGION
    account: str = DEFAULT_ACCOUNT
    limits: Limits = AWS
    endpoint: str | None = None
    durability: Durability | None = None
    can_hang_up: bool = False

    def queue(self, name: str) -> QueueRef:
        """The engine's handle of a queue; there need not be one of this name."""
        return self.space.queue(name)

    def queue_of(self, params: Params) -> QueueRef:
        """The queue that the QueueUrl of a request names."""
        url = params.get("QueueUrl")
        if not url:
            raise QueueDoesNotExist(QUEUE_DOES_NOT_EXIST)
        return self.space.queue(queue_name_of_url(url))

    def url_of(self, name: str) -> str:
        """The URL of a queue."""
        return f"{self.endpoint or endpoint_of(self.region)}/{self.account}/{name}"

    def arn_of(self, name: str) -> str:
        """The ARN of a queue."""
        return str(Arn(partition_of(self.region), "sqs", self.region, self.account, name))
