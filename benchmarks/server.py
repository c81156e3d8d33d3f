"""One server under measurement: a raw connection, pipelines of script calls, and what the server says they cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from rqsqs._core import scripts
from rqsqs._core.operation import Operation
from rqsqs._io import protocol
from tests.servers import Kind, Server

PIPELINE = 50  # calls in one write: the server has always something to do
SLOT = protocol.CallSlot()  # of the one client that calls
_STAT = re.compile(rb"cmdstat_([^:]+):calls=(\d+),usec=(\d+)")


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls and microseconds of one command."""

    calls: int = 0
    usec: int = 0


Costs = dict[str, Cost]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie. Low ones see least of what else the machine does."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Bench:
    """A fresh server in memory, or one that runs, and one connection to it."""

    def __init__(self, kind: Kind, server: Server | None = None, *, is_cluster: bool = False) -> None:
        self.server = server or Server(kind).start()
        self._is_own = server is None
        self.is_cluster = is_cluster
        self.client = redis.Redis.from_url(self.server.url)
        self.version = str(
            self.client.info("server").get("valkey_version") or self.client.info("server")["redis_version"]
        )
        pool = redis.ConnectionPool.from_url(self.server.url, protocol=2, socket_timeout=60)
        self._connection: Any = pool.make_connection()
        self._connection.connect()
        self._loaded: set[str] = set()
        self.trivial = str(self.client.script_load("return 1")).encode()

    def close(self) -> None:
        self._connection.disconnect()
        self.client.close()
        if self._is_own:
            self.server.stop()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # Calls

    def pipeline(self, calls: Sequence[bytes]) -> list[Any]:
        """Run packed calls in pipelines; their replies."""
        replies = []
        for start in range(0, len(calls), PIPELINE):
            some = calls[start : start + PIPELINE]
            self._connection.send_packed_command([b"".join(some)], check_health=False)
            replies += [self._connection.read_response(disable_decoding=True) for _ in some]
        return replies

    def run(self, operations: Sequence[Operation]) -> list[Any]:
        """Run operations in pipelines; their parsed results."""
        for name in {o.script for o in operations} - self._loaded:
            self.client.script_load(scripts.get(name).source)
            self._loaded.add(name)
        replies = self.pipeline([pack(o, self.is_cluster) for o in operations])
        return [o.parse(r) if o.parse else r for o, r in zip(operations, replies, strict=True)]

    # What the server says

    def costs(self) -> Costs:
        """Calls and time of every command since the start, those inside scripts included."""
        self._connection.send_command("INFO", "commandstats")
        info: bytes = self._connection.read_response(disable_decoding=True)
        return {name.decode(): Cost(int(calls), int(usec)) for name, calls, usec in _STAT.findall(info)}

    def cpu_us(self) -> float:
        """CPU time of the server process."""
        info = self.client.info("cpu")
        return float((info["used_cpu_user"] + info["used_cpu_sys"]) * 1e6)


def pack(operation: Operation, is_cluster: bool = False) -> bytes:
    """An operation as the bytes of its EVALSHA."""
    return protocol.pack(operation, is_cluster, SLOT)


def use_scripts_of(folder: Path) -> None:
    """Measure other scripts than those of this checkout, for example of another revision."""
    scripts._folder = lambda: folder  # type: ignore[assignment]
    scripts.get.cache_clear()


def spent(before: Costs, after: Costs) -> Costs:
    """What happened between two costs()."""
    return {
        name: Cost(cost.calls - (old := before.get(name, Cost())).calls, cost.usec - old.usec)
        for name, cost in after.items()
        if cost.calls > before.get(name, Cost()).calls
    }
