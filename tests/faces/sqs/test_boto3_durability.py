"""How safe a message has to be before boto3 is answered."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("boto3")

from botocore.config import Config
from botocore.exceptions import ClientError

import rqsqs
from rqsqs import boto3
from tests.clusters import until
from tests.servers import Server

REACHED = {"reached; replicas=1"}
NOT_REACHED = {"not-reached; replicas=0", "not-reached; replicas=1"}  # how many a busy machine gets to within so short
SAFE = rqsqs.Durability(replicas=1, timeout=30, deletes=True)
STRICT = "replicas=2,timeout=0.05,deletes"
OPTIONAL = f"{STRICT},optional"


@pytest.fixture
def make(pair: tuple[Server, Server], prefix: str) -> Callable[..., Any]:
    """Makes clients of the primary."""

    def client(durability: Any = None, **options: Any) -> Any:
        made = boto3.client("sqs", endpoint_url=pair[0].url, region_name="us-east-1", **options)
        boto3.attach(made, pair[0].url, prefix=prefix, durability=durability)
        return made

    return client


def told(response: Any) -> str | None:
    header: str | None = response["ResponseMetadata"]["HTTPHeaders"].get("x-rqsqs-durability")
    return header


def count(client: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(map(int, client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))


def entries(handles: list[str], **more: Any) -> list[dict[str, Any]]:
    return [{"Id": str(n), "ReceiptHandle": handle, **more} for n, handle in enumerate(handles)]


def test_what_was_reached_is_in_a_header(make: Callable[..., Any]) -> None:
    for durability, expected in ((SAFE, REACHED), (OPTIONAL, NOT_REACHED), (None, {None})):
        client = make(durability)
        url = client.create_queue(QueueName="q")["QueueUrl"]
        assert told(client.send_message(QueueUrl=url, MessageBody="a")) in expected
        batch = [{"Id": str(n), "MessageBody": str(n)} for n in range(4)]
        assert told(client.send_message_batch(QueueUrl=url, Entries=batch)) in expected
        received = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        handles = [m["ReceiptHandle"] for m in received["Messages"]]
        assert len(handles) == 5
        change = {"QueueUrl": url, "ReceiptHandle": handles[0], "VisibilityTimeout": 60}
        assert told(client.change_message_visibility(**change)) in expected
        changes = entries(handles, VisibilityTimeout=60)
        assert told(client.change_message_visibility_batch(QueueUrl=url, Entries=changes)) in expected
        assert told(client.delete_message(QueueUrl=url, ReceiptHandle=handles[0])) in expected
        gone = client.delete_message_batch(QueueUrl=url, Entries=entries(handles[1:]))
        assert told(gone) in expected
        assert (len(gone["Successful"]), gone.get("Failed")) == (4, None)
        assert told(received) is None
        assert count(client, url) == 0


def test_the_header_counts_those_that_were_reached(make: Callable[..., Any]) -> None:
    client = make(OPTIONAL)
    url = client.create_queue(QueueName="q")["QueueUrl"]
    until(
        lambda: told(client.send_message(QueueUrl=url, MessageBody="a")) == "not-reached; replicas=1",
        "the one replica of two answers in time",
    )


def test_deletes_do_not_wait_unless_that_is_wanted(make: Callable[..., Any]) -> None:
    client = make("replicas=1,timeout=30")
    url = client.create_queue(QueueName="q")["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="a")
    (message,) = client.receive_message(QueueUrl=url)["Messages"]
    assert told(client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])) is None


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_a_send_that_is_not_safe_enough_is_a_client_error_that_nobody_repeats(
    make: Callable[..., Any], mode: str
) -> None:
    client = make(STRICT, config=Config(retries={"mode": mode, "max_attempts": 5}))
    url = client.create_queue(QueueName="q")["QueueUrl"]
    with pytest.raises(
        ClientError, match=r"the messages are stored, but within .* [01] of 2 replicas had them"
    ) as caught:
        client.send_message(QueueUrl=url, MessageBody="a")
    response: Any = caught.value.response
    assert response["Error"]["Code"] == "DurabilityNotReached"
    assert response["Error"]["Type"] == "Receiver"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["ResponseMetadata"]["RetryAttempts"] == 0
    assert told(response) in NOT_REACHED
    (message,) = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert message["MessageId"] == response["MessageId"]


def test_a_batch_that_is_not_safe_enough_tells_what_it_would_have_answered(make: Callable[..., Any]) -> None:
    """No entry has failed: those that have are sent again by many, and would be stored twice."""
    client = make(STRICT)
    url = client.create_queue(QueueName="q", Attributes={"MaximumMessageSize": "1024"})["QueueUrl"]
    batch = [{"Id": "1", "MessageBody": "a"}, {"Id": "2", "MessageBody": "b" * 2000}, {"Id": "3", "MessageBody": "c"}]
    with pytest.raises(ClientError) as caught:
        client.send_message_batch(QueueUrl=url, Entries=batch)
    response: Any = caught.value.response
    assert [entry["Id"] for entry in response["Successful"]] == ["1", "3"]
    assert [(entry["Id"], entry["Code"]) for entry in response["Failed"]] == [("2", "InvalidParameterValue")]
    assert count(client, url) == 2


def test_deletes_that_are_not_safe_enough_have_failed_and_can_be_repeated(make: Callable[..., Any]) -> None:
    client, patient = make(STRICT), make(SAFE)
    url = client.create_queue(QueueName="q")["QueueUrl"]
    for n in range(3):
        patient.send_message(QueueUrl=url, MessageBody=str(n))
    received = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    handles = [m["ReceiptHandle"] for m in received]
    with pytest.raises(ClientError, match="the messages are deleted, but") as caught:
        client.delete_message(QueueUrl=url, ReceiptHandle=handles[0])
    assert told(caught.value.response) in NOT_REACHED
    with pytest.raises(ClientError, match="the visibility is changed, but"):
        client.change_message_visibility(QueueUrl=url, ReceiptHandle=handles[1], VisibilityTimeout=60)
    for call, more in ((client.change_message_visibility_batch, {"VisibilityTimeout": 60}),
                       (client.delete_message_batch, {})):  # fmt: skip
        response = call(QueueUrl=url, Entries=entries([*handles[1:], "nonsense"], **more))
        assert told(response) in NOT_REACHED
        assert "Successful" not in response
        codes = [(failed["Id"], failed["Code"], failed["SenderFault"]) for failed in response["Failed"]]
        weak = [(n, "DurabilityNotReached", False) for n in ("0", "1")]
        assert codes == [*weak, ("2", "ReceiptHandleIsInvalid", True)]
    assert count(client, url) == 0
    response = patient.delete_message_batch(QueueUrl=url, Entries=entries(handles))
    assert told(response) in REACHED
    assert len(response["Successful"]) == 3


def test_the_environment_says_it_for_clients_resources_and_sessions(
    pair: tuple[Server, Server], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RQSQS_URL", pair[0].url)
    monkeypatch.setenv("RQSQS_DURABILITY", "replicas=1,timeout=30")
    name = f"{prefix}-q"  # here is no prefix
    session = boto3.Session(region_name="us-east-1")
    client = session.client("sqs")
    url = client.create_queue(QueueName=name)["QueueUrl"]
    with contextlib.ExitStack() as stack:
        stack.callback(client.delete_queue, QueueUrl=url)
        assert told(client.send_message(QueueUrl=url, MessageBody="a")) in REACHED
        queue: Any = session.resource("sqs").Queue(url)
        assert told(queue.send_message(MessageBody="a")) in REACHED
        boto3.attach(client, durability="aof,timeout=30")  # comes first
        assert told(client.send_message(QueueUrl=url, MessageBody="a")) == "reached; replicas=0; aof=yes"
        monkeypatch.setenv("RQSQS_DURABILITY", "nonsense")
        with pytest.raises(rqsqs.InvalidParameterValue, match="RQSQS_DURABILITY"):
            session.client("sqs")


def test_the_response_is_json_as_any_other(make: Callable[..., Any]) -> None:
    client = make(STRICT)
    url = client.create_queue(QueueName="q")["QueueUrl"]
    bodies: list[bytes] = []
    client.meta.events.register(
        "after-call.sqs.SendMessage", lambda http_response, **_: bodies.append(http_response.content)
    )
    with pytest.raises(ClientError):
        client.send_message(QueueUrl=url, MessageBody="a")
    assert json.loads(bodies[0])["__type"] == "com.amazon.coral.service#DurabilityNotReached"
