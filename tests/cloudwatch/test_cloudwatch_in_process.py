"""boto3's client of CloudWatch, answered in process: only where it is asked for, and as over the gateway."""

from __future__ import annotations

import decimal
import json
from collections.abc import Callable, Iterator
from datetime import timedelta, timezone
from typing import Any

import pytest

pytest.importorskip("boto3")

import boto3 as plain_boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError

import rqsqs.boto3
from rqsqs.cloudwatch import actions, errors
from rqsqs.errors import ConnectionFailed
from rqsqs.gateway.protocols.cloudwatch_shapes import ACTIONS
from tests.cloudwatch.examples import MODEL, MOMENT, request_of, response_of

KEYS = {"region_name": "eu-west-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
DEAD = "http://127.0.0.1:9"  # nobody listens there
AT_ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=5)


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Recorder:
    """Stands for all actions."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, dict[str, Any]]] = []
        self.response: dict[str, Any] = {}
        self.error: Exception | None = None

    def action(self, name: str) -> Callable[..., Any]:
        def run(context: Any, params: dict[str, Any]) -> Iterator[Any]:
            self.asked.append((name, context, params))
            if self.error is not None:
                raise self.error
            return self.response
            yield

        return run


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    for name in ACTIONS:
        monkeypatch.setitem(actions.ACTIONS, name, recorder.action(name))
    return recorder


@pytest.fixture
def client(valkey_url: str) -> Any:
    return rqsqs.boto3.client("cloudwatch", endpoint_url=valkey_url)


def method_of(client: Any, action: str) -> Any:
    [name] = [name for name, operation in client.meta.method_to_api_mapping.items() if operation == action]
    return getattr(client, name)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_member_of_every_action_goes_both_ways(client: Any, recorder: Recorder, action: str) -> None:
    recorder.response = response_of(action)
    answer = method_of(client, action)(**request_of(action))
    metadata = answer.pop("ResponseMetadata")
    assert (metadata["HTTPStatusCode"], metadata["RetryAttempts"]) == (200, 0)
    assert answer == response_of(action)
    [(name, context, params)] = recorder.asked
    assert (name, params) == (action, request_of(action))
    assert (context.region, context.account) == ("us-east-1", "000000000000")


@pytest.mark.parametrize(
    "given",
    [
        MOMENT,
        MOMENT.astimezone(timezone(timedelta(hours=-7))),
        "2026-11-27T17:30:15.250Z",
        "2026-11-27T18:30:15.25+01:00",
        1795800615.25,
    ],
)
def test_times_in_all_forms_that_botocore_takes(client: Any, recorder: Recorder, given: Any) -> None:
    recorder.response = {"MetricDataResults": [], "Messages": []}
    client.get_metric_data(MetricDataQueries=[], StartTime=given, EndTime=MOMENT)
    [(_, _, params)] = recorder.asked
    assert params["StartTime"] == MOMENT
    assert params["StartTime"].utcoffset() == timedelta(0)


@pytest.mark.parametrize("given", [5, 5.0, decimal.Decimal(5)])
def test_numbers_in_all_forms_that_botocore_takes(client: Any, recorder: Recorder, given: Any) -> None:
    client.put_metric_alarm(AlarmName="a", EvaluationPeriods=1, ComparisonOperator="x", Threshold=given)
    [(_, _, params)] = recorder.asked
    assert type(params["Threshold"]) is float
    assert params["Threshold"] == 5


def test_without_validation_values_of_another_type_are_refused(valkey_url: str, recorder: Recorder) -> None:
    unchecked = Config(parameter_validation=False)
    client = rqsqs.boto3.client("cloudwatch", endpoint_url=valkey_url, config=unchecked)
    for given in ("5", True, float("nan"), float("inf"), 10**400, [5]):
        with pytest.raises((ClientError, ValueError, OverflowError, TypeError)):
            client.put_metric_alarm(AlarmName="a", EvaluationPeriods=1, ComparisonOperator="x", Threshold=given)
    assert recorder.asked == []
    client.put_metric_alarm(AlarmName="a", EvaluationPeriods=1, ComparisonOperator="x", Threshold=5, Unit=None)
    assert recorder.asked[0][2] == {
        "AlarmName": "a", "EvaluationPeriods": 1, "ComparisonOperator": "x", "Threshold": 5.0,
    }  # fmt: skip


def test_botocore_validates_first(client: Any, recorder: Recorder) -> None:
    with pytest.raises(ParamValidationError):
        client.put_metric_alarm(AlarmName="a", EvaluationPeriods="1", ComparisonOperator="x")
    assert recorder.asked == []


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"as_cloudwatch"}))
def test_errors_are_boto3s_own(client: Any, recorder: Recorder, name: str) -> None:
    recorder.error = error = getattr(errors, name)("a text")
    with pytest.raises(ClientError) as caught:
        client.describe_alarms()
    found = caught.value.response
    assert found["Error"]["Code"] == error.sqs_code
    assert found["Error"]["Message"] == error.sqs_message
    assert found["Error"]["Type"] == ("Sender" if error.sender_fault else "Receiver")
    assert found["ResponseMetadata"]["HTTPStatusCode"] == error.http_status
    if error.sqs_shape in {shape.name for shape in MODEL.error_shapes}:
        shape = MODEL.shape_for(error.sqs_shape)
        if shape.error_code != "ResourceNotFound":  # two have this code
            assert type(caught.value).__name__ == error.sqs_shape


def test_what_cloudwatch_has_and_rqsqs_has_not_is_refused(client: Any) -> None:
    with pytest.raises(ClientError, match="The action PutDashboard of CloudWatch is not supported here"):
        client.put_dashboard(DashboardName="d", DashboardBody="{}")


def test_region_and_account_are_as_configured(
    valkey_url: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCOUNT_ID", "123456789012")
    session = rqsqs.boto3.Session(region_name="eu-west-1")
    session.client("cloudwatch", endpoint_url=valkey_url).describe_alarms()
    [(_, context, _)] = recorder.asked
    assert (context.region, context.account) == ("eu-west-1", "123456789012")


# Who is answered


def is_answered(client: Any, recorder: Recorder) -> bool:
    """Whether a request stays in this process; else it finds nobody."""
    before = len(recorder.asked)
    try:
        client.describe_alarms()
    except EndpointConnectionError:
        return False
    return len(recorder.asked) == before + 1


def test_a_client_is_answered_if_its_endpoint_url_is_a_redis(valkey_url: str, recorder: Recorder) -> None:
    assert is_answered(rqsqs.boto3.client("cloudwatch", endpoint_url=valkey_url), recorder)
    resource = rqsqs.boto3.resource("cloudwatch", endpoint_url=valkey_url)
    assert is_answered(resource.meta.client, recorder)
    assert not is_answered(rqsqs.boto3.client("cloudwatch", endpoint_url=DEAD, config=AT_ONCE, **KEYS), recorder)


def test_rqsqs_url_does_not_redirect_cloudwatch(
    valkey_url: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RQSQS_URL", valkey_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", valkey_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", DEAD)
    client = rqsqs.boto3.client("cloudwatch", config=AT_ONCE, **KEYS)
    assert client.meta.endpoint_url in (DEAD, "https://monitoring.eu-west-1.amazonaws.com")  # older ones know no such
    if client.meta.endpoint_url == DEAD:
        assert not is_answered(client, recorder)


def test_a_patch_does_not_redirect_cloudwatch(valkey_url: str, recorder: Recorder) -> None:
    existing = plain_boto3.client("cloudwatch", endpoint_url=DEAD, config=AT_ONCE, **KEYS)
    attached = plain_boto3.client("cloudwatch", endpoint_url=DEAD, config=AT_ONCE, **KEYS)
    rqsqs.boto3.attach(attached, valkey_url)
    with rqsqs.boto3.patch(valkey_url):
        later = plain_boto3.client("cloudwatch", endpoint_url=DEAD, config=AT_ONCE, **KEYS)
        assert not is_answered(existing, recorder)
        assert not is_answered(later, recorder)
        assert is_answered(attached, recorder)
    assert is_answered(attached, recorder)


def test_clients_and_resources_can_be_attached(valkey_url: str, recorder: Recorder) -> None:
    client = plain_boto3.client("cloudwatch", endpoint_url=DEAD, config=AT_ONCE, **KEYS)
    resource = plain_boto3.resource("cloudwatch", endpoint_url=DEAD, config=AT_ONCE, **KEYS)
    alarm = plain_boto3.resource("cloudwatch", endpoint_url=DEAD, config=AT_ONCE, **KEYS).Alarm("a")
    for target, each in ((client, client), (resource, resource.meta.client), (alarm, alarm.meta.client)):
        rqsqs.boto3.attach(target, valkey_url)
        assert is_answered(each, recorder)


def test_an_attached_session_is_about_sqs_only(valkey_url: str, recorder: Recorder) -> None:
    session = plain_boto3.Session(**KEYS)
    rqsqs.boto3.attach(session, valkey_url)
    assert not is_answered(session.client("cloudwatch", endpoint_url=DEAD, config=AT_ONCE), recorder)


def test_hooks_see_requests_and_the_body_of_responses(client: Any, recorder: Recorder) -> None:
    recorder.response = {"Label": "x", "Datapoints": [{"Timestamp": MOMENT, "Sum": 1.5}]}
    seen: list[Any] = []
    client.meta.events.register("after-call.cloudwatch.*", lambda http_response, **_: seen.append(http_response))
    client.get_metric_statistics(
        Namespace="AWS/SQS", MetricName="x", StartTime=MOMENT, EndTime=MOMENT, Period=60, Statistics=["Sum"]
    )
    assert json.loads(seen[0].content) == {"Label": "x", "Datapoints": [{"Timestamp": 1795800615.25, "Sum": 1.5}]}
    assert seen[0].url == "https://monitoring.us-east-1.amazonaws.com"


def test_a_server_that_is_gone_is_an_error_of_botocore(client: Any, recorder: Recorder) -> None:
    recorder.error = ConnectionFailed("nobody is there")
    seen: list[Any] = []
    client.meta.events.register("after-call-error.cloudwatch.*", lambda exception, **_: seen.append(exception))
    with pytest.raises(EndpointConnectionError, match="nobody is there"):
        client.describe_alarms()
    assert [type(each).__bases__ for each in seen] == [(EndpointConnectionError,)]
