"""Everything, section by section: each prints its tables when it is done and holds itself against the targets."""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks import (
    calls,
    client,
    instructions,
    memory,
    over_minimum,
    report,
    scripts,
    senders,
    targets,
    throughput,
    waiting,
)
from benchmarks.charts import Bar, Chart
from benchmarks.contestants import OURS, Contestant, DropIn, Fleet, Lists, Native, Streams
from benchmarks.growth import Grown
from benchmarks.peers import PEERS, PyRSMQ, available, missing
from benchmarks.processes import awake, reason
from benchmarks.report import Rows
from benchmarks.server import Bench
from benchmarks.targets import Target
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
    rounds: int
    messages: int  # in each of them
    fleet_rounds: int
    own_fleet_rounds: int  # ours are cheap, and have targets
    fleet_s: float
    fleet_each: int
    client_slices: int
    memory: int
    idle_s: float
    idle_consumers: int
    hand_overs: int
    instructions: bool  # count them, if valgrind is there
    requests: tuple[str, ...] | None = None  # of the largest ones, by scenario; all


FULL = Scale(
    scripts_s=25,
    growth_s=14,
    backlogs=(1_000, 1_000_000, 5_000_000),
    flights=(1, 1_000, 100_000),
    groups=(1, 1_000, 100_000, 1_000_000),
    partitions=(1, 2, 8, 64),
    queues=(1, 100, 10_000),
    waited=(1, 8, 64),
    masters=3,
    ranges=(10, 100, 1_000),
    workers=(10, 1_000, 10_000),
    rounds=15,
    messages=100,
    fleet_rounds=3,
    own_fleet_rounds=8,
    fleet_s=1.6,
    fleet_each=4,
    client_slices=200,
    memory=20_000,
    idle_s=60,  # whatever somebody does every minute is in it
    idle_consumers=50,
    hand_overs=300,
    instructions=True,
)
QUICK = Scale(
    scripts_s=4,
    growth_s=1.5,
    backlogs=(1_000, 50_000),
    flights=(1, 10_000),
    groups=(1, 1_000, 10_000),
    partitions=(1, 8),
    queues=(1, 200),
    waited=(1, 8),
    masters=2,
    ranges=(10, 1_000),
    workers=(10, 1_000),
    rounds=2,
    messages=50,
    fleet_rounds=1,
    own_fleet_rounds=1,
    fleet_s=0.6,
    fleet_each=2,
    client_slices=20,
    memory=2_000,
    idle_s=2,
    idle_consumers=50,
    hand_overs=30,
    instructions=False,
    requests=("looking", "growing"),
)


