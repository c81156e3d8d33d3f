"""What happened to one message."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

StepKind = Literal[
    "sent",
    "duplicate",
    "received",
    "visibility_changed",
    "timed_out",
    "released",
    "dead_lettered",
    "moved",
    "put_back",
    "rescheduled",
    "deleted",
    "cancelled",
    "expired",
    "purged",
]


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """Something that happened to a message. Times are epoch ms, by the server's clock.

    Attributes:
        kind: what; docs/native.md describes each.
        at_ms: when. That a message expired, or was received too often, is noticed by a later receive or count.
        queue: where.
        message_id: its id then: a redrive gives it another one.
        after_s: seconds since the step before; None for the first one.
        waited_s: received: seconds since it became visible.
        visible_at_ms: when it becomes visible: the first time (sent, rescheduled; None = at once) or again (received,
            visibility_changed, released).
        receive_count: received: how often by then, over all queues. dead_lettered: how often it had been received.
        process: sent, duplicate, received, deleted: the process that called, if known: six characters, the same in all
            its steps.
        consumer: the worker that this was, or that released it, if known: HOST-PID-RANDOM, as `rqsqs consumers ls`
            names it.
        outcome: released: "requeue" (it was not begun), "retry" or "dead-letter"; dead_lettered: "receives" (it was
            received too often) or "released" (its worker said so).
        cause: released: the exception and its text; None = there was none.
        source: dead_lettered, moved: the queue that it left.
        destination: the same: the queue that it went to.
        new_message_id: moved: its id there, if known.
    """

    __module__ = "rqsqs"

    kind: StepKind
    at_ms: int
    queue: str
    message_id: str
    after_s: float | None = None
    waited_s: float | None = None
    visible_at_ms: int | None = None
    receive_count: int | None = None
    process: str | None = None
    consumer: str | None = None
    outcome: str | None = None
    cause: str | None = None
    source: str | None = None
    destination: str | None = None
    new_message_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `rqsqs show --timeline --json` prints it: what is None is left out, times are ISO 8601 in UTC."""
        found: dict[str, Any] = {"kind": self.kind, "at": _iso(self.at_ms)}
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and name not in ("kind", "at_ms", "visible_at_ms"):
                found[name] = value
        if self.visible_at_ms is not None:
            found["visible_at"] = _iso(self.visible_at_ms)
        return found


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened to a message, as far as it was recorded and is still kept.

    Attributes:
        message_id: of the message.
        steps: the oldest first.
        is_on: whether the queue records steps now.
        since_ms: when the oldest step was that the queue has, of any message (epoch ms): what was before is not kept;
            None = it has none.
    """

    __module__ = "rqsqs"

    message_id: str
    steps: tuple[TimelineStep, ...]
    is_on: bool
    since_ms: int | None


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
