"""Queues of several partitions, step by step: who knows what of a growth, and what was done of it before a crash."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from rqsqs._core import envelope, flows, operations
from rqsqs._core.flows import partitions
from rqsqs._core.keys import Partition, QueueRef, partition_tag
from rqsqs._core.operation import Flow, IsWatched, MarkOutdated, Operation, Sleep, Spawn, Wait
from rqsqs._core.operations import queues
from rqsqs._io.sync.runner import Link
from rqsqs.errors import (
    InvalidParameterValue,
    PurgeQueueInProgress,
    QueueDoesNotExist,
    QueueNameExists,
    RqsqsError,
)
from rqsqs.limits import AWS, NATIVE
from tests.conftest import WITH_FAULTS
from tests.lua.conftest import Engine
from tests.model.harness import keys_left

GROUPS = "abcdefgh"
MOST = 16  # so many partitions at most
WINDOW_MS = 300_000


class Actor:
    """Somebody who does one step of a flow at a time, with knowledge of their own."""

    def __init__(self, engine: Engine, flow: Flow[Any]) -> None:
        self.engine, self.flow = engine, flow
        self.result: Any = None
        self.is_done = False
        self._go(lambda: next(flow))

    def _go(self, advance: Callable[[], Any]) -> None:
        try:
            self.next = advance()
        except StopIteration as end:
            self.is_done, self.result = True, end.value

    def step(self) -> bool:
        """Do one step; returns whether that was the last one."""
        step = self.next
        if isinstance(step, Operation):
            try:
                answer = self.engine.execute(step)
            except RqsqsError as e:
                error = e
                self._go(lambda: self.flow.throw(error))
                return self.is_done
            self._go(lambda: self.flow.send(answer))
        elif isinstance(step, Sleep):
            self.engine.clock.advance_ms(step.ms)
            self._go(lambda: self.flow.send(None))
        elif isinstance(step, IsWatched):
            self._go(lambda: self.flow.send(False))
        elif isinstance(step, MarkOutdated | Spawn):
            self._go(lambda: self.flow.send(None))
        else:
            raise AssertionError(f"it waits: {step}")
        return self.is_done

    def until_it_waits(self) -> Any:
        """Go on until it blocks, or is done."""
        while not self.is_done and not isinstance(self.next, Wait):
            self.step()
        return self.next

    def wake(self, wakeup_list: str | None, left_ms: int) -> None:
        """A wakeup list has a token, or the time is over."""
        assert isinstance(self.next, Wait)
        self._go(lambda: self.flow.send((wakeup_list, left_ms)))

    def finish(self) -> Any:
        """Go on to the end."""
        while not self.is_done:
            self.step()
        return self.result


def some(engine: Engine, flow: Flow[Any], steps: int) -> bool:
    """Do so many steps, then die; returns whether it was killed before its end."""
    actor = Actor(engine, flow)
    for _ in range(steps):
        if actor.is_done or actor.step():
            return False
    flow.close()
    return True


def stranger(engine: Engine, name: str) -> QueueRef:
    """The queue as another process knows it: not at all."""
    return QueueRef(engine.transport.space, name)


def knows(engine: Engine, q: QueueRef) -> QueueRef:
    """The queue as another process knows it that has asked by now."""
    other = stranger(engine, q.name)
    other.learn(q.topology, [p.tag for p in q.partitions])
    return other


def make(engine: Engine, name: str, count: int, **attributes: str) -> QueueRef:
    if name.endswith(".fifo"):
        attributes["DeduplicationScope"] = "messageGroup"
    return engine.queue(name, Partitions=str(count), **attributes) if count > 1 else engine.queue(name, **attributes)


def grow(q: QueueRef, count: int) -> Flow[None]:
    return flows.set_attributes(q, {"Partitions": str(count)}, NATIVE)


def places(engine: Engine, q: QueueRef, groups: Iterable[str] = GROUPS) -> dict[str, set[str]]:
    """Group -> tags of the partitions that have messages of it."""
    asked = [(group, q.partition(partition_tag(q.name, n))) for group in groups for n in range(MOST)]
    pipeline = engine.redis.pipeline(transaction=False)
    for group, p in asked:
        pipeline.exists(f"{p.base}group:{group}")
    found: dict[str, set[str]] = {}
    for (group, p), is_there in zip(asked, pipeline.execute(), strict=True):
        if is_there:
            found.setdefault(group, set()).add(p.tag)
    return found


def drain(engine: Engine, q: QueueRef) -> list[Any]:
    bodies = []
    while True:
        found = engine.receive(q, 10)
        if not found:
            return bodies
        bodies += [d.body for d in found]
        engine.delete(q, *found)


def state(engine: Engine, p: Partition) -> str | None:
    value = engine.redis.hget(p.base + "meta", "partition")
    return value.decode() if isinstance(value, bytes) else None


def number_of(text: str, count: int) -> int:
    """The partition that a group belongs to when there are so many."""
    return int(hashlib.sha1(text.encode()).hexdigest()[:8], 16) % count


def group_that_goes(before: int, after: int) -> str:
    """A group that belongs elsewhere when there are more partitions."""
    return next(g for i in range(1000) if number_of(g := f"g{i}", before) != number_of(g, after) >= before)


# Growth


@pytest.mark.either_server
@pytest.mark.parametrize("seed", range(60 if WITH_FAULTS else 6))
def test_any_order_of_steps_of_a_growth_and_of_everybody_else_keeps_order_and_loses_nothing(
    engine: Engine, name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    random.seed(seed)  # where everybody begins
    monkeypatch.setattr("rqsqs._core.flows.send.ASK_AFTER", draw.choice([1, 256]))
    q = make(engine, name, draw.choice([1, 2, 3]))
    is_fifo = q.is_fifo
    refs = [stranger(engine, name) for _ in range(4)] + [knows(engine, q) for _ in range(2)]
    numbers = {g: itertools.count() for g in GROUPS}
    sent: dict[str, list[str]] = {g: [] for g in GROUPS}
    sequence: dict[str, list[str]] = {g: [] for g in GROUPS}
    last: dict[str, tuple[str, str, int]] = {}
    received: list[str] = []
    target = len(q.own) + draw.choice([1, 2, 5])

    def sending(group: str, ref: QueueRef) -> Iterator[None]:
        batch = [f"{group}{next(numbers[group])}" for _ in range(draw.choice([1, 2, 3]))]
        repeats = []
        if group in last and draw.random() < 0.5:
            repeats.append(last[group])
        options = {"group": group} if is_fifo else {}
        outgoing = [envelope.outgoing(body, dedup_id=body, **options) for body, *_ in repeats]
        outgoing += [envelope.outgoing(body, dedup_id=body, **options) for body in batch]
        actor = Actor(engine, flows.send_messages(ref, outgoing, NATIVE))
        while not actor.is_done:
            actor.step()
            yield
        answers = actor.result
        for (body, first, at_ms), answer in zip(repeats, answers, strict=False):
            if answer.is_duplicate:
                assert answer.message_id == first
            else:
                assert engine.clock.ms >= at_ms + WINDOW_MS, body
                sent[group].append(body)
                sequence[group].append(answer.sequence_number or "")
        for body, answer in zip(batch, answers[len(repeats) :], strict=True):
            assert not answer.is_duplicate
            sent[group].append(body)
            sequence[group].append(answer.sequence_number or "")
            last[group] = body, answer.message_id, int(answer.message_id.replace("-", "")[:12], 16)

    def receiving(ref: QueueRef) -> Iterator[None]:
        actor = Actor(engine, flows.receive_messages(ref, NATIVE, draw.choice([1, 3, 10]), 43_200_000))
        while not actor.is_done:
            actor.step()
            yield
        found = actor.result
        received.extend(d.body for d in found)
        if found:
            actor = Actor(engine, flows.delete_messages(ref, [d.receipt_handle for d in found], NATIVE))
            while not actor.is_done:
                actor.step()
                yield

    def growing() -> Iterator[None]:
        while True:  # killed, and repeated by another process
            actor = Actor(engine, grow(stranger(engine, name), target))
            life = draw.choice([1, 2, 3, 5, 8, 13, 21, 100])
            while not actor.is_done and life:
                actor.step()
                life -= 1
                yield
            if actor.is_done:
                return
            actor.flow.close()

    busy: dict[str, Iterator[None]] = {}
    grower: Iterator[None] | None = growing()
    waiting: list[Iterator[None]] = []
    for round_ in range(400):
        free = [g for g in GROUPS if g not in busy]
        if free and draw.random() < 0.3 and round_ < 350:
            group = draw.choice(free)
            busy[group] = sending(group, draw.choice(refs))
        if len(waiting) < 2 and draw.random() < 0.2:
            waiting.append(receiving(draw.choice(refs)))
        kind = draw.choice("sssrrg")
        if kind == "s" and busy:
            group = draw.choice(sorted(busy))
            if next(busy[group], 0) == 0:
                del busy[group]
        elif kind == "r" and waiting:
            one = draw.choice(waiting)
            if next(one, 0) == 0:
                waiting.remove(one)
        elif kind == "g" and grower is not None and round_ > 50 and next(grower, 0) == 0:
            grower = None
        engine.clock.us += draw.choice([1, 1000] * 20 + [100_000_000, 301_000_000])
        if is_fifo:
            assert not {g: p for g, p in places(engine, q).items() if len(p) > 1}
    for rest in [*busy.values(), *waiting, *([grower] if grower else [])]:
        for _ in rest:
            pass
    received += drain(engine, q)
    expected = sorted(body for bodies in sent.values() for body in bodies)
    assert sorted(received) == expected
    engine.run(partitions.finish_resharding(q))
    if is_fifo:
        for group in GROUPS:
            assert [b for b in received if b[0] == group] == sent[group]
            assert sequence[group] == sorted(sequence[group])
    engine.clock.advance_ms(2 * WINDOW_MS)
    assert engine.run(partitions.finish_resharding(q))
    assert [state(engine, p) for p in q.own] == [f"{n}/{target}" for n in range(target)]
    assert engine.run(partitions.complete_resharding(stranger(engine, name))) == target


def test_a_new_partition_takes_nothing_without_a_pass_of_the_old_one(engine: Engine) -> None:
    q = make(engine, "q.fifo", 2)
    group = group_that_goes(2, 3)
    engine.send(q, "first", group=group)
    old = knows(engine, q)
    engine.run(grow(q, 3))
    new = q.own[2]
    batch = [envelope.outgoing("second", group=group)]
    (answer,) = engine.execute(operations.send_messages(new, batch, NATIVE))
    assert (type(answer), answer.token) == (operations.Moved, "")
    for permit in ("2:5", "4:5"):  # of another growth
        (answer,) = engine.execute(operations.send_messages(new, batch, NATIVE, token=permit))
        assert type(answer) is operations.Moved
    assert engine.send(old, "second", group=group)[0].message_id
    assert places(engine, q, [group]) == {group: {old.owner(group, 2).tag}}
    assert drain(engine, q) == ["first", "second"]
    (third,) = engine.send(old, "third", group=group)
    assert places(engine, q, [group]) == {group: {new.tag}}
    assert len(old.own) == 3
    assert int(third.sequence_number or 0) > 0


def test_sequence_numbers_of_a_group_grow_though_its_new_partition_has_an_older_clock(engine: Engine) -> None:
    q = make(engine, "q.fifo", 1)
    group = group_that_goes(1, 2)
    (first,) = engine.send(q, "a", group=group)
    drain(engine, q)
    engine.run(grow(q, 2))
    engine.clock.us -= 5_000_000
    (second,) = engine.send(q, "b", group=group)
    assert places(engine, q, [group]) == {group: {q.own[1].tag}}
    assert (second.sequence_number or "") > (first.sequence_number or "")


def test_a_batch_of_duplicates_and_new_messages_is_told_apart_after_a_growth(engine: Engine, name: str) -> None:
    q = make(engine, name, 1)
    options = {"group": "g3"} if q.is_fifo else {}
    firsts = [engine.send(q, n, dedup_id=f"i{n}", **options)[0] for n in range(6)]
    assert len(drain(engine, q)) == 6
    old = knows(engine, q)
    engine.run(grow(q, 5))
    for ref in (old, q):
        batch = [envelope.outgoing(n, dedup_id=f"i{n}", **options) for n in range(12)]
        answers = engine.run(flows.send_messages(ref, batch, NATIVE))
        assert [a.is_duplicate for a in answers] == [True] * 6 + [ref is q] * 6
        assert [a.message_id for a in answers[:6]] == [a.message_id for a in firsts]
    assert sorted(drain(engine, q)) == [*range(6, 12)]


def test_groups_are_settled_when_they_are_empty_and_their_ids_forgotten(engine: Engine) -> None:
    q = make(engine, "q.fifo", 1, DeduplicationWindow="600")
    for g in GROUPS:
        engine.send(q, g, group=g, dedup_id="x")
    engine.run(grow(q, 4))
    assert not engine.run(partitions.finish_resharding(q))
    with pytest.raises(InvalidParameterValue, match="not long ago"):
        engine.run(grow(q, 5))
    assert sorted(drain(engine, q)) == list(GROUPS)
    engine.clock.advance_ms(599_000)
    assert not engine.run(partitions.finish_resharding(q))
    assert all(answer.is_duplicate for g in GROUPS for answer in engine.send(q, g, group=g, dedup_id="x"))
    engine.clock.advance_ms(2_000)
    assert engine.run(partitions.finish_resharding(q))
    assert q.before == 0
    engine.run(grow(q, 5))
    assert len(q.own) == 5


def test_senders_do_not_look_through_very_many_groups(engine: Engine) -> None:
    q = make(engine, "q.fifo", 1)
    stay = [g for i in range(50) if number_of(g := f"g{i}", 2) == 0][:3]
    go = group_that_goes(1, 2)
    for g in (*stay, go):
        engine.send(q, g, group=g)
    engine.run(grow(q, 2))
    engine.clock.advance_ms(WINDOW_MS)
    found = {d.body: d for d in engine.receive(q, 10)}
    engine.run(flows.pause(q, resume=False, group=stay[0]))
    engine.clock.advance_ms(20_000)
    assert not engine.run(partitions.finish_resharding(q))
    engine.delete(q, found[go])
    engine.clock.advance_ms(20_000)  # the visibility timeouts are over
    assert not engine.run(partitions.finish_resharding(q, 2))
    assert engine.run(partitions.finish_resharding(q, 4))


def test_an_empty_fifo_queue_settles_at_once(engine: Engine) -> None:
    q = make(engine, "q.fifo", 1)
    for count in (2, 3, 8):
        engine.run(grow(q, count))
        assert q.before == 0
    assert [state(engine, p) for p in q.own] == [f"{n}/8" for n in range(8)]


def test_ids_with_a_window_of_their_own_keep_a_growth_from_settling(engine: Engine, name: str) -> None:
    q = make(engine, name, 1)
    options = {"group": "g"} if q.is_fifo else {}
    engine.send(q, 1, dedup_id="x", dedup_window_ms=3_600_000, **options)
    drain(engine, q)
    engine.clock.advance_ms(400_000)
    engine.run(grow(q, 2))
    assert q.before == 1
    engine.clock.advance_ms(3_100_000)
    assert not engine.run(partitions.finish_resharding(q))
    assert engine.send(q, 1, dedup_id="x", dedup_window_ms=3_600_000, **options)[0].is_duplicate
    engine.clock.advance_ms(600_000)
    assert engine.run(partitions.finish_resharding(q)) or not q.is_fifo


def test_partitions_are_not_taken_away(engine: Engine, name: str) -> None:
    q = make(engine, name, 3)
    with pytest.raises(InvalidParameterValue, match="not taken away"):
        engine.run(grow(q, 2))
    engine.run(grow(q, 3))
    assert len(q.own) == 3


def test_a_fifo_queue_of_several_partitions_needs_deduplication_by_group(engine: Engine) -> None:
    q = engine.queue("q.fifo")
    with pytest.raises(InvalidParameterValue, match="messageGroup"):
        engine.run(grow(q, 2))
    engine.run(flows.set_attributes(q, {"Partitions": "2", "DeduplicationScope": "messageGroup"}, NATIVE))
    assert len(q.own) == 2
    with pytest.raises(InvalidParameterValue, match="messageGroup"):
        engine.run(flows.set_attributes(q, {"DeduplicationScope": "queue"}, NATIVE))
    with pytest.raises(InvalidParameterValue, match="messageGroup"):
        engine.queue("other.fifo", Partitions="2")


def test_of_two_who_add_partitions_at_once_one_is_refused(engine: Engine) -> None:
    q = make(engine, "q.fifo", 2)
    engine.send(q, 1, group="a")
    ours, theirs = Actor(engine, grow(stranger(engine, q.name), 3)), Actor(engine, grow(stranger(engine, q.name), 4))

    def in_turn() -> None:
        while not (ours.is_done and theirs.is_done):
            for actor in (ours, theirs):
                actor.is_done or actor.step()

    with pytest.raises(InvalidParameterValue, match="for now"):
        in_turn()
    (ours if not ours.is_done else theirs).flow.close()
    count = engine.run(partitions.complete_resharding(q))
    assert [state(engine, p) for p in q.own] == [f"{n}/{count}/2" for n in range(count)]
    assert engine.run(flows.queue_info(q)).attributes["Partitions"] == str(count)


# Life and death


def test_creations_that_are_interrupted_or_meet_are_completed(engine: Engine, name: str) -> None:
    attributes = {"Partitions": "3"} | ({"DeduplicationScope": "messageGroup"} if name.endswith(".fifo") else {})
    for steps in range(1, 12):
        q = stranger(engine, f"{steps}{name}")
        killed = some(engine, flows.create_queue(q, attributes, NATIVE), steps)
        sender = stranger(engine, q.name)
        for g in GROUPS:  # whoever sends meanwhile completes it
            engine.send(sender, g, dedup_id=g, **({"group": g} if q.is_fifo else {}))
        assert len(sender.own) == 3
        both = [Actor(engine, flows.create_queue(stranger(engine, q.name), attributes, NATIVE)) for _ in range(2)]
        while not all(actor.is_done for actor in both):
            for actor in both:
                actor.is_done or actor.step()
        assert [actor.result for actor in both] == [False, False]
        assert [state(engine, p) for p in sender.own] == ["0/3", "1/3", "2/3"]
        assert all(len(tags) == 1 for tags in places(engine, q).values())
        assert sorted(drain(engine, sender)) == list(GROUPS)
        with pytest.raises(QueueNameExists):
            engine.queue(q.name, Partitions="4", **({"DeduplicationScope": "messageGroup"} if q.is_fifo else {}))
        if not killed:
            break


def test_a_queue_without_partitions_exists_as_one_of_a_single_partition(engine: Engine, name: str) -> None:
    engine.queue(name)
    assert not engine.run(flows.create_queue(stranger(engine, name), {"Partitions": "1"}, NATIVE))
    engine.queue("n" + name, Partitions="1")
    assert not engine.run(flows.create_queue(stranger(engine, "n" + name), {"Partitions": "1"}, NATIVE))


@pytest.mark.either_server
def test_deletion_leaves_nothing_wherever_it_or_a_growth_was_interrupted(engine: Engine, name: str) -> None:
    for before_deletion, in_deletion in itertools.product((0, 1, 3, 5, 8), (1, 2, 3, 5, 100)):
        q = make(engine, name, 2)
        for n in range(8):
            engine.send(q, n, **({"group": f"g{n}"} if q.is_fifo else {}))
        engine.receive(q, 3)
        engine.clock.advance_ms(1)
        some(engine, grow(stranger(engine, name), 4), before_deletion)
        killed = some(engine, flows.delete_queue(stranger(engine, name), NATIVE), in_deletion)
        if killed and in_deletion > 1:
            engine.run(flows.delete_queue(stranger(engine, name), NATIVE))
        elif killed:
            engine.run(flows.delete_queue(q, NATIVE))
        assert not keys_left(engine.url, engine.transport.space)
        with pytest.raises(QueueDoesNotExist):
            engine.send(q, 1, **({"group": "g"} if q.is_fifo else {}))


def test_a_growth_that_meets_a_deletion_leaves_no_partition_without_a_queue(engine: Engine, name: str) -> None:
    for steps in range(14):
        q = make(engine, name, 2)
        actor = Actor(engine, grow(stranger(engine, name), 4))
        for _ in range(steps):
            actor.is_done or actor.step()
        engine.run(flows.delete_queue(q, NATIVE))
        try:
            actor.finish()
        except QueueDoesNotExist:
            pass
        else:
            assert steps > 8
        assert not keys_left(engine.url, engine.transport.space), steps


def test_a_sender_that_knows_an_earlier_life_finds_the_partitions_of_the_present_one(engine: Engine, name: str) -> None:
    for before, after in itertools.permutations((1, 2, 5), 2):
        q = make(engine, name, before)
        old = knows(engine, q)
        engine.run(flows.delete_queue(q, NATIVE))
        engine.clock.advance_ms(1)
        q = make(engine, name, after)
        for g in GROUPS:
            engine.send(old, g, dedup_id=g, **({"group": g} if q.is_fifo else {}))
            engine.send(old, g.upper(), **({"group": g} if q.is_fifo else {}))
        if q.is_fifo:
            assert places(engine, q) == {g: {q.owner(g).tag} for g in GROUPS}
        assert sorted(drain(engine, old)) == sorted([*GROUPS, *GROUPS.upper()])
        engine.run(flows.delete_queue(q, NATIVE))


def test_changes_reach_all_partitions_and_leave_their_places_alone(engine: Engine, name: str) -> None:
    q = make(engine, name, 2)
    for g in GROUPS:
        engine.send(q, g, dedup_id=g, **({"group": g} if q.is_fifo else {}))
    engine.run(grow(q, 4))
    before = [state(engine, p) for p in q.own]
    assert before == [f"{n}/4/2" for n in range(4)]
    engine.queue("dead" + name)
    policy = f'{{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead{name}","maxReceiveCount":3}}'
    for attributes in ({"VisibilityTimeout": "7", "RedrivePolicy": policy}, {"RedrivePolicy": None}):
        engine.run(flows.set_attributes(stranger(engine, name), attributes, NATIVE))
        for p in q.own:
            fields = engine.execute(queues.get_queue(p))
            assert fields["VisibilityTimeout"] == "7"
            assert ("dlq" in fields) == (attributes["RedrivePolicy"] is not None)
    engine.run(flows.pause(stranger(engine, name), resume=False))
    assert drain(engine, q) == []
    engine.run(flows.pause(q, resume=True))
    assert [state(engine, p) for p in q.own] == before
    assert engine.run(flows.queue_info(q)).attributes["Partitions"] == "4"
    assert sorted(drain(engine, q)) == list(GROUPS)


def test_a_late_copy_of_attributes_makes_no_partition_that_has_no_place(engine: Engine, name: str) -> None:
    q = make(engine, name, 1)
    actor = Actor(engine, grow(q, 2))
    while not engine.redis.hexists(q.home.base + "meta", "partition_state"):  # until the intent is told
        actor.step()
    engine.run(flows.set_attributes(stranger(engine, name), {"VisibilityTimeout": "9"}, NATIVE))
    second = q.partition(partition_tag(name, 1))
    assert state(engine, second) is None
    assert engine.run(partitions.complete_resharding(q)) == 2
    assert state(engine, second) in ("1/2", "1/2/1")
    assert engine.execute(queues.get_queue(second))["VisibilityTimeout"] == "9"


def test_paused_groups_stay_paused_in_new_partitions(engine: Engine, name: str) -> None:
    q = make(engine, name, 1)
    engine.run(flows.pause(q, resume=False, group="c"))
    engine.run(grow(q, 4))
    for g in "abcd":
        engine.send(q, g, group=g)
    assert sorted(drain(engine, q)) == ["a", "b", "d"]
    engine.run(flows.pause(q, resume=True, group="c"))
    assert drain(engine, q) == ["c"]


def test_purging_empties_all_partitions_though_their_clocks_differ(engine: Engine, name: str) -> None:
    q = make(engine, name, 3)
    for n in range(9):
        engine.send(q, n, group=f"g{n}")
    engine.redis.hset(q.own[2].base + "meta", "purged_us", engine.clock.us - 59_000_000)
    engine.run(flows.purge_queue(q, AWS))
    assert engine.counts(q) == (0, 0, 0)
    with pytest.raises(PurgeQueueInProgress):
        engine.run(flows.purge_queue(q, AWS))


# Waiting


def waiting(engine: Engine, q: QueueRef, wait_ms: int = 60_000, count: int = 1, visibility_ms: int = 60_000) -> Actor:
    return Actor(engine, flows.receive_messages(q, NATIVE, count, visibility_ms, wait_ms))


def tokens(engine: Engine, q: QueueRef) -> list[int]:
    """Partitions whose wake token is out."""
    return [n for n, p in enumerate(q.partitions) if engine.token(p)]


def take_token(engine: Engine, p: Partition) -> str:
    assert engine.redis.lpop(p.wakeups) is not None
    return p.wakeups


class Counting:
    """A link that counts operations."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def execute(self, operation: Operation) -> Any:
        self.calls += 1
        return self._link.execute(operation)


