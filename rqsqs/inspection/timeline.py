"""The steps of a message's timeline in words."""

from __future__ import annotations

from datetime import UTC, datetime

from rqsqs.inspection.words import age, counted
from rqsqs.timeline_models import TimelineStep

TITLES = {
    "sent": "sent",
    "duplicate": "a duplicate was sent, and not stored",
    "received": "received",
    "visibility_changed": "visibility timeout changed",
    "timed_out": "visible again: the visibility timeout was over",
    "released": "released",
    "dead_lettered": "dead-lettered",
    "moved": "moved",
    "put_back": "put back: the move could not be finished",
    "rescheduled": "rescheduled",
    "deleted": "deleted",
    "cancelled": "cancelled",
    "expired": "expired: its retention was over",
    "purged": "purged with its queue",
}
OUTCOMES = {"requeue": "not begun", "retry": "failed", "dead-letter": "failed, not to be tried again"}


def title(step: TimelineStep) -> str:
    """What happened."""
    if step.kind == "received" and step.receive_count is not None:
        return f"received for the {ordinal(step.receive_count)} time"
    if step.kind == "released":
        return f"released: {OUTCOMES.get(step.outcome or '', step.outcome)}"
    if step.kind == "dead_lettered":
        why = "as a worker said" if step.outcome == "released" else "received too often"
        return f"dead-lettered: {why}, {counted(step.receive_count or 0, 'receive')}"
    return TITLES[step.kind]


def facts(step: TimelineStep) -> list[str]:
    """What else is known of it."""
    found = []
    if step.cause:
        found.append(step.cause)
    if step.kind == "received" and step.waited_s is not None:
        found.append(f"it had been visible for {age(step.waited_s)}")
    if step.visible_at_ms is not None:
        at = clock(step.visible_at_ms, step.at_ms)
        is_first = step.kind in ("sent", "rescheduled")
        is_now = step.visible_at_ms <= step.at_ms
        found.append("visible at once" if is_now else f"visible {'' if is_first else 'again '}{at}")
    if step.source and step.destination:
        found.append(f"from {step.source} to {step.destination}")
    if step.new_message_id and step.new_message_id != step.message_id:
        found.append(f"its id there is {step.new_message_id}")
    if step.consumer:
        found.append(f"by {step.consumer}")
    elif step.process:
        found.append(f"by process {step.process}")
    return found


def clock(at_ms: int, beside_ms: int = 0) -> str:
    """`at 21:03:04.250 UTC`, with the date if that is another one than beside it."""
    at, beside = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (at_ms, beside_ms))
    time = f"{at:%H:%M:%S}.{at_ms % 1000:03d} UTC"
    return f"at {time}" if at.date() == beside.date() else f"on {at:%Y-%m-%d} at {time}"


def ordinal(n: int) -> str:
    """`1st`, `2nd`, `13th`."""
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{ending}"
