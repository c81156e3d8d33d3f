"""FIFO queues: the order of each group, whatever happens, and groups side by side."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import defaultdict
from typing import Any

import pytest

import rqsqs
from rqsqs import Message, RetryPolicy, aio
from rqsqs.worker import Retry
from tests.worker.serving import App, is_empty, released, send, until

SOON = RetryPolicy(base=0.01, cap=0.03)


class Book:
    """What was begun and ended in each group, and that never two are handled at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begun: dict[str, list[int]] = defaultdict(list)
        self.ended: dict[str, list[int]] = defaultdict(list)
        self.running: dict[str, int] = defaultdict(int)
        self.most = 0
        self.wrong: list[Any] = []

    def begin(self, group: str, numbers: list[int]) -> None:
        with self.lock:
            self.running[group] += 1
            self.most = max(self.most, sum(self.running.values()))
            if self.running[group] > 1:
                self.wrong.append((group, numbers, "at the same time"))
            if numbers[0] != len(self.ended[group]):
                self.wrong.append((group, numbers, "is not the next"))
            if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
                self.wrong.append((group, numbers, "are not in order"))
            self.begun[group] += numbers

    def end(self, group: str, numbers: list[int]) -> None:
        with self.lock:
            self.running[group] -= 1
            self.ended[group] += numbers

    def fail(self, group: str) -> None:
        with self.lock:
            self.running[group] -= 1


def fill(q: rqsqs.Queue, groups: int, each: int) -> None:
    bodies = [[f"g{g}", n] for n in range(each) for g in range(groups)]
    send(q, bodies, lambda body: str(body[0]))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_order_holds_while_messages_fail_now_and_then(app: App, kind: str, workers: int) -> None:
    q = app.queue("q.fifo", retry_policy=SOON)
    book = Book()
    chance = random.Random(7)
    failed = 0

    def step(message: Message) -> None:
        nonlocal failed
        group, n = message.body
        if chance.random() < 0.15:
            failed += 1
            book.fail(group)
            raise ValueError("now and then")
        book.end(group, [n])

    def plain(message: Message) -> None:
        book.begin(message.body[0], [message.body[1]])
        time.sleep(chance.random() * 0.004)
        step(message)

    async def coroutine(message: aio.Message) -> None:
        book.begin(message.body[0], [message.body[1]])
        await asyncio.sleep(chance.random() * 0.004)
        step(message)

    fill(q, 12, 25)
    for _ in range(workers):
        app.serve({"q.fifo": plain if kind == "plain" else coroutine}, concurrency=6, heartbeat_interval=1.0)
    until(lambda: is_empty(q))
    assert not book.wrong
    assert {g: ended for g, ended in book.ended.items()} == {f"g{g}": list(range(25)) for g in range(12)}
    assert failed > 10
    assert book.most > 2, "groups are handled side by side"


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_hold_messages_of_a_group_together_and_in_order(app: App, workers: int) -> None:
    q = app.queue("q.fifo", retry_policy=SOON)
    book = Book()
    chance = random.Random(7)
    sizes: list[int] = []

    def handle(messages: list[Message]) -> None:
        groups: dict[str, list[int]] = defaultdict(list)
        for m in messages:
            groups[m.body[0]].append(m.body[1])
        assert [m.body[0] for m in messages] == [g for g, numbers in groups.items() for _ in numbers], "together"
        sizes.append(len(messages))
        for group, numbers in groups.items():
            book.begin(group, numbers)
        time.sleep(0.003)
        is_bad = chance.random() < 0.1
        for group, numbers in groups.items():
            book.fail(group) if is_bad else book.end(group, numbers)
        if is_bad:
            raise ValueError("all of it")

    fill(q, 10, 30)
    for _ in range(workers):
        app.serve({"q.fifo": handle}, concurrency=4, batch=7, heartbeat_interval=1.0)
    until(lambda: is_empty(q), lambda: (q.counts(), book.wrong))
    assert not book.wrong
    assert all(ended == list(range(30)) for ended in book.ended.values())
    assert max(sizes) <= 7
    assert sum(sizes) / len(sizes) > 2


