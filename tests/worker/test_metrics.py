"""What a worker process counts: how long it handles messages, and what becomes of them."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

import rqsqs
from rqsqs import Message, aio
from rqsqs._core import flows
from rqsqs.worker import DeadLetter, Retry
from rqsqs.worker.metrics import WorkerMetrics, WorkerQueueMetrics
from rqsqs.worker.worker_queue import LAST
from tests.clusters import client_of
from tests.worker.conftest import Start
from tests.worker.serving import App, Running, is_empty, released, send, until


def metrics(running: Running) -> WorkerMetrics:
    found = running.worker.metrics()
    assert found is not None
    return found


def of_queue(running: Running) -> WorkerQueueMetrics:
    (found,) = metrics(running).queues
    return found


def totals(running: Running) -> tuple[int, int]:
    """Messages that were handled, and that failed."""
    processing = of_queue(running).processing
    return processing["succeeded"].times.total, processing["failed"].times.total


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_each_message_counts_with_the_time_that_its_handler_took(app: App, kind: str) -> None:
    q = app.queue(retry_policy=None)

    def plain(message: Message) -> None:
        time.sleep(message.body)
        if message.body > 0.05 and message.receive_count == 1:
            raise ValueError("x")

    async def coroutine(message: aio.Message) -> None:
        plain(message)  # type: ignore[arg-type]

    running = app.serve(plain if kind == "plain" else coroutine)
    send(q, [0, 0, 0.02, 0.07])
    until(lambda: totals(running)[1] == 1)
    found = of_queue(running).processing
    assert found["failed"].times.counts[-1] == 1
    assert len(found["failed"].times.counts) > 7  # 64 ms and more
    assert found["failed"].seconds >= 0.07
    until(lambda: totals(running)[0] >= 3)
    found = of_queue(running).processing
    assert sum(found["succeeded"].times.counts[5:]) >= 1  # 16 ms and more
    assert found["succeeded"].seconds >= 0.02


def test_of_a_batch_each_message_counts_with_the_time_of_the_call(app: App) -> None:
    q = app.queue()

    def handle(messages: list[Message]) -> list[Any]:
        time.sleep(0.04)
        return [ValueError("x") if m.body == "bad" and m.receive_count == 1 else None for m in messages]

    send(q, ["good", "good", "bad"])
    running = app.serve(handle, batch=3)
    until(lambda: totals(running) >= (2, 1))
    found = of_queue(running).processing
    assert found["succeeded"].seconds >= 2 * 0.04
    assert sum(found["failed"].times.counts[:5]) == 0


def test_it_counts_what_becomes_of_messages(app: App) -> None:
    q = app.queue(dead_letter_queue=app.queue("dead").name)

    def handle(message: Message) -> None:
        if message.body == "dead":
            raise DeadLetter
        if message.body == "again" and message.receive_count == 1:
            raise Retry(after=0)
        if message.body == "by hand":
            message.delete()
        if message.body == "released" and message.receive_count == 1:
            message.release()

    assert app.worker().metrics() is None
    running = app.serve(handle)
    send(q, ["good", "dead", "again", "by hand", "released"])
    until(lambda: totals(running) == (4, 3), lambda: str(of_queue(running)))
    until(lambda: of_queue(running).in_flight == 0)
    found = of_queue(running)
    assert (found.queue, found.state, found.received) == ("q", "running", 7)
    assert (found.succeeded, found.failed) == (4, 3)
    assert (found.retried, found.dead_lettered, found.lost, found.given_back, found.reclaimed) == (1, 1, 0, 0, 0)
    until(lambda: of_queue(running).waiters == 1)
    assert metrics(running).heartbeats >= 1


def test_it_shows_what_is_busy_and_counts_what_it_gives_back(app: App) -> None:
    q = app.queue()
    begun: list[Any] = []
    go = threading.Event()

    def handle(message: Message) -> None:
        begun.append(message)
        go.wait(60)

    running = app.serve(handle, concurrency=2, shutdown_timeout=0.01)
    with released(go):
        send(q, ["a", "b"])
        until(lambda: len(begun) == 2)
        found = metrics(running)
        assert (found.slots, found.busy, found.queues[0].in_flight) == (2, 2, 2)
        assert found.consumer_id == running.consumer_id
        runtime = running.worker._runtime
        running.stop()
    assert running.worker.metrics() is None
    assert runtime is not None
    (queue,) = runtime.queues
    assert (queue.given_back, sum(queue.handled["succeeded"].counts)) == (2, 0)
    assert q.counts().visible == 2


def test_a_message_whose_worker_died_is_reclaimed_and_one_that_failed_is_not(app: App) -> None:
    q = app.queue()
    send(q, ["died", "failed", "fresh"])
    q.receive(1, visibility_timeout=1)  # nobody says anything of it
    seen: list[tuple[Any, int]] = []

    def handle(message: Message) -> None:
        seen.append((message.body, message.receive_count))
        if message.body == "failed" and message.receive_count == 1:
            raise Retry(after=0)

    running = app.serve(handle)
    until(lambda: is_empty(q))
    assert sorted(seen) == [("died", 2), ("failed", 1), ("failed", 2), ("fresh", 1)]
    assert of_queue(running).reclaimed == 1


def test_the_last_bucket_takes_whatever_is_longer(app: App) -> None:
    app.queue()
    running = app.serve(lambda message: None)
    runtime = running.worker._runtime
    assert runtime is not None
    with runtime.lock:
        for seconds in (0.0, 0.0009, 0.001, 0.002, 0.0039, 2.0**40):
            runtime.queues[0].note("failed", seconds, 1)
    counts = of_queue(running).processing["failed"].times.counts
    assert (counts[:3], counts[-1], len(counts)) == ((2, 1, 2), 1, LAST + 1)


def test_a_worker_tells_everything_before_it_is_gone(app: App) -> None:
    q = app.queue()
    send(q, list(range(50)))
    running = app.serve(lambda message: None, heartbeat_interval=60)  # it tells nothing on the way
    until(lambda: totals(running)[0] == 50)
    assert q.metrics().processing.total == 0
    assert q.metrics().consumers == {"running": 1}
    running.stop()
    found = q.metrics()
    assert (found.processing.total, found.failed, found.consumers) == (50, 0, {})


def test_an_idle_worker_told_everything_and_waits(app: App) -> None:
    q = app.queue()
    running = app.serve(lambda message: None, heartbeat_interval=0.1)
    for n in range(1, 4):
        send(q, ["a"] * 10)
        until(lambda: totals(running)[0] == 10 * n)  # noqa: B023
        until(lambda: q.metrics().processing.total == 10 * n)  # noqa: B023
        until(lambda: q.metrics().waiters == 1)


def test_what_heartbeats_told_outlives_a_kill_and_counts_once(orders: rqsqs.Queue, start: Start) -> None:
    program = start("app:worker")
    send(orders, ["a", "b", "c", "slow"])
    program.has("got-slow")
    until(lambda: orders.metrics().processing.total == 3)
    program.signal(signal.SIGKILL)
    program.ends()
    other = start("app:worker")
    (other.folder / "go").touch()
    until(lambda: orders.metrics().processing.total == 4, lambda: str(orders.metrics()))
    until(lambda: orders.metrics().reclaimed == 1)
    until(lambda: orders.metrics().consumers == {"running": 1, "lost": 1})
    other.signal(signal.SIGTERM)
    assert other.ends() == 0
    found = orders.metrics()
    assert (found.processing.total, found.failed, found.reclaimed, found.deleted) == (4, 0, 1, 4)


def test_a_worker_that_stood_still_and_was_forgotten_counts_nothing_twice(
    orders: rqsqs.Queue, start: Start, valkey_url: str
) -> None:
    program = start("app:worker", "--concurrency", "1")
    send(orders, ["a", "b", "slow"])
    program.has("got-slow")
    until(lambda: orders.metrics().processing.total == 2)
    (name,) = [c.consumer_id for c in orders.consumers()]
    program.signal(signal.SIGSTOP)
    try:
        with client_of(valkey_url) as redis:  # as if more than a minute had passed
            redis.zadd(orders._ref.home.base + "heartbeats", {name: 1})
        orders._run(flows.beat(orders._ref, (), 0, "another", {}, 60_000))
        assert [c.consumer_id for c in orders.consumers()] == ["another"]
    finally:
        program.signal(signal.SIGCONT)
    until(lambda: name in [c.consumer_id for c in orders.consumers()])
    assert orders.metrics().processing.total == 2
    (program.folder / "go").touch()
    until(lambda: orders.metrics().processing.total == 3)
    program.signal(signal.SIGTERM)
    assert program.ends() == 0
    assert orders.metrics().processing.total == 3
