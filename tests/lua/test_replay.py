"""The answer to a receive is lost, and the caller repeats it after others did what they like with its messages: it gets
those that nobody touched, as they were, and never one that somebody else has. Nothing is lost, and no group overtaken.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from rqsqs._core import flows, operations
from rqsqs._core.keys import QueueRef
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine
from tests.lua.outcomes import dead_letter, release, requeue, retry
from tests.model.harness import Lost

GROUPS = ("a", "b", "c")
HELD_MS, SHORT_MS, DAYS = 30_000, 1000, 40
DONE = ("delete", "shorter", "longer", "retry", "requeue", "dead-letter")  # to one message of the first answer
MEANWHILE = (*DONE, *DONE, "time", "time", "lapse", "receive", "send", "send", "purge", "pause", "settings")


@dataclass
class Day:
    """What happened to one queue."""

    engine: Engine
    q: QueueRef
    draw: random.Random
    numbers: list[int] = field(default_factory=list)  # of all messages that were sent
    order: dict[int, str] = field(default_factory=dict)  # number -> group
    ended: Counter[int] = field(default_factory=Counter)  # deleted
    purged: set[int] = field(default_factory=set)
    others: dict[int, Any] = field(default_factory=dict)  # what somebody else holds
    touched: set[int] = field(default_factory=set)  # of the first answer
    is_lapsed: bool = False  # the first answer's visibility timeout is over

    def send(self) -> None:
        for group in self.draw.choices(GROUPS, k=3):
            number = len(self.numbers)
            self.numbers.append(number)
            self.order[number] = group
            self.engine.send(self.q, number, group=group if self.q.is_fifo else None)

    def delete(self, *deliveries: Any) -> None:
        assert self.engine.delete(self.q, *deliveries) == [None] * len(deliveries)
        self.ended.update(d.body for d in deliveries)

    def do(self, what: str, first: list[Any]) -> None:
        """One thing that happens before the repetition."""
        engine, q = self.engine, self.q
        left = [d for d in first if d.body not in self.touched]
        if what in DONE and left and not self.is_lapsed:
            d = self.draw.choice(left)
            self.touched.add(d.body)
            if what == "delete":
                self.delete(d)
            elif what in ("shorter", "longer"):
                changed_ms = 0 if what == "shorter" else 2 * HELD_MS
                assert engine.run(flows.change_visibility(q, [(d.receipt_handle, changed_ms)], NATIVE)) == [None]
            else:
                outcome = {"retry": retry, "requeue": requeue, "dead-letter": dead_letter}[what](d)
                assert release(engine, q, outcome)[0] in (0, 1000, -3)
        elif what == "time":
            engine.clock.advance_ms(self.draw.choice([1, 100, SHORT_MS]))
        elif what == "lapse":
            engine.clock.advance_ms(HELD_MS + 1)
            self.is_lapsed = True
        elif what == "receive":
            for d in engine.receive(q, self.draw.choice([1, 2, 10]), 10 * HELD_MS):
                self.touched.add(d.body)
                self.others[d.body] = d
        elif what == "send":
            self.send()
        elif what == "purge":
            engine.run(flows.purge_queue(q, NATIVE))
            gone = set(self.numbers) - set(self.ended)
            self.purged |= gone
            self.touched |= gone
            self.others.clear()
        elif what == "pause":
            group = self.draw.choice([None, "a"])
            engine.run(flows.pause(q, resume=False, group=group))
        elif what == "settings":
            engine.run(flows.set_attributes(q, {"VisibilityTimeout": str(self.draw.choice([1, 90]))}, NATIVE))

    def check_order(self, deliveries: list[Any]) -> None:
        if self.q.is_fifo:
            for group in GROUPS:
                mine = [d.body for d in deliveries if self.order[d.body] == group]
                assert mine == sorted(mine)


def begin(engine: Engine, name: str, seed: int) -> Day:
    end = ".fifo" if name.endswith(".fifo") else ""
    engine.queue(f"dead{seed}{end}")
    q = engine.queue(f"q{seed}{end}", f"dead{seed}{end}", 1000, VisibilityTimeout=str(HELD_MS // 1000))
    day = Day(engine, q, random.Random(seed))
    for _ in range(day.draw.choice([1, 2, 4])):
        day.send()
        engine.clock.advance_ms(1)
    if day.draw.random() < 0.3:  # some of them come back from an earlier receive
        engine.receive(q, 2, 1)
        engine.clock.advance_ms(2)
    return day


def shown(d: Any) -> tuple[Any, ...]:
    return d.body, d.message_id, d.receipt_handle, d.receive_count, d.first_received_at_ms, d.group, d.failures


def repeat(lost: Lost, day: Day) -> list[Any]:
    """Twice, as the answer to the first repetition may be lost as well."""
    again = lost.repeat().messages
    day.engine.clock.advance_ms(1)
    assert [shown(d) for d in lost.repeat().messages] == [shown(d) for d in again]
    assert not {d.body for d in again} & day.others.keys(), "somebody else has it"
    day.check_order(again)
    return list(again)


def finish(day: Day, held: list[Any]) -> None:
    """Everything that was sent comes to an end once: here, in the dead-letter queue, or in a purge."""
    engine, q = day.engine, day.q
    day.delete(*day.others.values(), *held)
    for group in (None, "a"):
        engine.run(flows.pause(q, resume=True, group=group))
    dead = engine.transport.queue(q.name.replace("q", "dead", 1))
    idle = 0
    while idle < 3:
        found = [(ref, d) for ref in (q, dead) for d in engine.receive(ref, 10, 10 * HELD_MS)]
        for ref in (q, dead):
            mine = [d for where, d in found if where is ref]
            if ref is q:  # dead letters are in the order in which they died
                day.check_order(mine)
            assert engine.delete(ref, *mine) == [None] * len(mine)
            day.ended.update(d.body for d in mine)
        idle = 0 if found else idle + 1
        engine.clock.advance_ms(11 * HELD_MS)
    assert set(day.ended.values()) <= {1}
    assert set(day.ended) | day.purged == set(day.numbers)
    assert engine.counts(q) == engine.counts(dead) == (0, 0, 0)


@pytest.mark.either_server
@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_receive_gets_what_nobody_touched_since(engine: Engine, name: str, count: int) -> None:
    for seed in range(DAYS):
        day = begin(engine, name, seed)
        lost = engine.lost(operations.receive_messages(day.q.home, NATIVE, count, HELD_MS, "", ""))
        first = lost.first().messages
        for _ in range(day.draw.choice([0, 1, 2, 4, 8])):
            day.do(day.draw.choice(MEANWHILE), first)
        untouched = [shown(d) for d in first if d.body not in day.touched]
        again = repeat(lost, day)
        if untouched and not day.is_lapsed:  # else they may be visible again
            assert [shown(d) for d in again] == untouched, f"seed {seed}"
        finish(day, again)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_receive_that_deletes_gets_the_same_whatever_happens(engine: Engine, name: str, count: int) -> None:
    for seed in range(DAYS // 2):
        day = begin(engine, name, seed)
        lost = engine.lost(operations.receive_messages(day.q.home, NATIVE, count, None, "", "", delete=True))
        first = lost.first().messages
        day.ended.update(d.body for d in first)
        for _ in range(day.draw.choice([1, 2, 4])):
            day.do(day.draw.choice([what for what in MEANWHILE if what not in DONE]), [])
        assert [shown(d) for d in repeat(lost, day)] == [shown(d) for d in first], f"seed {seed}"
        finish(day, [])


@pytest.mark.parametrize("count", [1, 3])
def test_deletes_with_a_receive_are_done_once_whatever_happens(engine: Engine, name: str, count: int) -> None:
    for seed in range(DAYS // 2):
        day = begin(engine, name, seed)
        done = engine.receive(day.q, 2, HELD_MS)
        receipts, statuses = [d.receipt for d in done], list[int]()
        lost = engine.lost(
            operations.receive_messages(
                day.q.home, NATIVE, count, HELD_MS, "", "", finished=receipts, statuses=statuses
            )
        )
        day.ended.update(d.body for d in done)
        first = lost.first().messages
        for _ in range(day.draw.choice([1, 2, 4, 8])):
            day.do(day.draw.choice(MEANWHILE), first)
        untouched = [shown(d) for d in first if d.body not in day.touched]
        again = repeat(lost, day)
        assert not {d.body for d in done} & {d.body for d in again}
        assert -1 not in statuses
        if untouched and not day.is_lapsed:  # else they may be visible again
            assert [shown(d) for d in again] == untouched, f"seed {seed}"
        finish(day, again)
