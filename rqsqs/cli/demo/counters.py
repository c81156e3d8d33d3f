"""What the processes of the show did and what is in the cache, both read from the server of the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rqsqs._io.sync.clients import client_of


class Report:
    """Counters and latencies, kept beside the cache (below `prefix`), so that they are there even if a process is
    killed."""

    def __init__(self, url: str, prefix: str) -> None:
        self.server: Any = client_of(url)
        self._entries, self._counters, self._latencies = f"{prefix}:", f"{prefix}-report", f"{prefix}-latencies"

    def add(self, counts: Mapping[str, int], latencies_ms: Iterable[float] = ()) -> None:
        pipeline = self.server.pipeline(transaction=False)
        for name, count in counts.items():
            pipeline.hincrby(self._counters, name, count)
        noted = [f"{ms:.1f}" for ms in latencies_ms]
        if noted:
            pipeline.rpush(self._latencies, *noted)
        pipeline.execute()

    def counts(self) -> Counter[str]:
        """All counters; "stored" are the messages that were no duplicates."""
        found = Counter({name.decode(): int(count) for name, count in self.server.hgetall(self._counters).items()})
        return found + Counter(stored=found["sent"] - found["deduplicated"])

    def latencies_ms(self) -> list[float]:
        return sorted(map(float, self.server.lrange(self._latencies, 0, -1)))

    def cache(self) -> dict[str, tuple[str, int]]:
        """What is in the cache: key -> (value, time to live)."""
        names = list(self.server.scan_iter(match=f"{self._entries}*", count=1000))
        pipeline = self.server.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
            pipeline.ttl(name)
        found = pipeline.execute()
        return {
            name.decode().removeprefix(self._entries): (value.decode(), ttl)
            for name, value, ttl in zip(names, found[::2], found[1::2], strict=True)
            if value is not None
        }


def in_hand(pid: int) -> str:
    """The counter of the messages that a worker process is applying."""
    return f"in hand of {pid}"
