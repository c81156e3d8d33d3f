"""What happens to a server or a queue is one line in the log, however many queues and threads meet it."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

import rqsqs
from rqsqs.errors import ConnectionFailed
from rqsqs.models import Statistics
from rqsqs.worker import heartbeat, scheduler
from rqsqs.worker.error_reports import RECEIVE, ErrorReports
from rqsqs.worker.supervisor_link import Reporter
from tests.raising import raise_in
from tests.servers import Server
from tests.worker.serving import App, is_empty, released, until
from tests.worker.test_dead_threads import named

LOST, BACK = "the server cannot be used", "the server is back"


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """The lines that begin so."""
    caplog.set_level(logging.DEBUG, "rqsqs.worker")
    return lambda start: [r.getMessage() for r in caplog.records if r.getMessage().startswith(start)]


@pytest.mark.parametrize("kind", ["busy", "idle"])
def test_a_lost_server_is_one_line_and_its_return_another(
    own: App, server: Server, told: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "ERROR_PAUSES_S", (0.1, 0.3))
    if kind == "idle":
        monkeypatch.setattr(heartbeat, "IDLE_S", 0.3)
    queues = [own.queue(f"q{n}") for n in range(20)]
    go, begun = threading.Event(), []

    def handle(message: rqsqs.Message) -> None:
        begun.append(message.body)
        go.wait(60)

    if kind == "busy":
        for queue in queues:
            queue.send("x")
    with released(go):
        running = own.serve(dict.fromkeys((q.name for q in queues), handle), concurrency=10, heartbeat_interval=0.3)
        until(lambda: kind == "idle" or len(begun) == 10)
        server.kill9()
        until(lambda: told(LOST))
        until(lambda: len(told("cannot ")) > 20, lambda: str(told("cannot ")), 60)
        assert not running.worker.status()["is_ready"]
        server.start()
        until(lambda: told(BACK), running.worker.status, 60)
        until(lambda: running.worker.status()["is_ready"], running.worker.status, 60)
    until(lambda: all(is_empty(q) for q in queues), seconds=60)
    running.stop()
    assert (len(told(LOST)), len(told(BACK))) == (1, 1)


def test_an_idle_worker_beats_again_soon_after_a_heartbeat_failed(own: App, server: Server, told: Any) -> None:
    """And not half a minute later: so long it would not be ready."""
    own.queue()
    running = own.serve(lambda message: None, heartbeat_interval=0.3)
    found = running.worker._runtime
    assert found is not None
    beat, fails = found.heartbeat._beat, threading.Event()

    def failing(queue: Any) -> None:
        if not fails.is_set():
            fails.set()
            raise ConnectionFailed("away", request_sent=False)
        beat(queue)

    found.heartbeat._beat = failing  # type: ignore[method-assign]
    found.heartbeat.wake()
    (thread,) = named("rqsqs-heartbeat")
    found.heartbeat.idle = 0.1
    found.heartbeat._wake.set()
    until(fails.is_set, seconds=60)
    found.heartbeat.idle = 3600.0
    until(lambda: told(BACK), running.worker.status)
    assert running.worker.status()["is_ready"]
    assert thread.is_alive()


def test_connections_that_broke_are_one_line(own: App, told: Any) -> None:
    q = own.queue()
    go, begun = threading.Event(), threading.Event()

    def handle(message: rqsqs.Message) -> None:
        begun.set()
        go.wait(60)

    q.send("x")
    with released(go):
        own.serve(handle, heartbeat_interval=0.3)
        until(begun.is_set)
        own.redis().client_kill_filter(_type="normal", skipme=True)
        until(lambda: [line for line in told("") if line.endswith("broke and were opened again")])
        assert not told(LOST)
    until(lambda: is_empty(q))


def test_a_failover_is_told_once(told: Any) -> None:
    now = Statistics()
    reports = ErrorReports(lambda: now)
    for queue in ("a", "b"):
        reports.ended(queue, RECEIVE, ConnectionFailed("away", request_sent=False))
    now = Statistics(failovers=1, connections_lost=2)
    reports.ended("a", RECEIVE, None)
    assert not told(BACK), "b has not got through yet"
    reports.ended("b", RECEIVE, None)
    reports.check()
    (line,) = told(BACK)
    assert line.endswith(": another server has taken over")
    now = Statistics(failovers=2, connections_lost=4)
    reports.check()
    reports.check()
    assert told("another server") == ["another server has taken over; no call failed"]
    assert (len(told(LOST)), len(told(BACK))) == (1, 1)


def test_the_move_task_of_a_vanished_queue_is_one_line(app: App, caplog: pytest.LogCaptureFixture) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue="dead", max_receive_count=1, visibility_timeout=0)
    q.send_batch(list(range(20)))
    assert len(q.receive(20)) == 20
    assert not q.receive()
    dead.redrive(max_per_second=1)
    app.connection.delete_queue(dead)

    until(lambda: not named("rqsqs-move-dead"), lambda: str(threading.enumerate()), 60)
    (line,) = [r for r in caplog.records if r.getMessage().startswith("rqsqs-move-dead")]
    assert line.getMessage() == "rqsqs-move-dead ended: the queue 'dead' does not exist"
    assert not line.exc_info


def test_a_password_that_is_demanded_now_is_told_so(own: App, server: Server, told: Any) -> None:
    """The server answers long requests of those who have not logged in with a protocol error."""
    own.queue()
    running = own.serve(lambda message: None, heartbeat_interval=0.3)
    own.redis().config_set("requirepass", "new")
    with Redis.from_url(own.url, password="new") as client:
        client.client_kill_filter(_type="normal", skipme=True)
        until(lambda: [line for line in told(LOST) if "put the password into the URL" in line])
        assert not [line for line in told(LOST) if "bug" in line]
        assert not running.worker.status()["is_ready"]
        client.config_set("requirepass", "")
    until(lambda: told(BACK))


def test_a_worker_of_many_queues_gets_to_all_of_them(app: App) -> None:
    """With ten slots; each look at all queues takes a time that grows with their number, not with its square."""
    queues = [app.queue(f"q{n}") for n in range(300)]
    done: list[Any] = []

    def handle(message: rqsqs.Message) -> None:
        done.append(message.body)

    app.serve(dict.fromkeys((q.name for q in queues), handle), heartbeat_interval=5)
    for n, queue in enumerate(queues):
        queue.send(n)
    until(lambda: len(done) == 300, lambda: str(len(done)), 60)


def test_a_reporter_whose_thread_dies_goes_on(told: Any) -> None:
    ours, theirs = socket.socketpair()
    stopped = threading.Event()
    worker: Any = SimpleNamespace(
        status=lambda: {"state": "running", "is_ready": True, "is_live": True},
        settings=SimpleNamespace(shutdown_timeout=1.0),
        _guard=None,
        stop=stopped.set,
    )
    ours.settimeout(60)
    with ours:
        reporter = Reporter(theirs.detach())
        reporter._worker = worker
        reporter.start()
        lines = ours.makefile("rb")
        assert json.loads(lines.readline())["state"] == "running"
        (thread,) = named("rqsqs-reporter")
        raise_in(thread, SystemExit)
        until(lambda: told("the thread rqsqs-reporter died of SystemExit; it begins anew"))
        since = time.monotonic()
        while time.monotonic() - since < 1.5:  # what it says each second
            assert json.loads(lines.readline())["is_live"]
        ours.sendall(b"stop\n")
        until(stopped.is_set)
        lines.close()
    until(lambda: not named("rqsqs-reporter"))
    reporter._socket.close()
