"""One caller's requests and waiting receives are bounded; others do not feel it."""

from __future__ import annotations

import pytest

from rqsqs.gateway.refusals import RequestThrottled
from rqsqs.gateway.throttling import MOST, Throttle


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def admitted(throttle: Throttle, caller: str, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            throttle.admit(caller)
        except RequestThrottled:
            continue
        count += 1
    return count


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    throttle = Throttle(10, 5, clock=clock)
    assert admitted(throttle, "a", 20) == 5
    clock.now += 0.35
    assert admitted(throttle, "a", 20) == 3
    clock.now += 60
    assert admitted(throttle, "a", 20) == 5
    assert admitted(throttle, "b", 20) == 5


def test_the_refusal_is_one_that_sdks_back_off_from() -> None:
    throttle = Throttle(0.5, clock=Clock())
    throttle.admit("a")
    with pytest.raises(RequestThrottled) as refused:
        throttle.admit("a")
    assert (refused.value.sqs_code, refused.value.http_status) == ("RequestThrottled", 403)


def test_without_a_rate_nobody_is_counted() -> None:
    throttle = Throttle()
    assert admitted(throttle, "a", 10_000) == 10_000
    assert not throttle._buckets


def test_waiting_receives() -> None:
    throttle = Throttle(polls=2)
    with throttle.poll("a"), throttle.poll("a"):
        with pytest.raises(RequestThrottled, match="2 receives of one access key"), throttle.poll("a"):
            pass
        with throttle.poll("b"):
            pass
    with throttle.poll("a"), throttle.poll("a"):
        pass
    assert not throttle._waiting


def test_very_many_callers_take_little_memory() -> None:
    clock = Clock()
    throttle = Throttle(1, 2, clock=clock)
    for n in range(3 * MOST):
        throttle.admit(str(n))
        clock.now += 0.001
    assert len(throttle._buckets) <= MOST
