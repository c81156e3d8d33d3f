"""A process that samples metrics all the time, by a clock that runs fast."""

from __future__ import annotations

import itertools
import time

from rqsqs._io.sync.runner import Transport
from rqsqs.metrics import sampling

SPEED = 120  # a minute takes half a second


class FastClock:
    """The same time in all processes."""

    def __init__(self, started: float, speed: float = SPEED) -> None:
        self._started = started
        self._speed = speed

    def now_us(self) -> int:
        return int((self._started + (time.time() - self._started) * self._speed) * 1e6)


def run(url: str, prefix: str, started: float, lease_ms: int, speed: float = SPEED) -> None:
    """Sample until it is killed. Without a lease (0), it does not ask whose turn it is."""
    transport = Transport(url, prefix, FastClock(started, speed))
    sampling.HELD_MS = lease_ms
    for n in itertools.count():
        sampler = sampling.Sampler(transport.space)
        if not lease_ms:
            sampler.space.sampler = f"{sampler.space.prefix}:{{queues}}:sampler:{sampler.name}:{n}"
            sampling.HELD_MS = 1
        sampler.take(transport)
        time.sleep(0.005)
