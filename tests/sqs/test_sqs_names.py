"""Queue names, URLs, ARNs and ids, without a server."""

from __future__ import annotations

import pytest

from rqsqs.errors import InvalidParameterValue, QueueDoesNotExist
from rqsqs.sqs import names

BAD_STANDARD = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
BAD_FIFO = (
    "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo "
    "suffix and be 1 to 80 in length."
)


@pytest.mark.parametrize(
    ("name", "is_fifo"),
    [("a", False), ("A-b_9", False), ("x" * 80, False), ("a.fifo", True), ("x" * 75 + ".fifo", True)],
)
def test_good_names_pass(name: str, is_fifo: bool) -> None:
    assert names.check_new_queue_name(name, is_fifo=is_fifo) == name
    assert names.is_queue_name(name)


@pytest.mark.parametrize(
    ("name", "is_fifo", "text"),
    [
        (None, False, "Value for parameter QueueName is invalid. Reason: Must specify a queue name."),
        ("", False, "Queue name cannot be empty"),
        ("", True, "Queue name cannot be empty"),
        ("a/b", False, BAD_STANDARD),
        ("a b", False, BAD_STANDARD),
        ("ä", False, BAD_STANDARD),
        ("a\n", False, BAD_STANDARD),
        ("x" * 81, False, BAD_STANDARD),
        ("a.fifo", False, BAD_STANDARD),
        ("a", True, BAD_FIFO),
        (".fifo", True, BAD_FIFO),
        ("a/b.fifo", True, BAD_FIFO),
        ("a.fifo\n", True, BAD_FIFO),
        ("x" * 76 + ".fifo", True, BAD_FIFO),
    ],
)
def test_bad_names_are_refused_with_the_text_of_sqs(name: str | None, is_fifo: bool, text: str) -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        names.check_new_queue_name(name, is_fifo=is_fifo)
    assert caught.value.sqs_message == text


@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.us-east-1.amazonaws.com/000000000000/orders",
        "https://queue.amazonaws.com/123456789012/orders",
        "https://us-east-2.queue.amazonaws.com/123456789012/orders",
        "http://localhost:9324/queue/orders",
        "http://localhost:4566/queue/us-east-1/000000000000/orders",
        "orders",
    ],
)
def test_the_name_is_taken_from_the_path_and_a_bare_name_is_accepted(url: str) -> None:
    assert names.queue_name_of_url(url) == "orders"


@pytest.mark.parametrize(
    "url",
    ["https://sqs.us-east-1.amazonaws.com/", "https://orders", "https://host/orders", "garbage!", "a b", "/", "//",
     "https://host/1/orders/", "https://host/1/orders?x=1", "https://host/1/a.fifo.fifo"],
)  # fmt: skip
def test_a_malformed_url_is_a_queue_that_does_not_exist(url: str) -> None:
    with pytest.raises(QueueDoesNotExist, match="The specified queue does not exist"):
        names.queue_name_of_url(url)


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", "ä", "a\n", "\x7f"])
@pytest.mark.parametrize("parameter", ["MessageGroupId", "MessageDeduplicationId"])
def test_bad_ids_are_refused_with_the_text_of_sqs(parameter: str, value: str) -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        names.check_id(parameter, value)
    assert caught.value.sqs_message == (
        f"Value {value} for parameter {parameter} is invalid. Reason: {parameter} can only include alphanumeric and "
        "punctuation characters. 1 to 128 in length."
    )


def test_ids_take_all_punctuation() -> None:
    value = "aZ09!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    assert names.check_id("MessageGroupId", value) == value
    assert names.check_id("MessageGroupId", "x" * 128)


def test_arns_are_taken_apart_and_put_together() -> None:
    arn = names.parse_arn("arn:aws:sqs:us-east-1:000000000000:orders")
    assert arn == names.Arn("aws", "sqs", "us-east-1", "000000000000", "orders")
    assert str(arn) == "arn:aws:sqs:us-east-1:000000000000:orders"


@pytest.mark.parametrize("text", ["", "orders", "arn:aws:sqs", "arn:aws:sqs:us-east-1:000000000000:", "x:a:b:c:d:e"])
def test_what_is_no_arn_is_none(text: str) -> None:
    assert names.parse_arn(text) is None


@pytest.mark.parametrize(
    ("region", "endpoint", "partition"),
    [
        ("us-east-1", "https://sqs.us-east-1.amazonaws.com", "aws"),
        ("cn-north-1", "https://sqs.cn-north-1.amazonaws.com.cn", "aws-cn"),
        ("us-gov-west-1", "https://sqs.us-gov-west-1.amazonaws.com", "aws-us-gov"),
    ],
)
def test_regions_have_their_endpoint_and_partition(region: str, endpoint: str, partition: str) -> None:
    assert names.endpoint_of(region) == endpoint
    assert names.partition_of(region) == partition


def test_a_url_of_many_bytes_names_no_queue_and_is_not_remembered() -> None:
    before = names.queue_name_of_url.cache_info().currsize
    with pytest.raises(QueueDoesNotExist):
        names.queue_name_of_url(f"http://localhost/{'x' * 3000}/000000000000/orders")
    assert names.queue_name_of_url.cache_info().currsize == before
