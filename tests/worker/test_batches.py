"""Batch handlers, and what their answers mean."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from rqsqs import Message, RetryPolicy, aio
from rqsqs.worker import Context, DeadLetter, HandlerTimeout, Retry
from tests.worker.serving import App, is_empty, released, send, until

SOON = RetryPolicy(base=0.02, cap=0.05)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_it_is_called_with_a_list_and_none_means_done(app: App, kind: str) -> None:
    q = app.queue()
    calls: list[list[Any]] = []

    def plain(messages: list[Message]) -> None:
        calls.append([m.body for m in messages])

    async def coroutine(messages: list[aio.Message], context: Context) -> None:
        assert context.messages == messages
        await asyncio.sleep(0)
        plain(messages)

    send(q, range(100))
    app.serve(plain if kind == "plain" else coroutine, batch=8, concurrency=3)
    until(lambda: is_empty(q))
    assert sorted(body for call in calls for body in call) == list(range(100))
    assert max(len(call) for call in calls) == 8
    assert len(calls) < 30


def test_one_message_does_not_wait_for_a_full_batch(app: App) -> None:
    q = app.queue()
    calls: list[list[Any]] = []
    app.serve(lambda messages: calls.append([m.body for m in messages]), batch=100)
    q.send("a")
    until(lambda: calls == [["a"]] and is_empty(q), seconds=2)


def test_some_have_failed(app: App) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue=dead, max_receive_count=10, retry_policy=SOON)
    seen: dict[Any, list[Message]] = {}

    def outcome(message: Message) -> BaseException | None:
        seen.setdefault(message.body, []).append(message)
        if message.body == "dead":
            return DeadLetter("no use")
        if message.failures < {"once": 1, "twice": 2}.get(message.body, 0):
            return ValueError(f"{message.body} failed")
        return None

    send(q, ["good", "once", "dead", "twice", "good too"])
    app.serve(lambda messages: [outcome(m) for m in messages], batch=10)
    until(lambda: is_empty(q))
    assert {body: len(messages) for body, messages in seen.items()} == {
        "good": 1, "once": 2, "dead": 1, "twice": 3, "good too": 1,
    }  # fmt: skip
    assert seen["once"][1].cause is not None
    assert (seen["once"][1].cause.type, seen["once"][1].cause.message) == ("ValueError", "once failed")
    assert [m.body for m in dead.peek(10)] == ["dead"]


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ([], "rqsqs.InvalidParameterValue", "got 0 for 3 messages"),
        ([None, None], "rqsqs.InvalidParameterValue", "got 2 for 3 messages"),
        ([None] * 4, "rqsqs.InvalidParameterValue", "got 4 for 3 messages"),
        (7, "rqsqs.InvalidParameterValue", "got 1 for 3 messages"),
        (True, "rqsqs.InvalidParameterValue", "got 1 for 3 messages"),
        ([True, False, "x"], "rqsqs.UsageError", "must return None or an exception"),
        ([ValueError] * 3, "rqsqs.UsageError", "must return None or an exception"),
        ("abc", "rqsqs.UsageError", "must return None or an exception"),
    ],
)
def test_what_cannot_be_understood_fails_the_messages_and_says_why(app: App, answer: Any, kind: str, text: str) -> None:
    q = app.queue(retry_policy=SOON)
    calls: list[list[Message]] = []

    def handle(messages: list[Message]) -> Any:
        calls.append(messages)
        return answer if len(calls) == 1 else None

    send(q, range(3))
    app.serve(handle, batch=3, concurrency=1)
    until(lambda: is_empty(q))
    assert len(calls[0]) == 3
    again = [m for call in calls[1:] for m in call]
    assert len(again) == 3
    for m in again:
        assert m.cause is not None
        assert m.cause.type == kind
        assert text in m.cause.message


def test_a_generator_of_outcomes_is_a_list(app: App) -> None:
    q = app.queue(retry_policy=SOON)
    seen: list[int] = []

    def handle(messages: list[Message]) -> Any:
        seen.extend(m.failures for m in messages)
        return (None if m.failures else Retry(after=0) for m in messages)

    send(q, range(5))
    app.serve(handle, batch=5)
    until(lambda: is_empty(q))
    assert sorted(seen) == [0] * 5 + [1] * 5


def test_an_exception_fails_all(app: App) -> None:
    q = app.queue(retry_policy=SOON)
    seen: list[Message] = []

    def handle(messages: list[Message]) -> None:
        seen.extend(messages)
        if not messages[0].failures:
            raise LookupError("all of them")

    send(q, range(4))
    app.serve(handle, batch=4, concurrency=1)
    until(lambda: is_empty(q))
    again = [m for m in seen if m.failures]
    assert sorted(m.body for m in again) == [0, 1, 2, 3]
    assert {m.cause.message for m in again if m.cause} == {"all of them"}


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_timeout_fails_all(app: App, kind: str) -> None:
    q = app.queue(retry_policy=SOON)
    seen: list[Message] = []

    def plain(messages: list[Message]) -> None:
        seen.extend(messages)
        while not messages[0].failures:
            time.sleep(0.005)

    async def coroutine(messages: list[aio.Message]) -> None:
        seen.extend(messages)
        if not messages[0].failures:
            await asyncio.sleep(20)

    send(q, range(4))
    app.serve(plain if kind == "plain" else coroutine, batch=4, timeout=0.2, concurrency=1)
    until(lambda: is_empty(q))
    assert {m.cause.type for m in seen if m.cause} == {f"rqsqs.worker.{HandlerTimeout.__name__}"}
    assert sorted(m.body for m in seen if m.failures) == [0, 1, 2, 3]


def test_only_what_fills_the_free_slots_is_in_flight(app: App) -> None:
    q = app.queue()
    go = threading.Event()
    send(q, range(100))
    with released(go):
        app.serve(lambda messages: go.wait(60) and None, batch=5, concurrency=3)
        until(lambda: q.counts().in_flight == 15)
        time.sleep(0.2)
        assert q.counts().in_flight == 15
    until(lambda: is_empty(q))


def test_a_message_that_kills_workers_does_not_take_its_batch_along(app: App) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue=dead, max_receive_count=50)
    done: list[Any] = []
    q.send("poison")
    for _ in range(3):
        until(lambda: q.receive(visibility_timeout=0.01))
    until(lambda: q.counts().visible == 1)
    send(q, range(5))
    app.serve(lambda messages: done.extend((m.body, m.receive_count) for m in messages), batch=6, max_crashes=3)
    until(lambda: is_empty(q))
    assert sorted(done) == [(n, 1) for n in range(5)]
    assert [m.body for m in dead.peek(10)] == ["poison"]
