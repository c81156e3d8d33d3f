"""What partitions cost: server CPU of one client's messages, by the number of partitions of the queue."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from benchmarks import throughput
from benchmarks.contestants import QUEUE, Native
from benchmarks.masters import Masters
from benchmarks.server import Bench
from benchmarks.throughput import Alone
from rqsqs._core.keys import partition_tag
from tests.servers import Kind

BATCH = 10


def of(count: int) -> type[Native]:
    """The native API with a queue of so many partitions."""

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


def one_server(kind: Kind, counts: Sequence[int], rounds: int, messages: int) -> dict[str, Alone]:
    """Queues of so many partitions on one server."""
    with Bench(kind) as bench:
        return throughput.alone(bench, [of(count) for count in counts], BATCH, rounds, messages)


def three_masters(kind: Kind, counts: Sequence[int], rounds: int, messages: int) -> dict[str, Alone]:
    """Queues of so many partitions, and eight of one, on a cluster of three masters."""
    with Masters(kind, 3) as masters:
        bench: Any = masters
        return throughput.alone(bench, [*[of(count) for count in counts], EightQueues], BATCH, rounds, messages)
