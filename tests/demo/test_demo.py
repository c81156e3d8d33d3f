"""The demo proves what it says, and notices when it cannot."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs.cli.demo import BEAT_S, CACHE_JOB, operations
from rqsqs.cli.demo.operations import WORDED_TTL
from tests.clusters import client_of
from tests.servers import Server

pytest.importorskip("click")
pytest.importorskip("rich")

from rqsqs.cli.demo import show

EXAMPLE = Path(__file__).parents[2] / "examples" / "cache_job"


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RQSQS_")}
    return subprocess.run(
        [sys.executable, "-m", "rqsqs", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment,
    )


SUMMARY = ["sent", "deduplicated", "processed", "redelivered", "dead-lettered", "redriven", "throughput", "latency",
           "proof"]  # fmt: skip


def test_the_demo_comes_to_its_proof_without_a_server() -> None:
    result = demo("--messages", "1000")
    assert result.returncode == 0, result.stdout + result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == SUMMARY
    assert re.search(r"proof +the cache equals what the operations say: \d+ of \d+ keys", result.stdout)
    assert re.search(r"it held \d+ messages: visible after [\d.]+ s \(two heartbeat intervals", result.stderr)
    assert re.search(r"6 x .*CannotApply: ttl must be a positive number of seconds, got '…'", result.stderr)
    assert re.search(r"3 x .*CannotApply: operation must be store or remove, got 'delete'", result.stderr)
    assert "\x1b" not in result.stdout + result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert max(map(len, result.stderr.splitlines())) <= 80


def test_the_demo_runs_on_a_server_and_leaves_nothing_there(valkey_url: str, prefix: str) -> None:
    result = demo("--messages", "1000", "--url", valkey_url, "--prefix", prefix, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    summary = json.loads(result.stdout)
    assert summary["equal"] is True
    assert summary["failed"] == []
    assert summary["sent"] - summary["deduplicated"] == 1000
    assert summary["dead_lettered"] == summary["redriven"] == 9
    assert summary["redelivered"] >= summary["killed_worker_held"] > 0
    assert 0 < summary["back_after_seconds"] <= 2 * BEAT_S + show.SLACK_S
    assert summary["processed"] >= 1000
    assert 0 < summary["latency_p50_ms"] <= summary["latency_p99_ms"]
    with client_of(valkey_url) as server:
        assert list(server.scan_iter(match=f"{prefix}*")) == []


def processes_with(prefix: str) -> set[int]:
    """Those whose arguments or environment name it."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if prefix.encode() in (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes():
                found.add(int(folder.name))
    return found - {os.getpid()}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes through /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes(valkey_url: str, prefix: str, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "rqsqs", "demo", "-n", "5000", "--url", valkey_url, "--prefix", prefix]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    while "workers apply" not in said:
        line = process.stderr.readline()
        assert line, f"it ended: {said}"
        said += line
    wait_for(lambda: len(processes_with(prefix)) >= 8)  # the demo, a supervisor, four workers, two producers
    process.send_signal(number)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 130
    assert errors.endswith("rqsqs: interrupted\n")
    assert processes_with(prefix) == set()
    with client_of(valkey_url) as server:
        assert list(server.scan_iter(match=f"{prefix}*")) == []


@pytest.mark.parametrize("differs", [False, True])
def test_a_cache_that_differs_is_noticed(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, differs: bool
) -> None:
    def acts(demo: show.Show) -> dict[str, Any]:
        cache = operations.expected(demo.todo) | ({"nobody sent this": ("x", 3600)} if differs else {})
        for key, (value, ttl) in cache.items():
            demo.report.server.set(f"{demo.environment['CACHE_PREFIX']}:{key}", value, ex=ttl)
        numbers = dict.fromkeys(("back_after_seconds", "killed_worker_held", "redelivered", "messages_per_second"), 1)
        summary = demo.summary({**numbers, "dead_lettered": 0, "redriven": 0}, {})
        return {**summary, "latency_p50_ms": 1, "latency_p99_ms": 2}

    monkeypatch.setattr(show.Show, "run", acts)
    summary = show.run(valkey_url, 1000, prefix=prefix)
    assert summary["equal"] is not differs
    shown = "\n".join(show.summary_lines(summary))
    assert ("FAILED          it is not so that the cache equals what the operations say" in shown) is differs
    assert ("nobody sent this" in shown) is differs


def test_operations_come_from_real_files_and_are_the_same_every_time() -> None:
    todo = operations.make(1000)
    assert todo == operations.make(1000)
    assert len(todo) == 1000
    assert Counter(o["operation"] for o in todo).keys() == {"store", "remove", "delete"}
    assert sum(isinstance(o.get("ttl"), str) for o in todo) == 6
    assert sum(map(operations.is_poison, todo)) == 9
    assert all(o["key"].endswith(".py") for o in todo)


def test_what_is_expected_follows_the_order_of_each_key() -> None:
    def store(key: str, value: str, ttl: int | str = 60) -> operations.Operation:
        return {"operation": "store", "key": key, "value": value, "ttl": ttl}

    def remove(key: str) -> operations.Operation:
        return {"operation": "remove", "key": key}

    todo = [store("a", "1"), remove("b"), store("b", "2", "1h"), store("c", "3"), remove("c"), store("a", "4")]
    assert operations.expected(todo) == {"a": ("4", 60), "b": ("2", 3600)}


