"""What queue.metrics() says of standard queues, against plain counting: random steps, and after each of them the keys
are read, and every message that came, went or was handed out is counted by hand."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from rqsqs import QueueMetrics
from rqsqs._core import envelope, flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.flows.topology import refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow
from rqsqs.errors import MessageNotAvailable, MoveTaskRefused
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine
from tests.lua.outcomes import dead_letter, requeue, retry
from tests.model.harness import InlineTransport

STEPS = 300
RETENTION_MS = 600_000
GROUPS = (None, None, "a", "b")
KEY = re.compile(r"(?P<id>\d{16}.{8})(?P<first>\d*)(?:/\d+/\d+/(?P<due>\d*)/(?P<moved>\d*)/[^@]*)?(?:@.*)?")
CHAIN = {"work": "dead", "dead": "grave"}
LISTS = ("ready", "group")
TOMBSTONE = 25  # characters
KEYS = [
    ("ready", ""), ("group", ":a"), ("group", ":b"), ("again", ":"), ("again", ":a"), ("again", ":b"), ("inflight", ""),
    ("delayed", ""),
]  # fmt: skip
COUNTS = (
    "sent", "received", "deleted", "deduplicated", "dead_lettered", "dead_letters", "expired", "purged", "cancelled",
    "redriven_out", "redriven_in", "damaged",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A message as the keys have it."""

    partition: Partition
    kind: str  # the list, or the ZSET
    key: str
    receives: int  # of its delivery cycle, when it is in a ZSET
    since_ms: int  # when it becomes, or became, visible

    def is_expired(self, now_ms: int) -> bool:
        due = parsed(self.key)["due"]
        return int(due or self.key[:13]) < now_ms - RETENTION_MS

    @property
    def id(self) -> str:
        return self.key[:24]

    @property
    def state(self) -> str:
        """If its time has not come."""
        return "delayed" if self.kind == "delayed" else "in_flight"


def parsed(key: str) -> dict[str, str | None]:
    found = KEY.fullmatch(key)
    assert found, key
    return found.groupdict()


def seen_in_list(p: Partition, kind: str, entries: list[bytes]) -> Iterator[Seen]:
    for key in [entry.decode() for entry in entries[::2] if len(entry) != TOMBSTONE]:
        part = parsed(key)
        yield Seen(p, kind, key, 0, int(part["moved"] or part["due"] or key[:13]))


def seen_in_set(p: Partition, kind: str, entries: list[tuple[bytes, float]]) -> Iterator[Seen]:
    for member, score in entries:
        at_ms, receives = divmod(int(score), 1000)
        yield Seen(p, kind, member.decode(), receives, at_ms)


Presence = dict[str, dict[str, Seen]]  # by queue and id


