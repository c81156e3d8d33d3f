"""Queues as such through the drop-in: create, find, list, configure, tag, permit, purge, delete."""

from __future__ import annotations

import json
from typing import Any

import pytest

import rqsqs

MUST_BE_NAME = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"


# CreateQueue, GetQueueUrl


def test_a_queue_has_a_url_that_looks_like_one_of_sqs(sqs: Any) -> None:
    url = sqs.queue("orders")
    assert url == "https://sqs.us-east-1.amazonaws.com/000000000000/orders"
    assert sqs.client.get_queue_url(QueueName="orders")["QueueUrl"] == url
    assert sqs.arn(url) == "arn:aws:sqs:us-east-1:000000000000:orders"


def test_a_fresh_standard_queue_shows_exactly_twelve_attributes(sqs: Any) -> None:
    now = str(sqs.clock.us // 1_000_000)
    assert sqs.attributes(sqs.queue("q")) == {
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "CreatedTimestamp": now,
        "DelaySeconds": "0",
        "LastModifiedTimestamp": now,
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
        "VisibilityTimeout": "30",
    }


def test_a_fresh_fifo_queue_shows_exactly_sixteen_attributes(sqs: Any) -> None:
    got = sqs.attributes(sqs.queue("q.fifo"))
    assert len(got) == 16
    fifo = {"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"}
    assert {name: got[name] for name in fifo} == {
        "FifoQueue": "true",
        "ContentBasedDeduplication": "false",
        "DeduplicationScope": "queue",
        "FifoThroughputLimit": "perQueue",
    }


@pytest.mark.parametrize(
    ("name", "attributes", "text"),
    [
        ("", {}, "Queue name cannot be empty"),
        ("a/b", {}, MUST_BE_NAME),
        ("x" * 81, {}, MUST_BE_NAME),
        ("a.fifo", {}, MUST_BE_NAME),
        (
            "a",
            {"FifoQueue": "true"},
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with "
            ".fifo suffix and be 1 to 80 in length.",
        ),
    ],
)
def test_bad_queue_names(sqs: Any, name: str, attributes: dict[str, str], text: str) -> None:
    with sqs.invalid(text):
        sqs.client.create_queue(QueueName=name, Attributes=attributes)


def test_fifo_queue_false_is_an_unknown_attribute(sqs: Any) -> None:
    with sqs.refused("InvalidAttributeName", "Unknown Attribute FifoQueue."):
        sqs.client.create_queue(QueueName="q", Attributes={"FifoQueue": "false"})


def test_creating_again_compares_only_the_attributes_sent_with_the_current_values(sqs: Any) -> None:
    url = sqs.queue("q", VisibilityTimeout="10")
    assert sqs.queue("q") == url
    assert sqs.queue("q", VisibilityTimeout="10", DelaySeconds="0") == url
    text = "A queue already exists with the same name and a different value for attribute VisibilityTimeout"
    with sqs.refused("QueueAlreadyExists", text, shape="QueueNameExists"):
        sqs.queue("q", VisibilityTimeout="11")
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "11"})
    assert sqs.queue("q", VisibilityTimeout="11") == url
    with sqs.refused("QueueAlreadyExists", text, shape="QueueNameExists"):
        sqs.queue("q", VisibilityTimeout="10")


def test_creating_a_fifo_queue_again_finds_it(sqs: Any) -> None:
    url = sqs.queue("q.fifo", ContentBasedDeduplication="TRUE")
    assert sqs.queue("q.fifo", ContentBasedDeduplication="true") == url


def test_creating_again_neither_compares_nor_applies_tags(sqs: Any) -> None:
    url = sqs.client.create_queue(QueueName="q", tags={"a": "1"})["QueueUrl"]
    assert sqs.client.create_queue(QueueName="q", tags={"a": "2", "b": "3"})["QueueUrl"] == url
    assert sqs.client.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "1"}


def test_a_name_cannot_be_used_again_for_60_seconds_after_deletion(sqs: Any) -> None:
    url = sqs.queue("q")
    sqs.client.delete_queue(QueueUrl=url)
    sqs.wait(59)
    with sqs.refused(
        "AWS.SimpleQueueService.QueueDeletedRecently",
        "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
    ):
        sqs.queue("q")
    sqs.wait(2)
    assert sqs.queue("q") == url


def test_a_deleted_queue_does_not_exist(sqs: Any) -> None:
    url = sqs.queue("q")
    sqs.send(url)
    sqs.client.delete_queue(QueueUrl=url)
    for call in (lambda: sqs.send(url), lambda: sqs.receive(url), lambda: sqs.client.delete_queue(QueueUrl=url)):
        with sqs.no_queue():
            call()
    assert "QueueUrls" not in sqs.client.list_queues()


