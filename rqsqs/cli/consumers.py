"""`rqsqs consumers`: the workers that serve the queues, and orders to them."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.groups import Group
from rqsqs.cli.names import QUEUE
from rqsqs.cli.settings import Settings, common_options, pass_settings

COLUMNS = [("CONSUMER", "left"), ("QUEUE", "left"), ("STATE", "left"), ("LAST SEEN", "right"), ("UP", "right"),
           ("SLOTS", "right"), ("IN FLIGHT", "right"), ("OLDEST", "right"), ("DONE", "right"),
           ("FAILED", "right")]  # fmt: skip
MORE_COLUMNS = [("HOST", "left"), ("PID", "right"), ("OLDEST MESSAGE", "left")]
WIDE = 160  # a terminal that has room for all of them
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


@group.command("ls", short_help="Show workers and what they hold; the same as `rqsqs consumers`.")
@click.argument("queues", metavar="[QUEUE]...", type=QUEUE, nargs=-1)
@click.option("--held", is_flag=True, help="List the messages that each of them holds, and since when.")
@common_options
@pass_settings
def list_consumers(settings: Settings, queues: tuple[str, ...], held: bool) -> int:
    """Show the workers that serve QUEUE, or all queues, as their last heartbeats described them.

    A worker that serves several queues has a line for each. STATE: running; draining (it finishes what it holds) and
    evicted; "to drain" if it has not heard of the order yet; lost if its heartbeat has lapsed, for a minute: what it
    held becomes visible by itself. LAST SEEN: so long ago was its last heartbeat. One that holds messages has one every
    few seconds (its --heartbeat-interval), an idle one every 30 s: one that was killed is lost after two of them, or
    40 s. OLDEST is how long it has held a message. UP and OLDEST go by the worker's clock.

    Exits with 4 if there are none.

    \b
    Examples:
      rqsqs consumers
      rqsqs consumers orders --held
      rqsqs consumers --json | jq -r 'select(.state == "lost") | .consumer'
    """
    found = list(_find(settings, queues))
    if not found:
        where = f"of {', '.join(queues)}" if queues else "here"
        output.note(f"no consumers {where}{settings.hint}")
        return 4
    if settings.as_json:
        for consumer in found:
            output.emit(_record(consumer, held))
    elif held:
        for consumer in found:
            _show_held(consumer)
    else:
        _show(found)
    return 0


def _find(settings: Settings, names: Iterable[str]) -> Iterator[rqsqs.Consumer]:
    """Of these queues, or of all; those that work come first."""
    connection = settings.connect()
    for queue in map(connection.queue, names) if names else connection.queues():
        try:
            yield from sorted(queue.consumers(), key=lambda c: (not c.is_alive, c.consumer_id))
        except rqsqs.QueueDoesNotExist:
            if names:
                raise


def _state(consumer: rqsqs.Consumer) -> str:
    return ORDERED.get(consumer.state, consumer.state)


def _moment(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _record(consumer: rqsqs.Consumer, with_held: bool) -> dict[str, Any]:
    """As JSON."""
    oldest = consumer.held[0] if consumer.held else None
    record: dict[str, Any] = {
        "consumer": consumer.consumer_id,
        "queue": consumer.queue,
        "state": "running" if consumer.state in ORDERED else consumer.state,
        "order": consumer.state if consumer.state in ORDERED else None,
        "host": consumer.host,
        "pid": consumer.pid,
        "started_at": _moment(consumer.started_at_ms),
        "last_seen_at": _moment(consumer.last_seen_at_ms),
        "alive_until": _moment(consumer.alive_until_ms),
        "concurrency": consumer.concurrency,
        "in_flight": consumer.in_flight,
        "oldest_message_id": oldest and oldest.message_id,
        "oldest_since": oldest and _moment(oldest.since_ms),
        "succeeded": consumer.succeeded,
        "failed": consumer.failed,
        "statistics": asdict(consumer.statistics),
    }
    if with_held:
        record["held"] = [{"message_id": h.message_id, "since": _moment(h.since_ms)} for h in consumer.held]
    return record


def _show(found: Sequence[rqsqs.Consumer]) -> None:
    """A table; a narrow terminal shows less of what `--json` tells."""
    is_wide = not sys.stdout.isatty() or shutil.get_terminal_size().columns >= WIDE
    rows = []
    for c in found:
        oldest = c.held[0] if c.held else None
        cells = [
            c.consumer_id,
            c.queue,
            _state(c),
            output.since(_moment(c.last_seen_at_ms)),
            output.since(_moment(c.started_at_ms)),
            f"{c.concurrency:,}",
            f"{c.in_flight:,}",
            output.since(_moment(oldest.since_ms)) if oldest else "-",
            f"{c.succeeded:,}",
            f"{c.failed:,}",
        ]
        rows.append([*cells, c.host, str(c.pid), oldest.message_id if oldest else "-"] if is_wide else cells)
    output.table(COLUMNS + MORE_COLUMNS if is_wide else COLUMNS, rows)


def _show_held(consumer: rqsqs.Consumer) -> None:
    """A line about it, then one for each message."""
    about = f"{consumer.consumer_id}  {consumer.queue}  {_state(consumer)}, {consumer.in_flight:,} in flight"
    if not consumer.is_alive:
        about += f", last seen {output.since(_moment(consumer.last_seen_at_ms))} ago"
    output.line(about, bold=True)
    for held in consumer.held:
        since = _moment(held.since_ms)
        output.line(f"  {held.message_id}  {output.since(since):>6}  since {since.astimezone():%H:%M:%S}")
    if consumer.in_flight > len(consumer.held):
        output.line(f"  and {consumer.in_flight - len(consumer.held):,} more that it did not name")


@group.command("drain", short_help="Let workers finish what they hold and take no more.")
@click.argument("consumers", metavar="CONSUMER...", nargs=-1, required=True)
@click.option("--queue", "-q", "queues", type=QUEUE, multiple=True, metavar="QUEUE",
              help="Only of this queue; may be repeated [all].")  # fmt: skip
@click.option("--wait", is_flag=True, help="Return when they have done so.")
@common_options
@pass_settings
def drain(settings: Settings, consumers: tuple[str, ...], queues: tuple[str, ...], wait: bool) -> int:
    """Tell workers to finish what they hold and to take no more. One that is left without a queue ends, with exit code
    0; under `rqsqs worker --processes` it is not replaced.

    They obey with their next heartbeat: within seconds if they are busy, within half a minute if they are idle.

    \b
    Examples:
      rqsqs consumers drain web-1-4711-a1b2c3 --wait
      rqsqs consumers drain web-1-4711-a1b2c3 web-2-815-d4e5f6 --queue orders
      rqsqs consumers orders --json | jq -r .consumer | xargs rqsqs consumers drain
    """
    return _order(settings, "drain", consumers, queues, wait)


@group.command("evict", short_help="Let workers give back at once what they hold and take no more.")
@click.argument("consumers", metavar="CONSUMER...", nargs=-1, required=True)
@click.option("--queue", "-q", "queues", type=QUEUE, multiple=True, metavar="QUEUE",
              help="Only of this queue; may be repeated [all].")  # fmt: skip
@click.option("--wait", is_flag=True, help="Return when they have done so.")
@common_options
@pass_settings
def evict(settings: Settings, consumers: tuple[str, ...], queues: tuple[str, ...], wait: bool) -> int:
    """Tell workers to give back at once what they hold and to take no more, also if handlers are running: the messages
    are visible to others again. Otherwise as `rqsqs consumers drain`.

    \b
    Example:
      rqsqs consumers evict web-1-4711-a1b2c3 --wait
    """
    return _order(settings, "evict", consumers, queues, wait)


def _order(settings: Settings, what: str, wanted: Sequence[str], queues: Sequence[str], wait: bool) -> int:
    """Give an order to each consumer, for each queue it serves; 1 if one of them is not there."""
    found = [c for c in _find(settings, queues) if c.consumer_id in wanted]
    connection, code = settings.connect(), 0
    given: list[rqsqs.Consumer] = []
    for name in dict.fromkeys(wanted):
        mine = [c for c in found if c.consumer_id == name]
        told = [c for c in mine if c.is_alive and getattr(connection.queue(c.queue), what)(c)]
        given += told
        if told:
            _tell(settings, name, what, [c.queue for c in told])
            continue
        code = 1
        reason = "is lost: what it held becomes visible by itself" if mine else f"does not serve {_of(queues)}"
        output.note(f"rqsqs: {name} {reason}{'' if mine else settings.hint}")
    if wait:
        _wait(settings, given)
        for c in given:
            if not settings.as_json:
                output.note(f"{c.consumer_id} has obeyed: {c.queue}")
    return code


def _tell(settings: Settings, name: str, what: str, queues: list[str]) -> None:
    if settings.as_json:
        output.emit({"consumer": name, "order": what, "queues": queues})
    else:
        output.note(f"told {name} to {what}: {', '.join(queues)}")


def _of(queues: Sequence[str]) -> str:
    return ", ".join(queues) or "any queue here"


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
