"""Causes of failure, grouped: messages that failed for the same reason count together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from rqsqs._base_message import BaseMessage, moment
from rqsqs._causes import pattern_of
from rqsqs.models import Failure

NO_CAUSE = "no failure recorded: received too often (its consumers died, or let the visibility timeout pass)"
DAMAGED = "MessageDamaged"
HOUR_S = 3_600
MOST_HOURS = 1_000  # that are remembered of a kind: some six weeks


@dataclass
class Kind:
    """Messages that died of the same cause and came from the same queue."""

    type: str | None  # name of the exception, None if no failure was recorded
    message: str  # its text; `…` where the texts differ
    source: str | None  # the queue they came from, None for messages that were sent here
    count: int
    oldest: datetime  # when the first of them was sent
    newest: datetime
    example: str  # a message id, of the newest
    cause: str = ""  # what they have in common, "" if no failure was recorded
    first: datetime | None = None  # when the first of them failed, or was sent if that is not known
    last: datetime | None = None
    visible: int = 0  # how many of them can be moved
    hours: Counter[int] = field(default_factory=Counter)  # hours since 1970 -> how many of them failed then

    @property
    def text(self) -> str:
        if self.type is None:
            return NO_CAUSE if self.source is not None else "none: sent here, not a dead letter"
        return f"{self.type}: {self.message}" if self.message else self.type

    @property
    def is_damaged(self) -> bool:
        """They cannot be read."""
        return self.type == DAMAGED

    def record(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "message": self.message if self.type is not None else None,
            "source": self.source,
            "count": self.count,
            "oldest_sent_at": self.oldest,
            "newest_sent_at": self.newest,
            "example": self.example,
        }


class Damaged(Protocol):
    """What is needed of a message whose record cannot be read."""

    @property
    def message_id(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def source(self) -> str | None: ...
    @property
    def sent_at(self) -> datetime: ...


def cause_and_source(message: BaseMessage | Damaged) -> tuple[str, str | None]:
    """What messages of one kind have in common; "" if no failure was recorded."""
    if not isinstance(message, BaseMessage):
        return pattern_of(DAMAGED, f"its record {message.what}"), message.source
    cause = message.cause
    return "" if cause is None else pattern_of(cause.type, cause.message), message.dead_letter_source


class Kinds:
    """All kinds met so far; memory grows with their number, not with that of the messages.

    Args:
        most: kinds that are told apart; messages of any more are only counted.

    Attributes:
        others: how many messages are of none of them.
    """

    def __init__(self, most: int | None = None) -> None:
        self._found: dict[tuple[str, str | None], Kind] = {}
        self._most = most
        self.others = 0

    def add(self, message: BaseMessage | Damaged, *, is_visible: bool = True) -> None:
        """One more dead letter, or one that cannot be read."""
        cause = message.cause if isinstance(message, BaseMessage) else None
        name: str | None
        if isinstance(message, BaseMessage):
            name, text = (None, "") if cause is None else (cause.type, " ".join(cause.message.split()))
        else:
            name, text = DAMAGED, f"its record {message.what}"
        sent, message_id = message.sent_at, message.message_id
        failed = _failed_at(cause) or sent
        key = cause_and_source(message)
        kind = self._found.get(key)
        if kind is None:
            if self._most is not None and len(self._found) >= self._most:
                self.others += 1
                return
            kind = self._found[key] = Kind(name, text, key[1], 0, sent, sent, message_id, key[0], failed, failed)
        kind.count += 1
        kind.visible += is_visible
        if kind.message != text:
            kind.message = key[0][len(str(name)) + 2 :]
        kind.oldest = min(kind.oldest, sent)
        kind.first, kind.last = min(kind.first or failed, failed), max(kind.last or failed, failed)
        hour = int(failed.timestamp()) // HOUR_S
        if hour in kind.hours or len(kind.hours) < MOST_HOURS:
            kind.hours[hour] += 1
        if sent >= kind.newest:
            kind.newest, kind.example = sent, message_id

    def most_frequent_first(self) -> list[Kind]:
        return sorted(self._found.values(), key=lambda kind: -kind.count)


def _failed_at(cause: Failure | None) -> datetime | None:
    """When it failed, by the worker's clock, if that is known."""
    try:
        return None if cause is None or cause.at_ms is None else moment(cause.at_ms)
    except (TypeError, ValueError, OverflowError, OSError):  # what it says is no time
        return None
