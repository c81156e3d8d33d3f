"""SQS clients on real servers. Every answer they get is checked against the service model of botocore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("boto3")

import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.endpoint import convert_to_response_dict
from botocore.exceptions import ClientError
from botocore.model import Shape
from botocore.parsers import create_parser

import rqsqs.boto3

SESSION = rqsqs.boto3.Session(region_name="us-east-1")
PYTHON_TYPES = {"string": str, "integer": int, "long": int, "boolean": bool, "blob": bytes}
MAY_BE_EMPTY = {"queueUrls"}
MAY_BE_ABSENT = {"Successful", "Failed"}  # required by the model, left out by SQS


class Clock:
    """The time the scripts believe in; it stands until it is moved."""

    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000
        self.transports: list[Any] = []

    def now_us(self) -> int:
        return self.us

    def watch(self, transport: Any) -> None:
        self.transports.append(transport)

    def advance(self, seconds: float) -> None:
        """Move on, and let those who wait look again."""
        self.us += round(seconds * 1_000_000)
        for transport in self.transports:
            transport.wake_waiters()


@dataclass
class Sqs:
    """A client, and what tests do with it again and again."""

    client: Any
    url: str
    prefix: str
    clock: Clock | None = None
    names: list[str] = field(default_factory=list)

    def queue(self, name: str = "q", **attributes: str) -> str:
        """Create a queue and return its URL."""
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
        url: str = self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def arn(self, url: str) -> str:
        return self.attributes(url, "QueueArn")["QueueArn"]

    def attributes(self, url: str, *names: str) -> dict[str, str]:
        """Attributes of a queue; all if none are named."""
        got = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=names or ("All",))
        return got.get("Attributes", {})

    def counts(self, url: str) -> tuple[int, int, int]:
        """Messages visible, in flight, delayed."""
        got = self.attributes(url)
        names = ("", "NotVisible", "Delayed")
        visible, in_flight, delayed = (int(got[f"ApproximateNumberOfMessages{name}"]) for name in names)
        return visible, in_flight, delayed

    def send(self, url: str, body: str = "hello", group: str | None = None, **more: Any) -> dict[str, Any]:
        if group is not None:
            more["MessageGroupId"] = group
        return self.client.send_message(QueueUrl=url, MessageBody=body, **more)

    def receive(self, url: str, count: int = 10, **more: Any) -> list[dict[str, Any]]:
        more.setdefault("MessageSystemAttributeNames", ["All"])
        more.setdefault("MessageAttributeNames", ["All"])
        got = self.client.receive_message(QueueUrl=url, MaxNumberOfMessages=count, **more)
        return got.get("Messages", [])

    def bodies(self, url: str, count: int = 10, **more: Any) -> list[str]:
        return [message["Body"] for message in self.receive(url, count, **more)]

    def delete(self, url: str, message: dict[str, Any]) -> None:
        self.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def hide(self, url: str, message: dict[str, Any], seconds: int) -> None:
        self.client.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds
        )

    def dead_letter(self, source: str, dlq: str, count: int = 1) -> None:
        """Make `dlq` the dead-letter queue of `source`."""
        policy = f'{{"deadLetterTargetArn":"{self.arn(dlq)}","maxReceiveCount":{count}}}'
        self.client.set_queue_attributes(QueueUrl=source, Attributes={"RedrivePolicy": policy})

    def wait(self, seconds: float) -> None:
        assert self.clock is not None
        self.clock.advance(seconds)

    @contextmanager
    def refused(self, code: str, text: str | None = None, shape: str | None = None, status: int = 400) -> Iterator[Any]:
        """Expect an error with exactly these parts; the shape is the code's last part unless said."""
        shape = shape or {
            "InvalidParameterValue": "InvalidParameterValueException",
            "MissingParameter": "MissingRequiredParameterException",
        }.get(code, code.rpartition(".")[2])
        with pytest.raises(ClientError) as caught:
            yield caught
        response = caught.value.response
        assert response["Error"]["Code"] == code
        if text is not None:
            assert response["Error"]["Message"] == text
        assert response["Error"]["QueryErrorCode"] == shape
        assert response["Error"]["Type"] == "Sender"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status
        is_modelled = hasattr(self.client.exceptions, shape)
        assert ("message" in response) == (is_modelled and code == shape)
        expected = getattr(self.client.exceptions, shape) if is_modelled else ClientError
        assert type(caught.value) is expected
        assert str(caught.value).startswith(f"An error occurred ({code}) when calling the ")

    def no_queue(self) -> Any:
        return self.refused(
            "AWS.SimpleQueueService.NonExistentQueue",
            "The specified queue does not exist.",
            shape="QueueDoesNotExist",
        )

    def invalid(self, text: str | None = None) -> Any:
        return self.refused("InvalidParameterValue", text)

    def missing(self, parameter: str) -> Any:
        return self.refused("MissingParameter", f"The request must contain the parameter {parameter}.")


