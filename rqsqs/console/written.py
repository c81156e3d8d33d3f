"""What people write into forms: numbers, durations and times. Times without a zone are UTC, as all that are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rqsqs.errors import InvalidParameterValue
from rqsqs.inspection.written import duration


def seconds_of(what: str, text: str, otherwise: float | None = None) -> Any:
    """A duration, or what counts if there is none."""
    if not text.strip():
        return otherwise
    try:
        return duration(text)
    except ValueError as error:
        raise InvalidParameterValue(f"{what}: {error}") from None


def whole_of(what: str, text: str, otherwise: int) -> int:
    """A whole number."""
    text = text.strip()
    if not text:
        return otherwise
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise InvalidParameterValue(f"{what} must be a whole number, got {text[:80]!r}")


def due_of(text: str) -> dict[str, Any]:
    """When something becomes visible: a duration from now, or a time."""
    text = text.strip()
    try:
        return {"delay": duration(text)}
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
        return {"at": at if at.tzinfo else at.replace(tzinfo=UTC)}
    except ValueError:
        raise InvalidParameterValue(
            "a time must be a duration from now, such as 30, 15m, 2h or 7d, or a moment, such as 2030-01-31T08:00, "
            f"got {text[:80]!r}"
        ) from None
