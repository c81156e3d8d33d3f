"""The exception of a timeout arrives in the call of the handler or not at all, and nothing of it is left."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rqsqs.worker import HandlerTimeout
from rqsqs.worker.jobs import Interruption
from tests.raising import forget_raised
from tests.worker.serving import App, until


@pytest.mark.parametrize("is_quick", [True, False])
def test_a_thread_can_be_traced_after_handlers_with_a_timeout(app: App, is_quick: bool) -> None:
    """By a debugger, or to measure coverage. Python 3.11 lets it stand still if an exception is looked for in vain."""
    forget_raised()  # of tests before
    queue = app.queue()
    running = app.serve(lambda message: None if is_quick else time.sleep(0.1), timeout=60 if is_quick else 0.05)
    queue.send("x")
    of_queue = "succeeded" if is_quick else "failed"
    until(lambda: running.worker.status()["queues"]["q"][of_queue])
    running.stop()
    calls: list[Any] = []

    def traced() -> None:
        sys.settrace(lambda frame, *_: calls.append(frame.f_code.co_name))  # type: ignore[arg-type,func-returns-value]
        until(lambda: True)

    thread = threading.Thread(target=traced, daemon=True)
    thread.start()
    thread.join(30)
    is_running = thread.is_alive()
    forget_raised()  # else it would never end
    assert not is_running
    assert "until" in calls


@pytest.fixture
def _threads_take_turns_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.00001)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_threads_take_turns_often")
def test_what_is_sent_arrives_before_the_end_or_not_at_all() -> None:
    """However close to the end it is sent."""
    sent: list[bool] = []
    arrived: list[bool] = []
    late: list[BaseException] = []

    def call(begun: list[Interruption], steps: int) -> None:
        try:
            try:
                begun.append(Interruption())
                for _ in range(steps):
                    pass
            finally:
                begun[0].end()
            arrived.append(False)
        except HandlerTimeout:
            arrived.append(True)
        try:
            for _ in range(200):
                pass
        except BaseException as e:
            late.append(e)

    for turn in range(400):
        begun: list[Interruption] = []
        thread = threading.Thread(target=call, args=(begun, turn * 50))
        thread.start()
        while not begun:
            pass
        sent.append(begun[0].send(HandlerTimeout))
        thread.join()
    assert not late
    assert len(arrived) == len(sent)
    assert any(arrived)
    assert (False, True) not in zip(sent, arrived, strict=True)
