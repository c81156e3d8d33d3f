"""Progress of a long command: a line on stderr while it runs, and nothing into pipes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rqsqs.cli import output

if TYPE_CHECKING:
    from rich.progress import Progress, Task
    from rich.text import Text


class Meter:
    """A progress line: what goes on, how much of it is done (of a total, if that is known), how fast. As a context
    manager it is there until the end."""

    def __init__(self, what: str, total: int | None, *, quiet: bool = False) -> None:
        self._progress = _bar(what, total) if sys.stderr.isatty() and not quiet else None

    def advance(self, number: int = 1) -> None:
        if self._progress is not None:
            self._progress.advance(self._progress.task_ids[0], number)

    def reached(self, completed: int, total: int | None = None) -> None:
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=completed, total=total)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Print something meanwhile: the line is away for that time, so that nothing is written over it."""
        if self._progress is None:
            yield
            return
        self._progress.stop()
        try:
            yield
            sys.stdout.flush()
        finally:
            self._progress.start()

    def __enter__(self) -> Meter:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def _bar(what: str, total: int | None) -> Progress | None:
    """A bar with one task; None where rich finds no terminal. Rich is imported only where somebody sees it."""
    from rich import progress
    from rich.text import Text

    class Column(progress.ProgressColumn):
        def __init__(self, text: Any) -> None:
            super().__init__()
            self._text = text

        def render(self, task: Task) -> Text:
            return Text(self._text(task))

    def rate(task: Task) -> str:
        speed = task.finished_speed or task.speed
        return "" if speed is None else f"{speed:,.{int(speed < 10)}f}/s"

    console = output.progress_console()
    if not console.is_terminal:
        return None
    columns: tuple[Any, ...] = (progress.TextColumn("{task.description}", markup=False),)
    if total is None:
        columns += (Column(lambda task: f"{int(task.completed):,}"), Column(rate))
    else:
        columns += (progress.BarColumn(None), progress.MofNCompleteColumn(), Column(rate))
        columns += (progress.TimeRemainingColumn(),)
    bar = progress.Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    bar.add_task(what, total=total)
    return bar
