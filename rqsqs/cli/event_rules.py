"""`rqsqs events rules`: what is done when something happens to queues."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

import rqsqs
from rqsqs._action_targets import parse_target
from rqsqs._base_message import moment
from rqsqs.cli.alarms import say_who
from rqsqs.cli.report import OK, Column, Done, Record, Results, Table, nothing
from rqsqs.cli.settings import Group, Settings, common_options, reported
from rqsqs.event_models import APIS, KINDS
from rqsqs.inspection import words

COLUMNS = (
    Column("RULE", lambda row: row["name"] if row["enabled"] else f"{row['name']} (off)"),
    Column("EVENTS", lambda row: _condition(row)),
    Column("ACTIONS", lambda row: " ".join([str(parse_target(action)) for action in row["actions"]])),
    Column.since("LAST ACTION", "last_at"),
    Column("OUTCOME", lambda row: row["last_outcome"] or "-"),
)
DAY = timedelta(days=1)


@click.group("rules", cls=Group)
@common_options
def group() -> None:
    """Have something done when something happens to queues.

    `rqsqs alarms run`, and whoever else evaluates alarms, does it within seconds.

    \b
    Examples:
      rqsqs events rules set gone --kind queue-deleted --action https://example.com/T0
      rqsqs events rules ls
    """


@group.command("ls", short_help="List rules, and what became of their last actions.")
@reported
def list_rules(settings: Settings) -> Results:
    """List all rules, in order of names, with the outcome of what they did last. Exits with 4 if there are none.

    \b
    Examples:
      rqsqs events rules ls
      rqsqs events rules ls --json | jq -r .actions[]
    """
    connection = settings.connect()
    found = connection.event_rules.list()
    if not found:
        return nothing(f"no rules for events{settings.hint}")
    yield Table(COLUMNS, [_record(connection, rule) for rule in found])
    say_who(connection.alarms.evaluation())
    return OK


@group.command("set", short_help="Create a rule, or replace it.")
@click.argument("name")
@click.option("--action", "actions", multiple=True, required=True, metavar="TARGET",
              help="What is done: https://..., arn:aws:sqs:..., command:NAME or log:. May be repeated.")  # fmt: skip
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, metavar="KIND",
              help="Only on events of this kind; may be repeated [all].")  # fmt: skip
@click.option("--queue", "-q", metavar="PATTERN", help="Only of queues with such a name: * and ? stand for others.")
@click.option("--who", metavar="TEXT", help="Only if who did it has this text in name, address, account or API.")
@click.option("--api", type=click.Choice(APIS), help="Only if it was done by this API.")
@click.option("--description", metavar="TEXT", help="For people.")
@click.option("--off", is_flag=True, help="Do nothing for the time being.")
@reported
def set_rule(settings: Settings, /, name: str, off: bool, **given: Any) -> Results:
    """Create the rule NAME, or replace it. A new rule sees the events from now on.

    \b
    Examples:
      rqsqs events rules set gone --kind queue-deleted --action https://example.com/T0
      rqsqs events rules set denied --kind access-denied --action command:page
      rqsqs events rules set by-hand --api cli --queue 'prod-*' --action log:
      rqsqs events rules set lost --kind worker-lost --action arn:aws:sqs:us-east-1:000000000000:pages
    """
    rule = rqsqs.EventRule(name, enabled=not off, **given)
    connection = settings.connect()
    connection.event_rules.put(rule)
    yield Done(f"set {name}: {_condition(rule.to_json())}", rule=name, set=True)
    say_who(connection.alarms.evaluation())
    return OK


@group.command("test", short_help="Do the actions of a rule once, to try them.")
@click.argument("name")
@reported
def test(settings: Settings, name: str) -> Results:
    """Let the actions of the rule NAME be done on an event that did not happen. It says how many events of the last day
    match the rule, too.

    `rqsqs events rules ls` tells what became of the actions.

    \b
    Example:
      rqsqs events rules test gone
    """
    connection = settings.connect()
    rule = connection.event_rules.get(name)
    matching = sum(_would_match(rule, event) for event in connection.events(DAY))
    connection.event_rules.test(name)
    text = f"{name} acts on a test; {words.counted(matching, 'event')} of the last day would match"
    yield Done(text, rule=name, test=True, matching=matching)
    say_who(connection.alarms.evaluation())
    return OK


@group.command("rm", short_help="Delete rules.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@reported
def remove(settings: Settings, names: Sequence[str]) -> Results:
    """Delete rules, all of them or none.

    \b
    Example:
      rqsqs events rules rm gone denied
    """
    settings.connect().event_rules.delete(*names)
    for name in dict.fromkeys(names):
        yield Done(f"deleted {name}", rule=name, deleted=True)
    return OK


def _would_match(rule: rqsqs.EventRule, event: rqsqs.Event) -> bool:
    from dataclasses import replace

    return replace(rule, enabled=True, created_at_ms=None).matches(event)


def _condition(rule: Record) -> str:
    """`queue-deleted, queue-purged of prod-* by ann over cli`."""
    parts = [", ".join(rule["kinds"]) or "all events"]
    for word, name in (("of", "queue"), ("by", "who"), ("over", "api")):
        if rule.get(name):
            parts.append(f"{word} {rule[name]}")
    return " ".join(parts)


def _record(connection: rqsqs.Connection, rule: rqsqs.EventRule) -> Record:
    last = next(iter(connection.event_rules.history(rule.name, max_events=1)), None)
    outcome = None if last is None else "done" if "message" in last.data else str(last.data.get("error", "failed"))
    found = rule.to_json() | {"last_at": None if last is None else moment(last.at_ms), "last_outcome": outcome}
    return {"queue": None, "who": None, "api": None, "description": None} | found
