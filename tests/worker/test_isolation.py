"""What may have killed its worker runs apart from everything else. tests/faults/test_poison.py kills such workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from rqsqs import Message, Queue, RetryPolicy
from rqsqs.worker import isolation
from tests.worker.serving import App, is_empty, released, send, until

SLOTS = 4


def let_a_suspect_wait(app: App, handle: Callable[[Message], None], other: Queue, begun: list[Any]) -> None:
    """A worker has begun "first" of the other queue, and the suspect of q waits for its end."""
    serving = app.serve({"q": handle, "other": handle}, concurrency=SLOTS)
    other.send("first")
    until(lambda: begun == ["first"])
    runtime = serving.worker._runtime
    assert runtime is not None
    until(lambda: runtime.scheduler.isolation.job is not None)


def test_a_suspect_runs_when_nothing_else_does(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "APART_S", (60.0,))
    q, other = app.queue("q"), app.queue("other")
    go, begun, running, beside = threading.Event(), [], [], []

    def handle(message: Message) -> None:
        running.append(message.body)
        begun.append(message.body)
        beside.append((message.body, sorted(set(running) - {message.body})))
        if message.body == "first":
            go.wait(60)
        running.remove(message.body)

    q.send("suspect")
    assert len(q.receive(visibility_timeout=1)) == 1  # and its consumer dies
    with released(go):
        let_a_suspect_wait(app, handle, other, begun)
        other.send("second")
        until(lambda: other.counts().visible == 1)
        assert begun == ["first"]
        go.set()
        until(lambda: is_empty(q) and is_empty(other))
    assert begun == ["first", "suspect", "second"]
    assert ("suspect", []) in beside


def test_a_suspect_that_is_lost_keeps_nobody_waiting(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "APART_S", (600.0,))
    q, other = app.queue("q"), app.queue("other")
    go, begun = threading.Event(), []

    def handle(message: Message) -> None:
        begun.append(message.body)
        if message.body == "first":
            go.wait(60)

    q.send("suspect")
    assert len(q.receive(visibility_timeout=1)) == 1
    with released(go):
        let_a_suspect_wait(app, handle, other, begun)
        other.send("second")
        q.purge()
        until(lambda: begun == ["first", "second"], lambda: begun, 30)


def test_others_begin_beside_a_suspect_that_takes_long(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "APART_S", (0.05,))
    q = app.queue()
    go, begun = threading.Event(), []

    def handle(message: Message) -> None:
        begun.append(message.body)
        if message.body == "suspect":
            go.wait(60)

    q.send("suspect")
    assert len(q.receive(visibility_timeout=0.01)) == 1
    with released(go):
        app.serve(handle, concurrency=SLOTS)
        until(lambda: begun == ["suspect"])
        send(q, range(20))
        until(lambda: len(begun) == 21)
    until(lambda: is_empty(q))


def test_nothing_is_a_suspect_without_crashes(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what failed either: all of it runs side by side."""
    taken: list[Any] = []
    monkeypatch.setattr(isolation.Isolation, "take", lambda self, job: taken.append(job))
    q = app.queue(retry_policy=RetryPolicy(base=0.01, cap=0.02))
    together = threading.Barrier(SLOTS)

    def handle(message: Message) -> None:
        if message.failures < 2:
            raise ValueError
        together.wait(60)

    send(q, range(SLOTS))
    app.serve(handle, concurrency=SLOTS)
    until(lambda: is_empty(q))
    assert taken == []
