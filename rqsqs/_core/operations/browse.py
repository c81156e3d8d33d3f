"""Builders and parsers of looking at messages, counting and cancelling them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rqsqs._core import ids
from rqsqs._core.delivery import Delivery
from rqsqs._core.envelope import UNREADABLE
from rqsqs._core.keys import Partition
from rqsqs._core.operation import Arg, Operation
from rqsqs._core.operations.queues import list_groups
from rqsqs._core.operations.receive import fifo_history, history, key_text, pass_over, stamp_text

# What became of a message that is cancelled, given another time or moved; as long as it is no list
DONE, NOT_FOUND, NOT_VISIBLE = 1, 0, -1
SETS = "meta fair_ring paused"
SETS_FIFO = "meta available inflight delayed postponed paused"
MOST_LOOKED_AT = 100  # groups in one call
_STATES = {"v": "visible", "f": "in_flight", "d": "delayed"}


def count(p: Partition, start: int = 0, metrics: str = "") -> Operation:
    """The result is (visible, in flight, delayed, oldest in epoch ms or None, where to go on or -1).

    Args:
        start: with what the last call said to go on.
        metrics: "1" = the reply has more behind that (operations/metrics.py).
    """
    fifo, standard = "meta available inflight state delayed postponed", "meta ready store inflight delayed fair_ring"
    return Operation(
        "count_messages_fifo" if p.is_fifo else "count_messages",
        p.keys(fifo if p.is_fifo else standard),
        (p.space.now_us(), metrics) if p.is_fifo else (p.space.now_us(), str(start), metrics),
        lambda reply: counted(p, reply),
    )


def counted(p: Partition, reply: list[Any]) -> tuple[int, int, int, int | None, int]:
    """What a count says."""
    visible, in_flight, delayed, oldest, following = reply
    oldest_ms = int(oldest) if oldest.isdigit() else None  # else there is none, or it is nothing of ours
    return int(visible), in_flight, delayed, oldest_ms, following - 1 if p.is_fifo else following


def groups(p: Partition, offset: int, limit: int) -> Operation:
    """As list_groups()."""
    return list_groups(p, SETS_FIFO if p.is_fifo else SETS, offset, limit)


def peek(p: Partition, section: str, group: str, offset: int, limit: int) -> Operation:
    """Standard queues; the result is (seen, is that all, [Delivery]).

    Args:
        offset: messages to skip; -N = from the end on, backwards, behind the last N - 1.
    """

    def seen(key: bytes, score: bytes, record: bytes) -> Delivery:
        receives = int(score[-3:]) if score else 0
        until = int(score[:-3]) if section in ("inflight", "delayed") else None
        return _seen(p, key, record, receives, until)

    def parse(reply: list[Any]) -> tuple[int, bool, list[Delivery]]:
        found: list[Delivery] = []
        for i in range(2, len(reply), 3):
            _take_in(found, p, section, seen, reply[i : i + 3])
        return reply[0], reply[1] == 1, found

    return Operation(
        "peek_messages",
        p.keys("meta ready store inflight delayed"),
        (p.space.now_us(), section, group, str(offset), str(limit)),
        parse,
    )


def peek_group(p: Partition, group: str, offset: int, limit: int) -> Operation:
    """FIFO queues; the result is (seen, is that all, [(state letter, Delivery)])."""

    def parse(reply: list[Any]) -> tuple[int, bool, list[tuple[str, Delivery]]]:
        found: list[tuple[str, Delivery]] = []

        def seen(key: bytes, state: bytes, *facts: Any) -> tuple[str, Delivery]:
            return state.decode(), _seen_fifo(p, group, key, *facts)

        for i in range(2, len(reply), 6):
            _take_in(found, p, f"group:{group}", seen, reply[i : i + 6])
        return reply[0], reply[1] == 1, found

    return Operation(
        "peek_messages_fifo",
        p.keys("meta inflight state delayed postponed"),
        (p.space.now_us(), group, str(offset), str(limit)),
        parse,
    )


def find(p: Partition, key: str, groups: Sequence[str], *, ready_only: bool = False) -> Operation:
    """Look for a message. The result is (state letter, Delivery); NOT_FOUND; or [n]: not found among the first n
    groups, ask again with the others.

    Args:
        groups: among which it is looked for; a standard queue looks among what has no group as well.
        ready_only: standard queues: among the ready messages of these groups alone.
    """

    def parse(reply: Any) -> Any:
        if reply == NOT_FOUND or len(reply) == 1:
            return reply
        found: list[Any] = []
        _take_in(found, p, "store", _found_fifo if p.is_fifo else _found, [p, *reply])
        return found[0] if found else NOT_FOUND

    if p.is_fifo:
        return Operation(
            "find_message_fifo",
            p.keys("meta inflight state delayed postponed"),
            (p.space.now_us(), key, *groups),
            parse,
        )
    args = (p.space.now_us(), key, "1" if ready_only else "", *groups)
    return Operation("find_message", p.keys("meta ready store inflight delayed"), args, parse)


def _found(p: Partition, state: bytes, key: bytes, score: bytes, record: bytes) -> tuple[str, Delivery]:
    until = int(score[:-3]) if state != b"v" else None
    return state.decode(), _seen(p, key, record, int(score[-3:]) if score else 0, until)


def _found_fifo(p: Partition, group: bytes, key: bytes, state: bytes, *facts: Any) -> tuple[str, Delivery]:
    return state.decode(), _seen_fifo(p, group.decode(), key, *facts)


class GroupLook(NamedTuple):
    """A message group.

    Attributes:
        messages: how many it has that wait in line; of a FIFO queue all.
        is_paused: it hands nothing out.
        state: of its first message, "visible", "in_flight" or "delayed"; "" if there is none, or in a standard queue.
        message_id: of that.
        until_ms: when that becomes visible, if it is not.
    """

    messages: int = 0
    is_paused: bool = False
    state: str = ""
    message_id: str = ""
    until_ms: int | None = None


def look_at_groups(p: Partition, names: Sequence[str]) -> Operation:
    """Look at up to MOST_LOOKED_AT groups; the result is [GroupLook]."""

    def seen(messages: int, is_paused: int, key: bytes, letter: bytes, until_ms: bytes) -> GroupLook:
        message_id = ids.message_id(stamp_text(key), p.node) if key else ""
        state = _STATES[letter.decode()] if letter else ""
        return GroupLook(messages, is_paused == 1, state, message_id, int(until_ms) if until_ms else None)

    return Operation(
        "look_at_groups",
        p.keys("meta paused inflight state delayed postponed"),
        (p.space.now_us(), "1" if p.is_fifo else "", *names),
        lambda reply: [seen(*reply[i : i + 5]) for i in range(0, len(reply), 5)],
    )


def browse_groups(p: Partition, cursor: str, limit: int) -> Operation:
    """Visible messages of the groups of a standard queue; the result is ([Delivery], next cursor or "")."""

    def seen(key: bytes, receives: int, record: bytes) -> Delivery:
        return _seen(p, key, record, receives, None)

    def parse(reply: list[Any]) -> tuple[list[Delivery], str]:
        found: list[Delivery] = []
        for i in range(5, len(reply), 3):
            _take_in(found, p, "fair_ring", seen, reply[i : i + 3])
        return found, _cursor(reply)

    return Operation("browse_groups", p.keys("meta fair_ring paused"), (*_place(cursor), str(limit)), parse)


def browse_fifo(p: Partition, letter: str, cursor: str, limit: int, *, newest_first: bool = False) -> Operation:
    """Messages of a FIFO queue in one state, v, f or d; the result is ([Delivery], next cursor or "")."""

    def parse(reply: list[Any]) -> tuple[list[Delivery], str]:
        found: list[Delivery] = []

        def seen(group: bytes, *facts: Any) -> Delivery:
            return _seen_fifo(p, group.decode(), *facts)

        for i in range(6, len(reply), 6):
            _take_in(found, p, "available", seen, reply[i : i + 6])
        return found, _cursor(reply[1:])

    return Operation(
        "browse_messages_fifo",
        p.keys("meta available inflight state delayed postponed paused"),
        (p.space.now_us(), letter, *_place(cursor), str(limit), "1" if newest_first else ""),
        parse,
    )


def _take_in(found: list[Any], p: Partition, where: str, seen: Callable[..., Any], facts: list[Any]) -> None:
    """Append what was seen, unless its key is none of ours."""
    try:
        found.append(seen(*facts))
    except UNREADABLE:
        pass_over(p, where, facts[0])


def _place(cursor: str) -> list[str]:
    """A cursor is PLACE:OFFSET:SCORE:MEMBER; see the scripts."""
    return (cursor or "1:0::").split(":", 3)


def _cursor(reply: list[Any]) -> str:
    more, place, offset, score, member = reply[:5]
    return f"{place}:{offset}:{score.decode()}:{member.decode()}" if more else ""


def _seen(p: Partition, key: bytes, record: bytes, receives: int, until_ms: int | None) -> Delivery:
    text = key_text(key)
    first, before, elsewhere, source, group = history(text)
    d = Delivery(p, text, record, "", before + receives, first or None, 0, group, source, elsewhere)
    d.visible_at_ms = until_ms
    return d


def _seen_fifo(
    p: Partition, group: str, key: bytes, until_ms: bytes, receives: int, first: bytes, record: bytes
) -> Delivery:
    text = stamp_text(key)
    first_before, before, source = fifo_history(text)
    first_ms = first_before or int(first) or None
    d = Delivery(p, text, record, "", before + receives, first_ms, 0, group, source, before)
    d.visible_at_ms = int(until_ms) if until_ms else None
    return d


def cancel(
    p: Partition, key: str, groups: Sequence[str], due: int | str | None, *, ready_only: bool = False
) -> Operation:
    """Cancel (due None), delete (due "-") or reschedule. The result is DONE, NOT_FOUND, NOT_VISIBLE (it is in flight),
    or [n]: not found among the first n groups, ask again with the others.

    Args:
        due: epoch ms, or "+ms" from now.
        groups: among which it is looked for; a standard queue looks among what has no group as well.
        ready_only: standard queues: not among what is delayed or was received.
    """
    if p.is_fifo:
        script, keys = "cancel_message_fifo", "meta available inflight state wakeups timer"
        args: tuple[Arg, ...] = (key, "" if due is None else str(due), *groups)
    else:
        script, keys = "cancel_message", "meta ready store inflight delayed wakeups timer"
        args = (key, "" if due is None else str(due), "1" if ready_only else "", *groups)
    return Operation(script, p.keys(keys), (p.space.now_us(), *args))


def find_duplicate(p: Partition, key: str, *, forget: bool) -> Operation:
    """The id or stamp behind a deduplication key, or ""."""
    length = 16 if p.is_fifo else 24  # the number of the call stands behind a stamp
    return Operation("find_duplicate", (key,), ("1" if forget else "",), lambda r: r.decode()[:length])
