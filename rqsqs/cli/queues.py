"""`rqsqs queue ...`, and `rqsqs purge`, which is the same as `rqsqs queue purge`."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.settings import Settings, common_options, pass_settings
from rqsqs.cli.values import DURATION, PAIR

F = TypeVar("F", bound=Callable[..., Any])


class InOrder(click.Group):
    """A group that lists its commands in the order of their definition."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.commands)


@click.group("queue", cls=InOrder)
@common_options
def group() -> None:
    """Create, show, change, pause, empty and remove queues."""


def setting_options(command: F) -> F:
    """The settings of a queue as options."""
    options = (
        click.option("--visibility-timeout", type=DURATION, help="For how long a received message is hidden [30]."),
        click.option("--delay", type=DURATION, help="How long a sent message waits before it is visible [0]."),
        click.option("--retention", type=DURATION, help="After how long a message is dropped [4d]."),
        click.option("--wait", type=DURATION, help="How long a receive waits when it does not say [0]."),
        click.option("--maximum-message-size", type=int, metavar="BYTES", help="Of body and attributes [1048576]."),
        click.option("--dead-letter-queue", "--dlq", metavar="QUEUE", help="Where failing messages go."),
        click.option("--max-receive-count", type=int, metavar="N", help="After how many receives [10]."),
        click.option("--content-based-deduplication/--no-content-based-deduplication", default=None,
                     help="FIFO: equal bodies are duplicates."),
        click.option("--deduplication-scope", type=click.Choice(["queue", "messageGroup"]), help="FIFO [queue]."),
        click.option("--deduplication-window", type=DURATION, help="How long an id is remembered [5m]."),
    )  # fmt: skip
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


@group.command("ls", short_help="List the names of queues.")
@click.argument("beginning", default="")
@common_options
@pass_settings
def list_queues(settings: Settings, beginning: str) -> int:
    """List the names of queues, those that start with BEGINNING.

    `rqsqs stats` lists them with their numbers of messages.
    """
    found = False
    for queue in settings.connect().queues(beginning):
        found = True
        if settings.as_json:
            output.emit({"queue": queue.name, "fifo": queue.is_fifo})
        else:
            click.echo(queue.name)
    if not found:
        output.note(f"no queues{f' that start with {beginning!r}' if beginning else ''}{settings.hint}")
    return 0 if found else 4


@group.command("create", short_help="Create a queue.")
@click.argument("name")
@setting_options
@click.option("--tag", "tags", type=PAIR, multiple=True, help="A tag; may be repeated.")
@common_options
@pass_settings
def create(settings: Settings, /, name: str, tags: tuple[tuple[str, str], ...], **given: Any) -> None:
    """Create the queue NAME; a NAME that ends in .fifo makes it a FIFO queue.

    If it exists with the same settings nothing happens; with others this fails.

    \b
    Examples:
      rqsqs queue create orders-dead
      rqsqs queue create orders --dlq orders-dead --max-receive-count 3
      rqsqs queue create payments.fifo --visibility-timeout 2m
    """
    settings.connect().create_queue(name, **given, tags=dict(tags) or None)
    if settings.as_json:
        output.emit({"queue": name, "created": True})
    else:
        output.note(f"created {name}")


@group.command("show", short_help="Show settings, tags and numbers of messages.")
@click.argument("name")
@common_options
@pass_settings
def show(settings: Settings, name: str) -> None:
    """Show the settings, tags and numbers of messages of the queue NAME."""
    queue = settings.queue(name)
    info, counts, tags, sources = queue.info(), queue.counts(), queue.tags(), queue.dead_letter_sources()
    if settings.as_json:
        output.emit(
            {
                "queue": name,
                "fifo": queue.is_fifo,
                "paused": info.is_paused,
                "visible": counts.visible,
                "in_flight": counts.in_flight,
                "delayed": counts.delayed,
                "attributes": info.attributes,
                "tags": tags,
                "dead_letter_sources": sources,
                "created_at": rqsqs.checks.moment(info.created_at_ms),
                "modified_at": rqsqs.checks.moment(info.modified_at_ms),
            }
        )
        return
    rows = [
        ("kind", "FIFO" if queue.is_fifo else "standard"),
        ("messages", f"{counts.visible:,} visible, {counts.in_flight:,} in flight, {counts.delayed:,} delayed"),
        ("created", f"{rqsqs.checks.moment(info.created_at_ms):%Y-%m-%d %H:%M:%S} UTC"),
        ("changed", f"{rqsqs.checks.moment(info.modified_at_ms):%Y-%m-%d %H:%M:%S} UTC"),
    ]
    if info.is_paused:
        rows.append(("paused", f"yes: nothing is handed out until rqsqs queue resume {name}"))
    for attribute, value in sorted(info.attributes.items()):
        rows.append((attribute, _readable(attribute, value)))
    rows += [(f"tag {tag}", value) for tag, value in sorted(tags.items())]
    if sources:
        rows.append(("dead letters of", ", ".join(sources)))
    output.table([(name, "left"), ("", "left")], rows)


