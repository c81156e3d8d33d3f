"""Queues of several partitions, as users see them: one queue."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from rqsqs.worker import Worker
from tests.clusters import blocked, calls, masters_of, until

SOON_S = 30.0


def scope(name: str) -> dict[str, Any]:
    return {"deduplication_scope": "messageGroup"} if name.endswith(".fifo") else {}


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_day_of_a_partitioned_queue(server_url: str, prefix: str, name: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        connection.create_queue("dead" + name, **scope(name))
        queue = connection.create_queue(
            name, partitions=4, dead_letter_queue="dead" + name, max_receive_count=1, **scope(name)
        )
        sent = queue.send_batch([rqsqs.Entry([g, i], group=g) for i in range(5) for g in "abcdefgh"])
        assert len({s.message_id for s in sent}) == 40
        assert queue.counts().visible == 40
        queue.pause()
        assert queue.receive(10) == []
        queue.resume()
        assert queue.groups() == list("abcdefgh")
        seen: list[Any] = []
        batch = queue.receive(10)
        while batch:
            seen += [m.body for m in batch]
            batch, failures = queue.delete_and_receive(batch, 10)
            assert failures == []
        for g in "abcdefgh":
            assert sorted(b for b in seen if b[0] == g) == [[g, i] for i in range(5)]
            assert name == "q" or [b for b in seen if b[0] == g] == [[g, i] for i in range(5)]
        queue.configure(partitions=6)
        (first,) = queue.send_batch([rqsqs.Entry("twice", group="a", deduplication_id="x")])
        (second,) = queue.send_batch([rqsqs.Entry("twice", group="a", deduplication_id="x")])
        assert second.is_duplicate
        assert second.message_id == first.message_id
        assert queue.info().attributes["Partitions"] == "6"
        (message,) = queue.receive(visibility_timeout=0)
        assert queue.receive() == []
        dead = connection.queue("dead" + name)
        assert dead.counts().visible == 1
        dead.redrive()
        (again,) = queue.receive(wait=5)
        assert again.body == message.body
        queue.delete(again)
        queue.purge()
        assert queue.counts() == rqsqs.Counts()


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_messages_of_a_partition_that_is_gone_are_deleted_already(server_url: str, prefix: str, name: str) -> None:
    async def later() -> None:
        async with aio.connect(server_url, prefix=prefix) as other:
            await other.create_queue(name, partitions=4, **scope(name))
            await other.queue(name).send_batch([rqsqs.Entry(g, group=g) for g in "abcdefgh"])
            held = await other.queue(name).receive(100)
            assert len(held) == 8
            await other.delete_queue(name)
            await other.create_queue(name)
            for message in held:
                await message.delete()
            await other.delete_queue(name)
            with pytest.raises(rqsqs.QueueDoesNotExist):
                await held[0].delete()

    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue(name, partitions=4, **scope(name))
        queue.send_batch([rqsqs.Entry(g, group=g) for g in "abcdefgh"])
        held = queue.receive(100)
        assert len(held) == 8
        connection.delete_queue(name)
        connection.create_queue(name)
        for message in held:
            message.delete()
        queue.delete_batch(held)
        connection.delete_queue(name)
        with pytest.raises(rqsqs.QueueDoesNotExist):
            held[0].delete()
    asyncio.run(later())


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_waiting_receive_is_woken_by_a_message_in_any_partition(valkey_url: str, prefix: str, name: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue(name, partitions=8, **scope(name))
        for n in range(16):
            timer = threading.Timer(0.05, queue.send, (n,), {"group": f"g{n}"})
            timer.start()
            start = time.monotonic()
            (message,) = queue.receive(wait=60)
            assert time.monotonic() - start < SOON_S
            queue.delete(message)
            timer.join()


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_waiters_from_before_partitions_were_added_get_messages_from_these(
    valkey_url: str, prefix: str, name: str
) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection, rqsqs.connect(valkey_url, prefix=prefix) as other:
        queue = connection.create_queue(name, partitions=2, **scope(name))
        got: list[Any] = []
        threads = [threading.Thread(target=lambda: got.extend(queue.receive(wait=60))) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        theirs = other.queue(name)
        theirs.configure(partitions=8)
        start = time.monotonic()
        for n in range(8):
            theirs.send(n, group=f"g{n}")
        for thread in threads:
            thread.join(SOON_S)
        assert sorted(m.body for m in got) == list(range(8))
        assert time.monotonic() - start < SOON_S


@pytest.mark.parametrize("connections", [1, 3])  # each has a view of its own of the partitions
@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_waiters_from_before_a_source_was_created_get_its_dead_letters(
    server_url: str, prefix: str, name: str, connections: int
) -> None:
    with contextlib.ExitStack() as stack:
        other, *own = [stack.enter_context(rqsqs.connect(server_url, prefix=prefix)) for _ in range(1 + connections)]
        other.create_queue("dead" + name)
        got: list[Any] = []
        queues = [connection.queue("dead" + name) for connection in own]
        threads = [
            threading.Thread(target=lambda n=n: got.extend(queues[n % connections].receive(wait=120))) for n in range(6)
        ]
        before = blocked(server_url)
        for thread in threads:
            thread.start()
        until(lambda: blocked(server_url) > before, "they wait")
        source = other.create_queue(name, dead_letter_queue="dead" + name, max_receive_count=1)
        source.send_batch([rqsqs.Entry(n, group=f"g{n}") for n in range(6)])
        assert len(source.receive(6, visibility_timeout=0)) == 6
        assert source.receive(6) == []
        start = time.monotonic()
        for thread in threads:
            thread.join(SOON_S)
        assert sorted(m.body for m in got) == [0, 1, 2, 3, 4, 5]
        assert time.monotonic() - start < SOON_S


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_tasks_from_before_a_source_was_created_get_its_dead_letters(
    server_url: str, prefix: str, name: str, connections: int
) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            other, *own = [
                await stack.enter_async_context(aio.connect(server_url, prefix=prefix)) for _ in range(1 + connections)
            ]
            await other.create_queue("dead" + name)
            queues = [connection.queue("dead" + name) for connection in own]
            before = blocked(server_url)
            tasks = [asyncio.create_task(queues[n % connections].receive(wait=120)) for n in range(6)]
            await asyncio.to_thread(until, lambda: blocked(server_url) > before, "they wait")
            source = await other.create_queue(name, dead_letter_queue="dead" + name, max_receive_count=1)
            await source.send_batch([rqsqs.Entry(n, group=f"g{n}") for n in range(6)])
            assert len(await source.receive(6, visibility_timeout=0)) == 6
            assert await source.receive(6) == []
            found = await asyncio.wait_for(asyncio.gather(*tasks), SOON_S)
            assert sorted(m.body for (m,) in found) == [0, 1, 2, 3, 4, 5]

    asyncio.run(main())


WAITERS = """
import sys, threading, rqsqs
url, prefix, name = sys.argv[1:]
queue = rqsqs.connect(url, prefix=prefix).queue(name)
threads = [threading.Thread(target=lambda: print(queue.receive(wait=120)[0].body, flush=True)) for _ in range(2)]
[thread.start() for thread in threads]
"""


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_processes_that_wait_from_before_a_source_was_created_get_its_dead_letters(
    server_url: str, prefix: str, name: str
) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        connection.create_queue("dead" + name)
        before = blocked(server_url)
        command = [sys.executable, "-c", WAITERS, server_url, prefix, "dead" + name]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        try:
            until(lambda: blocked(server_url) >= before + 3, "they wait")
            source = connection.create_queue(name, dead_letter_queue="dead" + name, max_receive_count=1)
            source.send_batch([rqsqs.Entry(n, group=f"g{n}") for n in range(6)])
            assert len(source.receive(6, visibility_timeout=0)) == 6
            assert source.receive(6) == []
            found = "".join([process.communicate(timeout=SOON_S)[0] for process in processes])
            assert sorted(found.replace("\n", "")) == ["0", "1", "2", "3", "4", "5"]
        finally:
            for process in processes:
                process.kill()
                process.wait()


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_tasks_wait_work_and_are_cancelled_while_partitions_are_added(valkey_url: str, prefix: str, name: str) -> None:
    async def main() -> None:
        async with aio.connect(valkey_url, prefix=prefix) as connection:
            queue = await connection.create_queue(name, partitions=2, **scope(name))
            got: list[Any] = []
            done = asyncio.Event()

            async def work() -> None:
                while True:
                    for message in await queue.receive(3, wait=60):
                        got.append(message.body)
                        await queue.delete(message)
                        if len(got) >= 400:
                            done.set()

            async def be_impatient() -> None:
                while not done.is_set():
                    task = asyncio.create_task(queue.receive(wait=60))
                    await asyncio.sleep(0.005)
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        for message in await task:
                            await queue.change_visibility(message, 0)

            tasks = [asyncio.create_task(work()) for _ in range(10)]
            impatient = asyncio.create_task(be_impatient())
            for n in range(400):
                await queue.send(n, group=f"g{n % 20}")
                if n == 150:
                    await queue.configure(partitions=5)
                if n % 10 == 0:
                    await asyncio.sleep(0.01)
            await asyncio.wait_for(done.wait(), 20)
            await impatient
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert sorted(set(got)) == list(range(400))
            if name == "q.fifo":
                for g in range(20):
                    assert [n for n in dict.fromkeys(got) if n % 20 == g] == list(range(g, 400, 20))

    asyncio.run(main())


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_worker_serves_all_partitions_also_those_that_come(valkey_url: str, prefix: str, name: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue(name, partitions=2, **scope(name))
        got: list[Any] = []
        worker = Worker(valkey_url, prefix=prefix)
        worker.add(name, lambda message: got.append(message.body))
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            for n in range(300):
                queue.send(n, group=f"g{n % 12}")
                if n == 100:
                    queue.configure(partitions=7)
            end = time.monotonic() + 60
            while len(got) < 300 and time.monotonic() < end:
                time.sleep(0.02)
        finally:
            worker.stop()
            thread.join(60)
        assert sorted(got) == list(range(300))
        if queue.is_fifo:
            for g in range(12):
                assert [n for n in got if n % 12 == g] == list(range(g, 300, 12))


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_sends_that_have_to_be_safe_find_their_partitions(valkey_url: str, prefix: str, name: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection, rqsqs.connect(valkey_url, prefix=prefix) as other:
        queue = connection.create_queue(name, **scope(name))
        safe = connection.queue(name, durability=rqsqs.Durability(replicas=3, timeout=0.01))
        other.queue(name).configure(partitions=5)
        with pytest.raises(rqsqs.DurabilityNotReached) as weak:  # they are stored all the same
            safe.send_batch([rqsqs.Entry(n, group=f"g{n}", deduplication_id=f"{n}") for n in range(20)])
        assert len({sent.message_id for sent in weak.value.sent}) == 20
        assert queue.counts().visible == 20
        hopeful = connection.queue(name, durability=rqsqs.Durability(replicas=3, timeout=0.01, required=False))
        sent = hopeful.send_batch([rqsqs.Entry(n, group=f"g{n}", deduplication_id=f"{n}") for n in range(20, 40)])
        assert len(sent) == 20
        assert queue.counts().visible == 40


def test_idle_waiters_of_a_process_share_one_place_in_the_line(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("q", partitions=8)
        threads = [threading.Thread(target=queue.receive, kwargs={"wait": 1.5}) for _ in range(20)]
        threads[0].start()
        time.sleep(0.3)
        with masters_of(valkey_url) as masters:
            before = calls(masters)
            for thread in threads[1:]:
                thread.start()
            time.sleep(0.5)
            assert (calls(masters) - before)["evalsha"] < 10
        for thread in threads:
            thread.join()
