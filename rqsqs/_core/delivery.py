"""A message as it was received or seen, and what its envelope (envelope.py) tells."""

from __future__ import annotations

import base64
import contextlib
import copy
from collections.abc import Collection, Sequence
from typing import Any

import msgpack

from rqsqs._core import ids, receipts
from rqsqs._core.envelope import (
    BYTES,
    FORMAT,
    KINDS_PER_FORMAT,
    OBJECT,
    TEXT,
    UNREAD,
    UNREADABLE,
    cause,
    is_newer,
    json_text,
    unpack,
)
from rqsqs._core.keys import Partition
from rqsqs.errors import FormatNewer, MessageDamaged
from rqsqs.models import Failure

TRACE_FIELDS = ("traceparent", "tracestate", "baggage")  # W3C's
TRACE_HEADER_FIELD = "X-Amzn-Trace-Id"  # AWSTraceHeader as a field of HTTP
OTEL = "otel."  # what opentelemetry-instrumentation-boto3sqs puts before the names of its attributes


def are_plain(found: Sequence[Delivery]) -> bool:
    """Have all of them nothing but a body, which was read already? Then none of them is damaged."""
    return all([d._envelope is not None and not (d._envelope[2] or d._trailer) for d in found])


def with_cause(d: Delivery, found: Failure) -> tuple[int, bytes]:
    """How many bytes of the record of a message that failed stay, and what comes behind them. A record that cannot be
    read is kept as it is, in an envelope of its own: else nobody could find the cause behind it."""
    packed = cause(d.stamp, found)
    if d.damage is not None and d._unread() is None:
        return 0, msgpack.packb((UNREAD, d.record)) + packed
    return d.size, packed


