"""The stream of events: what is added, kept and read, and that telling harms nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from rqsqs._core import flows
from rqsqs._core.flows.events import tell
from rqsqs._core.flows.metric_history import sample
from rqsqs._core.operations import events
from rqsqs.event_models import Actor, Event
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine
from tests.lua.outcomes import dead_letter, release

DAY_MS = 86_400_000
WHO = Actor("native", "program", "host")


def read(engine: Engine, since: str = "0") -> list[Event]:
    found: list[Event] = []
    while True:
        page = engine.execute(events.read_events(engine.transport.space, found[-1].id if found else "", since))
        found += page.events
        if page.is_last:
            return found


def add(engine: Engine, n: int = 0, text: str = "", about: str = "", once_ms: int = 0) -> str:
    detail: dict[str, Any] = {"n": n} | ({"text": text} if text else {})
    operation = events.add_event(engine.transport.space, "queue-purged", "q", WHO, {}, {}, detail, about, once_ms)
    return str(engine.execute(operation))


def numbers(engine: Engine, since: str = "0") -> list[int]:
    return [event.detail["n"] for event in read(engine, since)]


def test_events_come_in_their_order_with_the_servers_time(engine: Engine) -> None:
    times = []
    for n in range(250):
        add(engine, n)
        times.append(engine.clock.ms)
        engine.clock.advance_ms(n % 2)
    found = read(engine)
    assert [event.detail["n"] for event in found] == list(range(250))
    assert [event.at_ms for event in found] == times
    assert numbers(engine, str(times[200])) == list(range(200, 250))
    assert numbers(engine, f"-{engine.clock.ms - times[241]}") == list(range(240, 250))  # 240 and 241 are of one ms
    assert found[0] == Event(found[0].id, times[0], "queue-purged", "q", WHO, {}, {}, {"n": 0})


def test_a_clock_that_is_put_back_stops_no_event(engine: Engine) -> None:
    add(engine, 1)
    engine.clock.advance_ms(-5000)
    add(engine, 2)
    assert [event.detail["n"] for event in read(engine)] == [1, 2]


def test_a_repeated_call_adds_one_event(engine: Engine) -> None:
    call = engine.lost(events.add_event(engine.transport.space, "queue-purged", "q", WHO, {}, {}, {"n": 1}))
    first = call.repeat()
    assert [event.id for event in read(engine)] == [first]


def test_what_is_told_once_is_told_again_when_its_time_is_over(engine: Engine) -> None:
    assert add(engine, 1, about="worker", once_ms=200_000)
    assert add(engine, 2, about="worker", once_ms=200_000) == ""
    assert add(engine, 3, about="other", once_ms=200_000)
    key = engine.transport.space.told("worker")
    assert 0 < engine.redis.pttl(key) <= 200_000  # type: ignore[operator]
    engine.redis.unlink(key)
    assert add(engine, 4, about="worker", once_ms=200_000)
    assert numbers(engine) == [1, 3, 4]


def test_ten_thousand_events_are_kept_for_two_weeks(engine: Engine) -> None:
    stream = engine.transport.space.events
    with engine.redis.pipeline() as pipe:
        for n in range(10_500):
            data = json.dumps({"detail": {"n": n}})
            pipe.xadd(stream, {"kind": "queue-purged", "data": data}, f"{engine.clock.ms + n}-0")
        pipe.execute()
    engine.clock.advance_ms(11_000)
    add(engine, -1)
    assert 10_000 <= engine.redis.xlen(stream) <= 10_100
    assert numbers(engine)[-10_000:] == [*range(501, 10_500), -1]
    assert 13 * DAY_MS < engine.redis.pttl(stream) <= 14 * DAY_MS  # type: ignore[operator]
    engine.clock.advance_ms(14 * DAY_MS + 1)
    assert numbers(engine) == []
    add(engine, -2)
    assert numbers(engine) == [-2]
    assert engine.redis.xlen(stream) <= 100


def test_large_events_are_cut_and_the_older_ones_go(engine: Engine) -> None:
    stream = engine.transport.space.events
    for n in range(600):
        add(engine, n, "x" * 100_000)
        if n == 20:
            (one,) = [event for event in read(engine) if event.detail["n"] == 20]
            assert one.detail["text"] == "x" * 4000 + "... and 96,000 more characters"
    texts = {f"t{n}": "x" * 4000 for n in range(7)}
    for n in range(600):
        engine.execute(events.add_event(engine.transport.space, "settings-changed", "q", WHO, texts, {}, {"n": n}))
    assert engine.redis.memory_usage(stream) < 10 * 1024 * 1024
    assert numbers(engine)[-100:] == list(range(500, 600))
    for key, value in (("many", {f"k{n}": "x" * 4000 for n in range(1000)}), ("deep", [["x" * 90] * 100] * 100)):
        engine.run(tell(engine.transport.space, "queue-purged", "q", detail={key: value}))
        assert key in read(engine)[-1].detail or "left_out" in read(engine)[-1].detail
    assert max(len(event[1][b"data"]) for event in engine.redis.xrange(stream)) <= events.MOST_BYTES


@pytest.mark.parametrize("data", [b"", b"text", b"[1]", b'{"before": 5}', b"\xff\xfe"])
def test_what_cannot_be_read_of_an_event_is_left_out(engine: Engine, data: bytes) -> None:
    engine.redis.xadd(engine.transport.space.events, {"kind": "new-kind", "who": data, "data": data, "x": "y"})
    (found,) = read(engine)
    assert (found.kind, found.queue, found.before, found.detail) == ("new-kind", None, {}, {})


def test_an_operation_succeeds_if_its_event_cannot_be_written(engine: Engine, name: str) -> None:
    engine.redis.set(engine.transport.space.events, "no stream")
    q = engine.queue(name)
    engine.run(flows.set_attributes(q, {"VisibilityTimeout": "7"}, NATIVE))
    engine.run(flows.purge_queue(q, NATIVE))
    engine.run(flows.delete_queue(q, NATIVE))
    assert engine.run(flows.list_queues(engine.transport.space)) == []
    with pytest.raises(redis.exceptions.ResponseError):
        engine.redis.xlen(engine.transport.space.events)


def test_messages_tell_nothing(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    before = len(read(engine))
    engine.send(q, *range(5), group="g")
    engine.delete(q, *engine.receive(q, 5))
    assert engine.bodies(q) == []
    assert len(read(engine)) == before == 1


@pytest.fixture
def dead(name: str) -> str:
    return "dead.fifo" if name.endswith(".fifo") else "dead"


def a_minute(engine: Engine) -> None:
    engine.clock.advance_ms(60_000)
    engine.run(sample(engine.transport.space))


def test_the_sampler_counts_dead_letters_once(engine: Engine, name: str, dead: str) -> None:
    engine.queue(dead)
    q = engine.queue(name, dead)
    engine.send(q, *range(7), group="g")
    a_minute(engine)
    while engine.receive(q, 10, visibility_ms=0):
        pass
    for _ in range(3):
        a_minute(engine)
    found = [event for event in read(engine) if event.kind == "dead-lettered"]
    count = engine.counts(engine.transport.space.queue(dead))[0]
    causes = {
        "ReceivedTooOften: … receive ended without a word: the consumer died, or let the visibility timeout pass": count
    }
    assert [(event.queue, event.detail) for event in found] == [
        (name, {"count": count, "dead_letter_queue": dead, "causes": causes})
    ]


def test_the_sampler_says_why_messages_died(engine: Engine, name: str, dead: str) -> None:
    """Those of other queues, and what lies there for long, do not count."""
    letters = engine.queue(dead)
    q, other = engine.queue(name, dead), engine.queue(f"other-{name}", dead)
    for queue, kind, number in ((other, "OSError", 3), (q, "KeyError", 2), (q, "ValueError", 4)):
        if queue is q and kind == "KeyError":
            a_minute(engine)
        engine.send(queue, *range(number), group="g" if queue.is_fifo else None)
        while found := engine.receive(queue, 10, visibility_ms=60_000):
            release(engine, queue, *[dead_letter(d, kind) for d in found])
    assert engine.counts(letters)[0] == 9
    a_minute(engine)
    told = [event for event in read(engine) if event.kind == "dead-lettered"]
    assert [(event.queue, event.detail["count"], event.detail["causes"]) for event in told] == [
        (other.name, 3, {"OSError: no …": 3}),
        (q.name, 6, {"ValueError: no …": 4, "KeyError: no …": 2}),
    ]


def test_the_sampler_tells_of_a_lost_worker_once(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    says = {"state": "running", "host": "web-1", "in_flight": 3}
    for worker in ("w1", "w2"):
        engine.run(flows.beat(q, (), 0, worker, says, 30_000))
    a_minute(engine)
    engine.run(flows.beat(q, (), 0, "w2", None, 0))
    engine.run(sample(engine.transport.space))
    a_minute(engine)
    found = [event for event in read(engine) if event.kind == "worker-lost"]
    assert sorted(event.detail["worker"] for event in found) == ["w1", "w2"]
    assert (found[0].queue, found[0].detail["host"], found[0].detail["in_flight"]) == (name, "web-1", 3)


def test_the_sampler_tells_of_damage_once_a_day(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.redis.set(q.home.base + "inflight", "secret")
    for _ in range(3):
        a_minute(engine)
    found = [event for event in read(engine) if event.kind == "damage-found"]
    assert [event.queue for event in found] == [name]
    assert found[0].detail == {"key": q.home.base + "inflight"}
    assert "secret" not in str(found)
