"""A process that evaluates alarms all the time, as if it always had the lease."""

from __future__ import annotations

import os
import time
from typing import Any

from rqsqs._io.sync.runner import Transport
from rqsqs.alarms.evaluator import evaluate_all


class SharedClock:
    """The same time in all processes, which one of them turns."""

    def __init__(self, now_us: Any) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return int(self._now_us.value)


def run(url: str, prefix: str, now_us: Any) -> None:
    """Evaluate until it is killed."""
    transport = Transport(url, prefix, SharedClock(now_us))
    while True:
        if transport.run(evaluate_all(transport.space, f"evaluator-{os.getpid()}")) is None:
            time.sleep(0.002)
