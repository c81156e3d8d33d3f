"""Queues of several partitions in a real cluster: on all masters, while they grow, while a master dies."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter
from typing import Any, Self

import pytest

import rqsqs
from rqsqs._core.keys import partition_tag
from tests.clusters import Cluster, home_of, until

GROUPS = tuple(f"g{n}" for n in range(24))
FIFO = {"deduplication_scope": "messageGroup"}


def options(name: str) -> dict[str, Any]:
    return FIFO if name.endswith(".fifo") else {}


@pytest.mark.parametrize("count", [4, 6, 8, 16])
def test_partitions_lie_on_all_masters(steady: Cluster, prefix: str, count: int) -> None:
    with rqsqs.connect(steady.url, prefix=prefix) as connection:
        for name in ("orders", "mails", f"{prefix}q"):
            connection.create_queue(name, partitions=count)
            places = Counter(steady.owner(f"{{{partition_tag(name, n)}}}").port for n in range(count))
            assert len(places) == 3
            assert max(places.values()) - min(places.values()) <= max(2, count // 4)


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_partitioned_queue_is_one_queue(steady: Cluster, prefix: str, name: str) -> None:
    with rqsqs.connect(steady.url, prefix=prefix) as connection:
        connection.create_queue(f"dead{name}", partitions=2, **options(name))
        queue = connection.create_queue(
            name, partitions=6, dead_letter_queue=f"dead{name}", max_receive_count=1, **options(name)
        )
        for g in GROUPS:
            queue.send(g, group=g, deduplication_id=g)
        assert queue.send(GROUPS[0], group=GROUPS[0], deduplication_id=GROUPS[0]).is_duplicate
        assert sorted(queue.groups()) == sorted(GROUPS)
        assert sorted(m.body for m in queue.receive(100, visibility_timeout=0)) == sorted(GROUPS)
        for _ in range(2):  # each makes ten calls at most, and shards have to be made
            assert queue.receive(100) == []
        dead = connection.queue(f"dead{name}")
        assert dead.counts().visible == len(GROUPS)
        queue.configure(partitions=9)
        dead.redrive()
        got: list[Any] = []
        while len(got) < len(GROUPS):
            batch = queue.receive(10, wait=5)
            assert batch
            got += [m.body for m in batch]
            queue.delete_batch(batch)
        assert sorted(got) == sorted(GROUPS)
        assert queue.counts() == dead.counts() == rqsqs.Counts()


def test_a_waiter_hears_the_bells_of_all_masters(steady: Cluster, prefix: str) -> None:
    with rqsqs.connect(steady.url, prefix=prefix) as connection:
        queue = connection.create_queue("q", partitions=6)
        for n in range(12):
            timer = threading.Timer(0.05, queue.send, (n,))
            timer.start()
            start = time.monotonic()
            (message,) = queue.receive(wait=60)
            assert time.monotonic() - start < 30
            message.delete()
            timer.join()


class Crowd:
    """Producers of numbered messages, each with groups of its own, and consumers."""

    def __init__(self, url: str, prefix: str, name: str, durability: rqsqs.Durability | None = None) -> None:
        self.url, self.prefix, self.name, self.durability = url, prefix, name, durability
        self.sent: dict[str, list[int]] = {g: [] for g in GROUPS}
        self.got: dict[str, list[int]] = {g: [] for g in GROUPS}
        self.errors: list[BaseException] = []
        self.is_over = threading.Event()
        self.lock = threading.Lock()
        self.producers = [threading.Thread(target=self.guarded, args=(self.produce, GROUPS[n::3])) for n in range(3)]
        self.consumers = [threading.Thread(target=self.guarded, args=(self.consume,)) for _ in range(3)]
        self.is_drained = threading.Event()

    def guarded(self, work: Any, *args: Any) -> None:
        try:
            work(*args)
        except BaseException as e:
            self.errors.append(e)

    def produce(self, groups: tuple[str, ...]) -> None:
        with rqsqs.connect(self.url, prefix=self.prefix) as connection:
            queue = connection.queue(self.name, durability=self.durability)
            for n in itertools.count():
                for g in groups:
                    if self.is_over.is_set():
                        return
                    while True:  # with an id it may be repeated until it is there
                        try:
                            queue.send([g, n], group=g, deduplication_id=f"{g}-{n}")
                        except (rqsqs.ServerError, rqsqs.DurabilityNotReached):
                            time.sleep(0.05)
                        else:
                            break
                    self.sent[g].append(n)

    def consume(self) -> None:
        with rqsqs.connect(self.url, prefix=self.prefix) as connection:
            queue = connection.queue(self.name)
            while not self.is_drained.is_set():
                with contextlib.suppress(rqsqs.ServerError):
                    batch = queue.receive(10, wait=0.5)
                    with self.lock:
                        for message in batch:
                            g, n = message.body
                            self.got[g].append(n)
                    if batch:
                        queue.delete_batch(batch)

    def has_all(self) -> bool:
        """Has everything come that was sent?"""
        with self.lock:
            return all(set(self.sent[g]) <= set(self.got[g]) for g in GROUPS)

    def count(self) -> int:
        return sum(len(numbers) for numbers in self.got.values())

    def __enter__(self) -> Self:
        for thread in (*self.producers, *self.consumers):
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.is_over.set()
        for thread in self.producers:
            thread.join(40)
        try:
            if exc_info[0] is None:
                until(lambda: self.errors or self.has_all(), "everything has come", 30)
        finally:
            self.is_drained.set()
            for thread in self.consumers:
                thread.join(40)
        assert not self.errors, self.errors


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_queue_grows_under_load(steady: Cluster, prefix: str, name: str) -> None:
    with rqsqs.connect(steady.url, prefix=prefix) as connection:
        queue = connection.create_queue(name, **options(name))
        with Crowd(steady.url, prefix, name) as crowd:
            until(lambda: crowd.count() > 200, "work goes on")
            queue.configure(partitions=6)
            before = crowd.count()
            until(lambda: crowd.count() > before + 500, "work goes on")
            assert len(queue._ref.own) == 6
        for g in GROUPS:
            assert sorted(crowd.got[g]) == crowd.sent[g]
            assert name == "q" or crowd.got[g] == crowd.sent[g]
        assert queue.counts() == rqsqs.Counts()


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_nothing_that_replicas_have_is_lost_when_a_master_dies(cluster: Cluster, prefix: str, name: str) -> None:
    with rqsqs.connect(cluster.url, prefix=prefix) as connection:
        connection.create_queue(name, partitions=6, visibility_timeout=2, **options(name))
        durability = rqsqs.Durability(replicas=1, timeout=2)
        with Crowd(cluster.url, prefix, name, durability) as crowd:
            until(lambda: crowd.count() > 300, "work goes on")
            old = cluster.kill_master(home_of(name))
            cluster.await_failover(home_of(name), old)
            old.restart()  # its slots have a replica again, and can be sent to durably
            until(lambda: cluster.is_replica(old), "the old master is a replica")
            before = crowd.count()
            until(lambda: crowd.count() > before + 300, "work goes on")
        for g in GROUPS:
            assert set(crowd.sent[g]) <= set(crowd.got[g])
            if name == "q.fifo":
                first_times = list(dict.fromkeys(crowd.got[g]))
                assert first_times == sorted(first_times)
