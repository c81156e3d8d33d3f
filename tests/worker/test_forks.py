"""Children that handlers fork: they work for nobody, however they end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rqsqs
from tests.worker.programs import Program, is_alive, wait_for

APP = """\
import asyncio
import atexit
import multiprocessing
import os
import pathlib
import time

from rqsqs.worker import Worker

here = pathlib.Path(__file__).parent
worker = Worker(heartbeat_interval=0.2, concurrency=3)
atexit.register(lambda: (here / f"atexit-{os.getpid()}").touch())


def note(name, text=""):
    (here / name).write_text(f"{os.getpid()} {text}")


def come_back(how):
    pid = os.fork()
    if pid:
        note(f"forked-{how}", pid)
        return
    note(f"child-{how}")
    if how == "raise":
        raise ValueError("in the child")
    if how == "exit":
        sys.exit(7)
    if how == "text":
        sys.exit("no more")
    if how == "os._exit":
        os._exit(8)
    print("the child came back", how)


def lasting():
    note("child-lasting")
    while not (here / "end").exists():
        time.sleep(0.01)


def wait_and_see():
    process = multiprocessing.get_context("fork").Process(target=lasting)
    process.start()
    note("forked-lasting", process.pid)


def run_another():
    other = Worker(heartbeat_interval=0.2)

    @other.handler("others")
    def handle(message):
        note("handled-by-the-child", message.body)
        other.stop()

    other.run()
    note("the-child-is-done")


def handle(message):
    if message.body.startswith("how "):
        come_back(message.body[4:])
    elif message.body == "lasting":
        wait_and_see()
    elif message.body == "another":
        process = multiprocessing.get_context("fork").Process(target=run_another)
        process.start()
        process.join()
        note("exitcode", process.exitcode)
    else:
        with open(here / "handled", "a") as file:
            file.write(f"{os.getpid()} {message.body}\\n")


@worker.handler("plain")
def plain(message):
    handle(message)


@worker.handler("batch", batch=5)
def batch(messages):
    for message in messages:
        handle(message)


@worker.handler("coroutine")
async def coroutine(message):
    handle(message)
    if message.body == "how await":
        await asyncio.sleep(0.3)
    await asyncio.sleep(0)


@worker.handler("thread")
async def thread(message):
    await asyncio.to_thread(handle, message)
"""
Open = Callable[..., Program]


@pytest.fixture
def run(start: Open, tmp_path: Path, valkey_url: str, prefix: str) -> Any:
    """Start the application; its queues by name."""
    (tmp_path / "app.py").write_text(APP)
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queues = {name: connection.create_queue(name) for name in ("plain", "batch", "coroutine", "thread", "others")}
        yield lambda *arguments: (start("app", *arguments, PYTHONUNBUFFERED=""), queues)


def pid_of(program: Program, name: str) -> int:
    """The first number in a file."""
    numbers: list[str] = wait_for(lambda: program.has(name).split())  # it exists before it is written
    return int(numbers[0])


@pytest.mark.parametrize("kind", ["plain", "batch", "coroutine", "thread"])
@pytest.mark.parametrize("how", ["return", "raise", "exit", "text", "os._exit", "await"])
def test_a_child_that_comes_back_ends_and_handles_nothing(run: Any, kind: str, how: str) -> None:
    program, queues = run("--health-port", "0")
    program.ready()
    queue = queues[kind]
    queue.send(f"how {how}")
    child = pid_of(program, f"child-{how}")
    assert child != program.process.pid
    for n in range(30):
        queue.send(f"n{n}")
    handled = program.folder / "handled"
    wait_for(lambda: handled.exists() and len(handled.read_text().splitlines()) == 30, lambda: program.log)
    assert {int(line.split()[0]) for line in handled.read_text().splitlines()} == {program.process.pid}
    wait_for(lambda: not is_alive(child), lambda: program.log)
    assert [c.pid for c in queue.consumers()] == [program.process.pid]
    assert program.ready()["queues"][kind]["failed"] == 0
    if how == "return":
        program.says("the child came back return")
    if how == "raise":
        program.says("ValueError: in the child")
    if how == "text":
        program.says("no more")
    program.signal(signal.SIGTERM)
    assert program.ends() == 0
    assert not (program.folder / f"atexit-{child}").exists()
    assert (program.folder / f"atexit-{program.process.pid}").exists()
    wait_for(lambda: queue.counts().visible == queue.counts().in_flight == 0)


@pytest.mark.parametrize("kind", ["plain", "coroutine", "thread"])
def test_signals_to_a_child_are_its_own_and_the_port_is_free_without_the_worker(run: Any, kind: str) -> None:
    program, queues = run("--health-port", "0")
    program.ready()
    queues[kind].send("lasting")
    child = pid_of(program, "child-lasting")
    os.kill(child, signal.SIGTERM)  # goes to the parent's event loop if nobody takes care
    wait_for(lambda: not is_alive(child))
    queues[kind].send("n")
    program.has("handled")
    assert program.ready()["state"] == "running"
    (program.folder / "child-lasting").unlink()
    queues[kind].send("lasting")
    child = pid_of(program, "child-lasting")
    port = program.port
    program.process.kill()
    program.process.wait()
    try:
        assert is_alive(child)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
        with pytest.raises(OSError, match="refused"):
            http.client.HTTPConnection("127.0.0.1", port, timeout=60).connect()
    finally:
        (program.folder / "end").touch()
        wait_for(lambda: not is_alive(child))


def test_a_child_may_run_a_worker_of_its_own(run: Any) -> None:
    program, queues = run()
    queues["others"].send("hello")
    queues["plain"].send("another")
    assert program.has("handled-by-the-child").split()[1] == "hello"
    program.has("the-child-is-done")
    assert program.has("exitcode").split() == [str(program.process.pid), "0"]
    queues["plain"].send("n")
    assert pid_of(program, "handled") == program.process.pid


def test_the_supervisor_hears_nothing_of_children(run: Any) -> None:
    program, queues = run("--processes", "2", "--health-port", "0")
    pids = set(program.children())
    queues["plain"].send("lasting")
    child = pid_of(program, "child-lasting")
    worker = pid_of(program, "forked-lasting")
    assert worker in pids
    os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    wait_for(lambda: worker not in set(program.children()) and len(program.children()) == 2, lambda: program.log)
    assert time.monotonic() - began < 25
    (program.folder / "end").touch()
    wait_for(lambda: not is_alive(child))
    program.signal(signal.SIGTERM)
    assert program.ends() == 0
