"""What users call, checked and turned into flows: the one implementation behind the sync and the asyncio face.

Every function checks its arguments at once, before any round trip, and returns a flow. The faces add nothing but the
runner and the docstrings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypedDict, TypeVar

from rqsqs import checks
from rqsqs._core import flows, records
from rqsqs._core.durability import least, not_reached
from rqsqs._core.keys import Clock, Keyspace, QueueRef
from rqsqs._core.operation import Flow
from rqsqs._core.records import Delivery
from rqsqs._suggestions import did_you_mean
from rqsqs.checks import AttributeValue, Moment, Seconds
from rqsqs.errors import (
    BatchFailed,
    DurabilityNotReached,
    InvalidParameterValue,
    MissingParameter,
    QueueDoesNotExist,
    QueueNameExists,
    RqsqsError,
    ServerError,
    UsageError,
)
from rqsqs.limits import AWS, NATIVE, Limits
from rqsqs.message import BaseMessage, Entry, Holder
from rqsqs.models import Counts, Durability, Failure, Outgoing, Reached, Redriven, RetryPolicy, SentMessage, State


class Received(Protocol):
    """A message as the faces show it."""

    @property
    def receipt_handle(self) -> str:
        """Stands for its receive."""
        ...


class Named(Protocol):
    """A queue as the faces show it."""

    @property
    def name(self) -> str:
        """The queue's name."""
        ...


class QueueSettings(TypedDict, total=False):
    """What a queue is created with, see Connection.create_queue(); None = as if it was left out."""

    visibility_timeout: Seconds | None
    delay: Seconds | None
    retention: Seconds | None
    wait: Seconds | None
    deduplication_window: Seconds | None
    maximum_message_size: int | None
    content_based_deduplication: bool | None
    deduplication_scope: str | None
    dead_letter_queue: Named | str | None
    max_receive_count: int | None
    retry_policy: RetryPolicy | None
    partitions: int | None


SETTINGS = frozenset(QueueSettings.__annotations__)
T = TypeVar("T")
Handle = Received | str
NO_OPTIONS = (None,) * 6


def limits_of(mode: str | Limits) -> Limits:
    """The limits a connection was asked for."""
    modes = {"native": NATIVE, "aws": AWS}
    if isinstance(mode, Limits):
        return mode
    if not isinstance(mode, str) or mode not in modes:
        raise InvalidParameterValue(f"limits is {mode!r}: it is 'native' or 'aws'")
    return modes[mode]


def clock_of(clock: Clock | None) -> Clock | None:
    """A test clock, or None."""
    if clock is not None and not callable(getattr(clock, "now_us", None)):
        raise InvalidParameterValue(f"clock is {clock!r}: it has a method now_us(), as rqsqs.testing.VirtualClock")
    return clock


def name_of(queue: Named | str) -> str:
    """The checked name of what a user passed as a queue."""
    return checks.queue_name(queue if isinstance(queue, str) else getattr(queue, "name", queue))


def handle_of(message: Handle) -> str:
    """The receipt handle of what a user passed as a message."""
    if not hasattr(message, "receipt_handle"):
        return message  # text, or what the receipt handle's check will refuse
    if not message.receipt_handle:
        raise UsageError(f"{message!r} was only looked at: receive it to delete it or to change its visibility")
    return message.receipt_handle


# Messages that a worker gave to a handler: what the handler settles itself, the worker does not settle again


def _holder(message: object) -> Holder | None:
    found: Holder | None = getattr(message, "_holder", None)
    return found


def _settling(messages: Sequence[Any], flow: Flow[T]) -> Flow[T]:
    """A flow that deletes messages; those that it does not delete go back to their worker."""
    if all(_holder(m) is None for m in messages):
        return flow
    return _taking(messages, flow)


def _taking(messages: Sequence[Any], flow: Flow[T]) -> Flow[T]:
    taken: dict[int, BaseMessage] = {}
    kept: Iterable[Any] = ()
    try:
        kept = range(len(messages))
        for index, message in enumerate(messages):
            holder = _holder(message)
            if holder is not None and holder.take(message._delivery):
                taken[index] = message
        result: Any = yield from flow
        kept = _failed(result[1]) if isinstance(result, tuple) else ()  # of delete_and_receive()
        return result  # type: ignore[no-any-return]
    except DurabilityNotReached:  # it is done
        kept = ()
        raise
    except BatchFailed as e:
        kept = _failed(e.results)
        raise
    finally:
        for index in taken.keys() & kept:
            taken[index]._holder.put_back(taken[index]._delivery)


