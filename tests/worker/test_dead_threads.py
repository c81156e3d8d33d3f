"""Threads of a worker that die, and handlers that raise what ends threads: the worker continues, and says so."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest

import rqsqs
from rqsqs import RetryPolicy, aio
from rqsqs.worker import restarting_thread
from rqsqs.worker.health import Health
from rqsqs.worker.restarting_thread import RestartingThread
from tests.raising import raise_in
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


def kill_at_work(thread: threading.Thread) -> bool:
    """Kill it where it does our work: not where Python starts threads, or logs, which bears no exception from outside.

    The killer is not interrupted between its look and the kill, and what it saw is where the exception arrives.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(10)
    try:
        frame = sys._current_frames().get(thread.ident or 0)
        codes: list[CodeType] = []
        while frame is not None:
            codes.append(frame.f_code)
            if frame.f_code is RestartingThread._try.__code__:
                break
            frame = frame.f_back
        starts = threading.Thread.start.__code__  # Python 3.11 would take the thread that is being started for it
        if frame is None or len(codes) < 2 or starts in codes or any("logging" in c.co_filename for c in codes):
            return False
        raise_in(thread, SystemExit)
        return True
    finally:
        sys.setswitchinterval(interval)


OTHERS: set[threading.Thread] = set()  # of tests before


@pytest.fixture(autouse=True)
def _others() -> None:
    OTHERS.clear()
    OTHERS.update(threading.enumerate())


