"""Message move tasks: within a slot and across, interrupted, slow, cancelled, failed, taken over."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs._core import flows, ids
from rqsqs._core.operation import Operation, Sleep
from rqsqs._core.operations import moves
from rqsqs.errors import MoveTaskRefused, ReceiptHandleExpired, ResourceNotFound
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine


class Setup:
    """A queue whose messages 0 to n-1 are dead."""

    def __init__(self, engine: Engine, name: str, n: int) -> None:
        suffix = ".fifo" if name.endswith(".fifo") else ""
        self.engine = engine
        self.dlq = engine.queue("dead" + suffix)
        self.q = engine.queue(name, self.dlq.name)
        self.other = engine.queue("other" + suffix)
        for i in range(n):
            engine.send(self.q, i, group=f"g{i % 3}" if suffix else None)
        while sum(engine.counts(self.q)):
            engine.receive(self.q, 1000, 0)
        assert engine.counts(self.dlq) == (n, 0, 0)

    def drain(self, q: Any) -> list[Any]:
        found = []
        while got := self.engine.receive(q, 1000):
            found += [d.body for d in got]
            self.engine.delete(q, *got)
        return found

    def task(self, task_id: str) -> Any:
        return next(t for t in self.engine.run(flows.list_moves(self.dlq)) if t.task_id == task_id)


@pytest.fixture
def dead(engine: Engine, name: str) -> Setup:
    return Setup(engine, name, 250)


def start_without_driver(dead: Setup, destination: Any = None, rate: int | None = None) -> str:
    """Enter a task whose driver is dead from the first moment on."""
    task_id = "00000000-0000-0000-0000-00000000000a"
    operation = moves.start(dead.dlq, task_id, destination.name if destination else "", rate, 250)
    dead.engine.execute(operation)
    return task_id


def kill_after(engine: Engine, flow: Any, n: int) -> bool:
    """Run n operations of a flow and let the process die before the next. False if it came to its end."""
    try:
        step = next(flow)
        for _ in range(n):
            step = flow.send(engine.execute(step) if isinstance(step, Operation) else None)
    except StopIteration:
        return False
    flow.close()
    return True


def test_within_a_slot_messages_go_back_to_their_source_as_new_ones(dead: Setup) -> None:
    engine = dead.engine
    task = dead.task(engine.run(flows.start_move(dead.dlq)))
    assert (task.status, task.moved, task.to_move) == ("COMPLETED", 250, 250)
    assert engine.counts(dead.dlq) == (0, 0, 0)
    (d,) = engine.receive(dead.q, 1, 0)
    assert (d.receive_count, d.dead_letter_source, d.sent_at_ms) == (1, None, engine.clock.ms)
    assert sorted(dead.drain(dead.q)) == list(range(1, 250)) or dead.q.is_fifo


def test_to_another_slot_everything_arrives_once_and_in_order(dead: Setup) -> None:
    task = dead.task(dead.engine.run(flows.start_move(dead.dlq, dead.other)))
    assert (task.status, task.moved, task.destination) == ("COMPLETED", 250, dead.other.name)
    arrived = dead.drain(dead.other)
    assert sorted(arrived) == list(range(250))
    if dead.q.is_fifo:
        for group in range(3):
            assert [b for b in arrived if b % 3 == group] == list(range(group, 250, 3))
    assert not [key for key in dead.engine.names() if key.endswith("outbox")]


def age(engine: Engine, ms: int) -> None:
    """Time passes, for keys that end by themselves as well."""
    engine.clock.advance_ms(ms)
    for key in engine.redis.scan_iter(engine.transport.space.prefix + ":*", count=1000):
        left: Any = engine.redis.pttl(key)
        if 0 <= left <= ms:
            engine.redis.delete(key)
        elif left > 0:
            engine.redis.pexpire(key, left - ms)


def left_of_moves(engine: Engine) -> list[str]:
    """Keys that only moves have."""
    return [
        name for name in engine.names() if name.rsplit(":", 1)[1] in ("outbox", "handovers") or ":handover:" in name
    ]


@pytest.mark.either_server
@pytest.mark.parametrize("later_ms", [moves.SILENCE_MS + 1, 3 * 24 * 3_600_000], ids=["soon", "days later"])
@pytest.mark.parametrize("after", range(2, 45, 3))
@pytest.mark.parametrize("to_other", [False, True], ids=["same slot", "other slot"])
def test_whatever_moment_the_driver_dies_at_another_finishes_the_task(
    dead: Setup, after: int, to_other: bool, later_ms: int
) -> None:
    engine = dead.engine
    destination = dead.other if to_other else None
    task_id = start_without_driver(dead, destination)
    kill_after(engine, flows.drive_move(dead.dlq, task_id), after)
    if dead.task(task_id).status == "RUNNING":
        with pytest.raises(MoveTaskRefused):
            engine.run(flows.start_move(dead.dlq))
    age(engine, later_ms)
    engine.run(flows.list_moves(dead.dlq))  # takes the orphan over
    task = dead.task(task_id)
    assert task.status == "COMPLETED"
    assert 150 <= task.moved <= 250  # a step whose driver died before it told is not counted
    arrived = dead.drain(destination or dead.q)
    assert len(arrived) == len(set(arrived))
    left = dead.drain(dead.dlq)
    assert sorted(arrived + left) == list(range(250))
    age(engine, 3_600_001)
    assert left_of_moves(engine) == []


def hand_over(dead: Setup) -> Any:
    """Take the first messages out, towards the other queue."""
    return dead.engine.execute(moves.take(dead.dlq.partition(dead.q.home.tag), 100, dead.other.name, "b:1:1"))


def test_a_put_that_arrives_when_all_is_over_stores_nothing(dead: Setup) -> None:
    engine, shard, home = dead.engine, dead.dlq.partition(dead.q.home.tag), dead.other.home
    batch, _, messages = hand_over(dead)
    put = moves.put(home, batch, dead.dlq.home, messages)
    assert set(engine.execute(put)) == {None}
    engine.execute(moves.clear(shard, batch, "arrived"))
    for step in (moves.end(home, batch), moves.clear(shard, batch, "end"), put, put):
        engine.execute(step)
    assert engine.counts(dead.other)[0] == len(messages) // 4
    assert [name for name in left_of_moves(engine) if engine.redis.pttl(f"{home.space.prefix}:{name}") == -1] == []


def test_a_queue_that_is_deleted_takes_its_hand_overs_along(dead: Setup) -> None:
    engine, shard = dead.engine, dead.dlq.partition(dead.q.home.tag)
    batch, _, messages = hand_over(dead)
    engine.execute(moves.put(dead.other.home, batch, dead.dlq.home, messages))
    engine.run(flows.delete_queue(dead.dlq, NATIVE))
    age(engine, 3_600_001)
    assert left_of_moves(engine) == []
    assert not engine.redis.exists(shard.base + "outbox")


@pytest.mark.parametrize("how", ["timed out", "rescheduled", "never"])
def test_what_is_put_back_is_as_it_was(dead: Setup, how: str) -> None:
    engine, shard = dead.engine, dead.dlq.partition(dead.q.home.tag)
    before = {}
    if how != "never":
        before = {d.body: d for d in engine.receive(dead.dlq, 9, 5000)}
        if how == "rescheduled":
            handles = [(d.receipt_handle, 1000) for d in before.values()]
            assert set(engine.run(flows.change_visibility(dead.dlq, handles, NATIVE))) == {None}
        engine.clock.advance_ms(6000)
    batch = engine.execute(moves.take(shard, 100, "other", "b:1:1"))[0]
    engine.execute(moves.clear(shard, batch, "back"))
    engine.execute(moves.clear(shard, batch, "back"))  # its answer was lost
    engine.execute(moves.clear(shard, batch, "end"))
    assert engine.counts(dead.dlq) == (250, 0, 0)
    assert engine.delete(dead.dlq, *before.values()) == [None] * len(before)
    assert engine.counts(dead.dlq)[0] == 250 - len(before)
    seen = engine.receive(dead.dlq, 250) + engine.receive(dead.dlq, 250) + engine.receive(dead.dlq, 250)
    assert not {d.body for d in seen} & set(before)
    assert all(d.receive_count == 2 for d in seen[:5])


def test_a_delete_of_a_message_that_was_moved_is_refused(dead: Setup) -> None:
    engine = dead.engine
    gone = engine.receive(dead.dlq, 1)
    engine.delete(dead.dlq, *gone)
    held = engine.receive(dead.dlq, 5, 0)
    engine.clock.advance_ms(1)
    engine.run(flows.start_move(dead.dlq, dead.other))
    results = engine.delete(dead.dlq, *held)
    assert [type(r.error) for r in results] == [ReceiptHandleExpired] * 5
    assert engine.delete(dead.dlq, *gone) == [None]  # what was deleted is
    assert engine.counts(dead.other)[0] == 249


def test_a_task_that_is_driven_is_not_taken_over(dead: Setup) -> None:
    task_id = start_without_driver(dead)
    dead.engine.clock.advance_ms(moves.SILENCE_MS - 1)
    dead.engine.run(flows.list_moves(dead.dlq))
    assert dead.task(task_id).status == "RUNNING"
    assert dead.engine.counts(dead.dlq) == (250, 0, 0)


def test_a_rate_is_kept(dead: Setup) -> None:
    flow = flows.drive_move(dead.dlq, start_without_driver(dead, rate=50))
    slept, result = 0, None
    try:
        while True:
            step = flow.send(result)  # type: ignore[arg-type]
            if isinstance(step, Sleep):
                slept += step.ms
                result = None
            else:
                result = dead.engine.execute(step)
    except StopIteration:
        pass
    assert 4500 <= slept <= 5500


def test_a_slow_rate_moves_one_by_one(dead: Setup) -> None:
    flow = flows.drive_move(dead.dlq, start_without_driver(dead, rate=1))
    step = next(flow)
    while not isinstance(step, Sleep):
        step = flow.send(dead.engine.execute(step))
    assert step.ms == 1000
    assert dead.engine.counts(dead.q)[0] == 1


def test_a_cancelled_task_stops_and_what_moved_stays_moved(dead: Setup) -> None:
    engine = dead.engine
    task_id = start_without_driver(dead)
    assert kill_after(engine, flows.drive_move(dead.dlq, task_id), 8)
    assert engine.run(flows.cancel_move(dead.dlq, task_id)) == (50 if dead.q.is_fifo else 100)
    assert dead.task(task_id).status == "CANCELLING"
    with pytest.raises(MoveTaskRefused):
        engine.run(flows.cancel_move(dead.dlq, task_id))
    engine.clock.advance_ms(moves.SILENCE_MS + 1)
    engine.run(flows.list_moves(dead.dlq))
    assert dead.task(task_id).status == "CANCELLED"
    visible = engine.counts(dead.dlq)[0]
    assert visible + engine.counts(dead.q)[0] == 250
    assert visible > 0
    with pytest.raises(ResourceNotFound):
        engine.run(flows.cancel_move(dead.dlq, "00000000-0000-0000-0000-000000000000"))


def test_messages_without_a_source_fail_the_task(dead: Setup) -> None:
    dead.engine.send(dead.dlq, "by hand", group="g9" if dead.q.is_fifo else None)
    task = dead.task(dead.engine.run(flows.start_move(dead.dlq)))
    assert (task.status, task.failure_reason) == ("FAILED", "CouldNotDetermineMessageSource")
    assert dead.engine.counts(dead.dlq)[0] + dead.engine.counts(dead.q)[0] == 251


def test_a_destination_that_is_gone_fails_the_task_and_loses_nothing(dead: Setup) -> None:
    engine = dead.engine
    task_id = start_without_driver(dead, dead.other)
    engine.run(flows.delete_queue(dead.other, NATIVE))
    engine.run(flows.drive_move(dead.dlq, task_id))
    task = dead.task(task_id)
    assert (task.status, task.failure_reason) == ("FAILED", "AWS.SimpleQueueService.NonExistentQueue")
    assert engine.counts(dead.dlq) == (250, 0, 0)


@pytest.mark.parametrize("after", range(9, 13))
def test_a_destination_that_goes_away_during_a_hand_over_loses_nothing(dead: Setup, after: int) -> None:
    engine = dead.engine
    task_id = start_without_driver(dead, dead.other)
    if not kill_after(engine, flows.drive_move(dead.dlq, task_id), after):
        pytest.skip("it was quick")
    arrived = engine.counts(dead.other)[0]
    engine.run(flows.delete_queue(dead.other, NATIVE))
    engine.clock.advance_ms(moves.SILENCE_MS + 1)
    engine.run(flows.list_moves(dead.dlq))
    assert dead.task(task_id).status == "FAILED"
    assert engine.counts(dead.dlq)[0] >= 250 - arrived
    letters = engine.receive(dead.dlq, 10, 0)
    assert [d.body for d in letters[:2]] == ([0, 3] if dead.q.is_fifo else [0, 1]) or arrived
    assert {d.dead_letter_source for d in letters} == {dead.q.name}
    again = dead.task(engine.run(flows.start_move(dead.dlq)))
    assert again.status == "COMPLETED"
    assert len(dead.drain(dead.q)) >= 250 - arrived
    assert not [key for key in engine.names() if key.endswith("outbox")]


def test_only_a_dead_letter_queue_can_be_moved_and_only_once_at_a_time(dead: Setup) -> None:
    engine = dead.engine
    with pytest.raises(MoveTaskRefused) as refused:
        engine.run(flows.start_move(dead.q))
    assert refused.value.detail == "not_dead_letter_queue"
    start_without_driver(dead)
    with pytest.raises(MoveTaskRefused) as refused:
        engine.run(flows.start_move(dead.dlq))
    assert refused.value.detail == "already_running"
    for source, destination, detail in (("nobody", None, "source"), (dead.dlq.name, "nobody", "destination")):
        target = engine.transport.queue(destination) if destination else None
        with pytest.raises(ResourceNotFound) as missing:
            engine.run(flows.start_move(engine.transport.queue(source), target))
        assert missing.value.detail == detail


def test_the_last_ten_tasks_are_kept_newest_first(engine: Engine, name: str) -> None:
    dead = Setup(engine, name, 1)
    started = []
    for _ in range(13):
        engine.clock.advance_ms(1)
        started.append(engine.run(flows.start_move(dead.dlq)))
    listed = [t.task_id for t in engine.run(flows.list_moves(dead.dlq, 100))]
    assert listed == started[::-1][: len(listed)]
    assert len(listed) in (10, 11)


def test_what_is_too_old_does_not_come_back(engine: Engine) -> None:
    dlq = engine.queue("dead", MessageRetentionPeriod="60")
    q = engine.queue("q", "dead")
    engine.send(q, "old")
    engine.receive(q, visibility_ms=0)
    engine.receive(q)
    engine.clock.advance_ms(60_001)
    engine.run(flows.start_move(dlq))
    assert engine.bodies(q) == []


def test_letters_that_were_delayed_are_moved_once_they_are_due(engine: Engine) -> None:
    dlq = engine.queue("dead")
    engine.queue("q", "dead")
    other = engine.queue("other")
    engine.send(dlq, "due", delay_ms=1000)
    engine.send(dlq, "not due", delay_ms=2000)
    engine.clock.advance_ms(1000)
    engine.run(flows.start_move(dlq, other))
    assert engine.bodies(other) == ["due"]
    assert engine.counts(dlq) == (0, 0, 1)


def test_counts_hold_when_a_step_ends_at_a_large_message_that_came_back(engine: Engine) -> None:
    q = engine.queue("q", MaximumMessageSize=str(4 * 2**20))
    other = engine.queue("other", MaximumMessageSize=str(4 * 2**20))
    engine.queue("source", q.name)
    for _ in range(2):
        engine.send(q, "x" * 3 * 2**20, group="g")
    assert len(engine.receive(q, 2, 1)) == 2
    engine.clock.advance_ms(1)
    engine.send(q, "first", group="first")
    assert engine.bodies(q, 1) == ["first"]  # brings them to their group
    engine.send(q, *range(3), group="g")
    assert engine.counts(q) == (5, 1, 0)
    engine.run(flows.start_move(q, other))
    assert (engine.counts(q), engine.counts(other)) == ((0, 1, 0), (5, 0, 0))


def ids_of(dead: Setup) -> dict[int, str]:
    """Message ids of all dead letters, by body."""
    found, cursor = dead.engine.run(flows.browse(dead.dlq, "visible", "", 1000))
    assert cursor == ""
    return {d.body: d.message_id for d in found}


def chosen(dead: Setup, *bodies: int) -> list[tuple[str, str | None]]:
    ids = ids_of(dead)
    return [(ids[body], None) for body in bodies]


@pytest.mark.parametrize("to_other", [False, True], ids=["same slot", "other slot"])
def test_chosen_messages_go_in_the_order_of_their_group_and_the_others_stay(dead: Setup, to_other: bool) -> None:
    engine = dead.engine
    wanted = chosen(dead, 150, 9, 0, 249, 30, 10)
    done = engine.run(flows.move_chosen(dead.dlq, wanted, dead.other if to_other else None))
    assert (set(done.moved), done.not_found, done.failed) == ({i for i, _ in wanted}, (), {})
    arrived = dead.drain(dead.other if to_other else dead.q)
    assert sorted(arrived) == [0, 9, 10, 30, 150, 249]
    if dead.q.is_fifo:
        assert [body for body in arrived if body % 3 == 0] == [0, 9, 30, 150, 249]
    left = dead.drain(dead.dlq)
    assert sorted(left) == sorted(set(range(250)) - set(arrived))
    if dead.q.is_fifo:
        for group in range(3):
            assert [b for b in left if b % 3 == group] == sorted(b for b in left if b % 3 == group)
    again = engine.run(flows.move_chosen(dead.dlq, wanted))
    assert (again.moved, set(again.not_found)) == ((), {i for i, _ in wanted})
    age(engine, 3_600_001)
    assert left_of_moves(engine) == []
    assert [t.status for t in engine.run(flows.list_moves(dead.dlq))] == ["COMPLETED"] * 2


@pytest.mark.parametrize("with_groups", [False, True])
def test_chosen_messages_are_moved_in_the_background(dead: Setup, with_groups: bool) -> None:
    engine = dead.engine
    wanted = chosen(dead, 150, 9, 0)
    if with_groups and dead.q.is_fifo:
        wanted = [(message_id, f"g{body % 3}") for (message_id, _), body in zip(wanted, (150, 9, 0), strict=True)]
    gone = engine.receive(dead.dlq, 1, 5000)  # 0, which is behind nothing
    engine.delete(dead.dlq, *gone)
    task_id = engine.run(flows.start_chosen(dead.dlq, wanted))
    (task,) = engine.run(flows.list_moves(dead.dlq))
    assert (task.task_id, task.status, task.is_chosen, task.to_move) == (task_id, "COMPLETED", True, 3)
    assert (task.moved, task.not_moved) == (2, {"NotFound": 1})
    assert sorted(dead.drain(dead.q)) == [9, 150]
    assert engine.redis.keys("*:chosen") == []


def test_a_cancelled_task_of_chosen_messages_says_how_many_stayed(dead: Setup) -> None:
    engine = dead.engine
    wanted = chosen(dead, 3, 6, 9, 12, 15)
    (held,) = [d for d in engine.receive(dead.dlq, 1, 5000)]
    wanted.append((held.message_id, None))
    kill_after(engine, flows.move_chosen(dead.dlq, wanted), 12)
    (task,) = [task for task, _ in engine.execute(moves.list_tasks(dead.dlq))]
    engine.run(flows.cancel_move(dead.dlq, task.task_id))
    age(engine, moves.SILENCE_MS + 1)
    engine.run(flows.list_moves(dead.dlq))
    (task,) = engine.run(flows.list_moves(dead.dlq))
    assert (task.status, task.to_move) == ("CANCELLED", 6)
    assert task.moved + sum(task.not_moved.values()) == 6
    assert task.not_moved["Cancelled"] > 0
    assert len(dead.drain(dead.q)) - task.moved in (0, 1)  # the one that was under way


def test_what_is_in_flight_or_came_from_nowhere_stays(dead: Setup) -> None:
    engine = dead.engine
    ids = ids_of(dead)
    held = engine.receive(dead.dlq, 1, 5000)
    engine.send(dead.dlq, "sent", group="new" if dead.q.is_fifo else None)
    ids["sent"] = ids_of(dead)["sent"]  # type: ignore[index]
    body = held[0].body
    behind = body + 3
    wanted = [(ids[key], None) for key in (body, behind, "sent")]  # type: ignore[index]
    done = engine.run(flows.move_chosen(dead.dlq, wanted))
    expected = {held[0].message_id: "NotVisible", ids["sent"]: "CouldNotDetermineMessageSource"}  # type: ignore[index]
    if dead.q.is_fifo:  # its group waits for the one in flight
        expected[ids[behind]] = "NotVisible"
    assert done.failed == expected
    assert engine.delete(dead.dlq, *held) == [None]
    engine.queue("another.fifo" if dead.q.is_fifo else "another", dead.dlq.name)
    engine.run(flows.delete_queue(dead.q, NATIVE))
    done = engine.run(flows.move_chosen(dead.dlq, [(ids[200], None)]))
    assert done.failed == {ids[200]: "AWS.SimpleQueueService.NonExistentQueue"}
    assert 200 in dead.drain(dead.dlq)


def test_a_received_message_that_was_chosen_leaves_its_handle_expired(dead: Setup) -> None:
    engine = dead.engine
    held = engine.receive(dead.dlq, 3, 0)
    engine.clock.advance_ms(1)
    done = engine.run(flows.move_chosen(dead.dlq, [(d.message_id, None) for d in held]))
    assert len(done.moved) == 3
    assert [type(r.error) for r in engine.delete(dead.dlq, *held)] == [ReceiptHandleExpired] * 3
    assert sorted(dead.drain(dead.q)) == sorted(d.body for d in held)


@pytest.mark.either_server
@pytest.mark.parametrize("to_other", [False, True], ids=["same slot", "other slot"])
@pytest.mark.parametrize("after", range(4, 60, 3))
def test_whatever_moment_the_mover_of_chosen_messages_dies_at_nothing_is_lost_or_doubled(
    dead: Setup, after: int, to_other: bool
) -> None:
    engine = dead.engine
    wanted = chosen(dead, 3, 6, 9, 12)
    kill_after(engine, flows.move_chosen(dead.dlq, wanted, dead.other if to_other else None), after)
    age(engine, moves.SILENCE_MS + 1)
    is_entered = bool(engine.run(flows.list_moves(dead.dlq)))  # an orphan is taken over, and moves the others
    tasks = engine.run(flows.list_moves(dead.dlq))
    assert [t.status for t in tasks] == ["COMPLETED"] * is_entered
    assert all(t.moved + sum(t.not_moved.values()) == t.to_move == 4 for t in tasks)
    assert all(t.not_moved.get("NotFound", 0) <= 1 for t in tasks)  # the one that was under way
    arrived = dead.drain(dead.other if to_other else dead.q)
    assert arrived == [3, 6, 9, 12] * is_entered
    assert sorted(arrived + dead.drain(dead.dlq)) == list(range(250))
    age(engine, 3_600_001)
    assert left_of_moves(engine) == []


def test_a_chosen_message_that_cannot_arrive_goes_back_to_its_place(dead: Setup) -> None:
    engine, shard = dead.engine, dead.dlq.partition(dead.q.home.tag)
    held = engine.receive(dead.dlq, 1, 0)  # this one has a state
    engine.clock.advance_ms(1)
    for body in (30, held[0].body):
        ((message_id, _),) = chosen(dead, body)
        key = ids.key_of(message_id, shard.node, shard.is_fifo)
        group = [f"g{body % 3}"] if shard.is_fifo else []
        assert key is not None
        move = moves.move_one(shard, key, group, dead.other.name, "b:1:1", ready_only=False)
        assert engine.execute(move) == 2
        assert engine.execute(moves.move_one(shard, key, group, "", "", ready_only=False)) in (0, -2)
        assert engine.counts(dead.dlq) == (249, 0, 0)
        engine.execute(moves.clear(shard, "b:1:1", "back"))
        engine.execute(moves.clear(shard, "b:1:1", "end"))
    assert engine.counts(dead.dlq) == (250, 0, 0)
    left = dead.drain(dead.dlq)
    assert sorted(left) == list(range(250))
    if shard.is_fifo:
        for group_number in range(3):
            assert [b for b in left if b % 3 == group_number] == list(range(group_number, 250, 3))


def test_one_redrive_at_a_time_and_a_cancelled_one_stops(dead: Setup) -> None:
    engine = dead.engine
    task_id = start_without_driver(dead)
    with pytest.raises(MoveTaskRefused):
        engine.run(flows.move_chosen(dead.dlq, chosen(dead, 1)))
    engine.execute(moves.update(dead.dlq, task_id, "complete"))
    wanted = chosen(dead, 3, 6, 9)

    def run_and_cancel() -> Any:
        flow = flows.move_chosen(dead.dlq, wanted, None, 500)
        step = next(flow)
        while True:
            if isinstance(step, Sleep):  # after the first
                (running,) = (t for t in engine.run(flows.list_moves(dead.dlq)) if t.status == "RUNNING")
                engine.run(flows.cancel_move(dead.dlq, running.task_id))
            result = engine.execute(step) if isinstance(step, Operation) else None
            try:
                step = flow.send(result)
            except StopIteration as end:
                return end.value

    done = run_and_cancel()
    assert len(done.moved) == 2  # the second one's step told that it was cancelled
    assert set(done.failed.values()) == {"Cancelled"}
    assert engine.run(flows.list_moves(dead.dlq))[0].status in ("CANCELLED", "COMPLETED")


def test_a_dead_letter_far_from_the_head_of_an_unsorted_list_is_found(engine: Engine) -> None:
    dead = Setup(engine, "q", 3)
    shard = dead.dlq.partition(dead.q.home.tag)
    ready = shard.base + "ready"
    entries = engine.redis.lrange(ready, 0, -1)
    engine.redis.delete(ready)
    later = engine.clock.ms * 1000
    for i in range(30):  # 30,000 dead letters that were sent later and died earlier
        engine.redis.rpush(
            ready, *(x for n in range(1000) for x in (b"%d" % (later + i * 1000 + n) + b"abcde000", entries[1]))
        )
    engine.redis.rpush(ready, *entries)
    wanted = [(ids.message_id(key.decode()[:24], shard.node), None) for key in entries[::2]]
    done = engine.run(flows.move_chosen(dead.dlq, wanted))
    assert len(done.moved) == 3
    assert sorted(dead.drain(dead.q)) == [0, 1, 2]
