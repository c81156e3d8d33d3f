"""What the pages show: docs/performance.md, docs/scaling.md, and the charts of both."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import report, targets
from benchmarks.charts import Bar, Chart
from benchmarks.contestants import OURS, Fleet, Lists, Streams
from benchmarks.growth import LEAST, LEAST_FIFO
from benchmarks.peers import PEERS, missing
from benchmarks.suite import Goal, Results, number

IMAGES = "images"


def write(folder: Path, runs: Sequence[Results], scalings: Sequence[Results], minutes: float) -> None:
    """Both pages and all charts.

    Args:
        folder: docs
        runs: of the servers; the first one has what others reach as well.
        scalings: of the same servers; only the first one has more than growth.
    """
    main = runs[0]
    scaling, *more = scalings
    grown = growth(scaling)
    charts = dict(main.charts)
    if grown:
        charts["growth"] = grown
    for chart in charts.values():
        chart.write(folder / IMAGES)
    page = folder / "performance.md"
    report.put_between_markers(page, "summary", summary(main))
    report.put_between_markers(page, "charts", pictures(charts))
    report.put_between_markers(page, "contestants", contestants())
    report.put_between_markers(page, "targets", goals(runs, scalings))
    report.put_between_markers(page, "behind", behind(runs, scalings))
    tables = "\n\n".join(main.text)
    others = [_folded(f"The same on {r.server}", r.text) for r in runs[1:]]
    report.put_between_markers(page, "metrics", main.blocks.get("metrics", "Not measured in the last run."))
    note = measured(runs, minutes)
    report.put_between_markers(page, "results", "\n\n".join([note, tables, *others]))
    page = folder / "scaling.md"
    others = [_folded(f"The same on {r.server}", [flat(r)]) for r in more]
    report.put_between_markers(page, "growth", "\n\n".join([flat(scaling), *others]))
    own = [["what", "reached", "target", "verdict"]]
    for what, goal in scaling.goals.items():
        if goal.value is not None and goal.target is not targets.GROWTH:
            own.append([what, number(goal.value), str(goal.target), goal.target.verdict(goal.value)])
    others = [_folded(f"Growth on {r.server}", r.text) for r in more]
    text = [measured(scalings, minutes), "### Targets", report.markdown(own), *scaling.text, *others]
    report.put_between_markers(page, "results", "\n\n".join(text))


def _folded(title: str, text: Sequence[str]) -> str:
    return "\n\n".join([f"<details><summary>{title}</summary>", *text, "</details>"])


def measured(runs: Sequence[Results], minutes: float) -> str:
    """On what, and for how long."""
    servers = " and ".join(r.server for r in runs)
    return f"{servers}, {report.machine()}. The whole run took {minutes:.0f} minutes."


def summary(r: Results) -> str:
    """The page in a sentence, from what was measured."""
    parts = []
    for batch, what in ((1, "single messages"), (10, "messages in batches of ten")):
        shares = {cls.name: r.facts.get(f"share {batch} {cls.name}", 0.0) for cls in (Fleet, *PEERS)}
        ours = shares.pop(Fleet.name)
        if not ours:
            continue
        text = f"{_times(ours)} {what} as consumers of bare Redis streams"
        if best := max(shares, key=shares.__getitem__) if any(shares.values()) else "":
            text += f" and {_times(ours / shares[best])} as the best other queue on Redis ({best})"
        parts.append(text)
    if not parts:
        return "**The one thing to know:** nothing was measured yet: run `make bench`."
    return f"**The one thing to know:** in the last run, rqsqs workers handled {'; they handled '.join(parts)}."


def _times(ratio: float) -> str:
    return "**as many**" if 0.95 <= ratio < 1.05 else f"**{ratio:.1f} times** as many"


def pictures(charts: Mapping[str, Chart]) -> str:
    """The charts, two beside each other where there is room."""
    names = ("rate-1", "rate-10", "core-1", "core-10", "latency", "memory", "growth")
    return "\n".join(charts[name].html(IMAGES) for name in names if name in charts)


def growth(r: Results) -> Chart | None:
    """What a message costs with the most of everything, over what it costs with the least."""
    bars = []
    for grown in r.grown:
        if grown.is_most:
            bars.append(Bar(grown.what, grown.ours, True))
            if grown.bare:
                kind, _, more = grown.what.partition(", ")
                bars.append(Bar(f"{LEAST_FIFO if kind == 'fifo' else LEAST}, {more}", grown.bare))
    if not bars:
        return None
    limit = f"{targets.GROWTH.limit:g}"
    mark = (targets.GROWTH.limit, f"target: {limit}, or {limit} × {LEAST}")
    return Chart("performance-growth", "Growth", "server time of a message, over that with few", bars, 2, mark)


def flat(r: Results) -> str:
    """The same as a table."""
    rows = [["more of", "batch", "a message costs", LEAST, f"over {LEAST}", "target", "verdict"]]
    for grown in r.grown:
        bare = [f"{number(grown.bare)} ×", f"{number(grown.value)} ×"] if grown.bare else ["", ""]
        end = [str(targets.GROWTH), targets.GROWTH.verdict(grown.value)]
        rows.append([grown.what, str(grown.batch or ""), f"{number(grown.ours)} ×", *bare, *end])
    return report.markdown(rows)


def contestants() -> str:
    """How each is used, and what it promises."""
    rows = [["queue", "how it is used", "a message whose consumer died"]]
    rows += [[cls.name, cls.setup, cls.guarantee] for cls in (*OURS, Streams, Lists, *PEERS)]
    text = report.markdown(rows)
    if absent := missing(OURS, PEERS):
        text += f"\n\nNot installed in the last run: {', '.join(cls.name for cls in absent)}."
    return text


def goals(runs: Sequence[Results], scalings: Sequence[Results]) -> str:
    """All targets, what each server reached, and a verdict."""
    every = [goal for r in (*runs, *scalings) for goal in _shown(r).values()]
    known = [goal for goal in every if goal.value is not None]
    count = sum(not goal.is_behind for goal in known)
    return f"{count} of {len(known)} reached.\n\n{report.markdown(table_of_goals(runs, scalings))}"


def table_of_goals(*tables: Sequence[Results], is_all: bool = False) -> report.Rows:
    """Rows: what, target, and what each server reached.

    Args:
        tables: of the same servers in the same order; later ones may end early.
        is_all: those of docs/scaling.md alone as well.
    """
    rows = [["what", "target", *(r.server for r in tables[0])]]
    for runs in tables:
        shown = [r.goals if is_all else _shown(r) for r in runs]
        for what in dict.fromkeys(itertools.chain(*shown)):
            found = [goals.get(what) for goals in shown]
            cells = [goal.cell if goal else "" for goal in found] + [""] * (len(tables[0]) - len(runs))
            rows.append([what, next(str(goal.target) for goal in found if goal), *cells])
    return rows


def behind(runs: Sequence[Results], scalings: Sequence[Results]) -> str:
    """What misses its target, by what is to blame."""
    reasons: dict[str, list[str]] = {}
    for r in (*runs, *scalings):
        for what, goal in _shown(r).items():
            if goal.is_behind:
                names = reasons.setdefault(goal.target.why or "not looked into", [])
                if what not in names:
                    names.append(what)
    if not reasons:
        return "Nothing in the last run."
    text = "\n".join(f"- {_sentence('; '.join(names))}: {why}." for why, names in reasons.items())
    rows = [["what", "server", "where its time goes"]]
    for r in runs:
        rows += [[what, r.server, r.profiles[what]] for what in r.profiles if r.goals[what].is_behind]
    return text if len(rows) == 1 else f"{text}\n\n{report.markdown(rows)}"


def _shown(r: Results) -> dict[str, Goal]:
    return {what: goal for what, goal in r.goals.items() if goal.is_shown}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
