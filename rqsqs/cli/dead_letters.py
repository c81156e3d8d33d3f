"""`rqsqs dlq ls`: dead-letter queues and why their messages died. `rqsqs dlq redrive` is in its own module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

import rqsqs
from rqsqs.cli import output, paging, redrive
from rqsqs.cli.damaged_messages import Damaged, collected
from rqsqs.cli.message_view import MessageView
from rqsqs.cli.parameter_types import COUNT, QUEUE
from rqsqs.cli.progress import Meter
from rqsqs.cli.report import OK, Column, Record, Result, Results, Table, nothing
from rqsqs.cli.settings import Group, Settings, common_options, reported
from rqsqs.inspection import words
from rqsqs.inspection.causes import Kind, Kinds

COLUMNS = (
    Column.text("QUEUE", "queue"),
    Column("MESSAGES", lambda row: f"{row['visible'] + row['in_flight'] + row['delayed']:,}", "right"),
    Column.age("OLDEST", "oldest_age_s"),
    Column("SOURCES", lambda row: ", ".join(row["sources"])),
)


@click.group("dlq", cls=Group)
@common_options
def group() -> None:
    """Dead letters: messages that were received too often, or that a worker gave up.

    \b
    A usual way:
      rqsqs dlq ls                       which queues hold dead letters
      rqsqs dlq ls orders-dead           what they died of
      rqsqs show orders-dead MESSAGE_ID  one of them, with the traceback
      rqsqs dlq redrive orders-dead      the bug is fixed: back where they came from
    """


@group.command("ls", short_help="List dead-letter queues, or the causes of failure in one.")
@click.argument("queue", type=QUEUE, required=False)
@click.option("--max", "-n", "max_messages", type=COUNT, default=100_000, metavar="N",
              help="Look at up to N messages of QUEUE [100000].")  # fmt: skip
@click.option("--messages", "-m", "single", is_flag=True, help="List the messages of QUEUE one by one.")
@reported
def list_dead_letters(settings: Settings, queue: str | None, max_messages: int, single: bool) -> Results:
    """List all dead-letter queues: the number of messages, the age of the oldest, and the source queues. Or group the
    messages of QUEUE by their cause of failure, the most frequent first.

    Workers report the cause: the type and text of the exception. Texts that differ only in numbers and ids count as one
    and show … there. ReceivedTooOften means that nobody reported a cause: the consumers of these messages died, let the
    visibility timeout pass, or gave them back. MessageDamaged means that a message cannot be read: `rqsqs cancel`
    removes it, `rqsqs dlq redrive` moves it as it is.

    Exits with 4 if there is no dead-letter queue, or no message in QUEUE.

    \b
    Examples:
      rqsqs dlq ls
      rqsqs dlq ls orders-dead
      rqsqs dlq ls orders-dead --messages --max 20
    """
    if queue is None:
        if single:
            raise click.UsageError("--messages goes with QUEUE")
        return _list_queues(settings)
    if single:
        return _list_messages(settings.queue(queue), max_messages)
    return _list_causes(settings, settings.queue(queue), max_messages)


def _list_queues(settings: Settings) -> Results:
    rows = []
    for queue in settings.connect().queues():
        try:
            if sources := queue.dead_letter_sources():
                rows.append({"queue": queue.name, "sources": sources} | paging.counts_record(queue.counts()))
        except (rqsqs.QueueDoesNotExist, rqsqs.QueueDamaged):
            continue  # deleted meanwhile, or for doctor
    if not rows:
        return nothing(f"no queue is a dead-letter queue{settings.hint}")
    yield Table(COLUMNS, rows)
    return OK


def _list_causes(settings: Settings, queue: rqsqs.Queue, max_messages: int) -> Results:
    kinds, seen, total = Kinds(), 0, paging.total(queue.counts())
    with Meter("looking", min(total, max_messages), quiet=settings.as_json) as meter:
        for page in _pages(queue, max_messages):
            for message in page:
                kinds.add(message)
            seen += len(page)
            meter.advance(len(page))
    found = kinds.most_frequent_first()
    if not found:
        return nothing(f"no message in {queue.name}")
    yield Causes(found)
    if seen == max_messages < total:
        output.note(f"looked at {seen:,} of {total:,} messages; --max looks at more")
    return OK


@dataclass
class Causes(Result):
    """Kinds of failure, the number of messages in front."""

    kinds: list[Kind]

    def records(self) -> list[Record]:
        return [kind.record() for kind in self.kinds]

    def show(self) -> None:
        widest = max(len(f"{kind.count:,}") for kind in self.kinds)
        for kind in self.kinds:
            newest, oldest = words.since(kind.newest), words.since(kind.oldest)
            sent = f"sent {newest} ago" if newest == oldest else f"sent {newest} to {oldest} ago"
            source = f"from {kind.source}, " if kind.source is not None else ""
            output.hanging(f"{kind.count:>{widest},}  ", kind.text, bold=True)
            output.hanging(" " * (widest + 2), f"{source}{sent}, for example {kind.example}", dim=True)


def _list_messages(queue: rqsqs.Queue, max_messages: int) -> Results:
    seen = 0
    for page in _pages(queue, max_messages):
        seen += len(page)
        yield from (m if isinstance(m, Damaged) else MessageView(m, with_reason=True) for m in page)
    return OK if seen else nothing(f"no message in {queue.name}")


def _pages(queue: rqsqs.Queue, max_messages: int) -> Iterator[list[rqsqs.Message | Damaged]]:
    left = max_messages
    with collected() as damaged:
        for _, page in paging.pages(queue, paging.STATES):
            found: list[rqsqs.Message | Damaged] = [*page, *damaged]
            damaged.clear()
            yield found[:left]
            left -= len(found)
            if left <= 0:
                return


group.add_command(redrive.redrive)
