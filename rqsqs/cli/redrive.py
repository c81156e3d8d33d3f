"""`rqsqs dlq redrive`: dead letters go back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import click

import rqsqs
from rqsqs import _arguments as arguments
from rqsqs.cli import output, paging
from rqsqs.cli.damaged_messages import Damaged, collected
from rqsqs.cli.parameter_types import COUNT, QUEUE
from rqsqs.cli.progress import Meter
from rqsqs.cli.report import NOTHING, OK, REFUSED, Column, Done, Record, Result, Results, Table, nothing
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import words

LOOK_S = 0.1
RUNNING = ("RUNNING", "CANCELLING")
PORTION = 1000  # chosen messages in one task
COLUMNS = (
    Column.number("MESSAGES", "messages"),
    Column.text("FROM", "source"),
    Column("WOULD GO TO", lambda row: " ".join(filter(None, (row["to"], row["problem"] and f"({row['problem']})")))),
)


class _Letter(NamedTuple):
    """What is needed of a message to move it, and where it came from."""

    message_id: str
    group: str | None
    source: str | None


@click.command("redrive", short_help="Move dead letters back where they came from, or elsewhere.")
@click.argument("queue", type=QUEUE)
@click.option("--to", "destination", type=QUEUE, metavar="QUEUE", help="Move them there instead.")
@click.option("--rate", type=int, metavar="N", help="Up to N messages per second, 1 to 500 [as fast as possible].")
@click.option("--max", "-n", "max_messages", type=COUNT, metavar="N", help="Up to N messages, the first in line [all].")
@click.option("--message", "-m", "message_ids", metavar="ID", multiple=True,
              help="Only this message; may be repeated.")  # fmt: skip
@click.option("--cause", metavar="TEXT", help="Only messages whose cause of failure holds TEXT, as `dlq ls` shows it.")
@click.option("--dry-run", is_flag=True, help="Only say what would be moved, and where to.")
@click.option("--no-wait", is_flag=True, help="Run it in a process of its own, and print the id of the task.")
@click.option("--cancel", is_flag=True, help="Cancel the redrive of QUEUE that runs.")
@click.option("--announce", is_flag=True, hidden=True, help="Print the task's id first.")
@reported
def redrive(
    settings: Settings,
    queue: str,
    destination: str | None,
    rate: int | None,
    max_messages: int | None,
    message_ids: tuple[str, ...],
    cause: str | None,
    dry_run: bool,
    no_wait: bool,
    cancel: bool,
    announce: bool,
) -> Results:
    """Move the messages of the dead-letter queue QUEUE back to the queues they came from, or --to another one.

    Those that are visible when it starts are moved; they are new messages there, received 0 times. Ctrl-C cancels it;
    what was moved stays moved. Exits with 4 if there was nothing to move, or no redrive to cancel.

    --message and --cause choose some of them, and --max how many at most. Messages of a group go in their order. What
    is in flight or delayed stays (in a FIFO queue also what waits behind it), and the exit code is 1.

    \b
    Examples:
      rqsqs dlq redrive orders-dead --dry-run
      rqsqs dlq redrive orders-dead
      rqsqs dlq redrive orders-dead --to orders-inspection --rate 50
      rqsqs dlq redrive orders-dead --max 10
      rqsqs dlq redrive orders-dead --message 0199c1a2-7f3e-7000-8000-0123456789ab
      rqsqs dlq redrive orders-dead --cause TimeoutError --max 100 --dry-run
      rqsqs dlq redrive orders-dead --rate 1 --no-wait
      rqsqs dlq redrive orders-dead --cancel
    """
    is_chosen = bool(message_ids) or cause is not None
    if message_ids and (cause is not None or max_messages):
        raise click.UsageError("--message names the messages: --cause and --max do not go with it")
    if is_chosen and no_wait:
        raise click.UsageError("--no-wait does not go with --message and --cause")
    if cancel + dry_run + no_wait > 1 or (cancel and (destination or rate or max_messages or is_chosen)):
        raise click.UsageError("--cancel, --dry-run and --no-wait exclude each other; --cancel stands alone")
    if cancel:
        return _cancel(settings.queue(queue))
    chosen = _Redrive(settings, settings.queue(queue), destination, rate, max_messages, message_ids, cause)
    if dry_run:
        return chosen.dry_run()
    if no_wait:
        return chosen.in_background()
    return chosen.move_some() if is_chosen else chosen.move_all(announce)


@dataclass(frozen=True)
class _Redrive:
    settings: Settings
    queue: rqsqs.Queue
    destination: str | None
    rate: int | None
    most: int | None
    message_ids: tuple[str, ...]
    cause: str | None

    def move_all(self, announce: bool) -> Results:
        """Move all in one task of the server, and show how far it is."""
        queue, is_quiet = self.queue, self.settings.as_json or announce
        with _refusals():
            task_id = queue.redrive(self.destination, max_per_second=self.rate, max_messages=self.most)
        if announce:
            output.line(task_id)
            sys.stdout.flush()
        try:
            with Meter("moving", min(queue.counts().visible, self.most or sys.maxsize), quiet=is_quiet) as meter:
                while (task := _task(queue, task_id)).status in RUNNING:
                    meter.reached(task.moved, task.to_move)
                    time.sleep(LOOK_S)
        except KeyboardInterrupt:
            output.note(f"cancelled; {words.counted(_stop(queue, task_id), 'message')} had been moved")
            raise click.Abort from None
        is_done = task.status == "COMPLETED"
        if self.settings.as_json or (is_done and not announce):
            back = f"to {task.destination}" if task.destination else "back"
            about = f"moved {words.counted(task.moved, 'message')} {back}" if task.moved else f"{queue.name} is empty"
            yield Done(about, **_record(task))
        if not is_done:
            reason = _REASONS.get(task.failure_reason or "", task.failure_reason or task.status.lower())
            raise click.ClickException(f"the redrive stopped after {words.counted(task.moved, 'message')}: {reason}")
        return OK if task.moved else NOTHING

    def move_some(self) -> Results:
        """Move single messages, as many in one task as one call takes."""
        is_wanted = self._test()
        wanted: list[Any] = sorted({name.lower() for name in self.message_ids})  # ids ascend as messages were sent
        if not self.message_ids:
            wanted = list(self._wanted(is_wanted))
        moved = 0
        not_found: list[str] = []
        failed: dict[str, str] = {}
        try:
            with Meter("moving", len(wanted), quiet=self.settings.as_json) as meter, _refusals():
                for i in range(0, len(wanted), PORTION):
                    portion = wanted[i : i + PORTION]
                    done = self.queue.redrive_messages(portion, self.destination, max_per_second=self.rate)
                    moved += len(done.moved)
                    not_found += done.not_found
                    failed |= done.failed
                    meter.advance(len(portion))
                    if "Cancelled" in done.failed.values():
                        break
        except KeyboardInterrupt:
            output.note("interrupted; what had been moved stays moved")
            raise click.Abort from None
        for reason, count in Counter(failed.values()).items():
            output.note(f"{words.counted(count, 'message')} not moved: {_REASONS.get(reason, reason)}")
        to, name = self.destination, self.queue.name
        about = f"moved {words.counted(moved, 'message')} {f'to {to}' if to else 'back'}"
        if self.message_ids:
            about += f", {len(not_found):,} not found" if not_found else ""
        elif not wanted:
            about = f"no message in {name} failed with {self.cause!r}"
        elif not_found:
            about += f", {len(not_found):,} gone meanwhile"
        yield Done(about, queue=name, to=to, moved=moved, not_found=not_found, failed=failed)
        return REFUSED if failed else OK if moved else NOTHING

    def dry_run(self) -> Results:
        """Count by source, without touching anything."""
        queue, exists = self.queue, self.settings.connect().exists
        sources = Counter(letter.source for letter in self._wanted(self._test()))
        if self.destination is not None and not exists(self.destination):
            raise click.ClickException(f"the queue {self.destination!r} to move to does not exist")
        if not queue.dead_letter_sources():
            raise click.ClickException(f"{queue.name!r} is not the dead-letter queue of any queue")
        rows = []
        for source, count in sources.most_common():
            target = self.destination or source
            problem = None
            if target is None:
                problem = "sent here, came from nowhere"
            elif self.destination is None and not exists(target):
                problem = "does not exist"
            rows.append({"queue": queue.name, "source": source, "to": target, "messages": count, "problem": problem})
        if not rows:
            is_empty = not queue.counts().visible
            return nothing(f"{queue.name} is empty" if is_empty else f"no such message is visible in {queue.name}")
        yield Table(COLUMNS, rows)
        if any(row["problem"] for row in rows):
            raise click.ClickException("the redrive would stop at messages that cannot go back; say --to")
        return OK

    def in_background(self) -> Results:
        """A task needs a process that drives it: start one of its own, which outlives this one."""
        command = [sys.executable, "-m", "rqsqs", "dlq", "redrive", self.queue.name, "--announce"]
        for option, value in (("--to", self.destination), ("--rate", self.rate), ("--max", self.most)):
            command += [] if value is None else [option, str(value)]
        environment = os.environ | {"RQSQS_PREFIX": self.settings.prefix}
        if self.settings.url:
            environment["RQSQS_URL"] = self.settings.url  # not among the arguments: it may hold a password
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        task_id = process.stdout.readline().strip()
        if not task_id:
            output.lines(process.stderr.read().rstrip("\n"), err=True)
            return process.wait()
        yield Result(task_id, queue=self.queue.name, to=self.destination, task_id=task_id, status="RUNNING")
        return OK

    def _test(self) -> Callable[[rqsqs.Message | Damaged], bool]:
        """Is a message among the chosen ones?"""
        wanted, cause = {arguments.message_id(name).lower() for name in self.message_ids}, self.cause
        if wanted:
            return lambda message: message.message_id in wanted
        return lambda m: cause is None or (m.cause is not None and cause in f"{m.cause.type}: {m.cause.message}")

    def _wanted(self, is_wanted: Callable[[rqsqs.Message | Damaged], bool]) -> Iterator[_Letter]:
        """The first visible messages that are chosen, in their order; damaged ones behind the others of their page."""
        left, queue = self.most or sys.maxsize, self.queue
        with collected() as damaged, Meter("looking", queue.counts().visible, quiet=self.settings.as_json) as meter:
            for _, page in paging.pages(queue, ("visible",)):
                found = [_Letter(m.message_id, m.group, m.dead_letter_source) for m in page if is_wanted(m)]
                found += [_Letter(m.message_id, None, m.source) for m in damaged if is_wanted(m)]
                yield from found[:left]
                meter.advance(len(page) + len(damaged))
                damaged.clear()
                left -= len(found)
                if left <= 0:
                    return


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Say how to end the task that is in the way."""
    try:
        yield
    except rqsqs.MoveTaskRefused as error:
        hint = "; --cancel ends it" if error.detail == "already_running" else ""
        raise click.ClickException(f"{error}{hint}") from None