def test_get_queue_url(sqs: Any) -> None:
    with sqs.no_queue():
        sqs.client.get_queue_url(QueueName="missing")
    with sqs.no_queue():
        sqs.client.get_queue_url(QueueName="not/a/name")
    with sqs.invalid("Value for parameter QueueName is invalid. Reason: Must specify a queue name."):
        sqs.client.get_queue_url(QueueName="")


ON_A_QUEUE: dict[str, dict[str, Any]] = {
    "add_permission": {"Label": "", "AWSAccountIds": [], "Actions": []},
    "change_message_visibility": {"ReceiptHandle": "garbage", "VisibilityTimeout": -1},
    "change_message_visibility_batch": {"Entries": []},
    "delete_message": {"ReceiptHandle": "garbage"},
    "delete_message_batch": {"Entries": [{"Id": "a", "ReceiptHandle": "garbage"}]},
    "delete_queue": {},
    "get_queue_attributes": {"AttributeNames": ["Nonsense"]},
    "list_dead_letter_source_queues": {"MaxResults": 0},
    "list_queue_tags": {},
    "purge_queue": {},
    "receive_message": {"MaxNumberOfMessages": 11},
    "remove_permission": {"Label": "x"},
    "send_message": {"MessageBody": ""},
    "send_message_batch": {"Entries": [{"Id": "a", "MessageBody": ""}]},
    "set_queue_attributes": {"Attributes": {"Nonsense": "1"}},
    "tag_queue": {"Tags": {}},
    "untag_queue": {"TagKeys": []},
}


@pytest.mark.parametrize("method", ON_A_QUEUE)
@pytest.mark.parametrize("url", ["https://sqs.us-east-1.amazonaws.com/000000000000/missing", "garbage url", ""])
def test_the_queue_is_looked_for_before_anything_else_is_found_wrong(sqs: Any, method: str, url: str) -> None:
    with sqs.no_queue():
        getattr(sqs.client, method)(QueueUrl=url, **ON_A_QUEUE[method])


def test_bare_names_and_urls_of_other_hosts_and_accounts_name_the_queue(sqs: Any) -> None:
    url = sqs.queue("q")
    sqs.send("q", "1")
    sqs.send("http://localhost:4566/123456789012/q", "2")
    assert sorted(sqs.bodies(url)) == ["1", "2"]


# ListQueues


def test_list_queues_pages_by_name(sqs: Any) -> None:
    urls = [sqs.queue(f"a{i}") for i in range(5)]
    other = sqs.queue("b")
    assert sqs.client.list_queues()["QueueUrls"] == [*urls, other]
    assert sqs.client.list_queues(QueueNamePrefix="a")["QueueUrls"] == urls
    assert sqs.client.list_queues(QueueNamePrefix="A").keys() == {"ResponseMetadata"}
    assert "NextToken" not in sqs.client.list_queues()
    first = sqs.client.list_queues(QueueNamePrefix="a", MaxResults=2)
    second = sqs.client.list_queues(QueueNamePrefix="a", MaxResults=3, NextToken=first["NextToken"])
    assert first["QueueUrls"] + second["QueueUrls"] == urls
    assert "NextToken" not in second


@pytest.mark.parametrize("count", [0, 1001, -1])
def test_a_page_has_1_to_1000_results(sqs: Any, count: int) -> None:
    url = sqs.queue("q")
    text = "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 1000."
    with sqs.invalid(text):
        sqs.client.list_queues(MaxResults=count)
    with sqs.invalid(text):
        sqs.client.list_dead_letter_source_queues(QueueUrl=url, MaxResults=count)


@pytest.mark.parametrize("token", ["x", "", "AAAA", "!!"])
def test_a_token_that_is_none_is_refused(sqs: Any, token: str) -> None:
    with sqs.invalid("Invalid NextToken value."):
        sqs.client.list_queues(NextToken=token, MaxResults=1)


def test_paginators(sqs: Any) -> None:
    urls = [sqs.queue(f"q{i}") for i in range(5)]
    pages = list(sqs.client.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 2}))
    assert [page["QueueUrls"] for page in pages] == [urls[:2], urls[2:4], urls[4:]]
    dlq = sqs.queue("dlq")
    for url in urls:
        sqs.dead_letter(url, dlq)
    paginator = sqs.client.get_paginator("list_dead_letter_source_queues")
    result = paginator.paginate(QueueUrl=dlq, PaginationConfig={"PageSize": 2})
    assert [url for page in result for url in page["queueUrls"]] == urls


