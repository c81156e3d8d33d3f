"""Checks of queues: which of them want somebody's attention."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

import rqsqs
from rqsqs._core import flows
from rqsqs._core.keys import Partition
from rqsqs._io.server_checks import Finding
from rqsqs.gateway import open_queues
from rqsqs.inspection import words
from rqsqs.models import Counts

DAMAGES = 10  # of a queue, listed one by one
NAMES = 5  # in a sentence


def check_queues(
    connection: rqsqs.Connection,
    *,
    is_enough: Callable[[], bool] = lambda: False,
    partitions: list[Partition] | None = None,
) -> Iterator[Finding]:
    """Queues that want somebody's attention.

    Args:
        connection: to the queues.
        is_enough: asked before each queue; True = the others are not looked at.
        partitions: those of the queues that were looked at are appended.
    """
    paused, without, dead = [], [], []
    opened: list[open_queues.OpenQueue] = []
    number = looked = 0
    is_cut = False
    damaged: list[Finding] = []
    doubtful: list[Finding] = []
    try:
        for queue in connection.queues():
            if is_cut := is_enough():
                break
            ref = connection.transport.queue(queue.name)
            try:
                members, errors = connection.transport.run(flows.find_damage(ref))
                looked += members
                damaged += [Finding("damage", "fail", f"{queue.name}: {error}") for error in errors[:DAMAGES]]
                if len(errors) > DAMAGES:
                    damaged.append(Finding("damage", "fail", f"{queue.name}: {len(errors) - DAMAGES:,} more"))
                doubts = connection.transport.run(flows.doubts(ref))
                doubtful += [doubtful_number(queue.name, doubt) for doubt in doubts[:DAMAGES]]
                info, feeding = queue.info(), queue.dead_letter_sources()
                counts = queue.counts() if feeding else Counts(0, 0, 0)
                waiting = counts.visible + counts.in_flight + counts.delayed
            except rqsqs.QueueDoesNotExist:
                continue
            except rqsqs.QueueDamaged:  # told
                number += 1
                continue
            number += 1
            if partitions is not None:
                partitions += ref.partitions
            if info.is_paused:
                paused.append(queue.name)
            if (found := open_queues.open_queue(queue.name, info.attributes.get("Policy"))) is not None:
                opened.append(found)
            if not feeding and "RedrivePolicy" not in info.attributes:
                without.append(queue.name)
            if waiting:
                dead.append(f"{queue.name} ({waiting:,})")
    except rqsqs.RqsqsError as error:
        yield Finding("queues", "fail", f"the queues cannot be looked at: {error}", "see the findings above")
        return
    if is_cut:
        text = f"the first {words.counted(number, 'queue')} were looked at, which took all the time there is for that"
        yield Finding("queues", "skip", text, "rqsqs doctor looks at all")
    else:
        yield Finding("queues", "ok", f"{words.counted(number, 'queue')} under the prefix")
    yield from damaged
    if not damaged:
        text = f"nothing is damaged, as far as was looked: settings, keys and {words.counted(looked, 'member')} of them"
        yield Finding("damage", "ok", text)
    yield from doubtful
    if not doubtful:
        yield Finding("numbers", "ok", "counts and metrics add up")
    for found in opened:
        advice = "at a gateway every access key of the account may do this, and with --allow-anonymous everybody"
        if not found.actions:
            advice = "the root user of its account may set another one, or remove it"
        yield Finding("policies", "warn", open_queues.description(found), advice)
    if paused:
        yield Finding("paused", "warn", f"paused: {_names(paused)}", "rqsqs resume QUEUE lets them continue")
    if dead:
        yield Finding("dead letters", "warn", f"dead letters wait in {_names(dead)}", "rqsqs dlq ls QUEUE tells why")
    if without:
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
