"""The largest requests that clients can make, of every script, and a meter that lets the server count what they do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from rqsqs._core import envelope, flows, ids, operations
from rqsqs._core.alarm_records import AlarmEvaluation
from rqsqs._core.flows import alarm_histories, alarms, event_rules, partitions, server_memory
from rqsqs._core.flows.alarm_states import read_all
from rqsqs._core.flows.timeline import timeline
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import AtOnce, IsWatched, Operation, Sleep, Spawn
from rqsqs._core.operations import alarms as operations_of_alarms
from rqsqs._core.operations import browse as browsing
from rqsqs._core.operations import event_rules as operations_of_rules
from rqsqs._core.operations import events, leases, metric_history, moves, queues, sessions
from rqsqs._io import protocol
from rqsqs._io.sync import clients
from rqsqs.alarm_models import Alarm, AlarmEvent
from rqsqs.event_models import Actor
from rqsqs.event_rule_models import EventRule
from rqsqs.limits import NATIVE
from rqsqs.metric_models import Histogram, QueueMetrics
from rqsqs.models import Failure, State
from tests.lua.conftest import Engine, policy

MIB = 1024 * 1024
LARGEST = 3 * MIB + 1024  # message
OUTSIDE = set(b"evalsha info script|load cluster|slots client|setinfo hello ping readonly mget replconf".split())
COMMAND = re.compile(rb"^cmdstat_([^:]+):calls=(\d+),usec=(\d+)", re.MULTILINE)
MANY = 3000  # groups, tags, sources ...


@dataclass
class Meter:
    """Runs operations and flows, and notes the longest call of each script: redis calls, bytes of arguments or of the
    reply, and microseconds."""

    engine: Engine
    calls: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    usec: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        masters = [redis.Redis.from_url(url) for url in clients.master_urls(self.engine.url)]
        self.connections = [master.connection_pool.get_connection() for master in masters]

    def close(self) -> None:
        """Close its own connections, from which it takes INFO: redis-py takes its time to read that."""
        for connection in self.connections:
            connection.disconnect()

    def __call__(self, what: Any) -> Any:
        if isinstance(what, Operation):
            return self.execute(what)
        try:
            step = next(what)
            while True:
                try:
                    result = self.other(step)
                except Exception as e:
                    step = what.throw(e)
                else:
                    step = what.send(result)
        except StopIteration as end:
            return end.value

    def other(self, step: Any) -> Any:
        if isinstance(step, Operation):
            return self.execute(step)
        if isinstance(step, Spawn):
            return self(step.flow())
        if isinstance(step, AtOnce):
            return [self.execute(operation) for operation in step.operations]
        assert isinstance(step, IsWatched | Sleep), step
        return False

    def execute(self, operation: Operation) -> Any:
        calls, usec = self.count()
        replies: list[Any] = []
        parse = operation.parse

        def read(reply: Any) -> Any:
            replies.append(protocol._bytes_of(reply))
            return reply if parse is None else parse(reply)

        operation.parse = read
        try:
            return self.engine.execute(operation)
        finally:
            script, now = operation.script, self.count()
            sent = sum([len(arg) for arg in operation.args if isinstance(arg, str | bytes)])
            self.calls[script] = max(self.calls.get(script, 0), now[0] - calls)
            self.usec[script] = max(self.usec.get(script, 0), now[1] - usec)
            self.bytes[script] = max(self.bytes.get(script, 0), sent, *replies or [0])

    def count(self) -> tuple[int, int]:
        """Redis calls so far, those inside scripts, and microseconds of all scripts."""
        calls = usec = 0
        for connection in self.connections:
            connection.send_command("INFO", "commandstats")
            for command, n, us in COMMAND.findall(connection.read_response()):
                if command not in OUTSIDE:
                    calls += int(n)
                elif command == b"evalsha":
                    usec += int(us)
        return calls, usec


Scenario = Callable[[Engine, Meter, QueueRef], Any]
SCENARIOS: dict[str, tuple[str, Scenario]] = {}


def scenario(covers: str) -> Callable[[Scenario], Scenario]:
    """A scenario that calls these scripts; "standard" and "fifo" come from its queue."""

    def note(function: Scenario) -> Scenario:
        SCENARIOS[function.__name__] = (covers, function)
        return function

    return note


def attributes_of(name: str) -> dict[str, str]:
    """Of a queue for scenarios."""
    attributes = {"MaximumMessageSize": str(4 * MIB)}
    return {**attributes, "DeduplicationScope": "messageGroup"} if name.endswith(".fifo") else attributes


def batch(q: QueueRef, n: int, size: int = 1, groups: int = 0, **options: Any) -> list[Any]:
    """n messages, each in a group of its own or of so many."""
    names = [f"g{i % groups if groups else i}" for i in range(n)] if q.is_fifo or groups >= 0 else [None] * n
    return [
        envelope.outgoing(b"x" * size, group=group, **{k: v(i) if callable(v) else v for k, v in options.items()})
        for i, group in enumerate(names)
    ]


def fill(engine: Engine, q: QueueRef, n: int, **options: Any) -> None:
    for start in range(0, n, 1000):
        some = batch(q, min(1000, n - start), **options)
        engine.run(flows.send_messages(q, some, NATIVE))


def drain(engine: Engine, meter: Meter, q: QueueRef, visibility_ms: int | None = None, **options: Any) -> list[Any]:
    found: list[Any] = []
    while got := meter(flows.receive_messages(q, NATIVE, 1000, visibility_ms, **options)):
        found += got
        if visibility_ms == 0:
            break
    return found


@scenario("send_message send_message_fifo")
def sending(engine: Engine, meter: Meter, q: QueueRef) -> None:
    def send(**options: Any) -> None:
        assert len(meter(flows.send_messages(q, batch(q, 1000, **options), NATIVE))) == 1000

    if not q.is_fifo:
        send(groups=-1)
        send(groups=-1, delay_ms=5)
    send(groups=1)
    send(groups=1, dedup_id=str, dedup_window_ms=100_000)
    send(dedup_id=lambda i: f"a{i}", dedup_window_ms=600_000)
    send(dedup_id=lambda i: f"a{i}", dedup_window_ms=600_000)  # duplicates
    engine.clock.advance_ms(700_000)
    send(dedup_id=lambda i: f"a{i}", dedup_window_ms=600_000)  # of a past that the keys outlived
    send(dedup_id=lambda i: f"b{i}", delay_ms=lambda i: i + 1)
    send(groups=300, due_ms=lambda i: engine.clock.ms + i)
    engine.run(flows.pause(q, resume=False, group="g1"))
    send(dedup_id=lambda i: f"c{i}", dedup_window_ms=600_000)
    engine.run(flows.set_attributes(q, {"DelaySeconds": "3"}, NATIVE))
    send(dedup_id=lambda i: f"d{i}", dedup_window_ms=600_000)
    meter(flows.send_messages(q, batch(q, 7, size=3 * MIB), NATIVE))


@scenario("read_timeline")
def timelines(engine: Engine, meter: Meter, q: QueueRef) -> None:
    engine.run(flows.set_attributes(q, {"Timeline": str(8 * MIB)}, NATIVE))
    sent = [
        engine.run(flows.send_messages(q, batch(q, 1000, groups=-1 if not q.is_fifo else 5), NATIVE)) for _ in range(40)
    ]
    for same in (sent[0][0].message_id, sent[-1][-1].message_id):
        assert [step.kind for step in meter(timeline(q, same)).steps] == ["sent"]
    engine.run(flows.set_attributes(q, {"Timeline": "16384"}, NATIVE))
    drain(engine, meter, q, delete=True)


@scenario("receive_message receive_message_fifo delete_message delete_message_fifo")
def receiving(engine: Engine, meter: Meter, q: QueueRef) -> None:
    fill(engine, q, 2000, groups=10 if q.is_fifo else -1)
    drain(engine, meter, q, 1000)
    engine.clock.advance_ms(2000)
    deleted = drain(engine, meter, q)  # expired
    meter(flows.delete_messages(q, [d.receipt_handle for d in reversed(deleted)], NATIVE))
    fill(engine, q, 2000)
    drain(engine, meter, q, 1000)
    engine.clock.advance_ms(2000)
    drain(engine, meter, q, 0)
    engine.clock.advance_ms(1)
    deleted = drain(engine, meter, q, 1000)
    engine.clock.advance_ms(2000)
    meter(flows.delete_messages(q, [d.receipt_handle for d in deleted], NATIVE))
    fill(engine, q, 1000, delay_ms=lambda i: i + 1)
    engine.clock.advance_ms(2000)
    drain(engine, meter, q, delete=True)
    fill(engine, q, 1000)
    received = drain(engine, meter, q)
    fill(engine, q, 1000)
    meter(flows.delete_and_receive(q, NATIVE, [d.receipt_handle for d in received], 1000))
    assert engine.redis.ping()


@scenario("receive_message receive_message_fifo")
def receiving_what_is_gone_or_dead(engine: Engine, meter: Meter, q: QueueRef) -> None:
    dead = engine.queue("dead.fifo" if q.is_fifo else "dead", MaximumMessageSize=str(4 * MIB))
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead.name, 1)}, NATIVE))
    fill(engine, q, 3000)
    drain(engine, meter, q, 1000)
    engine.clock.advance_ms(2000)
    drain(engine, meter, q)  # dies
    assert engine.counts(dead)[0] > 500
    engine.run(flows.set_attributes(dead, {"MessageRetentionPeriod": "60"}, NATIVE))
    engine.clock.advance_ms(61_000)
    drain(engine, meter, dead)  # too old
    fill(engine, dead, 500, groups=1)
    fill(engine, dead, 500, groups=1, delay_ms=1000)
    engine.clock.advance_ms(62_000)
    drain(engine, meter, dead)


@scenario("receive_message receive_message_fifo")
def receiving_large_ones(engine: Engine, meter: Meter, q: QueueRef) -> None:
    fill(engine, q, 9, size=3 * MIB)
    drain(engine, meter, q, 1000)
    engine.clock.advance_ms(2000)
    drain(engine, meter, q, 1000)
    engine.clock.advance_ms(2000)
    drain(engine, meter, q, delete=True)
    assert engine.counts(q) == (0, 0, 0)
    fill(engine, q, 9, size=MIB, groups=1)
    assert drain(engine, meter, q)


@scenario("change_message_visibility change_message_visibility_fifo release_message release_message_fifo beat_consumer")
def settling(engine: Engine, meter: Meter, q: QueueRef) -> None:
    dead = engine.queue("dead.fifo" if q.is_fifo else "dead", MaximumMessageSize=str(4 * MIB))
    fill(engine, q, 3000)
    held = drain(engine, meter, q)
    for ms in (1000, 5000, 0):
        meter(flows.change_visibility(q, [(d.receipt_handle, ms) for d in held], NATIVE))
    engine.clock.advance_ms(1)
    held = drain(engine, meter, q)
    meter(flows.beat(q, held, 60_000, "c", {"state": "running"}, 60_000))
    cause = Failure("ValueError", "no" * 2000, "t" * 2000, "c", 1, 1, 1)
    meter(flows.release(q, [operations.Outcome(d, "retry", cause, ("ValueError",), 5) for d in held]))
    engine.clock.advance_ms(10)
    held = drain(engine, meter, q)
    meter(flows.release(q, [operations.Outcome(d, "requeue") for d in held]))
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead.name, 1)}, NATIVE))
    engine.clock.advance_ms(1)
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead.name, 100)}, NATIVE))
    held = drain(engine, meter, q)
    assert set(meter(flows.release(q, [operations.Outcome(d, "dead-letter", cause) for d in held]))) == {-3}
    fill(engine, q, 9, size=MIB)
    held = drain(engine, meter, q)
    meter(flows.release(q, [operations.Outcome(d, "retry", cause) for d in held]))


@scenario("receive_message release_message change_message_visibility delete_message")
def alternating(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """What became visible again, and what was delayed, stands between what was not received yet."""
    if q.is_fifo:
        return
    for _ in range(500):
        engine.send(q, "delayed", delay_ms=1)
        engine.clock.advance_ms(2)
        engine.send(q, "at once")
        engine.clock.advance_ms(1)
    held = drain(engine, meter, q)
    assert len(held) == 1000
    meter(flows.change_visibility(q, [(d.receipt_handle, 2 * i) for i, d in enumerate(held)], NATIVE))
    for _ in range(1000):
        engine.send(q, "between")
        engine.clock.advance_ms(2)
    held = drain(engine, meter, q)
    assert len(held) == 2000
    meter(flows.release(q, [operations.Outcome(d, "requeue") for d in held if d.body == "between"]))
    meter(flows.delete_messages(q, [d.receipt_handle for d in held], NATIVE))


@scenario("receive_message release_message change_message_visibility delete_message beat_consumer begin_message")
def settling_what_is_visible_again(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """Each in a group of its own, to which receives brought it, and under a receipt from before."""
    dead = engine.queue("dead.fifo" if q.is_fifo else "dead", MaximumMessageSize=str(4 * MIB))
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead.name, 1000)}, NATIVE))

    def returned() -> list[Any]:
        fill(engine, q, 1000, size=5000)
        held = drain(engine, meter, q, 1)
        engine.clock.advance_ms(5)
        for _ in range(20):
            engine.receive(q, 1, 0)
        return held

    cause = Failure("ValueError", "", "", "c", 1, 1, 1)
    meter(flows.beat(q, returned(), 60_000, "c", {"state": "running"}, 60_000))
    meter(flows.begin(returned()[0], 60_000))
    meter(flows.change_visibility(q, [(d.receipt_handle, 9000) for d in returned()], NATIVE))
    for kind in ("requeue", "retry", "dead-letter"):
        held = returned()
        meter(flows.release(q, [operations.Outcome(d, kind, cause, ("ValueError",), 5) for d in held]))
    held = returned()
    fill(engine, q, 1000)
    meter(flows.delete_and_receive(q, NATIVE, [d.receipt_handle for d in held], 1000))
    meter(flows.delete_messages(q, [d.receipt_handle for d in returned()], NATIVE))


@scenario("receive_message receive_message_fifo release_message release_message_fifo")
def giving_back(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """Nobody took the answer."""
    for groups in (-1, 0):
        fill(engine, q, 1000, groups=groups)
        for _ in range(2):
            operation = operations.receive_messages(q.home, NATIVE, 1000, None, "", "")
            got = meter(operation)
            assert operation.undo is not None
            for undo in operation.undo(got):
                meter(undo)
        assert engine.counts(q)[1] == 0


@scenario("receive_message")
def receiving_without_records(engine: Engine, meter: Meter, q: QueueRef) -> None:
    if not q.is_fifo:
        fill(engine, q, 20_000, groups=-1)
        drain(engine, meter, q, 1)
        engine.clock.advance_ms(5)
        engine.redis.delete(q.home.base + "store")
        assert not drain(engine, meter, q)


@scenario("count_messages")
def counting_what_is_too_old(engine: Engine, meter: Meter, q: QueueRef) -> None:
    engine.run(flows.set_attributes(q, {"MessageRetentionPeriod": "60"}, NATIVE))
    for delay_ms in (None, 1):
        fill(engine, q, 2000, groups=200, delay_ms=delay_ms)
        engine.clock.advance_ms(1)
    for _ in range(30):
        engine.receive(q, 1, 0)  # brings what is due to its groups
    engine.clock.advance_ms(61_000)
    meter(flows.counts(q))
    assert engine.counts(q) == (0, 0, 0)


@scenario(
    "move_messages take_messages put_messages clear_outbox end_handover start_message_move_task "
    "update_message_move_task list_message_move_tasks"
)
def moving(engine: Engine, meter: Meter, q: QueueRef) -> None:
    dead = engine.queue("dead.fifo" if q.is_fifo else "dead", MaximumMessageSize=str(4 * MIB))
    other = engine.queue("other.fifo" if q.is_fifo else "other", MaximumMessageSize=str(4 * MIB))
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead.name, 1)}, NATIVE))

    def die(n: int, **options: Any) -> None:
        fill(engine, q, n, **options)
        while engine.receive(q, 1000, 1000):
            pass
        engine.clock.advance_ms(2000)
        while engine.receive(q, 1000):
            pass

    die(500)
    held = engine.receive(dead, 250, 1000)
    engine.clock.advance_ms(2000)
    assert held
    shard = dead.partition(q.home.tag)
    name, _, _ = meter(moves.take(shard, 1000, other.name, "batch:1:1"))
    meter(moves.clear(shard, name, "back"))
    meter(moves.clear(shard, name, "end"))
    while engine.receive(dead, 1000, 1000):
        pass
    engine.clock.advance_ms(2000)
    meter(flows.start_move(dead, other))
    die(500)
    meter(flows.start_move(dead))
    die(3, size=3 * MIB)
    meter(flows.start_move(dead))
    die(3, size=3 * MIB)
    meter(flows.start_move(dead, other))
    for _ in range(12):
        engine.clock.advance_ms(1)
        meter(flows.start_move(dead))
    assert len(meter(flows.list_moves(dead))) == 10
    assert engine.counts(dead) == (0, 0, 0)


@scenario("cancel_message cancel_message_fifo find_message find_message_fifo")
def cancelling_among_large_groups(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """In the last of a hundred groups, whose lists are not sorted and hold what may be large."""
    sent: list[Any] = []
    for _ in range(6):
        sent += engine.run(flows.send_messages(q, batch(q, 1000, groups=100), NATIVE))
    while not q.is_fifo and engine.redis.llen(q.home.base + "ready"):
        engine.receive(q, 1, 0)  # brings messages to their groups
    pipeline = engine.redis.pipeline(transaction=False)
    for _ in range(2 * 40):
        pipeline.lmove(f"{q.home.base}group:g99", f"{q.home.base}group:g99", "LEFT", "RIGHT")
    pipeline.hset(q.home.base + "meta", mapping={"large": 4 * MIB, "unsorted": 1})
    pipeline.execute()
    assert meter(flows.find(q, sent[99].message_id))
    assert not meter(flows.find(q, sent[99].message_id[:-1] + "f" if q.is_fifo else sent[99].message_id[:-4] + "ffff"))
    assert meter(flows.cancel(q, sent[99].message_id))
    assert engine.counts(q) == (5999, 0, 0)


@scenario("cancel_message cancel_message_fifo")
def cancelling_what_is_not_there(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """In a hundred large groups, of which some have messages that were received before."""
    fill(engine, q, 20_000, groups=100)
    engine.receive(q, 1000, 0)
    meta = q.home.base + "meta"
    engine.redis.hset(meta, "unsorted", "1")
    names = engine.run(flows.groups(q))
    assert len(names) == 100
    for key in ("0" * 24, "9" * 24):  # before all others, and behind them
        for large in (True, False):
            engine.redis.hset(meta, "large", "1") if large else engine.redis.hdel(meta, "large")
            left = names
            while isinstance(answer := meter(browsing.cancel(q.home, key, left, None)), list):
                left = left[answer[0] :]
            assert answer == 0


@scenario("cancel_message cancel_message_fifo clear_outbox read_chosen_messages")
def moving_chosen_ones(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """Far from the head, in the last of many groups, in a list that is not sorted."""
    dead = engine.queue("dead.fifo" if q.is_fifo else "dead")
    other = engine.queue("other.fifo" if q.is_fifo else "other")
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead.name, 1)}, NATIVE))
    fill(engine, q, 3000, groups=200)
    while engine.receive(q, 1000, 0):
        pass
    shard = dead.partition(q.home.tag)
    for p in (shard, other.home):
        engine.redis.hdel(p.base + "meta", "large")  # as if all were as large as they may be
    found, _ = engine.run(flows.browse(dead, "visible", "", 1000))
    for d in (found[0], found[500], found[-1]):
        for target in (None, other):
            meter(flows.move_chosen(dead, [(d.message_id, None)], target))
    key, group = found[300].stamp, [found[300].group_name]
    many = [(f"{n:036}", "g" * 128) for n in range(1000)]
    meter(moves.start(dead, "task", "", None, 1000, chosen=many))
    assert len(meter(moves.read_chosen(dead))) == 1000
    meter(moves.update(dead, "task", "advance", 1, settled=many[0][0]))
    meter(moves.update(dead, "task", "complete"))
    assert meter(moves.move_one(shard, key, group, other.name, "batch:1:1", ready_only=False)) == 2
    meter(moves.clear(shard, "batch:1:1", "back"))
    meter(moves.clear(shard, "batch:1:1", "end"))
    assert engine.counts(dead)[0] == 2997


@scenario("move_messages start_message_move_task")
def moving_what_is_left_of_many_groups(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """Their messages were deleted when they were visible again."""
    other = engine.queue("other.fifo" if q.is_fifo else "other")
    dead = engine.queue("dead.fifo" if q.is_fifo else "dead", other.name)
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead.name, 1)}, NATIVE))
    fill(engine, q, 3)
    engine.receive(q, 3, 0)
    engine.receive(q, 3)  # they die
    shard = dead.partition(q.home.tag)
    engine.redis.zadd(shard.base + "fair_ring", {f"e{n}": n - MANY for n in range(MANY)})
    if not q.is_fifo:
        engine.execute(queues.pause_group(shard, "some", resume=False))
    meter(flows.start_move(dead))
    assert engine.counts(q)[0] == 3


@scenario("delete_queue pause_group list_groups look_at_groups count_messages count_messages_fifo")
def emptying(engine: Engine, meter: Meter, q: QueueRef) -> None:
    for purge in (True, False):
        fill(engine, q, 2000)
        engine.receive(q, 100)
        fill(engine, q, 1000, delay_ms=10_000)
        meter(flows.pause(q, resume=False, group="g5"))
        engine.redis.sadd(q.home.base + "paused", *[f"g{n}" for n in range(MANY)])
        meter(flows.counts(q))
        meter(flows.groups(q))
        meter(flows.look_at_groups(q, [f"g{n}" for n in range(100)]))
        meter(flows.purge_queue(q, NATIVE) if purge else flows.delete_queue(q, NATIVE))


@scenario("count_messages count_messages_fifo recount_messages")
def reading_metrics(engine: Engine, meter: Meter, q: QueueRef) -> None:
    engine.run(flows.set_attributes(q, {"MessageRetentionPeriod": "3600"}, NATIVE))
    for _ in range(2):  # half of it ends below
        fill(engine, q, 3000, groups=1500)
        fill(engine, q, 3000, groups=2)
        engine.receive(q, 100, 1)
        engine.receive(q, 100, 7_000_000)
        fill(engine, q, 2000, groups=1500, delay_ms=2)
        engine.clock.advance_ms(1_900_000)
        for _ in range(30):  # brings what is due to its groups
            engine.receive(q, 10, 1)
    engine.redis.sadd(q.home.base + "paused", *[f"g{n}" for n in range(1000, MANY)])
    found = meter(flows.metrics(q))
    assert found.expired > 1000
    assert found.in_flight > 0 < found.visible
    meter(flows.metrics(q))
    assert meter(flows.doubts(q)) == []
    other = engine.queue("other.fifo" if q.is_fifo else "other")
    fill(engine, other, 2000, groups=999)
    assert meter(flows.doubts(other)) == []


@scenario(
    "browse_groups browse_messages_fifo peek_messages peek_messages_fifo cancel_message cancel_message_fifo "
    "find_duplicate find_damage"
)
def looking(engine: Engine, meter: Meter, q: QueueRef) -> None:
    sent: list[Any] = []
    for delay_ms in (None, 50_000):
        sent += engine.run(flows.send_messages(q, batch(q, 1000, delay_ms=delay_ms, dedup_id=str), NATIVE))
        engine.clock.advance_ms(400_000)
    engine.receive(q, 100)
    for state in ("visible", "in_flight", "delayed"):
        meter(flows.browse(q, state, "", 1000))
    meter(browsing.peek_group(q.home, "g500", 0, 1000) if q.is_fifo else browsing.peek(q.home, "ready", "g1", 0, 1000))
    for one in sent[999], sent[-1]:
        groups = [f"g{n}" for n in range(1000)]
        key = ids.key_of(one.message_id, q.home.node, q.is_fifo)
        assert key
        meter(browsing.cancel(q.home, key, groups[900:] if q.is_fifo else groups[999:], None))
    meter(flows.cancel(q, sent[500].message_id))
    meter(browsing.find_duplicate(q.home, q.home.dedup("=", "1"), forget=False))
    assert not meter(queues.find_damage(q.home.base + "meta"))[1]


@scenario("browse_messages_fifo peek_messages peek_messages_fifo")
def looking_at_groups(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """Where a message is takes the longest to tell of delayed ones in a long group, and of groups that are paused."""
    fill(engine, q, 1000, groups=1, delay_ms=400_000)
    engine.run(flows.send_messages(q, batch(q, 1000, delay_ms=300_000, dedup_id=str), NATIVE))
    for n in range(0, 1000, 2):
        engine.run(flows.pause(q, resume=False, group=f"g{n}"))
    states: tuple[State, ...] = ("visible", "in_flight", "delayed")
    for advance_ms in (0, 350_000, 100_000):
        engine.clock.advance_ms(advance_ms)
        for state in states:
            meter(flows.browse(q, state, "", 1000))
        meter(flows.counts(q, "g0"))
        if q.is_fifo:
            meter(browsing.peek_group(q.home, "g0", 0, 1000))
        else:
            meter(browsing.peek(q.home, "delayed", "", 0, 1000))


@scenario("browse_messages_fifo peek_messages peek_messages_fifo")
def looking_at_large_ones(engine: Engine, meter: Meter, q: QueueRef) -> None:
    for delay_ms in (None, 300_000):
        for _ in range(3):
            engine.run(flows.send_messages(q, batch(q, 1, LARGEST - 1024, 1, delay_ms=delay_ms, dedup_id=None), NATIVE))
    states: tuple[State, ...] = ("visible", "in_flight", "delayed")
    for state in states:
        meter(flows.browse(q, state, "", 1000))
    meter(flows.counts(q, "g0"))


@scenario(
    "create_queue set_queue_attributes set_queue_tags get_queue_tags get_queue register_queue list_queues "
    "forget_answer attach_source put_shard get_members set_partition list_consumers order_consumer wake_waiter "
    "mark_connection count_empty_receives"
)
def keeping(engine: Engine, meter: Meter, q: QueueRef) -> None:
    tags = {f"tag{n}": "v" * 250 for n in range(MANY)}
    other = engine.transport.queue("more.fifo" if q.is_fifo else "more")
    meter(flows.create_queue(other, {"DeduplicationScope": "messageGroup"} if q.is_fifo else {}, NATIVE, tags))
    meter(flows.set_tags(other, tags))
    assert len(meter(flows.get_tags(other))) == MANY
    meter(flows.remove_tags(other, list(tags)))
    names = [f"queue{n:05}" for n in range(MANY)]
    engine.redis.zadd(engine.transport.space.names, dict.fromkeys(names, 0))
    assert meter(flows.list_queues(engine.transport.space, "queue", "", 1000)) == names[:1000]
    engine.redis.sadd(other.home.base + "sources", *names)
    assert len(meter(flows.dead_letter_sources(other, limit=1000))) == 1000
    meter(flows.set_attributes(q, {"RedrivePolicy": policy(other.name, 5)}, NATIVE))
    meter(flows.set_attributes(other, {"Partitions": "64"}, NATIVE))
    for n in range(5):
        meter(flows.beat(other, [], 1000, f"c{n}", {"state": "running", "statistics": {}}, 60_000))
    beats = {f"w{n}": engine.clock.ms + 50_000 for n in range(MANY)}
    engine.redis.zadd(other.home.base + "heartbeats", beats)
    engine.redis.hset(other.home.base + "consumers", mapping=dict.fromkeys(beats, '{"state":"running"}'))
    assert len(meter(flows.list_consumers(other))) >= 1000
    assert meter(flows.order_consumer(other, "c1", "drain"))
    meter(operations.forget_answer(other.home.base + "call:x", -1234567))
    meter(operations.wake_waiter(other.home))
    meter(operations.count_empty_receives(other.home, 1000))
    meter(operations.watch(other.home, "w"))
    meter(operations.mark_connection(operations.watch(other.home, "w")))


@scenario("put_session read_session end_session list_sessions admit_login")
def logging_in(engine: Engine, meter: Meter, q: QueueRef) -> None:
    space = engine.transport.space
    meter(sessions.put_session(space, "s", b"x" * 4000, idle_ms=1000, longest_ms=9000))
    assert meter(sessions.read_session(space, "s", idle_ms=1000))
    for n in range(300):
        engine.execute(sessions.put_session(space, f"{n:064}", b"x" * 4000, idle_ms=n % 2 + 1, longest_ms=9000))
    meter(sessions.list_sessions(space, 0))
    meter(sessions.end_session(space, "s"))
    meter(sessions.admit_login(space, {name: sessions.Bucket(10, 5) for name in ("address", "key")}))


@scenario("append_history pack_history read_history take_lease")
def keeping_history(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """All columns change all the time, and nobody packs what is over."""
    created_ms = int(engine.redis.hget(q.home.base + "meta", "created_us") or 0) // 1000
    meter(leases.take_lease(engine.transport.space.sampler, "c" * 250, 1000))
    numbers = dict.fromkeys(metric_history.history.COLUMN, 1)
    for minute in range(1, 300):
        many = [minute * (10**9 + n) for n in range(62)]
        some = {name: many[minute % 7] for name in numbers if not name.startswith(("oldest", "redelivered")) and minute}
        metrics = QueueMetrics(
            q.name,
            created_ms + minute * 60_000,
            created_ms,
            oldest_age_s=minute,
            dwell=Histogram(tuple(many)),
            processing=Histogram(tuple(many)),
            consumers={f"state{n}": minute for n in range(10)},
            **some,
        )
        appended = meter(metric_history.append(q.home, metrics))
    assert len(appended.to_pack) > 30
    hour = metric_history.history.hour_of(appended.to_pack[0])
    for n in range(60):
        engine.redis.hset(q.home.base + "history_hours", str(hour - n - 1), b"x" * 5000)
    meter(metric_history.pack(q.home, appended.to_pack))
    operation = metric_history.read(q.home, hour - 47, 48)
    operation.parse = None
    meter(operation)


@scenario(
    "read_alarms put_alarm delete_alarms set_alarm_state mark_evaluation read_alarm_history list_alarm_histories "
    "read_alarm_actions settle_alarm_action claim_alarm_actions release_alarm_actions read_alarm_health"
)
def watching(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """As many alarms as one call reads, with the longest definitions; all their actions are to be done."""
    space = engine.transport.space
    dimensions = {f"{n:02}" + "d" * 200: "v" * 1000 for n in range(30)}
    for n in range(60):
        name = f"{n:03}" + "n" * 250
        alarm = Alarm(
            name,
            namespace="own",
            metric_name="m",
            threshold=5,
            comparison_operator=">",
            dimensions=dimensions,
            alarm_actions=[f"https://example.com/{i}" + "a" * 1000 for i in range(5)],
        )
        meter(alarms.put(space, alarm))
        meter(alarms.set_state(space, name, "ALARM", "r" * 1000, '{"a":"' + "b" * 3900 + '"}'))
    for n in range(150):
        meter(alarms.set_state(space, name, "OK" if n % 2 else "ALARM", "r" * 1000, ""))
    everything = meter(read_all(space))
    assert len(meter(alarms.list_named(space, "0", "", 100, lambda each: True))) == 60
    engine.clock.advance_ms(1000)
    assert len(everything.alarms) == 60
    due = meter(operations_of_alarms.read_actions(space))
    event = AlarmEvent(name, engine.clock.ms, "Action", "s" * 250, {"m": "d" * 4000})
    meter(operations_of_alarms.claim_actions(space, [(f"{n:032}", 1) for n in range(99)] + [(due.entries[0].id, 1)]))
    engine.clock.advance_ms(10)
    ids = [key.decode() for key in engine.redis.hkeys(space.alarms("outbox")[0])][:100]
    meter(operations_of_alarms.claim_actions(space, [(id, 150_000) for id in ids]))
    meter(operations_of_alarms.release_actions(space, ids))
    meter(operations_of_alarms.settle_action(space, due.entries[0], "failed", engine.clock.ms, event, engine.clock.ms))
    meter(operations_of_alarms.settle_action(space, due.entries[0], "done", engine.clock.ms, event))
    meter(operations_of_alarms.read_health(space))
    old = engine.clock.ms - 15 * 86_400_000
    key = space.alarm_history(name)
    engine.redis.lpush(key, *[f"{old}{{}}" for _ in range(100)])
    meter(operations_of_alarms.mark_evaluation(space, AlarmEvaluation(engine.clock.ms, 0, 1, "e" * 250)))
    assert meter(alarm_histories.history(space, None, 0, 0, 10_000))
    meter(alarms.delete(space, list(everything.alarms)))


@scenario("read_memory append_memory read_memory_history")
def filling(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """Two weeks of the memory of the server."""
    space, minute = engine.transport.space, engine.clock.ms // 60_000
    rows = [f"{minute - n} {10**10} {10**10} 10000" for n in range(20_160, 0, -1)]
    engine.redis.rpush(space.memory, *rows)
    meter(server_memory.memory(space))
    meter(server_memory.sample_memory(space))
    assert len(meter(server_memory.memory_history(space, 0, 2**60))) == 20_160


@scenario("put_event_rule delete_event_rules read_event_rules put_rule_actions")
def acting(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """As many rules as there may be, that all match events which say as much as they may."""
    space, who = engine.transport.space, Actor("gateway", "k" * 500, "a" * 500, "1" * 500)
    names = [f"{n:03}" + "n" * 61 for n in range(operations_of_rules.MOST)]
    actions = [f"https://example.com/{n}" + "a" * 1000 for n in range(5)]
    for name in names:
        meter(event_rules.put(space, EventRule(name, actions=actions, description="d" * 512, who="k" * 150)))
    texts = {f"{n:0100}": "x" * 5000 for n in range(6)}
    for _ in range(7):
        meter(events.add_event(space, "settings-changed", q.name, who, texts, texts, {}))
    assert meter(event_rules.follow(space)) == 7 * 500
    meter(event_rules.test(space, names[0]))
    meter(event_rules.delete(space, names))


@scenario("add_event read_events")
def telling(engine: Engine, meter: Meter, q: QueueRef) -> None:
    """Events that say as much as they may, so many that the older ones have to go."""
    space, who = engine.transport.space, Actor("gateway", "k" * 500, "a" * 500, "1" * 500)
    texts = {f"{n:0100}": "x" * 5000 for n in range(6)}
    for n in range(400):
        meter(events.add_event(space, "settings-changed", q.name, who, texts, {}, {}, f"{n}" * 100, 1000))
    operation = events.read_events(space, "", "0")
    operation.parse = None
    assert len(meter(operation)) == 101


@scenario("set_partition")
def growing(engine: Engine, meter: Meter, q: QueueRef) -> None:
    attributes = {"DeduplicationScope": "messageGroup"} if q.is_fifo else {}
    grown = engine.queue("grown.fifo" if q.is_fifo else "grown", **attributes)
    for n in range(10):
        fill(engine, grown, 1000, **({"dedup_id": lambda i, n=n: f"{n}/{i}"} if q.is_fifo else {"groups": -1}))
    members = {f"h{n}": n for n in range(20_000)}
    if q.is_fifo:
        engine.redis.zadd(grown.home.base + "available", members)  # of groups that are empty by now
    meter(flows.set_attributes(grown, {"Partitions": "2"}, NATIVE))
    assert not meter(partitions.finish_resharding(grown))
