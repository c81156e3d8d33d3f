"""Queues: each method checks its arguments, describes one flow of calls and lets the connection run it.

A long module of one class; two thirds of it are the documentation that help() shows.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from rqsqs import _arguments as arguments
from rqsqs import _settings
from rqsqs._arguments import Moment, Seconds, SendOptions
from rqsqs._async.message import Message
from rqsqs._async.sender import Sender
from rqsqs._base_message import BaseMessage, holder_of, taking
from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.results import all_done, one_done, without_failures
from rqsqs._core.sent import SentMessage
from rqsqs._not_copied import NotCopied
from rqsqs._settings import QueueSettings
from rqsqs.errors import MessageDamaged, MissingParameter, RqsqsError, ServerError
from rqsqs.limits import Limits
from rqsqs.metric_models import HistoryPoint, QueueMetrics
from rqsqs.models import (
    Consumer,
    Counts,
    Durability,
    DurabilityResult,
    FailedEntry,
    MoveTask,
    QueueInfo,
    Redriven,
    State,
)

if TYPE_CHECKING:
    from rqsqs._async.connection import Connection
    from rqsqs.timeline_models import Timeline

MOST_SPECS = 100  # kept by a queue


class Queue(NotCopied):
    """One queue of a connection; made by Connection.queue() or Connection.create_queue().

    Any number of tasks of one event loop may use it. Iterating over a queue receives its messages one after the other
    and waits for more, without end.
    """

    __module__ = "rqsqs.aio"
    _instead = (
        "pass the URL, the prefix and the queue's name instead; "
        "rqsqs.aio.connect(url, prefix=prefix).queue(name) makes another one"
    )
    __slots__ = ("_connection", "_durability", "_limits", "_ref", "_run", "_specs")

    def __init__(self, connection: Connection, name: str, durability: Durability | str | None = None) -> None:
        self._connection = connection
        self._durability = _settings.durability(durability) or connection.durability
        self._limits: Limits = connection.limits
        self._ref = connection.transport.queue(name)
        self._run = connection.transport.run
        self._specs: dict[Any, flows.ReceiveSpec] = {}  # of receives that were asked for lately

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
        return self._limits

    def __repr__(self) -> str:
        return f"<rqsqs.aio.Queue {self.name!r}>"

    # Messages

    async def send(
        self, body: Any, *, durability: Durability | str | None = None, **options: Unpack[SendOptions]
    ) -> SentMessage:
        """Send one message.

        Args:
            body: text, bytes, or anything msgpack can pack (dicts, lists, numbers, None).
            delay: seconds until it becomes visible, 0 to 10 years; None = the queue's delay.
            at: when it becomes visible: a datetime with time zone or epoch seconds, instead of delay.
            group: message group, 1 to 128 characters. FIFO queues need one and keep its order; on a standard queue
                groups take turns (fair queue).
            deduplication_id: 1 to 128 characters; a second message with it inside the window is not stored.
            deduplication_window: seconds, 0 to 1 year, instead of the queue's (5 minutes).
            attributes: names to text, numbers or bytes, kept beside the body.
            trace_context: fields of a tracer, such as traceparent, for who handles the message; rqsqs.opentelemetry
                fills them in.
            durability: how safe it has to be before this returns, a Durability or its text; None = as the queue or the
                connection says.

        Returns:
            SentMessage; is_duplicate says that the message was recognised and not stored again.

        Raises:
            QueueDoesNotExist, InvalidParameterValue, MissingParameter, MessageTooLarge, ServerError.
            DurabilityNotReached: it is stored, but not as safely.
        """
        ref, limits = self._ref, self._limits
        safe = self._durability if durability is None else _settings.durability(durability)
        if not options and safe is None and not ref.is_fifo:
            return await self._run(flows.SendOne(ref, limits, body))
        message = arguments.outgoing(ref, limits, body, options)
        if safe is None and len(ref.own) == 1:
            return await self._run(flows.SendWithOptions(ref, limits, message))
        (sent,) = await self._run(flows.send_messages(ref, (message,), limits, safe))
        if isinstance(sent, FailedEntry):
            raise sent.error
        return sent

    async def send_batch(
        self, messages: Iterable[Any], *, durability: Durability | str | None = None
    ) -> list[SentMessage]:
        """Send up to 1,000 messages in order; very many or large ones take several steps (docs/native.md).

        Args:
            messages: bodies, or Entry objects for messages with options.
            durability: as for send(), of all together.

        Returns:
            One SentMessage for each.

        Raises:
            BatchFailed: some were not sent; its `results` say which. The others were.
            DurabilityNotReached: they are stored, but not as safely.
            QueueDoesNotExist, InvalidParameterValue, MissingParameter, ServerError: nothing was sent.
        """
        ref, limits = self._ref, self._limits
        batch = arguments.entries(ref, limits, messages)
        safe = self._durability if durability is None else _settings.durability(durability)
        return without_failures(await self._run(flows.send_messages(ref, batch, limits, safe)))

    def sender(self, *, linger: Seconds = 0.005, max_batch: int = 100) -> Sender:
        """A sender for many tasks: what they send at the same time goes out together, in few calls.

        Args:
            linger: for how many seconds, 0 to 60, a message waits for others at most. A caller that is alone never
                waits; where there are others, the message waits until they have come as well, or for as long as a few
                calls take.
            max_batch: how many messages one call sends at most, 1 to 1,000; to a FIFO queue it sends no more than
                100.

        Returns:
            The Sender. Use it as a context manager, or close it.

        Raises:
            InvalidParameterValue.
        """
        arguments.milliseconds("linger", linger, 60_000)
        seconds = linger.total_seconds() if isinstance(linger, timedelta) else float(linger)
        return Sender(self, seconds, arguments.count("max_batch", max_batch, 1000))

    async def receive(
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
            wait: seconds to wait for the first message, 0 to 10 years; None = the queue's wait, 0 = do not wait.
            visibility_timeout: seconds, 0 to 10 years; None = the queue's.
            delete: delete at once what is received (at most once instead of at least once).
            attempt_id: FIFO: a repetition under the same id, 1 to 128 characters, within 5 minutes gives the same
                messages again.

        Returns:
            As many as there are, up to max_messages; an empty list if none came in time. A message that cannot be read
            is passed over, with a warning to the logger `rqsqs.damage`.

        Raises:
            QueueDoesNotExist, InvalidParameterValue, ServerError.
            MessageDamaged: only such were received.
            QueueDamaged: the settings of the queue cannot be read.
            FormatNewer: a newer version of rqsqs wrote them; they are given back.
        """
        ref = self._ref
        kinds = type(max_messages), type(wait), type(visibility_timeout), type(delete)  # as 1 == True
        try:
            spec = self._specs[max_messages, wait, visibility_timeout, delete, kinds]
        except (KeyError, TypeError):
            spec = self._spec_of(max_messages, wait, visibility_timeout, delete, kinds)
        found: list[Delivery]
        if attempt_id is None and len(ref.partitions) == 1:
            found = await self._run(flows.Receive(ref, spec))
        else:
            attempt = None if attempt_id is None else arguments.label("attempt_id", attempt_id)
            flow = flows.receive_messages(
                ref, spec.limits, spec.count, spec.visibility_ms, spec.wait_ms, attempt, spec.delete
            )
            found = flows.readable(await self._run(flow), must=True)
        messages = []
        for d in found:
            messages.append(Message(self, d))
        return messages

    def _spec_of(
        self,
        max_messages: int,
        wait: Seconds | None,
        visibility_timeout: Seconds | None,
        delete: bool,
        kinds: Any = None,
    ) -> flows.ReceiveSpec:
        """The arguments of a receive, checked; kept for the next time, if `kinds` has their types."""
        numbers = arguments.receiving(self._limits, max_messages, visibility_timeout, wait)
        spec = flows.ReceiveSpec(self._limits, *numbers, delete is not False and arguments.flag("delete", delete))
        if len(self._specs) >= MOST_SPECS:
            self._specs.clear()
        with contextlib.suppress(TypeError):  # a number of somebody's own class that has no hash
            self._specs[max_messages, wait, visibility_timeout, delete, kinds] = spec
        return spec

    async def messages(
        self, *, wait: Seconds | None = None, visibility_timeout: Seconds | None = None, prefetch: int = 1
    ) -> AsyncIterator[Message]:
        """Receive message after message.

        Args:
            wait: seconds, 0 to 10 years; the iteration ends when no message came for that time. None = it never ends.
            visibility_timeout: seconds, 0 to 10 years; None = the queue's.
            prefetch: how many messages to receive at a time, 1 to 1,000; what is not used is given back at the end.

        Yields:
            The messages, each as receive() returns it.

        Raises:
            As receive(), but damaged messages are passed over.
        """
        batch: list[Message] = []
        try:
            while True:
                try:
                    batch = await self.receive(
                        prefetch, wait=20 if wait is None else wait, visibility_timeout=visibility_timeout
                    )
                except MessageDamaged:  # others are not
                    continue
                if not batch and wait is not None:
                    return
                batch.reverse()
                while batch:
                    yield batch.pop()
        finally:
            if batch:
                changes = [(m.receipt_handle, 0) for m in reversed(batch)]
                without_failures(await self._run(flows.change_visibility(self._ref, changes, self._limits, None)))

    def __aiter__(self) -> AsyncIterator[Message]:
        return self.messages()

    async def delete(self, message: Message | str) -> DurabilityResult | None:
        """Delete a message by itself or its receipt handle; deleting what is gone succeeds.

        Args:
            message: a message that was received, or its receipt handle.

        Returns:
            What was reached, if the Durability of the queue or connection says that deletes have to be safe; else None.

        Raises:
            ReceiptHandleIsInvalid: it is no handle, or of another queue.
            ReceiptHandleExpired: FIFO, and where deletes have to be safe: the message was received again by somebody
                else.
            DurabilityNotReached: it is deleted, but not as safely.
        """
        ref, durability = self._ref, self._durability
        if isinstance(message, Message) and (durability is None or not durability.deletes):
            d = message._delivery
            is_ours = d.partition.space is ref.space and d.partition.queue == ref.name
            if is_ours and d.received_ms and message._holder is None:
                return await self._run(flows.DeleteOne(self._limits, d))
        flow = flows.delete_messages(ref, (arguments.receipt(message),), self._limits, durability)
        if holder_of(message) is not None:
            flow = taking((message,), flow)
        (result,) = await self._run(flow)
        return one_done(result, self._durability, flows.DELETED)

    async def delete_batch(self, messages: Iterable[Message | str]) -> DurabilityResult | None:
        """Delete up to 1,000 messages; of a FIFO queue 100 are one step.

        Args:
            messages: as for delete().

        Returns:
            As delete(); of several partitions the least.

        Raises:
            BatchFailed: some could not be deleted; its `results` say which. The others were.
            DurabilityNotReached: they are deleted, but not as safely.
        """
        batch = arguments.batch("messages", messages, self._limits.batch_entries)
        handles = [arguments.receipt(m) for m in batch]
        flow = taking(batch, flows.delete_messages(self._ref, handles, self._limits, self._durability))
        return all_done(await self._run(flow), self._durability, flows.DELETED)

    async def delete_and_receive(
        self,
        finished: Iterable[Message | str],
        max_messages: int = 1,
        *,
        wait: Seconds | None = None,
        visibility_timeout: Seconds | None = None,
    ) -> tuple[list[Message], list[FailedEntry]]:
        """Delete what is finished and receive what comes next, in one call: what a busy consumer does.

        Args:
            finished: up to 1,000 messages or receipt handles; may be empty.
            max_messages: as for receive().
            wait: as for receive().
            visibility_timeout: as for receive().

        Returns:
            The messages received, and a FailedEntry (index and error) for each that could not be deleted, or not as
            safely as required: deletes that have to be safe go first, in a call of their own.

        Raises:
            As receive().
        """
        ref, durability = self._ref, self._durability
        batch = arguments.batch("finished", finished, self._limits.batch_entries, minimum=0)
        kinds = type(max_messages), type(wait), type(visibility_timeout), bool
        try:
            spec = self._specs[max_messages, wait, visibility_timeout, False, kinds]
        except (KeyError, TypeError):
            spec = self._spec_of(max_messages, wait, visibility_timeout, False, kinds)
        done: list[Delivery] = []
        found: list[Delivery]
        failures: list[FailedEntry]
        for m in batch if durability is None or not durability.deletes else ():
            d = getattr(m, "_delivery", None)
            if d is None or d.partition is not ref.home or not d.received_ms or m._holder is not None:
                break
            done.append(d)
        if done and len(done) == len(batch) <= flows.MOST_BESIDE[ref.is_fifo] and len(ref.partitions) == 1:
            found, failures = await self._run(flows.DeleteAndReceive(ref, spec, done))
        else:
            handles = [arguments.receipt(m) for m in batch]
            flow = flows.delete_and_receive(
                ref, spec.limits, handles, spec.count, spec.visibility_ms, spec.wait_ms, durability
            )
            found, failures = await self._run(taking(batch, flow))
            found = flows.readable(found, must=not failures)
        messages = []
        for d in found:
            messages.append(Message(self, d))
        return messages, failures

    async def change_visibility(self, message: Message | str, timeout: Seconds) -> DurabilityResult | None:  # noqa: ASYNC109 - a visibility timeout
        """Let a message become visible some time from now.

        Args:
            message: a message that was received, or its receipt handle.
            timeout: seconds from now, 0 to 10 years; 0 = at once.

        Returns:
            As delete().

        Raises:
            ReceiptHandleIsInvalid: it is no handle, or of another queue.
            ReceiptHandleExpired: FIFO: the message was received again by somebody else.
            MessageNotAvailable: it was deleted.
            DurabilityNotReached: it was done, but not as safely.
        """
        ms = arguments.milliseconds("timeout", timeout, self._limits.visibility_ms)
        return await self._change_visibility(message, ms, self._durability)

    async def _change_visibility(
        self, message: Message | str, ms: int, durability: Durability | None
    ) -> DurabilityResult | None:
        handle, holder = arguments.receipt(message), holder_of(message)
        if holder is not None and isinstance(message, BaseMessage):
            if ms == 0:
                return await self._run(holder.release(message._delivery, 0))
            holder.check(message._delivery)
        (result,) = await self._run(flows.change_visibility(self._ref, ((handle, ms),), self._limits, durability))
        return one_done(result, durability, flows.CHANGED)

    async def change_visibility_batch(
        self, changes: Iterable[tuple[Message | str, Seconds]]
    ) -> DurabilityResult | None:
        """Change the visibility of up to 1,000 messages.

        Args:
            changes: pairs of a message, or its receipt handle, and seconds from now, 0 to 10 years.

        Returns:
            As delete(); of several partitions the least.

        Raises:
            BatchFailed: some could not be changed; its `results` say which. The others were.
            DurabilityNotReached: they were changed, but not as safely.
        """
        limits, durability = self._limits, self._durability
        batch = arguments.changes(limits, changes)
        if all([holder_of(message) is None for message, _ in batch]):
            handles = [(arguments.receipt(message), ms) for message, ms in batch]
            results = await self._run(flows.change_visibility(self._ref, handles, limits, durability))
            return all_done(results, durability, flows.CHANGED)
        each: list[FailedEntry | DurabilityResult | None] = []
        for index, (message, ms) in enumerate(batch):
            try:
                each.append(await self._change_visibility(message, ms, durability))
            except ServerError:
                raise
            except RqsqsError as e:
                each.append(FailedEntry(index, e))
        return all_done(each, durability, flows.CHANGED)

    # What waits

    async def counts(self, group: str | None = None) -> Counts:
        """Exact numbers of visible, in-flight and delayed messages.

        Args:
            group: of this message group only, 1 to 128 characters; None = of the whole queue.

        Returns:
            Counts, with the time when the oldest message was sent.

        Raises:
            QueueDoesNotExist.
        """
        return await self._run(flows.counts(self._ref, arguments.group(group)))

    async def metrics(self) -> QueueMetrics:
        """What is in the queue, and what happened to it since it was created: exact, and read at one instant of each
        partition.

        Returns:
            QueueMetrics. The differences of two of them are what happened between.

        Raises:
            QueueDoesNotExist.
        """
        return await self._run(flows.metrics(self._ref))

    async def history(
        self,
        since: Moment | timedelta = timedelta(hours=3),
        until: Moment | None = None,
        period: timedelta | float = 60,
    ) -> list[HistoryPoint]:
        """What happened in the queue, up to two weeks back and minute by minute, as far as somebody sampled its
        metrics: a worker, a gateway, or `rqsqs metrics sample`.

        Args:
            since: when the first period begins, rounded down to a minute: a datetime with time zone, epoch seconds, or
                a timedelta before the end.
            until: the end; None = now.
            period: seconds, a multiple of 60 up to 14 days, or such a timedelta.

        Returns:
            A HistoryPoint for each period, the oldest first. The last one may be shorter; that of the present minute is
            what happened since the last sample. A period of which nothing is known is a gap (`is_gap`).

        Raises:
            QueueDoesNotExist, InvalidParameterValue.
        """
        from rqsqs._core.flows.metric_history import history  # only if somebody needs it
        from rqsqs._periods import periods_of

        return await self._run(history(self._ref, *periods_of(since, until, period)))

    async def groups(self) -> list[str]:
        """The message groups that hold messages; of a standard queue those with messages that wait in line.

        Returns:
            Their names, sorted.

        Raises:
            QueueDoesNotExist.
        """
        return await self._run(flows.groups(self._ref))

    async def peek(
        self, max_messages: int = 1, state: State = "visible", *, newest_first: bool = False
    ) -> list[Message]:
        """Look at the first messages of a state without receiving them.

        Args:
            max_messages: 1 to 1,000.
            state: "visible", "in_flight" or "delayed".
            newest_first: look at the last ones, as browse() has them.

        Returns:
            Messages without a receipt handle.

        Raises:
            QueueDoesNotExist.
            MessageDamaged: none of them can be read.
        """
        limit = arguments.browsing(self._ref, state, "", max_messages)[2]
        found = await self._run(flows.peek(self._ref, state, limit, newest_first=newest_first))
        return [Message(self, d) for d in found]

    async def browse(
        self, state: State = "visible", cursor: str = "", max_messages: int = 100, *, newest_first: bool = False
    ) -> tuple[list[Message], str]:
        """Look at messages page by page, without any effect on them. What cannot be read is passed over.

        Args:
            state: "visible", "in_flight" or "delayed".
            cursor: "" to begin, then what the last call returned, which had the same state and order.
            max_messages: about how many, 1 to 1,000.
            newest_first: what was sent last comes first, in each partition (in flight and delayed: what becomes visible
                last). Messages of groups come group by group, behind the others: of a FIFO queue those that were sent
                last in each group first, of a standard queue in their order.

        Returns:
            Messages and the next cursor, "" at the end. What comes and goes meanwhile may be missed or seen twice.

        Raises:
            QueueDoesNotExist.
        """
        checked = arguments.browsing(self._ref, state, cursor, max_messages)
        found, following = await self._run(flows.browse(self._ref, *checked, newest_first=newest_first))
        return [Message(self, d) for d in flows.readable(found, must=False)], following

    async def timeline(self, message: SentMessage | Message | str) -> Timeline:
        """What happened to a message, step by step, also to one that is gone: if the queue's setting `timeline` was on,
        and as far back as it reaches. A message that became a dead letter, or was redriven, is followed to the queues
        where it was, as far as theirs is on; from a dead-letter queue also to the queues whose dead letters it has.

        Args:
            message: what send() returned, a message, or a message id.

        Returns:
            Timeline. Without steps nothing is known of the message.

        Raises:
            InvalidParameterValue: it is no message id.
            QueueDoesNotExist.
        """
        from rqsqs._core.flows.timeline import timeline  # only if somebody needs it

        return await self._run(timeline(self._ref, arguments.message_id(message).lower()))

    async def cancel(
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
            raise MissingParameter("cancel() needs a message or a deduplication_id, one of them")
        message_id = None if message is None else arguments.message_id(message)
        dedup_id = None if deduplication_id is None else arguments.label("deduplication_id", deduplication_id)
        return await self._run(flows.cancel(self._ref, message_id, dedup_id, arguments.group(group)))

    async def reschedule(
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
            delay: seconds from now, 0 to 10 years; or
            at: a datetime with time zone or epoch seconds.
            group: as for cancel().

        Returns:
            False if there is no such message.

        Raises:
            MessageNotAvailable: it is in flight.
        """
        if (delay is None) == (at is None):
            raise MissingParameter("reschedule() needs delay or at, one of them")
        due: int | str
        if at is not None:
            due = arguments.epoch_ms("at", at)
        else:
            due = f"+{arguments.milliseconds('delay', delay, self._limits.delay_ms)}"
        flow = flows.reschedule(self._ref, arguments.message_id(message), due, arguments.group(group))
        return await self._run(flow)

    async def pause(self, group: str | None = None) -> None:
        """Hand nothing out any more; what is in flight stays so.

        Args:
            group: of this message group only, 1 to 128 characters; None = of the whole queue.

        Raises:
            QueueDoesNotExist.
        """
        await self._run(flows.pause(self._ref, resume=False, group=arguments.group(group)))

    async def resume(self, group: str | None = None) -> None:
        """Undo pause().

        Args:
            group: as for pause().

        Raises:
            QueueDoesNotExist.
        """
        await self._run(flows.pause(self._ref, resume=True, group=arguments.group(group)))

    async def purge(self) -> None:
        """Remove all messages: visible, in flight and delayed.

        Raises:
            QueueDoesNotExist.
        """
        await self._run(flows.purge_queue(self._ref, self._limits))

    # Workers

    async def consumers(self) -> list[Consumer]:
        """The workers that serve this queue, also those that died within the last minute; 1,000 at most.

        Returns:
            A Consumer for each, as its last heartbeat described it.

        Raises:
            QueueDoesNotExist.
        """
        return await self._run(flows.list_consumers(self._ref))

    async def drain(self, consumer: Consumer | str) -> bool:
        """Tell a worker to finish what it holds of this queue and to take no more.

        It gets the command with its next heartbeat: soon if it is busy, within a minute if it is idle.

        Args:
            consumer: one of consumers(), or its consumer_id.

        Returns:
            False if there is no such consumer.

        Raises:
            QueueDoesNotExist.
        """
        return await self._run(flows.order_consumer(self._ref, arguments.consumer_id(consumer), "drain"))

    async def evict(self, consumer: Consumer | str) -> bool:
        """Tell a worker to give back at once what it holds of this queue and to take no more.

        Args:
            consumer: as for drain().

        Returns:
            As drain().

        Raises:
            QueueDoesNotExist.
        """
        return await self._run(flows.order_consumer(self._ref, arguments.consumer_id(consumer), "evict"))

    # Dead letters

    async def redrive(
        self,
        destination: Queue | str | None = None,
        *,
        max_per_second: int | None = None,
        max_messages: int | None = None,
        cause: str | None = None,
        dead_letter_source: Queue | str | None = None,
    ) -> str:
        """Move the messages of this dead-letter queue back to their sources, or to `destination`, in the background.

        Args:
            destination: another queue of the same kind, or its name; None = each message's source.
            max_per_second: 1 to 500 messages; None = as fast as it goes.
            max_messages: move up to N, from the head of each partition; None = all that are visible now.
            cause: only messages that failed for this reason, "TYPE: TEXT" as `rqsqs dlq ls` shows it, with or without
                `…` for what differs; of longer ones the first 500 characters count. "" = without a recorded cause.
            dead_letter_source: only messages that came from this queue; "" = that were sent here.

        Returns:
            The id of the move task; see move_tasks() and cancel_redrive().

        Raises:
            ResourceNotFound: a queue does not exist.
            MoveTaskRefused: this is no dead-letter queue, or a task is running.
        """
        target = arguments.destination(self._ref, destination, max_per_second)
        most = None if max_messages is None else arguments.count("max_messages", max_messages, 10**9)
        why = None if cause is None else arguments.text("cause", cause)
        source = None if dead_letter_source is None else ""
        source = arguments.name_of(dead_letter_source) if dead_letter_source else source
        flow = flows.start_move(self._ref, target, max_per_second, self._durability, most, why, source)
        return await self._run(flow)

    async def redrive_messages(
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
            destination: as for redrive().
            max_per_second: as for redrive().

        Returns:
            Which were moved, which were not there, and which cannot be moved now.

        Raises:
            As redrive().
        """
        target = arguments.destination(self._ref, destination, max_per_second)
        chosen = [
            (arguments.message_id(message).lower(), arguments.group(getattr(message, "group", None)))
            for message in arguments.batch("messages", messages, 1000)
        ]
        return await self._run(flows.move_chosen(self._ref, chosen, target, max_per_second, self._durability))

    async def move_tasks(self) -> list[MoveTask]:
        """The last move tasks of this queue.

        Returns:
            MoveTasks, newest first.

        Raises:
            ResourceNotFound: the queue does not exist.
        """
        return await self._run(flows.list_moves(self._ref, durability=self._durability))

    async def cancel_redrive(self, task_id: str) -> int:
        """Cancel a running move task.

        Args:
            task_id: what redrive() returned, or the task_id of one of move_tasks().

        Returns:
            How many messages were moved.

        Raises:
            ResourceNotFound: there is no such task.
            MoveTaskRefused: it is not running.
        """
        return await self._run(flows.cancel_move(self._ref, arguments.text("task_id", task_id)))

    async def dead_letter_sources(self) -> list[str]:
        """The queues whose dead letters come here.

        Returns:
            Their names.

        Raises:
            QueueDoesNotExist.
        """
        return await self._run(flows.dead_letter_sources(self._ref))

    # The queue itself

    async def info(self) -> QueueInfo:
        """What the server keeps about the queue.

        Returns:
            Attributes (under SQS's names, as text), times of creation and last change.

        Raises:
            QueueDoesNotExist.
        """
        return await self._run(flows.queue_info(self._ref))

    async def configure(self, **settings: Unpack[QueueSettings]) -> None:
        """Change settings, all or none. A change holds for every client at once.

        Args:
            settings: the keyword arguments of Connection.create_queue(), without `tags`. `dead_letter_queue=""` removes
                the redrive policy.

        Raises:
            QueueDoesNotExist, InvalidParameterValue, MissingParameter.
            ResourceNotFound: the dead-letter queue does not exist.
        """
        changes = _settings.attributes_of(self.name, settings, self._limits, "configure")
        if not changes:
            raise MissingParameter("configure() needs a setting: without one it changes nothing")
        await self._run(flows.set_attributes(self._ref, changes, self._limits))

    async def tags(self) -> dict[str, str]:
        """The queue's tags.

        Returns:
            Names to text.

        Raises:
            QueueDoesNotExist.
        """
        return await self._run(flows.get_tags(self._ref))

    async def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags.

        Args:
            tags: names to text; others that the queue has stay.

        Raises:
            QueueDoesNotExist.
        """
        await self._run(flows.set_tags(self._ref, arguments.tags(tags)))

    async def untag(self, *names: str) -> None:
        """Remove tags.

        Args:
            names: of the tags; unknown ones are ignored.

        Raises:
            QueueDoesNotExist.
        """
        await self._run(flows.remove_tags(self._ref, [arguments.text("the name of a tag", n) for n in names]))