def calls(engine: Engine) -> Callable[[], int]:
    counting = Counting(engine.transport.link)
    engine.transport.link = counting  # type: ignore[assignment]
    return lambda: counting.calls


def test_a_wakeup_list_tells_where_to_look(engine: Engine, name: str) -> None:
    q = make(engine, name, 8)
    for n in range(8):
        count = calls(engine)
        waiter = waiting(engine, q)
        wait = waiter.until_it_waits()
        assert set(wait.lists) == {p.wakeups for p in q.own}
        assert (wait.timeout_ms, wait.wake, count()) == (60_000, None, 8)
        assert tokens(engine, q) == []
        p = q.own[n]
        engine.execute(operations.send_messages(p, [envelope.outgoing(n, group=group_in(q, n))], NATIVE))
        assert tokens(engine, q) == [n]
        before = count()
        waiter.wake(take_token(engine, p), 50_000)
        (found,) = waiter.finish()
        assert found.body == n
        assert count() - before == 1  # from idle to a message and to idle again: nine calls
        assert tokens(engine, q) == [n]  # somebody has to keep the time of what is in flight
        engine.delete(q, found)


def group_in(q: QueueRef, n: int) -> str | None:
    """A group of partition n; None for a standard queue."""
    return next(g for i in range(1000) if number_of(g := f"g{i}", len(q.own)) == n) if q.is_fifo else None


