"""Messages of standard queues through the drop-in: send, receive, visibility, delete, batches."""

from __future__ import annotations

import re
import threading
import time
import uuid
from dataclasses import replace
from typing import Any

import pytest

from rqsqs.limits import AWS

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
CHARACTERS = (
    "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | "
    "#x10000 to #x10FFFF"
)


def text(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}


# Send and receive


def test_a_message_comes_back_as_it_was_sent(sqs: Any) -> None:
    url = sqs.queue()
    body = "é\r\n\t&quot;<a/> \U0001f600"
    sent = sqs.send(url, body)
    assert sent.keys() == {"MessageId", "MD5OfMessageBody", "ResponseMetadata"}
    assert str(uuid.UUID(sent["MessageId"])) == sent["MessageId"]
    [message] = sqs.receive(url, MessageSystemAttributeNames=[])
    assert message.keys() == {"MessageId", "ReceiptHandle", "MD5OfBody", "Body"}
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], body)
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert len(message["ReceiptHandle"]) <= 1024


def test_an_empty_receive_has_no_messages_key(sqs: Any) -> None:
    assert sqs.client.receive_message(QueueUrl=sqs.queue()).keys() == {"ResponseMetadata"}


def test_message_attributes_come_back_with_their_digest(sqs: Any) -> None:
    url = sqs.queue()
    attributes = {
        "color": text("blue"),
        "count": {"DataType": "Number", "StringValue": "3"},
        "blob": {"DataType": "Binary", "BinaryValue": b"\x01\x02\x03"},
    }
    sent = sqs.send(url, MessageAttributes=attributes)
    assert sent["MD5OfMessageAttributes"] == "d838729972a4b70e2d2acd9d59ac847c"
    [message] = sqs.receive(url)
    assert message["MessageAttributes"] == attributes
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["All"], {"Hello", "Help.Me", "General"}),
        ([".*"], {"Hello", "Help.Me", "General"}),
        (["Hel.*"], {"Hello", "Help.Me"}),
        (["Hello", "nothing", "AWS.illegal"], {"Hello"}),
        (["hello"], set()),
        ([], set()),
    ],
)
def test_only_selected_attributes_are_returned_and_digested(sqs: Any, patterns: list[str], names: set[str]) -> None:
    url = sqs.queue()
    sent = sqs.send(url, MessageAttributes={n: text(n) for n in ("Hello", "Help.Me", "General")})
    [message] = sqs.receive(url, MessageAttributeNames=patterns)
    assert message.get("MessageAttributes", {}).keys() == names
    assert ("MD5OfMessageAttributes" in message) == bool(names)
    if 0 < len(names) < 3:
        assert message["MD5OfMessageAttributes"] != sent["MD5OfMessageAttributes"]


def test_all_system_attributes_of_a_standard_message(sqs: Any) -> None:
    url = sqs.queue()
    sent_at = sqs.clock.us // 1000
    sqs.send(url)
    sqs.wait(2)
    [message] = sqs.receive(url)
    assert message["Attributes"] == {
        "SenderId": "000000000000",
        "SentTimestamp": str(sent_at),
        "ApproximateReceiveCount": "1",
        "ApproximateFirstReceiveTimestamp": str(sent_at + 2000),
    }
    sqs.wait(31)
    [again] = sqs.receive(url)
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    assert again["Attributes"]["ApproximateFirstReceiveTimestamp"] == str(sent_at + 2000)
    assert again["MessageId"] == message["MessageId"]
    assert again["ReceiptHandle"] != message["ReceiptHandle"]


