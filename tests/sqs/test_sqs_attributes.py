"""Rules of queue attributes and redrive policies, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from rqsqs.errors import (
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidParameterValue,
    OverLimit,
    RequestError,
)
from rqsqs.limits import NATIVE
from rqsqs.sqs import attributes as qa
from rqsqs.sqs import redrive_policies as rp

REGION, ACCOUNT = "us-east-1", "000000000000"
DLQ = f"arn:aws:sqs:{REGION}:{ACCOUNT}:dlq"


def check(attributes: Mapping[str, str], *, is_fifo: bool = False, is_new: bool = False) -> qa.Change:
    return qa.check(attributes, is_fifo=is_fifo, is_new=is_new, region=REGION, account=ACCOUNT)


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("DelaySeconds", 0, 900),
        ("MaximumMessageSize", 1024, 1_048_576),
        ("MessageRetentionPeriod", 60, 1_209_600),
        ("ReceiveMessageWaitTimeSeconds", 0, 20),
        ("VisibilityTimeout", 0, 43_200),
        ("KmsDataKeyReusePeriodSeconds", 60, 86_400),
    ],
)
def test_numbers_keep_to_their_range(name: str, low: int, high: int, is_new: bool) -> None:
    for value in (low, high):
        assert check({name: str(value)}, is_new=is_new).values == {name: str(value)}
    for bad in (str(low - 1), str(high + 1), "", " 6", "6 ", "1.5", "x", "1e2", "+6", "٣", "9" * 30):
        with pytest.raises(InvalidAttributeValue) as caught:
            check({name: bad}, is_new=is_new)
        assert caught.value.sqs_message == f"Invalid value for the parameter {name}."


@pytest.mark.parametrize(
    "name",
    ["Nonsense", "All", "QueueArn", "CreatedTimestamp", "LastModifiedTimestamp", "ApproximateNumberOfMessages",
     "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible", "FifoQueue",
     "ContentBasedDeduplication"],
)  # fmt: skip
def test_unknown_and_read_only_attributes_cannot_be_set(name: str) -> None:
    with pytest.raises(InvalidAttributeName) as caught:
        check({name: "1"})
    assert caught.value.sqs_message == f"Unknown Attribute {name}."


@pytest.mark.parametrize("value", ["true", "false"])
def test_a_standard_queue_knows_no_fifo_attributes(value: str) -> None:
    with pytest.raises(InvalidAttributeName, match=r"^Unknown Attribute FifoQueue\.$"):
        check({"FifoQueue": value}, is_new=True)
    for name in ("DeduplicationScope", "FifoThroughputLimit"):
        with pytest.raises(InvalidAttributeName) as caught:
            check({name: "queue"})
        assert caught.value.sqs_message == f"You can specify the {name} only when FifoQueue is set to true."


def test_the_kind_of_a_queue_cannot_be_changed() -> None:
    with pytest.raises(InvalidAttributeValue) as caught:
        check({"FifoQueue": "false"}, is_fifo=True)
    assert caught.value.sqs_message == (
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported."
    )
    assert check({"FifoQueue": "true"}, is_fifo=True).values == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FifoQueue", "yes"),
        ("ContentBasedDeduplication", "1"),
        ("SqsManagedSseEnabled", ""),
        ("DeduplicationScope", "MessageGroup"),
        ("FifoThroughputLimit", "x"),
        ("KmsMasterKeyId", "a b"),
        ("Policy", "x"),
        ("Policy", "[]"),
        ("Policy", '{"Version": "2012-10-17"}'),
        ("Policy", '{"Version": "1999", "Statement": [{"Effect": "Allow"}]}'),
        ("Policy", '{"Statement": [{"Effect": "Perhaps"}]}'),
        ("Policy", json.dumps({"Statement": [{"Effect": "Allow", "Sid": "x" * 8192}]})),
    ],
)
def test_other_bad_values(name: str, value: str) -> None:
    with pytest.raises(InvalidAttributeValue) as caught:
        check({name: value}, is_fifo=True, is_new=True)
    assert caught.value.sqs_message == f"Invalid value for the parameter {name}."


def test_booleans_are_taken_in_any_case_and_stored_in_lower_case() -> None:
    assert check({"ContentBasedDeduplication": "True", "SqsManagedSseEnabled": "FALSE"}, is_fifo=True).values == {
        "ContentBasedDeduplication": "true",
        "SqsManagedSseEnabled": "false",
    }


STATEMENT = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"}


@pytest.mark.parametrize(
    "change",
    [
        {"Principal": None},
        {"NotPrincipal": "*"},
        {"Principal": {}},
        {"Principal": {"AWS": "nobody"}},
        {"Principal": {"AWS": "arn:aws:iam::111111111111:user/*"}},
        {"Principal": {"Nobody": "*"}},
        {"Action": None},
        {"Action": []},
        {"Action": "SendMessage"},
        {"NotAction": "sqs:*"},
        {"Resource": None},
        {"Resource": "orders"},
        {"Resource": "arn:aws:sqs:${aws:username}:111111111111:orders"},
        {"Effect": "allow"},
        {"Sid": 1},
        {"Other": "x"},
        {"Condition": []},
        {"Condition": {"StringEquals": {}}},
        {"Condition": {"StringEqual": {"aws:username": "x"}}},
        {"Condition": {"ForSomeValues:StringEquals": {"aws:username": "x"}}},
        {"Condition": {"NullIfExists": {"aws:username": "true"}}},
        {"Condition": {"StringEquals": {"username": "x"}}},
        {"Condition": {"StringEquals": {"aws:username": {}}}},
        {"Condition": {"NumericEquals": {"aws:MultiFactorAuthAge": "x"}}},
        {"Condition": {"DateEquals": {"aws:CurrentTime": "soon"}}},
        {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}},
        {"Condition": {"Bool": {"aws:SecureTransport": "yes"}}},
    ],
    ids=str,
)
def test_a_policy_keeps_to_the_grammar_of_iam(change: dict[str, object]) -> None:
    statement = {name: value for name, value in {**STATEMENT, **change}.items() if value is not None}
    for policy in ({"Version": "2012-10-17", "Statement": statement}, {"Statement": [STATEMENT, statement]}):
        if "Resource" in change and "Version" not in policy and "$" in str(change):
            continue  # the older version has no variables
        with pytest.raises(InvalidAttributeValue, match="Policy"):
            check({"Policy": json.dumps(policy)})


def test_a_member_given_twice_is_no_policy() -> None:
    text = json.dumps({"Statement": STATEMENT})
    assert check({"Policy": text}).values == {"Policy": text}
    for twice in (text.replace('"Effect"', '"Effect": "Deny", "Effect"'), text.replace("{", '{"Statement": [], ', 1)):
        with pytest.raises(InvalidAttributeValue, match="Policy"):
            check({"Policy": twice})


def test_a_statement_has_its_limits() -> None:
    accounts = [f"{n:012}" for n in range(51)]
    for change, text in (
        ({"Action": [f"sqs:{n}" for n in range(8)]}, "8 Actions were found, maximum allowed is 7."),
        ({"Principal": {"AWS": accounts}}, "51 Principals were found, maximum allowed is 50."),
    ):
        with pytest.raises(OverLimit) as caught:
            check({"Policy": json.dumps({"Statement": {**STATEMENT, **change}})})
        assert caught.value.sqs_message == text


def test_a_policy_has_at_most_20_statements() -> None:
    def policy(count: int) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT] * count})

    assert check({"Policy": policy(20)}).values == {"Policy": policy(20)}
    with pytest.raises(OverLimit) as caught:
        check({"Policy": policy(21)})
    assert caught.value.sqs_message == "21 Statements were found, maximum allowed is 20."


@pytest.mark.parametrize("name", ["Policy", "RedrivePolicy", "RedriveAllowPolicy"])
def test_an_empty_value_removes_a_policy(name: str) -> None:
    assert check({name: ""}).values == {name: None}
    assert check({name: ""}, is_new=True).values == {}


# Encryption


def test_a_kms_key_switches_sse_sqs_off() -> None:
    assert check({"KmsMasterKeyId": "k"}).values == {"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "false"}
    assert check({"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "false"}).values["SqsManagedSseEnabled"] == "false"


def test_there_is_one_kind_of_encryption_at_a_time() -> None:
    with pytest.raises(InvalidAttributeName) as caught:
        check({"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "true"})
    assert caught.value.sqs_message == (
        "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE."
    )


def test_an_empty_key_removes_both_kms_attributes_and_leaves_sse_sqs_as_it_is() -> None:
    assert check({"KmsMasterKeyId": "", "KmsDataKeyReusePeriodSeconds": "300"}).values == {
        "KmsMasterKeyId": None,
        "KmsDataKeyReusePeriodSeconds": None,
    }


def test_sse_sqs_replaces_a_kms_key() -> None:
    assert check({"SqsManagedSseEnabled": "true"}).values == {
        "SqsManagedSseEnabled": "true",
        "KmsMasterKeyId": None,
        "KmsDataKeyReusePeriodSeconds": None,
    }


def test_the_reuse_period_is_shown_only_with_a_key() -> None:
    assert qa.shown({"KmsDataKeyReusePeriodSeconds": "60"}, qa.READABLE) == {}
    assert qa.shown({"KmsMasterKeyId": "k"}, qa.READABLE) == {
        "KmsMasterKeyId": "k",
        "KmsDataKeyReusePeriodSeconds": "300",
    }
    assert qa.shown({"KmsMasterKeyId": "k"}, frozenset({"DelaySeconds"})) == {}


# FIFO throughput


@pytest.mark.parametrize(
    ("current", "sent", "is_allowed"),
    [
        ({}, {"DeduplicationScope": "messageGroup"}, True),
        ({}, {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}, True),
        ({}, {"FifoThroughputLimit": "perMessageGroupId"}, False),
        ({"DeduplicationScope": "messageGroup"}, {"FifoThroughputLimit": "perMessageGroupId"}, True),
        ({"DeduplicationScope": "queue"}, {"FifoThroughputLimit": "perMessageGroupId"}, False),
        (
            {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"},
            {"DeduplicationScope": "queue"},
            False,
        ),
    ],
)
def test_throughput_per_group_needs_deduplication_per_group(
    current: dict[str, str], sent: dict[str, str], is_allowed: bool
) -> None:
    change = check(sent, is_fifo=True)
    assert change.concerns_fifo_throughput
    if is_allowed:
        qa.check_fifo_throughput(current, change)
    else:
        with pytest.raises(InvalidAttributeValue, match=r"^Invalid value for the parameter FifoThroughputLimit\.$"):
            qa.check_fifo_throughput(current, change)


def test_what_can_be_asked_for() -> None:
    assert qa.requested([]) == frozenset()
    assert qa.requested(["All", "DelaySeconds", "DelaySeconds"]) == qa.READABLE
    assert qa.requested(["DelaySeconds", "FifoQueue"]) == {"DelaySeconds", "FifoQueue"}
    with pytest.raises(InvalidAttributeName, match=r"^Unknown Attribute Nope\.$"):
        qa.requested(["All", "Nope"])


def test_native_limits_widen_the_ranges() -> None:
    change = qa.check(
        {"DelaySeconds": "86400", "ReceiveMessageWaitTimeSeconds": "3600"},
        is_fifo=False,
        is_new=True,
        region=REGION,
        account=ACCOUNT,
        limits=NATIVE,
    )
    assert change.values["DelaySeconds"] == "86400"


# RedrivePolicy


def policy(**members: object) -> str:
    return json.dumps({"deadLetterTargetArn": DLQ, "maxReceiveCount": 3} | members)


@pytest.mark.parametrize("count", [1, 1000, "1", "1000"])
def test_a_redrive_policy_gets_its_canonical_form(count: object) -> None:
    text = json.dumps({"maxReceiveCount": count, "deadLetterTargetArn": DLQ}, indent=1)
    canonical = f'{{"deadLetterTargetArn":"{DLQ}","maxReceiveCount":{count}}}'
    assert check({"RedrivePolicy": text}).values == {"RedrivePolicy": canonical}


@pytest.mark.parametrize("text", ["x", "[]", "1", '"x"', "null", "{" * 5, "[" * 100_000])
def test_a_redrive_policy_is_a_json_map(text: str) -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        check({"RedrivePolicy": text})
    assert caught.value.sqs_message == (
        "Invalid value for the parameter RedrivePolicy. Reason: Redrive policy is not a valid JSON map."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "Redrive policy does not contain mandatory attribute: maxReceiveCount."),
        ('{"maxReceiveCount": 1}', "Redrive policy does not contain mandatory attribute: deadLetterTargetArn."),
        (policy(extra=1), "Only following attributes are supported: [deadLetterTargetArn, maxReceiveCount]."),
        *(
            (
                policy(maxReceiveCount=n),
                f"Invalid value for maxReceiveCount: {n}, valid values are from 1 to 1000 both inclusive.",
            )
            for n in (0, -1, 1001, "0", "x", 1.5, "1.5", True)
        ),
        (policy(deadLetterTargetArn="dlq"), "Dead-letter target ARN should be fully qualified ARN."),
        (policy(deadLetterTargetArn=1), "Dead-letter target ARN should be fully qualified ARN."),
        (
            policy(deadLetterTargetArn="arn:aws:sns:us-east-1:000000000000:dlq"),
            "Dead-letter target ARN should be fully qualified ARN.",
        ),
        (
            policy(deadLetterTargetArn="arn:aws:sqs:eu-west-1:000000000000:dlq"),
            "Dead-letter target must be in same region as the source.",
        ),
        (
            policy(deadLetterTargetArn="arn:aws:sqs:us-east-1:111111111111:dlq"),
            "Dead-letter target owner should be same as the source.",
        ),
    ],
)  # fmt: skip
def test_redrive_policies_that_break_a_rule(text: str, reason: str) -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        check({"RedrivePolicy": text})
    assert caught.value.sqs_message == f"Value {text} for parameter RedrivePolicy is invalid. Reason: {reason}"


# RedriveAllowPolicy


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"redrivePermission": "allowAll"}, '{"redrivePermission":"allowAll"}'),
        ({"redrivePermission": "denyAll"}, '{"redrivePermission":"denyAll"}'),
        (
            {"sourceQueueArns": [DLQ] * 10, "redrivePermission": "byQueue"},
            json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [DLQ] * 10}, separators=(",", ":")),
        ),
    ],
)
def test_a_redrive_allow_policy_gets_its_canonical_form(sent: object, stored: str) -> None:
    assert check({"RedriveAllowPolicy": json.dumps(sent)}).values == {"RedriveAllowPolicy": stored}


@pytest.mark.parametrize(
    "text",
    ["x", "[]", "{}", '{"redrivePermission":"some"}', '{"redrivePermission":"allowAll","x":1}',
     '{"redrivePermission":"byQueue","sourceQueueArns":"x"}', '{"redrivePermission":"byQueue","sourceQueueArns":[1]}'],
)  # fmt: skip
def test_a_redrive_allow_policy_has_a_format(text: str) -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        rp.check_redrive_allow_policy(text)
    assert caught.value.sqs_message == (
        "Invalid value for the parameter RedriveAllowPolicy. Reason: Amazon SQS can't create the redrive allow policy, "
        "as it’s in an unsupported format."
    )


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (
            {"redrivePermission": "byQueue"},
            "When you specify the byQueue permission type, you must also specify one or more sourceQueueArns values.",
        ),
        (
            {"redrivePermission": "byQueue", "sourceQueueArns": []},
            "When you specify the byQueue permission type, you must also specify one or more sourceQueueArns values.",
        ),
        (
            {"redrivePermission": "denyAll", "sourceQueueArns": [DLQ]},
            "To specify one or more source queue ARNs, you must set redrivePermission to byQueue.",
        ),
        (
            {"redrivePermission": "byQueue", "sourceQueueArns": [DLQ] * 11},
            "The maximum number of source queue ARNs you can specify is 10.",
        ),
    ],
)
def test_redrive_allow_policies_that_break_a_rule(sent: object, reason: str) -> None:
    text = json.dumps(sent)
    with pytest.raises(InvalidParameterValue) as caught:
        rp.check_redrive_allow_policy(text)
    assert caught.value.sqs_message == (
        f"Value {text} for parameter RedriveAllowPolicy is invalid. Reason: Amazon SQS can't create the redrive allow "
        f"policy. {reason}"
    )


def test_the_first_bad_attribute_decides() -> None:
    with pytest.raises(RequestError, match="Unknown Attribute A"):
        check({"A": "1", "DelaySeconds": "-1"})
    with pytest.raises(RequestError, match="DelaySeconds"):
        check({"DelaySeconds": "-1", "A": "1"})
