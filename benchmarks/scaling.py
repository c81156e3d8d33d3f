"""The sections of docs/scaling.md: what a message costs as there is more of everything, and what that makes of many
masters."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing

from benchmarks import connections, growth, masters, memory, network, partitioned, scripts, targets
from benchmarks.contestants import Native
from benchmarks.growth import LEAST, LEAST_FIFO, Grown
from benchmarks.processes import awake
from benchmarks.scripts import LOW, RECEIVE_DELETE, Cycles, Sample, Step
from benchmarks.server import Bench, percentile
from benchmarks.suite import Results, Sections
from tests.largest import LARGEST, MIB, SCENARIOS, Meter, attributes_of
from tests.lua.conftest import Engine

SIZES = (100, 1024)  # bytes of bodies
SHARE = 0.5  # of its core a server may be busy with, in what is computed
SHARDS = (1, 10, 100, 1000)

Build = Callable[[Bench, str, int], Cycles]


def measure_waiting(r: Results) -> None:
    """More messages waiting."""
    fifo = [size for size in r.scale.backlogs if r.is_huge or size <= 1_000_000]
    _grow(
        r, "Messages waiting", "waiting", growth.waiting, {"standard": r.scale.backlogs, "fifo": fifo, LEAST_FIFO: fifo}
    )


def measure_in_flight(r: Results) -> None:
    """More messages in flight."""
    kinds = dict.fromkeys(("standard", LEAST, "fifo", LEAST_FIFO), r.scale.flights)
    _grow(r, "Messages in flight", "in flight", growth.in_flight, kinds, "10,000 more are waiting.")


def measure_groups(r: Results) -> None:
    """More message groups."""
    note = (
        "One message waits in each group, 1,000 in a single one. Ten messages of one group are one list, ten of "
        "ten groups are ten: batches of ten are compared from the second row on. FIFO: one consumer, one call "
        "after the other."
    )
    kinds = dict.fromkeys(("fair", LEAST, "fifo", LEAST_FIFO), r.scale.groups)
    _grow(r, "Message groups", "groups", growth.groups, kinds, note)


def measure_partitions(r: Results) -> None:
    """More partitions on one server."""
    kinds = dict.fromkeys(("standard", LEAST, "fifo", LEAST_FIFO), r.scale.partitions)
    note = "Used in turn; the bare calls use as many queues in turn."
    _grow(r, "Partitions on one server", "partitions", growth.partitions, kinds, note)


def measure_one_client(r: Results) -> None:
    """What more partitions are for one client."""
    messages = 10 * r.scale.messages
    with awake():
        one = partitioned.one_server(r.kind, r.scale.partitions, r.scale.rounds, messages)
        three = partitioned.three_masters(r.kind, (1, 8), r.scale.rounds, messages)
    rows = [["queue", "messages/s", "client CPU µs", "server CPU µs", "commands", "server CPU over one partition"]]
    for where, results in (("one server", one), ("three masters", three)):
        base = statistics.median(results["1 partition"].server_us)
        for name, found in results.items():
            costs = [statistics.median(v) for v in (found.client_us, found.server_us, found.commands)]
            ratio = costs[1] / base
            cells = [f"{found.per_second:,.0f}", *(f"{c:.1f}" for c in costs), f"{ratio:.2f}"]
            rows.append([f"{name}, {where}", *cells])
            if "partitions" in name and where == "three masters":
                queues = statistics.median(results["8 queues"].server_us)
                what = f"one client: {name}, {where}, over 8 queues"
                r.goal(what, costs[1] / queues, targets.PARTITIONS, is_shown=False)
    r.show("One client of a partitioned queue", rows, CLIENT_NOTE)


def measure_queues(r: Results) -> None:
    """More queues."""
    create = {}

    def build(bench: Bench, kind: str, size: int) -> Cycles:
        load = growth.queues(bench, kind, size)
        if kind == "standard":
            create[size] = growth.cost_of_creating(bench, 100)
        return load

    def note() -> str:
        costs = ", ".join(f"{us:.0f} µs of scripts beside {size:,}" for size, us in create.items())
        return f"Used in turn. Creating one more queue takes {costs}."

    _grow(r, "Queues", "queues", build, dict.fromkeys(("standard", LEAST), r.scale.queues), note)


def _grow(
    r: Results,
    title: str,
    unit: str,
    build: Build,
    kinds: Mapping[str, Sequence[int]],
    note: str | Callable[[], str] = "",
) -> None:
    """Measure loads that differ in size alone, each on a server of its own, and show them. Those of the kinds
    LEAST are compared with those of the kind before: the two of a size are measured one after the other."""
    with ExitStack() as stack:
        stack.enter_context(awake())
        loads: dict[str, Cycles] = {}
        sizes: dict[str, tuple[str, int]] = {}
        first: Bench | None = None
        order = list(kinds)
        every = ((size, kind) for kind, some in kinds.items() for size in some)
        for size, kind in sorted(every, key=lambda place: (place[0], order.index(place[1]))):
            bench = stack.enter_context(Bench(r.kind))
            name = f"{kind}, {size:,}"
            loads[name], sizes[name] = build(bench, kind, size), (kind, size)
            first = first or bench
        assert first is not None
        samples = scripts.measure(first, r.scale.growth_s, loads)
    least = {kind: bare for kind, bare in itertools.pairwise(order) if bare in (LEAST, LEAST_FIFO)}
    rows = [["queue", unit, "batch", "send", "receive", "delete", "together", "growth", "over that of bare calls"]]
    for batch in (1, 10):
        steps = {place: _steps(samples, name, batch) for name, place in sizes.items()}
        for kind, some in kinds.items():
            base = some[1] if unit == "groups" and batch > 1 else some[0]
            for size in some:
                ratio, bare = (
                    sum(steps[k, size]) / sum(steps[k, base]) if (k, size) in steps else None
                    for k in (kind, least.get(kind, ""))
                )
                assert ratio is not None
                is_most = batch > 1 and size == some[-1]  # of docs/performance.md, too
                grown = Grown(f"{kind}, {size:,} {unit}", batch, ratio, bare, is_most)
                cells = [f"{us:.1f}" for us in steps[kind, size]]
                if len(cells) == 2:  # receive and delete together
                    cells.insert(1, "")
                over = f"{grown.value:.2f}" if bare else ""
                rows.append(
                    [kind, f"{size:,}", str(batch), *cells, f"{sum(steps[kind, size]):.1f}", f"{ratio:.2f}", over]
                )
                if size > base and kind not in least.values():
                    r.grow(grown)
    r.show(f"{title}: server µs per message", rows, note if isinstance(note, str) else note())


def _steps(samples: dict[Step, Sample], name: str, batch: int) -> list[float]:
    steps = ("send", RECEIVE_DELETE) if (name, RECEIVE_DELETE, batch) in samples else scripts.STEPS
    return [samples[name, step, batch].low for step in steps]


def measure_masters(r: Results) -> None:
    """More masters."""
    scale = r.scale
    counts = tuple(range(1, scale.masters + 1))
    found = masters.measure(
        r.kind,
        counts,
        scale.rounds,
        20 * scale.messages,
        scale.fleet_rounds,
        scale.fleet_s,
        max(1, scale.fleet_each // 2),
    )
    middle = {place: _middle(one) for place, one in found.items()}
    rows = [
        [
            "masters",
            "partitions",
            "in scripts, µs",
            "server CPU, µs",
            "over one partition",
            "fleet, messages/s",
            "its server CPU, µs",
            "its client CPU, µs",
        ]
    ]
    for (count, partitions), one in middle.items():
        ratio = one.cpu_us[0] / middle[count, 1].cpu_us[0]
        fleet = [f"{one.per_second[0]:,.0f}", f"{one.fleet_server_us[0]:.1f}", f"{one.fleet_client_us[0]:.1f}"]
        rows.append(
            [str(count), str(partitions), f"{one.script_us[0]:.2f}", f"{one.cpu_us[0]:.2f}", f"{ratio:.2f}", *fleet]
        )
        if partitions > 1 and count > 1:
            what = f"server CPU, {partitions} partitions on {count} masters, over one partition"
            r.goal(what, ratio, targets.PARTITIONS, is_shown=False)
            r.facts["pipelined µs"], r.facts["fleet µs"] = one.cpu_us[0], one.fleet_server_us[0]  # the most come last
    r.show("Masters", rows, MASTERS_NOTE)


def _middle(one: masters.Found) -> masters.Found:
    """What was undisturbed of the pipelines, and the middle of what the fleets reached."""
    lows = ([percentile(values, LOW)] for values in (one.script_us, one.cpu_us))
    middles = ([statistics.median(v)] for v in (one.per_second, one.fleet_server_us, one.fleet_client_us))
    return masters.Found(*lows, *middles)


def measure_network(r: Results) -> None:
    """Bytes on the wire."""
    rows = [["queue", "body", "batch", "step", "to the server", "from it", "to each replica"]]
    calls = max(2, r.scale.messages // 2)
    for size in SIZES:
        for batch in (1, 10):
            found = network.measure(r.kind, size, batch, calls)
            for (kind, step), amounts in found.items():
                rows.append([kind, str(size), str(batch), step, *(f"{amount:,.0f}" for amount in amounts)])
            whole = [sum(found["standard", step][i] for step in scripts.STEPS) for i in range(3)]
            r.facts[f"bytes {size}"] = whole[0] + whole[1]
            r.facts[f"replica bytes {size}"] = whole[2]
    r.show(
        "Bytes per message on the wire", rows, "Without the headers of TCP and IP; the queue's name has 8 characters."
    )


def measure_memory(r: Results) -> None:
    """Bytes of everything."""
    with Bench(r.kind) as bench:
        small, large = (memory.of_everything(bench, size, r.scale.memory) for size in SIZES)
    rows = [["what", *(f"body of {size:,} B" for size in SIZES)]]
    rows += [[what, f"{small[what]:,.0f}", f"{large[what]:,.0f}"] for what in small]
    r.facts["bytes waiting"] = small["standard, waiting"] + SIZES[0]
    r.show("Bytes of memory, of messages over their body", rows)


def measure_connections(r: Results) -> None:
    """Connections of processes that wait."""
    rows = [["where", "process", "partitions", "connections", "of these wait", "commands/s"]]
    threads, count, seconds = 10, min(4, r.scale.fleet_each), min(7.0, r.scale.idle_s / 2)
    for where, number in (("one server", 0), ("three masters", 3)):
        partitions_ = r.scale.waited if number else r.scale.waited[:2]
        found = connections.measure(r.kind, number, partitions_, threads, count, seconds)
        for (name, partitions), held in found.items():
            process = f"{threads} waiting threads" if name == Native.name else "a worker"
            cells = [f"{held.connections:.1f}", f"{held.blocked:.1f}", f"{held.commands:.1f}"]
            rows.append([where, process, str(partitions), *cells])
    r.show("Processes that wait", rows, f"For each process, with {count} of them; over {seconds:.0f} s.")


def measure_beats(r: Results) -> None:
    """More workers of one queue."""
    rows = [["workers", "server µs", "growth"]]
    with Bench(r.kind) as bench, awake():
        costs = {count: growth.cost_of_beating(bench, count) for count in r.scale.workers}
    base = next(iter(costs.values()))
    for count, cost in costs.items():
        rows.append([f"{count:,}", f"{cost:.1f}", f"{cost / base:.2f}"])
        if count != r.scale.workers[0]:
            r.grow(Grown(f"a heartbeat, {count:,} workers of a queue", 0, cost / base))
    r.show("A worker's heartbeat", rows, "Of a worker that holds nothing, at the home of its queue.")


def measure_directory(r: Results) -> None:
    """Where the slots are."""
    rows = [["ranges of slots", "server µs", "bytes"]]
    for count, (usec, size) in masters.directory(r.kind, r.scale.ranges).items():
        rows.append([f"{count:,}", f"{usec:.0f}", f"{size:,}"])
    r.show("CLUSTER SLOTS", rows, "As many ranges as a cluster has masters, if nobody split them; without replicas.")


def measure_longest(r: Results) -> None:
    """The longest call of each script, whatever a client asks for."""
    found: dict[str, tuple[int, int, int]] = {}
    for _ in range(min(r.scale.rounds, 2)):
        for script, most in _largest_requests(r).items():
            found[script] = min(found.get(script, most), most)
    rows = [["script", "ms", "redis calls", "KiB"]]
    for script, (usec, calls, size) in sorted(found.items(), key=lambda item: -item[1][0]):
        rows.append([script, f"{usec / 1000:.1f}", f"{calls:,}", f"{size / 1024:,.0f}"])
    r.show("The longest call of each script", rows, LONGEST_NOTE)
    most_calls = max(calls for _, calls, _ in found.values())
    most_bytes = max(size for _, _, size in found.values()) - LARGEST
    r.goal("the largest call of a script", most_calls, targets.LONGEST_CALLS)
    r.goal("the largest call of a script, bytes", max(0, most_bytes) / MIB, targets.LONGEST_BYTES)


def _largest_requests(r: Results) -> dict[str, tuple[int, int, int]]:
    """Microseconds, redis calls and bytes, the most of each, per script."""
    found: dict[str, tuple[int, int, int]] = {}
    for name in ("q", "q.fifo"):
        for scenario in r.scale.requests or SCENARIOS:
            _, make_requests = SCENARIOS[scenario]
            with Bench(r.kind) as bench:
                engine = Engine(bench.server.url, scenario)
                with closing(Meter(engine)) as meter:
                    make_requests(engine, meter, engine.queue(name, **attributes_of(name)))
                engine.transport.close()
            for script, usec in meter.usec.items():
                us, calls, size = found.get(script, (0, 0, 0))
                found[script] = max(us, usec), max(calls, meter.calls[script]), max(size, meter.bytes[script])
    return found


def compute_shards(r: Results) -> None:
    """What follows for many masters; nothing if it was not measured."""
    if not {"fleet µs", "bytes 1024", "bytes waiting"} <= r.facts.keys():
        return
    least, most = (SHARE * 1e6 / r.facts[name] for name in ("fleet µs", "pipelined µs"))
    gigabytes, replicas = (r.facts[name] / 1e9 for name in ("bytes 1024", "replica bytes 1024"))
    head = [
        "shards",
        "messages/s, small",
        "messages/s, large",
        "network, GB/s",
        "to replicas, GB/s",
        "waiting in 8 GB each",
    ]
    rows = [head]
    for n in SHARDS:
        waiting = n * 8e9 / r.facts["bytes waiting"]
        amounts = (n * least, n * most, n * most * gigabytes, n * most * replicas, waiting)
        rows.append([f"{n:,}", *map(_rough, amounts)])
    r.show("Computed, not measured: many shards", rows, SHARDS_NOTE)


def _rough(value: float) -> str:
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


CLIENT_NOTE = (
    "Batches of 10; a message is sent, received and deleted; bodies of 1 KiB; the queue is empty before and "
    "after, so that the last receives look in vain. Eight queues of one partition, used in turn, show what it "
    "costs three masters on few processors that they take turns."
)
LONGEST_NOTE = (
    "Nobody else is served while a script runs. The largest requests that clients can make: batches of 1,000 in as "
    "many message groups, 3,000 messages settled, moved, dead, expired or deleted, messages of 3 MiB, thousands of "
    "groups, tags, workers and queues; clients make several calls of them. The most of each column, from different "
    "calls, in the quickest of some rounds: what else the machine does is in these times."
)
MASTERS_NOTE = (
    "Clusters without replicas, batches of 10; all masters together, per message sent, received and deleted. "
    "The first figures are of masters that are kept busy with pipelines, one after the other, bodies of 100 "
    "bytes, as many messages for each that takes part. The fleet are processes that use the native API at the "
    "same time, bodies of 1 KiB; it shares the processors of the machine with all masters, so more masters "
    "cannot make it faster here."
)
SHARDS_NOTE = (
    "From the server CPU per message of the most masters above, every master busy for half of one core: small "
    "at what the fleet costs them, large at what pipelines do. From the bytes on the wire, and to one replica, "
    "in batches of 10 with bodies of 1 KiB, for the large number; from the memory of a waiting message with a "
    "body of 100 bytes. The load lies evenly on as many queues and partitions as it takes: one queue has 64 "
    "partitions at most."
)
SECTIONS: Sections = {
    "waiting": measure_waiting,
    "in-flight": measure_in_flight,
    "groups": measure_groups,
    "partitions": measure_partitions,
    "queues": measure_queues,
    "one-client": measure_one_client,
    "masters": measure_masters,
    "network": measure_network,
    "footprint": measure_memory,
    "connections": measure_connections,
    "beats": measure_beats,
    "directory": measure_directory,
    "longest": measure_longest,
    "shards": compute_shards,
}
GROWTH = {name: SECTIONS[name] for name in ("waiting", "in-flight", "groups", "partitions", "queues")}