_REASONS = {
    "NotVisible": "in flight or delayed, or behind such a message of its group",
    "Cancelled": "the redrive was cancelled",
    "CouldNotDetermineMessageSource": "the next message was sent to this queue, it came from nowhere; say --to",
    "AWS.SimpleQueueService.NonExistentQueue": "the queue the next message came from does not exist; say --to",
}


def _record(task: rqsqs.MoveTask) -> Record:
    return {
        "queue": task.source,
        "to": task.destination,
        "task_id": task.task_id,
        "status": task.status,
        "moved": task.moved,
        "failure_reason": task.failure_reason,
    }


def _task(queue: rqsqs.Queue, task_id: str) -> rqsqs.MoveTask:
    return next(task for task in queue.move_tasks() if task.task_id == task_id)


def _stop(queue: rqsqs.Queue, task_id: str) -> int:
    """Cancel a task, wait for its end, and return how many messages were moved."""
    moved = queue.cancel_redrive(task_id)
    deadline = time.monotonic() + 5
    while (task := _task(queue, task_id)).status in RUNNING and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    return max(moved, task.moved)


def _cancel(queue: rqsqs.Queue) -> Results:
    running = next((task for task in queue.move_tasks() if task.status == "RUNNING"), None)
    if running is None:
        return nothing(f"no redrive of {queue.name} is running")
    moved = _stop(queue, running.task_id)
    about = f"cancelled; {words.counted(moved, 'message')} had been moved"
    yield Done(about, **_record(_task(queue, running.task_id)))
    return OK
