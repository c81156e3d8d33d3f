"""How the parameters and the response of an action are built; shapes.py says it for each action.

`name` is what the Query protocol calls an item of a list or map; the JSON protocol knows the member's name only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Scalar(Enum):
    """A single value."""

    STRING = "a String"
    INTEGER = "an Integer"
    BOOLEAN = "a Boolean"
    BLOB = "a Blob"
    DOUBLE = "a Double"
    TIMESTAMP = "a Timestamp"


@dataclass(frozen=True, slots=True, eq=False)
class List:
    """Several values of one shape.

    Attributes:
        is_wrapped: whether the Query protocol has the items below the member's name: `Tags.member.1`, not `Tag.1`.
    """

    name: str
    item: Shape
    is_wrapped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Values of one shape, by text.

    Attributes:
        key, value: what the Query protocol calls the two parts of an item.
        is_wrapped: as of a list.
    """

    name: str
    key: str
    value: str
    item: Shape
    is_wrapped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """Members by name."""

    members: dict[str, Shape]


Shape = Scalar | List | Map | Structure


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """An action.

    Attributes:
        request: its parameters.
        response: None = it answers nothing.
    """

    request: Structure
    response: Structure | None
