"""A gateway in a thread, and clients for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import boto3
import pytest
from botocore.config import Config

pytest.importorskip("uvicorn")

from rqsqs.gateway import Gateway, GatewaySettings
from rqsqs.gateway.access_log import AccessLog
from rqsqs.gateway.serving import Server, ServingSettings, listen

PATIENCE_S = 60


@contextlib.contextmanager
def running(
    settings: GatewaySettings, serving: ServingSettings | None = None, access_log: AccessLog | None = None
) -> Iterator[str]:
    """A gateway on a free port; its address."""
    serving = serving or ServingSettings(shutdown_timeout=5)
    listener = listen("127.0.0.1", 0)
    server = Server(Gateway(settings, access_log), serving)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    scheme = "https" if serving.tls_cert else "http"
    try:
        yield f"{scheme}://localhost:{listener.getsockname()[1]}"
    finally:
        server.end()
        thread.join(PATIENCE_S)
        listener.close()
        assert not thread.is_alive()


def client_of(
    address: str,
    key: str = "test",
    secret: str = "secret",
    service: str = "sqs",
    region: str = "us-east-1",
    **options: Any,
) -> Any:
    """boto3's client."""
    return boto3.client(
        service,
        endpoint_url=address,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, **options),
    )


class Answer(NamedTuple):
    """What came back: headers with names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def xml(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.body)

    def texts(self, name: str) -> list[str | None]:
        """The texts of all elements of a name, wherever they are."""
        return [each.text for each in self.xml.iter() if each.tag.rpartition("}")[2] == name]


def ask(address: str, body: bytes | str = b"", path: str = "/", method: str = "POST", **headers: str) -> Answer:
    """One request, as it is written here."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def ask_json(address: str, action: str, params: Any = None, **headers: str) -> Answer:
    """AWS JSON 1.0; `params` may be text that is no JSON."""
    body = params if isinstance(params, str | bytes) else json.dumps(params or {})
    return ask(
        address,
        body,
        **{"X-Amz-Target": f"AmazonSQS.{action}", "Content-Type": "application/x-amz-json-1.0", **headers},
    )


def ask_query(address: str, action: str, path: str = "/", **params: str) -> Answer:
    """AWS Query, as a form; `__` in a name stands for a dot."""
    fields = {name.replace("__", "."): value for name, value in params.items()}
    form = urlencode({"Action": action, "Version": "2012-11-05", **fields})
    return ask(address, form, path, **{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})


@pytest.fixture(scope="module")
def shared(server_of_kind: Callable[[str], Any]) -> Iterator[str]:
    """The address of a gateway that the tests of a module share; queues have names of their own."""
    with running(GatewaySettings(url=server_of_kind("valkey").url, prefix=f"t{secrets.token_hex(6)}")) as address:
        yield address


@pytest.fixture
def queue(shared: str) -> str:
    """The URL of a new queue."""
    url: str = ask_json(shared, "CreateQueue", {"QueueName": f"q{secrets.token_hex(6)}"}).json["QueueUrl"]
    return url


@pytest.fixture
def start(valkey_url: str, prefix: str) -> Iterator[Callable[..., str]]:
    """Starts a gateway with the settings given; returns its address."""
    with contextlib.ExitStack() as stack:

        def start(access_log: AccessLog | None = None, **given: Any) -> str:
            settings = GatewaySettings(**{"url": valkey_url, "prefix": prefix, **given})
            return stack.enter_context(running(settings, access_log=access_log))

        yield start


@pytest.fixture
def address(start: Callable[..., str]) -> str:
    """The address of a gateway that asks nobody who they are."""
    return start()


@pytest.fixture
def client(address: str) -> Any:
    """A client of it."""
    return client_of(address)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell how many rules of the wire the tests hold."""
    from tests.gateway.rules import RULES

    if RULES:
        terminalreporter.write_line(f"gateway: {len(RULES)} rules of the wire")
