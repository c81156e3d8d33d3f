"""`rqsqs metrics QUEUE`: what a queue did, drawn over time."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

import rqsqs
from rqsqs._text import did_you_mean
from rqsqs.cli import output
from rqsqs.cli.charts import LABEL, Chart, axis, in_short
from rqsqs.cli.parameter_types import QUEUE, Value, duration_from
from rqsqs.cli.report import NOTHING, OK, Lines, Record, Result, Results
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import words
from rqsqs.inspection.written import duration, moment

WIDTH = 80  # into a pipe
PERIODS = (1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440)  # minutes
PERCENTS = (50, 95, 99)
TWO_WEEKS_S = 14 * 86_400

RATES = (
    "sent", "received", "deleted", "failed", "redelivered", "dead_lettered", "dead_letters", "expired", "purged",
    "cancelled", "deduplicated", "empty_receives", "reclaimed", "redriven_out", "redriven_in", "damaged", "sent_bytes",
)  # fmt: skip
NUMBERS = (
    "visible", "in_flight", "delayed", "waiters", "groups_in_flight", "noisy_groups", "visible_in_quiet_groups",
    "in_flight_in_quiet_groups", "delayed_in_quiet_groups",
)  # fmt: skip
AGES = ("oldest_age_s", "oldest_age_in_quiet_groups_s")
OF_SOME = {*NUMBERS[4:], AGES[1], "sent_bytes"}  # queues only; all have the rest
TIMES = ("dwell", "processing")
ALWAYS = ("visible", "sent", "deleted", "oldest_age_s", "dwell")
IF_ANY = ("processing", "failed", "dead_lettered", "expired")  # drawn if they are not 0 all the time
FREQUENT = ("sent", "received", "deleted", "empty_receives", "sent_bytes")  # drawn per second, others as they are
TITLES = {
    "visible": "VISIBLE messages",
    "sent": "IN, sent per second",
    "deleted": "OUT, deleted per second",
    "oldest_age_s": "OLDEST message",
    "dwell": "DWELL TIME, 95 %",
    "processing": "PROCESSING TIME, 95 %",
}


def _when(text: str) -> timedelta | datetime:
    """A duration before now, or a time."""
    if re.fullmatch(r"\d+(\.\d+)?(ms|[smhdw])", text.strip()):
        return timedelta(seconds=duration(text))
    with contextlib.suppress(ValueError):
        found = moment(text)
        if isinstance(found, datetime):
            return found
        if 1e9 <= found < 1e10:  # less was meant for a duration
            return datetime.fromtimestamp(found, UTC)
    raise ValueError(f"{text!r} is no time: write 90m, 3h or 7d, or 2030-01-31T08:00")


def _metric(text: str) -> str:
    known = (*NUMBERS, *AGES, *RATES, *TIMES)
    name = text.replace("-", "_")
    if name not in known and not re.fullmatch(r"consumers_\w+", name):
        raise ValueError(f"there is no metric {text!r}{did_you_mean(name, known) or ': ' + ', '.join(known)}")
    return name


WHEN = Value("time", _when)


@click.command("show")
@click.argument("queue", type=QUEUE)
@click.option("--since", type=WHEN, default="3h", metavar="TIME", help="From when on: 90m, 3h, 7d ago, or a time [3h].")
@click.option("--until", type=WHEN, metavar="TIME", help="To when, written alike [now].")
@click.option("--period", type=duration_from(60, TWO_WEEKS_S), metavar="DURATION",
              help="How long a point is, whole minutes [what fits the screen; with --json and --csv 1m].")  # fmt: skip
@click.option("--metric", "metrics", type=Value("metric", _metric), multiple=True, metavar="NAME",
              help="Only this one, such as sent, visible or dwell; can be repeated.")  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@reported
def show(
    settings: Settings,
    queue: str,
    since: Any,
    until: Any,
    period: float | None,
    metrics: tuple[str, ...],
    as_csv: bool,
) -> Results:
    """Draw what QUEUE did.

    That is how many messages wait, how many came and went per second, how old the oldest one is, and how long messages
    waited.

    Workers, gateways and `rqsqs metrics sample` write two weeks of it, minute by minute. Where none of them ran, there
    is a gap. A column is the largest value of its minutes; with --metric, any number of `queue.metrics()` is drawn.
    With --json and --csv there is a line for each point, the oldest first. Exits with 4 if nothing is known of it.

    \b
    Examples:
      rqsqs metrics orders
      rqsqs metrics orders --since 2d --metric visible --metric failed
      rqsqs metrics orders --since 2030-01-31T08:00 --until 2030-01-31T09:00
      rqsqs metrics orders --since 7d --period 1h --csv >orders.csv
    """
    if as_csv and settings.as_json:
        raise click.UsageError("--csv and --json do not go together: choose one")
    if period is not None and period % 60:
        raise click.BadParameter(f"a point takes whole minutes, got {period:g} s", param_hint="--period")
    is_drawn = not (settings.as_json or as_csv)
    columns = (shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH) - LABEL - 1
    now = datetime.now().astimezone()
    end = now - until if isinstance(until, timedelta) else until
    since = now - since if isinstance(since, timedelta) else since
    if now - since > timedelta(seconds=TWO_WEEKS_S):
        raise click.BadParameter("the history goes two weeks back: write 14d for all of it", param_hint="--since")
    if period is None:
        period = _fitting(((end or now) - since).total_seconds(), columns) if is_drawn else 60
    points = settings.queue(queue).history(since, end, period)
    names = metrics or _chosen(points, is_drawn)
    if as_csv:
        yield Lines(_csv(points, names))
    else:
        yield Charts(queue, points, names, columns, end or now)
    if all(point.is_gap for point in points[:-1]) and (len(points) > 1 or points[0].is_gap):
        output.note(
            "there is no history of this time: a worker, a gateway or `rqsqs metrics sample` writes it while it runs"
        )
        return NOTHING if points[-1].is_gap else OK  # or only the present
    return OK


class Charts(Result):
    """Charts for people, a record of each point for programs."""

    def __init__(
        self, queue: str, points: Sequence[rqsqs.HistoryPoint], names: Sequence[str], columns: int, end: datetime
    ) -> None:
        super().__init__()
        self._queue, self._points, self._names, self._columns, self._end = queue, points, names, columns, end

    def records(self) -> Sequence[Record]:
        return [{"queue": self._queue} | record(point, self._names) for point in self._points]

    def show(self) -> None:
        points = self._points
        moments = [datetime.fromtimestamp(point.at_ms / 1000).astimezone() for point in points]
        end = min(self._end, moments[-1] + timedelta(seconds=points[-1].period_s)).astimezone()
        share = -(-len(points) // self._columns)
        period = words.age(points[0].period_s * share)
        output.line(f"{self._queue}, {moments[0]:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, {period} a column", bold=True)
        for name in self._names:
            chart = chart_of(points, name)
            output.line()
            output.line("  ".join([chart.title, *chart.facts]), bold=True)
            for line in chart.lines(self._columns):
                output.line(line)
        for line in axis(moments, self._columns):
            output.line(line, dim=True)


def chart_of(points: Sequence[rqsqs.HistoryPoint], name: str) -> Chart:
    """What is drawn of a metric."""
    title = TITLES.get(name, name.replace("_", " ").removesuffix(" s").upper())
    if name in TIMES:
        values = _percentiles(points, name)
        total = sum([getattr(point, name) for point in points], rqsqs.Histogram())
        facts = [f"{p} %: {words.age(total.percentile(p) or 0)}" for p in PERCENTS] if total.total else []
        return Chart(title, values, [f"of all {total.total:,}:", *facts] if facts else ["no message"], words.age)
    if name in RATES:
        sums = [point.metrics[name].sum if name in point.metrics else None for point in points]
        rates = [point.rate(name) for point in points] if name in FREQUENT else sums
        title = f"{title} per second" if name in FREQUENT and name not in TITLES else title
        total_count = sum([number for number in sums if number is not None])
        return Chart(title, rates, [*_facts(rates, in_short), f"{total_count:,.0f} in all"], in_short)
    shown = words.age if name in AGES else in_short
    is_told = any(name in point.metrics for point in points) or name not in OF_SOME
    nothing = 0.0 if is_told else None  # of a point in which nobody looked there is not even that
    highest = [
        point.metrics[name].maximum if name in point.metrics else None if point.is_gap else nothing for point in points
    ]
    lasts = [point.metrics[name].last if name in point.metrics else None for point in points if not point.is_gap]
    facts = _facts(highest, shown, lasts[-1:])
    if name == "visible":
        facts += [
            f"{other.replace('_', ' ')} {in_short(points[-1].metrics[other].last)}"
            for other in ("in_flight", "delayed")
            if other in points[-1].metrics
        ]
    return Chart(title, highest, facts, shown)


def _percentiles(points: Sequence[rqsqs.HistoryPoint], name: str) -> list[float | None]:
    """Of each point; those that share a histogram have it in the last one."""
    found: list[float | None] = []
    later: float | None = None
    for point in reversed(points):
        own: float | None = getattr(point, name).percentile(95)
        is_quiet = "received" not in point.metrics or not point.metrics["received"].sum
        later = own if own is not None or is_quiet else later
        found.append(None if point.is_gap else later or 0.0)
    return found[::-1]


def _facts(
    values: Sequence[float | None], shown: Callable[[float], str], last: Sequence[float | None] = ()
) -> list[str]:
    known = [value for value in values if value is not None]
    if not known:
        return ["not measured"]
    (now,) = last or known[-1:]
    return [f"now {'-' if now is None else shown(now)}", f"highest {shown(max(known))}"]


def _chosen(points: Sequence[rqsqs.HistoryPoint], is_drawn: bool) -> list[str]:
    """What is shown if nobody says."""
    if is_drawn:
        return [*ALWAYS, *(name for name in IF_ANY if any(_is_any(point, name) for point in points))]
    there = {name for point in points for name in point.metrics}
    names = [name for name in (*NUMBERS, *AGES, *RATES) if name in there or name not in OF_SOME]
    return [*names, *sorted(name for name in there if name.startswith("consumers_")), *TIMES]


def _is_any(point: rqsqs.HistoryPoint, name: str) -> bool:
    if name in TIMES:
        return bool(getattr(point, name).total)
    return name in point.metrics and point.metrics[name].sum > 0


def record(point: rqsqs.HistoryPoint, names: Sequence[str]) -> Record:
    """A point: sums of what was counted; last, least and largest number of the rest; percentiles of times."""
    found: Record = {
        "at": datetime.fromtimestamp(point.at_ms / 1000, UTC),
        "period_s": point.period_s,
        "span_s": round(point.span_s, 3),
    }
    for name in names:
        one = point.metrics.get(name)
        if name in TIMES:
            for percent in PERCENTS:
                found[f"{name}_p{percent}_s"] = getattr(point, name).percentile(percent)
            found[f"{name}_count"] = None if point.is_gap else getattr(point, name).total
        elif name in RATES:
            found[name] = None if one is None else int(one.sum)
        else:
            found[name] = None if one is None else one.last
            found[f"{name}_min"] = None if one is None else one.minimum
            found[f"{name}_max"] = None if one is None else one.maximum
    return found


def _csv(points: Sequence[rqsqs.HistoryPoint], names: Sequence[str]) -> list[str]:
    rows = [record(point, names) for point in points]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"at": row["at"].isoformat()})
    return text.getvalue().splitlines()


def _fitting(seconds: float, columns: int) -> float:
    """The shortest period with which all points fit."""
    found = next((minutes for minutes in PERIODS if seconds / 60 / minutes <= columns - 1), PERIODS[-1])
    return found * 60
