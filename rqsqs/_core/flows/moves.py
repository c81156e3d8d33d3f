"""Flows of message move tasks: dead letters go back, or elsewhere.

The process that starts a task drives it in the background; should it end, the next one that lists the tasks of the
queue takes over. Within a hash slot a step is one script; to another slot messages go in phases (outbox, put once,
clear, forget), which can be interrupted anywhere and go on without losing or doubling a message, however much later.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from typing import Any

from rqsqs._core.flows.browse import counts
from rqsqs._core.flows.events import tell
from rqsqs._core.flows.partitions import complete_resharding
from rqsqs._core.flows.settle import safely
from rqsqs._core.flows.topology import at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, Sleep, Spawn
from rqsqs._core.operations import moves
from rqsqs._core.results import not_reached
from rqsqs.errors import (
    DurabilityNotReached,
    MoveTaskRefused,
    PartitionMoved,
    QueueDoesNotExist,
    ResourceNotFound,
)
from rqsqs.models import Durability, MoveTask

STEP = 100  # messages in one script
ENDED_MS = 3_600_000  # a driver that was taken for dead may end a task once more
WEAK_PAUSE_MS = 1000  # until messages are put once more that are not safe enough where they went
NO_SOURCE, NO_QUEUE = "CouldNotDetermineMessageSource", "AWS.SimpleQueueService.NonExistentQueue"
TURNS, PAUSE_MS = 10, 50  # attempts to put messages into partitions that are being changed


def start_move(
    q: QueueRef,
    destination: QueueRef | None = None,
    max_per_second: int | None = None,
    durability: Durability | None = None,
    max_messages: int | None = None,
) -> Flow[str]:
    """Start moving the dead letters of `q` to their sources, or to `destination`.

    Args:
        max_messages: the first ones only, of each partition in turn.
        durability: what goes to another slot, and so perhaps to another master, is not forgotten here before it is as
            safe there.

    Returns:
        The task's id.

    Raises:
        ResourceNotFound: detail "source" or "destination".
        MoveTaskRefused: detail "not_dead_letter_queue" or "already_running".
    """
    visible = yield from visible_messages(q, destination)
    to_move = visible if max_messages is None else min(visible, max_messages)
    task_id = yield from enter_task(q, destination, max_per_second, to_move)
    yield _driver(q, task_id, durability)
    return task_id


def visible_messages(q: QueueRef, destination: QueueRef | None) -> Flow[int]:
    """How many messages are visible; both queues exist."""
    try:
        visible: int = (yield from counts(q)).visible
    except QueueDoesNotExist:
        raise ResourceNotFound(
            f"the queue {q.name!r} to move from does not exist", detail="source", queue=q.name
        ) from None
    if destination is not None:
        try:
            yield from counts(destination)
        except QueueDoesNotExist:
            raise ResourceNotFound(
                f"the queue {destination.name!r} to move to does not exist",
                detail="destination",
                queue=destination.name,
            ) from None
    return visible


def enter_task(q: QueueRef, destination: QueueRef | None, max_per_second: int | None, to_move: int | None) -> Flow[str]:
    task_id = str(uuid.uuid4())
    try:
        yield moves.start(q, task_id, destination.name if destination else "", max_per_second, to_move)
    except MoveTaskRefused as e:
        raise MoveTaskRefused(_refusals(q.name)[e.detail], detail=e.detail) from None
    started = {"task": task_id, "destination": destination and destination.name, "to_move": to_move}
    started["max_per_second"] = max_per_second
    said = {name: value for name, value in started.items() if value is not None}
    yield from tell(q.space, "redrive-started", q.name, detail=said)
    return task_id


def end_task(q: QueueRef, task_id: str, verb: str, moved: int = 0, reason: str = "") -> Flow[None]:
    """A task is over: "complete", also if it was cancelled, or "fail"."""
    status, in_all = yield moves.update(q, task_id, verb, moved, reason)
    detail = {"task": task_id, "status": status, "moved": in_all} | ({"reason": reason} if reason else {})
    yield from tell(q.space, "redrive-ended", q.name, detail=detail, once=task_id, once_ms=ENDED_MS)


def _refusals(name: str) -> dict[str, str]:
    return {
        "not_dead_letter_queue": f"{name!r} is not the dead-letter queue of any queue",
        "already_running": f"a move task of {name!r} is running; there can be one at a time",
        "not_running": f"the move task of {name!r} is not running",
    }


def _driver(q: QueueRef, task_id: str, durability: Durability | None) -> Spawn:
    def make() -> Flow[None]:
        return drive_move(q, task_id, durability)

    return Spawn(make, f"rqsqs-move-{q.name}")


def list_moves(q: QueueRef, limit: int = 10, durability: Durability | None = None) -> Flow[list[MoveTask]]:
    """The move tasks of a queue, newest first. One whose driver is gone is taken over, with this durability."""
    found = yield moves.list_tasks(q)
    for task, is_orphan in found:
        if is_orphan:
            status, _ = yield moves.update(q, task.task_id, "adopt")
            if status:
                yield _driver(q, task.task_id, durability)
    return [task for task, _ in found[:limit]]


def cancel_move(q: QueueRef, task_id: str) -> Flow[int]:
    """Cancel a running task; what was moved stays moved.

    Returns:
        How many messages were moved so far.
    """
    try:
        _, moved = yield moves.update(q, task_id, "cancel")
    except ResourceNotFound:
        raise ResourceNotFound(f"there is no move task {task_id!r} of {q.name!r}", detail="task") from None
    except MoveTaskRefused as e:
        raise MoveTaskRefused(_refusals(q.name)[e.detail], detail=e.detail) from None
    return int(moved)


def drive_move(q: QueueRef, task_id: str, durability: Durability | None = None) -> Flow[None]:
    """Run a task to its end. It moves what was visible at its start, so that it ends even if messages keep dying."""
    try:
        yield from _drive(q, task_id, durability)
    except ResourceNotFound:
        return  # the queue was deleted with its tasks


def _drive(q: QueueRef, task_id: str, durability: Durability | None) -> Flow[None]:
    tasks = yield moves.list_tasks(q)
    task: MoveTask | None = next((t for t, _ in tasks if t.task_id == task_id), None)
    if task is None:
        return
    yield from refresh(q)
    rate = task.max_per_second
    step = STEP if rate is None else max(1, min(STEP, rate // 10 or 1))
    pause_ms = 0 if rate is None else step * 1000 // rate
    left = (task.to_move or 0) - task.moved
    for p in q.partitions:
        while True:
            allowed = min(step, left)
            is_weak = False
            try:
                moved, failure = yield from move_step(q, p, allowed, task.destination or "", durability)
            except DurabilityNotReached:  # they are there and still here: once more
                moved, failure, is_weak = 0, "", True
            left -= moved
            if failure:
                yield from end_task(q, task_id, "fail", moved, failure)
                return
            status, _ = yield moves.update(q, task_id, "advance", moved)
            if is_weak and status == "RUNNING":
                yield Sleep(WEAK_PAUSE_MS)
                continue
            if is_weak:  # cancelled: what is there stays there, however safely
                yield from move_step(q, p, 0, task.destination or "", None)
            if status == "CANCELLING":
                yield from end_task(q, task_id, "complete")
                return
            if status != "RUNNING":
                return
            if moved == 0:
                break
            if pause_ms:
                yield Sleep(pause_ms * moved // step)
    yield from end_task(q, task_id, "complete")


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
        places, reached = yield from _put(target, batch, messages, durability)
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
    target: QueueRef, batch: str, messages: list[bytes], durability: Durability | None
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
        answers = yield moves.put(owner, batch, messages, durability=durability)
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
                operation = moves.put(p, batch, flat, token, durability)
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
