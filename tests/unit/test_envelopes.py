"""The envelope of a message."""

from __future__ import annotations

import hashlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqsqs._core import delivery, envelope
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import Keyspace
from rqsqs.errors import InvalidParameterValue, MessageDamaged
from rqsqs.models import Failure

HOME = Keyspace().queue("q").home
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXT | st.binary()
BODIES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT | st.integers(0, 9), inner))


def delivered(out: Any) -> Delivery:
    return Delivery(HOME, "1700000000000000abcde007", out.record, "1700000000001", 1, 1_700_000_000_001)


@given(BODIES)
def test_a_body_comes_back_as_it_was(body: Any) -> None:
    d = delivered(envelope.outgoing(body))
    assert d.body == body
    assert type(d.body) is type(body)
    assert (d.attributes, d.trace_header, d.group, d.dedup_id) == ({}, None, None, None)
    assert isinstance(d.text(), str)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("character", ["x", "\u00fc"])
def test_text_alone_is_packed_as_msgpack_does(size: int, character: str) -> None:
    body = character * (size // len(character.encode())) + "x" * (size % len(character.encode()))
    assert envelope.plain(body) == (msgpack.packb((envelope.TEXT, body)), size)


def test_a_body_of_a_subclass_of_text_is_text() -> None:
    class Safe(str):
        __slots__ = ()

    out = envelope.outgoing(Safe("hi"))
    assert (out.record, out.size) == (envelope.outgoing("hi").record, 2)
    assert delivered(out).text() == "hi"


@given(TEXT, TEXT, TEXT, st.dictionaries(TEXT, st.tuples(TEXT, TEXT | st.binary())))
def test_headers_come_back_as_they_were(group: str, dedup_id: str, trace: str, attributes: Any) -> None:
    d = delivered(envelope.outgoing("x", group=group, dedup_id=dedup_id, trace_header=trace, attributes=attributes))
    assert (d.group, d.dedup_id, d.trace_header) == (group, dedup_id, trace)
    assert d.attributes == attributes


def test_the_size_is_body_and_attributes_in_bytes() -> None:
    assert envelope.outgoing("ü€").size == 5
    assert envelope.outgoing(b"\x00\xff").size == 2
    assert envelope.outgoing("x", attributes={"ü": ("String", "äöü"), "b": ("Binary.x", b"123")}).size == 1 + 14 + 12
    assert envelope.outgoing("x", group="g" * 100, dedup_id="d" * 100, trace_header="t" * 100).size == 1
    assert envelope.outgoing("x", size=77).size == 77


@pytest.mark.parametrize("body", ["\ud800", {1, 2}, object(), 2**64, {"x": "\udfff"}])
def test_what_cannot_be_packed_is_refused(body: Any) -> None:
    with pytest.raises(InvalidParameterValue):
        envelope.outgoing(body)


def test_text_is_what_sqs_shows() -> None:
    assert delivered(envelope.outgoing("text")).text() == "text"
    assert delivered(envelope.outgoing(b"\x00\x01")).text() == "AAE="
    assert delivered(envelope.outgoing({"a": [1, "ü", b"\x00"]})).text() == '{"a":[1,"ü","AA=="]}'


def test_the_content_hash_is_that_of_the_body_alone() -> None:
    assert envelope.content_hash("same") == "0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5"
    assert envelope.content_hash(b"same") == hashlib.sha256(b"same").hexdigest()


def test_a_message_that_was_only_seen_has_no_handle() -> None:
    d = Delivery(HOME, "1700000000000000abcde007", b"", "", 0, None)
    assert d.receipt_handle == ""
    assert d.sent_at_ms == 1_700_000_000_000


DAMAGED = {
    "garbage": b"\xc1\xc1",
    "nothing": b"",
    "one part": b"\x91\x00",
    "garbage behind it": b"\x92\x00\xa1x\xc1",
    "odd attributes": b"\x93\x00\xa1x\x81\xa1a\x81\xa1b\x01",
    "nearly kept": b"\x92\x03\xa1x",
    "kept and cut": b"\x92\x03\xc4\x05x",
}


def of(record: bytes) -> Delivery:
    return Delivery(HOME, "1700000000000000abcde007", record, "1700000000001", 1, 1_700_000_000_001)


@pytest.mark.parametrize("record", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_that_fails_keeps_its_bytes_and_tells_why(record: bytes) -> None:
    d = of(record)
    assert d.damage is not None
    assert d.damage.record == record
    for failures in (1, 2, 3):
        why = Failure("ValueError", f"number {failures}", "", "w", 1, failures, failures)
        kept, more = delivery.with_cause(d, why)
        d = of(d.record[:kept] + more)
        assert (d.cause, d.failures) == (why, failures)
        assert d.size < len(record) + 10
        assert d.damage is not None
        assert d.damage.record == record


def test_a_record_that_was_kept_too_often_is_damaged_and_no_more() -> None:
    record = b"x"
    for _ in range(1500):
        record = envelope.msgpack.packb((3, record))
    d = of(record)
    assert isinstance(d.damage, MessageDamaged)
    with pytest.raises(MessageDamaged):
        d.body  # noqa: B018


def test_what_another_version_could_not_read_is_read_if_it_can_be() -> None:
    good = envelope.outgoing("hello", attributes={"a": ("String", "1")}).record
    d = of(
        envelope.msgpack.packb((3, good))
        + envelope.cause("1700000000000000abcde007", Failure("X", "", "", "", 1, 2, 2))
    )
    assert d.damage is None
    assert (d.body, d.failures, d.attributes) == ("hello", 2, {"a": ("String", "1")})
    kept, more = delivery.with_cause(d, Failure("Y", "", "", "", 1, 3, 3))
    again = of(d.record[:kept] + more)
    assert (again.body, again.failures, again.damage) == ("hello", 3, None)
