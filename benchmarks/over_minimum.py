"""A standard queue call by call beside the minimum of redis calls: `python benchmarks/instructions.py --minimum`."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict

from benchmarks import scripts
from benchmarks.instructions import counted
from benchmarks.minimal import KEPT, MINIMUM, Minimal
from benchmarks.processes import awake
from benchmarks.server import Bench
from tests.servers import Kind

BACKLOG, IN_FLIGHT = 1000, 300
CALLS = {1: 400, 10: 100}  # by batch, of each kind in turn; few would share the collections of Lua's garbage unevenly
LOADS = ("standard", MINIMUM, KEPT)
COLUMNS = ("of M", "× M", "× K")


def _loads(bench: Bench) -> dict[str, scripts.Cycles]:
    return {
        "standard": scripts.Load(bench, "standard", BACKLOG, IN_FLIGHT),
        MINIMUM: Minimal(bench, BACKLOG, scripts.BODY, in_flight=IN_FLIGHT),
        KEPT: Minimal(bench, BACKLOG, scripts.BODY, in_flight=IN_FLIGHT, is_kept=True),
    }


def count(kind: Kind, turns: int = 6) -> dict[scripts.Step, float]:
    """Instructions of one call of each load, by load, step and batch; the first turn warms up."""
    counts: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    with counted(kind) as (server, take), Bench(kind, server) as bench:
        loads = _loads(bench)
        for turn, batch, (name, load) in itertools.product(range(turns), (1, 10), loads.items()):
            take()
            for step, _ in load.cycle(batch, CALLS[batch] * batch):
                some = take()
                if turn:
                    counts[name, step, batch].append(some)
    return {place: statistics.mean(found) / CALLS[place[2]] for place, found in counts.items()}


def measure(kind: Kind, seconds: float = 20) -> list[list[str]]:
    """Rows: each call in instructions, and in µs of a server without valgrind; then over the minimum, and over the
    minimum that keeps answers and counts."""
    counts = count(kind)
    with Bench(kind) as bench, awake():
        samples = scripts.measure(bench, seconds, _loads(bench))
    rows = [["step", "batch", "instructions", *COLUMNS, "µs", *COLUMNS]]
    for batch, step in itertools.product((1, 10), scripts.STEPS):
        cells = []
        for digits, found in (
            (0, [counts[name, step, batch] for name in LOADS]),
            (2, [samples[name, step, batch].low * batch for name in LOADS]),
        ):
            ours, least, kept = found
            cells += [f"{ours:,.{digits}f}", f"{least:,.{digits}f}", f"{ours / least:.2f}", f"{ours / kept:.2f}"]
        rows.append([step, str(batch), *cells])
    return rows
