"""What a caller is told when answers are lost on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs._core.operations import queues
from rqsqs._io.sync import clients
from tests.clusters import infos
from tests.proxy import Proxy


def blocked_clients(url: str) -> int:
    return sum(int(info["blocked_clients"]) for info in infos(url, "clients"))


def send_sync(url: str, prefix: str, after: Callable[[], None]) -> None:
    with rqsqs.connect(url, prefix=prefix) as connection:
        queue = connection.queue("f.fifo")
        queue.counts()  # the scripts are loaded
        queue.send("first", group="g", deduplication_id="0")
        after()
        queue.send("x", group="g", deduplication_id="1")


def send_async(url: str, prefix: str, after: Callable[[], None]) -> None:
    async def main() -> None:
        async with aio.connect(url, prefix=prefix) as connection:
            queue = connection.queue("f.fifo")
            await queue.send("first", group="g", deduplication_id="0")
            after()
            await queue.send("x", group="g", deduplication_id="1")

    asyncio.run(main())


@pytest.mark.parametrize("send", [send_sync, send_async], ids=["sync", "asyncio"])
def test_a_send_that_was_perhaps_done_is_never_said_not_to_have_been(
    valkey_url: str,
    prefix: str,
    send: Callable[[str, str, Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rqsqs._io.tuning.FAILOVER_S", 1.0)
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("f.fifo")
        with Proxy(valkey_url) as proxy:

            def trouble() -> None:
                proxy.lose_replies(1)
                proxy.is_closed = True  # and nobody gets through to ask again

            with pytest.raises(rqsqs.ConnectionFailed, match="the outcome of the request is unknown") as caught:
                send(proxy.url, prefix, trouble)
        assert caught.value.request_sent
        assert queue.counts().visible == 2


# Calls that lose their answers, and do what they would have done.


@pytest.fixture
def proxy(valkey_url: str) -> Iterator[Proxy]:
    with Proxy(valkey_url) as proxy:
        yield proxy


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_calls_whose_answers_are_lost_are_done_once(proxy: Proxy, prefix: str, name: str) -> None:
    group: Any = {"group": "g"} if name.endswith(".fifo") else {}
    with rqsqs.connect(proxy.url, prefix=prefix) as connection:
        queue = connection.create_queue(name)
        queue.send(0, **group)
        queue.receive(delete=True)

        def lossy(call: Callable[[], Any]) -> Any:
            before = proxy.lost
            proxy.lose_replies(1)
            result = call()
            assert proxy.lost == before + 1
            return result

        lossy(lambda: queue.send(1, **group))
        lossy(lambda: queue.send_batch([rqsqs.Entry(n, **group) for n in (2, 3, 4)]))
        assert queue.counts().visible == 4
        first, second = lossy(lambda: queue.receive(2))
        assert (first.body, second.body) == (1, 2)
        assert queue.counts().in_flight == 2
        lossy(lambda: second.change_visibility(60))
        lossy(first.delete)
        assert queue.counts().in_flight == 1
        lossy(second.delete)
        assert [m.body for m in lossy(lambda: queue.receive(delete=True))] == [3]
        lossy(queue.purge)
        assert queue.counts().visible == 0


def test_tasks_whose_answers_are_lost_are_done_once(proxy: Proxy, prefix: str) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url, prefix=prefix) as connection:
            queue = await connection.create_queue("q")
            await queue.send(0)
            await queue.receive(delete=True)
            proxy.lose_replies(1)
            await asyncio.gather(*(queue.send(n) for n in range(1, 21)))
            assert (await queue.counts()).visible == 20
            proxy.lose_replies(1)
            received = await asyncio.gather(*(queue.receive(3) for _ in range(5)))
            assert proxy.lost == 2
            bodies = [m.body for messages in received for m in messages]
            assert (len(bodies), len(set(bodies))) == (15, 15)
            assert (await queue.counts()).in_flight == 15

    asyncio.run(main())


def receive_sync(url: str, prefix: str) -> list[Any]:
    with rqsqs.connect(url, prefix=prefix) as connection:
        return [(m.body, m.receive_count) for m in connection.queue("q").receive(wait=30)]


def receive_async(url: str, prefix: str) -> list[Any]:
    async def main() -> list[Any]:
        async with aio.connect(url, prefix=prefix) as connection:
            return [(m.body, m.receive_count) for m in await connection.queue("q").receive(wait=30)]

    return asyncio.run(main())


@pytest.mark.parametrize("receive", [receive_sync, receive_async], ids=["sync", "asyncio"])
def test_what_a_waiter_was_handed_out_with_a_lost_answer_it_gets(
    proxy: Proxy, valkey_url: str, prefix: str, receive: Callable[[str, str], list[Any]]
) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection, ThreadPoolExecutor() as pool:
        queue = connection.create_queue("q")
        before = blocked_clients(valkey_url)
        waiting = pool.submit(receive, proxy.url, prefix)
        while blocked_clients(valkey_url) == before:
            time.sleep(0.01)
        proxy.lose_replies(1)
        queue.send("x")
        assert waiting.result(60) == [("x", 1)]
        assert proxy.lost == 1


# Receives that were cancelled.


@pytest.mark.parametrize("wait", [0, 60])
@pytest.mark.parametrize("is_begun", [False, True], ids=["asked", "repeated"])
def test_what_a_cancelled_receive_got_with_a_lost_answer_goes_back(
    proxy: Proxy, valkey_url: str, prefix: str, wait: int, is_begun: bool
) -> None:
    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.005)

    async def main() -> None:
        async with aio.connect(proxy.url, prefix=prefix) as connection:
            queue = connection.queue("q")
            assert await queue.receive() == []  # the script is loaded
            if not wait:
                here.send("x")
            before = blocked_clients(valkey_url)
            task = asyncio.create_task(queue.receive(wait=wait)) if wait else None
            if wait:
                await until(lambda: blocked_clients(valkey_url) > before)
            if is_begun:
                proxy.lose_replies(1)
            else:
                proxy.delay_s = 3600
            if wait:
                here.send("x")
            task = task or asyncio.create_task(queue.receive(wait=wait))
            await until(lambda: here.counts().in_flight == 1)
            proxy.is_closed = is_begun
            task.cancel()
            await asyncio.wait((task,))
            proxy.is_closed, proxy.delay_s = False, 0
            proxy.cut()
            if not task.cancelled():  # it was faster
                assert [m.body for m in task.result()] == ["x"]
            else:
                await until(lambda: here.counts().visible == 1)

    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        here = connection.create_queue("q", visibility_timeout=3600)
        asyncio.run(main())


@pytest.mark.parametrize("wait", [0, 60])
def test_what_a_cancelled_receive_got_goes_back_before_its_connection_is_closed(
    valkey_url: str, prefix: str, wait: int
) -> None:
    async def main() -> None:
        for turns in range(14):
            async with aio.connect(valkey_url, prefix=prefix) as connection:
                queue = connection.queue("q")
                await queue.counts()
                tasks = [asyncio.create_task(queue.receive(wait=wait)) for _ in range(3)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            for message in [m for task in tasks if not task.cancelled() for m in task.result()]:
                here.change_visibility(message.receipt_handle, 0)
            assert here.counts().visible == 1

    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        here = connection.create_queue("q", visibility_timeout=3600)
        here.send("x")
        asyncio.run(main())


# What a send tells when the server is gone before the sender has learned of new partitions.


def after_send(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nobody gets through who asks for partitions."""

    def refuse(q: Any) -> Any:
        proxy.is_closed = True
        proxy.cut()
        return real(q)

    real = queues.get_members
    monkeypatch.setattr(queues, "get_members", refuse)