# Attributes


def test_without_names_no_attributes_are_answered(sqs: Any) -> None:
    url = sqs.queue("q")
    assert sqs.client.get_queue_attributes(QueueUrl=url).keys() == {"ResponseMetadata"}
    assert sqs.client.get_queue_attributes(QueueUrl=url, AttributeNames=[]).keys() == {"ResponseMetadata"}


def test_unset_and_inapplicable_attributes_are_left_out(sqs: Any) -> None:
    url = sqs.queue("q")
    names = ["Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId", "FifoQueue", "DelaySeconds"]
    assert sqs.attributes(url, *names) == {"DelaySeconds": "0"}
    assert sqs.attributes(url, "Policy") == {}


def test_unknown_attributes_are_refused(sqs: Any) -> None:
    url = sqs.queue("q")
    with sqs.refused("InvalidAttributeName", "Unknown Attribute Foo."):
        sqs.attributes(url, "Foo")
    with sqs.refused("InvalidAttributeName", "Unknown Attribute QueueArn."):
        sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"QueueArn": "x"})


def test_settings_that_sqs_has_not_are_neither_seen_nor_set(sqs: Any) -> None:
    settings = {"Metrics": "full", "Partitions": "2", "RetryPolicy": "{}", "DeduplicationWindow": "60"}
    with rqsqs.connect(sqs.url, prefix=sqs.prefix) as connection:
        own = connection.create_queue("q", metrics="full", partitions=2, deduplication_window=60)
        url = sqs.queue("q", VisibilityTimeout="30")
        assert not settings.keys() & sqs.attributes(url).keys()
        for name, value in settings.items():
            with sqs.refused("InvalidAttributeName", f"Unknown Attribute {name}."):
                sqs.attributes(url, name)
            with sqs.refused("InvalidAttributeName", f"Unknown Attribute {name}."):
                sqs.client.set_queue_attributes(QueueUrl=url, Attributes={name: value})
            with sqs.refused("InvalidAttributeName", f"Unknown Attribute {name}."):
                sqs.queue("other", **{name: value})
        sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "31"})
        assert own.info().attributes["Metrics"] == "full"
        sqs.send(url)
        assert (own.metrics().sent_bytes or 0) > 0


def test_attributes_change_all_or_none_and_the_time_of_change_is_kept(sqs: Any) -> None:
    url = sqs.queue("q")
    created = sqs.attributes(url)["CreatedTimestamp"]
    sqs.wait(5)
    with sqs.refused("InvalidAttributeValue", "Invalid value for the parameter DelaySeconds."):
        sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1", "DelaySeconds": "901"})
    assert sqs.attributes(url, "VisibilityTimeout") == {"VisibilityTimeout": "30"}
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    got = sqs.attributes(url)
    assert (got["VisibilityTimeout"], got["CreatedTimestamp"]) == ("1", created)
    assert int(got["LastModifiedTimestamp"]) == int(created) + 5


def test_attributes_must_be_sent_to_be_set(sqs: Any) -> None:
    with sqs.missing("Attributes"):
        sqs.client.set_queue_attributes(QueueUrl=sqs.queue("q"), Attributes={})


def test_kms_and_sse_exclude_each_other(sqs: Any) -> None:
    url = sqs.queue("q")
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"KmsMasterKeyId": "testKeyId"})
    got = sqs.attributes(url)
    assert (got["KmsMasterKeyId"], got["KmsDataKeyReusePeriodSeconds"], got["SqsManagedSseEnabled"]) == (
        "testKeyId", "300", "false",
    )  # fmt: skip
    removal = {"KmsMasterKeyId": "", "KmsDataKeyReusePeriodSeconds": "300"}
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes=removal)
    got = sqs.attributes(url)
    assert got["SqsManagedSseEnabled"] == "false"
    assert not {"KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds"} & got.keys()
    with sqs.refused("InvalidAttributeName"):
        sqs.queue("r", KmsMasterKeyId="k", SqsManagedSseEnabled="true")


