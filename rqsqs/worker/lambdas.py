"""Functions written for AWS Lambda with an SQS trigger: the event, the context, and how their answer is understood.

Sources: AWS Lambda Developer Guide, "Using Lambda with Amazon SQS", "Handling errors for an SQS event source" (what a
malformed batchItemFailures means), "Using the Lambda context object to retrieve Python function information".
"""

from __future__ import annotations

import base64
import inspect
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from rqsqs._base_message import BaseMessage
from rqsqs.errors import InvalidParameterValue
from rqsqs.sqs import digests
from rqsqs.sqs.message_attributes import shown
from rqsqs.worker.context import Context
from rqsqs.worker.outcomes import Retry

ACCOUNT, REGION = "000000000000", "us-east-1"


class LambdaContext:
    """The second argument of a Lambda function."""

    def __init__(self, name: str, context: Context) -> None:
        self._context = context
        self.function_name = name
        self.function_version = "$LATEST"
        self.invoked_function_arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
        self.memory_limit_in_mb = "0"
        self.aws_request_id: str = str(uuid.uuid4())
        self.log_group_name: str = f"/aws/lambda/{name}"
        self.log_stream_name: str = context.consumer_id
        self.identity: None = None
        self.client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        return round(self._context.remaining * 1000)


def host(function: Callable[..., Any], queue: str) -> Callable[..., Any]:
    if not callable(function):
        raise InvalidParameterValue(f"the handler of {queue!r} must be a function, got {function!r}")
    name = getattr(function, "__name__", type(function).__name__)

    if inspect.iscoroutinefunction(function):

        async def handle_async(messages: list[BaseMessage], context: Context) -> list[BaseException | None]:
            answer = await function(event_of(messages, queue), LambdaContext(name, context))
            return outcomes_of(messages, answer)

        return handle_async

    def handle(messages: list[BaseMessage], context: Context) -> list[BaseException | None]:
        return outcomes_of(messages, function(event_of(messages, queue), LambdaContext(name, context)))

    return handle


def event_of(messages: Sequence[BaseMessage], queue: str) -> dict[str, Any]:
    return {"Records": [_record(m, queue) for m in messages]}


def _record(message: BaseMessage, queue: str) -> dict[str, Any]:
    d = message._delivery
    body, attributes_shown = d.text(), shown(d)
    attributes = {
        "ApproximateReceiveCount": str(d.receive_count),
        "SentTimestamp": str(d.sent_at_ms),
        "SenderId": "rqsqs",
        "ApproximateFirstReceiveTimestamp": str(d.first_received_at_ms),
    }
    optional = {
        "SequenceNumber": d.sequence_number,
        "MessageGroupId": d.group,
        "MessageDeduplicationId": d.dedup_id,
        "AWSTraceHeader": d.trace_header,
        "DeadLetterQueueSourceArn": _arn(d.dead_letter_source) if d.dead_letter_source else None,
    }
    record = {
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": body,
        "attributes": attributes | {name: value for name, value in optional.items() if value is not None},
        "messageAttributes": {name: _attribute(*pair) for name, pair in attributes_shown.items()},
        "md5OfBody": digests.md5_of_body(body),
        "eventSource": "aws:sqs",
        "eventSourceARN": _arn(queue),
        "awsRegion": REGION,
    }
    if attributes_shown:
        record["md5OfMessageAttributes"] = digests.md5_of_attributes(attributes_shown)
    return record


def _attribute(data_type: str, value: str | bytes) -> dict[str, Any]:
    shape: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": data_type}
    if isinstance(value, bytes):
        return {"binaryValue": base64.b64encode(value).decode(), **shape}
    return {"stringValue": value, **shape}


def _arn(queue: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"


def outcomes_of(messages: Sequence[BaseMessage], answer: Any) -> list[BaseException | None]:
    """What became of each message: None = done. A malformed answer fails the whole batch, as with Lambda."""
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if failures is None or failures == []:
        return [None] * len(messages)
    everything: list[BaseException | None] = [Retry(f"the function returned batchItemFailures {failures!r:.200}")]
    everything *= len(messages)
    if not isinstance(failures, list):
        return everything
    named = [item.get("itemIdentifier") if isinstance(item, dict) else None for item in failures]
    known = {m.message_id for m in messages}
    if not all(isinstance(number, str) and number in known for number in named):
        return everything
    return [Retry("the function named it in batchItemFailures") if m.message_id in named else None for m in messages]
