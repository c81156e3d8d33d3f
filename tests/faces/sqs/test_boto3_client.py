"""The drop-in as a client of boto3: where it goes, hooks, Stubber, resources, errors, threads, processes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import boto3 as plain_boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from botocore.stub import ANY, Stubber

import rqsqs.boto3
from rqsqs import errors
from rqsqs._io.tuning import RETRY_AFTER_S
from rqsqs.boto3.clients import server_url
from rqsqs.boto3.error_mapping import as_botocore_error
from rqsqs.limits import NATIVE
from tests.servers import Server, free_port

pytestmark = pytest.mark.either_server  # the subject is the client


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Neither credentials nor a region nor an endpoint are configured."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "RQSQS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr(rqsqs.boto3, "DEFAULT_SESSION", None)


@pytest.fixture
def no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for credentials fails."""

    def fail(*_: object) -> None:
        raise AssertionError("credentials were looked for")

    monkeypatch.setattr("botocore.credentials.CredentialResolver.load_credentials", fail)


# The module


def test_the_module_offers_what_boto3_offers() -> None:
    from rqsqs import boto3

    missing = [name for name in vars(plain_boto3) if not name.startswith("_") and not hasattr(boto3, name)]
    assert missing == []
    assert boto3.__version__ == plain_boto3.__version__
    assert boto3.exceptions is plain_boto3.exceptions
    assert issubclass(boto3.Session, plain_boto3.Session)
    assert boto3.session.Session is boto3.Session
    assert {"client", "exceptions", "attach", "NullHandler"} <= set(dir(boto3))
    with pytest.raises(AttributeError):
        _ = boto3.nonsense


def test_the_default_session_is_made_when_needed_and_can_be_set_up() -> None:
    from rqsqs import boto3

    assert boto3.DEFAULT_SESSION is None
    assert boto3.client("sqs").meta.region_name == "us-east-1"
    assert isinstance(boto3.DEFAULT_SESSION, boto3.Session)
    boto3.setup_default_session(region_name="eu-west-1")
    assert boto3.client("sqs").meta.region_name == "eu-west-1"
    assert plain_boto3.DEFAULT_SESSION is not boto3.DEFAULT_SESSION


def test_importing_rqsqs_does_not_import_boto3() -> None:
    code = "import rqsqs, rqsqs.sqs, sys; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_boto3_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['boto3'] = None\nfrom rqsqs import boto3"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'rqsqs[boto3]'" in done.stderr


def test_other_services_pass_through() -> None:
    client = rqsqs.boto3.client("s3", region_name="eu-west-1")
    assert client.meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
    with pytest.raises(NoCredentialsError):
        client.list_buckets()


# Where a client goes


def test_the_order_of_server_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_url() == "redis://localhost:6379/0"
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://localhost:4566")
    assert server_url() == "redis://localhost:6379/0"
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "rediss://b/1")
    assert server_url() == "rediss://b/1"
    monkeypatch.setenv("RQSQS_URL", "redis://c/2")
    assert server_url() == "redis://c/2"
    for url in ("redis://d", "rediss://d", "unix:///run/d", "embedded://"):
        assert server_url(url) == url
    assert server_url("https://sqs.eu-west-1.amazonaws.com") is None


def test_a_url_of_another_kind_makes_a_plain_client() -> None:
    client = rqsqs.boto3.client("sqs", endpoint_url="http://localhost:1", region_name="us-east-1")
    assert client.meta.endpoint_url == "http://localhost:1"
    with pytest.raises(NoCredentialsError):
        client.list_queues()


