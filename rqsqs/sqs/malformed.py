"""Requests that cannot be read, in the words of the framework in front of SQS, whichever API reads them."""

from __future__ import annotations

from typing import Any

from rqsqs.errors import RequestError

_TOKENS = {str: "STRING_VALUE", int: "NUMBER_VALUE", float: "DECIMAL_VALUE"}
_JAVA = {str: "String", bool: "Boolean", int: "Integer", float: "Double"}


class Malformed(RequestError):
    """The request cannot be read as its protocol says, or a member has another type than the service model says."""

    sqs_code = "MalformedInput"
    sqs_shape = "SerializationException"


def unexpected(value: Any) -> Malformed:
    """A value of JSON is of the wrong kind: a list, a structure, or neither."""
    if isinstance(value, list):
        return Malformed("Start of list found where not expected")
    if isinstance(value, dict):
        return Malformed("Start of structure or map found where not expected.")
    return Malformed(f"Unrecognized collection type class java.lang.{_JAVA.get(type(value), 'Object')}")


def not_convertible(value: Any, wanted: str) -> Malformed:
    """A scalar of JSON is of another type than `wanted`, such as `an Integer`."""
    token = f"{value}_VALUE".upper() if isinstance(value, bool) else _TOKENS.get(type(value), "VALUE")
    return Malformed(f"{token} can not be converted to {wanted}")
