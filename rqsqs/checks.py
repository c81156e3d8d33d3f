"""Checks of what users pass to the native faces: before any round trip, one sentence with value and rule."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rqsqs.errors import InvalidParameterValue, MissingParameter
from rqsqs.limits import Limits
from rqsqs.models import Durability, RetryPolicy

Seconds = float | int | timedelta
Moment = datetime | float | int
AttributeValue = str | int | float | bytes

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_FIFO_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DECIMAL = r"\d{1,9}(\.\d{1,9})?"
_PLACE = r"\d:\d{1,15}:(-?\d+(\.\d+)?(e[+-]?\d+)?)?:.*"  # of a group, see rqsqs._core.operations.browse
_CURSORS = {
    "visible": rf"(again|due|returned|ready):\d{{1,15}}|\+{_PLACE}",
    "in_flight": r"inflight:\d{1,15}",
    "delayed": r"delayed:\d{1,15}",
}


def shown(value: object) -> str:
    """A value in an error message."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole numbers of more than 4,300 digits
        text = "a number of very many digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def queue_name(name: object) -> str:
    """1 to 80 of letters, digits, - and _; `.fifo` at the end of a FIFO queue's name counts (SQS's rule)."""
    if isinstance(name, str) and (_NAME.fullmatch(name) or _FIFO_NAME.fullmatch(name)):
        return name
    raise InvalidParameterValue(
        f"{shown(name)} is not a queue name: 1 to 80 letters, digits, '-' and '_', with '.fifo' at the end for FIFO"
    )


def _is_number(value: Any) -> bool:
    """A finite one; a whole number that no float can hold is none."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def milliseconds(what: str, value: Any, maximum_ms: int) -> int:
    """Seconds (number or timedelta) as milliseconds, between 0 and a maximum."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if not _is_number(value):
        raise InvalidParameterValue(f"{what} is {shown(value)}: it is a number of seconds or a timedelta")
    ms = round(value * 1000) if abs(value) < 1e15 else -1
    if not 0 <= ms <= maximum_ms:
        raise InvalidParameterValue(f"{what} is {value:.15g} s: it is between 0 and {maximum_ms / 1000:.15g} s")
    return ms


def epoch_ms(what: str, value: Any) -> int:
    """A datetime (with time zone) or epoch seconds as epoch milliseconds."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidParameterValue(f"{what} is {value.isoformat()} without a time zone: say which it is in")
        value = value.timestamp()
    if not _is_number(value):
        raise InvalidParameterValue(f"{what} is {shown(value)}: it is a datetime with time zone or epoch seconds")
    ms = round(value * 1000) if abs(value) < 1e15 else -1
    if not 0 <= ms <= 7_258_118_400_000:
        raise InvalidParameterValue(f"{what} is {value:.15g}: it is a time between 1970 and 2200")
    return ms


def count(what: str, value: Any, maximum: int, minimum: int = 1) -> int:
    """A whole number in a range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidParameterValue(f"{what} is {shown(value)}: it is a whole number")
    if not minimum <= value <= maximum:
        raise InvalidParameterValue(f"{what} is {shown(value)}: it is between {minimum} and {maximum}")
    return value


def label(what: str, value: Any) -> str:
    """A message group or a deduplication id: 1 to 128 characters (SQS's rule), any that UTF-8 can write."""
    if not isinstance(value, str):
        raise InvalidParameterValue(f"{what} is {shown(value)}: it is text")
    if not 1 <= len(value) <= 128:
        raise InvalidParameterValue(f"{what} has {len(value)} characters: it has 1 to 128")
    if "\n" in value:
        raise InvalidParameterValue(f"{what} {shown(value)} holds a line break, which it must not")
    return text(what, value)


