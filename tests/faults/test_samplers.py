"""Samplers that are killed, frozen, or two at a time: the history has everything once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import rqsqs
from rqsqs._core import flows
from rqsqs._core.flows.metric_history import sample
from tests.faults import sampler
from tests.faults.conftest import CONTEXT

COUNTED = ("sent", "received", "deleted", "redelivered", "empty_receives", "dead_lettered")


class Sampler:
    """One after the other, of which each is killed."""

    def __init__(self, *arguments: Any) -> None:
        CONTEXT.set_forkserver_preload(["tests.faults.sampler"])
        self._arguments = arguments
        self.start()

    def start(self) -> None:
        self._process = CONTEXT.Process(target=sampler.run, args=self._arguments, daemon=True)
        self._process.start()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def send(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


@pytest.mark.parametrize("lease_ms", [0, 30], ids=["two at once", "one at a time"])
def test_samplers_that_are_killed_lose_nothing_and_double_nothing(valkey_url: str, prefix: str, lease_ms: int) -> None:
    started = time.time()
    clock = sampler.FastClock(started)
    draw = random.Random(lease_ms)
    samplers = [Sampler(valkey_url, prefix, started, lease_ms) for _ in range(2)]
    try:
        with rqsqs.connect(valkey_url, prefix=prefix, clock=clock) as connection:
            connection.create_queue("dead")
            names = ("busy", "busy.fifo", "other")
            queues = [connection.create_queue(name) for name in names]
            queues[2].configure(dead_letter_queue="dead", max_receive_count=2)
            work(queues, samplers, draw, lambda: time.time() < started + 6)
            for one in samplers:
                one.kill()
            final = time.time() + 0.6  # the minute after all that were sampled
            while time.time() < final:
                time.sleep(0.01)
            assert connection.transport.run(sample(connection.transport.space)).taken == 4
            for queue in queues:
                check(queue)
    finally:
        for one in samplers:
            one.kill()


def work(queues: list[rqsqs.Queue], samplers: list[Sampler], draw: random.Random, goes_on: Callable[[], bool]) -> None:
    """Send, receive, delete and forget messages, and kill a sampler now and then, or freeze it for a moment."""
    frozen: list[Sampler] = []
    while goes_on():
        for queue in queues:
            group = {"group": f"g{draw.randrange(3)}"} if queue.name.endswith(".fifo") else {}
            queue.send_batch([rqsqs.Entry(n, **group) for n in range(draw.randrange(1, 5))])
            for message in queue.receive(draw.randrange(1, 5), visibility_timeout=draw.choice([0, 3600])):
                if draw.random() < 0.7:
                    message.delete()
        if draw.random() < 0.03:
            one = draw.choice(samplers)
            one.kill()
            one.start()
        for one in frozen:
            one.send(signal.SIGCONT)
        frozen = [draw.choice(samplers)] if draw.random() < 0.1 else []
        for one in frozen:
            one.send(signal.SIGSTOP)


def check(queue: rqsqs.Queue) -> None:
    """The sums of the history are the counters, and each minute is there once or covered by the next one."""
    metrics = queue.metrics()
    since = datetime.fromtimestamp(metrics.created_at_ms / 1000, UTC)
    found = queue.history(since=since)
    totals = {"redelivered": sum(metrics.redelivered)} | {n: getattr(metrics, n) for n in COUNTED if n != "redelivered"}
    summed = {n: sum(point.metrics[n].sum for point in found if not point.is_gap) for n in COUNTED}
    assert summed == totals
    assert sum([point.dwell for point in found], rqsqs.Histogram()) == metrics.dwell
    span_s = sum(point.span_s for point in found)
    low, high = [(one.at_ms - one.created_at_ms) / 1000 for one in (metrics, queue.metrics())]
    assert low - 9 <= span_s <= high + 9  # times are rounded to tenths
    assert len([point for point in found if not point.is_gap]) > 1
    assert len(found) > 2
    stored = queue._connection.transport.run(flows.find_damage(queue._ref))[1]
    assert not stored