def in_the_way(engine: Engine, q: QueueRef, waiter: Actor, call_ms: int) -> int:
    """What lies in front never ends; returns how many receives there were."""
    count = 0
    while not waiter.is_done:
        step = waiter.next
        if isinstance(step, Operation) and step.script.startswith("receive_message"):
            engine.clock.advance_ms(call_ms)
            wait, now = str(step.args[3]).partition(" ")[0].removesuffix("/-"), engine.clock.ms
            until = now + int(wait[1:]) if wait.startswith("+") else int(wait or now)
            p = next(p for p in q.partitions if step.keys[-1] == p.wakeups)
            end = [[]] if step.script.endswith("fifo") else [[], []]
            got = operations.Received(p, [now, q.topology, now, until, b"", *end])
            waiter._go(lambda got=got: waiter.flow.send(got))
            count += 1
        else:
            waiter.step()
    assert waiter.result == []
    return count


@pytest.mark.parametrize("count", [1, 4])
def test_a_receive_that_does_not_wait_makes_few_calls_whatever_lies_in_front(
    engine: Engine, name: str, count: int
) -> None:
    q = make(engine, name, count)
    assert in_the_way(engine, q, waiting(engine, q, 0), 1) == 10


@pytest.mark.parametrize("count", [1, 4])
def test_a_receive_keeps_its_wait_whatever_lies_in_front(engine: Engine, name: str, count: int) -> None:
    q = make(engine, name, count)
    began = engine.clock.ms
    in_the_way(engine, q, waiting(engine, q, 1000), 30)
    assert began + 1000 <= engine.clock.ms <= began + 1000 + count * 30
    assert set(tokens(engine, q)) == set(range(count))  # others look whether something is visible