def test_fifo_attributes_change_on_fifo_queues_only(sqs: Any) -> None:
    standard, fifo = sqs.queue("q"), sqs.queue("q.fifo")
    change = sqs.client.set_queue_attributes
    with sqs.refused("InvalidAttributeName", "Unknown Attribute ContentBasedDeduplication."):
        change(QueueUrl=standard, Attributes={"ContentBasedDeduplication": "true"})
    with sqs.refused(
        "InvalidAttributeName", "You can specify the DeduplicationScope only when FifoQueue is set to true."
    ):
        change(QueueUrl=standard, Attributes={"DeduplicationScope": "queue"})
    with sqs.refused(
        "InvalidAttributeValue",
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.",
    ):
        change(QueueUrl=fifo, Attributes={"FifoQueue": "false"})
    with sqs.refused("InvalidAttributeValue", "Invalid value for the parameter FifoThroughputLimit."):
        change(QueueUrl=fifo, Attributes={"FifoThroughputLimit": "perMessageGroupId"})
    change(QueueUrl=fifo, Attributes={"DeduplicationScope": "messageGroup"})
    change(QueueUrl=fifo, Attributes={"FifoThroughputLimit": "perMessageGroupId"})
    with sqs.refused("InvalidAttributeValue"):
        change(QueueUrl=fifo, Attributes={"DeduplicationScope": "queue"})