@pytest.fixture
def application(valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The application as the show runs it, imported anew, with a cache of its own; and the example's consumer."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    server = Server("valkey").start()
    monkeypatch.setenv("CACHE_URL", server.url)
    monkeypatch.setenv("CACHE_PREFIX", prefix)

    def load(**environment: str) -> tuple[Any, Any]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in ("consumer", "producer", "queues", "rqsqs.cli.demo.application"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        application = importlib.import_module("rqsqs.cli.demo.application")
        opened.extend((application.report.server, application.consumer.cache))
        return application, application.consumer

    opened: list[Any] = []
    yield load
    for client in opened:
        client.close()
    server.stop()
    for name in ("consumer", "producer", "queues", "rqsqs.cli.demo.application"):
        sys.modules.pop(name, None)


def message_of(version: int, **body: object) -> Any:
    return SimpleNamespace(body=body, attributes={"version": version}, receive_count=1, sent_at=datetime.now(UTC))


def test_applying_again_or_late_changes_nothing(application: Any) -> None:
    app, _ = application()

    def apply(*changes: tuple[str, int, str, int | None]) -> None:
        messages = [
            message_of(version, operation="remove", key=key)
            if ttl is None
            else message_of(version, operation="store", key=key, value=value, ttl=ttl)
            for key, version, value, ttl in changes
        ]
        assert app.apply(messages) == [None] * len(changes)

    apply(("a", 2, "new", 60), ("a", 1, "old", 60), ("b", 3, "x", 60), ("b", 4, "", None))
    apply(("b", 3, "x", 60), ("a", 2, "again", 60))
    assert {key: value for key, (value, _) in app.report.cache().items()} == {"a": "new"}
    assert app.report.counts()["processed"] == 6


def test_the_repaired_worker_understands_what_the_first_version_does_not(application: Any) -> None:
    poison = [
        message_of(7, operation="delete", key="a"),
        *(message_of(7, operation="store", key="a", value="x", ttl=ttl) for ttl in WORDED_TTL),
    ]
    _, consumer = application()
    for message in poison:
        with pytest.raises(consumer.CannotApply):
            consumer.change_of(message)
    _, consumer = application(CACHE_JOB_REPAIRED="1")
    assert [consumer.change_of(m) for m in poison] == [
        ("a", 7, "", ""), *(("a", 7, "x", ttl) for ttl in WORDED_TTL.values())
    ]  # fmt: skip


# The example


def test_the_package_brings_all_files_of_the_example_along() -> None:
    """As links to files: a link to the folder would be missing from the wheel."""
    assert {path.name: path.resolve() for path in CACHE_JOB.iterdir() if path.name != "__pycache__"} == {
        path.name: path for path in EXAMPLE.resolve().glob("*.py")
    }
    assert not CACHE_JOB.is_symlink()


@pytest.fixture
def example(tmp_path: Path, valkey_url: str) -> Iterator[Callable[..., Any]]:
    """Runs programs in a copy of the example, with a server of their own for the cache."""
    folder = tmp_path / "cache_job"
    shutil.copytree(EXAMPLE, folder)
    server = Server("valkey").start()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RQSQS_")}
    environment |= {"RQSQS_URL": valkey_url, "CACHE_URL": server.url}
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, wait: bool = True) -> Any:
        process = subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment)
        started.append(process)
        if wait:
            assert process.wait(30) == 0
        return process

    run.cache_url = server.url  # type: ignore[attr-defined]
    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
    server.stop()
    with rqsqs.connect(valkey_url) as connection:
        for queue in connection.queues(prefix="cache-operations"):
            connection.delete_queue(queue)


def wait_for(is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("command", [["consumer.py"], ["-m", "rqsqs", "worker", "consumer:worker", "--processes", "2"]])
def test_the_example_runs_as_its_readme_says(example: Any, valkey_url: str, tmp_path: Path, command: list[str]) -> None:
    files = {str(tmp_path / "data" / f"{i}.py"): f"content {i}" if i % 10 else "" for i in range(250)}
    (tmp_path / "data").mkdir()
    for name, content in files.items():
        Path(name).write_text("before" if content else "there for now")
    example("queues.py")
    example("producer.py", str(tmp_path / "data"))
    for name, content in files.items():
        Path(name).write_text(content)
    example("producer.py", str(tmp_path / "data"))
    worker = example(*command, wait=False)
    with (
        rqsqs.connect(valkey_url) as connection,
        redis.Redis.from_url(example.cache_url, decode_responses=True) as cache,
    ):
        queue, dead = connection.queue("cache-operations.fifo"), connection.queue("cache-operations-dead.fifo")
        queue.send({"operation": "store", "key": "a", "value": "x", "ttl": "1h"}, group="a", attributes={"version": 1})
        wait_for(lambda: queue.counts().visible + queue.counts().in_flight == 0)
        entries = {key.removeprefix("cache:"): cache.get(key) for key in cache.scan_iter("cache:*", count=1000)}
        digests = {
            name: hashlib.sha256(content.encode()).hexdigest()[:32] for name, content in files.items() if content
        }
        assert entries == digests
        (letter,) = dead.peek(10)
        assert letter.cause is not None
        assert letter.cause.type.endswith("CannotApply")
        assert letter.cause.failures == 1
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
