"""The progress line as rich draws it; imported only where somebody sees it."""

from __future__ import annotations

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


def bar(what: str, total: int | None) -> Progress | None:
    """A bar with one task; None where rich finds no terminal."""
    console = output.progress_console()
    if not console.is_terminal:
        return None
    columns: tuple[Any, ...] = (TextColumn("{task.description}", markup=False),)
    if total is None:
        columns += (CountColumn(), RateColumn())
    else:
        columns += (BarColumn(None), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    progress.add_task(what, total=total)
    return progress
