"""What boto3 sees of a gateway is what it sees of SQS."""

from __future__ import annotations

from typing import Any

import pytest

import rqsqs
from tests.gateway.conftest import client_of


def test_a_message_from_send_to_delete(client: Any) -> None:
    url = client.create_queue(QueueName="orders")["QueueUrl"]
    attributes = {
        "kind": {"DataType": "String", "StringValue": "new"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\0"},
    }
    sent = client.send_message(QueueUrl=url, MessageBody="a\r\nb ☃", MessageAttributes=attributes)
    [message] = client.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert message["MessageId"] == sent["MessageId"]
    assert message["Body"] == "a\r\nb ☃"
    assert message["MessageAttributes"] == attributes
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert "Messages" not in client.receive_message(QueueUrl=url)


def test_queue_urls_have_the_host_of_the_request(client: Any, address: str) -> None:
    assert client.create_queue(QueueName="orders")["QueueUrl"] == f"{address}/000000000000/orders"


def test_errors_are_those_of_sqs(client: Any, address: str) -> None:
    with pytest.raises(client.exceptions.QueueDoesNotExist) as caught:
        client.send_message(QueueUrl=f"{address}/000000000000/none", MessageBody="x")
    error = caught.value.response["Error"]
    assert error["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert error["QueryErrorCode"] == "QueueDoesNotExist"
    assert error["Message"] == "The specified queue does not exist."


def test_settings_that_sqs_has_not_are_neither_seen_nor_set(client: Any, valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        own = connection.create_queue("orders", metrics="full", timeline=True)
        url = client.create_queue(QueueName="orders", Attributes={"VisibilityTimeout": "30"})["QueueUrl"]
        assert not {"Metrics", "Timeline"} & (
            client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"].keys()
        )
        with pytest.raises(client.exceptions.InvalidAttributeName):
            client.set_queue_attributes(QueueUrl=url, Attributes={"Timeline": "65536"})
        for call, options in (
            (client.get_queue_attributes, {"QueueUrl": url, "AttributeNames": ["Metrics"]}),
            (client.set_queue_attributes, {"QueueUrl": url, "Attributes": {"Metrics": "basic"}}),
            (client.create_queue, {"QueueName": "other", "Attributes": {"Metrics": "full"}}),
        ):
            with pytest.raises(client.exceptions.InvalidAttributeName) as caught:
                call(**options)
            assert caught.value.response["Error"]["Message"] == "Unknown Attribute Metrics."
        assert own.info().attributes["Metrics"] == "full"
        assert own.info().attributes["Timeline"] == "1048576"
        [sent] = client.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "x"}])["Successful"]
        [got] = client.receive_message(QueueUrl=url)["Messages"]
        client.change_message_visibility(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=60)
        client.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
        kinds = [step.kind for step in own.timeline(sent["MessageId"]).steps]
        assert kinds == ["sent", "received", "visibility_changed", "deleted"]


def test_accounts_do_not_see_each_other(client: Any, address: str) -> None:
    other = client_of(address, key="123456789012")
    client.create_queue(QueueName="orders")
    assert "QueueUrls" not in other.list_queues()
    assert other.create_queue(QueueName="orders")["QueueUrl"] == f"{address}/123456789012/orders"
    other.send_message(QueueUrl="orders", MessageBody="theirs")
    assert "Messages" not in client.receive_message(QueueUrl="orders")
    [message] = other.receive_message(QueueUrl="orders", AttributeNames=["SenderId"])["Messages"]
    assert message["Attributes"] == {"SenderId": "123456789012"}


def test_sts_tells_the_caller(address: str) -> None:
    identity = client_of(address, service="sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:root"
