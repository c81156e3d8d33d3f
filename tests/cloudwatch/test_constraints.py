"""The constraints of parameters: those of the service model, in the words of the framework in front of CloudWatch."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from rqsqs.cloudwatch.constraints import ACTIONS, Member, check
from rqsqs.cloudwatch.errors import ValidationError
from rqsqs.cloudwatch.put_alarms import UNSUPPORTED

MODEL = botocore.session.get_session().get_service_model("cloudwatch")


def refused(action: str, **params: Any) -> str:
    with pytest.raises(ValidationError) as info:
        check(action, params)
    return str(info.value)


def modelled(shape: Any, *, is_required: bool = False) -> Member:
    """A shape of the model as a Member."""
    bounds = shape.metadata
    return Member(
        bounds.get("min"),
        bounds.get("max"),
        bounds.get("pattern"),
        tuple(sorted(bounds.get("enum", ()))),
        modelled(shape.member) if shape.type_name == "list" else None,
        structure(shape) if shape.type_name == "structure" else {},
        is_required,
    )


def structure(shape: Any) -> dict[str, Member]:
    return {
        name: modelled(each, is_required=name in shape.required_members)
        for name, each in shape.members.items()
        if name not in UNSUPPORTED
    }


def in_order(member: Member) -> Member:
    """The same with the values of enumerations sorted: CloudWatch itself has them in any order."""
    items = in_order(member.items) if member.items else None
    members = {name: in_order(each) for name, each in member.members.items()}
    return Member(
        member.least, member.most, member.pattern, tuple(sorted(member.allowed)), items, members, member.is_required
    )


@pytest.mark.skipif("LogAlarms" not in MODEL.shape_for("DescribeAlarmsOutput").members, reason="an older model")
@pytest.mark.parametrize("action", ACTIONS)
def test_the_constraints_are_those_of_the_service_model(action: str) -> None:
    model = structure(MODEL.operation_model(action).input_shape)
    assert {name: in_order(member) for name, member in ACTIONS[action].items()} == model


def test_what_is_wrong_is_said_in_the_words_of_the_framework() -> None:
    alarm = {"AlarmName": "a", "StateReason": "because"}
    assert refused("SetAlarmState", **alarm, StateValue="BAD") == (
        "1 validation error detected: Value 'BAD' at 'stateValue' failed to satisfy constraint: "
        "Member must satisfy enum value set: [INSUFFICIENT_DATA, ALARM, OK]"
    )
    assert refused("SetAlarmState", **alarm) == (
        "1 validation error detected: Value null at 'stateValue' failed to satisfy constraint: Member must not be null"
    )
    assert refused("DescribeAlarms", MaxRecords=101) == (
        "1 validation error detected: Value '101' at 'maxRecords' failed to satisfy constraint: "
        "Member must have value less than or equal to 100"
    )
    assert refused("DescribeAlarms", AlarmNames=["a", ""]) == (
        "1 validation error detected: Value '' at 'alarmNames.2.member' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1"
    )
    assert refused("DeleteAlarms", AlarmNames=["a"] * 101).endswith(
        "at 'alarmNames' failed to satisfy constraint: Member must have length less than or equal to 100"
    )


def test_everything_that_is_wrong_is_said() -> None:
    told = refused("PutMetricAlarm", Namespace=":x", Dimensions=[{"Name": "QueueName"}])
    assert told == (
        "3 validation errors detected: "
        "Value null at 'alarmName' failed to satisfy constraint: Member must not be null; "
        "Value ':x' at 'namespace' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [^:].*; "
        "Value null at 'dimensions.1.member.value' failed to satisfy constraint: Member must not be null"
    )


def test_a_long_or_hostile_value_is_told_shortly_and_in_one_line() -> None:
    told = refused("DescribeAlarms", AlarmNamePrefix="\x1b[2J\n" + "x" * 100_000)
    assert len(told) < 1000
    assert told.isprintable()


def test_a_refusal_is_short_however_much_is_wrong() -> None:
    dimensions = [{"Name": "", "Value": "v" * 2000}] * 50_000
    assert len(refused("PutMetricAlarm", AlarmName="a", Dimensions=dimensions)) < 20_000
    assert len(refused("DescribeAlarms", AlarmNames=["\U000e0001" * 256] * 100)) < 20_000


def test_members_that_are_null_count_as_absent_at_any_depth() -> None:
    query = {"Id": "m1", "Expression": "1", "Label": None}
    assert check("PutMetricAlarm", {"AlarmName": "a", "Unit": None, "Metrics": [query]}) == {
        "AlarmName": "a",
        "Metrics": [{"Id": "m1", "Expression": "1"}],
    }
