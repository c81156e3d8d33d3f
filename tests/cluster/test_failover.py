"""Masters that die or freeze while everybody works: everything goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs.worker import Worker
from tests.clusters import Cluster, Sentinels, home_of, until

SOON_S = 20.0  # after the failover; whoever did not notice it would go on after half a minute


class Busy:
    """Producers, consumers, waiters and a worker, each with a count of what it did last."""

    def __init__(self, url: str, prefix: str, name: str, idle: str) -> None:
        self.url, self.prefix, self.name, self.idle = url, prefix, name, idle
        self.connection = rqsqs.connect(url, prefix=prefix)
        for queue in (name, idle, f"{name}w"):
            self.connection.create_queue(queue, visibility_timeout=1)
        self.numbers = itertools.count()
        self.counts: dict[str, int] = {}
        self.sent: set[Any] = set()
        self.got: set[Any] = set()
        self.errors: list[BaseException] = []
        self.is_over = threading.Event()
        self.worker = Worker(url, prefix=prefix, heartbeat_interval=0.2)
        self.worker.add(f"{name}w", lambda message: self.done("worker"))
        self.threads = [
            threading.Thread(target=self.guarded, args=(work,), daemon=True)
            for work in (self.produce, self.consume, self.wait, self.run_tasks, self.worker.run)
        ]
        self.sender = self.connection.queue(name).sender()
        self.threads += [threading.Thread(target=self.guarded, args=(self.share,), daemon=True) for _ in range(3)]

    def guarded(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as e:
            self.errors.append(e)

    def done(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def produce(self) -> None:
        queues = [self.connection.queue(name) for name in (self.name, f"{self.name}w")]
        while not self.is_over.is_set():
            for queue in queues:
                body = next(self.numbers)
                queue.send(body)
                self.done("send")
                if queue is queues[0]:
                    self.sent.add(body)
            time.sleep(0.005)

    def share(self) -> None:
        while not self.is_over.is_set():
            body = next(self.numbers)
            self.sender.send(body)
            self.done("send by a sender")
            self.sent.add(body)
            time.sleep(0.005)

    def consume(self) -> None:
        queue = self.connection.queue(self.name)
        while not self.is_over.is_set():
            for message in queue.receive(5, wait=1):
                self.got.add(message.body)
                message.delete()
                self.done("receive")

    def wait(self) -> None:
        queue = self.connection.queue(self.idle)
        while not self.is_over.is_set():
            for message in queue.receive(wait=60):
                message.delete()
                self.done("wait")

    def run_tasks(self) -> None:
        asyncio.run(self.tasks())

    async def tasks(self) -> None:
        async with aio.connect(self.url, prefix=self.prefix) as connection, asyncio.TaskGroup() as group:
            group.create_task(self.consume_in_a_task(connection))
            group.create_task(self.produce_in_a_task(connection))

    async def consume_in_a_task(self, connection: aio.Connection) -> None:
        queue = connection.queue(self.name)
        while not self.is_over.is_set():
            for message in await queue.receive(5, wait=1):
                self.got.add(message.body)
                await message.delete()
                self.done("receive in a task")

    async def produce_in_a_task(self, connection: aio.Connection) -> None:
        queue = connection.queue(self.name)
        while not self.is_over.is_set():
            body = next(self.numbers)
            try:
                await queue.send(body)
            except rqsqs.ConnectionFailed as e:
                self.note(e)
            else:
                self.done("send in a task")
                self.sent.add(body)
            await asyncio.sleep(0.005)

    def all_go_on(self, seconds: float) -> None:
        """Everybody does something, within so many seconds."""
        before, deadline = dict(self.counts), time.monotonic() + seconds
        what = {"send", "send by a sender", "receive", "wait", "send in a task", "receive in a task", "worker"}
        while lazy := {name for name in what if self.counts.get(name, 0) == before.get(name, 0)}:
            assert not self.errors, self.errors
            assert time.monotonic() < deadline, f"not done in {seconds} s: {lazy}"
            with contextlib.suppress(rqsqs.ConnectionFailed):
                if "wait" in lazy:
                    self.connection.queue(self.idle).send("wake up")
            time.sleep(0.02)

    def drained(self, sent: set[Any]) -> None:
        """All of these arrive."""
        until(lambda: sent <= self.got, "all has arrived")

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        self.all_go_on(60)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.is_over.set()
        self.worker.stop()
        with contextlib.suppress(rqsqs.ServerError):
            self.connection.queue(self.idle).send("the end")
        for thread in self.threads:
            thread.join(40)
        self.connection.close()
        if error is None:
            assert not self.errors, self.errors
            assert not any(thread.is_alive() for thread in self.threads)


@pytest.fixture
def busy(cluster: Cluster, prefix: str) -> Iterator[Busy]:
    server = cluster.owner(home_of("busy"))
    with Busy(cluster.url, prefix, "busy", cluster.name_on(server, "idle")) as one:
        yield one


def test_everything_goes_on_when_a_master_is_killed(cluster: Cluster, busy: Busy) -> None:
    old = cluster.kill_master(home_of("busy"))
    cluster.await_failover(home_of("busy"), old)
    before = set(busy.sent)
    busy.all_go_on(SOON_S)
    until(lambda: len(busy.sent - before) > 50, "much is sent")
    busy.drained(busy.sent - before)


def test_everything_goes_on_when_a_master_freezes(cluster: Cluster, busy: Busy) -> None:
    old = cluster.owner(home_of("busy"))
    old.freeze()
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(old.thaw)
            others = [s for s in cluster.servers if s is not old]
            until(lambda: cluster.owner_as_told_by(others, home_of("busy")) is not old, "a replica has taken over")
            # what was asked of the frozen one has to run into its time limit first (socket_timeout, 5 s)
            busy.all_go_on(SOON_S + 12)
    finally:
        until(lambda: cluster.is_replica(old), "the old master has learned of it")
    before = set(busy.sent)
    busy.all_go_on(SOON_S)
    busy.drained(busy.sent - before)


def test_waiters_and_tasks_are_not_held_up_by_seeds_that_are_dead(cluster: Cluster, prefix: str) -> None:
    seeds = cluster.servers[:3]
    with rqsqs.connect(cluster.url, prefix=prefix) as connection:
        connection.create_queue("orders").send(1)
    cluster.servers[0].kill9()
    cluster.await_failover("", cluster.servers[0])
    until(lambda: cluster.is_up(seeds[1:]), "the cluster is up again")
    with rqsqs.connect(cluster.url, prefix=prefix) as connection:
        assert connection.exists("orders")

    async def scenario() -> None:
        async with aio.connect(cluster.url, prefix=prefix) as connection:
            assert await connection.exists("orders")

    asyncio.run(asyncio.wait_for(scenario(), 100))


def test_what_lasts_too_long_fails_with_a_sentence(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rqsqs._io.tuning.FAILOVER_S", 1.0)
    home = home_of("orders")
    server = cluster.owner(home)
    with rqsqs.connect(cluster.url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        for one in cluster.servers:
            if one is server or cluster.replicates(one, server):
                one.kill9()
        started = time.monotonic()
        with pytest.raises(
            (rqsqs.ConnectionFailed, rqsqs.ServerLoading), match=r"no connection to|try again"
        ) as failed:
            queue.receive()
        assert 0.9 < time.monotonic() - started < 20
        assert "bug" not in str(failed.value)

    async def scenario() -> None:
        async with aio.connect(cluster.url, prefix=prefix) as connection:
            with pytest.raises(rqsqs.ServerError, match=r"no connection to|try again"):
                await connection.queue("orders").receive()

    asyncio.run(asyncio.wait_for(scenario(), 100))


def test_work_goes_on_when_sentinels_choose_another_master(prefix: str) -> None:
    with Sentinels() as sentinels, Busy(sentinels.url, prefix, "busy", "idle") as busy:
        sentinels.master.kill9()
        until(lambda: sentinels.known() == sentinels.replica.port, "the replica has been chosen")
        with redis.Redis(port=sentinels.replica.port) as client:
            until(lambda: client.info("replication")["role"] == "master", "it has become master")
        before = set(busy.sent)
        busy.all_go_on(SOON_S)
        busy.drained(busy.sent - before)


def test_a_master_that_became_a_replica_is_left(prefix: str) -> None:
    """Nobody dies: Sentinels are asked to change the roles."""
    with Sentinels() as sentinels, Busy(sentinels.url, prefix, "busy", "idle") as busy:
        with redis.Redis(port=sentinels.ports[0]) as client:
            client.execute_command("SENTINEL", "FAILOVER", "mymaster")
        until(lambda: sentinels.known() == sentinels.replica.port, "the replica has been chosen")
        with redis.Redis(port=sentinels.master.port) as client:
            until(lambda: client.info("replication")["role"] == "slave", "the old master has become a replica")
        before = set(busy.sent)
        busy.all_go_on(SOON_S)
        busy.drained(busy.sent - before)


def test_what_waits_for_replicas_goes_on_at_the_new_master(cluster: Cluster, prefix: str) -> None:
    """A server that becomes a replica breaks the wait off: the call is repeated where it matters now."""
    hopeful = rqsqs.Durability(replicas=2, timeout=5, required=False, deletes=True)
    with rqsqs.connect(cluster.url, prefix=prefix) as connection:
        queue = connection.create_queue("q")
        queue.send_batch(["a", "b"])
        first, second = queue.receive(2)
        reached: list[rqsqs.DurabilityResult | None] = []

        def send_and_delete() -> None:
            with rqsqs.connect(cluster.url, prefix=prefix, durability=hopeful) as mine:
                other = threading.Thread(target=lambda: reached.append(mine.queue("q").send("c").durability))
                other.start()
                reached.append(mine.queue("q").delete(first.receipt_handle))
                other.join()

        async def in_tasks() -> None:
            async with aio.connect(cluster.url, prefix=prefix, durability=hopeful) as mine:
                send, delete = mine.queue("q").send("d"), mine.queue("q").delete(second.receipt_handle)
                sent, deleted = await asyncio.gather(send, delete)
                reached.extend((sent.durability, deleted))

        threads = [threading.Thread(target=work) for work in (send_and_delete, lambda: asyncio.run(in_tasks()))]
        for thread in threads:
            thread.start()
        master = cluster.owner(home_of("q"))
        (replica,) = [server for server in cluster.servers if cluster.replicates(server, master)]
        with cluster.client(master) as old, cluster.client(replica) as new:
            until(lambda: _blocked(old) == 4, "all wait")
            new.execute_command("CLUSTER", "FAILOVER")
            for thread in threads:
                thread.join()
            told: Any = new.info("commandstats")
        assert told["cmdstat_wait"]["calls"] == 4
        assert [r and (r.is_enough, r.error) for r in reached] == [(False, "")] * 4
        assert sorted(m.body for m in queue.receive(5)) == ["c", "d"]
        assert queue.counts().in_flight == 2


def _blocked(client: redis.Redis) -> int:
    told: Any = client.info("clients")
    return int(told["blocked_clients"])
