"""CloudWatch over the gateway, in JSON and in Query: botocore writes the requests and reads the answers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

pytest.importorskip("boto3")
pytest.importorskip("uvicorn")

import botocore.parsers
import botocore.serialize

from rqsqs.cloudwatch import CLOUDWATCH, actions, errors
from rqsqs.gateway.keys_editing import NewUser, add_key
from rqsqs.gateway.protocols.cloudwatch_shapes import ACTIONS
from rqsqs.gateway.request import HttpRequest, HttpResponse
from tests.cloudwatch.examples import MODEL, MOMENT, empty, request_of, response_of
from tests.gateway.direct import Direct
from tests.gateway.signing import signed

PROTOCOLS = ("json", "query")
ANYTHING = {"Effect": "Allow", "Action": "cloudwatch:*", "Resource": "*"}


class Wire:
    """A gateway whose actions of CloudWatch note what they are asked, and answer what they are told to."""

    def __init__(self, url: str, prefix: str, path: Path) -> None:
        self.key = add_key(path, "ann", NewUser(statements=(ANYTHING,)))
        self.at = Direct(url=url, prefix=prefix, keys=path)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.response: dict[str, Any] = {}
        self.error: Exception | None = None

    def action(self, name: str) -> Callable[..., Any]:
        def run(_: Any, params: dict[str, Any]) -> Iterator[Any]:
            self.asked.append((name, params))
            if self.error is not None:
                raise self.error
            return self.response
            yield

        return run

    def ask(self, headers: dict[str, str], body: bytes, path: str = "/", method: str = "POST") -> HttpResponse:
        """A signed request."""
        return self.at.ask(
            signed(
                method=method, path=path, headers=headers, body=body, key_id=self.key.key_id,
                secret=self.key.secret or "", at=time.time(), service="monitoring",
            )
        )  # fmt: skip

    def call(self, protocol: str, action: str, params: dict[str, Any]) -> tuple[HttpResponse, dict[str, Any]]:
        """A request as botocore writes it, and its answer as botocore reads it."""
        operation = MODEL.operation_model(action)
        written = botocore.serialize.create_serializer(protocol, False).serialize_to_request(params, operation)
        headers, body = dict(written["headers"]), written["body"]
        if protocol == "query":
            headers["Content-Type"], body = "application/x-www-form-urlencoded; charset=utf-8", urlencode(body).encode()
        answer = self.ask(headers, body)
        parser = botocore.parsers.create_parser(protocol)
        read = {"status_code": answer.status, "headers": answer.headers, "body": answer.body}
        parsed = parser.parse(read, operation.output_shape)
        parsed.pop("ResponseMetadata")
        return answer, parsed


@pytest.fixture
def wire(valkey_url: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    wire = Wire(valkey_url, prefix, tmp_path / "keys.toml")
    for name in ACTIONS:
        monkeypatch.setitem(actions.ACTIONS, name, wire.action(name))
    with contextlib.closing(wire.at):
        yield wire


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_member_of_every_action_goes_both_ways(wire: Wire, protocol: str, action: str) -> None:
    wire.response = response_of(action)
    answer, parsed = wire.call(protocol, action, request_of(action))
    assert answer.status == 200, answer
    assert wire.asked == [(action, request_of(action))]
    assert parsed == response_of(action)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("action", ACTIONS)
def test_empty_lists_are_there(wire: Wire, protocol: str, action: str) -> None:
    wire.response = empty(action)
    answer, parsed = wire.call(protocol, action, {})
    assert answer.status == 200, answer
    assert parsed == empty(action)


def test_all_actions_of_the_table_have_shapes_and_are_in_the_model() -> None:
    assert set(actions.ACTIONS) <= set(ACTIONS) <= set(MODEL.operation_names)


def test_times_are_seconds_in_json_and_iso_in_xml(wire: Wire) -> None:
    whole = datetime(2026, 11, 27, 17, 30, tzinfo=UTC)
    wire.response = {"Label": "x", "Datapoints": [{"Timestamp": whole}, {"Timestamp": MOMENT}]}
    answer, _ = wire.call("json", "GetMetricStatistics", {})
    assert [each["Timestamp"] for each in json.loads(answer.body)["Datapoints"]] == [1795800600, 1795800615.25]
    answer, _ = wire.call("query", "GetMetricStatistics", {})
    assert b"<Timestamp>2026-11-27T17:30:00Z</Timestamp>" in answer.body
    assert b"<Timestamp>2026-11-27T17:30:15.250Z</Timestamp>" in answer.body


def query(action: str, **fields: str) -> bytes:
    return urlencode({"Action": action, "Version": "2010-08-01", **fields}).encode()


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-27T17:30:15.25Z", MOMENT),
        ("2026-11-27T17:30:15.250+00:00", MOMENT),
        ("2026-11-27T19:30:15.2500+0200", MOMENT),
        ("2026-11-27T17:30:00", datetime(2026, 11, 27, 17, 30, tzinfo=UTC)),
        ("2026-11-27 17:30Z", datetime(2026, 11, 27, 17, 30, tzinfo=UTC)),
        ("2026-11-27", datetime(2026, 11, 27, tzinfo=UTC)),
    ],
)
def test_times_in_a_form(wire: Wire, text: str, wanted: datetime) -> None:
    assert wire.ask(FORM, query("GetMetricData", StartTime=text)).status == 200
    assert wire.asked == [("GetMetricData", {"StartTime": wanted})]


@pytest.mark.parametrize(
    "text", ["now", "1795800615", "2026-13-01", "2026-11-27T25:00:00Z", "0001-01-01T00:00+23:59", "☃"]
)
def test_what_is_no_time_in_a_form_is_refused(wire: Wire, text: str) -> None:
    answer = wire.ask(FORM, query("GetMetricData", StartTime=text))
    assert answer.status == 400
    assert b"<Code>MalformedInput</Code>" in answer.body


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("Threshold", "5"),
        ("Threshold", True),
        ("Threshold", 10**400),
        ("Threshold", []),
        ("ActionsEnabled", "true"),
        ("ActionsEnabled", 1),
        ("Period", 60.5),
        ("Dimensions", {}),
        ("Dimensions", ["x"]),
        ("AlarmName", 5),
        ("Tags", "x"),
        ("WarmUpConfiguration", []),
    ],
)
def test_values_of_another_type_are_refused(wire: Wire, member: str, value: Any) -> None:
    body = json.dumps({member: value}).encode()
    answer = wire.ask({"x-amz-target": f"{CLOUDWATCH.target}.PutMetricAlarm"}, body)
    assert (answer.status, answer.headers["x-amzn-query-error"]) == (400, "MalformedInput;Sender")
    assert wire.asked == []


@pytest.mark.parametrize("body", [b'{"Threshold": 1e999}', b'{"Threshold": NaN}', b'{"Threshold": -Infinity}'])
def test_numbers_without_end_are_refused(wire: Wire, body: bytes) -> None:
    answer = wire.ask({"x-amz-target": f"{CLOUDWATCH.target}.PutMetricAlarm"}, body)
    assert (answer.status, answer.headers["x-amzn-query-error"]) == (400, "MalformedInput;Sender")


@pytest.mark.parametrize("number", ["1e999", "nan", "inf", "0x1p3", "1_000", "", "1" * 401])
def test_what_is_no_number_in_a_form_is_refused_or_left_out(wire: Wire, number: str) -> None:
    answer = wire.ask(FORM, query("PutMetricAlarm", Threshold=number))
    if number:
        assert (answer.status, wire.asked) == (400, [])
    else:
        assert (answer.status, wire.asked) == (200, [("PutMetricAlarm", {})])


def test_times_that_no_calendar_has_are_refused(wire: Wire) -> None:
    for number in ("1e18", "-1e18", "true", '"2026-11-27T17:30:15Z"'):
        body = f'{{"StartTime": {number}}}'.encode()
        answer = wire.ask({"x-amz-target": f"{CLOUDWATCH.target}.GetMetricData"}, body)
        assert (answer.status, answer.headers["x-amzn-query-error"]) == (400, "MalformedInput;Sender")


# Errors


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"as_cloudwatch"}))
def test_errors_have_the_code_shape_and_status_of_the_model(wire: Wire, protocol: str, name: str) -> None:
    error = getattr(errors, name)("a text")
    wire.error = error
    answer, parsed = wire.call(protocol, "DescribeAlarms", {})
    assert answer.status == error.http_status
    assert parsed["Error"]["Code"] == error.sqs_code
    assert parsed["Error"].get("Message", "") == error.sqs_message
    if protocol == "json":
        assert parsed["Error"]["QueryErrorCode"] == error.sqs_shape
    shapes = {shape.name: shape for shape in MODEL.error_shapes}
    if name != "UnsupportedAction" and error.sqs_shape != "ValidationException":
        told = shapes[error.sqs_shape].metadata["error"]
        assert (told.get("code"), told["httpStatusCode"]) == (error.sqs_code, error.http_status)
        assert told.get("senderFault", False) == error.sender_fault


def test_an_alarm_that_is_missing_is_refused_without_a_text(wire: Wire) -> None:
    wire.error = errors.ResourceNotFound("there is no alarm 'x'")
    answer, _ = wire.call("json", "SetAlarmState", {})
    assert json.loads(answer.body) == {"__type": "com.amazonaws.cloudwatch.v2010_08_01#ResourceNotFound"}
    answer, _ = wire.call("query", "SetAlarmState", {})
    space = 'xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"'
    error = "<Error><Type>Sender</Type><Code>ResourceNotFound</Code></Error>"
    assert f"<ErrorResponse {space}>{error}<RequestId>".encode() in answer.body


def test_the_framework_has_a_namespace_of_its_own(wire: Wire) -> None:
    wire.error = errors.ValidationError("x")
    answer, _ = wire.call("json", "SetAlarmState", {})
    assert json.loads(answer.body)["__type"] == "com.amazon.coral.validate#ValidationException"


@pytest.mark.parametrize("action", ["PutDashboard", "PutMetricData", "Anything", "SendMessage"])
def test_other_actions_are_refused_with_what_there_is(wire: Wire, action: str) -> None:
    in_json = wire.ask({"x-amz-target": f"{CLOUDWATCH.target}.{action}"}, b"{}")
    in_query = wire.ask(FORM, query(action))
    for answer in (in_json, in_query):
        assert (answer.status, answer.headers["x-amzn-query-error"]) == (400, "InvalidAction;Sender")
        assert f"The action {action} of CloudWatch is not supported here.".encode() in answer.body
        assert b"GetMetricData, " in answer.body
    assert json.loads(in_json.body)["__type"].endswith("#UnknownOperationException")
    assert b'xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"' in in_query.body


def test_sqs_has_no_actions_of_cloudwatch(wire: Wire) -> None:
    answer = wire.ask({"x-amz-target": "AmazonSQS.DescribeAlarms"}, b"{}")
    assert json.loads(answer.body)["message"] == "The action DescribeAlarms is not valid for this endpoint."
    answer = wire.ask(FORM, b"Action=DescribeAlarms&Version=2012-11-05")
    assert b"The action DescribeAlarms is not valid for this endpoint." in answer.body


def test_cbor_is_refused_in_cbor(wire: Wire) -> None:
    headers = {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor", "accept": "application/cbor"}
    answer = wire.ask(headers, b"\xa0", "/service/GraniteServiceVersion20100801/operation/DescribeAlarms")
    assert (answer.status, answer.headers["smithy-protocol"]) == (415, "rpc-v2-cbor")
    if "smithy-rpc-v2-cbor" not in botocore.serialize.SERIALIZERS:
        pytest.skip("this botocore has no CBOR")
    parser = botocore.parsers.create_parser("smithy-rpc-v2-cbor")
    shape = MODEL.operation_model("DescribeAlarms").output_shape
    read = {"status_code": answer.status, "headers": answer.headers, "body": answer.body}
    error = parser.parse(read, shape)["Error"]
    assert (error["Code"], error["QueryErrorCode"]) == ("UnsupportedProtocol", "UnsupportedProtocolException")
    assert "AWS JSON 1.0 and in the Query protocol, not in CBOR" in error["Message"]


def test_a_signature_must_be_for_monitoring(wire: Wire) -> None:
    for service, status in (("monitoring", 200), ("sqs", 403), ("cloudwatch", 403)):
        request: HttpRequest = signed(
            headers={"x-amz-target": f"{CLOUDWATCH.target}.DescribeAlarms"}, body=b"{}", service=service,
            key_id=wire.key.key_id, secret=wire.key.secret or "", at=time.time(),
        )  # fmt: skip
        assert wire.at.ask(request).status == status


def test_the_access_log_names_the_alarm(wire: Wire) -> None:
    wire.call("json", "SetAlarmState", {"AlarmName": "too old"})
    wire.call("query", "DescribeAlarms", {})
    first, second = wire.at.log
    assert (first["action"], first["alarm"], first["queue"]) == ("SetAlarmState", "too old", "")
    assert second["action"] == "DescribeAlarms"
    assert "alarm" not in second
