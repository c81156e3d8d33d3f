"""What a worker with quick handlers takes ahead, and gives back. tests/faults/test_poison.py kills such workers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import rqsqs
from rqsqs import Message, RetryPolicy, aio
from rqsqs._core import flows
from rqsqs.worker import heartbeat
from rqsqs.worker.metrics import WorkerMetrics
from rqsqs.worker.worker_queue import QUICK_S
from tests.worker.serving import App, Running, is_empty, released, send, until

SLOTS = 4
AHEAD = 30


def prove_quick(running: Running) -> None:
    """However busy the machine is, calls that end took half a millisecond."""
    runtime = running.worker._runtime
    assert runtime is not None
    ended = runtime.scheduler.ended
    runtime.scheduler.ended = lambda queue, seconds: ended(queue, 0.0005)  # type: ignore[method-assign]


class Gate:
    """A handler that is quick until it is closed; then it waits until it is opened."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.done: list[Any] = []
        self.counts: list[int] = []
        self.opened = threading.Event()
        self.opened.set()

    def handle(self, message: Message) -> None:
        self.counts.append(message.receive_count)
        self.opened.wait(60)
        self.done.append(message.body)

    async def coroutine(self, message: aio.Message) -> None:
        self.counts.append(message.receive_count)
        while not self.opened.is_set():
            await asyncio.sleep(0.001)
        self.done.append(message.body)

    def batch(self, messages: list[Message]) -> None:
        self.opened.wait(60)
        self.done += [m.body for m in messages]

    def prove_quick(self, queue: rqsqs.Queue, **settings: Any) -> Running:
        """A worker that has handled so many messages that it knows how quick its handler is."""
        kind = settings.pop("kind", "handle")
        running = self.app.serve({queue.name: getattr(self, kind)}, concurrency=SLOTS, prefetch=AHEAD, **settings)
        prove_quick(running)
        for _ in range(2):  # then the receive that waits asks for more than the slots
            send(queue, ["x"] * 100)
            until(lambda: is_empty(queue))
        self.done.clear()
        self.counts.clear()
        return running

    def close_and_send(self, queue: rqsqs.Queue, count: int) -> None:
        self.opened.clear()
        send(queue, range(count))


def metrics(running: Running) -> WorkerMetrics:
    found = running.worker.metrics()
    assert found is not None
    return found


def most_in_flight(queue: rqsqs.Queue, is_over: Callable[[], bool]) -> int:
    most = 0

    def look() -> bool:
        nonlocal most
        most = max(most, queue.counts().in_flight)
        return is_over()

    until(look)
    return most


@pytest.mark.parametrize("kind", ["handle", "coroutine"])
def test_what_is_quick_is_taken_ahead_in_few_calls(app: App, kind: str) -> None:
    q = app.queue()
    gate = Gate(app)
    running = gate.prove_quick(q, kind=kind)
    with released(gate.opened):
        gate.close_and_send(q, 500)
        most = most_in_flight(q, lambda: q.counts().in_flight == SLOTS and q.counts().visible == 500 - SLOTS)
        assert SLOTS <= most <= SLOTS + AHEAD
        gate.opened.set()
        until(lambda: is_empty(q))
    assert sorted(gate.done) == list(range(500))
    assert set(gate.counts) == {1}
    assert metrics(running).queues[0].given_back > 0


@pytest.mark.parametrize("kind", ["handle", "coroutine"])
def test_a_handler_that_becomes_slow_holds_no_more_than_its_slots(app: App, kind: str) -> None:
    q = app.queue()
    gate = Gate(app)
    running = gate.prove_quick(q, kind=kind)
    with released(gate.opened):
        gate.close_and_send(q, 200)
        until(lambda: metrics(running).queues[0].prefetched == 0 and q.counts().in_flight == SLOTS)
        for _ in range(20):  # and stays so
            assert metrics(running).queues[0].prefetched == 0
            assert q.counts().in_flight == SLOTS
            time.sleep(0.01)
        assert metrics(running).busy == SLOTS


@pytest.mark.parametrize("kind", ["handle", "coroutine"])
def test_what_waits_goes_back_also_if_its_handler_was_hardly_quick(app: App, kind: str) -> None:
    """Between the time up to which messages are taken ahead and the one up to which they may stay."""
    q = app.queue()
    gate = Gate(app)
    running = gate.prove_quick(q, kind=kind)
    runtime = running.worker._runtime
    assert runtime is not None
    with released(gate.opened):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runtime.scheduler, "is_stuck", lambda queue: False)
            gate.close_and_send(q, SLOTS + AHEAD)
            until(lambda: q.counts().in_flight > SLOTS)
            with runtime.lock:
                runtime.queues[0].seconds = 1.5 * QUICK_S
        until(lambda: q.counts().in_flight == SLOTS)
    until(lambda: is_empty(q))


