"""A key of a FIFO queue, or of a dead-letter queue, has another type: each operation is refused as a whole, or passes
over it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import redis

from rqsqs._core import envelope, flows
from rqsqs._core.operation import Operation
from rqsqs.errors import QueueDamaged, RqsqsError
from rqsqs.limits import AWS, NATIVE
from tests.lua.conftest import Engine
from tests.lua.outcomes import dead_letter, release, requeue, retry

pytestmark = pytest.mark.either_server
KEYS = [
    *[
        "available",
        "inflight",
        "state",
        "delayed",
        "postponed",
        "paused",
        "moved",
        "wakeups",
        "timer",
        "backup",
        "stats",
    ],
    *["outbox", "tasks", "handovers", "sources", "timeline", "heartbeats", "consumers", "commands", "group:flight"],
    *["group:back", "group:ready", "group:other"],
]
OF_SHARD = [  # of the dead-letter queue
    *["available", "inflight", "state", "delayed", "postponed", "paused", "moved", "wakeups", "stats", "group:dead"],
    *["group:letter", "group:back"],
]
HOUR_MS = 3_600_000


class Full:
    """A FIFO queue in which there is everything, and its dead-letter queue."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.dead = engine.queue("dead.fifo")
        self.q = engine.queue("q.fifo", self.dead.name, 2)
        self.sent: dict[str, Any] = {}
        self.send("dead", 2)
        release(engine, self.q, *[dead_letter(d) for d in engine.receive(self.q)])
        self.send("flight", 3)
        self.send("letter", 2)
        self.held = engine.receive(self.q, 5, HOUR_MS)
        self.flight, self.letter = self.held[0], self.held[3]
        assert (self.flight.group, self.letter.group) == ("flight", "letter")
        self.send("back", 2)
        engine.receive(self.q, 2, 1000)
        engine.clock.advance_ms(1000)
        (self.back,) = engine.receive(self.q, 1, 1000)
        self.send("due", 1, delay_ms=500)
        engine.clock.advance_ms(1000)
        self.send("delayed", 1, delay_ms=5000)
        self.send("paused", 1)
        engine.run(flows.pause(self.q, group="paused", resume=False))
        self.send("ready", 3)
        self.send("other", 2)

    def send(self, group: str, n: int, **options: Any) -> None:
        self.sent[group] = self.engine.send(self.q, *[f"{group}-{i}" for i in range(n)], group=group, **options)

    def id_of(self, group: str) -> str:
        return str(self.sent[group][0].message_id)


OPERATIONS: dict[str, Callable[[Engine, Full], Any]] = {
    "send": lambda e, f: e.send(f.q, "x", group="new"),
    "send with an id": lambda e, f: e.send(f.q, "x", group="ready", dedup_id="id"),
    "send behind others": lambda e, f: e.send(f.q, "x", "y", group="ready"),
    "send with a delay": lambda e, f: e.send(f.q, "x", group="new", delay_ms=1000),
    "receive": lambda e, f: e.receive(f.q),
    "receive one": lambda e, f: e.receive(f.q, 1),
    "receive for no time": lambda e, f: e.receive(f.q, 10, 0),
    "receive and delete": lambda e, f: e.receive(f.q, delete=True),
    "delete the head": lambda e, f: e.delete(f.q, f.flight),
    "delete another one": lambda e, f: e.delete(f.q, f.held[1]),
    "delete in two groups": lambda e, f: e.delete(f.q, *f.held[::-1]),
    "delete what is visible": lambda e, f: e.delete(f.q, f.back),
    "delete as SQS does": lambda e, f: e.run(flows.delete_messages(f.q, [f.flight.receipt_handle], AWS)),
    "change visibility": lambda e, f: e.run(flows.change_visibility(f.q, [(f.flight.receipt_handle, 5000)], NATIVE)),
    "end visibility": lambda e, f: e.run(
        flows.change_visibility(f.q, [(f.flight.receipt_handle, 0), (f.letter.receipt_handle, 0)], NATIVE)
    ),
    "return unbegun": lambda e, f: release(e, f.q, requeue(f.flight)),
    "retry": lambda e, f: release(e, f.q, retry(f.flight), retry(f.held[1])),
    "dead-letter": lambda e, f: release(e, f.q, dead_letter(f.letter)),
    "cancel": lambda e, f: e.run(flows.cancel(f.q, f.id_of("ready"))),
    "cancel what is delayed": lambda e, f: e.run(flows.cancel(f.q, f.id_of("delayed"))),
    "reschedule": lambda e, f: e.run(flows.reschedule(f.q, f.id_of("ready"), e.clock.ms + 9000)),
    "pause": lambda e, f: e.run(flows.pause(f.q, resume=False)),
    "pause a group": lambda e, f: e.run(flows.pause(f.q, group="ready", resume=False)),
    "resume a group": lambda e, f: e.run(flows.pause(f.q, group="paused", resume=True)),
    "heartbeat": lambda e, f: e.run(flows.beat(f.q, f.held, HOUR_MS, "consumer", {"host": "h"}, 60_000)),
    "redrive": lambda e, f: e.run(flows.start_move(f.dead)),
    "redrive one": lambda e, f: e.run(flows.move_chosen(f.dead, [(f.id_of("dead"), "dead")])),
    "measure": lambda e, f: e.run(flows.metrics(f.q)),
    "purge": lambda e, f: e.run(flows.purge_queue(f.q, NATIVE)),
    "count": lambda e, f: e.run(flows.counts(f.q)),
    "peek": lambda e, f: e.run(flows.peek(f.q, "visible", 10)),
    "browse": lambda e, f: e.run(flows.browse(f.q, "visible", limit=10)),
    "find": lambda e, f: e.run(flows.find(f.q, f.id_of("ready"))),
}