class Delivery:
    """A received or seen message. Everything beyond the handle is read from the record when asked for.

    Attributes:
        partition: where it was received.
        key: what the scripts know it by.
        message_id: UUID text, the same for every receive and in the dead-letter queue.
        receipt_handle: of this receive; "" for a message that was only looked at.
        sent_at_ms: epoch ms.
        first_received_at_ms: epoch ms; None if never received.
        receive_count: receives so far, over all queues, including this one.
        sequence_number: 20 digits, FIFO queues only.
        dead_letter_source: name of the queue it came from as a dead letter, or None.
        receives: those of this delivery cycle as the handle has them; 0 is the first one, as 1 is. This one does not
            count yet if it is -1, the first one, or -2 - N, which is a suspect that has N (lua/lib/ahead.lua).
        received_before: receives before it came to this queue as a dead letter.
    """

    __slots__ = (
        "_envelope",
        "_handle",
        "_trailer",
        "dead_letter_source",
        "first_received_at_ms",
        "group_name",
        "key",
        "partition",
        "receive_count",
        "received_before",
        "received_ms",
        "receives",
        "record",
        "visible_at_ms",
    )

    def __init__(
        self,
        partition: Partition,
        key: str,
        record: bytes,
        received_ms: str,
        receive_count: int,
        first_received_at_ms: int | None,
        receives: int = 0,
        group: str = "",
        dead_letter_source: str | None = None,
        received_before: int = 0,
        envelope: tuple[Any, ...] | None = None,
    ) -> None:
        self.partition: Partition = partition
        self.key = key
        self.record: bytes = record
        self.received_ms: str = received_ms
        self.receive_count: int = receive_count
        self.first_received_at_ms: int | None = first_received_at_ms
        self.receives = receives
        self.group_name: str = group
        self.dead_letter_source: str | None = dead_letter_source
        self.received_before: int = received_before
        self._envelope: tuple[Any, ...] | None = envelope
        self._trailer = b""
        self._handle: str | None = None
        self.visible_at_ms: int | None = None

    @property
    def message_id(self) -> str:
        return ids.message_id(self.key, self.partition.node)

    @property
    def receipt_handle(self) -> str:
        if self._handle is None:
            if not self.received_ms:
                return ""
            self._handle = receipts.encode(self.partition, self.received_ms, self.key, self.receives, self.group_name)
        return self._handle

    @property
    def receipt(self) -> receipts.Receipt:
        """What the handle says."""
        return receipts.Receipt(self.partition, self.received_ms, self.key, str(self.receives), self.group_name)

    @property
    def sent_at_ms(self) -> int:
        return int(self.key[:13])

    @property
    def sequence_number(self) -> str | None:
        return ids.sequence_number(self.key) if self.partition.is_fifo else None

    @property
    def held(self) -> tuple[str, str]:
        """What stands for this receive in `inflight`: the member and the receives of this delivery cycle."""
        if self.partition.is_fifo:
            return self.key[:16] + self.group_name, str(min(self.receives, 999))
        if self.receives < -1:
            return self.key, str(-2 - self.receives)
        return self.key, str(max(self.receives, 0) if self.receives else 1)  # -1: it does not count yet

    @property
    def is_suspect(self) -> bool:
        """May it have killed its worker? Its receive does not count until count() (lua/lib/ahead.lua)."""
        return self.receives < -1

    def count(self) -> None:
        """The receive of a suspect counts now."""
        self.receives = -1 - self.receives

    @property
    def envelope(self) -> tuple[Any, ...]:
        """The unpacked record: (kind, body, headers).

        Raises:
            MessageDamaged: it cannot be read.
            FormatNewer: a newer version wrote it.
        """
        if self._envelope is None:
            try:
                found, trailer = unpack(self.record)
            except UNREADABLE as e:
                raise self._damaged(f"cannot be unpacked: {type(e).__name__}: {e}") from e
            if is_newer(self.record):
                raise FormatNewer(
                    f"the message {self.message_id} of {self.partition.queue!r} has format "
                    f"{found[0] // KINDS_PER_FORMAT + 1}, this version of rqsqs reads formats up to {FORMAT}: run a "
                    "newer one (see docs/upgrading.md)"
                )
            kind, body, headers = (*found, {})[:3] if type(found) is list and 2 <= len(found) <= 3 else (None, None, {})
            unread = self._unread()
            if unread is not None:
                self._trailer = trailer
                try:
                    kind, body, headers = unread.envelope
                except RecursionError as e:
                    raise self._damaged(f"cannot be unpacked: {type(e).__name__}") from e
            if not isinstance(headers, dict) or not (
                (kind == TEXT and type(body) is str) or (kind == BYTES and type(body) is bytes) or kind == OBJECT
            ):
                raise self._damaged("is no [KIND, BODY] or [KIND, BODY, HEADERS]")
            self._envelope, self._trailer = (kind, body, headers), trailer
        return self._envelope

    def _unread(self) -> Delivery | None:
        """If its record is kept as one that could not be read: the message with that record."""
        if self.record[:2] != b"\x92\x03":
            return None
        try:
            found, _ = unpack(self.record)
        except UNREADABLE:
            return None
        if type(found[1]) is not bytes:
            return None
        before = copy.copy(self)
        before.record, before._envelope, before._trailer = found[1], None, b""
        return before

    def _damaged(self, what: str) -> MessageDamaged:
        return MessageDamaged.of(self.partition.base, self.message_id, self.receipt_handle, what, self.record)

    @property
    def damage(self) -> MessageDamaged | None:
        """Why it cannot be read, or None.

        Raises:
            FormatNewer: a newer version wrote it.
        """
        try:
            headers = (self._envelope or self.envelope)[2]
            if self._trailer:
                unread = self._unread()
                if unread is not None:
                    return self._with_cause(unread.damage)
                self._reported()
            if headers:
                for pair in (headers.get("a") or {}).values():
                    if not (isinstance(pair[0], str) and isinstance(pair[1], str | bytes)):
                        return self._damaged("has attributes that are no pairs of type and value")
                for name in "tgd":
                    if not isinstance(headers.get(name), str | None):
                        return self._damaged("has odd headers")
                for item in (headers.get("c") or {}).items():
                    if not (isinstance(item[0], str) and isinstance(item[1], str)):
                        return self._damaged("has a trace context that is not text")
        except MessageDamaged as e:
            return self._with_cause(e)
        except UNREADABLE as e:
            return self._damaged(f"has odd headers: {type(e).__name__}: {e}")
        return None

    def _with_cause(self, damage: MessageDamaged | None) -> MessageDamaged | None:
        if damage is not None:
            with contextlib.suppress(MessageDamaged):
                damage.cause = self.cause
        return damage

    @property
    def trailer(self) -> bytes:
        """What stands behind the envelope: the packed cause, or nothing."""
        with contextlib.suppress(MessageDamaged):
            self.envelope  # noqa: B018 - sets it
        return self._trailer

    @property
    def size(self) -> int:
        """Bytes of the record as it was sent."""
        return len(self.record) - len(self.trailer)

    @property
    def stamp(self) -> str:
        """The begin of its key that is its id."""
        return self.key[: 16 if self.partition.is_fifo else 24]

    def _reported(self) -> tuple[Failure | None, int, int]:
        """The recorded cause; failures and receives up to then, 0 if it was before a redrive."""
        try:
            self.envelope  # noqa: B018 - sets the trailer
        except MessageDamaged:
            if not self._trailer:
                raise
        if not self._trailer:
            return None, 0, 0
        try:
            stamp, failures, kind, message, traceback, worker, at_ms, receives = msgpack.unpackb(self.trailer)
            found = Failure(str(kind), str(message), str(traceback), str(worker), at_ms, failures + 0, receives + 0)
        except UNREADABLE as e:
            raise self._damaged(f"has something behind it that is no cause: {type(e).__name__}: {e}") from e
        return (found, failures, receives) if stamp == self.stamp else (found, 0, 0)

    @property
    def failures(self) -> int:
        """How often it failed since it was sent or redriven last; 0 if that cannot be read."""
        try:
            return self._reported()[1]
        except MessageDamaged:
            return 0

    @property
    def unreported_receives(self) -> int:
        """Receives in this queue, before this one, since the last about which a worker said something."""
        try:
            told = self._reported()[2]
        except MessageDamaged:
            told = 0
        return self.receive_count - 1 - max(told, self.received_before)

    @property
    def cause(self) -> Failure | None:
        """Why it failed last, or came to the dead-letter queue."""
        found, failures, told = self._reported()
        silent = self.received_before - told
        if not self.dead_letter_source or silent <= 0:
            return found
        return Failure(
            "ReceivedTooOften",
            f"{'the last ' if told else ''}{silent} receive{'s' if silent > 1 else ''} ended without a word: the "
            "consumer died, or let the visibility timeout pass",
            "",
            "",
            None,
            failures,
            self.received_before,
        )

    @property
    def body(self) -> Any:
        """The body as it was sent: text, bytes or object."""
        return self.envelope[1]

    def text(self) -> str:
        """The body as SQS shows it: text as it is, bytes as base64, an object as JSON. One that has too many levels for
        JSON is shown as msgpack in base64."""
        kind, body, _ = self.envelope
        if kind == TEXT:
            return str(body)
        if kind == BYTES:
            return base64.b64encode(body).decode()
        try:
            return json_text(body)
        except RecursionError:
            return base64.b64encode(msgpack.packb(body)).decode()

    def header(self, name: str) -> str | None:
        """One of the headers that are text, or None."""
        value: str | None = self.envelope[2].get(name)
        return value

    @property
    def attributes(self) -> dict[str, tuple[str, str | bytes]]:
        """Message attributes: name -> (data type, value)."""
        found: dict[str, list[Any]] = self.envelope[2].get("a") or {}
        return {name: (pair[0], pair[1]) for name, pair in found.items()}

    @property
    def trace_header(self) -> str | None:
        """AWSTraceHeader."""
        found = self.header("t")
        return self.own_trace_context.get(TRACE_HEADER_FIELD) if found is None else found

    @property
    def own_trace_context(self) -> dict[str, str]:
        """The part of the trace context that is neither in attributes nor AWSTraceHeader."""
        found: dict[str, str] = self.envelope[2].get("c") or {}
        return found

    def trace_context(self, fields: Collection[str] = TRACE_FIELDS) -> dict[str, str]:
        """The trace context that its sender gave it, whichever API that used. It is looked for in this order: in the
        header `c`, which the APIs of rqsqs write; in attributes of the fields' names, or with `otel.` before it, as
        instrumentations of SQS clients write them; in AWSTraceHeader, which is the field X-Amzn-Trace-Id.

        Args:
            fields: their names among attributes.
        """
        headers = self.envelope[2]
        found: dict[str, str] = {}
        if headers.get("t"):
            found[TRACE_HEADER_FIELD] = headers["t"]
        attributes = headers.get("a")
        if attributes:
            for name in fields:
                for pair in (attributes.get(name), attributes.get(OTEL + name)):
                    if pair is not None and isinstance(pair[1], str):
                        found[name] = pair[1]
                        break
        return found | self.own_trace_context

    @property
    def group(self) -> str | None:
        return self.header("g")

    @property
    def dedup_id(self) -> str | None:
        return self.header("d")


class MarkedDelivery(Delivery):
    """One whose receive is a step of a timeline: what is done with its receipt becomes further ones."""

    __slots__ = ()

    @property
    def receipt_handle(self) -> str:
        if self._handle is None:
            self._handle = self.receipt.handle
        return self._handle

    @property
    def receipt(self) -> receipts.Receipt:
        """What the handle says."""
        found = super().receipt
        return found._replace(key=receipts.MARK + found.key)
