"""The native asyncio face: the sync face's classes, methods and arguments, to be awaited.

    import asyncio

    from rqsqs import aio


    async def main():
        async with aio.connect("redis://localhost:6379/0") as connection:
            orders = await connection.create_queue("orders")
            await orders.send({"id": 1})
            async for message in orders.messages(wait=1):
                async with message:
                    print(message.body)

A connection and its objects belong to one event loop of one process. Any number of tasks may use them and wait on
queues at the same time: they share one connection to the server, and one more for each queue that is waited on. A
receive that is cancelled strands nothing: what the server had already handed out is visible again at once. Arguments,
results and errors of each method are those of its namesake in rqsqs.Queue, rqsqs.Message and rqsqs.Connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from rqsqs import calls, checks
from rqsqs._core import flows
from rqsqs._core.keys import Clock
from rqsqs._core.records import Delivery
from rqsqs._io import defaults
from rqsqs._io.aio import Transport
from rqsqs._io.connect import shown
from rqsqs.checks import AttributeValue, Moment, Seconds
from rqsqs.errors import MessageDamaged, UsageError
from rqsqs.limits import Limits
from rqsqs.message import BaseMessage, Entry, Holder
from rqsqs.models import (
    Consumer,
    Counts,
    Durability,
    Failure,
    MoveTask,
    QueueInfo,
    Reached,
    Redriven,
    RetryPolicy,
    SentMessage,
    State,
    Statistics,
)

__all__ = ["Connection", "Entry", "Message", "Queue", "connect"]


class Queue:
    """One queue of a connection; made by Connection.queue() or Connection.create_queue(). Thread-safe.

    Iterating over a queue receives its messages one after the other and waits for more, without end.
    """

    __module__ = "rqsqs.aio"
    __slots__ = ("_connection", "_durability", "_ref", "_run")

    def __init__(self, connection: Connection, name: str, durability: Durability | str | None = None) -> None:
        self._connection = connection
        self._durability = checks.durability(durability) or connection.durability
        self._ref = connection.transport.queue(name)
        self._run = connection.transport.run

    @property
    def name(self) -> str:
        """The queue's name."""
        return self._ref.name

    @property
    def is_fifo(self) -> bool:
        """Does the queue keep the order of message groups? (Its name ends in `.fifo` then.)"""
        return self._ref.is_fifo

    @property
    def limits(self) -> Limits:
        """What the connection allows."""
        return self._connection.limits

    def __repr__(self) -> str:
        return f"<rqsqs.aio.Queue {self.name!r}>"

    # Messages

    async def send(
        self,
        body: Any,
        *,
        delay: Seconds | None = None,
        at: Moment | None = None,
        group: str | None = None,
        deduplication_id: str | None = None,
        deduplication_window: Seconds | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        durability: Durability | str | None = None,
    ) -> SentMessage:
        """Send one message."""
        return await self._run(
            calls.send(
                self._ref,
                self._connection.limits,
                self._durability if durability is None else durability,
                body,
                delay,
                at,
                group,
                deduplication_id,
                deduplication_window,
                attributes,
            )
        )

    async def send_batch(
        self, messages: Iterable[Any], *, durability: Durability | str | None = None
    ) -> list[SentMessage]:
        """Send up to 1,000 messages in order; very many or large ones take several steps (docs/native.md)."""
        safe = self._durability if durability is None else durability
        return await self._run(calls.send_batch(self._ref, self.limits, safe, messages))

    async def receive(
        self,
        max_messages: int = 1,
        *,
        wait: Seconds | None = None,
        visibility_timeout: Seconds | None = None,
        delete: bool = False,
        attempt_id: str | None = None,
    ) -> list[Message]:
        """Receive messages; they stay invisible to others until deleted or until their visibility timeout is over."""
        found = await self._run(
            calls.receive(
                self._ref, self._connection.limits, max_messages, wait, visibility_timeout, delete, attempt_id
            )
        )
        return [Message(self, d) for d in found]

    async def messages(
        self, *, wait: Seconds | None = None, visibility_timeout: Seconds | None = None, prefetch: int = 1
    ) -> AsyncIterator[Message]:
        """Receive message after message."""
        batch: list[Message] = []
        try:
            while True:
                try:
                    batch = await self.receive(
                        prefetch, wait=20 if wait is None else wait, visibility_timeout=visibility_timeout
                    )
                except MessageDamaged:  # others are not
                    continue
                batch.reverse()
                if not batch and wait is not None:
                    return
                while batch:
                    yield batch.pop()
        finally:
            if batch:
                unused = [(m, 0) for m in batch]
                await self._run(calls.change_visibility_batch(self._ref, self.limits, None, unused))

    def __aiter__(self) -> AsyncIterator[Message]:
        return self.messages()

    async def delete(self, message: Message | str) -> Reached | None:
        """Delete a message by itself or its receipt handle; deleting what is gone succeeds."""
        return await self._run(calls.delete(self._ref, self._connection.limits, self._durability, message))

    async def delete_batch(self, messages: Iterable[Message | str]) -> Reached | None:
        """Delete up to 1,000 messages; of a FIFO queue 100 are one step."""
        return await self._run(calls.delete_batch(self._ref, self.limits, self._durability, messages))

    async def delete_and_receive(
        self,
        finished: Iterable[Message | str],
        max_messages: int = 1,
        *,
        wait: Seconds | None = None,
        visibility_timeout: Seconds | None = None,
    ) -> tuple[list[Message], list[Failure]]:
        """Delete what is finished and receive what comes next, in one call: what a busy consumer does."""
        found, failures = await self._run(
            calls.delete_and_receive(
                self._ref, self.limits, self._durability, finished, max_messages, wait, visibility_timeout
            )
        )
        return [Message(self, d) for d in found], failures

    async def change_visibility(self, message: Message | str, timeout: Seconds) -> Reached | None:  # noqa: ASYNC109 - a visibility timeout
        """Let a message become visible `timeout` seconds from now; 0 = at once."""
        return await self._run(calls.change_visibility(self._ref, self.limits, self._durability, message, timeout))

    async def change_visibility_batch(self, changes: Iterable[tuple[Message | str, Seconds]]) -> Reached | None:
        """Change the visibility of up to 1,000 messages: pairs of message and seconds from now."""
        return await self._run(calls.change_visibility_batch(self._ref, self.limits, self._durability, changes))

    # What waits

    async def counts(self, group: str | None = None) -> Counts:
        """Exact numbers of visible, in-flight and delayed messages, of the queue or of one message group."""
        return await self._run(calls.counts(self._ref, group))

    async def groups(self) -> list[str]:
        """The message groups that hold messages; of a standard queue those with messages that wait in line."""
        return await self._run(flows.groups(self._ref))

    async def peek(self, max_messages: int = 1, state: State = "visible") -> list[Message]:
        """Look at the first messages of a state (visible, in_flight, delayed) without receiving them."""
        return [Message(self, d) for d in await self._run(calls.peek(self._ref, max_messages, state))]

    async def browse(
        self, state: State = "visible", cursor: str = "", max_messages: int = 100
    ) -> tuple[list[Message], str]:
        """Look at messages page by page, without any effect on them."""
        found, following = await self._run(calls.browse(self._ref, state, cursor, max_messages))
        return [Message(self, d) for d in found], following

    async def cancel(
        self,
        message: SentMessage | Message | str | None = None,
        *,
        deduplication_id: str | None = None,
        group: str | None = None,
    ) -> bool:
        """Take a waiting message out of the queue."""
        return await self._run(calls.cancel(self._ref, message, deduplication_id, group))

    async def reschedule(
        self,
        message: SentMessage | Message | str,
        *,
        delay: Seconds | None = None,
        at: Moment | None = None,
        group: str | None = None,
    ) -> bool:
        """Give a waiting message another time to become visible."""
        return await self._run(calls.reschedule(self._ref, self.limits, message, delay, at, group))

    async def pause(self, group: str | None = None) -> None:
        """Hand nothing out any more, of the queue or of one message group; what is in flight stays so."""
        await self._run(calls.pause(self._ref, group, resume=False))

    async def resume(self, group: str | None = None) -> None:
        """Undo pause()."""
        await self._run(calls.pause(self._ref, group, resume=True))

    async def purge(self) -> None:
        """Remove all messages: visible, in flight and delayed."""
        await self._run(flows.purge_queue(self._ref, self.limits))

    # Workers

    async def consumers(self) -> list[Consumer]:
        """The workers that serve this queue."""
        return await self._run(flows.list_consumers(self._ref))

    async def drain(self, consumer: Consumer | str) -> bool:
        """Tell a worker to finish what it holds of this queue and to take no more."""
        return await self._run(calls.order_consumer(self._ref, consumer, "drain"))

    async def evict(self, consumer: Consumer | str) -> bool:
        """Tell a worker to give back at once what it holds of this queue and to take no more."""
        return await self._run(calls.order_consumer(self._ref, consumer, "evict"))

    # Dead letters

    async def redrive(
        self,
        destination: Queue | str | None = None,
        *,
        max_per_second: int | None = None,
        max_messages: int | None = None,
    ) -> str:
        """Move the messages of this dead-letter queue back to their sources, or to `destination`, in the background."""
        return await self._run(calls.redrive(self._ref, destination, max_per_second, self._durability, max_messages))

    async def redrive_messages(
        self,
        messages: Iterable[Message | SentMessage | str],
        destination: Queue | str | None = None,
        *,
        max_per_second: int | None = None,
    ) -> Redriven:
        """Move some messages of this dead-letter queue back to their sources, or to `destination`, and wait for it."""
        return await self._run(
            calls.redrive_messages(self._ref, messages, destination, max_per_second, self._durability)
        )

    async def move_tasks(self) -> list[MoveTask]:
        """The last move tasks of this queue, newest first."""
        return await self._run(flows.list_moves(self._ref, durability=self._durability))

    async def cancel_redrive(self, task_id: str) -> int:
        """Cancel a running move task; returns how many messages were moved."""
        return await self._run(calls.cancel_redrive(self._ref, task_id))

    async def dead_letter_sources(self) -> list[str]:
        """Names of the queues whose dead letters come here."""
        return await self._run(flows.dead_letter_sources(self._ref))

    # The queue itself

    async def info(self) -> QueueInfo:
        """Attributes (under SQS's names, as text), times of creation and last change."""
        return await self._run(flows.queue_info(self._ref))

    async def configure(self, **settings: Unpack[calls.QueueSettings]) -> None:
        """Change settings, all or none; the keyword arguments of Connection.create_queue()."""
        await self._run(calls.configure(self._ref, self.limits, settings))

    async def tags(self) -> dict[str, str]:
        """The queue's tags."""
        return await self._run(flows.get_tags(self._ref))

    async def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        await self._run(calls.tag(self._ref, tags))

    async def untag(self, *names: str) -> None:
        """Remove tags; unknown ones are ignored."""
        await self._run(calls.untag(self._ref, names))


