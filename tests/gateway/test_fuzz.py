"""Whatever a client sends, the answer is one of SQS: never a failure of the gateway, never a traceback.

RQSQS_FUZZ_SECONDS lets each test go on for so long.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rqsqs.gateway import Gateway, GatewaySettings
from rqsqs.gateway.protocols import query
from rqsqs.gateway.protocols.model import List, Map, Scalar, Shape, Structure
from rqsqs.gateway.protocols.shapes import ACTIONS
from tests.gateway.mutations import mutated

SECONDS = float(os.environ.get("RQSQS_FUZZ_SECONDS", "2"))
QUICKLY = settings(max_examples=100, database=None, suppress_health_check=list(HealthCheck))

texts = st.one_of(
    st.text(max_size=30),
    st.text(st.characters(exclude_categories=()), max_size=10),  # halves of surrogate pairs, control characters
    st.sampled_from(
        ["", "orders", "orders.fifo", "All", "http://localhost/000000000000/orders", "/000000000000/orders.fifo",
         "arn:aws:sqs:us-east-1:000000000000:orders", "123456789012", "0", "-1", "99999999999", "true", "String",
         "a" * 300, "eyJ0YXNrSWQiOiJhIn0=",
         "W1tbW1tbW1tbW1s=", '{"Statement":[]}', "[" * 2000, "\x00", "../..", "NaN", "☃"]
    ),
)  # fmt: skip
numbers = st.one_of(st.integers(-5, 50), st.sampled_from([2**31, -(2**63), 2**63, 10**40, 43_200, 43_201]))
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(allow_nan=True), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


def values(shape: Shape) -> st.SearchStrategy[Any]:
    """Mostly what the shape wants."""
    if shape is Scalar.INTEGER:
        right: st.SearchStrategy[Any] = numbers
    elif isinstance(shape, Scalar):
        right = texts
    elif isinstance(shape, List):
        right = st.lists(values(shape.item), max_size=12)
    elif isinstance(shape, Map):
        right = st.dictionaries(texts, values(shape.item), max_size=12)
    else:
        right = st.fixed_dictionaries({}, optional={name: values(each) for name, each in shape.members.items()})
    return st.integers(0, 19).flatmap(lambda n: junk if n == 0 else right)


def request_of(shape: Structure) -> st.SearchStrategy[dict[str, Any]]:
    members = {name: values(each) for name, each in shape.members.items() if name != "WaitTimeSeconds"}
    if "QueueUrl" in members:
        members["QueueUrl"] = st.sampled_from(["orders", "orders.fifo"]) | members["QueueUrl"]
    return st.fixed_dictionaries({}, optional=members)


requests = st.sampled_from(sorted(ACTIONS)).flatmap(
    lambda name: st.tuples(st.just(name), request_of(ACTIONS[name].request))
)


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """As a form; wrong here and there, as names of lists are those of JSON."""
    if isinstance(value, dict):
        for n, (name, each) in enumerate(value.items()):
            yield from flattened(each, f"{prefix}{name}.")
            yield from flattened(name, f"{prefix}{n}.Name.")
            yield from flattened(each, f"{prefix}{n}.Value.")
    elif isinstance(value, list):
        for n, each in enumerate(value):
            yield from flattened(each, f"{prefix}{n}.")
    elif value is not None:
        yield prefix[:-1], str(value)


class Client:
    """Calls the application as a server would, in an event loop of its own."""

    def __init__(self, url: str, prefix: str) -> None:
        self._runner = asyncio.Runner()
        self._app = Gateway(GatewaySettings(url=url, prefix=prefix))
        self.ends = time.monotonic() + SECONDS
        for name, attributes in (("orders", {}), ("orders.fifo", {"FifoQueue": "true"})):
            assert self.json("CreateQueue", {"QueueName": name, "Attributes": attributes}) == 200

    def close(self) -> None:
        self._runner.run(self._app.close())
        self._runner.close()

    def json(self, action: str, params: Any) -> int:
        return self.ask(json.dumps(params).encode(), [(b"x-amz-target", f"AmazonSQS.{action}".encode())])

    def ask(
        self, body: bytes, headers: list[tuple[bytes, bytes]], method: str = "POST", path: str = "/", text: bytes = b""
    ) -> int:
        """One request; the status, which must be that of an answer that the client can read."""
        return self._runner.run(self._ask(body, headers, method, path, text))

    async def _ask(self, body: bytes, headers: list[tuple[bytes, bytes]], method: str, path: str, text: bytes) -> int:
        sent: list[dict[str, Any]] = []
        came = iter([{"type": "http.request", "body": body}])

        async def receive() -> Any:
            message = next(came, None)
            return message if message is not None else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode("utf-8", "replace"),
            "query_string": text, "headers": [(b"host", b"localhost"), *headers], "client": ("127.0.0.1", 1),
            "scheme": "http", "root_path": "",
        }  # fmt: skip
        await self._app(scope, receive, send)
        start, end = sent
        assert start["status"] < 500, (start, end, body, headers, path, text)
        assert b"Traceback" not in end["body"]
        for name, value in start["headers"]:
            assert b"\n" not in name + value
            assert b"\r" not in name + value
        assert any(name == b"x-amzn-requestid" for name, _ in start["headers"]) or path in ("/livez", "/readyz")
        status: int = start["status"]
        return status


@pytest.fixture
def caller(valkey_url: str, prefix: str) -> Iterator[Client]:
    client = Client(valkey_url, prefix)
    with contextlib.closing(client):
        yield client


PIECES = [b'"', b"{", b"[", b"}", b"]", b"\\u", b"%", b"&", b".", b"=", b"\0"]


def until_over(client: Client, *strategies: Any) -> Callable[[Callable[..., None]], None]:
    """Run a test with new examples until its time is over."""

    def run(test: Callable[..., None]) -> None:
        again = True
        while again:
            QUICKLY(given(*strategies)(test))()
            again = time.monotonic() < client.ends

    return run


def test_json(caller: Client) -> None:
    @until_over(caller, requests)
    def one(request: tuple[str, Any]) -> None:
        caller.json(*request)


def test_forms(caller: Client) -> None:
    @until_over(caller, requests, st.booleans(), st.sampled_from(["/", "/000000000000/orders", "/1/2/3"]))
    def one(request: tuple[str, Any], is_get: bool, path: str) -> None:
        action, params = request
        form = urlencode([("Action", action), *flattened(params)], errors="surrogatepass").encode()
        if is_get:
            caller.ask(b"", [], "GET", path, form)
        else:
            caller.ask(form, [], path=path)


def test_bytes(caller: Client) -> None:
    """What is almost a request."""
    seeds = [
        json.dumps({"QueueUrl": "orders", "MessageBody": "x", "MessageAttributes": {"a": {"DataType": "String"}}}),
        json.dumps({"QueueUrl": "orders", "Entries": [{"Id": "a", "MessageBody": "x", "DelaySeconds": 1}]}),
        "Action=SendMessage&QueueUrl=orders&MessageBody=x&MessageAttribute.1.Name=a&MessageAttribute.1.Value.DataType=b",
    ]
    source = random.Random(7)
    while time.monotonic() < caller.ends:
        body = mutated(mutated(source.choice(seeds).encode(), source), source)
        action = source.choice(list(ACTIONS)).encode()
        target = [(b"x-amz-target", b"AmazonSQS." + action)] if body[:1] == b"{" else []
        caller.ask(body, target)


def test_heads(caller: Client) -> None:
    """Headers, methods and paths."""

    @until_over(
        caller,
        st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "BREW"]),
        st.text(max_size=20).map(lambda text: f"/{text}"),
        st.binary(max_size=60),
        st.lists(
            st.tuples(
                st.sampled_from([b"x-amz-target", b"host", b"origin", b"content-type", b"content-encoding", b"accept",
                                 b"authorization", b"x-amz-date", b"sec-fetch-site", b"x-forwarded-for"]),
                st.binary(max_size=30)
                | st.sampled_from([b"AmazonSQS.ListQueues", b"localhost", b"application/json", b"http://["]),
            ),
            max_size=4,
        ),
        st.binary(max_size=30),
    )  # fmt: skip
    def one(method: str, path: str, text: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        caller.ask(body, headers, method, path, text)


def test_many_fields_take_no_time() -> None:
    """Neither deep names nor long numbers make reading slow."""
    shape = ACTIONS["SendMessageBatch"].request
    name = ".".join(["SendMessageBatchRequestEntry"] + ["1"] * 5000)
    for form in (
        {f"{name}{n}": "x" for n in range(20)},
        {f"SendMessageBatchRequestEntry.{n}.Id": "x" for n in range(9000)},
        {f"SendMessageBatchRequestEntry.{'9' * 5000}{n}.Id": "x" for n in range(9)},
    ):
        began = time.process_time()
        query.read(form, shape)
        assert time.process_time() - began < 5


@pytest.mark.skipif(SECONDS < 60, reason="takes a minute; RQSQS_FUZZ_SECONDS=60")
def test_memory_does_not_grow(caller: Client) -> None:
    seen = []
    for n in range(20_000):
        caller.json("ListQueues", {"QueueNamePrefix": f"x{n}"})
        caller.ask(b"", [], "GET", f"/{n:012d}/orders", b"Action=GetQueueUrl&QueueName=x%d" % n)
        if n % 5000 == 4999:
            gc.collect()
            seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert seen[-1] - seen[1] < 20_000  # KB
