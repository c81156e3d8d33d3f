"""Spans and metrics of the native API, sync and asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

import rqsqs
import rqsqs.opentelemetry
from rqsqs import Entry, aio
from tests.clusters import ALL_ON_CLUSTER
from tests.telemetry.recording import Recorder, linked


def test_a_send_is_a_span_and_its_context_travels_with_the_message(recorder: Recorder, orders: rqsqs.Queue) -> None:
    with recorder.tracer.start_as_current_span("request") as request:
        sent = orders.send({"id": 1}, attributes={"kind": "new"})
    span = recorder.span("send orders")
    assert span.kind is SpanKind.PRODUCER
    assert span.parent == request.get_span_context()
    about = dict(span.attributes)
    assert about["messaging.system"] == "rqsqs"
    assert about["messaging.operation.name"] == about["messaging.operation.type"] == "send"
    assert about["messaging.destination.name"] == "orders"
    assert about["messaging.message.id"] == sent.message_id
    assert "messaging.batch.message_count" not in about
    (message,) = orders.receive()
    context = span.get_span_context()
    assert message.trace_context["traceparent"].split("-")[1:3] == [
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
    ]
    assert message.attributes == {"kind": "new"}  # it is none of these


def test_each_send_of_a_sender_is_a_span(recorder: Recorder, orders: rqsqs.Queue) -> None:
    with orders.sender() as sender:
        sent = sender.send("x")
    span = recorder.span("send orders")
    assert span.attributes["messaging.message.id"] == sent.message_id
    (message,) = orders.receive()
    assert message.trace_context["traceparent"].split("-")[2] == f"{span.get_span_context().span_id:016x}"


@pytest.mark.skipif(ALL_ON_CLUSTER, reason="of the cluster's addresses the first one is named")
def test_the_server_is_named(recorder: Recorder, orders: rqsqs.Queue, valkey_url: str) -> None:
    orders.send("x")
    parts = urlsplit(valkey_url)
    about = dict(recorder.span("send orders").attributes)
    assert (about["server.address"], about["server.port"]) == (parts.hostname, parts.port)


def test_servers_of_other_urls_are_named_as_far_as_they_have_a_name() -> None:
    from rqsqs.opentelemetry.spans import server_of

    assert server_of("redis://u:p@[::1]/0") == {"server.address": "::1", "server.port": 6379}
    assert server_of("unix:///run/redis.sock?db=1") == {"server.address": "/run/redis.sock"}
    assert server_of("redis+cluster://:p@a:7000,b:7001") == {"server.address": "a", "server.port": 7000}
    assert server_of("embedded://~") == server_of(None) == {}


def test_a_receive_links_to_its_messages_and_an_empty_one_is_no_span(recorder: Recorder, orders: rqsqs.Queue) -> None:
    assert orders.receive() == []
    assert recorder.spans() == []
    orders.send("one")
    orders.send("two")
    received = orders.receive(10)
    sends = recorder.spans("send orders")
    span = recorder.span("receive orders")
    assert span.kind is SpanKind.CLIENT
    assert linked(span) == [one.get_span_context().span_id for one in sends]
    assert span.attributes["messaging.batch.message_count"] == len(received) == 2
    (point,) = recorder.points("messaging.client.consumed.messages")
    assert point.value == 2


def test_what_is_deleted_or_given_back_is_settled(recorder: Recorder, orders: rqsqs.Queue) -> None:
    orders.send_batch(["a", "b", "c", "d", "e", "f"])
    a, b, c, d, e, f = orders.receive(10)
    recorder.clear()
    a.delete()
    assert recorder.span("settle orders").attributes["messaging.message.id"] == a.message_id
    assert recorder.span("settle orders").kind is SpanKind.CLIENT
    b.release()
    c.release(delay=60)
    orders.delete_batch(iter([d]))
    orders.change_visibility_batch([(e, 0), (f, 60)])
    orders.change_visibility(f, 90)  # stays with who has it
    settled = recorder.spans("settle orders")
    assert [s.attributes.get("messaging.batch.message_count") for s in settled] == [None, None, None, 1, 1]
    assert all(len(s.links) == 1 for s in settled)
    assert len(recorder.spans()) == 5


def test_delete_and_receive_is_both(recorder: Recorder, orders: rqsqs.Queue) -> None:
    orders.send("a")
    orders.send("b")
    (a,) = orders.receive()
    recorder.clear()
    (b,), failures = orders.delete_and_receive(iter([a]))
    assert (b.body, failures) == ("b", [])
    assert recorder.names() == ["settle orders", "receive orders"]


def test_a_batch_is_one_span_or_one_for_each_message(recorder: Recorder, orders: rqsqs.Queue) -> None:
    orders.send_batch(body for body in ("a", Entry("b", attributes={"n": 1})))
    span = recorder.span("send orders")
    assert (span.kind, span.attributes["messaging.batch.message_count"]) == (SpanKind.PRODUCER, 2)
    assert linked(recorder.spans("receive orders")[0] if orders.receive(10) else span) == [span.context.span_id]
    recorder.clear()

    recorder.instrument(create_spans=True)
    orders.send_batch(["c", Entry("d", attributes={"n": 1})])
    span, creates = recorder.span("send orders"), recorder.spans("create orders")
    assert span.kind is SpanKind.CLIENT
    assert [one.kind for one in creates] == [SpanKind.PRODUCER] * 2
    assert linked(span) == [one.context.span_id for one in creates]
    c, d = orders.receive(10)
    assert d.attributes == {"n": 1}
    assert linked(recorder.span("receive orders")) == linked(span)
    assert [point.value for point in recorder.points("messaging.client.sent.messages")] == [4]
    assert c.trace_context != d.trace_context


def test_a_block_is_a_process_span(recorder: Recorder, orders: rqsqs.Queue) -> None:
    orders.send("fine")
    orders.send("broken")
    send = recorder.spans("send orders")[0]
    fine, broken = orders.receive(2)
    recorder.clear()
    with fine:
        recorder.tracer.start_span("inside").end()
    span = recorder.span("process orders")
    assert (span.kind, linked(span), span.parent) == (SpanKind.CONSUMER, [send.context.span_id], None)
    assert recorder.span("inside").parent == recorder.span("settle orders").parent == span.context
    recorder.clear()
    with pytest.raises(ZeroDivisionError), broken:
        _ = 1 / 0
    span = recorder.span("process orders")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "ZeroDivisionError"
    assert span.events[0].attributes["exception.type"] == "ZeroDivisionError"
    errors = [point.attributes.get("error.type") for point in recorder.points("messaging.process.duration")]
    assert errors == [None, "ZeroDivisionError"]
    recorder.tracer.start_span("behind").end()
    assert recorder.span("behind").parent is None


def test_a_process_span_is_a_child_if_that_is_wished(recorder: Recorder, orders: rqsqs.Queue) -> None:
    recorder.instrument(in_trace_of_sender=True)
    orders.send("x")
    with orders.receive()[0]:
        pass
    span, send = recorder.span("process orders"), recorder.span("send orders")
    assert (span.parent.span_id, span.context.trace_id, linked(span)) == (
        send.context.span_id,
        send.context.trace_id,
        [],
    )


def test_process_is_for_consumers_that_settle_by_hand(recorder: Recorder, orders: rqsqs.Queue) -> None:
    orders.send("x")
    orders.send("y")
    messages = orders.receive(2)
    with rqsqs.opentelemetry.process(messages) as span:
        span.set_attribute("shop", 1)
    span = recorder.span("process orders")
    assert len(span.links) == 2
    assert (span.attributes["messaging.batch.message_count"], span.attributes["shop"]) == (2, 1)


def test_asyncio_has_the_same(recorder: Recorder, valkey_url: str, prefix: str) -> None:
    async def work() -> None:
        async with aio.connect(valkey_url, prefix=prefix) as connection:
            queue = await connection.create_queue("orders")
            await queue.send("a")
            await queue.send_batch(["b"])
            for message in await queue.receive(10):
                async with message:
                    recorder.tracer.start_span("inside").end()
            assert await queue.receive() == []
            with pytest.raises(rqsqs.ReceiptHandleIsInvalid):
                await queue.delete("nonsense")

    asyncio.run(work())
    assert recorder.names() == [
        "send orders", "send orders", "receive orders",
        "inside", "settle orders", "process orders", "inside", "settle orders", "process orders",
        "settle orders",
    ]  # fmt: skip
    assert [
        s.parent == p.context for s, p in zip(recorder.spans("inside"), recorder.spans("process orders"), strict=True)
    ]
    assert recorder.spans("settle orders")[-1].attributes["error.type"] == "rqsqs.ReceiptHandleIsInvalid"


def test_errors_are_told_and_raised(recorder: Recorder, connection: rqsqs.Connection) -> None:
    nowhere = connection.queue("nowhere")
    for call in (lambda: nowhere.send("x"), lambda: nowhere.send_batch(["x", "y"]), nowhere.receive):
        with pytest.raises(rqsqs.QueueDoesNotExist):
            call()
    spans = recorder.spans()
    assert [span.name for span in spans] == ["send nowhere", "send nowhere", "receive nowhere"]
    assert {span.attributes["error.type"] for span in spans} == {"rqsqs.QueueDoesNotExist"}
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}
    points = recorder.points("messaging.client.operation.duration")
    assert {point.attributes["error.type"] for point in points} == {"rqsqs.QueueDoesNotExist"}
    assert sum(point.count for point in points) == 3


def test_wrong_arguments_are_refused_as_ever(recorder: Recorder, orders: rqsqs.Queue) -> None:
    wrong: list[Any] = ["text", {"a": 1}, None, 5]
    for messages in wrong:
        with pytest.raises(rqsqs.InvalidParameterValue, match="messages must be a list"):
            orders.send_batch(messages)
        with pytest.raises(rqsqs.InvalidParameterValue, match="messages must be a list"):
            orders.delete_batch(messages)
    with pytest.raises(TypeError, match=r"send\(\) got an unexpected keyword argument 'colour'"):
        orders.send("x", colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="receive"):
        orders.receive(1, 2, 3)  # type: ignore[call-arg]


def test_a_context_given_by_hand_stays(recorder: Recorder, orders: rqsqs.Queue) -> None:
    by_hand = {"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"}
    orders.send("x", trace_context=by_hand)
    orders.send_batch([Entry("y", trace_context=by_hand)])
    assert [m.trace_context for m in orders.receive(2)] == [by_hand] * 2


def test_fifo_queues_keep_group_and_deduplication(recorder: Recorder, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders.fifo", content_based_deduplication=True)
    first = queue.send("same", group="g")
    assert queue.send("same", group="g").is_duplicate  # its context is another one
    (message,) = queue.receive()
    assert message.trace_context["traceparent"].split("-")[2] == f"{recorder.spans()[0].context.span_id:016x}"
    assert message.message_id == first.message_id


def test_a_dead_letter_keeps_its_context(recorder: Recorder, connection: rqsqs.Connection) -> None:
    graves = connection.create_queue("graves")
    queue = connection.create_queue("orders", dead_letter_queue="graves", max_receive_count=1)
    queue.send("x")
    queue.receive(visibility_timeout=0)
    assert queue.receive() == []
    (letter,) = graves.receive()
    assert letter.trace_context["traceparent"].split("-")[2] == f"{recorder.span('send orders').context.span_id:016x}"


def test_partitions_are_named(recorder: Recorder, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("many", partitions=4)
    queue.send("x")
    (message,) = queue.receive(wait=20)
    about = recorder.span("receive many").attributes
    assert about["messaging.destination.partition.id"] == message._delivery.partition.tag


@pytest.fixture
def off() -> Iterator[None]:
    rqsqs.opentelemetry.uninstrument()
    yield
    rqsqs.opentelemetry.uninstrument()


def test_off_leaves_the_methods_as_they_were(off: None) -> None:
    recorder = Recorder()
    places = [
        (kind, name)
        for kind in (rqsqs.Queue, rqsqs.Message, rqsqs.Sender, aio.Queue, aio.Message, aio.Sender)
        for name in vars(kind)
        if callable(vars(kind)[name])
    ]
    before = [vars(kind)[name] for kind, name in places]
    recorder.instrument()
    recorder.instrument()  # a second time is as good as once
    assert rqsqs.Queue.send.__doc__ == before[places.index((rqsqs.Queue, "send"))].__doc__
    assert sum(vars(kind)[name] is not one for (kind, name), one in zip(places, before, strict=True)) == 24
    rqsqs.opentelemetry.uninstrument()
    assert [vars(kind)[name] for kind, name in places] == before
    rqsqs.opentelemetry.uninstrument()


@pytest.mark.parametrize(
    "context",
    [
        {"traceparent": "00-zz"},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": "\x00\ud7ff" * 20, "tracestate": "=,=", "baggage": "%%%=;;,"},
        {"X-Amzn-Trace-Id": "Root=1-x;Parent=;Sampled"},
        {"X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a99427279X;Parent=zz;Sampled=1"},
    ],
)
def test_an_odd_context_breaks_nothing(recorder: Recorder, orders: rqsqs.Queue, context: dict[str, str]) -> None:
    orders.send("x", trace_context=context)
    with orders.receive()[0]:
        pass
    assert linked(recorder.span("receive orders")) == linked(recorder.span("process orders")) == []


def test_a_propagator_that_fails_breaks_nothing(
    recorder: Recorder, orders: rqsqs.Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders.send("x")
    monkeypatch.setattr("opentelemetry.propagate.extract", lambda *_: 1 / 0)
    with orders.receive()[0]:
        pass
    assert linked(recorder.span("process orders")) == []


def test_a_damaged_message_is_passed_over_as_ever(recorder: Recorder, orders: rqsqs.Queue) -> None:
    from rqsqs._core.delivery import Delivery
    from rqsqs.opentelemetry.spans import links_of

    assert links_of([Delivery(orders._ref.home, "0" * 24, b"\xc1", "", 0, None)]) == []
    assert links_of([Delivery(orders._ref.home, "0" * 24, b"\x92\x7c\xa1x", "", 0, None)]) == []  # newer


def test_a_span_has_up_to_128_links(recorder: Recorder, orders: rqsqs.Queue) -> None:
    for _ in range(2):
        orders.send_batch([str(n) for n in range(10)])
    for _ in range(140):
        orders.send("x")
    assert len(orders.receive(1000)) == 160
    assert len(recorder.span("receive orders").links) == 128


def test_process_needs_no_instrument(recorder: Recorder, orders: rqsqs.Queue, caplog: pytest.LogCaptureFixture) -> None:
    """Its spans go to the global provider: here that is none, so all that can be seen is that it makes no noise."""
    orders.send("x")
    (message,) = orders.receive()
    rqsqs.opentelemetry.uninstrument()
    for _ in range(3):
        with rqsqs.opentelemetry.process(message):
            pass
    context = rqsqs.opentelemetry.context_of(message)
    span_id = trace.get_current_span(context).get_span_context().span_id
    assert span_id == recorder.span("send orders").context.span_id
    assert caplog.records == []
    assert recorder.spans("process orders") == []
