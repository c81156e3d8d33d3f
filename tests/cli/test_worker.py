"""`rqsqs worker` in one process: options, logs, signals, which server."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rqsqs
from tests.cli import tools
from tests.cli.tools import Run, Terminal, wait_for
from tests.worker.conftest import Start, orders, start
from tests.worker.programs import APP, is_alive

__all__ = ["orders", "start"]  # fixtures

LAMBDA = """\
import pathlib


def lambda_handler(event, context):
    here = pathlib.Path(__file__).parent
    bodies = [record["body"] for record in event["Records"]]
    (here / "event").write_text(str(context.get_remaining_time_in_millis() <= 30_000))
    (here / "event").rename(here / f"event-{len(bodies)}")
    failed = [record["messageId"] for record in event["Records"] if record["body"] == "bad"]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}
"""


def total(queue: rqsqs.Queue) -> int:
    counts = queue.counts()
    return counts.visible + counts.delayed + counts.in_flight


def test_it_serves_until_sigterm_and_lines_name_the_message(start: Start, orders: rqsqs.Queue) -> None:
    program = start("app")
    sent = orders.send("a")
    program.has("done-a")
    program.signal(signal.SIGTERM)
    assert program.ends() == 0
    assert f"INFO {program.process.pid} app [orders {sent.message_id}] got a\n" in program.log
    assert f"INFO {program.process.pid} rqsqs.worker SIGTERM: stopping\n" in program.log


def test_json_lines_have_fields(start: Start, orders: rqsqs.Queue) -> None:
    program = start("app", "--json")
    sent = orders.send("a")
    program.has("done-a")
    consumer = orders.consumers()[0].consumer_id
    program.signal(signal.SIGINT)
    assert program.ends() == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in program.log.splitlines()]
    (line,) = [line for line in lines if line["logger"] == "app"]
    assert line | {"at": ""} == {
        "at": "",
        "level": "info",
        "pid": program.process.pid,
        "logger": "app",
        "consumer": consumer,
        "queue": "orders",
        "message_id": sent.message_id,
        "message": "got a",
        "receive_count": 1,
    }
    assert lines[0]["consumer"] == consumer
    assert lines[0]["queue"] is None


def test_a_failure_is_logged_with_its_traceback(start: Start, orders: rqsqs.Queue, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace('log.info("got %s", message.body)', "1 / 0"))
    program = start("app", "--json", "--log-level", "warning")
    orders.send("a")
    program.says("traceback.*\n")
    (line,) = [json.loads(line) for line in program.log.splitlines() if "traceback" in line]
    assert "ZeroDivisionError" in line["traceback"]
    program.signal(signal.SIGTERM)
    assert program.ends() == 0


def test_a_second_signal_gives_back(start: Start, orders: rqsqs.Queue) -> None:
    program = start("app:worker", "--shutdown-timeout", "1h")
    orders.send("slow")
    program.has("got-slow")
    program.signal(signal.SIGTERM)
    program.says("SIGTERM: stopping")
    program.signal(signal.SIGTERM)
    assert program.ends() == 0
    assert orders.counts().visible == 1


def test_grace_ends_what_takes_too_long(start: Start, orders: rqsqs.Queue) -> None:
    program = start("app.py", "--shutdown-timeout", "100ms", "--concurrency", "3", "--heartbeat-interval", "0.1")
    orders.send("slow")
    program.has("got-slow")
    assert orders.consumers()[0].concurrency == 3
    program.signal(signal.SIGTERM)
    assert program.ends() == 0
    assert orders.counts().visible == 1


def test_health_checks_from_the_beginning(start: Start, orders: rqsqs.Queue, tmp_path: Path) -> None:
    gate = 'while not (pathlib.Path(__file__).parent / "open").exists():\n    time.sleep(0.01)\n'
    (tmp_path / "app.py").write_text(APP + gate)
    program = start("app", "--health-port", "0")
    assert program.ask("/livez")[0] == 200
    code, status = program.ask("/readyz")
    assert (code, status["state"]) == (503, "loading")
    (tmp_path / "open").touch()
    assert program.ready()["queues"]["orders"]["state"] == "running"
    second = start("app", "--health-port", str(program.port))
    assert second.ends() == 1
    assert "Address already in use" in second.log


def test_some_of_its_queues(start: Start, orders: rqsqs.Queue, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP + '\n\nworker.add("nothing", handle)\n')
    program = start("app", "--queue", "orders", "--health-port", "0")
    assert list(program.ready()["queues"]) == ["orders"]
    second = start("app", "-q", "other")
    assert second.ends() == 2
    assert "rqsqs: the worker has no handler for the queue 'other'; its queues: orders, nothing\n" in second.log


@pytest.mark.parametrize("target", ["my_lambda", "my_lambda:lambda_handler", "./my_lambda.py"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_lambda_function(start: Start, orders: rqsqs.Queue, tmp_path: Path, target: str, processes: str) -> None:
    (tmp_path / "my_lambda.py").write_text(LAMBDA)
    orders.send_batch(["good", "bad", "good"])
    options = ("--batch", "3", "--timeout", "30s", "--concurrency", "1", "--processes", processes)
    program = start(target, "--lambda", "orders", *options)
    assert program.has("event-3") == "True"
    wait_for(lambda: total(orders) == 1)
    both = orders.peek(10, state="in_flight") + orders.peek(10)  # it may be tried again between the two calls
    assert {m.body for m in both} <= {"bad"}
    program.signal(signal.SIGTERM)
    assert program.ends() == 0


def test_which_server(
    start: Start, orders: rqsqs.Queue, tmp_path: Path, valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--url comes before the Worker's own, which comes before RQSQS_URL."""
    nowhere = "redis://127.0.0.1:1/0"
    (tmp_path / "mine.py").write_text(APP.replace("Worker(", f"Worker('{valkey_url}', prefix='{prefix}', "))
    (tmp_path / "wrong.py").write_text(APP.replace("Worker(", f"Worker('{nowhere}', prefix='other', "))
    (tmp_path / "none.py").write_text(APP.replace("Worker(", "Worker(None, "))
    programs = [
        start("mine", "--health-port", "0", RQSQS_URL=nowhere, RQSQS_PREFIX="other"),
        start("wrong", "--health-port", "0", "--url", valkey_url, "--prefix", prefix, RQSQS_URL=nowhere),
        start("wrong", "--health-port", "0", "-p", "2", "--url", valkey_url, "--prefix", prefix, RQSQS_URL=nowhere),
        start("none", "--health-port", "0"),
    ]
    for program in programs:
        program.ready()
    assert len(orders.consumers()) == 5
    failed = start("wrong")
    assert failed.ends() == 3


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")
def test_a_closed_terminal_stops_it_gracefully(start: Start, orders: rqsqs.Queue) -> None:
    program = start("app")
    orders.send("slow")
    program.has("got-slow")
    program.signal(signal.SIGHUP)
    program.says("SIGTERM: stopping")
    (program.folder / "go").touch()
    assert program.ends() == 0
    assert (program.folder / "done-slow").exists()


