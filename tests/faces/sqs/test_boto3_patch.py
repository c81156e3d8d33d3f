"""patch(): every SQS client of a process, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import botocore.client
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, NoRegionError
from botocore.stub import Stubber

import rqsqs.boto3
from rqsqs.errors import InvalidParameterValue

HOOKED = (
    (botocore.session.Session, "__init__"),
    (botocore.session.Session, "create_client"),
    (botocore.client.BaseClient, "__init__"),
    (botocore.client.BaseClient, "_make_api_call"),
)
KEYS = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[None]:
    """Nothing is configured, nobody may look for credentials, and no patch stays."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "RQSQS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(rqsqs.boto3, "DEFAULT_SESSION", None)
    before = [vars(owner)[name] for owner, name in HOOKED]
    yield
    assert [vars(owner)[name] for owner, name in HOOKED] == before


class Http(ThreadingHTTPServer):
    """A service that says which request it got, as DynamoDB, SQS and S3 would read it."""

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            target = self.headers.get("X-Amz-Target", "")
            self.server.seen.append(target)  # type: ignore[attr-defined]
            body = json.dumps({"TableNames": ["over-http"], "QueueUrls": ["over-http"]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self._Handler)
        self.seen: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def http() -> Iterator[Http]:
    with Http() as server:
        yield server
        server.shutdown()


def queue_names(client: Any) -> list[str]:
    return [url.rpartition("/")[2] for url in client.list_queues().get("QueueUrls", [])]


def test_every_client_is_answered_whoever_makes_it(valkey_url: str, prefix: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")
    with rqsqs.boto3.patch(valkey_url, prefix=prefix):
        boto3.client("sqs").create_queue(QueueName="q")
        makers = (
            lambda: boto3.client("sqs"),
            lambda: boto3.client("sqs", endpoint_url="http://127.0.0.1:1"),
            lambda: boto3.client("sqs", "eu-west-1", None, True, None, "http://127.0.0.1:1"),
            lambda: boto3.client("sqs", config=Config(retries={"max_attempts": 0})),
            lambda: boto3.Session(**KEYS).client("sqs"),
            lambda: boto3.resource("sqs").meta.client,
            lambda: boto3.resource("sqs").get_queue_by_name(QueueName="q").meta.client,
            lambda: botocore.session.get_session().create_client("sqs"),
            lambda: rqsqs.boto3.client("sqs"),
            lambda: rqsqs.boto3.client("sqs", endpoint_url="redis://127.0.0.1:1"),
        )
        for make in makers:
            client = make()
            assert queue_names(client) == ["q"]
            assert client.meta.endpoint_url.startswith("https://sqs.")


def test_clients_that_exist_already_are_answered_and_let_go(valkey_url: str, prefix: str, http: Http) -> None:
    client = boto3.client("sqs", endpoint_url=http.url, **KEYS)
    resource = boto3.resource("sqs", endpoint_url=http.url, **KEYS)
    assert client.list_queues()["QueueUrls"] == ["over-http"]
    with rqsqs.boto3.patch(valkey_url, prefix=prefix):
        client.create_queue(QueueName="q")
        assert queue_names(client) == queue_names(resource.meta.client) == ["q"]
    assert client.list_queues()["QueueUrls"] == resource.meta.client.list_queues()["QueueUrls"] == ["over-http"]
    assert http.seen == ["AmazonSQS.ListQueues"] * 3


def state_of(client: Any) -> list[Any]:
    """What a patch touches in a client."""
    handlers = client.meta.events._emitter._handlers
    return [
        *(
            list(handlers.prefix_search(f"{event}.sqs.SendMessage"))
            for event in ("before-parameter-build", "before-call")
        ),
        dict(vars(client._user_agent_creator)),
        dict(vars(client._ruleset_resolver)),
        dict(vars(client._serializer)),
        client._endpoint.http_session,
    ]


def test_clients_are_afterwards_as_they_were(valkey_url: str, prefix: str, http: Http) -> None:
    client, other, attached = (boto3.client("sqs", endpoint_url=http.url, **KEYS) for _ in range(3))
    rqsqs.boto3.attach(attached, valkey_url, prefix=prefix)
    for each in (client, attached):
        each.list_queues()  # botocore itself keeps some things
    before = [state_of(each) for each in (client, other, attached)]
    for _ in range(2):
        with rqsqs.boto3.patch(valkey_url, prefix=prefix), rqsqs.boto3.patch(valkey_url, prefix=prefix):
            for each in (client, attached):
                each.create_queue(QueueName="q")
            assert state_of(client) != before[0]
        assert [state_of(each) for each in (client, other, attached)] == before
        assert queue_names(attached) == ["q"]
        assert client.list_queues()["QueueUrls"] == ["over-http"]


def test_other_services_pass_through_a_patch(valkey_url: str, prefix: str, http: Http) -> None:
    before = boto3.client("dynamodb", endpoint_url=http.url, **KEYS)
    with rqsqs.boto3.patch(valkey_url, prefix=prefix):
        for client in (before, boto3.client("dynamodb", endpoint_url=http.url, **KEYS)):
            assert client.list_tables()["TableNames"] == ["over-http"]
        with pytest.raises(NoRegionError):
            boto3.client("dynamodb")
    assert http.seen == ["DynamoDB_20120810.ListTables"] * 2


def test_without_a_url_each_client_keeps_the_redis_it_has(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RQSQS_URL", valkey_url)
    monkeypatch.setenv("RQSQS_PREFIX", prefix)
    attached = boto3.client("sqs", **KEYS)
    rqsqs.boto3.attach(attached, valkey_url, prefix=f"{prefix}-attached")
    attached.create_queue(QueueName="attached")
    with rqsqs.boto3.patch() as patch:
        assert (patch.url, patch.prefix) == (valkey_url, prefix)
        boto3.client("sqs", endpoint_url=valkey_url).create_queue(QueueName="q")
        assert queue_names(boto3.client("sqs")) == ["q"]
        assert queue_names(attached) == ["attached"]
        with pytest.raises(botocore.exceptions.EndpointConnectionError, match=r"127\.0\.0\.1:1"):
            boto3.client("sqs", endpoint_url="redis://127.0.0.1:1").list_queues()
    with rqsqs.boto3.patch(valkey_url, prefix=prefix):
        assert queue_names(attached) == ["q"]
    assert queue_names(attached) == ["attached"]


def test_the_last_patch_counts_in_whatever_order_they_end(valkey_url: str, prefix: str, http: Http) -> None:
    client = boto3.client("sqs", endpoint_url=http.url, **KEYS)
    first = rqsqs.boto3.patch(valkey_url, prefix=f"{prefix}-1")
    client.create_queue(QueueName="one")
    second = rqsqs.boto3.patch(valkey_url, prefix=f"{prefix}-2")
    assert queue_names(client) == []
    client.create_queue(QueueName="two")
    first.undo()
    first.undo()
    assert queue_names(client) == queue_names(boto3.client("sqs")) == ["two"]
    second.undo()
    assert client.list_queues()["QueueUrls"] == ["over-http"]
    with rqsqs.boto3.patch(valkey_url, prefix=f"{prefix}-1"):
        assert queue_names(client) == ["one"]


def test_attach_during_a_patch_goes_before_it(valkey_url: str, prefix: str) -> None:
    client = boto3.client("sqs", **KEYS)
    with rqsqs.boto3.patch(valkey_url, prefix=prefix):
        client.create_queue(QueueName="q")
        rqsqs.boto3.attach(client, valkey_url, prefix=f"{prefix}-own")
        assert queue_names(client) == []
        with rqsqs.boto3.patch(valkey_url, prefix=prefix):
            assert queue_names(client) == ["q"]


def test_what_was_hooked_by_others_meanwhile_stays(valkey_url: str, prefix: str, http: Http) -> None:
    """As tracers do it."""
    client, calls = boto3.client("sqs", endpoint_url=http.url, **KEYS), []
    original = botocore.client.BaseClient._make_api_call
    with rqsqs.boto3.patch(valkey_url, prefix=prefix):
        inner = botocore.client.BaseClient._make_api_call

        def traced(self: Any, *args: Any) -> Any:
            calls.append(args[0])
            return inner(self, *args)

        botocore.client.BaseClient._make_api_call = traced  # type: ignore[method-assign]
        assert queue_names(client) == []
    assert client.list_queues()["QueueUrls"] == ["over-http"]
    botocore.client.BaseClient._make_api_call = original  # type: ignore[method-assign]
    assert calls == ["ListQueues"] * 2


def test_errors_stubs_waiters_and_paginators_are_those_of_boto3(valkey_url: str, prefix: str) -> None:
    with rqsqs.boto3.patch(valkey_url, prefix=prefix):
        client = boto3.client("sqs")
        with pytest.raises(client.exceptions.QueueDoesNotExist) as caught:
            client.get_queue_url(QueueName="none")
        assert isinstance(caught.value, ClientError)
        for name in "abc":
            client.create_queue(QueueName=name)
        pages = client.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 2})
        assert [len(page["QueueUrls"]) for page in pages] == [2, 1]
        with Stubber(client) as stub:
            stub.add_response("list_queues", {"QueueUrls": ["stubbed"]})
            assert client.list_queues()["QueueUrls"] == ["stubbed"]
        assert len(client.list_queues()["QueueUrls"]) == 3


def test_account_and_region_of_a_client_are_in_its_urls(valkey_url: str, prefix: str) -> None:
    with rqsqs.boto3.patch(valkey_url, prefix=prefix, account="111111111111"):
        url = boto3.client("sqs", region_name="eu-west-1").create_queue(QueueName="q")["QueueUrl"]
        assert url == "https://sqs.eu-west-1.amazonaws.com/111111111111/q"


def test_threads_that_call_one_existing_client_at_once(valkey_url: str, prefix: str) -> None:
    client = boto3.client("sqs", **KEYS)
    failed: list[BaseException] = []
    with rqsqs.boto3.patch(valkey_url, prefix=prefix):
        barrier = threading.Barrier(8)

        def work() -> None:
            try:
                barrier.wait(30)
                client.create_queue(QueueName="q")
                boto3.Session().client("sqs").send_message(QueueUrl="q", MessageBody="x")
            except BaseException as e:
                failed.append(e)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        attributes = client.get_queue_attributes(QueueUrl="q", AttributeNames=["ApproximateNumberOfMessages"])
        assert attributes["Attributes"]["ApproximateNumberOfMessages"] == "8"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_patched_as_well(valkey_url: str, prefix: str) -> None:
    client = boto3.client("sqs", **KEYS)
    with rqsqs.boto3.patch(valkey_url, prefix=prefix):
        client.create_queue(QueueName="parent")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                client.create_queue(QueueName="child")
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert queue_names(client) == ["child", "parent"]


def test_connections_of_a_patch_end_with_it(valkey_url: str, prefix: str) -> None:
    from rqsqs._io.sync.runner import Link

    before = {id(link) for link in Link._shared.values() if link.users > 0}
    for _ in range(3):
        with rqsqs.boto3.patch(valkey_url, prefix=prefix, socket_timeout=7.25):
            boto3.client("sqs").list_queues()
    assert {id(link) for link in Link._shared.values() if link.users > 0} == before


def test_what_makes_no_sense_is_refused_and_patches_nothing() -> None:
    for wrong in ({"prefix": "*"}, {"durability": "nonsense"}):
        with pytest.raises(InvalidParameterValue):
            rqsqs.boto3.patch("redis://127.0.0.1:1", **wrong)


# The name boto3 in sys.modules

REPLACED = """
import sys
{before}
import rqsqs.boto3
sys.modules["boto3"] = rqsqs.boto3
import boto3.dynamodb.conditions
import boto3.s3.transfer
import boto3.exceptions
from boto3.session import Session
from boto3.dynamodb.types import TypeSerializer
from boto3 import dynamodb, ec2
import boto3
assert boto3 is rqsqs.boto3 and boto3.dynamodb is dynamodb
assert boto3.dynamodb.conditions.Key("a").eq(1)
assert dynamodb.__name__ == dynamodb.__spec__.name == "boto3.dynamodb"
import rqsqs.boto3.dynamodb.conditions
assert rqsqs.boto3.dynamodb.conditions is sys.modules["boto3.dynamodb.conditions"]
assert boto3.client("sqs", endpoint_url="redis://127.0.0.1:1").meta.region_name == "us-east-1"
try:
    import boto3.nonsense
except ModuleNotFoundError as e:
    assert e.name == "boto3.nonsense", e.name
else:
    raise AssertionError
print("fine")
"""


@pytest.mark.parametrize("before", ["", "import boto3", "from boto3.dynamodb.conditions import Key"])
def test_modules_below_boto3_can_be_imported_where_ours_has_its_name(before: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPLACED.format(before=before)], check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_modules_below_ours_are_those_of_boto3() -> None:
    code = (
        "from rqsqs.boto3.dynamodb.conditions import Key\nfrom rqsqs.boto3.session import Session\n"
        "import boto3.dynamodb.conditions, rqsqs.boto3.dynamodb, rqsqs.boto3\n"
        "assert Key is boto3.dynamodb.conditions.Key and Session is rqsqs.boto3.Session\n"
        "assert boto3.dynamodb.conditions.__spec__.name == 'boto3.dynamodb.conditions'\n"
        "assert rqsqs.boto3.dynamodb is boto3.dynamodb\n"
        "try:\n    import rqsqs.boto3.nonsense\nexcept ModuleNotFoundError as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("No module named 'rqsqs.boto3.nonsense'\n", "")
