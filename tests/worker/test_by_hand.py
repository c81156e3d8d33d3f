"""What a handler does with its messages itself: the worker does not settle them again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import rqsqs
from rqsqs import Message, RetryPolicy, aio
from rqsqs.worker import MessageLost
from tests.worker.serving import App, is_empty, released, send, until

SOON = RetryPolicy(base=0.01, cap=0.02)
LATER = RetryPolicy(base=3600, cap=3600)  # what the worker releases by itself is not seen again
Step = Callable[[Any], Any]  # something done to a message, by either kind of handler


def both(step: Step, *, then: BaseException | None = None, fails: list[BaseException] | None = None) -> dict[str, Any]:
    """A plain handler and a coroutine function that take the same step with a message, once."""
    seen: set[str] = set()

    def is_first(message: Any) -> bool:
        first = message.message_id not in seen
        seen.add(message.message_id)
        return first

    def plain(message: Message) -> None:
        if is_first(message):
            try:
                step(message)
            except Exception as error:
                if fails is None:
                    raise
                fails.append(error)
            if then is not None:
                raise then

    async def coroutine(message: aio.Message) -> None:
        if is_first(message):
            try:
                await step(message)
            except Exception as error:
                if fails is None:
                    raise
                fails.append(error)
            if then is not None:
                raise then

    return {"plain": plain, "coroutine": coroutine}


@pytest.fixture(params=["plain", "coroutine"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_message_in_a_handler_is_that_of_the_native_api(app: App, kind: str, name: str) -> None:
    got: list[Any] = []
    q = app.queue(name)

    def plain(message: rqsqs.Message) -> None:
        got.append(message)

    async def coroutine(message: aio.Message) -> None:
        got.append(message)

    q.send("a", group="g")
    app.serve({name: plain if kind == "plain" else coroutine})
    until(lambda: got and is_empty(q))
    assert type(got[0]) is (rqsqs.Message if kind == "plain" else aio.Message)
    assert type(got[0].queue) is (rqsqs.Queue if kind == "plain" else aio.Queue)
    assert (got[0].queue.name, got[0].failures) == (name, 0)


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("then", [None, ValueError("too late")], ids=["returns", "raises"])
def test_what_was_deleted_is_gone_at_once_whatever_the_handler_does_then(
    app: App, kind: str, name: str, then: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    counts: list[rqsqs.Counts] = []
    q = app.queue(name, dead_letter_queue=app.queue("dead" + name[1:]), retry_policy=SOON)

    def delete(message: Any) -> Any:
        if kind == "plain":
            message.delete()
            counts.append(q.counts())
            return None

        async def deleting() -> None:
            await message.delete()
            await asyncio.sleep(0.5)  # heartbeats: it is not missed
            counts.append(q.counts())

        return deleting()

    q.send("a", group="g")
    running = app.serve({name: both(delete, then=then)[kind]})
    until(lambda: counts and running.worker.status()["queues"][name]["succeeded"] == 1)
    running.stop()
    assert counts == [rqsqs.Counts()]
    assert is_empty(q)
    assert is_empty(app.connection.queue("dead" + name[1:]))
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and r.name == "rqsqs.worker"]
    assert len(warnings) == (then is not None), warnings
    assert all("failed after its handler had settled it: ValueError" in text for text in warnings)


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("then", [None, ValueError("too late")], ids=["returns", "raises"])
@pytest.mark.parametrize(
    "release",
    [
        lambda m: m.release(),
        lambda m: m.change_visibility(0),
        lambda m: m.queue.change_visibility(m, timedelta(0)),
        lambda m: m.queue.change_visibility_batch([(m, 0)]),
    ],
    ids=["release", "change_visibility", "queue", "batch"],
)
def test_what_was_released_comes_again_and_is_not_deleted(
    app: App, kind: str, name: str, then: BaseException | None, release: Step
) -> None:
    """The retry policy would let it come in an hour: the first decision counts."""
    q = app.queue(name, retry_policy=LATER)
    q.send("a", group="g")
    got: list[tuple[int, int]] = []

    def step(message: Any) -> Any:
        got.append((message.receive_count, message.failures))
        return release(message)

    handlers = both(step, then=then)
    running = app.serve({name: handlers[kind]})
    until(lambda: is_empty(q))
    assert got == [(1, 0)]
    until(lambda: running.worker.status()["queues"][name]["succeeded"] == 1)
    assert running.worker.status()["queues"][name]["failed"] == 1


def test_a_release_with_a_delay_is_visible_to_others_after_it(app: App, kind: str) -> None:
    q = app.queue()
    q.send("a")
    at: list[float] = []

    def step(message: Any) -> Any:
        at.append(time.monotonic())
        return message.release(0.4)

    def again(message: Any) -> None:
        at.append(time.monotonic())

    app.serve(both(step)[kind])
    until(lambda: is_empty(q))
    assert at[0]
    assert time.monotonic() - at[0] >= 0.39


def test_others_have_what_was_released_while_its_handler_goes_on(app: App) -> None:
    begun, go, q = threading.Event(), threading.Event(), app.queue()
    q.send("a")

    def handle(message: Message) -> None:
        begun.set()
        message.release()
        go.wait(30)

    with released(go):
        running = app.serve(handle, concurrency=1)
        assert begun.wait(30)
        (message,) = q.receive(wait=20)
        assert (message.body, message.receive_count) == ("a", 2)
        assert message.cause is not None
        assert (message.cause.type, message.cause.message) == ("rqsqs.worker.Retry", "its handler released it")
    running.stop()  # it settled all that it had to
    message.change_visibility(60)  # it is still ours
    message.delete()


def test_what_is_released_again_and_again_did_not_kill_its_workers(app: App, kind: str) -> None:
    q = app.queue(dead_letter_queue=app.queue("dead"), max_receive_count=100)
    q.send("a")
    left = [8]

    def plain(message: Message) -> None:
        left[0] -= 1
        if left[0]:
            message.release()

    async def coroutine(message: aio.Message) -> None:
        left[0] -= 1
        if left[0]:
            await message.release()

    app.serve(plain if kind == "plain" else coroutine, max_crashes=2)
    until(lambda: is_empty(q))
    assert left == [0]
    assert is_empty(app.connection.queue("dead"))


def test_what_was_prolonged_by_hand_stays_so_long_and_is_deleted_at_the_end(app: App, kind: str) -> None:
    go, q = threading.Event(), app.queue()
    q.send("a")
    told: list[Any] = []

    async def prolong(message: aio.Message) -> None:
        await message.change_visibility(3600)
        told.append(message)
        await asyncio.to_thread(go.wait, 30)

    def plain(message: Message) -> None:
        message.change_visibility(3600)
        told.append(message)
        go.wait(30)

    with released(go):
        app.serve(plain if kind == "plain" else prolong)
        until(lambda: told)
        deadline = time.monotonic() + 0.7  # heartbeats do not shorten it
        while time.monotonic() < deadline:
            (seen,) = q.peek(state="in_flight")
            assert seen.visible_at is not None
            assert seen.visible_at.timestamp() - time.time() > 3500
    until(lambda: is_empty(q))


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_block_deletes_its_message(app: App, kind: str, name: str) -> None:
    seen: list[rqsqs.Counts] = []
    q = app.queue(name)

    def plain(message: Message) -> None:
        with message as same:
            assert same is message
        seen.append(q.counts())

    async def coroutine(message: aio.Message) -> None:
        async with message as same:
            assert same is message
        seen.append(q.counts())

    q.send("a", group="g")
    running = app.serve({name: plain if kind == "plain" else coroutine})
    until(lambda: running.worker.status()["queues"][name]["succeeded"] == 1 and seen)
    assert seen == [rqsqs.Counts()]


@pytest.mark.parametrize("is_caught", [True, False])
def test_an_error_in_a_block_is_a_failure_also_if_the_handler_catches_it(app: App, kind: str, is_caught: bool) -> None:
    q = app.queue(retry_policy=SOON)
    got: list[tuple[int, str | None]] = []

    def note(message: Any) -> None:
        got.append((message.failures, message.cause and message.cause.message))

    def plain(message: Message) -> None:
        note(message)
        with contextlib.suppress(ValueError if is_caught else ()), message:
            if message.failures < 2:
                raise ValueError("in the block")

    async def coroutine(message: aio.Message) -> None:
        note(message)
        with contextlib.suppress(ValueError if is_caught else ()):
            async with message:
                if message.failures < 2:
                    raise ValueError("in the block")

    q.send("a")
    app.serve(plain if kind == "plain" else coroutine)
    until(lambda: is_empty(q))
    assert got == [(0, None), (1, "in the block"), (2, "in the block")]


def test_what_was_released_in_a_block_is_not_deleted_at_its_end(app: App, kind: str) -> None:
    q = app.queue(retry_policy=LATER)
    got: list[int] = []

    def plain(message: Message) -> None:
        got.append(message.receive_count)
        with message:
            if message.receive_count == 1:
                message.release()

    async def coroutine(message: aio.Message) -> None:
        got.append(message.receive_count)
        async with message:
            if message.receive_count == 1:
                await message.release()

    q.send("a")
    app.serve(plain if kind == "plain" else coroutine)
    until(lambda: is_empty(q))
    assert got == [1, 2]


def test_of_a_batch_each_message_is_settled_for_itself(app: App, kind: str) -> None:
    """Deleted, released, failed in its block; the last one by what the handler raises."""
    q = app.queue(retry_policy=SOON)
    got: list[tuple[str, int, str | None]] = []

    def note(messages: Any) -> bool:
        got.extend((m.body, m.failures, m.cause and m.cause.message) for m in messages)
        return len(messages) == 4

    def plain(messages: list[Message]) -> None:
        if note(messages):
            deleted, given_back, failed, _ = sorted(messages, key=lambda m: m.body)
            deleted.queue.delete_batch([deleted])
            given_back.release()
            with contextlib.suppress(KeyError), failed:
                raise KeyError("c")
            raise ValueError("all")

    async def coroutine(messages: list[aio.Message]) -> None:
        if note(messages):
            deleted, given_back, failed, _ = sorted(messages, key=lambda m: m.body)
            await deleted.queue.delete_batch([deleted])
            await given_back.release()
            with contextlib.suppress(KeyError):
                async with failed:
                    raise KeyError("c")
            raise ValueError("all")

    send(q, "abcd")
    app.serve(plain if kind == "plain" else coroutine, batch=4, concurrency=1)
    until(lambda: is_empty(q))
    assert sorted(got[4:]) == [("b", 1, "its handler released it"), ("c", 1, "'c'"), ("d", 1, "all")]


def test_delete_and_receive_in_a_handler_is_for_its_own_messages_only(app: App) -> None:
    q = app.queue()
    send(q, ["mine"])
    got: list[Any] = []

    def handle(message: Message) -> None:
        q.send("by hand")
        (other,), failures = message.queue.delete_and_receive([message], wait=20)
        got.extend((other.body, failures))
        other.delete()  # no worker ever had it

    app.serve(handle, concurrency=1)
    until(lambda: is_empty(q))
    assert got == ["by hand", []]


def test_messages_that_are_not_a_workers_any_more_are_refused(app: App) -> None:
    kept: list[Message] = []
    q = app.queue()
    q.send("a")
    running = app.serve(kept.append)
    until(lambda: is_empty(q) and running.worker.status()["queues"]["q"]["succeeded"] == 1)
    (message,) = kept
    for use in (message.delete, message.release, lambda: message.change_visibility(9), message.__enter__().delete):
        with pytest.raises(MessageLost, match="its handler has ended, or it was lost"):
            use()
    with pytest.raises(MessageLost):
        q.delete(message)
    with pytest.raises(MessageLost), message:
        pass
    assert message.body == "a"


def test_another_thread_may_settle_it_while_the_handler_runs(app: App) -> None:
    q = app.queue(retry_policy=LATER)
    q.send("a")
    seen: list[rqsqs.Counts] = []

    def handle(message: Message) -> None:
        thread = threading.Thread(target=message.delete)
        thread.start()
        thread.join()
        seen.append(q.counts())
        raise ValueError

    app.serve(handle)
    until(lambda: seen)
    assert seen == [rqsqs.Counts()]


def test_what_was_lost_to_another_cannot_be_settled(app: App, kind: str) -> None:
    q = app.queue()
    sent = q.send("a")
    fails: list[BaseException] = []
    go = threading.Event()

    def lose(message: Any) -> Any:
        q.delete(message.receipt_handle)
        if kind == "plain":
            go.wait(30)
            message.release()
            return None

        async def waiting() -> None:
            with contextlib.suppress(asyncio.CancelledError):  # it is told so
                await asyncio.to_thread(go.wait, 30)
            await message.release()

        return waiting()

    with released(go):
        running = app.serve(both(lose, fails=fails)[kind])
        until(lambda: running.worker.status()["queues"]["q"]["in_flight"] == 0 or fails)
        time.sleep(0.5)
    until(lambda: fails)
    assert isinstance(fails[0], MessageLost)
    assert sent.message_id in str(fails[0])


def test_what_could_not_be_deleted_is_settled_by_the_worker(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    from rqsqs._core import flows
    from rqsqs.errors import ServerError

    q = app.queue()
    q.send("a")
    fails: list[BaseException] = []

    def broken(*args: Any) -> Any:
        raise ServerError("no")
        yield

    def step(message: Message) -> None:
        monkeypatch.setattr(flows, "delete_messages", broken)
        try:
            message.delete()
        finally:
            monkeypatch.undo()

    app.serve(both(step, fails=fails)["plain"])
    until(lambda: is_empty(q))
    assert [type(error) for error in fails] == [ServerError]


def test_a_native_block_does_not_delete_what_was_released_inside(app: App) -> None:
    q = app.queue()
    q.send("a")
    for _ in range(2):
        (message,) = q.receive(wait=10)
        with message:
            if message.receive_count == 1:
                message.release()
    assert is_empty(q)
    assert message.receive_count == 2
