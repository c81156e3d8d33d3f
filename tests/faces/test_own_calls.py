"""How many calls of our own Python code an operation takes: what a client costs is mostly that."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from rqsqs._io import tuning
from tests.clusters import ALL_ON_CLUSTER, until

pytestmark = pytest.mark.timeout(method="thread")  # a handler of SIGALRM would cost calls (rqsqs/_io/direct.py)
PACKAGE = str(Path(rqsqs.__file__).parent) + os.sep
ROUTING = 4 if ALL_ON_CLUSTER else 0  # to find the server that has the slot
MOST_FIFO = {
    name: most + ROUTING for name, most in (("send", 28), ("receive", 26), ("delete", 12), ("delete_and_receive", 33))
}
MOST_BOTO3 = {name: most + ROUTING for name, most in (("send", 37), ("receive", 40), ("delete", 31))}
MOST_GATEWAY = {
    name: most + ROUTING for name, most in (("SendMessage", 85), ("ReceiveMessage", 105), ("DeleteMessage", 84))
}
MOST = {"send": 12 + ROUTING, "receive": 12 + ROUTING, "delete": 12 + ROUTING, "delete_and_receive": 13 + ROUTING}


class Counter:
    """Counts the functions and coroutines of ours that are entered; redis-py's and those written in C are not ours."""

    def __init__(self) -> None:
        self.frames: list[FrameType] = []  # kept, so that each is another object

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE) and frame not in self.frames:
            self.frames.append(frame)

    @property
    def names(self) -> list[str]:
        return [frame.f_code.co_qualname for frame in self.frames]