def named(start: str) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(start) and t not in OTHERS]


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
        {"plain": plain, "coroutine": coroutine, "batch": batch}[kind], concurrency=2, heartbeat_interval=5,
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


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what a thread was killed at making
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_threads_that_are_killed_again_and_again_begin_anew(
    app: App, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All threads of the worker, at any moment; some messages fail for it, none is lost, and the worker continues."""
    q = app.queue(retry_policy=SOON)
    done: Counter[Any] = Counter()

    def plain(message: Any) -> None:
        time.sleep(0.002)
        done[message.body] += 1

    async def coroutine(message: Any) -> None:
        await asyncio.sleep(0.002)
        done[message.body] += 1

    worker = app.worker(concurrency=4, heartbeat_interval=0.3)
    worker.add("q", plain if kind == "plain" else coroutine)
    with caplog.at_level(logging.CRITICAL, "rqsqs.worker"):
        running = app.start(worker)
        killed = 0
        for n in range(40):
            send(q, range(n * 20, n * 20 + 20))
            for thread in named("rqsqs-worker") + named("rqsqs-heartbeat") + named("rqsqs-watch"):
                killed += kill_at_work(thread)
            time.sleep(0.01)
        assert killed > 40
        until(lambda: set(done) == set(range(800)), lambda: (len(done), q.counts(), worker.status()), 60)
        until(lambda: is_empty(q), lambda: (q.counts(), worker.status()), 60)
        until(lambda: worker.status()["is_live"] and worker.status()["is_ready"], worker.status)
        send(q, ["after"])
        until(lambda: done["after"] and is_empty(q), worker.status)
    deaths = [r for r in caplog.records if "died of SystemExit; it begins anew" in r.getMessage()]
    assert deaths
    assert all(r.exc_info for r in deaths)
    running.stop()
    assert not named("rqsqs-heartbeat")
    gc.collect()  # here, not in a test that has nothing to do with it


STEPS: dict[str, Callable[[Any], list[tuple[Any, str]]]] = {  # calls on the way of messages through a thread
    "what becomes of them": lambda runtime: [(runtime.settler, "outcomes")],
    "it is noted": lambda runtime: [(runtime.settler, "apply")],
    "the time that they took": lambda runtime: [(runtime.scheduler, "ended")],
    "who deletes them": lambda runtime: [(runtime.scheduler, "deletes_alone")],
    "they are deleted": lambda runtime: [(runtime.settler, "deleted")],
    "room for others": lambda runtime: [(runtime.scheduler, "free_slots")],
    "they get slots": lambda runtime: [(runtime.executor, "start")],
    "its recovery": lambda runtime: [(runtime.settler, "outcomes"), (runtime.executor, "_recover")],
}


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_thread_that_dies_between_two_steps_keeps_no_message_and_no_slot(
    app: App, monkeypatch: pytest.MonkeyPatch, step: str, is_late: bool
) -> None:
    q, other = app.queue(retry_policy=SOON), app.queue("other", retry_policy=SOON)
    done: Counter[Any] = Counter()

    def plain(message: Any) -> None:
        done[message.body] += 1

    async def coroutine(message: Any) -> None:
        done[message.body] += 1

    worker = app.worker(concurrency=3, heartbeat_interval=0.3)
    worker.add("q", plain)
    worker.add("other", coroutine)
    running = app.start(worker)
    runtime: Any = running.worker._runtime

    def dying(real: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if not threading.current_thread().name.startswith("rqsqs-worker-"):
                return real(*arguments, **options)
            calls.append(1)
            found = real(*arguments, **options) if is_late or len(calls) not in (1, 5) else None
            if len(calls) in (1, 5):
                raise SystemExit
            return found

        return call

    for place, name in STEPS[step](runtime):
        monkeypatch.setattr(place, name, dying(getattr(place, name), []))
    send(q, range(50))
    send(other, range(50, 100))
    until(lambda: set(done) == set(range(100)), lambda: (len(done), q.counts(), other.counts(), worker.status()))
    until(lambda: is_empty(q) and is_empty(other), lambda: (q.counts(), other.counts(), worker.status()))
    until(lambda: all(queue.running == 0 and not queue.held for queue in runtime.queues), worker.status)
    assert worker.status()["threads_restarted"] > 0


def test_the_heartbeat_goes_on_after_its_thread_died(app: App) -> None:
    q = app.queue()
    go = threading.Event()
    receives: list[int] = []

    def handle(message: Any) -> None:
        go.wait(30)
        receives.append(message.receive_count)

    send(q, ["a"])
    running = app.serve(handle, heartbeat_interval=2)
    until(lambda: q.counts().in_flight)
    runtime = running.worker._runtime
    assert runtime is not None
    for n in (1, 2):
        (thread,) = named("rqsqs-heartbeat")
        until(lambda: kill_at_work(thread))  # noqa: B023
        until(lambda: runtime.heartbeat.thread.deaths == n)  # noqa: B023
    since = runtime.heartbeat.last
    until(lambda: runtime.heartbeat.last > since + 2)
    assert running.worker.status()["threads_restarted"] == 2
    assert q.counts().in_flight == 1
    go.set()
    until(lambda: is_empty(q))
    assert receives == [1]


def test_a_place_that_nobody_takes_shows_in_the_status(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarting_thread, "MISSED_S", 0.05)
    monkeypatch.setattr(restarting_thread, "PAUSE_MAX_S", 3600.0)
    app.queue()
    running = app.serve(lambda message: None)
    assert running.worker.status()["is_live"]
    runtime = running.worker._runtime
    assert runtime is not None
    monkeypatch.setattr(runtime.heartbeat.thread, "_pause", 3600.0)
    (thread,) = named("rqsqs-heartbeat")
    until(lambda: kill_at_work(thread))
    runtime.heartbeat._wake.set()
    until(lambda: not running.worker.status()["is_live"])
    assert "threads_restarted" in running.worker.status()
    runtime.heartbeat.thread.abort()  # its pause of an hour is over
    until(lambda: running.worker.status()["is_live"])


def test_what_dies_soon_again_begins_anew_later_and_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    mended: list[BaseException] = []

    def run() -> None:
        if len(mended) < 12:
            raise SystemExit(len(mended))

    def mend(error: BaseException) -> None:
        mended.append(error)
        raise KeyboardInterrupt  # a mistake in there changes nothing

    thread = RestartingThread("x", run, mend)
    monkeypatch.setattr(thread._abort, "wait", pauses.append)
    thread.start()
    thread.join()
    assert len(mended) == 12
    assert pauses == sorted(pauses)
    assert pauses[0] == 2 * restarting_thread.PAUSE_S
    assert pauses[-1] == restarting_thread.PAUSE_MAX_S
    assert thread.is_healthy
    assert sum("died of SystemExit" in r.getMessage() for r in caplog.records) == 12


def test_health_checks_go_on_after_their_thread_died(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(lambda: {"is_live": True, "is_ready": True}, 0)
    health.start()
    try:
        (thread,) = named("rqsqs-health")
        until(lambda: kill_at_work(thread))
        socket.create_connection(health.address).close()  # it waits in the kernel, where no exception arrives
        until(lambda: "rqsqs-health died of SystemExit" in caplog.text)
        with urllib.request.urlopen(f"{health.url}/livez", timeout=60) as answer:
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


def test_a_worker_ends_at_once_though_its_threads_pause(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarting_thread, "PAUSE_MAX_S", 3600.0)
    app.queue()
    running = app.serve(lambda message: None)
    runtime = running.worker._runtime
    assert runtime is not None
    watched = [runtime.heartbeat.thread, runtime.executor._watching]
    for thread, name in zip(watched, ("rqsqs-heartbeat", "rqsqs-watch"), strict=True):
        monkeypatch.setattr(thread, "_pause", 3600.0)
        (one,) = named(name)
        until(lambda: kill_at_work(one))  # noqa: B023
    runtime.heartbeat._wake.set()
    runtime.executor._watch_wanted.set()
    until(lambda: all(thread.deaths for thread in watched))
    running.stop()
    until(lambda: not named("rqsqs-heartbeat") and not named("rqsqs-watch"))


STRAY = {"SystemExit": SystemExit(3), "KeyboardInterrupt": KeyboardInterrupt()}


@pytest.mark.parametrize("how", ["awaited", "group", "forgotten", "callback"])
@pytest.mark.parametrize("what", STRAY)
def test_what_a_task_of_a_handler_raises_does_not_end_the_worker(
    app: App, caplog: pytest.LogCaptureFixture, how: str, what: str
) -> None:
    """asyncio raises these out of the event loop, whoever awaits the task."""
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue="dead", max_receive_count=2, retry_policy=SOON)
    other = app.queue("other")
    seen: list[Any] = []
    go: list[asyncio.Event] = []
    tasks: list[asyncio.Task[None]] = []

    async def fail() -> None:
        raise STRAY[what]

    async def handle(message: Any) -> None:
        if message.body == "bad":
            if how == "group":
                async with asyncio.TaskGroup() as group:
                    tasks.append(group.create_task(fail()))
            else:
                tasks.append(asyncio.create_task(fail()))
                if how == "awaited":
                    await tasks[-1]
                elif how == "callback":
                    tasks[-1].add_done_callback(lambda task: throw(type(task.exception())))  # type: ignore[arg-type]
                await asyncio.sleep(0.01)
        seen.append(message.body)

    async def beside(message: Any) -> None:
        go.append(asyncio.Event())
        await go[0].wait()
        seen.append(message.receive_count)

    send(other, ["beside"])
    running = app.serve({"q": handle, "other": beside}, heartbeat_interval=5)
    until(lambda: go)
    send(q, ["bad"])
    if how in ("awaited", "group"):
        until(lambda: dead.counts().visible == 1)
        (letter,) = dead.receive()
        assert letter.cause
        assert (letter.cause.type, letter.cause.failures) == (what, 2)
    else:
        until(lambda: seen == ["bad"] and is_empty(q))
    send(q, ["good"])
    until(lambda: seen[-1:] == ["good"] and is_empty(q))
    assert running.worker.status()["is_ready"]
    running.worker._runtime.soon(go[0].set)  # type: ignore[union-attr]
    until(lambda: seen[-1] == 1 and is_empty(other))
    lines = [r for r in caplog.records if "in a task that a handler started" in r.getMessage()]
    assert len(lines) == len(tasks) * (2 if how == "callback" else 1)
    assert {r.exc_info[0].__name__ for r in lines if r.exc_info and r.exc_info[0]} == {what}
    running.stop()
    assert all(task.exception() is STRAY[what] for task in tasks)


def test_a_signal_handler_that_exits_ends_the_worker_and_gives_back_what_it_holds(app: App) -> None:
    """In the main thread, where Python runs signal handlers; as the loop waits."""
    q = app.queue()
    worker = app.worker(heartbeat_interval=5)
    has_begun = threading.Event()
    ends: list[Any] = []

    @worker.handler("q")
    async def handle(message: aio.Message) -> None:
        has_begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ends.append(message.body)

    def leave(*_: Any) -> None:
        raise SystemExit(7)

    def interrupt() -> None:
        assert has_begun.wait(60)
        signal.raise_signal(signal.SIGUSR1)

    send(q, ["a"])
    before = signal.signal(signal.SIGUSR1, leave)
    try:
        helper = threading.Thread(target=interrupt)
        helper.start()
        with pytest.raises(SystemExit) as found:
            worker.run()
        helper.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert found.value.code == 7
    assert ends == ["a"]
    (message,) = q.receive()
    assert (message.receive_count, message.failures) == (1, 0)
