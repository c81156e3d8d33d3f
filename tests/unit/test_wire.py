"""Lanes: names and numbers of calls."""

from __future__ import annotations

from rqsqs._core import messages, records
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
    assert wire.call(SEND, False, lane) == wire.call(SEND, False, lane, True)
