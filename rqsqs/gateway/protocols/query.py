"""AWS Query: parameters from a form or a query string.

Lists and maps of SQS are flattened: `Attribute.1.Name=DelaySeconds&Attribute.1.Value=5`; those of CloudWatch are not:
`Dimensions.member.1.Name=QueueName`. Names that mean nothing are ignored, as SDKs write an empty list as `Entries=`.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from rqsqs.sqs.malformed import Malformed, not_convertible

from .json import blob
from .model import List, Map, Scalar, Shape, Structure

MOST_FIELDS = 10_000
_DEEPEST = 8
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_DOUBLE = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}

Tree = dict[str | None, Any]  # part of a name -> Tree; None -> the value


def fields(text: bytes) -> list[tuple[str, str]]:
    """Names and values of a form or a query string.

    Raises:
        Malformed: it is not UTF-8, or has too many of them.
    """
    if not text:
        return []
    try:
        parts = text.decode().split("&")
        if len(parts) > MOST_FIELDS:
            raise ValueError
        pairs = [part.partition("=") for part in parts if part]
        return [(_decoded(name), _decoded(value)) for name, _, value in pairs]  # parse_qsl takes three times as long
    except ValueError:
        raise Malformed(f"A form must be up to {MOST_FIELDS:,} fields in UTF-8") from None


def _decoded(text: str) -> str:
    return unquote(text.replace("+", " "), errors="strict") if "%" in text or "+" in text else text


def read(form: dict[str, str], shape: Structure) -> dict[str, Any]:
    """The parameters of a request.

    Raises:
        Malformed: a value is not of the type that the shape says.
    """
    tree: Tree = {}
    for name, value in form.items():
        if "." in name:
            node = tree
            for part in name.split(".", _DEEPEST):
                node = node.setdefault(part, {})
            node[None] = value
        else:
            tree.setdefault(name, {})[None] = value
    return _structure(tree, shape)


def _structure(tree: Tree, shape: Structure) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in shape.members.items():
        if isinstance(kind, Scalar):
            node = tree.get(name)
            if node is not None and None in node:
                value = _scalar(node[None], kind)
                if value is not None:
                    found[name] = value
        elif isinstance(kind, Structure):
            node = tree.get(name)
            if node is not None:
                found[name] = _structure(node, kind)
        else:
            node = tree.get(kind.name) or tree.get(name)  # kombu writes AttributeNames.1
            if kind.is_wrapped:
                node = tree.get(name, {}).get(kind.name)
            if node is not None:
                items = _items(node)
                if items:
                    found[name] = _list(items, kind) if isinstance(kind, List) else _map(items, kind)
    return found


def _items(node: Tree) -> list[Tree]:
    """The items of a list or map in the order of their numbers; one that is not numbered stands alone."""
    numbered = sorted((int(part), part) for part in node if part is not None and _NUMBER.fullmatch(part))
    if numbered:
        return [node[part] for _, part in numbered]
    return [] if node.get(None) == "" else [node]


def _list(items: list[Tree], shape: List) -> list[Any]:
    return [_value(item, shape.item) for item in items if None in item or not isinstance(shape.item, Scalar)]


def _map(items: list[Tree], shape: Map) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        name = item.get(shape.key, {}).get(None, "")
        value = item.get(shape.value)
        if value is not None:
            found[name] = _value(value, shape.item)
        elif isinstance(shape.item, Structure):
            found[name] = {}
        elif name:
            found[name] = ""
    return found


def _value(node: Tree, shape: Shape) -> Any:
    if isinstance(shape, Scalar):
        return _scalar(node.get(None, ""), shape)
    if isinstance(shape, Structure):
        return _structure(node, shape)
    return _list(_items(node), shape) if isinstance(shape, List) else _map(_items(node), shape)


def _scalar(text: str, shape: Scalar) -> Any:
    if shape is Scalar.STRING:
        return text
    if shape is Scalar.BLOB:
        return blob(text)
    if not text:
        return None
    if shape is Scalar.BOOLEAN:
        if text.lower() not in _BOOLEANS:
            raise not_convertible(text, shape.value)
        return _BOOLEANS[text.lower()]
    if shape is Scalar.DOUBLE:
        number = float(text) if _DOUBLE.fullmatch(text) else math.inf
        if not math.isfinite(number):
            raise not_convertible(text, shape.value)
        return number
    if shape is Scalar.TIMESTAMP:
        return _time(text)
    if not _INTEGER.fullmatch(text):
        raise not_convertible(text, shape.value)
    return int(text)


def _time(text: str) -> datetime:
    """A time of ISO 8601; one without an offset is in UTC."""
    found = _TIME.fullmatch(text)
    if found is not None:
        day, clock, fraction, offset = found.groups()
        try:
            time = datetime.fromisoformat(f"{day}T{clock or '00:00'}{offset or 'Z'}").astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        else:
            return time.replace(microsecond=int(f"{fraction or 0:0<6}"[:6]))
    raise not_convertible(text, Scalar.TIMESTAMP.value)