STANDARD = {"SenderId", "SentTimestamp", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp"}


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        ({"AttributeNames": ["SenderId"]}, {"SenderId"}),
        ({"MessageSystemAttributeNames": ["SenderId", "SequenceNumber"]}, {"SenderId"}),
        ({"MessageSystemAttributeNames": ["SequenceNumber"]}, set()),
        ({"MessageSystemAttributeNames": ["All"], "AttributeNames": ["SenderId"]}, STANDARD),
        (
            {"MessageSystemAttributeNames": ["SenderId"], "AttributeNames": ["SentTimestamp"]},
            {"SenderId", "SentTimestamp"},
        ),
        ({"AttributeNames": ["VisibilityTimeout"]}, set()),
        ({}, set()),
    ],
)
def test_system_attributes_are_selected_by_both_lists(sqs: Any, request_: dict[str, Any], names: set[str]) -> None:
    url = sqs.queue()
    sqs.send(url)
    [message] = sqs.client.receive_message(QueueUrl=url, **request_)["Messages"]
    assert message.get("Attributes", {}).keys() == names
    assert ("Attributes" in message) == bool(names)


def test_trace_header_and_message_group_of_a_standard_queue_come_back(sqs: Any) -> None:
    url = sqs.queue()
    sent = sqs.send(url, group="tenant", MessageSystemAttributes={"AWSTraceHeader": text(TRACE)})
    assert sent["MD5OfMessageSystemAttributes"] == "5ae4d5d7636402d80f4eb6d213245a88"
    assert not {"SequenceNumber", "MD5OfMessageAttributes"} & sent.keys()
    [message] = sqs.receive(url)
    assert message["Attributes"]["AWSTraceHeader"] == TRACE
    assert message["Attributes"]["MessageGroupId"] == "tenant"
    assert "SequenceNumber" not in message["Attributes"]


def test_a_quiet_tenant_is_not_starved_by_a_noisy_one(sqs: Any) -> None:
    url = sqs.queue()
    for i in range(40):
        sqs.send(url, f"noisy{i}", group="noisy")
    sqs.send(url, "quiet", group="quiet")
    received = [body for _ in range(3) for body in sqs.bodies(url)]
    assert "quiet" in received


# Refused sends


def reason(parameter: str, value: object, why: str) -> str:
    return f"Value {value} for parameter {parameter} is invalid. Reason: {why}"


WRONG_TYPE = "The request include parameter that is not valid for this queue type."
ID_RULE = "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length."
DELAY_RULE = "DelaySeconds must be >= 0 and <= 900."
IPV = "InvalidParameterValue"


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"MessageBody": ""}, "MissingParameter", "The request must contain the parameter MessageBody."),
        ({"MessageBody": "a\x00"}, "InvalidMessageContents", CHARACTERS),
        ({"DelaySeconds": -1}, IPV, reason("DelaySeconds", -1, DELAY_RULE)),
        ({"DelaySeconds": 901}, IPV, reason("DelaySeconds", 901, DELAY_RULE)),
        ({"MessageGroupId": ""}, IPV, reason("MessageGroupId", "", ID_RULE)),
        ({"MessageDeduplicationId": "d"}, IPV, reason("MessageDeduplicationId", "d", WRONG_TYPE)),
        (
            {"MessageAttributes": {"a": text("")}},
            IPV,
            "Message (user) attribute 'a' must contain a non-empty value of type 'String'.",
        ),
        (
            {"MessageAttributes": {"a": {"DataType": "String", "StringListValues": ["x"]}}},
            "AWS.SimpleQueueService.UnsupportedOperation",
            "Message attribute list values in SendMessage operation are not supported.",
        ),
        ({"MessageSystemAttributes": {"X": text("x")}}, IPV, "Message system attribute name 'X' is invalid."),
    ],
)
def test_sends_that_break_a_rule(sqs: Any, request_: dict[str, Any], code: str, message: str) -> None:
    url = sqs.queue()
    with sqs.refused(code, message):
        sqs.client.send_message(**({"QueueUrl": url, "MessageBody": "x"} | request_))
    assert sqs.counts(url) == (0, 0, 0)


