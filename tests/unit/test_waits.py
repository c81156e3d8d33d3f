"""What follows when a wait has ended, without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import redis.exceptions as rx

from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation, Wait
from rqsqs._io.counters import Counters
from rqsqs._io.protocol import BrokenOff, CallSlot, CallSlots
from rqsqs._io.waits import REFRESH, ended
from rqsqs.errors import ScriptFailed, UsageError

P = Keyspace("p").queue("q").home
RECEIVE = Operation("receive_message", P.keys("meta"), (), parse=lambda reply: f"parsed {reply}")
AGAIN = Operation("receive_message", P.keys("meta"), ("again",))
WAIT = Wait((P.wakeups,), 1000, then=lambda: AGAIN)
SLOT = CallSlot()


def caller(*, is_dynamic: bool = False, is_closed: bool = False) -> Any:
    return SimpleNamespace(
        counters=Counters(),
        router=SimpleNamespace(is_dynamic=is_dynamic),
        slots=CallSlots(),
        where="redis://a",
        is_closed=is_closed,
        forget=lambda forgetting: None,
    )


def steps(caller: Any, outcome: Any, *, wait: Wait = WAIT, operation: Any = RECEIVE, is_sent: bool = True) -> Any:
    """What is asked for, and the result."""
    asked: list[Any] = []
    flow = ended(caller, wait, outcome, operation, SLOT, is_sent=is_sent)
    try:
        step = next(flow)
        while True:
            asked.append(step)
            step = flow.send("received")
    except StopIteration as end:
        return asked, end.value


def test_a_reply_is_the_result_and_the_slot_is_free_again() -> None:
    one = caller()
    assert steps(one, "reply") == ([], "parsed reply")
    assert one.slots.free == [SLOT]


@pytest.mark.parametrize("outcome", [None, rx.NoScriptError("NOSCRIPT")], ids=str)
def test_what_the_server_did_not_run_is_called_then(outcome: Any) -> None:
    one = caller()
    assert steps(one, outcome, is_sent=outcome is not None) == ([(RECEIVE, None)], "received")
    assert one.slots.free == [SLOT]


def test_a_token_without_a_receive_behind_it_is_followed_by_one_or_told() -> None:
    assert steps(caller(), "list", operation=None) == ([(AGAIN, None)], "received")
    assert steps(caller(), "list", operation=None, wait=Wait((P.wakeups,), 1000)) == ([], "list")
    assert steps(caller(), None, operation=None, wait=Wait((P.wakeups,), 1000)) == ([], None)


@pytest.mark.parametrize(
    ("error", "counted"),
    [(rx.ConnectionError("gone"), "connections_lost"), (BrokenOff("silent"), "broken_waits")],
    ids=str,
)
def test_a_lost_answer_is_asked_for_again_as_the_same_call(error: Exception, counted: str) -> None:
    one = caller()
    assert steps(one, error) == ([REFRESH, (RECEIVE, SLOT)], "received")
    assert one.slots.free == []  # the call is still in it
    found = one.counters.statistics()
    assert (getattr(found, counted), found.repeated_calls) == (1, 1)


def test_nothing_is_repeated_that_was_not_sent() -> None:
    one = caller()
    assert steps(one, rx.ConnectionError("gone"), is_sent=False) == ([REFRESH, (RECEIVE, None)], "received")
    assert one.slots.free == [SLOT]


@pytest.mark.parametrize(
    ("error", "is_dynamic"),
    [(rx.ResponseError("UNBLOCKED"), False), (rx.MovedError("1 b:2"), True), (rx.ReadOnlyError("READONLY"), True)],
    ids=str,
)
def test_a_server_that_has_no_answer_any_more_is_left_to_the_next_call(error: Exception, is_dynamic: bool) -> None:
    one = caller(is_dynamic=is_dynamic)
    assert steps(one, error) == ([REFRESH], None)
    assert one.counters.statistics().broken_waits == 1


@pytest.mark.parametrize(("operation", "kind"), [(RECEIVE, ScriptFailed), (None, rx.ResponseError)])
def test_any_other_refusal_is_raised(operation: Operation | None, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="ERR odd"):
        steps(caller(), rx.ResponseError("ERR odd"), operation=operation)


def test_a_closed_connection_is_told() -> None:
    with pytest.raises(UsageError, match="the connection was closed while this waited"):
        steps(caller(is_closed=True), rx.ConnectionError("gone"))
