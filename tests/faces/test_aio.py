"""The asyncio face: the same as the sync one, and nothing stranded when tasks are cancelled."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import rqsqs
from rqsqs import aio, embedded
from tests.clusters import blocked, calls, masters_of


@asynccontextmanager
async def connected(url: str, prefix: str) -> AsyncIterator[aio.Connection]:
    async with aio.connect(url, prefix=prefix) as connection:
        yield connection


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 100))


PAIRS = [(rqsqs.Connection, aio.Connection), (rqsqs.Queue, aio.Queue), (rqsqs.Message, aio.Message)]
RENAMED = {"__iter__": "__aiter__", "__enter__": "__aenter__", "__exit__": "__aexit__"}


@pytest.mark.parametrize(("sync", "colour"), PAIRS, ids=lambda c: c.__name__)
def test_both_faces_have_the_same_methods_with_the_same_arguments(sync: type, colour: type) -> None:
    names = {n for n in vars(sync) if not n.startswith("_") or n in RENAMED}
    assert {RENAMED.get(n, n) for n in names} == {
        n for n in vars(colour) if not n.startswith("_") or n in RENAMED.values()
    }
    for name in names:
        ours, theirs = getattr(sync, name), getattr(colour, RENAMED.get(name, name))
        if not callable(ours):
            assert type(ours) is type(theirs)
            continue
        ours_signature, theirs_signature = inspect.signature(ours), inspect.signature(theirs)
        assert str(ours_signature.parameters) == str(theirs_signature.parameters), name
        answer = str(theirs_signature.return_annotation).replace("AsyncIterator", "Iterator")
        assert answer == str(ours_signature.return_annotation), name


def test_connect_takes_the_same_arguments() -> None:
    assert inspect.signature(rqsqs.connect).parameters == inspect.signature(aio.connect).parameters


def test_the_way_of_messages(server_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with connected(server_url, prefix) as connection:
            dead = await connection.create_queue("dead")
            queue = await connection.create_queue("work", dead_letter_queue=dead, max_receive_count=1)
            sent = await queue.send({"n": 1}, attributes={"a": 1})
            await queue.send_batch(["two", aio.Entry("three", delay=60)])
            assert (await queue.counts()).visible == 2
            assert [m.body for m in await queue.peek(5)] == [{"n": 1}, "two"]

            (first,) = await queue.receive(visibility_timeout=0)
            assert (first.message_id, first.attributes) == (sent.message_id, {"a": 1})
            assert [m.body for m in await queue.receive(5)] == ["two"]  # the first died
            (letter,) = await dead.receive()
            assert letter.dead_letter_source == "work"
            await letter.release()
            await dead.redrive()
            async for message in queue.messages(wait=5):
                async with message:
                    assert message.body == {"n": 1}
                break
            assert [q.name async for q in connection.queues()] == ["dead", "work"]
            assert await connection.exists("work")
            await connection.delete_queue("work")
            with pytest.raises(rqsqs.QueueDoesNotExist, match="'work' does not exist"):
                await queue.send("x")

    run(scenario)


def test_an_error_inside_a_message_gives_it_back(valkey_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with connected(valkey_url, prefix) as connection:
            queue = await connection.create_queue("q")
            await queue.send("x")
            with pytest.raises(ZeroDivisionError):
                async with (await queue.receive())[0]:
                    raise ZeroDivisionError
            assert (await queue.receive())[0].receive_count == 2

    run(scenario)


def test_thousands_of_tasks_wait_on_one_connection(valkey_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with connected(valkey_url, prefix) as connection:
            queue = await connection.create_queue("q")
            before = blocked(valkey_url)
            waiting = [asyncio.create_task(queue.receive(wait=20)) for _ in range(2000)]
            while blocked(valkey_url) == before:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert blocked(valkey_url) == before + 1
            with masters_of(valkey_url) as masters:
                start = calls(masters)
                await asyncio.sleep(0.5)
                assert (calls(masters) - start).total() < 20
            await queue.send_batch(range(1000))
            await queue.send_batch(range(1000, 2000))
            bodies = [m.body for found in await asyncio.gather(*waiting) for m in found]
            assert sorted(bodies) == list(range(2000))

    run(scenario)


def test_a_message_wakes_its_waiter_promptly(valkey_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with connected(valkey_url, prefix) as connection:
            queue = await connection.create_queue("q")
            for body, options in (("now", {}), ("later", {"delay": 0.3})):
                task = asyncio.create_task(queue.receive(wait=60))
                await asyncio.sleep(0.1)
                start = time.monotonic()
                await queue.send(body, **options)
                assert (await task)[0].body == body
                assert time.monotonic() - start < 30

    run(scenario)


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_cancelled_receives_strand_nothing(server_url: str, prefix: str, name: str) -> None:
    async def scenario() -> None:
        async with connected(server_url, prefix) as connection:
            queue = await connection.create_queue(name, visibility_timeout=600)
            options = {"group": "g"} if queue.is_fifo else {}
            total = 60
            tasks = [asyncio.create_task(queue.receive(wait=20)) for _ in range(5)]
            seen: list[int] = []
            for number in range(total):
                await queue.send(number, **options)
                if number % 3 == 0:
                    await asyncio.sleep(0)
                victim = tasks.pop(0)
                victim.cancel()
                try:
                    found = await victim
                except asyncio.CancelledError:
                    found = []
                for message in found:
                    seen.append(message.body)
                    await message.delete()
                tasks.append(asyncio.create_task(queue.receive(wait=20)))
            for task in tasks:
                task.cancel()
            for found in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(found, BaseException):
                    seen += [m.body for m in found]
                    await queue.delete_batch(found)
            deadline = time.monotonic() + 60  # far below the visibility timeout
            while len(seen) < total and time.monotonic() < deadline:
                for message in await queue.receive(10, wait=0.2):
                    seen.append(message.body)
                    await message.delete()
            assert sorted(seen) == list(range(total))
            if queue.is_fifo:
                assert seen == sorted(seen)

    run(scenario)


def test_a_cancelled_leader_leaves_no_connection_blocked(valkey_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with connected(valkey_url, prefix) as connection:
            queue = await connection.create_queue("q")
            before = blocked(valkey_url)
            for _ in range(5):
                task = asyncio.create_task(queue.receive(wait=20))
                while blocked(valkey_url) == before:
                    await asyncio.sleep(0.01)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                deadline = time.monotonic() + 60
                while blocked(valkey_url) > before and time.monotonic() < deadline:
                    await asyncio.sleep(0.01)
                assert blocked(valkey_url) == before
            await queue.send("x")
            assert (await queue.receive())[0].body == "x"

    run(scenario)


def test_many_tasks_send_at_once(valkey_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with connected(valkey_url, prefix) as connection:
            queue = await connection.create_queue("q")
            sent = await asyncio.gather(*(queue.send(n) for n in range(1000)))
            assert len({s.message_id for s in sent}) == 1000
            assert (await queue.counts()).visible == 1000

    run(scenario)


def test_a_connection_belongs_to_one_event_loop(valkey_url: str, prefix: str) -> None:
    connection = aio.connect(valkey_url, prefix=prefix)

    async def use() -> None:
        await connection.exists("q")

    asyncio.run(use())
    with pytest.raises(rqsqs.UsageError, match="one event loop"):
        asyncio.run(use())


def test_a_connection_is_closed_in_its_event_loop(valkey_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with connected(valkey_url, prefix) as connection:
            await connection.exists("q")
            with pytest.raises(rqsqs.UsageError, match="one event loop"):
                await asyncio.to_thread(lambda: asyncio.run(connection.close()))
            assert not await connection.exists("q")  # it is still open

    run(scenario)


def test_a_connection_is_closed_after_its_event_loop_has_ended(tmp_path: Path) -> None:
    url = f"embedded://{tmp_path}"
    connection = aio.connect(url)

    async def use() -> None:
        await connection.exists("q")

    asyncio.run(use())
    with embedded.acquire(url) as server:
        pid = server.pid
    asyncio.run(connection.close())
    asyncio.run(connection.close())
    with embedded.acquire(url) as server:
        assert server.pid != pid  # nobody used the first one any more
    with pytest.raises(rqsqs.UsageError, match="closed"):
        asyncio.run(use())


def test_a_closed_connection_says_so(valkey_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with connected(valkey_url, prefix) as connection:
            queue = await connection.create_queue("q")
        with pytest.raises(rqsqs.UsageError, match="closed"):
            await queue.send("x")

    run(scenario)


def test_a_server_that_is_not_there_is_named() -> None:
    async def scenario() -> None:
        async with aio.connect("redis://127.0.0.1:1/0") as connection:
            with pytest.raises(rqsqs.ConnectionFailed, match=r"127\.0\.0\.1:1") as failure:
                await connection.queue("q").send("x")
            assert not failure.value.request_sent

    run(scenario)


def test_dropped_connections_are_replaced(valkey_url: str, prefix: str) -> None:
    async def scenario() -> None:
        async with connected(valkey_url, prefix) as connection:
            queue = await connection.create_queue("q")
            task = asyncio.create_task(queue.receive(wait=20))
            await asyncio.sleep(0.2)
            with masters_of(valkey_url) as masters:
                for master in masters:
                    master.client_kill_filter(_type="normal")
            await asyncio.sleep(0.1)
            await queue.counts()
            await queue.send("after")
            assert (await task)[0].body == "after"

    run(scenario)
