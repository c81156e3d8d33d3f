"""Senders: many callers send, few calls go out, and each caller gets what became of its own message."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from tests.clusters import ALL_ON_CLUSTER, until
from tests.proxy import Proxy
from tests.raising import raise_in
from tests.servers import Server

SIZE = 200  # bytes that the queues of these tests allow
OPTIONS: list[dict[str, Any]] = [
    {},
    {"attributes": {"a": "b", "n": 1}},
    {"delay": 3600},
    {"at": 4_000_000_000},
    {"group": "g"},
    {"deduplication_id": "d", "deduplication_window": 600},
    {"trace_context": {"traceparent": "00-1-2-03"}},
]


class Senders:
    """Threads that send at the same time."""

    def __init__(self, sender: rqsqs.Sender) -> None:
        self.sender = sender
        self.results: dict[Any, Any] = {}
        self.threads: list[threading.Thread] = []

    def start(self, key: Any, body: Any, **options: Any) -> None:
        def send() -> None:
            try:
                self.results[key] = self.sender.send(body, **options)
            except BaseException as e:
                self.results[key] = e

        thread = threading.Thread(target=send, daemon=True)
        self.threads.append(thread)
        thread.start()

    def gather(self, key: Any, body: Any, **options: Any) -> None:
        """Start one, and return when it waits for the call that is under way."""
        gathering = self.sender._sending._gathering
        count = len(gathering.waiting)
        self.start(key, body, **options)
        until(lambda: len(gathering.waiting) > count, "it waits")

    def join(self) -> dict[Any, Any]:
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "it has no answer"
        return self.results


@contextlib.contextmanager
def frozen(server: Server, senders: Senders) -> Iterator[None]:
    """While a first call is under way and gets no answer."""
    server.freeze()
    try:
        senders.start("first", "first", **({"group": "first"} if senders.sender.queue.is_fifo else {}))
        until(lambda: senders.sender._sending._leader is not None, "it sends")
        yield
    finally:
        server.thaw()


@pytest.fixture
def connection(server: Server, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server.url, prefix=prefix, socket_timeout=40) as made:
        yield made


def calls(url: str) -> int:
    """Scripts that the server ran."""
    with redis.Redis.from_url(url) as client:
        return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def failures(error: rqsqs.BatchFailed) -> list[tuple[int, type[Exception]]]:
    return [(r.index, type(r.error)) for r in error.results if isinstance(r, rqsqs.FailedEntry)]


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_threads_send_all_in_few_calls_and_each_in_its_order(server_url: str, prefix: str, name: str) -> None:
    threads, each = 24, 40
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue(name)
        before = 0 if ALL_ON_CLUSTER else calls(server_url)
        sent: dict[int, list[rqsqs.SentMessage]] = {}
        with queue.sender() as sender:

            def work(n: int) -> None:
                options: dict[str, Any] = {"group": str(n % 5)} if queue.is_fifo else {}
                sent[n] = [sender.send([n, i], **options) for i in range(each)]

            workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        assert ALL_ON_CLUSTER or calls(server_url) - before < threads * each / 2
        got: list[Any] = []
        while messages := queue.receive(100, delete=True):
            got += messages
        assert len(got) == threads * each
        assert {m.message_id for m in got} == {s.message_id for some in sent.values() for s in some}
        for n in range(threads):
            mine = [m for m in got if m.body[0] == n]
            assert [m.body[1] for m in mine] == list(range(each))
            assert [m.message_id for m in mine] == [s.message_id for s in sent[n]]


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_tasks_send_all_in_few_calls_and_each_in_its_order(server_url: str, prefix: str, name: str) -> None:
    tasks, each = 50, 20

    async def main() -> None:
        async with aio.connect(server_url, prefix=prefix) as connection:
            queue = await connection.create_queue(name)
            before = 0 if ALL_ON_CLUSTER else calls(server_url)
            async with queue.sender() as sender:

                async def work(n: int) -> list[rqsqs.SentMessage]:
                    options: dict[str, Any] = {"group": str(n % 5)} if queue.is_fifo else {}
                    return [await sender.send([n, i], **options) for i in range(each)]

                sent = await asyncio.gather(*[work(n) for n in range(tasks)])
            assert ALL_ON_CLUSTER or calls(server_url) - before < tasks * each / 5
            got: list[Any] = []
            while messages := await queue.receive(100, delete=True):
                got += messages
            assert len(got) == tasks * each
            for n in range(tasks):
                mine = [m for m in got if m.body[0] == n]
                assert [m.body[1] for m in mine] == list(range(each))
                assert [m.message_id for m in mine] == [s.message_id for s in sent[n]]

    asyncio.run(main())


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_message_has_its_options_also_among_others(
    server: Server, connection: rqsqs.Connection, partitions: int
) -> None:
    queue = connection.create_queue("q", partitions=partitions)
    with queue.sender() as sender:
        senders = Senders(sender)
        with frozen(server, senders):
            for n, options in enumerate(OPTIONS):
                senders.gather(n, n, **options)
            senders.gather("again", "again", deduplication_id="d")
        results = senders.join()
    assert [results[n].is_duplicate for n in range(len(OPTIONS))] == [False] * len(OPTIONS)
    assert results["again"].is_duplicate
    assert results["again"].message_id == results[5].message_id
    visible = {m.body: m for m in queue.receive(10)}
    assert visible.keys() == {"first", 0, 1, 4, 5, 6}
    assert visible[1].attributes == {"a": "b", "n": 1}
    assert visible[4].group == "g"
    assert visible[5].deduplication_id == "d"
    assert visible[6].trace_context["traceparent"] == "00-1-2-03"
    assert {m.body for m in queue.peek(10, "delayed")} == {2, 3}


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_message_that_the_queue_refuses_fails_alone(server: Server, connection: rqsqs.Connection, name: str) -> None:
    queue = connection.create_queue(name, maximum_message_size=SIZE)
    options: dict[str, Any] = {"group": "g"} if queue.is_fifo else {}
    with queue.sender() as sender:
        senders = Senders(sender)
        with frozen(server, senders):
            for n in range(9):
                senders.gather(n, "x" * (SIZE + 1) if n in (2, 5) else n, **options)
        results = senders.join()
    for n in range(9):
        if n in (2, 5):
            assert isinstance(results[n], rqsqs.MessageTooLarge)
        else:
            assert isinstance(results[n], rqsqs.SentMessage)
    assert results[2] is not results[5]
    got = []
    while messages := queue.receive(10, delete=True):
        got += [m.body for m in messages if m.body != "first"]
    assert got == [0, 1, 3, 4, 6, 7, 8]


def test_a_message_without_a_deduplication_id_fails_alone(server: Server, prefix: str) -> None:
    with rqsqs.connect(server.url, prefix=prefix, limits="aws", socket_timeout=40) as connection:
        queue = connection.create_queue("q.fifo")
        with queue.sender() as sender:
            senders = Senders(sender)
            with frozen(server, senders):
                for n in range(6):
                    senders.gather(n, n, group="g", deduplication_id=None if n in (0, 3) else str(n))
            results = senders.join()
        for n in range(6):
            kind = rqsqs.DeduplicationIdRequired if n in (0, 3) else rqsqs.SentMessage
            assert isinstance(results[n], kind)
        assert isinstance(results["first"], rqsqs.DeduplicationIdRequired)
        assert results[0] is not results[3]
        assert [m.body for m in queue.receive(10)] == [1, 2, 4, 5]


def test_a_refusal_among_very_many_makes_no_duplicate_of_those_before(server: Server, prefix: str) -> None:
    count, wrong = 130, 120

    async def main() -> None:
        async with aio.connect(server.url, prefix=prefix, limits="aws") as connection:
            queue = await connection.create_queue("q.fifo")
            async with queue.sender(max_batch=1000) as sender:
                results = await asyncio.gather(
                    sender.send("first", group="g", deduplication_id="first"),
                    *[sender.send(n, group="g", deduplication_id=None if n == wrong else str(n)) for n in range(count)],
                    return_exceptions=True,
                )
            assert isinstance(results.pop(1 + wrong), rqsqs.DeduplicationIdRequired)
            sent: list[Any] = results
            assert [s.is_duplicate for s in sent] == [False] * count
            assert (await queue.counts()).visible == count

    asyncio.run(main())


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_message_that_is_too_large_for_the_server_fails_alone(prefix: str, partitions: int) -> None:
    mib = 1 << 20
    with (
        Server("valkey", **{"proto-max-bulk-len": str(mib)}) as server,
        rqsqs.connect(server.url, prefix=prefix, socket_timeout=40) as connection,
    ):
        queue = connection.create_queue("q", partitions=partitions, maximum_message_size=4 * mib)
        with queue.sender() as sender:
            senders = Senders(sender)
            with frozen(server, senders):
                for n in range(6):
                    senders.gather(n, "x" * (2 * mib) if n == 3 else n, deduplication_id=str(n))
            results = senders.join()
        assert isinstance(results.pop(3), rqsqs.MessageTooLarge)
        assert {type(result) for result in results.values()} == {rqsqs.SentMessage}
        with pytest.raises(rqsqs.BatchFailed) as caught:
            queue.send_batch([rqsqs.Entry(n or "x" * (2 * mib), deduplication_id=f"b{n}") for n in range(4)])
        assert failures(caught.value) == [(0, rqsqs.MessageTooLarge)]
        with pytest.raises(rqsqs.MessageTooLarge):
            queue.send("x" * (2 * mib), deduplication_id="alone")
        assert queue.counts().visible == 9


def test_a_refusal_of_a_later_step_of_a_batch_says_what_is_stored(server: Server, prefix: str) -> None:
    with rqsqs.connect(server.url, prefix=prefix) as connection:
        strict = dataclasses.replace(connection.limits, strict=True)
    with rqsqs.connect(server.url, prefix=prefix, limits=strict) as connection:
        queue = connection.create_queue("q.fifo")
        with pytest.raises(rqsqs.BatchFailed) as caught:
            queue.send_batch(
                [rqsqs.Entry(n, group="g", deduplication_id=None if n == 120 else str(n)) for n in range(150)]
            )
        assert failures(caught.value) == [(n, rqsqs.DeduplicationIdRequired) for n in range(100, 150)]
        assert queue.counts().visible == 100


def test_what_is_wrong_with_a_message_is_said_before_anything_is_sent(server: Server, prefix: str) -> None:
    with rqsqs.connect("redis://127.0.0.1:1/0", prefix=prefix) as connection:
        with connection.queue("q").sender() as sender:
            with pytest.raises(rqsqs.InvalidParameterValue, match="a body must be"):
                sender.send(object())
            with pytest.raises(rqsqs.InvalidParameterValue, match="delay must be"):
                sender.send("x", delay=-1)
            with pytest.raises(TypeError, match="unexpected keyword argument 'groop'"):
                sender.send("x", groop="g")  # type: ignore[call-arg]
        with connection.queue("q.fifo").sender() as sender, pytest.raises(rqsqs.MissingParameter):
            sender.send("x")


@pytest.mark.parametrize(
    "wrong",
    [{"linger": -1}, {"linger": "1"}, {"linger": 61}, {"max_batch": 0}, {"max_batch": 1001}, {"max_batch": 1.5}],
)
def test_arguments_of_a_sender_are_checked(wrong: dict[str, Any]) -> None:
    with rqsqs.connect("redis://127.0.0.1:1/0") as connection:
        (name,) = wrong
        with pytest.raises(rqsqs.InvalidParameterValue, match=rf"{name} must be .*, got"):
            connection.queue("q").sender(**wrong)


def test_an_error_of_the_call_reaches_each_caller(server: Server, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("q")
    with queue.sender() as sender:
        connection.delete_queue("q")
        with pytest.raises(rqsqs.QueueDoesNotExist):
            sender.send("alone")
        senders = Senders(sender)
        with frozen(server, senders):
            for n in range(5):
                senders.gather(n, n)
        errors = list(senders.join().values())
    assert len(errors) == 6
    assert all(isinstance(e, rqsqs.QueueDoesNotExist) for e in errors)
    assert len({id(e) for e in errors}) == len(errors)


def test_each_message_is_as_safe_as_its_caller_wants(pair: tuple[Server, Server], prefix: str) -> None:
    one = rqsqs.Durability(replicas=1, timeout=30)
    strict = rqsqs.Durability(replicas=2, timeout=0.05)
    with rqsqs.connect(pair[0].url, prefix=prefix, socket_timeout=40) as connection:
        connection.create_queue("q")
        queue = connection.queue("q", durability=one)
        with queue.sender() as sender:
            assert sender.send("alone").durability == rqsqs.DurabilityResult(1, None, True)
            senders = Senders(sender)
            with frozen(pair[0], senders):
                for n in range(6):
                    senders.gather(n, n, **({"durability": strict} if n in (2, 3) else {}))
            results = senders.join()
        for n in (0, 1, 4, 5):
            assert results[n].durability.is_enough
        for n in (2, 3):
            assert isinstance(results[n], rqsqs.DurabilityNotReached)
            assert [sent.durability for sent in results[n].sent] == [results[n].reached]
        assert results[2].sent != results[3].sent
        assert [m.body for m in queue.receive(10)] == ["alone", "first", *range(6)]


# The end


def test_closing_waits_for_all_that_was_taken_and_refuses_the_rest(
    server: Server, connection: rqsqs.Connection
) -> None:
    queue = connection.create_queue("q")
    sender = queue.sender()
    senders = Senders(sender)
    closer = threading.Thread(target=sender.close)
    with frozen(server, senders):
        for n in range(5):
            senders.gather(n, n)
        closer.start()
        until(lambda: sender._sending._is_closed, "it is closed")
        with pytest.raises(rqsqs.UsageError, match="this sender is closed"):
            sender.send("late")
        assert closer.is_alive()
    closer.join(60)
    assert not closer.is_alive()
    assert all(isinstance(result, rqsqs.SentMessage) for result in senders.join().values())
    assert [m.body for m in queue.receive(10)] == ["first", 0, 1, 2, 3, 4]
    sender.close()
    sender.flush()
    with pytest.raises(rqsqs.UsageError, match="this sender is closed"):
        sender.send("late")


def test_a_flush_waits_for_what_came_before(server: Server, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("q")
    with queue.sender() as sender:
        sender.flush()
        senders = Senders(sender)
        with frozen(server, senders):
            senders.gather(0, 0)
            flush = threading.Thread(target=sender.flush)
            flush.start()
            until(lambda: len(sender._sending._gathering.waiting) == 2, "it waits")
        flush.join(60)
        assert not flush.is_alive()
        assert senders.results.keys() <= {"first", 0}
        assert queue.counts().visible == 2
        assert isinstance(sender.send("more"), rqsqs.SentMessage)


def test_the_end_of_the_connection_is_told_to_each_caller(server: Server, prefix: str) -> None:
    connection = rqsqs.connect(server.url, prefix=prefix)
    sender = connection.create_queue("q").sender()
    sender.send("x")
    connection.close()
    with pytest.raises(rqsqs.UsageError, match="this connection is closed"):
        sender.send("late")
    sender.close()


def test_senders_show_what_they_are() -> None:
    with rqsqs.connect("redis://127.0.0.1:1/0") as connection:
        queue = connection.queue("orders")
        assert repr(queue.sender()) == "<rqsqs.Sender of 'orders'>"
        assert queue.sender().queue is queue


# Callers that go away


class Interrupted(BaseException):
    """Raised by a signal handler."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    def interrupt(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def interrupt_when(condition: Callable[[], Any]) -> threading.Thread:
    def work() -> None:
        until(condition, "it is time")
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_an_interrupted_caller_that_waited_is_not_sent_and_the_others_are(
    server: Server, connection: rqsqs.Connection
) -> None:
    queue = connection.create_queue("q")
    with queue.sender() as sender:
        senders = Senders(sender)
        with frozen(server, senders):
            senders.gather(0, 0)
            interrupt_when(lambda: len(sender._sending._gathering.waiting) == 2)
            with interruptible(), pytest.raises(Interrupted):
                sender.send("interrupted")
            senders.gather(1, 1)
        assert all(isinstance(result, rqsqs.SentMessage) for result in senders.join().values())
    assert [m.body for m in queue.receive(10)] == ["first", 0, 1]