def put(engine: Engine, q: QueueRef, n: int, body: Any, **options: Any) -> None:
    """Send to partition n."""
    outgoing = envelope.outgoing(body, group=group_in(q, n), **options)
    engine.execute(operations.send_messages(q.own[n], [outgoing], NATIVE))


def test_a_waiter_whose_time_is_over_asks_nobody_again(engine: Engine, name: str) -> None:
    q = make(engine, name, 4)
    count = calls(engine)
    waiter = waiting(engine, q, 20_000)
    assert waiter.until_it_waits().timeout_ms == 20_000
    waiter.wake(None, 0)
    assert waiter.finish() == []
    assert count() == 5  # four receives, and one that tells of the empty receive


def test_waiting_ends_by_the_clock_of_each_server(engine: Engine, name: str) -> None:
    q = make(engine, name, 3)
    ahead_us = dict(zip([p.wakeups for p in q.own], (0, 30_000_000, -30_000_000), strict=True))
    waiter = waiting(engine, q, 20_000)

    def go_on() -> Wait:
        while not isinstance(waiter.next, Wait):
            if isinstance(waiter.next, Operation):
                now_us, *rest = waiter.next.args
                waiter.next.args = (int(now_us) + ahead_us[waiter.next.keys[-1]], *rest)
            waiter.step()
        return waiter.next

    assert go_on().timeout_ms == 20_000
    for p in q.own:
        engine.clock.advance_ms(5000)
        left = go_on().timeout_ms - 5000
        waiter.wake(p.wakeups, left)
        assert go_on().timeout_ms == left
    waiter.flow.close()