TAKE = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "rqsqs", "worker", *sys.argv[1:]])
"""


@pytest.fixture
def terminal(
    orders: rqsqs.Queue, tmp_path: Path, valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terminal]:
    """Two processes in a terminal whose Ctrl-C and end come as signals; they handle a message."""
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.setattr(tools, "COMMAND", [sys.executable, "-c", TAKE])
    root = str(Path(__file__).parents[2])
    environment = {"RQSQS_URL": valkey_url, "RQSQS_PREFIX": prefix, "PYTHONPATH": root}
    terminal = Terminal(200, str(tmp_path / "app.py"), "--processes", "2", **environment)
    try:
        wait_for(lambda: len(orders.consumers()) == 2)
        orders.send("slow")
        wait_for((tmp_path / "got-slow").exists)
        yield terminal
    finally:
        (tmp_path / "go").touch()
        terminal.process.kill()
        terminal.process.wait()


def test_ctrl_c_in_a_terminal_is_one_signal_for_all_processes(
    terminal: Terminal, orders: rqsqs.Queue, tmp_path: Path
) -> None:
    terminal.press("\x03")
    terminal.read_until("stopping 2 processes")
    wait_for(lambda: len(orders.consumers()) == 1)
    assert orders.counts().in_flight == 1
    (tmp_path / "go").touch()
    assert terminal.end() == 0
    assert (tmp_path / "done-slow").exists()


def test_a_terminal_that_goes_away_stops_all_processes(terminal: Terminal, orders: rqsqs.Queue, tmp_path: Path) -> None:
    pids = [c.pid for c in orders.consumers()]
    os.close(terminal._leader)
    wait_for(lambda: len(orders.consumers()) == 1)
    (tmp_path / "go").touch()
    assert terminal.process.wait(60) == 0
    assert not any(map(is_alive, pids))
    assert (tmp_path / "done-slow").exists()
    assert orders.consumers() == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("app", "--batch", "3"), "--batch and --timeout go with --lambda"),
        (("app", "--timeout", "3"), "--batch and --timeout go with --lambda"),
        (("app", "--lambda", "a", "--queue", "b"), "--lambda names the queue: leave --queue out"),
        (("app", "--reload-dir", "."), "--reload-dir goes with --reload"),
        (("app", "--reload", "--reload-dir", "nothing"), "there is no folder 'nothing' to watch"),
        (("app", "--processes", "0"), "0 is not in the range"),
        (("app", "--concurrency", "0"), "0 is not in the range"),
        (("app", "--shutdown-timeout", "soon"), "'soon' is not a duration"),
        ((), "Missing argument 'TARGET'"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], text: str) -> None:
    assert text in run("worker", *arguments, code=2).stderr


def test_reload_without_watchfiles(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert run("worker", "app", "--reload", code=2).stderr == (
        "rqsqs: --reload needs watchfiles: pip install 'rqsqs[cli]'\n"
    )
