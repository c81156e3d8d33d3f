"""`rqsqs chaos`: try a set-up while things break."""

from __future__ import annotations

import signal
from typing import Any

import click

from rqsqs.cli import output
from rqsqs.cli.parameter_types import DURABILITY, duration_from
from rqsqs.cli.report import OK, REFUSED, Facts, Record, Results
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import words


@click.command("chaos")
@click.option("--seconds", "-s", type=duration_from(0, 86_400), default=20.0, help="How long messages are sent [20].")
@click.option("--fifo", "is_fifo", is_flag=True, help="On a FIFO queue: order and exclusion are checked as well.")
@click.option("--partitions", type=click.IntRange(1, 64), default=1, help="Of the queue [1].")
@click.option("--producers", type=click.IntRange(1, 100), default=2, help="Processes that send [2].")
@click.option("--consumers", type=click.IntRange(1, 100), default=4, help="Processes that receive [4].")
@click.option("--rate", type=click.FloatRange(1, 100_000), default=200.0, help="Messages a second [200].")
@click.option("--durability", type=DURABILITY, metavar="TEXT", default="",
              help="Let sends wait for replicas or disk, and deletes too: replicas=1,deletes or aof,timeout=0.5. Else "
              "the variable RQSQS_DURABILITY.")  # fmt: skip
@click.option("--fault", "commands", multiple=True, metavar="COMMAND",
              help="A command of yours that breaks something, as a restart of a server. Repeatable.")  # fmt: skip
@click.option("--kill/--no-kill", default=True, help="Kill consumers with SIGKILL [yes].")
@click.option("--freeze/--no-freeze", default=True, help="Let consumers stand still [yes].")
@click.option("--every", type=duration_from(0, 86_400), default=3.0, help="About how long between two faults [3].")
@reported
def chaos(
    settings: Settings, /, commands: tuple[str, ...], kill: bool, freeze: bool, every: float, **options: Any
) -> Results:
    """Send and receive with many processes while things break, and prove from what each of them was told that every
    acknowledged message was delivered, that none came back after it was deleted, and that FIFO groups kept their order.

    It works on a queue of its own, under a key prefix of its own, and removes it in the end. Exits with 1 if a promise
    was broken.

    \b
    Examples:
      rqsqs chaos --fifo
      rqsqs --url redis://db:6379/0 chaos --seconds 5m --fault "ssh db systemctl restart valkey"
      rqsqs --url redis+cluster://db1,db2 chaos --durability replicas=1 --fault ./kill-a-master
    """
    from rqsqs.cli.chaos.trial import Trial

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    faults: list[Any] = [Trial.command(line) for line in commands]
    faults += [Trial.kill_consumer] * kill + [Trial.freeze_consumer] * freeze
    with Trial(settings.server, say=output.note, **options) as trial:
        verdict = trial.run(faults, every)
    rows: Record = {
        "faults": len(trial.faults),
        "sent": verdict.sent,
        "outcome unknown": verdict.unknown,
        "delivered": verdict.delivered,
        "redelivered": verdict.redelivered,
        "stored twice": len(verdict.doubled),
        "calls that failed": verdict.errors,
        "longest pause": round(verdict.longest_pause_s, 3),
        "left in the queue": trial.left,
    }
    broken = verdict.broken
    record: Record = {name.replace(" ", "_"): value for name, value in rows.items()}
    record["broken"] = {name: [str(item) for item in items[:20]] for name, items in broken.items()}
    shown = rows | {"longest pause": words.age(verdict.longest_pause_s)}
    yield Facts("chaos", [(name, str(value)) for name, value in shown.items()], **record)
    for name, items in broken.items():
        output.note(f"BROKEN: {words.counted(len(items), 'message')} {name}: {', '.join(map(str, items[:5]))}")
    if trial.left > 0:
        output.note(f"BROKEN: {words.counted(trial.left, 'message')} could not be received any more")
    elif trial.left:
        output.note("BROKEN: the server could not tell any more what is left")
    if not broken and not trial.left:
        output.note("every promise was kept")
    return REFUSED if broken or trial.left else OK
