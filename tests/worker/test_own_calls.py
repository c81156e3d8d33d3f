"""How many calls of our own Python code lie between the wake-up of a worker and its handler: what a hand-over takes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.faces.test_own_calls import ROUTING, SinceWoken
from tests.worker.serving import App, is_empty, send, until

pytestmark = pytest.mark.timeout(method="thread")  # a handler of SIGALRM would cost calls (rqsqs/_io/direct.py)
MOST = 45 + ROUTING


@pytest.mark.parametrize("batch", [0, 10])
def test_a_message_reaches_the_handler_of_an_idle_worker_in_few_calls(app: App, batch: int) -> None:
    q = app.queue()
    counters = threading.local()
    found: list[list[str]] = []

    def profile(*event: Any) -> None:
        if not hasattr(counters, "since"):
            counters.since = SinceWoken()
        counters.since(*event)

    def handle(message: Any) -> None:
        found.append(counters.since.names.copy())

    threading.setprofile(profile)
    try:
        running = app.serve(handle, concurrency=1, **({"batch": batch} if batch else {}))
        for number in range(10):
            until(lambda: is_empty(q) and running.worker._runtime.transport.link.waiting.watched())
            send(q, [number])
            until(lambda number=number: len(found) > number)
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]
    shortest = min(found, key=len)  # the first call of all, and those that begin a thread, take more
    assert 0 < len(shortest) <= MOST, shortest
