"""What is printed: lines, tables, facts and JSON, and the words for ages and numbers.

Everything that is printed goes through here. Bodies, names, tags and error texts come from others, so no control
character and no markup in them reaches a terminal; JSON has escapes that mean the same.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from rqsqs._text import jsonable, printable, printable_json, printable_lines, shortened

if TYPE_CHECKING:
    from rich.console import Console

    from rqsqs.cli.report import Column

NOTE = 4000  # characters of a note or an error: it may quote what somebody sent


def emit(record: Mapping[str, Any]) -> None:
    click.echo(as_line(record))


def as_line(record: Mapping[str, Any]) -> str:
    """The same without printing it."""
    return printable_json(json.dumps(record, ensure_ascii=False, separators=(", ", ": "), default=jsonable))


def note(text: str) -> None:
    """A remark for people that is no result."""
    click.echo(printable(shortened(text, NOTE)), err=True)


def ask(question: str) -> None:
    """A question on stderr; the answer follows on the same line."""
    click.echo(printable(question), err=True, nl=False)


def line(text: str = "", *, bold: bool = False, dim: bool = False) -> None:
    """One line of a result."""
    text = printable(text)
    click.echo(click.style(text, bold=bold or None, dim=dim or None) if bold or dim else text)


def lines(text: str, indent: str = "", *, err: bool = False) -> None:
    """Text that may have several lines."""
    for part in printable_lines(text).split("\n"):
        click.echo(indent + part, err=err)


def exact(data: str | bytes, text: str) -> None:
    """Something that others read: into a pipe or file exactly as it is, on a terminal as text."""
    if sys.stdout.isatty():
        lines(text)
    else:
        click.echo(data if isinstance(data, bytes) else data.encode(errors="surrogateescape"))  # it changes text


def table(columns: Sequence[Column], rows: Sequence[Any]) -> None:
    """A table as wide as the terminal allows; into a pipe, as wide as it needs."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        is_whole = column.is_whole or column.side == "right"
        shown.add_column(column.title, justify=column.side, overflow="fold", no_wrap=is_whole)
    for row in rows:
        shown.add_row(*[Text(printable(column.cell(row))) for column in columns])
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    with console.capture() as captured:
        console.print(shown)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def hanging(lead: str, text: str, *, dim: bool = False, bold: bool = False, fg: str | None = None) -> None:
    """Text, dim or not, behind a few words of lead, bold and coloured or not; on a terminal its further lines stand
    below its first one."""
    lead, text = printable(lead), printable(text)
    parts = [text]
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns - len(lead), 20)
        parts = textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    for i, part in enumerate(parts):
        first = " " * len(lead) if i else click.style(lead, fg=fg, bold=True) if bold else lead
        click.echo(first + (click.style(part, dim=True) if dim else part))


def facts(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """What is known about one thing: a name and a value on each line."""
    line(title, bold=True)
    rows = [(printable(name), value) for name, value in rows]
    widest = max(len(name) for name, _ in rows)
    for name, value in rows:
        hanging(f"{name:<{widest}}  ", value)


def progress_console() -> Console:
    """Where progress goes: stderr, and nowhere if nobody looks."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)
