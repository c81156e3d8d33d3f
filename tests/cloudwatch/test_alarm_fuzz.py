"""Whatever a request about alarms holds, it is answered as the service model says, or refused with an error."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from rqsqs._text import printable
from rqsqs.cloudwatch.constraints import ACTIONS
from rqsqs.errors import RequestError
from tests.cloudwatch.calls import MODEL, CloudWatch
from tests.lua.conftest import Engine

NAMES = ["a", "b", "c"]
TEXTS = [
    *NAMES,
    *[f"arn:aws:cloudwatch:us-east-1:000000000000:alarm:{name}" for name in NAMES],
    *["ALARM(a)", "NOT OK(b) AND ALARM(c)", "TRUE", "m1", "SUM(METRICS())", "m1 / m2", "p99", "own", "AWS/SQS"],
    *["NumberOfMessagesSent", "QueueName", "{}", "", "missing", "ignore", "log:", "\x1b[2J", "é" * 300, "{" * 5000],
]
texts = st.sampled_from(TEXTS) | st.text(max_size=20) | st.text(st.characters(categories=["Cs", "Cc", "L"]), max_size=5)
whole = st.sampled_from([0, 1, 2, 60, 300, 3600, 100, 101, -1, 2**63, 10**400])
TIMES = [datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]


def values(shape: Any) -> st.SearchStrategy[Any]:
    """Of the type that the model says, and mostly of no use."""
    if shape.type_name == "structure":
        members = {name: values(each) for name, each in shape.members.items()}
        return st.fixed_dictionaries({}, optional=members)
    if shape.type_name == "list":
        return st.lists(values(shape.member), max_size=3)
    if shape.type_name == "timestamp":
        return st.sampled_from(TIMES) | st.datetimes(timezones=st.just(UTC))
    if enum := shape.metadata.get("enum"):
        return st.sampled_from(enum) | texts
    return {"boolean": st.booleans(), "double": st.floats() | whole, "integer": whole}.get(shape.type_name, texts)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """With most of what an action needs."""
    action = draw(st.sampled_from(sorted(ACTIONS)))
    shape = MODEL.operation_model(action).input_shape
    params = draw(values(shape))
    for name in shape.required_members:
        params.setdefault(name, draw(values(shape.members[name])))
    if action == "PutMetricAlarm" and draw(st.booleans()):
        good = {"AlarmName": draw(st.sampled_from(NAMES)), "Namespace": "own", "MetricName": "m", "Statistic": "Sum"}
        good |= {"Period": 60, "EvaluationPeriods": 2, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold"}
        params = good | {name: value for name, value in params.items() if draw(st.integers(0, 3)) == 0}
    return action, params


@pytest.fixture
def cloudwatch(valkey_url: str, prefix: str) -> Iterator[CloudWatch]:
    engine = Engine(valkey_url, prefix)
    yield CloudWatch(engine)
    engine.transport.close()


@given(st.lists(requests(), min_size=1, max_size=5))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_request_is_answered_or_refused(cloudwatch: CloudWatch, asked: list[tuple[str, dict[str, Any]]]) -> None:
    refusals = []
    for action, params in asked:
        try:
            cloudwatch.unchecked(action, params)
        except RequestError as error:
            refusals.append(error.sqs_message)
    assert [text for text in refusals if len(text) > 20_000 or printable(text) != text] == []
    cloudwatch("DescribeAlarms", AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    cloudwatch("DescribeAlarmHistory", AlarmTypes=["MetricAlarm", "CompositeAlarm"])
