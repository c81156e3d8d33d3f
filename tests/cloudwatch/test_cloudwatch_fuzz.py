"""Whatever a client of CloudWatch sends, the answer is one of CloudWatch: never a failure, never a traceback.

RQSQS_FUZZ_SECONDS lets each test go on for so long.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("hypothesis")

from hypothesis import strategies as st

from rqsqs.cloudwatch import CLOUDWATCH
from rqsqs.gateway.protocols import query
from rqsqs.gateway.protocols.cloudwatch_shapes import ACTIONS
from rqsqs.gateway.protocols.model import List, Map, Scalar, Shape, Structure
from tests.gateway.mutations import mutated
from tests.gateway.test_fuzz import SECONDS, Client, junk, numbers, texts, until_over

TARGET = f"{CLOUDWATCH.target}.".encode()
words = st.sampled_from(
    ["late", "AWS/SQS", "rqsqs", "NumberOfMessagesSent", "oldest_age_s", "dwell", "QueueName", "orders", "Sum",
     "Average", "SampleCount", "p99", "p100.1", "tm99", "OK", "ALARM", "GreaterThanThreshold", "missing", "Count",
     "None", "log:", "ALARM(late)", "NOT (OK(late) OR TRUE)", "m1 + m2", "SUM(METRICS())", "FILL(m1, REPEAT)",
     "IF(m1 > 0, m1, m2)", "m1", "${MAX} at ${MAX_TIME}", "arn:aws:cloudwatch:us-east-1:000000000000:alarm:late",
     "TimestampAscending", "MetricAlarm", "CompositeAlarm", "StateUpdate", "PT3H", "+0130", "{}"]
)  # fmt: skip
NOW = time.time()
doubles = st.one_of(st.integers(-5, 500), st.floats(allow_nan=True), st.just(10**400))
times = st.one_of(
    st.floats(NOW - 20_000, NOW),
    st.sampled_from([NOW, NOW - 60, NOW - 3600, NOW - 1e6, NOW + 1e6, 0, -1, -1e11, 253402300799, 1e12, 1e300, None]),
)


def values(shape: Shape) -> st.SearchStrategy[Any]:
    """Mostly what the shape wants."""
    if isinstance(shape, Scalar):
        right: st.SearchStrategy[Any] = {
            Scalar.INTEGER: st.sampled_from([1, 2, 10, 60, 300, 3600]) | numbers,
            Scalar.DOUBLE: doubles,
            Scalar.TIMESTAMP: times,
            Scalar.BOOLEAN: st.booleans(),
        }.get(shape, words | texts)
    elif isinstance(shape, List):
        right = st.lists(values(shape.item), max_size=4)
    elif isinstance(shape, Map):
        right = st.dictionaries(texts, values(shape.item), max_size=4)
    else:
        right = st.fixed_dictionaries({}, optional={name: values(each) for name, each in shape.members.items()})
    return st.integers(0, 99).flatmap(lambda n: junk if n == 0 else right)


def request_of(shape: Structure) -> st.SearchStrategy[dict[str, Any]]:
    members = {name: values(each) for name, each in shape.members.items()}
    return st.one_of(
        st.fixed_dictionaries({}, optional=members),
        st.fixed_dictionaries(members),
    )


requests = st.sampled_from(sorted(ACTIONS)).flatmap(
    lambda name: st.tuples(st.just(name), request_of(ACTIONS[name].request))
)


def fields(value: Any, shape: Shape | None, name: str) -> Iterator[tuple[str, str]]:
    """As a form."""
    if isinstance(value, dict):
        members = shape.members if isinstance(shape, Structure) else {}
        for each, member in value.items():
            yield from fields(member, members.get(each), f"{name}.{each}" if name else each)
    elif isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from fields(item, shape.item if isinstance(shape, List) else None, f"{name}.member.{number}")
    elif shape is Scalar.TIMESTAMP and isinstance(value, int | float):
        with contextlib.suppress(ValueError, OverflowError, OSError):
            yield name, datetime.fromtimestamp(value, UTC).isoformat()
    elif value is not None:
        yield name, str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture
def caller(valkey_url: str, prefix: str) -> Iterator[Client]:
    client = Client(valkey_url, prefix)
    with contextlib.closing(client):
        put = {
            "AlarmName": "late", "Namespace": "AWS/SQS", "MetricName": "NumberOfMessagesSent", "Statistic": "Sum",
            "Dimensions": [{"Name": "QueueName", "Value": "orders"}], "Period": 60, "EvaluationPeriods": 1,
            "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
        }  # fmt: skip
        assert client.ask(json.dumps(put).encode(), [(b"x-amz-target", TARGET + b"PutMetricAlarm")]) == 200
        client.ends = time.monotonic() + SECONDS
        yield client


def test_json(caller: Client) -> None:
    seen: dict[int, int] = {}

    @until_over(caller, requests)
    def one(request: tuple[str, Any]) -> None:
        action, params = request
        status = caller.ask(json.dumps(params).encode(), [(b"x-amz-target", TARGET + action.encode())])
        seen[status] = seen.get(status, 0) + 1

    assert seen.get(200), "many have to be understood"


def test_forms(caller: Client) -> None:
    seen: dict[int, int] = {}

    @until_over(caller, requests)
    def one(request: tuple[str, Any]) -> None:
        action, params = request
        head = [("Action", action), ("Version", CLOUDWATCH.version)]
        form = urlencode([*head, *fields(params, ACTIONS[action].request, "")], errors="surrogatepass").encode()
        status = caller.ask(form, [])
        seen[status] = seen.get(status, 0) + 1

    assert seen.get(200), "many have to be understood"


def test_bytes(caller: Client) -> None:
    """What is almost a request."""
    metric = {"Metric": {"Namespace": "AWS/SQS", "MetricName": "NumberOfMessagesSent"}, "Period": 60, "Stat": "Sum"}
    asked = {"MetricDataQueries": [{"Id": "m", "MetricStat": metric}], "StartTime": NOW - 600, "EndTime": NOW}
    seeds = [
        ("GetMetricData", json.dumps(asked)),
        ("PutMetricAlarm", json.dumps({"AlarmName": "a", "Threshold": 1.5, "ActionsEnabled": True, "Tags": [{}]})),
        ("DescribeAlarms", "Action=DescribeAlarms&Version=2010-08-01&AlarmNames.member.1=late&MaxRecords=5"),
        ("DescribeAlarms", "\xa2\x6aMaxRecords\x05\x6aAlarmNames\x9f\x64late\xff"),
        ("SetAlarmState", "\xa2\x69AlarmName\x64late\x6aStateValue\x62OK"),
        (
            "GetMetricData",
            "\xa2\x69StartTime\xc1\xfb\x41\xda\xc0\x00\x00\x00\x00\x00\x67EndTime\xc1\x1a\x6b\x00\x00\x00",
        ),
        ("GetMetricStatistics", "Action=GetMetricStatistics&Version=2010-08-01&StartTime=2026-11-27T00:00:00Z"),
    ]
    source = random.Random(7)
    while time.monotonic() < caller.ends:
        action, seed = source.choice(seeds)
        body = mutated(mutated(seed.encode("latin-1"), source), source)
        if seed[0] == "\xa2":
            path = f"/service/{CLOUDWATCH.target}/operation/{action}"
            caller.ask(body, [(b"smithy-protocol", b"rpc-v2-cbor")], path=path)
        else:
            caller.ask(body, [(b"x-amz-target", TARGET + action.encode())] if seed[0] == "{" else [])


def test_many_fields_take_no_time() -> None:
    """Neither deep names nor long numbers make reading slow."""
    for action, name in (("PutMetricAlarm", "Metrics.member"), ("GetMetricData", "MetricDataQueries.member")):
        shape = ACTIONS[action].request
        for form in (
            {f"{name}.1{'.MetricStat' * 5000}{n}": "x" for n in range(20)},
            {f"{name}.{n}.Id": "x" for n in range(9000)},
            {f"{name}.{'9' * 5000}{n}.Id": "x" for n in range(9)},
            {"Threshold": "1" * 1_000_000, "StartTime": "2" * 1_000_000},
        ):
            began = time.process_time()
            with contextlib.suppress(ValueError, query.Malformed):
                query.read(form, shape)
            assert time.process_time() - began < 5
