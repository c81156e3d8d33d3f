"""`rqsqs ls`, `create`, `set`, `tag`, `rm`, `purge`, `pause` and `resume`."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

import rqsqs
from rqsqs import _settings
from rqsqs.cli import output, paging
from rqsqs.cli.parameter_types import DURATION, PAIR, QUEUE, RETRY, TIMELINE
from rqsqs.cli.report import NOTHING, OK, Done, Lines, Result, Results, nothing
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import words
from rqsqs.inspection.retry_rules import Rule, as_rule, retry_policy

F = TypeVar("F", bound=Callable[..., Any])


def setting_options(command: F) -> F:
    """The settings of a queue as options."""
    options = (
        click.option("--visibility-timeout", type=DURATION, help="For how long a received message is hidden [30]."),
        click.option("--delay", type=DURATION, help="How long a sent message waits before it is visible [0]."),
        click.option("--retention", type=DURATION, help="After how long a message is dropped [4d]."),
        click.option("--wait", type=DURATION, help="Default wait of receives [0]."),
        click.option("--maximum-message-size", type=int, metavar="BYTES", help="Of body and attributes [1048576]."),
        click.option("--dead-letter-queue", "--dlq", type=QUEUE, metavar="QUEUE", help="Where failing messages go."),
        click.option("--max-receive-count", type=int, metavar="N", help="After how many receives [10]."),
        click.option("--retry", "rules", type=RETRY, multiple=True, metavar="RULE",
                     help="When workers try failed messages again, at first and at most: 1s..5m; for one exception: "
                     "TimeoutError=10s..1h or ValueError=never (it goes to the dead-letter queue at once). May be "
                     "repeated; the rules given replace all others."),
        click.option("--partitions", type=int, metavar="N",
                     help="Parts in different hash slots, and so on different masters of a cluster [1]. There can be "
                     "more later, not fewer; a FIFO queue needs --deduplication-scope messageGroup."),
        click.option("--metrics", type=click.Choice(["full", "basic"]),
                     help="full: count the bytes of what is sent too, as FIFO queues do anyway [basic]."),
        click.option("--timeline", type=TIMELINE, metavar="on|off|BYTES",
                     help="Record what happens to each message, for `rqsqs show QUEUE MESSAGE_ID --timeline`: up to "
                     "1 MiB of it for each partition, or BYTES [off]."),
        click.option("--content-based-deduplication/--no-content-based-deduplication", default=None,
                     help="FIFO: equal bodies are duplicates."),
        click.option("--deduplication-scope", type=click.Choice(["queue", "messageGroup"]), help="FIFO [queue]."),
        click.option("--deduplication-window", type=DURATION, help="How long an id is remembered [5m]."),
    )  # fmt: skip
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


@click.command("ls")
@click.argument("name_prefix", default="")
@reported
def list_queues(settings: Settings, name_prefix: str) -> Results:
    """List the names of all queues, or of those that start with NAME_PREFIX. Exits with 4 if there are none.

    `rqsqs stats` lists them with their numbers of messages, `rqsqs top` keeps looking at them.

    \b
    Examples:
      rqsqs ls
      rqsqs ls payments-
      rqsqs ls --json | jq -r 'select(.fifo) | .queue'
    """
    found = False
    for queue in settings.connect().queues(name_prefix):
        found = True
        yield Result(queue.name, queue=queue.name, fifo=queue.is_fifo)
    return (
        OK
        if found
        else nothing(f"no queues{f' that start with {name_prefix!r}' if name_prefix else ''}{settings.hint}")
    )


@click.command("create")
@click.argument("name")
@setting_options
@click.option("--tag", "tags", type=PAIR, multiple=True, help="A tag; may be repeated.")
@reported
def create(settings: Settings, /, name: str, tags: tuple[tuple[str, str], ...], **given: Any) -> Results:
    """Create the queue NAME; a NAME that ends in .fifo makes it a FIFO queue.

    If it exists with the same settings nothing happens; with others this fails.

    \b
    Examples:
      rqsqs create orders-dead
      rqsqs create orders --dlq orders-dead --max-receive-count 3
      rqsqs create payments.fifo --visibility-timeout 2m
      rqsqs create mails --dlq orders-dead --retry 5s..1h --retry ValueError=never
      rqsqs create clicks --partitions 8
    """
    rules = given.pop("rules")
    given["retry_policy"] = retry_policy(rules)
    try:
        settings.connect().create_queue(name, **given, tags=dict(tags) or None)
    except rqsqs.QueueNameExists as error:
        import shlex

        changes = _settings.differing(error, given)
        if not changes:
            raise
        words = [part for key, value in changes.items() for part in _as_options(key, value, rules)]
        raise error.between(error.differences, f"{shlex.join(['rqsqs', 'set', name, *words])} changes that") from None
    yield Done(f"created {name}", queue=name, created=True)
    if settings.server.partition("?")[0] == "embedded://":
        output.note(f"{name} is gone again: embedded:// is memory of this command; embedded://~ keeps queues on disk")
    return OK


def _as_options(key: str, value: Any, rules: Sequence[Rule]) -> list[str]:
    option = f"--{key.replace('_', '-')}"
    if key == "retry_policy":
        return [word for rule in rules for word in ("--retry", as_rule(*rule))]
    if key == "timeline" and isinstance(value, bool):
        return [option, "on" if value else "off"]
    if isinstance(value, bool):
        return [option if value else f"--no-{option[2:]}"]
    return [option, str(int(value) if isinstance(value, float) else value)]


@click.command("set")
@click.argument("queue", type=QUEUE)
@setting_options
@click.option("--no-dead-letter-queue", "--no-dlq", is_flag=True, help="Keep failing messages in the queue.")
@reported
def change(settings: Settings, /, queue: str, no_dead_letter_queue: bool, **given: Any) -> Result:
    """Change settings of QUEUE; those not given stay. A change holds for all clients at once.

    \b
    Examples:
      rqsqs set orders --visibility-timeout 2m --delay 10s
      rqsqs set orders --dlq orders-dead --max-receive-count 5
      rqsqs set clicks --partitions 16
    """
    given["retry_policy"] = retry_policy(given.pop("rules"))
    chosen = {key: value for key, value in given.items() if value is not None}
    if no_dead_letter_queue:
        if "dead_letter_queue" in chosen:
            raise click.UsageError("--dead-letter-queue and --no-dead-letter-queue exclude each other")
        chosen["dead_letter_queue"] = ""
    if not chosen:
        raise click.UsageError("nothing to change: give a setting")
    settings.queue(queue).configure(**chosen)
    return Done(f"changed {queue}", queue=queue, changed=list(chosen))


@click.command("tag")
@click.argument("queue", type=QUEUE)
@click.argument("tags", metavar="[NAME=VALUE]...", type=PAIR, nargs=-1)
@click.option("--remove", "-r", "removed", metavar="NAME", multiple=True, help="Remove a tag; may be repeated.")
@reported
def tag(settings: Settings, queue: str, tags: tuple[tuple[str, str], ...], removed: tuple[str, ...]) -> Results:
    """Set tags of QUEUE and remove others; without any, show those it has (exits with 4 if it has none).

    \b
    Examples:
      rqsqs tag orders team=blue costs=42
      rqsqs tag orders --remove costs
      rqsqs tag orders
    """
    target = settings.queue(queue)
    if removed:
        target.untag(*removed)
    if tags:
        target.tag(dict(tags))
    found = target.tags()
    if tags or removed:
        yield Done(f"changed {queue}", queue=queue, tags=found)
    elif found:
        yield Lines([f"{name}={value}" for name, value in sorted(found.items())], queue=queue, tags=found)
    else:
        yield Done(f"{queue} has no tags", queue=queue, tags=found)
        return NOTHING
    return OK


def confirm(question: str, yes: bool, otherwise: str) -> None:
    """Ask before something is lost, unless --yes was given; anything else than yes ends the command with
    `otherwise`."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("messages would be lost, and there is no terminal to ask: say --yes")
    output.ask(f"{question} [y/N] ")
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # Ctrl-D
        output.note("")
    if answer.strip().lower() not in ("y", "yes"):
        raise click.ClickException(otherwise)


