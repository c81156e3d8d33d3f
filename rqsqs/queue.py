"""The native sync face: queues and messages as small objects. Every method is one flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rqsqs import checks
from rqsqs._core import flows, records
from rqsqs._core.records import Delivery
from rqsqs.checks import AttributeValue, Moment, Seconds
from rqsqs.errors import BatchFailed, InvalidParameterValue, MissingParameter, UsageError
from rqsqs.limits import Limits
from rqsqs.types import Counts, Failure, MoveTask, Outgoing, QueueInfo, SentMessage, State

if TYPE_CHECKING:
    from rqsqs.connection import Connection


class Entry:
    """One message of a batch with options of its own; see Queue.send() for them."""

    __module__ = "rqsqs"
    __slots__ = ("body", "options")

    def __init__(
        self,
        body: Any,
        *,
        delay: Seconds | None = None,
        at: Moment | None = None,
        group: str | None = None,
        deduplication_id: str | None = None,
        deduplication_window: Seconds | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> None:
        self.body = body
        self.options: dict[str, Any] = {
            "delay": delay,
            "at": at,
            "group": group,
            "deduplication_id": deduplication_id,
            "deduplication_window": deduplication_window,
            "attributes": attributes,
        }

    def __repr__(self) -> str:
        return f"Entry({self.body!r})"


def pack(
    limits: Limits,
    is_fifo: bool,
    body: Any,
    delay: Seconds | None = None,
    at: Moment | None = None,
    group: str | None = None,
    deduplication_id: str | None = None,
    deduplication_window: Seconds | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Outgoing:
    """Check the arguments of a send and pack the message."""
    if delay is not None and at is not None:
        raise InvalidParameterValue(f"delay is {delay!r} and at is {at!r}: give one of them")
    if is_fifo and group is None:
        raise MissingParameter("a message to a FIFO queue needs a group: messages of one group keep their order")
    return records.outgoing(
        body,
        attributes=checks.attributes(attributes, limits) if attributes is not None else None,
        group=None if group is None else checks.label("group", group),
        dedup_id=None if deduplication_id is None else checks.label("deduplication_id", deduplication_id),
        content_hash=records.content_hash(body) if is_fifo and deduplication_id is None else None,
        delay_ms=None if delay is None else checks.milliseconds("delay", delay, limits.delay_ms),
        due_ms=None if at is None else checks.epoch_ms("at", at),
        dedup_window_ms=None
        if deduplication_window is None
        else checks.milliseconds("deduplication_window", deduplication_window, 365 * 86_400_000),
    )


class Queue:
    """One queue of a connection; made by Connection.queue() or Connection.create_queue(). Thread-safe.

    Iterating over a queue receives its messages one after the other and waits for more, without end.
    """

    __module__ = "rqsqs"
    __slots__ = ("_connection", "_ref", "_run")

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
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

        Returns:
            SentMessage; is_duplicate tells that it was recognised and not stored again.

        Raises:
            QueueDoesNotExist, InvalidParameterValue, MissingParameter, MessageTooLarge, ServerError.
        """
        message = pack(
            self._connection.limits,
            self._ref.is_fifo,
            body,
            delay,
            at,
            group,
            deduplication_id,
            deduplication_window,
            attributes,
        )
        answer = self._run(flows.send_messages(self._ref, (message,), self._connection.limits))[0]
        if isinstance(answer, Failure):
            raise answer.error
        return answer

    def send_batch(self, messages: Iterable[Any]) -> list[SentMessage]:
        """Send up to 1,000 messages in one step, in order.

        Args:
            messages: bodies, or Entry objects for messages with options.

        Raises:
            BatchFailed: some messages were too large for the queue; its `results` tell which, the others were sent.
            QueueDoesNotExist, InvalidParameterValue, MissingParameter, ServerError: none was sent.
        """
        batch = [
            pack(self.limits, self.is_fifo, m.body, **m.options)
            if isinstance(m, Entry)
            else pack(self.limits, self.is_fifo, m)
            for m in checks.batch("messages", messages, self.limits.batch_entries)
        ]
        total = sum(m.size for m in batch)
        if self.limits.batch_bytes and total > self.limits.batch_bytes:
            raise InvalidParameterValue(f"the batch has {total} bytes: it has at most {self.limits.batch_bytes}")
        return settled(self._run(flows.send_messages(self._ref, batch, self.limits)))

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
            As many as there are, up to max_messages; an empty list if none came in time.

        Raises:
            QueueDoesNotExist, InvalidParameterValue, ServerError.
        """
        limits = self._connection.limits
        deliveries = self._run(
            flows.receive_messages(
                self._ref,
                limits,
                checks.count("max_messages", max_messages, limits.receive_messages),
                None
                if visibility_timeout is None
                else checks.milliseconds("visibility_timeout", visibility_timeout, limits.visibility_ms),
                None if wait is None else checks.milliseconds("wait", wait, limits.wait_ms),
                None if attempt_id is None else checks.label("attempt_id", attempt_id),
                checks.flag("delete", delete),
            )
        )
        return [Message(self, d) for d in deliveries]

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
                batch = self.receive(
                    prefetch, wait=20 if wait is None else wait, visibility_timeout=visibility_timeout
                )[::-1]
                if not batch and wait is not None:
                    return
                while batch:
                    yield batch.pop()
        finally:
            if batch:
                self.change_visibility_batch([(m, 0) for m in batch[::-1]])

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    def delete(self, message: Message | str) -> None:
        """Delete a message by itself or its receipt handle; deleting what is gone succeeds.

        Raises:
            ReceiptHandleIsInvalid: it is no handle, or of another queue.
            ReceiptHandleExpired: FIFO: the message was received again by somebody else.
        """
        raise_first(self._run(flows.delete_messages(self._ref, (handle_of(message),), self.limits)))

    def delete_batch(self, messages: Iterable[Message | str]) -> None:
        """Delete up to 1,000 messages in one step.

        Raises:
            BatchFailed: some could not be deleted; its `results` tell which, the others were.
        """
        handles = [handle_of(m) for m in checks.batch("messages", messages, self.limits.batch_entries)]
        settled(self._run(flows.delete_messages(self._ref, handles, self.limits)))

    def change_visibility(self, message: Message | str, timeout: Seconds) -> None:
        """Let a message become visible `timeout` seconds from now; 0 = at once.

        Raises:
            ReceiptHandleIsInvalid, ReceiptHandleExpired (FIFO), MessageNotAvailable: it was deleted.
        """
        ms = checks.milliseconds("timeout", timeout, self.limits.visibility_ms)
        raise_first(self._run(flows.change_visibility(self._ref, ((handle_of(message), ms),), self.limits)))

    def change_visibility_batch(self, changes: Iterable[tuple[Message | str, Seconds]]) -> None:
        """Change the visibility of up to 1,000 messages in one step: pairs of message and seconds from now.

        Raises:
            BatchFailed: some could not be changed; its `results` tell which, the others were.
        """
        wanted = []
        for pair in checks.batch("changes", changes, self.limits.batch_entries):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise InvalidParameterValue(f"{checks.shown(pair)} is not a pair of a message and seconds from now")
            timeout_ms = checks.milliseconds("timeout", pair[1], self.limits.visibility_ms)
            wanted.append((handle_of(pair[0]), timeout_ms))
        settled(self._run(flows.change_visibility(self._ref, wanted, self.limits)))

    # What waits

    def counts(self, group: str | None = None) -> Counts:
        """Exact numbers of visible, in-flight and delayed messages, of the queue or of one message group."""
        return self._run(flows.counts(self._ref, checks.group(group)))

    def groups(self) -> list[str]:
        """The message groups that hold messages."""
        return self._run(flows.groups(self._ref))

    def peek(self, max_messages: int = 1, state: State = "visible") -> list[Message]:
        """Look at the first messages of a state (visible, in_flight, delayed) without receiving them."""
        found, _ = self.browse(state, max_messages=checks.count("max_messages", max_messages, 1000))
        return found

    def browse(self, state: State = "visible", cursor: str = "", max_messages: int = 100) -> tuple[list[Message], str]:
        """Look at messages page by page, without any effect on them.

        Args:
            cursor: "" to begin, then what the last call returned.

        Returns:
            Messages and the next cursor, "" at the end. What comes and goes meanwhile may be missed or seen twice.
        """
        if state not in ("visible", "in_flight", "delayed"):
            raise InvalidParameterValue(f"state is {state!r}: it is 'visible', 'in_flight' or 'delayed'")
        limit = checks.count("max_messages", max_messages, 1000)
        start = checks.cursor(cursor, state, self.is_fifo)
        found, following = self._run(flows.browse(self._ref, state, start, limit))
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
        if (message is None) == (deduplication_id is None):
            raise MissingParameter("cancel() takes a message or a deduplication_id, one of them")
        message_id = None if message is None else checks.message_id(message)
        dedup_id = None if deduplication_id is None else checks.label("deduplication_id", deduplication_id)
        return self._run(flows.cancel(self._ref, message_id, dedup_id, checks.group(group)))

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
        if (delay is None) == (at is None):
            raise MissingParameter("reschedule() takes delay or at, one of them")
        if at is not None:
            due_ms = checks.epoch_ms("at", at)
        else:
            delay_ms = checks.milliseconds("delay", delay, self.limits.delay_ms)
            due_ms = self._connection.transport.now_ms() + delay_ms
        return self._run(flows.reschedule(self._ref, checks.message_id(message), due_ms, checks.group(group)))

    def pause(self, group: str | None = None) -> None:
        """Hand nothing out any more, of the queue or of one message group; what is in flight stays so."""
        self._run(flows.pause(self._ref, resume=False, group=checks.group(group)))

    def resume(self, group: str | None = None) -> None:
        """Undo pause()."""
        self._run(flows.pause(self._ref, resume=True, group=checks.group(group)))

    def purge(self) -> None:
        """Remove all messages: visible, in flight and delayed."""
        self._run(flows.purge_queue(self._ref, self.limits))

    # Dead letters

    def redrive(self, destination: Queue | str | None = None, *, max_per_second: int | None = None) -> str:
        """Move the messages of this dead-letter queue back to their sources, or to `destination`, in the background.

        Args:
            max_per_second: 1 to 500 messages; None = as fast as it goes.

        Returns:
            The id of the move task; see move_tasks() and cancel_redrive().

        Raises:
            ResourceNotFound: a queue does not exist.
            MoveTaskRefused: this is no dead-letter queue, or a task is running.
        """
        target = None
        if destination is not None:
            name = destination.name if isinstance(destination, Queue) else checks.queue_name(destination)
            if name.endswith(".fifo") != self.is_fifo or name == self.name:
                raise InvalidParameterValue(
                    f"messages of {self.name!r} cannot be moved to {name!r}: another queue of the same kind is needed"
                )
            target = self._connection.transport.queue(name)
        if max_per_second is not None:
            checks.count("max_per_second", max_per_second, 500)
        return self._run(flows.start_move(self._ref, target, max_per_second))

    def move_tasks(self) -> list[MoveTask]:
        """The last move tasks of this queue, newest first."""
        return self._run(flows.list_moves(self._ref))

    def cancel_redrive(self, task_id: str) -> int:
        """Cancel a running move task; returns how many messages were moved."""
        return self._run(flows.cancel_move(self._ref, checks.text("task_id", task_id)))

    def dead_letter_sources(self) -> list[str]:
        """Names of the queues whose dead letters come here."""
        return self._run(flows.dead_letter_sources(self._ref))

    # The queue itself

    def info(self) -> QueueInfo:
        """Attributes (under SQS's names, as text), times of creation and last change."""
        return self._run(flows.queue_info(self._ref))

    def configure(self, **settings: Any) -> None:
        """Change settings, all or none; the keyword arguments of Connection.create_queue().

        `dead_letter_queue=""` removes the redrive policy. A change holds for every client at once.
        """
        self._run(flows.set_attributes(self._ref, self._connection.attributes(self.name, settings), self.limits))

    def tags(self) -> dict[str, str]:
        """The queue's tags."""
        return self._run(flows.get_tags(self._ref))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._run(flows.set_tags(self._ref, checks.tags(tags)))

    def untag(self, *names: str) -> None:
        """Remove tags; unknown ones are ignored."""
        self._run(flows.remove_tags(self._ref, [checks.text("the name of a tag", n) for n in names]))


class Message:
    """A received message. As a context manager it is deleted at the end, and made visible again if there was an error.

    with message:
        handle(message.body)
    """

    __module__ = "rqsqs"
    __slots__ = ("_delivery", "queue")

    def __init__(self, queue: Queue, delivery: Delivery) -> None:
        self.queue = queue
        self._delivery = delivery

    @property
    def body(self) -> Any:
        """The body as it was sent: text, bytes or object."""
        return self._delivery.body

    @property
    def message_id(self) -> str:
        """UUID text, the same for every receive and in the dead-letter queue."""
        return self._delivery.message_id

    @property
    def receipt_handle(self) -> str:
        """Stands for this receive; "" for a message that was only looked at."""
        return self._delivery.receipt_handle

    @property
    def receive_count(self) -> int:
        """Receives so far, over all queues, including this one."""
        return self._delivery.receive_count

    @property
    def sent_at(self) -> datetime:
        """When it was sent."""
        found = checks.moment(self._delivery.sent_at_ms)
        assert found is not None
        return found

    @property
    def first_received_at(self) -> datetime | None:
        """When it was received for the first time, in any queue."""
        return checks.moment(self._delivery.first_received_at_ms)

    @property
    def visible_at(self) -> datetime | None:
        """Of a message that was looked at while in flight or delayed: when it becomes visible."""
        return checks.moment(self._delivery.visible_at_ms)

    @property
    def group(self) -> str | None:
        """Its message group."""
        return self._delivery.group

    @property
    def deduplication_id(self) -> str | None:
        """The deduplication id it was sent with."""
        return self._delivery.dedup_id

    @property
    def sequence_number(self) -> str | None:
        """Text of 20 digits, growing; FIFO queues only."""
        return self._delivery.sequence_number

    @property
    def attributes(self) -> dict[str, AttributeValue]:
        """What was sent beside the body."""
        return {name: checks.attribute_value(*pair) for name, pair in self._delivery.attributes.items()}

    @property
    def dead_letter_source(self) -> str | None:
        """The queue it came from as a dead letter."""
        return self._delivery.dead_letter_source

    def delete(self) -> None:
        """It is done with: delete it. See Queue.delete()."""
        self.queue.delete(self)

    def change_visibility(self, timeout: Seconds) -> None:
        """Stay invisible for `timeout` seconds from now."""
        self.queue.change_visibility(self, timeout)

    def release(self, delay: Seconds = 0) -> None:
        """Give it back: visible to others after `delay` seconds."""
        self.queue.change_visibility(self, delay)

    def __enter__(self) -> Message:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        if kind is None:
            self.delete()
        else:
            self.release()

    def __repr__(self) -> str:
        return f"<rqsqs.Message {self.message_id} of {self.queue.name!r}>"


def handle_of(message: Message | str) -> str:
    """The receipt handle of what a user passed."""
    if isinstance(message, Message):
        handle = message.receipt_handle
        if not handle:
            raise UsageError(f"{message!r} was only looked at: receive it to delete it or to change its visibility")
        return handle
    return message


def settled(results: list[Any]) -> list[Any]:
    """The results of a batch, or BatchFailed if some are failures."""
    failures = [r for r in results if isinstance(r, Failure)]
    if failures:
        raise BatchFailed(
            f"{len(failures)} of {len(results)} entries failed; the first is number {failures[0].index}: "
            f"{failures[0].error}",
            results,
        )
    return results


def raise_first(results: list[Failure | None]) -> None:
    """Raise the error of a single-entry result."""
    if results[0] is not None:
        raise results[0].error
