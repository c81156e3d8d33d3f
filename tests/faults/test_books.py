"""Every number of queue.metrics() is what all clients together counted, whatever they did and whatever broke.

RQSQS_TEST_FAULTS=1 RQSQS_SOAK_SECONDS=600 python -m pytest tests/faults/test_books.py -s       10 minutes each
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import rqsqs
from rqsqs._core.flows.metrics import doubts
from rqsqs.metrics import prometheus
from rqsqs.metrics.exposition import TEXT
from tests.clusters import Cluster, home_of, until
from tests.faults import bookkeeper, sampler
from tests.faults.bookkeeper import CHAIN, FORGOTTEN_S, QUEUES, SWEPT
from tests.faults.conftest import CONTEXT
from tests.proxy import Proxy
from tests.servers import Server

SECONDS = float(os.environ.get("RQSQS_SOAK_SECONDS", "8"))
ROUND_S = 4.0  # between two looks at the books
SPEED = 60.0  # a minute takes a second
SETTLED_S = 5.0  # around a failover: what was told in it may be forgotten
COUNTED = ("sent", "received", "deleted", "deduplicated", "cancelled", "empty_receives")
KEPT = ("dead_lettered", "dead_letters", "expired", "purged", "redriven_out", "redriven_in")

pytestmark = pytest.mark.timeout(300 + 4 * SECONDS)


class Books:
    """What bookkeepers wrote: of each queue and number, how much it is at least and at most.

    A receive whose call or answer got lost may have counted as empty once more or less than it was, and one that found
    out about other partitions once more. If the answer came so late that what the first attempt received was visible
    again, the last attempt received anew.

    Attributes:
        unsafe: times (from, to) of which anything may have been forgotten but what was sent.
    """

    def __init__(self, files: list[Path], unsafe: list[tuple[float, float]]) -> None:
        self.least: dict[str, Counter[str]] = {name: Counter() for name in QUEUES}
        self.most: dict[str, Counter[str]] = {name: Counter() for name in QUEUES}
        self.interrupted = 0
        books = [[json.loads(line) for line in whole_lines(file)] for file in files]
        self.rescheduled = {line["rescheduled"] for lines in books for line in lines if line.get("rescheduled")}
        for lines in books:
            begun: dict[str, Any] | None = None
            for line in lines:
                if "done" in line:
                    assert begun is not None
                    is_safe = not any(begun["at"] < to and line["at"] > since for since, to in unsafe)
                    is_smooth = line.get("is_smooth", True)
                    self._add(begun["queue"], line["done"], is_smooth, is_safe)
                    if not is_smooth and "received" in begun["most"]:
                        self._allow_lost(begun, line["at"] - begun["at"])
                    self._allow_rescheduled(begun["queue"], line.get("got", []))
                    begun = None
                    continue
                if begun is not None:
                    self._interrupted(begun)
                begun = line if "queue" in line else None
            if begun is not None:
                self._interrupted(begun)

    def _add(self, queue: str, done: dict[str, int], is_smooth: bool, is_safe: bool) -> None:
        self.most[queue].update(done)
        for name, number in done.items():
            if (is_safe or name == "sent") and (is_smooth or name != "empty_receives"):
                self.least[queue][name] += number

    def _allow_lost(self, begun: dict[str, Any], took_s: float) -> None:
        self.least[begun["queue"]]["empty_receives"] -= 1
        self.most[begun["queue"]]["empty_receives"] += 1
        if took_s * SPEED >= FORGOTTEN_S:
            self.most[begun["queue"]].update(begun["most"])

    def _allow_rescheduled(self, queue: str, got: list[Any]) -> None:
        """Their receive counts go on, while metrics count from the delivery cycle's begin."""
        for message_id, number, _ in got:
            if message_id in self.rescheduled:
                self.least[queue][f"receive_{min(number, 4)}"] -= 1
                self.most[queue].update({f"receive_{n}": 1 for n in range(1, min(number, 4))})

    def _interrupted(self, begun: dict[str, Any]) -> None:
        self.interrupted += 1
        self.most[begun["queue"]].update(begun["most"])

    def check(self, metrics: rqsqs.QueueMetrics) -> None:
        """Compare."""
        found = {name: getattr(metrics, name) for name in COUNTED}
        if metrics.queue not in CHAIN.values():  # a dead letter tells its receives of before as well
            found |= {f"receive_{n}": number for n, number in enumerate((metrics.dwell.total, *metrics.redelivered), 1)}
        wrong = {}
        for name, number in found.items():
            least, most = self.least[metrics.queue][name], self.most[metrics.queue][name]
            if not least <= number <= most:
                wrong[name] = (least, number, most)
        assert not wrong, (metrics.queue, "at least, found, at most", wrong, metrics)


