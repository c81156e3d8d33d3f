"""A filled-in example of each request and response of CloudWatch, made from botocore's service model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import botocore.session

MOMENT = datetime(2026, 11, 27, 17, 30, 15, 250_000, UTC)
MODEL = botocore.session.get_session().get_service_model("cloudwatch")
SCALARS: dict[str, Any] = {
    "string": 'a "text" <&> \r\n☃',
    "integer": 60,
    "long": -(2**40),
    "boolean": True,
    "double": 21.5,
    "timestamp": MOMENT,
}


def example(shape: Any) -> Any:
    """Every member is there, lists and maps have two items."""
    kind = shape.type_name
    if kind == "structure" and shape.is_tagged_union:
        name, member = next(iter(shape.members.items()))
        return {name: example(member)}
    if kind == "structure":
        return {name: example(member) for name, member in shape.members.items()}
    if kind == "list":
        return [example(shape.member)] * 2
    if kind == "map":
        return {"p50": example(shape.value), "p99 ☃": example(shape.value)}
    if getattr(shape, "enum", None):
        return shape.enum[0]
    return SCALARS[kind]


def request_of(action: str) -> dict[str, Any]:
    """Parameters."""
    return dict(example(MODEL.operation_model(action).input_shape))


def response_of(action: str) -> dict[str, Any]:
    """A response."""
    shape = MODEL.operation_model(action).output_shape
    return {} if shape is None else dict(example(shape))


def empty(action: str) -> dict[str, Any]:
    """A response in which lists are there, and empty."""
    shape = MODEL.operation_model(action).output_shape
    members = {} if shape is None else shape.members
    return {name: [] for name, member in members.items() if member.type_name == "list"}
