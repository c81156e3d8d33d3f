"""Middleware: when it is called, and what its own errors do (nothing)."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from rqsqs import Message, RetryPolicy, aio
from rqsqs.worker import Context, LogFilter, current
from tests.worker.serving import App, is_empty, send, until

SOON = RetryPolicy(base=0.01, cap=0.02)


class Teller:
    def __init__(self, name: str, told: list[Any]) -> None:
        self.name = name
        self.told = told

    def before(self, context: Context) -> None:
        self.told.append((self.name, "before", context.message.body))
        assert current() is context

    def after(self, context: Context) -> None:
        self.told.append((self.name, "after", context.message.body))
        assert current() is context

    def on_error(self, context: Context, error: BaseException) -> None:
        self.told.append((self.name, "on_error", context.message.body, str(error)))
        assert current() is context


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_it_is_called_around_the_handler_from_the_outside_in_and_back(app: App, kind: str) -> None:
    told: list[Any] = []
    q = app.queue(retry_policy=SOON)

    def plain(message: Message) -> None:
        told.append("handler")
        if message.body == "bad" and not message.failures:
            raise ValueError("x")

    async def coroutine(message: aio.Message) -> None:
        await asyncio.sleep(0)
        plain(message)

    q.send("good")
    app.serve(
        plain if kind == "plain" else coroutine,
        middleware=[Teller("outer", told), Teller("inner", told)],
        concurrency=1,
    )
    until(lambda: len(told) == 5 and is_empty(q))
    assert told == [
        ("outer", "before", "good"),
        ("inner", "before", "good"),
        "handler",
        ("inner", "after", "good"),
        ("outer", "after", "good"),
    ]
    told.clear()
    q.send("bad")
    until(lambda: len(told) == 10 and is_empty(q))
    assert told[:5] == [
        ("outer", "before", "bad"),
        ("inner", "before", "bad"),
        "handler",
        ("inner", "on_error", "bad", "x"),
        ("outer", "on_error", "bad", "x"),
    ]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_middleware_that_fails_is_logged_and_changes_nothing(
    app: App, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def before(self, context: Context) -> None:
            raise RuntimeError("before")

        def after(self, context: Context) -> None:
            raise RuntimeError("after")

        def on_error(self, context: Context, error: BaseException) -> None:
            raise RuntimeError("on_error")

    told: list[Any] = []
    failures: list[int] = []
    q = app.queue(retry_policy=SOON)

    def plain(message: Message) -> None:
        failures.append(message.failures)
        if not message.failures:
            raise ValueError("x")

    async def coroutine(message: aio.Message) -> None:
        plain(message)

    q.send("a")
    handler = plain if kind == "plain" else coroutine
    app.serve(handler, middleware=[Teller("one", told), Broken(), Teller("two", told)], concurrency=1)
    until(lambda: is_empty(q))
    assert failures == [0, 1]
    assert [entry[:2] for entry in told] == [
        ("one", "before"), ("two", "before"), ("two", "on_error"), ("one", "on_error"),
        ("one", "before"), ("two", "before"), ("two", "after"), ("one", "after"),
    ]  # fmt: skip
    logged = [r.message for r in caplog.records if r.levelno == logging.ERROR]
    assert logged == ["Broken.before failed", "Broken.on_error failed", "Broken.before failed", "Broken.after failed"]


def test_methods_may_be_left_out(app: App) -> None:
    class OnlyAfter:
        def __init__(self) -> None:
            self.bodies: list[Any] = []

        def after(self, context: Context) -> None:
            self.bodies.append(context.message.body)

    middleware = OnlyAfter()
    q = app.queue()
    send(q, range(5))
    app.serve(lambda m: None, middleware=[middleware, object()])  # type: ignore[list-item]
    until(lambda: is_empty(q))
    assert sorted(middleware.bodies) == list(range(5))


def test_of_a_batch_each_failure_is_told_once(app: App) -> None:
    told: list[Any] = []
    q = app.queue(retry_policy=SOON)

    def handle(messages: list[Message]) -> Any:
        error = ValueError("shared")
        return [None if m.failures else error if m.body < 2 else KeyError(m.body) for m in messages]

    send(q, range(4))
    app.serve(handle, batch=4, concurrency=1, middleware=[Teller("one", told)])
    until(lambda: is_empty(q))
    assert sorted(entry[3] for entry in told if entry[1] == "on_error") == ["2", "3", "shared"]


def test_it_sees_timeouts_and_its_fields_in_logs(app: App, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    caplog.handler.addFilter(LogFilter())
    caplog.set_level(logging.INFO, "app")
    q = app.queue(retry_policy=SOON)
    log = logging.getLogger("app")

    class Logging:
        def before(self, context: Context) -> None:
            log.info("before")

    def handle(message: Message) -> None:
        log.info("inside")
        if not message.failures:
            threading.Event().wait(0.3)

    sent = q.send("a")
    app.serve(handle, timeout=0.05, concurrency=1, middleware=[Logging(), Teller("one", told)])
    until(lambda: is_empty(q) and len(told) >= 4)
    assert [entry[1] for entry in told] == ["before", "on_error", "before", "after"]
    assert "longer" in told[1][3] or told[1][3] == ""
    records = [r for r in caplog.records if r.name == "app"]
    assert {r.message_id for r in records} == {sent.message_id}  # type: ignore[attr-defined]
    assert len(records) == 4


def test_nothing_of_a_handler_stays_in_its_thread(app: App) -> None:
    """After it ended, whatever way, log records name no message."""
    q = app.queue(retry_policy=SOON)
    outside: list[str] = []
    seen: list[int] = []

    class Spy(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "rqsqs.worker" and "failed" in record.msg:
                outside.append(record.consumer_id)  # type: ignore[attr-defined]

    spy = Spy()
    spy.addFilter(LogFilter())
    logging.getLogger("rqsqs.worker").addHandler(spy)
    try:

        def handle(message: Message) -> None:
            seen.append(message.failures)
            if not message.failures:
                raise ValueError

        send(q, range(5))
        app.serve(handle)
        until(lambda: is_empty(q))
    finally:
        logging.getLogger("rqsqs.worker").removeHandler(spy)
    assert set(outside) == {"-"}
