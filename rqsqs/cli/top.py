"""`rqsqs top`: the numbers of stats, again and again."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

import rqsqs
from rqsqs._text import printable
from rqsqs.cli import output, scanning
from rqsqs.cli.settings import Settings, common_options, pass_settings
from rqsqs.cli.values import COUNT, Duration

TITLES = [("QUEUE", "left"), ("VISIBLE", "right"), ("IN FLIGHT", "right"), ("DELAYED", "right"), ("IN/s ≥", "right"),
          ("OUT/s ≥", "right"), ("OLDEST", "right"), ("EMPTY IN", "right")]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One queue at one moment.

    Attributes:
        rate: change of the number of its messages a second since the last look; None at the first.
        oldest: seconds since its oldest message was sent.
    """

    name: str
    counts: rqsqs.Counts
    is_paused: bool
    rate: float | None
    oldest: float | None

    @property
    def total(self) -> int:
        """All its messages."""
        return scanning.total(self.counts)

    @property
    def sent(self) -> float | None:
        """At least so many messages a second came in since the last look: it holds more by them."""
        return None if self.rate is None else max(self.rate, 0.0)

    @property
    def removed(self) -> float | None:
        """At least so many messages a second left since the last look."""
        return None if self.rate is None else max(-self.rate, 0.0)

    @property
    def empty_in(self) -> float | None:
        """Seconds until it is empty if it goes on like this; None if it does not shrink."""
        return self.total / -self.rate if self.rate is not None and self.rate < 0 and self.total else None

    def cells(self) -> tuple[str, ...]:
        """For people."""
        return (
            self.name,
            f"{self.counts.visible:,}",
            f"{self.counts.in_flight:,}",
            f"{self.counts.delayed:,}",
            _shown(self.sent),
            _shown(self.removed),
            "-" if self.oldest is None else output.age(self.oldest),
            "paused" if self.is_paused else "" if self.empty_in is None else output.age(self.empty_in),
        )

    def record(self, at: datetime) -> dict[str, Any]:
        """As JSON."""
        return {
            "at": at,
            "queue": self.name,
            "visible": self.counts.visible,
            "in_flight": self.counts.in_flight,
            "delayed": self.counts.delayed,
            "change_per_s": None if self.rate is None else round(self.rate, 3),
            "in_per_s_at_least": None if self.sent is None else round(self.sent, 3),
            "out_per_s_at_least": None if self.removed is None else round(self.removed, 3),
            "oldest_age_s": None if self.oldest is None else round(self.oldest, 3),
            "paused": self.is_paused,
        }


def _shown(rate: float | None) -> str:
    return "" if rate is None else "0" if not rate else f"{rate:,.{int(rate < 10)}f}"


ORDERS = {
    "name": lambda row: row.name,
    "visible": lambda row: -row.counts.visible,
    "in_flight": lambda row: -row.counts.in_flight,
    "delayed": lambda row: -row.counts.delayed,
    "total": lambda row: -row.total,
    "change": lambda row: -abs(row.rate or 0),
    "oldest": lambda row: row.counts.oldest_sent_at_ms or math.inf,
}


class Sampler:
    """Looks at the queues: two calls for each, counts and whether it is paused."""

    def __init__(self, connection: rqsqs.Connection, beginning: str, order: str) -> None:
        self._connection = connection
        self._beginning = beginning
        self._order = order
        self._last: dict[str, tuple[float, int]] = {}

    def look(self) -> list[Row]:
        """The queues as they are now."""
        rows, seen = [], {}
        for queue in self._connection.queues(self._beginning):
            try:
                counts, is_paused = queue.counts(), queue.info().is_paused
            except (rqsqs.QueueDoesNotExist, rqsqs.QueueDamaged):  # deleted meanwhile, or for doctor
                continue
            now, total = time.monotonic(), scanning.total(counts)
            seen[queue.name] = now, total
            before = self._last.get(queue.name)
            rate = (total - before[1]) / (now - before[0]) if before and now > before[0] else None
            rows.append(Row(queue.name, counts, is_paused, rate, output.oldest_age(counts)))
        self._last = seen
        return sorted(rows, key=ORDERS[self._order])


@click.command("top")
@click.argument("beginning", default="")
@click.option("--interval", "-i", type=Duration(0.1, 86_400), default=2.0, help="Time between two looks [2].")
@click.option("--sort", "order", type=click.Choice(list(ORDERS)), default="name",
              help="What comes first; numbers from the largest [name].")  # fmt: skip
