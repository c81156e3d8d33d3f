"""Durations and times as people write them, on the command line and in forms."""

from __future__ import annotations

import contextlib
import math
import re
from datetime import datetime

UNITS = {"": 1.0, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration(text: str, shortest: float = 0.0, longest: float = math.inf) -> float:
    """`30`, `1.5s`, `15m`, `2h`, `7d`: seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhdw]?)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 30, 1.5s, 15m, 2h or 7d")
    seconds = float(match[1]) * UNITS[match[2]]
    if not shortest <= seconds <= longest:
        raise ValueError(f"{text!r:.80} is not in the range: {in_short(shortest)} to {in_short(longest)}")
    return seconds


def moment(text: str) -> datetime | float:
    """An ISO time, `2030-01-31T08:00+01:00` (local time without a zone), or epoch seconds."""
    with contextlib.suppress(ValueError):
        return float(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        wanted = "2030-01-31T08:00, with +01:00 or Z, or epoch seconds"
        raise ValueError(f"{text!r} is not a time: write {wanted}") from None
    try:
        return found if found.tzinfo else found.astimezone()
    except (ValueError, OverflowError):  # in the first or the last year that there is
        raise ValueError(f"{text!r} is out of range: a time between 1970 and 2200") from None


def in_short(seconds: float) -> str:
    """As duration() reads it, in the largest unit that gives a whole number."""
    for unit in "dhms":
        if seconds and seconds % UNITS[unit] == 0:
            return f"{seconds / UNITS[unit]:.0f}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds else "0s"
