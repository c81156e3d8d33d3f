"""Progress of a long command: a line on stderr while it runs, and nothing into pipes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class Meter:
    """A progress line: what is done, how much of it, how fast. As a context manager it is there until the end.

    Args:
        what: a word for what goes on: "sending".
        total: how many there will be, if that is known.
        quiet: show nothing, for --json.
    """

    def __init__(self, what: str, total: int | None, *, quiet: bool = False) -> None:
        self._progress: Progress | None = None
        if sys.stderr.isatty() and not quiet:
            from rqsqs.cli.progress_bar import bar

            self._progress = bar(what, total)

    def advance(self, number: int = 1) -> None:
        """This number more are done."""
        if self._progress is not None:
            self._progress.advance(self._progress.task_ids[0], number)

    def reached(self, completed: int, total: int | None = None) -> None:
        """This number are done in all."""
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
