"""Consumers that wait: what they cost while nothing happens, and how fast a message reaches one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import processes
from benchmarks.contestants import Contestant
from benchmarks.processes import Failed, reason
from benchmarks.server import Bench, percentile, spent
from tests.servers import Kind

WAIT = 20.0  # seconds, the longest wait of SQS
SLOW = 3.0  # seconds: nobody waits for more of a contestant that has taken as long


@dataclass(frozen=True, slots=True)
class Idle:
    """What idle consumers cost in a second."""

    consumers: int  # one that handles several messages at once counts as so many
    commands: float  # those inside scripts included
    server_us: float
    connections: int


def idle(kind: Kind, places: Sequence[tuple[type[Contestant], int, int]], seconds: float) -> list[Idle | str]:
    """Consumers of an empty queue, each contestant on its own server. All wait at the same time, as they cost next to
    nothing.

    Args:
        places: contestant, number of processes, waiting threads in each.

    Returns:
        For each place what it costs, or why it failed.
    """
    with contextlib.ExitStack() as stack:
        benches = [stack.enter_context(Bench(kind)) for _ in places]
        children: list[Any] = []
        stack.callback(processes.end, children)
        readies = [processes.CONTEXT.Semaphore(0) for _ in places]
        results: list[Idle | str] = [""] * len(places)
        for i, (cls, number, threads) in enumerate(places):
            try:
                contestant = cls(benches[i].server.url)
                contestant.create()
                contestant.close()
            except Exception as error:
                results[i] = reason(error)
                continue
            url = benches[i].server.url
            children += [processes.start(wait_for_ever, cls, url, threads, readies[i]) for _ in range(number)]
        for i, (_, number, _) in enumerate(places):
            if not results[i] and not all(readies[i].acquire(timeout=60) for _ in range(number)):
                results[i] = "its consumers did not start"
        time.sleep(1)
        before = [(bench.costs(), bench.cpu_us()) for bench in benches]
        time.sleep(seconds)
        for i, ((cls, number, threads), bench) in enumerate(zip(places, benches, strict=True)):
            costs, cpu = before[i]
            cpu = bench.cpu_us() - cpu
            commands = sum(c.calls for name, c in spent(costs, bench.costs()).items() if name != "info")
            connections = len(bench.client.client_list()) - 2  # ours
            if not results[i]:
                failed = connections < 1
                found = Idle(number * threads * cls.slots, commands / seconds, cpu / seconds, connections)
                results[i] = "its consumers ended" if failed else found
        return results


def wait_for_ever(cls: type[Contestant], url: str, count: int, ready: Any) -> None:
    """In a child: `count` threads that wait; a contestant that is a process waits in its main thread."""
    processes.quietly()
    if cls.is_process:
        _listen(cls(url), lambda body: None, ready.release)

    def one() -> None:
        cls(url).listen(WAIT, lambda body: None)

    for _ in range(count):
        threading.Thread(target=one, daemon=True).start()
    threading.Timer(0.5, ready.release).start()
    time.sleep(3600)


def _listen(contestant: Contestant, take: Callable[[str], None], tell: Callable[[], None]) -> None:
    """Listen, and tell when it does."""

    def watch() -> None:
        if contestant.is_up.wait(60):
            tell()

    if contestant.is_process:
        threading.Thread(target=watch, daemon=True).start()
    else:
        tell()
    contestant.listen(WAIT, take)


@dataclass
class HandOver:
    """Milliseconds from before a send until a waiting consumer, another process, has the body."""

    values: list[float]
    failed: str = ""

    @property
    def p50(self) -> float:
        return percentile(self.values, 0.5)

    @property
    def p99(self) -> float:
        return percentile(self.values, 0.99)


def hand_over(kind: Kind, classes: Sequence[type[Contestant]], count: int, gap: float) -> dict[str, HandOver]:
    """Contestants take turns with every message; each has its own server and one consumer. One that is slow sends fewer
    messages, one that fails none."""
    with contextlib.ExitStack() as stack:
        children: list[Any] = []
        stack.callback(processes.end, children)
        senders: dict[str, tuple[Contestant, Any]] = {}
        results = {cls.name: HandOver([]) for cls in classes}
        for cls in classes:
            bench = stack.enter_context(Bench(kind))
            try:
                contestant = cls(bench.server.url)
                stack.callback(contestant.close)
                contestant.create()
                ours, theirs = processes.CONTEXT.Pipe(duplex=False)
                children.append(processes.start(_note, cls, bench.server.url, theirs))
                theirs.close()
                if not ours.poll(60):
                    raise Failed("its consumer did not start")
                ours.recv()
                senders[cls.name] = contestant, ours
            except Exception as error:
                results[cls.name].failed = reason(error)
        time.sleep(1)  # all wait
        taken = dict.fromkeys(senders, 0.0)
        for number in range(count):
            for name, (contestant, pipe) in list(senders.items()):
                time.sleep(gap)
                began = time.monotonic()
                try:
                    contestant.send([contestant.stamp()])
                    if not pipe.poll(30):
                        raise Failed("it lost a message")
                    value = pipe.recv()
                except Exception as error:
                    results[name].failed = reason(error)
                    del senders[name]
                    continue
                taken[name] += time.monotonic() - began
                if number >= min(5, count // 2):  # the first ones warm up
                    results[name].values.append(value)
                    if taken[name] > SLOW + count * gap:
                        del senders[name]
    return results


def _note(cls: type[Contestant], url: str, pipe: Any) -> None:
    processes.quietly()
    _listen(cls(url), lambda body: pipe.send((time.monotonic_ns() - int(body)) / 1e6), lambda: pipe.send("ready"))
