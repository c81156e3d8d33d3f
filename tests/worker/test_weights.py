"""Several queues in one worker: who gets how many slots."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rqsqs import Message, aio
from rqsqs._core.keys import Keyspace, QueueRef
from rqsqs.worker import handlers
from rqsqs.worker.executor import Executor
from rqsqs.worker.jobs import Job
from rqsqs.worker.scheduler import Scheduler
from rqsqs.worker.worker_queue import WorkerQueue
from tests.worker.serving import App, Running, is_empty, released, send, until


def serve(app: App, weights: dict[str, float], handle: Any, **settings: Any) -> Running:
    worker = app.worker(**settings)
    for name, weight in weights.items():
        worker.add(name, handle, weight=weight)
    return app.start(worker)


@pytest.mark.parametrize(
    ("weights", "concurrency"),
    [({"a": 1, "b": 1}, 6), ({"a": 3, "b": 1}, 8), ({"a": 3, "b": 1}, 1), ({"a": 1, "b": 2, "c": 5}, 4)],
)
def test_slots_are_shared_by_weight_while_all_have_a_backlog(
    app: App, weights: dict[str, float], concurrency: int
) -> None:
    queues = {name: app.queue(name) for name in weights}
    done: list[str] = []
    n = 400

    def handle(message: Message) -> None:
        done.append(message.body)
        time.sleep(0.006)  # not a quick one

    for name, q in queues.items():
        send(q, [name] * n)
    running = serve(app, weights, handle, concurrency=concurrency, heartbeat_interval=2.0)
    until(lambda: len(done) >= 300)
    seen = Counter(done[40:300])
    running.stop()
    total = sum(weights.values())
    for name, weight in weights.items():
        assert seen[name] / 260 == pytest.approx(weight / total, abs=0.12), seen  # about


def test_an_idle_queue_costs_the_busy_one_no_slots(app: App) -> None:
    a, b = app.queue("a"), app.queue("b")
    go = threading.Event()
    with released(go):
        serve(app, {"a": 1, "b": 100}, lambda m: go.wait(60), concurrency=6)
        send(a, range(20))
        until(lambda: a.counts().in_flight == 6)
    until(lambda: is_empty(a) and is_empty(b))


def test_a_message_of_an_idle_queue_is_begun_with_the_next_free_slot(app: App) -> None:
    a, b = app.queue("a"), app.queue("b")
    order: list[str] = []

    def handle(message: Message) -> None:
        order.append(message.body)
        time.sleep(0.02)

    send(a, ["a"] * 150)
    serve(app, {"a": 1, "b": 1}, handle, concurrency=3)
    for _ in range(10):
        begun = len(order)
        until(lambda: len(order) > begun + 3)  # noqa: B023
        before = len(order)
        b.send("b")
        until(lambda: "b" in order[before:])  # noqa: B023
        assert order[before:].index("b") <= 9, order[before:]
    until(lambda: is_empty(a) and is_empty(b))
    assert Counter(order) == {"a": 150, "b": 10}


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_queue_that_rested_does_not_make_up_for_it(app: App, concurrency: int) -> None:
    a, b = app.queue("a"), app.queue("b")
    done: list[str] = []

    def handle(message: Message) -> None:
        done.append(message.body)
        time.sleep(0.006)

    running = serve(app, {"a": 1, "b": 1}, handle, concurrency=concurrency, heartbeat_interval=2.0)
    send(a, ["a"] * 600)
    until(lambda: len(done) >= 200)
    send(b, ["b"] * 400)
    at = until(lambda: "b" in done and done.index("b"))
    until(lambda: len(done) >= at + 110)
    seen = Counter(done[at : at + 100])
    running.stop()
    assert seen["a"] >= 35, f"the other one starves: {seen}"
    assert seen["b"] >= 35, seen


def test_a_backlog_is_worked_off_with_all_slots_when_the_others_are_empty(app: App) -> None:
    queues = [app.queue(name) for name in "abc"]
    done: list[str] = []
    for q in queues:
        send(q, [q.name] * 100)
    serve(app, {"a": 1, "b": 5, "c": 10}, lambda m: done.append(m.body), concurrency=4)
    until(lambda: all(is_empty(q) for q in queues))
    assert Counter(done) == {"a": 100, "b": 100, "c": 100}


def test_many_queues_one_slot(app: App) -> None:
    names = [f"q{n}" for n in range(12)]
    queues = [app.queue(name) for name in names]
    done: list[str] = []
    running = 0
    most = 0

    def handle(message: Message) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        done.append(message.body)
        running -= 1

    for q in queues:
        send(q, [q.name] * 20)
    serve(app, dict.fromkeys(names, 1.0), handle, concurrency=1)
    until(lambda: all(is_empty(q) for q in queues), lambda: Counter(done))
    assert Counter(done) == dict.fromkeys(names, 20)
    assert most == 1


def test_fifo_standard_batches_and_coroutines_side_by_side(app: App) -> None:
    a, b, c = app.queue("a"), app.queue("b.fifo"), app.queue("c")
    got: dict[str, list[Any]] = {"a": [], "b": [], "c": []}

    async def coroutine(message: aio.Message) -> None:
        got["a"].append(message.body)

    worker = app.worker(concurrency=5)
    worker.add("a", coroutine)
    worker.add("b.fifo", lambda m: got["b"].append(m.body))
    worker.add("c", lambda messages: got["c"].extend(m.body for m in messages), batch=9)
    send(a, range(200))
    send(b, range(200), lambda body: "g")
    send(c, range(200))
    app.start(worker)
    until(lambda: all(is_empty(q) for q in (a, b, c)))
    assert got["b"] == list(range(200))
    assert {name: sorted(bodies) for name, bodies in got.items()} == {name: list(range(200)) for name in "abc"}


def test_the_time_of_a_call_counts_for_its_own_queue() -> None:
    """Calls for several queues that end together are concluded together."""
    host: Any = SimpleNamespace(lock=threading.Lock())
    settler: Any = SimpleNamespace(
        outcomes=lambda jobs: [(job, ()) for job in jobs], apply=lambda job, outcomes, seconds: None
    )
    queues = []
    for name in ("slow", "quick"):
        ref = QueueRef(Keyspace("test"), name)
        queues.append(WorkerQueue(handlers.make(name, lambda message: None, 1, 0, None), ref, Message, cast(Any, None)))
    scheduler = Scheduler(queues, 10, 0.0, 0)
    executor = Executor(host, scheduler, settler, 1, lambda: None)
    slow, quick = queues
    now = time.monotonic()
    done: deque[Job] = deque()
    for q, began in ((slow, now - 100), (quick, now), (slow, now - 60), (quick, now)):
        scheduler.start(q, [job := Job(host, q, [], since=began)])
        done.append(job)
    executor._conclude(done)
    assert (slow.running, quick.running) == (0, 0)
    assert slow.seconds > 10, "two calls in 100 s"
    assert quick.seconds < 10, "only the first call of `slow` began this long ago"
