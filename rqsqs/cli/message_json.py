"""Messages as JSON, one object per line: what receive, peek, search and export print, and send and import read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

import click
import msgpack

import rqsqs
from rqsqs._text import did_you_mean
from rqsqs.inspection.written import duration, moment

OPTIONS = tuple(rqsqs.SendOptions.__annotations__)
SHOWN = (  # what is printed beside; it may stand in what is sent
    *("message_id", "sequence_number", "dead_letter_source", "visible_at", "receipt_handle", "sent_at"),
    *("receive_count", "state", "cause", "body_type"),
)
BODIES = ("body", "body_base64", "body_msgpack")


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