def test_an_interrupted_call_of_the_main_thread_takes_nobody_along(
    server: Server, connection: rqsqs.Connection
) -> None:
    queue = connection.create_queue("q")
    with queue.sender() as sender:
        senders = Senders(sender)
        server.freeze()
        try:

            def others() -> None:
                until(lambda: sender._sending._leader is not None, "it sends")
                for n in range(3):
                    senders.gather(n, n)

            starter = threading.Thread(target=others)
            starter.start()
            interrupt_when(lambda: len(sender._sending._gathering.waiting) == 3)
            with interruptible(), pytest.raises(Interrupted):
                sender.send("interrupted")
            starter.join()
        finally:
            server.thaw()
        assert all(isinstance(result, rqsqs.SentMessage) for result in senders.join().values())
    assert [m.body for m in queue.receive(10) if m.body != "interrupted"] == [0, 1, 2]


def test_interruptions_at_any_moment_stop_nobody(server: Server, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("q")
    counts = [0] * 8
    is_over = threading.Event()
    with queue.sender() as sender:

        def work(n: int) -> None:
            while not is_over.is_set():
                sender.send([n, counts[n]])
                counts[n] += 1

        threads = [threading.Thread(target=work, args=(n,)) for n in range(len(counts))]
        for thread in threads:
            thread.start()
        mine = interrupted = 0
        with interruptible():
            while interrupted < 60:
                try:
                    threading.Timer(0.001 * (interrupted % 5), os.kill, (os.getpid(), signal.SIGUSR1)).start()
                    while True:
                        sender.send(["main", mine])
                        mine += 1
                except Interrupted:
                    interrupted += 1
        seen = sum(counts)
        until(lambda: sum(counts) > seen + 50, "the others send")
        is_over.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    got: list[Any] = []
    while messages := queue.receive(1000, delete=True):
        got += [m.body for m in messages]
    for n, count in enumerate(counts):
        assert [i for who, i in got if who == n] == list(range(count))


# A socket that is just being opened is left to the garbage collector, which warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_exceptions_raised_in_any_thread_at_any_moment_leave_each_caller_with_an_answer(
    server: Server, connection: rqsqs.Connection
) -> None:
    """As the timeout of a handler is raised."""
    queue = connection.create_queue("q")
    is_over = threading.Event()
    sent: list[list[int]] = [[] for _ in range(8)]
    interrupted = [0] * len(sent)
    odd: list[BaseException] = []
    with queue.sender() as sender:

        def work(n: int) -> None:
            i = 0
            while not is_over.is_set():
                try:
                    i += 1
                    sender.send([n, i])
                    sent[n].append(i)
                except Interrupted:
                    interrupted[n] += 1
                except rqsqs.ConnectionFailed as e:
                    if not e.request_sent:
                        odd.append(e)
                except BaseException as e:
                    odd.append(e)

        def guarded(n: int) -> None:
            while not is_over.is_set():
                with contextlib.suppress(Interrupted):  # it may come late
                    work(n)

        threads = [threading.Thread(target=guarded, args=(n,), daemon=True) for n in range(len(sent))]
        for thread in threads:
            thread.start()
        for turn in range(300):
            time.sleep(0.001)
            thread = threads[turn % 5]  # the others are not interrupted
            raise_in(thread, Interrupted)
        seen = [len(some) for some in sent]
        until(lambda: all(len(some) > count for some, count in zip(sent, seen, strict=True)), "everybody sends")
        is_over.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert sum(interrupted) > 50
    assert not odd
    got: list[Any] = []
    while messages := queue.receive(1000, delete=True):
        got += [m.body for m in messages]
    for n, some in enumerate(sent):
        mine = [i for who, i in got if who == n]
        assert mine == sorted(set(mine))
        assert set(some) <= set(mine)


