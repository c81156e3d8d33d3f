"""Call slots: names and numbers of calls."""

from __future__ import annotations

import re
import time

import pytest

from rqsqs._core import envelope, operations, scripts
from rqsqs._core.keys import Keyspace
from rqsqs._io import protocol, tuning
from rqsqs.limits import NATIVE

P = Keyspace("p").queue("q").home
SEND = operations.send_messages(P, [envelope.outgoing("x")], NATIVE)


def test_numbers_of_calls_have_eight_characters_and_are_no_names() -> None:
    for _ in range(200):
        number = str(protocol.CallSlot().number)
        assert len(number) == 8
        assert number[0] == "-"  # in no name of a message


def test_a_slot_is_used_by_one_call_at_a_time() -> None:
    slots = protocol.CallSlots()
    first, second = slots.take(), slots.take()
    assert first.name != second.name
    slots.give(first)
    assert slots.take() is first


def test_each_call_has_another_number_and_the_numbers_of_a_slot_end() -> None:
    slot = protocol.CallSlot()
    name, number = slot.name, slot.number
    protocol.pack(SEND, False, slot)
    assert (slot.name, slot.number) == (name, number + 1)
    slot.number = protocol.LAST_NUMBER - 1
    protocol.pack(SEND, False, slot)
    assert slot.name != name
    assert len(str(slot.number)) == 8


def test_what_is_the_same_when_done_twice_needs_no_slot() -> None:
    slot = protocol.CallSlot()
    wake = operations.wake_waiter(P)
    assert slot.name.encode() not in protocol.pack(wake, False, slot)
    assert protocol.repetition(wake, False, slot) == protocol.pack(wake, False, slot)


def test_only_a_repeated_call_says_so() -> None:
    slot = protocol.CallSlot()
    receive = operations.receive_messages(P, NATIVE, 1, None, "", "")
    packed, number = protocol.pack(receive, False, slot), str(slot.number).encode()
    assert b"\r\n" + number + b"\r\n" in packed
    assert b"\r\n" + number + b"r\r\n" in protocol.repetition(receive, False, slot)
    assert SEND.repeat_mark is not None
    mark = str(SEND.args[SEND.repeat_mark]).encode()
    assert b"\r\n" + mark + b"r\r\n" not in protocol.pack(SEND, False, slot)
    assert b"\r\n" + mark + b"r\r\n" in protocol.repetition(SEND, False, slot)


@pytest.mark.parametrize("clock", ["monotonic", "time"])  # one stands still while the machine sleeps, one can be set
def test_a_call_is_not_repeated_when_its_slot_may_have_forgotten_it(
    clock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = protocol.CallSlot()
    protocol.pack(SEND, False, slot)
    protocol.repetition(SEND, False, slot)
    real = getattr(time, clock)
    monkeypatch.setattr(time, clock, lambda: real() + 99)
    protocol.repetition(SEND, False, slot)
    monkeypatch.setattr(time, clock, lambda: real() + 101)
    with pytest.raises(protocol.TooLate):
        protocol.repetition(SEND, False, slot)
    protocol.pack(SEND, False, slot)  # the next call in it
    protocol.repetition(SEND, False, slot)


def test_a_slot_outlasts_all_repetitions() -> None:
    shortest_ms = min(int(ms) for ms in re.findall(r'"(\d{5,})"', once_source()))
    assert shortest_ms >= tuning.COVERED_S * 1000 + 20_000  # and what it takes a call to arrive
    assert tuning.COVERED_S * 1000 + 20_000 <= operations.MIN_WINDOW_MS


def once_source() -> str:
    return (scripts._folder() / "lib" / "idempotency.lua").read_text("utf-8")