def _readable(attribute: str, value: str) -> str:
    if attribute == "RedrivePolicy":
        policy = json.loads(value)
        target = policy["deadLetterTargetArn"].rpartition(":")[2]
        return f"to {target} after {output.counted(int(policy['maxReceiveCount']), 'receive')}"
    if attribute.endswith(("Seconds", "Timeout", "Period", "Window")):
        return f"{output.age(int(value))}{f' ({value} s)' if int(value) >= 100 else ''}" if int(value) else "0 s"
    return value


@group.command("set", short_help="Change settings and tags.")
@click.argument("name")
@setting_options
@click.option("--no-dead-letter-queue", "--no-dlq", is_flag=True, help="Keep failing messages in the queue.")
@click.option("--tag", "tags", type=PAIR, multiple=True, help="Set a tag; may be repeated.")
@click.option("--untag", "untagged", metavar="NAME", multiple=True, help="Remove a tag; may be repeated.")
@common_options
@pass_settings
def change(
    settings: Settings,
    /,
    name: str,
    no_dead_letter_queue: bool,
    tags: tuple[tuple[str, str], ...],
    untagged: tuple[str, ...],
    **given: Any,
) -> None:
    """Change settings of the queue NAME; those not given stay. A change holds for all clients at once.

    \b
    Example:
      rqsqs queue set orders --visibility-timeout 2m --delay 10s
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    if no_dead_letter_queue:
        if "dead_letter_queue" in chosen:
            raise click.UsageError("--dead-letter-queue and --no-dead-letter-queue exclude each other")
        chosen["dead_letter_queue"] = ""
    if not chosen and not tags and not untagged:
        raise click.UsageError("nothing to change: give a setting")
    queue = settings.queue(name)
    if chosen:
        queue.configure(**chosen)
    if tags:
        queue.tag(dict(tags))
    if untagged:
        queue.untag(*untagged)
    if settings.as_json:
        output.emit({"queue": name, "changed": [*chosen, *(f"tag {t}" for t, _ in tags), *untagged]})
    else:
        output.note(f"changed {name}")


def confirm(question: str, yes: bool) -> None:
    """Ask before something is lost, unless --yes was given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("messages would be lost: say --yes")
    click.confirm(question, abort=True, err=True)


@group.command("rm")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common_options
@pass_settings
def remove(settings: Settings, names: tuple[str, ...], yes: bool) -> None:
    """Delete queues with everything in them."""
    confirm(f"Delete {', '.join(names)} with all messages?", yes)
    for name in names:
        settings.connect().delete_queue(name)
        if settings.as_json:
            output.emit({"queue": name, "deleted": True})
        else:
            output.note(f"deleted {name}")


@click.command("purge", short_help="Remove all messages of a queue.")
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common_options
@pass_settings
def purge(settings: Settings, name: str, yes: bool) -> None:
    """Remove all messages of the queue NAME: visible, in flight and delayed."""
    queue = settings.queue(name)
    counts = queue.counts()
    total = counts.visible + counts.in_flight + counts.delayed
    confirm(f"Remove {output.counted(total, 'message')} from {name}?", yes)
    queue.purge()
    if settings.as_json:
        output.emit({"queue": name, "purged": total})
    else:
        output.note(f"removed {output.counted(total, 'message')} from {name}")


group.add_command(purge)


@group.command("pause", short_help="Hand nothing out for a while.")
@click.argument("name")
@click.option("--group", "-g", metavar="GROUP", help="Pause this message group alone.")
@common_options
@pass_settings
def pause(settings: Settings, name: str, group: str | None) -> None:
    """Hand out no more messages of the queue NAME. Sending goes on; what is in flight stays so."""
    settings.queue(name).pause(group)
    _say_paused(settings, name, group, True)


@group.command("resume")
@click.argument("name")
@click.option("--group", "-g", metavar="GROUP", help="Resume this message group alone.")
@common_options
@pass_settings
def resume(settings: Settings, name: str, group: str | None) -> None:
    """Undo pause."""
    settings.queue(name).resume(group)
    _say_paused(settings, name, group, False)


def _say_paused(settings: Settings, name: str, group: str | None, is_paused: bool) -> None:
    if settings.as_json:
        output.emit({"queue": name, "paused": is_paused} | ({"group": group} if group is not None else {}))
    else:
        what = name if group is None else f"group {group} of {name}"
        output.note(f"{'paused' if is_paused else 'resumed'} {what}")


COMMANDS = (group, purge)
