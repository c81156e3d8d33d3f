"""Handlers: how they are called, and what becomes of a message when they return."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import pytest

from rqsqs import Entry, Message, RetryPolicy, aio
from rqsqs.errors import InvalidParameterValue, UsageError
from rqsqs.worker import Context, LogFilter, current
from tests.clusters import calls, masters_of
from tests.worker.serving import App, is_empty, released, send, until


def test_a_function_gets_the_message_and_it_is_deleted(app: App) -> None:
    got: list[Message] = []
    q = app.queue()
    q.send({"id": 7}, attributes={"kind": "test", "n": 3})
    app.serve(got.append)
    until(lambda: got and is_empty(q))
    (m,) = got
    assert (m.body, m.attributes, m.receive_count, m.failures, m.cause) == (
        {"id": 7},
        {"kind": "test", "n": 3},
        1,
        0,
        None,
    )


def test_a_coroutine_function_runs_on_the_event_loop(app: App) -> None:
    got: list[Any] = []
    q = app.queue()

    async def handle(message: aio.Message) -> None:
        await asyncio.sleep(0.01)
        got.append((message.body, asyncio.get_running_loop()))

    send(q, [1, 2, 3])
    app.serve(handle)
    until(lambda: len(got) == 3 and is_empty(q))
    assert sorted(body for body, _ in got) == [1, 2, 3]
    assert len({loop for _, loop in got}) == 1


def test_a_function_of_two_arguments_gets_the_context(app: App) -> None:
    got: list[tuple[Message, Context]] = []
    q = app.queue()
    q.send("a")
    running = app.serve(lambda message, context: got.append((message, context)))
    until(lambda: got and is_empty(q))
    ((m, c),) = got
    assert c.message is m
    assert (c.messages, c.queue, c.consumer_id) == ([m], "q", running.consumer_id)
    assert not c.is_lost
    assert c.lost == []


class Callables:
    """Everything that can be called with a message, and with the context if it asks for it."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def method(self, message: Message) -> None:
        self.calls.append(1)

    async def coroutine_method(self, message: aio.Message, context: Context) -> None:
        self.calls.append(2)

    def __call__(self, message: Message) -> None:
        self.calls.append(1)

    def with_default(self, message: Message, retries: int = 3) -> None:
        assert retries == 3
        self.calls.append(1)

    @classmethod
    def of_class(cls, message: Message) -> None: ...


class AsyncCallable(Callables):
    async def __call__(self, message: aio.Message) -> None:  # type: ignore[override]
        self.calls.append(1)


def test_methods_objects_partials_and_builtins_are_functions(app: App) -> None:
    one, other = Callables(), AsyncCallable()
    bodies: list[Message] = []
    handlers: dict[str, Callable[..., Any]] = {
        "a": one.method,
        "b": one.coroutine_method,
        "c": one,
        "d": other,
        "e": one.with_default,
        "f": functools.partial(lambda extra, message: one.calls.append(extra), 1),
        "g": bodies.append,
        "h": functools.partial(one.coroutine_method),
        "i": lambda *args, **options: one.calls.append(len(args)),
        "j": lambda message=None: one.calls.append(1),
    }
    queues = [app.queue(name) for name in handlers]
    for q in queues:
        q.send(q.name)
    app.serve(handlers)
    until(lambda: all(is_empty(q) for q in queues))
    assert sorted(one.calls + other.calls) == [1, 1, 1, 1, 1, 1, 1, 2, 2]
    assert [m.body for m in bodies] == ["g"]


def two_messages(message: Message) -> Any:
    yield message


async def in_steps(message: Any) -> Any:
    yield message


class Task:
    def __init__(self, message: Any) -> None: ...


class Order:
    id: int


