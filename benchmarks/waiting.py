"""Consumers that wait: what they cost while nothing happens, and how fast a message reaches one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import processes
from benchmarks.contestants import Contestant
from benchmarks.server import Bench, percentile, spent
from tests.servers import Kind

WAIT = 20.0  # seconds, the longest wait of SQS


@dataclass(frozen=True, slots=True)
class Idle:
    """What idle consumers cost in a second."""

    commands: float  # those inside scripts included
    server_us: float
    connections: int


def idle(
    kind: Kind, classes: Sequence[type[Contestant]], seconds: float, count: int, per_process: int
) -> dict[str, Idle]:
    """`count` consumers of an empty queue, `per_process` threads in a process; each contestant on its own server.

    All contestants wait at the same time, as they cost next to nothing.
    """
    ready = processes.CONTEXT.Semaphore(0)
    with contextlib.ExitStack() as stack:
        benches = {cls: stack.enter_context(Bench(kind)) for cls in classes}
        children: list[Any] = []
        stack.callback(processes.end, children)
        for cls, bench in benches.items():
            contestant = cls(bench.server.url)
            contestant.create()
            contestant.close()
            for _ in range(count // per_process):
                children.append(processes.start(wait_for_ever, cls, bench.server.url, per_process, ready))
        for _ in range(len(children)):
            assert ready.acquire(timeout=60)
        time.sleep(1)
        before = {cls: (bench.costs(), bench.cpu_us()) for cls, bench in benches.items()}
        time.sleep(seconds)
        results = {}
        for cls, bench in benches.items():
            costs, cpu = before[cls]
            cpu = bench.cpu_us() - cpu
            commands = sum(c.calls for name, c in spent(costs, bench.costs()).items() if name != "info")
            connections = len(bench.client.client_list()) - 2  # ours
            results[cls.name] = Idle(commands / seconds, cpu / seconds, connections)
    return results


def wait_for_ever(cls: type[Contestant], url: str, count: int, ready: Any) -> None:
    """In a child: `count` threads that wait."""
    processes.quietly()

    def one() -> None:
        cls(url).listen(WAIT, lambda body: None)

    for _ in range(count):
        threading.Thread(target=one, daemon=True).start()
    time.sleep(0.5)
    ready.release()
    time.sleep(3600)


def hand_over(
    kind: Kind, classes: Sequence[type[Contestant]], count: int, gap: float
) -> dict[str, tuple[float, float]]:
    """p50 and p99 in ms from before a send until a waiting consumer, another process, has the body.

    Contestants take turns with every message; each has its own server and one consumer.
    """
    with contextlib.ExitStack() as stack:
        benches = {cls: stack.enter_context(Bench(kind)) for cls in classes}
        children: list[Any] = []
        stack.callback(processes.end, children)
        senders: list[tuple[Contestant, Any]] = []
        for cls, bench in benches.items():
            contestant = cls(bench.server.url)
            stack.callback(contestant.close)
            contestant.create()
            ours, theirs = processes.CONTEXT.Pipe(duplex=False)
            children.append(processes.start(_note, cls, bench.server.url, theirs))
            senders.append((contestant, ours))
        for _, pipe in senders:
            assert pipe.poll(60)
            pipe.recv()
        latencies: dict[str, list[float]] = {cls.name: [] for cls in classes}
        for _ in range(count):
            for contestant, pipe in senders:
                time.sleep(gap)
                contestant.send([str(time.monotonic_ns())])
                assert pipe.poll(30), f"{contestant.name} lost a message"
                latencies[contestant.name].append(pipe.recv())
    return {name: (percentile(found[5:], 0.5), percentile(found[5:], 0.99)) for name, found in latencies.items()}


def _note(cls: type[Contestant], url: str, pipe: Any) -> None:
    processes.quietly()
    contestant = cls(url)
    pipe.send("ready")
    contestant.listen(WAIT, lambda body: pipe.send((time.monotonic_ns() - int(body)) / 1e6))