def second(scale: Scale) -> Scale:
    """For one server more: what is needed to compare it."""
    return replace(
        scale,
        scripts_s=scale.scripts_s / 2,
        growth_s=scale.growth_s / 2,
        client_slices=max(1, scale.client_slices // 2),
        fleet_rounds=max(1, scale.fleet_rounds // 2),
        own_fleet_rounds=max(1, scale.own_fleet_rounds // 2),
        hand_overs=max(10, scale.hand_overs // 2),
    )


TINY = replace(
    QUICK,
    scripts_s=0.1,
    growth_s=0.1,
    backlogs=(300, 600),
    flights=(1, 500),
    groups=(1, 500, 600),
    queues=(1, 20),
    ranges=(2, 100),
    workers=(2, 20),
    rounds=1,
    messages=20,
    fleet_s=0.3,
    fleet_each=1,
    client_slices=2,
    memory=200,
    idle_s=0.3,
    idle_consumers=2,
    hand_overs=4,
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What was reached of a target.

    Attributes:
        value: None = it could not be measured, and `missing` says why.
        is_shown: among the targets of docs/performance.md, not of its own page alone.
        note: what else there is to say of the value.
    """

    target: Target
    value: float | None
    missing: str = ""
    is_shown: bool = True
    note: str = ""

    @property
    def is_behind(self) -> bool:
        return self.value is not None and not self.target.is_reached(self.value)

    @property
    def cell(self) -> str:
        """As a table has it."""
        if self.value is None:
            return f"not measured: {self.missing}"
        return f"{number(self.value)}, {self.target.verdict(self.value)}{self.note and f'; {self.note}'}"


def number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass
class Results:
    """What was found so far.

    Attributes:
        has_peers: compare with other queues, too.
        is_patient: a section that fails does not end the run.
        goals: the summary, by what it is about.
        facts: what later sections compute with.
        text: the sections in Markdown.
        charts: the pictures, by the names of their files.
        grown: what a message costs as there is more of everything.
        profiles: where the time goes, of what has a goal.
        blocks: text for places of the page that have a name.
    """

    kind: Kind
    scale: Scale
    is_huge: bool = False
    has_peers: bool = True
    is_patient: bool = False
    server: str = ""
    goals: dict[str, Goal] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    charts: dict[str, Chart] = field(default_factory=dict)
    grown: list[Grown] = field(default_factory=list)
    profiles: dict[str, str] = field(default_factory=dict)
    blocks: dict[str, str] = field(default_factory=dict)

    def show(self, title: str, rows: Rows, note: str = "") -> None:
        """A table that is done."""
        title = f"{title}, {self.kind.title()}" if not self.has_peers else title
        print(f"\n{title}\n{report.plain(rows)}\n{note}".rstrip(), flush=True)
        self.text.append("\n\n".join(part for part in (f"### {title}", report.markdown(rows), note) if part))

    def goal(
        self, what: str, value: float | None, target: Target, why_not: str = "", is_shown: bool = True, note: str = ""
    ) -> None:
        """A line of the summary."""
        self.goals[what] = Goal(target, value, why_not, is_shown, note)

    def grow(self, grown: Grown) -> None:
        """What a message costs with more of something; a line of the summary as well."""
        self.grown.append(grown)
        batch = f", batch of {grown.batch}" if grown.batch else ""
        note = f"ours {number(grown.ours)}, bare calls {number(grown.bare)}" if grown.bare else ""
        self.goal(f"growth, {grown.what}{batch}", grown.value, targets.GROWTH, is_shown=grown.is_most, note=note)

    def draw(self, name: str, title: str, unit: str, values: Mapping[str, float], **options: Any) -> None:
        """A chart of what several reached, ours in colour."""
        ours = {cls.name for cls in OURS}
        bars = [Bar(label, value, label in ours) for label, value in values.items() if math.isfinite(value)]
        if bars:
            self.charts[name] = Chart(f"performance-{name}", title, unit, bars, **options)

    def others(self, *groups: Sequence[type[Contestant]]) -> list[type[Contestant]]:
        """Those to compare with that are installed; none on the second server."""
        return available(*groups) if self.has_peers else []

    def absent(self, *columns: str) -> list[list[str]]:
        """Rows for those that are not."""
        return [[cls.name, "not installed", *columns] for cls in missing(OURS, PEERS)] if self.has_peers else []


def measure_scripts(r: Results) -> None:
    """Server time of each script."""
    with Bench(r.kind) as bench, awake():
        samples = scripts.measure(bench, r.scale.scripts_s, scripts.all_kinds(bench))
    r.show("Server time per message", scripts.table(samples), SCRIPTS_NOTE)
    r.show("Server time of one message all the way", scripts.sums(samples), "S = bare streams.")
    for (step, batch), target in targets.STANDARD.items():
        what, place = f"server time, {step}, {_size(batch)}", ("standard", step, batch)
        ours, least, kept = (samples[load, step, batch].low for load in over_minimum.LOADS)
        r.goal(what, ours / least, target, note=_over_kept(ours / kept))
        r.profiles[what] = scripts.parts(samples, place)


def measure_instructions(r: Results) -> None:
    """Instructions inside the scripts: what times would say on a machine that does nothing else."""
    why_not = "" if r.scale.instructions else "left out of a quick run"
    if not shutil.which("valgrind"):
        why_not = "valgrind is not installed"
    counts = {} if why_not else over_minimum.count(r.kind, turns=3)
    fifo = {} if why_not else instructions.measure(r.kind, {row for row, _ in targets.FIFO})
    base = targets.FIFO_BASE.get(r.server, {})
    rows = [["queue", "step", "instructions", "× M", "× K", "over the base"]]
    for (step, batch), target in targets.STANDARD.items():
        ours, least, kept = (counts.get((name, step, batch)) for name in over_minimum.LOADS)
        ratio = ours / least if ours and least else None
        note = _over_kept(ours / kept) if ours and kept else ""
        r.goal(f"instructions, {step}, {_size(batch)}", ratio, target, why_not, note=note)
        if ours and ratio and kept:
            rows.append(
                [f"standard, {_size(batch)}", step, f"{ours / batch:,.0f}", f"{ratio:.2f}", f"{ours / kept:.2f}", ""]
            )
    for (row, step), target in targets.FIFO.items():
        count, was = fifo.get(f"  {row}: {step}"), base.get((row, step))
        over = count / was if count and was else None
        r.goal(f"instructions, {row}: {step}", over, target, why_not or "counted on other servers only")
        if count:
            rows.append([row, step, f"{count:,.0f}", "", "", f"{over:.2f}" if over else ""])
    if counts:
        r.show("Instructions per message", rows, INSTRUCTIONS_NOTE)


def measure_observation(r: Results) -> None:
    """Instructions of what a queue counts and records beyond the usual, on the first server."""
    if not (r.has_peers and r.scale.instructions and shutil.which("valgrind")):
        return
    usual = instructions.measure(r.kind, OBSERVED)
    ways = {'`metrics="full"`': {"metrics": "full"}, "`timeline=True`": {"timeline": True}}
    found = {name: instructions.measure(r.kind, OBSERVED, **settings) for name, settings in ways.items()}
    rows = [["queue", *ways]]
    for row in OBSERVED:
        rows.append([row, *(f"{max(0.0, found[name][row] / usual[row] - 1):.1%}" for name in ways)])
    r.show("What metrics and timelines cost", rows, OBSERVATION_NOTE)
    r.blocks["metrics"] = report.markdown(rows)


def measure_calls(r: Results) -> None:
    """Own Python calls of the native API."""
    with Bench(r.kind) as bench:
        found = calls.measure(bench.server.url)
    rows = [["call", "own functions entered", "target", "verdict"]]
    for name, target in targets.CALLS.items():
        rows.append([name, str(found[name]), str(target), target.verdict(found[name])])
        r.goal(f"own Python calls of the native API, {name}", found[name], target)
    r.show("Own Python calls", rows, "`sys.setprofile`; a standard queue, one message.")


def measure_client(r: Results) -> None:
    """CPU of the client."""
    rows = [["API", "call", "µs", "floor µs", "ratio"]]
    faces = [("native API over a held connection", targets.NATIVE_CLIENT, client.native, r.scale.client_slices)]
    if DropIn.is_available():
        slices = max(1, r.scale.client_slices // 3)
        faces.append(
            ("boto3 API over a boto3 client that answers nothing", targets.DROP_IN_CLIENT, client.drop_in, slices)
        )
    with Bench(r.kind) as bench, awake():
        for name, target, measure, slices in faces:
            steps = measure(bench.server.url, slices)
            for step, (ours, floor) in steps.items():
                rows.append([name, step, f"{ours:.1f}", f"{floor:.1f}", f"{ours / floor:.2f}"])
            whole = sum(ours for ours, _ in steps.values()) / sum(floor for _, floor in steps.values())
            r.goal(f"client CPU, {name}", whole, target)
    if not DropIn.is_available():
        r.goal(f"client CPU, {DropIn.name}", None, targets.DROP_IN_CLIENT, "boto3 is not installed")
    r.show("Client CPU per call", rows, CLIENT_NOTE)


def measure_memory(r: Results) -> None:
    """Memory of a backlog."""
    classes = [Native, Streams, *r.others(PEERS)]
    with Bench(r.kind) as bench:
        small, large = (memory.per_message(bench, classes, size, r.scale.memory) for size in (100, 1024))
    rows = [["queue", "body of 100 B", "body of 1 KiB"]]
    for name in small:
        cells = [
            f"{found:.0f}" if isinstance(found, float) else f"failed: {found}" for found in (small[name], large[name])
        ]
        rows.append([name, *cells])
    rows += r.absent("")
    r.show("Bytes per waiting message over the body", rows, MEMORY_NOTE)
    ours = small[Native.name]
    r.goal(
        "memory of a waiting message over a body of 100 bytes",
        round(ours) if isinstance(ours, float) else None,
        targets.MEMORY,
    )
    values = {name: found for name, found in small.items() if isinstance(found, float)}
    r.draw(
        "memory",
        "Memory of a waiting message",
        "bytes over a body of 100 bytes, less is better",
        _ordered(values, low=True),
    )


def measure_idle(r: Results) -> None:
    """Consumers with nothing to do."""
    count, seconds = r.scale.idle_consumers, r.scale.idle_s
    groups = max(1, count // 10)
    places: dict[str, tuple[type[Contestant], int, int]] = {
        f"{Native.name}, one process": (Native, 1, count),
        f"{Native.name}, {groups} processes": (Native, groups, count // groups),
        f"{Fleet.name}s": (Fleet, groups, max(1, count // groups // Fleet.slots)),
    }
    for cls in r.others((DropIn, Streams, Lists), PEERS):
        places[cls.name] = (cls, groups, 1) if cls.is_process else (cls, 1, count)
    results = dict(zip(places, waiting.idle(r.kind, list(places.values()), seconds), strict=True))
    rows = [["queue", "consumers", "commands/s", "for 50 consumers", "server CPU µs/s", "connections"]]
    for name, found in results.items():
        if isinstance(found, str):
            rows.append([name, f"failed: {found}", "", "", "", ""])
            continue
        scaled = found.commands * 50 / found.consumers
        numbers = [f"{found.commands:.1f}", f"{scaled:.1f}", f"{found.server_us:,.0f}", str(found.connections)]
        rows.append([name, str(found.consumers), *numbers])
    rows += r.absent("", "", "", "")
    r.show("Idle consumers", rows, f"Over {seconds:g} s; each waits 20 s and waits again. {IDLE_NOTE}")
    for name in (f"{Native.name}, one process", f"{Fleet.name}s"):
        ours = results[name]
        value = ours.commands * 50 / ours.consumers if isinstance(ours, waiting.Idle) else None
        r.goal(f"50 idle consumers: {name}", value, targets.IDLE, str(ours))


SLOW_MS = 20.0


def measure_hand_over(r: Results) -> None:
    """From a send to a waiting consumer."""
    classes = [Fleet, Native, Streams, Lists, *r.others((DropIn,), PEERS)]
    with awake():
        results = waiting.hand_over(r.kind, classes, r.scale.hand_overs, 0.005)
    rows = [["queue", "p50 ms", "p99 ms", "messages"]]
    for name, found in results.items():
        if found.values:
            rows.append([name, f"{found.p50:.2f}", f"{found.p99:.2f}", str(len(found.values))])
        if found.failed:
            rows.append([name, f"failed: {found.failed}", "", ""])
    rows += r.absent("", "")
    r.show("Hand-over to a waiting consumer", rows, HAND_OVER_NOTE)
    p50 = {name: found.p50 for name, found in results.items() if found.values}
    for cls, floor, target in ((Native, Streams, targets.HAND_OVER), (Fleet, Lists, targets.WORKER_HAND_OVER)):
        ratio = p50[cls.name] / p50[floor.name] if {cls.name, floor.name} <= p50.keys() else None
        r.goal(f"hand-over, p50: {cls.name} over {floor.name}", ratio, target, results[cls.name].failed)
    slow = {PyRSMQ.name, *(name for name, value in p50.items() if value > SLOW_MS)}  # would make all others a dot
    quick = {name: value for name, value in p50.items() if name not in slow}
    r.draw(
        "latency",
        "From send to handler",
        f"milliseconds, median; more than {SLOW_MS:g} in the table",
        _ordered(quick, low=True),
        digits=2,
    )


def measure_fleets(r: Results) -> None:
    """Many processes."""
    each = r.scale.fleet_each
    for batch in (1, 10):
        ours = [cls for cls in OURS if cls is not DropIn]
        others = [cls for cls in r.others((DropIn,), PEERS) if batch == 1 or cls.batches]
        with Bench(r.kind) as bench:
            results = throughput.fleets(
                bench,
                ours,
                batch,
                r.scale.own_fleet_rounds,
                r.scale.fleet_s,
                each,
                others=others,
                rounds_of_others=r.scale.fleet_rounds,
            )
        head = [
            "fleet",
            "messages/s",
            "× S",
            "lowest to highest",
            "client CPU µs",
            "server CPU µs",
            "messages/s per core",
        ]
        rows = [head]
        for name, found in results.items():
            if not found.per_second:
                rows.append([name, f"failed: {found.failed}", "", "", "", "", ""])
                continue
            share = statistics.median(found.to_streams)
            spread = f"{min(found.to_streams):.2f} to {max(found.to_streams):.2f}"
            costs = [f"{statistics.median(v):.0f}" for v in (found.client_us, found.server_us)]
            rate = f"{statistics.median(found.per_second):,.0f}"
            rows.append([name, rate, f"{share:.2f}", spread, *costs, f"{found.per_core:,.0f}"])
        if batch > 1 and r.has_peers:
            rows += [[cls.name, "has no batches", *[""] * 5] for cls in available(PEERS) if not cls.batches]
        rows += r.absent(*[""] * 5)
        for (name, size), target in targets.FLEETS.items():
            if size == batch:
                reached = results[name].to_streams
                what = f"fleet of {each} + {each}, {name}, {_size(batch)}"
                value = statistics.median(reached) if reached else None
                r.goal(what, value, target, results[name].failed)
        size_ = _size(batch)
        r.show(f"{each} producers and {each} consumers, {size_}", rows, FLEETS_NOTE)
        done = {name: found for name, found in results.items() if found.per_second}
        rates = {name: statistics.median(found.per_second) for name, found in done.items()}
        per_core = {name: found.per_core for name, found in done.items()}
        where = f"{each} producers, {each} consumers, {size_}"
        r.draw(f"rate-{batch}", "Messages per second", where, _ordered(rates))
        r.draw(f"core-{batch}", "Messages per second and core", where, _ordered(per_core))
        r.facts |= {f"share {batch} {name}": statistics.median(found.to_streams) for name, found in done.items()}


def _ordered(values: Mapping[str, float], low: bool = False) -> dict[str, float]:
    """The best ones first."""
    return dict(sorted(values.items(), key=lambda item: item[1] if low else -item[1]))


def _over_kept(ratio: float) -> str:
    return f"{number(ratio)} K"


def _size(batch: int) -> str:
    return "single messages" if batch == 1 else f"batches of {batch}"


SCRIPTS_NOTE = (
    "T = a trivial EVALSHA; M = scripts of nothing but the redis calls a standard queue needs; K = the same with the "
    "calls that recognise a repeated call and count receives. 10,000 messages waiting, bodies of 100 bytes."
)
INSTRUCTIONS_NOTE = (
    "Counted by valgrind inside EVALSHA; bodies of 100 bytes. They do not depend on what else the machine does. The "
    "base of FIFO queues was counted once, on this version of the server."
)
OBSERVED = (
    "standard, one by one",
    "standard, delete and receive",
    "standard, tens",
    "FIFO, one by one",
    "FIFO, tens of ten groups",
)
OBSERVATION_NOTE = "Instructions of a message all the way, over those of the same queue without the setting."
CLIENT_NOTE = (
    "CPU of the client's thread; bodies of 100 bytes; processors kept awake. The held connection runs a trivial "
    "EVALSHA with the same keys and arguments; the other boto3 client makes a trivial EVALSHA and answers "
    "with a constant."
)
MEMORY_NOTE = (
    "`used_memory` of the server, once it has given up the buffers of connections; bodies that cannot be compressed. "
    "Of ours, with a body of 100 bytes, 24 are the message's key, 4 the head of its record and 5 what a packed list "
    "needs for the two of them. A node of the list has 61 messages, 1 byte for each. jemalloc, which most builds of "
    "Redis use, rounds a full node of 8,120 bytes up to 8,192, 1 byte more. Nodes of twice the size "
    "(`list-max-listpack-size -3`) save 1.5 bytes there."
)
IDLE_NOTE = (
    "Consumers of one row are threads of one process, or of as many processes as the row says; those of Celery, RQ and "
    "BullMQ are a process each. A consumer that handles several messages at once counts as so many: a `Worker` of ours "
    "as 10, one of BullMQ as 50. The queue's own upkeep is in these numbers."
)
HAND_OVER_NOTE = (
    "Producer and consumer are processes; the consumer waits. Contestants take turns with every message; slow ones "
    "hand over fewer of them. PyRSMQ looks for messages every two seconds."
)
FLEETS_NOTE = (
    "Each a process, on the same cores as the server; bodies of 1 KiB; handlers do nothing; producers pause while "
    "1,000 messages wait. × S = over bare streams of the same round. Per core: for one second of CPU time, of clients "
    "and server together; busy neighbours change it least."
)
Sections = Mapping[str, Callable[[Results], None]]
SECTIONS: Sections = {
    "fleets": measure_fleets,
    "hand-over": measure_hand_over,
    "memory": measure_memory,
    "idle": measure_idle,
    "scripts": measure_scripts,
    "instructions": measure_instructions,
    "observation": measure_observation,
    "calls": measure_calls,
    "client": measure_client,
    "senders": senders.show,
}


def run(r: Results, sections: Sections = SECTIONS, only: str | None = None) -> Results:
    """Measure. A section that fails says so, and the others go on."""
    with Bench(r.kind) as bench:
        r.server = f"{r.kind.title()} {bench.version}"
    for name, measure in sections.items():
        if only not in (None, name):
            continue
        began = time.monotonic()
        try:
            measure(r)
        except Exception as error:
            if not r.is_patient:
                raise
            r.show(f"Section {name}", [["section", "failed"], [name, reason(error)]])
        print(f"[{name} of {r.server}: {time.monotonic() - began:.0f} s]", flush=True)
    return r
