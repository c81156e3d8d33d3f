"""Requests and responses by the service model that botocore has of CloudWatch.

CloudWatch has times and numbers with fractions, which botocore takes in many forms, and older versions of botocore
serialise its requests as forms. So its parameters are read here, not from the body. And as a parser would, older
versions see no members that they do not know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any

from botocore.utils import parse_to_aware_datetime

from rqsqs.sqs.malformed import Malformed

_WANTED = {
    "string": "a String",
    "integer": "an Integer",
    "long": "an Integer",
    "boolean": "a Boolean",
    "double": "a Double",
    "float": "a Double",
    "timestamp": "a Timestamp",
}


def as_shape(value: Any, shape: Any) -> Any:
    """A value as its shape has it; members that are None, or that the shape does not know, are left out.

    Raises:
        Malformed: it is of another type.
    """
    kind = shape.type_name
    if kind == "structure" and isinstance(value, Mapping):
        members = shape.members
        given = {name: value[name] for name in members if value.get(name) is not None}
        return {name: as_shape(member, members[name]) for name, member in given.items()}
    if kind == "list" and isinstance(value, list | tuple):
        return [as_shape(item, shape.member) for item in value if item is not None]
    if kind == "map" and isinstance(value, Mapping):
        return {str(name): as_shape(member, shape.value) for name, member in value.items() if member is not None}
    read = _SCALARS.get(kind)
    found = None if read is None else read(value)
    if found is None:
        raise Malformed(f"{type(value).__name__} can not be converted to {_WANTED.get(kind, f'a {kind}')}")
    return found


def known(value: Any, shape: Any) -> Any:
    """A response without members that the shape does not know."""
    if shape.type_name == "structure":
        return {name: known(value[name], member) for name, member in shape.members.items() if name in value}
    if shape.type_name == "list":
        return [known(item, shape.member) for item in value]
    return value


def _string(value: Any) -> str | None:
    return str.__str__(value) if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _double(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _timestamp(value: Any) -> Any:
    try:
        return parse_to_aware_datetime(value).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None


_SCALARS = {
    "string": _string,
    "integer": _integer,
    "long": _integer,
    "boolean": _boolean,
    "double": _double,
    "float": _double,
    "timestamp": _timestamp,
}
