"""Messages as JSON, one object per line: what receive, peek, search and export print, and send and import read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import IO, Any

import click
import msgpack

import rqsqs
from rqsqs import _base_message
from rqsqs._text import did_you_mean
from rqsqs.cli import output
from rqsqs.cli.parameter_types import duration, moment

OPTIONS = tuple(rqsqs.SendOptions.__annotations__)
SHOWN = (  # what is printed beside; it may stand in what is sent
    *("message_id", "sequence_number", "dead_letter_source", "visible_at", "receipt_handle", "sent_at"),
    *("receive_count", "state", "cause", "body_type"),
)
BODIES = ("body", "body_base64", "body_msgpack")


def in_json(body: object) -> Any:
    """The object or array that a text holds as JSON; None if it holds none."""
    if not isinstance(body, str) or not body.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def record_of(message: rqsqs.Message, state: str | None = None) -> dict[str, Any]:
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


def _trace_context(message: rqsqs.Message) -> dict[str, str]:
    """The part of it that is not among the attributes, AWSTraceHeader included."""
    return {name: text for name, text in message.trace_context.items() if name not in message.attributes}


def body_type(body: object) -> str:
    """What somebody receives: JSON that was sent as text looks like an object, and is none."""
    return "text" if isinstance(body, str) else "bytes" if isinstance(body, bytes) else "object"


def cause_record(cause: rqsqs.Failure) -> dict[str, Any]:
    record = asdict(cause)
    at_ms = record.pop("at_ms")
    return record | {"at": None if at_ms is None else _base_message.moment(at_ms)}


def _body_record(body: Any) -> dict[str, Any]:
    if isinstance(body, str):
        return {"body": body}
    if isinstance(body, bytes):
        return {"body_base64": base64.b64encode(body).decode()}
    try:
        readable = json.loads(json.dumps(body, default=output.jsonable, allow_nan=False))
    except (TypeError, ValueError):  # keys of other types, NaN
        readable = repr(body)
    if readable == body:
        return {"body": body}
    return {"body": readable, "body_msgpack": base64.b64encode(msgpack.packb(body)).decode()}


def longest_line(queue: rqsqs.Queue) -> int:
    """Bytes that a message of the queue may have as JSON: every character escaped, and the body once more as base64."""
    return 8 * int(queue.info().attributes["MaximumMessageSize"]) + 65_536


def lines_of(source: IO[bytes], longest: int) -> Iterator[bytes]:
    """The lines of a file, one after the other, whatever the file is; UsageError if one is longer than a message can
    be."""
    number = 0
    while line := source.readline(longest + 1):
        number += 1
        if len(line) > longest:
            raise click.UsageError(f"line {number} must have at most {longest:,} bytes, got more")
        yield line


def entries(lines: Iterable[bytes], defaults: dict[str, Any]) -> Iterator[tuple[int, int, rqsqs.Entry]]:
    """Number and length of each line with the message it holds; empty lines are passed over, UsageError names a wrong
    one."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, len(line), entry_of(number, parsed(number, line), defaults)


def parsed(number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise click.UsageError(f"line {number}: this is not JSON: {error}") from None
    if not isinstance(record, dict) or not any(name in record for name in BODIES):
        raise click.UsageError(
            f'line {number}: a message is an object with "body" or "body_base64": {{"body": "hello"}}'
        )
    return record


def entry_of(number: int, record: dict[str, Any], defaults: dict[str, Any]) -> rqsqs.Entry:
    """The message to send that a record describes; `number` of its line for errors."""
    try:
        return _entry(record, defaults)
    except ValueError as error:
        raise click.UsageError(f"line {number}: {error}") from None


def _entry(record: dict[str, Any], defaults: dict[str, Any]) -> rqsqs.Entry:
    body = _body(record)
    unknown = sorted(set(record) - set(OPTIONS) - set(SHOWN) - set(BODIES))
    if unknown:
        raise ValueError(
            f"the fields of a message must be body, {', '.join(OPTIONS)}, got {unknown[0]!r}"
            f"{did_you_mean(unknown[0], OPTIONS)}"
        )
    options = defaults | {name: record[name] for name in OPTIONS if record.get(name) is not None}
    for name, read in (("at", moment), ("delay", duration), ("deduplication_window", duration)):
        if isinstance(options.get(name), str):
            options[name] = read(options[name])
    attributes = options.get("attributes")
    if isinstance(attributes, dict):
        options["attributes"] = {name: _attribute(value) for name, value in attributes.items()}
    return rqsqs.Entry(body, **options)


def _body(record: dict[str, Any]) -> Any:
    if "body_msgpack" in record:
        data = _decoded("body_msgpack", record["body_msgpack"])
        try:
            return msgpack.unpackb(data, strict_map_key=False)
        except (ValueError, TypeError) as error:
            raise ValueError(f"body_msgpack is not base64 of msgpack: {error}") from None
    if ("body" in record) == ("body_base64" in record):
        raise ValueError('a message is an object with "body" or "body_base64", one of them')
    return record["body"] if "body" in record else _decoded("body_base64", record["body_base64"])


def _decoded(what: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what} is not base64: {error}, got {text!r:.80}") from None


def _attribute(value: Any) -> Any:
    if isinstance(value, dict) and list(value) == ["base64"]:
        return _decoded("the value of an attribute", value["base64"])
    return value
