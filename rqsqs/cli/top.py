"""`rqsqs top`: the numbers of queues as they change, on a screen of its own or into a pipe."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from rqsqs.cli.looks import GAUGES, RATES, LooksTable
from rqsqs.cli.parameter_types import COUNT, duration_from
from rqsqs.cli.report import OK, Result, Results
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection.looks import ORDERS, Looker, in_order


@click.command("top")
@click.argument("name_prefix", default="")
@click.option("--interval", "-i", type=duration_from(0.1, 86_400), default=2.0, help="Time between two looks [2].")
@click.option("--sort", "order", type=click.Choice(list(ORDERS)), default="name",
              help="What comes first; numbers from the largest [name].")  # fmt: skip
@click.option("--count", "-c", type=COUNT, metavar="N", help="End after N looks [never].")
@reported
def top(settings: Settings, name_prefix: str, interval: float, order: str, count: int | None) -> Results:
    """Show the numbers of all queues, or of those whose names start with NAME_PREFIX, until q or Ctrl-C.

    Keys sort, filter and open one queue: its rates, waiting times, consumers, message groups, causes of dead letters
    and settings. The last line names them, and ? tells more. It reads only.

    All numbers are exact. IN/s counts what came (sent, moved here, dead letters), OUT/s what left (deleted, dead,
    expired, purged, cancelled, moved away), FAIL/s what was handed out again or went to the dead-letter queue: each
    from one look to the next. EMPTY IN is the time until a shrinking queue is empty at this rate; a paused queue shows
    `paused` there. `!` marks queues that hold dead letters, or whose messages fail; `=` those that are paused.

    Into a pipe each look prints a table, with --json a line for each queue, with all its numbers.

    \b
    Examples:
      rqsqs top
      rqsqs top payments- --sort oldest --interval 500ms
      rqsqs top --json --interval 1m >>numbers.jsonl
      rqsqs top --count 2 --interval 10
    """
    connection = settings.connect()
    looker = Looker(lambda: connection.metrics(name_prefix))
    signals = Signals()
    with contextlib.suppress(KeyboardInterrupt):
        if settings.as_json or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
            with signals.end():
                yield from _tables(looker, order, interval, count)
        else:
            _watch(settings, looker, order, interval, count, signals)
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


def _tables(looker: Looker, order: str, interval: float, count: int | None) -> Iterator[Result]:
    due = time.monotonic()
    for number in itertools.count(1):
        looks = in_order(looker.look(), order)
        heading = "\n" * (number > 1) + f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        yield LooksTable((*GAUGES, *RATES), looks, heading)
        sys.stdout.flush()
        if number == count:
            return
        due += interval
        time.sleep(max(due - time.monotonic(), 0))


def _watch(
    settings: Settings, looker: Looker, order: str, interval: float, count: int | None, signals: Signals
) -> None:
    from rqsqs.cli.screen.detail import DetailReader
    from rqsqs.cli.screen.painting import frame
    from rqsqs.cli.screen.reader import Reader
    from rqsqs.cli.screen.state import Screen
    from rqsqs.cli.screen.terminal import Terminal
    from rqsqs.cli.screen.trends import BARS, PLAIN_BARS

    connection = settings.connect()
    terminal = Terminal()
    bars = PLAIN_BARS if terminal.is_plain else BARS
    screen = Screen(connection.transport.link.where, bars, interval, order)
    reader = Reader(looker, DetailReader(connection), screen.trends, interval, terminal.wake)
    with terminal.screen(), signals.end():
        size: Any = None
        reader.start()
        try:
            while True:
                screen.take(reader.last)
                if terminal.size != size:
                    size = terminal.size
                    terminal.forget()
                terminal.show(frame(screen, *size), size[0])
                if screen.number == count:
                    return
                for key, at in terminal.wait():
                    if not screen.press(key, at):
                        return
                reader.open(screen.opened)
                reader.pause(screen.is_paused)
                if reader.bug is not None:
                    raise reader.bug
        finally:
            reader.stop()
