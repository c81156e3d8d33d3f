"""Results: a command returns or yields what it found or did, and report() shows it.

People get lines, tables and notes; with --json programs get an object per line. A result knows both.

    Result   a line on stdout; Lines, several
    Done     a note on stderr: something was changed
    Facts    a name and a value on each line, about one thing
    Table    many of the same kind, one object each
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rqsqs.cli import output
from rqsqs.inspection import words

OK, REFUSED, USAGE, SERVER, NOTHING = range(5)

Record = dict[str, Any]
Results = Generator["Result", None, int | None]  # which a command yields, and its exit code


class Result:
    """One result: a text for people, a record for programs."""

    def __init__(self, text: str = "", /, **record: Any) -> None:
        self.text = text
        self.record = record

    def records(self) -> Sequence[Record]:
        return (self.record,)

    def show(self) -> None:
        output.line(self.text)


class Lines(Result):
    """A result of several lines."""

    def __init__(self, lines: Iterable[str], /, **record: Any) -> None:
        super().__init__(**record)
        self._lines = lines

    def show(self) -> None:
        for line in self._lines:
            output.line(line)


class Done(Result):
    """Something was changed."""

    def show(self) -> None:
        output.note(self.text)


class Facts(Result):
    """What is known about one thing: its name, then the name and the value of each fact."""

    def __init__(self, title: str, rows: Sequence[tuple[str, str]], /, **record: Any) -> None:
        super().__init__(title, **record)
        self._rows = rows

    def show(self) -> None:
        output.facts(self.text, self._rows)


class Column(NamedTuple):
    title: str
    cell: Callable[[Any], str]  # of a record, or of what else the rows are
    side: Literal["left", "right"] = "left"
    is_whole: bool = False  # it is not broken into lines, as words of ours are short; numbers never are

    @classmethod
    def text(cls, title: str, field: str) -> Column:
        return cls(title, lambda row: str(row[field] or "-"))

    @classmethod
    def number(cls, title: str, field: str) -> Column:
        return cls(title, lambda row: f"{row[field]:,}", "right")

    @classmethod
    def age(cls, title: str, field: str) -> Column:
        """Seconds, - if there are none."""
        return cls(title, lambda row: "-" if row[field] is None else words.age(row[field]), "right")

    @classmethod
    def since(cls, title: str, field: str) -> Column:
        """How long ago a moment was, - if there is none."""
        return cls(title, lambda row: "-" if row[field] is None else words.since(row[field]), "right")


@dataclass
class Table(Result):
    """Many results of the same kind, by their records, perhaps with a line above."""

    columns: Sequence[Column]
    rows: Sequence[Any]
    heading: str = ""

    def records(self) -> Sequence[Record]:
        return self.rows

    def show(self) -> None:
        if self.heading:
            output.lines(self.heading)
        output.table(self.columns, self.rows)


def report(results: Any, *, as_json: bool) -> int:
    """Show the results of a command, one after the other as they come; the exit code."""
    if isinstance(results, Result):
        _show(results, as_json)
    elif isinstance(results, Generator):
        try:
            result = next(results)
            while True:
                try:
                    _show(result, as_json)
                except BaseException as error:  # Ctrl-C, a closed pipe: as if the command had shown it itself
                    result = results.throw(error)
                else:
                    result = next(results)
        except StopIteration as end:
            return end.value or OK
    return results if isinstance(results, int) else OK


def _show(result: Result, as_json: bool) -> None:
    if not as_json:
        result.show()
        return
    for record in result.records():
        output.emit(record)


def nothing(text: str) -> int:
    """Say that there is nothing; the exit code."""
    output.note(text)
    return NOTHING
