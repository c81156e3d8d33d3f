"""AWS JSON 1.0 on the wire, rule by rule."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from tests.gateway.conftest import Answer, ask, ask_json
from tests.gateway.rules import rule

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def refused(answer: Answer, status: int, shape: str, code: str) -> str:
    """Check an error, and return its text."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/x-amz-json-1.0"
    assert answer.headers["x-amzn-query-error"] == f"{code};Sender"
    assert UUID.fullmatch(answer.headers["x-amzn-requestid"])
    assert answer.json["__type"] == shape
    text = answer.json.get("message", answer.json.get("Message"))
    assert isinstance(text, str)
    return text


@rule("the action is what follows the last dot of X-Amz-Target, whatever stands before it")
def test_target(shared: str) -> None:
    assert ask(shared, "{}", **{"X-Amz-Target": "Any.Thing.ListQueues"}).status == 200


@rule("X-Amz-Target chooses JSON, whatever the Content-Type")
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
def test_content_type_does_not_matter(shared: str, content_type: str) -> None:
    answer = ask(shared, "{}", **{"X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": content_type})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-amz-json-1.0"


@rule("JSON may be posted to the URL of the queue")
def test_path_of_queue(shared: str, queue: str) -> None:
    path = "/" + queue.split("/", 3)[3]
    answer = ask(shared, json.dumps({"QueueUrl": queue}), path, **{"X-Amz-Target": "AmazonSQS.PurgeQueue"})
    assert answer.status == 200


@rule("a response has content type, x-amzn-RequestId and a JSON body without null")
def test_response(shared: str, queue: str) -> None:
    answer = ask_json(shared, "SendMessage", {"QueueUrl": queue, "MessageBody": "x"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-amz-json-1.0"
    assert UUID.fullmatch(answer.headers["x-amzn-requestid"])
    assert answer.json.keys() == {"MD5OfMessageBody", "MessageId"}


@rule("each request has an id of its own")
def test_request_ids_differ(shared: str) -> None:
    ids = {ask_json(shared, "ListQueues").headers["x-amzn-requestid"] for _ in range(3)}
    assert len(ids) == 3


@rule("void actions answer 200 with an empty body in JSON")
@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("AddPermission", {"Label": "a", "AWSAccountIds": ["123456789012"], "Actions": ["SendMessage"]}),
        ("SetQueueAttributes", {"Attributes": {"DelaySeconds": "0"}}),
        ("TagQueue", {"Tags": {"a": "b"}}),
        ("UntagQueue", {"TagKeys": ["a"]}),
        ("PurgeQueue", {}),
        ("DeleteQueue", {}),
    ],
)
def test_void(shared: str, queue: str, action: str, params: dict[str, Any]) -> None:
    answer = ask_json(shared, action, {"QueueUrl": queue, **params})
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


@rule("void actions on messages answer 200 with an empty body in JSON")
def test_void_on_messages(shared: str, queue: str) -> None:
    ask_json(shared, "SendMessage", {"QueueUrl": queue, "MessageBody": "x"})
    [message] = ask_json(shared, "ReceiveMessage", {"QueueUrl": queue}).json["Messages"]
    one = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]}
    for action, more in [("ChangeMessageVisibility", {"VisibilityTimeout": 5}), ("DeleteMessage", {})]:
        answer = ask_json(shared, action, {**one, **more})
        assert (answer.status, answer.body) == (200, b"")


@rule("what would be an empty list or map is left out of a response")
def test_empty_is_absent(shared: str, queue: str) -> None:
    assert ask_json(shared, "ReceiveMessage", {"QueueUrl": queue}).json == {}
    assert ask_json(shared, "ListQueueTags", {"QueueUrl": queue}).json == {}
    assert ask_json(shared, "GetQueueAttributes", {"QueueUrl": queue}).json == {}
    assert ask_json(shared, "ListQueues", {"QueueNamePrefix": "nobody-has-this"}).json == {}


@rule("ListDeadLetterSourceQueues has queueUrls, with a small q, even if there are none")
def test_dead_letter_sources(shared: str, queue: str) -> None:
    assert ask_json(shared, "ListDeadLetterSourceQueues", {"QueueUrl": queue}).json == {"queueUrls": []}


@rule("ListQueues has QueueUrls, with a capital Q")
def test_list_queues(shared: str, queue: str) -> None:
    name = queue.rpartition("/")[2]
    assert ask_json(shared, "ListQueues", {"QueueNamePrefix": name}).json == {"QueueUrls": [queue]}


