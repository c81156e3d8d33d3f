"""boto3 clients that meet what they cannot read: the good messages, a ClientError if there is nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

import rqsqs
from tests.clusters import client_of
from tests.faces.sqs.conftest import Sqs


def damage(sqs: Sqs, server_url: str, record: bytes) -> str:
    url = sqs.queue()
    for body in ("bad", "good"):
        sqs.client.send_message(QueueUrl=url, MessageBody=body)
    (key,) = client_of(server_url).scan_iter(f"{sqs.prefix}:*ready")
    client_of(server_url).lset(key, 1, record)
    return url


def receive(sqs: Sqs, url: str, count: int) -> list[Any]:
    answer = sqs.client.receive_message(QueueUrl=url, MaxNumberOfMessages=count, AttributeNames=["All"])
    return [message["Body"] for message in answer.get("Messages", [])]


def test_what_cannot_be_read_is_passed_over(sqs: Sqs, server_url: str) -> None:
    url = damage(sqs, server_url, b"\xc1")
    assert receive(sqs, url, 10) == ["good"]


def test_where_there_is_nothing_else_it_is_the_servers_fault(sqs: Sqs, server_url: str) -> None:
    url = damage(sqs, server_url, b"\xc1")
    with pytest.raises(ClientError, match="is damaged") as caught:
        receive(sqs, url, 1)
    assert caught.value.response["Error"]["Code"] == "InternalError"
    assert receive(sqs, url, 1) == ["good"]


def test_a_newer_format_is_given_back(sqs: Sqs, server_url: str) -> None:
    url = damage(sqs, server_url, b"\x92\x04\xa1x")
    for _ in range(3):
        with pytest.raises(ClientError, match="format 2"):
            receive(sqs, url, 10)
    numbers = sqs.client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    assert numbers["Attributes"]["ApproximateNumberOfMessages"] == "2"


@pytest.mark.parametrize("body", [{b"\xff": 1}, {None: [{b"k": b"v"}]}, [1.5, {"a": float("nan")}]])
def test_any_body_of_the_native_face_is_shown_as_text(sqs: Sqs, server_url: str, body: Any) -> None:
    url = sqs.queue()
    with rqsqs.connect(server_url, prefix=sqs.prefix, clock=sqs.clock) as connection:
        connection.queue("q").send(body)
    (text,) = receive(sqs, url, 1)
    assert isinstance(text, str)
