"""What partitions cost: server CPU of one client's messages, by the number of partitions of the queue."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from benchmarks import throughput
from benchmarks.contestants import QUEUE, Native
from benchmarks.server import Bench, Cost, Costs
from benchmarks.throughput import Alone
from rqsqs._core.keys import partition_tag
from tests.clusters import Cluster
from tests.servers import Kind

BATCH = 10


def of(count: int) -> type[Native]:
    """The native face with a queue of so many partitions."""

    class Partitioned(Native):
        name = f"{count} partition{'s' if count > 1 else ''}"

        def create(self) -> None:
            self.connection.create_queue(QUEUE, partitions=count)

    return Partitioned


class EightQueues(Native):
    """Eight queues in turn: what it costs a cluster that its masters take turns, whatever they do."""

    name = "8 queues"

    def open(self) -> None:
        super().open()
        tags = [partition_tag(QUEUE, n) for n in range(8)]
        self.queues = [self.connection.queue(tag.translate(str.maketrans("/.", "--"))) for tag in tags]
        self.turns = itertools.count()

    def create(self) -> None:
        for queue in self.queues:
            self.connection.create_queue(queue.name)

    def send(self, bodies: Sequence[str]) -> None:
        self.queue = self.queues[next(self.turns) % 8]
        super().send(bodies)

    def turn(self, finished: Sequence[Any], count: int, wait: float = 0) -> list[tuple[str, Any]]:
        for _ in self.queues:
            found = super().turn(finished, count, wait)
            finished = ()
            if found:
                break
            self.queue = self.queues[next(self.turns) % 8]
        return found


class Masters:
    """The masters of a cluster under measurement: a Bench, as far as throughput.alone() asks."""

    def __init__(self, kind: Kind) -> None:
        self.cluster = Cluster(kind, replicas=0).start()
        self.clients = [self.cluster.client(server) for server in self.cluster.servers]
        self.server = SimpleNamespace(url=self.cluster.url)
        self.client = self

    def flushall(self) -> None:
        """Empty all masters."""
        for client in self.clients:
            client.flushall()

    def cpu_us(self) -> float:
        """CPU time of all server processes."""
        found: list[Any] = [client.info("cpu") for client in self.clients]
        return float(sum(info["used_cpu_user"] + info["used_cpu_sys"] for info in found) * 1e6)

    def costs(self) -> Costs:
        """Calls and time of every command of all masters."""
        costs: Costs = {}
        for client in self.clients:
            stats: Any = client.info("commandstats")
            for name, stat in stats.items():
                command, old = name.removeprefix("cmdstat_"), costs.get(name.removeprefix("cmdstat_"), Cost())
                costs[command] = Cost(old.calls + stat["calls"], old.usec + stat["usec"])
        return costs

    def close(self) -> None:
        """End the servers."""
        for client in self.clients:
            client.close()
        self.cluster.stop()

    def __enter__(self) -> Masters:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def one_server(kind: Kind, counts: Sequence[int], rounds: int, messages: int) -> dict[str, Alone]:
    """Queues of so many partitions on one server."""
    with Bench(kind) as bench:
        return throughput.alone(bench, [of(count) for count in counts], BATCH, rounds, messages)


def three_masters(kind: Kind, counts: Sequence[int], rounds: int, messages: int) -> dict[str, Alone]:
    """Queues of so many partitions, and eight of one, on a cluster of three masters."""
    with Masters(kind) as masters:
        bench: Any = masters
        return throughput.alone(bench, [*[of(count) for count in counts], EightQueues], BATCH, rounds, messages)
