"""Rules of what a message may carry: body, message attributes, system attributes; their size, and their selection.

The internal form of message attributes is `{name: (data_type, value)}`, text for String and Number, bytes for Binary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rqsqs._core.delivery import OTEL, TRACE_HEADER_FIELD, Delivery
from rqsqs.errors import InvalidMessageContents, InvalidParameterValue, UnsupportedOperation
from rqsqs.limits import AWS

from .names import missing

Attributes = dict[str, tuple[str, str | bytes]]

TRACE_HEADER = "AWSTraceHeader"

_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ALLOWED = "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
_ATTRIBUTE_NAME = re.compile(r"[\w.-]+")  # \w covers letters beyond ASCII too: SQS accepts them
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_TRACE_HEADER = re.compile(r"[^\x00-\x1f\x7f]+")
_EVERYTHING = frozenset({"All", ".*", "*"})


def has_forbidden_characters(text: str) -> bool:
    """Whether `text` holds a character that SQS does not transport."""
    return not text.isprintable() and _FORBIDDEN.search(text) is not None


def check_body(body: str | None) -> str:
    """Check a message body; its greatest size is a matter of the queue."""
    if not body:
        raise missing("MessageBody")
    if has_forbidden_characters(body):
        raise InvalidMessageContents(f"Invalid characters found. Valid unicode characters are {_ALLOWED}")
    return body


def check_attributes(
    attributes: Mapping[str, Mapping[str, Any]] | None, action: str, max_attributes: int = AWS.attributes
) -> Attributes:
    """Check message attributes as a request carries them and return their internal form."""
    if not attributes:
        return {}
    if max_attributes and len(attributes) > max_attributes:
        raise InvalidParameterValue(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [{max_attributes}]."
        )
    checked: Attributes = {}
    for name, value in attributes.items():
        check_name(name)
        checked[name] = _check_value(name, value, action)
    return checked


def check_name(name: str) -> str:
    """Check the name of a message attribute."""
    if not name:
        raise InvalidParameterValue("The request must contain non-empty message (user) attribute names.")
    if len(name) > 256:
        raise InvalidParameterValue("Message (user) attribute names must be shorter than 256 Bytes")
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise InvalidParameterValue(
            "Message (user) attributes name can only contain upper and lower score characters, digits, periods, "
            "hyphens and underscores. "
        )
    if name.lower().startswith(("aws.", "amazon.")) or name[0] == "." or name[-1] == "." or ".." in name:
        raise InvalidParameterValue(
            "You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. "
            "These strings are reserved for internal use. Additionally, they cannot start or end with '.'."
        )
    return name


def _check_value(name: str, value: Mapping[str, Any], action: str) -> tuple[str, str | bytes]:
    data_type = value.get("DataType")
    if not data_type:
        raise InvalidParameterValue(
            f"The message (user) attribute '{name}' must contain a non-empty message attribute type."
        )
    if len(data_type) > 256:
        raise InvalidParameterValue("Message (user) attribute types must be shorter than 256 Bytes")
    base = data_type.partition(".")[0]
    if base not in ("String", "Number", "Binary") or has_forbidden_characters(data_type):
        raise InvalidParameterValue(
            f"The type of message (user) attribute '{name}' is invalid. You must use only the following supported "
            "type prefixes: Binary, Number, String."
        )
    if value.get("StringListValues") or value.get("BinaryListValues"):
        raise UnsupportedOperation(f"Message attribute list values in {action} operation are not supported.")
    if value.get("StringValue") is None and value.get("BinaryValue") is None:
        raise InvalidParameterValue(
            f"The message (user) attribute '{name}' must contain a non-empty message attribute value."
        )
    content = value.get("BinaryValue" if base == "Binary" else "StringValue")
    if not content:
        raise InvalidParameterValue(
            f"Message (user) attribute '{name}' must contain a non-empty value of type '{base}'."
        )
    if base == "Binary":
        return data_type, content.encode() if isinstance(content, str) else bytes(content)
    if has_forbidden_characters(content):
        raise InvalidParameterValue(f"Invalid characters found. Valid unicode characters are {_ALLOWED}")
    if base == "Number" and not is_number(content):
        raise InvalidParameterValue(f"Can't cast the value of message (user) attribute '{name}' to a number.")
    return data_type, content


def is_number(text: str) -> bool:
    """Whether a Number attribute may have this value: up to 38 digits, magnitude 10^-128 to 10^126."""
    if len(text) > 512 or not _NUMBER.fullmatch(text):
        return False
    number = Decimal(text)
    significant = "".join(map(str, number.as_tuple().digits)).strip("0")
    return not number or (len(significant) <= 38 and -128 <= number.adjusted() <= 126)


def check_system_attributes(attributes: Mapping[str, Mapping[str, Any]] | None) -> Attributes:
    """Check the system attributes of a send: there is only AWSTraceHeader."""
    checked: Attributes = {}
    for name, value in (attributes or {}).items():
        if name != TRACE_HEADER:
            raise InvalidParameterValue(f"Message system attribute name '{name}' is invalid.")
        if not value.get("DataType"):
            raise InvalidParameterValue(
                f"The message (system) attribute '{name}' must contain a non-empty message attribute type."
            )
        if value["DataType"] != "String":
            raise InvalidParameterValue(
                f"The type of message (system) attribute '{name}' is invalid. You must use only the following "
                "supported type prefixes: String."
            )
        if not value.get("StringValue"):
            raise InvalidParameterValue(
                f"The message (system) attribute '{name}' must contain a non-empty message attribute value."
            )
        if not _TRACE_HEADER.fullmatch(value["StringValue"]):
            raise InvalidParameterValue(f"The value of message (system) attribute '{name}' is not a trace header.")
        checked[name] = ("String", value["StringValue"])
    return checked


def size_of(body: str, attributes: Attributes) -> int:
    """The size in bytes that counts against the limits: body, and of each attribute name, type and value."""
    size = _bytes(body)
    for name, (data_type, value) in attributes.items():
        size += _bytes(name) + _bytes(data_type) + (_bytes(value) if isinstance(value, str) else len(value))
    return size


def select(attributes: Mapping[str, tuple[str, Any]], patterns: Sequence[str]) -> Attributes:
    """The attributes that MessageAttributeNames asks for.

    `All`, `.*` and `*` select everything; `prefix.*` every name that starts with `prefix`, whether or not a dot
    follows; anything else is an exact name.
    """
    if not attributes or not patterns:
        return {}
    if not _EVERYTHING.isdisjoint(patterns):
        return dict(attributes)
    exact = {pattern for pattern in patterns if not pattern.endswith(".*")}
    prefixes = tuple(pattern[:-2] for pattern in patterns if pattern.endswith(".*"))
    return {name: value for name, value in attributes.items() if name in exact or name.startswith(prefixes)}


def shown(delivery: Delivery, patterns: Sequence[str] = ()) -> Attributes:
    """The attributes of a message, and its trace context as some more, so that instrumentations of SQS clients find it;
    as far as a message of SQS may have so many. Who asks for `otel.*` gets it under these names."""
    attributes = delivery.attributes
    for name, value in delivery.own_trace_context.items():
        for shown_name in (name, OTEL + name) if f"{OTEL}*" in patterns else (name,):
            if len(attributes) < AWS.attributes and name != TRACE_HEADER_FIELD and value:
                attributes.setdefault(shown_name, ("String", value))
    return attributes


def as_shape(attributes: Mapping[str, tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    """Message attributes as a response shows them: name -> MessageAttributeValue."""
    return {
        name: {"BinaryValue" if data_type.startswith("Binary") else "StringValue": value, "DataType": data_type}
        for name, (data_type, value) in attributes.items()
    }


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
