"""Many senders in one process: `queue.sender()`, each for itself with `queue.send()`, and bare XADD of redis-py."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio

import rqsqs
from benchmarks import targets
from benchmarks.server import Bench
from rqsqs import aio

if TYPE_CHECKING:
    from benchmarks.suite import Results

BODY, STREAM = "x" * 100, "stream"
CALLERS = (1, 64)
BARE, ALONE, SHARED = "bare XADD", "queue.send", "queue.sender"

Costs = dict[tuple[str, int, str], list[tuple[float, float]]]  # (what, callers, variant) -> (CPU µs, µs) per message


def measure(bench: Bench, rounds: int, messages: int) -> Costs:
    """Each sends so many messages in each round; they take turns."""
    costs: Costs = defaultdict(list)
    url = bench.server.url
    with rqsqs.connect(url) as connection, redis.Redis.from_url(url) as client:
        queue = connection.create_queue("bench")
        with queue.sender() as sender:
            for _ in range(rounds):
                for callers, what, send in _turns(client, queue, sender):
                    costs[what, callers, "threads"].append(_threads(send, callers, messages // callers))
                queue.purge()
                client.delete(STREAM)
    asyncio.run(_measure_tasks(url, rounds, messages, costs))
    return costs


async def _measure_tasks(url: str, rounds: int, messages: int, costs: Costs) -> None:
    async with aio.connect(url) as connection, redis.asyncio.Redis.from_url(url) as client:
        queue = await connection.create_queue("bench")
        async with queue.sender() as sender:
            for _ in range(rounds):
                for callers, what, send in _turns(client, queue, sender):
                    costs[what, callers, "tasks"].append(await _tasks(send, callers, messages // callers))
                await queue.purge()
                await client.delete(STREAM)


def _turns(client: Any, queue: Any, sender: Any) -> Iterator[tuple[int, str, Callable[[str], Any]]]:
    """A round: callers, what they use, and its send; of threads or of tasks."""
    ways = {BARE: lambda body: client.xadd(STREAM, {"b": body}), ALONE: queue.send, SHARED: sender.send}
    for callers, (what, send) in itertools.product(CALLERS, ways.items()):
        yield callers, what, send


def _threads(send: Callable[[str], Any], callers: int, each: int) -> tuple[float, float]:
    barrier = threading.Barrier(callers + 1)

    def work() -> None:
        send(BODY)  # its connection
        barrier.wait()
        for _ in range(each):
            send(BODY)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    barrier.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    return _each(wall, cpu, callers * each)


async def _tasks(send: Callable[[str], Any], callers: int, each: int) -> tuple[float, float]:
    async def work() -> None:
        for _ in range(each):
            await send(BODY)

    await asyncio.gather(*[send(BODY) for _ in range(callers)])
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[work() for _ in range(callers)])
    return _each(wall, cpu, callers * each)


def _each(wall: float, cpu: float, count: int) -> tuple[float, float]:
    return (time.process_time() - cpu) * 1e6 / count, (time.perf_counter() - wall) * 1e6 / count


def show(r: Results) -> None:
    """The section of docs/performance.md."""
    with Bench(r.kind) as bench:
        costs = measure(bench, r.scale.rounds, r.scale.messages * 20)
    rows = [["in one process", "how", "client CPU µs", "µs", "× S by CPU", "× S"]]
    for variant in ("threads", "tasks"):
        for callers in CALLERS:
            bare = costs[BARE, callers, variant]
            for what in (BARE, ALONE, SHARED):
                found = costs[what, callers, variant]
                cpu, wall = (statistics.median(values) for values in zip(*found, strict=True))
                shares = [(b[0] / f[0], b[1] / f[1]) for b, f in zip(bare, found, strict=True)]
                by_cpu, share = (statistics.median(values) for values in zip(*shares, strict=True))
                who = f"{callers} {variant if callers > 1 else variant[:-1]}"
                rows.append([who, what, f"{cpu:.1f}", f"{wall:.1f}", f"{by_cpu:.2f}", f"{share:.2f}"])
                if what == SHARED and callers > 1:
                    r.goal(f"{who} that share a sender, by CPU per message", by_cpu, targets.SENDER)
    r.show("Many senders in one process", rows, "Bodies of 100 bytes; S = XADD by redis-py.")
