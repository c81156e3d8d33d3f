"""Checks of queues: which of them want somebody's attention."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import rqsqs
from rqsqs._core import flows
from rqsqs._core.keys import Partition
from rqsqs._io.server_checks import Finding
from rqsqs.gateway import open_queues
from rqsqs.inspection import words
from rqsqs.models import Counts

DAMAGES = 10  # of a queue, listed one by one
NAMES = 5  # in a sentence


@dataclass(frozen=True, slots=True)
class Examined:
    """A queue that was looked at.

    Attributes:
        looked: how many members of its keys.
        damage: what is damaged.
        doubtful: numbers that cannot be right.
        opened: whether its policy allows something to everybody; None = no.
        is_paused: it hands nothing out.
        is_without: it has no dead-letter queue, and is none.
        waiting: dead letters in it.
        partitions: all of them.
    """

    name: str
    looked: int = 0
    damage: tuple[Finding, ...] = ()
    doubtful: tuple[Finding, ...] = ()
    opened: open_queues.OpenQueue | None = None
    is_paused: bool = False
    is_without: bool = False
    waiting: int = 0
    partitions: tuple[Partition, ...] = ()


def check_queues(connection: rqsqs.Connection) -> Iterator[Finding]:
    """Queues that want somebody's attention.

    Args:
        connection: to the queues.
    """
    try:
        found, _ = examine(connection)
    except rqsqs.RqsqsError as error:
        yield unseen(error)
        return
    yield from judge(found)


def unseen(error: Exception) -> Finding:
    """The queues cannot be examined."""
    return Finding("queues", "fail", f"the queues cannot be looked at: {error}", "see the findings above")


def examine(connection: rqsqs.Connection, is_enough: Callable[[], bool] = lambda: False) -> tuple[list[Examined], bool]:
    """Look at queues, and tell whether some were left out.

    Args:
        connection: to the queues.
        is_enough: asked before each queue; True = the others are not looked at.
    """
    found: list[Examined] = []
    for queue in connection.queues():
        if is_enough():
            return found, True
        with contextlib.suppress(rqsqs.QueueDoesNotExist):
            found.append(_examined(connection, queue))
    return found, False


def _examined(connection: rqsqs.Connection, queue: rqsqs.Queue) -> Examined:
    ref, name = connection.transport.queue(queue.name), queue.name
    looked, damage, doubtful = 0, list[Finding](), list[Finding]()
    try:
        looked, errors = connection.transport.run(flows.find_damage(ref))
        damage = [Finding("damage", "fail", f"{name}: {error}") for error in errors[:DAMAGES]]
        if len(errors) > DAMAGES:
            damage.append(Finding("damage", "fail", f"{name}: {len(errors) - DAMAGES:,} more"))
        doubtful = [doubtful_number(name, doubt) for doubt in connection.transport.run(flows.doubts(ref))[:DAMAGES]]
        info, feeding = queue.info(), queue.dead_letter_sources()
        counts = queue.counts() if feeding else Counts(0, 0, 0)
    except rqsqs.QueueDamaged:  # told
        return Examined(name, looked, tuple(damage), tuple(doubtful))
    return Examined(
        name,
        looked,
        tuple(damage),
        tuple(doubtful),
        open_queues.open_queue(name, info.attributes.get("Policy")),
        info.is_paused,
        not feeding and "RedrivePolicy" not in info.attributes,
        counts.visible + counts.in_flight + counts.delayed,
        tuple(ref.partitions),
    )


def judge(queues: Sequence[Examined], *, is_cut: bool = False, whose: str = "under the prefix") -> Iterator[Finding]:
    """What is found about queues that were looked at.

    Args:
        queues: all of them.
        is_cut: others were not looked at.
        whose: which queues these are.
    """
    if is_cut:
        text = f"the first {words.counted(len(queues), 'queue')} were looked at, which took all the time there is"
        yield Finding("queues", "skip", text, "rqsqs doctor looks at all")
    else:
        yield Finding("queues", "ok", f"{words.counted(len(queues), 'queue')} {whose}")
    damaged = [finding for each in queues for finding in each.damage]
    yield from damaged
    if not damaged:
        looked = words.counted(sum(each.looked for each in queues), "member")
        text = f"nothing is damaged, as far as was looked: settings, keys and {looked} of them"
        yield Finding("damage", "ok", text)
    doubtful = [finding for each in queues for finding in each.doubtful]
    yield from doubtful
    if not doubtful:
        yield Finding("numbers", "ok", "counts and metrics add up")
    for found in [each.opened for each in queues if each.opened is not None]:
        advice = "at a gateway every access key of the account may do this, and with --allow-anonymous everybody"
        if not found.actions:
            advice = "the root user of its account may set another one, or remove it"
        yield Finding("policies", "warn", open_queues.description(found), advice)
    if paused := [each.name for each in queues if each.is_paused]:
        yield Finding("paused", "warn", f"paused: {_names(paused)}", "rqsqs resume QUEUE lets them continue")
    if dead := [f"{each.name} ({each.waiting:,})" for each in queues if each.waiting]:
        yield Finding("dead letters", "warn", f"dead letters wait in {_names(dead)}", "rqsqs dlq ls QUEUE tells why")
    if without := [each.name for each in queues if each.is_without]:
        text = f"without a dead-letter queue: {_names(without)}"
        advice = "a message that always fails is received again and again: rqsqs set QUEUE --dlq QUEUE-dead"
        yield Finding("dead-letter queues", "warn", text, advice)


def doubtful_number(queue: str, doubt: flows.Doubt) -> Finding:
    """A number of a queue that cannot be right."""
    if doubt.found is None:
        text = f"{queue}: its metric {doubt.name} is {doubt.says:,}, which is impossible"
    else:
        text = f"{queue}: its counter {doubt.name} says {doubt.says:,}, but {doubt.found:,} are there"
    if not doubt.repair:
        return Finding("numbers", "warn", text, "this is a bug of rqsqs, please report it")
    command = " ".join(map(shlex.quote, ["redis-cli", *doubt.repair.split(" ")]))
    advice = f"keys were edited or restored in part; no message is lost by it. Run {command}, then doctor again"
    return Finding("numbers", "warn", text, advice)


def _names(found: list[str]) -> str:
    more = f" and {len(found) - NAMES:,} more" if len(found) > NAMES else ""
    return ", ".join(found[:NAMES]) + more
