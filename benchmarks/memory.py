"""Memory of a waiting message beyond its body."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import rqsqs
from benchmarks.contestants import Contestant, Native, Streams
from benchmarks.server import Bench


def per_message(bench: Bench, classes: Sequence[type[Contestant]], size: int, count: int) -> dict[str, float]:
    """Bytes of `used_memory` per waiting message over the body, with `count` messages of `size` bytes."""
    results = {}
    for cls in classes:
        bench.client.flushall()
        contestant = cls(bench.server.url)
        contestant.create()
        contestant.send(["x"])  # whatever the first message brings along
        body = "x" * size
        batch = 100 if cls in (Native, Streams) else 10
        some = count if "send" in cls.batches else count // 5
        before = bench.client.info("memory")["used_memory"]
        for _ in range(some // batch):
            contestant.send([body] * batch)
        after = bench.client.info("memory")["used_memory"]
        contestant.close()
        results[cls.name] = (after - before) / (some // batch * batch) - size
    bench.client.flushall()
    return results


def of_everything(bench: Bench, size: int, count: int) -> dict[str, float]:
    """Bytes of `used_memory` for one more of each: messages of `size` bytes over their body, deduplication ids, queues,
    partitions."""
    found: dict[str, float] = {}
    some = count // 10
    with rqsqs.connect(bench.server.url) as connection:

        def fill(name: str, take: bool = False, **options: Callable[[int], Any]) -> float:
            """Bytes per message over its body: waiting, or in flight."""
            bench.client.flushall()
            queue = connection.create_queue(name)
            _send(queue, size, range(-100, 0), options)  # whatever the first messages bring along
            before = _used(bench)
            _send(queue, size, range(count), options)
            if take:
                for _ in range(count // 100 + 1):
                    queue.receive(100, visibility_timeout=86_400)
            return (_used(bench) - before) / count - size

        found["standard, waiting"] = fill("plain")
        found["standard, in flight"] = fill("plain", take=True)
        found["standard, delayed"] = fill("plain", delay=lambda n: 86_400)
        found["fair, each in a group of its own"] = fill("plain", group=lambda n: f"group-{n:07d}")
        found["FIFO, 50 in each group"] = fill("queue.fifo", group=lambda n: f"group-{n // 50:07d}")
        found["FIFO, each in a group of its own"] = fill("queue.fifo", group=lambda n: f"group-{n:07d}")
        found["the same, in flight"] = fill("queue.fifo", take=True, group=lambda n: f"group-{n:07d}")
        with_ids = fill(
            "queue.fifo", group=lambda n: f"group-{n:07d}", deduplication_id=lambda n: f"operation-{n:010d}"
        )
        found["a deduplication id"] = with_ids - found["FIFO, each in a group of its own"]
        bench.client.flushall()
        before = _used(bench)
        for n in range(some):
            connection.create_queue(f"queue-{n}")
        found["an empty queue"] = (_used(bench) - before) / some
        before = _used(bench)
        for n in range(8):
            connection.create_queue(f"parts-{n}", partitions=64)
        found["an empty partition"] = (_used(bench) - before) / (8 * 64)
    bench.client.flushall()
    return found


def _send(queue: rqsqs.Queue, size: int, numbers: range, options: dict[str, Callable[[int], Any]]) -> None:
    entries = (rqsqs.Entry("x" * size, **{name: make(n) for name, make in options.items()}) for n in numbers)
    while some := list(itertools.islice(entries, 100)):
        queue.send_batch(some)


def _used(bench: Bench) -> int:
    used: int = bench.client.info("memory")["used_memory"]
    return used
