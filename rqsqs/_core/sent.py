"""A message on its way to a queue, and the queue's answer."""

from __future__ import annotations

from dataclasses import dataclass

from rqsqs._core import ids
from rqsqs.models import DurabilityResult


@dataclass(slots=True)  # not frozen: that triples the time it takes to make one
class Outgoing:
    """One message on its way to a queue. Made by `rqsqs._core.envelope.outgoing()`, which checks and packs it."""

    record: bytes
    size: int
    group: str | None = None
    dedup_id: str | None = None
    content_hash: str | None = None  # hex SHA-256 of the body, for content-based deduplication
    delay_ms: int | None = None
    due_ms: int | None = None
    dedup_window_ms: int | None = None

    @property
    def is_plain(self) -> bool:
        """Nothing about it is special."""
        return (self.delay_ms, self.due_ms, self.group, self.dedup_id) == (None, None, None, None)


class SentMessage:
    """The server's answer to a send.

    Attributes:
        message_id: UUID text; of the first message if this one was a duplicate.
        sequence_number: 20 digits, FIFO queues only.
        is_duplicate: the message was recognised as a duplicate and not stored again.
        durability: what was reached, if a Durability was asked for; else None.
    """

    __module__ = "rqsqs"
    __slots__ = ("_key", "_node", "durability", "is_duplicate", "sequence_number")

    def __init__(self, key: str, node: int, sequence_number: str | None = None, is_duplicate: bool = False) -> None:
        self._key = key
        self._node = node
        self.sequence_number: str | None = sequence_number
        self.is_duplicate: bool = is_duplicate
        self.durability: DurabilityResult | None = None

    @property
    def message_id(self) -> str:
        return ids.message_id(self._key, self._node)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SentMessage):
            return NotImplemented
        return (self._key, self._node, self.is_duplicate) == (other._key, other._node, other.is_duplicate)

    def __hash__(self) -> int:
        return hash((self._key, self._node))

    def __repr__(self) -> str:
        return (
            f"SentMessage(message_id={self.message_id!r}, sequence_number={self.sequence_number!r}, "
            f"is_duplicate={self.is_duplicate!r})"
        )
