"""The envelope of a message: one msgpack object that the scripts never open.

[KIND, BODY]  or  [KIND, BODY, HEADERS]      KIND 0 text, 1 bytes, 2 any other msgpack-able object
                                             3 a record that could not be read, as bytes, for somebody to look at
                                             + 4 for each format after the first
HEADERS: a = attributes {name: [data type, value]}, t = AWSTraceHeader, g = message group, d = deduplication id,
         c = trace context {field: value}, which no attribute has (delivery.trace_context() has all of it)

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

from rqsqs._core.sent import Outgoing
from rqsqs.errors import InvalidParameterValue
from rqsqs.models import Failure

TEXT, BYTES, OBJECT, UNREAD = 0, 1, 2, 3
BODY_TYPES: dict[Any, type] = {TEXT: str, BYTES: bytes}
NO_HEADERS: dict[str, Any] = {}
KINDS_PER_FORMAT = 4  # numbers that KIND has for each format
FORMAT = 1  # of records, and of all keys under a prefix, that this version writes; it reads this one and earlier ones
UNREADABLE = (  # what parsers raise about what they do not understand
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    msgpack.UnpackException,
)


def plain(body: Any) -> tuple[bytes, int]:
    """The record of a message that is nothing but a body, and its size; see outgoing()."""
    if type(body) is dict or type(body) is list:
        try:
            record = msgpack.packb((OBJECT, body))
            msgpack.unpackb(record, strict_map_key=False)
            return record, len(record) - 2
        except (*UNREADABLE, OverflowError, BufferError):
            outgoing(body)  # raises
    if type(body) is not str:
        message = outgoing(body)
        return message.record, message.size
    try:
        text = body.encode()
    except UnicodeEncodeError:
        outgoing(body)  # raises
        raise
    size = len(text)
    if size < 32:  # msgpack, by hand: a packer takes three times as long
        return b"\x92\x00%c%b" % (0xA0 | size, text), size
    if size < 256:
        return b"\x92\x00\xd9%c%b" % (size, text), size
    if size < 65_536:
        return b"\x92\x00\xda%b%b" % (size.to_bytes(2, "big"), text), size
    return msgpack.packb((TEXT, body)), size


def outgoing(
    body: Any,
    *,
    attributes: Mapping[str, tuple[str, str | bytes]] | None = None,
    trace_header: str | None = None,
    trace_context: Mapping[str, str] | None = None,
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
    if trace_context:
        headers["c"] = trace_context
    if isinstance(body, memoryview):
        body = bytes(body)
    kind = TEXT if isinstance(body, str) else BYTES if isinstance(body, (bytes, bytearray)) else OBJECT
    try:
        record = msgpack.packb((kind, body, headers)) if headers else msgpack.packb((kind, body))
        if kind == OBJECT:
            unpack(record)
        if size is None:
            if kind == TEXT:
                size = len(body) if body.isascii() else len(body.encode())
            elif kind == BYTES:
                size = len(body)
            else:
                size = len(record) - 2 - (len(msgpack.packb(headers)) if headers else 0)
            if attributes:
                for name, (data_type, value) in attributes.items():
                    size += len(name.encode()) + len(data_type.encode())
                    size += len(value.encode() if isinstance(value, str) else value)
    except (*UNREADABLE, OverflowError, BufferError) as e:
        raise InvalidParameterValue(
            "a body must be a str, bytes, or None, booleans, numbers of 64 bits, and lists and dicts of these, with "
            f"keys that are no lists or tuples, got one that cannot be packed: {e}"
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


def cause(stamp: str, found: Failure) -> bytes:
    """Pack a cause, to stand behind the record of a message."""
    packed: bytes = msgpack.packb(
        (stamp, found.failures, found.type, found.message, found.traceback, found.worker, found.at_ms, found.receives),
        unicode_errors="backslashreplace",
    )
    return packed


def unpack(record: bytes) -> tuple[Any, bytes]:
    """The envelope and what stands behind it."""
    try:
        return msgpack.unpackb(record, strict_map_key=False), b""
    except msgpack.ExtraData as e:
        return e.unpacked, bytes(e.extra)


def is_newer(record: bytes) -> bool:
    """Has it a format that this version does not read? (Of a record that is none, no.)"""
    return b"\x04" <= record[1:2] < b"\x80" and b"\x90" <= record[:1] < b"\xa0"


def json_text(value: Any) -> str:
    """An object as JSON; what JSON has no form for as text, bytes as base64."""
    try:
        return _json(value)
    except TypeError:  # keys that JSON does not know
        return _json(_with_text_keys(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_jsonable)


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key if isinstance(key, str | int | float | None) else _jsonable(key): _with_text_keys(each)
            for key, each in value.items()
        }
    return [_with_text_keys(each) for each in value] if isinstance(value, list) else value