@rule("CreateQueue takes tags with a small t, TagQueue takes Tags with a capital T")
def test_tags(shared: str, queue: str) -> None:
    name = queue.rpartition("/")[2] + "-t"
    url = ask_json(shared, "CreateQueue", {"QueueName": name, "tags": {"a": "1"}, "Tags": {"x": "x"}}).json["QueueUrl"]
    ask_json(shared, "TagQueue", {"QueueUrl": url, "Tags": {"b": "2"}, "tags": {"y": "y"}})
    assert ask_json(shared, "ListQueueTags", {"QueueUrl": url}).json == {"Tags": {"a": "1", "b": "2"}}


@rule("null counts as absent, at every depth")
def test_null_is_absent(shared: str, queue: str) -> None:
    message = {"QueueUrl": queue, "MessageBody": "x", "DelaySeconds": None, "MessageAttributes": {"a": None}}
    assert "MD5OfMessageAttributes" not in ask_json(shared, "SendMessage", message).json
    assert ask_json(shared, "UntagQueue", {"QueueUrl": queue, "TagKeys": ["a", None]}).status == 200


@rule("members that the model does not know are ignored")
def test_unknown_members(shared: str) -> None:
    assert ask_json(shared, "ListQueues", {"Anything": [1]}).status == 200


@rule("an empty body counts as an empty object")
def test_empty_body(shared: str) -> None:
    assert ask_json(shared, "ListQueues", "").status == 200


@rule("blobs are base64, both ways")
def test_blobs(shared: str, queue: str) -> None:
    value = {"DataType": "Binary", "BinaryValue": base64.b64encode(b"\0\xff").decode()}
    ask_json(shared, "SendMessage", {"QueueUrl": queue, "MessageBody": "x", "MessageAttributes": {"a": value}})
    answer = ask_json(shared, "ReceiveMessage", {"QueueUrl": queue, "MessageAttributeNames": ["All"]})
    assert answer.json["Messages"][0]["MessageAttributes"] == {"a": value}


@rule("an error has its shape, its text, its status and x-amzn-query-error")
def test_error(shared: str) -> None:
    answer = ask_json(shared, "PurgeQueue", {"QueueUrl": f"{shared}/000000000000/none"})
    code = "AWS.SimpleQueueService.NonExistentQueue"
    text = refused(answer, 400, "com.amazonaws.sqs#QueueDoesNotExist", code)
    assert text == "The specified queue does not exist."


@rule("x-amzn-query-error comes with and without x-amzn-query-mode")
def test_query_mode(shared: str) -> None:
    for headers in ({}, {"x-amzn-query-mode": "true"}):
        assert "x-amzn-query-error" in ask_json(shared, "PurgeQueue", {}, **headers).headers


@rule("errors that the model does not know are of com.amazon.coral.service")
def test_unmodelled_error(shared: str, queue: str) -> None:
    answer = ask_json(shared, "SendMessage", {"QueueUrl": queue})
    text = refused(answer, 400, "com.amazon.coral.service#MissingRequiredParameterException", "MissingParameter")
    assert text == "The request must contain the parameter MessageBody."


@rule("ReceiptHandleIsInvalid is a 404")
def test_invalid_handle(shared: str, queue: str) -> None:
    answer = ask_json(shared, "DeleteMessage", {"QueueUrl": queue, "ReceiptHandle": "x"})
    refused(answer, 404, "com.amazonaws.sqs#ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid")


@rule("ResourceNotFoundException is a 404")
def test_resource_not_found(shared: str) -> None:
    arn = "arn:aws:sqs:us-east-1:000000000000:none"
    answer = ask_json(shared, "StartMessageMoveTask", {"SourceArn": arn})
    refused(answer, 404, "com.amazonaws.sqs#ResourceNotFoundException", "ResourceNotFoundException")


@rule("PurgeQueueInProgress is a 403")
def test_purge_in_progress(shared: str, queue: str) -> None:
    ask_json(shared, "PurgeQueue", {"QueueUrl": queue})
    answer = ask_json(shared, "PurgeQueue", {"QueueUrl": queue})
    code = "AWS.SimpleQueueService.PurgeQueueInProgress"
    refused(answer, 403, "com.amazonaws.sqs#PurgeQueueInProgress", code)