def test_a_policy_is_kept_as_it_was_sent(sqs: Any) -> None:
    url = sqs.queue("q")
    statement = {"Sid": "a", "Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    assert sqs.attributes(url, "Policy") == {"Policy": policy}
    with sqs.refused("InvalidAttributeValue", "Invalid value for the parameter Policy."):
        sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": "no policy"})
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    assert sqs.attributes(url, "Policy") == {}


# Tags


def test_tags_are_set_overwritten_and_removed(sqs: Any) -> None:
    url = sqs.client.create_queue(QueueName="q", tags={"a": "1", "A": "2"})["QueueUrl"]
    sqs.client.tag_queue(QueueUrl=url, Tags={"a": "3", "empty": "", "ä b/c:d=e+f-g@h_i.j": "x"})
    assert sqs.client.list_queue_tags(QueueUrl=url)["Tags"] == {
        "a": "3", "A": "2", "empty": "", "ä b/c:d=e+f-g@h_i.j": "x",
    }  # fmt: skip
    sqs.client.untag_queue(QueueUrl=url, TagKeys=["a", "unknown", "ä b/c:d=e+f-g@h_i.j", "empty", "A"])
    assert sqs.client.list_queue_tags(QueueUrl=url).keys() == {"ResponseMetadata"}


def test_tags_have_rules(sqs: Any) -> None:
    url = sqs.queue("q")
    with sqs.missing("Tags"):
        sqs.client.tag_queue(QueueUrl=url, Tags={})
    with sqs.missing("TagKeys"):
        sqs.client.untag_queue(QueueUrl=url, TagKeys=[])
    for key in ("", "x" * 129):
        with sqs.invalid("Tag keys must be between 1 and 128 characters in length."):
            sqs.client.tag_queue(QueueUrl=url, Tags={key: "x"})
    with sqs.invalid(
        "Tag keys may only contain unicode letters, digits, whitespace, or one of these symbols: _ . : / = + - @"
    ):
        sqs.client.tag_queue(QueueUrl=url, Tags={"a*": "x"})
    for tags in ({"aws:x": "x"}, {"a": "x" * 257}, {"a": "*"}):
        with sqs.invalid():
            sqs.client.tag_queue(QueueUrl=url, Tags=tags)
    sqs.client.tag_queue(QueueUrl=url, Tags={f"k{i}": "x" * 256 for i in range(50)})
    for tags in ({"one-more": "x"}, {f"n{i}": "x" for i in range(51)}):
        with sqs.invalid("Too many tags added for queue q."):
            sqs.client.tag_queue(QueueUrl=url, Tags=tags)
    with sqs.invalid("Too many tags added for queue r."):
        sqs.client.create_queue(QueueName="r", tags={f"n{i}": "x" for i in range(51)})
    with sqs.no_queue():
        sqs.client.get_queue_url(QueueName="r")


# Permissions


def test_permissions_write_the_policy(sqs: Any) -> None:
    url = sqs.queue("q")
    arn = sqs.arn(url)
    sqs.client.add_permission(QueueUrl=url, Label="one", AWSAccountIds=["111111111111"], Actions=["ReceiveMessage"])
    policy = json.loads(sqs.attributes(url)["Policy"])
    assert policy == {
        "Version": "2008-10-17",
        "Id": f"{arn}/SQSDefaultPolicy",
        "Statement": [
            {
                "Sid": "one",
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
                "Action": "SQS:ReceiveMessage",
                "Resource": arn,
            }
        ],
    }
    two = {"AWSAccountIds": ["111111111111", "222222222222"], "Actions": ["SendMessage", "DeleteMessage", "*"]}
    sqs.client.add_permission(QueueUrl=url, Label="two", **two)
    statement = json.loads(sqs.attributes(url)["Policy"])["Statement"][1]
    assert statement["Principal"] == {"AWS": ["arn:aws:iam::111111111111:root", "arn:aws:iam::222222222222:root"]}
    assert statement["Action"] == ["SQS:SendMessage", "SQS:DeleteMessage", "SQS:*"]
    with sqs.invalid("Value two for parameter Label is invalid. Reason: Already exists."):
        sqs.client.add_permission(QueueUrl=url, Label="two", **two)
    sqs.client.remove_permission(QueueUrl=url, Label="one")
    assert [each["Sid"] for each in json.loads(sqs.attributes(url)["Policy"])["Statement"]] == ["two"]
    with sqs.invalid("Value one for parameter Label is invalid. Reason: can't find label."):
        sqs.client.remove_permission(QueueUrl=url, Label="one")
    sqs.client.remove_permission(QueueUrl=url, Label="two")
    assert "Policy" not in sqs.attributes(url)


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"Label": ""}, "MissingParameter", "The request must contain the parameter Label."),
        ({"Actions": []}, "MissingParameter", "The request must contain the parameter Actions."),
        ({"AWSAccountIds": []}, "MissingParameter", "The request must contain the parameter AWSAccountIds."),
        ({"Label": "a b"}, "InvalidParameterValue", None),
        (
            {"Actions": ["DeleteQueue"]},
            "InvalidParameterValue",
            "Value SQS:DeleteQueue for parameter ActionName is invalid. Reason: Only the queue owner is allowed to "
            "invoke this action.",
        ),
        (
            {"Actions": ["SendMessageBatch"]},
            "InvalidParameterValue",
            "Value SQS:SendMessageBatch for parameter ActionName is invalid. Reason: Please refer to the appropriate "
            "WSDL for a list of valid actions. ",
        ),
        (
            {"AWSAccountIds": ["me"]},
            "InvalidParameterValue",
            "Value [me] for parameter PrincipalId is invalid. Reason: Unable to verify.",
        ),
        (
            {
                "Actions": ["*", "SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility",
                            "GetQueueAttributes", "GetQueueUrl", "PurgeQueue"]
            },
            "OverLimit",
            "8 Actions were found, maximum allowed is 7.",
        ),
    ],
)  # fmt: skip
def test_permissions_have_rules(sqs: Any, change: dict[str, Any], code: str, text: str | None) -> None:
    request = {"Label": "l", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"]} | change
    with sqs.refused(code, text, status=403 if code == "OverLimit" else 400):
        sqs.client.add_permission(QueueUrl=sqs.queue("q"), **request)


def test_a_policy_has_at_most_20_statements(sqs: Any) -> None:
    url = sqs.queue("q")
    for i in range(20):
        sqs.client.add_permission(QueueUrl=url, Label=f"l{i}", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    with sqs.refused("OverLimit", "21 Statements were found, maximum allowed is 20.", status=403):
        sqs.client.add_permission(QueueUrl=url, Label="l20", AWSAccountIds=["111111111111"], Actions=["SendMessage"])


def test_the_sids_of_a_policy_that_was_set_act_as_labels(sqs: Any) -> None:
    statement = {"Sid": "mine", "Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": statement}
    url = sqs.queue("q", Policy=json.dumps(policy))
    sqs.client.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    sqs.client.remove_permission(QueueUrl=url, Label="mine")
    assert json.loads(sqs.attributes(url)["Policy"])["Version"] == "2012-10-17"


# PurgeQueue


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_purge_removes_visible_in_flight_and_delayed_messages(sqs: Any, name: str) -> None:
    url = sqs.queue(name)
    extra = (lambda i: {"MessageDeduplicationId": str(i)}) if name.endswith(".fifo") else (lambda i: {})
    for i in range(3):
        sqs.send(url, f"m{i}", group=f"g{i}", **extra(i))
    if name == "q":
        sqs.send(url, "later", DelaySeconds=10)
    assert len(sqs.receive(url, 1)) == 1
    sqs.client.purge_queue(QueueUrl=url)
    assert sqs.counts(url) == (0, 0, 0)
    sqs.wait(31)
    assert sqs.receive(url) == []


def test_purge_once_in_60_seconds(sqs: Any) -> None:
    url = sqs.queue("q")
    sqs.client.purge_queue(QueueUrl=url)
    sqs.wait(59)
    text = "Only one PurgeQueue operation on q is allowed every 60 seconds."
    with sqs.refused("AWS.SimpleQueueService.PurgeQueueInProgress", text, status=403):
        sqs.client.purge_queue(QueueUrl=url)
    sqs.wait(2)
    sqs.client.purge_queue(QueueUrl=url)
    got = sqs.attributes(url)
    assert got["LastModifiedTimestamp"] == got["CreatedTimestamp"]
