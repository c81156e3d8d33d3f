"""`rqsqs alarms`: alarms on queues, their states and histories."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import rqsqs
from rqsqs._base_message import moment
from rqsqs._core.alarm_records import AlarmHealth
from rqsqs._core.operations.alarms import read_health
from rqsqs.alarms.conditions import alarm_from, condition_of
from rqsqs.cli import output
from rqsqs.cli.alarms_run import run
from rqsqs.cli.parameter_types import ALARM, FILE, PAIR, QUEUE, duration_from
from rqsqs.cli.report import OK, Column, Done, Facts, Lines, Record, Results, Table, nothing
from rqsqs.cli.settings import Group, Settings, common_options, reported
from rqsqs.inspection import words
from rqsqs.inspection.queues import dead_letter_queue

_COMMON = re.compile(r"^Threshold Crossed: |arn:aws:cloudwatch:[^:]*:\d*:alarm:")
STATES = ("OK", "ALARM", "INSUFFICIENT_DATA")
ORDER = {"ALARM": 0, "INSUFFICIENT_DATA": 1, "OK": 2}
COLUMNS = (
    Column("STATE", lambda row: str(row["state"]), is_whole=True),
    Column.text("ALARM", "alarm"),
    Column.since("SINCE", "since"),
    Column("CONDITION", lambda row: row["condition"] if row["actions_enabled"] else f"{row['condition']} (no actions)"),
    Column("REASON", lambda row: _short(row["reason"])),
)
EVENTS = (
    Column("WHEN", lambda row: f"{row['at'].astimezone():%Y-%m-%d %H:%M:%S}", is_whole=True),
    Column.text("ALARM", "alarm"),
    Column.text("WHAT", "summary"),
    Column("REASON", lambda row: _short(row["reason"])),
)


@click.group("alarms", cls=Group)
@common_options
def group() -> None:
    """Be told when something is wrong with a queue.

    \b
    Examples:
      rqsqs alarms defaults orders --action log:
      rqsqs alarms set late 'oldest_age_s > 300' --queue orders --action https://example.com/T0
      rqsqs alarms run
      rqsqs alarms ls
    """


@group.command("ls", short_help="List alarms with their states.")
@click.argument("name_prefix", default="")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@reported
def list_alarms(settings: Settings, name_prefix: str, state: Any) -> Results:
    """List all alarms, or those that start with NAME_PREFIX: those in ALARM first. Exits with 4 if there are none.

    If nobody evaluates alarms, it says so: then the states are old, and nobody is woken. `rqsqs alarms run` evaluates
    them, and so do gateways with --alarms and workers with --actions. It also says if actions wait that nobody does.

    \b
    Examples:
      rqsqs alarms ls
      rqsqs alarms ls --state ALARM
      rqsqs alarms ls --json | jq -r 'select(.state == "ALARM") | .alarm'
    """
    alarms = settings.connect().alarms
    found = alarms.list(name_prefix, state=state)
    if not found:
        return nothing(f"no alarms{f' that start with {name_prefix!r}' if name_prefix else ''}{settings.hint}")
    yield Table(COLUMNS, [_record(info) for info in sorted(found, key=lambda i: (ORDER[i.state.value], i.name))])
    transport = settings.connect().transport
    health: AlarmHealth = transport.run(read_health(transport.space))
    say_who(health.evaluation)
    if health.is_overdue:
        number = words.counted(health.waiting, "action")
        output.note(
            f"rqsqs: nobody does the actions: {number} not done, the first due for {words.age(health.overdue_s)}"
        )
    return OK


@group.command("set", short_help="Create an alarm, or replace it.")
@click.argument("name", type=ALARM, required=False)
@click.argument("condition", required=False)
@click.option("--queue", "-q", type=QUEUE, metavar="QUEUE", help="The queue whose metrics are meant.")
@click.option("--statistic", metavar="NAME",
              help="Sum, Average, Minimum, Maximum, SampleCount, p99 ... [Sum of counts, p99 of dwell and processing, "
              "else Maximum].")  # fmt: skip
@click.option(
    "--period", type=duration_from(10, 86_400), help="How long a datapoint is [60]: 10, 20, 30 or whole minutes."
)
@click.option("--periods", "evaluation_periods", type=click.IntRange(1), metavar="N",
              help="How many of the newest datapoints are looked at [1].")  # fmt: skip
@click.option("--datapoints", "datapoints_to_alarm", type=click.IntRange(1), metavar="M",
              help="How many of them must breach the threshold [all].")  # fmt: skip
@click.option("--missing", "treat_missing_data", type=click.Choice(["missing", "ignore", "breaching", "notBreaching"]),
              help="What a period without data counts as [missing].")  # fmt: skip
@click.option("--description", metavar="TEXT", help="For those who are woken.")
@click.option("--action", "alarm_actions", multiple=True, metavar="TARGET",
              help="What is done on ALARM: https://..., arn:aws:sqs:..., command:NAME or log:. May be "
              "repeated.")  # fmt: skip
@click.option("--ok-action", "ok_actions", multiple=True, metavar="TARGET", help="The same on OK.")
@click.option("--no-data-action", "insufficient_data_actions", multiple=True, metavar="TARGET",
              help="The same on INSUFFICIENT_DATA.")  # fmt: skip
@click.option("--tag", "tags", type=PAIR, multiple=True, help="A tag; may be repeated.")
@click.option("--file", "file", type=FILE, metavar="FILE",
              help="Read alarms as JSON with CloudWatch's names instead, one or a list, as `rqsqs alarms show --json` "
              "prints them; - is stdin.")  # fmt: skip
@reported
def set_alarm(
    settings: Settings, /, name: str | None, condition: str | None, file: Any, tags: Any, **given: Any
) -> Results:
    """Create the alarm NAME, or replace it; its state stays until it is evaluated.

    CONDITION is a metric and a threshold; metric math over metrics and a threshold; or a rule over the states of other
    alarms. The metrics are those of `queue.metrics()` and of AWS/SQS.

    \b
    Examples:
      rqsqs alarms set late 'oldest_age_s > 300' --queue orders --periods 5 --datapoints 3
      rqsqs alarms set slow 'processing > 30' --statistic p99 --queue orders --missing notBreaching
      rqsqs alarms set again 'received - 3 * deleted > 30' --queue orders --period 5m
      rqsqs alarms set deploying FALSE
      rqsqs alarms set page 'ALARM(late) AND NOT ALARM(deploying)' --action https://example.com/T0
      rqsqs alarms show late --json | rqsqs --prefix test alarms set --file -
    """
    chosen = {key: value for key, value in given.items() if value not in (None, ())}
    if tags:
        chosen["tags"] = dict(tags)
    if "period" in chosen:
        chosen["period"] = int(chosen["period"])
    alarms = settings.connect().alarms
    if file is not None:
        if name is not None or chosen:
            raise click.UsageError("--file and what describes an alarm exclude each other")
        found = _read(file)
    elif name is None or condition is None:
        raise click.UsageError("give NAME and CONDITION, such as late 'oldest_age_s > 300', or --file")
    else:
        try:
            found = [alarm_from(name, condition, chosen)]
        except TypeError:
            extra = "queue, statistic, period, periods, datapoints and missing"
            raise click.UsageError(f"a rule over other alarms has no {extra}: they belong to these") from None
    for alarm in found:
        alarms.put(alarm)
        yield Done(f"set {alarm.name}", alarm=alarm.name, set=True)
        for queue in alarm.queues if isinstance(alarm, rqsqs.Alarm) else ():
            _say_if_missing(settings.connect(), queue)
    say_who(alarms.evaluation())
    return OK


@group.command("show", short_help="Show an alarm in full.")
@click.argument("name", type=ALARM)
@reported
def show(settings: Settings, name: str) -> Results:
    """Show the alarm NAME: what it looks at, its state, and what it does. With --json as CloudWatch names it.

    \b
    Examples:
      rqsqs alarms show late
      rqsqs alarms show late --json | jq -r .StateReason
    """
    alarms = settings.connect().alarms
    info = alarms.get(name)
    alarm, state = info.alarm, info.state
    rows = [("State", f"{state.value} since {moment(state.transitioned_at_ms).astimezone():%Y-%m-%d %H:%M:%S}")]
    rows += [("Reason", state.reason), ("Condition", condition_of(alarm))]
    if isinstance(alarm, rqsqs.Alarm):
        number, needed = alarm.evaluation_periods, alarm.datapoints_to_alarm or alarm.evaluation_periods
        rows += [("Queue", ", ".join(alarm.queues) or "-"), ("Statistic", alarm.result.statistic or "-")]
        rows += [("Datapoints", f"{needed} of {number}, of {alarm.period_s} s each")]
        rows += [("Missing data", alarm.treat_missing_data or "missing")]
    for title, actions in (
        ("On ALARM", alarm.alarm_actions),
        ("On OK", alarm.ok_actions),
        ("On INSUFFICIENT_DATA", alarm.insufficient_data_actions),
    ):
        rows += [(title, ", ".join(actions))] if actions else []
    rows += [] if alarm.actions_enabled else [("Actions", "disabled")]
    rows += [("Description", alarm.description)] if alarm.description else []
    yield Facts(alarm.name, rows, **info.to_json())
    say_who(alarms.evaluation())
    return OK


@group.command("history", short_help="Show what happened to alarms.")
@click.argument("name", type=ALARM, required=False)
@click.option("--since", type=duration_from(1, 1_209_600), default="14d", show_default=True, help="How far back.")
@click.option("--max", "most", type=click.IntRange(1, 100_000), default=100, show_default=True, metavar="N",
              help="Up to N events, the newest.")  # fmt: skip
@reported
def history(settings: Settings, name: str | None, since: float, most: int) -> Results:
    """Show what happened to the alarm NAME, or to all: states, changes and actions, the newest first. They are kept
    for two weeks, also of deleted alarms. Exits with 4 if there is nothing.

    \b
    Examples:
      rqsqs alarms history
      rqsqs alarms history late --since 1d
      rqsqs alarms history --json | jq 'select(.kind == "Action" and .data.actionState == "Failed")'
    """
    from datetime import timedelta

    events = settings.connect().alarms.history(name, since=timedelta(seconds=since), max_events=most)
    if not events:
        return nothing(f"nothing happened{f' to {name}' if name else ''}{settings.hint}")
    yield Table(EVENTS, [_event(event) for event in events])
    return OK


@group.command("test", short_help="Put an alarm into ALARM for a moment, so that its actions are done.")
@click.argument("name", type=ALARM)
@click.option("--state", type=click.Choice(STATES), default="ALARM", show_default=True, help="The state to begin.")
@reported
def test(settings: Settings, name: str, state: Any) -> Results:
    """Give the alarm NAME another state, so that whoever evaluates alarms does its actions. The next evaluation gives
    back the state that its data make, within a minute (a rule over other alarms: when one of them changes).

    `rqsqs alarms history NAME` tells what became of the actions.

    \b
    Example:
      rqsqs alarms test late
    """
    alarms = settings.connect().alarms
    before = alarms.get(name).state.value
    alarms.set_state(name, state, "a test: rqsqs alarms test")
    yield Done(f"{name} is {state}, was {before}", alarm=name, state=state, before=before)
    if before == state:
        output.note(f"it was {state} before, so its actions are not done: --state OK first")
    say_who(alarms.evaluation())
    return OK


@group.command("rm", short_help="Delete alarms.")
@click.argument("names", type=ALARM, metavar="NAME...", nargs=-1, required=True)
@reported
def remove(settings: Settings, names: Sequence[str]) -> Results:
    """Delete alarms, all of them or none. Their histories stay for two weeks.

    \b
    Example:
      rqsqs alarms rm late slow
    """
    settings.connect().alarms.delete(*names)
    for name in dict.fromkeys(names):
        yield Done(f"deleted {name}", alarm=name, deleted=True)
    return OK


@group.command("defaults", short_help="Set the alarms that are worth having for a queue.")
@click.argument("queue", type=QUEUE)
@click.option("--action", "actions", multiple=True, metavar="TARGET", help="What they do on ALARM; may be repeated.")
@click.option("--ok-action", "ok_actions", multiple=True, metavar="TARGET", help="The same on OK.")
@click.option("--dry-run", is_flag=True, help="Only show them.")
@reported
def defaults(
    settings: Settings, queue: str, actions: tuple[str, ...], ok_actions: tuple[str, ...], dry_run: bool
) -> Results:
    """Set alarms for QUEUE: its oldest message is old; its dead-letter queue, if it has one, is not empty; messages
    are received far more often than deleted; messages wait and nobody receives; nearly as many messages are in flight
    as SQS allows. Those that are there already are replaced.

    The last one, server-memory, is of the server: it has used 80 % of its memory. All queues share it, so it stays as
    it is if it is there.

    \b
    Examples:
      rqsqs alarms defaults orders --dry-run
      rqsqs alarms defaults orders --action https://example.com/T0
    """
    from rqsqs.alarms.conditions import SERVER_MEMORY
    from rqsqs.alarms.conditions import defaults as defaults_of

    connection = settings.connect()
    found = defaults_of(queue, dead_letter_queue(connection.queue(queue).info()), actions, ok_actions)
    if dry_run:
        yield Lines([f"{alarm.name}  {condition_of(alarm)}" for alarm in found], alarms=[a.to_json() for a in found])
        return OK
    is_there = any(info.name == SERVER_MEMORY for info in connection.alarms.list(SERVER_MEMORY))
    for alarm in found:
        if alarm.name == SERVER_MEMORY and is_there:
            yield Done(f"{alarm.name} is there already, and stays as it is", alarm=alarm.name, set=False)
            continue
        connection.alarms.put(alarm)
        yield Done(f"set {alarm.name}: {condition_of(alarm)}", alarm=alarm.name, set=True)
    say_who(connection.alarms.evaluation())
    return OK


group.add_command(run)


def _read(file: str) -> list[rqsqs.Alarm | rqsqs.CompositeAlarm]:
    from rqsqs.alarm_models import alarm_of

    try:
        with contextlib.nullcontext(sys.stdin) if file == "-" else Path(file).open(encoding="utf-8") as stream:
            data = json.load(stream)
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{file} must be JSON: {error}") from None
    of_state = {"StateValue", "StateReason", "StateReasonData", "StateUpdatedTimestamp", "StateTransitionedTimestamp"}
    each = data if isinstance(data, list) else [data]
    return [
        alarm_of({k: v for k, v in one.items() if k not in of_state} if isinstance(one, dict) else one) for one in each
    ]


def _say_if_missing(connection: rqsqs.Connection, queue: str) -> None:
    try:
        connection.queue(queue).info()
    except rqsqs.QueueDoesNotExist as error:
        output.note(f"rqsqs: {error}, so there is no data yet")


def _record(info: rqsqs.AlarmInfo) -> Record:
    alarm, state = info.alarm, info.state
    return {
        "alarm": alarm.name,
        "state": state.value,
        "since": moment(state.transitioned_at_ms),
        "condition": condition_of(alarm),
        "queues": [] if isinstance(alarm, rqsqs.CompositeAlarm) else list(alarm.queues),
        "actions_enabled": alarm.actions_enabled,
        "reason": state.reason,
    }


def _event(event: rqsqs.AlarmEvent) -> Record:
    state = event.data.get("newState")
    about = state.get("stateReason") if isinstance(state, dict) else event.data.get("error")
    return {
        "at": moment(event.at_ms),
        "alarm": event.alarm,
        "kind": event.kind,
        "summary": event.summary,
        "reason": str(about or ""),
        "data": dict(event.data),
    }


def _short(text: str) -> str:
    """A reason; on a terminal what matters of it."""
    if not sys.stdout.isatty():
        return text
    text = _COMMON.sub("", text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def say_who(evaluation: rqsqs.AlarmEvaluation | None) -> None:
    """Say on stderr if nobody evaluates, or not all could be."""
    start = "start `rqsqs alarms run`, or a gateway with --alarms, or a worker with --actions"
    if evaluation is None:
        output.note(f"rqsqs: nobody evaluates alarms: {start}")
    elif evaluation.is_late:
        ago = words.age(evaluation.age_s)
        output.note(f"rqsqs: nobody evaluates alarms; {evaluation.evaluator} did {ago} ago: {start}")
    elif evaluation.failed:
        output.note(f"rqsqs: {words.counted(evaluation.failed, 'alarm')} could not be evaluated: see its log")
