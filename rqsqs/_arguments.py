"""What users pass to the native API, checked before any round trip. An error says what must be and what came.

The options of a send are spelled here, once (SendOptions); what is set for longer than one call in rqsqs._settings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn, Protocol, TypedDict, Unpack

from rqsqs._core import envelope
from rqsqs._core.keys import QueueRef
from rqsqs._core.receipts import Receipt
from rqsqs._core.sent import Outgoing
from rqsqs._text import did_you_mean, shown
from rqsqs.errors import InvalidParameterValue, MissingParameter, UsageError
from rqsqs.limits import Limits
from rqsqs.models import State

Seconds = float | int | timedelta
Moment = datetime | float | int
AttributeValue = str | int | float | bytes

MOST_TRACE_CONTEXT = 10_240  # W3C allows baggage of 8,192
YEAR_MS = 365 * 86_400_000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_FIFO_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PLACE = r"\d:\d{1,15}:(-?\d+(\.\d+)?(e[+-]?\d+)?)?:.*"  # of a group, see rqsqs._core.operations.browse
_CURSORS = {
    "visible": rf"(again|due|returned|ready):-?\d{{1,15}}|\+{_PLACE}",
    "in_flight": r"inflight:-?\d{1,15}",
    "delayed": r"delayed:-?\d{1,15}",
}


class Received(Protocol):
    """A message of either API."""

    @property
    def receipt_handle(self) -> str:
        """Stands for its receive."""
        ...


class Named(Protocol):
    """A queue of either API."""

    @property
    def name(self) -> str:
        """The queue's name."""
        ...


class SendOptions(TypedDict, total=False):
    """The options of one message, see Queue.send(); None = as if it was left out."""

    delay: Seconds | None
    at: Moment | None
    group: str | None
    deduplication_id: str | None
    deduplication_window: Seconds | None
    attributes: Mapping[str, AttributeValue] | None
    trace_context: Mapping[str, str] | None


class Entry:
    """One message of a batch with options of its own; see Queue.send() for them."""

    __module__ = "rqsqs"
    __slots__ = ("body", "options")

    def __init__(self, body: Any, **options: Unpack[SendOptions]) -> None:
        if not options.keys() <= SendOptions.__annotations__.keys():
            refuse_unknown("Entry", options, SendOptions)
        self.body: Any = body
        self.options: SendOptions = options

    def __repr__(self) -> str:
        return f"Entry({self.body!r})"


SendOptions.__module__ = "rqsqs"


def refuse_unknown(function: str, given: Iterable[str], options: Any) -> NoReturn:
    """Refuse a keyword argument that a TypedDict of options does not have, as Python does."""
    wrong = min(set(given) - options.__annotations__.keys())
    known = sorted(options.__annotations__)
    hint = did_you_mean(wrong, known) or f"; there are {', '.join(known)}"
    raise TypeError(f"{function}() got an unexpected keyword argument {wrong!r}{hint}")


# Messages


def outgoing(q: QueueRef, limits: Limits, body: Any, options: SendOptions, function: str = "send") -> Outgoing:
    """Check the options of a send and pack the message."""
    if not options.keys() <= SendOptions.__annotations__.keys():
        refuse_unknown(function, options, SendOptions)
    given = options.get
    delay, at, group, dedup_id = given("delay"), given("at"), given("group"), given("deduplication_id")
    window, values, context = given("deduplication_window"), given("attributes"), given("trace_context")
    if delay is not None and at is not None:
        raise InvalidParameterValue(f"delay or at must be given, not both, got delay={shown(delay)} and at={shown(at)}")
    if q.is_fifo and group is None:
        raise MissingParameter("a message to a FIFO queue needs a group: messages of one group keep their order")
    return envelope.outgoing(
        body,
        attributes=None if values is None else attributes(values, limits),
        trace_context=None if context is None else trace_context(context),
        group=None if group is None else label("group", group),
        dedup_id=None if dedup_id is None else label("deduplication_id", dedup_id),
        content_hash=envelope.content_hash(body) if q.is_fifo and dedup_id is None else None,
        delay_ms=None if delay is None else milliseconds("delay", delay, limits.delay_ms),
        due_ms=None if at is None else epoch_ms("at", at),
        dedup_window_ms=None if window is None else milliseconds("deduplication_window", window, YEAR_MS),
    )


def entries(q: QueueRef, limits: Limits, messages: Any) -> list[Outgoing]:
    """The messages of a batch: bodies, or Entry objects."""
    found = []
    for entry in batch("messages", messages, limits.batch_entries):
        if isinstance(entry, Entry):
            found.append(outgoing(q, limits, entry.body, entry.options, "Entry"))
        else:
            found.append(outgoing(q, limits, entry, {}) if q.is_fifo else Outgoing(*envelope.plain(entry)))
    if limits.batch_bytes and (total := sum([m.size for m in found])) > limits.batch_bytes:
        raise InvalidParameterValue(f"a batch must have at most {limits.batch_bytes} bytes, got {total}")
    return found


