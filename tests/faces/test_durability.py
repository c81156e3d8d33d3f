"""How safe a sent message has to be before a send returns, or a delete: replicas, append-only files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs._io import tuning
from rqsqs._io.aio.servers import Node as AsyncNode
from rqsqs._io.sync.servers import Node
from rqsqs._settings import durability as durability_of
from rqsqs.worker import Worker
from tests.clusters import until
from tests.proxy import Proxy
from tests.servers import Server

ONE = rqsqs.Durability(replicas=1, timeout=30)
SETTLED = rqsqs.Durability(replicas=1, timeout=30, deletes=True)
HASTY = rqsqs.Durability(replicas=1, timeout=0.1, required=False, deletes=True)
STRICT = rqsqs.Durability(replicas=2, timeout=0.05, deletes=True)
HAS, HAS_NOT = rqsqs.DurabilityResult(1, None, True), rqsqs.DurabilityResult(0, None, False)
WEAK = (
    HAS_NOT,
    rqsqs.DurabilityResult(1, None, False),
)  # of two replicas; how many a busy machine gets to within so short


@pytest.fixture
def queue(pair: tuple[Server, Server], prefix: str) -> Iterator[rqsqs.Queue]:
    with rqsqs.connect(pair[0].url, prefix=prefix) as connection:
        yield connection.create_queue("q")


@contextlib.contextmanager
def frozen(pair: tuple[Server, Server]) -> Iterator[None]:
    """While the replica stands still."""
    primary, replica = pair
    replica.freeze()
    try:
        yield
    finally:
        replica.thaw()
    with redis.Redis.from_url(primary.url) as client:
        until(lambda: client.set("in step", "1") and client.wait(1, 100) == 1, "the replica is back")


def test_without_one_nothing_is_waited_for(queue: rqsqs.Queue) -> None:
    assert queue.send("a").durability is None


def test_a_replica_has_what_was_sent(queue: rqsqs.Queue, pair: tuple[Server, Server], prefix: str) -> None:
    sent = queue.send("a", durability=ONE)
    assert sent.durability == rqsqs.DurabilityResult(replicas=1, aof=None, is_enough=True)
    with redis.Redis.from_url(pair[1].url) as client:
        assert client.llen(f"{prefix}:{{q/0}}:q:ready") == 2


def test_the_append_only_file_has_what_was_sent(queue: rqsqs.Queue) -> None:
    sent = queue.send_batch(["a", "b"], durability=rqsqs.Durability(aof=True, timeout=30))
    assert {s.durability for s in sent} == {rqsqs.DurabilityResult(replicas=0, aof=True, is_enough=True)}


def test_a_queue_and_a_connection_say_it_for_all_sends(pair: tuple[Server, Server], prefix: str) -> None:
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=ONE) as connection:
        queue = connection.create_queue("q")
        assert queue.send("a").durability is not None
        aof = connection.queue("q", durability=rqsqs.Durability(aof=True, timeout=30))
        assert aof.send("b").durability == rqsqs.DurabilityResult(0, True, True)


def test_what_is_not_reached_is_an_error_and_the_message_is_there(queue: rqsqs.Queue) -> None:
    two = rqsqs.Durability(replicas=2, timeout=0.05)
    with pytest.raises(rqsqs.DurabilityNotReached, match=r"within 0.05 s [01] of 2 replicas had them") as caught:
        queue.send("a", durability=two)
    (sent,) = caught.value.sent
    assert sent.durability in WEAK
    assert queue.receive()[0].message_id == sent.message_id


def test_or_it_is_only_told(queue: rqsqs.Queue) -> None:
    told = rqsqs.Durability(replicas=2, timeout=0.05, required=False)
    until(lambda: queue.send("a", durability=told).durability == WEAK[1], "the one replica of two answers in time")


def test_a_fifo_queue_and_partitions(queue: rqsqs.Queue, pair: tuple[Server, Server], prefix: str) -> None:
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=ONE) as connection:
        fifo = connection.create_queue("f.fifo", partitions=4, deduplication_scope="messageGroup")
        sent = fifo.send_batch([rqsqs.Entry(n, group=f"g{n}") for n in range(20)])
        assert all(s.durability and s.durability.is_enough for s in sent)
        many = connection.create_queue("many", partitions=4)
        with pytest.raises(rqsqs.DurabilityNotReached) as caught:
            many.send_batch(range(20), durability=rqsqs.Durability(replicas=2, timeout=0.05))
        assert len(caught.value.sent) == many.counts().visible == 20


def test_a_server_that_cannot_do_it_says_why(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:  # without an append-only file
        queue = connection.create_queue("q")
        with pytest.raises(rqsqs.DurabilityNotReached, match="appendonly"):
            queue.send("a", durability=rqsqs.Durability(aof=True))
        assert queue.counts().visible == 1


def test_a_replica_that_stands_still_is_waited_for_no_longer_than_that(
    queue: rqsqs.Queue, pair: tuple[Server, Server]
) -> None:
    pair[1].freeze()
    try:
        sent = queue.send("a", durability=rqsqs.Durability(replicas=1, timeout=0.1, required=False))
    finally:
        pair[1].thaw()
    assert sent.durability == rqsqs.DurabilityResult(0, None, False)
    until(lambda: queue.send("b", durability=ONE).durability.is_enough, "the replica is back")  # type: ignore[union-attr]


def test_tasks_wait_side_by_side(pair: tuple[Server, Server], prefix: str) -> None:
    async def main() -> None:
        async with aio.connect(pair[0].url, prefix=prefix, durability=ONE) as connection:
            queue = await connection.create_queue("q")
            sent = await asyncio.gather(*(queue.send(n) for n in range(100)))
            assert all(s.durability and s.durability.is_enough for s in sent)
            assert (await queue.counts()).visible == 100
            with pytest.raises(rqsqs.DurabilityNotReached):
                await queue.send("a", durability=rqsqs.Durability(replicas=2, timeout=0.05))

    asyncio.run(main())


def test_tasks_do_not_mind_that_all_connections_were_cut(pair: tuple[Server, Server], prefix: str) -> None:
    async def main() -> None:
        async with aio.connect(pair[0].url, prefix=prefix, durability=ONE) as connection:
            queue = await connection.create_queue("q")
            await asyncio.gather(*(queue.send(n) for n in range(50)))
            with redis.Redis.from_url(pair[0].url) as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert (await queue.send("a")).durability == HAS
            assert (await queue.counts()).visible == 51

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (1, "durability must be a rqsqs.Durability or its text, got 1"),
        ("", "with commas between them, got '' in"),
        ("1", "with commas between them, got '1' in"),
        ("replicas=two", "with commas between them, got 'replicas=two' in"),
        ("aof,timeout=-1", "with commas between them, got 'timeout=-1' in"),
        ("aof,aof", "must have each part once, got aof twice"),
        ("timeout=1", "must ask for replicas or aof, with a timeout"),
        ("aof,timeout=61", "timeout"),
        (rqsqs.Durability(), "must ask for replicas or aof, with a timeout"),
        (rqsqs.Durability(replicas=-1), "replicas"),
        (rqsqs.Durability(replicas=1, timeout=0), "timeout"),
        (rqsqs.Durability(replicas=1, timeout=61), "timeout"),
        (rqsqs.Durability(aof=1), "aof must be True or False, got 1"),  # type: ignore[arg-type]
        (rqsqs.Durability(aof=True, deletes=1), "deletes must be True or False, got 1"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(queue: rqsqs.Queue, wrong: Any, part: str) -> None:
    for call in (lambda: queue.send("a", durability=wrong), lambda: queue.send_batch(["a"], durability=wrong)):
        with pytest.raises(rqsqs.InvalidParameterValue, match=part):
            call()
    assert queue.counts().visible == 0


def test_as_text() -> None:
    assert durability_of("replicas=2,aof,timeout=0.5,optional,deletes") == rqsqs.Durability(2, True, 0.5, False, True)
    assert durability_of(" aof , timeout=2 ") == rqsqs.Durability(aof=True, timeout=2)


def test_the_environment_says_it_for_connections_that_do_not(
    pair: tuple[Server, Server], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RQSQS_DURABILITY", "replicas=1,timeout=30")
    with (
        rqsqs.connect(pair[0].url, prefix=prefix) as connection,
        rqsqs.connect(pair[0].url, prefix=prefix, durability="aof,timeout=30") as other,
    ):
        assert connection.create_queue("q").send("a").durability == HAS
        assert other.queue("q").send("a").durability == rqsqs.DurabilityResult(0, True, True)
    monkeypatch.setenv("RQSQS_DURABILITY", "safe")
    for face in (rqsqs, aio):
        with pytest.raises(rqsqs.InvalidParameterValue, match=r"variable RQSQS_DURABILITY cannot be used: .* 'safe'"):
            face.connect(pair[0].url, prefix=prefix)


# Deletes


def test_deletes_wait_if_that_is_wanted(pair: tuple[Server, Server], prefix: str) -> None:
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=SETTLED) as connection:
        queue = connection.create_queue("q")
        queue.send_batch(range(6))
        one, two, three, *rest = queue.receive(10)
        assert queue.delete(one) == two.delete() == HAS
        assert queue.delete_batch([three, rest[0]]) == HAS
        assert rest[1].change_visibility(60) == queue.change_visibility_batch([(rest[2], 60)]) == HAS
        with rest[1]:
            pass
        assert rest[2].release() == HAS
        plain = connection.queue("q", durability=ONE)
        (last,) = plain.receive()
        assert last.change_visibility(60) is last.delete() is None
        assert queue.counts() == rqsqs.Counts()


def test_deletes_wait_for_tasks_too(pair: tuple[Server, Server], prefix: str) -> None:
    async def main() -> None:
        async with aio.connect(pair[0].url, prefix=prefix, durability=SETTLED) as connection:
            queue = await connection.create_queue("q.fifo")
            await queue.send_batch([rqsqs.Entry(n, group=f"g{n}") for n in range(6)])
            one, two, *rest = await queue.receive(10)
            assert await one.delete() == await queue.delete_batch([two]) == HAS
            assert await rest[0].change_visibility(60) == await rest[1].release() == HAS
            hopeless = connection.queue("q.fifo", durability=STRICT)
            with pytest.raises(rqsqs.DurabilityNotReached, match=r"messages are deleted, but within 0.05 s [01] of 2"):
                await hopeless.delete(rest[2])
            got, failures = await hopeless.delete_and_receive([rest[3]], 5)
            assert [type(f.error) for f in failures] == [rqsqs.DurabilityNotReached]
            assert [m.message_id for m in got] == [rest[1].message_id]
            assert (await queue.counts()).in_flight == 2

    asyncio.run(main())


def test_a_delete_that_is_not_safe_enough_is_an_error_and_done(
    queue: rqsqs.Queue, pair: tuple[Server, Server], prefix: str
) -> None:
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=STRICT) as connection:
        strict = connection.queue("q")
        queue.send_batch(range(5))
        one, two, three, four, five = queue.receive(5)
        for call in (lambda: strict.delete(one), lambda: strict.delete_batch([two, three])):
            with pytest.raises(rqsqs.DurabilityNotReached, match=r"[01] of 2 replicas had done so") as caught:
                call()
            assert caught.value.reached in WEAK
            assert caught.value.sent == []
        with pytest.raises(rqsqs.DurabilityNotReached, match="the visibility is changed, but"):
            strict.change_visibility(four, 60)
        with pytest.raises(rqsqs.BatchFailed) as failed:
            strict.delete_batch(["nonsense", four])
        assert failed.value.results[1] in WEAK
        queue.send("next")
        got, failures = strict.delete_and_receive([five], 5)  # what was received is not lost for that
        assert [m.body for m in got] == ["next"]
        assert [(f.index, type(f.error)) for f in failures] == [(0, rqsqs.DurabilityNotReached)]
        optional = connection.queue("q", durability="replicas=2,timeout=0.05,optional,deletes")
        assert optional.delete(got[0]) in WEAK
        assert queue.counts() == rqsqs.Counts()


def test_what_goes_wrong_in_a_with_block_is_not_hidden(pair: tuple[Server, Server], prefix: str) -> None:
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=STRICT) as connection:
        queue = connection.create_queue("q")
        connection.queue("q", durability=ONE).send("a")
        (message,) = queue.receive()
        with pytest.raises(KeyError), message:
            raise KeyError
        assert queue.counts().visible == 1


def test_a_delete_of_what_another_deleted_is_as_safe_as_that_one(pair: tuple[Server, Server], prefix: str) -> None:
    """A connection that wrote nothing has nothing to wait for: it has to wait nevertheless."""
    with (
        rqsqs.connect(pair[0].url, prefix=prefix) as connection,
        rqsqs.connect(pair[0].url, prefix=prefix, durability=HASTY, client_name="other") as other,
    ):
        for name in ("q", "q.fifo"):
            queue = connection.create_queue(name)
            queue.send("a", group="g")
            (message,) = queue.receive()
            with frozen(pair):
                queue.delete(message)
                assert other.queue(name).delete(message.receipt_handle) == HAS_NOT
            assert connection.queue(name, durability=SETTLED).delete(message) == HAS


@contextlib.contextmanager
def forgotten(server: Server, prefix: str) -> Iterator[None]:
    """What happens here is forgotten, as after a failover."""
    with redis.Redis.from_url(server.url) as client:
        before = {key: client.dump(key) for key in client.scan_iter(f"{prefix}:*")}
        yield
        client.delete(*client.scan_iter(f"{prefix}:*"))
        for key, content in before.items():
            client.restore(key, 0, content)


@pytest.mark.parametrize(("name", "group"), [("q", None), ("q", "g"), ("q.fifo", "g")])
def test_a_delete_finds_a_message_whose_receive_was_forgotten(
    pair: tuple[Server, Server], prefix: str, name: str, group: str | None
) -> None:
    """It waits again, and is not in flight, as if it was gone. A delete that is acknowledged holds."""
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=SETTLED) as connection:
        queue = connection.create_queue(name)
        queue.send_batch([rqsqs.Entry(n, group=group) for n in range(4)])
        with forgotten(pair[0], prefix):
            one, two, three = queue.receive(3)
        assert queue.counts().visible == 4
        assert one.delete() == queue.delete_batch([one, two]) == HAS
        got, failures = queue.delete_and_receive([three], 5)
        assert ([m.body for m in got], failures) == ([3], [])
        metrics = queue.metrics()
        assert (metrics.visible, metrics.in_flight) == (0, 1)
        assert (metrics.sent, metrics.deleted, metrics.cancelled) == (4, 3, 0)


def test_a_delete_of_what_another_has_since_the_receive_was_forgotten_is_refused(
    pair: tuple[Server, Server], prefix: str
) -> None:
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=SETTLED) as connection:
        queue = connection.create_queue("q")
        queue.send("a")
        with forgotten(pair[0], prefix):
            (mine,) = queue.receive()
        time.sleep(0.01)  # receives are told apart by the millisecond
        (theirs,) = queue.receive()
        with pytest.raises(rqsqs.ReceiptHandleExpired):
            mine.delete()
        assert theirs.delete() == HAS


def test_a_duplicate_is_as_safe_as_the_message_it_repeats(pair: tuple[Server, Server], prefix: str) -> None:
    with (
        rqsqs.connect(pair[0].url, prefix=prefix) as connection,
        rqsqs.connect(pair[0].url, prefix=prefix, durability=HASTY, client_name="other") as other,
    ):
        for name in ("q", "q.fifo"):
            queue = connection.create_queue(name)
            with frozen(pair):
                queue.send("a", group="g", deduplication_id="1")
                sent = other.queue(name).send("a", group="g", deduplication_id="1")
                assert sent.is_duplicate
                assert sent.durability == HAS_NOT
            sent = connection.queue(name, durability=SETTLED).send("a", group="g", deduplication_id="1")
            assert sent.is_duplicate
            assert sent.durability == HAS


def call_sync(url: str, prefix: str, durability: rqsqs.Durability, work: str, before: Callable[[], None]) -> Any:
    """What was reached by one call; `before` happens right before it, on a connection that did the same already."""
    with rqsqs.connect(url, prefix=prefix, durability=durability) as connection:
        queue = connection.queue(work.partition(" ")[0])
        for number in range(2):
            options: dict[str, Any] = {"group": "g"} if queue.is_fifo else {}
            if work.endswith("ids"):
                options["deduplication_id"] = str(number)
            if "send" in work:
                if number:
                    before()
                reached = queue.send("x", **options).durability
                continue
            (message,) = queue.receive()
            if number:
                before()
            reached = message.delete() if "delete" in work else message.change_visibility(50)
        return reached


def call_async(url: str, prefix: str, durability: rqsqs.Durability, work: str, before: Callable[[], None]) -> Any:
    async def main() -> Any:
        async with aio.connect(url, prefix=prefix, durability=durability) as connection:
            queue = connection.queue(work.partition(" ")[0])
            for number in range(2):
                options: dict[str, Any] = {"group": "g"} if queue.is_fifo else {}
                if work.endswith("ids"):
                    options["deduplication_id"] = str(number)
                if "send" in work:
                    if number:
                        before()
                    reached = (await queue.send("x", **options)).durability
                    continue
                (message,) = await queue.receive()
                if number:
                    before()
                reached = await (message.delete() if "delete" in work else message.change_visibility(50))
            return reached

    return asyncio.run(main())


@pytest.mark.parametrize("call", [call_sync, call_async], ids=["sync", "asyncio"])
@pytest.mark.parametrize(
    "work", ["q send", "q send ids", "f.fifo send", "f.fifo send ids", "q delete", "f.fifo delete", "q change"]
)
def test_a_call_whose_answer_was_lost_is_repeated_and_tells_what_was_reached(
    pair: tuple[Server, Server], prefix: str, call: Callable[..., Any], work: str
) -> None:
    """On a new connection, which wrote nothing before; the first attempt did, on one that is gone."""
    for n, (durability, expected) in enumerate(((SETTLED, HAS), (HASTY, HAS_NOT))):
        with (
            rqsqs.connect(pair[0].url, prefix=f"{prefix}-{n}") as connection,
            Proxy(pair[0].url) as proxy,
            contextlib.ExitStack() as stack,
        ):
            queue = connection.create_queue(work.partition(" ")[0])
            if "send" not in work:
                queue.send_batch([rqsqs.Entry(n, group=f"g{n}") for n in range(2)])

            def lose(expected: rqsqs.DurabilityResult = expected) -> None:
                if expected == HAS_NOT:
                    stack.enter_context(frozen(pair))
                proxy.lose_replies(1)

            assert call(proxy.url, f"{prefix}-{n}", durability, work, lose) == expected
            assert proxy.lost == 1
            counts = queue.counts()
            assert counts.visible + counts.in_flight == (0 if "delete" in work else 2)


@pytest.mark.parametrize("call", [call_sync, call_async], ids=["sync", "asyncio"])
def test_a_wait_that_breaks_off_is_begun_again(
    pair: tuple[Server, Server], prefix: str, call: Callable[..., Any]
) -> None:
    with (
        rqsqs.connect(pair[0].url, prefix=prefix) as connection,
        redis.Redis.from_url(pair[0].url) as client,
        Proxy(pair[0].url) as proxy,
        contextlib.ExitStack() as stack,
    ):
        queue = connection.create_queue("q")
        got: list[Any] = []

        def work() -> None:
            got.append(call(proxy.url, prefix, SETTLED, "q send", lambda: stack.enter_context(frozen(pair))))

        def is_waiting() -> bool:
            told: Any = client.info("clients")
            return bool(told["blocked_clients"] == 1)

        thread = threading.Thread(target=work)
        thread.start()
        until(is_waiting, "it waits")
        connections = proxy.connections
        proxy.cut()
        until(lambda: proxy.connections > connections and is_waiting(), "it waits again")
        stack.close()
        thread.join()
        assert got == [HAS]
        assert queue.counts().visible == 2


def test_dead_letters_go_to_another_slot_safely(pair: tuple[Server, Server], prefix: str) -> None:
    """They are not forgotten where they were before they are as safe where they go."""
    with rqsqs.connect(pair[0].url, prefix=prefix, durability=ONE) as connection:
        dead = connection.create_queue("dead")
        source = connection.create_queue("work", dead_letter_queue="dead", max_receive_count=1)
        other = connection.create_queue("other")
        source.send_batch(range(3))
        source.receive(3, visibility_timeout=0)
        assert source.receive() == []
        with frozen(pair):
            anxious = connection.queue("dead", durability=rqsqs.Durability(replicas=1, timeout=0.05))
            anxious.redrive(other)
            until(lambda: other.counts().visible == 3, "they are there")
            with redis.Redis.from_url(pair[0].url) as client:
                assert client.exists(f"{prefix}:{{work/0}}:dead:outbox"), "and here"
            assert dead.move_tasks()[0].status == "RUNNING"
        until(lambda: dead.move_tasks()[0].status == "COMPLETED", "the replica has them")
        assert dead.move_tasks()[0].moved == other.counts().visible == 3


# Workers


@pytest.mark.parametrize(
    ("durability", "is_warned"), [(SETTLED, False), (STRICT, True)], ids=["reached", "not reached"]
)
def test_a_worker_waits_for_its_deletes_a_batch_at_a_time(
    pair: tuple[Server, Server],
    prefix: str,
    caplog: pytest.LogCaptureFixture,
    durability: rqsqs.Durability,
    is_warned: bool,
) -> None:
    count = 200
    worker = Worker(pair[0].url, prefix=prefix, durability=durability, concurrency=50)
    worker.add("q", lambda message: None)
    with rqsqs.connect(pair[0].url, prefix=prefix) as connection, redis.Redis.from_url(pair[0].url) as client:
        queue = connection.create_queue("q")
        queue.send_batch(range(count))

        def waits() -> int:
            told: Any = client.info("commandstats")
            return int(told.get("cmdstat_wait", {"calls": 0})["calls"])

        before = waits()

        async def serve() -> None:
            serving = asyncio.create_task(worker.serve())
            await asyncio.to_thread(until, lambda: queue.counts() == rqsqs.Counts(), "all are deleted")
            worker.stop()
            await serving

        with caplog.at_level(logging.WARNING, "rqsqs.worker"):
            asyncio.run(serve())
        assert 1 <= waits() - before < count / 4
        told = [r.getMessage() for r in caplog.records]
        assert any("q: the messages are deleted, but within" in text for text in told) is is_warned, told


def test_a_silent_server_is_told_to_all_who_wait_for_a_connection(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, opened = 12, [0]
    errors: list[Exception] = []
    monkeypatch.setattr(tuning, "DURABLE", 1)
    real = Node._connect

    def connect(node: Node, *args: Any, **options: Any) -> Any:
        opened[0] += 1
        return real(node, *args, **options)

    monkeypatch.setattr(Node, "_connect", connect)
    with Server("valkey") as server, rqsqs.connect(server.url, prefix=prefix, socket_timeout=0.5) as connection:
        queue = connection.create_queue("q")
        safe = rqsqs.Durability(aof=True, timeout=0.1, required=False)
        queue.send("first", durability=safe)

        def send() -> None:
            try:
                queue.send("x", durability=safe)
            except rqsqs.ServerTimeout as e:
                errors.append(e)

        opened[0] = 0
        server.freeze()
        try:
            senders = [threading.Thread(target=send, daemon=True) for _ in range(threads)]
            for thread in senders:
                thread.start()
            for thread in senders:
                thread.join(60)
        finally:
            server.thaw()
        assert len(errors) == threads
        assert opened[0] < 2 * threads
        assert queue.send("y", durability=safe).durability is not None


def test_a_silent_server_is_told_to_all_tasks_that_wait(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, opened = 12, [0]
    monkeypatch.setattr(tuning, "DURABLE", 1)
    real = AsyncNode._connect

    async def connect(node: AsyncNode, *args: Any, **options: Any) -> Any:
        opened[0] += 1
        return await real(node, *args, **options)

    monkeypatch.setattr(AsyncNode, "_connect", connect)

    async def send_all(server: Server) -> list[Any]:
        async with aio.connect(server.url, prefix=prefix, socket_timeout=0.5) as connection:
            queue = await connection.create_queue("q")
            safe = rqsqs.Durability(aof=True, timeout=0.1, required=False)
            await queue.send("first", durability=safe)
            opened[0] = 0
            server.freeze()
            try:
                sends = [asyncio.create_task(queue.send("x", durability=safe)) for _ in range(tasks)]
                answers = await asyncio.wait_for(asyncio.gather(*sends, return_exceptions=True), 60)
            finally:
                server.thaw()
            assert (await queue.send("y", durability=safe)).durability is not None
            return answers

    with Server("valkey") as server:
        answers = asyncio.run(send_all(server))
    assert len(answers) == tasks
    assert all(isinstance(answer, rqsqs.ServerTimeout | rqsqs.ConnectionFailed) for answer in answers)
    assert opened[0] < 2 * tasks
