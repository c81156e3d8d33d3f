"""Handlers that fail: when a message is tried again, what is recorded, and when it is given up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

import rqsqs
from rqsqs import Message, RetryPolicy, aio
from rqsqs.worker import DeadLetter, HandlerTimeout, Retry, WorkerDied
from tests.worker.serving import App, is_empty, send, until

SOON = RetryPolicy(base=0.02, cap=0.05)


class Shop:
    class OutOfStock(LookupError):
        """A class inside a class."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Odd(Exception):
    @property
    def retry_after(self) -> float:
        raise RuntimeError("not now")


def failing(error: Callable[[], BaseException], got: list[Message]) -> Callable[[Message], None]:
    def handle(message: Message) -> None:
        got.append(message)
        raise error()

    return handle


def only(queue: rqsqs.Queue) -> rqsqs.Message:
    (found,) = until(lambda: queue.peek(2))
    return found


def in_flight_for(queue: rqsqs.Queue) -> float:
    """Seconds until the only message in flight is visible again."""
    (m,) = queue.peek(2, state="in_flight")
    assert m.visible_at is not None
    return m.visible_at.timestamp() - time.time()


def test_a_failed_message_is_tried_again_until_it_succeeds(app: App) -> None:
    got: list[tuple[int, int]] = []
    q = app.queue(retry_policy=SOON)

    def handle(message: Message) -> None:
        got.append((message.receive_count, message.failures))
        if message.failures < 4:
            raise ValueError("not yet")

    q.send("a")
    app.serve(handle)
    until(lambda: len(got) == 5 and is_empty(q))
    assert got == [(n + 1, n) for n in range(5)]


def test_coroutines_fail_as_functions_do(app: App) -> None:
    got: list[tuple[Any, int]] = []
    q = app.queue(retry_policy=SOON)

    async def handle(message: aio.Message) -> None:
        got.append((message.body, message.failures))
        if message.failures < 2:
            raise KeyError(message.body)

    send(q, range(10))
    app.serve(handle)
    until(lambda: len(got) == 30 and is_empty(q))
    assert sorted(got) == [(n, f) for n in range(10) for f in range(3)]


def test_the_cause_is_recorded_without_the_frames_of_the_worker(app: App) -> None:
    q = app.queue(retry_policy=SOON)
    got: list[Message] = []

    def deeper(message: Message) -> None:
        raise Shop.OutOfStock("no more apples €")

    def handle(message: Message) -> None:
        got.append(message)
        if not message.failures:
            deeper(message)

    before = time.time()
    q.send("a")
    running = app.serve(handle)
    until(lambda: len(got) == 2)
    cause = got[1].cause
    assert cause is not None
    assert (cause.type, cause.message) == ("tests.worker.test_failures.Shop.OutOfStock", "no more apples €")
    assert (cause.worker, cause.failures, cause.receives) == (running.consumer_id, 1, 1)
    assert cause.at_ms is not None
    assert before - 1 < cause.at_ms / 1000 < time.time() + 1
    lines = [line for line in cause.traceback.splitlines() if line.strip(" ~^")]  # Python 3.13 points
    assert len(lines) == 6
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith("in handle")
    assert lines[3].endswith("in deeper")
    assert 'raise Shop.OutOfStock("no more apples €")' in lines[4]
    assert lines[5] == "tests.worker.test_failures.Shop.OutOfStock: no more apples €"


def test_the_last_cause_is_in_the_dead_letter_queue(app: App) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue=dead, max_receive_count=3, retry_policy=SOON)
    got: list[Message] = []
    q.send("a", attributes={"kind": "apple"})
    app.serve(failing(lambda: ZeroDivisionError(f"try {len(got)}"), got))
    m = only(dead)
    assert len(got) == 3
    assert (m.body, m.attributes, m.dead_letter_source, m.receive_count) == ("a", {"kind": "apple"}, "q", 3)
    assert m.cause is not None
    assert (m.cause.type, m.cause.message, m.cause.failures) == ("ZeroDivisionError", "try 3", 3)
    until(lambda: is_empty(q))