def receiving(
    limits: Limits, max_messages: Any, visibility_timeout: Any, wait: Any
) -> tuple[int, int | None, int | None]:
    """The arguments of a receive as flows take them: messages, and milliseconds."""
    return (
        count("max_messages", max_messages, limits.receive_messages),
        None
        if visibility_timeout is None
        else milliseconds("visibility_timeout", visibility_timeout, limits.visibility_ms),
        None if wait is None else milliseconds("wait", wait, limits.wait_ms),
    )


def receipt(message: Any) -> Receipt | str:
    """The receipt of a message, or what was passed as its handle."""
    delivery = getattr(message, "_delivery", None)
    if delivery is None:
        found: str = getattr(message, "receipt_handle", message)
        return found
    if not delivery.received_ms:
        raise UsageError(f"{message!r} was only looked at: receive it to delete it or to change its visibility")
    of_message: Receipt = delivery.receipt
    return of_message


def changes(limits: Limits, pairs: Any) -> list[tuple[Any, int]]:
    """Pairs of a message and seconds from now, the latter as milliseconds."""
    found = []
    for pair in batch("changes", pairs, limits.batch_entries):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InvalidParameterValue(
                f"each change must be a pair of a message and seconds from now, got {shown(pair)}"
            )
        found.append((pair[0], milliseconds("timeout", pair[1], limits.visibility_ms)))
    return found


def attributes(values: Any, limits: Limits) -> dict[str, tuple[str, str | bytes]]:
    """Message attributes: text, numbers and bytes as SQS's String, Number and Binary."""
    if not isinstance(values, Mapping):
        raise InvalidParameterValue(f"attributes must map names to str, numbers or bytes, got {shown(values)}")
    if limits.attributes and len(values) > limits.attributes:
        raise InvalidParameterValue(f"a message must have at most {limits.attributes} attributes, got {len(values)}")
    found: dict[str, tuple[str, str | bytes]] = {}
    for name, value in values.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,256}", name):
            raise InvalidParameterValue(
                "the name of an attribute must be a str of 1 to 256 letters, digits, '_', '-' and '.', got "
                f"{shown(name)}"
            )
        if isinstance(value, str):
            found[name] = ("String", value)
        elif isinstance(value, (bytes, bytearray)):
            found[name] = ("Binary", bytes(value))
        elif is_number(value):
            found[name] = ("Number", repr(value))
        else:
            raise InvalidParameterValue(f"attribute {name!r} must be a str, a number or bytes, got {shown(value)}")
    return found


def trace_context(value: Any) -> dict[str, str]:
    """The fields of a trace context."""
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for item in value.items() for text in item):
        raise InvalidParameterValue(f"trace_context must map str to str, such as traceparent, got {shown(value)}")
    found = dict(value)
    size = sum(len(text) for item in found.items() for text in item)
    if size > MOST_TRACE_CONTEXT:
        raise InvalidParameterValue(
            f"trace_context must have at most {MOST_TRACE_CONTEXT} characters in all, got {size}"
        )
    return found


def message_id(value: Any) -> str:
    """A message id, or anything that has one: what send() returned, or a received or seen message."""
    found = getattr(value, "message_id", value)
    if not isinstance(found, str) or not _UUID.fullmatch(found):
        raise InvalidParameterValue(f"message must be a message or the message_id of one, got {shown(value)}")
    return found


def browsing(q: QueueRef, state: Any, cursor: Any, max_messages: Any) -> tuple[State, str, int]:
    """The arguments of a browse. The cursor is what an earlier one of the same state and kind of queue returned."""
    if state not in ("visible", "in_flight", "delayed"):
        raise InvalidParameterValue(f"state must be 'visible', 'in_flight' or 'delayed', got {shown(state)}")
    form = _PLACE if q.is_fifo else _CURSORS[state]
    if not isinstance(cursor, str) or not re.fullmatch(rf"(\d{{1,9}}\|({form})?)?", cursor, re.DOTALL):
        raise InvalidParameterValue(
            f"cursor must be '' or what browse() of the same state returned, got {shown(cursor)}"
        )
    return state, cursor, count("max_messages", max_messages, 1000)


# Queues


def queue_name(value: Any) -> str:
    """1 to 80 of letters, digits, - and _; `.fifo` at the end of a FIFO queue's name counts (SQS's rule)."""
    if isinstance(value, str) and (_NAME.fullmatch(value) or _FIFO_NAME.fullmatch(value)):
        return value
    raise InvalidParameterValue(
        "the name of a queue must be a str of 1 to 80 letters, digits, '-' and '_', with '.fifo' at the end for FIFO, "
        f"got {shown(value)}"
    )


def name_of(queue: Any) -> str:
    """The checked name of a queue, which may be given as a Queue."""
    return queue_name(queue if isinstance(queue, str) else getattr(queue, "name", queue))


