"""Causes of failure, grouped: messages that failed for the same reason count together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from rqsqs._base_message import BaseMessage

_VARIES = re.compile(r"[\w.:-]*\d[\w.:-]*")  # ids, numbers, addresses: what differs in otherwise equal texts


NO_CAUSE = "no failure recorded: received too often (its consumers died, or let the visibility timeout pass)"


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

    @property
    def text(self) -> str:
        if self.type is None:
            return NO_CAUSE if self.source is not None else "none: sent here, not a dead letter"
        return f"{self.type}: {self.message}" if self.message else self.type

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


class Kinds:
    """All kinds met so far; memory grows with their number, not with that of the messages."""

    def __init__(self) -> None:
        self._found: dict[tuple[str | None, str, str | None], Kind] = {}

    def add(self, message: BaseMessage | Damaged) -> None:
        """One more dead letter, or one that cannot be read."""
        name: str | None
        if isinstance(message, BaseMessage):
            cause, source = message.cause, message.dead_letter_source
            name, text = (None, "") if cause is None else (cause.type, " ".join(cause.message.split()))
        else:
            name, text, source = "MessageDamaged", f"its record {message.what}", message.source
        sent, message_id = message.sent_at, message.message_id
        pattern = _VARIES.sub("…", text)
        key = (name, pattern, source)
        kind = self._found.get(key)
        if kind is None:
            self._found[key] = Kind(name, text, source, 1, sent, sent, message_id)
            return
        kind.count += 1
        if kind.message != text:
            kind.message = pattern
        kind.oldest = min(kind.oldest, sent)
        if sent >= kind.newest:
            kind.newest, kind.example = sent, message_id

    def most_frequent_first(self) -> list[Kind]:
        return sorted(self._found.values(), key=lambda kind: -kind.count)