@click.command("rm")
@click.argument("queues", metavar="QUEUE...", type=QUEUE, nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@reported
def remove(settings: Settings, queues: tuple[str, ...], yes: bool) -> Results:
    """Delete queues with everything in them.

    \b
    Example:
      rqsqs rm orders orders-dead --yes
    """
    for name in queues:
        settings.queue(name)  # is it a name?
    confirm(f"Delete {', '.join(queues)} with all messages?", yes, "nothing was deleted")
    for name in queues:
        settings.connect().delete_queue(name)
        yield Done(f"deleted {name}", queue=name, deleted=True)
    return OK


@click.command("purge")
@click.argument("queue", type=QUEUE)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@reported
def purge(settings: Settings, queue: str, yes: bool) -> Result:
    """Remove all messages of QUEUE: visible, in flight and delayed. `rqsqs export` keeps a copy.

    \b
    Example:
      rqsqs export orders orders.jsonl && rqsqs purge orders --yes
    """
    target = settings.queue(queue)
    number: int | None = None
    with contextlib.suppress(rqsqs.QueueDamaged):  # purged all the same
        number = paging.total(target.counts())
    what = "all messages" if number is None else words.counted(number, "message")
    confirm(f"Remove {what} from {queue}?", yes, "nothing was removed")
    target.purge()
    return Done(f"removed {what} from {queue}", queue=queue, purged=number)


def _switch(name: str, state: str, text: str) -> click.Command:
    """`pause` and `resume`."""

    @click.command(name, help=text)
    @click.argument("queue", type=QUEUE)
    @click.option("--group", "-g", metavar="GROUP", help=f"{name.title()} only this message group.")
    @reported
    def switch(settings: Settings, queue: str, group: str | None) -> Result:
        getattr(settings.queue(queue), name)(group)
        of_group = {} if group is None else {"group": group}
        what = queue if group is None else f"group {group} of {queue}"
        return Done(f"{state} {what}", queue=queue, paused=name == "pause", **of_group)

    return switch


pause = _switch(
    "pause",
    "paused",
    """Stop handing out messages of QUEUE until `rqsqs resume`. Senders can still send; messages in flight stay so.

    \b
    Examples:
      rqsqs pause orders
      rqsqs pause payments.fifo --group customer-7
    """,
)
resume = _switch(
    "resume",
    "resumed",
    """Hand out messages of QUEUE again. Resume a group by its name if it was paused by its name.

    \b
    Example:
      rqsqs resume orders
    """,
)
