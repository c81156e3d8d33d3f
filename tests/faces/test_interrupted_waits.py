"""Waiting receives that are interrupted, and queues that are deleted under them: with real time and real threads."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs._core.operations import queues
from tests import clusters
from tests.model.harness import client
from tests.servers import Server

SOON_S = 30.0  # a busy machine may be late; a waiter that was forgotten waits for many seconds more
OTHER_LINK = {"socket_connect_timeout": 4}  # options of its own: connections of its own, as another process has


def until(condition: Callable[[], Any], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def blocked(valkey_url: str) -> Callable[[], int]:
    """How many connections block more than at the beginning?"""
    before = clusters.blocked(valkey_url)
    return lambda: clusters.blocked(valkey_url) - before


def names(url: str, prefix: str) -> list[bytes]:
    """All keys but those that end by themselves, and those of format and events, which belong to no queue."""
    keys = client(url).scan_iter(prefix + ":*", count=1000)
    return [key for key in keys if b":call:" not in key and b":{events}:" not in key and not key.endswith(b":format")]


class Waiting(threading.Thread):
    """A thread in a long poll."""

    def __init__(self, queue: rqsqs.Queue, wait: float = 60) -> None:
        super().__init__(daemon=True)
        self.queue = queue
        self.wait = wait
        self.bodies: list[Any] = []
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.bodies = [m.body for m in self.queue.receive(wait=self.wait)]
        except Exception as e:
            self.error = e

    def done(self, seconds: float) -> None:
        self.join(seconds)
        assert not self.is_alive(), "it still waits"


class Interrupted(BaseException):
    """Raised by a signal handler; not KeyboardInterrupt, which would end the whole run if it escaped."""


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """Raises Interrupted in the main thread after so many seconds."""

    def interrupt(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)  # type: ignore[return-value, misc]
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_an_interrupted_keeper_leaves_its_duty_to_another_process(
    valkey_url: str, prefix: str, name: str, alarm: Callable[[float], None]
) -> None:
    options: dict[str, Any] = {"group": "g"} if name.endswith(".fifo") else {}
    with (
        rqsqs.connect(valkey_url, prefix=prefix) as connection,
        rqsqs.connect(valkey_url, prefix=prefix, **OTHER_LINK) as other,  # type: ignore[arg-type]
    ):
        queue = connection.create_queue(name)
        queue.send("late", delay=0.8, **options)
        started = time.monotonic()
        follower: list[Waiting] = []
        timer = f"{prefix}:{{{name}/0}}:{name}:timer"

        def follow() -> None:
            until(lambda: client(valkey_url).exists(timer))
            follower.append(Waiting(other.queue(name)))

        threading.Thread(target=follow).start()
        with pytest.raises(Interrupted):  # noqa: PT012 - it may come at any moment from here on
            alarm(0.4)
            queue.receive(wait=60)
        until(lambda: follower)
        follower[0].done(60)
        assert follower[0].bodies == ["late"]
        assert 0.75 < time.monotonic() - started < SOON_S


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("same_loop", [True, False], ids=["same connection", "another connection"])
def test_a_cancelled_keeper_leaves_its_duty_to_another_task(
    valkey_url: str, prefix: str, name: str, same_loop: bool
) -> None:
    options: dict[str, Any] = {"group": "g"} if name.endswith(".fifo") else {}

    async def scenario() -> bool:
        async with (
            aio.connect(valkey_url, prefix=prefix) as connection,
            aio.connect(valkey_url, prefix=prefix, **OTHER_LINK) as other,  # type: ignore[arg-type]
        ):
            queue = await connection.create_queue(name)
            await queue.purge()
            await queue.send("late", delay=0.8, **options)
            started = time.monotonic()
            leader = asyncio.create_task(queue.receive(wait=40))
            await asyncio.sleep(0.15)
            follower = asyncio.create_task((queue if same_loop else other.queue(name)).receive(wait=40))
            await asyncio.sleep(0.15)
            if not leader.cancel():  # a busy machine was so late that the leader has the message
                follower.cancel()
                return False
            assert [m.body for m in await follower] == ["late"]
            assert 0.75 < time.monotonic() - started < SOON_S
            return True

    assert any(asyncio.run(asyncio.wait_for(scenario(), 100)) for _ in range(10))


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("wait", [1.0])
def test_a_wait_ends_in_time_while_others_let_messages_die(
    valkey_url: str, prefix: str, name: str, wait: float
) -> None:
    suffix = ".fifo" if name.endswith(".fifo") else ""
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        connection.create_queue("dead" + suffix)
        queue = connection.create_queue(name, dead_letter_queue="dead" + suffix, max_receive_count=1)
        late = []
        while not late or late[-1] > 0.5:  # a busy machine is late now and then, a wait that begins anew is always
            assert len(late) < 10, late
            for i in range(12):
                queue.send(i, **({"group": f"g{i}"} if suffix else {}))  # type: ignore[arg-type]
                assert queue.receive(visibility_timeout=0.2 * (i + 1))
            started = time.monotonic()
            assert queue.receive(wait=wait) == []
            late.append(time.monotonic() - started - wait)
            queue.purge()


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_long_polls_of_a_queue_that_is_deleted_end_at_once(
    valkey_url: str, prefix: str, name: str, blocked: Callable[[], int]
) -> None:
    with (
        rqsqs.connect(valkey_url, prefix=prefix) as connection,
        rqsqs.connect(valkey_url, prefix=prefix, **OTHER_LINK) as other,  # type: ignore[arg-type]
    ):
        queue = connection.create_queue(name)
        waiting = [Waiting(q) for q in (queue, other.queue(name))]
        until(lambda: blocked() >= 2)
        time.sleep(0.1)
        connection.delete_queue(name)
        deleted = time.monotonic()
        for thread in waiting:
            thread.done(40)
            assert isinstance(thread.error, rqsqs.QueueDoesNotExist)
        assert time.monotonic() - deleted < SOON_S
    until(lambda: not names(valkey_url, prefix))


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_long_polls_of_tasks_end_when_the_queue_is_deleted(
    valkey_url: str, prefix: str, name: str, blocked: Callable[[], int]
) -> None:
    async def scenario() -> None:
        async with (
            aio.connect(valkey_url, prefix=prefix) as connection,
            aio.connect(valkey_url, prefix=prefix, **OTHER_LINK) as other,  # type: ignore[arg-type]
        ):
            queue = await connection.create_queue(name)
            waiting = [asyncio.create_task(q.receive(wait=40)) for q in (queue, other.queue(name))]
            while blocked() < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            await connection.delete_queue(name)
            async with asyncio.timeout(40):
                found = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(e) for e in found] == [rqsqs.QueueDoesNotExist] * 2

    asyncio.run(asyncio.wait_for(scenario(), 100))
    until(lambda: not names(valkey_url, prefix))


def test_long_polls_of_a_dead_letter_queue_with_shards_end_when_it_is_deleted(
    valkey_url: str, prefix: str, blocked: Callable[[], int]
) -> None:
    with (
        rqsqs.connect(valkey_url, prefix=prefix) as connection,
        rqsqs.connect(valkey_url, prefix=prefix, **OTHER_LINK) as other,  # type: ignore[arg-type]
    ):
        dead = connection.create_queue("dead")
        connection.create_queue("work", dead_letter_queue="dead", max_receive_count=1)
        waiting = [Waiting(q) for q in (dead, other.queue("dead"))]
        until(lambda: blocked() >= 2)
        time.sleep(0.2)
        connection.delete_queue("dead")
        deleted = time.monotonic()
        for thread in waiting:
            thread.done(40)
            assert isinstance(thread.error, rqsqs.QueueDoesNotExist)
        assert time.monotonic() - deleted < SOON_S
        connection.delete_queue("work")
    until(lambda: not names(valkey_url, prefix))


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "beside_another"])
def test_waits_end_when_their_connection_is_closed(server_url: str, prefix: str, shared: bool) -> None:
    """Those that block, those that listen and those that stand in line; not those of others on the same server."""
    connection = rqsqs.connect(server_url, prefix=prefix, socket_connect_timeout=7)
    other = rqsqs.connect(server_url, prefix=prefix, socket_connect_timeout=7 if shared else 8)
    assert (connection.transport.link is other.transport.link) is shared
    told: SimpleQueue[Exception] = SimpleQueue()
    names = [f"q{number}" for number in range(10)]

    def wait(name: str) -> None:
        try:
            connection.queue(name).receive(wait=300)
        except rqsqs.RqsqsError as e:
            told.put(e)

    try:
        for name in names:
            connection.create_queue(name)
        staying = [Waiting(other.queue(name), wait=300) for name in ("q0", "q9")]
        until(lambda: len(other.transport.link.waiting.watched()) == 2)
        for name in names * 2:
            threading.Thread(target=wait, args=(name,), daemon=True).start()
        until(
            lambda: (
                len(connection.transport._waiters()) == 20 and len(connection.transport.link.waiting.watched()) == 10
            )
        )
        time.sleep(0.2)  # and have said so to the server
        connection.close()
        assert {(type(e), str(e)) for e in [told.get(timeout=40) for _ in names * 2]} == {
            (rqsqs.UsageError, "the connection was closed while this waited")
        }
        for name in ("q0", "q9"):
            other.queue(name).send("x")
        for waiting in staying:
            waiting.done(40)
            assert waiting.bodies == ["x"]
    finally:
        connection.close()
        other.close()


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "beside_another"])
def test_tasks_wait_no_longer_than_their_connection_lasts(server_url: str, prefix: str, shared: bool) -> None:
    async def main() -> None:
        names = [f"q{number}" for number in range(10)]
        connection = aio.connect(server_url, prefix=prefix, socket_connect_timeout=7)
        async with aio.connect(server_url, prefix=prefix, socket_connect_timeout=7 if shared else 8) as other:
            for name in names:
                await connection.create_queue(name)
            staying = asyncio.create_task(other.queue("q0").receive(wait=300))
            await asyncio.sleep(0)
            tasks = [asyncio.create_task(connection.queue(name).receive(wait=300)) for name in names * 2]
            async with asyncio.timeout(40):
                while len(connection.transport._waits) < 20 or len(connection.transport.link.waiting.watched()) < 10:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.2)  # and have said so to the server
                await connection.close()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(e) for e in ended} == {rqsqs.UsageError}, ended
                await other.queue("q0").send("x")
                assert [m.body for m in await staying] == ["x"]

    asyncio.run(main())


# Closing a connection while others use it


def test_nothing_stays_open_when_threads_call_while_their_connection_is_closed(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rqsqs._io.tuning.BLOCKING", 1)  # further ones listen
    with Server() as server, redis.Redis.from_url(server.url) as watching, ThreadPoolExecutor() as pool:
        with rqsqs.connect(server.url, prefix=prefix) as connection:
            connection.create_queue("q")
            connection.create_queue("many", partitions=3)
        until(lambda: len(watching.client_list()) == 1)

        def call(work: Callable[[], object]) -> None:
            with contextlib.suppress(rqsqs.UsageError):  # it is closed
                while True:
                    work()

        kept = []
        for turn in range(12):
            connection = rqsqs.connect(server.url, prefix=prefix)
            q, many = connection.queue("q"), connection.queue("many")
            works: list[Callable[[], object]] = [lambda q=q: q.send("x"), lambda q=q: q.receive(delete=True)]
            works = works * 4 + [lambda many=many: many.receive(wait=300)] * 3
            calling = [pool.submit(call, work) for work in works]
            time.sleep(turn / 200)
            connection.close()
            for one in calling:
                one.result(40)
            kept.append(connection)
            until(lambda: len(watching.client_list()) == 1)


def test_nothing_stays_open_when_tasks_call_while_their_connection_is_closed(prefix: str) -> None:
    async def main() -> None:
        for turn in range(40):  # also while it is being opened
            connection = aio.connect(server.url, prefix=prefix)
            q, many = connection.queue("q"), connection.queue("many")
            calls = [q.send("x"), q.receive(), q.receive(wait=300), many.receive(wait=300), many.send_batch(range(9))]
            tasks = [asyncio.create_task(call) for call in calls]
            for _ in range(turn):
                await asyncio.sleep(0)
            await connection.close()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            errors = {type(one) for one in ended if isinstance(one, BaseException)}
            assert errors <= {rqsqs.UsageError, rqsqs.ConnectionFailed, rqsqs.BatchFailed}, ended
            async with asyncio.timeout(40):
                while len(asyncio.all_tasks()) > 1 or len(watching.client_list()) > 1:
                    await asyncio.sleep(0.005)

    with Server() as server, redis.Redis.from_url(server.url) as watching:
        with rqsqs.connect(server.url, prefix=prefix) as connection:
            connection.create_queue("q")
            connection.create_queue("many", partitions=3).send_batch(range(20))
        asyncio.run(main())


def test_messages_in_hand_arrive_though_their_connection_is_closed_meanwhile(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = queues.get_members

    def close_first(q: Any) -> Any:
        other.close()
        return real(q)

    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("q", partitions=2)
        for n in range(4):
            queue.send(n)
        other = rqsqs.connect(valkey_url, prefix=prefix)
        monkeypatch.setattr(queues, "get_members", close_first)  # as a new connection learns of two partitions
        assert len(other.queue("q").receive(10)) == 2
        with pytest.raises(rqsqs.UsageError):
            other.queue("q").receive()
