"""`rqsqs stats`: how many messages wait where."""

from __future__ import annotations

import click

import rqsqs
from rqsqs.cli import output, paging
from rqsqs.cli.parameter_types import QUEUE
from rqsqs.cli.report import OK, Column, Results, Table, nothing
from rqsqs.cli.settings import Settings, reported

COLUMNS = (
    Column("QUEUE", lambda row: f"{row['queue']} (paused)" if row["paused"] else row["queue"]),
    Column.number("VISIBLE", "visible"),
    Column.number("IN FLIGHT", "in_flight"),
    Column.number("DELAYED", "delayed"),
    Column.age("OLDEST", "oldest_age_s"),
)


@click.command("stats")
@click.argument("names", metavar="[QUEUE]...", type=QUEUE, nargs=-1)
@reported
def stats(settings: Settings, names: tuple[str, ...]) -> Results:
    """Show how many messages wait in QUEUE, or in all queues. The numbers are exact.

    VISIBLE can be received now, IN FLIGHT was received and not deleted yet, DELAYED becomes visible later; OLDEST is
    the age of the oldest message. `rqsqs top` keeps looking. Exits with 4 if there are no queues.

    \b
    Examples:
      rqsqs stats
      rqsqs stats orders orders-dead --json
    """
    connection = settings.connect()
    rows = []
    for queue in [connection.queue(name) for name in names] if names else list(connection.queues()):
        try:
            numbers = paging.counts_record(queue.counts())
            rows.append({"queue": queue.name} | numbers | {"paused": queue.info().is_paused})
        except (rqsqs.QueueDoesNotExist, rqsqs.QueueDamaged) as error:
            if names:
                raise
            if isinstance(error, rqsqs.QueueDamaged):
                output.note(str(error))
    if not rows:
        return nothing(f"no queues{settings.hint}")
    yield Table(COLUMNS, rows)
    return OK
