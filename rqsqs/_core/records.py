"""The record of a message: one msgpack envelope that the scripts never open, and what comes out of it.

[KIND, BODY]  or  [KIND, BODY, HEADERS]      KIND 0 text, 1 bytes, 2 any other msgpack-able object
HEADERS: a = attributes {name: [data type, value]}, t = AWSTraceHeader, g = message group, d = deduplication id

Behind the envelope of a message that failed stands the cause, an object of its own: [STAMP, FAILURES, TYPE, MESSAGE,
TRACEBACK, WORKER, AT_MS, RECEIVES]. STAMP is the begin of the key it failed under, its id: after a redrive, which gives
a new id, failures count anew.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgpack

from rqsqs._core import ids, receipts
from rqsqs._core.keys import Partition
from rqsqs.errors import InvalidParameterValue
from rqsqs.types import Cause, Outgoing

TEXT, BYTES, OBJECT = 0, 1, 2


def outgoing(
    body: Any,
    *,
    attributes: Mapping[str, tuple[str, str | bytes]] | None = None,
    trace_header: str | None = None,
    group: str | None = None,
    dedup_id: str | None = None,
    content_hash: str | None = None,
    delay_ms: int | None = None,
    due_ms: int | None = None,
    dedup_window_ms: int | None = None,
    size: int | None = None,
) -> Outgoing:
    """Pack a message.

    Args:
        body: text, bytes or anything msgpack can pack.
        attributes: name -> (data type, value).
        size: bytes that count against MaximumMessageSize; None = body and attributes.

    Raises:
        InvalidParameterValue: msgpack cannot pack the body, or it is text that is not valid Unicode.
    """
    headers: dict[str, Any] = {}
    if attributes:
        headers["a"] = attributes
    if trace_header is not None:
        headers["t"] = trace_header
    if group is not None:
        headers["g"] = group
    if dedup_id is not None:
        headers["d"] = dedup_id
    kind = TEXT if isinstance(body, str) else BYTES if isinstance(body, (bytes, bytearray, memoryview)) else OBJECT
    try:
        record = msgpack.packb((kind, body, headers)) if headers else msgpack.packb((kind, body))
        if size is None:
            if kind == TEXT:
                size = len(body) if body.isascii() else len(body.encode())
            else:
                size = len(body) if kind == BYTES else len(msgpack.packb(body))
            if attributes:
                for name, (data_type, value) in attributes.items():
                    size += len(name.encode()) + len(data_type.encode())
                    size += len(value.encode() if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError, UnicodeEncodeError) as e:
        raise InvalidParameterValue(
            f"the message cannot be packed: {e}; a body is text, bytes or what msgpack can pack"
        ) from e
    return Outgoing(record, size, group, dedup_id, content_hash, delay_ms, due_ms, dedup_window_ms)


def content_hash(body: Any) -> str:
    """Hex SHA-256 of a body, as content-based deduplication uses it."""
    if isinstance(body, str):
        data = body.encode()
    elif isinstance(body, (bytes, bytearray, memoryview)):
        data = bytes(body)
    else:
        data = msgpack.packb(body)
    return hashlib.sha256(data).hexdigest()


def cause(stamp: str, found: Cause) -> bytes:
    """Pack a cause, to stand behind the record of a message."""
    packed: bytes = msgpack.packb(
        (stamp, found.failures, found.type, found.message, found.traceback, found.worker, found.at_ms, found.receives),
        unicode_errors="backslashreplace",
    )
    return packed


class Delivery:
    """A received or seen message. Everything beyond the handle is read from the record when asked for.

    Attributes:
        partition: where it was received.
        message_id: UUID text, the same for every receive and in the dead-letter queue.
        receipt_handle: of this receive; "" for a message that was only looked at.
        sent_at_ms: epoch ms.
        first_received_at_ms: epoch ms; None if never received.
        receive_count: receives so far, over all queues, including this one.
        sequence_number: 20 digits, FIFO queues only.
        dead_letter_source: name of the queue it came from as a dead letter, or None.
        received_before: receives before it came to this queue as a dead letter.
    """

    __slots__ = (
        "_envelope",
        "_handle",
        "_key",
        "_receives",
        "_trailer",
        "dead_letter_source",
        "first_received_at_ms",
        "group_name",
        "partition",
        "receive_count",
        "received_before",
        "received_ms",
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
    ) -> None:
        self.partition = partition
        self._key = key
        self.record = record
        self.received_ms = received_ms
        self.receive_count = receive_count
        self.first_received_at_ms = first_received_at_ms
        self._receives = receives
        self.group_name = group
        self.dead_letter_source = dead_letter_source
        self.received_before = received_before
        self._envelope: tuple[Any, ...] | None = None
        self._trailer = b""
        self._handle: str | None = None
        self.visible_at_ms: int | None = None

    @property
    def message_id(self) -> str:
        return ids.message_id(self._key, self.partition.node)

    @property
    def receipt_handle(self) -> str:
        if self._handle is None:
            if not self.received_ms:
                return ""
            self._handle = receipts.encode(self.partition, self.received_ms, self._key, self._receives, self.group_name)
        return self._handle

    @property
    def receipt(self) -> receipts.Receipt:
        """What the handle says."""
        return receipts.Receipt(self.partition, self.received_ms, self._key, str(self._receives), self.group_name)

    @property
    def sent_at_ms(self) -> int:
        return int(self._key[:13])

    @property
    def sequence_number(self) -> str | None:
        return ids.sequence_number(self._key) if self.partition.is_fifo else None

    @property
    def held(self) -> tuple[str, int]:
        """What stands for this receive in `inflight`: the member and the receives of this stay."""
        if self.partition.is_fifo:
            return self._key[:16] + self.group_name, min(self._receives, 999)
        return self._key, self._receives or 1

    @property
    def envelope(self) -> tuple[Any, ...]:
        """The unpacked record: (kind, body) or (kind, body, headers)."""
        if self._envelope is None:
            self._envelope, self._trailer = _unpack(self.record, use_list=False)
        return self._envelope

    @property
    def trailer(self) -> bytes:
        """What stands behind the envelope: the packed cause, or nothing."""
        return self._trailer if self.envelope else b""

    @property
    def size(self) -> int:
        """Bytes of the record as it was sent."""
        return len(self.record) - len(self.trailer)

    @property
    def stamp(self) -> str:
        """The begin of its key that is its id."""
        return self._key[: 16 if self.partition.is_fifo else 24]

    def _told(self) -> tuple[Cause | None, int, int]:
        """The recorded cause; failures and receives up to then, 0 if it was before a redrive."""
        if not self.trailer:
            return None, 0, 0
        stamp, failures, kind, message, traceback, worker, at_ms, receives = msgpack.unpackb(self.trailer)
        found = Cause(kind, message, traceback, worker, at_ms, failures, receives)
        return (found, failures, receives) if stamp == self.stamp else (found, 0, 0)

    @property
    def failures(self) -> int:
        """How often it failed since it was sent or redriven last."""
        return self._told()[1]

    @property
    def silent_receives(self) -> int:
        """Receives in this queue, before this one, since the last about which a worker said something."""
        return self.receive_count - 1 - max(self._told()[2], self.received_before)

    @property
    def cause(self) -> Cause | None:
        """Why it failed last, or came to the dead-letter queue."""
        found, failures, told = self._told()
        silent = self.received_before - told
        if not self.dead_letter_source or silent <= 0:
            return found
        return Cause(
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
        kind, body = self.envelope[:2]
        if kind == OBJECT:  # lists stay lists
            return _unpack(self.record, use_list=True)[0][1]
        return body

    def text(self) -> str:
        """The body as SQS shows it: text as it is, bytes as base64, an object as JSON."""
        kind, body = self.envelope[:2]
        if kind == TEXT:
            return str(body)
        if kind == BYTES:
            return base64.b64encode(body).decode()
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":"), default=_jsonable)

    def header(self, name: str) -> Any:
        """One of the headers, or None."""
        envelope = self.envelope
        return envelope[2].get(name) if len(envelope) > 2 else None

    @property
    def attributes(self) -> dict[str, tuple[str, str | bytes]]:
        """Message attributes: name -> (data type, value)."""
        return self.header("a") or {}

    @property
    def trace_header(self) -> str | None:
        value: str | None = self.header("t")
        return value

    @property
    def group(self) -> str | None:
        value: str | None = self.header("g")
        return value

    @property
    def dedup_id(self) -> str | None:
        value: str | None = self.header("d")
        return value


def _unpack(record: bytes, *, use_list: bool) -> tuple[Any, bytes]:
    """The envelope and what stands behind it."""
    try:
        return msgpack.unpackb(record, use_list=use_list, strict_map_key=False), b""
    except msgpack.ExtraData as e:
        return e.unpacked, bytes(e.extra)


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
