"""Threads of a worker that die, and handlers that raise what ends threads: the worker goes on, and says so."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import sys
import threading
import time
import urllib.request
from collections import Counter
from typing import Any

import pytest

import rqsqs
from rqsqs import RetryPolicy
from rqsqs.worker import threads
from rqsqs.worker.health import Health
from rqsqs.worker.threads import Lasting
from tests.worker.serving import App, is_empty, send, until

SOON = RetryPolicy(base=0.01, cap=0.02)
ENDS = {
    "sys.exit": lambda: sys.exit(3),
    "SystemExit": lambda: throw(SystemExit),
    "KeyboardInterrupt": lambda: throw(KeyboardInterrupt),
    "GeneratorExit": lambda: throw(GeneratorExit),
    "CancelledError": lambda: throw(asyncio.CancelledError),
    "MemoryError": lambda: throw(MemoryError),
    "RecursionError": lambda: deeper(),
    "StopIteration": lambda: throw(StopIteration),
    "BaseException": lambda: throw(BaseException),
    "untellable": lambda: throw(Untellable),
}
NAMES = {"sys.exit": "SystemExit", "CancelledError": "asyncio.exceptions.CancelledError",
         "untellable": "tests.worker.test_dead_threads.Untellable"}  # fmt: skip


class Untellable(Exception):
    def __str__(self) -> str:
        raise SystemExit("its text")


def throw(kind: type[BaseException]) -> None:
    raise kind


def deeper() -> None:
    deeper()


def kill(thread: threading.Thread, kind: type[BaseException] = SystemExit) -> None:
    """Raise an exception in a thread, at its next step of Python."""
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(kind)) == 1


def named(start: str) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(start)]


@pytest.fixture(autouse=True)
def _no_others() -> None:
    """Threads of other tests have ended."""
    until(lambda: not named("rqsqs-worker") and not named("rqsqs-heartbeat"))


@pytest.mark.parametrize("kind", ["plain", "coroutine", "batch"])
@pytest.mark.parametrize("how", ENDS)
def test_whatever_a_handler_raises_is_a_failure_of_its_message(app: App, kind: str, how: str) -> None:
    if kind == "coroutine" and how == "StopIteration":
        pytest.skip("Python itself makes a RuntimeError of it")
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue="dead", max_receive_count=2, retry_policy=SOON)
    done: list[Any] = []

    def plain(message: Any) -> None:
        if message.body == "bad":
            ENDS[how]()
        done.append(message.body)

    async def coroutine(message: Any) -> None:
        await asyncio.sleep(0)
        plain(message)

    def batch(messages: list[Any]) -> None:
        for message in messages:
            plain(message)

    send(q, ["bad"])
    running = app.serve(
        {"plain": plain, "coroutine": coroutine, "batch": batch}[kind], concurrency=2,
        **({"batch": 1} if kind == "batch" else {}),
    )  # fmt: skip
    until(lambda: dead.counts().visible == 1)
    send(q, ["good"])
    until(lambda: done == ["good"] and is_empty(q))
    (letter,) = dead.receive()
    assert letter.cause
    assert letter.cause.type == NAMES.get(how, how)
    assert letter.cause.failures == 2
    assert running.worker.status()["is_ready"]
    assert running.worker.status()["is_live"]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_threads_that_are_killed_again_and_again_are_replaced(
    app: App, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All threads of the worker, at any moment; some messages fail for it, none is lost, and the worker goes on."""
    q = app.queue(retry_policy=SOON)
    done: Counter[Any] = Counter()

    def plain(message: Any) -> None:
        time.sleep(0.002)
        done[message.body] += 1

    async def coroutine(message: Any) -> None:
        await asyncio.sleep(0.002)
        done[message.body] += 1

    worker = app.worker(concurrency=4, beat=0.3)
    worker.add("q", plain if kind == "plain" else coroutine)
    with caplog.at_level(logging.CRITICAL, "rqsqs.worker"):
        running = app.start(worker)
        killed = 0
        for n in range(40):
            send(q, range(n * 20, n * 20 + 20))
            for thread in named("rqsqs-worker") + named("rqsqs-heartbeat") + named("rqsqs-watch"):
                with contextlib.suppress(AssertionError):
                    kill(thread)
                    killed += 1
            time.sleep(0.01)
        assert killed > 40
        until(lambda: set(done) == set(range(800)), lambda: (len(done), q.counts(), worker.status()), 60)
        until(lambda: is_empty(q), lambda: (q.counts(), worker.status()), 60)
        until(lambda: worker.status()["is_live"] and worker.status()["is_ready"], worker.status)
        send(q, ["after"])
        until(lambda: done["after"] and is_empty(q), worker.status)
    deaths = [r for r in caplog.records if "died of SystemExit; another takes its place" in r.getMessage()]
    assert deaths
    assert all(r.exc_info for r in deaths)
    running.stop()
    assert not named("rqsqs-heartbeat")


