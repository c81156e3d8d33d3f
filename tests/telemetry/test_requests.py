"""Spans of boto3 and of the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("boto3")
pytest.importorskip("uvicorn")

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

import rqsqs.opentelemetry
from rqsqs import boto3
from rqsqs.gateway import Gateway, GatewaySettings
from tests.gateway.conftest import client_of, running
from tests.telemetry.recording import Recorder, linked

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
XRAY = f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=1"


@pytest.fixture(params=["boto3", "gateway"])
def sqs(request: pytest.FixtureRequest, valkey_url: str, prefix: str) -> Iterator[Any]:
    """A client of each."""
    if request.param == "boto3":
        yield _attached(valkey_url, prefix)
    else:
        with running(GatewaySettings(url=valkey_url, prefix=prefix)) as address:
            yield client_of(address)


def _attached(url: str, prefix: str) -> Any:
    import boto3 as plain

    client = plain.client("sqs", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    boto3.attach(client, url, prefix=prefix)
    return client


@pytest.fixture
def url(sqs: Any) -> str:
    found: str = sqs.create_queue(QueueName="orders")["QueueUrl"]
    return found


def test_a_message_from_its_send_to_its_end(recorder: Recorder, sqs: Any, url: str) -> None:
    sent = sqs.send_message(
        QueueUrl=url, MessageBody="x", MessageAttributes={"a": {"DataType": "String", "StringValue": "b"}}
    )
    send = recorder.span("send orders")
    about = send.attributes
    assert (send.kind, about["messaging.system"], about["aws.sqs.queue.url"]) == (SpanKind.PRODUCER, "aws_sqs", url)
    assert (about["messaging.message.id"], about["messaging.destination.name"]) == (sent["MessageId"], "orders")
    (message,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert message["MessageAttributes"].keys() == {"a", "traceparent"}
    receive = recorder.span("receive orders")
    assert (receive.kind, linked(receive)) == (SpanKind.CLIENT, [send.context.span_id])
    with rqsqs.opentelemetry.process(message, queue=url):
        pass
    process = recorder.span("process orders")
    assert (process.kind, linked(process)) == (SpanKind.CONSUMER, [send.context.span_id])
    assert process.attributes["messaging.system"] == "aws_sqs"
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=60)
    assert recorder.spans("settle orders") == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert recorder.span("settle orders").kind is SpanKind.CLIENT
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    assert len(recorder.spans("receive orders")) == 1


def test_digests_are_those_of_what_the_client_sent(recorder: Recorder, sqs: Any, url: str) -> None:
    from rqsqs.sqs.digests import md5_of_attributes

    sent = sqs.send_message(
        QueueUrl=url, MessageBody="x", MessageAttributes={"a": {"DataType": "String", "StringValue": "b"}}
    )
    assert sent["MD5OfMessageAttributes"] == md5_of_attributes({"a": ("String", "b")})
    (message,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    given = {name: (one["DataType"], one["StringValue"]) for name, one in message["MessageAttributes"].items()}
    assert message["MD5OfMessageAttributes"] == md5_of_attributes(given)


def test_a_context_that_the_sender_gave_stays(recorder: Recorder, sqs: Any, url: str) -> None:
    for name in ("traceparent", "otel.traceparent"):
        sqs.send_message(
            QueueUrl=url, MessageBody="x", MessageAttributes={name: {"DataType": "String", "StringValue": TRACEPARENT}}
        )
        (message,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
        assert message["MessageAttributes"].keys() == {name}
        context = rqsqs.opentelemetry.context_of(message)
        assert f"{trace.get_current_span(context).get_span_context().span_id:016x}" == SPAN
    assert [linked(span) for span in recorder.spans("receive orders")] == [[int(SPAN, 16)]] * 2


def test_a_message_with_ten_attributes_shows_no_more(recorder: Recorder, sqs: Any, url: str) -> None:
    ten = {f"a{n}": {"DataType": "String", "StringValue": "b"} for n in range(10)}
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=ten)
    (message,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert message["MessageAttributes"].keys() == ten.keys()
    assert linked(recorder.span("receive orders")) == [recorder.span("send orders").context.span_id]  # it is kept


def test_aws_trace_header_is_kept_and_converted(recorder: Recorder, sqs: Any, url: str) -> None:
    pytest.importorskip("opentelemetry.propagators.aws")
    rqsqs.opentelemetry.uninstrument()
    header = {"AWSTraceHeader": {"DataType": "String", "StringValue": XRAY}}
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageSystemAttributes=header)
    recorder.instrument()
    (message,) = sqs.receive_message(QueueUrl=url, MessageSystemAttributeNames=["All"])["Messages"]
    assert message["Attributes"]["AWSTraceHeader"] == XRAY
    assert recorder.span("receive orders").links[0].context.trace_id == int(TRACE, 16)
    found = trace.get_current_span(rqsqs.opentelemetry.context_of(message)).get_span_context()
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags.sampled) == (TRACE, SPAN, True)


def test_batches(recorder: Recorder, sqs: Any, url: str) -> None:
    entries = [{"Id": str(n), "MessageBody": "x"} for n in range(2)]
    sqs.send_message_batch(QueueUrl=url, Entries=entries)
    send = recorder.span("send orders")
    assert send.attributes["messaging.batch.message_count"] == 2
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    handles = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
    wrong = [{**handles[0], "VisibilityTimeout": 0}, {"Id": "wrong", "ReceiptHandle": "x", "VisibilityTimeout": 0}]
    assert len(sqs.change_message_visibility_batch(QueueUrl=url, Entries=wrong)["Failed"]) == 1
    settle = recorder.span("settle orders")
    assert (settle.attributes["error.type"], settle.status.status_code) == ("ReceiptHandleIsInvalid", StatusCode.ERROR)
    assert settle.attributes["messaging.batch.message_count"] == 2
    sqs.delete_message_batch(QueueUrl=url, Entries=handles)
    recorder.clear()

    recorder.instrument(create_spans=True)
    sqs.send_message_batch(QueueUrl=url, Entries=entries)
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    creates = recorder.spans("create orders")
    assert recorder.span("send orders").kind is SpanKind.CLIENT
    assert linked(recorder.span("send orders")) == [span.context.span_id for span in creates]
    assert sorted(linked(recorder.span("receive orders"))) == sorted(span.context.span_id for span in creates)
    assert entries == [{"Id": str(n), "MessageBody": "x"} for n in range(2)]  # the caller's are as they were


def test_errors_have_their_codes(recorder: Recorder, sqs: Any, url: str) -> None:
    for call in (sqs.send_message, sqs.receive_message):
        with pytest.raises(sqs.exceptions.QueueDoesNotExist):
            call(QueueUrl=url + "-not", **({"MessageBody": "x"} if call == sqs.send_message else {}))
    spans = recorder.spans()
    assert [span.name for span in spans] == ["send orders-not", "receive orders-not"]
    assert {span.attributes["error.type"] for span in spans} == {"AWS.SimpleQueueService.NonExistentQueue"}


def test_what_is_not_about_messages_is_no_span(recorder: Recorder, sqs: Any, url: str) -> None:
    sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    sqs.list_queues()
    assert recorder.spans() == []


def test_the_gateway_continues_the_trace_of_a_request(recorder: Recorder, valkey_url: str, prefix: str) -> None:
    with running(GatewaySettings(url=valkey_url, prefix=prefix)) as address:
        sqs = client_of(address)
        url = sqs.create_queue(QueueName="orders")["QueueUrl"]
        headers = {"traceparent": TRACEPARENT}
        sqs.meta.events.register(
            "before-sign.sqs", lambda request, **_: [request.headers.add_header(*item) for item in headers.items()]
        )
        sqs.send_message(QueueUrl=url, MessageBody="x")
        assert recorder.span("send orders").parent.span_id == int(SPAN, 16)
        headers = {"traceparent": "nonsense"}
        sqs.send_message(QueueUrl=url, MessageBody="x")
        assert recorder.spans("send orders")[1].parent is None
        pytest.importorskip("opentelemetry.propagators.aws")
        headers = {"X-Amzn-Trace-Id": XRAY}
        sqs.send_message(QueueUrl=url, MessageBody="x")
        assert recorder.spans("send orders")[2].parent.span_id == int(SPAN, 16)


class Observed(Gateway):
    """A gateway below middleware that begins a span for each request, as instrumentations of ASGI do."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with trace.get_tracer("asgi", tracer_provider=self.provider).start_as_current_span("POST /"):
            await super().__call__(scope, receive, send)


def test_the_gateway_continues_the_trace_of_middleware_around_it(
    recorder: Recorder, valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Observed, "provider", recorder.tracer_provider, raising=False)
    monkeypatch.setattr("tests.gateway.conftest.Gateway", Observed)
    with running(GatewaySettings(url=valkey_url, prefix=prefix)) as address:
        sqs = client_of(address)
        url = sqs.create_queue(QueueName="orders")["QueueUrl"]
        sqs.meta.events.register(
            "before-sign.sqs", lambda request, **_: request.headers.add_header("traceparent", TRACEPARENT)
        )
        recorder.clear()
        sqs.send_message(QueueUrl=url, MessageBody="x")
        assert recorder.span("send orders").parent == recorder.span("POST /").context
