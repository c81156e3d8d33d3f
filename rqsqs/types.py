"""What operations take and give: frozen data, no behaviour beyond reading it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

State = Literal["visible", "in_flight", "delayed"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way to a queue. Made by `rqsqs._core.records.outgoing()`, which checks and packs it."""

    record: bytes
    size: int
    group: str | None = None
    dedup_id: str | None = None
    content_hash: str | None = None  # hex SHA-256 of the body, for content-based deduplication
    delay_ms: int | None = None
    due_ms: int | None = None
    dedup_window_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """The server's answer to a send.

    Attributes:
        message_id: UUID text; of the first message if this one was a duplicate.
        sequence_number: 20 digits, FIFO queues only.
        is_duplicate: the message was recognised as a duplicate and not stored again.
    """

    __module__ = "rqsqs"

    message_id: str
    sequence_number: str | None = None
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """The entry `index` of a batch was not done, because of `error`."""

    __module__ = "rqsqs"

    index: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Counts:
    """Exact numbers of messages of a queue or group.

    Attributes:
        visible: can be received now (FIFO: including those behind a locked head).
        in_flight: received, not deleted, still invisible.
        delayed: not visible for the first time yet.
        oldest_sent_at_ms: when the oldest message was sent (epoch ms), or None if there is none.
    """

    __module__ = "rqsqs"

    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    oldest_sent_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class MoveTask:
    """A message move task. Status: RUNNING, COMPLETED, CANCELLING, CANCELLED, FAILED. Times in epoch ms."""

    __module__ = "rqsqs"

    task_id: str
    source: str
    destination: str | None
    status: str
    moved: int
    to_move: int | None
    started_at_ms: int
    max_per_second: int | None = None
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """Everything stored about a queue.

    Attributes:
        attributes: settable attributes under SQS's names, as strings (seconds, bytes, "true"/"false").
        created_at_ms: epoch ms.
        modified_at_ms: epoch ms.
    """

    __module__ = "rqsqs"

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    created_at_ms: int = 0
    modified_at_ms: int = 0
    is_paused: bool = False
