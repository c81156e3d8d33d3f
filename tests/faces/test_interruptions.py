"""Signal handlers raise at any moment of a call: time limits by SIGALRM, Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import os
import random
import signal
import sys
import threading
from contextlib import ExitStack
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs._io import connect, protocol, tuning
from rqsqs._io.sync import pools
from tests.clusters import ALL_ON_CLUSTER
from tests.servers import Server


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """All that is given to hiredis to be packed."""
    seen: list[tuple[Any, ...]] = []
    real = protocol.pack_command

    def pack(words: tuple[Any, ...]) -> bytes:
        seen.append(words)
        return real(words)  # type: ignore[no-any-return]

    monkeypatch.setattr(protocol, "pack_command", pack)
    return seen


def test_hiredis_is_given_text_and_bytes_only(valkey_url: str, prefix: str, packed: list[tuple[Any, ...]]) -> None:
    # for the text of anything else it asks Python, which handles signals then; if the handler raises, hiredis crashes
    url = valkey_url if ALL_ON_CLUSTER else valkey_url.removesuffix("/0") + "/1"
    with rqsqs.connect(url, prefix=prefix, client_name="me") as connection, ExitStack() as later:
        queues = [connection.create_queue(f"q{n}", tags={"a": "b"}, partitions=2) for n in range(3)]
        queues.append(connection.create_queue("q.fifo"))
        for queue in queues:
            options: dict[str, Any] = {"group": "g"} if queue.name.endswith(".fifo") else {}
            queue.send(1, delay=5, durability=rqsqs.Durability(aof=True, timeout=0.01, required=False), **options)
            queue.send_batch([rqsqs.Entry(2, **options), rqsqs.Entry(3, **options)])
            for message in queue.receive(max_messages=2, wait=0.01, visibility_timeout=3):
                message.change_visibility(7)
                message.delete()
            queue.peek(2)
            queue.counts()
            later.callback(queue.purge)

        async def wait() -> None:
            async with aio.connect(url, prefix=prefix) as other:
                names = [f"many{n}" for n in range(7)]
                made = [await other.create_queue(name) for name in names]
                await asyncio.gather(*(queue.receive(wait=0.05) for queue in made))

        asyncio.run(wait())
    assert {b"EVALSHA", "BLPOP", "SCRIPT"} <= {words[0] for words in packed}
    assert {type(word) for words in packed for word in words} == {str, bytes}


def test_connections_are_opened_without_looking_for_the_version_of_redis_py(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: looked.append(name) or real(name))
    real_from = importlib.metadata.Distribution.from_name
    monkeypatch.setattr(
        importlib.metadata.Distribution, "from_name", lambda name: looked.append(name) or real_from(name)
    )
    for number in range(3):
        with rqsqs.connect(valkey_url, prefix=prefix, client_name=f"c{number}") as connection:
            connection.create_queue("q")
    assert looked == []


def test_a_connection_says_nothing_that_old_servers_refuse(prefix: str) -> None:
    with Server("valkey") as server, redis.Redis.from_url(server.url) as client:
        client.config_resetstat()
        with rqsqs.connect(server.url, prefix=prefix) as connection:
            connection.create_queue("q").receive(wait=0.01)
        assert not [name for name in client.info("commandstats") if "setinfo" in name]
    assert connect.settings_of(server.url, {"lib_name": "mine"})[0].keys().isdisjoint({"driver_info", "lib_version"})


class Interrupted(Exception):
    """Raised by a signal handler."""


INTERRUPTIONS = int(os.environ.get("RQSQS_INTERRUPTIONS", "300"))
TOGETHER = 16  # tasks
SAFE = rqsqs.Durability(aof=True, timeout=0.05, required=False)
PATIENT = pytest.mark.timeout(120 + INTERRUPTIONS // 20)


class Books:
    """What was certainly sent, and what certainly came."""

    def __init__(self) -> None:
        self.sent: set[str] = set()
        self.begun: set[str] = set()
        self.deleted: set[str] = set()
        self.is_used = False

    def keep(self, text: str) -> None:
        """Its send has returned; before that somebody may have had it, and deleted it."""
        if text in self.begun:
            self.sent.add(text)

    def close(self, text: str) -> None:
        """It was certainly deleted: whoever gets it again finds that it was never begun."""
        for book in (self.sent, self.begun, self.deleted):
            book.discard(text)
        self.is_used = True

    def check(self, rest: set[str]) -> None:
        """Nothing is lost, and nothing came from nowhere."""
        assert self.is_used
        assert self.sent - self.deleted <= rest <= self.begun


@PATIENT
def test_calls_that_a_signal_handler_breaks_off_lose_and_mix_up_nothing(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sockets that nobody was left to close; and what is raised inside of a destructor. pytest would keep it, with the
    # stack at that moment and all that is used there.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    dice, books, broken = random.Random(prefix), Books(), 0

    def interrupt(*_: object) -> None:
        raise Interrupted

    def act(number: int) -> None:
        kind, text = dice.randrange(5), str(number)
        if kind < 2:
            books.begun.add(text)
            queue.send(text, durability=SAFE if kind else None)
            books.keep(text)
        elif kind == 2:
            for message in queue.receive(max_messages=5):
                assert message.body in books.begun
                books.deleted.add(message.body)  # perhaps it will not be, then it comes again
                message.delete()
                books.close(message.body)
        elif kind == 3:
            assert other.receive(wait=0.002) == []
        else:
            assert queue.counts().visible <= number

    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue, other = connection.create_queue("q", visibility_timeout=1), connection.create_queue("other")
        before = signal.signal(signal.SIGALRM, interrupt)
        number = 0
        try:
            while broken < INTERRUPTIONS:
                number += 1
                try:
                    signal.setitimer(
                        signal.ITIMER_REAL, 10 ** dice.uniform(-5, -1.5)
                    )  # some end, also on slow machines
                    act(number)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interrupted:
                    broken += 1
                except UnboundLocalError as error:  # redis-py 5.3: of a `finally` where it makes a connection
                    if not isinstance(error.__context__, Interrupted):
                        raise
                    broken += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        rest: set[str] = set()
        while found := queue.receive(max_messages=1000, visibility_timeout=600, wait=2):
            rest.update(message.body for message in found)
        books.check(rest)
        gc.collect()
        node = connection.transport.link.router.node(f"{prefix}:{{q}}:meta")
        assert len(node.blocking) == 0
        assert len(node.calls._own) == len(node.calls._idle) <= tuning.OWN + tuning.BLOCKING
        assert len(node.durable._own) == len(node.durable._idle) <= tuning.DURABLE
        for _ in range(tuning.DURABLE + 1):  # none of its connections is taken for ever
            other.send("", durability=SAFE)


@pytest.mark.parametrize("shared", ["", "OWN", "BLOCKING"])  # a connection of one's own, a pipe, a hub
@pytest.mark.parametrize("method", ["send", "receive"])
def test_a_time_limit_that_raises_a_timeout_error_ends_a_call(
    prefix: str, monkeypatch: pytest.MonkeyPatch, method: str, shared: str
) -> None:
    if shared:
        monkeypatch.setattr(tuning, shared, 0)

    def limit(*_: object) -> None:
        raise TimeoutError("that of the user")

    before = signal.getsignal(signal.SIGALRM)
    with Server("valkey") as server, rqsqs.connect(server.url, prefix=prefix, socket_timeout=60) as connection:
        queue = connection.create_queue("q")
        with contextlib.suppress(rqsqs.RqsqsError):
            queue.counts()
        thaw = threading.Timer(20, server.thaw)  # then a call that goes on returns
        try:
            signal.signal(signal.SIGALRM, limit)
            if method == "send":
                server.freeze()
                thaw.start()
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(TimeoutError, match="that of the user"):
                queue.send("x") if method == "send" else queue.receive(wait=20)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            thaw.cancel()
            server.thaw()
        queue.purge()
        queue.send("y")
        assert [message.body for message in queue.receive()] == ["y"]


def test_a_connection_that_was_given_back_is_not_hung_up_by_whoever_is_interrupted_then(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    real = pools.Pool.give

    def give(pool: pools.Pool, line: pools.PooledConnection) -> None:
        real(pool, line)
        given.append(line)
        raise Interrupted  # by now another thread may have it

    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("q")
        monkeypatch.setattr(pools.Pool, "give", give)
        with pytest.raises(Interrupted):
            queue.send("x")
        monkeypatch.undo()
        assert given[0].connection._sock is not None
        assert queue.receive()[0].body == "x"


@PATIENT
def test_calls_of_tasks_that_are_cancelled_lose_and_mix_up_nothing(valkey_url: str, prefix: str) -> None:
    dice, books = random.Random(prefix), Books()

    async def act(queue: aio.Queue, other: aio.Queue, number: int) -> None:
        kind, text = dice.randrange(5), str(number)
        if kind < 2:
            books.begun.add(text)
            await queue.send(text, durability=SAFE if kind else None)
            books.keep(text)
        elif kind == 2:
            for message in await queue.receive(max_messages=5):
                assert message.body in books.begun
                books.deleted.add(message.body)
                await message.delete()
                books.close(message.body)
        elif kind == 3:
            assert await other.receive(wait=0.002) == []
        else:
            assert (await queue.counts()).visible <= number + TOGETHER

    async def main() -> None:
        async with aio.connect(valkey_url, prefix=prefix) as connection:
            queue = await connection.create_queue("q", visibility_timeout=1)
            other = await connection.create_queue("other")
            cancelled = number = 0
            while cancelled < INTERRUPTIONS:
                tasks = []
                for _ in range(TOGETHER):
                    number += 1
                    tasks.append(asyncio.create_task(act(queue, other, number)))
                for task in dice.sample(tasks, TOGETHER - 2):  # who is not cancelled may wait for SAFE
                    for _ in range(dice.randrange(4)):
                        await asyncio.sleep(0)
                    task.cancel()
                for task in tasks:
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
                    cancelled += task.cancelled()
            for _ in range(tuning.DURABLE + 1):
                await other.send("", durability=SAFE)
            rest: set[str] = set()
            while found := await queue.receive(max_messages=1000, visibility_timeout=600, wait=2):
                rest.update(message.body for message in found)
            books.check(rest)

    asyncio.run(main())
