"""Queues of several partitions, step by step: who knows what of a growth, and what was done of it before a crash."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rqsqs._core import flows, messages, queues, records
from rqsqs._core.flows import partitions
from rqsqs._core.keys import Partition, QueueRef, partition_tag
from rqsqs._core.operation import Flow, IsWatched, Operation, Sleep, Spawn, Wait
from rqsqs.errors import (
    InvalidParameterValue,
    PurgeQueueInProgress,
    QueueDoesNotExist,
    QueueNameExists,
    RqsqsError,
)
from rqsqs.limits import AWS, NATIVE
from tests.lua.conftest import Engine
from tests.model.harness import keys_left

GROUPS = "abcdefgh"
WINDOW_MS = 300_000


class Actor:
    """Somebody who does one step of a flow at a time, with knowledge of their own."""

    def __init__(self, engine: Engine, flow: Flow[Any]) -> None:
        self.engine, self.flow = engine, flow
        self.result: Any = None
        self.is_done = False
        self._go(lambda: next(flow))

    def _go(self, advance: Callable[[], Any]) -> None:
        try:
            self.next = advance()
        except StopIteration as end:
            self.is_done, self.result = True, end.value

    def step(self) -> bool:
        """Do one step; returns whether that was the last one."""
        step = self.next
        if isinstance(step, Operation):
            try:
                answer = self.engine.execute(step)
            except RqsqsError as e:
                error = e
                self._go(lambda: self.flow.throw(error))
                return self.is_done
            self._go(lambda: self.flow.send(answer))
        elif isinstance(step, Sleep):
            self.engine.clock.advance_ms(step.ms)
            self._go(lambda: self.flow.send(None))
        elif isinstance(step, IsWatched):
            self._go(lambda: self.flow.send(False))
        elif isinstance(step, Spawn):
            self._go(lambda: self.flow.send(None))
        else:
            raise AssertionError(f"it waits: {step}")
        return self.is_done

    def until_it_waits(self) -> Any:
        """Go on until it blocks, or is done."""
        while not self.is_done and not isinstance(self.next, Wait):
            self.step()
        return self.next

    def wake(self, bell: str | None, left_ms: int) -> None:
        """A bell rings, or the time is over."""
        assert isinstance(self.next, Wait)
        self._go(lambda: self.flow.send((bell, left_ms)))

    def finish(self) -> Any:
        """Go on to the end."""
        while not self.is_done:
            self.step()
        return self.result


def some(engine: Engine, flow: Flow[Any], steps: int) -> bool:
    """Do so many steps, then die; returns whether it was killed before its end."""
    actor = Actor(engine, flow)
    for _ in range(steps):
        if actor.is_done or actor.step():
            return False
    flow.close()
    return True


def stranger(engine: Engine, name: str) -> QueueRef:
    """The queue as another process knows it: not at all."""
    return QueueRef(engine.transport.space, name)


def knows(engine: Engine, q: QueueRef) -> QueueRef:
    """The queue as another process knows it that has asked by now."""
    other = stranger(engine, q.name)
    other.learn(q.topology, [p.tag for p in q.partitions])
    return other


def make(engine: Engine, name: str, count: int, **attributes: str) -> QueueRef:
    if name.endswith(".fifo"):
        attributes["DeduplicationScope"] = "messageGroup"
    return engine.queue(name, Partitions=str(count), **attributes) if count > 1 else engine.queue(name, **attributes)


def grow(q: QueueRef, count: int) -> Flow[None]:
    return flows.set_attributes(q, {"Partitions": str(count)}, NATIVE)


def places(engine: Engine, q: QueueRef) -> dict[str, set[str]]:
    """Group -> tags of the partitions that have messages of it."""
    found: dict[str, set[str]] = {}
    for key in engine.names("*:group:*"):
        tag, queue, _, group = key[1:].replace("}:", "\n").replace(":", "\n").split("\n", 3)
        if queue == q.name:
            found.setdefault(group, set()).add(tag)
    return found


def drain(engine: Engine, q: QueueRef) -> list[Any]:
    bodies = []
    while True:
        found = engine.receive(q, 10)
        if not found:
            return bodies
        bodies += [d.body for d in found]
        engine.delete(q, *found)


def state(engine: Engine, p: Partition) -> str | None:
    value = engine.redis.hget(p.base + "meta", "partition")
    return value.decode() if isinstance(value, bytes) else None


def group_of(q: QueueRef, n: int, before: int | None = None, after: int | None = None) -> Iterator[str]:
    """Groups that belong to partition n of `before`, and move when there are `after`."""
    for i in itertools.count():
        group = f"g{i}"
        own = q.own
        hashed = own.index(q.owner(group, before or len(own)))
        del own
        if hashed == n:
            yield group


# Growth


@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_steps_of_a_growth_and_of_everybody_else_keeps_order_and_loses_nothing(
    engine: Engine, name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr("rqsqs._core.flows.messages.SETTLE_AFTER", draw.choice([1, 256]))
    q = make(engine, name, draw.choice([1, 2, 3]))
    is_fifo = q.is_fifo
    refs = [stranger(engine, name) for _ in range(4)] + [knows(engine, q) for _ in range(2)]
    numbers = {g: itertools.count() for g in GROUPS}
    sent: dict[str, list[str]] = {g: [] for g in GROUPS}
    sequence: dict[str, list[str]] = {g: [] for g in GROUPS}
    last: dict[str, tuple[str, str, int]] = {}
    received: list[str] = []
    target = len(q.own) + draw.choice([1, 2, 5])

    def sending(group: str, ref: QueueRef) -> Iterator[None]:
        batch = [f"{group}{next(numbers[group])}" for _ in range(draw.choice([1, 2, 3]))]
        repeats = []
        if group in last and draw.random() < 0.5:
            repeats.append(last[group])
        options = {"group": group} if is_fifo else {}
        outgoing = [records.outgoing(body, dedup_id=body, **options) for body, *_ in repeats]
        outgoing += [records.outgoing(body, dedup_id=body, **options) for body in batch]
        actor = Actor(engine, flows.send_messages(ref, outgoing, NATIVE))
        while not actor.is_done:
            actor.step()
            yield
        answers = actor.result
        for (body, first, at_ms), answer in zip(repeats, answers, strict=False):
            if answer.is_duplicate:
                assert answer.message_id == first
            else:
                assert engine.clock.ms >= at_ms + WINDOW_MS, body
                sent[group].append(body)
                sequence[group].append(answer.sequence_number or "")
        for body, answer in zip(batch, answers[len(repeats) :], strict=True):
            assert not answer.is_duplicate
            sent[group].append(body)
            sequence[group].append(answer.sequence_number or "")
            last[group] = body, answer.message_id, int(answer.message_id.replace("-", "")[:12], 16)

    def receiving(ref: QueueRef) -> Iterator[None]:
        actor = Actor(engine, flows.receive_messages(ref, NATIVE, draw.choice([1, 3, 10]), 43_200_000))
        while not actor.is_done:
            actor.step()
            yield
        found = actor.result
        received.extend(d.body for d in found)
        if found:
            actor = Actor(engine, flows.delete_messages(ref, [d.receipt_handle for d in found], NATIVE))
            while not actor.is_done:
                actor.step()
                yield

    def growing() -> Iterator[None]:
        while True:  # killed, and repeated by another process
            actor = Actor(engine, grow(stranger(engine, name), target))
            life = draw.choice([1, 2, 3, 5, 8, 13, 21, 100])
            while not actor.is_done and life:
                actor.step()
                life -= 1
                yield
            if actor.is_done:
                return
            actor.flow.close()

    busy: dict[str, Iterator[None]] = {}
    grower: Iterator[None] | None = growing()
    waiting: list[Iterator[None]] = []
    for round_ in range(400):
        free = [g for g in GROUPS if g not in busy]
        if free and draw.random() < 0.3 and round_ < 350:
            group = draw.choice(free)
            busy[group] = sending(group, draw.choice(refs))
        if len(waiting) < 2 and draw.random() < 0.2:
            waiting.append(receiving(draw.choice(refs)))
        kind = draw.choice("sssrrg")
        if kind == "s" and busy:
            group = draw.choice(sorted(busy))
            if next(busy[group], 0) == 0:
                del busy[group]
        elif kind == "r" and waiting:
            one = draw.choice(waiting)
            if next(one, 0) == 0:
                waiting.remove(one)
        elif kind == "g" and grower is not None and round_ > 50 and next(grower, 0) == 0:
            grower = None
        engine.clock.us += draw.choice([1, 1000] * 20 + [100_000_000, 301_000_000])
        if is_fifo:
            assert not {g: p for g, p in places(engine, q).items() if len(p) > 1}
    for rest in [*busy.values(), *waiting, *([grower] if grower else [])]:
        for _ in rest:
            pass
    received += drain(engine, q)
    expected = sorted(body for bodies in sent.values() for body in bodies)
    assert sorted(received) == expected
    engine.run(partitions.settle(q))
    if is_fifo:
        for group in GROUPS:
            assert [b for b in received if b[0] == group] == sent[group]
            assert sequence[group] == sorted(sequence[group])
    engine.clock.advance_ms(2 * WINDOW_MS)
    assert engine.run(partitions.settle(q))
    assert [state(engine, p) for p in q.own] == [f"{n}/{target}" for n in range(target)]
    assert engine.run(partitions.complete(stranger(engine, name))) == target
