"""A context that one API sent is found by the consumers of each other one."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("boto3")
pytest.importorskip("uvicorn")

from opentelemetry import baggage, context, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator

import rqsqs.opentelemetry
from rqsqs.gateway import GatewaySettings
from tests.gateway.conftest import client_of, running
from tests.telemetry.recording import Recorder, linked
from tests.telemetry.test_requests import TRACEPARENT, XRAY, _attached
from tests.worker.serving import App


class Apis:
    """The same queue through each API."""

    def __init__(self, app: App, stack: ExitStack) -> None:
        self.app = app
        self.queue = app.queue()
        address = stack.enter_context(running(GatewaySettings(url=app.url, prefix=app.prefix)))
        self.clients = {"boto3": _attached(app.url, app.prefix), "gateway": client_of(address)}

    def url(self, api: str) -> str:
        found: str = self.clients[api].get_queue_url(QueueName="q")["QueueUrl"]
        return found

    def send(self, api: str) -> None:
        if api == "native":
            self.queue.send("x")
        else:
            self.clients[api].send_message(QueueUrl=self.url(api), MessageBody="x")

    def handle(self, api: str) -> None:
        """Receive a message and handle it in a process span."""
        if api == "native":
            with self.queue.receive()[0]:
                pass
        elif api == "worker":
            self.app.serve(lambda message: None)
        else:
            asked: Any = (
                {} if api == "boto3" else {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}
            )
            (message,) = self.clients[api].receive_message(QueueUrl=self.url(api), **asked)["Messages"]
            with rqsqs.opentelemetry.process(message, queue="q"):
                pass


@pytest.fixture
def propagator() -> Any:
    """Those in use, to be changed."""
    before = propagate.get_global_textmap()
    yield propagate.set_global_textmap
    propagate.set_global_textmap(before)


@pytest.fixture
def apis(app: App) -> Any:
    with ExitStack() as stack:
        yield Apis(app, stack)


@pytest.mark.parametrize("consumer", ["native", "worker", "boto3", "gateway"])
@pytest.mark.parametrize("sender", ["native", "boto3", "gateway"])
def test_from_each_api_to_each(recorder: Recorder, apis: Apis, sender: str, consumer: str) -> None:
    apis.send(sender)
    apis.handle(consumer)
    send, process = recorder.span("send q"), recorder.span("process q")
    assert linked(process) == [send.context.span_id]
    assert process.links[0].context.trace_id == send.context.trace_id
    assert linked(recorder.span("receive q")) == [send.context.span_id]


@pytest.mark.parametrize("consumer", ["native", "worker", "boto3", "gateway"])
@pytest.mark.parametrize("name", ["traceparent", "otel.traceparent", "AWSTraceHeader"])
def test_from_clients_that_know_nothing_of_us(recorder: Recorder, apis: Apis, name: str, consumer: str) -> None:
    """As attributes of instrumentations of SQS clients, or as AWSTraceHeader."""
    value = {"DataType": "String", "StringValue": XRAY if name == "AWSTraceHeader" else TRACEPARENT}
    if name == "AWSTraceHeader":
        pytest.importorskip("opentelemetry.propagators.aws")
    rqsqs.opentelemetry.uninstrument()
    field = "MessageSystemAttributes" if name == "AWSTraceHeader" else "MessageAttributes"
    apis.clients["gateway"].send_message(QueueUrl=apis.url("gateway"), MessageBody="x", **{field: {name: value}})
    recorder.instrument()
    apis.handle(consumer)
    (link,) = recorder.span("process q").links
    assert f"00-{link.context.trace_id:032x}-{link.context.span_id:016x}-01" == TRACEPARENT


def test_who_asks_for_otel_attributes_gets_a_native_context(recorder: Recorder, apis: Apis) -> None:
    """As opentelemetry-instrumentation-boto3sqs does."""
    apis.send("native")
    rqsqs.opentelemetry.uninstrument()
    for api in ("boto3", "gateway"):
        asked = {"MessageAttributeNames": ["otel.*"], "VisibilityTimeout": 0}
        (message,) = apis.clients[api].receive_message(QueueUrl=apis.url(api), **asked)["Messages"]
        assert message["MessageAttributes"].keys() == {"otel.traceparent"}
    (message,) = apis.clients["boto3"].receive_message(QueueUrl=apis.url("boto3"))["Messages"]
    assert "MessageAttributes" not in message  # nobody asked


def test_a_lambda_gets_the_context_as_attributes(recorder: Recorder, apis: Apis) -> None:
    events: list[Any] = []
    worker = apis.app.worker()
    worker.add_lambda("q", lambda event, context: events.append(event))
    apis.send("native")
    apis.app.start(worker)
    recorder.span("process q")
    (record,) = events[0]["Records"]
    assert (
        record["messageAttributes"]["traceparent"]["stringValue"].split("-")[2]
        == f"{recorder.span('send q').context.span_id:016x}"
    )


@pytest.mark.parametrize("in_trace_of_sender", [False, True])
@pytest.mark.parametrize("sender", ["native", "boto3", "gateway"])
def test_baggage_is_there_in_the_handler(recorder: Recorder, apis: Apis, sender: str, in_trace_of_sender: bool) -> None:
    recorder.instrument(in_trace_of_sender=in_trace_of_sender)
    seen: list[Any] = []
    headers: dict[str, str] = {}
    token = context.attach(baggage.set_baggage("tenant", "a"))
    try:
        propagate.inject(headers)  # as an instrumentation of its HTTP client does
        events = apis.clients["gateway"].meta.events
        events.register(
            "before-sign.sqs", lambda request, **_: request.headers.add_header("baggage", headers["baggage"])
        )
        apis.send(sender)
    finally:
        context.detach(token)
    apis.app.serve(lambda message: seen.append(baggage.get_baggage("tenant")))
    recorder.span("process q")
    assert seen == ["a"]


@pytest.mark.parametrize("consumer", ["native", "worker", "boto3", "gateway"])
@pytest.mark.parametrize("sender", ["native", "boto3", "gateway"])
def test_with_xray_the_context_is_the_aws_trace_header(
    recorder: Recorder, apis: Apis, propagator: Any, sender: str, consumer: str
) -> None:
    propagator(pytest.importorskip("opentelemetry.propagators.aws").AwsXRayPropagator())
    apis.send(sender)
    asked: Any = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"], "VisibilityTimeout": 0}
    (message,) = apis.clients["gateway"].receive_message(QueueUrl=apis.url("gateway"), **asked)["Messages"]
    assert message["Attributes"]["AWSTraceHeader"].startswith("Root=1-")
    assert "MessageAttributes" not in message
    apis.handle(consumer)
    assert linked(recorder.span("process q")) == [recorder.span("send q").context.span_id]


class Own(TextMapPropagator):
    """A propagator that has nothing to do with W3C."""

    fields = frozenset({"x-own"})  # type: ignore[assignment]

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
        span = trace.get_current_span(context).get_span_context()
        carrier["x-own"] = f"{span.trace_id:x}/{span.span_id:x}"

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
        if "x-own" not in carrier:
            return context
        trace_id, span_id = (int(part, 16) for part in carrier["x-own"].split("/"))
        span = trace.NonRecordingSpan(trace.SpanContext(trace_id, span_id, is_remote=True))
        return trace.set_span_in_context(span, context)


@pytest.mark.parametrize("consumer", ["native", "worker", "boto3", "gateway"])
@pytest.mark.parametrize("sender", ["native", "boto3", "gateway"])
def test_any_other_propagator_does_as_well(
    recorder: Recorder, apis: Apis, propagator: Any, sender: str, consumer: str
) -> None:
    propagator(Own())
    apis.send(sender)
    apis.handle(consumer)
    assert linked(recorder.span("process q")) == [recorder.span("send q").context.span_id]
