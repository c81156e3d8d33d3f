"""`rqsqs dlq ls`: dead-letter queues and why their messages died. `rqsqs dlq redrive` is in its own module."""

from __future__ import annotations

from collections.abc import Iterator

import click

import rqsqs
from rqsqs.cli import output, records, redrive, scanning
from rqsqs.cli.causes import Kinds
from rqsqs.cli.damaged import Damaged, collected
from rqsqs.cli.groups import Group
from rqsqs.cli.names import QUEUE
from rqsqs.cli.progress import Meter
from rqsqs.cli.settings import Settings, common_options, pass_settings
from rqsqs.cli.values import COUNT


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


@group.command("ls", short_help="List dead-letter queues, or what the messages of one died of.")
@click.argument("queue", type=QUEUE, required=False)
@click.option("--max", "-n", "max_messages", type=COUNT, default=100_000, metavar="N",
              help="Look at so many messages of QUEUE [100000].")  # fmt: skip
@click.option("--messages", "-m", "single", is_flag=True, help="List the messages of QUEUE one by one.")
@common_options
@pass_settings
def list_dead_letters(settings: Settings, queue: str | None, max_messages: int, single: bool) -> int:
    """List all dead-letter queues: how many messages wait there, how old the oldest is, and whose dead letters they
    are. Or put together what the messages of QUEUE died of, the most frequent cause first.

    A cause is what a worker reported: the exception's type and text. Texts that differ in numbers and ids alone count
    as one and show … there. ReceivedTooOften means that nobody reported anything: the consumers of these messages
    died, let the visibility timeout pass, or gave them back; MessageDamaged, that a message cannot be read: `rqsqs
    cancel` takes it out, `rqsqs dlq redrive` moves it as it is.

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
        return _list_messages(settings, settings.queue(queue), max_messages)
    return _list_causes(settings, settings.queue(queue), max_messages)


def _list_queues(settings: Settings) -> int:
    rows: list[tuple[rqsqs.Queue, list[str], rqsqs.Counts]] = []
    for queue in settings.connect().queues():
        try:
            sources = queue.dead_letter_sources()
            if sources:
                rows.append((queue, sources, queue.counts()))
        except (rqsqs.QueueDoesNotExist, rqsqs.QueueDamaged):
            continue  # deleted meanwhile, or for doctor
    if not rows:
        output.note(f"no queue is a dead-letter queue{settings.hint}")
        return 4
    cells = []
    for queue, sources, counts in rows:
        oldest = output.oldest_age(counts)
        if settings.as_json:
            output.emit(
                {
                    "queue": queue.name,
                    "sources": sources,
                    "visible": counts.visible,
                    "in_flight": counts.in_flight,
                    "delayed": counts.delayed,
                    "oldest_age_s": None if oldest is None else round(oldest, 3),
                }
            )
        cells.append(
            (
                queue.name,
                f"{scanning.total(counts):,}",
                "-" if oldest is None else output.age(oldest),
                ", ".join(sources),
            )
        )
    if not settings.as_json:
        output.table([("QUEUE", "left"), ("MESSAGES", "right"), ("OLDEST", "right"), ("SOURCES", "left")], cells)
    return 0


def _list_causes(settings: Settings, queue: rqsqs.Queue, max_messages: int) -> int:
    kinds, seen, total = Kinds(), 0, scanning.total(queue.counts())
    with Meter("looking", min(total, max_messages), quiet=settings.as_json) as meter:
        for page, damaged in _pages(queue, max_messages):
            for message in page:
                kinds.add(message)
            for broken in damaged:
                kinds.add_damaged(broken)
            seen += len(page) + len(damaged)
            meter.advance(len(page) + len(damaged))
    found = kinds.most_frequent_first()
    widest = max((len(f"{kind.count:,}") for kind in found), default=0)
    for kind in found:
        if settings.as_json:
            output.emit(kind.record())
            continue
        newest, oldest = output.since(kind.newest), output.since(kind.oldest)
        sent = f"sent {newest} ago" if newest == oldest else f"sent {newest} to {oldest} ago"
        source = f"from {kind.source}, " if kind.source is not None else ""
        output.hanging(f"{kind.count:>{widest},}  ", kind.text, bold=True)
        output.hanging(" " * (widest + 2), f"{source}{sent}, for example {kind.example}", dim=True)
    if not found:
        output.note(f"no message in {queue.name}")
        return 4
    if seen == max_messages < total:
        output.note(f"looked at {seen:,} of {total:,} messages; --max looks at more")
    return 0


def _list_messages(settings: Settings, queue: rqsqs.Queue, max_messages: int) -> int:
    seen = 0
    for page, damaged in _pages(queue, max_messages):
        seen += len(page) + len(damaged)
        for broken in damaged:
            if settings.as_json:
                output.emit(broken.as_record())
            else:
                broken.show()
        for message in page:
            if settings.as_json:
                output.emit(records.record_of(message))
            else:
                output.show_message(message)
                if message.cause is None and message.dead_letter_source is not None:
                    output.hanging("  ", output.NO_CAUSE)
    if not seen:
        output.note(f"no message in {queue.name}")
    return 0 if seen else 4


def _pages(queue: rqsqs.Queue, max_messages: int) -> Iterator[tuple[list[rqsqs.Message], list[Damaged]]]:
    left = max_messages
    with collected() as damaged:
        for _, page in scanning.pages(queue, scanning.STATES):
            shown = page[:left]
            broken = damaged[: left - len(shown)]
            damaged.clear()
            yield shown, broken
            left -= len(shown) + len(broken)
            if left <= 0:
                return


group.add_command(redrive.redrive)