def test_what_waits_gets_slots_that_other_queues_give_up(app: App) -> None:
    quick, other = app.queue("q"), app.queue("other")
    gate, go = Gate(app), threading.Event()
    got: list[Any] = []

    async def wait(message: aio.Message) -> None:
        got.append(message.body)
        while not go.is_set():
            await asyncio.sleep(0.001)

    running = app.serve({"q": gate.coroutine, "other": wait}, concurrency=2, prefetch=AHEAD)
    prove_quick(running)
    runtime = running.worker._runtime
    assert runtime is not None
    with released(gate.opened), released(go), pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime.scheduler, "is_stuck", lambda queue: False)
        for _ in range(2):
            send(quick, ["x"] * 100)
            until(lambda: is_empty(quick))
        send(other, ["a"])
        until(lambda: got == ["a"])
        gate.counts.clear()
        gate.close_and_send(quick, 20)
        until(lambda: quick.counts().in_flight > 1 and len(gate.counts) == 1)
        go.set()
        until(lambda: len(gate.counts) == 2)  # while the first one still runs


def test_of_a_fair_queue_with_partitions_no_more_than_the_slots_is_held(app: App) -> None:
    """Each partition fills them, and these receives count."""
    q = app.queue(partitions=4)
    gate = Gate(app)
    running = gate.prove_quick(q)
    runtime = running.worker._runtime
    assert runtime is not None
    with released(gate.opened), pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime.scheduler, "is_stuck", lambda queue: False)
        gate.opened.clear()
        q.send_batch([rqsqs.Entry(n, group=f"{n}") for n in range(200)])
        until(lambda: len(gate.counts) == SLOTS and q.counts().in_flight == SLOTS)


@pytest.mark.parametrize("end", ["stop", "drain", "evict"])
def test_what_was_taken_ahead_goes_back_at_once_and_uncounted(
    app: App, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "EXTENDED", 200)  # what is visible was given back, and no heartbeat was late
    q = app.queue()
    gate = Gate(app)
    running = gate.prove_quick(q)
    with released(gate.opened):
        gate.close_and_send(q, 200)
        until(lambda: gate.counts)
        if end == "stop":
            running.worker.stop()
        else:
            assert (q.drain if end == "drain" else q.evict)(running.consumer_id)
        until(lambda: (now := running.worker.metrics()) is None or now.queues[0].state != "running")
        until(lambda: q.counts().in_flight <= (0 if end == "evict" else SLOTS))
        gate.opened.set()
        running.ended()
    counts = q.counts()
    assert counts.in_flight == 0
    assert counts.visible == 200 - (0 if end == "evict" else len(gate.done))
    assert {m.receive_count for m in q.receive(1000)} == {1}


def test_it_stays_invisible_while_it_waits(app: App) -> None:
    """Two queues share one slot: what waits for it is kept by heartbeats like everything else."""
    q = app.queue()
    gate = Gate(app)
    running = gate.prove_quick(q)
    runtime = running.worker._runtime
    assert runtime is not None
    with released(gate.opened), pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime.scheduler, "is_stuck", lambda queue: False)  # it would give it back
        gate.close_and_send(q, SLOTS + AHEAD)
        until(lambda: q.counts().in_flight > SLOTS)
        held = q.counts().in_flight
        begun = runtime.heartbeat.beats
        until(lambda: runtime.heartbeat.beats > begun + 5)  # more than two intervals
        assert q.counts().in_flight >= held
        gate.opened.set()
        until(lambda: is_empty(q))
    assert sorted(gate.done) == list(range(SLOTS + AHEAD))
    assert set(gate.counts) == {1}


def test_none_is_taken_ahead_of_fifo_and_fair_queues_or_if_that_is_chosen(app: App) -> None:
    for name in ("q.fifo", "fair", "none"):
        q = app.queue(name)
        gate = Gate(app)
        grouped = name != "none"
        send(q, ["x"] * 100, (lambda body: f"{body}") if grouped else None)
        prefetch = 0 if name == "none" else AHEAD
        running = app.serve({name: gate.handle}, concurrency=SLOTS, prefetch=prefetch)
        prove_quick(running)
        until(lambda q=q: is_empty(q))
        with released(gate.opened):
            gate.opened.clear()
            entries = [rqsqs.Entry(n, group=f"{n}", deduplication_id=f"n{n}") for n in range(100)]
            q.send_batch(entries if name != "none" else list(range(100)))
            until(lambda running=running: metrics(running).busy == SLOTS)
            until(lambda q=q: q.counts().in_flight == SLOTS)  # what one thread took for one slot goes back
            assert metrics(running).queues[0].prefetched == 0
        until(lambda q=q: is_empty(q))
        running.stop()


