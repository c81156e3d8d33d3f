"""What a gateway tells Prometheus."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("prometheus_client")

import rqsqs
from rqsqs import errors
from rqsqs.errors import RequestError
from rqsqs.gateway import GatewaySettings, refusals
from rqsqs.gateway.counts import BUCKETS, STATUSES, UNIT_US, Counts
from rqsqs.metrics.exposition import OPENMETRICS
from tests.metrics.test_prometheus import Series, series
from tests.servers import Server

from .conftest import PATIENCE_S, ask, ask_query, client_of, running

ROOT = Path(__file__).parents[2]


def scraped(url: str) -> Series:
    """The series of a scrape, read by the strict parser."""
    request = urllib.request.Request(url, headers={"Accept": OPENMETRICS.name})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"] == OPENMETRICS.content_type
        return series(answer.read().decode(), OPENMETRICS)


def value(found: Series, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def requests(found: Series) -> dict[tuple[str, str], float]:
    """How many there were, by action and status."""
    of = {(dict(labels)["action"], dict(labels)["status"]): n for (name, labels), n in found.items()
          if name == "rqsqs_gateway_requests_total"}  # fmt: skip
    return of


class Process:
    """`rqsqs gateway` with a metrics port."""

    def __init__(self, url: str, *options: str) -> None:
        command = [sys.executable, "-m", "rqsqs", "gateway", "--port", "0", "--metrics-port", "0", "--json"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen([*command, "--url", url, *options], env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        about: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.address, self.metrics = about["url"], about["metrics_url"]

    def scraped(self, query: str = "") -> Series:
        return scraped(self.metrics + query)


@contextlib.contextmanager
def started(url: str, *options: str) -> Iterator[Process]:
    gateway = Process(url, *options)
    try:
        yield gateway
        gateway.process.terminate()
        assert gateway.process.wait(PATIENCE_S) == 0
    finally:
        gateway.process.kill()
        gateway.process.communicate()


def test_an_open_gateway_serves_metrics_on_its_own_port(valkey_url: str, prefix: str) -> None:
    with running(GatewaySettings(url=valkey_url, prefix=prefix)) as address:
        client = client_of(address)
        url = client.create_queue(QueueName="orders")["QueueUrl"]
        for _ in range(3):
            client.send_message(QueueUrl=url, MessageBody="x")
        client.receive_message(QueueUrl=url)
        with pytest.raises(client.exceptions.QueueDoesNotExist):
            client.get_queue_url(QueueName="absent")
        ask_query(address, "Nonsense")
        found = scraped(f"{address}/metrics")
        assert value(found, "rqsqs_up") == 1
        assert value(found, "rqsqs_queue_messages", queue="orders", state="visible") == 2
        assert value(found, "rqsqs_queue_messages", queue="orders", state="in_flight") == 1
        assert value(found, "rqsqs_messages_sent_total", queue="orders") == 3
        assert value(found, "rqsqs_dwell_seconds_count", queue="orders") == 1
        assert requests(found) == {
            ("CreateQueue", "200"): 1,
            ("SendMessage", "200"): 3,
            ("ReceiveMessage", "200"): 1,
            ("GetQueueUrl", "400"): 1,
            ("", "400"): 1,
        }
        assert value(found, "rqsqs_gateway_request_duration_seconds_count", action="SendMessage") == 3
        assert value(found, "rqsqs_gateway_request_duration_seconds_bucket", action="SendMessage", le="+Inf") == 3
        seconds = value(found, "rqsqs_gateway_request_duration_seconds_sum", action="SendMessage")
        assert seconds is not None
        assert 0 < seconds < PATIENCE_S
        assert value(found, "rqsqs_gateway_connections") is not None
        assert value(found, "rqsqs_gateway_open_polls") == 0
        assert ask(address, path="/metrics?histograms=2", method="GET").status == 400
        without = ask(address, path="/metrics?histograms=0", method="GET").body
        assert b"rqsqs_dwell_seconds" not in without
        assert b"rqsqs_queue_messages" in without


def test_pages_of_other_sites_read_no_metrics(valkey_url: str, prefix: str) -> None:
    with running(GatewaySettings(url=valkey_url, prefix=prefix)) as address:
        assert ask(address, path="/metrics", method="GET").status == 200
        for headers in ({"host": "rebound.example.com"}, {"sec-fetch-site": "cross-site"}):
            answer = ask(address, path="/metrics", method="GET", **headers)
            assert answer.status == 403
            assert b"rqsqs_" not in answer.body


def test_a_gateway_with_keys_serves_none_there(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    command = [sys.executable, "-m", "rqsqs", "keys", "add", "test", "--root", "--keys", str(keys)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        connection.create_queue("orders").send("x")
    with rqsqs.connect(valkey_url, prefix=f"{prefix}/123456789012") as connection:
        connection.create_queue("theirs").send("x")
    with started(valkey_url, "--keys", str(keys), "--prefix", prefix) as gateway:
        answer = ask(gateway.address, path="/metrics", method="GET")
        assert (answer.status, answer.body) == (404, b"<UnknownOperationException/>\n")
        found = gateway.scraped()
        assert value(found, "rqsqs_queue_messages", queue="orders", state="visible") == 1
        assert value(found, "rqsqs_queue_messages", queue="theirs", state="visible") is None
        assert requests(found) == {("", "404"): 1}
        found = gateway.scraped("?account=123456789012")
        assert value(found, "rqsqs_queue_messages", queue="theirs", state="visible") == 1
        assert value(found, "rqsqs_queue_messages", queue="orders", state="visible") is None
        with pytest.raises(urllib.error.HTTPError) as refused:
            gateway.scraped("?account=12%0a")
        with refused.value as error:
            assert (error.code, error.read()) == (400, b"account must be twelve digits, got '12\\n'\n")
        host, port = gateway.metrics.removeprefix("http://").removesuffix("/metrics").split(":")
        connection_ = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        connection_.request("GET", "/metrics", headers={"Host": "rebound.example.com"})
        assert connection_.getresponse().status == 403
        connection_.close()


def test_processes_count_together_and_a_new_one_counts_on(valkey_url: str, prefix: str) -> None:
    with started(valkey_url, "--no-auth", "--processes", "2", "--prefix", prefix) as gateway:
        for n in range(40):  # each on a connection of its own, so that both get some
            assert ask_query(gateway.address, "ListQueues").status == 200
            if n % 10 == 9:
                assert requests(gateway.scraped()) == {("ListQueues", "200"): n + 1}
        pids = children(gateway.process.pid)
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for _ in range(10):
            with contextlib.suppress(OSError):
                while ask_query(gateway.address, "ListQueues").status != 200:
                    pass
        assert requests(gateway.scraped())["ListQueues", "200"] >= 40


def children(pid: int) -> list[int]:
    text = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True).stdout
    return [int(word) for word in re.findall(r"\d+", text)]


def test_throttled_requests_and_open_polls(valkey_url: str, prefix: str) -> None:
    with running(GatewaySettings(url=valkey_url, prefix=prefix, requests_per_second=0.001, request_burst=3)) as address:
        client = client_of(address)
        url = client.create_queue(QueueName="orders")["QueueUrl"]
        port = int(address.rpartition(":")[2])
        waiting = http.client.HTTPConnection("localhost", port, timeout=PATIENCE_S)
        body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20})
        waiting.request(
            "POST",
            "/",
            body,
            {
                "X-Amz-Target": "AmazonSQS.ReceiveMessage",
                "Content-Type": "application/x-amz-json-1.0",
                "Authorization": "AWS4-HMAC-SHA256 Credential=other/20260101/us-east-1/sqs/aws4_request",
            },
        )
        while value(found := scraped(f"{address}/metrics"), "rqsqs_gateway_open_polls") != 1:
            pass
        assert value(found, "rqsqs_gateway_throttled_requests_total") == 0
        waiting.close()
        while value(found := scraped(f"{address}/metrics"), "rqsqs_gateway_open_polls") != 0:
            pass
        assert requests(found)["ReceiveMessage", "499"] == 1
        client.list_queues()
        client.list_queues()
        with pytest.raises(client.exceptions.ClientError, match="throttled"):
            client.list_queues()
        assert value(scraped(f"{address}/metrics"), "rqsqs_gateway_throttled_requests_total") == 1


def test_a_server_that_is_away_is_down_and_the_gateway_still_tells_of_itself(prefix: str) -> None:
    with Server("valkey") as server, started(server.url, "--no-auth", "--prefix", prefix) as gateway:
        assert ask_query(gateway.address, "ListQueues").status == 200
        assert value(gateway.scraped(), "rqsqs_up") == 1
        server.kill9()
        while value(found := gateway.scraped(), "rqsqs_up") != 0:  # a reading is good for a second
            pass
        assert requests(found)["ListQueues", "200"] == 1
        assert not [name for name, _ in found if name.startswith("rqsqs_queue")]
        server.restart()
        while value(gateway.scraped(), "rqsqs_up") != 1:
            pass


def test_every_status_has_its_place() -> None:
    def classes(kind: type[RequestError]) -> Iterator[type[RequestError]]:
        yield kind
        for other in kind.__subclasses__():
            yield from classes(other)

    assert {refusals.TooBusy, errors.OverLimit} <= set(classes(RequestError))
    assert {kind.http_status for kind in classes(RequestError)} <= set(STATUSES)
    sources = "".join([path.read_text("utf-8") for path in (ROOT / "rqsqs" / "gateway").glob("*.py")])
    named = re.findall(r"(?:http_status = |Failed\(|self\._log\(exchange, )(\d{3})", sources)
    named += re.findall(r"http_status: ClassVar\[int\] = (\d{3})", (ROOT / "rqsqs" / "errors.py").read_text("utf-8"))
    assert len(named) > 10
    assert {int(status) for status in named} <= set(STATUSES)


def test_durations_fall_into_their_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts()

    class Exchange:
        action, started = "SendMessage", 0.0

    for took, bucket in ((0, 0), (249, 0), (250, 1), (499, 1), (500, 2), (32_767_999, 17), (32_768_000, 18)):
        before = counts.took("SendMessage")[0]
        monkeypatch.setattr("rqsqs.gateway.counts.time.perf_counter", lambda took=took: (took + 0.5) / 1e6)
        counts.note(Exchange(), 200)  # type: ignore[arg-type]
        after = counts.took("SendMessage")[0]
        assert [b - a for a, b in zip(before, after, strict=True)] == [int(n == bucket) for n in range(BUCKETS + 1)]
    assert UNIT_US * 2 ** (BUCKETS - 1) == 32_768_000
    assert counts.took("SendMessage")[1] == pytest.approx((249 + 250 + 499 + 500 + 32_767_999 + 32_768_000) / 1e6)


def test_what_a_dead_process_had_open_is_gone_and_what_it_counted_stays() -> None:
    counts = Counts(2)
    counts.take(1)
    counts.set_polls(5)
    counts.set_connections(7)
    counts.note_throttled()
    counts.take(0)
    counts.set_polls(1)
    counts.note_throttled()
    assert (counts.polls, counts.connections, counts.throttled) == (6, 7, 2)
    counts.take(1)
    assert (counts.polls, counts.connections, counts.throttled) == (1, 0, 2)