def test_a_send_that_was_stored_succeeds_also_if_partitions_cannot_be_asked_for(
    proxy: Proxy, valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rqsqs._io.tuning.FAILOVER_S", 1.0)

    async def send_in_task() -> rqsqs.SentMessage:
        async with aio.connect(proxy.url, prefix=prefix) as connection:
            return await connection.queue("q").send("asyncio")

    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("q", partitions=2)
        after_send(proxy, monkeypatch)
        with rqsqs.connect(proxy.url, prefix=prefix) as other:
            assert other.queue("q").send("sync").message_id
        proxy.is_closed = False
        with rqsqs.connect(proxy.url, prefix=prefix) as other:
            assert len(other.queue("q").send_batch(["a", "b"])) == 2
        proxy.is_closed = False
        assert asyncio.run(send_in_task()).message_id
        monkeypatch.undo()
        assert queue.counts().visible == 4


# What is repeated so late that the server may have forgotten the first attempt would be done twice.


@pytest.mark.parametrize("send", [send_sync, send_async], ids=["sync", "asyncio"])
def test_a_send_is_not_repeated_late(
    proxy: Proxy,
    valkey_url: str,
    prefix: str,
    send: Callable[[str, str, Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("f.fifo")

        def fall_asleep() -> None:
            monkeypatch.setattr("rqsqs._io.tuning.COVERED_S", -1.0)
            proxy.lose_replies(1)

        with pytest.raises(rqsqs.ConnectionFailed, match="cannot be repeated any more") as caught:
            send(proxy.url, prefix, fall_asleep)
        assert caught.value.request_sent
        assert queue.counts().visible == 2
        with pytest.raises(rqsqs.ConnectionFailed):
            send(proxy.url, prefix, fall_asleep)  # the connection is well again for what comes next
        monkeypatch.undo()
        queue.receive(10, delete=True)
        send(proxy.url, prefix, lambda: None)


@pytest.mark.parametrize("receive", [receive_sync, receive_async], ids=["sync", "asyncio"])
def test_a_wait_is_not_repeated_late(
    proxy: Proxy,
    valkey_url: str,
    prefix: str,
    receive: Callable[[str, str], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection, ThreadPoolExecutor() as pool:
        queue = connection.create_queue("q")
        before = blocked_clients(valkey_url)
        waiting = pool.submit(receive, proxy.url, prefix)
        while blocked_clients(valkey_url) == before:
            time.sleep(0.01)
        monkeypatch.setattr("rqsqs._io.tuning.COVERED_S", -1.0)
        proxy.lose_replies(1)
        queue.send("x")
        with pytest.raises(rqsqs.ConnectionFailed) as caught:
            waiting.result(60)
        assert caught.value.request_sent
        assert queue.counts().in_flight == 1


def take_sync(url: str, prefix: str, name: str, **options: Any) -> list[Any]:
    with rqsqs.connect(url, prefix=prefix) as connection:
        return [m.body for m in connection.queue(name).receive(10, delete=True, **options)]


def take_async(url: str, prefix: str, name: str, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        async with aio.connect(url, prefix=prefix) as connection:
            return [m.body for m in await connection.queue(name).receive(10, delete=True, **options)]

    return asyncio.run(main())


@pytest.mark.parametrize("wait", [0, 20])
@pytest.mark.parametrize("is_lossy", [False, True], ids=["answered", "repeated"])
@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("take", [take_sync, take_async], ids=["sync", "asyncio"])
def test_what_was_deleted_at_once_takes_no_memory_once_it_has_arrived(
    proxy: Proxy, valkey_url: str, prefix: str, take: Callable[..., list[Any]], name: str, is_lossy: bool, wait: int
) -> None:
    group: Any = {"group": "g"} if name.endswith(".fifo") else {}
    with rqsqs.connect(valkey_url, prefix=prefix) as connection, ThreadPoolExecutor() as pool:
        queue = connection.create_queue(name)
        body = b"x" * 20_000
        if wait:
            before = blocked_clients(valkey_url)
            taking = pool.submit(take, proxy.url, prefix, name, wait=wait)
            while blocked_clients(valkey_url) == before:
                time.sleep(0.01)
            proxy.lose_replies(int(is_lossy))
            queue.send(body, **group)
        else:
            queue.send(body, **group)
            proxy.lose_replies(0)
            taking = pool.submit(take, proxy.url, prefix, name)
        assert taking.result(60) == [body]
        assert largest_keys(valkey_url, prefix) < 10_000


def largest_keys(url: str, prefix: str) -> int:
    """Bytes of the largest string that is left."""
    found = [0]
    for master in clients.master_urls(url):
        with redis.Redis.from_url(master) as client:
            keys = [k for k in client.scan_iter(f"{prefix}:*", _type="string", count=10_000)]
            found += [client.strlen(key) for key in keys]
    return max(found)
