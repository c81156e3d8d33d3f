"""Memory of a waiting message beyond its body."""

from __future__ import annotations

from collections.abc import Sequence

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
