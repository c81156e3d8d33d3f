"""Messages that kill their workers go to the dead-letter queue, and none of those that were in hand beside them.

RQSQS_KILLS=100 python -m pytest tests/faults/test_poison.py       100 dead workers of each kind instead of a few
"""

from __future__ import annotations

import os
import time

import pytest

import rqsqs
from tests.faults import poison

KILLS = int(os.environ.get("RQSQS_KILLS", "12"))
MOST_RECEIVES = 2
NEIGHBOURS = 60  # of each one that kills
PATIENCE_S = 60.0

pytestmark = pytest.mark.timeout(120 + KILLS * 4)


def left(queue: rqsqs.Queue) -> int:
    counts = queue.counts()
    return counts.visible + counts.in_flight


def is_killed(url: str, prefix: str, queue: rqsqs.Queue, kind: str, seconds: float) -> bool:
    """Serve the queue until it is empty, or until the worker died."""
    process = poison.start(url, prefix, kind, seconds)
    deadline = time.monotonic() + PATIENCE_S
    try:
        while process.is_alive() and left(queue):
            assert time.monotonic() < deadline, queue.counts()
            process.join(0.01)
        return not process.is_alive()
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(
    ("kind", "seconds"), [("plain", 0.0), ("plain", 0.03), ("coroutine", 0.0), ("coroutine", 0.03), ("batch", 0.0)]
)
def test_a_message_that_kills_workers_takes_no_neighbours_along(
    valkey_url: str, prefix: str, kind: str, seconds: float
) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        dead = connection.create_queue("dead")
        queue = connection.create_queue("q", dead_letter_queue=dead, max_receive_count=MOST_RECEIVES)
        sent = kills = 0
        while kills < KILLS:
            bodies = [f"quick {sent} {n}" for n in range(NEIGHBOURS)]
            queue.send_batch([*bodies[::2], f"poison {sent}", *bodies[1::2]])
            sent += 1
            while left(queue):
                kills += is_killed(valkey_url, prefix, queue, kind, seconds)
        assert kills <= sent * (MOST_RECEIVES + 1)
        assert sorted(m.body for m in dead.peek(1000)) == sorted(f"poison {n}" for n in range(sent))


def test_neither_do_those_that_kill_a_fleet_of_several_queues(valkey_url: str, prefix: str) -> None:
    """Handlers take nothing, or longer than those that are quick, in threads and as coroutines; some messages kill
    their worker at once and some later; and two workers share everything."""
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        dead = connection.create_queue("dead")
        queues = [
            connection.create_queue(name, dead_letter_queue=dead, max_receive_count=MOST_RECEIVES)
            for name in ("q", "other")
        ]
        poisons = max(KILLS // (MOST_RECEIVES + 1), 4)
        for n in range(poisons):
            queue = queues[n % 2]
            queue.send_batch([f"{queue.name} {n} {i}" for i in range(NEIGHBOURS // 2)])
            queue.send(f"poison {n}")
            queue.send_batch([f"{queue.name} {n} {i}" for i in range(NEIGHBOURS // 2)])
        workers: list[poison.BaseProcess] = []
        deadline = time.monotonic() + PATIENCE_S + 3 * KILLS
        try:
            while sum(left(queue) for queue in queues):
                workers = [worker for worker in workers if worker.is_alive()]
                while len(workers) < 2:
                    workers.append(poison.start(valkey_url, prefix, "mixed", 0.02 * (len(workers) % 2)))
                assert time.monotonic() < deadline, [queue.counts() for queue in queues]
                time.sleep(0.02)
        finally:
            for worker in workers:
                worker.kill()
                worker.join()
        assert sorted(m.body for m in dead.peek(1000)) == sorted(f"poison {n}" for n in range(poisons))
