"""Workers that end: what is finished, what is given back, what is never left behind."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from rqsqs import Message, aio
from rqsqs.errors import QueueDoesNotExist, ServerError, UsageError
from rqsqs.worker import Context, Worker
from rqsqs.worker.heartbeat import Heartbeat
from rqsqs.worker.runtime import Runtime
from tests.servers import free_port
from tests.worker.serving import App, is_empty, released, send, until


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_is_running_is_finished_and_the_rest_was_never_received(app: App, kind: str, name: str) -> None:
    q = app.queue(name)
    begun: list[Any] = []
    done: list[Any] = []

    def plain(message: Message) -> None:
        begun.append(message.body)
        time.sleep(0.2)
        done.append(message.body)

    async def coroutine(message: aio.Message) -> None:
        begun.append(message.body)
        await asyncio.sleep(0.2)
        done.append(message.body)

    send(q, range(50), (lambda body: f"g{body}") if q.is_fifo else None)
    running = app.serve({name: plain if kind == "plain" else coroutine}, concurrency=5)
    until(lambda: len(begun) == 5)
    running.stop()
    assert sorted(done) == sorted(begun)
    assert len(begun) < 15
    counts = q.counts()
    assert (counts.visible, counts.in_flight) == (50 - len(done), 0)
    left = q.receive(100)
    assert {m.receive_count for m in left} == {1}, "given back uncounted"


def test_what_waits_behind_others_in_a_thread_goes_back_uncounted(app: App) -> None:
    q = app.queue()
    done: list[Any] = []

    def handle(message: Message) -> None:
        if message.body == "slow":
            time.sleep(0.3)
        done.append(message.body)

    send(q, range(500))
    running = app.serve(handle, concurrency=20)
    until(lambda: len(done) == 500)  # bursts of quick ones from now on
    send(q, ["slow"] * 20 + list(range(500, 1000)))
    until(lambda: q.counts().in_flight)
    running.stop()
    counts = q.counts()
    assert counts.in_flight == 0
    assert counts.visible == 1020 - len(done)
    assert {m.receive_count for m in q.receive(1000)} <= {1}


def test_quick_work_is_stopped_anywhere_with_nothing_in_flight_and_nothing_twice(app: App) -> None:
    q = app.queue()
    done: list[Any] = []
    counts: list[int] = []

    def handle(message: Message) -> None:
        done.append(message.body)
        counts.append(message.receive_count)

    n = 5000
    send(q, range(n))
    rounds = 0
    while not is_empty(q):
        enough = min(len(done) + 200, n)
        with app.serve(handle, concurrency=8):
            while len(done) < enough:
                time.sleep(0.0005)
        assert q.counts().in_flight == 0
        assert q.counts().visible == n - len(done)
        rounds += 1
    assert sorted(done) == list(range(n))
    assert set(counts) == {1}
    assert rounds > 3


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_after_the_grace_everything_is_given_back(app: App, kind: str) -> None:
    go = threading.Event()
    q = app.queue()
    ends: list[Any] = []
    contexts: list[Context] = []

    def plain(message: Message, context: Context) -> None:
        contexts.append(context)
        go.wait(60)
        ends.append(context.is_lost)

    async def coroutine(message: aio.Message, context: Context) -> None:
        contexts.append(context)
        try:
            await asyncio.sleep(60)
        except BaseException as e:
            ends.append(type(e))
            raise

    q.send("a")
    with released(go):
        running = app.serve(plain if kind == "plain" else coroutine, shutdown_timeout=0.2)
        until(lambda: contexts)
        start = time.monotonic()
        running.stop()
        assert 0.2 <= time.monotonic() - start < 30
        assert contexts[0].is_lost
        (m,) = q.receive()
        assert m.receive_count == 1, "the receive that was given back does not count"
    until(lambda: ends)
    assert ends == [True if kind == "plain" else asyncio.CancelledError]
    m.change_visibility(5)  # it is still ours: the one that went on for nothing did not delete it


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_second_stop_gives_everything_back_at_once(app: App, name: str) -> None:
    go = threading.Event()
    begun: list[Any] = []
    q = app.queue(name)
    send(q, range(3), (lambda body: f"g{body}") if q.is_fifo else None)

    def handle(message: Message) -> None:
        begun.append(message)
        go.wait(60)

    with released(go):
        running = app.serve({name: handle}, shutdown_timeout=60)
        until(lambda: len(begun) == 3)
        running.worker.stop()
        time.sleep(0.1)
        assert running.thread.is_alive()
        assert running.worker.status()["state"] == "stopping"
        start = time.monotonic()
        running.stop()
        assert time.monotonic() - start < 30
        assert (q.counts().visible, q.counts().in_flight) == (3, 0)
        assert {m.receive_count for m in q.receive(10)} == {1}


def test_a_worker_ends_though_the_system_gives_no_more_threads(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    q = app.queue()
    begun: list[Any] = []
    go = threading.Event()

    def handle(message: Message) -> None:
        begun.append(message.body)
        go.wait(20)

    send(q, range(3))
    with released(go):
        running = app.serve(handle, concurrency=5, shutdown_timeout=0.1)
        until(lambda: len(begun) == 3)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            running.stop()
        assert (q.counts().visible, q.counts().in_flight) == (3, 0)


def test_finished_messages_are_deleted_before_the_end(app: App) -> None:
    for _ in range(10):
        q = app.queue()
        send(q, range(7))
        done: list[Any] = []
        running = app.serve(lambda m: done.append(m.body), concurrency=7)  # noqa: B023
        until(lambda: len(done) == 7)  # noqa: B023
        running.stop()
        assert is_empty(q)


def test_a_failure_at_the_very_end_is_recorded(app: App) -> None:
    q = app.queue()
    begun = threading.Event()

    def handle(message: Message) -> None:
        begun.set()
        time.sleep(0.1)
        raise ValueError("late")

    q.send("a")
    running = app.serve(handle)
    assert begun.wait(60)
    running.stop()
    (m,) = [*q.peek(1), *q.peek(1, state="in_flight")][:1]
    assert m.cause is not None
    assert m.cause.message == "late"


def test_it_signs_off(app: App) -> None:
    q = app.queue()
    running = app.serve(print_nothing)
    (c,) = q.consumers()
    assert (c.consumer_id, c.is_alive, c.state, c.concurrency) == (running.consumer_id, True, "running", 10)
    running.stop()
    assert q.consumers() == []


def print_nothing(message: Message) -> None: ...


def test_stop_before_run(app: App) -> None:
    q = app.queue()
    q.send("a")
    worker = app.worker()
    got: list[Any] = []
    worker.add("q", got.append)
    worker.stop()
    app.start(worker).ended()
    assert not got
    assert q.counts().visible == 1
    with app.start(worker):  # and then it runs
        until(lambda: got and is_empty(q))


@pytest.mark.parametrize("step", ["_create_queues", "heartbeat.start"])
def test_a_worker_that_is_stopped_while_it_starts_begins_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    """A process ends with the loop that a handler blocks, if it is told to end while that one runs: not before."""
    q = app.queue()
    q.send("a")
    worker = app.worker()
    got: list[Any] = []

    @worker.handler("q")
    async def handle(message: aio.Message) -> None:
        got.append(message.body)

    owner, name = (Heartbeat, "start") if step == "heartbeat.start" else (Runtime, step)
    real = getattr(owner, name)

    def stopped_meanwhile(self: Any) -> None:
        real(self)
        worker.stop()

    monkeypatch.setattr(owner, name, stopped_meanwhile)
    with caplog.at_level(logging.INFO, "rqsqs.worker"):
        app.start(worker).ended()
    assert " serves " not in caplog.text
    assert not got
    assert q.consumers() == []
    (message,) = q.peek()
    assert (message.body, message.receive_count) == ("a", 0)
    monkeypatch.undo()
    with app.start(worker):
        until(lambda: got and is_empty(q))


def test_a_worker_runs_again_after_it_was_stopped(app: App) -> None:
    q = app.queue()
    got: list[Any] = []
    worker = app.worker()
    worker.add("q", got.append)
    names = set()
    for n in range(3):
        with app.start(worker) as running:
            names.add(running.consumer_id)
            q.send(n)
            until(lambda n=n: len(got) == n + 1 and is_empty(q))
        assert worker.status() == {"state": "stopped", "is_ready": False, "is_live": True}
    assert len(names) == 3


def test_a_worker_runs_once_at_a_time(app: App) -> None:
    app.queue()
    worker = app.worker()
    worker.add("q", print_nothing)
    with app.start(worker):
        with pytest.raises(UsageError, match="running already"):
            worker.run()
        with pytest.raises(UsageError, match="is running"):
            worker.configure(concurrency=3)
        assert worker.status()["state"] == "running"


def test_a_queue_that_is_missing_is_an_error_at_the_start(app: App) -> None:
    app.queue("a")
    worker = app.worker()
    worker.add("a", print_nothing)
    worker.add("b", print_nothing)
    with pytest.raises(QueueDoesNotExist, match="'b'"):
        worker.run()
    app.queue("b")
    with app.start(worker):
        assert worker.status()["state"] == "running"


def test_a_server_that_is_missing_is_an_error_at_the_start(prefix: str) -> None:
    worker = Worker(f"redis://127.0.0.1:{free_port()}/0", prefix=prefix)
    worker.add("q", print_nothing)
    with pytest.raises(ServerError):
        worker.run()


def test_serve_in_a_loop_of_the_application(app: App) -> None:
    q = app.queue()
    got: list[Any] = []

    async def handle(message: aio.Message) -> None:
        await asyncio.sleep(0)
        got.append((message.body, asyncio.get_running_loop()))

    async def main() -> asyncio.AbstractEventLoop:
        worker = app.worker()
        worker.add("q", handle)
        serving = asyncio.create_task(worker.serve())
        send(q, range(20))
        while len(got) < 20 or not is_empty(q):
            await asyncio.sleep(0.01)
        worker.stop()
        await asyncio.wait_for(serving, 10)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others
        return asyncio.get_running_loop()

    loop = asyncio.run(main())
    assert {where for _, where in got} == {loop}


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_task_that_serves_can_be_cancelled(app: App, kind: str) -> None:
    """Everything is given back at once."""
    q = app.queue()
    begun: list[Any] = []
    go = threading.Event()

    async def coroutine(message: aio.Message) -> None:
        begun.append(message.body)
        await asyncio.sleep(30)

    def plain(message: Message) -> None:
        begun.append(message.body)
        go.wait(60)

    async def main() -> None:
        worker = app.worker(heartbeat_interval=5.0)
        worker.add("q", coroutine if kind == "coroutine" else plain)
        serving = asyncio.create_task(worker.serve())
        while len(begun) < 3:
            await asyncio.sleep(0.01)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, 10)
        assert worker.status()["state"] == "stopped"

    send(q, range(3))
    with released(go):
        asyncio.run(main())
        counts = q.counts()
        assert (counts.visible, counts.in_flight) == (3, 0)


def test_several_workers_in_one_loop(app: App) -> None:
    q = app.queue()
    got: list[Any] = []

    async def handle(message: aio.Message, context: Context) -> None:
        await asyncio.sleep(0.005)
        got.append((message.body, context.consumer_id))

    async def main() -> None:
        workers = [app.worker(concurrency=3) for _ in range(3)]
        for worker in workers:
            worker.add("q", handle)
        serving = [asyncio.create_task(worker.serve()) for worker in workers]
        while len(got) < 200:
            await asyncio.sleep(0.01)
        for worker in workers:
            worker.stop()
        await asyncio.gather(*serving)

    send(q, range(200))
    asyncio.run(main())
    assert sorted(body for body, _ in got) == list(range(200))
    assert len({consumer for _, consumer in got}) == 3
    assert is_empty(q)


def test_drain_finishes_and_takes_no_more(app: App) -> None:
    go = threading.Event()
    q = app.queue()
    begun: list[Any] = []

    def handle(message: Message) -> None:
        begun.append(message.body)
        go.wait(60)

    send(q, range(10))
    with released(go):
        running = app.serve(handle, concurrency=2, heartbeat_interval=0.1)
        until(lambda: len(begun) == 2)
        assert q.drain(running.consumer_id)
        until(lambda: running.worker.status()["state"] == "stopping")
        assert [c.state for c in q.consumers()] in (["drain"], ["draining"])
        go.set()
        running.ended()
    assert len(begun) == 2
    assert (q.counts().visible, q.counts().in_flight) == (8, 0)
    assert running.worker.status()["state"] == "drained"


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_evict_gives_everything_back_at_once(app: App, kind: str) -> None:
    go = threading.Event()
    q = app.queue()
    contexts: list[Context] = []
    ends: list[Any] = []

    def plain(message: Message, context: Context) -> None:
        contexts.append(context)
        go.wait(60)

    async def coroutine(message: aio.Message, context: Context) -> None:
        contexts.append(context)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append(1)
            raise

    send(q, range(10))
    with released(go):
        running = app.serve(
            plain if kind == "plain" else coroutine, concurrency=2, heartbeat_interval=0.1, shutdown_timeout=0.5
        )
        until(lambda: len(contexts) == 2)
        assert q.evict(running.consumer_id)
        until(lambda: (q.counts().visible, q.counts().in_flight) == (10, 0))
        until(lambda: all(c.is_lost for c in contexts))
        running.ended()
        if kind == "coroutine":
            until(lambda: len(ends) == 2)
    assert {m.receive_count for m in q.receive(10)} == {1}


def test_an_order_concerns_one_queue_the_others_are_served_on(app: App) -> None:
    a, b = app.queue("a"), app.queue("b")
    got: list[Any] = []

    async def coroutine(message: aio.Message) -> None:
        await asyncio.sleep(30)  # it is cancelled
        got.append(message.body)

    send(a, range(20))
    running = app.serve({"a": coroutine, "b": lambda m: got.append(m.body)}, concurrency=4, heartbeat_interval=0.1)
    until(lambda: a.counts().in_flight == 4)
    a.evict(running.consumer_id)
    until(lambda: (a.counts().visible, a.counts().in_flight) == (20, 0))
    for n in range(100, 120):
        b.send(n)
    until(lambda: len(got) == 20 and is_empty(b))
    status = running.worker.status()
    assert status["state"] == "running"
    assert {name: queue["state"] for name, queue in status["queues"].items()} == {"a": "evicted", "b": "running"}
    running.stop()
    assert a.counts().visible == 20


def test_a_worker_that_is_being_drained_finishes_when_it_is_stopped(app: App) -> None:
    go = threading.Event()
    q = app.queue()
    send(q, ["long"])
    with released(go):
        running = app.serve(lambda _: go.wait(60), heartbeat_interval=0.1)
        until(lambda: q.counts().in_flight == 1)
        q.drain(running.consumer_id)
        until(lambda: running.worker.status()["state"] == "stopping")
        running.worker.stop()  # its first stop: the order was none
        go.set()
        running.ended()
    assert is_empty(q)


def test_a_worker_that_was_evicted_from_all_queues_does_not_wait_for_its_handlers(app: App) -> None:
    go = threading.Event()
    q = app.queue()
    send(q, ["long"])
    with released(go):
        running = app.serve(lambda _: go.wait(60), heartbeat_interval=0.1, shutdown_timeout=60)
        until(lambda: q.counts().in_flight == 1)
        q.evict(running.consumer_id)
        running.ended()
        assert q.counts().visible == 1