def test_a_signal_handler_sends_in_the_middle_of_a_send(server: Server, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("q")
    with queue.sender() as sender:
        senders = Senders(sender)
        handled: list[Any] = []
        before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(sender.send("from the handler")))
        try:
            with frozen(server, senders):

                def thaw() -> None:
                    until(lambda: sender._sending._gathering.waiting, "it waits")
                    os.kill(os.getpid(), signal.SIGUSR1)
                    time.sleep(0.05)  # the handler most likely sends by now
                    server.thaw()

                thread = threading.Thread(target=thaw)
                thread.start()
                sender.send("main")
                thread.join()
        finally:
            signal.signal(signal.SIGUSR1, before)
        senders.join()
        assert isinstance(handled[0], rqsqs.SentMessage)
    assert {m.body for m in queue.receive(10)} == {"first", "main", "from the handler"}


def test_a_forked_child_sends_while_threads_of_its_parent_wait(server: Server, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("q")
    with queue.sender() as sender:
        senders = Senders(sender)
        with frozen(server, senders):
            for n in range(3):
                senders.gather(n, n)
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    sender.send("child")
                    sender.close()
                    os._exit(0)
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert all(isinstance(result, rqsqs.SentMessage) for result in senders.join().values())
    assert {m.body for m in queue.receive(10)} == {"first", "child", 0, 1, 2}


def test_cancelled_tasks_take_nobody_along(server: Server, prefix: str) -> None:
    async def main() -> None:
        async with aio.connect(server.url, prefix=prefix, socket_timeout=40) as connection:
            queue = await connection.create_queue("q")
            async with queue.sender() as sender:
                gathering = sender._sending._gathering
                await sender.send("before")  # the script is loaded
                server.freeze()
                try:
                    first = asyncio.create_task(sender.send("first"))
                    await asyncio.sleep(0)
                    tasks = [asyncio.create_task(sender.send(n)) for n in range(6)]
                    while len(gathering.waiting) < 6:
                        await asyncio.sleep(0)
                    tasks[2].cancel()  # it waits
                    first.cancel()  # its call is under way
                    while sender._sending._task is None or gathering.waiting:
                        await asyncio.sleep(0)
                    tasks[4].cancel()  # the call for all is under way
                    flush = asyncio.create_task(sender.flush())
                finally:
                    server.thaw()
                results = await asyncio.gather(first, *tasks, return_exceptions=True)
                await flush
            kinds = [type(result) for result in results]
            cancelled, sent = asyncio.CancelledError, rqsqs.SentMessage
            assert kinds == [cancelled, sent, sent, cancelled, sent, cancelled, sent]
            assert [m.body for m in await queue.receive(10)] == ["before", "first", 0, 1, 3, 4, 5]

    asyncio.run(main())


def test_the_end_of_a_loop_is_an_answer_for_each_task(server: Server, prefix: str) -> None:
    answers: list[Any] = []

    async def main() -> None:
        connection = aio.connect(server.url, prefix=prefix, socket_timeout=40)
        queue = await connection.create_queue("q")
        sender = queue.sender()

        async def send(n: int) -> None:
            try:
                answers.append(await sender.send(n))
            except BaseException as e:
                answers.append(e)

        server.freeze()
        tasks = [asyncio.create_task(send(n)) for n in range(5)]
        while len(sender._sending._gathering.waiting) < 4:
            await asyncio.sleep(0)
        tasks[0].cancel()
        while sender._sending._task is None or sender._sending._gathering.waiting:
            await asyncio.sleep(0)
        late = asyncio.create_task(send(5))
        await asyncio.sleep(0)
        sender._sending._task.cancel()
        await asyncio.gather(*tasks, late)
        server.thaw()
        await connection.close()

    try:
        asyncio.run(main())
    finally:
        server.thaw()
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [(type(e), e.request_sent) for e in answers[1:]] == [(rqsqs.ConnectionFailed, True)] * 4 + [
        (rqsqs.ConnectionFailed, False)
    ]


def test_an_asyncio_sender_belongs_to_the_event_loop_of_its_connection(server: Server, prefix: str) -> None:
    connection = aio.connect(server.url, prefix=prefix)
    sender = connection.queue("q").sender()

    async def use() -> None:
        await connection.create_queue("q")
        await sender.send("x")
        await sender.flush()

    asyncio.run(use())
    for call in (lambda: sender.send("y"), sender.flush, sender.close):
        with pytest.raises(rqsqs.UsageError, match="belongs to one event loop"):
            asyncio.run(call())
    assert not sender._sending._is_closed


def test_an_asyncio_sender_that_nobody_used_closes_in_any_event_loop_and_after_its_connection(
    server: Server, prefix: str
) -> None:
    connection = aio.connect(server.url, prefix=prefix)
    sender = connection.queue("q").sender()
    asyncio.run(sender.flush())

    async def close() -> None:
        await connection.create_queue("q")
        await connection.close()
        await sender.close()
        await sender.close()

    asyncio.run(close())


def test_an_asyncio_sender_closes_and_refuses(server: Server, prefix: str) -> None:
    async def main() -> None:
        async with aio.connect(server.url, prefix=prefix) as connection:
            queue = await connection.create_queue("q")
            sender = queue.sender()
            assert repr(sender) == "<rqsqs.aio.Sender of 'q'>"
            with pytest.raises(rqsqs.UsageError, match="must be used with `async with`"), sender:  # type: ignore[attr-defined]
                pass
            sends = [asyncio.create_task(sender.send(n)) for n in range(20)]
            await asyncio.sleep(0)
            await sender.close()
            assert len(await asyncio.gather(*sends)) == 20
            with pytest.raises(rqsqs.UsageError, match="this sender is closed"):
                await sender.send("late")
            assert (await queue.counts()).visible == 20
            await sender.flush()

    asyncio.run(main())


# Servers that die


@pytest.mark.parametrize(("most", "untried"), [(100, 0), (2, 6)])  # the last ones do not wait for call after call
@pytest.mark.parametrize("api", ["sync", "aio"])
def test_a_server_that_dies_in_the_middle_is_an_answer_for_each_caller(
    api: str, most: int, untried: int, prefix: str
) -> None:
    with Server("valkey") as server:
        results: list[Any]
        if api == "sync":
            with rqsqs.connect(server.url, prefix=prefix) as connection:
                sender = connection.create_queue("q").sender(max_batch=most)
                senders = Senders(sender)
                server.freeze()
                senders.start("first", "first")
                until(lambda: sender._sending._leader is not None, "it sends")
                for n in range(8):
                    senders.gather(n, n)
                server.kill9()
                results = list(senders.join().values())
                server.restart()
                connection.create_queue("q")
                assert isinstance(sender.send("later"), rqsqs.SentMessage)
        else:

            async def main() -> list[Any]:
                async with aio.connect(server.url, prefix=prefix) as connection:
                    sender = (await connection.create_queue("q")).sender(max_batch=most)
                    server.freeze()
                    tasks = [asyncio.create_task(sender.send(n)) for n in range(9)]
                    while len(sender._sending._gathering.waiting) < 8:
                        await asyncio.sleep(0)
                    server.kill9()
                    found = await asyncio.gather(*tasks, return_exceptions=True)
                    server.restart()
                    await connection.create_queue("q")
                    assert isinstance(await sender.send("later"), rqsqs.SentMessage)
                    return found

            results = asyncio.run(main())
        assert len(results) == 9
        assert {type(result) for result in results} == {rqsqs.ConnectionFailed}
        assert [str(error).startswith("the message was not sent") for error in results].count(True) == untried


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("api", ["sync", "aio"])
def test_messages_of_a_call_whose_answer_is_lost_are_stored_once(
    valkey_url: str, prefix: str, name: str, api: str
) -> None:
    callers, each = 8, 30
    options: dict[str, Any] = {"group": "g"} if name == "q.fifo" else {}
    with Proxy(valkey_url) as proxy, rqsqs.connect(proxy.url, prefix=prefix) as connection:
        queue = connection.create_queue(name)

        done: list[int] = []

        def disturb() -> None:
            while not is_over.is_set():
                count = len(done)
                proxy.lose_replies(1)
                while len(done) < count + 3 * callers and not is_over.wait(0.002):  # repetitions get their answers
                    pass

        is_over = threading.Event()
        disturber = threading.Thread(target=disturb)
        disturber.start()
        try:
            if api == "sync":
                with queue.sender() as sender, ThreadPoolExecutor(callers) as threads:

                    def work(n: int) -> list[rqsqs.SentMessage]:
                        found = []
                        for i in range(each):
                            found.append(sender.send([n, i], **options))
                            done.append(i)
                        return found

                    sent = list(threads.map(work, range(callers)))
            else:

                async def main() -> list[list[rqsqs.SentMessage]]:
                    async with (
                        aio.connect(proxy.url, prefix=prefix) as other,
                        other.queue(name).sender() as sender,
                    ):

                        async def work(n: int) -> list[rqsqs.SentMessage]:
                            found = []
                            for i in range(each):
                                found.append(await sender.send([n, i], **options))
                                done.append(i)
                                await asyncio.sleep(0.002)
                            return found

                        return await asyncio.gather(*[work(n) for n in range(callers)])

                sent = asyncio.run(main())
        finally:
            is_over.set()
            disturber.join()
        assert proxy.lost > 3
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        got: list[Any] = []
        while messages := connection.queue(name).receive(100, delete=True):
            got += messages
    assert len(got) == callers * each
    for n in range(callers):
        mine = [m for m in got if m.body[0] == n]
        assert [m.body[1] for m in mine] == list(range(each))
        assert [m.message_id for m in mine] == [s.message_id for s in sent[n]]


def test_a_frozen_server_is_an_answer_for_each_caller(server: Server, prefix: str) -> None:
    with rqsqs.connect(server.url, prefix=prefix, socket_timeout=0.5) as connection:
        queue = connection.create_queue("q")
        with queue.sender() as sender:
            senders = Senders(sender)
            with frozen(server, senders):
                for n in range(4):
                    senders.start(n, n)
                results = senders.join()
            assert {type(result) for result in results.values()} == {rqsqs.ServerTimeout}
            assert results["first"].request_sent
            assert isinstance(sender.send("later"), rqsqs.SentMessage)


def test_what_was_answered_is_stored_although_the_server_is_killed_again_and_again(prefix: str) -> None:
    threads, kills = 16, 4
    with (
        Server("valkey", appendonly="yes", appendfsync="always") as server,
        rqsqs.connect(server.url, prefix=prefix) as connection,
    ):
        queue = connection.create_queue("q")
        sent: list[list[int]] = [[] for _ in range(threads)]
        unknown: list[set[int]] = [set() for _ in range(threads)]
        is_over = threading.Event()
        with queue.sender() as sender:

            def work(n: int) -> None:
                i = 0
                while not is_over.is_set():
                    try:
                        sender.send([n, i])
                        sent[n].append(i)
                    except rqsqs.ServerError as e:
                        if e.request_sent:
                            unknown[n].add(i)
                        time.sleep(0.01)
                    i += 1

            workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
            for worker in workers:
                worker.start()
            for _ in range(kills):
                seen = sum(map(len, sent))
                until(lambda seen=seen: sum(map(len, sent)) > seen + 100, "messages are sent")  # type: ignore[misc]
                server.kill9()
                server.restart()
            is_over.set()
            for worker in workers:
                worker.join(60)
                assert not worker.is_alive()
        got: list[Any] = []
        while messages := queue.receive(1000, delete=True):
            got += [m.body for m in messages]
    for n in range(threads):
        mine = [i for who, i in got if who == n]
        assert mine == sorted(set(mine)), "twice, or out of order"
        assert set(sent[n]) <= set(mine) <= set(sent[n]) | unknown[n]
