"""`rqsqs consumers`: the workers that serve the queues, and orders to them."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import click

import rqsqs
from rqsqs._base_message import moment
from rqsqs.cli import output
from rqsqs.cli.parameter_types import QUEUE
from rqsqs.cli.report import OK, REFUSED, Column, Done, Record, Result, Results, Table, nothing
from rqsqs.cli.settings import Group, Settings, common_options, reported
from rqsqs.inspection import words

COLUMNS = (
    Column.text("CONSUMER", "consumer"),
    Column.text("QUEUE", "queue"),
    Column("STATE", lambda row: _state(row)),
    Column.since("LAST SEEN", "last_seen_at"),
    Column.since("UP", "started_at"),
    Column.number("SLOTS", "concurrency"),
    Column.number("IN FLIGHT", "in_flight"),
    Column.since("OLDEST", "oldest_since"),
    Column.number("DONE", "succeeded"),
    Column.number("FAILED", "failed"),
)
MORE_COLUMNS = (
    Column.text("HOST", "host"),
    Column("PID", lambda row: str(row["pid"]), "right"),
    Column.text("OLDEST MESSAGE", "oldest_message_id"),
)
WIDE = 160  # a terminal that has room for all of them; another one shows less of what `--json` tells
ORDERED = {"drain": "to drain", "evict": "to be evicted"}  # and does not know it yet
LOOK_S = 0.25


class Listing(Group):
    """A group of commands that lists if none of them is named: `consumers orders` is `consumers ls orders`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `ls` in front of what is no command."""
        rest = iter(args)
        first = next((word for word in rest if not self._is_common(word, rest)), None)
        if first not in self.commands and first not in ctx.help_option_names:
            args = ["ls", *args]
        return super().parse_args(ctx, args)

    def _is_common(self, word: str, rest: Iterator[str]) -> bool:
        """An option that stands before the name of a command as well; takes its value from `rest`."""
        if word in ("--url", "--prefix"):
            next(rest, None)
        return word in ("--url", "--prefix", "--json") or word.startswith(("--url=", "--prefix="))


@click.group("consumers", cls=Listing,
             options_metavar="[QUEUE]... [--held] |", subcommand_metavar="COMMAND [ARGS]...")  # fmt: skip
@common_options
def group() -> None:
    """Show the workers that serve QUEUE, or all queues: see `rqsqs consumers ls --help`. Or give them orders.

    \b
    Examples:
      rqsqs consumers
      rqsqs consumers orders --held
      rqsqs consumers drain web-1-4711-a1b2c3 --wait
    """


@group.command("ls", short_help="Show workers and their messages; the same as `rqsqs consumers`.")
@click.argument("queues", metavar="[QUEUE]...", type=QUEUE, nargs=-1)
@click.option("--held", is_flag=True, help="List the messages that each of them holds, and since when.")
@reported
def list_consumers(settings: Settings, queues: tuple[str, ...], held: bool) -> Results:
    """Show the workers that serve QUEUE, or all queues, as their last heartbeats described them.

    A worker that serves several queues has a line for each. STATE: running; draining (it finishes its messages);
    evicted; "to drain" until its next heartbeat; lost for a minute after its heartbeat lapsed: its messages become
    visible by themselves. LAST SEEN is the time since its last heartbeat. One that holds messages has one every
    few seconds (its --heartbeat-interval), an idle one every 30 s: one that was killed is lost after two of them, or
    40 s. OLDEST is how long it has held a message. UP and OLDEST go by the worker's clock.

    Exits with 4 if there are none.

    \b
    Examples:
      rqsqs consumers
      rqsqs consumers orders --held
      rqsqs consumers --json | jq -r 'select(.state == "lost") | .consumer'
    """
    rows = [_record(consumer, held) for consumer in _find(settings, queues)]
    if not rows:
        where = f"of {', '.join(queues)}" if queues else "here"
        return nothing(f"no consumers {where}{settings.hint}")
    if held:
        yield from (Held(**row) for row in rows)
    else:
        is_wide = not sys.stdout.isatty() or shutil.get_terminal_size().columns >= WIDE
        yield Table(COLUMNS + MORE_COLUMNS if is_wide else COLUMNS, rows)
    return OK


def _find(settings: Settings, names: Iterable[str]) -> Iterator[rqsqs.Consumer]:
    """Of these queues, or of all; those that work come first."""
    connection = settings.connect()
    for queue in map(connection.queue, names) if names else connection.queues():
        try:
            yield from sorted(queue.consumers(), key=lambda c: (not c.is_alive, c.consumer_id))
        except rqsqs.QueueDoesNotExist:
            if names:
                raise


def _record(consumer: rqsqs.Consumer, with_held: bool) -> Record:
    oldest = consumer.held[0] if consumer.held else None
    record: Record = {
        "consumer": consumer.consumer_id,
        "queue": consumer.queue,
        "state": "running" if consumer.state in ORDERED else consumer.state,
        "order": consumer.state if consumer.state in ORDERED else None,
        "host": consumer.host,
        "pid": consumer.pid,
        "started_at": moment(consumer.started_at_ms),
        "last_seen_at": moment(consumer.last_seen_at_ms),
        "alive_until": moment(consumer.alive_until_ms),
        "concurrency": consumer.concurrency,
        "in_flight": consumer.in_flight,
        "oldest_message_id": oldest and oldest.message_id,
        "oldest_since": oldest and moment(oldest.since_ms),
        "succeeded": consumer.succeeded,
        "failed": consumer.failed,
        "statistics": asdict(consumer.statistics),
    }
    if with_held:
        record["held"] = [{"message_id": h.message_id, "since": moment(h.since_ms)} for h in consumer.held]
    return record


def _state(row: Record) -> str:
    return ORDERED.get(row["order"]) or str(row["state"])


class Held(Result):
    def show(self) -> None:
        row = self.record
        about = f"{row['consumer']}  {row['queue']}  {_state(row)}, {row['in_flight']:,} in flight"
        if row["state"] == "lost":
            about += f", last seen {words.since(row['last_seen_at'])} ago"
        output.line(about, bold=True)
        for held in row["held"]:
            began = held["since"]
            output.line(f"  {held['message_id']}  {words.since(began):>6}  since {began.astimezone():%H:%M:%S}")
        if row["in_flight"] > len(row["held"]):
            output.line(f"  and {row['in_flight'] - len(row['held']):,} more that it did not name")


def _order(name: str, short_help: str, text: str) -> None:
    """`drain` and `evict`."""

    @group.command(name, short_help=short_help, help=text)
    @click.argument("consumers", metavar="CONSUMER...", nargs=-1, required=True)
    @click.option("--queue", "-q", "queues", type=QUEUE, multiple=True, metavar="QUEUE",
                  help="Only of this queue; may be repeated [all].")  # fmt: skip
    @click.option("--wait", is_flag=True, help="Return when they have done so.")
    @reported
    def order(settings: Settings, consumers: tuple[str, ...], queues: tuple[str, ...], wait: bool) -> Results:
        found = [c for c in _find(settings, queues) if c.consumer_id in consumers]
        connection, code = settings.connect(), OK
        given: list[rqsqs.Consumer] = []
        for wanted in dict.fromkeys(consumers):
            mine = [c for c in found if c.consumer_id == wanted]
            told = [c for c in mine if c.is_alive and getattr(connection.queue(c.queue), name)(c)]
            given += told
            if told:
                served = [c.queue for c in told]
                yield Done(f"told {wanted} to {name}: {', '.join(served)}", consumer=wanted, order=name, queues=served)
                continue
            code = REFUSED
            reason = "is lost: what it held becomes visible by itself"
            if not mine:
                reason = f"does not serve {', '.join(queues) or 'any queue here'}{settings.hint}"
            output.note(f"rqsqs: {wanted} {reason}")
        if wait:
            _wait(settings, given)
            for c in given if not settings.as_json else ():
                output.note(f"{c.consumer_id} has done so: {c.queue}")
        return code


_order(
    "drain",
    "Let workers finish what they hold and take no more.",
    """Tell workers to finish the messages they hold and to take no more. A worker that is left without a queue ends,
    with exit code 0; under `rqsqs worker --processes` it is not replaced.

    Workers see the order at their next heartbeat: within seconds if they are busy, within half a minute if they are
    idle.

    \b
    Examples:
      rqsqs consumers drain web-1-4711-a1b2c3 --wait
      rqsqs consumers drain web-1-4711-a1b2c3 web-2-815-d4e5f6 --queue orders
      rqsqs consumers orders --json | jq -r .consumer | xargs rqsqs consumers drain
    """,
)
_order(
    "evict",
    "Let workers give back at once what they hold and take no more.",
    """Tell workers to give back at once the messages they hold and to take no more, also if handlers are running:
    others can receive the messages again. Otherwise as `rqsqs consumers drain`.

    \b
    Example:
      rqsqs consumers evict web-1-4711-a1b2c3 --wait
    """,
)


def _wait(settings: Settings, given: Sequence[rqsqs.Consumer]) -> None:
    """Until they are gone, or hold nothing any more and say that they take nothing."""
    left = {(c.queue, c.consumer_id) for c in given}
    while left:
        queues = sorted({queue for queue, _ in left})
        try:
            busy = {
                (c.queue, c.consumer_id)
                for c in _find(settings, queues)
                if c.is_alive and (c.in_flight or c.state not in ("draining", "evicted"))
            }
        except rqsqs.QueueDoesNotExist:  # deleted meanwhile: look for the others
            alive = {queue.name for queue in settings.connect().queues()}
            left = {(queue, name) for queue, name in left if queue in alive}
            continue
        left &= busy
        if left:
            time.sleep(LOOK_S)
