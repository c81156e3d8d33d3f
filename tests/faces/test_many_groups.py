"""Browsing and cancelling in queues of many message groups: everything is seen once, by few calls."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import rqsqs
from rqsqs._core import flows
from rqsqs._core.operations import browse as browsing
from rqsqs.testing import VirtualClock

pytestmark = pytest.mark.either_server  # the subject is the client

STATES: tuple[Any, ...] = ("visible", "in_flight", "delayed")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def connection(server_url: str, prefix: str, clock: VirtualClock) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix, clock=clock) as connection:
        yield connection


@pytest.fixture(params=["orders", "orders.fifo"])
def queue(connection: rqsqs.Connection, request: pytest.FixtureRequest) -> rqsqs.Queue:
    return connection.create_queue(request.param)


def pages(queue: rqsqs.Queue, state: Any, size: int) -> list[Any]:
    """The bodies on each page."""
    found, cursor = [], ""
    while True:
        page, cursor = queue.browse(state, cursor, max_messages=size)
        found.append([m.body for m in page])
        if not cursor:
            return found


def seen(queue: rqsqs.Queue, state: Any, size: int) -> list[Any]:
    return sorted(body for page in pages(queue, state, size) for body in page)


def fill(queue: rqsqs.Queue, groups: int, each: int = 1) -> list[rqsqs.SentMessage]:
    """Bodies are GROUP.NUMBER."""
    entries = [rqsqs.Entry(f"{g}.{n}", group=f"g{g}") for n in range(each) for g in range(groups)]
    return [sent for i in range(0, len(entries), 500) for sent in queue.send_batch(entries[i : i + 500])]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_group_is_seen_once_whatever_keeps_it_from_being_received(
    connection: rqsqs.Connection, clock: VirtualClock, size: int
) -> None:
    queue = connection.create_queue("orders.fifo", delay=0)

    def send(group: str, **options: Any) -> None:
        queue.send_batch([rqsqs.Entry(f"{group}{n}", group=group, **options) for n in range(5)])

    send("expired")
    queue.receive(2, visibility_timeout=10)
    send("back")
    queue.receive(2, visibility_timeout=0)
    clock.advance(10)
    send("late", delay=5)
    clock.advance(4)
    send("locked")
    locked = [m for m in queue.receive(30, visibility_timeout=100) if m.group == "locked"]
    for message in queue.receive(30):
        message.release()
    held = {m.body for m in locked}
    assert held
    for group in ("waiting", "paused", "idle"):
        send(group)
    queue.pause(group="paused")
    send("delayed", delay=50)
    queue.configure(delay=20)
    send("postponed")
    queue.configure(delay=20)
    clock.advance(1)
    counts = queue.counts()
    found = {state: seen(queue, state, size) for state in STATES}
    assert [len(found[state]) for state in STATES] == [counts.visible, counts.in_flight, counts.delayed]
    everything = [f"{group}{n}" for group in ("expired", "back", "late", "locked", "waiting", "paused", "idle",
                                              "delayed", "postponed") for n in range(5)]  # fmt: skip
    assert Counter(body for state in STATES for body in found[state]) == Counter(everything)
    assert held <= set(found["in_flight"])
    assert set(found["delayed"]) == {f"{group}{n}" for group in ("delayed", "postponed") for n in range(5)}


@pytest.mark.either_server
@pytest.mark.parametrize("seed", range(8))
def test_after_any_history_every_message_is_seen_once_in_its_state(
    queue: rqsqs.Queue, clock: VirtualClock, seed: int
) -> None:
    rng = random.Random(seed)
    alive: dict[str, str] = {}
    number = 0
    for _ in range(60):
        choice = rng.random()
        group = f"g{rng.randrange(12)}"
        if choice < 0.45:
            delay = rng.choice([None, None, None, 5, 50])
            for _ in range(rng.randrange(1, 6)):
                number += 1
                kind = group if queue.is_fifo or rng.random() < 0.8 else None
                sent = queue.send(str(number), group=kind, delay=delay)
                alive[sent.message_id] = str(number)
        elif choice < 0.75:
            timeout = rng.choice([0, 3, 30, 300])
            for message in queue.receive(rng.randrange(1, 8), visibility_timeout=timeout):
                fate = rng.random() if timeout else 1
                if fate < 0.4:
                    message.delete()
                    del alive[message.message_id]
                elif fate < 0.6:
                    message.release(delay=rng.choice([0, 10]))
        elif choice < 0.85:
            rng.choice([queue.pause, queue.resume])(group=group)
        else:
            clock.advance(rng.choice([1, 4, 10, 40]))
    for size in (1, 2, 5, 1000):
        found = {state: seen(queue, state, size) for state in STATES}
        assert Counter(body for state in STATES for body in found[state]) == Counter(alive.values())
        counts = queue.counts()
        assert [len(found[state]) for state in STATES] == [counts.visible, counts.in_flight, counts.delayed]


def test_what_comes_and_goes_meanwhile_hides_nothing_that_stays(queue: rqsqs.Queue) -> None:
    fill(queue, 300)
    found, cursor, gone = [], "", set()
    turn = 0
    while True:
        page, cursor = queue.browse("visible", cursor, max_messages=10)
        found += [m.body for m in page]
        if not cursor:
            break
        turn += 1
        queue.send(f"new.{turn}", group=f"new{turn}")
        for message in queue.receive(3):  # the first ones: those that were seen already
            gone.add(message.body)
            message.delete()
        for message in page[-1:]:  # the place of the cursor
            gone.add(message.body)
            queue.cancel(message, group=message.group)
    stayed = {f"{g}.0" for g in range(300)} - gone
    seen_often = {body for body, times in Counter(found).items() if times > 1}
    assert stayed <= set(found)
    assert not seen_often & stayed
    assert len(gone) > 60


def test_a_group_longer_than_a_page_is_continued(queue: rqsqs.Queue) -> None:
    fill(queue, 3, each=2500)
    for size in (400, 1000):
        found = pages(queue, "visible", size)
        bodies = [body for page in found for body in page]
        assert len(bodies) == len(set(bodies)) == 7500
        for g in range(3):
            mine = [int(body.partition(".")[2]) for body in bodies if body.startswith(f"{g}.")]
            assert mine == list(range(2500))
        assert max(map(len, found)) <= size


def test_groups_of_any_name_are_passed(connection: rqsqs.Connection) -> None:
    names = ["a|b", "a:b", ":", "|", "+", "1:0::x", "späti", "\N{SNOWMAN}", " ", "-1", "é" * 60, "Z", "a"]
    for name in ("orders", "orders.fifo"):
        queue = connection.create_queue(name)
        queue.send_batch([rqsqs.Entry(g, group=g) for g in names])
        assert seen(queue, "visible", 1) == sorted(names)
        for group in names[::2]:
            queue.pause(group=group)
        assert seen(queue, "visible", 1) == sorted(names)


def test_the_number_of_calls_grows_with_the_number_of_groups_and_no_faster(
    connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for builder in ("browse_fifo", "browse_groups", "groups", "cancel", "peek"):
        original = getattr(browsing, builder)

        def counting(*args: Any, _original: Any = original, _name: str = builder, **options: Any) -> Any:
            calls.append(_name)
            return _original(*args, **options)

        monkeypatch.setattr(browsing, builder, counting)
    for name in ("orders", "orders.fifo"):
        queue = connection.create_queue(name)
        sent = fill(queue, 3000)
        calls.clear()
        assert len(seen(queue, "visible", 1000)) == 3000
        assert len(calls) <= 12
        calls.clear()
        assert seen(queue, "in_flight", 1000) == []
        assert len(calls) <= 2
        calls.clear()
        assert queue.cancel(sent[-1])
        assert not queue.cancel(sent[-1])
        assert queue.reschedule(sent[-2], delay=60)
        assert len(calls) <= 130  # a hundred groups a call
        assert queue.counts().delayed == 1


def test_among_many_groups_a_message_in_flight_is_left_to_its_receiver(queue: rqsqs.Queue) -> None:
    fill(queue, 1200)
    (message,) = queue.receive()
    with pytest.raises(rqsqs.MessageNotAvailable):
        queue.cancel(message)
    message.release()
    assert queue.cancel(message)
    assert queue.counts().visible == 1199


def test_messages_of_more_groups_than_one_call_looks_at_count_once(queue: rqsqs.Queue) -> None:
    for start in range(0, 2500, 500):
        more = range(start, start + 500)
        ids = [str(n) if queue.is_fifo else None for n in more]
        queue.send_batch(
            [rqsqs.Entry(n, group=f"g{n}", deduplication_id=id_) for n, id_ in zip(more, ids, strict=True)]
        )
    for _ in range(2):
        queue.receive(100, visibility_timeout=0)
        assert queue.counts().visible == 2500
    assert [counts.visible for _, counts in queue._run(flows.partition_counts(queue._ref))] == [2500]