def test_the_maximum_message_size_counts_body_and_attributes(sqs: Any) -> None:
    url = sqs.queue(MaximumMessageSize="1024")
    sqs.send(url, "x" * 1024)
    attributes = {"a": text("b")}
    sqs.send(url, "x" * (1024 - 8), MessageAttributes=attributes)
    too_long = "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes."
    with sqs.invalid(too_long):
        sqs.send(url, "x" * 1025)
    with sqs.invalid(too_long):
        sqs.send(url, "x" * (1024 - 7), MessageAttributes=attributes)
    with sqs.invalid(too_long):
        sqs.send(url, "é" * 513)


def test_a_megabyte_is_the_default_maximum(sqs: Any) -> None:
    url = sqs.queue()
    body = "x" * 1_048_576
    sqs.send(url, body)
    assert sqs.bodies(url) == [body]
    with sqs.invalid("One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes."):
        sqs.send(url, body + "x")


# Delay


def test_a_delayed_message_is_counted_and_comes_when_it_is_due(sqs: Any) -> None:
    url = sqs.queue()
    sqs.send(url, "later", DelaySeconds=10)
    assert sqs.counts(url) == (0, 0, 1)
    assert sqs.receive(url) == []
    sqs.wait(9.9)
    assert sqs.receive(url) == []
    sqs.wait(0.2)
    assert sqs.bodies(url) == ["later"]
    assert sqs.counts(url) == (0, 1, 0)


def test_the_queues_delay_is_the_default_and_zero_overrides_it(sqs: Any) -> None:
    url = sqs.queue(DelaySeconds="5")
    sqs.send(url, "queue")
    sqs.send(url, "zero", DelaySeconds=0)
    assert sqs.bodies(url) == ["zero"]
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0"})
    assert sqs.bodies(url) == []  # not retroactive
    sqs.wait(5.1)
    assert sqs.bodies(url) == ["queue"]


# Receive


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        *(("MaxNumberOfMessages", n, "Must be between 1 and 10, if provided.") for n in (0, 11, -1)),
        *(("WaitTimeSeconds", n, "Must be >= 0 and <= 20, if provided.") for n in (-1, 21)),
        *(("VisibilityTimeout", n, "Must be >= 0 and <= 43200, if provided.") for n in (-1, 43201)),
        ("ReceiveRequestAttemptId", "a", WRONG_TYPE),
    ],
)
def test_receives_that_break_a_rule(sqs: Any, name: str, value: object, why: str) -> None:
    with sqs.invalid(reason(name, value, why)):
        sqs.client.receive_message(**{"QueueUrl": sqs.queue(), name: value})


def test_one_message_is_received_unless_more_are_asked_for(sqs: Any) -> None:
    url = sqs.queue()
    for i in range(12):
        sqs.send(url, str(i))
    assert len(sqs.client.receive_message(QueueUrl=url)["Messages"]) == 1
    assert len(sqs.receive(url, 10)) == 10
    assert len(sqs.receive(url, 10)) == 1


def test_visibility_timeout_of_queue_and_receive(sqs: Any) -> None:
    url = sqs.queue(VisibilityTimeout="5")
    sqs.send(url)
    assert sqs.bodies(url) == ["hello"]
    sqs.wait(4.9)
    assert sqs.bodies(url) == []
    sqs.wait(0.2)
    assert sqs.bodies(url, VisibilityTimeout=50) == ["hello"]
    sqs.wait(49)
    assert sqs.bodies(url) == []
    sqs.wait(1.1)
    assert sqs.bodies(url, VisibilityTimeout=0) == ["hello"]
    [message] = sqs.receive(url)
    assert message["Attributes"]["ApproximateReceiveCount"] == "4"


def test_the_handle_of_a_receive_without_invisibility_works(sqs: Any) -> None:
    url = sqs.queue()
    sqs.send(url)
    [message] = sqs.receive(url, VisibilityTimeout=0)
    sqs.hide(url, message, 10)
    assert sqs.receive(url) == []
    sqs.delete(url, message)
    assert sqs.counts(url) == (0, 0, 0)