def test_the_heartbeat_goes_on_after_its_thread_died(app: App) -> None:
    q = app.queue()
    go = threading.Event()
    receives: list[int] = []

    def handle(message: Any) -> None:
        go.wait(30)
        receives.append(message.receive_count)

    send(q, ["a"])
    running = app.serve(handle, beat=2)
    until(lambda: q.counts().in_flight)
    runtime = running.worker._runtime
    assert runtime is not None
    for n in (1, 2):
        (heart,) = named("rqsqs-heartbeat")
        kill(heart)
        until(lambda: runtime.heart.thread.deaths == n)  # noqa: B023
    since = runtime.heart.last
    until(lambda: runtime.heart.last > since + 2)
    assert running.worker.status()["threads_replaced"] == 2
    assert q.counts().in_flight == 1
    go.set()
    until(lambda: is_empty(q))
    assert receives == [1]


def test_a_place_that_nobody_takes_shows_in_the_status(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.sleep
    monkeypatch.setattr(threads, "MISSED_S", 0.05)
    pauses = threading.Event()
    monkeypatch.setattr(threads.time, "sleep", lambda seconds: pauses.wait(30) if seconds > 100 else real(seconds))
    monkeypatch.setattr(threads, "PAUSE_MAX_S", 3600.0)
    app.queue()
    running = app.serve(lambda message: None)
    assert running.worker.status()["is_live"]
    runtime = running.worker._runtime
    assert runtime is not None
    monkeypatch.setattr(runtime.heart.thread, "_pause", 3600.0)
    (heart,) = named("rqsqs-heartbeat")
    kill(heart)
    runtime.heart._wake.set()
    until(lambda: not running.worker.status()["is_live"])
    assert "threads_replaced" in running.worker.status()
    pauses.set()  # its pause of an hour is over
    until(lambda: running.worker.status()["is_live"])


def test_what_dies_soon_again_is_replaced_later_and_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    mended: list[BaseException] = []
    monkeypatch.setattr(threads.time, "sleep", pauses.append)

    def run() -> None:
        if len(mended) < 12:
            raise SystemExit(len(mended))

    def mend(error: BaseException) -> None:
        mended.append(error)
        raise KeyboardInterrupt  # a mistake in there changes nothing

    thread = Lasting("x", run, mend)
    thread.start()
    thread.join()
    assert len(mended) == 12
    assert pauses == sorted(pauses)
    assert pauses[0] == 2 * threads.PAUSE_S
    assert pauses[-1] == threads.PAUSE_MAX_S
    assert thread.is_well
    assert sum("died of SystemExit" in r.getMessage() for r in caplog.records) == 12


def test_health_checks_go_on_after_their_thread_died(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(lambda: {"is_live": True, "is_ready": True}, 0)
    health.start()
    try:
        (thread,) = named("rqsqs-health")
        kill(thread)
        until(lambda: "rqsqs-health died of SystemExit" in caplog.text)
        with urllib.request.urlopen(f"{health.url}/livez", timeout=20) as answer:
            assert answer.status == 200
    finally:
        health.stop()


def test_a_logger_that_raises_costs_no_slot(app: App) -> None:
    class Rude(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if "failed" in record.getMessage():
                raise ValueError("in a filter")
            return True

    log = logging.getLogger("rqsqs.worker")
    rude = Rude()
    log.addFilter(rude)
    try:
        dead = app.queue("dead")
        q = app.queue(dead_letter_queue="dead", max_receive_count=2, retry_policy=SOON)

        def handle(message: rqsqs.Message) -> None:
            raise LookupError("why")

        send(q, range(5))
        running = app.serve(handle, concurrency=1)
        until(lambda: dead.counts().visible == 5 and is_empty(q))
        assert {m.cause.type for m in dead.receive(10) if m.cause} == {"LookupError"}
        assert running.worker.status()["queues"]["q"]["in_flight"] == 0
    finally:
        log.removeFilter(rude)
