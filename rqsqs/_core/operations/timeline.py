"""Reading the timeline of a message."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgpack

from rqsqs._core import ids
from rqsqs._core.envelope import UNREADABLE
from rqsqs._core.keys import Partition
from rqsqs._core.operation import Operation
from rqsqs.timeline_models import StepKind, TimelineStep

PURGED, MOVED = "p", "m"
KINDS: dict[str, StepKind] = {
    "s": "sent",
    "u": "duplicate",
    "r": "received",
    "x": "visibility_changed",
    "l": "released",
    "d": "dead_lettered",
    MOVED: "moved",
    "b": "put_back",
    "t": "rescheduled",
    "k": "deleted",
    "c": "cancelled",
    "e": "expired",
    PURGED: "purged",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A step as it is stored (lua/lib/timeline.lua), with what only its readers need.

    Attributes:
        since_ms: of a receive: since when the message was visible.
        is_arrival: of a move: as the destination has it.
    """

    step: TimelineStep
    since_ms: int = 0
    is_arrival: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a partition's steps that may be of a message.

    Attributes:
        is_on: whether the partition records steps.
        since_ms: when its oldest step was, 0 = it has none.
        cursor: where to go on, "" = at the end.
        workers: which worker a process was.
    """

    is_on: bool
    since_ms: int
    cursor: str
    workers: dict[str, str]
    seen: list[Seen]


def read(p: Partition, message_id: str, cursor: str) -> Operation:
    """Some steps of a message, also of one that came from there under another id; the result is a Page."""
    key = ids.key_of(message_id, p.node, p.is_fifo) or ""
    texts = [text for text in (key, message_id) if text]

    def parse(reply: list[Any]) -> Page:
        workers = [text.decode(errors="replace") for text in reply[3]]
        seen = [found for record in reply[4:] if (found := _seen(p, record, key, message_id)) is not None]
        return Page(
            reply[0] > 0, reply[1], reply[2].decode(), dict(zip(workers[::2], workers[1::2], strict=True)), seen
        )

    return Operation("read_timeline", p.keys("meta timeline timeline_callers"), (cursor, *texts), parse)


def _seen(p: Partition, record: bytes, key: str, message_id: str) -> Seen | None:
    """A step, if it is of the message and can be read."""
    try:
        _, at_ms, letter, stamp, *more = msgpack.unpackb(record, unicode_errors="replace")
        kind = KINDS[letter]
        if letter == PURGED:
            return Seen(TimelineStep(kind, at_ms, p.queue, message_id)) if key else None
        if stamp != key and not (letter == MOVED and more[3] == "<" and more[2] in (key, message_id)):
            return None
        return _of_kind(p, letter, TimelineStep(kind, at_ms, p.queue, ids.message_id(stamp, p.node)), more)
    except UNREADABLE:
        return None


def _of_kind(p: Partition, letter: str, step: TimelineStep, more: list[Any]) -> Seen:
    if letter in "suk":
        due = more[1] if letter == "s" else 0
        return Seen(replace(step, process=_process(more[0]), visible_at_ms=due or None))
    if letter == "r":
        caller, receives, until_ms, since_ms = more
        waited_s = max(step.at_ms - since_ms, 0) / 1000 if since_ms else None
        found = replace(
            step, process=_process(caller), receive_count=receives, visible_at_ms=until_ms or None, waited_s=waited_s
        )
        return Seen(found, since_ms)
    if letter in "xt":
        return Seen(replace(step, visible_at_ms=more[0]))
    if letter == "l":
        outcome, visible_ms, kind, text, worker = more
        cause = f"{kind}: {text}" if kind and text else kind
        return Seen(
            replace(
                step, outcome=outcome, visible_at_ms=visible_ms or None, cause=cause or None, consumer=worker or None
            )
        )
    if letter == "d":
        source, destination, receives, told = more
        outcome = "released" if told else "receives"
        return Seen(
            replace(step, queue=source, source=source, destination=destination, receive_count=receives, outcome=outcome)
        )
    if letter == MOVED:
        source, destination, other, way = more
        if other and len(other) != 36:
            other = ids.message_id(other, p.node)
        if way == "<":
            found = replace(step, queue=source, message_id=other, new_message_id=step.message_id)
        else:
            found = replace(step, new_message_id=other or None)
        return Seen(replace(found, source=source, destination=destination), is_arrival=way == "<")
    return Seen(step)


def _process(caller: str) -> str | None:
    return caller[:6] or None
