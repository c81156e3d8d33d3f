"""FIFO queues through the drop-in: order, groups, deduplication, handles."""

from __future__ import annotations

import hashlib
import re
import threading
from typing import Any

import pytest

GROUP_TEXT = "The request must contain the parameter MessageGroupId."
DEDUP_TEXT = (
    "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
)


@pytest.fixture
def url(sqs: Any) -> str:
    """A FIFO queue with content-based deduplication."""
    made: str = sqs.queue("q.fifo", ContentBasedDeduplication="true")
    return made


def test_sequence_numbers_have_20_digits_and_grow(sqs: Any, url: str) -> None:
    numbers = [sqs.send(url, f"m{i}", group="g")["SequenceNumber"] for i in range(5)]
    assert all(re.fullmatch("[0-9]{20}", number) for number in numbers)
    assert numbers == sorted(set(numbers))
    assert [message["Attributes"]["SequenceNumber"] for message in sqs.receive(url)] == numbers


def test_all_system_attributes_of_a_fifo_message(sqs: Any, url: str) -> None:
    sent = sqs.send(url, "same", group="g")
    [message] = sqs.receive(url)
    now = str(sqs.clock.us // 1000)
    assert message["Attributes"] == {
        "SenderId": "000000000000",
        "SentTimestamp": now,
        "ApproximateReceiveCount": "1",
        "ApproximateFirstReceiveTimestamp": now,
        "SequenceNumber": sent["SequenceNumber"],
        "MessageGroupId": "g",
        "MessageDeduplicationId": "0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5",
    }


def test_an_explicit_deduplication_id_comes_back(sqs: Any, url: str) -> None:
    sqs.send(url, group="g", MessageDeduplicationId="mine")
    [message] = sqs.receive(url)
    assert message["Attributes"]["MessageDeduplicationId"] == "mine"


# Required ids


def test_group_and_deduplication_id_are_required(sqs: Any) -> None:
    url = sqs.queue("strict.fifo")
    with sqs.refused("MissingParameter", GROUP_TEXT):
        sqs.send(url, MessageDeduplicationId="d")
    with sqs.invalid(DEDUP_TEXT):
        sqs.send(url, group="g")
    batch = [
        {"Id": "a", "MessageBody": "a", "MessageGroupId": "g", "MessageDeduplicationId": "a"},
        {"Id": "b", "MessageBody": "b", "MessageGroupId": "g"},
    ]
    with sqs.invalid(DEDUP_TEXT):
        sqs.client.send_message_batch(QueueUrl=url, Entries=batch)
    del batch[1]["MessageGroupId"]
    with sqs.invalid(GROUP_TEXT):
        sqs.client.send_message_batch(QueueUrl=url, Entries=batch)
    assert sqs.counts(url) == (0, 0, 0)


@pytest.mark.parametrize("value", ["", "x" * 129, "a b"])
@pytest.mark.parametrize("parameter", ["MessageGroupId", "MessageDeduplicationId"])
def test_ids_have_a_format(sqs: Any, url: str, parameter: str, value: str) -> None:
    with sqs.invalid(
        f"Value {value} for parameter {parameter} is invalid. Reason: {parameter} can only include alphanumeric and "
        "punctuation characters. 1 to 128 in length."
    ):
        sqs.client.send_message(**{"QueueUrl": url, "MessageBody": "x", "MessageGroupId": "g", parameter: value})


# Order and groups


def test_one_receive_drains_one_group_first(sqs: Any, url: str) -> None:
    for group, body in (("g1", "g1-m1"), ("g2", "g2-m1"), ("g1", "g1-m2"), ("g1", "g1-m3")):
        sqs.send(url, body, group=group)
        sqs.wait(0.001)
    assert sqs.bodies(url) == ["g1-m1", "g1-m2", "g1-m3", "g2-m1"]


def test_a_batch_keeps_its_order(sqs: Any, url: str) -> None:
    batch = [{"Id": str(i), "MessageBody": str(i), "MessageGroupId": "g"} for i in range(10)]
    got = sqs.client.send_message_batch(QueueUrl=url, Entries=batch)["Successful"]
    assert [each["SequenceNumber"] for each in got] == sorted(each["SequenceNumber"] for each in got)
    assert sqs.bodies(url) == [str(i) for i in range(10)]


def test_a_group_in_flight_is_locked_as_a_whole(sqs: Any, url: str) -> None:
    for body in ("1", "2", "3"):
        sqs.send(url, body, group="g")
    sqs.send(url, "other", group="h")
    first, second = sqs.receive(url, 2)
    assert sqs.bodies(url) == ["other"]
    sqs.send(url, "4", group="g")
    assert sqs.receive(url) == []
    sqs.delete(url, first)
    assert sqs.receive(url) == []
    sqs.delete(url, second)
    assert sqs.bodies(url) == ["3", "4"]


def test_waiting_receives_get_the_next_message_once_a_group_is_free(live: Any) -> None:
    url = live.queue("q.fifo", ContentBasedDeduplication="true")
    live.send(url, "1", group="g")
    live.send(url, "2", group="g")
    [first] = live.receive(url, 1)
    timer = threading.Timer(0.3, lambda: live.delete(url, first))
    timer.start()
    assert live.bodies(url, WaitTimeSeconds=10) == ["2"]
    timer.join()


def test_messages_of_locked_groups_count_as_visible(sqs: Any, url: str) -> None:
    for group in "abc":
        for i in range(2):
            sqs.send(url, f"{group}{i}", group=group)
    sqs.receive(url, 1)
    sqs.receive(url, 1)
    assert sqs.counts(url) == (4, 2, 0)


def test_a_receive_without_invisibility_locks_nothing(sqs: Any, url: str) -> None:
    sqs.send(url, "1", group="g")
    sqs.send(url, "2", group="g")
    assert sqs.bodies(url, 1, VisibilityTimeout=0) == ["1"]
    assert sqs.bodies(url) == ["1", "2"]


def test_a_batch_that_timed_out_returns_in_order(sqs: Any, url: str) -> None:
    for body in "123":
        sqs.send(url, body, group="g")
    assert sqs.bodies(url) == ["1", "2", "3"]
    sqs.wait(31)
    assert sqs.bodies(url) == ["1", "2", "3"]


@pytest.mark.parametrize(("extended", "expected"), [(0, []), (1, ["1"]), (2, ["1", "2"])])
def test_a_group_delivers_up_to_the_first_message_that_is_invisible(
    sqs: Any, url: str, extended: int, expected: list[str]
) -> None:
    for body in "123":
        sqs.send(url, body, group="g")
    received = sqs.receive(url)
    sqs.hide(url, received[extended], 100)
    sqs.wait(31)
    assert sqs.bodies(url) == expected


def test_a_message_made_visible_queues_behind_other_groups(sqs: Any, url: str) -> None:
    for body in ("g1-m1", "g1-m2"):
        sqs.send(url, body, group="g1")
    first, _second = sqs.receive(url)
    sqs.wait(1)
    sqs.send(url, "g2-m1", group="g2")
    sqs.wait(1)
    sqs.hide(url, first, 0)
    assert sqs.bodies(url) == ["g2-m1", "g1-m1"]


# Deduplication


def test_a_duplicate_is_answered_with_the_original_and_not_delivered(sqs: Any, url: str) -> None:
    first = sqs.send(url, "a", group="g", MessageDeduplicationId="d")
    second = sqs.send(url, "b", group="other", MessageDeduplicationId="d")
    assert second["MessageId"] == first["MessageId"]
    assert second["SequenceNumber"] == first["SequenceNumber"]
    assert second["MD5OfMessageBody"] == hashlib.md5(b"b").hexdigest()
    [message] = sqs.receive(url)
    assert message["Body"] == "a"
    sqs.delete(url, message)
    assert sqs.send(url, "c", group="g", MessageDeduplicationId="d")["MessageId"] == first["MessageId"]
    assert sqs.receive(url) == []


def test_the_window_is_five_minutes_from_the_first_send(sqs: Any, url: str) -> None:
    first = sqs.send(url, group="g", MessageDeduplicationId="d")["MessageId"]
    sqs.wait(299)
    assert sqs.send(url, group="g", MessageDeduplicationId="d")["MessageId"] == first
    sqs.wait(2)
    assert sqs.send(url, group="g", MessageDeduplicationId="d")["MessageId"] != first


def test_content_counts_without_attributes_and_an_explicit_id_overrides_it(sqs: Any, url: str) -> None:
    attribute = {"a": {"DataType": "String", "StringValue": "b"}}
    first = sqs.send(url, "same", group="g")["MessageId"]
    assert sqs.send(url, "same", group="g", MessageAttributes=attribute)["MessageId"] == first
    assert sqs.send(url, "same", group="g", MessageDeduplicationId="x")["MessageId"] != first
    own = hashlib.sha256(b"same").hexdigest()
    assert sqs.send(url, "else", group="g", MessageDeduplicationId=own)["MessageId"] == first


def test_deduplication_per_message_group(sqs: Any) -> None:
    url = sqs.queue("q.fifo", DeduplicationScope="messageGroup", ContentBasedDeduplication="true")
    for group in ("a", "b", "a"):
        sqs.send(url, "same", group=group)
    assert sqs.bodies(url) == ["same", "same"]


def test_a_duplicate_within_a_batch_is_successful(sqs: Any, url: str) -> None:
    batch = [
        {"Id": str(i), "MessageBody": str(i), "MessageGroupId": "g", "MessageDeduplicationId": "d"} for i in range(2)
    ]
    first, second = sqs.client.send_message_batch(QueueUrl=url, Entries=batch)["Successful"]
    assert first["MessageId"] == second["MessageId"]
    assert sqs.bodies(url) == ["0"]


def test_purge_forgets_deduplication_ids(sqs: Any, url: str) -> None:
    sqs.send(url, "a", group="g")
    sqs.client.purge_queue(QueueUrl=url)
    sqs.send(url, "a", group="g")
    assert sqs.bodies(url) == ["a"]


# Delay


def test_only_the_queue_has_a_delay(sqs: Any) -> None:
    url = sqs.queue("q.fifo", ContentBasedDeduplication="true", DelaySeconds="5")
    with sqs.invalid(
        "Value 2 for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid for "
        "this queue type."
    ):
        sqs.send(url, group="g", DelaySeconds=2)
    sqs.send(url, "1", group="g", DelaySeconds=0)
    sqs.send(url, "2", group="g")
    assert sqs.counts(url) == (0, 0, 2)
    assert sqs.receive(url) == []
    sqs.wait(5.1)
    assert sqs.bodies(url) == ["1", "2"]


def test_a_change_of_the_delay_touches_messages_already_delayed(sqs: Any) -> None:
    url = sqs.queue("q.fifo", ContentBasedDeduplication="true", DelaySeconds="500")
    sqs.send(url, "1", group="g")
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "1"})
    sqs.wait(1.1)
    assert sqs.bodies(url) == ["1"]


