"""`rqsqs events`: what was done to queues, and happened to them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.event_rules import group as rules
from rqsqs.cli.metrics_show import WHEN
from rqsqs.cli.parameter_types import QUEUE
from rqsqs.cli.report import OK, Record, Result, Results, nothing
from rqsqs.cli.settings import Group, Settings, common_options, reported
from rqsqs.event_models import KINDS
from rqsqs.inspection.events import changes, facts

COLUMNS, INDENT = 80, 21
_COMMON = ("--url", "--url-file", "--prefix", "--json")


class ShowOrCommand(Group):
    """Shows events if its first word is no command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        left = list(args)
        while left and left[0].partition("=")[0] in _COMMON:  # which may stand in front of a command
            left = left[1 if left[0] == "--json" or "=" in left[0] else 2 :]
        is_command = bool(left) and left[0] in (*self.commands, *ctx.help_option_names)
        if not is_command and not ctx.resilient_parsing:
            args = [show.name or "", *args]
        return super().parse_args(ctx, args)


@click.group("events", cls=ShowOrCommand, subcommand_metavar="[COMMAND] [ARGS]...")
@common_options
def group() -> None:
    """Show what was done to queues, and happened to them, or say what is to be done then.

    \b
    Examples:
      rqsqs events                      the events of the last day
      rqsqs events --since 7d           see rqsqs events show --help
      rqsqs events rules ls             what is done on which events
    """


@group.command("show", short_help="Show events, also without this word.")
@click.option("--since", type=WHEN, default="1d", metavar="TIME", help="From when on: 90m, 3h, 7d ago, or a time [1d].")
@click.option("--until", type=WHEN, metavar="TIME", help="To when, written alike [now].")
@click.option("--queue", type=QUEUE, help="Only what is about this queue, which may be gone.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, metavar="KIND",
              help="Only this kind, such as queue-deleted; can be repeated.")  # fmt: skip
@click.option("--who", metavar="TEXT", help="Only what was done by somebody with this text in name, address or API.")
@click.option("--follow", "-f", is_flag=True, help="Wait for what happens next, until Ctrl-C.")
@reported
def show(
    settings: Settings,
    since: Any,
    until: Any,
    queue: str | None,
    kinds: tuple[str, ...],
    who: str | None,
    follow: bool,
) -> Results:
    """Show what was done to queues, and happened to them: created, deleted, purged, settings, policies and tags
    changed, paused, redriven; dead letters, damage and lost workers; and requests that a gateway denied again and
    again. With who did it, and what there was before.

    The last 10,000 events are kept, for two weeks. The oldest comes first; --json prints an object per line. Exits with
    4 if there is none.

    \b
    Kinds:
      queue-created, queue-deleted, queue-purged, settings-changed,
      policy-changed, tags-changed, queue-paused, queue-resumed,
      group-paused, group-resumed, redrive-started,
      redrive-cancelled, redrive-ended, worker-commanded,
      dead-lettered, damage-found, worker-lost, access-denied,
      alarm-changed, messages-changed, sessions-ended

    \b
    Examples:
      rqsqs events
      rqsqs events --queue orders --since 7d
      rqsqs events --kind queue-deleted --kind queue-purged --json
      rqsqs events --follow --who gateway
    """
    is_any = False
    end = datetime.now(UTC) - until if isinstance(until, timedelta) else until
    found = settings.connect().events(since, end, queue=queue, kind=kinds or None, who=who, follow=follow)
    with contextlib.suppress(KeyboardInterrupt) if follow else contextlib.nullcontext():
        for event in found:
            is_any = True
            yield Shown(event)
    return OK if is_any or follow else nothing("no events")


group.add_command(rules)


class Shown(Result):
    """An event: a line or two for people."""

    def __init__(self, event: rqsqs.Event) -> None:
        super().__init__()
        self._event = event

    def records(self) -> Sequence[Record]:
        return [self._event.to_json()]

    def show(self) -> None:
        event = self._event
        at = datetime.fromtimestamp(event.at_ms / 1000).astimezone()
        first = f"{at:%Y-%m-%d %H:%M:%S}  {event.kind:<16}  {event.queue or '-'}"
        who = f"{event.who} ({' '.join(filter(None, (event.who.api, event.who.account)))})"
        is_short = len(first) + len(who) + 2 <= COLUMNS
        output.line(f"{first}  {who}" if is_short else first)
        if not is_short:
            output.hanging(" " * INDENT, f"by {who}", dim=True)
        parts = [changes(event.before, event.after), facts(event.detail)]
        if event.kind == "alarm-changed":  # first of all of which alarm
            is_updated = event.detail.get("change") in ("updated", "state")
            parts = [parts[1], parts[0] if is_updated else []]  # a definition would fill the screen
        if said := ", ".join([*parts[0], *parts[1]]):
            output.hanging(" " * INDENT, said, dim=True)
