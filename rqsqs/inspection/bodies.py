"""Messages as text and as JSON."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any

import msgpack

from rqsqs._base_message import BaseMessage, moment
from rqsqs._text import jsonable, printable
from rqsqs.models import Failure


def in_json(body: object) -> Any:
    """The object or array that a text holds as JSON; None if it holds none."""
    if not isinstance(body, str) or not body.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def record_of(message: BaseMessage, state: str | None = None) -> dict[str, Any]:
    """A message as JSON; body_type is text, object or bytes.

    A body that JSON cannot hold exactly (bytes inside an object, keys that are no text, NaN) is there twice: readable
    as `body`, and exact as `body_msgpack`.
    """
    record: dict[str, Any] = {"message_id": message.message_id} | _body_record(message.body)
    record["body_type"] = body_type(message.body)
    record |= {"sent_at": message.sent_at, "receive_count": message.receive_count}
    optional = {
        "state": state,
        "group": message.group,
        "deduplication_id": message.deduplication_id,
        "sequence_number": message.sequence_number,
        "attributes": message.attributes or None,
        "trace_context": _trace_context(message) or None,
        "dead_letter_source": message.dead_letter_source,
        "visible_at": message.visible_at,
        "receipt_handle": message.receipt_handle or None,
        "cause": cause_record(message.cause) if message.cause is not None else None,
    }
    return record | {name: value for name, value in optional.items() if value is not None}


def _trace_context(message: BaseMessage) -> dict[str, str]:
    """The part of it that is not among the attributes, AWSTraceHeader included."""
    return {name: text for name, text in message.trace_context.items() if name not in message.attributes}


def body_type(body: object) -> str:
    """What somebody receives: JSON that was sent as text looks like an object, and is none."""
    return "text" if isinstance(body, str) else "bytes" if isinstance(body, bytes) else "object"


def cause_record(cause: Failure) -> dict[str, Any]:
    record = asdict(cause)
    at_ms = record.pop("at_ms")
    return record | {"at": None if at_ms is None else moment(at_ms)}


def _body_record(body: Any) -> dict[str, Any]:
    if isinstance(body, str):
        return {"body": body}
    if isinstance(body, bytes):
        return {"body_base64": base64.b64encode(body).decode()}
    try:
        readable = json.loads(json.dumps(body, default=jsonable, allow_nan=False))
    except (TypeError, ValueError):  # keys of other types, NaN
        readable = repr(body)
    if readable == body:
        return {"body": body}
    return {"body": readable, "body_msgpack": base64.b64encode(msgpack.packb(body)).decode()}


def body_text(message: BaseMessage, indent: int | None = None) -> str:
    """A body in one piece of text: as it is, or as JSON."""
    body = message.body
    if isinstance(body, str):
        return body
    if isinstance(body, bytes):
        try:
            return body.decode()
        except UnicodeDecodeError:
            return "base64:" + base64.b64encode(body).decode()
    try:
        return json.dumps(body, ensure_ascii=False, default=jsonable, indent=indent)
    except TypeError:  # keys of other types
        return repr(body)


def attribute_text(value: str | float | bytes) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def cause_text(cause: Failure) -> str:
    text = printable(cause.message.strip().partition("\n")[0])
    return f"{printable(cause.type)}: {text}" if text else printable(cause.type)