@click.option("--count", "-c", type=COUNT, metavar="N", help="End after so many looks [never].")
@common_options
@pass_settings
def top(settings: Settings, beginning: str, interval: float, order: str, count: int | None) -> None:
    """Show the numbers of all queues, or of those whose names start with BEGINNING, again and again until q or Ctrl-C.

    VISIBLE, IN FLIGHT, DELAYED and OLDEST are exact, as in `rqsqs stats`. IN/s and OUT/s are lower bounds, not a
    throughput: queues count what they hold, not what passed through, so a queue that holds more than at the last look
    got at least that many messages a second, and one that holds less lost at least that many; 0 in both may mean that
    nothing happens or that consumers keep up. EMPTY IN tells how long a queue that shrinks
    needs if it goes on like this; a paused one says so there.

    Each look costs two calls per queue. Into a pipe it prints a table at each look, with --json a line for each queue.

    \b
    Examples:
      rqsqs top
      rqsqs top payments- --sort oldest --interval 500ms
      rqsqs top --json --interval 1m >>numbers.jsonl
      rqsqs top --count 2 --interval 10
    """
    sampler = Sampler(settings.connect(), beginning, order)
    looks = itertools.count(1) if count is None else range(1, count + 1)
    signals = Signals()
    with contextlib.suppress(KeyboardInterrupt):
        if settings.as_json or not sys.stdout.isatty():
            with signals.end():
                _print(settings, sampler, looks, interval, count)
        else:
            _watch(settings, sampler, looks, interval, count, signals)


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
        """The block that they end."""
        self._is_armed = True
        if self._is_asked:
            raise KeyboardInterrupt
        yield
        self._is_armed = False


def _print(settings: Settings, sampler: Sampler, looks: Any, interval: float, count: int | None) -> None:
    due = time.monotonic()
    for number in looks:
        rows, at = sampler.look(), datetime.now(UTC)
        if settings.as_json:
            for row in rows:
                output.emit(row.record(at))
        else:
            if number > 1:
                output.line()
            output.line(f"{at.astimezone():%Y-%m-%d %H:%M:%S}")
            output.table(TITLES, [row.cells() for row in rows])
        sys.stdout.flush()
        if number != count:
            due += interval
            time.sleep(max(due - time.monotonic(), 0))


def _watch(
    settings: Settings, sampler: Sampler, looks: Any, interval: float, count: int | None, signals: Signals
) -> None:
    console = Console(highlight=False)
    rows: list[Row] = []
    size = console.size
    with _keys() as key_within, Live(console=console, screen=True, auto_refresh=False) as live, signals.end():
        for number in looks:
            trouble = ""
            due = time.monotonic() + interval
            try:
                rows = sampler.look()
            except rqsqs.ServerError as error:  # a server that starts again comes back into view
                trouble = str(error)
            live.update(_screen(console, settings, rows, trouble, interval), refresh=True)
            while number != count and (left := due - time.monotonic()) > 0:
                key = key_within(min(left, 0.5))
                if key in ("q", "Q", "\x03"):
                    return
                if console.size != size:  # the window was made larger or smaller
                    size = console.size
                    live.update(_screen(console, settings, rows, trouble, interval), refresh=True)


def _screen(console: Console, settings: Settings, rows: list[Row], trouble: str, interval: float) -> Group:
    """As much as fits: a line about it, the table, what is not shown."""
    where = settings.connect().transport.link.where
    about = f"{datetime.now():%H:%M:%S}  every {interval:g} s  {output.counted(len(rows), 'queue')}  {where}"
    room = max(console.height - 4, 1)
    shown = rows if len(rows) <= room else rows[: room - 1]
    lines: list[Any] = [
        Text(printable(trouble or about), style="red" if trouble else "dim", no_wrap=True, overflow="ellipsis"),
        output.as_table(TITLES, [row.cells() for row in shown], console.width),
    ]
    if len(shown) < len(rows):
        lines.append(Text(f"{len(rows) - len(shown):,} more; --sort and BEGINNING choose which", style="dim"))
    return Group(*lines, Text("q ends", style="dim"))


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """A function that waits so many seconds for a key: "" if there was none. Keys come at once and are not shown."""
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
