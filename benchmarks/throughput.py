"""Messages per second and what one costs: one client alone, and fleets of processes."""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import processes
from benchmarks.contestants import Contestant, Streams
from benchmarks.processes import Failed, Seat
from benchmarks.server import Bench

BODY = "x" * 1024


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
    failed: str = ""  # why there is nothing, or less

    @property
    def per_core(self) -> float:
        """Messages for each second of CPU time, of clients and server together."""
        return 1e6 / (statistics.median(self.client_us) + statistics.median(self.server_us))


def fleets(
    bench: Bench,
    classes: Sequence[type[Contestant]],
    batch: int,
    rounds: int,
    seconds: float,
    each: int = 4,
    *,
    others: Sequence[type[Contestant]] = (),
    rounds_of_others: int = 0,
) -> dict[str, Fleet]:
    """`each` producer and as many consumer processes work on one queue; bare streams stand at both ends of a round. A
    contestant that fails is left out from then on. `others` join the first rounds only."""
    results: dict[str, Fleet] = defaultdict(Fleet)
    for number in range(rounds):
        row: list[tuple[type[Contestant], tuple[float, float, float]]] = []
        some = [*classes, *(others if number < rounds_of_others else ())]
        some = some[number % len(some) :] + some[: number % len(some)] if some else []
        for cls in (Streams, *some, Streams):
            if not results[cls.name].failed:
                try:
                    row.append((cls, fleet(bench, cls, batch, seconds, each)))
                except Exception as error:
                    results[cls.name].failed = processes.reason(error)
        bare = [costs for cls, costs in row if cls is Streams]
        if not bare:
            continue
        rate_s = statistics.mean(rate for rate, _, _ in bare)
        us_s = statistics.mean(client_us + server_us for _, client_us, server_us in bare)
        for cls, (rate, client_us, server_us) in row:
            result = results[cls.name]
            result.per_second.append(rate)
            result.client_us.append(client_us)
            result.server_us.append(server_us)
            result.to_streams.append(rate / rate_s)
            result.by_cpu.append(us_s / (client_us + server_us))
    return results


def fleet(bench: Bench, cls: type[Contestant], batch: int, seconds: float, each: int) -> tuple[float, float, float]:
    """One round: messages per second, and CPU of the clients and the server, in µs per message.

    Raises:
        Failed: a process ended early, or no message came through.
    """
    bench.client.flushall()
    contestant = cls(bench.server.url)
    contestant.create()
    contestant.close()
    context = processes.CONTEXT
    cpus = context.Array("d", 2 * each, lock=False)
    start, errors = context.Barrier(2 * each + 1), context.SimpleQueue()
    children: list[Any] = []
    with processes.board(each) as board:
        try:
            for slot in range(2 * each):
                work = _produce if slot < each else _consume
                seat = Seat(board, slot)
                children.append(
                    processes.start(_work, work, cls, bench.server.url, batch, seconds, seat, cpus, start, errors)
                )
            with contextlib.suppress(threading.BrokenBarrierError):
                start.wait(60)
            before = bench.cpu_us()
            for child in children:
                child.join(seconds + 15)
            after = bench.cpu_us()
            if not errors.empty():
                raise Failed(errors.get())
            if any(child.exitcode != 0 for child in children):
                raise Failed("a process did not end in time, or was killed")
        finally:
            processes.end(children)
        sent, received = board.sent, board.received
    if not received:
        raise Failed(f"no message came through in {seconds:g} s")
    both = (sent + received) / 2
    return received / seconds, sum(cpus) * 1e6 / both, (after - before) / both


def _work(
    work: Callable[..., None],
    cls: type[Contestant],
    url: str,
    batch: int,
    seconds: float,
    seat: Seat,
    cpus: Any,
    start: Any,
    errors: Any,
) -> None:
    """In a child: work, and say how much CPU time it took, or what went wrong."""
    processes.quietly()

    def begin() -> Callable[[], None]:
        start.wait(60)
        began = contestant.cpu()

        def finish() -> None:
            cpus[seat.slot] = contestant.cpu() - began

        return finish

    try:
        contestant = cls(url)
        contestant.get_ready("produce" if work is _produce else "consume", batch, seat)
        work(contestant, batch, seconds, seat, begin)
    except BaseException as error:
        errors.put(processes.reason(error))
        start.abort()
        raise


Begin = Callable[[], Callable[[], None]]  # waits for all others; returns what notes the CPU time since then


def _produce(contestant: Contestant, batch: int, seconds: float, seat: Seat, begin: Begin) -> None:
    finish = begin()
    contestant.produce([BODY] * batch, seconds, seat)
    finish()
    contestant.close()


def _consume(contestant: Contestant, batch: int, seconds: float, seat: Seat, begin: Begin) -> None:
    if not contestant.is_endless:
        finish = begin()
        contestant.consume(batch, seconds, seat.add)
        finish()
        contestant.close()
        return

    def watch() -> None:
        contestant.is_up.wait(60)
        finish = begin()
        time.sleep(seconds)
        finish()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    contestant.consume(batch, seconds, seat.add)
    raise Failed("its worker ended")
