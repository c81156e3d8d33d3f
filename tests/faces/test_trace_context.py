"""Trace contexts that senders give by hand: no OpenTelemetry needed."""

from __future__ import annotations

from typing import Any

import pytest

import rqsqs
from rqsqs import Entry
from rqsqs._core import envelope

CONTEXT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}


@pytest.fixture
def queue(valkey_url: str, prefix: str) -> Any:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        yield connection.create_queue("orders")


def test_it_comes_out_as_it_went_in_and_is_no_attribute(queue: rqsqs.Queue) -> None:
    queue.send("x", trace_context=CONTEXT, attributes={"a": 1})
    queue.send_batch([Entry({"y": 1}, trace_context=CONTEXT), "z"])
    x, y, z = queue.receive(3)
    assert [m.trace_context for m in (x, y, z)] == [CONTEXT, CONTEXT, {}]
    assert [m.attributes for m in (x, y, z)] == [{"a": 1}, {}, {}]
    assert [m.body for m in queue.peek(3, "in_flight")] == ["x", {"y": 1}, "z"]


def test_attributes_of_its_fields_are_one(queue: rqsqs.Queue) -> None:
    queue.send("x", attributes={"traceparent": "plain", "otel.tracestate": "prefixed", "other": "text"})
    queue.send("x", attributes={"traceparent": b"bytes"})
    queue.send("x", attributes={"traceparent": "attribute"}, trace_context={"traceparent": "own"})
    first, second, third = queue.receive(3)
    assert first.trace_context == {"traceparent": "plain", "tracestate": "prefixed"}
    assert (second.trace_context, third.trace_context) == ({}, {"traceparent": "own"})


def test_a_message_without_one_has_no_byte_more() -> None:
    assert envelope.outgoing("x", trace_context={}).record == envelope.outgoing("x").record == envelope.plain("x")[0]


def test_it_does_not_count_as_size() -> None:
    for body in ("x", b"x", {"a": 1}):
        assert envelope.outgoing(body, trace_context=CONTEXT).size == envelope.outgoing(body).size


@pytest.mark.parametrize("wrong", ["text", 5, {"traceparent": 5}, {5: "x"}, ["traceparent"]])
def test_it_must_be_text(queue: rqsqs.Queue, wrong: Any) -> None:
    with pytest.raises(
        rqsqs.InvalidParameterValue, match="trace_context must map str to str, such as traceparent, got"
    ):
        queue.send("x", trace_context=wrong)


def test_it_must_not_be_long(queue: rqsqs.Queue) -> None:
    queue.send("x", trace_context={"baggage": "x" * 8192, **CONTEXT})
    with pytest.raises(
        rqsqs.InvalidParameterValue, match="trace_context must have at most 10240 characters in all, got"
    ):
        queue.send("x", trace_context={"baggage": "x" * 10_240})


@pytest.mark.parametrize("headers", [{"c": 5}, {"c": {"traceparent": 5}}, {"c": ["x"]}])
def test_one_that_is_no_text_is_damage(queue: rqsqs.Queue, headers: Any) -> None:
    import msgpack

    from rqsqs._core.delivery import Delivery

    record = msgpack.packb((0, "x", headers))
    damage = Delivery(queue._ref.home, "0" * 24, record, "", 0, None).damage
    assert damage is not None
