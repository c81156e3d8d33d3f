"""AWS Query: parameters from a form or a query string.

Lists and maps are flattened: `Attribute.1.Name=DelaySeconds&Attribute.1.Value=5`. Names that mean nothing are ignored,
as SDKs write an empty list as `Entries=`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from rqsqs.sqs.malformed import Malformed, not_convertible

from .json import blob
from .model import List, Map, Scalar, Shape, Structure

MOST_FIELDS = 10_000
_DEEPEST = 8
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[0-9]{1,9}")
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
        return parse_qsl(
            text.decode(), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise Malformed(f"A form must be up to {MOST_FIELDS:,} fields in UTF-8") from None


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
    if not _INTEGER.fullmatch(text):
        raise not_convertible(text, shape.value)
    return int(text)
