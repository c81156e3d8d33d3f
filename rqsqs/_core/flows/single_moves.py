"""Single dead letters go back, or elsewhere: one after the other, wherever they are in a queue."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from rqsqs._causes import pattern_of
from rqsqs._core.delivery import Delivery
from rqsqs._core.flows.browse import CHUNK, browse_partition
from rqsqs._core.flows.move_steps import NO_QUEUE, NO_SOURCE, WEAK_PAUSE_MS, move_step
from rqsqs._core.flows.topology import at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, Sleep
from rqsqs._core.operations import browse as browsing
from rqsqs._core.operations import moves
from rqsqs.errors import DurabilityNotReached, FormatNewer, MessageDamaged, QueueDoesNotExist
from rqsqs.models import Durability, MoveTask

DAMAGED = "MessageDamaged"


@dataclass(frozen=True, slots=True)
class Move:
    """A task that moves single messages.

    Attributes:
        q: the queue that they leave.
        destination: where all go, "" = each to its source.
        durability: as of start_move().
    """

    q: QueueRef
    task_id: str
    destination: str
    durability: Durability | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters: of a cause, from a queue; None = any, "" = of none."""

    cause: str | None = None
    dead_letter_source: str | None = None

    @property
    def is_some(self) -> bool:
        """Whether it leaves any out."""
        return self.cause is not None or self.dead_letter_source is not None

    def has(self, d: Delivery) -> bool:
        """Whether it is one of them."""
        if self.dead_letter_source not in (None, d.dead_letter_source or ""):
            return False
        return self.cause is None or self.cause == cause_of(d)


def cause_of(d: Delivery) -> str:
    """Why a message died, as _causes.py has it; "" if that is not known."""
    try:
        damage = d.damage
    except FormatNewer:
        return pattern_of(DAMAGED, "its record is of a newer version of rqsqs")
    if damage is not None:
        return pattern_of(DAMAGED, f"its record {what_is_wrong(damage)}")
    failure = d.cause
    return "" if failure is None else pattern_of(failure.type, failure.message)


def what_is_wrong(damage: MessageDamaged) -> str:
    """What cannot be read of a message."""
    return (damage.detail or "").rpartition("\t")[2]


def move_wanted(
    q: QueueRef,
    p: Partition,
    task: MoveTask,
    wanted: Wanted,
    limit: int,
    pause_ms: int,
    durability: Durability | None,
) -> Flow[tuple[int, str, bool]]:
    """Move up to `limit` messages of a partition. While others receive from it some may be missed, so it looks until it
    finds none. Returns how many were moved, why it cannot go on, and whether the task was ended meanwhile."""
    move = Move(q, task.task_id, task.destination or "", durability)
    failure = yield from finish(p, move)  # a hand-over that was interrupted
    moved_before, moved = -1, 0
    while moved > moved_before and not failure:
        moved_before, cursor, is_first = moved, "", True
        while (cursor or is_first) and moved < limit:
            found, following = yield from at(q, p, browse_partition(p, "visible", cursor, CHUNK), ([], ""))
            section, _, offset = cursor.partition(":")
            place = int(offset) if section == "ready" else 0
            cursor, is_first = following, False
            status, _ = yield moves.update(q, task.task_id, "advance")
            for d in found if status == "RUNNING" else ():
                if moved >= limit or not wanted.has(d):
                    continue
                groups = [d.group_name] if d.group_name or p.is_fifo else []
                answer = yield from at(q, p, move_one(p, move, d.stamp, [groups], place, ready_only=False), None)
                if answer in (NO_SOURCE, NO_QUEUE):
                    return moved, answer, False
                if answer == "":
                    moved += 1
                    status, _ = yield moves.update(q, task.task_id, "advance", 1)
                    if status != "RUNNING":
                        break
                    if pause_ms:
                        yield Sleep(pause_ms)
            if status != "RUNNING":
                if status == "CANCELLING":
                    return moved, "", False
                return moved, "", True
    return moved, failure, False


def move_one(
    p: Partition, move: Move, key: str, places: list[list[str]], place: int = 0, *, ready_only: bool
) -> Flow[str | None]:
    """Look for a message among some groups and move it. Returns "" if that was done, None if it is not there, else why
    it cannot be moved."""
    space = move.q.space
    for groups in places:
        destination, batch = move.destination, ""
        while True:
            answer = yield moves.move_one(p, key, groups, destination, batch, place, ready_only=ready_only)
            if answer == browsing.NOT_FOUND:
                break
            if isinstance(answer, list):  # that was all that one call may do
                groups = groups[answer[0] :]
                continue
            if answer == browsing.DONE:
                return ""
            if answer == browsing.NOT_VISIBLE:
                return "NotVisible"
            if answer == "no_source":
                return NO_SOURCE
            if answer in (moves.IN_OUTBOX, moves.OUTBOX_FULL):  # its own hand-over, or one that was interrupted before
                failure = yield from finish(p, move)
                if answer == moves.IN_OUTBOX:
                    return failure
                continue
            target = space.queue(answer)
            try:
                yield from refresh(target)
            except QueueDoesNotExist:
                return NO_QUEUE
            own = len(target.own)
            destination, batch = target.name, f"{uuid.uuid4()}:{target.before or own}:{own}"
    return None


def finish(p: Partition, move: Move) -> Flow[str]:
    """Finish the hand-over in the outbox, as safely as required, or as it can be when the task was cancelled."""
    q, durability = move.q, move.durability
    while True:
        try:
            _, failure = yield from move_step(q, p, 0, "", durability)
            return failure
        except DurabilityNotReached:
            status, _ = yield moves.update(q, move.task_id, "advance")
            if status == "RUNNING":
                yield Sleep(WEAK_PAUSE_MS)
            else:
                durability = None
