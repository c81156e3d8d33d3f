"""Whatever text a request holds, it is either fine or refused with an error of SQS, and can be sent to Redis."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation
from rqsqs.errors import RequestError
from rqsqs.sqs import Context, perform
from rqsqs.sqs.attributes import SETTABLE

URL = "https://sqs.us-east-1.amazonaws.com/000000000000/q"
ARN = "arn:aws:sqs:us-east-1:000000000000:q"

any_text = (
    st.text() | st.text(st.characters(categories=["Cs", "Cc", "L"])) | st.sampled_from(["", URL, ARN, "q", "a.b"])
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
policies = st.builds(
    json.dumps,
    any_json
    | st.fixed_dictionaries({"deadLetterTargetArn": any_json | st.just(ARN), "maxReceiveCount": any_json | st.just(1)})
    | st.fixed_dictionaries(
        {"redrivePermission": any_json | st.just("byQueue"), "sourceQueueArns": st.lists(any_text) | any_json}
    )
    | st.fixed_dictionaries(
        {"Statement": st.lists(st.fixed_dictionaries({"Effect": st.just("Deny"), "Sid": any_json}))}
    ),
)
values = st.fixed_dictionaries(
    {"DataType": any_text | st.sampled_from(["String", "Number.x", "Binary"])},
    optional={"StringValue": any_text, "BinaryValue": st.binary()},
)
message = {
    "MessageBody": any_text,
    "DelaySeconds": st.integers(),
    "MessageAttributes": st.dictionaries(any_text, values, max_size=3),
    "MessageSystemAttributes": st.dictionaries(any_text | st.just("AWSTraceHeader"), values, max_size=2),
    "MessageGroupId": any_text,
    "MessageDeduplicationId": any_text,
}
attributes = st.dictionaries(any_text | st.sampled_from(sorted(SETTABLE)), any_text | policies, max_size=4)
urls = st.sampled_from([URL, URL + ".fifo"]) | any_text

REQUESTS = {
    "AddPermission": {"Label": any_text, "AWSAccountIds": st.lists(any_text), "Actions": st.lists(any_text)},
    "CancelMessageMoveTask": {"TaskHandle": any_text},
    "ChangeMessageVisibility": {"ReceiptHandle": any_text, "VisibilityTimeout": st.integers()},
    "CreateQueue": {
        "QueueName": any_text,
        "Attributes": attributes,
        "tags": st.dictionaries(any_text, any_text, max_size=3),
    },
    "DeleteMessage": {"ReceiptHandle": any_text},
    "GetQueueAttributes": {"AttributeNames": st.lists(any_text)},
    "GetQueueUrl": {"QueueName": any_text},
    "ListDeadLetterSourceQueues": {"NextToken": any_text, "MaxResults": st.integers()},
    "ListMessageMoveTasks": {"SourceArn": any_text, "MaxResults": st.integers()},
    "ListQueues": {"QueueNamePrefix": any_text, "NextToken": any_text, "MaxResults": st.integers()},
    "ReceiveMessage": {"MaxNumberOfMessages": st.integers(), "ReceiveRequestAttemptId": any_text},
    "RemovePermission": {"Label": any_text},
    "SendMessage": message,
    "SendMessageBatch": {"Entries": st.lists(st.fixed_dictionaries({"Id": any_text}, optional=message), max_size=3)},
    "SetQueueAttributes": {"Attributes": attributes},
    "StartMessageMoveTask": {"SourceArn": any_text, "DestinationArn": any_text},
    "TagQueue": {"Tags": st.dictionaries(any_text, any_text, max_size=3)},
    "UntagQueue": {"TagKeys": st.lists(any_text)},
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    action = draw(st.sampled_from(sorted(REQUESTS)))
    return action, draw(st.fixed_dictionaries({}, optional={"QueueUrl": urls, **REQUESTS[action]}))


@given(requests())
@settings(max_examples=500)
def test_any_text_is_refused_properly_or_can_be_sent(request_: tuple[str, dict[str, Any]]) -> None:
    action, params = request_
    flow = perform(Context(Keyspace()), action, params)
    try:
        step = next(flow)
    except (StopIteration, RequestError):
        return
    assert isinstance(step, Operation)
    for part in (*step.keys, *step.args):
        assert part.encode() is not None if isinstance(part, str) else isinstance(part, (bytes, int))
    flow.close()