def test_a_dead_letter_queue_can_be_served_as_well(app: App) -> None:
    """Also one with several shards: those of its sources."""
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue=dead, max_receive_count=1)
    other = app.queue("other", dead_letter_queue=dead, max_receive_count=1)
    got: list[Message] = []
    seen: list[Message] = []
    send(q, range(20))
    send(other, range(20, 40))
    handlers: dict[str, Callable[..., Any]] = {name: failing(ValueError, got) for name in ("q", "other")}
    running = app.serve({**handlers, "dead": seen.append})
    until(lambda: len(seen) == 40, lambda: (len(seen), len(got)))
    until(lambda: all(is_empty(x) for x in (q, other, dead)))
    assert sorted(m.body for m in seen) == list(range(40))
    assert {m.cause.type for m in seen if m.cause} == {"ValueError"}
    start = time.monotonic()
    running.stop()
    assert time.monotonic() - start < 30, "it waited for all shards at once"


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_dead_letter_sends_it_there_at_once(app: App, name: str) -> None:
    suffix = name[1:]
    dead = app.queue(f"dead{suffix}")
    q = app.queue(name, dead_letter_queue=dead, max_receive_count=100)
    got: list[Message] = []
    send(q, ["a"], (lambda body: "g") if suffix else None)
    app.serve({name: failing(lambda: DeadLetter("not ours"), got)})
    m = only(dead)
    assert len(got) == 1
    assert m.cause is not None
    assert (m.cause.type, m.cause.message) == ("rqsqs.worker.DeadLetter", "not ours")
    until(lambda: is_empty(q))


def test_dead_letter_without_a_queue_for_it_waits_for_the_longest_delay(app: App) -> None:
    q = app.queue(retry_policy=RetryPolicy(base=0.01, cap=40))
    got: list[Message] = []
    q.send("a")
    app.serve(failing(DeadLetter, got))
    until(lambda: got and q.peek(state="in_flight")[0].cause)
    assert 35 < in_flight_for(q) < 41


def test_exceptions_of_the_policy_go_to_the_dead_letter_queue_at_once(app: App) -> None:
    dead = app.queue("dead")
    policy = RetryPolicy(base=0.01, cap=0.02, dead_letter=(LookupError, "tests.worker.test_failures.Odd"))
    q = app.queue(dead_letter_queue=dead, max_receive_count=4, retry_policy=policy)
    errors = {"base class": KeyError("x"), "name": Odd("x"), "other": ValueError("x")}
    tries: list[str] = []

    def handle(message: Message) -> None:
        tries.append(message.body)
        raise errors[message.body]

    send(q, list(errors))
    app.serve(handle)
    until(lambda: dead.counts().visible == 3)
    assert {body: tries.count(body) for body in errors} == {"base class": 1, "name": 1, "other": 4}


def test_exceptions_have_delays_of_their_own(app: App) -> None:
    policy = RetryPolicy(base=0.01, cap=0.02, exceptions={OSError: RetryPolicy(base=1000, cap=1000)})
    q = app.queue(retry_policy=policy)
    got: list[Message] = []
    q.send("a")
    app.serve(failing(lambda: ConnectionError("down") if len(got) == 3 else ValueError("x"), got))
    until(lambda: len(got) == 3)
    time.sleep(0.2)
    assert len(got) == 3  # but for a chance of one in ten thousand
    assert in_flight_for(q) < 1000


@pytest.mark.parametrize(
    "error",
    [
        lambda: Retry("later", after=30),
        lambda: _with_attribute(ValueError("slow down"), 30),
        lambda: _with_attribute(KeyError("slow down"), 30.0),
    ],
)
def test_a_handler_says_when_it_is_tried_again(app: App, error: Callable[[], BaseException]) -> None:
    q = app.queue(retry_policy=SOON)
    got: list[Message] = []
    q.send("a")
    app.serve(failing(error, got))
    until(lambda: got and q.peek(state="in_flight")[0].cause)
    assert 27 < in_flight_for(q) < 31


