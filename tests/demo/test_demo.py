"""The demo proves what it says, and notices when it cannot."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

import rqsqs
from rqsqs.demo import cache_job, operations

pytest.importorskip("click")
pytest.importorskip("rich")

from rqsqs.demo import show

EXAMPLE = Path(__file__).parents[2] / "examples" / "cache_job"


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RQSQS_")}
    return subprocess.run(
        [sys.executable, "-m", "rqsqs", "demo", *arguments], capture_output=True, text=True, timeout=55, env=environment
    )


def test_the_demo_comes_to_its_proof_without_a_server() -> None:
    result = demo("--messages", "600")
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line.split()[0] for line in result.stdout.splitlines()]
    assert lines == ["sent", "deduplicated", "received", "redelivered", "dead-lettered", "redriven", "throughput",
                     "latency", "proof"]  # fmt: skip
    assert re.search(r"proof +the cache equals what the operations say: \d+ of \d+ keys", result.stdout)
    assert "was killed with SIGKILL" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_the_demo_runs_on_a_server_and_leaves_nothing_there(valkey_url: str, prefix: str) -> None:
    result = demo("--messages", "400", "--url", valkey_url, "--prefix", prefix, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    summary = json.loads(result.stdout)
    assert summary["equal"] is True
    assert summary["sent"] - summary["deduplicated"] == 400
    assert summary["dead_lettered"] == summary["redriven"] == 6
    assert summary["redelivered"] >= 6 * (cache_job.MAX_RECEIVES - 1)
    assert summary["received"] >= 400 + 6 * (cache_job.MAX_RECEIVES - 1)
    with redis.Redis.from_url(valkey_url) as server:
        assert list(server.scan_iter(match=f"{prefix}*")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes(valkey_url: str, prefix: str, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "rqsqs", "demo", "-n", "50000", "--url", valkey_url, "--prefix", prefix]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "consumers apply" not in process.stderr.readline():
        pass
    time.sleep(0.5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.endswith("rqsqs: interrupted\n")
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert prefix not in found
    with redis.Redis.from_url(valkey_url) as server:
        assert list(server.scan_iter(match=f"{prefix}*")) == []


def test_a_cache_that_differs_is_noticed(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = operations.expected

    def wrong(todo: list[operations.Operation]) -> dict[str, tuple[str, int]]:
        cache = right(todo)
        cache["nobody sent this"] = ("x", 3600)
        return cache

    monkeypatch.setattr(operations, "expected", wrong)
    assert show.run(valkey_url, 200, prefix=prefix) == 1
    shown = capsys.readouterr().out
    assert "FAILED          it is not so that the cache equals what the operations say" in shown
    assert "nobody sent this" in shown


def test_operations_come_from_real_files_and_are_the_same_every_time() -> None:
    todo = operations.make(1000)
    assert todo == operations.make(1000)
    assert len(todo) == 1000
    assert {o["operation"] for o in todo} == {"store", "remove"}
    assert sum(isinstance(o.get("ttl"), str) for o in todo) == 6
    assert all(o["key"].endswith(".py") for o in todo)


def test_what_is_expected_follows_the_order_of_each_key() -> None:
    def store(key: str, value: str, ttl: int | str = 60) -> operations.Operation:
        return {"operation": "store", "key": key, "value": value, "ttl": ttl}

    def remove(key: str) -> operations.Operation:
        return {"operation": "remove", "key": key}

    todo = [store("a", "1"), remove("b"), store("b", "2", "1h"), store("c", "3"), remove("c"), store("a", "4")]
    assert operations.expected(todo) == {"a": ("4", 60), "b": ("2", 3600)}


def test_applying_again_or_late_changes_nothing(valkey_url: str, prefix: str) -> None:
    with redis.Redis.from_url(valkey_url) as server:
        cache = cache_job.Cache(server, prefix)
        cache.apply_all([(2, "a", "new", 60), (1, "a", "old", 60), (3, "b", "x", 60), (4, "b", "", 0)])
        cache.apply_all([(3, "b", "x", 60), (2, "a", "again", 60)])
        assert {key: value for key, (value, _) in cache.content().items()} == {"a": "new"}


def test_the_example_runs_as_its_readme_says(valkey_url: str) -> None:
    environment = {**os.environ, "RQSQS_URL": valkey_url}
    subprocess.run([sys.executable, EXAMPLE / "producer.py", "200"], check=True, timeout=30, env=environment)
    consumer = subprocess.Popen([sys.executable, EXAMPLE / "consumer.py"], env=environment)
    with rqsqs.connect(valkey_url, prefix="cache-job") as connection:
        queue = connection.queue(cache_job.QUEUE)
        deadline = time.monotonic() + 20
        while (counts := queue.counts()).visible + counts.in_flight and time.monotonic() < deadline:
            time.sleep(0.05)
        consumer.send_signal(signal.SIGINT)
        assert consumer.wait(10) == 0
        assert queue.counts().visible == 0
        for found in list(connection.queues()):
            connection.delete_queue(found)