def test_every_receive_gives_a_new_handle_also_within_a_millisecond(sqs: Any) -> None:
    url = sqs.queue(VisibilityTimeout="0")
    sqs.send(url)
    handles = [sqs.receive(url)[0]["ReceiptHandle"] for _ in range(3)]
    assert len(set(handles)) == 3
    sqs.delete(url, {"ReceiptHandle": handles[0]})
    assert sqs.receive(url) == []


def test_retention_deletes_also_what_is_delayed_or_in_flight(sqs: Any) -> None:
    url = sqs.queue(MessageRetentionPeriod="60", VisibilityTimeout="3600")
    sqs.send(url, "in flight")
    [message] = sqs.receive(url)
    sqs.send(url, "delayed", DelaySeconds=900)
    sqs.send(url, "visible")
    sqs.wait(61)
    assert sqs.receive(url) == []
    sqs.wait(3600)
    assert sqs.receive(url) == []
    sqs.delete(url, message)
    assert sqs.counts(url) == (0, 0, 0)


def test_too_many_messages_in_flight_are_over_the_limit_for_a_short_poll_only(make_sqs: Any) -> None:
    sqs = make_sqs(limits=replace(AWS, in_flight=2))
    url = sqs.queue()
    for i in range(3):
        sqs.send(url, str(i))
    assert len(sqs.receive(url, 2)) == 2
    with sqs.refused("OverLimit", status=403):
        sqs.receive(url)
    assert sqs.receive(url, WaitTimeSeconds=1) == []
    fifo = sqs.queue("q.fifo", ContentBasedDeduplication="true")
    for i in range(3):
        sqs.send(fifo, str(i), group=str(i))
    assert len(sqs.receive(fifo, 2)) == 2
    assert sqs.receive(fifo) == []


# Long polling, in real time


def test_a_long_poll_returns_the_first_message_at_once(live: Any) -> None:
    url = live.queue()
    started = time.monotonic()
    timer = threading.Timer(0.3, lambda: live.send(url))
    timer.start()
    assert live.bodies(url, 10, WaitTimeSeconds=20) == ["hello"]
    timer.join()
    assert 0.2 < time.monotonic() - started < 15


def test_a_long_poll_ends_empty_after_its_time(live: Any) -> None:
    url = live.queue()
    started = time.monotonic()
    assert live.receive(url, WaitTimeSeconds=1) == []
    assert time.monotonic() - started > 0.9


def test_the_queues_wait_time_is_the_default_and_zero_overrides_it(live: Any) -> None:
    url = live.queue(ReceiveMessageWaitTimeSeconds="20")
    started = time.monotonic()
    assert live.receive(url, WaitTimeSeconds=0) == []
    assert time.monotonic() - started < 15
    live.client.set_queue_attributes(QueueUrl=url, Attributes={"ReceiveMessageWaitTimeSeconds": "1"})
    started = time.monotonic()
    assert live.receive(url) == []
    assert time.monotonic() - started > 0.9


def test_a_long_poll_returns_a_message_whose_delay_ends(live: Any) -> None:
    url = live.queue()
    live.send(url, DelaySeconds=1)
    started = time.monotonic()
    assert live.bodies(url, WaitTimeSeconds=20) == ["hello"]
    assert 0.8 < time.monotonic() - started < 15


def test_a_long_poll_returns_a_message_that_is_made_visible(live: Any) -> None:
    url = live.queue()
    live.send(url)
    [message] = live.receive(url)
    timer = threading.Timer(0.3, lambda: live.hide(url, message, 0))
    timer.start()
    assert live.bodies(url, WaitTimeSeconds=20) == ["hello"]
    timer.join()


# Visibility