def names_of(queues: Any) -> list[str]:
    """The checked names of queues, each once."""
    if isinstance(queues, str) or not isinstance(queues, Iterable):
        raise InvalidParameterValue(f"queues must be a list of queues or their names, got {queues!r}")
    return list(dict.fromkeys([name_of(queue) for queue in queues]))


def destination(q: QueueRef, queue: Named | str | None, max_per_second: Any) -> QueueRef | None:
    """Where messages of a dead-letter queue are moved, and how fast; None = where they came from."""
    target = None
    if queue is not None:
        name = name_of(queue)
        if name.endswith(".fifo") != q.is_fifo or name == q.name:
            raise InvalidParameterValue(
                f"destination must be another {'FIFO' if q.is_fifo else 'standard'} queue than {q.name!r}, got {name!r}"
            )
        target = q.space.queue(name)
    if max_per_second is not None:
        count("max_per_second", max_per_second, 500)
    return target


def consumer_id(consumer: Any) -> str:
    """The id of a consumer, which may be given as a Consumer."""
    return text("consumer", getattr(consumer, "consumer_id", consumer))


def tags(values: Any) -> dict[str, str]:
    """Tags: names to text."""
    if not isinstance(values, Mapping):
        raise InvalidParameterValue(f"tags must map names to str, got {shown(values)}")
    for name, value in values.items():
        if not isinstance(name, str) or not name:
            raise InvalidParameterValue(f"the name of a tag must be a str that is not empty, got {shown(name)}")
        text("the name of a tag", name)
        text(f"tag {name!r}", value)
    return dict(values)


# Single values


def is_number(value: Any) -> bool:
    """A finite one; a whole number that no float can hold is none."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def milliseconds(what: str, value: Any, maximum_ms: int) -> int:
    """Seconds (number or timedelta) as milliseconds, between 0 and a maximum."""
    given = value
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if not is_number(value):
        raise InvalidParameterValue(f"{what} must be a number of seconds or a timedelta, got {shown(given)}")
    ms = round(value * 1000) if abs(value) < 1e15 else -1
    if not 0 <= ms <= maximum_ms:
        raise InvalidParameterValue(f"{what} must be between 0 and {maximum_ms / 1000:.15g} s, got {value:.15g} s")
    return ms


def epoch_ms(what: str, value: Any) -> int:
    """A datetime (with time zone) or epoch seconds as epoch milliseconds."""
    given = value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidParameterValue(
                f"{what} must be a datetime with a time zone, got {value.isoformat()} without one: say which it is in"
            )
        value = value.timestamp()
    if not is_number(value):
        raise InvalidParameterValue(f"{what} must be a datetime with a time zone or epoch seconds, got {shown(given)}")
    ms = round(value * 1000) if abs(value) < 1e15 else -1
    if not 0 <= ms <= 7_258_118_400_000:
        raise InvalidParameterValue(f"{what} must be a time between 1970 and 2200, got {value:.15g}")
    return ms


def count(what: str, value: Any, maximum: int, minimum: int = 1) -> int:
    """A whole number in a range."""
    if type(value) is int and minimum <= value <= maximum:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise InvalidParameterValue(f"{what} must be an int from {minimum} to {maximum}, got {shown(value)}")
    return value


def label(what: str, value: Any) -> str:
    """A message group or a deduplication id: 1 to 128 characters (SQS's rule), any that UTF-8 can write."""
    if not isinstance(value, str) or not 1 <= len(value) <= 128:
        length = f" ({len(value)} characters)" if isinstance(value, str) and value else ""
        raise InvalidParameterValue(f"{what} must be a str of 1 to 128 characters, got {shown(value)}{length}")
    if "\n" in value:
        raise InvalidParameterValue(f"{what} must be a str without line breaks, got {shown(value)}")
    return text(what, value)


def text(what: str, value: Any) -> str:
    """Any text that UTF-8 can write."""
    if not isinstance(value, str):
        raise InvalidParameterValue(f"{what} must be a str, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidParameterValue(f"{what} must be a str of valid Unicode, got {shown(value)}") from None
    return value


def flag(what: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InvalidParameterValue(f"{what} must be True or False, got {shown(value)}")
    return value


def group(value: Any) -> str | None:
    """A message group, or None for the whole queue."""
    return None if value is None else label("group", value)


def batch(what: str, values: Any, maximum: int, minimum: int = 1) -> list[Any]:
    """The entries of a batch."""
    if isinstance(values, (str, bytes, bytearray, Mapping)) or not isinstance(values, Iterable):
        raise InvalidParameterValue(f"{what} must be a list or another iterable, got {shown(values)}")
    found = list(values)
    if not minimum <= len(found) <= maximum:
        raise InvalidParameterValue(f"{what} must have {minimum} to {maximum} entries, got {len(found)}")
    return found