# Receipt handles


def test_deleting_after_the_timeout_fails(sqs: Any, url: str) -> None:
    sqs.send(url, group="g")
    [message] = sqs.receive(url, VisibilityTimeout=5)
    sqs.hide(url, message, 10)
    sqs.wait(9)
    sqs.hide(url, message, 10)
    sqs.wait(11)
    handle = message["ReceiptHandle"]
    expired = f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
    with sqs.invalid(expired):
        sqs.delete(url, message)
    with sqs.invalid(expired):
        sqs.hide(url, message, 10)
    got = sqs.client.delete_message_batch(QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": handle}])
    assert got["Failed"] == [
        {
            "Id": "a",
            "Code": "ReceiptHandleIsInvalid",
            "Message": "The receipt handle has expired",
            "SenderFault": True,
        }
    ]
    [again] = sqs.receive(url)
    with sqs.invalid(expired):
        sqs.delete(url, message)
    sqs.delete(url, again)
    sqs.delete(url, again)
    assert sqs.counts(url) == (0, 0, 0)


def test_a_receive_without_invisibility_cannot_delete(sqs: Any, url: str) -> None:
    sqs.send(url, group="g")
    [message] = sqs.receive(url, VisibilityTimeout=0)
    with sqs.invalid():
        sqs.delete(url, message)


# Receive request attempts


def test_a_repeated_attempt_returns_the_same_messages_and_handles(sqs: Any, url: str) -> None:
    sqs.send(url, "1", group="g")
    sqs.send(url, "2", group="h")
    first = sqs.receive(url, ReceiveRequestAttemptId="try")
    sqs.wait(20)
    again = sqs.receive(url, ReceiveRequestAttemptId="try")
    assert [(m["MessageId"], m["ReceiptHandle"]) for m in again] == [
        (m["MessageId"], m["ReceiptHandle"]) for m in first
    ]
    assert [m["Attributes"]["ApproximateReceiveCount"] for m in again] == ["1", "1"]
    sqs.wait(20)  # the repetition began the visibility timeout anew
    assert sqs.receive(url) == []
    sqs.delete(url, again[0])
    sqs.delete(url, again[1])
    assert sqs.counts(url) == (0, 0, 0)


def test_an_attempt_id_has_a_format(sqs: Any, url: str) -> None:
    with sqs.invalid(
        "Value a b for parameter ReceiveRequestAttemptId is invalid. Reason: ReceiveRequestAttemptId can only include "
        "alphanumeric and punctuation characters. 1 to 128 in length."
    ):
        sqs.receive(url, ReceiveRequestAttemptId="a b")
