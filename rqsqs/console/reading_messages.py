"""Messages as lists show them, read without receiving them: page by page, or searched for with a bounded amount of work
per second."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rqsqs import _arguments as arguments
from rqsqs._async.message import Message
from rqsqs._base_message import moment
from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._text import jsonable, printable, shortened
from rqsqs.aio import Queue
from rqsqs.errors import FormatNewer, InvalidParameterValue
from rqsqs.inspection.bodies import body_type, cause_text
from rqsqs.inspection.search import finder, matches
from rqsqs.models import State

STATES: tuple[State, ...] = ("visible", "in_flight", "delayed")
# A message goes from delayed to visible to in flight: looked at in this order it is rather seen twice than missed.
SEARCHED: tuple[State, ...] = ("delayed", "visible", "in_flight")
PREVIEW = 300  # characters of a body
CAUSE = 200
STEP = 250  # messages that a search reads at a time
MOST_FOUND = 100  # before it stops, to be told to go on
BUDGET_S = 0.5  # that it works at a time
_GROUP_CURSOR = re.compile(r"(\d{1,9}\|((again|due|returned|ready|inflight|delayed):)?\d{0,15})?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Row:
    """A message in a list.

    Attributes:
        damage: why it cannot be read, or "".
    """

    message_id: str
    state: State
    sent_at: datetime
    receive_count: int
    visible_at: datetime | None
    group: str | None
    source: str | None
    size: int
    kind: str
    body: str
    cause: str
    damage: str = ""


Filter = Callable[[Message], bool]


def damage_of(delivery: Delivery) -> str:
    """Why a message cannot be read, or ""."""
    try:
        damage = delivery.damage
    except FormatNewer as newer:
        return str(newer)
    return "" if damage is None else f"its record {(damage.detail or '').rpartition(chr(9))[2]}"


def row_of(message: Message, state: State) -> Row:
    """What a list shows of a message."""
    delivery = message._delivery
    until = None if delivery.visible_at_ms is None else moment(delivery.visible_at_ms)
    known = message.message_id, state, message.sent_at, message.receive_count, until
    damage = damage_of(delivery)
    if damage:
        group = delivery.group_name or None
        return Row(*known, group, delivery.dead_letter_source, len(delivery.record), "damaged", "", "", damage)
    cause = "" if message.cause is None else shortened(cause_text(message.cause), CAUSE)
    kind, body = body_type(message.body), preview(message.body)
    return Row(*known, message.group, message.dead_letter_source, delivery.size, kind, body, cause)


def preview(body: Any) -> str:
    """The beginning of a body in one line, however large it is."""
    if isinstance(body, str):
        text = body[: PREVIEW + 1]
    elif isinstance(body, bytes):
        text = body[: PREVIEW + 1].decode(errors="backslashreplace")
    else:
        text = _begin_of_json(body)
    return printable(text[:PREVIEW]) + ("…" if len(text) > PREVIEW else "")


def _begin_of_json(body: Any) -> str:
    """Written piece by piece, as far as it is shown."""
    text = ""
    try:
        for piece in itertools.islice(json.JSONEncoder(ensure_ascii=False, default=jsonable).iterencode(body), PREVIEW):
            text += piece[: PREVIEW + 1]
            if len(text) > PREVIEW:
                break
    except (TypeError, ValueError, RecursionError):  # keys of other types
        text = repr(body)[: PREVIEW + 1]
    return text


async def browse(
    queue: Queue, state: State, cursor: str, limit: int, *, newest_first: bool = False
) -> tuple[list[Message], str]:
    """As Queue.browse(), with what cannot be read."""
    checked = arguments.browsing(queue._ref, state, cursor, limit)
    found, following = await queue._run(flows.browse(queue._ref, *checked, newest_first=newest_first))
    return [Message(queue, d) for d in found], following


async def browse_group(queue: Queue, state: State, group: str, cursor: str) -> tuple[list[Message], str]:
    """Messages of a group alone, which are found without looking at all others.

    Raises:
        InvalidParameterValue: the cursor is none.
    """
    if not _GROUP_CURSOR.fullmatch(cursor):
        raise InvalidParameterValue(f"cursor must be '' or of the same search, got {cursor[:80]!r}")
    found, following = await queue._run(flows.browse_group(queue._ref, state, group, cursor))
    return [Message(queue, d) for d in found], following


async def find(queue: Queue, message_id: str, group: str | None = None) -> tuple[Message, State] | None:
    """One message, wherever it is; None if the queue does not hold it.

    Args:
        group: its message group, as far as it is known: with it the message is found faster.
    """
    if not _UUID.fullmatch(message_id):
        return None
    found = await queue._run(flows.find(queue._ref, message_id.lower(), group))
    return None if found is None else (Message(queue, found[1]), found[0])


async def rows_of(messages: Sequence[Message], state: State, is_wanted: Filter | None = None) -> list[Row]:
    """What lists show, of those that are wanted; in a thread, as bodies may be large."""

    def chosen() -> list[Row]:
        return [row_of(m, state) for m in messages if is_wanted is None or is_wanted(m)]

    if is_wanted is None and sum(len(m._delivery.record) for m in messages) < 65_536:
        return chosen()
    return await asyncio.to_thread(chosen)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages are looked for.

    Attributes:
        text: that is in the body, a field of it, an attribute, the ids or the cause, in upper or lower case.
        group: their message group.
        sent_before: how long ago they were sent at least, in seconds.
        receives: how often they were received at least.
    """

    text: str = ""
    group: str = ""
    older_s: float = 0
    receives: int = 0

    @property
    def is_all(self) -> bool:
        """Nothing is asked for: a list of all of them does."""
        return self == Wanted()

    def filter(self) -> Filter:
        """Whether a message is wanted. One that cannot be read is found by its id."""
        is_match = finder(self.text, ignores_case=True) if self.text else None
        before = time.time() - self.older_s

        def is_wanted(message: Message) -> bool:
            if message.receive_count < self.receives or (self.older_s and message.sent_at.timestamp() > before):
                return False
            if damage_of(message._delivery):
                return not self.group and (is_match is None or is_match(message.message_id))
            return (not self.group or message.group == self.group) and (is_match is None or matches(message, is_match))

        return is_wanted


