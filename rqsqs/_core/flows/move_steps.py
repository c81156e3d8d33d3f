"""The steps of message move tasks: some messages go, within a hash slot by one script, to another one in phases."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from typing import Any

from rqsqs._core.flows.browse import counts
from rqsqs._core.flows.partitions import complete_resharding
from rqsqs._core.flows.settle import safely
from rqsqs._core.flows.topology import at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, Sleep
from rqsqs._core.operations import moves
from rqsqs._core.results import not_reached
from rqsqs.errors import PartitionMoved, QueueDoesNotExist
from rqsqs.models import Durability

WEAK_PAUSE_MS = 1000  # until messages are put once more that are not safe enough where they went
NO_SOURCE, NO_QUEUE = "CouldNotDetermineMessageSource", "AWS.SimpleQueueService.NonExistentQueue"
TURNS, PAUSE_MS = 10, 50  # attempts to put messages into partitions that are being changed


def move_step(
    q: QueueRef, p: Partition, limit: int, destination: str, durability: Durability | None
) -> Flow[tuple[int, str]]:
    """Move up to `limit` messages; returns how many, and why it cannot go on ("" if it can).

    Raises:
        DurabilityNotReached: they were put into another slot, not as safely as required, and are not forgotten here.
    """
    # a hand-over that was interrupted goes on first
    taken = yield from at(q, p, moves.take(p, 0, destination, ""), None)
    if taken is not None and not taken[2]:
        yield from _forget(p, taken[0], q.space.queue(taken[1]))
        taken = None
    if taken is None:
        if limit <= 0:
            return 0, ""
        moved, stop = 0, "more"
        while stop == "more" and not moved:
            moved, stop = yield from at(q, p, moves.move(p, limit, destination), (0, ""))
        if moved or not stop:
            return moved, ""
        if stop == "no_source":
            return 0, NO_SOURCE
        target = q.space.queue(stop)
        try:
            yield from counts(target)
        except QueueDoesNotExist:
            return 0, NO_QUEUE
        own = len(target.own)
        taken = yield moves.take(p, limit, destination, f"{uuid.uuid4()}:{target.before or own}:{own}")
        if taken is None:
            return 0, ""
    batch, name, messages = taken
    target = q.space.queue(name)
    try:
        places, reached = yield from _put(p, target, batch, messages, durability)
    except QueueDoesNotExist:
        yield moves.clear(p, batch, "back")
        yield from _forget(p, batch, target)
        return 0, NO_QUEUE
    weak = not_reached(durability, reached, "the messages are stored", "had them")
    if weak is not None:
        raise weak
    yield moves.clear(p, batch, "arrived")
    yield from _forget(p, batch, target, places)
    return len(messages) // 4, ""


def _forget(p: Partition, batch: str, target: QueueRef, places: Sequence[Partition] = ()) -> Flow[None]:
    """Last phases: the destination's partitions forget a hand-over, all of them if nobody knows any more which ones
    took part in it; then the source does."""
    if not places:
        with contextlib.suppress(QueueDoesNotExist):  # what they knew went with them
            yield from refresh(target)
        places = target.own
    for place in places:
        yield moves.end(place, batch)
    yield moves.clear(p, batch, "end")


def _put(
    source: Partition, target: QueueRef, batch: str, messages: list[bytes], durability: Durability | None
) -> Flow[tuple[tuple[Partition, ...], list[Any]]]:
    """Second phase; the partitions remember the batch, so that each message is put once however often this is repeated.
    The batch names the numbers of partitions at its time: it may have been put there before more were added. Returns
    the partitions that took part, and what each of them reached."""
    yield from refresh(target)
    left = [messages[i : i + 4] for i in range(0, len(messages), 4)]
    asked: dict[Partition, None] = {}
    reached: list[Any] = []
    counts = [int(count) for count in batch.split(":")[1:]]
    if not target.is_fifo:
        owner = target.owner(batch, counts[-1] if counts else 1)
        answers = yield moves.put(owner, batch, source, messages, durability=durability)
        return (owner,), [answers[1]] if durability is not None else []
    for turn in range(TURNS):
        tokens: dict[bytes, str] = {}
        for count in dict.fromkeys((*counts, target.before or len(target.own), len(target.own))):
            places: dict[tuple[Partition, str], list[list[bytes]]] = {}
            for message in left:
                p = target.owner(message[1].decode(), count)
                places.setdefault((p, tokens.get(message[1], "")), []).append(message)
            left = []
            for (p, token), part in places.items():
                flat = [item for message in part for item in message]
                operation = moves.put(p, batch, source, flat, token, durability)
                asked[p] = None
                answers, reached_there = yield from safely(target, p, operation, [""] * len(part))
                reached.append(reached_there)
                for message, answer in zip(part, answers, strict=True):
                    if answer is not None:
                        tokens[message[1]] = answer
                        left.append(message)
            if not left:
                return tuple(asked), reached
        yield from complete_resharding(target)
        if turn:
            yield Sleep(PAUSE_MS)
    raise PartitionMoved(f"the partitions of {target.name!r} are being changed, and that takes too long")