def contents(engine: Engine) -> dict[str, Any]:
    """All that is stored, but for the call slots, which end by themselves."""
    found = {}
    read: dict[bytes, Callable[[str], Any]] = {
        b"string": engine.redis.get,
        b"list": lambda key: engine.redis.lrange(key, 0, -1),
        b"hash": engine.redis.hgetall,
        b"set": engine.redis.smembers,
        b"zset": lambda key: engine.redis.zrange(key, 0, -1, withscores=True),
    }
    prefix = engine.transport.space.prefix
    for name in engine.names():
        key = f"{prefix}:{name}"
        found[name] = read[engine.redis.type(key)](key)
    return found


class Watched:
    """A link that looks what a refused call has changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._link = engine, engine.transport.link
        self.refused: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def execute(self, operation: Operation) -> Any:
        before = contents(self._engine)
        try:
            return self._link.execute(operation)
        except RqsqsError:
            self.refused.append(operation.script)
            assert contents(self._engine) == before, operation.script
            raise


@pytest.mark.parametrize("damaged", [*KEYS, *(f"dead.fifo:{key}" for key in OF_SHARD)])
@pytest.mark.parametrize("what", OPERATIONS)
def test_what_is_refused_changes_nothing(engine: Engine, what: str, damaged: str) -> None:
    full = Full(engine)
    key = full.q.home.base.removesuffix("q.fifo:") + (damaged if ".fifo" in damaged else f"q.fifo:{damaged}")
    engine.redis.delete(key)
    if damaged == "timer":
        engine.redis.rpush(key, "garbage")
    else:
        engine.redis.set(key, "garbage")
    engine.transport.link = Watched(engine)  # type: ignore[assignment]
    with contextlib.suppress(RqsqsError):
        OPERATIONS[what](engine, full)


@pytest.mark.parametrize("what", OPERATIONS)
def test_nothing_is_refused_if_nothing_is_damaged(engine: Engine, what: str) -> None:
    OPERATIONS[what](engine, Full(engine))


@pytest.mark.parametrize("damaged", ["available", "group:ready"])
def test_a_message_that_was_refused_is_no_duplicate_of_itself(engine: Engine, damaged: str) -> None:
    q = engine.queue("q.fifo")
    key = q.home.base + damaged
    engine.redis.set(key, "garbage")
    batch = [envelope.outgoing(g, group=g, dedup_id=g) for g in ("a", "ready", "b")]
    with pytest.raises(QueueDamaged):
        engine.run(flows.send_messages(q, batch, NATIVE))
    engine.redis.delete(key)
    sent = engine.run(flows.send_messages(q, batch, NATIVE))
    assert [s.is_duplicate for s in sent] == [False, False, False]
    assert sorted(engine.bodies(q)) == ["a", "b", "ready"]


def test_a_damaged_dead_letter_queue_costs_no_message(engine: Engine) -> None:
    full = Full(engine)
    key = full.dead.home.base.replace("{dead.fifo/", "{q.fifo/") + "group:back"
    engine.redis.set(key, "garbage")
    assert "back-0" not in engine.bodies(full.q)
    engine.redis.delete(key)
    engine.receive(full.q)
    assert [r for r in engine.redis.lrange(key, 0, -1) if b"back-0" in r]


@pytest.mark.parametrize("key", ["ready", "fair_ring", "paused"])
def test_a_damaged_dead_letter_queue_costs_no_standard_message(engine: Engine, server_url: str, key: str) -> None:
    """They are received again, until it is mended."""
    dead = engine.queue("dead")
    q = engine.queue("q", dead.name, 1)
    engine.send(q, "a")
    engine.receive(q, 1, 1000)
    engine.clock.advance_ms(1000)
    assert engine.receive(q) == []  # now there is a shard
    assert engine.counts(dead)[0] == 1
    engine.send(q, "b", "c")
    engine.receive(q, 10, 1000)
    engine.send(q, "d")
    engine.clock.advance_ms(1000)
    name = f"{q.home.base.removesuffix('q:')}dead:{key}"
    client = redis.Redis.from_url(server_url)
    held = client.dump(name)
    client.delete(name)
    client.set(name, "no list")
    assert sorted(d.body for d in engine.receive(q, 10, 1000)) == ["b", "c", "d"]
    client.delete(name)
    if held is not None:
        client.restore(name, 0, held)
    client.close()
    engine.clock.advance_ms(1000)
    assert engine.receive(q) == []
    assert engine.counts(dead)[0] == 4
