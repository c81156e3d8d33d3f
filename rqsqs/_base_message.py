"""The data of a received message, the same in both variants, and its holder if a worker gave it to a handler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from rqsqs._arguments import AttributeValue
from rqsqs._core.delivery import Delivery
from rqsqs._core.operation import Flow
from rqsqs._not_copied import NotCopied
from rqsqs.errors import DurabilityNotReached
from rqsqs.models import FailedEntry, Failure

T = TypeVar("T")


class Holder(Protocol):
    """A call of a handler, as the messages know it that it was called with. A worker settles them when it has ended."""

    def check(self, delivery: Delivery) -> None:
        """Raises MessageLost if the worker does not hold the message any more."""

    def take(self, delivery: Delivery) -> bool:
        """Leave a message to the handler; False if that has settled it before. Raises MessageLost."""
        ...

    def put_back(self, delivery: Delivery) -> None:
        """The handler could not settle it after all."""

    def release(self, delivery: Delivery, delay_ms: int) -> Flow[None]:
        """Give a message back, to be tried again. Raises MessageLost."""
        ...

    def fail(self, delivery: Delivery, error: BaseException) -> None:
        """The handler could not handle it, whatever becomes of its other messages."""


class BaseMessage(NotCopied):
    """The data of a received or peeked message."""

    __slots__ = ("_delivery", "_holder", "_is_settled")  # the last one is set where it is needed

    _instead = "pass what you need of it instead, as its body, and its receipt_handle for Queue.delete()"
    _delivery: Delivery
    _holder: Holder | None
    _is_settled: bool

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
    def failures(self) -> int:
        """How often workers said that it failed, since it was sent or redriven last."""
        return self._delivery.failures

    @property
    def sent_at(self) -> datetime:
        """When it was sent."""
        return moment(self._delivery.sent_at_ms)

    @property
    def first_received_at(self) -> datetime | None:
        """When it was received for the first time, in any queue."""
        ms = self._delivery.first_received_at_ms
        return None if ms is None else moment(ms)

    @property
    def visible_at(self) -> datetime | None:
        """Of a message that was looked at while in flight or delayed: when it becomes visible."""
        ms = self._delivery.visible_at_ms
        return None if ms is None else moment(ms)

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
        return {name: _attribute_value(*pair) for name, pair in self._delivery.attributes.items()}

    @property
    def trace_context(self) -> dict[str, str]:
        """The fields of the trace context that it was sent in, such as traceparent; empty if it has none."""
        return self._delivery.trace_context()

    @property
    def cause(self) -> Failure | None:
        """Why a worker could not finish it, if one said so; the last cause counts, also from before a redrive."""
        return self._delivery.cause

    @property
    def dead_letter_source(self) -> str | None:
        """The queue it came from as a dead letter."""
        return self._delivery.dead_letter_source


def moment(ms: int) -> datetime:
    """Epoch milliseconds as a datetime in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _attribute_value(data_type: str, value: str | bytes) -> AttributeValue:
    if data_type.startswith("Number") and isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return float(value)
    return value


# What a handler settles itself, its worker does not settle again


def holder_of(message: object) -> Holder | None:
    """The call of a handler that holds a message, if any."""
    found: Holder | None = getattr(message, "_holder", None)
    return found


def taking(messages: Sequence[Any], flow: Flow[T]) -> Flow[T]:
    """The same flow, which deletes messages; their holders leave those that it deletes to it."""
    return flow if all(holder_of(m) is None for m in messages) else _taking(messages, flow)


def _taking(messages: Sequence[Any], flow: Flow[T]) -> Flow[T]:
    taken: dict[int, tuple[Holder, Delivery]] = {}
    kept: Iterable[int] = range(len(messages))
    try:
        for index, message in enumerate(messages):
            holder = holder_of(message)
            if holder is not None and holder.take(message._delivery):
                taken[index] = holder, message._delivery
        result: Any = yield from flow
        failures = result[1] if isinstance(result, tuple) else result  # of delete_and_receive(), or of each message
        kept = [
            r.index for r in failures if isinstance(r, FailedEntry) and not isinstance(r.error, DurabilityNotReached)
        ]
        return result  # type: ignore[no-any-return]
    finally:
        for index in taken.keys() & kept:
            holder, delivery = taken[index]
            holder.put_back(delivery)
