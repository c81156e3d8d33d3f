"""What people write into forms: numbers, durations and times. Times without a zone are UTC, as all that are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import FormData

from rqsqs.errors import InvalidParameterValue
from rqsqs.inspection.written import duration


def typed(form: FormData, name: str) -> str:
    """What stands in a field, without blanks around it; "" = there is none, or it has a file."""
    return typed_as_is(form, name).strip()


def typed_as_is(form: FormData, name: str) -> str:
    """The same with blanks; browsers end lines with two characters."""
    found = form.get(name, "")
    return found.replace("\r\n", "\n") if isinstance(found, str) else ""


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
    if _is_whole(text):
        return int(text)
    raise InvalidParameterValue(f"{what} must be a whole number, got {text[:80]!r}")


def place_of(text: str, otherwise: int) -> int:
    """A whole number that a URL of ours has; whatever else is there counts as `otherwise`."""
    return int(text) if _is_whole(text) else otherwise


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


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
