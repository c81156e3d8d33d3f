"""How far something has come: a line on stderr while it goes on, gone when it ends, and nothing into pipes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from rqsqs.cli import output


class RateColumn(ProgressColumn):
    """How many a second, over the last half a minute."""

    def render(self, task: Task) -> Text:
        """As `1,200/s`."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s")


class CountColumn(ProgressColumn):
    """`1,200 messages` when nobody knows how many there will be."""

    def render(self, task: Task) -> Text:
        """The count alone."""
        return Text(f"{int(task.completed):,}")


class Meter:
    """A progress line: what is done, how much of it, how fast. As a context manager it is there until the end.

    Args:
        what: a word for what goes on: "sending".
        total: how many there will be, if that is known.
        quiet: show nothing, for --json.
    """

    def __init__(self, what: str, total: int | None, *, quiet: bool = False) -> None:
        console = output.progress_console()
        columns: tuple[Any, ...] = (TextColumn("{task.description}", markup=False),)
        if total is None:
            columns += (CountColumn(), RateColumn())
        else:
            columns += (BarColumn(None), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
        self._is_shown = console.is_terminal and not quiet
        self._progress = Progress(
            *columns,
            console=console,
            transient=True,
            disable=not self._is_shown,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(what, total=total)

    def advance(self, number: int = 1) -> None:
        """So many more are done."""
        self._progress.advance(self._task, number)

    def reached(self, completed: int, total: int | None = None) -> None:
        """So many are done in all."""
        self._progress.update(self._task, completed=completed, total=total)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Print something meanwhile: the line is away for that time, so that nothing is written over it."""
        if not self._is_shown:
            yield
            return
        self._progress.stop()
        try:
            yield
            sys.stdout.flush()
        finally:
            self._progress.start()

    def __enter__(self) -> Meter:
        if self._is_shown:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_shown:  # older versions of rich write a line at the end even if they were disabled
            self._progress.stop()
