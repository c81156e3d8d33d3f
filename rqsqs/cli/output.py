"""How results are shown: tables and text for people, one JSON object per line for programs."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

import rqsqs


def emit(record: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own."""
    click.echo(json.dumps(record, ensure_ascii=False, separators=(", ", ": "), default=_jsonable))


def note(text: str) -> None:
    """A remark for people that is no result."""
    click.echo(printable(text), err=True)


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def printable(text: str) -> str:
    """Text without characters that a terminal would obey."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda m: f"\\x{ord(m[0]):02x}", text)


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], footer: Sequence[str] = ()) -> None:
    """A table as wide as the terminal allows; into a pipe, as wide as it needs.

    Args:
        columns: title, and "left" or "right".
    """
    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else 10_000, highlight=False)
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_footer=bool(footer), header_style="bold")
    for i, (title, justify) in enumerate(columns):
        shown.add_column(
            title,
            justify="right" if justify == "right" else "left",
            overflow="fold",
            no_wrap=justify == "right",
            footer=footer[i] if footer else "",
        )
    for row in rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    with console.capture() as captured:
        console.print(shown)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def progress_console() -> Console:
    """Where progress goes: stderr, and nowhere if nobody looks."""
    return Console(stderr=True, highlight=False)


def progress(*columns: Any, quiet: bool) -> Progress:
    """A progress display that is gone when it ends and says nothing into pipes."""
    console = progress_console()
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)


def age(seconds: float) -> str:
    """A duration for people: `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`."""
    seconds = max(seconds, 0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, size, unit in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h"), (float("inf"), 86_400, "d")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    raise AssertionError(seconds)


def since(moment: datetime) -> str:
    """How long ago something was."""
    return age((datetime.now(UTC) - moment).total_seconds())


def counted(number: int, noun: str) -> str:
    """`1 message`, `1,200 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def message_record(message: rqsqs.Message) -> dict[str, Any]:
    """A message as JSON; what `rqsqs send --file` reads."""
    record: dict[str, Any] = {"message_id": message.message_id}
    if isinstance(message.body, bytes):
        record["body_base64"] = base64.b64encode(message.body).decode()
    else:
        record["body"] = message.body
    optional = {
        "group": message.group,
        "deduplication_id": message.deduplication_id,
        "sequence_number": message.sequence_number,
        "attributes": message.attributes or None,
        "dead_letter_source": message.dead_letter_source,
        "visible_at": message.visible_at,
        "receipt_handle": message.receipt_handle or None,
    }
    record |= {"sent_at": message.sent_at, "receive_count": message.receive_count}
    return record | {name: value for name, value in optional.items() if value is not None}


def body_text(message: rqsqs.Message) -> str:
    """A body in one piece of text: as it is, or as JSON."""
    body = message.body
    if isinstance(body, str):
        return body
    if isinstance(body, bytes):
        try:
            return body.decode()
        except UnicodeDecodeError:
            return "base64:" + base64.b64encode(body).decode()
    return json.dumps(body, ensure_ascii=False, default=_jsonable)


def show_message(message: rqsqs.Message, *, with_handle: bool) -> None:
    """A message for people: a line about it, then its body."""
    about = [message.message_id, f"sent {since(message.sent_at)} ago"]
    if message.receive_count:
        times = message.receive_count
        about.append("received once" if times == 1 else f"received {times} times")
    if message.group is not None:
        about.append(f"group {message.group}")
    if message.visible_at is not None:
        left = (message.visible_at - datetime.now(UTC)).total_seconds()
        about.append(f"visible in {age(left)}")
    if message.dead_letter_source:
        about.append(f"from {message.dead_letter_source}")
    click.echo(click.style(printable(", ".join(about)), bold=True))
    for name, value in message.attributes.items():
        click.echo(
            printable(f"  {name}={value.decode(errors='backslashreplace') if isinstance(value, bytes) else value}")
        )
    for line in printable(body_text(message)).split("\n"):
        click.echo(f"  {line}")
    if with_handle:
        click.echo(click.style(f"  receipt handle {message.receipt_handle}", dim=True))
