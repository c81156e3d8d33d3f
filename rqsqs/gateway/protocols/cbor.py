"""CBOR (RFC 8949) as smithy-rpc-v2-cbor has it, which newer SDKs speak to CloudWatch: parameters, and responses.

POST /service/GraniteServiceVersion20100801/operation/DescribeAlarms
smithy-protocol: rpc-v2-cbor
"""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from rqsqs.sqs import Failed, Service
from rqsqs.sqs.malformed import Malformed

from .json import read_structure
from .model import Structure

CONTENT_TYPE = "application/cbor"
HEADER, PROTOCOL = "smithy-protocol", "rpc-v2-cbor"

_PATH = re.compile(r"/service/([\w.]{1,100})/operation/(\w{1,100})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEEPEST = 32
_BREAK = object()
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}


def target_of(path: str) -> tuple[str, str]:
    """Service and action that are in the path of a request; both "" if they are not."""
    found = _PATH.fullmatch(path)
    return (found[1], found[2]) if found else ("", "")


def read(body: bytes, shape: Structure) -> dict[str, Any]:
    """The parameters of a request.

    Raises:
        Malformed: it is no CBOR, or a member has another type than the shape says.
    """
    if not body:
        return {}
    reader = _Reader(body)
    document = reader.value(0)
    if reader.place != len(body) or type(document) is not dict:
        reader.refuse()
    return read_structure(document, shape)


class _Reader:
    """Reads one value behind the other."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.place = 0

    def refuse(self) -> NoReturn:
        raise Malformed("The request body must be one map in CBOR")

    def value(self, depth: int) -> Any:
        """The next value; _BREAK for the end of something whose length was not told."""
        first = self._bytes(1)[0]
        kind, more = first >> 5, first & 31
        if depth > _DEEPEST:
            self.refuse()
        if kind == 7:
            return self._other(more)
        if more == 31:
            return self._unmeasured(kind, depth)
        size = int.from_bytes(self._bytes(_WIDTHS[more])) if more in _WIDTHS else more
        if more >= 28:
            self.refuse()
        if kind == 0:
            return size
        if kind == 1:
            return -1 - size
        if kind == 3:
            return self._text(size)
        if kind == 4:
            return [self._item(depth) for _ in range(min(size, len(self._body)))]
        if kind == 5:
            return dict(self._pair(depth) for _ in range(min(size, len(self._body))))
        if kind == 6 and size == 1:
            return self._time(self._item(depth))
        self.refuse()  # bytes, which no request has, and tags that mean nothing here

    def _bytes(self, size: int) -> bytes:
        end = self.place + size
        if end > len(self._body):
            self.refuse()
        found = self._body[self.place : end]
        self.place = end
        return found

    def _item(self, depth: int) -> Any:
        found = self.value(depth + 1)
        if found is _BREAK:
            self.refuse()
        return found

    def _pair(self, depth: int) -> tuple[str, Any]:
        name = self._item(depth)
        if type(name) is not str:
            self.refuse()
        return name, self._item(depth)

    def _text(self, size: int) -> str:
        try:
            return self._bytes(size).decode()
        except UnicodeDecodeError:
            self.refuse()

    def _other(self, more: int) -> Any:
        if more in _SIMPLE:
            return _SIMPLE[more]
        if more in _FLOATS:
            return struct.unpack(_FLOATS[more], self._bytes(_WIDTHS[more]))[0]
        if more == 31:
            return _BREAK
        self.refuse()

    def _unmeasured(self, kind: int, depth: int) -> Any:
        """A text, list or map that goes on until a break."""
        parts: list[Any] = []
        while (part := self.value(depth + 1)) is not _BREAK:
            if kind == 3 and type(part) is not str:
                self.refuse()
            if kind == 5:
                if type(part) is not str:
                    self.refuse()
                part = part, self._item(depth)
            parts.append(part)
        if kind == 3:
            return "".join(parts)
        if kind == 4:
            return parts
        if kind == 5:
            return dict(parts)
        self.refuse()

    def _time(self, seconds: Any) -> datetime:
        try:
            if type(seconds) in (int, float):
                return _EPOCH + timedelta(seconds=seconds)
        except (OverflowError, ValueError):
            pass
        raise Malformed("A time must be seconds since 1970, in the range of a Timestamp")


def write(response: dict[str, Any], shape: Structure | None) -> bytes:
    """A response; nothing for an action that answers nothing."""
    if shape is None:
        return b""
    parts: list[bytes] = []
    _write(parts, response)
    return b"".join(parts)


def write_error(failed: Failed, service: Service) -> bytes:
    """The body of an error."""
    return write(failed.body(service), Structure({}))


def _write(parts: list[bytes], value: Any) -> None:
    if isinstance(value, str):
        text = value.encode("utf-8", "replace")
        parts += [_head(3, len(text)), text]
    elif isinstance(value, bool):
        parts.append(b"\xf5" if value else b"\xf4")
    elif isinstance(value, int):
        parts.append(_head(0, value) if value >= 0 else _head(1, -1 - value))
    elif isinstance(value, float):
        parts.append(b"\xfb" + struct.pack(">d", value))
    elif isinstance(value, datetime):
        parts += [_head(6, 1), b"\xfb" + struct.pack(">d", value.timestamp())]
    elif isinstance(value, dict):
        parts.append(_head(5, len(value)))
        for name, member in value.items():
            _write(parts, name)
            _write(parts, member)
    else:
        parts.append(_head(4, len(value)))
        for item in value:
            _write(parts, item)


def _head(kind: int, size: int) -> bytes:
    if size < 24:
        return bytes([kind << 5 | size])
    more = 24 if size < 2**8 else 25 if size < 2**16 else 26 if size < 2**32 else 27
    return bytes([kind << 5 | more]) + size.to_bytes(_WIDTHS[more])
