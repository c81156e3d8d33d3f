"""The parameters of a request as a server would read them from JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

from rqsqs.sqs.malformed import not_convertible, unexpected

_PLAIN = frozenset({str, int, bytes})
_SCALARS: dict[str, tuple[type, str]] = {"string": (str, "a String"), "integer": (int, "an Integer")}


class Unusual(Exception):
    """What botocore makes of a value is seen in the JSON only."""


def read(validated: Any, body: bytes, shape: Any) -> Any:
    """The parameters of a request.

    Args:
        validated: what botocore made `body` from, after a look at the types, which saves reading it; None = it did not.
        body: JSON.
        shape: botocore's, of the input.

    Raises:
        Malformed: a member has another type than the shape says.
    """
    if validated is not None:
        try:
            return plain(validated)
        except Unusual:
            pass
    return _as_shape(json.loads(body), shape)


def plain(value: Any) -> Any:
    """Replace what is of a subclass, such as members of enumerations, by what botocore would write into JSON.

    Raises:
        Unusual: it is something else, such as True for a number, which botocore lets pass.
    """
    if type(value) in _PLAIN:
        return value
    if type(value) is dict:
        for name, member in value.items():
            if type(name) is not str or type(member) not in _PLAIN:
                break
        else:
            return value.copy()  # the common case
    if isinstance(value, dict):
        return {plain(name): plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and type(value) is not bool:
        return int(value)
    raise Unusual


def _as_shape(value: Any, shape: Any) -> Any:
    """Read a value of JSON; null is nothing, wherever it is."""
    kind = shape.type_name
    if kind in ("structure", "map"):
        if not isinstance(value, dict):
            raise unexpected(value)
        shapes = shape.members if kind == "structure" else dict.fromkeys(value, shape.value)
        present = {name: member for name, member in value.items() if name in shapes and member is not None}
        return {name: _as_shape(member, shapes[name]) for name, member in present.items()}
    if kind == "list":
        if not isinstance(value, list):
            raise unexpected(value)
        return [_as_shape(item, shape.member) for item in value if item is not None]
    if isinstance(value, (list, dict)):
        raise unexpected(value)
    wanted, name = _SCALARS.get(kind, _SCALARS["string"])
    if type(value) is not wanted:
        raise not_convertible(value, name)
    blob: Any = value
    return base64.b64decode(blob) if kind == "blob" else value
