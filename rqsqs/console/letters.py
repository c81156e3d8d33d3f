"""Dead letters of a queue by cause, counted a little at a time, so that no page waits for a million of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from rqsqs import _arguments as arguments
from rqsqs._base_message import moment
from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.flows.single_moves import what_is_wrong
from rqsqs.aio import Connection, Message
from rqsqs.errors import FormatNewer
from rqsqs.inspection.causes import Kind, Kinds
from rqsqs.models import State

PAGE = 500  # messages in one call
FIRST, QUICK_S = 4, 0.05  # messages in the first call; one that takes longer is followed by a smaller one
BUDGET_S = 0.3  # of counting in one request
MOST_KINDS = 1_000
REST = 20  # a count that took a second is repeated after twenty
# A message goes from delayed to visible to in flight: looked at in this order it is rather seen twice than missed.
STATES: tuple[State, ...] = ("delayed", "visible", "in_flight")


@dataclass(frozen=True, slots=True)
class Damaged:
    """A message that cannot be read."""

    message_id: str
    what: str
    source: str | None
    sent_at: datetime
    receive_count: int
    group: str | None = None
    cause: None = None


class Stride:
    """How many messages to look at in one call: fewer where they are large, so that none takes long.

    Args:
        most: at once.
    """

    def __init__(self, most: int = PAGE) -> None:
        self.size, self._most = FIRST, most
        self._began = time.monotonic()

    def seen(self) -> None:
        """A call is over."""
        now = time.monotonic()
        is_quick = now - self._began < QUICK_S
        self.size = min(2 * self.size, self._most) if is_quick else max(self.size // 2, 1)
        self._began = now


async def look(
    connection: Connection, queue: str, state: State, cursor: str = "", limit: int = PAGE
) -> tuple[list[Message | Damaged], str]:
    """Messages of one state, those that cannot be read among them, and where to go on ("" = at the end)."""
    ref = connection.transport.queue(queue)
    flow = flows.browse(ref, *arguments.browsing(ref, state, cursor, limit))
    found, following = await connection.transport.run(flow)
    return list(_readable(connection, queue, found)), following


def _readable(connection: Connection, queue: str, found: Iterable[Delivery]) -> Iterator[Message | Damaged]:
    of = connection.queue(queue)
    for d in found:
        try:
            damage = d.damage
            what = None if damage is None else what_is_wrong(damage)
        except FormatNewer:
            what = "is of a newer version of rqsqs"
        if what is None:
            yield Message(of, d)
        else:
            yield Damaged(
                d.message_id, what, d.dead_letter_source, moment(d.sent_at_ms), d.receive_count, d.group_name or None
            )


@dataclass(frozen=True, slots=True)
class Count:
    """What was found.

    Attributes:
        kinds: the most frequent first.
        looked: how many messages were looked at.
        others: of so many kinds more that they are only counted.
        is_whole: all messages were looked at.
    """

    kinds: list[Kind]
    looked: int
    others: int
    is_whole: bool


class Census:
    """Counts the dead letters of a queue by cause, again and again."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._whole: Count | None = None
        self._rests_until = 0.0
        self._begin()

    def _begin(self) -> None:
        self._kinds, self._looked, self._spent_s = Kinds(MOST_KINDS), 0, 0.0
        self._states, self._cursor = list(STATES), ""

    async def go_on(self, connection: Connection, queue: str) -> Count:
        """Count for a moment. Until the first count is whole, what was found so far; then the last whole one."""
        async with self._lock:
            began = time.monotonic()
            if self._whole is not None and began < self._rests_until:
                return self._whole
            stride = Stride()
            while self._states and time.monotonic() - began < BUDGET_S:
                found, self._cursor = await look(connection, queue, self._states[0], self._cursor, stride.size)
                stride.seen()
                for message in found:
                    self._kinds.add(message, is_visible=self._states[0] == "visible")
                self._looked += len(found)
                if not self._cursor:
                    self._states.pop(0)
            now = time.monotonic()
            self._spent_s += now - began
            count = Count(self._kinds.most_frequent_first(), self._looked, self._kinds.others, not self._states)
            if count.is_whole:
                self._whole, self._rests_until = count, now + REST * self._spent_s
                self._begin()
            return self._whole or count

    def look_again(self) -> None:
        """Something was changed here: what was counted is old."""
        self._rests_until = 0.0