@pytest.mark.usefixtures("no_lookup")
def test_neither_credentials_nor_region_are_needed(valkey_url: str, prefix: str) -> None:
    client = rqsqs.boto3.client("sqs", endpoint_url=valkey_url)
    assert (client.meta.region_name, client.meta.endpoint_url) == ("us-east-1", "https://sqs.us-east-1.amazonaws.com")
    url = client.create_queue(QueueName=prefix)["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="x")
    assert client.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "x"
    client.delete_queue(QueueUrl=url)


def test_what_is_configured_is_respected(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "config").write_text("[profile work]\nregion = eu-north-1\n")
    monkeypatch.setenv("RQSQS_URL", valkey_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    assert rqsqs.boto3.Session(profile_name="work").client("sqs").meta.region_name == "eu-north-1"
    assert rqsqs.boto3.client("sqs", config=Config(region_name="ap-south-1")).meta.region_name == "ap-south-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ACCOUNT_ID", "123456789012")
    client = rqsqs.boto3.client("sqs", config=Config(user_agent_extra="mine"))
    assert client.meta.config.user_agent_extra == "mine"
    url = client.create_queue(QueueName=prefix)["QueueUrl"]
    assert url == f"https://sqs.us-west-2.amazonaws.com/123456789012/{prefix}"
    arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert arn == f"arn:aws:sqs:us-west-2:123456789012:{prefix}"
    client.delete_queue(QueueUrl=url)
    with pytest.raises(PartialCredentialsError):
        rqsqs.boto3.client("sqs", aws_access_key_id="only half")


@pytest.mark.skipif(
    "aws_account_id" not in inspect.signature(plain_boto3.Session).parameters, reason="boto3 is older than that"
)
def test_the_account_can_be_given_to_client_or_session(valkey_url: str, prefix: str) -> None:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    session = rqsqs.boto3.Session(**keys, aws_account_id="222222222222")
    for client, account in (
        (rqsqs.boto3.client("sqs", endpoint_url=valkey_url, aws_account_id="111111111111"), "111111111111"),
        (session.client("sqs", endpoint_url=valkey_url), "222222222222"),
    ):
        url = client.create_queue(QueueName=prefix)["QueueUrl"]
        assert url == f"https://sqs.us-east-1.amazonaws.com/{account}/{prefix}"
    client.delete_queue(QueueUrl=url)


def test_clients_are_created_with_positional_arguments_too(valkey_url: str) -> None:
    session = rqsqs.boto3.Session()
    client = session.client("sqs", "eu-west-1", None, True, None, valkey_url)
    assert client.meta.region_name == "eu-west-1"
    assert "QueueUrls" not in client.list_queues(QueueNamePrefix="none-of-these")
    with pytest.raises(TypeError):
        session.client("sqs", nonsense=1)


def test_native_limits_can_be_chosen(make_sqs: Any) -> None:
    sqs = make_sqs(limits=NATIVE)
    url = sqs.queue("q")
    sqs.send(url, "next year", DelaySeconds=365 * 86_400)
    batch = [{"Id": str(i), "MessageBody": "x"} for i in range(100)]
    assert len(sqs.client.send_message_batch(QueueUrl=url, Entries=batch)["Successful"]) == 100
    assert len(sqs.receive(url, 100)) == 100
    assert sqs.counts(url) == (0, 100, 1)


# What botocore does is botocore's


def test_parameters_are_validated_by_botocore(sqs: Any) -> None:
    with pytest.raises(ParamValidationError, match='Missing required parameter in input: "MessageBody"'):
        sqs.client.send_message(QueueUrl="q")
    with pytest.raises(ParamValidationError, match='Unknown parameter in input: "Nonsense"'):
        sqs.client.receive_message(QueueUrl="q", Nonsense=1)
    with pytest.raises(ParamValidationError, match="Invalid type for parameter DelaySeconds"):
        sqs.client.send_message(QueueUrl="q", MessageBody="x", DelaySeconds="1")


def test_members_of_enumerations_are_the_text_they_stand_for(sqs: Any) -> None:
    class Word(str, Enum):  # noqa: UP042 - unlike those of StrEnum its members have another str()
        ALL = "All"
        NAME = "q"
        TIMEOUT = "VisibilityTimeout"
        SECONDS = "33"
        TYPE = "String"

    url = sqs.client.create_queue(QueueName=Word.NAME, Attributes={Word.TIMEOUT: Word.SECONDS})["QueueUrl"]
    assert url == sqs.client.get_queue_url(QueueName="q")["QueueUrl"]
    assert sqs.attributes(url, Word.TIMEOUT) == {"VisibilityTimeout": "33"}
    attribute = {"DataType": Word.TYPE, "StringValue": Word.NAME}
    sqs.send(url, Word.NAME, MessageAttributes={Word.NAME: attribute}, MessageGroupId=Word.NAME)
    [message] = sqs.receive(url, MessageAttributeNames=[Word.ALL])
    assert message["Body"] == "q"
    assert message["MD5OfBody"] == hashlib.md5(b"q").hexdigest()
    assert message["MessageAttributes"] == {"q": {"DataType": "String", "StringValue": "q"}}
    assert message["Attributes"]["MessageGroupId"] == "q"


def test_response_metadata(sqs: Any) -> None:
    first, second = sqs.client.list_queues(), sqs.client.list_queues()
    metadata = first["ResponseMetadata"]
    assert (metadata["HTTPStatusCode"], metadata["RetryAttempts"]) == (200, 0)
    assert metadata["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.0"
    assert metadata["RequestId"] != second["ResponseMetadata"]["RequestId"]


def request_errors(cls: type[errors.RequestError] = errors.RequestError) -> list[type[errors.RequestError]]:
    return [cls, *(each for sub in cls.__subclasses__() for each in request_errors(sub))]


class RunsNothing:
    """A transport whose flows ask for nothing."""

    space = SimpleNamespace()

    def __init__(self, *_: object, **__: object) -> None:
        self.link = self

    def run(self, flow: Any) -> Any:
        return next(flow)


class _Wire(ThreadingHTTPServer):
    """Answers every request with the response that was set last."""

    answer: tuple[int, Mapping[str, str], bytes] = (200, {}, b"")

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = self.server.answer  # type: ignore[attr-defined]
            self.send_response_only(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self._Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def wire() -> Iterator[_Wire]:
    with _Wire() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def in_process_and_over_http(wire: _Wire) -> tuple[Any, Any]:
    """A client that Redis would answer, and a plain one of boto3."""
    ours = rqsqs.boto3.client("sqs", endpoint_url="redis://127.0.0.1:1")
    plain = plain_boto3.client(
        "sqs",
        endpoint_url=f"http://127.0.0.1:{wire.server_port}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    plain.meta.events.unregister("needs-retry.sqs", unique_id="retry-config-sqs")

    def pass_on(http_response: Any, **_: Any) -> None:
        wire.answer = http_response.status_code, http_response.headers, http_response.content

    ours.meta.events.register("after-call", pass_on)
    return ours, plain


@pytest.mark.parametrize("cls", request_errors(), ids=lambda cls: cls.__name__)
def test_errors_are_those_that_boto3_makes_of_an_answer_over_http(
    cls: type[errors.RequestError], in_process_and_over_http: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise cls("a text")
        yield

    monkeypatch.setattr("rqsqs.boto3.in_process.perform", refuse)
    monkeypatch.setattr("rqsqs.boto3.in_process.Transport", RunsNothing)
    ours, plain = in_process_and_over_http
    with pytest.raises(ClientError) as in_process:
        ours.receive_message(QueueUrl="q")
    with pytest.raises(ClientError) as over_http:
        plain.receive_message(QueueUrl="q")
    theirs = over_http.value.response
    del theirs["ResponseMetadata"]["HTTPHeaders"]["content-length"]
    assert in_process.value.response == theirs
    assert list(in_process.value.response) == list(theirs)
    assert str(in_process.value) == str(over_http.value)
    assert type(in_process.value).__name__ == type(over_http.value).__name__


def test_events_see_and_change_requests_and_responses(sqs: Any) -> None:
    url = sqs.queue("q")
    events, seen = sqs.client.meta.events, []

    def provide(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**params, "MessageBody": params["MessageBody"] + "1"}

    def build(params: dict[str, Any], **_: Any) -> None:
        params["MessageBody"] += "2"

    def before(params: dict[str, Any], **_: Any) -> None:
        seen.append(json.loads(params["body"])["MessageBody"])
        seen.append(params["headers"]["User-Agent"].split("/")[0])

    def after(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        seen.append(model.name)
        assert http_response.status_code == 200
        assert json.loads(http_response.text)["MessageId"] == parsed["MessageId"]
        parsed["Mine"] = True

    events.register("provide-client-params.sqs.SendMessage", provide)
    events.register("before-parameter-build.sqs.SendMessage", build)
    events.register("before-call.sqs.SendMessage", before)
    events.register("after-call.sqs.SendMessage", after)
    assert sqs.send(url, "0")["Mine"] is True
    assert seen == ["012", "Boto3", "SendMessage"]
    assert sqs.bodies(url) == ["012"]


@pytest.mark.parametrize("event", ["before-call", "before-call.sqs", "before-call.sqs.ListQueues", "before-call.*.*"])
def test_a_handler_of_the_user_answers_first(sqs: Any, event: str) -> None:
    class Http:
        status_code = 200

    sqs.client.meta.events.unregister("after-call.sqs.*")
    client = rqsqs.boto3.client("sqs", endpoint_url=sqs.url)
    client.meta.events.register(event, lambda **_: (Http(), {"mine": True}))
    assert client.list_queues() == {"mine": True}


def test_stubber(sqs: Any) -> None:
    client = rqsqs.boto3.client("sqs", endpoint_url=sqs.url)
    with Stubber(client) as stub:
        stub.add_response("send_message", {"MessageId": "stubbed"}, {"QueueUrl": "q", "MessageBody": ANY})
        stub.add_client_error("receive_message", "OverLimit", "too much", 403)
        assert client.send_message(QueueUrl="q", MessageBody="x") == {"MessageId": "stubbed"}
        with pytest.raises(client.exceptions.OverLimit):
            client.receive_message(QueueUrl="q")
        stub.assert_no_pending_responses()
    assert "ResponseMetadata" in client.list_queues()


def test_presigned_urls_can_be_made(sqs: Any) -> None:
    url = sqs.client.generate_presigned_url("list_queues")
    assert url.startswith("https://sqs.us-east-1.amazonaws.com/")


def test_user_agent_and_endpoint_are_those_of_boto3(valkey_url: str) -> None:
    config = Config(user_agent_extra="extra/1", user_agent_appid="app")
    seen: dict[str, list[dict[str, Any]]] = {"plain": [], "ours": []}
    for name, module, more in (
        ("plain", plain_boto3, {"aws_access_key_id": "a", "aws_secret_access_key": "b"}),
        ("ours", rqsqs.boto3, {"endpoint_url": valkey_url}),
    ):
        client = module.client("sqs", region_name="eu-west-1", config=config, **more)

        class Http:
            status_code = 200

        def before(params: dict[str, Any], name: str = name, **_: Any) -> Any:
            seen[name].append({key: params[key] for key in ("url", "method", "body", "headers")})
            return Http(), {}

        client.meta.events.register("before-call.sqs", before)
        for _ in range(2):
            client.list_queues(MaxResults=3)
            client.get_queue_url(QueueName="x")
            list(client.get_paginator("list_queues").paginate())
    assert seen["ours"] == seen["plain"]


def serialised(client: Any, params: dict[str, Any], model: Any) -> Any:
    """A request as botocore makes it before its events, or what it says against the parameters."""
    try:
        request = client._serializer.serialize_to_request(params, model)
    except ParamValidationError as error:
        return str(error)
    seen = {**request, "headers": dict(request["headers"])}
    request["headers"]["User-Agent"] = "of this request"
    return seen


def test_requests_are_those_of_boto3(valkey_url: str) -> None:
    """Each of them twice, since what it has in common with the first one is remembered."""
    plain = plain_boto3.client("sqs", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    ours = rqsqs.boto3.client("sqs", region_name="eu-west-1", endpoint_url=valkey_url)
    values = {"string": "x", "integer": 7, "map": {}, "list": []}
    for operation in plain.meta.method_to_api_mapping.values():
        model = plain.meta.service_model.operation_model(operation)
        all_of_them = {name: values[shape.type_name] for name, shape in model.input_shape.members.items()}
        needed = {name: all_of_them[name] for name in model.input_shape.required_members}
        plain_ones = {name: value for name, value in all_of_them.items() if isinstance(value, str | int)}
        odd = [{**all_of_them, name: value} for name in all_of_them for value in (None, 1.5, b"x", "\ud800", -1, True)]
        for params in [needed, plain_ones, all_of_them, {**needed, "QueueUrl": "é"}, *odd, {**needed, "Mine": "x"}] * 2:
            assert serialised(ours, params, model) == serialised(plain, params, model), (operation, params)


# Resources


def test_resources(sqs: Any) -> None:
    resource = rqsqs.boto3.resource("sqs", endpoint_url=sqs.url)
    rqsqs.boto3.attach(resource, sqs.url, prefix=sqs.prefix, clock=sqs.clock)
    queue = resource.create_queue(QueueName="q", Attributes={"DelaySeconds": "0"})
    assert resource.get_queue_by_name(QueueName="q").url == queue.url
    assert resource.Queue(queue.url).attributes["QueueArn"].endswith(":q")
    assert [each.url for each in resource.queues.all()] == [queue.url]
    assert [each.url for each in resource.queues.filter(QueueNamePrefix="x")] == []
    queue.send_message(MessageBody="1")
    queue.send_messages(Entries=[{"Id": "a", "MessageBody": "2"}])
    messages = queue.receive_messages(MaxNumberOfMessages=10, AttributeNames=["All"])
    assert sorted(message.body for message in messages) == ["1", "2"]
    assert messages[0].attributes["ApproximateReceiveCount"] == "1"
    assert messages[0].message_attributes is None
    messages[0].change_visibility(VisibilityTimeout=0)
    messages[0].delete()
    got = queue.delete_messages(Entries=[{"Id": "a", "ReceiptHandle": messages[1].receipt_handle}])
    assert got["Successful"] == [{"Id": "a"}]
    queue.set_attributes(Attributes={"VisibilityTimeout": "7"})
    queue.reload()
    assert queue.attributes["VisibilityTimeout"] == "7"
    queue.purge()
    assert list(queue.dead_letter_source_queues.all()) == []
    queue.delete()
    with pytest.raises(resource.meta.client.exceptions.QueueDoesNotExist):
        resource.get_queue_by_name(QueueName="q")


# attach


def test_attach_to_clients_resources_and_sessions(valkey_url: str, prefix: str) -> None:
    keys = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    client = plain_boto3.client("sqs", **keys)
    resource = plain_boto3.resource("sqs", **keys)
    session = plain_boto3.Session(**keys)
    core = botocore.session.Session()
    core.set_credentials("a", "b")
    for target in (client, resource, session, core):
        rqsqs.boto3.attach(target, valkey_url, prefix=prefix)
    url = client.create_queue(QueueName="q")["QueueUrl"]
    assert resource.get_queue_by_name(QueueName="q").url == url
    assert session.client("sqs").list_queues()["QueueUrls"] == [url]
    assert session.resource("sqs").Queue(url).attributes["VisibilityTimeout"] == "30"
    assert core.create_client("sqs", "us-east-1").list_queues()["QueueUrls"] == [url]
    for attached in (client, session.client("sqs")):
        rqsqs.boto3.attach(attached, valkey_url, prefix=f"{prefix}-other")
        assert "QueueUrls" not in attached.list_queues()
    for target in (plain_boto3.client("s3", **keys), object(), None):
        with pytest.raises(TypeError, match="target must be a client or resource of SQS or CloudWatch"):
            rqsqs.boto3.attach(target, valkey_url)


# Trouble


def test_a_server_that_cannot_be_reached() -> None:
    port = free_port()
    client = rqsqs.boto3.client("sqs", endpoint_url=f"redis://:secret@127.0.0.1:{port}/0")
    with pytest.raises(EndpointConnectionError, match=f"127.0.0.1:{port}") as caught:
        client.list_queues()
    assert isinstance(caught.value.__cause__, errors.ConnectionFailed)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("retries", [{"total_max_attempts": 1}, {"mode": "adaptive", "max_attempts": 9}])
def test_retries_of_config_have_no_effect(retries: Any) -> None:
    """Calls are repeated as rqsqs does it, which knows them again."""
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()
                    seen.append(1)

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        client = rqsqs.boto3.client("sqs", endpoint_url=url, config=Config(retries=retries))
        with pytest.raises(EndpointConnectionError):
            client.list_queues()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)
    assert len(seen) == 1 + len(RETRY_AFTER_S)


def test_a_server_that_dies_and_comes_back() -> None:
    with Server("valkey") as server:
        client = rqsqs.boto3.client("sqs", endpoint_url=server.url)
        url = client.create_queue(QueueName="q")["QueueUrl"]
        server.kill9()
        with pytest.raises(HTTPClientError):
            client.send_message(QueueUrl=url, MessageBody="x")
        server.restart()
        with pytest.raises(client.exceptions.QueueDoesNotExist):
            client.send_message(QueueUrl=url, MessageBody="x")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.ConnectionFailed("why"), EndpointConnectionError),
        (errors.ConnectionFailed("why", request_sent=True), ConnectionClosedError),
        (errors.ServerTimeout("why"), ConnectTimeoutError),
        (errors.ServerTimeout("why", request_sent=True), ReadTimeoutError),
        (errors.ServerLoading("why"), EndpointConnectionError),
        (errors.ServerReadOnly("why"), EndpointConnectionError),
        (errors.ServerOutOfMemory("why"), EndpointConnectionError),
        (errors.AuthenticationFailed("why"), EndpointConnectionError),
        (errors.ServerTooOld("why"), EndpointConnectionError),
        (errors.ScriptFailed("why"), HTTPClientError),
    ],
)
def test_trouble_becomes_the_botocore_error_for_it(error: errors.ServerError, kind: type[Exception]) -> None:
    made = as_botocore_error(error, "redis://host/0")
    assert isinstance(made, kind)
    assert "why" in str(made)


def test_trouble_is_no_client_error() -> None:
    assert not isinstance(as_botocore_error(errors.ServerLoading("x"), "redis://host/0"), ClientError)


# Life


def test_queues_of_an_embedded_server_outlive_the_client() -> None:
    code = """
import gc
from rqsqs import boto3

def make(name):
    return boto3.client("sqs").create_queue(QueueName=name)["QueueUrl"]

make("a"), gc.collect(), make("b"), gc.collect()
assert len(boto3.client("sqs").list_queues()["QueueUrls"]) == 2
"""
    environment = {**os.environ, "RQSQS_URL": "embedded://"}
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], check=False, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")


# Threads and processes


def test_one_client_serves_many_threads(live: Any) -> None:
    url = live.queue("q")
    received: list[str] = []
    lock = threading.Lock()

    def work(thread: int) -> None:
        for i in range(25):
            live.send(url, f"{thread}-{i}")
            for message in live.receive(url, 1):
                live.delete(url, message)
                with lock:
                    received.append(message["Body"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    while messages := live.receive(url):
        received += [message["Body"] for message in messages]
    assert sorted(received) == sorted(f"{thread}-{i}" for thread in range(8) for i in range(25))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_client_works_in_both_processes_after_a_fork(live: Any) -> None:
    url = live.queue("q")
    live.send(url, "before")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            live.send(url, "child")
            status = 0
        finally:
            os._exit(status)
    live.send(url, "parent")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(live.bodies(url)) == ["before", "child", "parent"]


def test_bytes_stay_bytes_on_the_http_side(sqs: Any) -> None:
    """What an after-call handler finds in the HTTP body is the JSON of SQS, with blobs in base64."""
    url = sqs.queue("q")
    sqs.send(url, MessageAttributes={"b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}})
    found = []
    sqs.client.meta.events.register(
        "after-call.sqs.ReceiveMessage", lambda http_response, **_: found.append(http_response)
    )
    sqs.receive(url)
    [message] = json.loads(found[0].content)["Messages"]
    assert message["MessageAttributes"]["b"]["BinaryValue"] == base64.b64encode(b"\x00\xff").decode()