def whole_lines(file: Path) -> list[bytes]:
    return [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


class Fleet:
    """Bookkeepers, and samplers of history."""

    def __init__(self, folder: Path, url: str, prefix: str, durability: str | None = None) -> None:
        self.folder, self.stop_file = folder, folder / "stop"
        self.job = {"url": url, "prefix": prefix, "durability": durability, "started": time.time(), "speed": SPEED}
        self.job["stop"] = str(self.stop_file)
        self.processes: dict[Path, Any] = {}
        self.logs: list[Path] = []
        self.samplers: list[Any] = []
        self._seeds = itertools.count()
        CONTEXT.set_forkserver_preload(["tests.faults.bookkeeper", "tests.faults.sampler"])

    def start(self) -> None:
        """One more bookkeeper."""
        seed = next(self._seeds)
        log = self.folder / f"{seed}.log"
        log.touch()
        self.logs.append(log)
        process = CONTEXT.Process(
            target=bookkeeper.run, args=({**self.job, "log": str(log), "seed": seed},), daemon=True
        )
        process.start()
        self.processes[log] = process

    def start_sampler(self, url: str) -> None:
        arguments = (url, self.job["prefix"], self.job["started"], 0, SPEED)
        self.samplers.append(CONTEXT.Process(target=sampler.run, args=arguments, daemon=True))
        self.samplers[-1].start()

    def kill_one(self, draw: random.Random) -> None:
        log = draw.choice(list(self.processes))
        process = self.processes.pop(log)
        process.kill()
        process.join()
        self.start()

    def kill_sampler(self) -> None:
        process = self.samplers.pop(0)
        process.kill()
        process.join()

    def stop(self) -> None:
        """Let all finish the call they are in, and begin no other."""
        self.stop_file.touch()
        for log, process in self.processes.items():
            until(lambda log=log, p=process: not p.is_alive() or is_idle(log), "it rests", 120)
            assert process.is_alive(), f"{log.name} died"

    def go_on(self) -> None:
        self.stop_file.unlink()

    def end(self) -> None:
        for process in (*self.processes.values(), *self.samplers):
            process.kill()
            process.join()


def is_idle(log: Path) -> bool:
    lines = whole_lines(log)
    return bool(lines) and json.loads(lines[-1]).get("idle") is True


def create_all(connection: rqsqs.Connection) -> None:
    for name in ("dead", "other", "dead.fifo", "other.fifo"):
        connection.create_queue(name)
    for name, dead in CHAIN.items():
        settings: dict[str, Any] = {"dead_letter_queue": dead, "max_receive_count": 2}
        if name == "parts.fifo":
            settings |= {"partitions": 3, "deduplication_scope": "messageGroup"}
        connection.create_queue(name, **settings)
    for name in SWEPT:
        connection.create_queue(name, retention=90, delay=1)


def settle(connection: rqsqs.Connection) -> None:
    """Wait until no move task runs: what killed movers left, others continue."""
    for name in ("dead", "dead.fifo"):
        queue = connection.queue(name)
        until(
            lambda q=queue: all(task.status not in ("RUNNING", "CANCELLING") for task in q.move_tasks()), "none moves"
        )


def compare(
    connection: rqsqs.Connection, fleet: Fleet, unsafe: list[tuple[float, float]], is_forgetful: bool = False
) -> dict[str, rqsqs.QueueMetrics]:
    """While everybody rests: the books, what goes from queue to queue, and what adds up."""
    settle(connection)
    metrics = {each.queue: each for each in connection.metrics()}
    assert metrics.keys() == set(QUEUES)
    books = Books(fleet.logs, unsafe)
    for each in metrics.values():
        books.check(each)
        wrong = connection.transport.run(doubts(connection.transport.queue(each.queue)))
        assert not wrong, (each.queue, wrong)
        assert min(getattr(each, name) for name in (*COUNTED, *KEPT)) >= 0
        gone = each.deleted + each.dead_lettered + each.redriven_out + each.expired + each.purged + each.cancelled
        there = each.visible + each.in_flight + each.delayed
        assert each.sent + each.dead_letters + each.redriven_in == gone + there + each.damaged
        assert not each.damaged
    for end in ("", ".fifo"):
        of_kind = [each for each in metrics.values() if each.queue.endswith(".fifo") == bool(end)]
        moved, came = [sum(getattr(each, n) for each in of_kind) for n in ("redriven_out", "redriven_in")]
        dead, letters = [sum(getattr(each, n) for each in of_kind) for n in ("dead_lettered", "dead_letters")]
        if not is_forgetful:
            assert (moved, dead) == (came, letters), end
    check_text(list(metrics.values()))
    return metrics


def check_text(metrics: list[rqsqs.QueueMetrics]) -> None:
    """Prometheus is told the same."""
    text = "".join(prometheus.write(metrics, TEXT))
    told = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    for each in metrics:
        for name in ("sent", "received", "deleted", "expired", "purged", "cancelled", "dead_lettered"):
            assert told[f'rqsqs_messages_{name}_total{{queue="{each.queue}"}}'] == str(getattr(each, name))
        assert told[f'rqsqs_dwell_seconds_count{{queue="{each.queue}"}}'] == str(each.dwell.total)


def check_history(queue: rqsqs.Queue) -> None:
    """Its sums are the counters."""
    names = (*COUNTED, *KEPT)
    while True:  # messages expire meanwhile
        before = queue.metrics()
        found = queue.history(since=datetime.fromtimestamp(before.created_at_ms / 1000, UTC))
        metrics = queue.metrics()
        if all(getattr(metrics, name) == getattr(before, name) for name in names):
            break
    summed = {name: sum(p.metrics[name].sum for p in found if name in p.metrics) for name in names}
    assert summed == {name: getattr(metrics, name) for name in names}, queue.name
    for name in ("dwell", "processing"):
        assert sum([getattr(p, name) for p in found], rqsqs.Histogram()) == getattr(metrics, name)
    assert [p.is_gap for p in found].count(False) > 1


@contextlib.contextmanager
def at_work(
    folder: Path, url: str, worker_url: str, prefix: str, durability: str | None = None
) -> Iterator[tuple[rqsqs.Connection, Fleet]]:
    fleet = Fleet(folder, worker_url, prefix, durability)
    clock = sampler.FastClock(fleet.job["started"], SPEED)
    try:
        with rqsqs.connect(url, prefix=prefix, clock=clock) as connection:
            create_all(connection)
            for _ in range(2):
                fleet.start_sampler(url)
            for _ in range(4):
                fleet.start()
            yield connection, fleet
    finally:
        fleet.end()


def rounds(seconds: float, is_enough: Callable[[], Any] = lambda: True) -> Iterator[int]:
    """Count rounds until the time is over, and until it is enough."""
    ends = time.monotonic() + seconds
    for n in itertools.count():
        if n and time.monotonic() > ends and is_enough():
            return
        yield n


def is_varied(metrics: dict[str, rqsqs.QueueMetrics]) -> bool:
    """Did what happens rarely happen?"""
    purged = metrics["swept"].purged and metrics["swept.fifo"].purged
    return bool(purged and metrics["dead"].redriven_out and metrics["dead.fifo"].dead_letters)


def grow(connection: rqsqs.Connection, n: int) -> None:
    """Queues get more partitions while everybody works."""
    with contextlib.suppress(StopIteration):
        name, count = next(itertools.islice(iter([("work", 2), ("fair", 2), ("work", 3), ("parts.fifo", 4)]), n, None))
        connection.queue(name).configure(partitions=count)


def told(metrics: dict[str, rqsqs.QueueMetrics], fleet: Fleet) -> None:
    totals = {name: sum(getattr(each, name) for each in metrics.values()) for name in (*COUNTED, *KEPT)}
    print(f"\n{totals}; {Books(fleet.logs, []).interrupted} calls interrupted")


def test_the_metrics_are_what_all_clients_counted(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    draw = random.Random(1)
    with Proxy(valkey_url) as proxy, at_work(tmp_path, valkey_url, proxy.url, prefix) as (connection, fleet):
        faults: list[Callable[[], Any]] = [
            proxy.cut,
            lambda: proxy.lose_replies(draw.choice([1, 3, 10])),
            lambda: fleet.kill_one(draw),
            lambda: (fleet.kill_sampler(), fleet.start_sampler(valkey_url)),
        ]
        looks: list[dict[str, rqsqs.QueueMetrics]] = []
        for n in rounds(SECONDS, lambda: is_varied(looks[-1])):
            ends, broken = time.monotonic() + ROUND_S, iter(draw.sample(faults, len(faults)) if n else [])
            grow(connection, n)
            while time.monotonic() < ends:
                time.sleep(ROUND_S / 6)
                next(broken, lambda: None)()
            fleet.stop()
            looks.append(compare(connection, fleet, []))
            fleet.go_on()
        fleet.stop()
        while fleet.samplers:
            fleet.kill_sampler()
        for name in QUEUES:
            check_history(connection.queue(name))
        told(looks[-1], fleet)


def test_a_failover_forgets_no_more_than_what_was_told_around_it(prefix: str, tmp_path: Path) -> None:
    draw = random.Random(2)
    durability = "replicas=1,timeout=5,deletes"
    unsafe: list[tuple[float, float]] = []
    with Cluster() as cluster, at_work(tmp_path, cluster.url, cluster.url, prefix, durability) as (connection, fleet):
        for n in rounds(SECONDS):
            grow(connection, n)
            time.sleep(ROUND_S / 2)
            if n % 3 == 1:
                key = home_of(draw.choice([*CHAIN]))
                began = time.time()
                killed = cluster.kill_master(key)
                cluster.await_failover(key, killed)
                unsafe.append((began - SETTLED_S, time.time() + SETTLED_S))
                time.sleep(SETTLED_S)
                killed.restart()
                until(lambda: all(in_step(cluster, one) for one in cluster.servers), "all are in step")
            elif n:
                fleet.kill_one(draw)
            time.sleep(ROUND_S / 2)
            fleet.stop()
            metrics = compare(connection, fleet, unsafe, is_forgetful=bool(unsafe))
            fleet.go_on()
        told(metrics, fleet)


def in_step(cluster: Cluster, server: Server) -> bool:
    with cluster.client(server) as client:
        info: Any = client.info("replication")
        return info["role"] == "master" or info["master_link_status"] == "up"
