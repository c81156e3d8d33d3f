"""Connections and commands of processes that wait, by partitions and masters."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import processes
from benchmarks.contestants import QUEUE, Contestant, Fleet, Native
from benchmarks.masters import Masters
from benchmarks.server import Bench
from benchmarks.waiting import wait_for_ever
from tests.servers import Kind


@dataclass(frozen=True, slots=True)
class Held:
    """What waiting costs all servers together, for each process."""

    connections: float
    blocked: float  # or listening
    commands: float  # per second, those inside scripts included


def measure(
    kind: Kind, masters: int, partitions: Sequence[int], threads: int, count: int, seconds: float
) -> dict[tuple[str, int], Held]:
    """`count` processes with so many waiting threads each, or with one worker each.

    Args:
        masters: 0 = a server that is no cluster.

    Returns:
        By contestant and partitions.
    """
    found = {}
    with Masters(kind, masters) if masters else Bench(kind) as server:
        benches = server.benches if isinstance(server, Masters) else [server]
        for cls in (Native, Fleet):
            for number in partitions:
                server.client.flushall()
                with contextlib.closing(Native(server.server.url)) as contestant:
                    contestant.connection.create_queue(QUEUE, partitions=number)
                found[cls.name, number] = _held(benches, cls, threads if cls is Native else 1, count, seconds)
    return found


def _held(benches: Sequence[Bench], cls: type[Contestant], threads: int, count: int, seconds: float) -> Held:
    ready = processes.CONTEXT.Semaphore(0)
    url = benches[0].server.url
    if benches[0].is_cluster:
        url = url.replace("redis://", "redis+cluster://").removesuffix("/0")
    idle = _clients(benches)
    children: list[Any] = []
    try:
        for _ in range(count):
            children.append(processes.start(wait_for_ever, cls, url, threads, ready))
        for _ in children:
            assert ready.acquire(timeout=60)
        time.sleep(1.5)
        before = _commands(benches)
        time.sleep(seconds)
        commands = (_commands(benches) - before) / seconds
        connected, blocked = (now - then for now, then in zip(_clients(benches), idle, strict=True))
        assert blocked >= count, f"{cls.name}: {blocked} connections of {count} processes wait"
    finally:
        processes.end(children)
    return Held(connected / count, blocked / count, commands / count)


def _clients(benches: Sequence[Bench]) -> tuple[int, int]:
    infos: list[Any] = [bench.client.info("clients") for bench in benches]
    waiting = sum(i["blocked_clients"] + i["tracking_clients"] for i in infos)
    return sum(i["connected_clients"] for i in infos), waiting


def _commands(benches: Sequence[Bench]) -> int:
    return sum(cost.calls for bench in benches for name, cost in bench.costs().items() if name != "info")
