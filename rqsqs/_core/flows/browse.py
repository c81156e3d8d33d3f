"""Flows that look at what waits: counts, browsing, cancelling, another time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, cast

from rqsqs._core import ids
from rqsqs._core.delivery import Delivery
from rqsqs._core.flows.receive import readable
from rqsqs._core.flows.topology import at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow
from rqsqs._core.operations import browse as browsing
from rqsqs._core.operations import dedup_tail, queues
from rqsqs.errors import (
    FormatNewer,
    InvalidParameterValue,
    MessageNotAvailable,
    QueueDamaged,
    QueueDoesNotExist,
    RqsqsError,
)
from rqsqs.models import Counts, State

CHUNK = 500
GROUPS = 100  # groups among which one call looks for a message
_SECTIONS = {"visible": ("again", "due", "returned", "ready"), "in_flight": ("inflight",), "delayed": ("delayed",)}
_LETTERS = {"visible": "v", "in_flight": "f", "delayed": "d"}


def counts(q: QueueRef, group: str | None = None) -> Flow[Counts]:
    """Exact counts of a queue, or of one message group (which takes a step for every 500 messages of it)."""
    yield from refresh(q)
    numbers: dict[State, int] = {"visible": 0, "in_flight": 0, "delayed": 0}
    oldest: list[int] = []
    for p in q.partitions:
        if group is not None:
            for state in numbers:
                cursor: str | None = ""
                while cursor is not None:
                    found, cursor = yield from at(q, p, _of_group(p, state, group, cursor), ([], None))
                    numbers[state] += len(found)
                    oldest += [d.sent_at_ms for d in found]
            continue
        of_one = yield from _counts_of(q, p)
        for state in numbers:
            numbers[state] += getattr(of_one, state)
        oldest += [of_one.oldest_sent_at_ms] if of_one.oldest_sent_at_ms is not None else []
    return Counts(**numbers, oldest_sent_at_ms=min(oldest, default=None))


def partition_counts(q: QueueRef) -> Flow[list[tuple[Partition, Counts]]]:
    """Exact counts of each partition of a queue, and of each shard of the dead letters that it holds."""
    yield from refresh(q)
    found = []
    for p in q.partitions:
        found.append((p, (yield from _counts_of(q, p))))
    return found


def _counts_of(q: QueueRef, p: Partition) -> Flow[Counts]:
    """Each call says the numbers of all; what is continued is the search for the oldest."""
    visible, in_flight, delayed, start = 0, 0, 0, 0
    oldest: list[int] = []
    while start >= 0:
        visible, in_flight, delayed, first, start = yield from at(q, p, browsing.count(p, start), (0, 0, 0, None, -1))
        oldest += [first] if first is not None else []
    return Counts(visible, in_flight, delayed, min(oldest, default=None))


def _of_group(p: Partition, state: State, group: str, cursor: str) -> Flow[tuple[list[Delivery], str | None]]:
    if p.is_fifo:
        offset = int(cursor or 0)
        seen, is_over, found = yield browsing.peek_group(p, group, offset, CHUNK)
        chosen = [d for letter, d in found if letter == _LETTERS[state]]
        return chosen, None if is_over else str(offset + seen)
    section, _, start = (cursor or f"{_SECTIONS[state][0]}:0").partition(":")
    offset = int(start)
    seen, is_over, messages = yield browsing.peek(p, section, group, offset, CHUNK)
    chosen = [d for d in messages if d.group_name == group]
    return chosen, _next(state, section, offset, seen, is_over)


def _next(state: State, section: str, offset: int, seen: int, is_over: bool) -> str | None:
    is_backwards = offset < 0
    if not is_over:
        return f"{section}:{offset - seen if is_backwards else offset + seen}"
    sections = _sections(state, is_backwards)
    i = sections.index(section) + 1
    return f"{sections[i]}:{-1 if is_backwards else 0}" if i < len(sections) else None


def _sections(state: State, is_backwards: bool) -> tuple[str, ...]:
    return _SECTIONS[state][:: -1 if is_backwards else 1]


def groups(q: QueueRef, limit: int | None = None) -> Flow[list[str]]:
    """Names of the groups that hold messages, sorted; of a standard queue those with messages that wait in line.

    Args:
        limit: stop at so many.
    """
    yield from refresh(q)
    names: set[str] = set()
    for p in q.partitions:
        names.update((yield from at(q, p, list_groups(p, limit), [])))
        if limit is not None and len(names) >= limit:
            break
    return sorted(names)[:limit]


def list_groups(p: Partition, limit: int | None = None) -> Flow[list[str]]:
    offset, names = 0, dict.fromkeys([""] if not p.is_fifo else [])
    while offset >= 0 and (limit is None or len(names) <= limit):
        offset, found = yield browsing.groups(p, offset, CHUNK)
        names.update(dict.fromkeys(found))
    if not p.is_fifo:
        names.pop("")
    return list(names)


def groups_page(q: QueueRef, cursor: str, limit: int, *, is_paused: bool = False) -> Flow[tuple[list[str], str]]:
    """Some groups that hold messages, or are paused, and where to go on ("" = at the end). One may be met again.

    Args:
        cursor: "" to begin, then what the last call gave.
        limit: about how many.
    """
    if not cursor:
        yield from refresh(q)
    number, _, offset = cursor.partition("|")
    index, place, names = int(number or 0), int(offset or 0), dict[str, None]()
    partitions = (q.home,) if is_paused else q.partitions  # all partitions know the same paused ones
    while index < len(partitions) and len(names) < limit:
        p = partitions[index]
        step = queues.paused_groups(p, place, limit) if is_paused else browsing.groups(p, place, limit)
        place, found = yield from at(q, p, step, (-1, []))
        names.update(dict.fromkeys(name for name in found if name or p.is_fifo))
        if place < 0:
            index, place = index + 1, 0
    return list(names), f"{index}|{place}" if index < len(partitions) else ""


def look_at_groups(q: QueueRef, names: Sequence[str]) -> Flow[dict[str, browsing.GroupLook]]:
    """How many messages some groups have, and what the first one of each does."""
    yield from refresh(q)
    found = dict.fromkeys(names, browsing.GroupLook())
    for p in q.partitions:
        for i in range(0, len(names), browsing.MOST_LOOKED_AT):
            some = names[i : i + browsing.MOST_LOOKED_AT]
            looks = yield from at(q, p, browsing.look_at_groups(p, some), [])
            for name, look in zip(some, looks, strict=False):
                before = found[name]
                number, is_paused = before.messages + look.messages, before.is_paused or look.is_paused
                first = look if look.state else before
                found[name] = first._replace(messages=number, is_paused=is_paused)
    return found


def browse(
    q: QueueRef, state: State, cursor: str = "", limit: int = 100, *, newest_first: bool = False
) -> Flow[tuple[list[Delivery], str]]:
    """Look at messages of one state without touching them.

    Args:
        cursor: "" to begin, then what the last call gave.
        limit: about how many messages, 1 to 1000.
        newest_first: in each partition first what was sent last (in flight and delayed: what becomes visible last).
            Of a standard queue, messages of groups come behind, group by group; of a FIFO queue, in each group what
            was sent last, and first the group whose first message became visible last.

    Returns:
        Messages and the next cursor, "" at the end. What comes and goes meanwhile may be missed or seen twice.
    """
    if not cursor:
        yield from refresh(q)
    number, _, rest = cursor.partition("|")
    index = int(number or 0)
    found: list[Delivery] = []
    while index < len(q.partitions) and len(found) < limit:
        p = q.partitions[index]
        room = limit - len(found)
        more, rest = yield from at(q, p, browse_partition(p, state, rest, room, newest_first=newest_first), ([], ""))
        found += more
        if not rest:
            index += 1
    return found, f"{index}|{rest}" if index < len(q.partitions) else ""


def browse_group(q: QueueRef, state: State, group: str, cursor: str = "") -> Flow[tuple[list[Delivery], str]]:
    """The same for one message group, a few hundred messages at a time; fewer are in the state."""
    if not cursor:
        yield from refresh(q)
    number, _, rest = cursor.partition("|")
    index = int(number or 0)
    if index >= len(q.partitions):
        return [], ""
    p = q.partitions[index]
    found, following = yield from at(q, p, _of_group(p, state, group, rest), ([], None))
    index += following is None
    return found, f"{index}|{following or ''}" if index < len(q.partitions) else ""


def peek(q: QueueRef, state: State, limit: int, *, newest_first: bool = False) -> Flow[list[Delivery]]:
    """Look at the first messages of one state that can be read."""
    met: list[Delivery] = []
    good: list[Delivery] = []
    cursor = ""
    while True:
        found, cursor = yield from browse(q, state, cursor, limit - len(good), newest_first=newest_first)
        met += found
        good += readable(found, must=False)
        if not cursor or len(good) >= limit or len(good) == len(met):
            return good or readable(met, must=True)


def browse_partition(
    p: Partition, state: State, cursor: str, limit: int, *, newest_first: bool = False
) -> Flow[tuple[list[Delivery], str]]:
    """Cursor of a standard queue: SECTION:OFFSET of what is not in the lists of groups, then `+` and a place among
    these."""
    if p.is_fifo:
        step = browsing.browse_fifo(p, _LETTERS[state], cursor, limit, newest_first=newest_first)
        of_groups: tuple[list[Delivery], str] = yield step
        return of_groups
    if cursor.startswith("+"):
        found, following = yield browsing.browse_groups(p, cursor[1:], limit)
        return found, f"+{following}" if following else ""
    first = f"{_sections(state, newest_first)[0]}:{-1 if newest_first else 0}"
    section, _, start = (cursor or first).partition(":")
    seen, is_over, found = yield browsing.peek(p, section, "", int(start), limit)
    following = _next(state, section, int(start), seen, is_over)
    return found, following or ("+1:0::" if state == "visible" else "")


def find(q: QueueRef, message_id: str, group: str | None = None) -> Flow[tuple[State, Delivery] | None]:
    """Look for a message by its id, in all states, without touching it.

    Args:
        group: its message group, if known: spares a walk over all groups.

    Returns:
        Its state and itself; None if the queue does not hold it.
    """
    yield from refresh(q)
    for p in q.partitions:
        key = ids.key_of(message_id, p.node, p.is_fifo)
        found = None if key is None else (yield from at(q, p, _find(p, key, group), None))
        if found is not None:
            letter, delivery = found
            return cast("State", next(state for state, known in _LETTERS.items() if known == letter)), delivery
    return None


def _find(p: Partition, key: str, group: str | None) -> Flow[tuple[str, Delivery] | None]:
    found = None
    if group is not None or not p.is_fifo:
        found = yield from _find_in(p, key, [] if group is None else [group], ready_only=False)
    if found is None and group is None:
        names = yield from list_groups(p)
        for i in range(0, len(names), GROUPS):
            found = yield from _find_in(p, key, names[i : i + GROUPS], ready_only=True)
            if found is not None:
                break
    return found


def _find_in(p: Partition, key: str, names: list[str], *, ready_only: bool) -> Flow[tuple[str, Delivery] | None]:
    while True:
        found: Any = yield browsing.find(p, key, names, ready_only=ready_only)
        if found == browsing.NOT_FOUND:
            return None
        if isinstance(found, tuple):
            return found
        names = names[found[0] :]  # that was all that one call may do


def find_damage(q: QueueRef, limit: int = 100) -> Flow[tuple[int, list[RqsqsError]]]:
    """Look for what is damaged in a queue: settings, types of keys, and up to `limit` messages of each state.

    Returns:
        How many messages and other members were looked at, and what was found.
    """
    looked, found = 0, list[RqsqsError]()
    with contextlib.suppress(QueueDamaged, QueueDoesNotExist):  # told below
        yield from refresh(q)
    for p in q.partitions:
        members, damage = yield queues.find_damage(p.base + "meta", limit)
        looked += members
        found += damage
    states: tuple[State, ...] = ("visible", "in_flight", "delayed")
    for state in states:
        try:
            deliveries, _ = yield from browse(q, state, "", limit)
        except QueueDamaged as e:
            if str(e) not in map(str, found):
                found.append(e)
            continue
        for d in deliveries:
            looked += 1
            try:
                trouble: RqsqsError | None = d.damage
            except FormatNewer as e:
                trouble = e
            if trouble is not None:
                found.append(trouble)
    return looked, found


def cancel(
    q: QueueRef,
    message_id: str | None = None,
    dedup_id: str | None = None,
    group: str | None = None,
) -> Flow[bool]:
    """Take a waiting message out of a queue, by its id or its deduplication id (which is forgotten then).

    Args:
        group: its message group: spares a walk over all groups; needed with a deduplication id if the queue's
            DeduplicationScope is messageGroup.

    Returns:
        False if there is no such message.
    """
    if dedup_id is not None:
        tail = dedup_tail(dedup_id)
        yield from refresh(q)
        for p in q.own:
            for key in dict.fromkeys((p.dedup("=", tail, ""), p.dedup("=", tail, group or ""))):
                found = yield browsing.find_duplicate(p, key, forget=False)
                if found:
                    done: bool = yield from at(q, p, _take(q, p, found, group, None), False)
                    if done:
                        yield browsing.find_duplicate(p, key, forget=True)
                    return done
        return False
    return (yield from _everywhere(q, str(message_id), group, None))


def reschedule(q: QueueRef, message_id: str, due: int | str, group: str | None = None) -> Flow[bool]:
    """Let a waiting message become visible at another time (epoch ms, or "+ms" from now); the past means now.

    Returns:
        False if there is no such message.
    """
    return (yield from _everywhere(q, message_id, group, due))


def _everywhere(q: QueueRef, message_id: str, group: str | None, due: int | str | None) -> Flow[bool]:
    yield from refresh(q)
    known = False
    for p in q.partitions:
        key = ids.key_of(message_id, p.node, p.is_fifo)
        if key is not None:
            known = True
            if (yield from at(q, p, _take(q, p, key, group, due), False)):
                return True
    if not known:
        raise InvalidParameterValue(
            f"message must be one of the queue {q.name!r}, or its message_id, got {message_id!r}"
        )
    return False


def _take(q: QueueRef, p: Partition, key: str, group: str | None, due: int | str | None) -> Flow[bool]:
    if group is None and p.is_fifo:
        status = yield from _take_from_groups(p, key, due)
    else:
        status = yield from _take_from(p, key, [] if group is None else [group], due, ready_only=False)
        if status == browsing.NOT_FOUND and group is None:
            status = yield from _take_from_groups(p, key, due)
    if status == browsing.NOT_VISIBLE:
        raise MessageNotAvailable(f"the message is in flight in {q.name!r}: its receiver decides about it")
    return bool(status == browsing.DONE)


def _take_from_groups(p: Partition, key: str, due: int | str | None) -> Flow[int]:
    """Look through all groups, many at a time."""
    names = yield from list_groups(p)
    for i in range(0, len(names), GROUPS):
        status = yield from _take_from(p, key, names[i : i + GROUPS], due, ready_only=True)
        if status != browsing.NOT_FOUND:
            return status
    return browsing.NOT_FOUND


def _take_from(p: Partition, key: str, names: list[str], due: int | str | None, *, ready_only: bool) -> Flow[int]:
    while True:
        status: int | list[int] = yield browsing.cancel(p, key, names, due, ready_only=ready_only)
        if isinstance(status, int):
            return status
        names = names[status[0] :]  # that was all that one call may do