def test_one_waiter_keeps_the_due_times_of_all_partitions(engine: Engine, name: str) -> None:
    q = make(engine, name, 4)
    for n, delay_ms in ((2, 3000), (0, 5000), (3, 9000)):
        put(engine, q, n, n, delay_ms=delay_ms)
    waiter = waiting(engine, q)
    wait = waiter.until_it_waits()
    assert wait.wake_in_ms == 3000
    engine.redis.delete(*[p.wakeups for p in q.own])  # of the sends
    engine.clock.advance_ms(3000)
    renew(engine, wait.wake)
    assert engine.execute(wait.wake) == 2000
    assert tokens(engine, q) == [q.partitions.index(q.own[2])]
    engine.clock.advance_ms(2000)
    renew(engine, wait.wake)
    assert engine.execute(wait.wake) == 4000
    engine.clock.advance_ms(4000)
    renew(engine, wait.wake)
    assert engine.execute(wait.wake) == 0
    assert tokens(engine, q) == [0, 2, 3]
    waiter.wake(take_token(engine, q.own[3]), 40_000)
    assert [d.body for d in waiter.finish()] == [3]
    assert tokens(engine, q) == [0, 2, 3]  # for others: two messages, and the time of the one in flight
    other = waiting(engine, q)
    assert other.until_it_waits() is not None
    assert other.is_done