def test_what_waits_takes_no_slot_from_other_queues(app: App) -> None:
    quick, other = app.queue("quick"), app.queue("other")
    done: list[Any] = []
    got: list[Any] = []
    go = threading.Event()
    send(quick, range(200))
    handlers = {"quick": lambda m: done.append(m.body), "other": lambda m: (got.append(m.body), go.wait(60))}
    prove_quick(app.serve(handlers, concurrency=2, prefetch=AHEAD))
    until(lambda: is_empty(quick))
    with released(go):
        send(other, ["a"])
        until(lambda: got == ["a"])  # one slot is taken for long
        send(quick, range(200, 2000))
        until(lambda: len(done) == 2000)
        send(other, ["b"])
        until(lambda: got == ["a", "b"])
        send(quick, ["c"])  # there is no slot for it
        until(lambda: quick.counts().visible == 1)
        time.sleep(0.1)
        assert (quick.counts().visible, quick.counts().in_flight) == (1, 0)
    until(lambda: "c" in done)


def test_a_failure_counts_like_any_other(app: App) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue=dead, max_receive_count=3, retry_policy=RetryPolicy(base=0.01, cap=0.02))
    counts: dict[str, list[int]] = {}

    def handle(message: Message) -> None:
        if isinstance(message.body, str) and message.body.startswith("bad"):
            counts.setdefault(message.body, []).append(message.receive_count)
            raise ValueError(message.body)

    prove_quick(app.serve(handle, concurrency=SLOTS, prefetch=AHEAD))
    send(q, ["x"] * 300)
    until(lambda: is_empty(q))
    send(q, [f"bad {n}" if n % 10 == 0 else n for n in range(200)])
    until(lambda: is_empty(q))
    assert set(counts) == {f"bad {n}" for n in range(0, 200, 10)}
    assert {tuple(found) for found in counts.values()} == {(1, 2, 3)}
    assert {(m.body, m.receive_count) for m in dead.peek(1000)} == {(body, 3) for body in counts}


def test_a_batch_handler_takes_ahead_as_well(app: App) -> None:
    q = app.queue()
    gate = Gate(app)
    gate.prove_quick(q, kind="batch", batch=5)
    with released(gate.opened):
        gate.close_and_send(q, 500)
        most = most_in_flight(q, lambda: q.counts().in_flight == 5 * SLOTS and q.counts().visible == 500 - 5 * SLOTS)
        assert most <= 5 * SLOTS + AHEAD
    until(lambda: is_empty(q))
    assert sorted(gate.done) == list(range(500))


def test_what_a_worker_had_in_hand_that_died_comes_alone_to_a_new_batch_handler(app: App) -> None:
    """Its first call has no neighbours that would be buried with a message that kills it as well."""
    q = app.queue(visibility_timeout=1)
    sizes: list[int] = []
    counts: set[int] = set()

    def batch(messages: list[Message]) -> None:
        sizes.append(len(messages))
        counts.update(m.receive_count for m in messages)

    send(q, range(5))
    transport = app.connection.transport
    ref = transport.queue("q")
    assert len(transport.run(flows.finish_and_receive(ref, [], 5, 1, None, 0, slots=5))) == 5  # a worker, and it dies
    until(lambda: q.counts().visible == 5)
    send(q, range(5, 10))
    app.serve(batch, batch=5)
    until(lambda: is_empty(q))
    assert sizes[0] == 1
    assert sum(sizes) == 10
    assert counts == {1}


def test_a_quick_worker_dead_letters_what_killed_its_workers_again_and_again(app: App) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue=dead, max_receive_count=50)
    gate = Gate(app)
    q.send("deadly")
    for seconds in (0.01, 0.01, 2):  # the last time until the worker knows how quick its handler is
        until(lambda seconds=seconds: q.receive(visibility_timeout=seconds))
    running = app.serve(gate.handle, concurrency=SLOTS, prefetch=AHEAD, max_crashes=3)
    prove_quick(running)
    send(q, range(100))
    until(lambda: is_empty(q))
    assert sorted(gate.done) == list(range(100))
    assert [(m.body, m.cause and m.cause.type) for m in dead.peek(10)] == [("deadly", "rqsqs.worker.WorkerDied")]