class HasBody(Protocol):
    body: Any


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (3, "must be a function, got 3"),
        (lambda: None, "must take a message"),
        (lambda a, b, c: None, "must take a message"),
        (lambda message, *, database: None, "must take a message"),
        (Task, "got the class Task: register an object of it"),
        (two_messages, "has a `yield`"),
        (in_steps, "has a `yield`"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_at_once(app: App, function: Any, says: str) -> None:
    with pytest.raises(InvalidParameterValue, match=says):
        app.worker().add("q", function)


def takes(annotation: Any, *, coroutine: bool = False) -> Any:
    """A function whose parameter is annotated so."""

    def plain(message): ...  # type: ignore[no-untyped-def]

    async def asynchronous(message): ...  # type: ignore[no-untyped-def]

    function = asynchronous if coroutine else plain
    function.__annotations__["message"] = annotation
    return function


@pytest.mark.parametrize(
    ("function", "batch", "says"),
    [
        (takes(list[Message]), 0, "takes a list of messages: register it with batch="),
        (takes(Sequence[Message]), 0, "takes a list of messages"),
        (takes(list), 0, "takes a list of messages"),
        (takes(Message), 10, r"is called with a list\[rqsqs.Message\] because of batch=10, but takes rqsqs.Message"),
        (takes(tuple[Message, ...]), 10, "because of batch=10, but takes tuple"),
        (takes(aio.Message), 0, "is a plain function and called with rqsqs.Message, but takes rqsqs.aio.Message"),
        (
            takes(Message, coroutine=True),
            0,
            "is a coroutine function and called with rqsqs.aio.Message, but takes rqsqs",
        ),
        (takes(list[Message], coroutine=True), 5, r"called with list\[rqsqs.aio.Message\], but takes rqsqs.Message"),
        (takes(dict[str, Any]), 0, r"but takes dict\[str"),
        (takes("str"), 0, "but takes str"),
        (takes(Order), 0, "but takes .*Order"),
    ],
)
def test_a_handler_that_is_annotated_for_something_else_is_refused_at_once(
    app: App, function: Any, batch: int, says: str
) -> None:
    with pytest.raises(InvalidParameterValue, match=says):
        app.worker().add("q", function, batch=batch)


@pytest.mark.parametrize(
    ("function", "batch"),
    [
        (takes(Message), 0),
        (takes("Message"), 0),
        (takes("NotDefinedHere"), 0),
        (takes(Any), 0),
        (takes(object), 5),
        (takes(Message | aio.Message), 0),
        (takes(HasBody), 0),
        (takes(aio.Message, coroutine=True), 0),
        (takes(list[aio.Message], coroutine=True), 5),
        (takes(list[Message]), 5),
        (takes(list), 5),
        (takes(Iterable[Message]), 5),
        (takes(Sequence[HasBody]), 5),
        (takes("Message | list[Message]"), 5),
    ],
)
def test_a_handler_that_is_annotated_well_or_not_at_all_is_taken(app: App, function: Any, batch: int) -> None:
    app.worker().add("q", function, batch=batch)


@pytest.mark.parametrize("batch", [0, 2])
def test_a_coroutine_that_nobody_awaits_is_a_failure(app: App, batch: int) -> None:
    q = app.queue(retry_policy=RetryPolicy(base=0.01, cap=0.02))
    causes: list[str] = []

    async def work() -> None: ...

    def handle(found: Any) -> Any:
        message = found[0] if batch else found
        if not message.failures:
            return work()
        causes.append(message.cause.message)
        return None

    q.send("a")
    app.serve(handle, batch=batch)
    until(lambda: is_empty(q))
    (cause,) = causes
    assert "must be an `async def` to be awaited" in cause


@pytest.mark.parametrize(
    "settings",
    [
        {"concurrency": 0},
        {"concurrency": 10_001},
        {"heartbeat_interval": 0.01},
        {"heartbeat_interval": True},
        {"shutdown_timeout": -1},
        {"linger": 2},
        {"max_extension": 0},
        {"max_crashes": 0},
        {"prefix": "a{b"},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    from rqsqs.worker import Worker

    with pytest.raises(InvalidParameterValue):
        Worker(**settings)


@pytest.mark.parametrize("options", [{"weight": 0}, {"weight": True}, {"batch": -1}, {"batch": 1001}, {"timeout": 0}])
def test_options_of_a_handler_out_of_range_are_refused(app: App, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterValue):
        app.worker().add("q", print, **options)


def test_a_queue_has_one_handler(app: App) -> None:
    worker = app.worker()
    worker.add("q", print)
    with pytest.raises(InvalidParameterValue, match="has a handler already"):
        worker.add("q", print)


def test_a_worker_without_handlers_does_not_start(app: App) -> None:
    with pytest.raises(UsageError, match="has no handlers"):
        app.worker().run()


def test_only_as_many_messages_are_fetched_as_slots_are_free(app: App) -> None:
    go = threading.Event()
    q = app.queue()
    send(q, range(50))
    with released(go):
        app.serve(lambda message: go.wait(60), concurrency=4)
        until(lambda: q.counts().in_flight == 4)
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            assert (q.counts().in_flight, q.counts().visible) == (4, 46)
    until(lambda: is_empty(q))


def test_coroutines_take_slots_as_well(app: App) -> None:
    q = app.queue()
    gate: dict[str, asyncio.Event] = {}
    running = 0
    most = 0

    async def handle(message: aio.Message) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.setdefault("go", asyncio.Event()).wait()
        running -= 1

    send(q, range(40))
    worker = app.worker(concurrency=7)
    worker.add("q", handle)
    app.start(worker)
    until(lambda: q.counts().in_flight == 7)
    time.sleep(0.2)
    assert q.counts().in_flight == 7
    assert worker._runtime is not None
    worker._runtime.soon(lambda: gate["go"].set())
    until(lambda: is_empty(q))
    assert most == 7


def test_a_slot_that_becomes_free_is_filled_while_others_are_busy(app: App) -> None:
    go = threading.Event()
    done: list[int] = []
    q = app.queue()

    def handle(message: Message) -> None:
        if message.body < 3:
            go.wait(60)
        done.append(message.body)

    send(q, range(60))
    with released(go):
        app.serve(handle, concurrency=4)
        until(lambda: len(done) == 57, lambda: done)
    until(lambda: is_empty(q))


def test_a_busy_worker_makes_about_one_call_for_a_batch(app: App) -> None:
    q = app.queue()
    n = 4000
    done: list[Any] = []
    send(q, [b"x"] * n)

    with masters_of(app.url) as masters:
        before = calls(masters)
        app.serve(lambda m: done.append(1), concurrency=20, heartbeat_interval=5.0)
        until(lambda: len(done) == n and is_empty(q))
        made = calls(masters) - before
    assert made["evalsha"] <= n / 20 * 1.3 + 60 + 200, made  # those of our looking included


def test_a_message_that_arrives_is_handled_at_once(app: App) -> None:
    q = app.queue()
    at: list[float] = []
    app.serve(lambda m: at.append(time.monotonic()))
    took = []
    for n in range(20):
        until(lambda n=n: len(at) == n)
        time.sleep(0.01)
        sent = time.monotonic()
        q.send(n)
        until(lambda n=n: len(at) == n + 1)
        took.append(at[-1] - sent)
    assert sorted(took)[10] < 0.05, took


def test_bodies_of_all_kinds_come_as_they_were_sent(app: App) -> None:
    bodies = ["", b"", {}, [], None, 0, "ä€𝄞", b"\x00\xff", {"a": [1, b"x", None]}, "x" * 300_000]
    got: list[Any] = []
    q = app.queue()
    send(q, bodies)
    app.serve(lambda m: got.append(m.body), concurrency=1)
    until(lambda: len(got) == len(bodies) and is_empty(q))
    assert got == bodies


def test_messages_of_a_fair_queue_take_turns(app: App) -> None:
    got: list[str] = []
    q = app.queue()
    q.send_batch([Entry(f"big{n}", group="big") for n in range(60)])
    q.send_batch([Entry(f"small{n}", group="small") for n in range(5)])
    app.serve(lambda m: got.append(m.body), concurrency=2)
    until(lambda: len(got) == 65 and is_empty(q))
    assert max(got.index(f"small{n}") for n in range(5)) < 25, got
    assert [b for b in got if b.startswith("small")] == sorted(b for b in got if b.startswith("small"))


def test_a_delayed_message_is_handled_when_it_is_due(app: App) -> None:
    at: list[float] = []
    q = app.queue()
    app.serve(lambda m: at.append(time.time()))
    due = time.time() + 0.4
    q.send("later", at=due)
    until(lambda: at and is_empty(q))
    assert -0.01 < at[0] - due < 0.5


def test_current_is_the_context_in_threads_tasks_and_what_they_start(app: App) -> None:
    got: list[tuple[Any, Any]] = []
    queues = app.queue("threads"), app.queue("tasks")

    def plain(message: Message) -> None:
        got.append((message.body, current().message.body))
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(plain_inside, message))
        thread.start()
        thread.join()

    def plain_inside(message: Message) -> None:
        got.append((message.body, current().message.body))

    async def coroutine(message: aio.Message) -> None:
        await asyncio.sleep(0.001)
        got.append((message.body, current().message.body))
        await asyncio.create_task(inner(message))
        await asyncio.to_thread(plain_inside, message)

    async def inner(message: aio.Message) -> None:
        got.append((message.body, current().message.body))

    for q in queues:
        send(q, [f"{q.name}{n}" for n in range(20)])
    app.serve({"threads": plain, "tasks": coroutine}, concurrency=8)
    until(lambda: len(got) == 20 * 2 + 20 * 3 and all(is_empty(q) for q in queues))
    assert all(sent == told for sent, told in got)


def test_outside_a_handler_there_is_no_current_context() -> None:
    with pytest.raises(UsageError, match="no handler is running here"):
        current()


def test_a_log_filter_names_the_message(app: App) -> None:
    records: list[logging.LogRecord] = []
    log = logging.Logger("app")  # of its own
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    handler.addFilter(LogFilter())
    log.addHandler(handler)
    ids: dict[str, str] = {}
    queues = app.queue("threads"), app.queue("tasks")

    def plain(message: Message) -> None:
        ids[message.body] = message.message_id
        log.info(message.body)

    async def coroutine(message: aio.Message) -> None:
        await asyncio.sleep(0)
        plain(message)

    for q in queues:
        send(q, [f"{q.name}{n}" for n in range(10)])
    log.info("outside")
    running = app.serve({"threads": plain, "tasks": coroutine})
    until(lambda: len(records) == 21)
    consumer = running.consumer_id
    facts = {r.msg: (r.queue, r.message_id, r.consumer_id) for r in records}  # type: ignore[attr-defined]
    assert facts.pop("outside") == ("-", "-", "-")
    assert facts == {body: (body.rstrip("0123456789"), ids[body], consumer) for body in ids}


def test_a_quick_handler_behind_a_slow_one_does_not_wait_for_it(app: App) -> None:
    """Quick jobs run in bursts; when one takes long, others take over what is behind it."""
    q = app.queue()
    done: dict[Any, float] = {}
    go = threading.Event()

    def handle(message: Message) -> None:
        if message.body == "slow":
            go.wait(60)
        done[message.body] = time.monotonic()

    with released(go):
        app.serve(handle, concurrency=10)
        send(q, list(range(2000)))
        until(lambda: len(done) == 2000)
        send(q, ["slow", *range(2000, 2009)])
        until(lambda: len(done) == 2009, lambda: len(done))
        until(lambda: q.counts().in_flight == 1)
    until(lambda: is_empty(q))
