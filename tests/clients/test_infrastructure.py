"""The calls of tools that look after queues, as they make them: Terraform's provider, the CDK, KEDA's scaler.

None of them is in a package registry, so boto3 makes the calls. The order and the comparisons are theirs.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.clients.conftest import KEYS, SECRET, RunningGateway

ACCOUNT = "000000000000"
ONCE = Config(retries={"total_max_attempts": 1})


def client_of(gateway: RunningGateway, service: str, name: str = "tour") -> Any:
    return boto3.client(
        service,
        endpoint_url=gateway.address,
        region_name="us-east-1",
        aws_access_key_id=KEYS[name],
        aws_secret_access_key=SECRET,
        config=ONCE,
    )


@pytest.fixture
def sqs(gateway: RunningGateway) -> Any:
    return client_of(gateway, "sqs")


@pytest.fixture
def name() -> str:
    return f"tour-{uuid.uuid4().hex[:8]}"


def test_start_up_asks_who_it_is(gateway: RunningGateway) -> None:
    """Terraform's provider and the CDK ask STS before anything else; the account goes into ARNs they make."""
    identity = client_of(gateway, "sts").get_caller_identity()
    assert identity["Account"] == ACCOUNT
    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/tour"
    assert identity["UserId"]


def read(sqs: Any, url: str, *names: str) -> dict[str, str]:
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names) or ["All"])
    return found.get("Attributes", {})


def is_equal(attribute: str, wanted: str, got: str | None) -> bool:
    """As Terraform compares: policies as JSON, all others as strings, absent as empty."""
    if attribute in ("Policy", "RedrivePolicy", "RedriveAllowPolicy") and wanted and got:
        return bool(json.loads(wanted) == json.loads(got))
    return wanted == (got or "")


@pytest.mark.parametrize("is_fifo", [False, True], ids=["standard", "fifo"])
def test_terraform_creates_updates_and_deletes_a_queue(sqs: Any, name: str, is_fifo: bool) -> None:
    suffix = ".fifo" if is_fifo else ""
    queue_name = name + suffix
    attributes = {
        "DelaySeconds": "90",
        "MaximumMessageSize": "2048",
        "MessageRetentionPeriod": "86400",
        "ReceiveMessageWaitTimeSeconds": "10",
        "SqsManagedSseEnabled": "true",
        "VisibilityTimeout": "30",
    }
    if is_fifo:
        attributes |= {
            "FifoQueue": "true",
            "ContentBasedDeduplication": "true",
            "DeduplicationScope": "messageGroup",
            "FifoThroughputLimit": "perMessageGroupId",
        }
    url = sqs.create_queue(QueueName=queue_name, Attributes=attributes, tags={"Environment": "test"})["QueueUrl"]
    assert urlsplit(url).path == f"/{ACCOUNT}/{queue_name}", "the provider takes a path of exactly two segments"
    for _ in range(6):  # six times in a row; the seconds between them are left out
        found = read(sqs, url)
        assert {name: found.get(name) for name in attributes} == attributes
    assert found["QueueArn"] == f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue_name}"
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"Environment": "test"}

    changed = attributes | {"VisibilityTimeout": "0", "DelaySeconds": "0", "ReceiveMessageWaitTimeSeconds": "0"}
    changed.pop("FifoQueue", None)  # cannot be changed, so it is not sent
    sqs.set_queue_attributes(QueueUrl=url, Attributes=changed)
    found = read(sqs, url)
    assert {name: found.get(name) for name in changed} == changed
    sqs.tag_queue(QueueUrl=url, Tags={"Team": "web"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["Environment"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"Team": "web"}

    # aws_sqs_queue_policy, aws_sqs_queue_redrive_policy, aws_sqs_queue_redrive_allow_policy
    dead = sqs.create_queue(
        QueueName=f"{name}-dead{suffix}", Attributes={"FifoQueue": "true"} if is_fifo else {}
    )["QueueUrl"]  # fmt: skip
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "First",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                "Action": "sqs:SendMessage",
                "Resource": found["QueueArn"],
                "Condition": {"StringEquals": {"aws:PrincipalTag/team": "web"}},
            }
        ],
    }
    redrive = {"deadLetterTargetArn": read(sqs, dead, "QueueArn")["QueueArn"], "maxReceiveCount": 4}
    for resource, attribute, value in (
        (url, "Policy", policy),
        (url, "RedrivePolicy", redrive),
        (dead, "RedriveAllowPolicy", {"redrivePermission": "byQueue", "sourceQueueArns": [found["QueueArn"]]}),
    ):
        for wanted in (json.dumps(value), ""):  # made, and deleted
            sqs.set_queue_attributes(QueueUrl=resource, Attributes={attribute: wanted})
            assert is_equal(attribute, wanted, read(sqs, resource, attribute).get(attribute)), attribute

    for each in (url, dead):
        sqs.delete_queue(QueueUrl=each)
        for _ in range(15):  # fifteen times in a row
            with pytest.raises(ClientError) as gone:
                read(sqs, each)
            assert gone.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


def test_keda_counts_the_messages(gateway: RunningGateway, sqs: Any, name: str) -> None:
    """The scaler passes queueURL on as it is, a bare name too, and wants each attribute as a whole number."""
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    for delay in (0, 0, 0, 600):
        sqs.send_message(QueueUrl=url, MessageBody="work", DelaySeconds=delay)
    sqs.receive_message(QueueUrl=url)
    wanted = {
        "ApproximateNumberOfMessages": "2",
        "ApproximateNumberOfMessagesNotVisible": "1",
        "ApproximateNumberOfMessagesDelayed": "1",
    }
    keda = client_of(gateway, "sqs", "keda")
    elsewhere = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{name}"
    for queue_url in (url, name, elsewhere):
        assert read(keda, queue_url, *wanted) == wanted
    with pytest.raises(ClientError, match="AccessDenied"):
        keda.receive_message(QueueUrl=url)


def test_keda_asks_for_metrics(gateway: RunningGateway) -> None:
    """The scaler aws-cloudwatch; tests/cloudwatch/test_cloudwatch_clients.py looks at what it is told."""
    keda = client_of(gateway, "cloudwatch", "keda")
    metric = {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateNumberOfMessagesVisible",
        "Dimensions": [{"Name": "QueueName", "Value": "tour-keda"}],
    }
    query = {"Id": "c1", "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Average"}, "ReturnData": True}
    now = datetime.now(UTC)
    found = keda.get_metric_data(
        MetricDataQueries=[query], StartTime=now - timedelta(minutes=5), EndTime=now, ScanBy="TimestampDescending"
    )
    assert [(each["Id"], each["StatusCode"]) for each in found["MetricDataResults"]] == [("c1", "Complete")]
    with pytest.raises(ClientError, match="AccessDenied"):
        keda.describe_alarms()


def test_a_key_may_do_what_its_policy_says_and_no_more(gateway: RunningGateway, sqs: Any) -> None:
    with gateway.connect() as connection:
        connection.create_queue("payroll")
    with pytest.raises(ClientError) as refused:
        sqs.receive_message(QueueUrl="payroll")
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    message = refused.value.response["Error"]["Message"]
    assert "user/tour is not authorized to perform: sqs:receivemessage on resource: " in message
    assert f"arn:aws:sqs:us-east-1:{ACCOUNT}:payroll" in message


def test_celery_and_dramatiq_list_queues(sqs: Any, name: str) -> None:
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    assert sqs.list_queues(QueueNamePrefix=name)["QueueUrls"] == [url]
