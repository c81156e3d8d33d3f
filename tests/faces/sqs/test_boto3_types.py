"""Types of parameters: what botocore lets through is refused as SQS refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config

from .conftest import Sqs

pytestmark = pytest.mark.either_server  # the subject is the client

WRONG_TYPES = [
    ({"MessageBody": 5}, "NUMBER_VALUE can not be converted to a String"),
    ({"MessageBody": True}, "TRUE_VALUE can not be converted to a String"),
    ({"MessageBody": ["x"]}, "Start of list found where not expected"),
    ({"MessageBody": {"a": 1}}, "Start of structure or map found where not expected."),
    ({"DelaySeconds": "1"}, "STRING_VALUE can not be converted to an Integer"),
    ({"DelaySeconds": 1.5}, "DECIMAL_VALUE can not be converted to an Integer"),
    ({"DelaySeconds": False}, "FALSE_VALUE can not be converted to an Integer"),
    ({"QueueUrl": 5}, "NUMBER_VALUE can not be converted to a String"),
    ({"MessageAttributes": {"a": {"DataType": 5}}}, "NUMBER_VALUE can not be converted to a String"),
]


@pytest.mark.parametrize(("wrong", "text"), WRONG_TYPES)
def test_wrong_types_are_refused_where_botocore_does_not_look(
    sqs: Sqs, make_sqs: Callable[..., Sqs], wrong: dict[str, Any], text: str
) -> None:
    url = sqs.queue()
    careless = make_sqs(config=Config(parameter_validation=False))
    with careless.refused("MalformedInput", text, shape="SerializationException"):
        careless.client.send_message(**{"QueueUrl": url, "MessageBody": "x", **wrong})
    entry = {"Id": "1", "MessageBody": "x", **{name: value for name, value in wrong.items() if name != "QueueUrl"}}
    if "QueueUrl" not in wrong:
        with careless.refused("MalformedInput", text, shape="SerializationException"):
            careless.client.send_message_batch(QueueUrl=url, Entries=[entry])
    assert sqs.counts(url) == (0, 0, 0)


def test_what_botocore_does_not_look_at_is_read_as_a_server_reads_it(sqs: Sqs, make_sqs: Callable[..., Sqs]) -> None:
    url = sqs.queue()
    careless = make_sqs(config=Config(parameter_validation=False))
    with careless.missing("MessageBody"):
        careless.client.send_message(QueueUrl=url, MessageBody=None)
    with careless.no_queue():
        careless.client.purge_queue()
    blob = {"DataType": "Binary", "BinaryValue": bytearray(b"\x00\xff")}
    careless.send(url, "a", DelaySeconds=None, MessageAttributes={"b": blob})
    (message,) = careless.receive(url, AttributeNames=("All",))
    assert (message["Body"], message["MessageAttributes"]["b"]["BinaryValue"]) == ("a", b"\x00\xff")
    with careless.refused("MalformedInput", "NUMBER_VALUE can not be converted to a String", "SerializationException"):
        careless.client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": 30})
    with careless.refused("MalformedInput", shape="SerializationException"):
        careless.client.receive_message(QueueUrl=url, MaxNumberOfMessages="1")
    careless.delete(url, message)
    assert sqs.counts(url) == (0, 0, 0)


def test_true_is_no_number_though_botocore_lets_it_pass(sqs: Sqs) -> None:
    url = sqs.queue()
    with sqs.refused("MalformedInput", "TRUE_VALUE can not be converted to an Integer", "SerializationException"):
        sqs.send(url, DelaySeconds=True)
    with sqs.refused("MalformedInput", "FALSE_VALUE can not be converted to an Integer", "SerializationException"):
        sqs.receive(url, WaitTimeSeconds=False)
    assert sqs.counts(url) == (0, 0, 0)