@rule("an unknown action is UnknownOperationException")
def test_unknown_action(shared: str) -> None:
    answer = ask_json(shared, "NoSuchAction")
    text = refused(answer, 400, "com.amazon.coral.service#UnknownOperationException", "InvalidAction")
    assert text == "The action NoSuchAction is not valid for this endpoint."


SERIALIZATION = [
    ("a list for the whole", "[]", "Start of list found where not expected"),
    ("a text for an integer", {"MaxNumberOfMessages": "1"}, "STRING_VALUE can not be converted to an Integer"),
    ("a fraction for an integer", {"MaxNumberOfMessages": 1.5}, "DECIMAL_VALUE can not be converted to an Integer"),
    ("true for an integer", {"MaxNumberOfMessages": True}, "TRUE_VALUE can not be converted to an Integer"),
    ("a number for a text", {"ReceiveRequestAttemptId": 1}, "NUMBER_VALUE can not be converted to a String"),
    ("an object for a text", {"QueueUrl": {}}, "Start of structure or map found where not expected."),
    ("a list for a text", {"QueueUrl": []}, "Start of list found where not expected"),
    ("a text for a list", {"AttributeNames": "All"}, "Unrecognized collection type class java.lang.String"),
]


@rule("what has another type than the model says is a SerializationException with the text of its kind")
@pytest.mark.parametrize(
    ("params", "text"), [each[1:] for each in SERIALIZATION], ids=[each[0] for each in SERIALIZATION]
)
def test_serialization(shared: str, params: Any, text: str) -> None:
    answer = ask_json(shared, "ReceiveMessage", params)
    assert refused(answer, 400, "com.amazon.coral.service#SerializationException", "MalformedInput") == text


@rule("what is no JSON object in UTF-8 is a SerializationException")
@pytest.mark.parametrize(
    "body",
    ["{", "nonsense", '{"a": NaN}', '{"a": Infinity}', b'{"a": "\xff"}', "[" * 100_000, '{"a":' * 50_000,
     '{"MaxNumberOfMessages": ' + "9" * 5000 + "}", '{"MaxNumberOfMessages": 1e999}', b"\xef\xbb\xbf{}", "1", '"x"',
     '{"QueueUrl": "\\ud800"}', '{"MaxNumberOfMessages": 9223372036854775808}'],
    ids=range(14),
)  # fmt: skip
def test_no_json(shared: str, body: Any) -> None:
    answer = ask_json(shared, "ReceiveMessage", body)
    refused(answer, 400, "com.amazon.coral.service#SerializationException", "MalformedInput")


@rule("a binary value that is no base64 is a SerializationException")
def test_no_base64(shared: str, queue: str) -> None:
    value = {"DataType": "Binary", "BinaryValue": "!"}
    params = {"QueueUrl": queue, "MessageBody": "x", "MessageAttributes": {"a": value}}
    refused(
        ask_json(shared, "SendMessage", params),
        400,
        "com.amazon.coral.service#SerializationException",
        "MalformedInput",
    )


@rule("the wire is checked before the queue, the queue before the other parameters")
def test_order_of_checks(shared: str, queue: str) -> None:
    none = f"{shared}/000000000000/none"
    for params, shape in [
        ({"QueueUrl": none, "WaitTimeSeconds": "x"}, "SerializationException"),
        ({"QueueUrl": none, "WaitTimeSeconds": 99}, "QueueDoesNotExist"),
        ({"WaitTimeSeconds": 99}, "QueueDoesNotExist"),
        ({"QueueUrl": queue, "WaitTimeSeconds": 99}, "InvalidParameterValueException"),
    ]:
        assert ask_json(shared, "ReceiveMessage", params).json["__type"].partition("#")[2] == shape


@rule("half of a surrogate pair in a body is InvalidMessageContents")
def test_surrogates(shared: str, queue: str) -> None:
    answer = ask_json(shared, "SendMessage", {"QueueUrl": queue, "MessageBody": "\ud800"})
    refused(answer, 400, "com.amazonaws.sqs#InvalidMessageContents", "InvalidMessageContents")


@rule("bodies of 8 MiB are taken")
def test_large_body(shared: str, queue: str) -> None:
    padded = json.dumps({"QueueUrl": queue, "MessageBody": "x" * 1024 * 1024})
    answer = ask_json(shared, "SendMessage", padded + " " * (8 * 1024 * 1024 - len(padded)))
    assert answer.status == 200


@rule("a compressed body is refused")
def test_compressed(shared: str) -> None:
    answer = ask_json(shared, "ListQueues", b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert answer.status == 415