def _failed(results: Iterable[Any]) -> list[int]:
    return [r.index for r in results if isinstance(r, Failure) and not isinstance(r.error, DurabilityNotReached)]


def _checking(messages: Sequence[Any], flow: Flow[T]) -> Flow[T]:
    """A flow that prolongs messages, if their worker still holds them."""
    for message in messages:
        holder = _holder(message)
        if holder is not None:
            holder.check(message._delivery)
    return (yield from flow)


# Messages


def pack(
    q: QueueRef,
    limits: Limits,
    body: Any,
    delay: Seconds | None = None,
    at: Moment | None = None,
    group: str | None = None,
    deduplication_id: str | None = None,
    deduplication_window: Seconds | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Outgoing:
    """Check the arguments of a send and pack the message."""
    options = (delay, at, group, deduplication_id, deduplication_window, attributes)
    if not q.is_fifo and options == NO_OPTIONS:
        return records.outgoing(body)
    if delay is not None and at is not None:
        raise InvalidParameterValue(f"delay is {delay!r} and at is {at!r}: give one of them")
    if q.is_fifo and group is None:
        raise MissingParameter("a message to a FIFO queue needs a group: messages of one group keep their order")
    return records.outgoing(
        body,
        attributes=checks.attributes(attributes, limits) if attributes is not None else None,
        group=None if group is None else checks.label("group", group),
        dedup_id=None if deduplication_id is None else checks.label("deduplication_id", deduplication_id),
        content_hash=records.content_hash(body) if q.is_fifo and deduplication_id is None else None,
        delay_ms=None if delay is None else checks.milliseconds("delay", delay, limits.delay_ms),
        due_ms=None if at is None else checks.epoch_ms("at", at),
        dedup_window_ms=None
        if deduplication_window is None
        else checks.milliseconds("deduplication_window", deduplication_window, 365 * 86_400_000),
    )


def send(
    q: QueueRef, limits: Limits, durability: Durability | str | None, body: Any, *options: Any
) -> Flow[SentMessage]:
    """See Queue.send(); options as in pack()."""
    message = pack(q, limits, body, *options)
    safe = checks.durability(durability)

    def flow() -> Flow[SentMessage]:
        answer = (yield from flows.send_messages(q, (message,), limits, safe))[0]
        if isinstance(answer, Failure):
            raise answer.error
        return answer

    return flow()


def send_batch(
    q: QueueRef, limits: Limits, durability: Durability | str | None, messages: Iterable[Any]
) -> Flow[list[SentMessage]]:
    """See Queue.send_batch()."""
    safe = checks.durability(durability)
    batch = [
        pack(q, limits, m.body, **m.options) if isinstance(m, Entry) else pack(q, limits, m)
        for m in checks.batch("messages", messages, limits.batch_entries)
    ]
    total = sum(m.size for m in batch)
    if limits.batch_bytes and total > limits.batch_bytes:
        raise InvalidParameterValue(f"the batch has {total} bytes: it has at most {limits.batch_bytes}")
    return _settled(flows.send_messages(q, batch, limits, safe))


def _times(limits: Limits, visibility_timeout: Seconds | None, wait: Seconds | None) -> tuple[int | None, int | None]:
    return (
        None
        if visibility_timeout is None
        else checks.milliseconds("visibility_timeout", visibility_timeout, limits.visibility_ms),
        None if wait is None else checks.milliseconds("wait", wait, limits.wait_ms),
    )


def receive(
    q: QueueRef,
    limits: Limits,
    max_messages: int,
    wait: Seconds | None,
    visibility_timeout: Seconds | None,
    delete: bool = False,
    attempt_id: str | None = None,
) -> Flow[list[Delivery]]:
    """See Queue.receive()."""
    return flows.only_readable(
        flows.receive_messages(
            q,
            limits,
            checks.count("max_messages", max_messages, limits.receive_messages),
            *_times(limits, visibility_timeout, wait),
            None if attempt_id is None else checks.label("attempt_id", attempt_id),
            checks.flag("delete", delete),
        )
    )


def delete(q: QueueRef, limits: Limits, durability: Durability | None, message: Handle) -> Flow[Reached | None]:
    """See Queue.delete()."""
    flow = _single(flows.delete_messages(q, (handle_of(message),), limits, durability), durability, flows.DELETED)
    return flow if _holder(message) is None else _taking((message,), flow)


def delete_batch(
    q: QueueRef, limits: Limits, durability: Durability | None, messages: Iterable[Handle]
) -> Flow[Reached | None]:
    """See Queue.delete_batch()."""
    batch = checks.batch("messages", messages, limits.batch_entries)
    handles = [handle_of(m) for m in batch]
    flow = _as_safe(_settled(flows.delete_messages(q, handles, limits, durability)), durability, flows.DELETED)
    return _settling(batch, flow)


def delete_and_receive(
    q: QueueRef,
    limits: Limits,
    durability: Durability | None,
    finished: Iterable[Handle],
    max_messages: int,
    wait: Seconds | None,
    visibility_timeout: Seconds | None,
) -> Flow[tuple[list[Delivery], list[Failure]]]:
    """See Queue.delete_and_receive()."""
    batch = checks.batch("finished", finished, limits.batch_entries, minimum=0)
    flow = flows.delete_and_receive(
        q,
        limits,
        [handle_of(m) for m in batch],
        checks.count("max_messages", max_messages, limits.receive_messages),
        *_times(limits, visibility_timeout, wait),
        durability,
    )

    def readable() -> Flow[tuple[list[Delivery], list[Failure]]]:
        received, failures = yield from flow
        return flows.readable(received, must=not failures), failures

    return _settling(batch, readable())


def change_visibility(
    q: QueueRef, limits: Limits, durability: Durability | None, message: Handle, timeout: Seconds
) -> Flow[Reached | None]:
    """See Queue.change_visibility()."""
    return _change(q, limits, durability, message, checks.milliseconds("timeout", timeout, limits.visibility_ms))


def release(
    q: QueueRef, limits: Limits, durability: Durability | None, message: BaseMessage, delay: Seconds
) -> Flow[Reached | None]:
    """See Message.release()."""
    ms = checks.milliseconds("delay", delay, limits.visibility_ms)
    holder = _holder(message)
    return _change(q, limits, durability, message, ms) if holder is None else holder.release(message._delivery, ms)


def _change(q: QueueRef, limits: Limits, durability: Durability | None, message: Any, ms: int) -> Flow[Reached | None]:
    handle, holder = handle_of(message), _holder(message)
    if holder is not None and ms == 0:
        return holder.release(message._delivery, 0)
    flow = _single(flows.change_visibility(q, ((handle, ms),), limits, durability), durability, flows.CHANGED)
    return flow if holder is None else _checking((message,), flow)


def change_visibility_batch(
    q: QueueRef, limits: Limits, durability: Durability | None, changes: Iterable[tuple[Handle, Seconds]]
) -> Flow[Reached | None]:
    """See Queue.change_visibility_batch()."""
    wanted, batch = [], checks.batch("changes", changes, limits.batch_entries)
    for pair in batch:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InvalidParameterValue(f"{checks.shown(pair)} is not a pair of a message and seconds from now")
        wanted.append((handle_of(pair[0]), checks.milliseconds("timeout", pair[1], limits.visibility_ms)))
    flow: Flow[list[Any]]
    if all(_holder(message) is None for message, _ in batch):
        flow = flows.change_visibility(q, wanted, limits, durability)
    else:
        flow = _one_by_one(
            [_change(q, limits, durability, m, ms) for (m, _), (_, ms) in zip(batch, wanted, strict=True)]
        )
    return _as_safe(_settled(flow), durability, flows.CHANGED)


def _one_by_one(changes: list[Flow[Reached | None]]) -> Flow[list[Failure | Reached | None]]:
    results: list[Failure | Reached | None] = []
    for index, change in enumerate(changes):
        try:
            results.append((yield from change))
        except RqsqsError as e:
            if isinstance(e, ServerError):
                raise
            results.append(Failure(index, e))
    return results


def _single(
    batch: Flow[list[Failure | Reached | None]], durability: Durability | None, done: str
) -> Flow[Reached | None]:
    (result,) = yield from batch
    if isinstance(result, Failure):
        raise result.error
    if result is None:
        return None
    return _checked([result], durability, done)


def _as_safe(batch: Flow[list[Any]], durability: Durability | None, done: str) -> Flow[Reached | None]:
    return _checked((yield from batch), durability, done)


def _checked(results: list[Any], durability: Durability | None, done: str) -> Reached | None:
    """What was reached for all of them; raises if that is not enough."""
    weak = not_reached(durability, results, done)
    if weak is not None:
        raise weak
    return least(results)


def _settled(batch: Flow[list[Any]]) -> Flow[list[Any]]:
    results = yield from batch
    failures = [r for r in results if isinstance(r, Failure)]
    if failures:
        raise BatchFailed(
            f"{len(failures)} of {len(results)} entries failed; the first is number {failures[0].index}: "
            f"{failures[0].error}",
            results,
        )
    return results


# What waits


def counts(q: QueueRef, group: str | None) -> Flow[Counts]:
    """See Queue.counts()."""
    return flows.counts(q, checks.group(group))


def browse(q: QueueRef, state: State, cursor: str, max_messages: int) -> Flow[tuple[list[Delivery], str]]:
    """See Queue.browse()."""
    flow = _browse(q, state, cursor, max_messages)

    def readable() -> Flow[tuple[list[Delivery], str]]:
        found, following = yield from flow
        return flows.readable(found, must=False), following

    return readable()


def _browse(q: QueueRef, state: State, cursor: str, max_messages: int) -> Flow[tuple[list[Delivery], str]]:
    if state not in ("visible", "in_flight", "delayed"):
        raise InvalidParameterValue(f"state is {state!r}: it is 'visible', 'in_flight' or 'delayed'")
    limit = checks.count("max_messages", max_messages, 1000)
    return flows.browse(q, state, checks.cursor(cursor, state, q.is_fifo), limit)


def peek(q: QueueRef, max_messages: int, state: State) -> Flow[list[Delivery]]:
    """See Queue.peek()."""
    first = _browse(q, state, "", max_messages)

    def readable() -> Flow[list[Delivery]]:
        found, cursor = yield from first
        good = flows.readable(found, must=False)
        met: list[Delivery] = list(found)
        while len(good) < max_messages and len(good) < len(met) and cursor:  # look behind what cannot be read
            found, cursor = yield from flows.browse(q, state, cursor, max_messages - len(good))
            met += found
            good += flows.readable(found, must=False)
        return good or flows.readable(met, must=True)

    return readable()


def cancel(q: QueueRef, message: Any, deduplication_id: str | None, group: str | None) -> Flow[bool]:
    """See Queue.cancel()."""
    if (message is None) == (deduplication_id is None):
        raise MissingParameter("cancel() takes a message or a deduplication_id, one of them")
    message_id = None if message is None else checks.message_id(message)
    dedup_id = None if deduplication_id is None else checks.label("deduplication_id", deduplication_id)
    return flows.cancel(q, message_id, dedup_id, checks.group(group))


def reschedule(
    q: QueueRef,
    limits: Limits,
    message: Any,
    delay: Seconds | None,
    at: Moment | None,
    group: str | None,
) -> Flow[bool]:
    """See Queue.reschedule()."""
    if (delay is None) == (at is None):
        raise MissingParameter("reschedule() takes delay or at, one of them")
    if at is not None:
        return flows.reschedule(q, checks.message_id(message), checks.epoch_ms("at", at), checks.group(group))
    span_ms = checks.milliseconds("delay", delay, limits.delay_ms)
    return flows.reschedule(q, checks.message_id(message), f"+{span_ms}", checks.group(group))


def pause(q: QueueRef, group: str | None, *, resume: bool) -> Flow[None]:
    """See Queue.pause() and Queue.resume()."""
    return flows.pause(q, resume=resume, group=checks.group(group))


def cancel_redrive(q: QueueRef, task_id: str) -> Flow[int]:
    """See Queue.cancel_redrive()."""
    return flows.cancel_move(q, checks.text("task_id", task_id))


def order_consumer(q: QueueRef, consumer: Any, order: str) -> Flow[bool]:
    """See Queue.drain() and Queue.evict()."""
    return flows.order_consumer(q, checks.text("consumer", getattr(consumer, "consumer_id", consumer)), order)


# Whole queues


def _to(q: QueueRef, destination: Named | str | None, max_per_second: int | None) -> QueueRef | None:
    target = None
    if destination is not None:
        name = name_of(destination)
        if name.endswith(".fifo") != q.is_fifo or name == q.name:
            raise InvalidParameterValue(
                f"messages of {q.name!r} cannot be moved to {name!r}: another queue of the same kind is needed"
            )
        target = q.space.queue(name)
    if max_per_second is not None:
        checks.count("max_per_second", max_per_second, 500)
    return target


def redrive(
    q: QueueRef,
    destination: Named | str | None,
    max_per_second: int | None,
    durability: Durability | None,
    max_messages: int | None,
) -> Flow[str]:
    """See Queue.redrive()."""
    target = _to(q, destination, max_per_second)
    if max_messages is not None:
        checks.count("max_messages", max_messages, 10**9)
    return flows.start_move(q, target, max_per_second, durability, max_messages)


def redrive_messages(
    q: QueueRef,
    messages: Any,
    destination: Named | str | None,
    max_per_second: int | None,
    durability: Durability | None,
) -> Flow[Redriven]:
    """See Queue.redrive_messages()."""
    target = _to(q, destination, max_per_second)
    chosen = [
        (checks.message_id(message).lower(), checks.group(getattr(message, "group", None)))
        for message in checks.batch("messages", messages, 1000)
    ]
    return flows.move_chosen(q, chosen, target, max_per_second, durability)


def attributes_of(name: str, settings: Mapping[str, Any], limits: Limits) -> dict[str, str | None]:
    """Settings (keyword arguments of create_queue()) as SQS's attributes."""
    unknown = sorted(set(settings) - SETTINGS)
    if unknown:
        known = sorted(SETTINGS)
        raise InvalidParameterValue(
            f"{unknown[0]!r} is not a setting: there are {', '.join(known)}{did_you_mean(unknown[0], known)}"
        )
    return checks.settings(name, settings, limits)


def create_queue(
    q: QueueRef, limits: Limits, settings: Mapping[str, Any], tags: Mapping[str, str] | None
) -> Flow[bool]:
    """See Connection.create_queue()."""
    given = {k: v for k, v in attributes_of(q.name, settings, limits).items() if v is not None}
    return _created(q, flows.create_queue(q, given, limits, None if tags is None else checks.tags(tags)), settings)


def _created(q: QueueRef, flow: Flow[bool], settings: Mapping[str, Any]) -> Flow[bool]:
    try:
        return (yield from flow)
    except QueueNameExists as error:
        wanted = differing(error, settings)
        if not wanted:
            raise
        values = ", ".join(f"{name}={checks.shown(getattr(value, 'name', value))}" for name, value in wanted.items())
        raise error.between(error.differences, f"queue({q.name!r}).configure({values}) changes that") from None


def differing(error: QueueNameExists, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings (keyword arguments of create_queue()) that differ and can be changed."""
    has, wanted = error.differences.get("Partitions", ("0", "1"))
    is_fewer = has is not None and has.isdecimal() and int(has) > int(wanted)
    fixed = {"Partitions"} if is_fewer else set()  # there can be more, not fewer
    names = error.differences.keys() - fixed
    return {name: value for name, value in settings.items() if value is not None and checks.ATTRIBUTES[name] in names}


def configure(q: QueueRef, limits: Limits, settings: Mapping[str, Any]) -> Flow[None]:
    """See Queue.configure()."""
    changes = attributes_of(q.name, settings, limits)
    if not changes:
        raise MissingParameter("configure() without a setting changes nothing")
    return flows.set_attributes(q, changes, limits)


def tag(q: QueueRef, tags: Mapping[str, str]) -> Flow[None]:
    """See Queue.tag()."""
    return flows.set_tags(q, checks.tags(tags))


def untag(q: QueueRef, names: Iterable[str]) -> Flow[None]:
    """See Queue.untag()."""
    return flows.remove_tags(q, [checks.text("the name of a tag", n) for n in names])


def exists(q: QueueRef) -> Flow[bool]:
    """See Connection.exists()."""
    try:
        yield from flows.queue_exists(q)
    except QueueDoesNotExist:
        return False
    return True


def list_queues(space: Keyspace, prefix: str, after: str) -> Flow[list[str]]:
    """One page of Connection.queues()."""
    return flows.list_queues(space, checks.text("prefix", prefix), after, 1000)
