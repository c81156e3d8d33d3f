"""Messages per second and what one costs: one client alone, and fleets of processes."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import processes
from benchmarks.contestants import Contestant, Streams
from benchmarks.server import Bench

BODY = "x" * 1024
CAP = 1000  # producers of a fleet pause while more messages are waiting


@dataclass
class Alone:
    """Per message, one value for each slice."""

    seconds: list[float] = field(default_factory=list)
    client_us: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    commands: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return 1 / statistics.median(self.seconds)


def alone(bench: Bench, classes: Sequence[type[Contestant]], batch: int, rounds: int, count: int) -> dict[str, Alone]:
    """One client sends, receives and deletes `count` messages in each round; the contestants take turns."""
    results: dict[str, Alone] = defaultdict(Alone)
    for _ in range(rounds):
        for cls in classes:
            bench.client.flushall()
            contestant = cls(bench.server.url)
            contestant.create()
            _cycle(contestant, batch, batch * 2)  # connections, scripts
            cpu, commands = bench.cpu_us(), _commands(bench)
            wall, own = time.perf_counter(), time.process_time()
            _cycle(contestant, batch, count)
            wall, own = time.perf_counter() - wall, time.process_time() - own
            commands, cpu = _commands(bench) - commands, bench.cpu_us() - cpu
            contestant.close()
            result = results[cls.name]
            result.seconds.append(wall / count)
            result.client_us.append(own * 1e6 / count)
            result.server_us.append(cpu / count)
            result.commands.append(commands / count)
    return results


def _commands(bench: Bench) -> int:
    return sum(cost.calls for name, cost in bench.costs().items() if name not in ("info", "ping"))


def _cycle(contestant: Contestant, batch: int, count: int) -> None:
    left = count
    while left > 0:
        contestant.send([BODY] * min(batch, left))
        left -= batch
    finished: list[Any] = []
    left, patience = count, 100
    while left > 0 and patience:
        found = contestant.turn(finished, batch)
        patience -= not found
        finished = [handle for _, handle in found]
        left -= len(found)
    contestant.delete(finished)
    assert left <= 0, f"{contestant.name} lost {left} messages"


@dataclass
class Fleet:
    """One value for each round."""

    per_second: list[float] = field(default_factory=list)
    client_us: list[float] = field(default_factory=list)  # CPU of all processes, per message
    server_us: list[float] = field(default_factory=list)
    to_streams: list[float] = field(default_factory=list)  # messages per second, of the same round
    by_cpu: list[float] = field(default_factory=list)  # the same, were the processors ours alone: CPU per message


def fleets(
    bench: Bench, classes: Sequence[type[Contestant]], batch: int, rounds: int, seconds: float, each: int = 4
) -> dict[str, Fleet]:
    """`each` producer and as many consumer processes work on one queue; bare streams stand at both ends of a round."""
    results: dict[str, Fleet] = defaultdict(Fleet)
    for _ in range(rounds):
        row = [(cls, fleet(bench, cls, batch, seconds, each)) for cls in (Streams, *classes, Streams)]
        bare = statistics.mean(rate for cls, (rate, _, _) in row if cls is Streams)
        bare_us = statistics.mean(client_us + server_us for cls, (_, client_us, server_us) in row if cls is Streams)
        for cls, (rate, client_us, server_us) in row:
            result = results[cls.name]
            result.per_second.append(rate)
            result.client_us.append(client_us)
            result.server_us.append(server_us)
            result.to_streams.append(rate / bare)
            result.by_cpu.append(bare_us / (client_us + server_us))
    return results


def fleet(bench: Bench, cls: type[Contestant], batch: int, seconds: float, each: int) -> tuple[float, float, float]:
    """One round: messages per second, and CPU of the clients and the server, in µs per message."""
    bench.client.flushall()
    contestant = cls(bench.server.url)
    contestant.create()
    contestant.close()
    context = processes.CONTEXT
    counts, cpus = context.Array("q", 2 * each, lock=False), context.Array("d", 2 * each, lock=False)
    start = context.Barrier(2 * each + 1)
    children = []
    try:
        for slot in range(2 * each):
            target = _produce if slot < each else _consume
            children.append(
                processes.start(target, cls, bench.server.url, batch, seconds, each, counts, cpus, slot, start)
            )
        start.wait(60)
        before = bench.cpu_us()
        for child in children:
            child.join(seconds + 30)
        after = bench.cpu_us()
    finally:
        processes.end(children)
    sent, received = sum(counts[:each]), sum(counts[each:])
    both = max(1, (sent + received) / 2)
    return received / seconds, sum(cpus) * 1e6 / both, (after - before) / both


def _produce(
    cls: type[Contestant],
    url: str,
    batch: int,
    seconds: float,
    each: int,
    counts: Any,
    cpus: Any,
    slot: int,
    start: Any,
) -> None:
    processes.quietly()
    contestant = cls(url)
    bodies = [BODY] * batch
    start.wait(60)
    began, end = time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        contestant.send(bodies)
        counts[slot] += batch
        while sum(counts[:each]) - sum(counts[each:]) > CAP and time.monotonic() < end:
            time.sleep(0.004)  # looking costs as well
    cpus[slot] = time.process_time() - began
    contestant.close()


def _consume(
    cls: type[Contestant],
    url: str,
    batch: int,
    seconds: float,
    each: int,
    counts: Any,
    cpus: Any,
    slot: int,
    start: Any,
) -> None:
    processes.quietly()
    contestant = cls(url)

    def done(count: int) -> None:
        counts[slot] += count

    start.wait(60)
    began = time.process_time()
    contestant.consume(batch, seconds, done)
    cpus[slot] = time.process_time() - began
    contestant.close()