def _with_attribute(error: Exception, after: Any) -> Exception:
    error.retry_after = after  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("after", ["soon", -1, None, True, float("nan"), float("inf"), 1e99])
def test_what_is_no_time_is_not_understood_as_one(app: App, after: Any) -> None:
    q = app.queue(retry_policy=SOON)
    got: list[Message] = []
    q.send("a")
    app.serve(failing(lambda: _with_attribute(ValueError("x"), after), got))
    until(lambda: len(got) >= 3)


def test_retry_at_once(app: App) -> None:
    q = app.queue(retry_policy=RetryPolicy(base=1000, cap=1000))
    got: list[Message] = []
    q.send("a")

    def handle(message: Message) -> None:
        got.append(message)
        if len(got) < 50:
            raise Retry(after=0)

    app.serve(handle)
    until(lambda: len(got) == 50 and is_empty(q))


@pytest.mark.parametrize(
    "error",
    [
        Unprintable,
        Odd,
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        StopIteration,
        lambda: ExceptionGroup("g", [OSError()]),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_whatever_is_raised_is_a_failure_and_the_worker_goes_on(app: App, kind: str, error: Any) -> None:
    q = app.queue(retry_policy=SOON)
    got: list[Message] = []

    def handle(message: Message) -> None:
        got.append(message)
        if len(got) == 1:
            raise error()

    async def coroutine(message: aio.Message) -> None:
        handle(message)

    app.serve(coroutine if kind == "coroutine" else handle, concurrency=1)
    q.send("a")
    until(lambda: len(got) == 2 and is_empty(q))
    q.send("b")
    until(lambda: len(got) == 3 and is_empty(q))
    assert got[1].failures == 1
    assert got[1].cause is not None
    assert got[1].cause.type


def test_huge_and_odd_texts_are_cut(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("rqsqs.worker"), "disabled", True)  # pytest cannot show them
    q = app.queue(retry_policy=SOON)
    got: list[Message] = []
    texts = ["x" * 100_000, "\ud800 lone", "\x00", "ä" * 600]

    def handle(message: Message) -> None:
        got.append(message)
        if message.failures < len(texts):
            raise ValueError(texts[message.failures])

    q.send(b"body\xff")
    app.serve(handle)
    until(lambda: len(got) == len(texts) + 1 and is_empty(q))
    causes = [m.cause.message for m in got[1:] if m.cause]
    assert causes == [
        "x" * 500 + "... and 99,500 more characters",
        "\\ud800 lone",
        "\x00",
        "ä" * 500 + "... and 100 more characters",
    ]
    assert {m.body for m in got} == {b"body\xff"}


def test_deep_recursion_is_a_failure_like_others(app: App) -> None:
    q = app.queue(retry_policy=SOON)
    got: list[Message] = []

    def deeper(n: int) -> int:
        return deeper(n + 1) + 1

    def handle(message: Message) -> None:
        got.append(message)
        if not message.failures:
            deeper(0)

    q.send("a")
    app.serve(handle)
    until(lambda: len(got) == 2 and is_empty(q))
    assert got[1].cause is not None
    assert got[1].cause.type == "RecursionError"
    assert len(got[1].cause.traceback) < 2100


def crash(queue: rqsqs.Queue, times: int) -> None:
    """Receive as a worker that dies each time."""
    for n in range(times):
        (m,) = until(lambda: queue.receive(visibility_timeout=0.01))
        assert m.body, n
    until(lambda: queue.counts().visible == 1)


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_what_kills_its_workers_again_and_again_goes_to_the_dead_letter_queue(app: App, name: str) -> None:
    suffix = name[1:]
    dead = app.queue(f"dead{suffix}")
    q = app.queue(name, dead_letter_queue=dead, max_receive_count=100)
    got: list[Message] = []
    send(q, ["poison"], (lambda body: "g") if suffix else None)
    crash(q, 3)
    app.serve({name: got.append}, max_crashes=3)
    m = only(dead)
    assert not got
    assert m.cause is not None
    assert (m.cause.type, m.cause.failures) == ("rqsqs.worker.WorkerDied", 1)
    assert "received 3 times" in m.cause.message
    until(lambda: is_empty(q))
    send(q, ["healthy"], (lambda body: "g") if suffix else None) if not suffix else q.send(
        "healthy", group="g", deduplication_id="h"
    )
    until(lambda: [x.body for x in got] == ["healthy"])


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_without_a_dead_letter_queue_it_is_tried_again_later(app: App, name: str) -> None:
    q = app.queue(name, retry_policy=RetryPolicy(base=0.05, cap=0.3))
    got: list[Message] = []
    send(q, ["poison"], (lambda body: "g") if name == "q.fifo" else None)
    crash(q, 3)
    app.serve({name: got.append}, max_crashes=3)
    until(lambda: got and is_empty(q))
    assert got[0].failures == 1
    assert got[0].cause is not None
    assert got[0].cause.type == "rqsqs.worker.WorkerDied"


def test_crashes_are_counted_from_the_last_word_of_a_worker(app: App) -> None:
    q = app.queue(dead_letter_queue=app.queue("dead"), max_receive_count=100, retry_policy=SOON)
    got: list[Message] = []
    q.send("a")
    crash(q, 2)
    with app.serve(failing(lambda: Retry(after=0), got), max_crashes=3):
        until(lambda: got)
    assert got[0].failures == 0
    crash(q, 2)
    app.serve(got.append, max_crashes=3)
    until(lambda: is_empty(q))
    failures = got[-1].failures
    assert got[-1].receive_count == 4 + failures + 1
    assert app.connection.queue("dead").counts().visible == 0


def test_failures_do_not_count_as_crashes(app: App) -> None:
    q = app.queue(dead_letter_queue=app.queue("dead"), max_receive_count=100, retry_policy=SOON)
    got: list[Message] = []

    def handle(message: Message) -> None:
        got.append(message)
        if message.failures < 10:
            raise ValueError

    q.send("a")
    app.serve(handle, max_crashes=2)
    until(lambda: len(got) == 11 and is_empty(q))


def test_a_redriven_message_begins_anew(app: App) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue=dead, max_receive_count=2, retry_policy=SOON)
    got: list[Message] = []
    is_healed = False

    def handle(message: Message) -> None:
        got.append(message)
        if not is_healed:
            raise ValueError("ill")

    q.send("a")
    app.serve(handle)
    only(dead)
    is_healed = True
    dead.redrive()
    until(lambda: len(got) == 3 and is_empty(q) and is_empty(dead))
    assert (got[2].failures, got[2].receive_count) == (0, 1)
    assert got[2].cause is not None
    assert got[2].cause.message == "ill"


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_handler_that_takes_too_long_fails(app: App, kind: str) -> None:
    q = app.queue(retry_policy=SOON)
    got: list[Message] = []
    ends: list[Any] = []

    def plain(message: Message) -> None:
        got.append(message)
        try:
            while not message.failures:
                time.sleep(0.005)
        except BaseException as e:
            ends.append(e)
            raise

    async def coroutine(message: aio.Message) -> None:
        got.append(message)
        try:
            while not message.failures:
                await asyncio.sleep(60)
        except BaseException as e:
            ends.append(e)
            raise

    q.send("a")
    start = time.monotonic()
    app.serve(coroutine if kind == "coroutine" else plain, timeout=0.15, concurrency=1)
    until(lambda: len(got) == 2 and is_empty(q))
    assert 0.15 <= time.monotonic() - start < 30
    assert isinstance(ends[0], HandlerTimeout if kind == "plain" else asyncio.CancelledError)
    cause = got[1].cause
    assert cause is not None
    assert (cause.type, cause.message) == ("rqsqs.worker.HandlerTimeout", "the handler took longer than 0.15 s")


def test_a_handler_that_goes_on_after_all_errors_ends_at_its_timeout(app: App) -> None:
    """Whatever errors it ignores, and the library on its behalf, at the moment when its time is over."""
    q, other = app.queue(retry_policy=SOON), app.queue("other")
    got: list[Message] = []

    def handle(message: Message) -> None:
        got.append(message)
        while not message.failures:
            with contextlib.suppress(Exception):
                for _ in range(100):
                    other.receive()
                    time.sleep(0.001)

    q.send("a")
    app.serve(handle, timeout=0.15, concurrency=1)  # nothing else could run beside it
    until(lambda: len(got) == 2 and is_empty(q))
    assert [m.cause and m.cause.type for m in got] == [None, "rqsqs.worker.HandlerTimeout"]


def test_a_coroutine_that_raises_timeout_error_has_not_taken_too_long(app: App) -> None:
    q = app.queue(retry_policy=SOON)
    got: list[Message] = []

    async def handle(message: aio.Message) -> None:
        got.append(message)
        if not message.failures:
            raise TimeoutError("of a database")

    q.send("a")
    app.serve(handle, timeout=5)
    until(lambda: len(got) == 2)
    assert got[1].cause is not None
    assert (got[1].cause.type, got[1].cause.message) == ("TimeoutError", "of a database")


def test_a_call_of_c_code_is_given_up_at_once_but_its_slot_stays_taken(app: App) -> None:
    q = app.queue(retry_policy=RetryPolicy(base=0.01, cap=0.01))
    began: list[tuple[float, Any]] = []
    ended: list[float] = []

    def handle(message: Message) -> None:
        began.append((time.monotonic(), message.body))
        if message.body == "slow" and not message.failures:
            try:
                time.sleep(1.0)  # C code
            finally:
                ended.append(time.monotonic())

    send(q, ["slow", "next"])
    app.serve(handle, timeout=0.1, concurrency=1)
    until(lambda: [m.cause for m in q.peek(2)] and any(m.cause for m in q.peek(2)))
    assert not ended, "settled while it is still running"
    until(lambda: is_empty(q))
    assert began[0][1] == "slow"
    assert sorted(body for _, body in began) == ["next", "slow", "slow"]
    assert all(at >= ended[0] for at, _ in began[1:])


def test_an_interruption_never_hits_another_job(app: App) -> None:
    """Handlers end at the very moment of their timeout, hundreds of times; what follows in the thread is untouched."""
    q = app.queue(retry_policy=RetryPolicy(base=0.001, cap=0.001))
    victims: list[Any] = []
    outcomes: dict[Any, list[str]] = {}
    n = 200

    def edgy(message: Message) -> None:
        outcomes.setdefault(message.body, []).append("begun")
        if message.failures:
            return
        end = time.perf_counter() + 0.0188 + (message.body % 30) * 0.0001
        while time.perf_counter() < end:
            pass

    def innocent(message: Message) -> None:
        try:
            for _ in range(2000):
                pass
        except BaseException as e:
            victims.append(e)
            raise

    others = app.queue("others")
    send(q, range(n))
    send(others, range(3 * n))
    worker = app.worker(concurrency=3)
    worker.add("q", edgy, timeout=0.02)
    worker.add("others", innocent)
    app.start(worker)
    until(lambda: is_empty(q) and is_empty(others), lambda: (q.counts(), others.counts()), 40)
    assert not victims
    tries = sum(len(o) for o in outcomes.values())
    assert n <= tries <= 2 * n
    assert worker.status()["queues"]["others"]["succeeded"] == 3 * n


def test_worker_died_is_an_exception_one_can_name(app: App) -> None:
    """A retry policy may list it, as any other."""
    q = app.queue(retry_policy=RetryPolicy(base=100, cap=100, exceptions={WorkerDied: RetryPolicy(base=0.1, cap=0.2)}))
    assert '"rqsqs.worker.WorkerDied"' in q.info().attributes["RetryPolicy"]
