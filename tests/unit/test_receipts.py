"""Receipt handles."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqsqs._core import receipts
from rqsqs._core.keys import Keyspace
from rqsqs.errors import ReceiptHandleIsInvalid

SPACE = Keyspace()
Q = SPACE.queue("orders")
LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=140)


@given(st.sampled_from(["orders/0", "source/0"]), st.integers(0, 10**6), LINES)
def test_a_handle_says_what_was_put_in(tag: str, receives: int, group: str) -> None:
    key = f"1700000000000000abcde0071700000000000@{group}"
    handle = receipts.encode(Q.partition(tag), "1700000000001", key, receives, group)
    found = receipts.decode(Q, handle)
    assert found == (Q.partition(tag), "1700000000001", key, str(receives), group)
    assert len(handle) <= 1024


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_noise_is_malformed(noise: bytes) -> None:
    for handle in (base64.b64encode(noise).decode(), noise.decode("latin-1"), ""):
        with pytest.raises(ReceiptHandleIsInvalid) as refused:
            receipts.decode(Q, handle)
        assert refused.value.detail == "malformed"
        assert handle in refused.value.sqs_message


@given(st.integers(0, 10_000), st.characters())
def test_a_damaged_handle_is_malformed(position: int, character: str) -> None:
    handle = receipts.encode(Q.home, "1700000000001", "1700000000000000abcde0071700000000000")
    position %= len(handle)
    damaged = handle[:position] + character + handle[position + 1 :]
    if damaged != handle:
        with pytest.raises(ReceiptHandleIsInvalid):
            receipts.decode(Q, damaged)


def test_a_handle_of_another_queue_is_foreign() -> None:
    handle = receipts.encode(SPACE.queue("other").home, "1700000000001", "1700000000000000abcde0071700000000000")
    with pytest.raises(ReceiptHandleIsInvalid) as refused:
        receipts.decode(Q, handle)
    assert refused.value.detail == "foreign"


@pytest.mark.parametrize("handle", [None, 5, b"x", "ünïcode", "\ud800"])
def test_what_is_no_text_is_malformed(handle: object) -> None:
    with pytest.raises(ReceiptHandleIsInvalid):
        receipts.decode(Q, handle)  # type: ignore[arg-type]
