"""How results are shown: tables and text for people, one JSON object per line for programs.

Everything that is printed goes through here. Bodies, names, tags and error texts come from others, so no control
character and no markup in them reaches a terminal; JSON has escapes that mean the same.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from rqsqs._text import printable, printable_json, printable_lines, shortened

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    import rqsqs

NO_CAUSE = "no failure recorded: received too often (its consumers died, or let the visibility timeout pass)"
NOTE = 4000  # characters of a note or an error: it may quote what somebody sent


def emit(record: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own."""
    click.echo(as_line(record))


def as_line(record: Mapping[str, Any]) -> str:
    """The same without printing it."""
    from rqsqs.cli.records import jsonable

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


def body(message: rqsqs.Message) -> None:
    """A body alone: into a pipe or file exactly as it is, with a line break if it is text."""
    if sys.stdout.isatty():
        lines(body_text(message))
    else:
        exact = message.body if isinstance(message.body, bytes) else body_text(message).encode(errors="surrogateescape")
        click.echo(exact)  # of text, click takes colours away


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal allows; into a pipe, as wide as it needs.

    Args:
        columns: title, and "left" or "right".
    """
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    with console.capture() as captured:
        console.print(as_table(columns, rows))
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def as_table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], width: int | None = None) -> Table:
    """The same without printing it.

    Args:
        width: cut the cells of the first column, so that every row is one line of so many characters.
    """
    from rich.table import Table
    from rich.text import Text

    room = None
    if width is not None:
        others = zip(*(row[1:] for row in [[title for title, _ in columns], *rows]), strict=True)
        room = max(width - sum(max(map(len, cells)) + 2 for cells in others) - 2, 10)
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for i, (title, justify) in enumerate(columns):
        shown.add_column(
            title,
            justify="right" if justify == "right" else "left",
            overflow="fold" if room is None else "ellipsis",
            no_wrap=justify == "right" or room is not None,
            max_width=None if i else room,
        )
    for row in rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    return shown


def hanging(lead: str, text: str, *, dim: bool = False, bold: bool = False, fg: str | None = None) -> None:
    """Text behind a few words of lead; on a terminal its further lines stand below its first one.

    Args:
        lead: with its blanks.
        dim: show the text so.
        bold: show the lead so, and in the colour `fg`.
    """
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


def age(seconds: float) -> str:
    """A duration for people: `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`."""
    seconds = max(seconds, 0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, size, unit in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h"), (float("inf"), 86_400, "d")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    raise AssertionError(seconds)


def oldest_age(counts: rqsqs.Counts) -> float | None:
    """Seconds since the oldest message was sent; None if there is none."""
    return None if counts.oldest_sent_at_ms is None else max(time.time() - counts.oldest_sent_at_ms / 1000, 0)


def since(moment: datetime) -> str:
    """How long ago something was."""
    return age((datetime.now(UTC) - moment).total_seconds())


def until(moment: datetime) -> str:
    """How long it takes until something is."""
    return age((moment - datetime.now(UTC)).total_seconds())


def counted(number: int, noun: str) -> str:
    """`1 message`, `1,200 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def body_text(message: rqsqs.Message, indent: int | None = None) -> str:
    """A body in one piece of text: as it is, or as JSON."""
    body = message.body
    if isinstance(body, str):
        return body
    if isinstance(body, bytes):
        try:
            return body.decode()
        except UnicodeDecodeError:
            return "base64:" + base64.b64encode(body).decode()
    from rqsqs.cli.records import jsonable

    try:
        return json.dumps(body, ensure_ascii=False, default=jsonable, indent=indent)
    except TypeError:  # keys of other types
        return repr(body)


def body_type(body: object) -> str:
    """What somebody receives: JSON that was sent as text looks like an object, and is none."""
    return "text" if isinstance(body, str) else "bytes" if isinstance(body, bytes) else "object"


def cause_text(cause: rqsqs.Cause) -> str:
    """A cause in one line."""
    text = printable(cause.message.strip().partition("\n")[0])
    return f"{printable(cause.type)}: {text}" if text else printable(cause.type)


def show_message(message: rqsqs.Message, *, with_handle: bool = False, state: str | None = None) -> None:
    """A message for people: a line about it, then its body."""
    about = [message.message_id, body_type(message.body), f"sent {since(message.sent_at)} ago"]
    if message.receive_count:
        times = message.receive_count
        about.append("received once" if times == 1 else f"received {times} times")
    if message.group is not None:
        about.append(f"group {message.group}")
    if message.visible_at is not None:
        about.append(f"visible in {until(message.visible_at)}")
    if message.dead_letter_source:
        about.append(f"from {message.dead_letter_source}")
    if message.deduplication_id is not None:
        about.append(f"deduplication id {message.deduplication_id}")
    if state is not None:
        about.append(state.replace("_", " "))
    line(", ".join(about), bold=True)
    if message.cause is not None:
        hanging("  failed  ", cause_text(message.cause))
    for name, value in message.attributes.items():
        line(f"  {name}={value.decode(errors='backslashreplace') if isinstance(value, bytes) else value}")
    lines(body_text(message), "  ")
    if with_handle:
        line(f"  receipt handle {message.receipt_handle}", dim=True)