def test_the_due_time_of_one_partition_is_kept_though_tokens_come_from_another(engine: Engine, name: str) -> None:
    q = make(engine, name, 3)
    put(engine, q, 1, "due", delay_ms=5000)
    waiter = waiting(engine, q)
    assert waiter.until_it_waits().wake_in_ms == 5000
    engine.clock.advance_ms(3000)
    waiter.wake(q.own[0].wakeups, 57_000)  # in vain
    wait = waiter.until_it_waits()
    assert (wait.wake_in_ms, wait.timeout_ms) == (2000, 2700)
    assert wait.also == (q.own[0].backup, wait.also[1], q.own[2].backup)
    assert wait.also[1].startswith(q.own[1].base + "wake:")
    engine.clock.advance_ms(2700)
    before = calls(engine)
    waiter.wake(None, 0)
    assert [d.body for d in waiter.finish()] == ["due"]
    assert before() == 1  # it looks where something is due


def renew(engine: Engine, operation: Operation) -> None:
    """The time has moved on, as it does on a server."""
    operation.args = (str(engine.clock.us), *operation.args[1:])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
def test_an_interrupted_waiter_gives_its_duties_up(engine: Engine, name: str, error: BaseException) -> None:
    q = make(engine, name, 3)
    put(engine, q, 1, "later", delay_ms=5000)
    waiter = waiting(engine, q)
    waiter.until_it_waits()
    timer = q.own[1].base + "timer"
    assert engine.redis.get(timer)
    engine.redis.delete(q.own[1].wakeups)
    if isinstance(error, GeneratorExit):
        waiter.flow.close()
        return
    waiter._go(lambda: waiter.flow.throw(error))
    with pytest.raises(KeyboardInterrupt):
        waiter.finish()
    assert engine.redis.get(timer) is None
    assert tokens(engine, q) == [1]


def test_who_finds_something_gives_the_due_times_of_other_partitions_up(engine: Engine, name: str) -> None:
    q = make(engine, name, 3)
    put(engine, q, 0, "later", delay_ms=5000)
    put(engine, q, 1, "later", delay_ms=7000)
    waiter = waiting(engine, q)
    waiter.until_it_waits()
    put(engine, q, 2, "now")
    engine.redis.delete(q.own[0].wakeups, q.own[1].wakeups)
    waiter.wake(take_token(engine, q.own[2]), 50_000)
    assert [d.body for d in waiter.finish()] == ["now"]
    assert [engine.redis.get(p.base + "timer") for p in q.own] == [None] * 3
    assert tokens(engine, q) == [0, 1, 2]


