"""Waiters: woken by what they wait for, by nothing else, whatever happens to their connections."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rqsqs._core import envelope, flows
from rqsqs._core.keys import QueueRef
from rqsqs._io.sync.runner import Transport
from rqsqs.limits import NATIVE
from tests.clusters import calls, masters_of, until
from tests.faults.conftest import Fleet, create, total

ROUNDS = int(os.environ.get("RQSQS_KILLS", "4"))
SEED = int(os.environ.get("RQSQS_SEED", "0")) or random.randrange(1 << 30)
WAIT_MS = 90_000  # a waiter that does not know of a due time
LATE_S = 30.0  # the aim is 10 ms, or one second if somebody was killed: tests/lua/test_wakeup_states.py


@pytest.fixture
def transport(server_url: str, transport_to: Callable[[str], Transport]) -> Transport:
    return transport_to(server_url)


@pytest.fixture(params=["q", "q.fifo"])
def q(request: pytest.FixtureRequest, transport: Transport) -> QueueRef:
    return create(transport, request.param)


def send(transport: Transport, q: QueueRef, *bodies: Any, **options: Any) -> None:
    group = "g" if q.is_fifo else None
    transport.run(flows.send_messages(q, [envelope.outgoing(b, group=group, **options) for b in bodies], NATIVE))


def receive(transport: Transport, q: QueueRef, wait_ms: int, visibility_ms: int = 30_000) -> list[Any]:
    return transport.run(flows.receive_messages(q, NATIVE, 1, visibility_ms, wait_ms))


class Waiter(threading.Thread):
    """A thread that waits once and remembers when it got what."""

    def __init__(self, transport: Transport, q: QueueRef, wait_ms: int = WAIT_MS) -> None:
        super().__init__(daemon=True)
        self.task = transport, q, wait_ms
        self.bodies: list[Any] = []
        self.at = 0.0
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        transport, q, wait_ms = self.task
        try:
            got = transport.run(flows.receive_messages(q, NATIVE, 1, None, wait_ms, delete=True))
            self.at = time.time()
            self.bodies = [d.body for d in got]
        except Exception as e:
            self.error = e

    def done(self, seconds: float = 40) -> list[Any]:
        self.join(seconds)
        assert not self.is_alive(), "it still waits"
        assert self.error is None, self.error
        return self.bodies


def in_time(late_s: float) -> bool:
    """Is it not before its time, and woken by it?"""
    return -0.02 <= late_s < LATE_S


def test_a_delayed_message_wakes_a_waiter_when_it_is_due(transport: Transport, q: QueueRef) -> None:
    waiters = [Waiter(transport, q) for _ in range(3)]
    time.sleep(0.1)
    due_ms = int(time.time() * 1000) + 300
    send(transport, q, "late", due_ms=due_ms)
    until(lambda: any(w.bodies for w in waiters), "one has it")
    (at,) = [w.at for w in waiters if w.bodies]
    send(transport, q, "b")
    send(transport, q, "c")
    assert sorted(body for w in waiters for body in w.done()) == ["b", "c", "late"]
    assert in_time(at - due_ms / 1000)


def test_the_end_of_a_visibility_timeout_wakes_a_waiter(transport: Transport, q: QueueRef) -> None:
    send(transport, q, "a")
    (d,) = receive(transport, q, 0, 300)
    waiter = Waiter(transport, q)
    assert waiter.done() == ["a"]
    assert in_time(waiter.at - int(d.received_ms) / 1000 - 0.3)


def test_an_earlier_due_time_is_kept_though_a_waiter_guards_a_later_one(transport: Transport, q: QueueRef) -> None:
    other = "h" if q.is_fifo else None
    send(transport, q, "later", delay_ms=60_000)
    waiter = Waiter(transport, q)
    time.sleep(0.1)
    due_ms = int(time.time() * 1000) + 200
    transport.run(flows.send_messages(q, [envelope.outgoing("sooner", group=other, due_ms=due_ms)], NATIVE))
    assert waiter.done() == ["sooner"]
    assert in_time(waiter.at - due_ms / 1000)


def test_a_waiter_whose_time_is_over_hands_the_guard_on(transport: Transport, q: QueueRef) -> None:
    due_ms = int(time.time() * 1000) + 2000
    send(transport, q, "a", due_ms=due_ms)
    short = Waiter(transport, q, 200)
    time.sleep(0.05)
    long = Waiter(transport, q)
    assert short.done() == []
    assert long.done() == ["a"]
    assert in_time(long.at - due_ms / 1000)


def test_a_guard_that_only_follows_another_waiter_rings_in_time(transport: Transport, q: QueueRef) -> None:
    """One thread of a process blocks on the server; the timer owner may be one of those behind it."""
    waiters = [Waiter(transport, q) for _ in range(6)]
    time.sleep(0.1)
    for n in range(3):  # who leads changes
        send(transport, q, n)
    due_ms = int(time.time() * 1000) + 200
    send(transport, q, "due", due_ms=due_ms)
    send(transport, q, "due too", due_ms=due_ms + 1)
    until(lambda: len([w for w in waiters if w.bodies]) >= 5, "five have one")
    send(transport, q, "last")
    got = {w.done()[0]: w.at for w in waiters}
    assert set(got) == {0, 1, 2, "due", "due too", "last"}
    assert in_time(max(got["due"], got["due too"]) - due_ms / 1000)


def test_no_wake_up_is_lost_among_many_waiters_in_several_processes(
    server_url: str, prefix: str, fleet: Fleet, transport: Transport, q: QueueRef
) -> None:
    for _ in range(3):
        fleet.start("wait", server_url, prefix, q.name, threads=4)
    fleet.wait_for("waiting", 3)
    for n in range(150):
        options = {"delay_ms": random.choice([1, 5, 20])} if n % 5 == 0 else {}
        group = f"g{n % 7}" if q.is_fifo else None
        transport.run(flows.send_messages(q, [envelope.outgoing(n, group=group, **options)], NATIVE))
        if n % 10 == 0:
            fleet.wait_for("got", n)  # all asleep again
        time.sleep(random.choice([0, 0, 0.001, 0.005]))
    fleet.wait_for("got", 150)
    assert sorted(fleet.bodies("got")) == list(range(150))
    assert total(transport, q) == 0


def test_waiting_costs_no_commands(server_url: str, transport: Transport, q: QueueRef) -> None:
    waiters = [Waiter(transport, q) for _ in range(10)]
    time.sleep(0.3)
    with masters_of(server_url) as masters:
        before = calls(masters)
        time.sleep(1.2)
        spent = calls(masters) - before
    assert not spent, f"while nothing happened: {spent}"
    for n in range(10):
        send(transport, q, n)
    assert sorted(body for w in waiters for body in w.done()) == list(range(10))


def test_many_waiters_of_many_processes_send_nothing_while_nothing_is_due(
    server_url: str, prefix: str, fleet: Fleet, transport: Transport, q: QueueRef
) -> None:
    send(transport, q, "much later", delay_ms=600_000)
    for role in ("wait", "wait_aio", "wait", "wait_aio", "wait"):
        fleet.start(role, server_url, prefix, q.name, threads=10)
    fleet.wait_for("waiting", 5)
    with masters_of(server_url) as masters:
        deadline, spent = time.monotonic() + 15, None
        while spent != {} and time.monotonic() < deadline:  # until they have found out who does what
            before = calls(masters)
            time.sleep(1.5)
            spent = dict(calls(masters) - before)
    assert spent == {}


def test_waiting_for_a_due_time_costs_a_few_commands(server_url: str, transport: Transport, q: QueueRef) -> None:
    send(transport, q, "a", delay_ms=1000)
    waiters = [Waiter(transport, q, 1500) for _ in range(5)]
    time.sleep(0.3)
    with masters_of(server_url) as masters:
        before = calls(masters)
        for w in waiters:
            w.done()
        spent = calls(masters) - before
    assert sum(spent[name] for name in ("evalsha", "blpop")) <= 25, spent


def test_waiters_survive_that_their_connections_are_cut(server_url: str, transport: Transport, q: QueueRef) -> None:
    waiters = [Waiter(transport, q) for _ in range(4)]
    with masters_of(server_url) as masters:
        for _ in range(5):
            time.sleep(0.1)
            for master in masters:
                master.client_kill_filter(_type="normal")
    time.sleep(0.1)
    for n in range(4):
        send(transport, q, n)
    assert sorted(body for w in waiters for body in w.done()) == list(range(4))


def test_work_goes_on_while_connections_are_cut_and_scripts_forgotten(
    server_url: str, transport: Transport, q: QueueRef
) -> None:
    stop = threading.Event()
    got: list[Any] = []
    errors: list[Exception] = []

    def consume() -> None:
        while not stop.is_set() or total(transport, q):
            try:
                for d in receive(transport, q, 100):
                    got.append(d.body)
                    transport.run(flows.delete_messages(q, [d.receipt_handle], NATIVE))
            except Exception as e:
                errors.append(e)

    threads = [threading.Thread(target=consume) for _ in range(3)]
    for thread in threads:
        thread.start()
    with masters_of(server_url) as masters:
        for n in range(200):
            if n % 10 == 0:
                for master in masters:
                    master.script_flush() if n % 20 else master.client_kill_filter(_type="normal")
            send(transport, q, n)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(got) == list(range(200))


class Herd:
    """Processes that wait, in threads and in tasks, for long and for short; they come, end and are killed at random."""

    def __init__(self, fleet: Fleet, url: str, prefix: str, q: QueueRef, random_: random.Random) -> None:
        self.fleet, self.url, self.prefix, self.q, self.random = fleet, url, prefix, q, random_
        self.alive: list[Any] = []

    def grow(self, count: int) -> None:
        while len(self.alive) < count:
            waits = self.random.choice([(WAIT_MS, WAIT_MS), (WAIT_MS, WAIT_MS), (50, 1500)])
            role, threads = self.random.choice(["wait", "wait_aio"]), self.random.choice([1, 1, 3])
            self.alive.append(
                self.fleet.start(role, self.url, self.prefix, self.q.name, threads=threads, wait_ms=waits)
            )
        self.fleet.wait_for("waiting", len(self.fleet.processes))

    def kill(self) -> None:
        victim = self.alive.pop(self.random.randrange(len(self.alive)))
        victim.kill()
        victim.wait()


@pytest.mark.parametrize("partitions", [1, 3])
def test_whoever_dies_or_leaves_what_is_due_is_handed_out_in_time(
    server_url: str, prefix: str, fleet: Fleet, transport: Transport, q: QueueRef, partitions: int
) -> None:
    if partitions > 1:
        scope = {"DeduplicationScope": "messageGroup"} if q.is_fifo else {}
        q = create(transport, f"many-{q.name}", Partitions=str(partitions), **scope)
    print(f"RQSQS_SEED={SEED}")
    random_ = random.Random(SEED)
    herd = Herd(fleet, server_url, prefix, q, random_)
    late: list[tuple[float, bool]] = []
    for n in range(ROUNDS):
        herd.grow(3)
        due = {}
        for i in range(random_.choice([1, 1, 2, 3])):
            delay_ms = random_.randint(150, 900)
            due[f"{n}.{i}"] = time.time() + delay_ms / 1000
            group = f"g{n}.{i}" if q.is_fifo else None
            batch = [envelope.outgoing(f"{n}.{i}", group=group, delay_ms=delay_ms)]
            transport.run(flows.send_messages(q, batch, NATIVE))
        is_killed = random_.random() < 0.7
        if is_killed:
            time.sleep(max(min(due.values()) - time.time() - random_.choice([0.005, 0.05, 0.1]), 0))
            herd.kill()
        deadline = time.monotonic() + LATE_S
        while (missing := set(due) - set(fleet.bodies("got"))) and time.monotonic() < deadline:
            if total(transport, q) == 0 and is_killed:
                time.sleep(0.2)  # one of those who live may be about to tell
                break  # else the one that was killed had it
            time.sleep(0.01)
        assert not missing or is_killed, f"seed {SEED}, round {n}: {missing} not received"
        assert total(transport, q) == 0, f"seed {SEED}, round {n}: {missing} not received"
        for line in fleet.lines("got"):
            if line["body"] in due:
                late.append((line["at"] - due[line["body"]], is_killed))
    late.sort()
    assert late, f"seed {SEED}: nothing was received by anybody"
    assert late[-1][0] < LATE_S, f"seed {SEED}: {late[-5:]}"
    assert late[0][0] > -0.02, f"seed {SEED}: too early"
    print("late by seconds:", *[f"{at:.3f}{' killed' if is_killed else ''}" for at, is_killed in late])
