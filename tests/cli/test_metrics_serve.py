"""`rqsqs metrics serve`, as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("click")
pytest.importorskip("prometheus_client")

import redis

import rqsqs
from rqsqs.cli.acl_rules import rules
from rqsqs.metrics.exposition import TEXT
from tests.cli.tools import COMMAND, wait_for
from tests.metrics.test_prometheus import Series, series
from tests.servers import Server

Start = Callable[..., "Serving"]


class Serving:
    """The command, and where it answers."""

    def __init__(self, *options: str) -> None:
        command = [*COMMAND, "metrics", "serve", "--port", "0", "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.url: str = json.loads(line)["url"] if line else ""

    def scraped(self, query: str = "", **headers: str) -> Series:
        request = urllib.request.Request(self.url + query, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return series(answer.read().decode(), TEXT)

    @property
    def is_up(self) -> bool:
        return bool(self.scraped(**SHORTLY)["rqsqs_up", frozenset()])

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said


SHORTLY = {"X-Prometheus-Scrape-Timeout-Seconds": "1"}


def visible(found: Series, queue: str) -> float | None:
    return found.get(("rqsqs_queue_messages", frozenset({("queue", queue), ("state", "visible")})))


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Serving] = []

    def make(*options: str) -> Serving:
        started.append(Serving(*options))
        return started[-1]

    yield make
    for serving in started:
        serving.process.kill()
        serving.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_queues_of_a_prefix_are_scraped_until_a_signal_comes(
    start: Start, valkey_url: str, prefix: str, number: signal.Signals
) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        connection.create_queue("orders").send("x")
    with rqsqs.connect(valkey_url, prefix=f"{prefix}-other") as connection:
        connection.create_queue("theirs")
        try:
            serving = start("--url", valkey_url, "--prefix", prefix)
            found = serving.scraped()
            assert visible(found, "orders") == 1
            assert visible(found, "theirs") is None
        finally:
            connection.delete_queue("theirs")
    code, said = serving.end(number)
    assert code == 0
    assert said == f"Prometheus can scrape {serving.url}; Ctrl-C ends it\n"


def test_a_port_that_is_taken_is_said_in_a_line(start: Start, valkey_url: str) -> None:
    port = start("--url", valkey_url).url.split(":")[2].partition("/")[0]
    second = start("--url", valkey_url, "--port", port).process
    said = second.communicate(timeout=60)[1]
    assert (second.returncode, said) == (
        1,
        f"rqsqs: cannot listen on port {port} of 127.0.0.1: Address already in use; choose another port or address\n",
    )


def test_an_exporter_that_may_only_read_is_enough(start: Start) -> None:
    with Server("valkey") as server:
        with rqsqs.connect(server.url) as connection:
            connection.create_queue("orders").send("x")
            connection.create_queue("letters.fifo").send("x", group="a")
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("ACL", "SETUSER", "watcher", *rules("exporter", "rqsqs", ()), ">secret")
        url = server.url.replace("redis://", "redis://watcher:secret@")
        found = start("--url", url).scraped()
        assert [visible(found, name) for name in ("orders", "letters.fifo")] == [1, 1]
        assert found["rqsqs_up", frozenset()] == 1


def test_a_server_that_freezes_or_dies_is_down_until_it_is_back(start: Start) -> None:
    with Server("valkey") as server:
        with rqsqs.connect(server.url) as connection:
            connection.create_queue("orders").send("x")
        serving = start("--url", server.url)
        assert visible(serving.scraped(), "orders") == 1
        os.kill(server.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: not serving.is_up)
            assert visible(serving.scraped(**SHORTLY), "orders") is None
        finally:
            os.kill(server.pid, signal.SIGCONT)
        wait_for(lambda: serving.is_up)
        server.kill9()
        wait_for(lambda: not serving.is_up)
        server.restart()
        wait_for(lambda: serving.is_up)
        code, said = serving.end(signal.SIGTERM)
        assert code == 0
        assert "Traceback" not in said
        assert 1 <= said.count("rqsqs_up is 0 until this is mended") <= 3  # not once for each scrape
