"""What is set for longer than one call: settings of queues and their retry policies, durability, limits, a test clock.

The settings of a queue are spelled here, once (QueueSettings), and checked before any round trip.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from rqsqs import _arguments as arguments
from rqsqs._arguments import Named, Seconds
from rqsqs._core.keys import Clock
from rqsqs._text import shown
from rqsqs.errors import InvalidParameterValue, MissingParameter, QueueNameExists
from rqsqs.limits import AWS, NATIVE, Limits
from rqsqs.models import Durability, RetryPolicy

TIMELINE_BYTES = 16_384, 67_108_864  # of a partition, at least and at most
DEFAULT_TIMELINE_BYTES = 1_048_576
_DECIMAL = r"\d{1,9}(\.\d{1,9})?"


class QueueSettings(TypedDict, total=False):
    """The settings of a queue, see Connection.create_queue(); None = as if it was left out."""

    visibility_timeout: Seconds | None
    delay: Seconds | None
    retention: Seconds | None
    wait: Seconds | None
    deduplication_window: Seconds | None
    maximum_message_size: int | None
    content_based_deduplication: bool | None
    deduplication_scope: str | None
    dead_letter_queue: Named | str | None
    max_receive_count: int | None
    retry_policy: RetryPolicy | None
    partitions: int | None
    metrics: str | None
    timeline: bool | int | None


QueueSettings.__module__ = "rqsqs"

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
    "metrics": "Metrics",
    "timeline": "Timeline",
}


def attributes_of(
    name: str, given: Mapping[str, Any], limits: Limits, function: str = "create_queue"
) -> dict[str, str | None]:
    """Settings of the queue `name` as SQS's attributes; None = remove it."""
    if not given.keys() <= ATTRIBUTES.keys():
        arguments.refuse_unknown(function, given, QueueSettings)
    is_fifo = name.endswith(".fifo")
    found: dict[str, str | None] = {}
    ranges = {
        "visibility_timeout": (0, limits.visibility_ms),
        "delay": (0, limits.delay_ms),
        "retention": (limits.retention_min_s * 1000, limits.retention_max_s * 1000),
        "wait": (0, limits.wait_ms),
        "deduplication_window": (60_000, arguments.YEAR_MS),
    }
    for key, (low, high) in ranges.items():
        if given.get(key) is not None:
            ms = arguments.milliseconds(key, given[key], high)
            if ms < low or ms % 1000:
                raise InvalidParameterValue(
                    f"{key} must be a whole number of seconds from {low // 1000} to {high // 1000}, got {ms / 1000:g} s"
                )
            found[ATTRIBUTES[key]] = str(ms // 1000)
    size = given.get("maximum_message_size")
    if size is not None:
        size = arguments.count("maximum_message_size", size, limits.message_size_max, limits.message_size_min)
        found["MaximumMessageSize"] = str(size)
    if given.get("content_based_deduplication") is not None:
        _fifo_only("content_based_deduplication", is_fifo, name)
        chosen = arguments.flag("content_based_deduplication", given["content_based_deduplication"])
        found["ContentBasedDeduplication"] = "true" if chosen else "false"
    scope = given.get("deduplication_scope")
    if scope is not None:
        _fifo_only("deduplication_scope", is_fifo, name)
        if scope not in ("queue", "messageGroup"):
            raise InvalidParameterValue(f"deduplication_scope must be 'queue' or 'messageGroup', got {shown(scope)}")
        found["DeduplicationScope"] = scope
    if given.get("partitions") is not None:
        found["Partitions"] = str(arguments.count("partitions", given["partitions"], 64))
    if given.get("metrics") is not None:
        if given["metrics"] not in ("full", "basic"):
            raise InvalidParameterValue(f"metrics must be 'full' or 'basic', got {shown(given['metrics'])}")
        found["Metrics"] = "full" if given["metrics"] == "full" else None
    if given.get("timeline") is not None:
        found["Timeline"] = _timeline(given["timeline"])
    if given.get("retry_policy") is not None:
        found["RetryPolicy"] = retry_policy(given["retry_policy"])
    target, receives = given.get("dead_letter_queue"), given.get("max_receive_count")
    if target == "":
        found["RedrivePolicy"] = None
    elif target is not None:
        target = arguments.name_of(target)
        if target.endswith(".fifo") != is_fifo:
            raise InvalidParameterValue(
                f"the dead-letter queue of {name!r} must be a {'FIFO' if is_fifo else 'standard'} queue as well, got "
                f"{target!r}"
            )
        policy = {
            "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:000000000000:{target}",
            "maxReceiveCount": arguments.count("max_receive_count", 10 if receives is None else receives, 1000),
        }
        found["RedrivePolicy"] = json.dumps(policy, separators=(",", ":"))
    elif receives is not None:
        raise MissingParameter("max_receive_count needs dead_letter_queue: say where the messages go")
    return found


def _timeline(value: Any) -> str | None:
    low, high = TIMELINE_BYTES
    if value is False or value is True:
        return str(DEFAULT_TIMELINE_BYTES) if value else None
    if type(value) is not int or not low <= value <= high:
        raise InvalidParameterValue(f"timeline must be True, False, or bytes from {low} to {high}, got {shown(value)}")
    return str(value)


def differing(error: QueueNameExists, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that differ from those of the queue that exists, and can be changed."""
    has, wanted = error.differences.get("Partitions", ("0", "1"))
    is_fewer = has is not None and has.isdecimal() and int(has) > int(wanted)
    fixed = {"Partitions"} if is_fewer else set()  # there can be more, not fewer
    names = error.differences.keys() - fixed
    return {name: value for name, value in given.items() if value is not None and ATTRIBUTES[name] in names}


def with_way_out(error: QueueNameExists, given: Mapping[str, Any]) -> QueueNameExists:
    """The error of a queue that exists with other settings, with the call that changes them."""
    wanted = differing(error, given)
    if not wanted:
        return error
    values = ", ".join(f"{name}={shown(getattr(value, 'name', value))}" for name, value in wanted.items())
    return error.between(error.differences, f"queue({error.queue!r}).configure({values}) changes that")


def _fifo_only(what: str, is_fifo: bool, name: str) -> None:
    if not is_fifo:
        raise InvalidParameterValue(
            f"{what} must be left out for a standard queue, got it for {name!r}; the name of a FIFO queue ends in "
            "'.fifo'"
        )


def retry_policy(value: Any) -> str:
    """A RetryPolicy as the scripts read it (lua/lib/retry.lua)."""
    if not isinstance(value, RetryPolicy):
        raise InvalidParameterValue(f"retry_policy must be a rqsqs.RetryPolicy, got {shown(value)}")
    rules: dict[str, Any] = {}
    if not isinstance(value.exceptions, Mapping):
        raise InvalidParameterValue(f"exceptions must map exceptions to retry policies, got {shown(value.exceptions)}")
    for kind, rule in value.exceptions.items():
        if not isinstance(rule, RetryPolicy):
            raise InvalidParameterValue(f"the policy for {shown(kind)} must be a rqsqs.RetryPolicy, got {shown(rule)}")
        rules[_exception_name(kind)] = _backoff(rule)
    final: Any = value.dead_letter
    if isinstance(final, str) or not isinstance(final, Iterable):
        raise InvalidParameterValue(f"dead_letter must be a tuple of exceptions, got {shown(final)}")
    rules.update(dict.fromkeys(map(_exception_name, final), "dead"))
    return json.dumps({**_backoff(value), **({"exceptions": rules} if rules else {})}, sort_keys=True)


def _backoff(policy: RetryPolicy) -> dict[str, int]:
    base = arguments.milliseconds("base", policy.base, arguments.YEAR_MS)
    cap = arguments.milliseconds("cap", policy.cap, arguments.YEAR_MS)
    if not 0 < base <= cap:
        raise InvalidParameterValue(
            f"base and cap must be 0.001 <= base <= cap seconds, got {shown(policy.base)} and {shown(policy.cap)}"
        )
    return {"base": base, "cap": cap}


def _exception_name(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return f"{kind.__module__}.{kind.__qualname__}"
    if not isinstance(kind, str) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", kind):
        raise InvalidParameterValue(f"an exception must be given as a class or its name, got {shown(kind)}")
    return kind


def limits_of(mode: Any) -> Limits:
    """The limits a connection was asked for."""
    modes = {"native": NATIVE, "aws": AWS}
    if isinstance(mode, Limits):
        return mode
    if not isinstance(mode, str) or mode not in modes:
        raise InvalidParameterValue(f"limits must be 'native', 'aws' or a rqsqs.Limits, got {shown(mode)}")
    return modes[mode]


def clock_of(clock: Clock | None) -> Clock | None:
    """A test clock, or None."""
    if clock is not None and not callable(getattr(clock, "now_us", None)):
        raise InvalidParameterValue(
            f"clock must have a method now_us(), as rqsqs.testing.VirtualClock has, got {shown(clock)}"
        )
    return clock


def durability(value: Any) -> Durability | None:
    """How safe sent messages have to be: a Durability, or its text; None = it does not matter."""
    if value is None:
        return None
    if isinstance(value, str):
        value = _durability_of(value)
    if not isinstance(value, Durability):
        raise InvalidParameterValue(f"durability must be a rqsqs.Durability or its text, got {shown(value)}")
    arguments.count("replicas", value.replicas, 100, 0)
    arguments.flag("aof", value.aof)
    arguments.flag("required", value.required)
    arguments.flag("deletes", value.deletes)
    arguments.milliseconds("timeout", value.timeout, 60_000)
    if not value.timeout or not (value.replicas or value.aof):
        raise InvalidParameterValue(
            f"durability must ask for replicas or aof, with a timeout above 0 seconds, got {value!r}"
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
                "durability must be one or several of replicas=1, aof, timeout=0.5 (seconds), optional and deletes, "
                f"with commas between them, got {shown(word)} in {shown(text)}"
            )
        if name in found:
            raise InvalidParameterValue(f"durability must have each part once, got {name} twice in {shown(text)}")
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
