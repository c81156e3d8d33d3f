"""Receives that wait: who hangs up, how a gateway ends, thousands at once."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import rqsqs
from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.polls import HungUp
from rqsqs.gateway.request import HttpRequest
from tests.gateway.conftest import PATIENCE_S, ask, ask_json, running
from tests.gateway.direct import Direct

LONG_S = 20
ROOT = Path(__file__).parents[2]


def begin_receive(address: str, queue: str, **more: Any) -> http.client.HTTPConnection:
    """Send a receive that waits, and do not read the answer."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE_S)
    params = {"QueueUrl": queue, "WaitTimeSeconds": LONG_S, **more}
    connection.request("POST", "/", json.dumps(params), {"X-Amz-Target": "AmazonSQS.ReceiveMessage"})
    return connection


def receive(address: str, queue: str, wait: int = 0) -> list[dict[str, Any]]:
    params = {"QueueUrl": queue, "WaitTimeSeconds": wait, "AttributeNames": ["All"]}
    answer = ask_json(address, "ReceiveMessage", params)
    found: list[dict[str, Any]] = answer.json.get("Messages", [])
    return found


def test_a_message_reaches_who_waits(shared: str, queue: str) -> None:
    connection = begin_receive(shared, queue)
    ask_json(shared, "SendMessage", {"QueueUrl": queue, "MessageBody": "x"})
    [message] = json.loads(connection.getresponse().read())["Messages"]
    assert message["Body"] == "x"
    connection.close()


def test_who_hangs_up_gets_nothing_any_more(shared: str, queue: str) -> None:
    for _ in range(20):
        connection = begin_receive(shared, queue)
        connection.close()
        ask_json(shared, "SendMessage", {"QueueUrl": queue, "MessageBody": "x"})
        [message] = receive(shared, queue, LONG_S)  # well before the visibility timeout of 30 s
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
        ask_json(shared, "DeleteMessage", {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]})


def test_who_has_hung_up_before_gets_no_message(server_url: str, prefix: str) -> None:
    gateway = Direct(url=server_url, prefix=prefix)
    events: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not events:
            await asyncio.Event().wait()
        return events.pop(0)

    def request(action: str, **params: Any) -> HttpRequest:
        headers = {"host": "localhost", "x-amz-target": f"AmazonSQS.{action}"}
        return HttpRequest("POST", b"/", b"", headers, json.dumps(params).encode())

    try:
        gateway.ask(request("CreateQueue", QueueName="q"))
        gateway.ask(request("SendMessage", QueueUrl="q", MessageBody="x"))
        receiving = request("ReceiveMessage", QueueUrl="q", AttributeNames=["All"], WaitTimeSeconds=LONG_S)
        events += [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]
        with pytest.raises(HungUp):
            gateway.ask(receiving, receive)
        assert gateway.log[-1]["status"] == 499
        [message] = json.loads(gateway.ask(receiving, receive).body)["Messages"]  # well before the visibility timeout
        assert (message["Body"], message["Attributes"]["ApproximateReceiveCount"]) == ("x", "1")
    finally:
        gateway.close()


def test_polls_that_find_nothing_are_counted(address: str, valkey_url: str, prefix: str) -> None:
    queue = ask_json(address, "CreateQueue", {"QueueName": "q"}).json["QueueUrl"]
    with ThreadPoolExecutor(20) as threads, rqsqs.connect(valkey_url, prefix=prefix) as connection:
        assert receive(address, queue) == []
        assert connection.queue("q").metrics().empty_receives == 1
        assert list(threads.map(lambda _: receive(address, queue, 1), range(20))) == [[]] * 20
        begin_receive(address, queue).close()  # who hangs up got no answer
        assert receive(address, queue) == []
        assert connection.queue("q").metrics().empty_receives == 22


CLIENT = """
import http.client, json, sys
address, queue = sys.argv[1:]
connections = []
for _ in range(20):
    connection = http.client.HTTPConnection(address)
    connection.request("POST", "/", json.dumps({"QueueUrl": queue, "WaitTimeSeconds": 20}),
                       {"X-Amz-Target": "AmazonSQS.ReceiveMessage"})
    connections.append(connection)
print("waiting", flush=True)
sys.stdin.read()
"""


