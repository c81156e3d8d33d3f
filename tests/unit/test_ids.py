"""Ids as scripts store them, and the UUIDs users see."""

from __future__ import annotations

import os
import uuid

from hypothesis import given
from hypothesis import strategies as st

from rqsqs._core import ids
from rqsqs._core.keys import Keyspace

SPACE = Keyspace()
HOME = SPACE.queue("orders").home
FIFO = SPACE.queue("orders.fifo").home
STAMPS = st.integers(1_600_000_000_000_000, 4_000_000_000_000_000).map(str)
TAILS = st.text(ids._ALPHABET, min_size=5, max_size=5)


@given(STAMPS, TAILS, st.integers(0, 999))
def test_a_standard_id_and_its_uuid_can_be_made_from_each_other(stamp: str, tail: str, position: int) -> None:
    key = f"{stamp}{tail}{position:03d}"
    text = ids.message_id(key, HOME.node)
    assert uuid.UUID(text).version == 7
    assert str(uuid.UUID(text)) == text
    assert ids.key_of(text, HOME.node, is_fifo=False) == key


@given(STAMPS)
def test_a_stamp_and_its_uuid_can_be_made_from_each_other(stamp: str) -> None:
    text = ids.message_id(stamp, FIFO.node)
    assert uuid.UUID(text).version == 7
    assert ids.key_of(text, FIFO.node, is_fifo=True) == stamp


@given(STAMPS, TAILS)
def test_what_a_key_says_beside_the_id_does_not_change_the_uuid(stamp: str, tail: str) -> None:
    key = f"{stamp}{tail}007"
    for more in ("@group", "1700000000000", "1700000000000@g", "1700000000000/5/5//source@g", "/0/0/1700000000000/"):
        assert ids.message_id(key + more, HOME.node) == ids.message_id(key, HOME.node)
    for more in ("q", "+1700000000000", "/1700000000000/3/1700000000000/source", "q/1700000000000/3/1700000000000/s"):
        assert ids.message_id(stamp + more, FIFO.node) == ids.message_id(stamp, FIFO.node)


@given(STAMPS, TAILS)
def test_tails_that_begin_with_q_are_no_marks_of_a_fifo_key(stamp: str, tail: str) -> None:
    one, two = f"{stamp}q{tail[1:]}001", f"{stamp}q{tail[1:]}002"
    assert ids.message_id(one, HOME.node) != ids.message_id(two, HOME.node)
    assert ids.key_of(ids.message_id(one, HOME.node), HOME.node, is_fifo=False) == one


def test_uuids_sort_by_time() -> None:
    keys = [f"{1_700_000_000_000_000 + us}00000000" for us in range(0, 5000, 7)]
    texts = [ids.message_id(key, HOME.node) for key in keys]
    assert texts == sorted(texts)


@given(st.uuids() | st.text(max_size=40))
def test_a_foreign_uuid_or_none_at_all_is_recognised(other: object) -> None:
    for partition in (HOME, FIFO):
        key = ids.key_of(str(other), partition.node, partition.is_fifo)
        assert (
            key is None or ids.message_id(key, partition.node).replace("-", "") == str(other).replace("-", "").lower()
        )


def test_an_id_of_another_partition_is_not_ours() -> None:
    text = ids.message_id("1700000000000000abcde007", HOME.node)
    assert ids.key_of(text, SPACE.queue("others").home.node, is_fifo=False) is None
    assert ids.key_of(text, FIFO.node, is_fifo=True) is None


def test_tails_do_not_repeat_and_ascend() -> None:
    source = ids.TailSource()
    drawn = [source() for _ in range(10_000)]
    assert len(set(drawn)) == 10_000
    assert {len(tail) for tail in drawn} == {5}
    assert set("".join(drawn)) <= set(ids._ALPHABET)
    assert list(ids._ALPHABET) == sorted(ids._ALPHABET), "ids of one microsecond sort as they were sent"


def test_a_child_process_draws_other_tails() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, ids.tails().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = os.read(reader, 5).decode()
    assert child not in [ids.tails() for _ in range(1000)]


def test_sequence_numbers_have_twenty_digits() -> None:
    assert ids.sequence_number("1700000000000001q/1/2/3/x") == "00001700000000000001"