def test_waiters_from_before_a_growth_learn_of_it_one_from_the_other(engine: Engine, name: str) -> None:
    q = make(engine, name, 2)
    refs = [knows(engine, q) for _ in range(3)]
    waiters = [waiting(engine, ref) for ref in refs]
    for waiter in waiters:
        assert len(waiter.until_it_waits().lists) == 2
    engine.run(grow(stranger(engine, name), 4))
    for waiter in waiters:  # the server wakes the one that waits longest
        assert 0 in tokens(engine, q)
        waiter.wake(take_token(engine, q.home), 50_000)
        assert len(waiter.until_it_waits().lists) == 4
    put(engine, refs[0], 3, "new")
    waiters[2].wake(take_token(engine, refs[0].own[3]), 40_000)
    assert [d.body for d in waiters[2].finish()] == ["new"]


def test_a_waiter_of_a_single_partition_learns_of_the_others(engine: Engine, name: str) -> None:
    q = make(engine, name, 1)
    ref = knows(engine, q)
    waiter = waiting(engine, ref)
    wait = waiter.until_it_waits()
    engine.run(grow(stranger(engine, name), 3))
    take_token(engine, q.home)
    waiter._go(lambda: waiter.flow.send((engine.execute(wait.then()), 50_000)))
    assert len(waiter.until_it_waits().lists) == 3
    assert engine.token(q.home)  # for the next one


def test_waiters_of_a_queue_that_is_deleted_find_out_one_after_the_other(engine: Engine, name: str) -> None:
    q = make(engine, name, 2)
    waiters = [waiting(engine, knows(engine, q)) for _ in range(4)]
    for waiter in waiters:
        waiter.until_it_waits()
    deletion = Actor(engine, flows.delete_queue(q, NATIVE))
    deletion.step()
    deletion.step()
    for waiter in waiters:
        waiter.wake(take_token(engine, q.home), 50_000)
        with pytest.raises(QueueDoesNotExist):
            waiter.until_it_waits()
    deletion.finish()


# Receiving


def test_no_partition_starves_while_others_have_a_backlog(engine: Engine, name: str) -> None:
    for count, batch in itertools.product((2, 3, 8), (1, 5)):
        q = make(engine, f"{count}-{batch}{name}", count)
        for n in range(count):
            batch_of = [envelope.outgoing((n, i), group=group_in(q, n)) for i in range(200)]
            engine.execute(operations.send_messages(q.own[n], batch_of, NATIVE))
        seen = [0] * count
        held: list[Any] = []
        for _ in range(16 * count):
            held = engine.run(flows.finish_and_receive(q, held, batch, 60_000, 0, 0))
            for d in held:
                seen[d.body[0]] += 1
        assert min(seen) > 0, seen
        engine.delete(q, *held)
        seen = [0] * count
        for _ in range(4 * count):
            found = engine.receive(q, batch)
            engine.delete(q, *found)
            for d in found:
                seen[d.body[0]] += 1
        assert min(seen) > 0, seen


def test_sends_and_receives_in_turn_use_all_partitions(engine: Engine) -> None:
    q = make(engine, "q", 4)
    used = set()
    for n in range(8):
        engine.send(q, n)
        (found,) = engine.receive(q, 1)
        used.add(found.partition.tag)
        engine.delete(q, found)
    assert used == {p.tag for p in q.own}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_takes_one_call_for_each_partition_that_it_must_go_to(engine: Engine, count: int) -> None:
    q = make(engine, "q", 4)
    owners = q.own[:count]
    chosen = [next(text for n in itertools.count() if q.owner(text := str(n)) is p) for p in owners]
    batch = [envelope.outgoing("anywhere"), *[envelope.outgoing("there", dedup_id=text) for text in chosen]]
    actor, asked = Actor(engine, flows.send_messages(q, [*batch, envelope.outgoing("anywhere")], NATIVE)), 0
    while not actor.is_done:
        asked += isinstance(actor.next, Operation)
        actor.step()
    assert asked == max(count, 1)
    assert len({sent.message_id for sent in actor.result}) == 2 + count


def test_a_partition_with_a_backlog_is_helped_by_all(engine: Engine, name: str) -> None:
    q = make(engine, name, 8)
    for i in range(20):
        put(engine, q, 5, i)
    for ref in [knows(engine, q) for _ in range(4)]:
        found = engine.receive(ref, 5)
        assert len(found) == 5
        engine.delete(ref, *found)


def test_an_attempt_is_answered_again_wherever_the_round_begins(engine: Engine) -> None:
    q = make(engine, "q.fifo", 4)
    for n in (1, 3):
        put(engine, q, n, n)
    first = engine.receive(q, 10, attempt_id="a")
    assert sorted(d.body for d in first) == [1, 3]
    for n in range(4):
        put(engine, q, n, 10 + n)
        again = engine.receive(q, 10, attempt_id="a")
        assert sorted(d.receipt_handle for d in again) == sorted(d.receipt_handle for d in first)
    assert {d.body for d in engine.receive(q, 10, attempt_id="b")} == {10, 12}


