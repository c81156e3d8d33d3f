"""Builders and parsers of looking at messages, counting and cancelling them."""

from __future__ import annotations

from typing import Any

from rqsqs._core.keys import Partition
from rqsqs._core.messages import fifo_history, history
from rqsqs._core.operation import Operation
from rqsqs._core.records import Delivery

SETS = "meta ring paused"
SETS_FIFO = "meta available inflight delayed postponed paused"


def count(p: Partition) -> Operation:
    """The result is (visible, in flight, delayed, oldest in epoch ms or None, more)."""
    keys = "meta available inflight state delayed postponed" if p.is_fifo else "meta ready store inflight delayed ring"
    return Operation(
        "count_messages_fifo" if p.is_fifo else "count_messages",
        p.keys(keys),
        (p.space.now_us(),),
        lambda r: (int(r[0]), r[1], r[2], int(r[3]) if r[3] else None, r[4] == 1),
    )


def groups(p: Partition, offset: int, limit: int) -> Operation:
    """The result is (next offset or -1, names)."""
    return Operation(
        "list_groups",
        p.keys(SETS_FIFO if p.is_fifo else SETS),
        (offset, limit),
        lambda r: (int(r[0]), [g.decode() for g in r[1:]]),
    )


def peek(p: Partition, section: str, group: str, offset: int, limit: int) -> Operation:
    """Standard queues; the result is (seen, [Delivery])."""

    def parse(reply: list[Any]) -> tuple[int, list[Delivery]]:
        found = []
        for i in range(2, len(reply), 3):
            key, score, record = reply[i].decode(), reply[i + 1], reply[i + 2]
            first, before, elsewhere, source, group = history(key)
            receives, until = 0, None
            if section in ("again", "inflight"):
                receives = int(score[-3:])
            if section in ("inflight", "delayed"):
                until = int(float(score)) // 1000
            d = Delivery(p, key, record, "", before + receives, first or None, 0, group, source, elsewhere)
            d.visible_at_ms = until
            found.append(d)
        return reply[0], found

    return Operation(
        "peek_messages",
        p.keys("meta ready store inflight delayed"),
        (p.space.now_us(), section, group, offset, limit),
        parse,
    )


def peek_group(p: Partition, group: str, offset: int, limit: int) -> Operation:
    """FIFO queues; the result is (seen, [(state letter, Delivery)])."""

    def parse(reply: list[Any]) -> tuple[int, list[tuple[str, Delivery]]]:
        found = []
        for i in range(2, len(reply), 6):
            key, state, until, receives, first, record = reply[i : i + 6]
            text = key.decode()
            first_before, before, source = fifo_history(text)
            first_ms = first_before or int(first) or None
            d = Delivery(p, text, record, "", before + receives, first_ms, 0, group, source, before)
            d.visible_at_ms = int(until) if until else None
            found.append((state.decode(), d))
        return reply[0], found

    return Operation(
        "peek_messages_fifo",
        p.keys("meta inflight state delayed postponed"),
        (p.space.now_us(), group, offset, limit),
        parse,
    )


def cancel(p: Partition, key: str, group: str, due_ms: int | None) -> Operation:
    """Cancel (due_ms None) or reschedule; the result is 1 done, 0 not found, -1 in flight."""
    if p.is_fifo:
        script, keys = "cancel_message_fifo", "meta available inflight state bell keeper"
    else:
        script, keys = "cancel_message", "meta ready store inflight delayed bell keeper"
    return Operation(
        script,
        p.keys(keys),
        (p.space.now_us(), key, group, "" if due_ms is None else due_ms),
        is_repeatable=False,
    )


def find_duplicate(p: Partition, key: str, *, forget: bool) -> Operation:
    """The id or stamp behind a deduplication key, or ""."""
    return Operation("find_duplicate", (key,), ("1" if forget else "",), lambda r: r.decode())
