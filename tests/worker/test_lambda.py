"""Functions written for AWS Lambda: events as its documentation shows them, and how their answers are understood.

The shapes are those of "Using Lambda with Amazon SQS" (Example Amazon SQS message event) and "Handling errors for an
SQS event source in Lambda" in the AWS Lambda Developer Guide.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from rqsqs import RetryPolicy
from rqsqs.errors import InvalidParameterValue
from tests.worker.serving import App, Running, is_empty, send, until

SOON = RetryPolicy(base=0.02, cap=0.05)


def serve(app: App, function: Any, queue: str = "q", batch: int = 10, timeout: float | None = None) -> Running:
    worker = app.worker(concurrency=2)
    worker.add_lambda(queue, function, batch=batch, timeout=timeout)
    return app.start(worker)


def test_the_event_of_a_standard_queue(app: App) -> None:
    events: list[dict[str, Any]] = []
    q = app.queue()
    sent = q.send("Test message.", attributes={"name": "Bob", "n": 3, "raw": b"\x00\x01"})

    def handler(event: dict[str, Any], context: Any) -> None:
        events.append(event)

    serve(app, handler)
    until(lambda: is_empty(q))
    ((record,),) = [event["Records"] for event in events]
    assert set(record) == {
        "messageId", "receiptHandle", "body", "attributes", "messageAttributes", "md5OfBody", "md5OfMessageAttributes",
        "eventSource", "eventSourceARN", "awsRegion",
    }  # fmt: skip
    assert record["messageId"] == sent.message_id
    assert record["body"] == "Test message."
    assert record["md5OfBody"] == hashlib.md5(b"Test message.").hexdigest()
    assert record["eventSource"] == "aws:sqs"
    assert re.fullmatch(r"arn:aws:sqs:us-east-1:\d{12}:q", record["eventSourceARN"])
    assert record["awsRegion"] == "us-east-1"
    assert set(record["attributes"]) == {
        "ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp",
    }  # fmt: skip
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert re.fullmatch(r"\d{13}", record["attributes"]["SentTimestamp"])
    assert all(isinstance(value, str) for value in record["attributes"].values())
    assert record["messageAttributes"]["name"] == {
        "stringValue": "Bob", "stringListValues": [], "binaryListValues": [], "dataType": "String",
    }  # fmt: skip
    assert record["messageAttributes"]["n"]["stringValue"] == "3"
    assert record["messageAttributes"]["n"]["dataType"] == "Number"
    assert record["messageAttributes"]["raw"] == {
        "binaryValue": base64.b64encode(b"\x00\x01").decode(),
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": "Binary",
    }
    assert "MessageGroupId" not in record["attributes"]


def test_the_event_of_a_fifo_queue(app: App) -> None:
    events: list[dict[str, Any]] = []
    q = app.queue("q.fifo")
    sent = q.send("a", group="g", deduplication_id="d")
    serve(app, lambda event, context: events.append(event), "q.fifo")
    until(lambda: is_empty(q))
    attributes = events[0]["Records"][0]["attributes"]
    assert attributes["SequenceNumber"] == sent.sequence_number
    assert (attributes["MessageGroupId"], attributes["MessageDeduplicationId"]) == ("g", "d")
    assert "md5OfMessageAttributes" not in events[0]["Records"][0]


def test_the_context(app: App) -> None:
    told: list[Any] = []
    q = app.queue()

    def my_function(event: Any, context: Any) -> None:
        told.append((context.function_name, context.invoked_function_arn, context.aws_request_id))
        told.append(context.get_remaining_time_in_millis())

    q.send("a")
    serve(app, my_function, timeout=30)
    until(lambda: is_empty(q))
    name, arn, request_id = told[0]
    assert name == "my_function"
    assert arn.endswith(":function:my_function")
    assert re.fullmatch(r"[0-9a-f-]{36}", request_id)
    assert isinstance(told[1], int)
    assert 29_000 < told[1] <= 30_000


@pytest.mark.parametrize("answer", [None, {}, [], "", {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_a_complete_success(app: App, answer: Any) -> None:
    calls: list[Any] = []
    q = app.queue(retry_policy=SOON)

    def handler(event: Any, context: Any) -> Any:
        calls.extend(r["body"] for r in event["Records"])
        return answer

    send(q, ["a", "b"])
    serve(app, handler)
    until(lambda: is_empty(q))
    assert sorted(calls) == ["a", "b"]


@pytest.mark.parametrize(
    "failures",
    [
        [{"itemIdentifier": ""}],
        [{"itemIdentifier": None}],
        [{"badKey": "x"}],
        [{"itemIdentifier": "no such message"}],
        ["a"],
        [None],
        "everything",
        7,
        {"itemIdentifier": "x"},
    ],
)
def test_a_complete_failure(app: App, failures: Any) -> None:
    calls: list[tuple[Any, str]] = []
    q = app.queue(retry_policy=SOON)

    def handler(event: Any, context: Any) -> Any:
        calls.extend((r["body"], r["attributes"]["ApproximateReceiveCount"]) for r in event["Records"])
        is_first = any(r["attributes"]["ApproximateReceiveCount"] == "1" for r in event["Records"])
        return {"batchItemFailures": failures} if is_first else None

    send(q, ["a", "b"])
    serve(app, handler)
    until(lambda: is_empty(q))
    assert sorted(calls) == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]


@pytest.mark.parametrize("is_async", [False, True])
def test_those_that_are_named_have_failed(app: App, is_async: bool) -> None:
    calls: list[Any] = []
    q = app.queue(retry_policy=SOON)

    def handler(event: Any, context: Any) -> Any:
        calls.append(sorted(r["body"] for r in event["Records"]))
        failed = [
            r for r in event["Records"] if r["body"] != "good" and r["attributes"]["ApproximateReceiveCount"] == "1"
        ]
        return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in failed]}

    async def async_handler(event: Any, context: Any) -> Any:
        return handler(event, context)

    send(q, ["good", "bad 1", "bad 2"])
    serve(app, async_handler if is_async else handler)
    until(lambda: is_empty(q))
    assert calls[0] == ["bad 1", "bad 2", "good"]
    assert sorted(body for call in calls[1:] for body in call) == ["bad 1", "bad 2"]


def test_an_exception_fails_the_whole_batch_and_bodies_are_text(app: App) -> None:
    bodies: list[Any] = []
    q = app.queue(retry_policy=SOON)

    def handler(event: Any, context: Any) -> None:
        bodies.extend(r["body"] for r in event["Records"])
        if any(r["attributes"]["ApproximateReceiveCount"] == "1" for r in event["Records"]):
            raise ValueError("x")

    send(q, ["", b"\xff", {"a": [1, None]}])
    serve(app, handler)
    until(lambda: is_empty(q))
    assert sorted(bodies) == sorted(["", "/w==", '{"a":[1,null]}'] * 2)


def test_of_a_fifo_group_what_follows_a_failure_is_the_functions_business(app: App) -> None:
    """As with Lambda: a function for a FIFO queue stops at the first failure and names it and what follows."""
    done: list[int] = []
    tries: list[list[int]] = []
    q = app.queue("q.fifo", retry_policy=SOON)

    def handler(event: Any, context: Any) -> Any:
        records = event["Records"]
        tries.append([int(r["body"]) for r in records])
        for i, r in enumerate(records):
            if int(r["body"]) == 3 and r["attributes"]["ApproximateReceiveCount"] == "1":
                return {"batchItemFailures": [{"itemIdentifier": x["messageId"]} for x in records[i:]]}
            done.append(int(r["body"]))
        return {"batchItemFailures": []}

    send(q, [str(n) for n in range(8)], lambda body: "g")
    serve(app, handler, "q.fifo")
    until(lambda: is_empty(q), lambda: tries)
    assert done == list(range(8))


@pytest.mark.parametrize("batch", [0, 1001, True])
def test_batches_out_of_range(app: App, batch: Any) -> None:
    with pytest.raises(InvalidParameterValue):
        app.worker().add_lambda("q", lambda event, context: None, batch=batch)


def test_what_is_no_function(app: App) -> None:
    with pytest.raises(InvalidParameterValue, match="must be a function, got"):
        app.worker().add_lambda("q", "handler.main")  # type: ignore[arg-type]