def test_what_is_counted_browsed_cancelled_and_rescheduled_is_found_in_every_partition(
    engine: Engine, name: str
) -> None:
    q = make(engine, name, 3)
    sent = {g: engine.send(q, g, group=g, dedup_id=f"i{g}")[0] for g in "abcdef"}
    engine.run(grow(q, 5))
    ref = stranger(engine, name)
    sent |= {g: engine.send(ref, g, group=g, dedup_id=f"i{g}")[0] for g in "ghij"}
    ref = stranger(engine, name)
    assert engine.counts(ref) == (10, 0, 0)
    assert engine.run(flows.groups(ref)) == list("abcdefghij")
    assert sorted(d.body for d in engine.run(flows.browse(ref, "visible"))[0]) == list("abcdefghij")
    assert sorted(d.body for d in engine.run(flows.browse(ref, "visible", newest_first=True))[0]) == list("abcdefghij")
    for g, one in sent.items():
        for group in (g, None):
            state, d = engine.run(flows.find(ref, one.message_id, group))
            assert (state, d.body) == ("visible", g)
        found, cursor = engine.run(flows.browse_group(ref, "visible", g))
        while cursor:
            more, cursor = engine.run(flows.browse_group(ref, "visible", g, cursor))
            found += more
        assert [d.body for d in found] == [g]
    assert engine.run(flows.cancel(ref, sent["b"].message_id))
    assert engine.run(flows.cancel(ref, dedup_id="ic", group="c"))
    assert engine.run(flows.cancel(ref, dedup_id="ih", group="h"))
    assert engine.run(flows.reschedule(ref, sent["d"].message_id, engine.clock.ms + 5000))
    assert engine.counts(ref) == (6, 0, 1)
    assert sorted(drain(engine, ref)) == list("aefgij")
    assert not engine.send(ref, "c", group="c", dedup_id="ic")[0].is_duplicate
    assert engine.send(ref, "d", group="d", dedup_id="id")[0].is_duplicate
    engine.clock.advance_ms(5000)
    assert sorted(drain(engine, ref)) == ["c", "d"]


def test_everything_that_looks_works_while_partitions_are_named_that_are_not_there_yet(
    engine: Engine, name: str
) -> None:
    q = make(engine, name, 1)
    (sent,) = engine.send(q, 1, group="g", dedup_id="i")
    actor = Actor(engine, grow(stranger(engine, name), 4))
    while not engine.redis.hexists(q.home.base + "meta", "partition_state"):
        actor.step()
    ref = stranger(engine, name)
    assert engine.counts(ref) == (1, 0, 0)
    assert len(ref.own) == 4
    assert engine.run(flows.groups(ref)) == ["g"]
    assert [d.body for d in engine.run(flows.browse(ref, "visible"))[0]] == [1]
    engine.run(flows.pause(ref, resume=False, group="other"))
    assert engine.run(flows.reschedule(ref, sent.message_id, engine.clock.ms))
    assert not engine.run(flows.cancel(ref, dedup_id="other", group="g"))
    engine.run(flows.purge_queue(ref, NATIVE))
    assert engine.counts(ref) == (0, 0, 0)
    engine.send(ref, 2, group="h")
    assert drain(engine, ref) == [2]


# Dead letters


@pytest.mark.either_server
@pytest.mark.parametrize("counts", [(3, 1), (1, 3), (3, 2)], ids=str)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["back", "elsewhere"])
def test_dead_letters_go_in_every_direction_killed_at_any_step(
    engine: Engine, name: str, counts: tuple[int, int], elsewhere: bool
) -> None:
    for steps in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 20):
        prefix = f"{steps}x"
        dlq = make(engine, f"{prefix}dead{name}", counts[1])
        q = make(engine, f"{prefix}{name}", counts[0], RedrivePolicy=policy_to(dlq.name))
        target = make(engine, f"{prefix}other{name}", 4) if elsewhere else q
        for i, g in itertools.product(range(3), GROUPS):
            engine.send(q, (g, i), group=g)
        for _ in range(3):
            engine.receive(q, 100, 0)
            engine.clock.advance_ms(1)
        assert engine.counts(dlq) == (24, 0, 0)
        destination = target if elsewhere else None
        task = Actor(engine, flows.start_move(stranger(engine, dlq.name), destination))
        task_id = task.finish()
        some(engine, flows.drive_move(stranger(engine, dlq.name), task_id), steps)
        if steps % 2:  # it grows while nobody drives the task
            engine.run(grow(stranger(engine, target.name), len(target.own) + 3))
        engine.clock.advance_ms(20_000)
        engine.run(flows.drive_move(stranger(engine, dlq.name), task_id))
        assert engine.counts(dlq) == (0, 0, 0), steps
        engine.execute(queues.get_members(target))
        ref = stranger(engine, target.name)
        if ref.is_fifo:
            assert {g: len(tags) for g, tags in places(engine, ref).items()} == dict.fromkeys(GROUPS, 1)
        received = drain(engine, ref)
        assert sorted(tuple(b) for b in received) == [(g, i) for g in GROUPS for i in range(3)]
        if ref.is_fifo:
            for g in GROUPS:
                assert [b[1] for b in received if b[0] == g] == [0, 1, 2]


def policy_to(name: str, receives: int = 1) -> str:
    arn = f"arn:aws:sqs:us-east-1:000000000000:{name}"
    return f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{receives}}}'


def test_dead_letters_of_a_group_that_went_elsewhere_follow_it(engine: Engine) -> None:
    dlq = engine.queue("dead.fifo")
    q = make(engine, "q.fifo", 2, RedrivePolicy=policy_to(dlq.name))
    group = group_that_goes(2, 4)
    engine.send(q, "a", group=group)
    engine.receive(q, 1, 0)
    assert engine.receive(q, 1) == []
    engine.run(grow(q, 4))
    engine.send(q, "b", group=group)
    assert places(engine, q, [group]) == {group: {q.owner(group).tag}}
    engine.run(flows.start_move(dlq))
    assert places(engine, q, [group]) == {group: {q.owner(group).tag}}
    assert drain(engine, q) == ["b", "a"]
