"""Lanes: names and numbers of calls."""

from __future__ import annotations

import re
import time

import pytest

from rqsqs._core import messages, records, scripts
from rqsqs._core.keys import Keyspace
from rqsqs._io import wire
from rqsqs.limits import NATIVE

P = Keyspace("p").queue("q").home
SEND = messages.send_messages(P, [records.outgoing("x")], NATIVE)


def test_numbers_of_calls_have_eight_characters_and_are_no_names() -> None:
    for _ in range(200):
        number = str(wire.Lane().number)
        assert len(number) == 8
        assert number[0] == "-"  # in no name of a message


def test_a_lane_is_used_by_one_call_at_a_time_and_given_up_in_time() -> None:
    lanes = wire.Lanes()
    first, second = lanes.take(SEND), lanes.take(SEND)
    assert first is not None
    assert second is not None
    assert first.name != second.name
    lanes.give(first)
    number = first.number
    assert lanes.take(SEND) is first
    assert first.number == number + 1
    first.number = wire.LAST_NUMBER
    lanes.give(first)
    assert lanes.take(SEND) is not first


def test_what_is_the_same_when_done_twice_needs_no_lane() -> None:
    assert wire.Lanes().take(messages.ring(P)) is None


def test_only_a_repeated_call_says_so() -> None:
    lane = wire.Lane()
    receive = messages.receive_messages(P, NATIVE, 1, None, "", "")
    number = str(lane.number).encode()
    assert b"\r\n" + number + b"\r\n" in wire.call(receive, False, lane)
    assert b"\r\n" + number + b"r\r\n" in wire.call(receive, False, lane, True)
    assert b"\r\n2\r\n" in wire.call(SEND, False, lane)
    assert b"\r\n2r\r\n" in wire.call(SEND, False, lane, True)


@pytest.mark.parametrize("clock", ["monotonic", "time"])  # one stands still while the machine sleeps, one can be set
def test_a_call_is_not_repeated_when_its_lane_may_have_forgotten_it(
    clock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = wire.Lanes().take(SEND)
    assert lane is not None
    lane.check()
    real = getattr(time, clock)
    monkeypatch.setattr(time, clock, lambda: real() + 99)
    lane.check()
    monkeypatch.setattr(time, clock, lambda: real() + 101)
    with pytest.raises(wire.TooLate):
        lane.check()
    lane.begin()  # the next call in it
    lane.check()


def test_a_lane_outlasts_all_repetitions() -> None:
    shortest_ms = min(int(ms) for ms in re.findall(r'"(\d{5,})"', once_source()))
    assert shortest_ms >= wire.COVERED_S * 1000 + 20_000  # and what it takes a call to arrive
    assert wire.COVERED_S * 1000 + 20_000 <= messages.MIN_WINDOW_MS


def once_source() -> str:
    return (scripts._folder() / "lib" / "once.lua").read_text("utf-8")
