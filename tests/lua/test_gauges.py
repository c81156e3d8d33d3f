"""What metrics say of one instant: the age of the oldest message, groups in flight, noisy and quiet groups."""

from __future__ import annotations

from typing import Any

import pytest

import rqsqs
from rqsqs._core import flows
from rqsqs._core.keys import QueueRef
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine

MINUTE = 60_000
DAY = 24 * 60 * MINUTE


def read(engine: Engine, q: QueueRef) -> rqsqs.QueueMetrics:
    found: rqsqs.QueueMetrics = engine.run(flows.metrics(q))
    return found


def age(engine: Engine, q: QueueRef) -> float | None:
    return read(engine, q).oldest_age_s


@pytest.fixture(params=["q", "q.fifo"], ids=["standard", "fifo"])
def q(request: pytest.FixtureRequest, engine: Engine) -> QueueRef:
    return engine.queue(request.param)


def group(q: QueueRef, name: str) -> dict[str, Any]:
    return {"group": name} if q.is_fifo else {}


def test_the_age_is_that_of_the_oldest_message_until_it_is_deleted(engine: Engine, q: QueueRef) -> None:
    assert age(engine, q) is None
    engine.send(q, "old", **group(q, "a"))
    engine.clock.advance_ms(5000)
    engine.send(q, "new", **group(q, "b"))
    assert age(engine, q) == 5
    [old] = engine.receive(q, 1, 10 * MINUTE)
    engine.clock.advance_ms(1000)
    assert age(engine, q) == 6  # in flight it is still there
    engine.delete(q, old)
    assert age(engine, q) == 1
    engine.delete(q, *engine.receive(q))
    assert age(engine, q) is None


def test_a_message_received_three_times_has_no_age_on_a_standard_queue_only(engine: Engine, q: QueueRef) -> None:
    engine.send(q, "stuck", **group(q, "a"))
    engine.clock.advance_ms(1000)
    engine.send(q, "next", **group(q, "b"))
    for receives in range(1, 5):
        for d in engine.receive(q, 10, 1000):
            if d.body == "next":
                engine.run(flows.change_visibility(q, [(d.receipt_handle, 0)], NATIVE))
        engine.clock.advance_ms(1000)
        if receives == 2:
            assert age(engine, q) == 3
    assert age(engine, q) == (5 if q.is_fifo else None)
    engine.send(q, "fresh", **group(q, "c"))
    assert age(engine, q) == (5 if q.is_fifo else 0)


def test_delayed_messages_count_from_when_they_were_sent(engine: Engine, q: QueueRef) -> None:
    engine.send(q, "x", delay_ms=10 * MINUTE, **group(q, "a"))
    engine.clock.advance_ms(4 * MINUTE)
    assert age(engine, q) == 240
    engine.clock.advance_ms(8 * MINUTE)
    assert age(engine, q) == 720


def test_messages_scheduled_further_ahead_than_sqs_can_count_from_then(engine: Engine, q: QueueRef) -> None:
    engine.send(q, "x", delay_ms=DAY, **group(q, "a"))
    engine.clock.advance_ms(DAY - 1000)
    assert age(engine, q) is None
    engine.clock.advance_ms(3000)
    assert age(engine, q) == 2
    engine.receive(q, 1, MINUTE)
    engine.clock.advance_ms(1000)
    assert age(engine, q) == 3


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_dead_letters_count_from_when_they_came(engine: Engine, suffix: str) -> None:
    dead = engine.queue(f"dead{suffix}")
    q = engine.queue(f"q{suffix}", dead.name, 1)
    engine.send(q, "x", **group(q, "a"))
    engine.clock.advance_ms(MINUTE)
    engine.receive(q, 1, 1000)
    engine.clock.advance_ms(2000)
    assert age(engine, q) == 62
    engine.receive(q, 1)  # moves it
    engine.clock.advance_ms(4000)
    assert read(engine, dead).visible == 1
    assert age(engine, dead) == 4
    engine.receive(dead, 1, 10 * MINUTE)
    engine.clock.advance_ms(1000)
    assert age(engine, dead) == 5
    assert age(engine, q) is None


