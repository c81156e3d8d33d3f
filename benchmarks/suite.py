"""Everything, section by section: each prints its tables when it is done and holds itself against the targets."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks import client, memory, report, scripts, targets, throughput, waiting
from benchmarks.contestants import FLOORS, OURS, PEERS, DropIn, Fleet, Lists, Native, Streams, available, missing
from benchmarks.processes import awake
from benchmarks.report import Rows
from benchmarks.server import Bench
from tests.servers import Kind


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    scripts_s: float
    growth_s: float  # for each kind of growth
    backlogs: tuple[int, ...]  # numbers of messages waiting,
    flights: tuple[int, ...]  # in flight,
    groups: tuple[int, ...]  # of message groups,
    partitions: tuple[int, ...]
    queues: tuple[int, ...]
    waited: tuple[int, ...]  # partitions waited for
    masters: int  # at most
    ranges: tuple[int, ...]  # of slots in a directory
    workers: tuple[int, ...]  # of one queue
    rounds: int  # of one client alone
    messages: int  # in each of them
    fleet_rounds: int
    fleet_s: float
    fleet_each: int
    client_slices: int
    memory: int
    idle_s: float
    idle_consumers: int
    hand_overs: int
    requests: tuple[str, ...] | None = None  # of the largest ones, by scenario; all


FULL = Scale(
    scripts_s=40,
    growth_s=30,
    backlogs=(1_000, 100_000, 1_000_000, 5_000_000),
    flights=(1, 1_000, 100_000),
    groups=(1, 1_000, 100_000, 1_000_000),
    partitions=(1, 2, 8, 64),
    queues=(1, 100, 10_000),
    waited=(1, 8, 64),
    masters=4,
    ranges=(10, 100, 1_000),
    workers=(10, 1_000, 10_000),
    rounds=15,
    messages=100,
    fleet_rounds=4,
    fleet_s=2.5,
    fleet_each=4,
    client_slices=300,
    memory=50_000,
    idle_s=22,
    idle_consumers=50,
    hand_overs=400,
)
QUICK = Scale(
    scripts_s=8,
    growth_s=8,
    backlogs=(1_000, 200_000),
    flights=(1, 20_000),
    groups=(1, 1_000, 50_000),
    partitions=(1, 8, 64),
    queues=(1, 1_000),
    waited=(1, 8),
    masters=3,
    ranges=(10, 1_000),
    workers=(10, 10_000),
    rounds=3,
    messages=100,
    fleet_rounds=1,
    fleet_s=1.2,
    fleet_each=4,
    client_slices=50,
    memory=5_000,
    idle_s=4,
    idle_consumers=50,
    hand_overs=80,
)
TINY = Scale(
    scripts_s=0.1,
    growth_s=0.1,
    backlogs=(300, 600),
    flights=(1, 500),
    groups=(1, 500, 600),
    partitions=(1, 8),
    queues=(1, 20),
    waited=(1, 8),
    masters=2,
    ranges=(2, 100),
    workers=(2, 20),
    rounds=1,
    messages=20,
    fleet_rounds=1,
    fleet_s=0.3,
    fleet_each=1,
    client_slices=2,
    memory=200,
    idle_s=0.3,
    idle_consumers=2,
    hand_overs=10,
    requests=("looking", "growing"),
)


@dataclass
class Results:
    """What was found so far.

    Attributes:
        goals: rows of the summary: what, reached, target, verdict.
        facts: what later sections compute with.
        text: the sections in Markdown.
    """

    kind: Kind
    scale: Scale
    is_huge: bool = False
    goals: list[list[str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)

    def show(self, title: str, rows: Rows, note: str = "") -> None:
        """A table that is done."""
        print(f"\n{title}\n{report.plain(rows)}\n{note}".rstrip(), flush=True)
        self.text.append("\n\n".join(part for part in (f"### {title}", report.markdown(rows), note) if part))

    def goal(self, what: str, reached: float, target: float, unit: str = "", at_least: bool = False) -> None:
        """A line of the summary."""
        sign = "≥" if at_least else "≤"
        word = targets.verdict(reached, target, at_least=at_least)
        self.goals.append([what, f"{reached:.3g}{unit}", f"{sign} {target}{unit}", word])


def measure_scripts(r: Results) -> None:
    """Server time of each script."""
    for kind in (r.kind, "valkey" if r.kind == "redis" else "redis"):
        is_main = kind == r.kind
        if not is_main and r.scale is not FULL:
            continue
        with Bench(kind) as bench, awake():
            seconds = r.scale.scripts_s * (1 if is_main else 0.5)
            samples = scripts.measure(bench, seconds, scripts.all_kinds(bench))
            title = f"Server time per message, {kind.title()} {bench.version}"
        r.show(title, scripts.table(samples), SCRIPTS_NOTE)
        r.show(f"One message all the way, {kind.title()}", scripts.sums(samples), "S = bare streams.")
        if is_main:
            floor = samples[scripts.FLOOR].low
            for step, target in targets.SCRIPTS.items():
                name = f"server time, {step[0]} {step[1]}, batch of {step[2]}"
                r.goal(name, samples[step].low / floor, target, " T")
            for (queue, batch), target in targets.SUMS.items():
                ours, bare = (sum(samples[q, s, batch].low for s in scripts.STEPS) for q in (queue, "streams"))
                r.goal(f"server time, send + receive + delete, batch of {batch}", ours / bare, target, " S")


def measure_alone(r: Results) -> None:
    """One client."""
    for batch in (1, 10):
        with Bench(r.kind) as bench, awake():
            classes = available(OURS, (Streams,), PEERS, FLOORS)
            results = throughput.alone(bench, classes, batch, r.scale.rounds, r.scale.messages)
        bare = results[Streams.name].per_second
        rows = [["client", "messages/s", "× S", "client CPU µs", "server CPU µs", "commands"]]
        for name, found in results.items():
            costs = [statistics.median(v) for v in (found.client_us, found.server_us, found.commands)]
            rows.append(
                [name, f"{found.per_second:,.0f}", f"{found.per_second / bare:.2f}", *(f"{c:.1f}" for c in costs)]
            )
        size = "single messages" if batch == 1 else f"batches of {batch}"
        note = "A message is sent, received and deleted; bodies of 1 KiB; commands inside scripts are counted."
        r.show(f"One client, {size}", rows, note)


def measure_fleets(r: Results) -> None:
    """Many processes."""
    each = r.scale.fleet_each
    for batch in (1, 10):
        classes = [cls for cls in available((Fleet,), OURS, PEERS) if batch == 1 or cls.batches]
        with Bench(r.kind) as bench:
            results = throughput.fleets(bench, classes, batch, r.scale.fleet_rounds, r.scale.fleet_s, each)
        rows = [["fleet", "messages/s", "× S", "lowest to highest", "client CPU µs", "server CPU µs", "× S by CPU"]]
        for name, found in results.items():
            share = statistics.median(found.to_streams)
            spread = f"{min(found.to_streams):.2f} to {max(found.to_streams):.2f}"
            costs = [f"{statistics.median(v):.0f}" for v in (found.client_us, found.server_us)]
            by_cpu = statistics.median(found.by_cpu)
            rate = f"{statistics.median(found.per_second):,.0f}"
            rows.append([name, rate, f"{share:.2f}", spread, *costs, f"{by_cpu:.2f}"])
            if name == Native.name:
                what = f"fleet of {each} + {each} processes, batch of {batch}"
                r.goal(what, share, targets.FLEET[batch], " S", at_least=True)
                r.goal(f"{what}, by CPU per message", by_cpu, targets.FLEET[batch], " S", at_least=True)
        for what, values in (("", "to_streams"), (", by CPU per message", "by_cpu")):
            shares = {name: statistics.median(getattr(found, values)) for name, found in results.items()}
            best = max(share for name, share in shares.items() if not name.startswith("rqsqs"))
            title = f"fleet of {each} + {each} processes, workers, batch of {batch}, over the best other{what}"
            r.goal(title, shares[Fleet.name] / best, targets.WORKERS, " ×", at_least=True)
        size = "single messages" if batch == 1 else f"batches of {batch}"
        note = "Each a process; bodies of 1 KiB. By CPU: what the ratio were if nobody else used the processors."
        r.show(f"{each} producers and {each} consumers, {size}", rows, note)


def measure_client(r: Results) -> None:
    """CPU of the client."""
    rows = [["API", "processors", "call", "µs", "floor µs", "ratio", "target", "verdict"]]
    faces = [(Native.name, targets.NATIVE_CLIENT, client.native, r.scale.client_slices)]
    if DropIn.is_available():
        slices = max(1, r.scale.client_slices // 3)
        faces.append((DropIn.name, targets.DROP_IN_CLIENT, client.drop_in, slices))
        faces.append((f"{DropIn.name}, floor with a round trip", 0.0, client.drop_in_trip, slices))
    for state, keep in (("awake", awake), ("as they are", contextlib.nullcontext)):
        with Bench(r.kind) as bench, keep():
            for name, target, measure, slices in faces:
                steps = measure(bench.server.url, slices)
                for step, (ours, floor) in steps.items():
                    goal = [f"≤ {target}", targets.verdict(ours / floor, target)] if target else ["", ""]
                    rows.append([name, state, step, f"{ours:.1f}", f"{floor:.1f}", f"{ours / floor:.2f}", *goal])
                if target:
                    whole = sum(ours for ours, _ in steps.values()) / sum(floor for _, floor in steps.values())
                    r.goal(f"client CPU, {name}, processors {state}", whole, target, " ×")
    r.show("Client CPU per call", rows, "Bodies of 100 bytes.")


def measure_memory(r: Results) -> None:
    """Memory of a backlog."""
    classes = available((Native, Streams), PEERS)
    with Bench(r.kind) as bench:
        small, large = (memory.per_message(bench, classes, size, r.scale.memory) for size in (100, 1024))
    rows = [["queue", "body of 100 B", "body of 1 KiB"]]
    rows += [[name, f"{small[name]:.0f}", f"{large[name]:.0f}"] for name in small]
    r.show("Bytes per waiting message over the body", rows)
    r.goal("memory per waiting message over a body of 100 B", small[Native.name], targets.MEMORY, " B")


def measure_idle(r: Results) -> None:
    """Consumers with nothing to do."""
    count, seconds = r.scale.idle_consumers, r.scale.idle_s
    results = waiting.idle(r.kind, available(OURS, (Streams, Lists), PEERS), seconds, count, count)
    spread = waiting.idle(r.kind, [Native], min(seconds, 10), count, max(1, count // 10))
    results[f"{Native.name}, {min(count, 10)} processes"] = spread[Native.name]
    workers = waiting.idle(r.kind, [Fleet], 3 * seconds, count, max(1, count // 10))
    results[f"{count} workers"] = workers[Fleet.name]
    rows = [["queue", "commands/s", "server CPU µs/s", "connections"]]
    for name, found in results.items():
        rows.append([name, f"{found.commands:.1f}", f"{found.server_us:,.0f}", str(found.connections)])
    r.show(f"{count} idle consumers in one process", rows, f"Over {seconds:g} s; each waits 20 s and waits again.")
    r.goal(f"{count} idle consumers", results[Native.name].commands, targets.IDLE, " commands/s")
    r.goal(f"{count} idle workers", workers[Fleet.name].commands, targets.IDLE, " commands/s")


def measure_hand_over(r: Results) -> None:
    """From a send to a waiting consumer."""
    with awake():
        results = waiting.hand_over(r.kind, available((Fleet,), OURS, (Streams, Lists)), r.scale.hand_overs, 0.005)
    bare = results[Streams.name][0]
    rows = [["queue", "p50 ms", "p99 ms", "p50 over XREADGROUP"]]
    rows += [[name, f"{p50:.2f}", f"{p99:.2f}", f"{p50 / bare:.2f}"] for name, (p50, p99) in results.items()]
    r.show("Hand-over to a waiting consumer", rows)
    r.goal("hand-over to a waiting consumer, p50", results[Native.name][0] / bare, targets.HAND_OVER, " ×")
    over_list = results[Fleet.name][0] / results[Lists.name][0]
    r.goal("send to handler of an idle worker, p50 over BLPOP", over_list, targets.HAND_OVER, " ×")


SCRIPTS_NOTE = (
    "T = a trivial EVALSHA; the minimum = scripts of nothing but the redis calls a standard queue needs. "
    "10,000 messages waiting, bodies of 100 bytes."
)
Sections = Mapping[str, Callable[[Results], None]]
SECTIONS: Sections = {
    "scripts": measure_scripts,
    "client": measure_client,
    "memory": measure_memory,
    "idle": measure_idle,
    "hand-over": measure_hand_over,
    "alone": measure_alone,
    "fleets": measure_fleets,
}


def run(kind: Kind, scale: Scale, only: str | None = None, is_huge: bool = False, sections: Sections = SECTIONS) -> str:
    """Measure; the results as Markdown."""
    began = time.monotonic()
    results = Results(kind, scale, is_huge)
    for name, measure in sections.items():
        if only in (None, name):
            measure(results)
    head = [["what", "reached", "target", "verdict"]]
    summary = [*head, *results.goals]
    with Bench(kind) as bench:
        server = f"{kind.title()} {bench.version}"
    note = f"{server}, {report.machine()}. Measured in {(time.monotonic() - began) / 60:.1f} minutes."
    if missing():
        note += f" Not installed and left out: {', '.join(missing())}."
    print(f"\nTargets\n{report.plain(summary)}\n\n{note}", flush=True)
    return "\n\n".join([note, "### Targets", report.markdown(summary), *results.text])
