"""`rqsqs top`: the numbers of stats, again and again."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

import rqsqs
from rqsqs._text import printable
from rqsqs.cli import output, paging
from rqsqs.cli.parameter_types import COUNT, duration_from
from rqsqs.cli.report import OK, Column, Record, Result, Results, Table
from rqsqs.cli.settings import Settings, reported

ORDERS: dict[str, Callable[[Record], Any]] = {
    "name": lambda row: row["queue"],
    "visible": lambda row: -row["visible"],
    "in_flight": lambda row: -row["in_flight"],
    "delayed": lambda row: -row["delayed"],
    "total": lambda row: -_total(row),
    "change": lambda row: -abs(row["change_per_s"] or 0),
    "oldest": lambda row: -(row["oldest_age_s"] or 0),
}


def _total(row: Record) -> int:
    return int(row["visible"] + row["in_flight"] + row["delayed"])


def _rate(title: str, field: str) -> Column:
    def shown(row: Record) -> str:
        rate = row[field]
        return "" if rate is None else "0" if not rate else f"{rate:,.{int(rate < 10)}f}"

    return Column(title, shown, "right")


def empty_in(row: Record) -> float | None:
    """Seconds until a queue is empty if it goes on shrinking like this; None if it does not shrink."""
    change = row["change_per_s"]
    return _total(row) / -change if change is not None and change < 0 and _total(row) else None


def _empty_in(row: Record) -> str:
    seconds = empty_in(row)
    return "paused" if row["paused"] else "" if seconds is None else output.age(seconds)


COLUMNS = (
    Column.text("QUEUE", "queue"),
    Column.number("VISIBLE", "visible"),
    Column.number("IN FLIGHT", "in_flight"),
    Column.number("DELAYED", "delayed"),
    _rate("IN/s ≥", "in_per_s_at_least"),
    _rate("OUT/s ≥", "out_per_s_at_least"),
    Column.age("OLDEST", "oldest_age_s"),
    Column("EMPTY IN", _empty_in, "right"),
)


class Sampler:
    """Looks at the queues: two calls for each, counts and whether it is paused."""

    def __init__(self, connection: rqsqs.Connection, name_prefix: str, order: str) -> None:
        self._connection = connection
        self._name_prefix = name_prefix
        self._order = order
        self._last: dict[str, tuple[float, int]] = {}

    def look(self) -> list[Record]:
        """The queues as they are now. The change is that of the number of all messages since the last look: what came
        in or left in a second at least; None at the first look."""
        rows, seen, at = [], {}, datetime.now(UTC)
        for queue in self._connection.queues(self._name_prefix):
            try:
                counts, is_paused = queue.counts(), queue.info().is_paused
            except (rqsqs.QueueDoesNotExist, rqsqs.QueueDamaged):  # deleted meanwhile, or for doctor
                continue
            now, total = time.monotonic(), paging.total(counts)
            seen[queue.name] = now, total
            before = self._last.get(queue.name)
            change = round((total - before[1]) / (now - before[0]), 3) if before and now > before[0] else None
            numbers = paging.counts_record(counts, at.timestamp())
            oldest_age_s = numbers.pop("oldest_age_s")
            rates = {
                "change_per_s": change,
                "in_per_s_at_least": None if change is None else max(change, 0.0),
                "out_per_s_at_least": None if change is None else max(-change, 0.0),
            }
            rows.append(
                {"at": at, "queue": queue.name, **numbers, **rates, "oldest_age_s": oldest_age_s, "paused": is_paused}
            )
        self._last = seen
        return sorted(rows, key=ORDERS[self._order])


@click.command("top")
@click.argument("name_prefix", default="")
@click.option("--interval", "-i", type=duration_from(0.1, 86_400), default=2.0, help="Time between two looks [2].")
@click.option("--sort", "order", type=click.Choice(list(ORDERS)), default="name",
              help="What comes first; numbers from the largest [name].")  # fmt: skip
@click.option("--count", "-c", type=COUNT, metavar="N", help="End after N looks [never].")
@reported
def top(settings: Settings, name_prefix: str, interval: float, order: str, count: int | None) -> Results:
    """Show the numbers of all queues, or of those whose names start with NAME_PREFIX, until q or Ctrl-C.

    VISIBLE, IN FLIGHT, DELAYED and OLDEST are exact, as in `rqsqs stats`. IN/s and OUT/s are lower bounds: queues count
    the messages they hold, not those that pass through. A queue that holds more messages than at the last look got at
    least this many a second; one that holds fewer lost at least this many. 0 in both columns means that nothing
    happens, or that consumers keep up. EMPTY IN is the time until a shrinking queue is empty at this rate; a paused
    queue shows `paused` there.

    Each look takes two calls per queue. Into a pipe each look prints a table, with --json a line for each queue.

    \b
    Examples:
      rqsqs top
      rqsqs top payments- --sort oldest --interval 500ms
      rqsqs top --json --interval 1m >>numbers.jsonl
      rqsqs top --count 2 --interval 10
    """
    sampler = Sampler(settings.connect(), name_prefix, order)
    looks = itertools.count(1) if count is None else range(1, count + 1)
    signals = Signals()
    with contextlib.suppress(KeyboardInterrupt):
        if settings.as_json or not sys.stdout.isatty():
            with signals.end():
                yield from _tables(sampler, looks, interval, count)
        else:
            _watch(settings, sampler, looks, interval, count, signals)
    return OK


class Signals:
    """Ctrl-C and SIGTERM end a block, once. What happens before it and behind it goes on undisturbed: the terminal is
    put in order."""

    def __init__(self) -> None:
        self._is_armed = self._is_asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    def _take(self, *_: object) -> None:
        self._is_asked = True
        if self._is_armed:
            self._is_armed = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def end(self) -> Iterator[None]:
        self._is_armed = True
        if self._is_asked:
            raise KeyboardInterrupt
        yield
        self._is_armed = False


def _tables(sampler: Sampler, looks: Any, interval: float, count: int | None) -> Iterator[Result]:
    due = time.monotonic()
    for number in looks:
        rows = sampler.look()
        yield Table(COLUMNS, rows, "\n" * (number > 1) + f"{datetime.now():%Y-%m-%d %H:%M:%S}")
        sys.stdout.flush()
        if number != count:
            due += interval
            time.sleep(max(due - time.monotonic(), 0))


def _watch(
    settings: Settings, sampler: Sampler, looks: Any, interval: float, count: int | None, signals: Signals
) -> None:
    console = Console(highlight=False)
    rows: list[Record] = []
    size = console.size
    with _keys() as key_within, Live(console=console, screen=True, auto_refresh=False) as live, signals.end():
        for number in looks:
            failure = ""
            due = time.monotonic() + interval
            try:
                rows = sampler.look()
            except rqsqs.ServerError as error:  # a server that starts again comes back into view
                failure = str(error)
            live.update(_screen(console, settings, rows, failure, interval), refresh=True)
            while number != count and (left := due - time.monotonic()) > 0:
                key = key_within(min(left, 0.5))
                if key in ("q", "Q", "\x03"):
                    return
                if console.size != size:  # the window was made larger or smaller
                    size = console.size
                    live.update(_screen(console, settings, rows, failure, interval), refresh=True)


def _screen(console: Console, settings: Settings, rows: list[Record], failure: str, interval: float) -> Group:
    """As much as fits: a line about it, the table, what is not shown."""
    where = settings.connect().transport.link.where
    about = f"{datetime.now():%H:%M:%S}  every {interval:g} s  {output.counted(len(rows), 'queue')}  {where}"
    room = max(console.height - 4, 1)
    shown = rows if len(rows) <= room else rows[: room - 1]
    lines: list[Any] = [
        Text(printable(failure or about), style="red" if failure else "dim", no_wrap=True, overflow="ellipsis"),
        output.as_table(COLUMNS, shown, console.width),
    ]
    if len(shown) < len(rows):
        lines.append(Text(f"{len(rows) - len(shown):,} more; --sort and NAME_PREFIX choose which", style="dim"))
    return Group(*lines, Text("q ends", style="dim"))


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """A function that waits for a key, up to the given seconds: "" = none came. Keys come at once and are not shown."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)

        def key_within(seconds: float) -> str:
            ready, _, _ = select.select([descriptor], [], [], seconds)
            return os.read(descriptor, 1).decode(errors="replace") if ready else ""

        yield key_within
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""
