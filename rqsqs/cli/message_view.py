"""Messages as results: for people a line about each and its body, for programs its record."""

from __future__ import annotations

from dataclasses import dataclass

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.report import Record, Result
from rqsqs.inspection import words
from rqsqs.inspection.bodies import attribute_text, body_text, body_type, cause_text, record_of
from rqsqs.inspection.causes import NO_CAUSE


@dataclass
class MessageView(Result):
    """A message."""

    message: rqsqs.Message
    state: str | None = None  # visible, in_flight or delayed, if that is to be told
    with_handle: bool = False  # show the receipt handle, as one that was received and not deleted has
    with_reason: bool = False  # say of a dead letter without a cause that nobody reported one

    def records(self) -> tuple[Record]:
        record = record_of(self.message, self.state)
        if not self.with_handle:
            record.pop("receipt_handle", None)
        return (record,)

    def show(self) -> None:
        message = self.message
        about = [message.message_id, body_type(message.body), f"sent {words.since(message.sent_at)} ago"]
        if message.receive_count:
            times = message.receive_count
            about.append("received once" if times == 1 else f"received {times} times")
        if message.group is not None:
            about.append(f"group {message.group}")
        if message.visible_at is not None:
            about.append(f"visible in {words.until(message.visible_at)}")
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