@dataclass(slots=True)
class Scan:
    """A search through the messages of some states, which goes on while somebody looks.

    Attributes:
        looked: messages so far.
        found: of these, those that are wanted.
        states: that are left; the first one is being looked through.
        cursor: where it is there.
    """

    wanted: Wanted
    states: list[State]
    cursor: str = ""
    looked: int = 0
    found: list[Row] = field(default_factory=list)
    _is_wanted: Filter | None = None

    @property
    def is_over(self) -> bool:
        """All have been looked at."""
        return not self.states

    @property
    def is_full(self) -> bool:
        """It waits to be told to go on."""
        return len(self.found) >= MOST_FOUND

    @property
    def place(self) -> str:
        """Where another one can go on."""
        return f"{self.states[0]}~{self.cursor}" if self.states else ""

    async def advance(self, queue: Queue) -> None:
        """Go on for a while."""
        if self._is_wanted is None:
            self._is_wanted = self.wanted.filter()
            await self._find_id(queue)
        until = time.monotonic() + BUDGET_S
        while not self.is_over and not self.is_full and time.monotonic() < until:
            state = self.states[0]
            if self.wanted.group:
                messages, following = await browse_group(queue, state, self.wanted.group, self.cursor)
            else:
                messages, following = await browse(queue, state, self.cursor, STEP)
            known = {row.message_id for row in self.found}
            self.found += [r for r in await rows_of(messages, state, self._is_wanted) if r.message_id not in known]
            self.looked += len(messages)
            self.cursor = following
            if not following:
                del self.states[0]

    async def _find_id(self, queue: Queue) -> None:
        """A message id needs no search."""
        text = self.wanted.text.strip()
        found = await find(queue, text) if not self.cursor and _UUID.fullmatch(text) else None
        if found is not None and found[1] in self.states:
            self.found.append(row_of(*found))


def begin_scan(wanted: Wanted, states: Sequence[State], place: str = "") -> Scan:
    """A search from the beginning, or from where another one waits."""
    left = list(states)
    state, _, cursor = place.partition("~")
    if place and state in left:
        del left[: left.index(state)]
        return Scan(wanted, left, cursor)
    return Scan(wanted, left)