def test_visibility_counts_from_the_call_and_is_not_remembered(sqs: Any) -> None:
    url = sqs.queue(VisibilityTimeout="30")
    sqs.send(url)
    [message] = sqs.receive(url)
    sqs.wait(20)
    sqs.hide(url, message, 60)
    sqs.wait(59)
    assert sqs.receive(url) == []
    sqs.wait(2)
    assert sqs.bodies(url) == ["hello"]
    sqs.wait(31)
    [message] = sqs.receive(url)
    sqs.hide(url, message, 0)
    assert sqs.counts(url) == (1, 0, 0)
    assert sqs.bodies(url) == ["hello"]


def test_a_message_that_timed_out_is_hidden_again(sqs: Any) -> None:
    url = sqs.queue(VisibilityTimeout="1")
    sqs.send(url)
    [message] = sqs.receive(url)
    sqs.wait(2)
    sqs.hide(url, message, 10)
    assert sqs.receive(url) == []
    sqs.wait(11)
    assert sqs.bodies(url) == ["hello"]


def test_an_old_handle_still_acts_on_the_message(sqs: Any) -> None:
    url = sqs.queue(VisibilityTimeout="1")
    sqs.send(url)
    [old] = sqs.receive(url)
    sqs.wait(2)
    [_new] = sqs.receive(url, VisibilityTimeout=100)
    sqs.hide(url, old, 0)
    assert sqs.bodies(url, VisibilityTimeout=100) == ["hello"]
    sqs.delete(url, old)
    assert sqs.counts(url) == (0, 0, 0)


@pytest.mark.parametrize("seconds", [-1, 43201])
def test_visibility_has_a_range(sqs: Any, seconds: int) -> None:
    url = sqs.queue()
    sqs.send(url)
    [message] = sqs.receive(url)
    with sqs.invalid(
        f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: VisibilityTimeout must be an integer "
        "between 0 and 43200."
    ):
        sqs.hide(url, message, seconds)


def test_a_receive_is_invisible_for_12_hours_in_all(sqs: Any) -> None:
    url = sqs.queue()
    sqs.send(url)
    [message] = sqs.receive(url)
    sqs.hide(url, message, 43200)
    sqs.wait(1)
    with sqs.invalid(
        "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is "
        "beyond the limit [43200 seconds]"
    ):
        sqs.hide(url, message, 43200)
    sqs.hide(url, message, 43199)


def test_the_visibility_of_a_deleted_message_cannot_be_changed(sqs: Any) -> None:
    url = sqs.queue()
    sqs.send(url)
    [message] = sqs.receive(url)
    sqs.delete(url, message)
    with sqs.invalid(
        f"Value {message['ReceiptHandle']} for parameter ReceiptHandle is invalid. Reason: Message does not exist or "
        "is not available for visibility timeout change."
    ):
        sqs.hide(url, message, 0)


# Receipt handles and deletion


@pytest.mark.parametrize("handle", ["garbage", "AQEB", "a b", "é"])
def test_a_malformed_handle_is_invalid(sqs: Any, handle: str) -> None:
    url = sqs.queue()
    message = f'The input receipt handle "{handle}" is not a valid receipt handle.'
    with sqs.refused("ReceiptHandleIsInvalid", message, status=404):
        sqs.delete(url, {"ReceiptHandle": handle})
    with sqs.refused("ReceiptHandleIsInvalid", message, status=404):
        sqs.hide(url, {"ReceiptHandle": handle}, 1)


def test_the_handle_of_another_queue_is_invalid(sqs: Any) -> None:
    url, other = sqs.queue("q"), sqs.queue("r")
    sqs.send(url)
    [received] = sqs.receive(url)
    message = f'The receipt handle "{received["ReceiptHandle"]}" is not valid for this queue.'
    with sqs.refused("ReceiptHandleIsInvalid", message, status=404):
        sqs.delete(other, received)
    sqs.delete(url, received)