def check_shape(shape: Shape, value: Any, path: str) -> None:
    """Assert that a value has exactly the form that the service model gives it."""
    if shape.type_name == "structure":
        assert isinstance(value, dict), path
        unknown = value.keys() - shape.members.keys()
        assert not unknown, f"{path}: unknown members {unknown}"
        for name in set(shape.required_members) - MAY_BE_ABSENT:
            assert name in value, f"{path}.{name} is missing"
        for name, member in value.items():
            check_shape(shape.members[name], member, f"{path}.{name}")
            assert member not in ([], {}) or name in MAY_BE_EMPTY, f"{path}.{name} is empty"
    elif shape.type_name == "list":
        assert isinstance(value, list), path
        for i, item in enumerate(value):
            check_shape(shape.member, item, f"{path}[{i}]")
    elif shape.type_name == "map":
        assert isinstance(value, dict), path
        for key, item in value.items():
            check_shape(shape.key, key, f"{path} key")
            check_shape(shape.value, item, f"{path}[{key}]")
    else:
        assert type(value) is PYTHON_TYPES[shape.type_name], f"{path}: {value!r} is no {shape.type_name}"


def parsed_by_botocore(http_response: Any, model: Any) -> dict[str, Any]:
    """What botocore makes of an HTTP response."""
    response = convert_to_response_dict(http_response, model)
    parser = create_parser("json")
    parsed = parser.parse(response, model.output_shape)
    if http_response.status_code >= 300:
        shape = model.service_model.shape_for_error_code(parsed["Error"]["Code"])
        parsed.update(parser.parse(response, shape) if shape is not None else {})
    parsed["ResponseMetadata"]["RetryAttempts"] = 0
    return parsed


def check_response(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Handler of after-call."""
    same = parsed_by_botocore(http_response, model)
    assert parsed == same
    assert list(parsed) == list(same)  # printed in the same order
    metadata = parsed["ResponseMetadata"]
    assert metadata.keys() == {"RequestId", "HTTPStatusCode", "HTTPHeaders", "RetryAttempts"}
    assert metadata["HTTPHeaders"]["x-amzn-requestid"] == metadata["RequestId"]
    content = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
    if metadata["HTTPStatusCode"] >= 300:
        assert content.keys() <= {"Error", "message"}
    elif model.output_shape is None:
        assert content == {}
    else:
        check_shape(model.output_shape, content, model.name)


@pytest.fixture(scope="package", autouse=True)
def models_are_read_once() -> Iterator[None]:
    """Each session of botocore reads its models anew: half of the time that it takes to make a client."""
    known: dict[str | None, dict[Any, Any]] = {}

    def create_loader(search_path: str | None = None) -> Any:
        loader = botocore.loaders.create_loader(search_path)
        loader._cache = known.setdefault(search_path, loader._cache)
        return loader

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", create_loader)
        yield


@pytest.fixture
def make_sqs(server_url: str, prefix: str) -> Callable[..., Sqs]:
    """Make clients on the same queues; `clock` moves the time that scripts believe in."""

    def make(clock: Clock | None = None, config: Config | None = None, **more: Any) -> Sqs:
        client = SESSION.client("sqs", endpoint_url=server_url, config=config)
        rqsqs.boto3.attach(client, server_url, prefix=prefix, clock=clock, **more)
        client.meta.events.register_first("after-call.sqs.*", check_response)
        return Sqs(client, server_url, prefix, clock)

    return make


@pytest.fixture
def sqs(make_sqs: Callable[..., Sqs]) -> Sqs:
    """A client under a clock that stands still until `wait` moves it."""
    return make_sqs(Clock())


@pytest.fixture
def live(make_sqs: Callable[..., Sqs]) -> Sqs:
    """A client under the server's own clock."""
    return make_sqs()
