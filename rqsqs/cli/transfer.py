"""`rqsqs export` and `rqsqs import`: a queue's messages into a file, and from a file into a queue."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from rqsqs.cli import output, records, scanning
from rqsqs.cli.names import QUEUE
from rqsqs.cli.progress import Meter
from rqsqs.cli.sending import Numbered, send_all
from rqsqs.cli.settings import Settings, common_options, pass_settings
from rqsqs.cli.values import FILE


@click.command("export")
@click.argument("queue", type=QUEUE)
@click.argument("file", default="-", type=FILE)
@scanning.state_option("Only messages that are so; may be repeated [all].")
@common_options
@pass_settings
def export(settings: Settings, queue: str, file: str, states: tuple[str, ...]) -> int:
    """Write all messages of QUEUE to FILE as JSON Lines; - is stdout. They stay in the queue as they are.

    FILE appears when it is complete, so that there is never half a copy. Messages that come and go meanwhile may be
    missed, or be written twice (import sends them once): pause the queue for an exact copy. Exits with 4 if there are
    none.

    \b
    Examples:
      rqsqs export orders orders.jsonl
      rqsqs export orders --state delayed | jq -r .body
      rqsqs pause orders; rqsqs export orders copy.jsonl; rqsqs resume orders
    """
    wanted = scanning.chosen(states)
    target, written = settings.queue(queue), 0
    expected = scanning.total(target.counts(), wanted)
    with (
        _complete_or_nothing(file) as write,
        Meter("exporting", expected, quiet=settings.as_json or _is_watched(file)) as meter,
    ):
        for state, page in scanning.pages(target, wanted):
            for message in page:
                write(output.as_line(records.record_of(message, state)) + "\n")
            written += len(page)
            meter.advance(len(page))
    if file != "-" and settings.as_json:
        output.emit({"queue": queue, "file": file, "messages": written})
    else:
        output.note(f"exported {output.counted(written, 'message')} of {queue}{'' if file == '-' else f' to {file}'}")
    if settings.passed_over:
        output.note(f"{output.counted(settings.passed_over, 'message')} could not be read: the copy is not complete")
        return 1
    return 0 if written else 4


def _is_watched(file: str) -> bool:
    """Do messages run over the same terminal as the progress would?"""
    return file == "-" and sys.stdout.isatty()


@contextlib.contextmanager
def _complete_or_nothing(file: str) -> Iterator[Any]:
    """A function that writes; the file gets its name at the end, and is gone after an error."""
    if file == "-":
        yield lambda text: output.line(text.removesuffix("\n"))
        return
    path = Path(file)
    if path.exists() and not path.is_file():  # a pipe, a device
        with open(path, "w", encoding="utf-8") as lines:
            yield lines.write
        return
    path = path.resolve()  # what a link points to is replaced, not the link
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as lines:
            yield lines.write
            lines.flush()
            os.fsync(handle)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@click.command("import")
@click.argument("queue", type=QUEUE)
@click.argument("file", type=FILE)
@common_options
@pass_settings
def import_(settings: Settings, queue: str, file: str) -> int:
    """Send the messages of FILE, which `rqsqs export` wrote, to QUEUE; - is stdin.

    Body, attributes, message group and deduplication id stay; a delayed message becomes visible when it would have
    before. Messages are sent in the order in which they were sent first, so the order of message groups stays. They
    are new messages: message id, time of sending, receives and where a dead letter came from begin anew.

    A message whose deduplication id QUEUE remembers is a duplicate and not stored again. To a FIFO queue a message
    without one is sent with its message id instead, so that an import that broke off can be repeated.

    The whole file is looked at first: nothing is sent if one of its lines is no message. Exits with 4 if it is empty.

    \b
    Examples:
      rqsqs import orders orders.jsonl
      rqsqs export orders | rqsqs --url redis://elsewhere:6379/0 import orders -
    """
    target = settings.queue(queue)
    target.counts()  # tells that it exists, before a long file is read
    with _lines(file) as lines:
        places = _in_order(lines)
        outcome = send_all(settings, target, _messages(lines, places, target.is_fifo), len(places), "imported")
    output.note(outcome.sentence("imported", queue))
    return outcome.code


@contextlib.contextmanager
def _lines(file: str) -> Iterator[IO[bytes]]:
    """A file that can be read twice."""
    with contextlib.ExitStack() as stack:
        source = sys.stdin.buffer if file == "-" else stack.enter_context(open(file, "rb"))
        if file != "-" and source.seekable():
            yield source
            return
        copy = stack.enter_context(tempfile.TemporaryFile())
        shutil.copyfileobj(source, copy)
        copy.seek(0)
        yield copy


def _in_order(lines: IO[bytes]) -> list[tuple[str, int, int]]:
    """Where the messages stand, in the order of their sending: the sort key, number and offset of each line.

    A message that was on its way while the file was written can stand there twice: the later line counts.
    """
    places: dict[str | int, tuple[str, int, int]] = {}
    offset = 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            record = records.parsed(number, line)
            _entry(number, record, True)
            order = str(record.get("sequence_number") or record.get("sent_at") or "")
            places[str(record.get("message_id") or "") or number] = (order, number, offset)
        offset += len(line)
    return sorted(places.values())


def _messages(lines: IO[bytes], places: list[tuple[str, int, int]], is_fifo: bool) -> Iterator[Numbered]:
    for _, number, offset in places:
        lines.seek(offset)
        line = lines.readline()
        yield number, len(line), _entry(number, records.parsed(number, line), is_fifo)


def _entry(number: int, record: dict[str, Any], is_fifo: bool) -> Any:
    """The message to send: visible when it would have been, and recognisable for a FIFO queue."""
    if "delay" not in record and "at" not in record:
        is_delayed = record["state"] == "delayed" if "state" in record else not record.get("receive_count")
        timing = {"at": record["visible_at"]} if is_delayed and record.get("visible_at") else {"delay": 0}
        record = record | timing
    if is_fifo and not record.get("deduplication_id") and isinstance(record.get("message_id"), str):
        record = record | {"deduplication_id": record["message_id"]}
    return records.entry_of(number, record, {})
