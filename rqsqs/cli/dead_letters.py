"""`rqsqs redrive`: dead letters go back."""

from __future__ import annotations

import time

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.settings import Settings, common_options, pass_settings

LOOK_S = 0.1


@click.command("redrive", short_help="Move dead letters back where they came from.")
@click.argument("queue")
@click.option("--to", "destination", metavar="QUEUE", help="Move them there instead of where they came from.")
@click.option("--rate", type=int, metavar="N", help="At most so many a second, 1 to 500 [as fast as it goes].")
@common_options
@pass_settings
def redrive(settings: Settings, queue: str, destination: str | None, rate: int | None) -> int:
    """Move the messages of the dead-letter queue QUEUE back to the queues they came from.

    Those that are visible when it starts are moved. Ctrl-C stops it; what was moved stays moved. Exits with 4 if
    there was nothing to move.

    \b
    Examples:
      rqsqs redrive orders-dead
      rqsqs redrive orders-dead --to orders-inspection --rate 50
    """
    dead_letters = settings.queue(queue)
    task_id = dead_letters.redrive(destination, max_per_second=rate)
    columns = (TextColumn("moving"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with output.progress(*columns, quiet=settings.as_json) as progress:
            shown = progress.add_task("", total=None)
            while (task := _task(dead_letters, task_id)).status in ("RUNNING", "CANCELLING"):
                progress.update(shown, completed=task.moved, total=task.to_move)
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        moved = dead_letters.cancel_redrive(task_id)
        output.note(f"cancelled; {output.counted(moved, 'message')} had been moved")
        raise click.Abort from None
    if settings.as_json:
        output.emit(
            {
                "queue": queue,
                "to": task.destination,
                "status": task.status,
                "moved": task.moved,
                "failure_reason": task.failure_reason,
            }
        )
    elif task.status == "COMPLETED":
        back = f"to {task.destination}" if task.destination else "back"
        output.note(f"moved {output.counted(task.moved, 'message')} {back}" if task.moved else f"{queue} is empty")
    if task.status != "COMPLETED":
        reason = task.failure_reason or task.status.lower()
        raise click.ClickException(f"the redrive stopped after {output.counted(task.moved, 'message')}: {reason}")
    return 0 if task.moved else 4


def _task(queue: rqsqs.Queue, task_id: str) -> rqsqs.MoveTask:
    return next(task for task in queue.move_tasks() if task.task_id == task_id)


COMMANDS = (redrive,)
