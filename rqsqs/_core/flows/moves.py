"""Flows of message move tasks: dead letters go back, or elsewhere.

The process that starts a task drives it in the background; should it end, the next one that lists the tasks of the
queue takes over. Within a hash slot a step is one script; to another slot messages go in phases (outbox, put once,
clear, forget), which can be interrupted anywhere and go on without losing or doubling a message, however much later.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence

from rqsqs._causes import wanted_cause
from rqsqs._core.flows.browse import counts
from rqsqs._core.flows.chosen_moves import move_those, resume
from rqsqs._core.flows.events import tell
from rqsqs._core.flows.move_steps import WEAK_PAUSE_MS, move_step
from rqsqs._core.flows.single_moves import Wanted, move_wanted
from rqsqs._core.flows.topology import refresh
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow, Sleep, Spawn
from rqsqs._core.operations import moves
from rqsqs.errors import (
    DurabilityNotReached,
    MoveTaskRefused,
    QueueDoesNotExist,
    ResourceNotFound,
    RqsqsError,
)
from rqsqs.models import Durability, MoveTask, Redriven

STEP = 100  # messages in one script
ENDED_MS = 3_600_000  # a driver that was taken for dead may end a task once more


def start_move(
    q: QueueRef,
    destination: QueueRef | None = None,
    max_per_second: int | None = None,
    durability: Durability | None = None,
    max_messages: int | None = None,
    cause: str | None = None,
    dead_letter_source: str | None = None,
) -> Flow[str]:
    """Start moving the dead letters of `q` to their sources, or to `destination`.

    Args:
        max_messages: the first ones only, of each partition in turn.
        cause: only those of this cause, as _causes.py has it; "" = without one.
        dead_letter_source: only those from this queue; "" = from none.
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
    only = Wanted(cause and wanted_cause(cause), dead_letter_source)
    task_id = yield from enter_task(q, destination, max_per_second, to_move, only)
    yield _driver(q, task_id, durability)
    return task_id


def start_chosen(
    q: QueueRef,
    chosen: Sequence[tuple[str, str | None]],
    destination: QueueRef | None = None,
    max_per_second: int | None = None,
    durability: Durability | None = None,
) -> Flow[str]:
    """Start moving some dead letters of `q` to their sources, or to `destination`. As start_move().

    Args:
        chosen: message ids, and their groups if known, which spares looking through all groups.
    """
    yield from visible_messages(q, destination)
    task_id = yield from enter_task(q, destination, max_per_second, len(dict(chosen)), chosen=chosen)
    yield _driver(q, task_id, durability)
    return task_id


def move_chosen(
    q: QueueRef,
    chosen: Sequence[tuple[str, str | None]],
    destination: QueueRef | None = None,
    max_per_second: int | None = None,
    durability: Durability | None = None,
) -> Flow[Redriven]:
    """The same, done by who asks for it, who waits for it. Whoever is interrupted cancels it; should this process end,
    another one takes the task over and moves the others."""
    yield from visible_messages(q, destination)
    task_id = yield from enter_task(q, destination, max_per_second, len(dict(chosen)), chosen=chosen)
    to = destination.name if destination else ""
    try:
        done: Redriven = yield from move_those(q, task_id, chosen, to, max_per_second, durability)
    except GeneratorExit:
        raise
    except BaseException:  # Ctrl-C, or its task is cancelled: the next one need not wait until this one is overdue
        with contextlib.suppress(RqsqsError):
            yield moves.update(q, task_id, "cancel")
            yield from drive_move(q, task_id, durability)  # finishes the message that was under way
        raise
    yield from end_task(q, task_id, "complete")
    return done


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


def enter_task(
    q: QueueRef,
    destination: QueueRef | None,
    max_per_second: int | None,
    to_move: int,
    only: Wanted = Wanted(),  # noqa: B008 - it is frozen
    chosen: Sequence[tuple[str, str | None]] = (),
) -> Flow[str]:
    task_id, to = str(uuid.uuid4()), destination.name if destination else ""
    try:
        yield moves.start(q, task_id, to, max_per_second, to_move, only.cause, only.dead_letter_source, chosen)
    except MoveTaskRefused as e:
        raise MoveTaskRefused(_refusals(q.name)[e.detail], detail=e.detail) from None
    started = {"task": task_id, "destination": destination and destination.name, "to_move": to_move}
    started |= {"max_per_second": max_per_second, "cause": only.cause, "dead_letter_source": only.dead_letter_source}
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


def list_moves(
    q: QueueRef, limit: int = 10, durability: Durability | None = None, *, is_read_only: bool = False
) -> Flow[list[MoveTask]]:
    """The move tasks of a queue, newest first. One whose driver is gone is taken over, with this durability, unless
    nothing may be changed."""
    found = yield moves.list_tasks(q)
    for task, is_orphan in found:
        if is_orphan and not is_read_only:
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
        yield from tell(q.space, "redrive-cancelled", q.name, detail={"task": task_id, "moved": int(moved)})
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
    if task.is_chosen:
        yield from resume(q, task, durability)
        yield from end_task(q, task_id, "complete")
        return
    wanted = Wanted(task.cause, task.dead_letter_source)
    if wanted.is_some:
        yield from _drive_some(q, task, wanted, durability)
        return
    rate = task.max_per_second
    step = STEP if rate is None else max(1, min(STEP, rate // 10 or 1))
    pause_ms = 0 if rate is None else step * 1000 // rate
    left = task.to_move - task.moved
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


def _drive_some(q: QueueRef, task: MoveTask, wanted: Wanted, durability: Durability | None) -> Flow[None]:
    """Move those of one cause or source, one after the other."""
    left = task.to_move - task.moved
    pause_ms = 1000 // task.max_per_second if task.max_per_second else 0
    for p in q.partitions:
        moved, failure, is_over = yield from move_wanted(q, p, task, wanted, left, pause_ms, durability)
        left -= moved
        if failure:
            yield from end_task(q, task.task_id, "fail", 0, failure)
        if failure or is_over:
            return
    yield from end_task(q, task.task_id, "complete")