class Message(BaseMessage):
    """A received message. As a context manager it is deleted at the end, and made visible again if there was an error.

    async with message:
        await handle(message.body)

    One that a worker gave to a handler has the same methods. What they settle, the worker does not settle again; an
    error in the block means that the message has failed. When the handler has ended they raise MessageLost.
    """

    __module__ = "rqsqs.aio"
    __slots__ = ("queue",)

    def __init__(self, queue: Queue, delivery: Delivery, holder: Holder | None = None) -> None:
        self.queue: Queue = queue
        self._delivery = delivery
        if holder is not None:
            self._holder = holder

    async def delete(self) -> Reached | None:
        """It is done with: delete it. See Queue.delete()."""
        reached = await self.queue.delete(self)
        self._is_settled = True
        return reached

    async def change_visibility(self, timeout: Seconds) -> Reached | None:  # noqa: ASYNC109 - a visibility timeout
        """Stay invisible for `timeout` seconds from now; 0 = release()."""
        reached = await self.queue.change_visibility(self, timeout)
        if not timeout:
            self._is_settled = True
        return reached

    async def release(self, delay: Seconds = 0) -> Reached | None:
        """Give it back: visible to others after `delay` seconds. In a handler of a worker it has failed."""
        queue = self.queue
        reached = await queue._run(calls.release(queue._ref, queue.limits, queue._durability, self, delay))
        self._is_settled = True
        return reached

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if getattr(self, "_is_settled", False):  # inside of the block
            return
        holder = getattr(self, "_holder", None)
        if error is None:
            await self.delete()
        elif holder is not None:
            holder.fail(self._delivery, error)
        else:
            await self.queue._run(calls.change_visibility(self.queue._ref, self.queue.limits, None, self, 0))

    def __repr__(self) -> str:
        return f"<rqsqs.aio.Message {self.message_id} of {self.queue.name!r}>"


