"""One process that waits on many queues: with few connections, and no later than on one queue."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs._io import tuning
from tests import clusters
from tests.servers import Server

pytestmark = pytest.mark.either_server  # the subject is the client

MANY = 1000
MOST_CONNECTIONS = 8
HERE, THERE = "waits", "sends"  # names of connections; other options, so they are not shared


@pytest.fixture
def connections(server_url: str, prefix: str) -> Callable[[], int]:
    """How many connections does the one who waits have to a server, at most?"""

    def count() -> int:
        with clusters.masters_of(server_url) as masters:
            return max(Counter(c["name"] for c in master.client_list())[f"{prefix}-{HERE}"] for master in masters)

    return count


@pytest.fixture(autouse=True, scope="module")
def small_stacks() -> Iterator[None]:
    before = threading.stack_size(256 * 1024)
    yield
    threading.stack_size(before)


class Consumer(threading.Thread):
    """Waits for the messages of one queue."""

    def __init__(self, queue: rqsqs.Queue, told: SimpleQueue[Any], options: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.queue, self.told, self.options = queue, told, options
        self.start()

    def run(self) -> None:
        try:
            bodies: Any = [message.body for message in self.queue.receive(**self.options)]
        except Exception as e:
            bodies = e
        self.told.put((self.queue.name, bodies, time.perf_counter()))


def test_threads_that_wait_on_a_thousand_queues_share_few_connections(
    server_url: str, prefix: str, connections: Callable[[], int]
) -> None:
    with (
        rqsqs.connect(server_url, prefix=prefix, client_name=f"{prefix}-{HERE}") as connection,
        rqsqs.connect(server_url, prefix=prefix, client_name=f"{prefix}-{THERE}") as sender,
    ):
        queues = [connection.create_queue(f"q{i}") for i in range(MANY)]
        told: SimpleQueue[Any] = SimpleQueue()
        options = {"wait": 60, "delete": True}

        def hand_over(queue: rqsqs.Queue) -> float:
            Consumer(queue, told, options)
            time.sleep(0.005)
            started = time.perf_counter()
            sender.queue(queue.name).send("x")
            name, bodies, ended = told.get(timeout=40)
            assert (name, bodies) == (queue.name, ["x"])
            return float(ended - started)

        one = min([hand_over(queues[0]) for _ in range(50)])
        for queue in queues[: MANY - 1]:
            Consumer(queue, told, options)
        clusters.until(lambda: connections() > tuning.BLOCKING, "they share a connection")
        many = min([hand_over(queues[-1]) for _ in range(50)])
        assert many < 2 * one + 0.001  # the shortest of each, as the machine may be busy
        for i in range(MANY - 1):
            sender.queue(f"q{i}").send(i)
            if i % 100 == 0:
                assert connections() <= MOST_CONNECTIONS
        received = dict([told.get(timeout=40)[:2] for _ in range(MANY - 1)])
        assert received == {f"q{i}": [i] for i in range(MANY - 1)}


def test_threads_that_call_at_the_same_time_share_few_connections(
    server_url: str, prefix: str, connections: Callable[[], int]
) -> None:
    with rqsqs.connect(server_url, prefix=prefix, client_name=f"{prefix}-{HERE}") as connection:
        queues = [connection.create_queue(f"q{i}") for i in range(30)]
        start, trouble = threading.Barrier(301), []

        def call(i: int) -> None:
            start.wait()
            try:
                for turn in range(10):
                    queues[i % 30].send([i, turn])
            except Exception as e:
                trouble.append(e)

        threads = [threading.Thread(target=call, args=(i,)) for i in range(300)]
        for thread in threads:
            thread.start()
        start.wait()
        most = 0
        while any(thread.is_alive() for thread in threads):
            most = max(most, connections())
        assert tuning.OWN <= most <= MOST_CONNECTIONS
        assert trouble == []
        assert sum(queue.counts().visible for queue in queues) == 3000


def test_tasks_that_wait_on_a_thousand_queues_share_few_connections(
    server_url: str, prefix: str, connections: Callable[[], int]
) -> None:
    async def hand_over(sender: aio.Connection, queue: aio.Queue) -> float:
        waiting = asyncio.create_task(queue.receive(wait=60, delete=True))
        await asyncio.sleep(0.005)
        started = time.perf_counter()
        await sender.queue(queue.name).send("x")
        assert [message.body for message in await waiting] == ["x"]
        return time.perf_counter() - started

    async def scenario() -> None:
        async with (
            aio.connect(server_url, prefix=prefix, client_name=f"{prefix}-{HERE}") as connection,
            aio.connect(server_url, prefix=prefix, client_name=f"{prefix}-{THERE}") as sender,
        ):
            queues = [await connection.create_queue(f"q{i}") for i in range(MANY)]
            await sender.exists("q0")
            one = min([await hand_over(sender, queues[0]) for _ in range(50)])
            waiting = [asyncio.create_task(queue.receive(wait=60, delete=True)) for queue in queues[: MANY - 1]]
            while await asyncio.to_thread(connections) <= tuning.BLOCKING:
                await asyncio.sleep(0.01)
            many = min([await hand_over(sender, queues[-1]) for _ in range(50)])
            assert many < 2 * one + 0.001  # the shortest of each, as the machine may be busy
            for i in range(MANY - 1):
                await sender.queue(f"q{i}").send(i)
                if i % 100 == 0:
                    assert await asyncio.to_thread(connections) <= MOST_CONNECTIONS
            received = await asyncio.gather(*waiting)
            assert [[message.body for message in messages] for messages in received] == [[i] for i in range(MANY - 1)]

    asyncio.run(asyncio.wait_for(scenario(), 100))


def test_tasks_that_are_cancelled_lose_nothing_while_many_wait(server_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with (
            aio.connect(server_url, prefix=prefix) as connection,
            aio.connect(server_url, prefix=prefix, client_name=THERE) as sender,
        ):
            queues = [await connection.create_queue(f"q{i}") for i in range(60)]
            received: list[Any] = []

            async def consume(queue: aio.Queue) -> None:
                received.extend([message.body for message in await queue.receive(wait=60, visibility_timeout=600)])

            for turn in range(20):
                waiting = [asyncio.create_task(consume(queue)) for queue in queues]
                await asyncio.sleep(0.01)
                for i, queue in enumerate(queues):
                    await sender.queue(queue.name).send([turn, i])
                    waiting[(i + turn) % 60].cancel()
                await asyncio.sleep(0)
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
            while len(received) < 20 * 60:
                for queue in queues:
                    received.extend([message.body for message in await queue.receive(10, wait=0, delete=True)])
            assert sorted(received) == [[turn, i] for turn in range(20) for i in range(60)]

    asyncio.run(asyncio.wait_for(scenario(), 100))


class Interrupted(BaseException):
    """Raised by a signal handler; not KeyboardInterrupt, which would end the whole run if it escaped."""


def test_an_interrupted_thread_loses_nothing_while_many_wait(server_url: str, prefix: str) -> None:
    def interrupt(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with (
            rqsqs.connect(server_url, prefix=prefix) as connection,
            rqsqs.connect(server_url, prefix=prefix, client_name=THERE) as sender,
        ):
            told: SimpleQueue[Any] = SimpleQueue()
            for i in range(20):  # they take the connections that block
                Consumer(connection.create_queue(f"other{i}"), told, {"wait": 60})
            queue = connection.create_queue("q")
            other = sender.queue("q")
            time.sleep(0.3)
            received: list[Any] = []
            for turn in range(40):
                due = random.uniform(0.005, 0.015)
                threading.Timer(0.01, other.send, (turn,)).start()
                with contextlib.suppress(Interrupted):  # which may come at any moment, up to the last one
                    signal.setitimer(signal.ITIMER_REAL, due)
                    received += [message.body for message in queue.receive(wait=60, visibility_timeout=600)]
                    signal.setitimer(signal.ITIMER_REAL, 0)
                time.sleep(0.01)
            deadline = time.monotonic() + 60
            while len(received) + queue.counts().in_flight < 40 and time.monotonic() < deadline:
                received += [message.body for message in queue.receive(10, wait=0.1, delete=True)]
            # What an interrupted receive was answered and nobody looked at stays invisible.
            assert len(set(received)) == len(received)
            assert len(received) + queue.counts().in_flight >= 40
            for i in range(20):
                sender.queue(f"other{i}").send(i)
            assert sorted(told.get(timeout=40)[1] for _ in range(20)) == [[i] for i in range(20)]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_processes_that_listen_to_the_same_queues_share_their_messages(server_url: str, prefix: str) -> None:
    """All are told of each message, one of them gets it."""

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            links = [
                await stack.enter_async_context(aio.connect(server_url, prefix=prefix, client_name=f"p{i}"))
                for i in range(3)
            ]
            sender = await stack.enter_async_context(aio.connect(server_url, prefix=prefix, client_name=THERE))
            names = [f"q{i}" for i in range(20)]
            for name in names:
                await sender.create_queue(name)
            received: list[Any] = []

            async def consume(link: aio.Connection, name: str) -> None:
                queue = link.queue(name)
                while True:
                    received.extend([message.body for message in await queue.receive(wait=60, delete=True)])

            tasks = [asyncio.create_task(consume(link, name)) for link in links for name in names]
            await asyncio.sleep(0.5)
            for turn in range(20):
                for name in names:
                    await sender.queue(name).send([turn, name])
                await asyncio.sleep(random.choice([0, 0.005]))
            async with asyncio.timeout(40):
                while len(received) < 400:
                    await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert sorted(received) == sorted([turn, name] for turn in range(20) for name in names)

    asyncio.run(asyncio.wait_for(scenario(), 100))


def test_due_times_are_kept_while_many_wait(server_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with aio.connect(server_url, prefix=prefix) as connection:
            queues = [await connection.create_queue(f"q{i}") for i in range(50)]
            waiting = [asyncio.create_task(queue.receive(wait=60)) for queue in queues]
            await asyncio.sleep(0.3)
            started = time.monotonic()
            for i, queue in enumerate(queues):
                await queue.send(i, delay=1)
            received = await asyncio.gather(*waiting)
            assert [[message.body for message in messages] for messages in received] == [[i] for i in range(50)]
            assert 0.9 < time.monotonic() - started < 30

    asyncio.run(asyncio.wait_for(scenario(), 100))


def test_a_forked_child_listens_over_a_connection_of_its_own(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        told: SimpleQueue[Any] = SimpleQueue()
        queues = [connection.create_queue(f"q{i}") for i in range(12)]
        for queue in queues:
            Consumer(queue, told, {"wait": 30, "delete": True})
        time.sleep(0.3)
        mine = [connection.create_queue(f"child{i}") for i in range(12)]
        child = os.fork()
        if child == 0:
            got: SimpleQueue[Any] = SimpleQueue()
            for queue in mine:
                Consumer(queue, got, {"wait": 10, "delete": True})
            os._exit(0 if all([got.get(timeout=60)[1] == ["x"] for _ in mine]) else 1)
        time.sleep(0.5)
        for queue in (*queues, *mine):
            queue.send("x")
        assert [told.get(timeout=40)[1] for _ in queues] == [["x"]] * 12
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("rights", "is_shared"),
    [
        (["+client|tracking", "+client|caching"], True),
        (["+client|tracking"], False),
        ([], False),
    ],
    ids=["neither channels nor CLIENT UNBLOCK", "no CLIENT CACHING", "no CLIENT TRACKING"],
)
@pytest.mark.parametrize("face", ["sync", "aio"])
def test_waiting_on_many_queues_works_with_few_rights(
    server: Server, prefix: str, rights: list[str], is_shared: bool, face: str
) -> None:
    url = server.url.replace("://", f"://{prefix}:secret@")
    needed = f"~{prefix}:* +@read +@write -@dangerous +time +evalsha +script|load".split()
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", prefix, "reset", "on", ">secret", "resetchannels", *needed, *rights)

        def count() -> int:
            return sum(c["user"] == prefix for c in client.client_list())

        def is_right() -> bool:
            return 2 <= count() <= MOST_CONNECTIONS if is_shared else count() > 30

        if face == "sync":
            with rqsqs.connect(url, prefix=prefix) as connection:
                told: SimpleQueue[Any] = SimpleQueue()
                queues = [connection.create_queue(f"q{i}") for i in range(30)]
                for queue in queues:
                    Consumer(queue, told, {"wait": 20, "delete": True})
                time.sleep(0.5)
                clusters.until(is_right, "the connections are open")
                for queue in queues:
                    queue.send("x")
                assert [told.get(timeout=40)[1] for _ in queues] == [["x"]] * 30
            return

        async def scenario() -> None:
            async with aio.connect(url, prefix=prefix) as connection:
                queues = [await connection.create_queue(f"q{i}") for i in range(30)]
                waiting = [asyncio.create_task(queue.receive(wait=60, delete=True)) for queue in queues]
                await asyncio.sleep(0.5)
                await asyncio.to_thread(clusters.until, is_right, "the connections are open")
                for queue in queues:
                    await queue.send("x")
                received = await asyncio.gather(*waiting)
                assert [[message.body for message in messages] for messages in received] == [["x"]] * 30

        asyncio.run(asyncio.wait_for(scenario(), 100))
