"""The native sync face: queues and messages as small objects. Every method is one flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from rqsqs import calls, checks
from rqsqs._core import flows
from rqsqs._core.records import Delivery
from rqsqs.checks import AttributeValue, Moment, Seconds
from rqsqs.errors import MessageDamaged
from rqsqs.limits import Limits
from rqsqs.message import BaseMessage, Holder
from rqsqs.models import (
    Consumer,
    Counts,
    Durability,
    Failure,
    MoveTask,
    QueueInfo,
    Reached,
    Redriven,
    SentMessage,
    State,
)

if TYPE_CHECKING:
    from rqsqs.connection import Connection


class Queue:
    """One queue of a connection; made by Connection.queue() or Connection.create_queue(). Thread-safe.

    Iterating over a queue receives its messages one after the other and waits for more, without end.
    """

    __module__ = "rqsqs"
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
        return f"<rqsqs.Queue {self.name!r}>"

    # Messages

    def send(
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
        """Send one message.

        Args:
            body: text, bytes, or anything msgpack can pack (dicts, lists, numbers, None).
            delay: seconds until it becomes visible, 0 to 10 years; None = the queue's delay.
            at: when it becomes visible: a datetime with time zone or epoch seconds, instead of delay.
            group: message group, 1 to 128 characters. FIFO queues need one and keep its order; on a standard queue
                groups take turns (fair queue).
            deduplication_id: 1 to 128 characters; a second message with it inside the window is not stored.
            deduplication_window: seconds, instead of the queue's (5 minutes).
            attributes: names to text, numbers or bytes, kept beside the body.
            durability: how safe it has to be before this returns, a Durability or its text; None = as the queue or the
                connection says.

        Returns:
            SentMessage; is_duplicate tells that it was recognised and not stored again.

        Raises:
            QueueDoesNotExist, InvalidParameterValue, MissingParameter, MessageTooLarge, ServerError.
            DurabilityNotReached: it is stored, but not as safely.
        """
        return self._run(
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

    def send_batch(self, messages: Iterable[Any], *, durability: Durability | str | None = None) -> list[SentMessage]:
        """Send up to 1,000 messages in order; very many or large ones take several steps (docs/native.md).

        Args:
            messages: bodies, or Entry objects for messages with options.
            durability: as for send().

        Raises:
            BatchFailed: some messages were too large for the queue; its `results` tell which, the others were sent.
            QueueDoesNotExist, InvalidParameterValue, MissingParameter, ServerError: none was sent.
            DurabilityNotReached: they are stored, but not as safely.
        """
        safe = self._durability if durability is None else durability
        return self._run(calls.send_batch(self._ref, self.limits, safe, messages))

    def receive(
        self,
        max_messages: int = 1,
        *,
        wait: Seconds | None = None,
        visibility_timeout: Seconds | None = None,
        delete: bool = False,
        attempt_id: str | None = None,
    ) -> list[Message]:
        """Receive messages; they stay invisible to others until deleted or until their visibility timeout is over.

        Args:
            max_messages: 1 to 1,000.
            wait: seconds to wait for the first message; None = the queue's wait, 0 = do not wait.
            visibility_timeout: seconds; None = the queue's.
            delete: delete at once what is received (at most once instead of at least once).
            attempt_id: FIFO: a repetition under the same id within 5 minutes gives the same messages again.

        Returns:
            As many as there are, up to max_messages; an empty list if none came in time. A message that cannot be read
            is passed over, with a warning to the logger `rqsqs.damage`.

        Raises:
            QueueDoesNotExist, InvalidParameterValue, ServerError.
            MessageDamaged: only such were received.
            QueueDamaged: the settings of the queue cannot be read.
            FormatNewer: a newer version of rqsqs wrote them; they are given back.
        """
        found = self._run(
            calls.receive(
                self._ref, self._connection.limits, max_messages, wait, visibility_timeout, delete, attempt_id
            )
        )
        return [Message(self, d) for d in found]

    def messages(
        self, *, wait: Seconds | None = None, visibility_timeout: Seconds | None = None, prefetch: int = 1
    ) -> Iterator[Message]:
        """Receive message after message.

        Args:
            wait: seconds; the iteration ends when no message came for so long. None = it never ends.
            visibility_timeout: seconds; None = the queue's.
            prefetch: how many messages to receive at a time, 1 to 1,000; what is not used is given back at the end.
        """
        batch: list[Message] = []
        try:
            while True:
                try:
                    batch = self.receive(
                        prefetch, wait=20 if wait is None else wait, visibility_timeout=visibility_timeout
                    )[::-1]
                except MessageDamaged:  # others are not
                    continue
                if not batch and wait is not None:
                    return
                while batch:
                    yield batch.pop()
        finally:
            if batch:
                backwards = [(m, 0) for m in batch[::-1]]
                self._run(calls.change_visibility_batch(self._ref, self.limits, None, backwards))

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    def delete(self, message: Message | str) -> Reached | None:
        """Delete a message by itself or its receipt handle; deleting what is gone succeeds.

        Returns:
            What was reached, if the Durability of the queue or connection says that deletes have to be safe; else None.

        Raises:
            ReceiptHandleIsInvalid: it is no handle, or of another queue.
            ReceiptHandleExpired: FIFO, and where deletes have to be safe: the message was received again by somebody
                else.
            DurabilityNotReached: it is deleted, but not as safely.
        """
        return self._run(calls.delete(self._ref, self._connection.limits, self._durability, message))

    def delete_batch(self, messages: Iterable[Message | str]) -> Reached | None:
        """Delete up to 1,000 messages; of a FIFO queue 100 are one step.

        Returns:
            As delete(); of several partitions the least.

        Raises:
            BatchFailed: some could not be deleted; its `results` tell which, the others were.
            DurabilityNotReached: they are deleted, but not as safely.
        """
        return self._run(calls.delete_batch(self._ref, self.limits, self._durability, messages))

    def delete_and_receive(
        self,
        finished: Iterable[Message | str],
        max_messages: int = 1,
        *,
        wait: Seconds | None = None,
        visibility_timeout: Seconds | None = None,
    ) -> tuple[list[Message], list[Failure]]:
        """Delete what is finished and receive what comes next, in one call: what a busy consumer does.

        Args:
            finished: up to 1,000 messages or receipt handles; may be empty.
            max_messages, wait, visibility_timeout: as for receive().

        Returns:
            The messages received, and a Failure (index and error) for each that could not be deleted, or not as safely
            as required: deletes that have to be safe go first, in a call of their own.
        """
        found, failures = self._run(
            calls.delete_and_receive(
                self._ref, self.limits, self._durability, finished, max_messages, wait, visibility_timeout
            )
        )
        return [Message(self, d) for d in found], failures

    def change_visibility(self, message: Message | str, timeout: Seconds) -> Reached | None:
        """Let a message become visible `timeout` seconds from now; 0 = at once.

        Returns:
            As delete().

        Raises:
            ReceiptHandleIsInvalid, ReceiptHandleExpired (FIFO), MessageNotAvailable: it was deleted.
            DurabilityNotReached: it was done, but not as safely.
        """
        return self._run(calls.change_visibility(self._ref, self.limits, self._durability, message, timeout))

    def change_visibility_batch(self, changes: Iterable[tuple[Message | str, Seconds]]) -> Reached | None:
        """Change the visibility of up to 1,000 messages: pairs of message and seconds from now.

        Raises:
            BatchFailed: some could not be changed; its `results` tell which, the others were.
            DurabilityNotReached: they were changed, but not as safely.
        """
        return self._run(calls.change_visibility_batch(self._ref, self.limits, self._durability, changes))

    # What waits

    def counts(self, group: str | None = None) -> Counts:
        """Exact numbers of visible, in-flight and delayed messages, of the queue or of one message group."""
        return self._run(calls.counts(self._ref, group))

    def groups(self) -> list[str]:
        """The message groups that hold messages; of a standard queue those with messages that wait in line."""
        return self._run(flows.groups(self._ref))

    def peek(self, max_messages: int = 1, state: State = "visible") -> list[Message]:
        """Look at the first messages of a state (visible, in_flight, delayed) without receiving them."""
        return [Message(self, d) for d in self._run(calls.peek(self._ref, max_messages, state))]

    def browse(self, state: State = "visible", cursor: str = "", max_messages: int = 100) -> tuple[list[Message], str]:
        """Look at messages page by page, without any effect on them.

        Args:
            cursor: "" to begin, then what the last call returned.

        Returns:
            Messages and the next cursor, "" at the end. What comes and goes meanwhile may be missed or seen twice.
        """
        found, following = self._run(calls.browse(self._ref, state, cursor, max_messages))
        return [Message(self, d) for d in found], following

    def cancel(
        self,
        message: SentMessage | Message | str | None = None,
        *,
        deduplication_id: str | None = None,
        group: str | None = None,
    ) -> bool:
        """Take a waiting message out of the queue.

        Args:
            message: what send() returned, a message that was looked at, or a message id.
            deduplication_id: instead of message; it is forgotten, so that it can be sent again.
            group: its message group, if known: FIFO and fair queues are searched group by group without it.

        Returns:
            False if there is no such message.

        Raises:
            MessageNotAvailable: it is in flight.
        """
        return self._run(calls.cancel(self._ref, message, deduplication_id, group))

    def reschedule(
        self,
        message: SentMessage | Message | str,
        *,
        delay: Seconds | None = None,
        at: Moment | None = None,
        group: str | None = None,
    ) -> bool:
        """Give a waiting message another time to become visible.

        Args:
            message: what send() returned, a message that was looked at, or a message id.
            delay: seconds from now; or
            at: a datetime with time zone or epoch seconds.
            group: as for cancel().

        Returns:
            False if there is no such message.

        Raises:
            MessageNotAvailable: it is in flight.
        """
        return self._run(calls.reschedule(self._ref, self.limits, message, delay, at, group))

    def pause(self, group: str | None = None) -> None:
        """Hand nothing out any more, of the queue or of one message group; what is in flight stays so."""
        self._run(calls.pause(self._ref, group, resume=False))

    def resume(self, group: str | None = None) -> None:
        """Undo pause()."""
        self._run(calls.pause(self._ref, group, resume=True))

    def purge(self) -> None:
        """Remove all messages: visible, in flight and delayed."""
        self._run(flows.purge_queue(self._ref, self.limits))

    # Workers

    def consumers(self) -> list[Consumer]:
        """The workers that serve this queue, also those that died within the last minute; 1,000 at most.

        Raises:
            QueueDoesNotExist.
        """
        return self._run(flows.list_consumers(self._ref))

    def drain(self, consumer: Consumer | str) -> bool:
        """Tell a worker to finish what it holds of this queue and to take no more.

        It obeys with its next heartbeat: soon if it is busy, within a minute if it is idle.

        Args:
            consumer: one of consumers(), or its consumer_id.

        Returns:
            False if there is no such consumer.
        """
        return self._run(calls.order_consumer(self._ref, consumer, "drain"))

    def evict(self, consumer: Consumer | str) -> bool:
        """Tell a worker to give back at once what it holds of this queue and to take no more. See drain()."""
        return self._run(calls.order_consumer(self._ref, consumer, "evict"))

    # Dead letters

    def redrive(
        self,
        destination: Queue | str | None = None,
        *,
        max_per_second: int | None = None,
        max_messages: int | None = None,
    ) -> str:
        """Move the messages of this dead-letter queue back to their sources, or to `destination`, in the background.

        Args:
            max_per_second: 1 to 500 messages; None = as fast as it goes.
            max_messages: only so many, those that wait at the head of each partition; None = all that are visible now.

        Returns:
            The id of the move task; see move_tasks() and cancel_redrive().

        Raises:
            ResourceNotFound: a queue does not exist.
            MoveTaskRefused: this is no dead-letter queue, or a task is running.
        """
        return self._run(calls.redrive(self._ref, destination, max_per_second, self._durability, max_messages))

    def redrive_messages(
        self,
        messages: Iterable[Message | SentMessage | str],
        destination: Queue | str | None = None,
        *,
        max_per_second: int | None = None,
    ) -> Redriven:
        """Move some messages of this dead-letter queue back to their sources, or to `destination`, and wait for it.

        Those of a message group keep their order. It is a task of the queue while it lasts, as redrive(): one at a
        time, listed by move_tasks(), ended by cancel_redrive().

        Args:
            messages: up to 1,000 messages or message ids; where there are groups messages are found faster than ids.
            max_per_second: as for redrive().

        Returns:
            Which were moved, which were not there, and which cannot be moved now.

        Raises:
            As redrive().
        """
        return self._run(calls.redrive_messages(self._ref, messages, destination, max_per_second, self._durability))

    def move_tasks(self) -> list[MoveTask]:
        """The last move tasks of this queue, newest first."""
        return self._run(flows.list_moves(self._ref, durability=self._durability))

    def cancel_redrive(self, task_id: str) -> int:
        """Cancel a running move task; returns how many messages were moved."""
        return self._run(calls.cancel_redrive(self._ref, task_id))

    def dead_letter_sources(self) -> list[str]:
        """Names of the queues whose dead letters come here."""
        return self._run(flows.dead_letter_sources(self._ref))

    # The queue itself

    def info(self) -> QueueInfo:
        """Attributes (under SQS's names, as text), times of creation and last change."""
        return self._run(flows.queue_info(self._ref))

    def configure(self, **settings: Unpack[calls.QueueSettings]) -> None:
        """Change settings, all or none; the keyword arguments of Connection.create_queue().

        `dead_letter_queue=""` removes the redrive policy. A change holds for every client at once.
        """
        self._run(calls.configure(self._ref, self.limits, settings))

    def tags(self) -> dict[str, str]:
        """The queue's tags."""
        return self._run(flows.get_tags(self._ref))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._run(calls.tag(self._ref, tags))

    def untag(self, *names: str) -> None:
        """Remove tags; unknown ones are ignored."""
        self._run(calls.untag(self._ref, names))


class Message(BaseMessage):
    """A received message. As a context manager it is deleted at the end, and made visible again if there was an error.

    with message:
        handle(message.body)

    One that a worker gave to a handler has the same methods. What they settle, the worker does not settle again; an
    error in the block means that the message has failed. When the handler has ended they raise MessageLost.
    """

    __module__ = "rqsqs"
    __slots__ = ("queue",)

    def __init__(self, queue: Queue, delivery: Delivery, holder: Holder | None = None) -> None:
        self.queue: Queue = queue
        self._delivery = delivery
        if holder is not None:
            self._holder = holder

    def delete(self) -> Reached | None:
        """It is done with: delete it. See Queue.delete()."""
        reached = self.queue.delete(self)
        self._is_settled = True
        return reached

    def change_visibility(self, timeout: Seconds) -> Reached | None:
        """Stay invisible for `timeout` seconds from now; 0 = release()."""
        reached = self.queue.change_visibility(self, timeout)
        if not timeout:
            self._is_settled = True
        return reached

    def release(self, delay: Seconds = 0) -> Reached | None:
        """Give it back: visible to others after `delay` seconds. In a handler of a worker it has failed."""
        queue = self.queue
        reached = queue._run(calls.release(queue._ref, queue.limits, queue._durability, self, delay))
        self._is_settled = True
        return reached

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if getattr(self, "_is_settled", False):  # inside of the block
            return
        holder = getattr(self, "_holder", None)
        if error is None:
            self.delete()
        elif holder is not None:
            holder.fail(self._delivery, error)
        else:
            self.queue._run(calls.change_visibility(self.queue._ref, self.queue.limits, None, self, 0))

    def __repr__(self) -> str:
        return f"<rqsqs.Message {self.message_id} of {self.queue.name!r}>"
