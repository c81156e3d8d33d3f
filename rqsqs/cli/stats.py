"""`rqsqs stats`: how many messages wait where, and what happened to queues."""

from __future__ import annotations

import time
from collections.abc import Iterable

import click

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.looks import GAUGES, RATES, LooksTable
from rqsqs.cli.parameter_types import QUEUE, duration_from
from rqsqs.cli.report import OK, Column, Results, nothing
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection.looks import Look, Looker
from rqsqs.metric_models import QueueMetrics

NAME = Column("QUEUE", lambda look: f"{look.queue} (paused)" if look.now.is_paused else look.queue)
TOTALS = (
    Column("SENT", lambda look: f"{look.now.sent:,}", "right"),
    Column("RECEIVED", lambda look: f"{look.now.received:,}", "right"),
    Column("DELETED", lambda look: f"{look.now.deleted:,}", "right"),
)


@click.command("stats")
@click.argument("names", metavar="[QUEUE]...", type=QUEUE, nargs=-1)
@click.option("--interval", "-i", type=duration_from(0.1, 86_400),
              help="Look twice, so far apart, and show what happened between, per second.")  # fmt: skip
@reported
def stats(settings: Settings, names: tuple[str, ...], interval: float | None) -> Results:
    """Show how many messages wait in QUEUE, or in all queues, and how many went through. The numbers are exact.

    VISIBLE can be received now, IN FLIGHT was received and not deleted yet, DELAYED becomes visible later; OLDEST is
    the age of the oldest message, as SQS counts ApproximateAgeOfOldestMessage. SENT, RECEIVED and DELETED count since
    the queue was created. With --interval there are rates instead, measured within it: IN/s came, OUT/s left, FAIL/s
    was handed out again or went to the dead-letter queue.

    With --json there is every number of a queue: `rqsqs.QueueMetrics` explains them. `rqsqs top` keeps looking. Exits
    with 4 if there are no queues.

    \b
    Examples:
      rqsqs stats
      rqsqs stats orders orders-dead --interval 1s
      rqsqs stats orders --json | jq .dwell_s.p99
    """
    connection = settings.connect()
    queues = [connection.queue(name) for name in names]

    def read() -> Iterable[QueueMetrics]:
        return [queue.metrics() for queue in queues] if names else connection.metrics()

    looker = Looker(read)
    looks = looker.look()
    if interval is not None:
        time.sleep(interval)
        looks = looker.look()
    if not names:
        _tell_damaged(connection, looks)
    if not looks:
        return nothing(f"no queues{settings.hint}")
    yield LooksTable((NAME, *GAUGES[1:], *(TOTALS if interval is None else RATES)), looks)
    return OK


def _tell_damaged(connection: rqsqs.Connection, looks: list[Look]) -> None:
    """Say which queues could not be read."""
    read = {look.queue for look in looks}
    for queue in connection.queues():
        if queue.name not in read:
            try:
                queue.metrics()
            except rqsqs.QueueDamaged as error:
                output.note(str(error))
            except rqsqs.QueueDoesNotExist:
                continue  # deleted meanwhile
