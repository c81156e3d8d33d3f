"""`special`, `plain`, `sends` and `quick` of meta, which sends and receives read instead of the settings: whatever
happens to a queue, they say what is derived from all of its settings."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping
from typing import Any

import pytest

from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.flows.topology import refresh
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow
from rqsqs.errors import MessageNotAvailable, MoveTaskRefused
from rqsqs.limits import NATIVE
from rqsqs.models import FailedEntry
from tests.lua.conftest import Engine, policy
from tests.lua.outcomes import dead_letter, requeue, retry

STEPS = 250
DERIVED = ("special", "plain", "sends", "quick")
VALUES: Mapping[str, list[str | None]] = {
    "VisibilityTimeout": ["0", "7", "43200"],
    "MessageRetentionPeriod": ["60", "345600", "1209600"],
    "MaximumMessageSize": ["1024", "9000", "1048576"],
    "DelaySeconds": ["0", "0", "3"],
    "Metrics": [None, "full"],
    "Timeline": [None, None, "4096"],
    "DeduplicationWindow": [None, "60"],
}
OF_FIFO: Mapping[str, list[str | None]] = {
    "ContentBasedDeduplication": ["false", "true"],
    "DeduplicationScope": ["queue", "messageGroup"],
}


def derived(meta: Mapping[str, str], is_fifo: bool) -> dict[str, str]:
    """What these fields have to be."""
    out: dict[str, str] = {}
    delay = meta.get("DelaySeconds", "0") != "0"
    fair, partition, topology = "fair" in meta, meta.get("partition"), meta.get("topology", "")
    timeline, window, paused_groups = "Timeline" in meta, "DeduplicationWindow" in meta, "paused_groups" in meta
    is_odd = paused_groups or bool({"paused", "delays", "large", "unsorted"} & meta.keys())
    if delay or window or fair or partition or timeline or is_odd:
        out["special"] = "t" if timeline else "1"
    size = meta.get("MaximumMessageSize")
    if size and is_fifo and not (delay or window or partition or timeline or paused_groups):
        content = "c" if meta.get("ContentBasedDeduplication") == "true" else ""
        out["sends"] = content + ("g" if meta.get("DeduplicationScope") == "messageGroup" else "") + size
    if size and not (is_fifo or delay or timeline or (fair and paused_groups)):
        flags = "+" if meta.get("Metrics") == "full" else ""
        flags += f"/{topology}" if (partition or "").startswith("0/") else ""
        out["sends" if fair else "plain"] = f"{flags} {size}" if flags else size
    if size and not (timeline or is_odd):
        times = f"{meta['VisibilityTimeout']:>10}{meta['MessageRetentionPeriod']:>10}"
        out["quick"] = times + topology + ("f" if fair else "")
    return out


def check(engine: Engine, what: str) -> set[str]:
    """Of all partitions that there are. Returns which of the fields there were."""
    met: set[str] = set()
    for key in engine.redis.scan_iter(f"{engine.transport.space.prefix}:*:meta", count=1000):
        meta = {field.decode(): value.decode() for field, value in engine.redis.hgetall(key).items()}
        found = {field: meta[field] for field in DERIVED if field in meta}
        assert found == derived(meta, key.endswith(b".fifo:meta")), (what, key)
        met |= found.keys()
    return met


class Walk:
    def __init__(self, engine: Engine, name: str, seed: int) -> None:
        self.engine, self.draw, self.name = engine, random.Random(seed), name
        suffix = ".fifo" if name.endswith(".fifo") else ""
        self.dead, self.other = engine.queue(f"dead{suffix}"), engine.queue(f"other{suffix}")
        self.q = engine.queue(name, self.dead.name)
        self.values = {**VALUES, **OF_FIFO} if suffix else VALUES
        self.partitions = 1
        self.got: list[tuple[QueueRef, Delivery]] = []

    def do(self, flow: Flow[Any]) -> Any:
        with contextlib.suppress(MessageNotAvailable, MoveTaskRefused):
            return self.engine.run(flow)

    def group(self) -> str | None:
        return self.draw.choice(["a", "b"] if self.q.is_fifo else [None, None, None, "a", "b"])

    def configure(self, q: QueueRef) -> None:
        field = self.draw.choice(
            sorted(self.values.keys() - ({"DeduplicationScope"} if self.partitions > 1 else set()))
        )
        self.do(flows.set_attributes(q, {field: self.draw.choice(self.values[field])}, NATIVE))

    def attach(self, _: QueueRef) -> None:
        redrive = self.draw.choice([None, policy(self.dead.name, 1), policy(self.other.name, 2)])
        self.do(flows.set_attributes(self.q, {"RedrivePolicy": redrive}, NATIVE))

    def partition(self, _: QueueRef) -> None:
        if self.partitions < 3 and self.draw.random() < 0.3:
            self.partitions += 1
            scope = {"DeduplicationScope": "messageGroup"} if self.q.is_fifo else {}
            self.do(flows.set_attributes(self.q, {"Partitions": str(self.partitions), **scope}, NATIVE))
            self.do(refresh(self.q))

    def send(self, q: QueueRef) -> None:
        body = self.draw.choice(["small"] * 5 + ["x" * 5000]) + str(self.draw.random())
        delay_ms = self.draw.choice([None] * 6 + [500])
        sent = self.engine.send(q, body, group=self.group(), delay_ms=delay_ms)
        assert all(not isinstance(each, FailedEntry) or len(body) > 1024 for each in sent)

    def receive(self, q: QueueRef) -> None:
        got = self.engine.receive(q, self.draw.choice([1, 10]), self.draw.choice([None, 0, 1000]))
        self.got += [(q, d) for d in got]

    def release(self, _: QueueRef) -> None:
        if self.got:
            q, d = self.got.pop()
            self.do(flows.release(q, [self.draw.choice([requeue, retry, dead_letter])(d)]))

    def change(self, _: QueueRef) -> None:
        """Reschedule a message, or cancel it."""
        if self.got:
            due_ms = self.engine.clock.ms + 2000
            q, d = self.got.pop()
            self.do(self.draw.choice([flows.cancel(q, d.message_id), flows.reschedule(q, d.message_id, due_ms)]))

    def pause(self, q: QueueRef) -> None:
        group = self.draw.choice([None, self.group()])
        self.do(flows.pause(q, resume=self.draw.random() < 0.6, group=group))

    def move(self, _: QueueRef) -> None:
        self.do(flows.start_move(self.dead, self.draw.choice([None, self.other])))

    def purge(self, q: QueueRef) -> None:
        self.do(flows.purge_queue(q, NATIVE))

    def delete_and_create(self, _: QueueRef) -> None:
        self.do(flows.delete_queue(self.q, NATIVE))
        self.got, self.partitions = [], 1
        self.q = self.engine.queue(self.name, self.dead.name)
        self.do(flows.create_queue(self.q, {}, NATIVE))  # there is one

    def advance(self, _: QueueRef) -> None:
        self.engine.clock.advance_ms(self.draw.choice([1, 1000, 5000, 100_000]))

    def run(self) -> set[str]:
        steps = [
            *[self.send, self.receive] * 5, *[self.configure, self.advance] * 4, *[self.pause, self.purge] * 2,
            self.attach, self.partition, self.release, self.change, self.move, self.delete_and_create,
        ]  # fmt: skip
        met = set()
        for _ in range(STEPS):
            step = self.draw.choice(steps)
            step(self.draw.choice([self.q, self.q, self.dead]))
            met |= check(self.engine, step.__name__)
        return met


@pytest.mark.either_server
@pytest.mark.parametrize("seed", [1, 2])
def test_they_follow_all_that_happens(engine: Engine, name: str, seed: int) -> None:
    met = Walk(engine, name, seed).run()
    assert met == {"special", "quick", "sends"} | (set() if name.endswith(".fifo") else {"plain"})


@pytest.mark.parametrize("action", ["send", "receive"])
@pytest.mark.parametrize("edit", ["a pause", "a time", "none of them", "another form"])
def test_a_process_that_looks_at_the_settings_mends_them(engine: Engine, name: str, action: str, edit: str) -> None:
    """What another program, or a version that did not know of these fields, has written."""
    q = engine.queue(name, Metrics="full")
    meta = q.home.base + "meta"
    if edit == "a pause":
        engine.redis.hset(meta, "paused", "1")
    elif edit == "a time":
        engine.redis.hset(meta, "VisibilityTimeout", "5")
    elif edit == "none of them":
        engine.redis.hdel(meta, *DERIVED)
    else:
        engine.redis.hset(meta, "special", "2")
        engine.redis.hset(meta, "sends" if q.is_fifo else "plain", "100" if q.is_fifo else "1048576+")
    if action == "send":
        engine.send(q, "x" * 2000, group="g" if q.is_fifo else None)
    else:
        engine.receive(q)
    assert check(engine, edit)
