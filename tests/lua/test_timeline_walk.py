"""Random operations: the timeline of each message is what those who did them remember, in kinds and order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs.errors import MessageNotAvailable
from rqsqs.limits import NATIVE
from rqsqs.models import State
from tests.lua.conftest import Engine
from tests.lua.outcomes import release, requeue
from tests.lua.test_timeline import failed, kinds

STEPS = 300
DEAD_LETTERED = -3


@dataclass
class Memory:
    """What is known of one message.

    Attributes:
        places: queue and id, wherever it was.
        kinds: of its steps.
        until_ms: until when it is in flight, or was if it has not been seen since.
    """

    places: list[tuple[QueueRef, str]]
    kinds: list[str] = field(default_factory=list)
    until_ms: int | None = None
    is_over: bool = False

    def note(self, kind: str, until_ms: int | None = None) -> None:
        self.kinds.append(kind)
        self.until_ms = until_ms


class Walk:
    def __init__(self, engine: Engine, name: str, seed: int, timeline: str | None) -> None:
        self.engine, self.random = engine, random.Random(seed)
        settings = {"Timeline": timeline} if timeline else {}
        self.dead = engine.queue("dead.fifo" if name.endswith(".fifo") else "dead", **settings)
        self.q = engine.queue(name, self.dead.name, 3, **settings)
        self.known: dict[int, Memory] = {}  # by its body
        self.held: list[tuple[QueueRef, Delivery]] = []
        self.is_fair = not self.q.is_fifo and seed % 2 == 1

    def some(self) -> tuple[QueueRef, Delivery, Memory] | None:
        """Something that was received once."""
        if not self.held:
            return None
        queue, d = self.random.choice(self.held[-8:])
        return queue, d, self.known[d.body]

    def send(self) -> None:
        group = (
            f"g{self.random.randrange(3)}" if self.q.is_fifo or (self.is_fair and self.random.random() < 0.7) else None
        )
        bodies = range(len(self.known), len(self.known) + self.random.choice([1, 1, 3]))
        due_ms = self.engine.clock.ms + 5000 if self.random.random() < 0.3 else None
        for body, sent in zip(bodies, self.engine.send(self.q, *bodies, group=group, due_ms=due_ms), strict=True):
            self.known[body] = Memory([(self.q, sent.message_id)], ["sent"])

    def receive(self) -> None:
        queue = self.random.choice([self.q, self.q, self.dead])
        delete, visibility_ms = self.random.random() < 0.1, self.random.choice([0, 3000, 30_000])
        now_ms = self.engine.clock.ms
        for d in self.engine.receive(queue, self.random.choice([1, 2, 10]), visibility_ms, delete=delete):
            memory = self.known[d.body]
            if memory.until_ms is not None:
                memory.note("timed_out")
            memory.note("received", now_ms + visibility_ms if visibility_ms and not delete else None)
            if delete:
                memory.note("deleted")
                memory.is_over = True
            else:
                self.held.append((queue, d))
        self.look_for_dead_letters()

    def look_for_dead_letters(self) -> None:
        """Those that a receive, or a worker, sent there."""
        there = {(d.body, d.message_id) for d in self.those_in(self.dead, "visible", "in_flight", "delayed")}
        for body, message_id in sorted(there):
            memory = self.known[body]
            if memory.places[-1] == (self.q, message_id):
                memory.places.append((self.dead, message_id))
                memory.note("dead_lettered")

    def those_in(self, queue: QueueRef, *states: State) -> Iterator[Delivery]:
        """Its messages."""
        for state in states:
            cursor = ""
            while True:
                found, cursor = self.engine.run(flows.browse(queue, state, cursor))
                yield from found
                if not cursor:
                    break

    def delete(self) -> None:
        if chosen := self.some():
            queue, d, memory = chosen
            was = self.is_there(queue, d)
            [result] = self.engine.delete(queue, d)
            if result is None and was and not self.is_there(queue, d):
                memory.note("deleted")
                memory.is_over = True

    def is_there(self, queue: QueueRef, d: Delivery) -> bool:
        return self.engine.run(flows.find(queue, d.message_id, d.group_name or None)) is not None

    def change_visibility(self) -> None:
        if chosen := self.some():
            queue, d, memory = chosen
            ms = self.random.choice([0, 2000, 50_000])
            [result] = self.engine.run(flows.change_visibility(queue, [(d.receipt_handle, ms)], NATIVE))
            if result is None:
                memory.note("visibility_changed", self.engine.clock.ms + ms if ms else None)

    def release(self) -> None:
        if chosen := self.some():
            queue, d, memory = chosen
            kind = self.random.choice(["requeue", "retry", "dead-letter"])
            outcome = requeue(d) if kind == "requeue" else failed(d, kind)
            [status] = release(self.engine, queue, outcome)
            if status >= 0 or status == DEAD_LETTERED:
                memory.note("released")
            self.look_for_dead_letters()

    def cancel_or_reschedule(self) -> None:
        memory = self.random.choice(list(self.known.values()) or [None])
        if memory is None or memory.is_over:
            return
        queue, message_id = memory.places[-1]
        try:
            if self.random.random() < 0.5:
                if self.engine.run(flows.cancel(queue, message_id)):
                    memory.note("cancelled")
                    memory.is_over = True
            elif self.engine.run(flows.reschedule(queue, message_id, self.engine.clock.ms + 4000)):
                memory.note("rescheduled")
        except MessageNotAvailable:
            pass

    def redrive(self) -> None:
        before = {memory.places[-1][1] for memory in self.known.values() if not memory.is_over}
        self.engine.run(flows.drive_move(self.dead, self.engine.run(flows.start_move(self.dead, None, None))))
        for d in self.those_in(self.q, "visible"):
            memory = self.known[d.body]
            if d.message_id not in before and memory.places[-1][1] != d.message_id:
                memory.places.append((self.q, d.message_id))
                memory.note("moved")

    def wait(self) -> None:
        self.engine.clock.advance_ms(self.random.choice([1, 700, 3500, 40_000]))

    def go(self) -> None:
        actions = [self.send] * 4 + [self.receive] * 6 + [self.delete] * 4 + [self.wait] * 4
        actions += [self.change_visibility, self.release, self.release, self.cancel_or_reschedule]
        for n in range(STEPS):
            self.engine.clock.advance_ms(1)
            self.random.choice(actions)()
            if n % 40 == 39:
                self.redrive()


@pytest.mark.parametrize("seed", range(4))
def test_timelines_are_what_happened(engine: Engine, name: str, seed: int) -> None:
    walk = Walk(engine, name, seed, str(8 * 1024 * 1024))
    walk.go()
    met = set()
    for memory in walk.known.values():
        met |= set(memory.kinds)
        for queue, message_id in {memory.places[0], memory.places[-1]}:
            assert kinds(engine, queue, message_id) == memory.kinds, memory
    assert met >= {"sent", "received", "deleted", "timed_out", "visibility_changed", "released", "moved"}
    assert "dead_lettered" in met


def test_nothing_is_written_while_it_is_off(engine: Engine, name: str) -> None:
    Walk(engine, name, 1, None).go()
    assert not [key for key in engine.names() if "timeline" in key]


def test_it_stays_within_its_bound(engine: Engine, name: str) -> None:
    walk = Walk(engine, name, 2, "16384")
    walk.go()
    for queue in (walk.q, walk.dead):
        for key in engine.redis.scan_iter(f"{engine.transport.space.prefix}:*:{queue.name}:timeline"):
            assert sum(map(len, engine.redis.lrange(key, 0, -1))) <= 16_384
    for memory in walk.known.values():  # what is left is the end of what happened
        left = kinds(engine, *memory.places[-1])
        assert [kind for kind in left if kind != "timed_out"] == (
            [kind for kind in memory.kinds if kind != "timed_out"][-len([k for k in left if k != "timed_out"]) :]
            if left
            else []
        )
