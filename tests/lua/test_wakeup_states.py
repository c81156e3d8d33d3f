"""Every order of events among a few waiters: whoever dies or leaves, what is due is handed out in time.

The scripts are the real ones. What one of them makes of a state of the queue is asked of the server once and
remembered, so that all states of queue and waiters can be walked through. Time stands still while anybody has
something to do; it jumps to the next moment at which a waiter does something by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from rqsqs._core import envelope, operations
from rqsqs._core.keys import QueueRef
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine
from tests.model.harness import SOAK_SECONDS

pytestmark = pytest.mark.either_server
KILLED_MS = 800  # so late a message may be if somebody was killed; a second, less what a server and a client need
NOT_BEGUN, BETWEEN, BLOCKED, HOLDS, GONE, DEAD = "not begun", "between", "blocked", "holds a token", "gone", "dead"


class Waiter(NamedTuple):
    """A waiter by its name PROCESS-NUMBER."""

    name: str
    phase: str = NOT_BEGUN
    wake_at: int = 0  # when it wakes somebody, as the owner
    look_at: int = 0  # when it looks, because of its duty


class State(NamedTuple):
    """Everything at one moment, and what still may happen."""

    queue: int  # number of a snapshot
    now: int
    waiters: tuple[Waiter, ...]
    sends: tuple[int, ...]  # delays in ms
    kills: int
    killed: int
    ends: int
    cancels: int


class Snapshot(NamedTuple):
    """What is in the queue."""

    lists: tuple[tuple[str, int], ...]  # wakeup lists that have tokens
    timer: str
    dues: tuple[int, ...]  # of messages that wait


@dataclass(frozen=True)
class Step:
    """A state and how it was reached."""

    state: State
    what: str
    before: Step | None

    def story(self) -> str:
        told, step = [], self
        while True:
            told.append(f"{step.what}: {step.state.now} ms, {step.state.waiters}")
            if step.before is None:
                return "\n".join(reversed(told))
            step = step.before


RESTORE = """
for i, key in ipairs(KEYS) do
  redis.call("DEL", key)
  if ARGV[2 * i] ~= "" then redis.call("RESTORE", key, ARGV[2 * i - 1], ARGV[2 * i]) end
end
"""
SAVE = """
local answers = {}
for i, key in ipairs(KEYS) do
  redis.call("PERSIST", key)  -- what ends by itself is restored with what is left of its time
  local has_length = i <= tonumber(ARGV[1])
  answers[i] = {has_length and redis.call("LLEN", key) or 0, redis.call("DUMP", key) or ""}
