"""What keeps messages invisible while they are handled, and how a handler learns that one was lost."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest

import rqsqs
from rqsqs import Message, aio
from rqsqs.worker import Context, MessageLost, current, heartbeat
from tests.worker.serving import App, is_empty, released, send, until

BEAT_S = 0.5  # a worker that is starved for two beats loses its messages


def spin(seconds: float) -> None:
    """Pure Python that leaves no time for anything else."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(200))


async def rest(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def spin_on_the_loop(seconds: float) -> None:
    spin(seconds)


@pytest.mark.parametrize(
    ("work", "name"),
    [(time.sleep, "q"), (time.sleep, "q.fifo"), (spin, "q"), (rest, "q"), (spin_on_the_loop, "q")],
)
def test_a_message_that_takes_ten_beats_stays_with_its_worker(app: App, work: Any, name: str) -> None:
    q = app.queue(name, visibility_timeout=1)
    got: list[Any] = []
    others: list[Any] = []

    def plain(message: Message) -> None:
        got.append(message.receive_count)
        work(10 * BEAT_S)

    async def coroutine(message: aio.Message) -> None:
        got.append(message.receive_count)
        await work(10 * BEAT_S)

    send(q, ["a"], (lambda body: "g") if q.is_fifo else None)
    app.serve(
        {name: coroutine if work in (rest, spin_on_the_loop) else plain}, heartbeat_interval=BEAT_S, concurrency=1
    )
    until(lambda: got)
    app.serve({name: others.append}, heartbeat_interval=BEAT_S)
    until(lambda: is_empty(q))
    assert (got, others) == ([1], [])


def test_a_worker_that_beats_no_more_loses_its_messages_within_two_beats(app: App) -> None:
    q = app.queue()
    go = threading.Event()
    times: list[float] = []

    def handle(message: Message) -> None:
        times.append(time.monotonic())
        go.wait(60)

    q.send("a")
    with released(go):
        running = app.serve(handle, heartbeat_interval=0.5, concurrency=1)  # it asks for no other
        until(lambda: times)
        time.sleep(0.8)  # it has prolonged once
        assert running.worker._runtime is not None
        running.worker._runtime.heartbeat._is_stopped = True  # as if the process had died
        running.worker._runtime.heartbeat._wake.set()
        died = time.monotonic()
        (m,) = until(lambda: q.receive(wait=5))
        assert 0.3 < time.monotonic() - died < 30
        assert m.receive_count == 1  # perhaps it has killed its worker, perhaps a neighbour has


def test_the_time_that_remains(app: App) -> None:
    q = app.queue()
    told: list[tuple[float, float]] = []

    def handle(message: Message, context: Context) -> None:
        first = context.remaining
        time.sleep(0.1)
        told.append((first, context.remaining))

    q.send("a")
    with app.serve(handle, timeout=5):
        until(lambda: told)
    q.send("b")
    with app.serve(handle):
        until(lambda: len(told) == 2)
    q.send("c")
    with app.serve(handle, timeout=7, max_extension=3):
        until(lambda: len(told) == 3)
    for (first, second), most in zip(told, (5, 43_200, 3), strict=True):
        assert most - 1 < first <= most
        assert 0.09 < first - second < 1


def test_the_time_that_remains_is_never_below_zero(app: App) -> None:
    q = app.queue()
    contexts: list[Context] = []
    q.send("a")
    app.serve(lambda message, context: contexts.append(context), timeout=0.05)
    until(lambda: contexts)
    time.sleep(0.1)
    assert contexts[0].remaining == 0


def test_after_max_hold_a_message_goes_to_others(app: App) -> None:
    q = app.queue()
    contexts: list[Context] = []
    go = threading.Event()

    def handle(message: Message, context: Context) -> None:
        contexts.append(context)
        if len(contexts) == 1:
            go.wait(60)

    q.send("a")
    with released(go):
        start = time.monotonic()
        app.serve(handle, max_extension=1.0, heartbeat_interval=0.1, concurrency=3)
        until(lambda: contexts and contexts[0].is_lost)
        assert 0.95 < time.monotonic() - start < 30
        assert contexts[0].remaining == 0
        until(lambda: len(contexts) == 2)
        assert contexts[1].message.receive_count == 1  # nobody said what became of the first one
        until(lambda: is_empty(q))


def take_away(q: rqsqs.Queue, m: Message, how: str) -> None:
    if how == "deleted":
        q.delete(m.receipt_handle)
        return
    q.change_visibility(m.receipt_handle, 0)
    (other,) = q.receive(visibility_timeout=60)
    assert other.message_id == m.message_id


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("how", ["deleted", "with another"])
def test_a_thread_learns_that_its_message_is_lost(app: App, how: str, name: str) -> None:
    q = app.queue(name)
    contexts: list[Context] = []
    ends: list[Any] = []

    def handle(message: Message) -> None:
        context = current()
        contexts.append(context)
        try:
            while True:
                context.raise_if_lost()
                time.sleep(0.005)
        except MessageLost as e:
            ends.append(e)
            raise

    send(q, ["a"], (lambda body: "g") if q.is_fifo else None)
    app.serve({name: handle}, heartbeat_interval=0.1, concurrency=1)
    until(lambda: contexts)
    take_away(q, contexts[0].message, how)
    until(lambda: ends)
    assert contexts[0].lost == [contexts[0].message]
    assert contexts[0].message.message_id in str(ends[0])
    time.sleep(0.3)  # it says nothing of what is not its own
    counts = q.counts()
    assert (counts.visible, counts.in_flight) == ((0, 0) if how == "deleted" else (0, 1))
    assert len(contexts) == 1
    if how != "deleted":
        (m,) = q.peek(1, state="in_flight")
        assert m.cause is None


@pytest.mark.parametrize("how", ["deleted", "with another"])
def test_a_coroutine_that_lost_its_message_is_cancelled(app: App, how: str) -> None:
    q = app.queue()
    contexts: list[Context] = []
    ends: list[Any] = []

    async def handle(message: aio.Message, context: Context) -> None:
        contexts.append(context)
        try:
            await asyncio.sleep(60)
        except BaseException as e:
            ends.append(type(e))
            raise

    q.send("a")
    running = app.serve(handle, heartbeat_interval=0.1, concurrency=1)
    until(lambda: contexts)
    take_away(q, contexts[0].message, how)
    until(lambda: ends)
    assert ends == [asyncio.CancelledError]
    assert contexts[0].is_lost
    until(lambda: running.worker.status()["queues"]["q"]["in_flight"] == 0)
    q.send("b")  # its slot is free
    until(lambda: len(contexts) == 2)
    q.purge()
    until(lambda: len(ends) == 2)


def test_of_a_batch_only_some_may_be_lost(app: App) -> None:
    q = app.queue()
    contexts: list[Context] = []
    go = threading.Event()

    def handle(messages: list[Message], context: Context) -> list[Any]:
        contexts.append(context)
        go.wait(60)
        return [ValueError("x")] * len(messages)

    send(q, ["a", "b", "c"])
    with released(go):
        app.serve(handle, batch=3, heartbeat_interval=0.1)
        until(lambda: contexts)
        context = contexts[0]
        q.delete(context.messages[1].receipt_handle)
        until(lambda: context.lost)
        assert context.lost == [context.messages[1]]
        assert not context.is_lost
        context.raise_if_lost()
    until(lambda: q.counts().in_flight + q.counts().visible == 2)


def test_handlers_that_wait_for_their_turn_are_kept_as_well(app: App) -> None:
    """More messages than slots are in hand when a FIFO batch had to be divided."""
    q = app.queue("q.fifo")
    done: list[list[Any]] = []

    def handle(messages: list[Message]) -> None:
        time.sleep(1.2)  # longer than a message stays invisible
        done.append([(m.body, m.receive_count) for m in messages])

    send(q, [(g, n) for g in range(5) for n in range(2)], lambda body: f"g{body[0]}")
    app.serve({"q.fifo": handle}, batch=3, concurrency=2, heartbeat_interval=0.5)
    until(lambda: is_empty(q))
    assert {count for call in done for _, count in call} == {1}
    assert sum(len(call) for call in done) == 10


def test_an_idle_worker_stays_registered_and_a_busy_one_tells_what_it_holds(app: App) -> None:
    q = app.queue()
    go = threading.Event()
    begun: list[Message] = []

    def handle(message: Message) -> None:
        begun.append(message)
        go.wait(60)
        if message.body == "bad":
            raise ValueError

    running = app.serve(handle, heartbeat_interval=0.1, concurrency=4)
    (c,) = q.consumers()
    assert (c.in_flight, c.held, c.is_alive) == (0, (), True)
    with released(go):
        send(q, ["good", "bad", "good"])
        until(lambda: len(begun) == 3)
        (c,) = until(lambda: [x for x in q.consumers() if x.in_flight == 3])
        assert sorted(h.message_id for h in c.held) == sorted(m.message_id for m in begun)
        assert all(abs(h.since_ms / 1000 - time.time()) < 5 for h in c.held)
    until(lambda: running.worker.status()["queues"]["q"]["in_flight"] == 0)
    assert running.worker.status()["queues"]["q"]["failed"] >= 1
    assert running.worker.status()["queues"]["q"]["succeeded"] == 2


def test_an_idle_worker_is_seen_as_long_as_it_beats_and_lost_when_it_does_not(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "IDLE_S", 0.3)
    monkeypatch.setattr(heartbeat, "LATE_S", 1.0)
    q = app.queue()
    running = app.serve(lambda message: None, heartbeat_interval=0.1)
    (first,) = q.consumers()
    later = until(lambda: [c for c in q.consumers() if c.last_seen_at_ms >= first.last_seen_at_ms + 1000])
    assert [(c.consumer_id, c.pid, c.state) for c in later] == [(running.consumer_id, os.getpid(), "running")]
    runtime = running.worker._runtime
    assert runtime is not None
    monkeypatch.setattr(runtime.heartbeat, "_beat", lambda queue: None)  # as if it was killed
    (gone,) = until(lambda: [c for c in q.consumers() if c.state == "lost"])
    assert not gone.is_alive
    assert gone.last_seen_at_ms < gone.alive_until_ms
    monkeypatch.undo()
    until(lambda: [c.state for c in q.consumers()] == ["running"])


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_after_the_process_stood_still_a_worker_asks_before_it_begins(app: App, kind: str, name: str) -> None:
    q = app.queue(name)
    begun: list[Any] = []

    def plain(message: Message) -> None:
        begun.append(message.body)

    async def coroutine(message: aio.Message) -> None:
        begun.append(message.body)

    running = app.serve({name: plain if kind == "plain" else coroutine}, concurrency=1)
    runtime = running.worker._runtime
    assert runtime is not None
    confirm = runtime.confirm
    stolen: list[rqsqs.Message] = []

    def asked(job: Any) -> bool:
        (d,) = job.deliveries
        if d.body == "deleted":
            q.delete(d.receipt_handle)
        elif d.body == "taken":
            q.change_visibility(d.receipt_handle, 0)
            stolen.extend(q.receive(visibility_timeout=60))
        elif d.body == "trouble" and "trouble" not in begun:
            begun.append("trouble")
            runtime.transport.close()  # whatever is asked fails
            try:
                return confirm(job)
            finally:
                runtime.transport._is_closed = False
        return confirm(job)

    runtime.confirm = asked  # type: ignore[method-assign]
    runtime.heartbeat.extension_s = -1.0  # it is always too late
    for n, body in enumerate(["a", "deleted", "b", "taken", "c", "trouble", "d"]):
        q.send(body, group=f"g{n}" if q.is_fifo else None, deduplication_id=str(n))
        held = 1 if n >= 3 else 0  # by us
        until(lambda: len(stolen) == held and (q.counts().visible, q.counts().in_flight) == (0, held))  # noqa: B023
    assert sorted(begun) == ["a", "b", "c", "d", "trouble", "trouble"]
    assert [m.body for m in stolen] == ["taken"]
