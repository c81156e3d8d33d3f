"""What workers receive: it does not count until it failed, or may have killed a worker (lua/lib/ahead.lua)."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs._core import flows, operations
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs.limits import NATIVE
from rqsqs.worker.fetcher import is_reclaimed
from tests.lua.conftest import Engine
from tests.lua.outcomes import DEAD_LETTERED, LOST, dead_letter, release, requeue, retry
from tests.lua.test_counting import check

SLOTS = 2
FOR_MS = 1000


def ahead(engine: Engine, q: QueueRef, *finished: Delivery, count: int = 10) -> list[Delivery]:
    found: list[Delivery] = engine.run(flows.finish_and_receive(q, finished, count, FOR_MS, 0, 0, slots=SLOTS))
    return found


def said(found: list[Delivery]) -> list[tuple[Any, int, bool]]:
    return [(d.body, d.receive_count, d.is_suspect) for d in found]


def begin(engine: Engine, *found: Delivery) -> None:
    """The handler of suspects begins."""
    for d in found:
        assert engine.run(flows.begin(d, FOR_MS))
        assert not d.is_suspect


@pytest.fixture
def q(engine: Engine) -> QueueRef:
    engine.queue("dead")
    return engine.queue("work", "dead", 2)


def test_what_nobody_saw_comes_back_alone(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2, 3)
    first = ahead(engine, q)
    assert said(first) == [(1, 1, False), (2, 1, False), (3, 1, False)]
    check(engine, q, in_flight=3, sent=3, received=3, first=3)
    engine.clock.advance_ms(FOR_MS + 1)
    engine.send(q, 4)
    done: list[Delivery] = []
    for n in (1, 2, 3):
        found = ahead(engine, q, *done)
        assert said(found) == [(n, 1, True)]
        assert is_reclaimed(found[0])
        begin(engine, *found)
        done = found
    assert said(ahead(engine, q, *done)) == [(4, 1, False)]
    check(engine, q, in_flight=1, sent=4, received=7, first=7, deleted=3)


def test_what_several_dead_workers_had_begun_goes_to_the_dead_letter_queue(engine: Engine, q: QueueRef) -> None:
    engine.send(q, "poison")
    counts = said(ahead(engine, q))
    for _ in range(2):
        engine.clock.advance_ms(FOR_MS + 1)
        found = ahead(engine, q)
        counts += said(found)
        begin(engine, *found)
    engine.clock.advance_ms(FOR_MS + 1)
    assert counts == [("poison", 1, False), ("poison", 1, True), ("poison", 2, True)]
    assert ahead(engine, q) == []
    check(engine, q, sent=1, received=3, first=2, redelivered=(1, 0, 0), dead_lettered=1)


def test_a_suspect_whose_handler_never_begins_never_counts(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1)
    ahead(engine, q)
    for _ in range(10):
        engine.clock.advance_ms(FOR_MS + 1)
        assert said(ahead(engine, q)) == [(1, 1, True)]
    engine.clock.advance_ms(FOR_MS + 1)
    found = ahead(engine, q)
    begin(engine, *found)
    for _ in range(10):
        engine.clock.advance_ms(FOR_MS + 1)
        found = ahead(engine, q)
        assert said(found) == [(1, 2, True)]
    begin(engine, *found)


def test_of_two_workers_that_have_a_suspect_one_begins(engine: Engine, q: QueueRef) -> None:
    """The first one stood still for a while."""
    engine.send(q, 1)
    ahead(engine, q)
    found = []
    for _ in range(2):
        engine.clock.advance_ms(FOR_MS + 1)
        found += ahead(engine, q)
    assert said(found) == [(1, 1, True)] * 2
    assert engine.run(flows.begin(found[1], FOR_MS))
    assert not engine.run(flows.begin(found[0], FOR_MS))
    assert engine.run(flows.beat(q, found, FOR_MS, "w", None, 0)) == ("", [found[0]])
    assert release(engine, q, requeue(found[0])) == [LOST]
    assert release(engine, q, retry(found[1], chance=0)) == [0]


def test_a_begin_whose_answer_is_lost_counts_once(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1)
    ahead(engine, q)
    engine.clock.advance_ms(FOR_MS + 1)
    (mine,) = ahead(engine, q)
    lost = engine.lost(operations.consumers.begin(mine, FOR_MS))
    assert lost.first() is True
    assert lost.repeat() is True
    engine.clock.advance_ms(FOR_MS + 1)
    (others,) = ahead(engine, q)
    assert said([others]) == [(1, 2, True)]
    assert lost.repeat() is True  # its answer, also late
    begin(engine, others)
    assert not engine.run(flows.begin(mine, FOR_MS))


def test_a_suspect_that_cannot_be_read_has_failed(engine: Engine, q: QueueRef) -> None:
    """It counts then, though no handler began."""
    engine.send(q, 1)
    ahead(engine, q)
    engine.clock.advance_ms(FOR_MS + 1)
    assert release(engine, q, retry(ahead(engine, q)[0], chance=0)) == [0]
    assert said(ahead(engine, q)) == [(1, 2, False)]


def test_others_see_what_was_taken_ahead_as_if_it_had_not_been_received(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2)
    ahead(engine, q)
    engine.clock.advance_ms(FOR_MS + 1)
    found = engine.receive(q)
    assert [(d.body, d.receive_count) for d in found] == [(1, 1), (2, 1)]
    engine.delete(q, *found)
    check(engine, q, sent=2, received=4, first=4, deleted=2)


def test_a_failure_counts_and_makes_nothing_a_suspect(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2, 3)
    assert release(engine, q, *[retry(d, chance=0) for d in ahead(engine, q)]) == [0, 0, 0]
    again = ahead(engine, q)
    assert said(again) == [(1, 2, False), (2, 2, False), (3, 2, False)]
    check(engine, q, in_flight=3, sent=3, received=6, first=3, redelivered=(3, 0, 0))
    engine.clock.advance_ms(FOR_MS + 1)  # the worker dies, and that receive has not counted
    for n in (1, 2, 3):
        (found,) = ahead(engine, q)
        assert said([found]) == [(n, 2, True)]
        begin(engine, found)
        assert release(engine, q, retry(found)) == [DEAD_LETTERED]


@pytest.mark.parametrize("body", [b"\x98\xb8", "x" * 24, {"a": ["b", 1]}])
def test_what_was_never_reported_is_a_suspect_whatever_it_says(engine: Engine, q: QueueRef, body: object) -> None:
    engine.send(q, body)
    engine.receive(q, visibility_ms=FOR_MS)
    engine.clock.advance_ms(FOR_MS + 1)
    assert said(ahead(engine, q)) == [(body, 2, True)]


def test_what_goes_back_was_not_received(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2, 3)
    for _ in range(4):
        found = ahead(engine, q)
        assert said(found) == [(1, 1, False), (2, 1, False), (3, 1, False)]
        assert release(engine, q, *[requeue(d) for d in reversed(found)]) == [0, 0, 0]
    check(engine, q, visible=3, sent=3, received=12, first=12)


def test_what_came_alone_and_goes_back_stays_a_suspect(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2, 3)
    ahead(engine, q)
    engine.clock.advance_ms(FOR_MS + 1)
    for n in (1, 2, 3, 1):  # a queue with several partitions brings more of them than a worker begins
        found = ahead(engine, q)
        assert said(found) == [(n, 1, True)]
        assert release(engine, q, requeue(found[0])) == [0]
        engine.clock.advance_ms(1)
    check(engine, q, visible=3, sent=3, received=7, first=7)
    found = engine.receive(q)  # others need not care
    assert sorted((d.body, d.receive_count) for d in found) == [(1, 1), (2, 1), (3, 1)]


def test_the_last_failure_takes_it_to_the_dead_letter_queue(engine: Engine) -> None:
    engine.queue("dead")
    q = engine.queue("work", "dead", 1)
    engine.send(q, 1, 2)
    one, two = ahead(engine, q)
    assert release(engine, q, retry(one), dead_letter(two)) == [DEAD_LETTERED] * 2
    check(engine, q, sent=2, received=2, first=2, dead_lettered=2)


def test_heartbeats_keep_it_and_tell_who_lost_it(engine: Engine, q: QueueRef) -> None:
    engine.send(q, 1, 2)
    one, two = ahead(engine, q)
    engine.clock.advance_ms(FOR_MS - 1)
    assert engine.run(flows.beat(q, [one], FOR_MS, "w", None, 0)) == ("", [])
    engine.clock.advance_ms(FOR_MS - 1)
    (other,) = ahead(engine, q)
    assert said([other]) == [(2, 1, True)]
    begin(engine, other)
    assert engine.run(flows.beat(q, [one, two], FOR_MS, "w", None, 0)) == ("", [two])
    assert release(engine, q, retry(two), requeue(one)) == [LOST, 0]


@pytest.mark.parametrize("bodies", [[1], [1, 2]], ids=["one", "two"])
def test_a_repeated_call_gets_the_same_once_more(engine: Engine, q: QueueRef, bodies: list[int]) -> None:
    engine.send(q, *bodies)
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, 10, FOR_MS, "", "", slots=SLOTS))
    first = lost.first().messages
    again = lost.repeat().messages
    assert said(again) == said(first) == [(n, 1, False) for n in bodies]
    assert release(engine, q, *[requeue(d) for d in again]) == [0] * len(bodies)


@pytest.mark.parametrize("counted", [0, 1])
def test_a_repeated_call_gets_a_suspect_once_more(engine: Engine, q: QueueRef, counted: int) -> None:
    engine.send(q, 1)
    ahead(engine, q)
    for _ in range(counted):
        engine.clock.advance_ms(FOR_MS + 1)
        begin(engine, *ahead(engine, q))
    engine.clock.advance_ms(FOR_MS + 1)
    lost = engine.lost(operations.receive_messages(q.home, NATIVE, 10, FOR_MS, "", "", slots=SLOTS))
    first = lost.first().messages
    again = lost.repeat().messages
    assert said(again) == said(first) == [(1, 1 + counted, True)]
    begin(engine, *again)
    assert lost.repeat().messages == []  # a late repetition does not hand out what was begun
    check(engine, q, in_flight=1, sent=1, received=2 + counted, first=2, redelivered=(counted, 0, 0))


def test_of_a_fair_queue_only_the_slots_are_filled_and_everything_counts(engine: Engine, q: QueueRef) -> None:
    for n in range(5):
        engine.send(q, n, group="ab"[n % 2])
    assert said(ahead(engine, q)) == [(0, 1, False), (1, 1, False)]
    engine.clock.advance_ms(FOR_MS + 1)
    found = ahead(engine, q, count=20)
    assert len(found) == SLOTS
    assert all(d.receive_count == 1 + (d.receives > 0) == 1 + (d.body < SLOTS) for d in found)


def test_what_was_delayed_is_no_suspect(engine: Engine, q: QueueRef) -> None:
    for n in range(3):
        engine.send(q, n, delay_ms=500)
    engine.clock.advance_ms(600)
    assert said(ahead(engine, q)) == [(n, 1, False) for n in range(3)]