class Walk:
    def __init__(self, engine: Engine, seed: int, groups: Sequence[str | None] = GROUPS) -> None:
        self.engine, self.draw, self.groups = engine, random.Random(seed), groups
        self.queues: dict[str, QueueRef] = {}
        for name, most in (("grave", 1), ("dead", 1), ("work", 2), ("other", 1)):
            retention = {"MessageRetentionPeriod": str(RETENTION_MS // 1000)}
            self.queues[name] = engine.queue(name, CHAIN.get(name), most, **retention)
        self.seen = self.look()
        self.counted: dict[str, Counter[str]] = {name: Counter() for name in self.queues}
        self.dwell: dict[str, Counter[int]] = {name: Counter() for name in self.queues}
        self.bodies = itertools.count()
        self.got: dict[str, list[Delivery]] = {name: [] for name in self.queues}
        self.lost: set[str] = set()  # ids of messages whose records are gone
        self.paused: set[tuple[str, str]] = set()
        self.partitions = 1

    def look(self) -> Presence:
        """All messages there are."""
        tags = {p.tag for q in self.queues.values() for p in q.own}  # a dead-letter queue has shards under the others'
        places = [
            (name, p, kind, p.base + kind + suffix)
            for name, q in self.queues.items()
            for p in map(q.partition, sorted(tags))
            for kind, suffix in KEYS
        ]
        pipe = self.engine.redis.pipeline(transaction=False)
        for _, _, kind, key in places:
            if kind in LISTS:
                pipe.lrange(key, 0, -1)
            else:
                pipe.zrange(key, 0, -1, withscores=True)
        found: Presence = {name: {} for name in self.queues}
        for (name, p, kind, _), entries in zip(places, pipe.execute(), strict=True):
            for seen in seen_in_list(p, kind, entries) if kind in LISTS else seen_in_set(p, kind, entries):
                assert seen.id not in found[name]
                found[name][seen.id] = seen
        return found

    def do(self, flow: Flow[Any], why_gone: Callable[[str, Seen], str] | None = None) -> Any:
        """Run a flow. Messages that went to a dead-letter queue are counted, others by what `why_gone(queue, as it
        was)` says; nothing goes without it."""
        answer = None
        with contextlib.suppress(MessageNotAvailable, MoveTaskRefused):
            answer = self.engine.run(flow)
        before, self.seen = self.seen, self.look()
        for name in self.queues:
            for id in before[name].keys() - self.seen[name].keys():
                assert why_gone is not None
                if name in CHAIN and id in self.seen[CHAIN[name]]:
                    self.counted[name]["dead_lettered"] += 1
                    self.counted[CHAIN[name]]["dead_letters"] += 1
                else:
                    self.counted[name][why_gone(name, before[name][id])] += 1
        return answer

    def was_lost(self, _: str, seen: Seen) -> str:
        assert seen.id in self.lost
        return "damaged"

    # Steps

    def send(self, name: str) -> None:
        batch = []
        for _ in range(self.draw.choice([1, 2, 5])):
            options: dict[str, Any] = {"group": self.draw.choice(self.groups)}
            if self.draw.random() < 0.3:
                options["delay_ms"] = self.draw.choice([1000, 20_000, 1_000_000])
            if self.draw.random() < 0.2:
                options["dedup_id"] = self.draw.choice("xyz")
            batch.append(envelope.outgoing(next(self.bodies), **options))
        before = len(self.seen[name])
        answers = self.do(flows.send_messages(self.queues[name], batch, NATIVE))
        duplicates = sum([a.is_duplicate for a in answers])
        assert len(self.seen[name]) - before == len(batch) - duplicates
        self.counted[name] += Counter(sent=len(batch) - duplicates, deduplicated=duplicates)

    def receive(self, name: str) -> None:
        q, now_ms, before = self.queues[name], self.engine.clock.ms, self.seen[name]
        count, visibility_ms = self.draw.choice([1, 2, 10]), self.draw.choice([0, 0, 1000, 10_000])
        is_ack = self.draw.random() < 0.2
        is_ahead = not is_ack and self.draw.random() < 0.5
        finished = self.some_handles(name) if not is_ack and self.draw.random() < 0.3 else []
        got: list[Delivery] = []

        def receive() -> Flow[None]:
            if is_ahead:
                got.extend((yield from flows.finish_and_receive(q, finished, count, visibility_ms, 0, 0, slots=2)))
            elif finished:
                handles = [d.receipt_handle for d in finished]
                answer = yield from flows.delete_and_receive(q, NATIVE, handles, count, visibility_ms, 0)
                got.extend(answer[0])
            else:
                got.extend((yield from flows.receive_messages(q, NATIVE, count, visibility_ms, 0, delete=is_ack)))

        def why_gone(of: str, seen: Seen) -> str:
            assert of == name
            if seen.id in {d.key[:24] for d in got} or seen.key in {d.key for d in finished}:
                return "deleted"
            return "expired" if seen.is_expired(now_ms) else self.was_lost(of, seen)

        self.do(receive(), why_gone)
        for d in got:
            was = before[d.key[:24]]
            self.counted[name]["received"] += 1
            if was.receives == 0:
                self.dwell[name][(now_ms - was.since_ms).bit_length()] += 1
            else:
                self.counted[name][f"r{min(was.receives + 1, 4)}"] += 1
        if not is_ack:
            self.got[name] += got

    def some_handles(self, name: str) -> list[Delivery]:
        recent = self.got[name][-8:]
        return self.draw.sample(recent, min(len(recent), self.draw.choice([1, 2, 3])))

    def delete(self, name: str) -> None:
        handles = [d.receipt_handle for d in self.some_handles(name)]
        self.do(flows.delete_messages(self.queues[name], handles, NATIVE), lambda *_: "deleted")

    def change_visibility(self, name: str) -> None:
        changes = [(d.receipt_handle, self.draw.choice([0, 5000])) for d in self.some_handles(name)]
        self.do(flows.change_visibility(self.queues[name], changes, NATIVE))

    def beat(self, name: str) -> None:
        self.do(flows.beat(self.queues[name], self.some_handles(name), 5000, "c", {"state": "running"}, 5000))

    def release(self, name: str) -> None:
        outcomes = []
        for d in self.some_handles(name):
            kind = self.draw.choice([requeue, requeue, retry, dead_letter])
            outcomes.append(retry(d, chance=self.draw.choice([0, 1_000_000])) if kind is retry else kind(d))
        self.do(flows.release(self.queues[name], outcomes), self.was_lost)

    def some_message(self, name: str) -> tuple[str, str | None] | None:
        """Id and group."""
        here = self.seen[name]
        if not here:
            return None
        seen = here[self.draw.choice(sorted(here))]
        return Delivery(seen.partition, seen.key, b"", "0", 1, 0).message_id, seen.key.partition("@")[2] or None

    def cancel(self, name: str) -> None:
        if chosen := self.some_message(name):
            flow = flows.cancel(self.queues[name], chosen[0], group=self.draw.choice([None, chosen[1]]))
            self.do(flow, lambda _, seen: "damaged" if seen.id in self.lost else "cancelled")

    def reschedule(self, name: str) -> None:
        if chosen := self.some_message(name):
            due_ms = self.engine.clock.ms + self.draw.choice([-1, 500, 5000, 1_000_000])
            group = self.draw.choice([None, chosen[1]])
            self.do(flows.reschedule(self.queues[name], chosen[0], due_ms, group), self.was_lost)

    def move(self, _: str) -> None:
        source = self.draw.choice(["dead", "grave"])
        destination = self.queues["other"] if self.draw.random() < 0.5 else None
        chosen = self.some_message(source) if self.draw.random() < 0.5 else None
        before = self.seen
        if chosen is None:
            self.do(flows.start_move(self.queues[source], destination), lambda *_: "redriven_out")
        else:
            self.do(flows.move_chosen(self.queues[source], [chosen], destination), lambda *_: "redriven_out")
        for name in self.queues:
            self.counted[name]["redriven_in"] += len(self.seen[name].keys() - before[name].keys())

    def purge(self, name: str) -> None:
        if self.draw.random() < 0.3:
            self.do(flows.purge_queue(self.queues[name], NATIVE), lambda *_: "purged")

    def pause(self, name: str) -> None:
        group = self.draw.choice("ab")
        self.do(flows.pause(self.queues[name], resume=(name, group) in self.paused, group=group))
        self.paused ^= {(name, group)}

    def lose_record(self, _: str) -> None:
        """Of a message of the queue from which nothing is moved."""
        held = [seen for seen in self.seen["work"].values() if seen.kind not in LISTS]
        if held:
            seen = self.draw.choice(held)
            self.engine.redis.hdel(seen.partition.base + "store", seen.key)
            self.lost.add(seen.id)

    def add_partition(self, _: str) -> None:
        if self.partitions < 3 and self.draw.random() < 0.1:
            self.partitions += 1
            self.do(flows.set_attributes(self.queues["work"], {"Partitions": str(self.partitions)}, NATIVE))
            self.do(refresh(self.queues["work"]))

    def advance(self, _: str) -> None:
        self.engine.clock.advance_ms(self.draw.choice([1, 100, 1000, 1000, 5000, 5000, 20_000, 200_000]))

    def check(self, what: str) -> None:
        """Compare. Reading drops what is expired."""
        now_ms = self.engine.clock.ms

        def read() -> Flow[dict[str, QueueMetrics]]:
            found = {}
            for name, q in self.queues.items():
                found[name] = yield from flows.metrics(q)
            return found

        def why_gone(_: str, seen: Seen) -> str:
            assert seen.is_expired(now_ms)
            return "expired"

        for name, m in self.do(read(), why_gone).items():
            counted = self.counted[name]
            assert {c: getattr(m, c) for c in COUNTS} == {c: counted[c] for c in COUNTS}, (what, name)
            assert m.redelivered == (counted["r2"], counted["r3"], counted["r4"]), (what, name)
            assert {power: n for power, n in enumerate(m.dwell.counts) if n} == dict(self.dwell[name]), (what, name)
            there = Counter([seen.state if seen.since_ms > now_ms else "visible" for seen in self.seen[name].values()])
            assert (m.visible, m.in_flight, m.delayed) == (there["visible"], there["in_flight"], there["delayed"])

    def run(self) -> None:
        steps = [
            *[self.send, self.advance] * 4, *[self.receive] * 7, *[self.release, self.delete] * 3,
            *[self.cancel, self.reschedule, self.move] * 2, self.change_visibility, self.beat, self.purge, self.pause,
            self.lose_record, self.add_partition,
        ]  # fmt: skip
        for _ in range(STEPS):
            step = self.draw.choice(steps)
            step(self.draw.choice(["work", "work", "work", "dead", "dead", "grave", "other"]))
            self.check(step.__name__)


@pytest.mark.either_server
@pytest.mark.parametrize("is_lossy", [False, True], ids=["", "answers are lost"])
@pytest.mark.parametrize(("seed", "groups"), [(1, GROUPS), (2, GROUPS), (3, (None,))], ids=["1", "2", "no groups"])
def test_the_counts_are_those_of_plain_counting(
    engine: Engine, seed: int, groups: Sequence[str | None], is_lossy: bool
) -> None:
    if is_lossy:
        prefix = engine.transport.space.prefix
        engine.transport.close()
        engine.transport = InlineTransport(engine.url, prefix, engine.clock, is_lossy=True)
    walk = Walk(engine, seed, groups)
    walk.run()
    happened = sum(walk.counted.values(), Counter[str]())
    assert len([count for count in COUNTS if happened[count]]) > 8