def test_groups_in_flight_are_those_with_messages_in_flight(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    assert read(engine, q).groups_in_flight == 0
    for name in "aabbc":
        engine.send(q, "x", group=name)
    received = engine.receive(q, 4, 30_000)
    assert read(engine, q).groups_in_flight == len({d.group_name for d in received}) == 2
    engine.delete(q, *[d for d in received if d.group_name == "a"])
    assert read(engine, q).groups_in_flight == 1
    engine.clock.advance_ms(30_000)
    assert read(engine, q).groups_in_flight == 0
    assert read(engine, engine.queue("standard")).groups_in_flight is None


def test_groups_in_flight_of_partitions_are_summed(engine: Engine) -> None:
    q = engine.queue(
        "q.fifo", Partitions="4", DeduplicationScope="messageGroup", FifoThroughputLimit="perMessageGroupId"
    )
    for n in range(20):
        engine.send(q, "x", group=f"g{n}")
    while engine.receive(q, 10, MINUTE):
        pass
    found = read(engine, q)
    assert (found.in_flight, found.groups_in_flight) == (20, 20)


def fill(engine: Engine, q: QueueRef, **groups: int) -> None:
    for name, count in groups.items():
        for n in range(count):
            engine.send(q, f"{name}{n}", group=name)


def gauges(m: rqsqs.QueueMetrics) -> tuple[Any, ...]:
    return m.noisy_groups, m.visible_in_quiet_groups, m.in_flight_in_quiet_groups, m.delayed_in_quiet_groups


@pytest.mark.parametrize(
    ("groups", "noisy"),
    [
        ({"a": 40, "b": 3, "c": 4}, 1),
        ({"a": 40, "b": 1}, 1),
        ({"a": 9, "b": 1, "c": 1}, 0),  # too few to matter
        ({"a": 100}, 0),  # alone
        ({"a": 20, "b": 20, "c": 20}, 0),
        ({"a": 20, "b": 10}, 0),  # not more than twice as many
        ({"a": 21, "b": 10}, 1),
        ({"a": 30, "b": 30, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1}, 2),
    ],
)
def test_a_group_is_noisy_with_more_than_twice_what_the_others_have(
    engine: Engine, groups: dict[str, int], noisy: int
) -> None:
    q = engine.queue("q")
    fill(engine, q, **groups)
    found = read(engine, q)
    assert found.noisy_groups == noisy
    largest = sorted(groups.values())[len(groups) - noisy :]
    assert found.visible_in_quiet_groups == sum(groups.values()) - sum(largest)


@pytest.mark.parametrize("partitions", ["1", "4"])
def test_quiet_groups_are_what_is_left_without_noisy_ones(engine: Engine, partitions: str) -> None:
    q = engine.queue("q", Partitions=partitions)
    fill(engine, q, noisy=1)
    engine.clock.advance_ms(MINUTE)
    fill(engine, q, noisy=60)
    engine.send(q, "x")
    engine.clock.advance_ms(2000)
    fill(engine, q, b=3, c=4)
    for name in ["noisy", "noisy", "c", None]:
        engine.send(q, "later", delay_ms=5 * MINUTE, **({"group": name} if name else {}))
    received = [d for _ in range(8) for d in engine.receive(q, 3, 10 * MINUTE)]
    of_noisy = len([d for d in received if d.group_name == "noisy"])
    assert 0 < of_noisy < len(received)
    found = read(engine, q)
    assert gauges(found) == (1, 8 - (len(received) - of_noisy), len(received) - of_noisy, 2)
    assert (found.visible, found.in_flight, found.delayed) == (69 - len(received), len(received), 4)
    assert (found.oldest_age_s, found.oldest_age_in_quiet_groups_s) == (62, 2)
    engine.delete(q, *received)
    while more := engine.receive(q, 10, MINUTE):
        engine.delete(q, *more)
    assert gauges(read(engine, q)) == (0, 0, 0, 4)


def test_what_became_visible_again_belongs_to_its_group(engine: Engine) -> None:
    q = engine.queue("q")
    fill(engine, q, noisy=30, b=1, c=1)
    while engine.receive(q, 10, 1000):
        pass
    assert gauges(read(engine, q)) == (1, 0, 2, 0)
    engine.clock.advance_ms(1000)
    assert gauges(read(engine, q)) == (1, 2, 0, 0)
    engine.receive(q, 3, MINUTE)  # brings them to their groups
    found = read(engine, q)
    assert found.visible_in_quiet_groups + found.in_flight_in_quiet_groups == 2  # type: ignore[operator]
    assert found.noisy_groups == 1


def test_a_queue_without_groups_has_none_that_are_noisy(engine: Engine, q: QueueRef) -> None:
    engine.send(q, "x", **group(q, "a"))
    found = read(engine, q)
    assert (*gauges(found), found.oldest_age_in_quiet_groups_s) == (None,) * 5


@pytest.mark.parametrize("paused", [0, 70])
def test_many_groups_are_read_at_one_instant(engine: Engine, paused: int) -> None:
    q = engine.queue("q", MessageRetentionPeriod="600")
    for n in range(350):
        engine.send(q, "x", group=f"g{n}")
    engine.clock.advance_ms(300_000)
    for n in range(350):
        engine.send(q, "y", group=f"g{n}")
    fill(engine, q, noisy=30)
    for n in range(paused):
        engine.run(flows.pause(q, resume=False, group=f"g{n}"))
    engine.receive(q, 50, 10 * MINUTE)
    found = read(engine, q)
    assert (found.visible + found.in_flight, found.noisy_groups) == (730, 1)
    assert found.visible_in_quiet_groups + found.in_flight_in_quiet_groups == 700  # type: ignore[operator]
    engine.clock.advance_ms(300_001)  # the first of each group is over
    found = read(engine, q)
    assert (found.visible + found.in_flight, found.sent, found.deleted) == (730 - found.expired, 730, 0)
    assert found.expired == 350 if not paused else 330 <= found.expired <= 350  # of paused groups 50 are looked at
    assert paused or found.oldest_age_s == 300.001
    assert found.noisy_groups == 1


def test_the_oldest_is_found_behind_those_received_often(engine: Engine) -> None:
    q = engine.queue("q", VisibilityTimeout="1")
    engine.send(q, *["old"] * 5)
    for _ in range(3):
        assert len(engine.receive(q, 10)) == 5
        engine.clock.advance_ms(1000)
    engine.send(q, "new")
    engine.clock.advance_ms(500)
    assert age(engine, q) == 0.5