def test_a_group_waits_for_a_failed_message_others_do_not(app: App) -> None:
    q = app.queue("q.fifo")
    done: list[Any] = []

    def handle(message: Message) -> None:
        if message.body == ["a", 0] and not message.failures:
            raise Retry(after=0.5)
        done.append(tuple(message.body))

    send(q, [["a", n] for n in range(5)] + [["b", n] for n in range(5)], lambda body: str(body[0]))
    app.serve({"q.fifo": handle})
    until(lambda: is_empty(q))
    assert [n for group, n in done if group == "a"] == list(range(5))
    assert done[:5] == [("b", n) for n in range(5)]


def test_after_a_dead_letter_the_group_goes_on(app: App) -> None:
    dead = app.queue("dead.fifo")
    q = app.queue("q.fifo", dead_letter_queue=dead, max_receive_count=2, retry_policy=SOON)
    done: list[int] = []

    def handle(message: Message) -> None:
        if message.body == 2:
            raise ValueError("never")
        done.append(message.body)

    send(q, range(6), lambda body: "g")
    app.serve({"q.fifo": handle})
    until(lambda: is_empty(q))
    assert done == [0, 1, 3, 4, 5]
    assert [m.body for m in dead.peek(10)] == [2]


def test_a_slow_group_does_not_hold_up_others(app: App) -> None:
    q = app.queue("q.fifo")
    done: list[Any] = []
    go = threading.Event()

    def handle(message: Message) -> None:
        if message.body[0] == "slow":
            go.wait(60)
        done.append(tuple(message.body))

    bodies = [["slow", n] for n in range(10)] + [[f"g{g}", n] for n in range(10) for g in range(5)]
    send(q, bodies, lambda body: str(body[0]))
    with released(go):
        app.serve({"q.fifo": handle}, concurrency=2)
        until(lambda: len(done) == 50)
    until(lambda: is_empty(q))
    assert [n for group, n in done if group == "slow"] == list(range(10))


def test_a_thousand_groups(app: App) -> None:
    q = app.queue("q.fifo")
    book = Book()

    def handle(message: Message) -> None:
        group, n = message.body
        book.begin(group, [n])
        book.end(group, [n])

    fill(q, 1000, 3)
    app.serve({"q.fifo": handle}, concurrency=20, heartbeat_interval=1.0)
    until(lambda: is_empty(q), q.counts)
    assert not book.wrong
    assert len(book.ended) == 1000
    assert all(ended == [0, 1, 2] for ended in book.ended.values())


def test_messages_that_come_while_their_group_is_handled_follow_it(app: App) -> None:
    q = app.queue("q.fifo")
    book = Book()

    def handle(message: Message) -> None:
        group, n = message.body
        book.begin(group, [n])
        time.sleep(0.002)
        book.end(group, [n])

    app.serve({"q.fifo": handle}, concurrency=4, heartbeat_interval=1.0)
    for n in range(60):
        for g in range(3):
            q.send([f"g{g}", n], group=f"g{g}", deduplication_id=f"{g}-{n}")
    until(lambda: is_empty(q))
    assert not book.wrong
    assert all(ended == list(range(60)) for ended in book.ended.values())


def test_a_worker_that_stops_and_starts_keeps_the_order(app: App) -> None:
    q = app.queue("q.fifo")
    book = Book()
    counts: set[int] = set()

    def handle(message: Message) -> None:
        counts.add(message.receive_count)
        group, n = message.body
        book.begin(group, [n])
        time.sleep(0.001)
        book.end(group, [n])

    fill(q, 8, 100)
    while not is_empty(q):
        with app.serve({"q.fifo": handle}, concurrency=5, heartbeat_interval=1.0):
            time.sleep(0.05)
        assert q.counts().in_flight == 0
    assert not book.wrong
    assert all(ended == list(range(100)) for ended in book.ended.values())
    assert counts == {1}
