"""What is right: type checkers find nothing in here."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Self, Unpack, assert_type

import rqsqs
from rqsqs import aio
from rqsqs.worker import Context, DeadLetter, Retry, Worker

worker = Worker("redis://localhost:6379/0", concurrency=4)


@worker.handler("plain")
def plain(message: rqsqs.Message) -> None:
    message.change_visibility(60)
    message.release(timedelta(seconds=5))
    with message as same:
        assert_type(same, rqsqs.Message)
    assert_type(message.delete(), rqsqs.DurabilityResult | None)
    assert_type(message.queue, rqsqs.Queue)
    assert_type(message.failures, int)


@worker.handler("context", timeout=3, weight=0.5)
def with_context(message: rqsqs.Message, context: Context) -> None:
    context.raise_if_lost()
    assert_type(context.remaining, float)
    print(context.message.body, context.queue)


@worker.handler("batch", batch=100)
def batch(messages: list[rqsqs.Message]) -> list[ValueError | None]:
    return [None if message.body else ValueError("empty") for message in messages]


@worker.handler("batch-context", batch=100)
def batch_with_context(messages: Sequence[rqsqs.Message], context: Context) -> None:
    print(context.lost)


@worker.handler("coroutine")
async def coroutine(message: aio.Message) -> None:
    async with message as same:
        assert_type(same, aio.Message)
    await message.queue.send("more")
    assert_type(await message.delete(), rqsqs.DurabilityResult | None)


@worker.handler("coroutine-batch", batch=5)
async def coroutine_batch(messages: Iterable[aio.Message], context: Context) -> Sequence[BaseException | None]:
    return [Retry(after=3) for _ in messages]


@worker.handler("never")
def never(message: rqsqs.Message) -> None:
    raise DeadLetter("never")


@worker.handler("any kind")
def either(message: rqsqs.Message | aio.Message) -> None:
    print(message.message_id)


@worker.handler("unannotated")
def unannotated(message):  # type: ignore[no-untyped-def]
    print(message.body)


assert_type(plain(rqsqs.connect().queue("q").receive()[0]), None)  # decorated functions keep their types
plain(message=rqsqs.connect().queue("q").receive()[0])
either_size = 10


@worker.handler("size", batch=either_size)
def size(messages: list[rqsqs.Message]) -> None: ...


class Orders:
    def method(self, message: rqsqs.Message) -> None: ...

    async def coroutine(self, message: aio.Message, context: Context) -> None: ...

    def batch(self, messages: list[rqsqs.Message]) -> None: ...

    def __call__(self, message: rqsqs.Message) -> None: ...

    @staticmethod
    def static(message: rqsqs.Message) -> None: ...


def configured(message: rqsqs.Message, *, database: str = "main") -> None: ...


got: list[rqsqs.Message] = []
worker.add("a", Orders().method)
worker.add("b", Orders().coroutine)
worker.add("c", Orders().batch, batch=3)
worker.add("d", Orders())
worker.add("e", Orders.static)
worker.add("f", got.append)
worker.add("g", print)
worker.add("h", lambda message: print(message.body))
worker.add("i", lambda messages: print(len(messages)), batch=10)
worker.add("j", functools.partial(configured, database="other"))
worker.add_lambda("k", lambda event, context: {"batchItemFailures": []})


@worker.middleware
def timing(message: rqsqs.Message, call_next: Callable[[rqsqs.Message], None]) -> None:
    call_next(message)


@worker.middleware
def of_any(message: Any, call_next: Callable[[Any], Any]) -> Any:
    return call_next(message)


@worker.middleware
async def async_timing(message: aio.Message, call_next: Callable[[aio.Message], Awaitable[None]]) -> None:
    await call_next(message)


timing(message=got[0], call_next=plain)


class Traced(rqsqs.Message):
    def __enter__(self) -> Self:
        return super().__enter__()


def send_later(queue: rqsqs.Queue, body: object, **options: Unpack[rqsqs.SendOptions]) -> rqsqs.SentMessage:
    options.setdefault("delay", 60)
    return queue.send(body, **options)


def native() -> None:
    with rqsqs.connect(prefix="shop", durability="aof", limits="aws") as connection:
        assert_type(connection, rqsqs.Connection)
        queue = connection.create_queue("orders.fifo", visibility_timeout=timedelta(minutes=1), tags={"team": "blue"})
        queue.configure(delay=3, dead_letter_queue="", retry_policy=rqsqs.RetryPolicy(dead_letter=(ValueError,)))
        assert_type(queue.send({"id": 1}, group="a"), rqsqs.SentMessage)
        assert_type(queue.receive(10), list[rqsqs.Message])
        assert_type(iter(queue), Iterator[rqsqs.Message])
        assert_type(queue.delete_and_receive([], 3), tuple[list[rqsqs.Message], list[rqsqs.FailedEntry]])
        queue.send_batch(["a", rqsqs.Entry("b", delay=3)])
        send_later(queue, "a", group="a", attributes={"attempt": 1})
        with queue.sender(linger=timedelta(milliseconds=2), max_batch=50) as sender:
            assert_type(sender, rqsqs.Sender)
            assert_type(sender.send("c", group="a", durability="aof"), rqsqs.SentMessage)
            assert_type(sender.queue, rqsqs.Queue)
            sender.flush()
        for message in queue.messages(wait=1):
            with message:
                print(message.body["id"])
        queue.change_visibility_batch([(message, 3) for message in queue.peek(state="in_flight")])


async def asynchronous() -> None:
    async with aio.connect() as connection:
        assert_type(connection, aio.Connection)
        queue = await connection.create_queue("orders", retention=timedelta(days=1))
        await queue.configure(partitions=4)
        assert_type(await queue.receive(), list[aio.Message])
        async with queue.sender() as sender:
            assert_type(sender, aio.Sender)
            assert_type(await sender.send("c", delay=3), rqsqs.SentMessage)
        assert_type(queue.messages(), AsyncIterator[aio.Message])
        async for message in queue:
            async with message:
                print(message.attributes.get("trace"))


def native_or_not(status: Worker) -> None:
    status.create_queue("orders", max_receive_count=5)
    status.configure(concurrency=3, queues=["orders"])
    status.run()
