"""A key of a standard queue has another type: no call loses a message, and a send is refused as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from rqsqs._core import envelope, flows
from rqsqs.errors import RqsqsError
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine
from tests.lua.outcomes import dead_letter, release, requeue, retry

pytestmark = pytest.mark.either_server
KEYS = ["ready", "store", "inflight", "delayed", "stats", "wakeups", "timer", "moved", "paused", "timeline"]
OF_GROUPS = ["fair_ring", "group:a", "group:b", "group:c", "again:a", "again:b", "again:"]
HOUR_MS = 3_600_000


class Full:
    """A standard queue in which there is everything, and its dead-letter queue."""

    def __init__(self, engine: Engine, is_fair: bool) -> None:
        self.engine, self.is_fair = engine, is_fair
        self.ids: dict[str, str] = {}
        self.dead = engine.queue("dead")
        self.q = engine.queue("q", self.dead.name, 2)
        self.send("held", "a")
        self.send("other", "b")
        self.held = engine.receive(self.q, 2, HOUR_MS)
        self.send("back", "a")
        engine.receive(self.q, 10, 1000)
        self.send("due", "b", delay_ms=500)
        engine.clock.advance_ms(1000)
        self.send("late", "a", delay_ms=50_000)
        for n in range(3):
            for group in "abc":
                self.send(f"ready-{group}{n}", group)
        self.send("ungrouped")

    def send(self, body: str, group: str | None = None, **options: Any) -> None:
        if self.is_fair and group is not None:
            options["group"] = group
        (sent,) = self.engine.send(self.q, body, **options)
        self.ids[body] = str(sent.message_id)


OPERATIONS: dict[str, Callable[[Engine, Full], Any]] = {
    "receive": lambda e, f: e.receive(f.q),
    "receive one": lambda e, f: e.receive(f.q, 1),
    "receive for no time": lambda e, f: e.receive(f.q, 10, 0),
    "receive five times": lambda e, f: [e.receive(f.q, 3) for _ in range(5)],
    "change visibility": lambda e, f: e.run(flows.change_visibility(f.q, [(f.held[0].receipt_handle, 5000)], NATIVE)),
    "end visibility": lambda e, f: e.run(flows.change_visibility(f.q, [(d.receipt_handle, 0) for d in f.held], NATIVE)),
    "return unbegun": lambda e, f: release(e, f.q, *map(requeue, f.held)),
    "retry": lambda e, f: release(e, f.q, *map(retry, f.held)),
    "dead-letter": lambda e, f: release(e, f.q, *map(dead_letter, f.held)),
    "reschedule": lambda e, f: e.run(flows.reschedule(f.q, f.ids["ready-b1"], e.clock.ms + 9000)),
    "reschedule the first one": lambda e, f: e.run(flows.reschedule(f.q, f.ids["ready-a0"], e.clock.ms + 9000)),
    "reschedule what is delayed": lambda e, f: e.run(flows.reschedule(f.q, f.ids["late"], e.clock.ms)),
    "reschedule what came back": lambda e, f: e.run(flows.reschedule(f.q, f.ids["back"], e.clock.ms + 9000)),
    "pause a group": lambda e, f: e.run(flows.pause(f.q, group="a", resume=False)),
    "heartbeat": lambda e, f: e.run(flows.beat(f.q, f.held, HOUR_MS, "consumer", {"host": "h"}, 60_000)),
    "count": lambda e, f: e.run(flows.counts(f.q)),
    "peek": lambda e, f: e.run(flows.peek(f.q, "visible", 10)),
    "browse": lambda e, f: e.run(flows.browse(f.q, "visible", limit=10)),
}
ALL = sorted(["held", "other", "back", "due", "late", "ungrouped", *[f"ready-{g}{n}" for g in "abc" for n in range(3)]])


def damage(engine: Engine, key: str) -> Callable[[], None]:
    """Put a key of another type in the place of one. Returns what puts the old one back."""
    held = engine.redis.dump(key)
    engine.redis.delete(key)
    if key.endswith(":timer"):
        engine.redis.rpush(key, "garbage")
    else:
        engine.redis.set(key, "garbage")

    def mend() -> None:
        if engine.redis.type(key) == (b"list" if key.endswith(":timer") else b"string"):  # else it was replaced
            engine.redis.delete(key)
            if held is not None:
                engine.redis.restore(key, 0, held)

    return mend


def bodies_left(engine: Engine, full: Full) -> list[str]:
    """Whatever can still be received, of the queue and of its dead-letter queue."""
    with contextlib.suppress(RqsqsError):
        engine.run(flows.pause(full.q, group="a", resume=True))
    found = set()
    engine.clock.advance_ms(2 * HOUR_MS)
    for queue in (full.q, full.dead):
        for _ in range(10):
            found |= {str(d.body) for d in engine.receive(queue, 10, HOUR_MS)}
    return sorted(found)


@pytest.mark.parametrize("key", [*KEYS, *(f"fair {key}" for key in (*KEYS, *OF_GROUPS))])
@pytest.mark.parametrize("what", OPERATIONS)
def test_no_message_is_lost(engine: Engine, what: str, key: str) -> None:
    full = Full(engine, key.startswith("fair "))
    mend = damage(engine, full.q.home.base + key.removeprefix("fair "))
    with contextlib.suppress(RqsqsError):
        OPERATIONS[what](engine, full)
    mend()
    assert bodies_left(engine, full) == ALL


@pytest.mark.parametrize("what", OPERATIONS)
@pytest.mark.parametrize("is_fair", [False, True])
def test_all_are_there_if_nothing_is_damaged(engine: Engine, what: str, is_fair: bool) -> None:
    full = Full(engine, is_fair)
    OPERATIONS[what](engine, full)
    assert bodies_left(engine, full) == ALL


@pytest.mark.parametrize("key", ["ready", "delayed", "store", "fair_ring", "group:b", "paused"])
@pytest.mark.parametrize("delay_ms", [None, 1000])
@pytest.mark.parametrize("groups", ["", "aab"])
def test_a_send_is_refused_as_a_whole(engine: Engine, key: str, delay_ms: int | None, groups: str) -> None:
    q = engine.queue("q")
    engine.send(q, "first")
    mend = damage(engine, q.home.base + key)
    options: list[dict[str, Any]] = [{"group": g} for g in groups] or [{}] * 3
    batch = [
        envelope.outgoing(str(n), dedup_id=f"id-{n}", delay_ms=delay_ms if n else None, **option)
        for n, option in enumerate(options)
    ]
    try:
        engine.run(flows.send_messages(q, batch, NATIVE))
    except RqsqsError:
        mend()
        assert engine.counts(q) == (1, 0, 0)
        sent = engine.run(flows.send_messages(q, batch, NATIVE))
        assert [s.is_duplicate for s in sent] == [False] * 3
    else:
        mend()
    engine.clock.advance_ms(1000)
    assert sorted(str(d.body) for d in engine.receive(q, 10)) == ["0", "1", "2", "first"]
