"""Messages as users see them, whatever the colour of the face: what to send, and what a received one tells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from rqsqs import checks
from rqsqs._core.operation import Flow
from rqsqs._core.records import Delivery
from rqsqs.checks import AttributeValue, Moment, Seconds
from rqsqs.models import Cause


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
        self.body: Any = body
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


class BaseMessage:
    """What a received or seen message tells."""

    __slots__ = ("_delivery", "_holder", "_is_settled")  # the last two are set where they are needed

    _delivery: Delivery
    _holder: Holder
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
    def cause(self) -> Cause | None:
        """Why a worker could not finish it, if one said so; the last cause counts, also from before a redrive."""
        return self._delivery.cause

    @property
    def dead_letter_source(self) -> str | None:
        """The queue it came from as a dead letter."""
        return self._delivery.dead_letter_source
