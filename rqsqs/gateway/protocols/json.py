"""AWS JSON 1.0: parameters from JSON, and responses as JSON."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from rqsqs.sqs import Failed, Service
from rqsqs.sqs.malformed import Malformed, not_convertible, unexpected

from .model import List, Map, Scalar, Shape, Structure

CONTENT_TYPE = "application/x-amz-json-1.0"

_LARGEST = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_CHECKED_LATER = frozenset({"MessageBody", "StringValue"})  # SQS has a text of its own for what these must not have

try:
    from orjson import OPT_PASSTHROUGH_DATETIME as _TIMES_BY_US
    from orjson import dumps as _fast
except ImportError:
    _fast, _TIMES_BY_US = None, 0  # type: ignore[assignment]


def read(body: bytes, shape: Structure) -> dict[str, Any]:
    """The parameters of a request. Members that the shape does not know, and null, count as absent.

    Raises:
        Malformed: it is no JSON, or a member has another type than the shape says.
    """
    if not body:
        return {}
    try:
        text = body.decode()
        document = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise Malformed("The request body must be one JSON object, in UTF-8") from None
    if type(document) is not dict:
        raise unexpected(document)
    params = read_structure(document, shape)
    if _SURROGATE.search(text):
        _check_surrogates(params)
    return params


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def read_structure(value: dict[str, Any], shape: Structure) -> dict[str, Any]:
    """The members that a shape knows, each as it says.

    Raises:
        Malformed: one has another type.
    """
    found: dict[str, Any] = {}
    members = shape.members
    for name, member in value.items():
        kind = members.get(name)
        if kind is None or member is None:
            continue
        found[name] = member if kind is Scalar.STRING and type(member) is str else _value(member, kind)
    return found


def _value(value: Any, shape: Shape) -> Any:
    if isinstance(shape, Scalar):
        return _scalar(value, shape)
    if isinstance(shape, List):
        if type(value) is not list:
            raise unexpected(value)
        return [_value(item, shape.item) for item in value if item is not None]
    if type(value) is not dict:
        raise unexpected(value)
    if isinstance(shape, Map):
        return {name: _value(item, shape.item) for name, item in value.items() if item is not None}
    return read_structure(value, shape)


def _scalar(value: Any, shape: Scalar) -> Any:
    if type(value) in (list, dict):
        raise unexpected(value)
    if shape is Scalar.INTEGER:
        if type(value) is not int:
            raise not_convertible(value, shape.value)
        if not -_LARGEST <= value < _LARGEST:
            raise Malformed("NUMBER_VALUE is out of the range of an Integer")
        return value
    if shape is Scalar.BOOLEAN:
        if type(value) is not bool:
            raise not_convertible(value, shape.value)
        return value
    if shape is Scalar.DOUBLE:
        return _double(value, shape)
    if shape is Scalar.TIMESTAMP:
        if type(value) is datetime:  # of CBOR
            return value
        try:
            return _EPOCH + timedelta(seconds=_double(value, shape))
        except OverflowError:
            raise Malformed("NUMBER_VALUE is out of the range of a Timestamp") from None
    if type(value) is not str:
        raise not_convertible(value, shape.value)
    if shape is Scalar.BLOB:
        return blob(value)
    return value


def _double(value: Any, shape: Scalar) -> float:
    if type(value) not in (int, float):
        raise not_convertible(value, shape.value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Malformed(f"NUMBER_VALUE is out of the range of {shape.value}")
    return number


def blob(text: str) -> bytes:
    """Bytes from base64.

    Raises:
        Malformed: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Malformed("A binary value must be base64") from None


def _check_surrogates(value: Any) -> None:
    """Refuse halves of characters, which JSON can write and UTF-8 cannot."""
    if type(value) is str:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Malformed("The request has half of a surrogate pair") from None
    elif type(value) is list:
        for item in value:
            _check_surrogates(item)
    elif type(value) is dict:
        for name, item in value.items():
            _check_surrogates(name)
            if name not in _CHECKED_LATER or type(item) is not str:
                _check_surrogates(item)


def _encoded(value: Any) -> str | float:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        seconds = value.timestamp()
        return int(seconds) if seconds.is_integer() else round(seconds, 6)
    raise TypeError(type(value).__name__)


def _slow(value: Any, default: Callable[[Any], Any]) -> bytes:
    return json.dumps(value, default=default, separators=(",", ":")).encode()


def dumps(value: Any) -> bytes:
    """JSON, with bytes as base64 and times as seconds since 1970."""
    if _fast is not None:
        try:
            return _fast(value, _encoded, _TIMES_BY_US)
        except TypeError:  # a number beyond 64 bits, half of a surrogate pair
            pass
    return _slow(value, _encoded)


def write(response: dict[str, Any], shape: Structure | None) -> bytes:
    """A response; nothing for an action that answers nothing."""
    return b"" if shape is None else dumps(response)


def write_error(failed: Failed, service: Service) -> bytes:
    """The body of an error."""
    return dumps(failed.body(service))
