"""Server time of the scripts: what the server says each call took, over what it says a trivial script took.

All steps take turns in short slices, so that a disturbance of the machine meets all of them; the low percentile of many
slices counts. Calls come in pipelines, so the server is busy and its clock frequency up.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import hiredis

from benchmarks.minimal import KEPT, MINIMUM, RECEIVE_DELETE, Minimal
from benchmarks.server import Bench, Costs, percentile, spent
from rqsqs._core import envelope, flows, operations, receipts
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation
from rqsqs._core.sent import Outgoing
from rqsqs.limits import NATIVE

BODY = "x" * 100
PLAIN = envelope.outgoing(BODY)  # millions of them are sent before anything is measured
GROUPS = 1000  # message groups of the FIFO queue
LOW = 0.2  # the percentile that counts
STEPS = ("send", "receive", "delete")
TURN = "delete + receive"  # what is finished and what comes next, in one call

Step = tuple[str, str, int]  # kind of queue, send | receive | delete, batch
FLOOR: Step = ("trivial", "(T)", 0)
SAME_ARGUMENTS: Step = ("trivial", "keys and arguments of a send", 0)


@dataclass
class Sample:
    """What one step cost over all slices."""

    usec: list[float] = field(default_factory=list)  # per message, one value for each slice
    messages: int = 0
    inner: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))  # command: calls, usec

    def add(self, costs: Costs, count: int) -> None:
        """One more slice of `count` messages."""
        costs = {name: cost for name, cost in costs.items() if name != "info"}
        outer = costs.pop("evalsha", None)
        self.usec.append((outer.usec if outer else sum(c.usec for c in costs.values())) / count)
        self.messages += count
        for name, cost in costs.items():
            self.inner[name][0] += cost.calls
            self.inner[name][1] += cost.usec

    @property
    def mean(self) -> float:
        """Microseconds per message in all slices."""
        return sum(self.usec) / len(self.usec)

    @property
    def low(self) -> float:
        """Microseconds per message in undisturbed slices."""
        return percentile(self.usec, LOW)


class Load:
    """One queue with a backlog, and the operations of a producer and a consumer on it.

    Args:
        kind: `standard`, `fair` (standard with message groups) or `fifo`.
        in_flight: so many messages more were received and not deleted; of a FIFO queue each in a group of its own.
        groups: over how many message groups the backlog and what is sent later are spread, in turn.
    """

    def __init__(self, bench: Bench, kind: str, backlog: int, in_flight: int = 0, groups: int = GROUPS) -> None:
        self.bench = bench
        self.kind = kind
        name = f"{kind}-{backlog}-{in_flight}-{groups}"
        self.queue = Keyspace("bench").queue(name + (".fifo" if kind == "fifo" else ""))
        self._numbers = itertools.count()
        self._groups, self._group = in_flight, "flying"
        drive(bench, flows.create_queue(self.queue, {}, NATIVE, None))
        self._send_many(in_flight)
        while in_flight > 0:
            count = min(in_flight, 500)
            self.bench.run([self.receive(count, visibility_ms=86_400_000)])
            in_flight -= count
        self._groups, self._group = groups, "group"
        self._send_many(backlog)

    def _send_many(self, count: int) -> None:
        for start in range(0, count, 5000):
            some = min(5000, count - start)
            self.bench.run([self.send(min(100, some - i)) for i in range(0, some, 100)])

    def send(self, batch: int) -> Operation:
        """Send a batch; to a FIFO queue with deduplication ids."""
        batch_ = [self._outgoing(next(self._numbers)) for _ in range(batch)]
        return operations.send_messages(self.queue.home, batch_, NATIVE)

    def _outgoing(self, n: int) -> Outgoing:
        if self.kind == "standard":
            return PLAIN
        group = f"{self._group}-{n % self._groups}"
        if self.kind == "fair":
            return envelope.outgoing(BODY, group=group)
        return envelope.outgoing(BODY, group=group, dedup_id=f"message-{n:012d}")

    def receive(self, batch: int, visibility_ms: int | None = None, finished: Sequence[Delivery] = ()) -> Operation:
        """Receive a batch without waiting, and delete what is finished."""
        receipts_ = self._receipts(finished)
        return operations.receive_messages(
            self.queue.home, NATIVE, batch, visibility_ms, "", "", finished=receipts_, statuses=[]
        )

    def delete(self, found: Sequence[Delivery]) -> Operation:
        """Delete what was received."""
        return operations.delete_messages(self.queue.home, self._receipts(found), NATIVE)

    def _receipts(self, found: Sequence[Delivery]) -> list[receipts.Receipt]:
        return [receipts.decode(self.queue, d.receipt_handle) for d in found]

    def cycle(self, batch: int, count: int) -> Iterator[tuple[str, Costs]]:
        """Send, receive and delete `count` messages, and as many again in the other way: the costs of each step."""
        received: list[list[Delivery]] = []
        for step in ("send", "receive", "send", TURN, "delete"):
            if step == "send":
                operations = [self.send(batch) for _ in range(count // batch)]
            elif step == "receive":
                operations = [self.receive(batch) for _ in range(count // batch)]
            elif step == TURN:
                operations = [self.receive(batch, finished=found) for found in received]
            else:
                operations = [self.delete(found) for found in received]
            before = self.bench.costs()
            results = self.bench.run(operations)
            costs = spent(before, self.bench.costs())
            if step in ("receive", TURN):
                received = [r.messages for r in results]
                got = sum(len(found) for found in received)
                assert got == count, f"{got} of {count} messages received"
            yield step, costs


class OneByOne(Load):
    """The same where a consumer has one call at a time: what a single message group allows."""

    def cycle(self, batch: int, count: int) -> Iterator[tuple[str, Costs]]:
        """Send `count` messages, then receive and delete them in turns: the costs of each step."""
        before = self.bench.costs()
        self.bench.run([self.send(batch) for _ in range(count // batch)])
        sent = self.bench.costs()
        yield "send", spent(before, sent)
        for _ in range(count // batch):
            (got,) = self.bench.run([self.receive(batch)])
            assert len(got.messages) == batch, f"{len(got.messages)} of {batch} messages received"
            self.bench.run([self.delete(got.messages)])
        yield RECEIVE_DELETE, spent(sent, self.bench.costs())


class Streams:
    """The same work with bare streams: XADD, XREADGROUP, XACK + XDEL. No redelivery, delays, counts or dead letters."""

    kind = "streams"

    def __init__(self, bench: Bench, backlog: int) -> None:
        self.bench = bench
        bench.client.xgroup_create("bench-stream", "group", id="0", mkstream=True)
        for start in range(0, backlog, 1000):
            bench.pipeline([self._add] * min(1000, backlog - start))

    _add: bytes = hiredis.pack_command(("XADD", "bench-stream", "*", "b", BODY))

    def cycle(self, batch: int, count: int) -> Iterator[tuple[str, Costs]]:
        """Add, read and remove `count` entries; the server's costs of each step."""
        ids: list[bytes] = []
        for step in STEPS:
            if step == "send":
                calls = [self._add] * count
            elif step == "receive":
                read = ("XREADGROUP", "GROUP", "group", "me", "COUNT", batch, "STREAMS", "bench-stream", ">")
                calls = [hiredis.pack_command(read)] * (count // batch)
            else:
                calls = []
                for start in range(0, count, batch):
                    some = ids[start : start + batch]
                    calls.append(hiredis.pack_command(("XACK", "bench-stream", "group", *some)))
                    calls.append(hiredis.pack_command(("XDEL", "bench-stream", *some)))
            before = self.bench.costs()
            replies = self.bench.pipeline(calls)
            costs = spent(before, self.bench.costs())
            if step == "receive":
                ids = [entry[0] for reply in replies for entry in reply[0][1]]
            yield step, costs


def drive(bench: Bench, flow: Iterator[Operation]) -> None:
    """Run a flow of plain operations to its end."""
    try:
        step = next(flow)
        while True:
            step = flow.send(bench.run([step])[0])  # type: ignore[attr-defined]
    except StopIteration:
        pass


def trivial(bench: Bench, calls: int, keys: tuple[Any, ...] = ("bench:{0}:key",), args: tuple[Any, ...] = ()) -> Costs:
    """The floor: a script that does nothing."""
    call = hiredis.pack_command((b"EVALSHA", bench.trivial, len(keys), *keys, *args))
    before = bench.costs()
    bench.pipeline([call] * calls)
    return spent(before, bench.costs())


class Cycles(Protocol):
    """Something that can be measured."""

    def cycle(self, batch: int, count: int) -> Iterator[tuple[str, Costs]]:
        """Do the steps with `count` messages: what each cost the server."""
        ...


def measure(
    bench: Bench,
    seconds: float,
    loads: Mapping[str, Cycles],
    batches: tuple[int, ...] = (1, 10),
    slice_: int = 200,
) -> dict[Step, Sample]:
    """Run slices of all loads in turn for some seconds; the samples of each step."""
    samples: dict[Step, Sample] = defaultdict(Sample)
    end = time.monotonic() + seconds
    warm = False
    while time.monotonic() < end or not samples:
        for batch, (kind, load) in itertools.product(batches, loads.items()):
            taken = [(FLOOR, trivial(bench, slice_))]
            if isinstance(load, Load):
                like = load.send(1)
                taken.append((SAME_ARGUMENTS, trivial(bench, slice_, like.keys, like.args)))
            taken += [((kind, step, batch), costs) for step, costs in load.cycle(batch, slice_)]
            if warm:
                for step, costs in taken:
                    samples[step].add(costs, slice_)
        warm = True
    order = ("trivial", *loads)
    return dict(sorted(samples.items(), key=lambda item: (order.index(item[0][0]), item[0][2], _place(item[0][1]))))


def all_kinds(bench: Bench, backlog: int = 10_000) -> dict[str, Load | Streams | Minimal]:
    """A standard queue, a FIFO queue, the two minima of a standard queue and bare streams, with the same backlog. As in
    the minima, one message more is in flight: the keys that have such messages do not come and go, nor begin as small
    ones in each slice, into which the server inserts by looking at all there is."""
    return {
        "standard": Load(bench, "standard", backlog, in_flight=1),
        "fifo": Load(bench, "fifo", backlog, in_flight=1),
        MINIMUM: Minimal(bench, backlog, BODY),
        KEPT: Minimal(bench, backlog, BODY, is_kept=True),
        "streams": Streams(bench, backlog),
    }


def table(samples: dict[Step, Sample]) -> list[list[str]]:
    """Rows of the result: step, µs per message, ratio to the trivial script, ratios to the two minima."""
    rows = [["queue", "step", "batch", "µs/message", "× T", "× M", "× K"]]
    floor = samples[FLOOR].low
    for (kind, step, batch), sample in samples.items():
        ratio = sample.low / floor
        size = str(batch) if batch else ""
        above = []
        for minimum in (MINIMUM, KEPT):
            least = samples.get((minimum, step, batch)) if kind == "standard" else None
            above.append(f"{sample.low / least.low:.2f}" if least else "")
        rows.append([kind, step, size, f"{sample.low:.2f}", f"{ratio:.2f}", *above])
    return rows


def sums(samples: dict[Step, Sample]) -> list[list[str]]:
    """Rows: one message all the way (send, receive, delete) over the same with bare streams."""
    rows = [["queue", "batch", "µs/message", "× S"]]
    for kind, batch in dict.fromkeys((kind, batch) for kind, _, batch in samples if batch):
        whole, bare = (sum(samples[k, step, batch].low for step in STEPS) for k in (kind, "streams"))
        rows.append([kind, str(batch), f"{whole:.2f}", f"{whole / bare:.2f}"])
        if (kind, TURN, batch) in samples:
            whole = sum(samples[kind, step, batch].low for step in ("send", TURN))
            rows.append([f"{kind}, {TURN} in one call", str(batch), f"{whole:.2f}", f"{whole / bare:.2f}"])
    return rows


def profile(samples: dict[Step, Sample]) -> list[list[str]]:
    """Rows: for each step the commands its script calls, with their time; what is left is Lua and the calls' price."""
    rows = [["queue", "step", "batch", "command", "calls/message", "µs/call", "µs/message", "share"]]
    for (kind, step, batch), sample in samples.items():
        whole = rest = sample.mean
        label = [kind, step, str(batch)]
        for name, (calls, usec) in sorted(sample.inner.items(), key=lambda item: -item[1][1]):
            each = usec / sample.messages
            rest -= each
            often = f"{calls / sample.messages:.2f}"
            rows.append([*label, name, often, f"{usec / calls:.2f}", f"{each:.2f}", f"{each / whole:.0%}"])
        rows.append([*label, "(Lua)", "", "", f"{rest:.2f}", f"{rest / whole:.0%}"])
    return rows


def parts(samples: Mapping[Step, Sample], place: Step) -> str:
    """Where the time of a step goes, in words: what takes most comes first."""
    sample = samples[place]
    shares = {f"`{name}`": usec / sample.messages / sample.mean for name, (_, usec) in sample.inner.items()}
    shares["T"] = samples[FLOOR].low / place[2] / sample.low
    shares["Lua"] = 1 - sum(shares.values())
    return ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1])[:6])


def _place(step: str) -> int:
    order = (*STEPS, TURN, RECEIVE_DELETE)
    return order.index(step) if step in order else 0
