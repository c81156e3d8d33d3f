"""Handlers that do not end keep no process that was told to stop, and no message."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rqsqs
from tests.worker.conftest import Start
from tests.worker.programs import ROOT, TIMEOUT_S, wait_for

GRACE_S = 0.3
APP = f"""\
import asyncio
import concurrent.futures
import pathlib
import time

from rqsqs.worker import Worker

worker = Worker(heartbeat_interval=5, shutdown_timeout={GRACE_S})
begun = pathlib.Path(__file__).parent / "begun"


@worker.handler("plain")
def plain(message):
    begun.touch()
    time.sleep(1000)


@worker.handler("executor")
def executor(message):
    concurrent.futures.ThreadPoolExecutor().submit(time.sleep, 1000)
    begun.touch()


@worker.handler("to_thread")
async def to_thread(message):
    calls = [asyncio.to_thread(time.sleep, 1000) for _ in range(100)]
    asyncio.get_running_loop().call_later(0.1, begun.touch)
    await asyncio.gather(*calls)


@worker.handler("swallows")
async def swallows(message):
    begun.touch()
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass


@worker.handler("blocks")
async def blocks(message):
    begun.touch()
    time.sleep(1000)


@worker.handler("blocks_at_the_end")
async def blocks_at_the_end(message):
    begun.touch()
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        time.sleep(1000)


if __name__ == "__main__":
    worker.run()
    print("run has returned", flush=True)
"""
STUCK = ("plain", "to_thread", "swallows", "blocks", "blocks_at_the_end")


@pytest.fixture
def queues(valkey_url: str, prefix: str, start: Start, tmp_path: Path) -> Iterator[dict[str, rqsqs.Queue]]:
    """Of the application, in whose folder it is."""
    (tmp_path / "app.py").write_text(APP)
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        yield {name: connection.create_queue(name) for name in (*STUCK, "executor")}


@pytest.mark.parametrize("form", [(), ("--processes", "2")])
@pytest.mark.parametrize("name", [*STUCK, "executor"])
def test_a_worker_process_ends(start: Start, queues: dict[str, rqsqs.Queue], name: str, form: tuple[str, ...]) -> None:
    program = start("app", *form)
    queues[name].send("a")
    program.has("begun")
    program.signal(signal.SIGTERM)
    assert program.ends() == 0  # while a handler would go on for 1000 s
    assert "is killed" not in program.log
    if name != "executor":
        counts = queues[name].counts()
        assert (counts.visible, counts.in_flight) == (1, 0)
        assert queues[name].receive()[0].receive_count == 1, "the receive that was given back does not count"
        program.says(f"their messages are given back: app.{name} of {name}")


@pytest.mark.parametrize("name", ["blocks", "to_thread"])
def test_a_second_signal_ends_it_without_the_grace(start: Start, queues: dict[str, rqsqs.Queue], name: str) -> None:
    program = start("app", "--shutdown-timeout", "1h")
    queues[name].send("a")
    program.has("begun")
    program.signal(signal.SIGINT)
    for _ in range(12):
        time.sleep(0.1)  # two at once would be one
        program.signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it was busy, and two were one
            program.process.wait(5)
            break
    assert program.ends() == 0
    assert queues[name].counts().visible == 1


@pytest.mark.parametrize("name", STUCK)
def test_a_program_that_calls_run_ends(
    valkey_url: str, prefix: str, tmp_path: Path, queues: dict[str, rqsqs.Queue], name: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RQSQS_URL": valkey_url, "RQSQS_PREFIX": prefix}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "app.py"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        queues[name].send("a")
        wait_for((tmp_path / "begun").exists)
        process.send_signal(signal.SIGTERM)
        shown, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f"given back: __main__.{name} of {name}" in shown
    assert ("run has returned" in shown) == (not name.startswith("blocks"))
    assert (queues[name].counts().visible, queues[name].counts().in_flight) == (1, 0)
