"""The common sends and receives of a fair queue do exactly what those do that can do everything, in a few calls."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from rqsqs._core import envelope, flows, operations, scripts
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Operation
from rqsqs.errors import MessageNotAvailable, RqsqsError
from rqsqs.limits import NATIVE
from tests.largest import Meter
from tests.lua.conftest import Engine
from tests.lua.outcomes import release, requeue, retry

pytestmark = pytest.mark.either_server
GROUPS = (None, *"abcdefghijkl")
RETENTION_MS = 60_000
NUMBER = "00000001"
Snapshot = dict[str, Any]


def contents(engine: Engine, q: QueueRef) -> Snapshot:
    """What is stored: of the ring the order, of the slot what is said about a repetition."""
    found: dict[str, Any] = {}
    r = engine.redis
    for key in r.scan_iter(q.home.base + "*", count=1000):
        kind = r.type(key)
        name = key.decode().removeprefix(q.home.base)
        if kind == b"list":
            found[name] = r.lrange(key, 0, -1)
        elif kind == b"hash":
            found[name] = r.hgetall(key)
        elif kind == b"zset":
            found[name] = r.zrange(key, 0, -1, withscores=name != "fair_ring")
        else:
            found[name] = r.smembers(key) if kind == b"set" else r.get(key)
    found.get("stats", {}).pop(b"empty", None)  # a repeated call does not count as an empty receive
    return found


class Walk:
    """Random days of a fair queue. Now and then a call takes place twice from the same state: as a repeated one, which
    takes the long path, and as a new one."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine, self.draw = engine, random.Random(seed)
        self.q = engine.queue(f"q-{seed}", MessageRetentionPeriod=str(RETENTION_MS // 1000))
        self.held: list[Any] = []
        self.ids: list[str] = []
        self.served = 0
        engine.send(self.q, "first", group="a")

    def step(self) -> None:
        engine, q, draw = self.engine, self.q, self.draw
        what = draw.choice(["send"] * 6 + ["receive", "receive", "time", "settle", "settle", "rare"])
        if what == "send":
            some = draw.choices(GROUPS, k=draw.choice([1, 1, 3, 10]))
            batch = [envelope.outgoing(draw.random(), group=group) for group in some]
            self.ids += [str(sent.message_id) for sent in engine.run(flows.send_messages(q, batch, NATIVE))]
        elif what == "receive":
            self.held += engine.receive(q, draw.choice([1, 2, 10]), draw.choice([1000, 30_000]))
        elif what == "time":
            engine.clock.advance_ms(draw.choice([0, 1, 1, 7, 500, 20_000]))
        elif what == "settle" and self.held:
            d = self.held.pop(draw.randrange(len(self.held)))
            if draw.random() < 0.7:
                engine.delete(q, d)
            else:
                release(engine, q, draw.choice([requeue, retry])(d))
        elif what == "rare" and draw.random() < 0.6:
            with contextlib.suppress(MessageNotAvailable):
                if draw.random() < 0.5:
                    engine.run(flows.cancel(q, draw.choice(self.ids[-9:])))
                else:
                    engine.run(flows.pause(q, group=draw.choice("abc"), resume=draw.random() < 0.9))

    def both_ways(self, operation: Operation, short: tuple[str, ...], long: tuple[str, ...]) -> tuple[Any, Any]:
        """What an operation replies in both ways, which must leave the same."""
        engine, base = self.engine, self.q.home.base
        script, keys = scripts.get(operation.script), [base + "call:slot", *operation.keys]
        engine.redis.delete(keys[0])
        before = {key: engine.redis.dump(key) for key in engine.redis.scan_iter(base + "*", count=1000)}

        def run(args: tuple[str, ...]) -> tuple[Any, Snapshot]:
            return engine.redis.eval(script.source, len(keys), *keys, *args), contents(engine, self.q)

        reply, left = run(long)
        engine.redis.delete(*engine.redis.scan_iter(base + "*", count=1000))
        for key, value in before.items():
            engine.redis.restore(key, 0, value)
        short_reply, short_left = run(short)
        if operation.script == "send_message":  # the answer has another form there
            for found in (left, short_left):
                found.pop("call:slot")
        assert short_left == left
        return short_reply, reply

    def receive_twice(self) -> None:
        count, slots = self.draw.choice([1, 2, 3, 5, 10, 40]), self.draw.choice([0, 0, 0, 4])
        wait, waiter = self.draw.choice([("", ""), ("+9000", "p-1"), (f"{self.engine.clock.ms + 500}", "p-1")])
        receive = operations.receive_messages(self.q.home, NATIVE, count, None, wait, waiter, slots=slots)
        args = receive.args
        reply, long_reply = self.both_ways(receive, (NUMBER, *args), (NUMBER + "r", *args))
        assert reply == long_reply
        self.served += len(reply[5])

    def send_twice(self) -> None:
        some = self.draw.choices(GROUPS, k=self.draw.choice([1, 3, 10]))
        batch = [envelope.outgoing(self.draw.random(), group=group) for group in some]
        send = operations.send_messages(self.q.home, batch, NATIVE)
        size, how, *args = send.args
        assert isinstance(how, str)
        repeated = (how or f"{self.engine.clock.now_us()}/2/") + "r"
        reply, long_reply = self.both_ways(send, (size, how, *args), (size, repeated, *args))
        assert isinstance(reply, list) or long_reply == [reply, b"", *[b""] * len(batch)]


@pytest.mark.parametrize("seed", range(8))
def test_both_ways_hand_out_the_same_and_leave_the_same(engine: Engine, seed: int) -> None:
    walk = Walk(engine, seed)
    for _ in range(60):
        for _ in range(5):
            walk.step()
        walk.receive_twice()
        walk.send_twice()
    assert walk.served > 100


@pytest.mark.parametrize(
    ("count", "groups", "most"),
    [(1, ["a"], 14), (1, [None], 14), (1, ["a", "a", "b"], 15), (10, list("abcdefghij"), 23), (10, ["a"] * 10, 14)],
)
def test_a_receive_makes_few_calls(engine: Engine, count: int, groups: list[str | None], most: int) -> None:
    q = engine.queue("q")
    engine.send(q, "first", group="z")
    engine.receive(q)
    engine.run(flows.send_messages(q, [envelope.outgoing(0, group=group) for group in groups], NATIVE))
    q.home.received = 1  # the first one looks at the settings
    with contextlib.closing(Meter(engine)) as meter:
        got = meter(operations.receive_messages(q.home, NATIVE, count, None, "", ""))
    assert len(got.messages) == count
    assert meter.calls["receive_message"] <= most


@pytest.mark.parametrize("group", [None, "a"])
@pytest.mark.parametrize("cancelled", [0, 1])
def test_a_cancelled_message_is_not_handed_out(engine: Engine, group: str | None, cancelled: int) -> None:
    q = engine.queue("q")
    engine.send(q, "other", group="b")
    sent = engine.send(q, *range(3), group=group)
    engine.run(flows.cancel(q, sent[cancelled].message_id))
    q.home.received = 1
    assert [d.body for d in engine.receive(q)] == ["other", *(n for n in range(3) if n != cancelled)]
    assert engine.counts(q) == (0, 3, 0)


@pytest.mark.parametrize(("groups", "most"), [("a", 9), ("aab", 10), ("abcdefghij", 17)])
def test_a_send_makes_few_calls(engine: Engine, groups: str, most: int) -> None:
    q = engine.queue("q")
    engine.send(q, "first", group="z")
    batch = [envelope.outgoing(0, group=group) for group in groups]
    with contextlib.closing(Meter(engine)) as meter:
        meter(operations.send_messages(q.home, batch, NATIVE))
    assert meter.calls["send_message"] <= most


@pytest.mark.parametrize("key", ["ready", "fair_ring", "group:b", "grouped"])
def test_a_send_is_refused_as_a_whole(engine: Engine, key: str) -> None:
    q = engine.queue("q")
    engine.send(q, "first", group="z")

    def stored() -> Snapshot:
        return {name: value for name, value in contents(engine, q).items() if not name.startswith("call:")}

    before = stored()
    meta, name = q.home.base + "meta", q.home.base + key
    held = engine.redis.dump(name)
    if key == "grouped":
        engine.redis.hset(meta, key, "garbage")
    else:
        engine.redis.delete(name)
        engine.redis.set(name, "garbage")
    batch = [envelope.outgoing(n, group=group) for n, group in enumerate(["a", "a", None, "b"])]
    send = operations.send_messages(q.home, batch, NATIVE)
    with pytest.raises(RqsqsError):
        engine.execute(send)
    if key == "grouped":
        engine.redis.hset(meta, key, "1")
    else:
        engine.redis.delete(name)
        if held is not None:
            engine.redis.restore(name, 0, held)
    assert stored() == before
    engine.execute(send)
    assert engine.bodies(q) == ["first", 0, 1, 2, 3]
