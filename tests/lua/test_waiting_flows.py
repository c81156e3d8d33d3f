"""A waiting receive step by step: it ends in time, hands its duty as the timer owner on, leaves others their token."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from rqsqs._core import flows, operations
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, IsWatched, MarkOutdated, Sleep, Wait
from rqsqs.errors import OverLimit, QueueDoesNotExist, RqsqsError
from rqsqs.limits import AWS, NATIVE
from tests.lua.conftest import Engine

ONE = dataclasses.replace(AWS, in_flight=1)


class Receiver:
    """A receive that is driven by hand."""

    def __init__(self, engine: Engine, flow: Flow[Any], *, is_watched: bool = False) -> None:
        self.engine = engine
        self.flow = flow
        self.is_watched = is_watched
        self.result: Any = None
        self.is_done = False
        self.step: Any = None
        self._go(lambda: next(flow))

    def _go(self, advance: Callable[[], Any]) -> None:
        try:
            self.step = advance()
        except StopIteration as end:
            self.is_done, self.result = True, end.value

    def _answer(self, make: Callable[[], Any]) -> None:
        try:
            answer = make()
        except RqsqsError as e:
            error = e
            self._go(lambda: self.flow.throw(error))
        else:
            self._go(lambda: self.flow.send(answer))

    def until_it_rests(self) -> Any:
        """Go on until it waits, sleeps or is done."""
        while not self.is_done and not isinstance(self.step, Wait | Sleep):
            if isinstance(self.step, IsWatched):
                self._answer(lambda: self.is_watched)
            elif isinstance(self.step, MarkOutdated):
                self._answer(lambda: None)
            else:
                self._answer(lambda: self.engine.execute(self.step))
        return self.step

    def wake(self, left_ms: int) -> None:
        """End its rest, with so much time of it left."""
        step = self.step
        if isinstance(step, Sleep):
            self._answer(lambda: None)
        else:
            self._answer(lambda: (self.engine.execute(step.then()) if step.then else None, left_ms))

    def interrupt(self, error: BaseException) -> None:
        """Throw something into its rest, and do what it still wants to do."""
        try:
            self._go(lambda: self.flow.throw(error))
            self.until_it_rests()
        except type(error):
            return
        raise AssertionError(f"the flow kept {error!r} to itself")

    def live(self) -> int:
        """Go on to the end while the clock follows; returns how many ms that took."""
        start = self.engine.clock.ms
        while True:
            step = self.until_it_rests()
            if self.is_done:
                return self.engine.clock.ms - start
            if isinstance(step, Sleep):
                self.engine.clock.advance_ms(step.ms)
                self.wake(0)
                continue
            passed = min(step.timeout_ms, step.timeout_ms if step.wake_in_ms is None else step.wake_in_ms)
            self.engine.clock.advance_ms(passed)
            if passed < step.timeout_ms and step.wake is not None:
                self.engine.execute(step.wake)
            self.wake(step.timeout_ms - passed)


def receive(engine: Engine, q: QueueRef, wait_ms: int, limits: Any = NATIVE, visibility_ms: int = 60_000) -> Receiver:
    return Receiver(engine, flows.receive_messages(q, limits, 1, visibility_ms, wait_ms))


def timer(engine: Engine, p: Partition) -> bytes | None:
    value: bytes | None = engine.redis.get(p.base + "timer")  # type: ignore[assignment]
    return value


def group(q: QueueRef, name: str = "g") -> str | None:
    return name if q.is_fifo else None


@pytest.fixture
def dead(name: str) -> str:
    return "dead.fifo" if name.endswith(".fifo") else "dead"


def with_shard(engine: Engine, name: str, dead: str) -> tuple[QueueRef, QueueRef]:
    """A dead-letter queue of two partitions, and its source."""
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    engine.send(q, "a", group=group(q))
    assert engine.bodies(q, visibility_ms=0) == ["a"]
    assert engine.bodies(q) == []
    (letter,) = engine.receive(dlq)
    engine.delete(dlq, letter)
    assert engine.counts(dlq) == (0, 0, 0)
    assert len(dlq.partitions) == 2
    return dlq, q


# The duty of the timer owner


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt()], ids=["cancelled", "interrupted"])
def test_a_timer_owner_that_is_interrupted_hands_its_duty_on(engine: Engine, name: str, error: BaseException) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group=group(q), delay_ms=5000)
    first = receive(engine, q, 20_000)
    assert first.until_it_rests().wake_in_ms == 5000
    assert timer(engine, q.home)
    assert not engine.token(q.home)
    first.interrupt(error)
    assert timer(engine, q.home) is None
    assert engine.token(q.home)
    assert receive(engine, q, 20_000).until_it_rests().wake_in_ms == 5000


def test_a_waiter_that_is_no_owner_leaves_the_owner_alone_when_it_is_interrupted(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group=group(q), delay_ms=5000)
    receive(engine, q, 20_000).until_it_rests()
    before = timer(engine, q.home)
    second = receive(engine, q, 20_000)
    assert second.until_it_rests().wake_in_ms is None
    second.interrupt(KeyboardInterrupt())
    assert timer(engine, q.home) == before
    assert not engine.token(q.home)


def test_a_timer_owner_on_several_partitions_that_is_interrupted_hands_all_its_duties_on(
    engine: Engine, name: str, dead: str
) -> None:
    dlq, _ = with_shard(engine, name, dead)
    engine.send(dlq, "later", group=group(dlq), delay_ms=5000)
    waiter = receive(engine, dlq, 20_000)
    assert waiter.until_it_rests().wake_in_ms == 5000
    assert timer(engine, dlq.home)
    waiter.interrupt(KeyboardInterrupt())
    assert [key for key in engine.names() if key.endswith("timer")] == []
    assert engine.token(dlq.home)


def test_an_answer_that_makes_its_caller_the_timer_owner_can_be_undone(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group=group(q), delay_ms=5000)
    operation = operations.receive_messages(q.home, NATIVE, 1, None, "+20000", "w1")
    got = engine.execute(operation)
    assert timer(engine, q.home)
    assert operation.undo is not None
    (undo,) = operation.undo(got)
    engine.execute(undo)
    assert timer(engine, q.home) is None
    assert engine.token(q.home)


def test_a_stranger_that_learns_of_shards_still_guards_the_next_due_time(engine: Engine, name: str, dead: str) -> None:
    dlq, _ = with_shard(engine, name, dead)
    engine.send(dlq, "later", group=group(dlq), delay_ms=5000)
    stranger = type(dlq)(engine.transport.space, dead)
    waiter = receive(engine, stranger, 20_000)
    wait = waiter.until_it_rests()
    assert len(wait.lists) == 2
    assert wait.wake_in_ms == 5000 or engine.token(dlq.home)
    assert waiter.live() == 5000
    assert [d.body for d in waiter.result] == ["later"]


def test_who_makes_a_missing_shard_and_asks_again_leaves_no_timer_behind(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    engine.run(flows.delete_queue(dlq, NATIVE))
    engine.clock.advance_ms(1)
    engine.queue(dead)
    engine.send(q, "poison", group=group(q))
    engine.receive(q, visibility_ms=0)
    engine.send(q, "next", group=group(q))
    engine.send(q, "later", group=group(q, "h"), delay_ms=5000)
    first = receive(engine, q, 20_000)
    first.until_it_rests()
    assert [d.body for d in first.result] == ["next"]
    assert timer(engine, q.home) is None or engine.token(q.home)
    second = receive(engine, q, 20_000)
    second.until_it_rests()
    assert second.step.wake_in_ms == 5000
    assert engine.bodies(dlq) == ["poison"] or engine.bodies(dlq) == ["poison"]


# The end of a wait


@pytest.mark.parametrize("wait_ms", [2000, 3000])
def test_a_wait_ends_in_time_though_messages_die_meanwhile(engine: Engine, name: str, dead: str, wait_ms: int) -> None:
    engine.queue(dead)
    q = engine.queue(name, dead)
    for i in range(8):
        engine.send(q, i, group=group(q, f"g{i}"))
        engine.receive(q, 1, 500 * (i + 1))
    waiter = receive(engine, q, wait_ms)
    assert waiter.live() == wait_ms
    assert waiter.result == []
    assert timer(engine, q.home) is None


def test_a_wait_ends_in_time_though_messages_expire_meanwhile(engine: Engine, name: str) -> None:
    q = engine.queue(name, MessageRetentionPeriod="60")
    for i in range(8):
        engine.send(q, i, group=group(q, f"g{i}"))
        engine.receive(q, 1, 60_000 + 500 * (i + 1))
    engine.clock.advance_ms(60_000)
    waiter = receive(engine, q, 3000)
    assert waiter.live() == 3000
    assert waiter.result == []
    assert timer(engine, q.home) is None


def test_a_wait_on_several_partitions_ends_in_time_though_messages_expire_meanwhile(
    engine: Engine, name: str, dead: str
) -> None:
    dlq, _ = with_shard(engine, name, dead)
    engine.run(flows.set_attributes(dlq, {"MessageRetentionPeriod": "60"}, NATIVE))
    for i in range(8):
        engine.send(dlq, i, group=group(dlq, f"g{i}"))
        engine.receive(dlq, 1, 60_000 + 500 * (i + 1))
    engine.clock.advance_ms(60_000)
    waiter = receive(engine, dlq, 3000)
    assert waiter.live() == 3000
    assert waiter.result == []


def test_a_waiter_behind_another_of_its_process_waits_no_longer_than_it_was_told(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    waiter = Receiver(engine, flows.receive_messages(q, NATIVE, 1, None, 45_000), is_watched=True)
    assert waiter.live() == 45_000
    assert waiter.result == []


# At the limit of messages in flight


@pytest.fixture
def full(engine: Engine, name: str) -> tuple[QueueRef, Any]:
    """A queue with one message in flight, which is all its limit allows."""
    q = engine.queue(name)
    engine.send(q, "first", group=group(q))
    (d,) = engine.receive(q, 1, 60_000)
    engine.redis.delete(q.home.wakeups)
    return q, d


def test_a_waiter_at_its_limit_leaves_the_token_to_others(engine: Engine, full: tuple[QueueRef, Any]) -> None:
    q, _ = full
    engine.send(q, "second", group=group(q, "h"))
    assert engine.token(q.home)
    got = engine.execute(operations.receive_messages(q.home, ONE, 1, None, "+20000", "w1"))
    assert (got.messages, got.wake_at_ms) == ([], -1)
    assert engine.token(q.home)
    assert timer(engine, q.home) is None
    other = engine.execute(operations.receive_messages(q.home, NATIVE, 1, None, "+20000", "w2"))
    assert [d.body for d in other.messages] == ["second"]


def test_a_waiter_at_its_limit_gets_messages_soon_after_there_is_room(
    engine: Engine, full: tuple[QueueRef, Any]
) -> None:
    q, d = full
    engine.send(q, "second", group=group(q, "h"))
    waiter = receive(engine, q, 4000, ONE)
    step = waiter.until_it_rests()
    assert isinstance(step, Sleep)
    assert step.ms <= 500
    engine.delete(q, d)
    assert waiter.live() <= 500
    assert [m.body for m in waiter.result] == ["second"]


def test_a_waiter_at_its_limit_that_gets_no_room_leaves_in_time_and_without_an_error(
    engine: Engine, full: tuple[QueueRef, Any]
) -> None:
    q, _ = full
    engine.send(q, "second", group=group(q, "h"))
    waiter = receive(engine, q, 1700, ONE)
    assert waiter.live() == 1700
    assert waiter.result == []


def test_only_who_does_not_wait_is_told_of_the_limit(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, "first")
    engine.receive(q)
    with pytest.raises(OverLimit):
        receive(engine, q, 0, ONE).until_it_rests()


# A queue that goes away


def test_a_deletion_wakes_a_waiter_and_that_one_the_next(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    waiters = [receive(engine, q, 20_000) for _ in range(2)]
    for waiter in waiters:
        assert isinstance(waiter.until_it_rests(), Wait)
    assert not engine.token(q.home)
    flow = flows.delete_queue(q, NATIVE)
    step = next(flow)
    while step.script[:12] != "delete_queue":
        step = flow.send(engine.execute(step))
    engine.execute(step)
    for waiter in waiters:
        assert engine.token(q.home)
        engine.redis.delete(q.home.wakeups)  # it was woken by it
        waiter.wake(19_000)
        with pytest.raises(QueueDoesNotExist):
            waiter.until_it_rests()
    flow.close()
    engine.run(flows.delete_queue(q, NATIVE))
    for found in engine.names():
        assert 0 < engine.redis.pttl(f"{engine.transport.space.prefix}:{found}") <= 1000  # type: ignore[operator]


def test_a_token_for_waiters_of_a_queue_that_is_gone_does_not_stay(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.run(flows.delete_queue(q, NATIVE))
    with pytest.raises(QueueDoesNotExist):
        engine.receive(q)
    for found in engine.names():
        assert 0 < engine.redis.pttl(f"{engine.transport.space.prefix}:{found}") <= 1000  # type: ignore[operator]


def test_the_token_for_the_next_waiter_outlives_the_last_step_of_a_deletion(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    first, second = (receive(engine, q, 20_000) for _ in range(2))
    first.until_it_rests()
    second.until_it_rests()
    flow = flows.delete_queue(q, NATIVE)
    step = next(flow)
    while step.script[:12] != "delete_queue":
        step = flow.send(engine.execute(step))
    result = engine.execute(step)
    engine.redis.delete(q.home.wakeups)  # it was woken by it
    first.wake(19_000)
    with pytest.raises(QueueDoesNotExist):
        first.until_it_rests()
    with contextlib.suppress(StopIteration):
        while True:
            step = flow.send(result)
            result = engine.execute(step)
    assert engine.token(q.home)  # the second one did not block yet
    assert 0 < engine.redis.pttl(q.home.wakeups) <= 1000


# Empty receives


def empty(engine: Engine, q: QueueRef) -> int:
    found: int = engine.run(flows.metrics(q)).empty_receives
    return found


def test_a_receive_that_waited_in_vain_counts_once(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.send(q, "later", group=group(q), delay_ms=30_000)  # it is timer owner, too
    waiting = receive(engine, q, 20_000)
    assert waiting.live() == 20_000
    assert (waiting.result, empty(engine, q)) == ([], 1)
    waiting = receive(engine, q, 20_000)
    assert waiting.live() == 10_000
    assert [d.body for d in waiting.result] == ["later"]
    assert empty(engine, q) == 1


def test_who_lines_up_without_asking_counts_too(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    waiting = Receiver(engine, flows.receive_messages(q, NATIVE, 1, 60_000, 20_000), is_watched=True)
    step = waiting.until_it_rests()
    engine.clock.advance_ms(step.timeout_ms)
    waiting._answer(lambda: (None, 0))  # another one kept watch all the time
    waiting.until_it_rests()
    assert (waiting.is_done, waiting.result, empty(engine, q)) == (True, [], 1)


def test_one_call_tells_the_empty_receives_of_all_that_end_meanwhile(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    first, *others = [flows.waiting.count_empty(q) for _ in range(10)]
    step = next(first)
    for other in others:
        assert list(other) == []
    engine.execute(step)
    step = first.send(1)
    assert step == operations.count_empty_receives(q.home, 9)
    engine.execute(step)
    assert list(first) == []
    assert empty(engine, q) == 10


def test_a_server_that_cannot_be_reached_takes_no_empty_receive_ill(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    flow = flows.waiting.count_empty(q)
    next(flow)
    with pytest.raises(StopIteration):
        flow.throw(QueueDoesNotExist("gone"))
    engine.run(flows.waiting.count_empty(q))
    assert empty(engine, q) == 1
    engine.run(flows.delete_queue(q, NATIVE))
    engine.run(flows.waiting.count_empty(q))
    assert engine.names() == []  # it brings no key of a queue that is gone


def test_a_receive_that_comes_again_at_once_is_not_empty_yet(engine: Engine, name: str, dead: str) -> None:
    _, q = with_shard(engine, name, dead)
    before = empty(engine, q)
    assert engine.bodies(q) == []
    assert empty(engine, q) == before + 1


def test_who_is_refused_has_no_empty_receive(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, "a")
    assert engine.bodies(q) == ["a"]
    engine.send(q, "b")
    with pytest.raises(OverLimit):
        engine.run(flows.receive_messages(q, ONE, 1, 60_000, 0))
    assert empty(engine, q) == 0
    assert receive(engine, q, 2000, ONE).live() == 2000
    assert empty(engine, q) == 1


@pytest.mark.parametrize("wait_ms", [0, 20_000, None])
def test_of_several_partitions_the_receive_counts_once(engine: Engine, name: str, wait_ms: int | None) -> None:
    scope = {"DeduplicationScope": "messageGroup"} if name.endswith(".fifo") else {}
    q = engine.queue(name, Partitions="4", **scope)
    for n in range(1, 6):
        waiting = Receiver(engine, flows.receive_messages(q, NATIVE, 10, 60_000, wait_ms))
        waiting.live()
        assert (waiting.result, empty(engine, q)) == ([], n)
    engine.run(flows.set_attributes(q, {"Partitions": "6"}, NATIVE))
    waiting = Receiver(engine, flows.receive_messages(engine.transport.queue(name), NATIVE, 10, 60_000, wait_ms))
    waiting.live()
    assert (waiting.result, empty(engine, q)) == ([], 6)
