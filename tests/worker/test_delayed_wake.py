"""A thread that another one wakes after a while."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import pytest

from rqsqs.worker import delayed_wake
from rqsqs.worker.delayed_wake import DelayedWake

HOUR = 3600.0


@pytest.fixture(params=["timer", "event"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], DelayedWake]:
    """With a timer of the kernel, and as where there is none."""
    if request.param == "event":
        monkeypatch.setattr(delayed_wake, "_libc", object())
    elif sys.platform != "linux":
        pytest.skip("timerfd is Linux's")
    return DelayedWake


def test_a_thread_sleeps_until_the_time_after_it_was_asked_for(make: Callable[[float], DelayedWake]) -> None:
    wake = make(0.05)
    woken: list[float] = []

    def sleep() -> None:
        wake.wait()
        woken.append(time.monotonic())

    thread = threading.Thread(target=sleep)
    thread.start()
    thread.join(0.1)
    assert not woken  # nobody has asked
    asked = time.monotonic()
    wake.ask()
    thread.join(30)
    assert woken[0] - asked >= 0.05


def test_what_was_asked_for_before_the_thread_sleeps_is_not_lost(make: Callable[[float], DelayedWake]) -> None:
    wake = make(0.01)
    for _ in range(3):
        wake.ask()
        time.sleep(0.02)
        thread = threading.Thread(target=wake.wait)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()


def test_each_wake_ends_one_sleep(make: Callable[[float], DelayedWake]) -> None:
    wake = make(0.01)
    wake.ask()
    wake.wait()
    thread = threading.Thread(target=wake.wait, daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    wake.end()
    thread.join(30)
    assert not thread.is_alive()


def test_the_end_comes_at_once_however_long_the_time_is(make: Callable[[float], DelayedWake]) -> None:
    wake = make(HOUR)
    wake.ask()
    wake.end()
    thread = threading.Thread(target=wake.wait, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


def test_no_file_descriptor_is_left(make: Callable[[float], DelayedWake]) -> None:
    assert len({make(HOUR)._timer for _ in range(100)}) < 50
