"""Middleware: functions around the calls of handlers."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rqsqs import Message, RetryPolicy, aio
from rqsqs.errors import InvalidParameterValue, UsageError
from rqsqs.worker import Context, DeadLetter, HandlerTimeout, LogFilter, Worker, current
from tests.worker.serving import App, is_empty, send, until

SOON = RetryPolicy(base=0.01, cap=0.02)
Body = Callable[[Any], Any]


@pytest.fixture(params=["plain", "coroutine"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def serve(app: App, kind: str, body: Body, *wrappers: Callable[[Any, Any], Any], **options: Any) -> None:
    """Serve the queue "q" with middleware around a handler, all of one kind.

    Args:
        body: what the handler does.
        wrappers: functions of a message and of call_next, written for plain handlers; each `call_next(...)` in them is
            run for coroutines as well.
    """
    handler = {name: options.pop(name) for name in ("batch", "timeout") if name in options}
    worker = app.worker(concurrency=1, **options)
    for wrapper in wrappers:
        worker.middleware(wrapper if kind == "plain" else in_task(wrapper))
    worker.add("q", body if kind == "plain" else coroutine(body), **handler)
    app.start(worker)


def coroutine(body: Body) -> Body:
    async def handle(message: Any) -> Any:
        await asyncio.sleep(0)
        return body(message)

    return handle


def in_task(wrapper: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The same as an `async def`: the plain one runs in a thread, and its call_next in the loop."""

    async def around(message: Any, call_next: Any) -> Any:
        loop = asyncio.get_running_loop()

        def call(argument: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(call_next(argument), loop).result(30)

        return await asyncio.to_thread(wrapper, message, call)

    return around


def teller(name: str, told: list[Any]) -> Callable[[Any, Any], Any]:
    def around(message: Any, call_next: Any) -> Any:
        told.append((name, "before", message.body))
        try:
            result = call_next(message)
        except Exception as error:
            told.append((name, "error", str(error)))
            raise
        told.append((name, "after", message.body))
        return result

    return around


def test_it_runs_around_the_handler_from_the_outside_in_and_back(app: App, kind: str) -> None:
    told: list[Any] = []
    q = app.queue(retry_policy=SOON)

    def handle(message: Any) -> None:
        told.append("handler")
        if message.body == "bad" and not message.failures:
            raise ValueError("x")

    q.send("good")
    serve(app, kind, handle, teller("outer", told), teller("inner", told))
    good = [
        ("outer", "before", "good"),
        ("inner", "before", "good"),
        "handler",
        ("inner", "after", "good"),
        ("outer", "after", "good"),
    ]
    until(lambda: is_empty(q))
    assert told == good
    told.clear()
    q.send("bad")
    until(lambda: len(told) == 10 and is_empty(q))
    assert told[:5] == [
        ("outer", "before", "bad"),
        ("inner", "before", "bad"),
        "handler",
        ("inner", "error", "x"),
        ("outer", "error", "x"),
    ]


def test_the_decorator_gives_the_function_back(app: App) -> None:
    worker = app.worker()

    @worker.middleware
    def around(message: Message, call_next: Callable[[Message], None]) -> None:
        call_next(message)

    assert around.__name__ == "around"


def test_what_it_raises_is_a_failure_like_the_handlers_own(app: App, kind: str) -> None:
    q = app.queue(retry_policy=SOON, dead_letter_queue=app.queue("dead"))
    told: list[Any] = []

    def around(message: Any, call_next: Any) -> Any:
        if message.body == "never":
            raise DeadLetter("refused by middleware")
        if message.failures == 0:
            raise RuntimeError("before")
        call_next(message)
        if message.failures == 1:
            raise RuntimeError("after")

    send(q, ["a", "never"])
    serve(app, kind, lambda m: told.append((m.body, m.failures, m.cause.message)), around)
    until(lambda: is_empty(q))
    assert told == [("a", 1, "before"), ("a", 2, "after")]
    (letter,) = app.connection.queue("dead").peek()
    assert letter.cause is not None
    assert (letter.body, letter.cause.message) == ("never", "refused by middleware")


def test_it_may_turn_an_error_into_success_and_call_again(app: App, kind: str) -> None:
    q = app.queue()
    calls: list[Any] = []

    def twice(message: Any, call_next: Any) -> Any:
        try:
            return call_next(message)
        except ValueError:
            return call_next(message)

    def handle(message: Any) -> None:
        calls.append(message.receive_count)
        if len(calls) == 1:
            raise ValueError

    q.send("a")
    serve(app, kind, handle, twice)
    until(lambda: is_empty(q))
    assert calls == [1, 1]


def test_a_message_is_done_without_the_handler_if_it_goes_no_further(app: App, kind: str) -> None:
    q = app.queue()
    handled: list[Any] = []
    send(q, range(10))
    serve(app, kind, lambda m: handled.append(m.body), lambda m, call_next: m.body % 2 and call_next(m))
    until(lambda: is_empty(q))
    assert sorted(handled) == [1, 3, 5, 7, 9]


def test_the_handler_gets_what_it_passes_on(app: App, kind: str) -> None:
    q = app.queue()
    handled: list[Any] = []
    send(q, [1, 2])
    serve(app, kind, handled.append, lambda m, call_next: call_next(m.body * 10), lambda n, call_next: call_next(n + 1))
    until(lambda: is_empty(q))
    assert sorted(handled) == [11, 21]


def test_around_a_batch_it_gets_the_list_and_hands_on_the_outcomes(app: App, kind: str) -> None:
    q = app.queue(retry_policy=SOON)
    sizes: list[int] = []

    def forgetful(messages: Any, call_next: Any) -> None:
        sizes.append(len(messages))
        call_next(messages)  # without `return`

    def handle(messages: Any) -> Any:
        return [None if m.failures else ValueError(m.body) for m in messages]

    send(q, range(4))
    serve(app, kind, handle, lambda messages, call_next: call_next(messages), forgetful, batch=4)
    until(lambda: is_empty(q))
    assert sum(sizes) == 8  # all failed once


def test_it_may_change_the_outcomes_of_a_batch(app: App, kind: str) -> None:
    q = app.queue()
    calls: list[int] = []

    def absolve(messages: Any, call_next: Any) -> Any:
        return [None for _ in call_next(messages)]

    def handle(messages: Any) -> Any:
        calls.append(len(messages))
        return [ValueError() for _ in messages]

    send(q, range(4))
    serve(app, kind, handle, absolve, batch=4)
    until(lambda: is_empty(q))
    assert sum(calls) == 4


def test_it_may_settle_the_message(app: App) -> None:
    q = app.queue()
    handled: list[Any] = []

    def at_most_once(message: Message, call_next: Any) -> Any:
        message.delete()
        return call_next(message)

    def handle(message: Message) -> None:
        handled.append(message.body)
        raise ValueError

    q.send("a")
    serve(app, "plain", handle, at_most_once)
    until(lambda: handled and is_empty(q))
    assert handled == ["a"]


def test_context_variables_reach_the_handler_and_go_no_further(app: App, kind: str) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")
    q = app.queue()
    seen: list[tuple[Any, str, str]] = []

    def plain(message: Any, call_next: Any) -> Any:
        before = tenant.get()
        tenant.set(f"tenant {message.body}")
        seen.append((message.body, before, ""))
        return call_next(message)

    async def asynchronous(message: Any, call_next: Any) -> Any:
        return await plain(message, call_next)

    def handle(message: Any) -> None:
        seen.append((message.body, "", tenant.get()))
        assert current().message is message

    worker = app.worker(concurrency=1)
    worker.middleware(plain if kind == "plain" else asynchronous)
    worker.add("q", handle if kind == "plain" else coroutine(handle))
    send(q, range(5))
    app.start(worker)
    until(lambda: is_empty(q))
    assert sorted(seen) == sorted([(n, "none", "") for n in range(5)] + [(n, "", f"tenant {n}") for n in range(5)])


def test_each_kind_of_handler_has_the_middleware_of_its_kind(app: App) -> None:
    told: list[Any] = []
    queues = app.queue("threads"), app.queue("tasks")
    worker = app.worker()

    @worker.middleware
    def plain(message: Message, call_next: Callable[[Message], None]) -> None:
        told.append(("plain", message.body))
        call_next(message)

    class Asynchronous:
        async def __call__(self, message: aio.Message, call_next: Callable[[aio.Message], Any]) -> None:
            told.append(("async", message.body))
            await call_next(message)

    worker.middleware(Asynchronous())
    worker.add("threads", lambda message: None)

    @worker.handler("tasks")
    async def task(message: aio.Message, context: Context) -> None:
        assert context.message is message

    for q in queues:
        q.send(q.name)
    app.start(worker)
    until(lambda: all(is_empty(q) for q in queues))
    assert sorted(told) == [("async", "tasks"), ("plain", "threads")]


def test_the_time_limit_is_for_both_and_seen_by_it(app: App) -> None:
    q = app.queue(retry_policy=SOON)
    told: list[Any] = []

    def around(message: Message, call_next: Any) -> None:
        try:
            call_next(message)
        except HandlerTimeout:
            told.append("expired")
            raise

    def handle(message: Message) -> None:
        while not message.failures:
            threading.Event().wait(0.01)
        told.append("done")

    q.send("a")
    serve(app, "plain", handle, around, timeout=0.2)
    until(lambda: is_empty(q))
    assert told == ["expired", "done"]


def test_a_coroutine_that_is_out_of_time_is_cancelled_in_its_middleware(app: App) -> None:
    q = app.queue(retry_policy=SOON)
    told: list[Any] = []

    async def around(message: aio.Message, call_next: Any) -> None:
        try:
            await call_next(message)
        except asyncio.CancelledError:
            told.append("expired")
            raise

    async def handle(message: aio.Message) -> None:
        if not message.failures:
            await asyncio.sleep(60)
        assert message.cause is not None
        told.append(message.cause.type)

    worker = app.worker()
    worker.middleware(around)
    worker.add("q", handle, timeout=0.2)
    q.send("a")
    app.start(worker)
    until(lambda: is_empty(q))
    assert told == ["expired", "rqsqs.worker.HandlerTimeout"]


@pytest.mark.parametrize("returns", [True, False])
def test_a_forgotten_await_does_not_lose_the_message(app: App, returns: bool) -> None:
    q = app.queue(retry_policy=SOON)
    handled: list[Any] = []

    async def around(message: aio.Message, call_next: Any) -> Any:
        if message.failures:
            return await call_next(message)
        forgotten = call_next(message)
        return forgotten if returns else None

    async def handle(message: aio.Message) -> None:
        assert message.cause is not None
        handled.append(message.cause.message)

    worker = app.worker()
    worker.middleware(around)
    worker.add("q", handle)
    q.send("a")
    app.start(worker)
    until(lambda: is_empty(q))
    assert handled == ["middleware called call_next() and did not await it: the handler did not run"]


def test_log_records_of_middleware_name_the_message(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(LogFilter())
    caplog.set_level(logging.INFO, "app")
    q = app.queue()
    log = logging.getLogger("app")

    def around(message: Message, call_next: Any) -> None:
        log.info("before")
        call_next(message)
        log.info("after")

    sent = q.send("a")
    serve(app, "plain", lambda message: log.info("inside"), around)
    until(lambda: is_empty(q))
    records = [r for r in caplog.records if r.name == "app"]
    assert [r.message for r in records] == ["before", "inside", "after"]
    assert {r.message_id for r in records} == {sent.message_id}  # type: ignore[attr-defined]


def generator(message: Any, call_next: Any) -> Any:
    yield call_next(message)


class NeedsMore:
    def __init__(self, name: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (3, r"must be a function of \(message, call_next\), got 3"),
        (NeedsMore, "register an object of the class"),
        (generator, "a generator function"),
        (lambda message: None, "must take two arguments"),
        (lambda message, call_next, more: None, "must take two arguments"),
    ],
)
def test_what_cannot_be_middleware_is_refused_at_once(function: Any, says: str) -> None:
    with pytest.raises(InvalidParameterValue, match=says):
        Worker().middleware(function)


def test_a_worker_with_middleware_around_nothing_does_not_start(app: App) -> None:
    async def asynchronous(message: Any, call_next: Any) -> None: ...

    def plain(message: Any, call_next: Any) -> None: ...

    for function, handler, says in (
        (plain, asyncio.sleep, "make it an `async def`"),
        (asynchronous, print, "make it a plain function"),
    ):
        worker = app.worker()
        worker.middleware(function)
        worker.add("q", handler)
        with pytest.raises(UsageError, match=says):
            worker.run()


def test_nothing_of_a_handler_stays_in_its_thread(app: App) -> None:
    """After it ended, whatever way, log records name no message."""
    q = app.queue(retry_policy=SOON)
    outside: list[str] = []
    seen: list[int] = []

    class Spy(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "rqsqs.worker" and "failed" in record.msg:
                outside.append(str(_job()))

    def _job() -> object:
        try:
            return current()
        except UsageError:
            return "-"

    spy = Spy()
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