end
return {redis.call("GET", KEYS[ARGV[1] + 1]) or "", answers}
"""


class Server:
    """Runs scripts on snapshots."""

    def __init__(self, engine: Engine, q: QueueRef, names: list[str], delays_ms: tuple[int, ...]) -> None:
        self.engine, self.q = engine, q
        self.start_ms = engine.clock.ms
        base = q.home.base
        self.lists = ["wakeups", "backup", *[f"wake:{name}" for name in names]]
        sets = ["meta", "delayed", "postponed", "inflight", "available", "ready", "store", "state"]
        groups = [f"group:g{delay_ms}" for delay_ms in delays_ms]
        self.keys = [base + name for name in (*self.lists, "timer", *sets, *groups)]
        self.dumps: list[list[bytes]] = []  # "" = there is no such key
        self.snapshots: list[Snapshot] = []
        self.numbers: dict[Snapshot, int] = {}
        self.known: dict[Any, tuple[int, Any]] = {}
        self.empty = self._save(())

    def _save(self, dues: tuple[int, ...]) -> int:
        timer, answers = self.engine.redis.eval(SAVE, len(self.keys), *self.keys, len(self.lists))
        self.present = [dump for _, dump in answers]
        lists = tuple((name, n) for name, (n, _) in zip(self.lists, answers, strict=False) if n)
        snapshot = Snapshot(lists, timer.decode(), tuple(sorted(dues)))
        number = self.numbers.get(snapshot)
        if number is None:
            number = self.numbers[snapshot] = len(self.snapshots)
            self.snapshots.append(snapshot)
            self.dumps.append(self.present)
        return number

    def _restore(self, queue: int, now: int) -> None:
        keys: list[str] = []
        values: list[Any] = []
        for key, dump, present in zip(self.keys, self.dumps[queue], self.present, strict=True):
            left = 0
            if dump and key.endswith(":timer"):  # the only one that ends by itself
                left = int(self.snapshots[queue].timer.partition(":")[0]) - self.start_ms - now + 2000
                if left <= 0:
                    dump = b""
            if left or dump != present:
                keys.append(key)
                values += left, dump
        if keys:
            self.engine.redis.eval(RESTORE, len(keys), *keys, *values)

    def do(self, queue: int, now: int, *call: Any) -> tuple[int, Any]:
        """What a call makes of a snapshot: the next one, and its result."""
        key = queue, now, call
        if key not in self.known:
            self.known[key] = self._do(queue, now, *call)
        return self.known[key]

    def _do(self, queue: int, now: int, what: str, *args: Any) -> tuple[int, Any]:
        p, base, dues = self.q.home, self.q.home.base, self.snapshots[queue].dues
        self.engine.clock.us = (self.start_ms + now) * 1000
        self._restore(queue, now)
        result: Any = None
        if what == "pop":
            assert self.engine.redis.lpop(base + args[0])
        elif what == "receive":
            waiter, has_waited, left = args
            until = str(self.start_ms + now + left) if has_waited else f"+{left}"
            got = self.engine.execute(operations.receive_messages(p, NATIVE, 1, None, until, waiter, delete=True))
            if got.messages:
                result = True
                dues = tuple(sorted(dues)[1:])
            else:
                result = [t and t - self.start_ms for t in (got.wake_at_ms, got.look_at_ms)]
        elif what == "wake":
            self.engine.execute(operations.wake_waiter(p, *args))
        elif what == "watch":
            result = self.engine.execute(operations.watch(p, *args))
        else:
            delay_ms = args[0]
            group = f"g{delay_ms}" if self.q.is_fifo else None
            self.engine.execute(
                operations.send_messages(p, [envelope.outgoing("x", group=group, delay_ms=delay_ms)], NATIVE)
            )
            dues = (*dues, now + delay_ms)
        return self._save(dues), result


class Walk:
    """All states that can be reached from one.

    Args:
        is_one_step: a waiter takes a token and receives in one step, as on one partition; on several it may die
            between.
    """

    def __init__(self, server: Server, start: State, *, is_one_step: bool) -> None:
        self.server = server
        self.is_one_step = is_one_step
        self.steps = [Step(start, "it begins", None)]
        self.seen = {start}
        self.inner: dict[State, list[State]] = {}
        while self.steps:
            step = self.steps.pop()
            state = step.state
            nexts = self.next_inner(state)
            self.inner[state] = [following for _, following in nexts]
            if not nexts:
                nexts = self.check(step)
            for what, following in [*nexts, *self.next_outer(state)]:
                if following not in self.seen:
                    self.seen.add(following)
                    self.steps.append(Step(following, what, step))
        self._no_circle()

    def _no_circle(self) -> None:
        """Does everybody come to rest by themselves?"""
        done: set[State] = set()
        for first in self.inner:
            path, stack = {first}, [(first, iter(self.inner[first]))]
            while stack and first not in done:
                state, left = stack[-1]
                following = next(left, None)
                if following is None:
                    stack.pop()
                    path.discard(state)
                    done.add(state)
                elif following not in done:
                    assert following not in path, f"they go round in circles: {following}"
                    path.add(following)
                    stack.append((following, iter(self.inner[following])))

    def listened(self, w: Waiter) -> list[str]:
        """The lists on which a blocked waiter finds a token."""
        names = ("wakeups", f"wake:{w.name}" if w.look_at else "backup")
        return [name for name, _ in self.snapshot.lists if name in names] if w.phase == BLOCKED else []

    def with_waiter(self, state: State, i: int, w: Waiter, queue: int | None = None, **changes: Any) -> State:
        waiters = (*state.waiters[:i], w, *state.waiters[i + 1 :])
        return state._replace(waiters=waiters, queue=state.queue if queue is None else queue, **changes)

    def received(self, state: State, i: int, queue: int, *, has_waited: bool, left: int = 500_000) -> State:
        """Waiter i has received."""
        w = state.waiters[i]
        queue, result = self.server.do(queue, state.now, "receive", w.name, has_waited, left)
        if result is True or left == 0:
            return self.with_waiter(state, i, Waiter(w.name, GONE), queue)
        return self.with_waiter(state, i, Waiter(w.name, BETWEEN, *result), queue)

    def next_inner(self, state: State) -> list[tuple[str, State]]:
        """What happens by itself and at once."""
        self.snapshot = self.server.snapshots[state.queue]
        nexts = []
        for i, w in enumerate(state.waiters):
            if w.phase == BETWEEN:
                nexts.append((f"{w.name} blocks", self.with_waiter(state, i, w._replace(phase=BLOCKED))))
            elif w.phase == HOLDS:
                following = self.received(state, i, state.queue, has_waited=True)
                nexts.append((f"{w.name} receives", following))
            for name in self.listened(w):
                queue, _ = self.server.do(state.queue, state.now, "pop", name)
                if self.is_one_step:
                    following = self.received(state, i, queue, has_waited=True)
                else:
                    following = self.with_waiter(state, i, w._replace(phase=HOLDS), queue)
                nexts.append((f"{w.name} takes a token of {name}", following))
            if w.phase == BLOCKED and w.wake_at and w.wake_at <= state.now:
                queue, again = self.server.do(state.queue, state.now, "watch", w.name)
                waiter = w._replace(wake_at=state.now + again if again else 0)
                nexts.append((f"{w.name} wakes somebody", self.with_waiter(state, i, waiter, queue)))
            if w.phase == BLOCKED and w.look_at and w.look_at <= state.now:
                nexts.append((f"{w.name} looks", self.received(state, i, state.queue, has_waited=True)))
        return nexts

    def is_next(self, state: State, i: int) -> bool:
        """May this one begin? Of several that differ by their names alone, the first does: any other order is the same
        with other names."""
        processes = [w.name.partition("-")[0] for w in state.waiters]
        counts = [processes.count(process) for process in processes]
        firsts = [processes.index(process) for process in processes]
        return state.waiters[i].phase == NOT_BEGUN and not any(
            state.waiters[j].phase == NOT_BEGUN
            and (firsts[j] == firsts[i] or (j == firsts[j] and i == firsts[i] and counts[j] == counts[i]))
            for j in range(i)
        )

    def next_outer(self, state: State) -> list[tuple[str, State]]:
        """What may happen at any moment."""
        nexts = []
        for i, w in enumerate(state.waiters):
            if self.is_next(state, i):
                nexts.append((f"{w.name} begins", self.received(state, i, state.queue, has_waited=False)))
            if w.phase in (BETWEEN, BLOCKED, HOLDS) and state.kills:
                process = w.name.partition("-")[0]
                waiters = tuple(
                    Waiter(v.name, DEAD) if v.name.partition("-")[0] == process else v for v in state.waiters
                )
                killed = state._replace(waiters=waiters, kills=state.kills - 1, killed=state.killed + 1)
                nexts.append((f"{process} is killed", killed))
            if w.phase == BLOCKED:
                for name in [None, *self.listened(w)]:
                    queue = state.queue if name is None else self.server.do(state.queue, state.now, "pop", name)[0]
                    if state.ends:
                        ended = self.received(state, i, queue, has_waited=True, left=0)
                        nexts.append(
                            (f"the wait of {w.name} is over, with {name}", ended._replace(ends=state.ends - 1))
                        )
                    if state.cancels:
                        for call in ((), (w.name,)):
                            queue, _ = self.server.do(queue, state.now, "wake", *call)
                        gone = self.with_waiter(state, i, Waiter(w.name, GONE), queue, cancels=state.cancels - 1)
                        nexts.append((f"{w.name} is cancelled, with {name}", gone))
        for i, delay_ms in enumerate(state.sends):
            queue, _ = self.server.do(state.queue, state.now, "send", delay_ms)
            rest = (*state.sends[:i], *state.sends[i + 1 :])
            nexts.append((f"sent, delay {delay_ms}", state._replace(queue=queue, sends=rest)))
        return nexts

    def check(self, step: Step) -> list[tuple[str, State]]:
        """Nobody has anything to do: is all that is due handed out, and will the rest be? Returns the next moment."""
        state = step.state
        dues = self.server.snapshots[state.queue].dues
        blocked = [w for w in state.waiters if w.phase == BLOCKED]
        times = [t for w in blocked for t in (w.wake_at, w.look_at) if t]
        if not blocked:
            return []
        if dues:
            latest = dues[0] + (KILLED_MS if state.killed else 0)
            assert times, f"nobody will look at what is due at {dues[0]} ms:\n{step.story()}"
            assert min(times) <= latest, f"due at {dues[0]} ms, nobody looks before {min(times)}:\n{step.story()}"
            assert state.now <= latest, f"due at {dues[0]} ms and not handed out at {state.now}:\n{step.story()}"
            if not state.killed:
                assert state.now < dues[0], f"due at {dues[0]} ms and not handed out:\n{step.story()}"
        return [("time passes", state._replace(now=min(times)))] if times else []


def walk(engine: Engine, name: str, names: list[str], sends: tuple[int, ...], is_one_step: bool, **may: int) -> Walk:
    server = Server(engine, engine.queue(name), names, sends)
    budget = {"kills": 0, "ends": 0, "cancels": 0, **may}
    start = State(server.empty, 0, tuple(Waiter(n) for n in names), sends, killed=0, **budget)
    return Walk(server, start, is_one_step=is_one_step)


ONE = ["p-1", "r-1", "s-1"]  # each in a process of its own
SHARED = ["p-1", "p-2", "r-1"]
BOTH = pytest.mark.parametrize("is_one_step", [True, False], ids=["one partition", "several partitions"])


@BOTH
def test_a_wait_that_ends_and_one_that_is_cancelled_cost_nobody_a_wakeup(
    engine: Engine, name: str, is_one_step: bool
) -> None:
    walk(engine, name, ONE, (5000,), is_one_step, ends=1, cancels=1)


@BOTH
def test_a_process_that_is_killed_costs_nobody_a_wakeup(engine: Engine, name: str, is_one_step: bool) -> None:
    walk(engine, name, ONE, (60_000, 5000), is_one_step, kills=1)


def test_a_process_with_several_waiters_that_is_killed_costs_nobody_a_wakeup(engine: Engine, name: str) -> None:
    walk(engine, name, SHARED, (5000,), True, kills=1, ends=1, cancels=1)


def test_a_visible_message_among_those_that_wait_for_a_due_time(engine: Engine, name: str) -> None:
    walk(engine, name, ONE, (5000, 0), True, kills=1, ends=1)


def test_two_processes_that_are_killed_cost_nobody_a_wakeup(engine: Engine, name: str) -> None:
    walk(engine, name, ONE, (5000,), True, kills=2)


@pytest.mark.skipif(not SOAK_SECONDS, reason="only with RQSQS_SOAK_SECONDS")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("names", "sends", "is_one_step", "may"),
    [
        (ONE, (60_000, 5000), True, {"kills": 2, "ends": 1, "cancels": 1}),
        (ONE, (60_000, 5000), False, {"kills": 1, "ends": 1}),
        (ONE, (5000, 0), True, {"kills": 2, "ends": 1, "cancels": 1}),
        ([*ONE, "t-1"], (5000,), True, {"kills": 2, "ends": 1}),
        ([*SHARED, "r-2"], (60_000, 5000), True, {"kills": 1}),
    ],
)
def test_longer_walks(
    engine: Engine, name: str, names: list[str], sends: tuple[int, ...], is_one_step: bool, may: dict[str, int]
) -> None:
    walk(engine, name, names, sends, is_one_step, **may)
