"""Words for ages, numbers and rates."""

from __future__ import annotations

from datetime import UTC, datetime


def age(seconds: float | None) -> str:
    """A duration for people: `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`; `-` if there is none."""
    if seconds is None:
        return "-"
    seconds = max(seconds, 0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, size, unit in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h"), (float("inf"), 86_400, "d")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    raise AssertionError(seconds)


def since(moment: datetime) -> str:
    """How long ago something was."""
    return age((datetime.now(UTC) - moment).total_seconds())


def until(moment: datetime) -> str:
    """How long it takes until something is."""
    return age((moment - datetime.now(UTC)).total_seconds())


def counted(number: int, noun: str) -> str:
    """`1 message`, `1,200 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def number(n: float) -> str:
    """A whole number in seven characters: `999,999`, `1.23M`."""
    if n < 1_000_000:
        return f"{n:,.0f}"
    for size, unit in ((1e6, "M"), (1e9, "G"), (1e12, "T")):
        if n < size * 999.5:
            return f"{n / size:.3g}{unit}" if n < size * 100 else f"{n / size:.0f}{unit}"
    return f"{n:.0e}"


def rate(per_s: float | None) -> str:
    """Something per second in six characters; nothing if it is not known."""
    if per_s is None:
        return ""
    if not per_s:
        return "0"
    if per_s < 9.95:
        return "<0.1" if per_s < 0.05 else f"{per_s:.1f}"
    return f"{per_s:,.0f}" if per_s < 99_999 else number(round(per_s, -3)) if per_s >= 1e6 else f"{per_s / 1000:.0f}k"