def text(what: str, value: Any) -> str:
    """Any text that UTF-8 can write."""
    if not isinstance(value, str):
        raise InvalidParameterValue(f"{what} is {shown(value)}: it is text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidParameterValue(f"{what} {shown(value)} is not valid Unicode") from None
    return value


def flag(what: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InvalidParameterValue(f"{what} is {shown(value)}: it is True or False")
    return value


def group(value: Any) -> str | None:
    """A message group, or None for the whole queue."""
    return None if value is None else label("group", value)


def message_id(value: Any) -> str:
    """A message id, or anything that has one: what send() returned, or a received or seen message."""
    found = getattr(value, "message_id", value)
    if not isinstance(found, str) or not _UUID.fullmatch(found):
        raise InvalidParameterValue(f"message is {shown(value)}: it is a message, or the message_id of one")
    return found


def cursor(value: Any, state: str, is_fifo: bool) -> str:
    """What an earlier browse() of the same state and kind of queue returned."""
    form = _PLACE if is_fifo else _CURSORS[state]
    if not isinstance(value, str) or not re.fullmatch(rf"(\d{{1,9}}\|({form})?)?", value, re.DOTALL):
        raise InvalidParameterValue(f"cursor is {shown(value)}: it is '' or what browse() of the same state returned")
    return value


def batch(what: str, values: Any, maximum: int, minimum: int = 1) -> list[Any]:
    """The entries of a batch."""
    if isinstance(values, (str, bytes, bytearray, Mapping)) or not isinstance(values, Iterable):
        raise InvalidParameterValue(f"{what} is {shown(values)}: it is a list or another iterable of them")
    found = list(values)
    count("the number of messages in a batch", len(found), maximum, minimum)
    return found


def tags(values: Any) -> dict[str, str]:
    """Tags: names to text."""
    if not isinstance(values, Mapping):
        raise InvalidParameterValue(f"tags is {shown(values)}: it maps names to text")
    for name, value in values.items():
        if not isinstance(name, str) or not name:
            raise InvalidParameterValue(f"{shown(name)} is not the name of a tag: it is text, not empty")
        text("the name of a tag", name)
        text(f"tag {name!r}", value)
    return dict(values)


def attributes(values: Any, limits: Limits) -> dict[str, tuple[str, str | bytes]]:
    """Message attributes: text, numbers and bytes as SQS's String, Number and Binary."""
    if not isinstance(values, Mapping):
        raise InvalidParameterValue(f"attributes is {shown(values)}: it maps names to text, numbers or bytes")
    if limits.attributes and len(values) > limits.attributes:
        raise InvalidParameterValue(f"there are {len(values)} attributes: a message has at most {limits.attributes}")
    found: dict[str, tuple[str, str | bytes]] = {}
    for name, value in values.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,256}", name):
            raise InvalidParameterValue(
                f"{shown(name)} is not an attribute name: 1 to 256 letters, digits, '_', '-' and '.'"
            )
        if isinstance(value, str):
            found[name] = ("String", value)
        elif isinstance(value, (bytes, bytearray)):
            found[name] = ("Binary", bytes(value))
        elif _is_number(value):
            found[name] = ("Number", repr(value))
        else:
            raise InvalidParameterValue(f"attribute {name!r} is {shown(value)}: it is text, a number or bytes")
    return found


def attribute_value(data_type: str, value: str | bytes) -> AttributeValue:
    """The other way: what a receiver sees."""
    if data_type.startswith("Number") and isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return float(value)
    return value


def moment(ms: int | None) -> datetime | None:
    """Epoch milliseconds as a datetime in UTC."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


ATTRIBUTES = {  # settings, as SQS calls them
    "visibility_timeout": "VisibilityTimeout",
    "delay": "DelaySeconds",
    "retention": "MessageRetentionPeriod",
    "wait": "ReceiveMessageWaitTimeSeconds",
    "deduplication_window": "DeduplicationWindow",
    "maximum_message_size": "MaximumMessageSize",
    "content_based_deduplication": "ContentBasedDeduplication",
    "deduplication_scope": "DeduplicationScope",
    "dead_letter_queue": "RedrivePolicy",
    "max_receive_count": "RedrivePolicy",
    "retry_policy": "RetryPolicy",
    "partitions": "Partitions",
}


def settings(name: str, given: Mapping[str, Any], limits: Limits) -> dict[str, str | None]:
    """A queue's settings (keyword arguments of create_queue) as SQS's attributes."""
    found: dict[str, str | None] = {}
    is_fifo = name.endswith(".fifo")
    ranges = {
        "visibility_timeout": (0, limits.visibility_ms),
        "delay": (0, limits.delay_ms),
        "retention": (limits.retention_min_s * 1000, limits.retention_max_s * 1000),
        "wait": (0, limits.wait_ms),
        "deduplication_window": (60_000, 365 * 86_400_000),
    }
    for key, (low, high) in ranges.items():
        if given.get(key) is not None:
            ms = milliseconds(key, given[key], high)
            if ms < low or ms % 1000:
                raise InvalidParameterValue(
                    f"{key} is {ms / 1000:g} s: it is a whole number of seconds from {low // 1000} to {high // 1000}"
                )
            found[ATTRIBUTES[key]] = str(ms // 1000)
    size = given.get("maximum_message_size")
    if size is not None:
        size = count("maximum_message_size", size, limits.message_size_max, limits.message_size_min)
        found["MaximumMessageSize"] = str(size)
    if given.get("content_based_deduplication") is not None:
        _fifo_only("content_based_deduplication", is_fifo, name)
        chosen = flag("content_based_deduplication", given["content_based_deduplication"])
        found["ContentBasedDeduplication"] = "true" if chosen else "false"
    scope = given.get("deduplication_scope")
    if scope is not None:
        _fifo_only("deduplication_scope", is_fifo, name)
        if scope not in ("queue", "messageGroup"):
            raise InvalidParameterValue(f"deduplication_scope is {shown(scope)}: it is 'queue' or 'messageGroup'")
        found["DeduplicationScope"] = scope
    if given.get("partitions") is not None:
        found["Partitions"] = str(count("partitions", given["partitions"], 64))
    if given.get("retry_policy") is not None:
        found["RetryPolicy"] = retry_policy(given["retry_policy"])
    target, receives = given.get("dead_letter_queue"), given.get("max_receive_count")
    if target == "":
        found["RedrivePolicy"] = None
    elif target is not None:
        target = queue_name(getattr(target, "name", target))
        if target.endswith(".fifo") != is_fifo:
            raise InvalidParameterValue(
                f"the dead-letter queue {target!r} of {name!r} must be of the same kind, FIFO or standard"
            )
        policy = {
            "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:000000000000:{target}",
            "maxReceiveCount": count("max_receive_count", 10 if receives is None else receives, 1000),
        }
        found["RedrivePolicy"] = json.dumps(policy, separators=(",", ":"))
    elif receives is not None:
        raise MissingParameter("max_receive_count without dead_letter_queue: say where the messages go")
    return found


def durability(value: Any) -> Durability | None:
    """How safe sent messages have to be: a Durability, or its text; None = it does not matter."""
    if value is None:
        return None
    if isinstance(value, str):
        value = _durability_of(value)
    if not isinstance(value, Durability):
        raise InvalidParameterValue(f"durability is {shown(value)}: it is a rqsqs.Durability, or text")
    count("replicas", value.replicas, 100, 0)
    flag("aof", value.aof)
    flag("required", value.required)
    flag("deletes", value.deletes)
    milliseconds("timeout", value.timeout, 60_000)
    if not value.timeout or not (value.replicas or value.aof):
        raise InvalidParameterValue(
            f"durability is {value!r}: it asks for replicas or aof, and gives a timeout above 0 seconds"
        )
    return value


def _durability_of(text: str) -> Durability:
    found: dict[str, Any] = {}
    for word in [word.strip() for word in text.split(",")]:
        name, _, number = word.partition("=")
        if name in ("replicas", "timeout") and re.fullmatch(r"\d{1,9}" if name == "replicas" else _DECIMAL, number):
            value: Any = int(number) if name == "replicas" else float(number)
        elif word in ("aof", "deletes", "optional"):
            name, value = ("required", False) if word == "optional" else (word, True)
        else:
            raise InvalidParameterValue(
                f"durability is {shown(text)}, of which {shown(word)} is not understood: it is one or several, with "
                "commas between them, of replicas=1, aof, timeout=0.5 (seconds), optional and deletes"
            )
        if name in found:
            raise InvalidParameterValue(f"durability is {shown(text)}: it says {name} twice")
        found[name] = value
    return Durability(**found)


def default_durability(value: Any) -> Durability | None:
    """The same, for a connection; None = what RQSQS_DURABILITY says."""
    if value is not None:
        return durability(value)
    text = os.environ.get("RQSQS_DURABILITY", "")
    try:
        return durability(text) if text else None
    except InvalidParameterValue as e:
        raise InvalidParameterValue(f"the environment variable RQSQS_DURABILITY cannot be used: {e}") from None


def retry_policy(value: Any) -> str:
    """A RetryPolicy as the scripts read it (lua/lib/retry.lua)."""
    if not isinstance(value, RetryPolicy):
        raise InvalidParameterValue(f"retry_policy is {shown(value)}: it is a rqsqs.RetryPolicy")
    rules: dict[str, Any] = {}
    if not isinstance(value.exceptions, Mapping):
        raise InvalidParameterValue(f"exceptions is {shown(value.exceptions)}: it maps exceptions to retry policies")
    for kind, rule in value.exceptions.items():
        if not isinstance(rule, RetryPolicy):
            raise InvalidParameterValue(f"the policy for {shown(kind)} is {shown(rule)}: it is a rqsqs.RetryPolicy")
        rules[_exception_name(kind)] = _backoff(rule)
    final: Any = value.dead_letter
    if isinstance(final, str) or not isinstance(final, Iterable):
        raise InvalidParameterValue(f"dead_letter is {shown(final)}: it is a tuple of exceptions")
    rules.update(dict.fromkeys(map(_exception_name, final), "dead"))
    return json.dumps({**_backoff(value), **({"exceptions": rules} if rules else {})}, sort_keys=True)


def _backoff(policy: RetryPolicy) -> dict[str, int]:
    base = milliseconds("base", policy.base, 365 * 86_400_000)
    cap = milliseconds("cap", policy.cap, 365 * 86_400_000)
    if not 0 < base <= cap:
        raise InvalidParameterValue(
            f"base is {shown(policy.base)} and cap {shown(policy.cap)}: 0.001 <= base <= cap seconds"
        )
    return {"base": base, "cap": cap}


def _exception_name(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return f"{kind.__module__}.{kind.__qualname__}"
    if not isinstance(kind, str) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", kind):
        raise InvalidParameterValue(f"{shown(kind)} is no exception: it is a class or the name of one")
    return kind


def _fifo_only(what: str, is_fifo: bool, name: str) -> None:
    if not is_fifo:
        raise InvalidParameterValue(f"{what} is for FIFO queues; the name {name!r} does not end in '.fifo'")
