"""Builders and parsers of message move tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rqsqs._core import ids
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Arg, Operation
from rqsqs._core.operations import browse as browsing
from rqsqs.models import Durability, MoveTask

IN_OUTBOX, OUTBOX_FULL = 2, -2
SILENCE_MS = 10_000  # a task whose driver is silent for this time is taken over by whoever asks about it


def move(p: Partition, limit: int, destination: str) -> Operation:
    """One step within a hash slot; the result is (moved, stop)."""
    return Operation(
        "move_messages",
        p.keys("meta"),
        (p.space.now_us(), str(limit), destination, "1" if p.is_fifo else "", ids.tails()),
        lambda r: (r[0], r[1].decode()),
    )


def take(p: Partition, limit: int, destination: str, batch: str) -> Operation:
    """First phase towards another slot; the result is (batch, destination, [key, group, record, past, ...]) or None.
    Without messages: they have arrived, and the hand-over is to be forgotten."""
    return Operation(
        "take_messages",
        p.keys("meta outbox"),
        (p.space.now_us(), str(limit), destination, "1" if p.is_fifo else "", batch),
        lambda r: (r[0].decode(), r[1].decode(), r[2:]) if r else None,
    )


def put(
    p: Partition,
    batch: str,
    source: Partition,
    taken: list[bytes],
    token: str = "",
    durability: Durability | None = None,
) -> Operation:
    """Second phase; the result is a list: for each message None, or a migration token for the partition that takes it.

    Args:
        source: where they were taken.
        token: the migration token that the old partition of its group gave.
        durability: how safe they have to be before the third phase.
    """
    messages: list[Arg] = []
    for i in range(0, len(taken), 4):
        messages += ids.message_id(taken[i].decode(), source.node), *taken[i + 1 : i + 3]
    return Operation(
        "put_messages",
        (*p.keys("meta handovers"), _over(p, batch)),
        (p.space.now_us(), "1" if p.is_fifo else "", ids.tails(), token, batch, source.queue, *messages),
        lambda r: [outcome[1:].decode() if outcome[:1] == b"!" else None for outcome in r],
        durability=durability,
    )


def _over(p: Partition, batch: str) -> str:
    return f"{p.base}handover:{batch}"


def move_one(
    p: Partition, key: str, groups: Sequence[str], destination: str, batch: str, place: int = 0, *, ready_only: bool
) -> Operation:
    """Move one visible message; the result is as of browse.cancel(), IN_OUTBOX, OUTBOX_FULL (it has to be emptied
    first), "no_source", or the name of the queue in another slot that needs a batch.

    Args:
        place: standard queues: from where on it is looked for in a list that is not sorted.
    """
    wish = f">{destination} {batch} {ids.tails()}000 {place}"
    o = browsing.cancel(p, key, groups, wish, ready_only=ready_only)
    return Operation(o.script, o.keys, o.args, lambda r: r.decode() if isinstance(r, bytes) else r)


def clear(p: Partition, batch: str, what: str) -> Operation:
    """Third phase; `what` is "arrived", or "back" if they cannot arrive, and "end" when both sides have forgotten."""
    return Operation("clear_outbox", p.keys("outbox meta"), (batch, what, "1" if p.is_fifo else ""))


def end(p: Partition, batch: str) -> Operation:
    """Fourth phase: a partition of the destination forgets the hand-over."""
    return Operation("end_handover", (*p.keys("handovers"), _over(p, batch)), (batch,))


def start(
    q: QueueRef,
    task_id: str,
    destination: str,
    rate: int | None,
    to_move: int,
    cause: str | None = None,
    dead_letter_source: str | None = None,
    chosen: Sequence[tuple[str, str | None]] = (),
) -> Operation:
    """Enter a task.

    Args:
        cause: only messages of this cause; "" = of none.
        dead_letter_source: only messages from this queue; "" = from none.
        chosen: only these: message ids, and their groups if known.
    """
    only = ["" if text is None else f"={text}" for text in (cause, dead_letter_source)]
    pairs = [text for each, group in chosen for text in (each, "" if group is None else f"={group}")]
    args = (q.space.now_us(), task_id, destination, str(rate or ""), str(to_move), str(SILENCE_MS), *only, *pairs)
    return Operation("start_message_move_task", q.home.keys("meta sources tasks chosen"), args)


def update(q: QueueRef, task_id: str, verb: str, moved: int = 0, reason: str = "", *, settled: str = "") -> Operation:
    """A step in a task's life; the result is (status, moved).

    Args:
        reason: of its failure, or why the settled message was not moved.
        settled: id of a chosen message that was moved, or cannot be.
    """
    return Operation(
        "update_message_move_task",
        q.home.keys("tasks chosen"),
        (q.space.now_us(), task_id, verb, str(moved), str(SILENCE_MS), reason, settled),
        lambda r: (r[0].decode(), r[1]),
    )


def read_chosen(q: QueueRef) -> Operation:
    """Which chosen messages the running task has still to move; the result is [(message id, group or None)]."""

    def parse(reply: list[bytes]) -> list[tuple[str, str | None]]:
        texts = [each.decode() for each in reply]
        return [(each, group[1:] if group else None) for each, group in zip(texts[::2], texts[1::2], strict=True)]

    return Operation("read_chosen_messages", q.home.keys("chosen"), (), parse)


def list_tasks(q: QueueRef) -> Operation:
    """The result is a list of (MoveTask, is_orphan), newest first."""

    def parse(reply: list[Any]) -> list[tuple[MoveTask, bool]]:
        found = []
        for i in range(1, len(reply), 2):
            t = json.loads(reply[i + 1])
            active = t["status"] in ("RUNNING", "CANCELLING")
            task = MoveTask(
                reply[i].decode(),
                q.name,
                t["destination"] or None,
                t["status"],
                t["moved"],
                t["to_move"],
                t["started"],
                int(t["rate"]) if t["rate"] else None,
                t.get("reason"),
                _chosen(t.get("cause")),
                _chosen(t.get("dead_letter_source")),
                t.get("is_chosen", False),
                t.get("not_moved", {}),
            )
            found.append((task, active and t["overdue_at"] <= reply[0]))
        return sorted(found, key=lambda pair: pair[0].started_at_ms, reverse=True)

    return Operation("list_message_move_tasks", q.home.keys("meta tasks"), (q.space.now_us(),), parse)


def _chosen(text: str | None) -> str | None:
    """What start() was told to choose."""
    return text[1:] if text else None
