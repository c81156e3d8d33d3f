"""`rqsqs stats`: how much waits where."""

from __future__ import annotations

import click

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.names import QUEUE
from rqsqs.cli.settings import Settings, common_options, pass_settings

COLUMNS = [("QUEUE", "left"), ("VISIBLE", "right"), ("IN FLIGHT", "right"), ("DELAYED", "right"), ("OLDEST", "right")]


@click.command("stats")
@click.argument("names", metavar="[QUEUE]...", type=QUEUE, nargs=-1)
@common_options
@pass_settings
def stats(settings: Settings, names: tuple[str, ...]) -> int:
    """Show how many messages wait in QUEUE, or in all queues. The numbers are exact.

    VISIBLE can be received now, IN FLIGHT was received and not deleted yet, DELAYED becomes visible later; OLDEST is
    the age of the oldest message. `rqsqs top` keeps looking. Exits with 4 if there are no queues.

    \b
    Examples:
      rqsqs stats
      rqsqs stats orders orders-dead --json
    """
    connection = settings.connect()
    queues = [connection.queue(name) for name in names] if names else list(connection.queues())
    rows: list[tuple[str, rqsqs.Counts, bool]] = []
    for queue in queues:
        try:
            rows.append((queue.name, queue.counts(), queue.info().is_paused))
        except (rqsqs.QueueDoesNotExist, rqsqs.QueueDamaged) as error:
            if names:
                raise
            if isinstance(error, rqsqs.QueueDamaged):
                output.note(str(error))
    if not rows:
        output.note(f"no queues{settings.hint}")
        return 4
    ages = [output.oldest_age(counts) for _, counts, _ in rows]
    if settings.as_json:
        for (name, counts, is_paused), oldest in zip(rows, ages, strict=True):
            output.emit(
                {
                    "queue": name,
                    "visible": counts.visible,
                    "in_flight": counts.in_flight,
                    "delayed": counts.delayed,
                    "oldest_age_s": None if oldest is None else round(oldest, 3),
                    "paused": is_paused,
                }
            )
        return 0
    cells = [
        (
            f"{name} (paused)" if is_paused else name,
            f"{counts.visible:,}",
            f"{counts.in_flight:,}",
            f"{counts.delayed:,}",
            "-" if oldest is None else output.age(oldest),
        )
        for (name, counts, is_paused), oldest in zip(rows, ages, strict=True)
    ]
    output.table(COLUMNS, cells)
    return 0