def test_an_empty_handle_is_a_missing_parameter(sqs: Any) -> None:
    url = sqs.queue()
    with sqs.missing("ReceiptHandle"):
        sqs.delete(url, {"ReceiptHandle": ""})
    with sqs.missing("ReceiptHandle"):
        sqs.hide(url, {"ReceiptHandle": ""}, 1)


def test_deleting_is_idempotent_and_works_after_the_timeout(sqs: Any) -> None:
    url = sqs.queue(VisibilityTimeout="1")
    sqs.send(url)
    [message] = sqs.receive(url)
    sqs.wait(5)
    for _ in range(3):
        sqs.delete(url, message)
    sqs.wait(100)
    sqs.delete(url, message)
    assert sqs.receive(url) == []


# Batches


def entries(count: int, **members: Any) -> list[dict[str, Any]]:
    return [{"Id": str(i), **members} for i in range(count)]


BATCHES = {
    "send_message_batch": ("SendMessageBatchRequestEntry", {"MessageBody": "x"}),
    "delete_message_batch": ("DeleteMessageBatchRequestEntry", {"ReceiptHandle": "x"}),
    "change_message_visibility_batch": (
        "ChangeMessageVisibilityBatchRequestEntry",
        {"ReceiptHandle": "x", "VisibilityTimeout": 1},
    ),
}
CODE = "AWS.SimpleQueueService."


@pytest.mark.parametrize("method", BATCHES)
def test_batches_are_refused_as_a_whole(sqs: Any, method: str) -> None:
    url = sqs.queue()
    entry_type, members = BATCHES[method]

    def call(batch: list[dict[str, Any]]) -> None:
        getattr(sqs.client, method)(QueueUrl=url, Entries=batch)

    with sqs.refused(f"{CODE}EmptyBatchRequest", f"There should be at least one {entry_type} in the request."):
        call([])
    with sqs.refused(
        f"{CODE}TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent 11."
    ):
        call(entries(11, **members))
    for bad in ("", "a b", "a.b", "x" * 81, "é"):
        with sqs.refused(
            f"{CODE}InvalidBatchEntryId",
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 "
            "letters long.",
        ):
            call([{"Id": bad, **members}])
    with sqs.refused(f"{CODE}BatchEntryIdsNotDistinct", "Id id_2 repeated."):
        call([{"Id": each, **members} for each in ("id_1", "id_2", "id_2", "id_1")])
    assert sqs.counts(url) == (0, 0, 0)


def test_a_send_batch_answers_in_the_order_of_its_entries(sqs: Any) -> None:
    url = sqs.queue(MaximumMessageSize="1024")
    got = sqs.client.send_message_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "ok1", "MessageBody": "1", "MessageAttributes": {"color": text("blue")}},
            {"Id": "long", "MessageBody": "x" * 1025},
            {"Id": "chars", "MessageBody": "\x00"},
            {"Id": "empty", "MessageBody": ""},
            {"Id": "ok2", "MessageBody": "2", "MessageSystemAttributes": {"AWSTraceHeader": text(TRACE)}},
            {"Id": "delay", "MessageBody": "3", "DelaySeconds": 901},
        ],
    )
    first, second = got["Successful"]
    assert first["Id"] == "ok1"
    assert first["MD5OfMessageAttributes"] == "da1b33cc3cbfe8b1630921e78e6b9880"
    assert second["Id"] == "ok2"
    assert second["MD5OfMessageSystemAttributes"] == "5ae4d5d7636402d80f4eb6d213245a88"
    assert [(each["Id"], each["Code"], each["SenderFault"]) for each in got["Failed"]] == [
        ("long", "InvalidParameterValue", True),
        ("chars", "InvalidMessageContents", True),
        ("empty", "MissingParameter", True),
        ("delay", "InvalidParameterValue", True),
    ]
    assert got["Failed"][0]["Message"] == (
        "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes."
    )
    assert sorted(sqs.bodies(url)) == ["1", "2"]