_FORMS = (
    "write `async with rqsqs.aio.connect(...) as connection:`, or `connection = rqsqs.aio.connect(...)` and close it"
)


class Connection:
    """A server with queues. Thread-safe; a forked child goes on with connections of its own.

    Made by connect(). As a context manager it is closed at the end.
    """

    __module__ = "rqsqs.aio"

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str | None = None,
        limits: Literal["native", "aws"] | Limits = "native",
        clock: Clock | None = None,
        durability: Durability | str | None = None,
        **options: Any,
    ) -> None:
        self.limits: Limits = calls.limits_of(limits)
        self.durability: Durability | None = checks.default_durability(durability)
        self.transport: Transport = Transport(url, defaults.prefix_of(prefix), calls.clock_of(clock), **options)

    async def create_queue(
        self,
        name: str,
        *,
        visibility_timeout: Seconds | None = None,
        delay: Seconds | None = None,
        retention: Seconds | None = None,
        wait: Seconds | None = None,
        maximum_message_size: int | None = None,
        dead_letter_queue: str | calls.Named | None = None,
        max_receive_count: int | None = None,
        retry_policy: RetryPolicy | None = None,
        partitions: int | None = None,
        content_based_deduplication: bool | None = None,
        deduplication_scope: str | None = None,
        deduplication_window: Seconds | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Queue:
        """Create a queue, or find it if it exists with the same settings."""
        settings = {key: value for key, value in locals().items() if key in calls.SETTINGS}
        queue = self.queue(name)
        await self.transport.run(calls.create_queue(self.transport.queue(queue.name), self.limits, settings, tags))
        return queue

    def queue(self, name: str, *, durability: Durability | str | None = None) -> Queue:
        """A queue by name, without asking whether it exists.

        Args:
            durability: how safe messages sent with this object have to be, a Durability or its text; None = as the
                connection says.
        """
        return Queue(self, checks.queue_name(name), durability)

    async def exists(self, name: str) -> bool:
        """Is there a queue of this name?"""
        return await self.transport.run(calls.exists(self.transport.queue(checks.queue_name(name))))

    async def queues(self, prefix: str = "") -> AsyncIterator[Queue]:
        """All queues whose names begin with `prefix`, in order of names."""
        after = ""
        while True:
            names = await self.transport.run(calls.list_queues(self.transport.space, prefix, after))
            for name in names:
                yield Queue(self, name)
            if len(names) < 1000:
                return
            after = names[-1]

    async def delete_queue(self, name: str | Queue) -> None:
        """Delete a queue with everything in it."""
        await self.transport.run(flows.delete_queue(self.transport.queue(calls.name_of(name)), self.limits))

    def statistics(self) -> Statistics:
        """What the connections of this event loop to this URL, with these options, went through."""
        return self.transport.statistics()

    async def close(self) -> None:
        """Give the connections up, and back what is still on its way; idempotent."""
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    if not TYPE_CHECKING:  # type checkers see that these are not there

        def __await__(self):
            raise UsageError(f"rqsqs.aio.connect() must not be awaited: {_FORMS}")

        def __enter__(self):
            raise UsageError(f"rqsqs.aio.connect() must be used with `async with`, got `with`: {_FORMS}")

        __exit__ = __enter__

    def __repr__(self) -> str:
        return f"<rqsqs.aio.Connection {shown(self.transport.url)!r}>"


def connect(
    url: str | None = None,
    *,
    prefix: str | None = None,
    limits: Literal["native", "aws"] | Limits = "native",
    clock: Clock | None = None,
    durability: Durability | str | None = None,
    **options: Any,
) -> Connection:
    """Connect to a server. The first command opens the first connection.

    Args:
        url: as for rqsqs.connect(); None = the environment variable RQSQS_URL, else redis://localhost:6379/0.
        prefix: what all keys begin with; connections with different prefixes do not see each other's queues. None =
            the environment variable RQSQS_PREFIX, else rqsqs.
        limits: "native", or "aws" for exactly what SQS allows.
        clock: tests only: an object whose now_us() the server shall believe; see rqsqs.testing.
        options: for redis-py's connections, for example socket_timeout (seconds).

    Raises:
        UsageError: the URL has a scheme that is not known.
        EmbeddedServerUnavailable: there is no program for embedded://, or its folder cannot be used.
    """
    return Connection(url, prefix=prefix, limits=limits, clock=clock, durability=durability, **options)
