"""The flow of a move task of chosen messages: single dead letters go back, or elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from rqsqs._core import ids
from rqsqs._core.flows.browse import CHUNK, GROUPS, list_groups
from rqsqs._core.flows.moves import drive_move, end_task, enter_task, visible_messages
from rqsqs._core.flows.single_moves import Move, move_one
from rqsqs._core.flows.topology import at
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, Sleep
from rqsqs._core.operations import browse as browsing
from rqsqs._core.operations import moves
from rqsqs.errors import RqsqsError
from rqsqs.models import Durability, Redriven

PASSES = 5  # through a queue, for chosen messages that others' receives let move up


class _Chosen:
    """Messages of one partition that are to be moved, by key, and what became of all.

    Attributes:
        left: key -> (message id, group or None), in the order of sending.
    """

    def __init__(self, q: QueueRef, task_id: str, destination: str, rate: int | None, durability: Durability | None):
        self.move = Move(q, task_id, destination, durability)
        self.pause_ms = 1000 // rate if rate else 0
        self.left: dict[str, tuple[str, str | None]] = {}
        self.moved: list[str] = []
        self.failed: dict[str, str] = {}
        self.is_running = True

    def settle(self, key: str, trouble: str) -> Flow[None]:
        """A message was moved, or cannot be."""
        message_id, _ = self.left.pop(key)
        if trouble:
            self.failed[message_id] = trouble
        else:
            self.moved.append(message_id)
        status, _ = yield moves.update(self.move.q, self.move.task_id, "advance", int(not trouble))
        self.is_running = status == "RUNNING"
        if not trouble and self.pause_ms and self.is_running:
            yield Sleep(self.pause_ms)


def move_chosen(
    q: QueueRef,
    chosen: Sequence[tuple[str, str | None]],
    destination: QueueRef | None = None,
    max_per_second: int | None = None,
    durability: Durability | None = None,
) -> Flow[Redriven]:
    """Move some dead letters of `q` to their sources, or to `destination`, those of a group in their order.

    It is a task of the queue like any other while it lasts: another one cannot run, it can be cancelled, and should
    this process end, whoever takes the task over finishes the message that was under way and moves no other.

    Args:
        chosen: message ids, and their groups if known, which spares looking through all groups.

    Raises: as start_move().
    """
    yield from visible_messages(q, destination)
    task_id = yield from enter_task(q, destination, max_per_second, None)
    state = _Chosen(q, task_id, destination.name if destination else "", max_per_second, durability)
    asked = dict(chosen)
    try:
        for p in q.partitions:
            keys = {ids.key_of(message_id, p.node, p.is_fifo): message_id for message_id in asked}
            state.left = {key: (keys[key], asked[keys[key]]) for key in sorted(filter(None, keys))}
            if state.left and state.is_running:
                yield from at(q, p, _move_of(p, state), None)
    except GeneratorExit:
        raise
    except BaseException:  # Ctrl-C, or its task is cancelled: the next one need not wait until this one is overdue
        with contextlib.suppress(RqsqsError):
            yield moves.update(q, task_id, "cancel")
            yield from drive_move(q, task_id, durability)  # finishes the message that was under way
        raise
    settled = {*state.moved, *state.failed}
    rest = tuple(message_id for message_id in asked if message_id not in settled)
    if not state.is_running:
        state.failed |= dict.fromkeys(rest, "Cancelled")
        rest = ()
    yield from end_task(q, task_id, "complete")
    return Redriven(tuple(state.moved), rest, state.failed)


def _move_of(p: Partition, state: _Chosen) -> Flow[None]:
    names: list[str] | None = None
    for key, (_, group) in list(state.left.items()):
        places = [[group]] if group is not None else [[]] if not p.is_fifo else []
        answer = yield from move_one(p, state.move, key, places, ready_only=False)
        if answer is None and group is None:
            names = names if names is not None else (yield from list_groups(p))
            places = [names[i : i + GROUPS] for i in range(0, len(names), GROUPS)]
            answer = yield from move_one(p, state.move, key, places, ready_only=True)
        if answer is not None:
            yield from state.settle(key, answer)
            if not state.is_running:
                return
    if not p.is_fifo:
        yield from _move_where_seen(p, state)


def _move_where_seen(p: Partition, state: _Chosen) -> Flow[None]:
    """Dead letters stand in the order of their arrival, so one far from the head is not found by its id. Look through
    all and say where it was seen; while others receive from the head it may have moved up."""
    for _ in range(PASSES):
        was_missed, is_over, offset = False, False, 0
        while state.left and not is_over:
            seen, is_over, found = yield browsing.peek(p, "ready", "", offset, CHUNK)
            for key in [d.stamp for d in found]:
                if key not in state.left:
                    continue
                answer = yield from move_one(p, state.move, key, [[]], max(offset - CHUNK, 0), ready_only=True)
                if answer is None:
                    answer = yield from move_one(p, state.move, key, [[]], offset, ready_only=True)
                if answer is None:
                    was_missed = True
                    continue
                yield from state.settle(key, answer)
                if not state.is_running:
                    return
            offset += seen
        if not was_missed:
            return
