"""Memory of a waiting message beyond its body."""

from __future__ import annotations

import base64
import contextlib
import itertools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import rqsqs
from benchmarks.contestants import Contestant, Native, Streams
from benchmarks.processes import reason
from benchmarks.server import Bench


def per_message(bench: Bench, classes: Sequence[type[Contestant]], size: int, count: int) -> dict[str, float | str]:
    """Bytes of `used_memory` per waiting message over the body, with `count` messages of `size` bytes; or why there is
    no number."""
    results: dict[str, float | str] = {}
    for cls in classes:
        bench.client.flushall()
        try:
            results[cls.name] = _of_one(bench, cls, size, count)
        except Exception as error:
            results[cls.name] = reason(error)
    bench.client.flushall()
    return results


def _of_one(bench: Bench, cls: type[Contestant], size: int, count: int) -> float:
    with contextlib.closing(cls(bench.server.url)) as contestant:
        contestant.create()
        contestant.send(["x"])  # whatever the first message brings along
    before = _used(bench)
    with contextlib.closing(cls(bench.server.url)) as contestant:
        body = base64.b64encode(random.Random(size).randbytes(size)).decode()[:size]  # nobody can compress it
        batch = 100 if cls in (Native, Streams) else 10
        some = count if cls in (Native, Streams) else count // 10
        for _ in range(max(1, some // batch)):
            contestant.send([body] * batch)
    return (_used(bench) - before) / (max(1, some // batch) * batch) - size


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
    """Bytes, once the server has given up what it needed for calls and for connections that are closed."""
    last, used = 0, 1 << 60
    while used < last - 1000 or not last:
        time.sleep(0.15)
        last, used = used, bench.client.info("memory")["used_memory"]
    return used
