"""CloudWatch over the gateway, in JSON, Query and CBOR: botocore writes the requests and reads the answers."""

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

CBOR = "smithy-rpc-v2-cbor"
PROTOCOLS = ("json", "query", CBOR)
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
        answer = self.ask(headers, body, written["url_path"])
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
IN_CBOR = {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor", "accept": "application/cbor"}


def path_of(action: str) -> str:
    return f"/service/{CLOUDWATCH.target}/operation/{action}"


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
    if protocol != "query":
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
    in_cbor = wire.ask(IN_CBOR, b"\xa0", path_of(action))
    for answer in (in_json, in_query, in_cbor):
        assert (answer.status, answer.headers["x-amzn-query-error"]) == (400, "InvalidAction;Sender")
        assert f"The action {action} of CloudWatch is not supported here.".encode() in answer.body
        assert b"GetMetricData, " in answer.body
    assert json.loads(in_json.body)["__type"].endswith("#UnknownOperationException")
    assert b'xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"' in in_query.body


def test_an_action_of_control_characters_is_told_in_one_short_line(wire: Wire) -> None:
    form = b"Version=2010-08-01&Action=%1B%5B2J%0A" + b"A" * 1_000
    body = wire.ask(FORM, form).body.decode()
    assert r"<Message>The action \x1b[2J\nAAA" in body
    assert body.isprintable()
    assert body.count("A") < 400


def test_sqs_has_no_actions_of_cloudwatch(wire: Wire) -> None:
    answer = wire.ask({"x-amz-target": "AmazonSQS.DescribeAlarms"}, b"{}")
    assert json.loads(answer.body)["message"] == "The action DescribeAlarms is not valid for this endpoint."
    answer = wire.ask(FORM, b"Action=DescribeAlarms&Version=2012-11-05")
    assert b"The action DescribeAlarms is not valid for this endpoint." in answer.body


def test_answers_in_cbor_say_what_they_are(wire: Wire) -> None:
    wire.response = {"MetricAlarms": []}
    answer = wire.ask(IN_CBOR, b"\xa0", path_of("DescribeAlarms"))
    assert (answer.status, answer.body) == (200, b"\xa1\x6cMetricAlarms\x80")
    assert (answer.headers["smithy-protocol"], answer.headers["content-type"]) == ("rpc-v2-cbor", "application/cbor")
    answer = wire.ask(IN_CBOR, b"", path_of("DeleteAlarms"))  # it answers nothing
    assert (answer.status, answer.body, answer.headers["smithy-protocol"]) == (200, b"", "rpc-v2-cbor")
    assert "content-type" not in answer.headers
    assert wire.asked == [("DescribeAlarms", {}), ("DeleteAlarms", {})]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"\xfb\x40\x35\x80\x00\x00\x00\x00\x00", 21.5),
        (b"\xfa\x41\xac\x00\x00", 21.5),
        (b"\xf9\x4d\x60", 21.5),
        (b"\x18\x64", 100.0),
        (b"\x1b\x00\x00\x00\x00\x00\x00\x01\x00", 256.0),
        (b"\x38\x63", -100.0),
        (b"\xf6", None),
        (b"\xf7", None),
    ],
)
def test_numbers_of_all_widths_in_cbor(wire: Wire, value: bytes, wanted: float | None) -> None:
    """Definite and indefinite lengths, and a text in parts."""
    for body in (b"\xa1\x69Threshold" + value, b"\xbf\x7f\x65Thres\x64hold\xff" + value + b"\xff"):
        assert wire.ask(IN_CBOR, body, path_of("PutMetricAlarm")).status == 200
        assert wire.asked.pop() == ("PutMetricAlarm", {} if wanted is None else {"Threshold": wanted})


@pytest.mark.parametrize(
    "body",
    [
        b"\x80",  # a list
        b"\xa0\xa0",  # two maps
        b"\xa1",  # a map that ends early
        b"\xff",  # a break
        b"\xa1\x69Threshold",
        b"\xa1\x69Threshold\xff",
        b"\xa1\x01\x01",  # a number as a name
        b"\xa1\x69Threshold\x41x",  # bytes
        b"\xa1\x69Threshold\xc2\x41x",  # a bignum
        b"\xa1\x69Threshold\xf9\x7c\x00",  # infinity
        b"\xa1\x69Threshold\xf9\x7e\x00",  # no number
        b"\xa1\x69Threshold\xc1\x00",  # a time
        b"\xa1\x69Threshold\x1c",  # reserved
        b"\xa1\x69AlarmName\x62\xc3\x28",  # no UTF-8
        b"\xa1\x69AlarmName\xc1\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",  # a time without end
        b"\xa1\x69AlarmName\x7f\x01\xff",  # a text with a number in it
        b"\xa1\x69AlarmName\x7b" + b"\xff" * 8,  # a text of 2**64 characters
        b"\xa1\x69AlarmName\x9b" + b"\xff" * 8,  # a list of as many
        b"\xa1\x69AlarmName\xbb" + b"\xff" * 8,
        b"\xa1\x69AlarmName" + b"\x81" * 100_000,
        b"\xa1\x69AlarmName" + b"\x9f" * 100_000,
        b"\xa1\x69AlarmName" + b"\x7f" * 100_000,
        b"\xa1\x69AlarmName" + b"\xc1" * 100_000,
        b"{}",
    ],
)
def test_what_is_no_request_in_cbor_is_refused_in_cbor(wire: Wire, body: bytes) -> None:
    answer = wire.ask(IN_CBOR, body, path_of("PutMetricAlarm"))
    assert (answer.status, answer.headers["x-amzn-query-error"]) == (400, "MalformedInput;Sender")
    assert answer.headers["smithy-protocol"] == "rpc-v2-cbor"
    assert wire.asked == []


@pytest.mark.parametrize("path", ["/", "/service/AmazonSQS/operation/ListQueues", "/service/x", "/000000000000/orders"])
def test_cbor_to_another_place_is_refused(wire: Wire, path: str) -> None:
    answer = wire.ask(IN_CBOR, b"\xa0", path)
    assert (answer.status, answer.headers["x-amzn-query-error"]) == (404, "InvalidAction;Sender")
    assert answer.headers["content-type"] == "application/cbor"


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
