"""The masters of a cluster under measurement: what they cost together, and what fleets of processes get out of them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from redis.crc import key_slot

from benchmarks import growth, throughput
from benchmarks.contestants import QUEUE, Native
from benchmarks.processes import awake
from benchmarks.scripts import LOW
from benchmarks.server import Bench, Cost, Costs, percentile, spent
from rqsqs._core.keys import SLOTS
from rqsqs._core.operation import Operation
from rqsqs._io.protocol import command
from tests.clusters import Cluster, until
from tests.servers import Kind

PARTITIONS = 8
BATCH = 10


class Eight(Native):
    """The native API with a queue of eight partitions."""

    name = f"{PARTITIONS} partitions"

    def create(self) -> None:
        self.connection.create_queue(QUEUE, partitions=PARTITIONS)


class Masters:
    """A cluster without replicas: a Bench, as far as others ask."""

    def __init__(self, kind: Kind, count: int) -> None:
        self.cluster = Cluster(kind, masters=count, replicas=0).start()
        self.benches = [Bench(kind, server, is_cluster=True) for server in self.cluster.servers]
        self.server = SimpleNamespace(url=self.cluster.url)
        self.client = self

    def run(self, operations: Sequence[Operation]) -> list[Any]:
        """Run operations in pipelines, one master after the other; their parsed results."""
        share = SLOTS // len(self.benches)
        places: dict[int, list[int]] = defaultdict(list)
        for i, operation in enumerate(operations):
            places[min(key_slot(operation.keys[0].encode()) // share, len(self.benches) - 1)].append(i)
        results: list[Any] = [None] * len(operations)
        for number, indices in places.items():
            found = self.benches[number].run([operations[i] for i in indices])
            for i, result in zip(indices, found, strict=True):
                results[i] = result
        return results

    def flushall(self) -> None:
        """Empty all masters."""
        for bench in self.benches:
            bench.client.flushall()

    def cpu_us(self) -> float:
        """CPU time of all server processes."""
        return sum(bench.cpu_us() for bench in self.benches)

    def costs(self) -> Costs:
        """Calls and time of every command of all masters."""
        costs: Costs = {}
        for bench in self.benches:
            for name, cost in bench.costs().items():
                old = costs.get(name, Cost())
                costs[name] = Cost(old.calls + cost.calls, old.usec + cost.usec)
        return costs

    def close(self) -> None:
        """End the servers."""
        for bench in self.benches:
            bench.close()
        self.cluster.stop()

    def __enter__(self) -> Masters:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


@dataclass
class Found:
    """Per message sent, received and deleted; one value for each round."""

    script_us: list[float] = field(default_factory=list)  # inside the scripts, all masters together
    cpu_us: list[float] = field(default_factory=list)  # of the server processes
    per_second: list[float] = field(default_factory=list)  # of a fleet
    fleet_server_us: list[float] = field(default_factory=list)
    fleet_client_us: list[float] = field(default_factory=list)


def measure(
    kind: Kind, counts: Sequence[int], rounds: int, messages: int, fleet_rounds: int, fleet_s: float, each: int
) -> dict[tuple[int, int], Found]:
    """Clusters of so many masters, a queue of one partition and one of eight: what they cost when they are kept busy
    with pipelines, and messages per second of `each` producers and as many consumers.

    Returns:
        By number of masters and partitions.
    """
    assert max(counts) <= PARTITIONS
    found: dict[tuple[int, int], Found] = defaultdict(Found)
    with ExitStack() as stack:
        clusters = {count: stack.enter_context(Masters(kind, count)) for count in counts}
        with awake():
            loads = {}
            for count, masters in clusters.items():
                for partitions in (1, PARTITIONS):
                    loads[count, partitions] = growth.partitioned(masters, "standard", partitions)
            for number in range(rounds + 1):
                for place, load in loads.items():
                    masters = clusters[place[0]]
                    costs, cpu = masters.costs(), masters.cpu_us()
                    share = messages * min(place)  # as much for each master that takes part
                    deque(load.steps(BATCH, share), 0)
                    cpu = masters.cpu_us() - cpu
                    if number:  # the first one warms up
                        found[place].cpu_us.append(cpu / share)
                        found[place].script_us.append(spent(costs, masters.costs())["evalsha"].usec / share)
        for _ in range(fleet_rounds):
            for count, masters in clusters.items():
                for partitions, cls in ((1, Native), (PARTITIONS, Eight)):
                    bench: Any = masters
                    rate, client_us, server_us = throughput.fleet(bench, cls, BATCH, fleet_s, each)
                    one = found[count, partitions]
                    one.per_second.append(rate)
                    one.fleet_client_us.append(client_us)
                    one.fleet_server_us.append(server_us)
    return found


def directory(kind: Kind, counts: Sequence[int], calls: int = 50) -> dict[int, tuple[float, float]]:
    """Server µs and bytes of one CLUSTER SLOTS of a cluster with so many ranges of slots. Two masters own them in turn,
    as more would not fit on the machine.

    Returns:
        By number of ranges.
    """
    found = {}
    with Masters(kind, 2) as masters:
        ids = [bench.client.cluster("MYID") for bench in masters.benches]
        for count in counts:
            owners = (ids[slot * count // SLOTS % 2] for slot in range(SLOTS))
            moves = [command("CLUSTER", "SETSLOT", slot, "NODE", owner) for slot, owner in enumerate(owners)]
            asked = masters.benches[0]

            def told(moves: Sequence[bytes] = moves, asked: Bench = asked, count: int = count) -> bool:
                for bench in reversed(masters.benches):  # what one knows first it may lose again to the other's gossip
                    bench.pipeline(moves)
                return len(asked.pipeline([command("CLUSTER", "SLOTS")])[0]) == count

            until(told, "the ranges are known")
            usec = []
            for _ in range(calls):
                before = asked.costs()
                (ranges,) = asked.pipeline([command("CLUSTER", "SLOTS")])
                usec.append(spent(before, asked.costs())["cluster|slots"].usec)
            found[count] = percentile(usec, LOW), _size(ranges)
    return found


def _size(reply: Any) -> int:
    """Bytes of a reply on the wire."""
    if isinstance(reply, list):
        return len(f"*{len(reply)}\r\n") + sum(map(_size, reply))
    text = str(reply) if isinstance(reply, int) else reply.decode()
    return len(f":{text}\r\n") if isinstance(reply, int) else len(f"${len(text)}\r\n{text}\r\n")
