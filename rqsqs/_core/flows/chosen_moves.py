"""The flow of a move task of chosen messages: single dead letters go back, or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rqsqs._core import ids
from rqsqs._core.flows.browse import CHUNK, GROUPS, list_groups
from rqsqs._core.flows.move_steps import WEAK_PAUSE_MS, move_step
from rqsqs._core.flows.single_moves import Move, move_one
from rqsqs._core.flows.topology import at
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, Sleep
from rqsqs._core.operations import browse as browsing
from rqsqs._core.operations import moves
from rqsqs.errors import DurabilityNotReached
from rqsqs.models import Durability, MoveTask, Redriven

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
        step = moves.update(self.move.q, self.move.task_id, "advance", int(not trouble), trouble, settled=message_id)
        status, _ = yield step
        self.is_running = status == "RUNNING"
        if not trouble and self.pause_ms and self.is_running:
            yield Sleep(self.pause_ms)


def move_those(
    q: QueueRef,
    task_id: str,
    chosen: Sequence[tuple[str, str | None]],
    destination: str,
    rate: int | None,
    durability: Durability | None,
) -> Flow[Redriven]:
    """Move some dead letters for a task that was entered, those of a group in their order.

    Args:
        chosen: message ids, and their groups if known, which spares looking through all groups.
        destination: where all go, "" = each to its source.
    """
    state = _Chosen(q, task_id, destination, rate, durability)
    asked = dict(chosen)
    for p in q.partitions:
        keys = {ids.key_of(message_id, p.node, p.is_fifo): message_id for message_id in asked}
        state.left = {key: (keys[key], asked[keys[key]]) for key in sorted(filter(None, keys))}
        if state.left and state.is_running:
            yield from at(q, p, _move_of(p, state), None)
    settled = {*state.moved, *state.failed}
    rest = tuple(message_id for message_id in asked if message_id not in settled)
    if not state.is_running:
        state.failed |= dict.fromkeys(rest, "Cancelled")
        rest = ()
    return Redriven(tuple(state.moved), rest, state.failed)


def resume(q: QueueRef, task: MoveTask, durability: Durability | None) -> Flow[None]:
    """Go on with a task whose messages were chosen. The hand-over of a message may have been interrupted."""
    for p in q.partitions:
        while True:
            is_weak = False
            try:
                moved, _ = yield from at(q, p, move_step(q, p, 0, "", durability), (0, ""))
            except DurabilityNotReached:
                moved, is_weak = 0, True
            status, _ = yield moves.update(q, task.task_id, "advance", moved)
            if not is_weak:
                break
            if status == "RUNNING":
                yield Sleep(WEAK_PAUSE_MS)
            else:
                durability = None
        if status not in ("RUNNING", "CANCELLING"):
            return
    if status == "RUNNING":
        chosen = yield moves.read_chosen(q)
        yield from move_those(q, task.task_id, chosen, task.destination or "", task.max_per_second, durability)


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
