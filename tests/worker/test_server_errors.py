"""Errors while workers work: of the server, the queue, the connections. They continue by themselves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

import rqsqs
from rqsqs import Message, RetryPolicy, aio
from rqsqs.errors import ServerError
from rqsqs.worker import Context, runtime, scheduler
from tests.clusters import masters_of
from tests.servers import Server
from tests.worker.serving import App, is_empty, released, send, until

SOON = RetryPolicy(base=0.02, cap=0.05)


class Pace:
    """A handler of both kinds that takes a little, and counts."""

    def __init__(self, seconds: float = 0.005) -> None:
        self.seconds = seconds
        self.done: Counter[Any] = Counter()

    def plain(self, message: Message) -> None:
        time.sleep(self.seconds)
        self.done[message.body] += 1

    async def coroutine(self, message: aio.Message) -> None:
        await asyncio.sleep(self.seconds)
        self.done[message.body] += 1

    def of(self, kind: str) -> Any:
        return self.plain if kind == "plain" else self.coroutine


@pytest.mark.parametrize("how", ["kill9", "restart", "freeze"])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_the_server_goes_away_and_comes_back(own: App, server: Server, kind: str, how: str) -> None:
    q = own.queue()
    pace = Pace()
    send(q, range(400))
    running = own.serve(pace.of(kind), concurrency=4, heartbeat_interval=0.3, socket_timeout=2.0)
    until(lambda: len(pace.done) > 50)
    if how == "kill9":
        server.kill9()
        time.sleep(0.3)
        server.start()
    elif how == "restart":
        server.restart()
    else:
        server.freeze()
        time.sleep(1.0)
        server.thaw()
    until(lambda: set(pace.done) == set(range(400)) and is_empty(q), lambda: (len(pace.done), q.counts()))
    until(lambda: running.worker.status()["is_ready"])
    q.send("after")
    until(lambda: pace.done["after"] and is_empty(q))
    running.stop()


def test_an_idle_worker_survives_a_restart_of_the_server(own: App, server: Server) -> None:
    q = own.queue()
    pace = Pace()
    running = own.serve(pace.plain)
    time.sleep(0.2)
    server.restart()
    with rqsqs.connect(own.url, prefix=own.prefix, socket_timeout=9.0) as connection:
        send(connection.queue("q"), range(5))
    until(lambda: len(pace.done) == 5 and is_empty(q))
    running.stop()


def test_a_worker_stops_while_the_server_is_away(own: App, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "DRAIN_TIMEOUT_S", 1.0)
    q = own.queue()
    pace = Pace(0.05)
    send(q, range(50))
    running = own.serve(pace.plain, concurrency=4, heartbeat_interval=0.2)
    until(lambda: len(pace.done) > 5)
    server.kill9()
    time.sleep(0.2)
    start = time.monotonic()
    running.stop()
    assert time.monotonic() - start < 150
    server.start()
    until(lambda: q.counts().in_flight == 0)
    assert q.counts().visible >= 50 - len(pace.done)


def test_connections_are_cut_and_scripts_forgotten(app: App) -> None:
    q = app.queue(retry_policy=SOON)
    done: Counter[Any] = Counter()
    failed: Counter[Any] = Counter()

    def handle(message: Message) -> None:
        time.sleep(0.001)
        if message.body % 20 == 0 and not message.failures:
            failed[message.body] += 1
            raise ValueError
        done[message.body] += 1

    send(q, range(800))
    app.serve(handle, concurrency=5, heartbeat_interval=0.2)
    n = 0
    with masters_of(app.url) as masters:
        while not is_empty(q):
            n += 1
            for master in masters:
                master.script_flush() if n % 2 else master.client_kill_filter(_type="normal")
            time.sleep(0.02)
            assert n < 600, (q.counts(), len(done))
    assert set(done) == set(range(800))
    assert n > 5


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_queue_is_deleted_under_the_hands_of_its_worker(app: App, kind: str, name: str) -> None:
    q, other = app.queue(name), app.queue("other")
    contexts: list[Context] = []
    pace = Pace()
    go = threading.Event()

    def plain(message: Message, context: Context) -> None:
        contexts.append(context)
        go.wait(60)

    async def coroutine(message: aio.Message, context: Context) -> None:
        contexts.append(context)
        await asyncio.sleep(60)

    send(q, range(3), (lambda body: f"g{body}") if q.is_fifo else None)
    with released(go):
        handlers = {name: plain if kind == "plain" else coroutine, "other": pace.plain}
        running = app.serve(handlers, concurrency=6, heartbeat_interval=0.1, shutdown_timeout=60.0)
        until(lambda: len(contexts) == 3)
        app.connection.delete_queue(q)
        until(lambda: all(c.is_lost for c in contexts))
        send(other, range(10))
        until(lambda: len(pace.done) == 10 and is_empty(other))
    assert running.worker.status()["state"] == "running"
    start = time.monotonic()
    running.stop()
    assert time.monotonic() - start < 30, "there is nothing to wait for"


def test_a_queue_that_is_made_again_is_served_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "ERROR_PAUSES_S", (0.05, 0.2))
    q = app.queue()
    pace = Pace()
    running = app.serve(pace.plain)
    app.connection.delete_queue(q)
    time.sleep(0.3)
    q = app.queue()
    q.send("again")
    until(lambda: pace.done["again"] and is_empty(q))
    running.stop()


def test_a_queue_is_purged_while_it_is_worked_on(app: App) -> None:
    q = app.queue()
    contexts: list[Context] = []
    go = threading.Event()

    def handle(message: Message, context: Context) -> None:
        contexts.append(context)
        go.wait(60)

    send(q, range(50))
    with released(go):
        app.serve(handle, concurrency=3, heartbeat_interval=0.1)
        until(lambda: len(contexts) == 3)
        q.purge()
        until(lambda: all(c.is_lost for c in contexts))
    q.send("new")
    until(lambda: [c.message.body for c in contexts[3:]] == ["new"] and is_empty(q))


def test_a_paused_queue_is_left_alone_until_it_is_resumed(app: App) -> None:
    q = app.queue()
    pace = Pace()
    q.pause()
    send(q, range(5))
    app.serve(pace.plain)
    time.sleep(0.3)
    assert not pace.done
    q.resume()
    until(lambda: len(pace.done) == 5 and is_empty(q))


def test_a_full_server_can_be_emptied(prefix: str) -> None:
    """Nothing can be sent any more, but what is there is handled, fails, is tried again and deleted."""
    with Server("valkey", maxmemory="8mb", maxmemory_policy="noeviction") as server:
        app = App(server.url, prefix)
        with app.stack:
            q = app.queue(retry_policy=SOON)
            seen: list[int] = []
            n = 0
            with pytest.raises(ServerError):  # noqa: PT012
                while True:
                    q.send("x" * 100_000)
                    n += 1

            def handle(message: Message) -> None:
                seen.append(message.failures)
                if not message.failures:
                    raise ValueError("x" * 400)

            app.serve(handle, concurrency=4)
            until(lambda: is_empty(q), q.counts)
            assert Counter(seen) == {0: n, 1: n}
            q.send("there is room again")
            until(lambda: is_empty(q))


def test_the_heartbeat_survives_what_it_meets(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    q = app.queue()
    done: list[int] = []
    go = threading.Event()

    def handle(message: Message) -> None:
        go.wait(60)
        done.append(message.receive_count)

    q.send("a")
    with released(go):
        running = app.serve(handle, heartbeat_interval=0.3)
        until(lambda: q.counts().in_flight)
        found = running.worker._runtime
        assert found is not None
        describe = found.heartbeat.describe
        times = 0

        def broken(queue: Any) -> Any:
            nonlocal times
            times += 1
            if times == 1:
                raise RuntimeError("a bug")
            return describe(queue)

        found.heartbeat.describe = broken
        until(lambda: times > 3)
        assert q.counts().in_flight == 1
    until(lambda: is_empty(q))
    assert done == [1]


def test_clocks_that_differ_cost_a_question_and_nothing_else(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    q = app.queue()
    pace = Pace(0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    send(q, range(100))
    app.serve(pace.plain)
    until(lambda: len(pace.done) == 100 and is_empty(q))
    assert set(pace.done.values()) == {1}


def test_what_a_worker_is_told_twice_does_no_harm(app: App) -> None:
    """The answer to giving back is lost: what was given back may be with another already."""
    q = app.queue()
    begun: list[Message] = []
    go = threading.Event()

    def handle(message: Message) -> None:
        begun.append(message)
        go.wait(60)

    q.send("a")
    with released(go):
        running = app.serve(handle, heartbeat_interval=0.3, shutdown_timeout=0.1)
        until(lambda: begun)
        found = running.worker._runtime
        assert found is not None
        run = found.transport.run
        taken: list[rqsqs.Message] = []

        def unlucky(flow: Any) -> Any:
            result = run(flow)
            if flow.__name__ == "release" and not taken:
                taken.extend(q.receive(visibility_timeout=60))
                raise rqsqs.errors.ConnectionFailed("the answer was lost", request_sent=True)
            return result

        found.transport.run = unlucky  # type: ignore[method-assign]
        running.stop()
        assert [m.body for m in taken] == ["a"]
        assert q.counts().in_flight == 1, "it was taken from the one who has it"