def test_lists_that_would_be_empty_are_left_out(sqs: Any) -> None:
    url = sqs.queue()
    good = sqs.client.send_message_batch(QueueUrl=url, Entries=entries(1, MessageBody="x"))
    assert good.keys() == {"Successful", "ResponseMetadata"}
    bad = sqs.client.send_message_batch(QueueUrl=url, Entries=entries(2, MessageBody=""))
    assert bad.keys() == {"Failed", "ResponseMetadata"}


def test_a_batch_has_a_megabyte_whatever_the_queue_allows(sqs: Any) -> None:
    url = sqs.queue(MaximumMessageSize="1024")
    got = sqs.client.send_message_batch(QueueUrl=url, Entries=entries(10, MessageBody="x" * 1024))
    assert len(got["Successful"]) == 10
    big = sqs.queue("big")
    half = "x" * 524_288
    sqs.client.send_message_batch(QueueUrl=big, Entries=entries(2, MessageBody=half))
    with sqs.refused(
        f"{CODE}BatchRequestTooLong", "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes."
    ):
        sqs.client.send_message_batch(
            QueueUrl=big, Entries=[*entries(1, MessageBody=half), {"Id": "b", "MessageBody": half + "x"}]
        )


def test_a_delete_batch_reports_entries_one_by_one(sqs: Any) -> None:
    url = sqs.queue()
    sqs.client.send_message_batch(QueueUrl=url, Entries=entries(3, MessageBody="x"))
    received = sqs.receive(url)
    got = sqs.client.delete_message_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "0", "ReceiptHandle": received[0]["ReceiptHandle"]},
            {"Id": "bad", "ReceiptHandle": "garbage"},
            {"Id": "none", "ReceiptHandle": ""},
            {"Id": "1", "ReceiptHandle": received[1]["ReceiptHandle"]},
        ],
    )
    assert got["Successful"] == [{"Id": "0"}, {"Id": "1"}]
    assert [(each["Id"], each["Code"], each["SenderFault"]) for each in got["Failed"]] == [
        ("bad", "ReceiptHandleIsInvalid", True),
        ("none", "MissingParameter", True),
    ]
    assert sqs.counts(url) == (0, 1, 0)


def test_a_visibility_batch_reports_entries_one_by_one(sqs: Any) -> None:
    url = sqs.queue()
    sqs.client.send_message_batch(QueueUrl=url, Entries=entries(3, MessageBody="x"))
    received = sqs.receive(url)
    sqs.delete(url, received[2])
    handles = [each["ReceiptHandle"] for each in received]
    got = sqs.client.change_message_visibility_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "0", "ReceiptHandle": handles[0], "VisibilityTimeout": 0},
            {"Id": "range", "ReceiptHandle": handles[1], "VisibilityTimeout": 43201},
            {"Id": "none", "ReceiptHandle": handles[1]},
            {"Id": "gone", "ReceiptHandle": handles[2], "VisibilityTimeout": 1},
            {"Id": "bad", "ReceiptHandle": "garbage", "VisibilityTimeout": 1},
        ],
    )
    assert got["Successful"] == [{"Id": "0"}]
    assert [(each["Id"], each["Code"]) for each in got["Failed"]] == [
        ("range", "InvalidParameterValue"),
        ("none", "MissingParameter"),
        ("gone", "InvalidParameterValue"),
        ("bad", "ReceiptHandleIsInvalid"),
    ]
    assert re.search("does not exist or is not available", got["Failed"][2]["Message"])
    assert sqs.counts(url) == (1, 1, 0)


def test_messages_too_large_fail_in_a_batch_even_if_there_is_no_other(sqs: Any) -> None:
    url = sqs.queue(MaximumMessageSize="1024")
    for count in (1, 3):
        got = sqs.client.send_message_batch(QueueUrl=url, Entries=entries(count, MessageBody="x" * 1025))
        assert [(each["Code"], each["Message"]) for each in got["Failed"]] == [
            (IPV, "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes.")
        ] * count
