"""Calls of actions without a client: requests and answers are checked with the service model of botocore."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

from rqsqs.cloudwatch import perform
from rqsqs.sqs.context import Context
from tests.lua.conftest import Engine

MODEL = botocore.session.get_session().get_service_model("cloudwatch")
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "double": (int, float),
    "timestamp": datetime,
    "list": list,
    "map": dict,
    "structure": dict,
}


class CloudWatch:
    """The actions, for an engine with a clock to turn."""

    def __init__(self, engine: Engine, *, region: str = "us-east-1", account: str = "000000000000") -> None:
        self.engine = engine
        self.context = Context(engine.transport.space, region=region, account=account)

    def __call__(self, action: str, **params: Any) -> dict[str, Any]:
        operation = MODEL.operation_model(action)
        report = ParamValidator().validate(params, operation.input_shape)
        assert not report.has_errors(), report.generate_report()
        return self.unchecked(action, params)

    def unchecked(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """With parameters that boto3 would not send."""
        answer = self.engine.run(perform(self.context, action, params))
        assert isinstance(answer, dict)
        output = MODEL.operation_model(action).output_shape
        if output is None:
            assert answer == {}
        else:
            check(answer, output, action)
        return answer

    def pages(self, action: str, key: str, **params: Any) -> list[list[Any]]:
        """All pages of an answer."""
        found = []
        answer = self(action, **params)
        found.append(answer[key])
        while "NextToken" in answer:
            answer = self(action, **params, NextToken=answer["NextToken"])
            found.append(answer[key])
        return found


def check(value: Any, shape: Any, path: str) -> None:
    """Is it as the model says, with lengths and enumerations?"""
    assert isinstance(value, TYPES[shape.type_name]), f"{path}: {value!r}"
    bounds = shape.metadata
    if "enum" in bounds:
        assert value in bounds["enum"], f"{path}: {value!r}"
    if shape.type_name == "timestamp":
        assert value.tzinfo is not None, path
    if shape.type_name in ("string", "list"):
        assert bounds.get("min", 0) <= len(value) <= bounds.get("max", 10**9), f"{path}: {len(value)}"
    if shape.type_name == "structure":
        assert set(shape.required_members) <= value.keys() <= shape.members.keys(), f"{path}: {sorted(value)}"
        for name, each in value.items():
            check(each, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for number, each in enumerate(value):
            check(each, shape.member, f"{path}[{number}]")
