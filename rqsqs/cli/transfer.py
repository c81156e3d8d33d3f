"""`rqsqs export` and `rqsqs import`: a queue's messages into a file, and from a file into a queue."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from rqsqs.cli import message_json, output, paging
from rqsqs.cli.parameter_types import FILE, QUEUE
from rqsqs.cli.progress import Meter
from rqsqs.cli.report import NOTHING, OK, REFUSED, Done, Results
from rqsqs.cli.sending import Numbered, send_all
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import words
from rqsqs.inspection.bodies import record_of

MOST_LINES = 10_000_000  # of a file to import: else one that never ends would fill the disk


@click.command("export")
@click.argument("queue", type=QUEUE)
@click.argument("file", default="-", type=FILE)
@paging.state_option("Only messages that are so; may be repeated [all].")
@reported
def export(settings: Settings, queue: str, file: str, states: tuple[str, ...]) -> Results:
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
    wanted = paging.chosen(states)
    target, written = settings.queue(queue), 0
    expected = paging.total(target.counts(), wanted)
    is_watched = file == "-" and sys.stdout.isatty()  # messages run over the same terminal as the progress would
    with (
        _complete_or_nothing(file) as write,
        Meter("exporting", expected, quiet=settings.as_json or is_watched) as meter,
    ):
        for state, page in paging.pages(target, wanted):
            for message in page:
                write(output.as_line(record_of(message, state)) + "\n")
            written += len(page)
            meter.advance(len(page))
    about = f"exported {words.counted(written, 'message')} of {queue}"
    if file == "-":
        output.note(about)
    else:
        yield Done(f"{about} to {file}", queue=queue, file=file, messages=written)
    if settings.passed_over:
        output.note(f"{words.counted(settings.passed_over, 'message')} could not be read: the copy is not complete")
        return REFUSED
    return OK if written else NOTHING


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
@reported
def import_(settings: Settings, queue: str, file: str) -> Results:
    """Send the messages of FILE, which `rqsqs export` wrote, to QUEUE; - is stdin.

    Body, attributes, message group, deduplication id and trace context stay; a delayed message becomes visible when it
    would have before. Messages are sent in the order in which they were sent first, so the order of message groups
    stays. They are new messages: message id, time of sending, receives and where a dead letter came from begin anew.

    A message whose deduplication id QUEUE remembers is a duplicate and not stored again. To a FIFO queue a message
    without one is sent with its message id instead, so that an import that broke off can be repeated.

    The whole file is looked at first: nothing is sent if one of its lines is no message. Exits with 4 if it is empty.

    \b
    Examples:
      rqsqs import orders orders.jsonl
      rqsqs export orders | rqsqs --url redis://elsewhere:6379/0 import orders -
    """
    target = settings.queue(queue)
    longest = message_json.longest_line(target)  # tells that it exists, before a long file is read
    with contextlib.ExitStack() as stack:
        source = sys.stdin.buffer if file == "-" else stack.enter_context(open(file, "rb"))
        is_kept = Path(file).is_file() and file != "-"
        lines = source if is_kept else stack.enter_context(tempfile.TemporaryFile())  # is read twice
        places = stack.enter_context(Places())
        for number, line in enumerate(message_json.lines_of(source, longest), 1):
            if number > MOST_LINES:
                raise click.UsageError(f"a file must have at most {MOST_LINES:,} lines, got more: import it in parts")
            if not is_kept:
                lines.write(line)
            places.note(number, line)
        messages = _messages(lines, places, target.is_fifo)
        outcome = yield from send_all(settings, target, messages, len(places), "imported")
    output.note(outcome.sentence("imported", queue))
    return outcome.code


class Places:
    """Where the messages of a file stand, in the order of their sending. It is kept in a file of its own, which has no
    name: there may be millions of them.

    A message that was on its way while the file was written can stand there twice: the later line counts.
    """

    def __init__(self) -> None:
        try:
            import sqlite3
        except ImportError:
            raise click.ClickException("import needs the module sqlite3, which this Python was built without") from None
        self._error = sqlite3.Error
        self._table = sqlite3.connect("", isolation_level=None)
        self._table.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        self._table.execute("CREATE TABLE place (id BLOB PRIMARY KEY, sent BLOB, number, start)")
        self._table.execute("BEGIN")
        self._end = 0

    def __enter__(self) -> Places:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._table.close()
        if isinstance(error, self._error):
            raise OSError(f"cannot keep the places of the messages: {error}") from error

    def __len__(self) -> int:
        (count,) = self._table.execute("SELECT count(*) FROM place").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Number of each line, and where it begins."""
        return self._table.execute("SELECT number, start FROM place ORDER BY sent, number")

    def note(self, number: int, line: bytes) -> None:
        """The next line of the file; empty ones hold no message, UsageError if it holds something else."""
        if line.strip():
            record = message_json.parsed(number, line)
            _entry(number, record, True)
            name = _bytes(record["message_id"]) if record.get("message_id") else number
            sent = _bytes(record.get("sequence_number") or record.get("sent_at") or "")
            self._table.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?)", (name, sent, number, self._end))
        self._end += len(line)


def _bytes(value: object) -> bytes:
    return str(value).encode(errors="surrogatepass")


def _messages(lines: IO[bytes], places: Places, is_fifo: bool) -> Iterator[Numbered]:
    for number, start in places:
        lines.seek(start)
        line = lines.readline()
        yield number, len(line), _entry(number, message_json.parsed(number, line), is_fifo)


def _entry(number: int, record: dict[str, Any], is_fifo: bool) -> Any:
    """The message to send: visible when it would have been, and recognisable for a FIFO queue."""
    if "delay" not in record and "at" not in record:
        is_delayed = record["state"] == "delayed" if "state" in record else not record.get("receive_count")
        timing = {"at": record["visible_at"]} if is_delayed and record.get("visible_at") else {"delay": 0}
        record = record | timing
    if is_fifo and not record.get("deduplication_id") and isinstance(record.get("message_id"), str):
        record = record | {"deduplication_id": record["message_id"]}
    return message_json.entry_of(number, record, {})