def test_killed_clients_strand_nothing(shared: str, queue: str) -> None:
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", CLIENT, urlsplit(shared).netloc, queue],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as client:  # fmt: skip
            assert client.stdout is not None
            assert client.stdout.readline() == b"waiting\n"
            client.send_signal(signal.SIGKILL)
        for n in range(5):
            ask_json(shared, "SendMessage", {"QueueUrl": queue, "MessageBody": str(n)})
        began, bodies = time.monotonic(), set()
        while len(bodies) < 5:
            for message in receive(shared, queue, LONG_S):
                bodies.add(message["Body"])
                ask_json(shared, "DeleteMessage", {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]})
        assert time.monotonic() - began < 25  # of 30 s, after which it would be visible again


@contextlib.contextmanager
def gateway_process(url: str, prefix: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`rqsqs gateway`, and its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "rqsqs", "gateway", "--url", url, "--prefix", prefix, "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_end_answers_who_waits_with_nothing(valkey_url: str, prefix: str, processes: str) -> None:
    with gateway_process(valkey_url, prefix, "--processes", processes) as (process, address):
        queue = ask_json(address, "CreateQueue", {"QueueName": "orders"}).json["QueueUrl"]
        connections = [begin_receive(address, queue) for _ in range(20)]
        ask_json(address, "GetQueueAttributes", {"QueueUrl": queue})
        time.sleep(0.5)  # they wait by then; if not, they are answered all the same
        process.terminate()
        for connection in connections:
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"{}")
        assert process.wait(PATIENCE_S) == 0


def test_a_process_that_dies_is_replaced(valkey_url: str, prefix: str) -> None:
    with gateway_process(valkey_url, prefix, "--processes", "2") as (process, address):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("needs Linux")
        deadline = time.monotonic() + PATIENCE_S
        while len(before := children.read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        subprocess.run(["kill", "-KILL", before[0]], check=True)
        while len(now := set(children.read_text().split())) < 2 or before[0] in now:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for _ in range(10):
            assert ask_json(address, "ListQueues").status == 200
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_no_process_outlives_the_first_one(valkey_url: str, prefix: str) -> None:
    with gateway_process(valkey_url, prefix, "--processes", "2") as (process, address):
        assert ask_json(address, "ListQueues").status == 200
        process.kill()
        end = time.monotonic() + PATIENCE_S
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                ask_json(address, "ListQueues")
                time.sleep(0.02)
        assert time.monotonic() < end


def test_many_wait_at_once(valkey_url: str, prefix: str) -> None:
    """On more queues than there are connections that block."""
    with running(GatewaySettings(url=valkey_url, prefix=prefix)) as address:
        queues = [ask_json(address, "CreateQueue", {"QueueName": f"q{n}"}).json["QueueUrl"] for n in range(40)]
        connections = [begin_receive(address, queue) for queue in queues for _ in range(5)]
        with ThreadPoolExecutor(8) as pool:
            for queue in queues:
                for n in range(5):
                    pool.submit(ask_json, address, "SendMessage", {"QueueUrl": queue, "MessageBody": str(n)})
        for connection in connections:
            response = connection.getresponse()
            assert response.status == 200
            assert len(json.loads(response.read())["Messages"]) == 1
            connection.close()


def test_health(valkey_url: str, prefix: str) -> None:
    with running(GatewaySettings(url=valkey_url, prefix=prefix)) as address:
        assert ask(address, "", "/livez", "GET").body == b"ok\n"
        assert ask(address, "", "/readyz", "GET").status == 200
    with running(GatewaySettings(url="redis://127.0.0.1:1/0", prefix=prefix)) as address:
        assert ask(address, "", "/livez", "GET").status == 200
        assert ask(address, "", "/readyz", "GET").status == 503
        answer = ask_json(address, "ListQueues")
        assert answer.status == 503
        assert answer.headers["x-amzn-query-error"] == "ServiceUnavailable;Receiver"
        assert b"127.0.0.1" not in answer.body
