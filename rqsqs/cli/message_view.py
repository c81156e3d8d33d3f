"""Messages as results: for people a line about each and its body, for programs its record."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import rqsqs
from rqsqs._text import printable
from rqsqs.cli import message_json, output
from rqsqs.cli.report import Record, Result

NO_CAUSE = "no failure recorded: received too often (its consumers died, or let the visibility timeout pass)"


@dataclass
class MessageView(Result):
    """A message."""

    message: rqsqs.Message
    state: str | None = None  # visible, in_flight or delayed, if that is to be told
    with_handle: bool = False  # show the receipt handle, as one that was received and not deleted has
    with_reason: bool = False  # say of a dead letter without a cause that nobody reported one

    def records(self) -> tuple[Record]:
        record = message_json.record_of(self.message, self.state)
        if not self.with_handle:
            record.pop("receipt_handle", None)
        return (record,)

    def show(self) -> None:
        message = self.message
        about = [message.message_id, message_json.body_type(message.body), f"sent {output.since(message.sent_at)} ago"]
        if message.receive_count:
            times = message.receive_count
            about.append("received once" if times == 1 else f"received {times} times")
        if message.group is not None:
            about.append(f"group {message.group}")
        if message.visible_at is not None:
            about.append(f"visible in {output.until(message.visible_at)}")
        if message.dead_letter_source:
            about.append(f"from {message.dead_letter_source}")
        if message.deduplication_id is not None:
            about.append(f"deduplication id {message.deduplication_id}")
        if trace := message.trace_context.get("traceparent"):
            about.append(f"trace {trace.split('-')[1] if trace.count('-') > 1 else trace}")
        if self.state is not None:
            about.append(self.state.replace("_", " "))
        output.line(", ".join(about), bold=True)
        if message.cause is not None:
            output.hanging("  failed  ", cause_text(message.cause))
        for name, value in message.attributes.items():
            output.line(f"  {name}={attribute_text(value)}")
        output.lines(body_text(message), "  ")
        if self.with_handle:
            output.line(f"  receipt handle {message.receipt_handle}", dim=True)
        if self.with_reason and message.cause is None and message.dead_letter_source is not None:
            output.hanging("  ", NO_CAUSE)


def print_body(message: rqsqs.Message) -> None:
    """A body alone: into a pipe or file exactly as it is, with a line break if it is text."""
    output.exact(message.body if isinstance(message.body, bytes) else body_text(message), body_text(message))


def body_text(message: rqsqs.Message, indent: int | None = None) -> str:
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
        return json.dumps(body, ensure_ascii=False, default=output.jsonable, indent=indent)
    except TypeError:  # keys of other types
        return repr(body)


def attribute_text(value: str | float | bytes) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def cause_text(cause: rqsqs.Failure) -> str:
    text = printable(cause.message.strip().partition("\n")[0])
    return f"{printable(cause.type)}: {text}" if text else printable(cause.type)
