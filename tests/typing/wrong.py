"""What is wrong: type checkers find an error in each line that is marked with the code that mypy gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import rqsqs
from rqsqs import aio
from rqsqs.worker import Context, Worker

worker = Worker()


@worker.handler("a")  # E: type-var
def takes_a_body(body: dict[str, Any]) -> None: ...


@worker.handler("b")  # E: type-var
def takes_a_list(messages: list[rqsqs.Message]) -> None: ...


@worker.handler("c", batch=10)  # E: type-var
def takes_one(message: rqsqs.Message) -> None: ...


@worker.handler("d")  # E: type-var
async def takes_the_plain_message(message: rqsqs.Message) -> None: ...


@worker.handler("e")  # E: type-var
def takes_the_message_to_be_awaited(message: aio.Message) -> None: ...


@worker.handler("f")  # E: type-var
def returns_something(message: rqsqs.Message) -> bool:
    return True


@worker.handler("g", batch=10)  # E: type-var
def returns_ids(messages: list[rqsqs.Message]) -> list[str]:
    return [message.message_id for message in messages]


@worker.handler("h")  # E: type-var
def takes_nothing() -> None: ...


@worker.handler("i")  # E: type-var
def takes_too_much(message: rqsqs.Message, context: Context, more: int) -> None: ...


@worker.handler("j")  # E: type-var
def takes_the_context_first(context: Context, message: rqsqs.Message) -> None: ...


@worker.handler("k")  # E: type-var
def generates(message: rqsqs.Message) -> Iterator[int]:
    yield 1


@worker.handler("l", batch=10)  # E: type-var
async def awaits_a_list_of_plain_messages(messages: list[rqsqs.Message]) -> None: ...


class Task:
    def __init__(self, message: rqsqs.Message) -> None: ...


worker.add("m", Task)  # E: arg-type
worker.add("n", takes_a_list)  # E: arg-type
worker.add("o", takes_one, batch=10)  # E: arg-type
worker.handler(batch=10)  # E: call-overload
worker.create_queue("p", visibility_timout=3)  # E: call-arg


@worker.middleware  # E: type-var
def takes_no_call_next(message: rqsqs.Message) -> None: ...


def native(connection: rqsqs.Connection) -> None:
    queue = connection.queue("orders")
    queue.configure(visibility_timout=3)  # E: call-arg
    queue.configure(delay="3")  # E: arg-type
    queue.send("a", delay="3")  # E: arg-type
    queue.send("a", dely=3)  # E: call-arg
    queue.peek(state="invisible")  # E: arg-type
    rqsqs.Entry("a", dedup="b")  # E: call-arg
    for message in queue:
        message.release("soon")  # E: arg-type
        message.body = 3  # E: misc
    connection.create_queue("b", retry_policy={"base": 3})  # E: arg-type
    connection.create_queue("b", visibility_timout=3)  # E: call-arg
    rqsqs.connect(prefix=3)  # E: arg-type
    rqsqs.connect(limits="amazon")  # E: arg-type
    worker.configure(concurency=3)  # E: call-arg


async def asynchronous(connection: aio.Connection) -> None:
    queue = connection.queue("orders")
    print(queue.send("a").message_id)  # E: attr-defined
    for message in queue:  # E: attr-defined
        print(message)
    await queue.configure(visibility_timout=3)  # E: call-arg
    await queue.send("a", dely=3)  # E: call-arg
    await connection.create_queue("b", visibility_timout=3)  # E: call-arg