class SinceWoken:
    """Lists the functions of ours that were entered, or gone on with, since this thread waited for something to read
    last."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_return" and getattr(argument, "__name__", "") == "poll":
            self.names.clear()
        elif event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.names.append(frame.f_code.co_qualname)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Counter]]:
    monkeypatch.setattr(tuning, "IDLE_CHECK_S", 3600)  # a busy machine lets connections rest for long
    counters: list[Counter] = []

    def begin() -> Counter:
        counters.append(Counter())
        sys.setprofile(counters[-1])
        return counters[-1]

    gc.collect()
    gc.disable()  # the ends of connections of other tests are not counted
    yield begin
    sys.setprofile(None)
    gc.enable()


def test_sync_operations_take_few_calls(server_url: str, prefix: str, calls: Callable[[], Counter]) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        for _ in range(4):
            queue.send("warm")
        for message in queue.receive(4):
            message.delete()
        assert queue.receive() == []
        counted: dict[str, Counter] = {}

        counted["send"] = calls()
        queue.send({"id": 1})
        sys.setprofile(None)
        queue.send("more")
        counted["receive"] = calls()
        (message,) = queue.receive()
        sys.setprofile(None)
        counted["delete_and_receive"] = calls()
        (message,), _ = queue.delete_and_receive([message])
        sys.setprofile(None)
        counted["delete"] = calls()
        message.delete()
        sys.setprofile(None)
        assert queue.counts() == rqsqs.Counts(0, 0, 0, None)
    for name, counter in counted.items():
        assert len(counter.names) <= MOST[name], (name, counter.names)
        assert len(counter.names) > 5  # it was counted


def test_a_sender_takes_few_calls_more_where_it_is_alone(
    server_url: str, prefix: str, calls: Callable[[], Counter]
) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection, connection.create_queue("orders").sender() as sender:
        for _ in range(4):
            sender.send("warm")
        counter = calls()
        sender.send({"id": 1})
        sys.setprofile(None)
    assert 5 < len(counter.names) <= 25 + ROUTING, counter.names


def test_asyncio_operations_take_few_calls(server_url: str, prefix: str, calls: Callable[[], Counter]) -> None:
    counted: dict[str, Counter] = {}

    async def work() -> None:
        async with aio.connect(server_url, prefix=prefix) as connection:
            queue = await connection.create_queue("orders")
            for _ in range(4):
                await queue.send("warm")
            for message in await queue.receive(4):
                await message.delete()
            assert await queue.receive() == []
            counted["send"] = calls()
            await queue.send({"id": 1})
            sys.setprofile(None)
            await queue.send("more")
            counted["receive"] = calls()
            (message,) = await queue.receive()
            sys.setprofile(None)
            counted["delete_and_receive"] = calls()
            (message,), _ = await queue.delete_and_receive([message])
            sys.setprofile(None)
            counted["delete"] = calls()
            await message.delete()
            sys.setprofile(None)
            assert await queue.counts() == rqsqs.Counts(0, 0, 0, None)

    asyncio.run(work())
    for name, counter in counted.items():
        assert len(counter.names) <= MOST[name], (name, counter.names)
        assert len(counter.names) > 5


@pytest.mark.parametrize(("name", "most"), [("orders", 26), ("orders.fifo", 29)])
def test_a_message_reaches_a_receive_that_waits_in_few_calls(
    server_url: str, prefix: str, name: str, most: int
) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue(name)
        since = SinceWoken()
        got: list[rqsqs.Message] = []

        def wait() -> None:
            sys.setprofile(since)
            got.extend(queue.receive(wait=60))
            sys.setprofile(None)

        thread = threading.Thread(target=wait)
        thread.start()
        until(connection.transport.link.waiting.watched, "it does not wait")
        connection.queue(name).send("here", **({"group": "g"} if queue.is_fifo else {}))
        thread.join(60)
        assert [message.body for message in got] == ["here"]
        assert 0 < len(since.names) <= most + ROUTING, since.names


def test_fifo_operations_take_few_calls(server_url: str, prefix: str, calls: Callable[[], Counter]) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders.fifo")
        for n in range(4):
            queue.send("warm", group="a", deduplication_id=str(n))
        for message in queue.receive(4):
            message.delete()
        assert queue.receive() == []
        counted: dict[str, Counter] = {}

        counted["send"] = calls()
        queue.send({"id": 1}, group="a", deduplication_id="first")
        sys.setprofile(None)
        queue.send("more", group="a", deduplication_id="second")
        counted["receive"] = calls()
        (message,) = queue.receive()
        sys.setprofile(None)
        counted["delete_and_receive"] = calls()
        (message,), failures = queue.delete_and_receive([message])
        sys.setprofile(None)
        assert (message.body, failures) == ("more", [])
        counted["delete"] = calls()
        message.delete()
        sys.setprofile(None)
        assert queue.counts() == rqsqs.Counts(0, 0, 0, None)
    for name, counter in counted.items():
        assert len(counter.names) <= MOST_FIFO[name], (name, counter.names)
        assert len(counter.names) > 5


def test_options_of_a_send_take_few_calls_more(server_url: str, prefix: str, calls: Callable[[], Counter]) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        queue.send("warm")
        options: list[Any] = [{"delay": 5}, {"group": "g"}, {"deduplication_id": "d"}, {"attributes": {"a": "b"}}]
        for some in options:
            counter = calls()
            queue.send("x", **some)
            sys.setprofile(None)
            assert 5 < len(counter.names) <= 28 + ROUTING, (some, counter.names)
        assert queue.send("again", deduplication_id="d").is_duplicate
        assert queue.counts() == rqsqs.Counts(4, 0, 1, queue.counts().oldest_sent_at_ms)


def test_boto3_operations_take_few_calls(server_url: str, prefix: str, calls: Callable[[], Counter]) -> None:
    from rqsqs import boto3

    sqs = boto3.client("sqs", endpoint_url=server_url)
    rqsqs.boto3.attach(sqs, server_url, prefix=prefix)
    url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    for _ in range(2):
        sqs.send_message(QueueUrl=url, MessageBody="warm")
    for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    counted: dict[str, Counter] = {}
    counted["send"] = calls()
    sqs.send_message(QueueUrl=url, MessageBody="x")
    sys.setprofile(None)
    counted["receive"] = calls()
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    sys.setprofile(None)
    counted["delete"] = calls()
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    sys.setprofile(None)
    for name, counter in counted.items():
        assert len(counter.names) <= MOST_BOTO3[name], (name, len(counter.names), counter.names)
        assert len(counter.names) > 10


GATEWAY_KEYS = """
[users.caller]
[[users.caller.statements]]
Effect = "Allow"
Action = "sqs:*"
Resource = "*"
[[users.caller.keys]]
id = "AKIDEXAMPLE"
secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
[[sealing]]
secret = "0123456789abcdef0123456789abcdef"
"""


def test_signed_requests_to_the_gateway_take_few_calls(
    server_url: str, prefix: str, tmp_path: Path, calls: Callable[[], Counter]
) -> None:
    """With policies, sealed handles and the access log."""
    from tests.gateway.direct import Direct
    from tests.gateway.signing import signed

    keys = tmp_path / "keys.toml"
    keys.write_text(GATEWAY_KEYS)
    keys.chmod(0o600)
    gateway = Direct(url=server_url, prefix=prefix, keys=keys)

    def prepared(action: str, **params: Any) -> Any:
        return signed(body=json.dumps(params).encode(), headers={"x-amz-target": f"AmazonSQS.{action}"}, at=time.time())

    def ask(action: str, **params: Any) -> Any:
        return json.loads(gateway.ask(prepared(action, **params)).body or b"{}")

    try:
        url = ask("CreateQueue", QueueName="orders")["QueueUrl"]
        counted: dict[str, Counter] = {}
        for _ in range(2):  # the first time to warm up
            message: dict[str, Any] = {}
            for action in ("SendMessage", "ReceiveMessage", "DeleteMessage"):
                params = {
                    "SendMessage": {"MessageBody": "x"},
                    "ReceiveMessage": {},
                    "DeleteMessage": {"ReceiptHandle": message.get("ReceiptHandle")},
                }[action]
                request = prepared(action, QueueUrl=url, **params)
                counted[action] = calls()
                response = gateway.ask(request)
                sys.setprofile(None)
                assert response.status == 200, response.body
                if action == "ReceiveMessage":
                    (message,) = json.loads(response.body)["Messages"]
    finally:
        sys.setprofile(None)
        gateway.close()
    for name, counter in counted.items():
        assert len(counter.names) <= MOST_GATEWAY[name], (name, len(counter.names), counter.names)
        assert len(counter.names) > 40
