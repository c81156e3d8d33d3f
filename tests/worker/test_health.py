"""Health checks over HTTP, and what they judge by."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs.worker import Worker, process
from rqsqs.worker.health import Health
from tests.servers import Server
from tests.worker.programs import wait_for


class Status(dict[str, Any]):
    """What a test says of the worker."""

    def __call__(self) -> Status:
        if self.get("raises"):
            raise ValueError("no")
        return self


@pytest.fixture
def status() -> Status:
    return Status(is_live=True, is_ready=False, state="starting")


@pytest.fixture
def health(status: Status) -> Iterator[Health]:
    health = Health(status, 0)
    health.start()
    yield health
    health.stop()


def ask(health: Health, path: str, method: str = "GET") -> tuple[int, bytes]:
    request = urllib.request.Request(health.url + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_each_path_judges_by_its_own_claim(health: Health, status: Status) -> None:
    assert ask(health, "/livez") == (200, json.dumps(status).encode() + b"\n")
    assert ask(health, "/readyz")[0] == 503
    status["is_ready"] = True
    assert ask(health, "/readyz?verbose=1")[0] == 200
    status["is_live"] = False
    code, body = ask(health, "/livez")
    assert code == 503
    assert json.loads(body) == status


def test_head_has_no_body(health: Health) -> None:
    assert ask(health, "/livez", "HEAD") == (200, b"")
    assert ask(health, "/readyz", "HEAD") == (503, b"")


def test_there_is_nothing_else(health: Health) -> None:
    assert ask(health, "/")[0] == 404
    assert ask(health, "/livez", "POST")[0] == 501


def test_a_status_that_fails_is_not_well(health: Health, status: Status) -> None:
    status["raises"] = True
    code, body = ask(health, "/livez")
    assert code == 503
    assert json.loads(body) == {"error": "ValueError('no')"}


def test_a_client_that_says_nothing_keeps_nobody_waiting(health: Health) -> None:
    with socket.create_connection(health.address):
        assert ask(health, "/livez")[0] == 200


def test_a_port_that_is_taken(health: Health, status: Status) -> None:
    host, port = health.address
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} for health checks: Address already in use"):
        Health(status, port, host).start()


def test_an_address_that_is_not_ours(status: Status) -> None:
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid:0 for health checks: "):
        Health(status, 0, "no.such.host.invalid").start()


def test_ipv6(status: Status) -> None:
    health = Health(status, 0, "::1")
    try:
        health.start()
    except OSError:
        pytest.skip("no IPv6 here")
    assert health.url.startswith("http://[::1]:")
    assert ask(health, "/livez")[0] == 200
    health.stop()


def test_a_loop_that_hangs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "RESPONSE_S", 0.05)
    loop = asyncio.new_event_loop()
    probe = process.LoopProbe(loop)
    assert probe.is_responsive()  # it was asked just now
    wait_for(lambda: not probe.is_responsive())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    wait_for(probe.is_responsive)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    wait_for(lambda: not probe.is_responsive())


def test_a_worker_tells_its_state(valkey_url: str, prefix: str) -> None:
    worker = Worker(valkey_url, prefix=prefix)
    worker.add("orders", lambda message: None)
    assert worker.status() == {"state": "stopped", "is_ready": False, "is_live": True}
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        connection.create_queue("orders")
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        status = wait_for(lambda: (now := worker.status())["is_ready"] and now)
        assert status["state"] == "running"
        assert status["is_live"]
        assert status["queues"] == {"orders": {"state": "running", "in_flight": 0, "succeeded": 0, "failed": 0}}
        assert status["statistics"] == dataclasses.asdict(rqsqs.Statistics())
        worker.stop()
        thread.join()
    assert worker.status()["state"] == "stopped"


def test_a_worker_without_its_server_is_live_but_not_ready(prefix: str) -> None:
    with Server("valkey") as server:
        with rqsqs.connect(server.url, prefix=prefix) as connection:
            connection.create_queue("orders").send("x")
        worker = Worker(server.url, prefix=prefix, heartbeat_interval=0.05, shutdown_timeout=0.1)
        begun, hold = threading.Event(), threading.Event()
        worker.add("orders", lambda message: begun.set() or hold.wait())
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        wait_for(begun.is_set)  # and so the heartbeat does not rest
        runtime = worker._runtime
        assert runtime is not None
        runtime.heartbeat.idle = 0.1  # instead of half a minute
        server.kill9()
        wait_for(lambda: not worker.status()["is_ready"])
        assert worker.status()["is_live"]
        server.restart()
        with rqsqs.connect(server.url, prefix=prefix) as connection:
            connection.create_queue("orders")
        wait_for(lambda: worker.status()["is_ready"])
        hold.set()
        worker.stop()
        thread.join()


def test_a_worker_tells_what_its_connections_went_through(prefix: str) -> None:
    with Server("valkey") as server, rqsqs.connect(server.url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        queue.send("x")
        worker = Worker(server.url, prefix=prefix, heartbeat_interval=0.05, concurrency=2)
        hold = threading.Event()
        worker.add("orders", lambda message: hold.wait())
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        with redis.Redis.from_url(server.url) as client:
            wait_for(lambda: client.info("clients")["blocked_clients"])
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_for(lambda: worker.status()["statistics"]["connections_lost"])
        wait_for(lambda: queue.consumers()[0].statistics.connections_lost)
        hold.set()
        worker.stop()
        thread.join()


def test_configure_changes_what_was_chosen() -> None:
    worker = Worker("redis://localhost/1", concurrency=3)
    worker.add("a", lambda message: None)
    worker.add("b", lambda message: None)
    worker.configure(shutdown_timeout=1.5, queues=["b"])
    assert (worker.settings.concurrency, worker.settings.shutdown_timeout, list(worker.handlers)) == (3, 1.5, ["b"])
    with pytest.raises(rqsqs.UsageError, match="no handler for the queue 'a'; its queues: b"):
        worker.configure(queues=["a"])
    with pytest.raises(rqsqs.InvalidParameterValue, match="concurrency"):
        worker.configure(concurrency=0)


def test_a_running_worker_is_not_configured(valkey_url: str, prefix: str) -> None:
    worker = Worker(valkey_url, prefix=prefix)
    worker.add("orders", lambda message: None)
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        connection.create_queue("orders")
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: worker.status()["is_ready"])
        with pytest.raises(rqsqs.UsageError, match="is running"):
            worker.configure(shutdown_timeout=1)
    finally:
        worker.stop()
        thread.join()


def test_what_an_error_quotes_is_escaped_and_bounded() -> None:
    def fail() -> dict[str, Any]:
        raise ValueError("\x9b31m\u202e" + "x" * 100_000)

    health = Health(fail, 0)
    health.start()
    try:
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(f"{health.url}/livez", timeout=30)
        body = failed.value.read().decode()
    finally:
        health.stop()
    assert failed.value.code == 503
    assert len(body) < 2000
    assert body.removesuffix("\n").isprintable()
    assert "ValueError" in json.loads(body)["error"]
