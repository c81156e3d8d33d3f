"""Queues in many slots: slots that move under work, scripts that are forgotten, dead letters of several sources."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from tests.clusters import Cluster, client_of, home_of, until


@pytest.fixture
def connection(steady: Cluster, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(steady.url, prefix=prefix) as one:
        yield one


class Threads:
    """Some work done again and again by threads, until the end."""

    def __init__(self, *works: Callable[[], Any]) -> None:
        self.errors: list[BaseException] = []
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._repeat, args=(work,), daemon=True) for work in works]

    def _repeat(self, work: Callable[[], Any]) -> None:
        try:
            while not self.is_over.is_set():
                work()
        except BaseException as e:
            self.errors.append(e)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        for thread in self.threads:
            thread.start()
        try:
            yield
        finally:
            self.is_over.set()
            for thread in self.threads:
                thread.join(30)
        assert not self.errors, self.errors


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_busy_queue_moves_to_another_master_and_loses_nothing(steady: Cluster, prefix: str, name: str) -> None:
    sent: list[int] = []
    got: Counter[Any] = Counter()
    order: list[int] = []
    options: dict[str, Any] = {"group": "g"} if name.endswith(".fifo") else {}
    with rqsqs.connect(steady.url, prefix=prefix) as connection, contextlib.ExitStack() as stack:
        queue = connection.create_queue(name, visibility_timeout=30)
        key = home_of(name)
        source = steady.owner(key)
        target = next(s for s in steady.masters if s is not source)

        def produce() -> None:
            n = len(sent)
            queue.send(n, **options, **({"deduplication_id": f"{n}"} if options else {}))
            sent.append(n)
            time.sleep(0.005)  # consumers keep up

        def consume() -> None:
            for message in queue.receive(3, wait=1):
                got[message.body] += 1
                order.append(message.body)
                message.delete()

        async def consume_in_tasks() -> None:
            async with aio.connect(steady.url, prefix=prefix) as tasks:
                for message in await tasks.queue(name).receive(3, wait=1):
                    got[message.body] += 1
                    order.append(message.body)
                    await message.delete()

        threads = Threads(produce, consume, lambda: asyncio.run(consume_in_tasks()))
        stack.enter_context(threads.working())
        for destination in (target, source):
            n = len(sent)
            until(lambda n=n: len(sent) > n + 100, "it works")
            steady.migrate(key, destination, between=lambda: time.sleep(0.2))
            n = len(sent)
            until(lambda n=n: len(sent) > n + 100, "it works on the other master")
        stack.close()
        until(lambda: consume() or len(got) == len(sent), "all has arrived")
        counts = queue.counts()
        assert (counts.visible, counts.in_flight) == (0, 0)
        assert set(got.values()) == {1}
        if options:
            assert order == sent
        connection.delete_queue(name)
    with client_of(steady.url) as client:
        left = {key for key in client.scan_iter(f"{prefix}:*") if client.ttl(key) < 0}
    assert left <= {f"{prefix}:{{queues}}:format".encode()}  # of the prefix, not of a queue


def test_who_waits_follows_a_slot_that_moves(steady: Cluster, connection: rqsqs.Connection, prefix: str) -> None:
    queue = connection.create_queue("idle")
    key = home_of("idle")
    source = steady.owner(key)
    bodies: list[Any] = []
    threads = Threads(lambda: bodies.extend(m.body for m in queue.receive(wait=20)))
    with threads.working():
        until(lambda: connection.transport.link.waiting.watched(), "it waits")
        steady.migrate(key, next(s for s in steady.masters if s is not source))
        queue.send("found")
        until(lambda: bodies == ["found"], "the message arrives")
        threads.is_over.set()
        queue.send("the end")
    steady.migrate(key, source)


def test_nothing_is_done_by_halves_while_a_slot_is_open(steady: Cluster, prefix: str) -> None:
    """An operation waits until the slot has arrived, wherever its keys are."""
    key = home_of("half")
    source = steady.owner(key)
    target = next(s for s in steady.masters if s is not source)
    with rqsqs.connect(steady.url, prefix=prefix) as connection:
        queue = connection.create_queue("half")
        queue.send_batch(list(range(50)))
        results: list[Any] = []
        helpers: list[threading.Thread] = []

        def receive() -> None:
            before = len(results)
            helpers.append(threading.Thread(target=lambda: results.append([m.body for m in queue.receive(10)])))
            helpers[-1].start()
            helpers[-1].join(0.3)
            assert len(results) == before  # it is held up

        steady.migrate(key, target, between=receive)
        for thread in helpers:
            thread.join(60)
        assert sorted(body for bodies in results for body in bodies) == list(range(20))
        counts = queue.counts()
        assert (counts.visible, counts.in_flight) == (30, 20)
    steady.migrate(key, source)


def test_scripts_that_all_masters_forget_are_loaded_again(
    steady: Cluster, connection: rqsqs.Connection, prefix: str
) -> None:
    queues = [connection.create_queue(f"q{i}") for i in range(6)]
    got: Counter[Any] = Counter()
    sent: list[int] = []

    def produce() -> None:
        queues[len(sent) % 6].send(len(sent))
        sent.append(len(sent))
        time.sleep(0.002)  # consumers keep up

    def consume() -> None:
        for queue in queues:
            for message in queue.receive(10):
                got[message.body] += 1
                message.delete()

    with Threads(produce, consume).working():
        for _ in range(20):
            for server in steady.masters:
                with steady.client(server) as client:
                    client.script_flush()
            n = len(sent)
            until(lambda n=n: len(sent) > n + 5, "it works")
    until(lambda: consume() or len(got) == len(sent), "all has arrived")
    assert set(got.values()) == {1}


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_dead_letters_of_sources_on_all_masters_are_one_queue(
    steady: Cluster, connection: rqsqs.Connection, prefix: str, suffix: str
) -> None:
    dead = connection.create_queue("dead" + suffix)
    names = [steady.name_on(server, f"source{i}-")[:70] for i, server in enumerate(steady.masters)]
    options: dict[str, Any] = {"group": "g"} if suffix else {}
    sources = []
    for name in names:
        queue = connection.create_queue(
            name + suffix, dead_letter_queue=dead, max_receive_count=1, visibility_timeout=0
        )
        sources.append(queue)
        for n in range(4):
            more = {"deduplication_id": f"{name}{n}"} if suffix else {}
            queue.send((name, n), **options, **more)

    def die() -> None:
        for queue in sources:
            queue.receive(10)

    until(lambda: (die(), dead.counts().visible == 12)[1], "all have died")
    assert {tuple(m.body) for m in dead.peek(100)} == {(name, n) for name in names for n in range(4)}
    assert sorted(dead.dead_letter_sources()) == sorted(q.name for q in sources)
    received = dead.receive(2, visibility_timeout=30)
    assert received
    assert dead.counts().in_flight == len(received)
    for message in received:
        message.release()
    task = dead.redrive()
    until(lambda: dead.counts().visible == 0, "they are back")
    assert task
    for name, queue in zip(names, sources, strict=True):
        assert queue.counts().visible == 4, name


def test_who_waits_for_dead_letters_is_woken_by_every_source(
    steady: Cluster, connection: rqsqs.Connection, prefix: str
) -> None:
    dead = connection.create_queue("dead")
    sources = [
        connection.create_queue(
            steady.name_on(server, f"woken{i}-"), dead_letter_queue=dead, max_receive_count=1, visibility_timeout=0
        )
        for i, server in enumerate(steady.masters)
    ]
    got: list[Any] = []

    def wait() -> None:
        for message in dead.receive(wait=60):
            got.append(message.body)
            message.delete()

    async def wait_in_a_task() -> None:
        async with aio.connect(steady.url, prefix=prefix) as tasks:
            for message in await tasks.queue("dead").receive(wait=60):
                got.append(message.body)
                await message.delete()

    threads = Threads(wait, lambda: asyncio.run(wait_in_a_task()))
    with threads.working():
        n = 0
        for _ in range(5):
            for source in sources:
                source.send(n)
                n += 1
                until(lambda s=source, n=n: (s.receive(), len(got) == n)[1], "the dead letter arrives", 30)
        threads.is_over.set()
        for i in range(2):
            sources[i].send("end")
            until(lambda s=sources[i], i=i: (s.receive(), len(got) == n + i + 1)[1], "it ends")
    assert sorted(got[:n]) == list(range(n))


def test_cancelled_waits_for_several_slots_swallow_no_token(
    steady: Cluster, connection: rqsqs.Connection, prefix: str
) -> None:
    dead = connection.create_queue("dead")
    sources = [
        connection.create_queue(steady.name_on(server, f"c{i}-"), dead_letter_queue=dead, max_receive_count=1)
        for i, server in enumerate(steady.masters)
    ]
    got: list[Any] = []
    threads = Threads(lambda: got.extend(m.body for m in dead.receive(wait=20) if m.delete() is None))

    async def come_and_go() -> None:
        async with aio.connect(steady.url, prefix=prefix) as tasks:
            for n in range(30):
                waiting = asyncio.create_task(tasks.queue("dead").receive(wait=20))
                await asyncio.sleep(0.002 * (n % 7))
                source = tasks.queue(sources[n % 3].name)
                await source.send(n)
                while not await source.receive(visibility_timeout=0):
                    pass
                dying = asyncio.create_task(source.receive())
                await asyncio.sleep(0.0005 * (n % 5))
                waiting.cancel()
                await dying
                try:
                    for message in await waiting:
                        got.append(message.body)
                        await message.delete()
                except asyncio.CancelledError:
                    pass

    with threads.working():
        asyncio.run(asyncio.wait_for(come_and_go(), 40))
        until(lambda: len(got) == 30, f"all arrive: {sorted(got)}")
        threads.is_over.set()
        sources[0].send("end")
        sources[0].receive(visibility_timeout=0)
        sources[0].receive()
    assert sorted(got[:30]) == list(range(30))
