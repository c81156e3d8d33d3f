"""Which periods of a history a caller wants, checked before any round trip."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rqsqs._arguments import epoch_ms, is_number, milliseconds
from rqsqs._text import shown
from rqsqs.errors import InvalidParameterValue

MOST_HISTORY_S = 14 * 86_400  # for which a history is kept
MOST_POINTS = MOST_HISTORY_S // 60 + 1


def periods_of(since: Any, until: Any, period: Any) -> tuple[Callable[[int], tuple[int, int]], int]:
    """What makes (since_ms, until_ms) of the present, and the seconds of a period."""
    if isinstance(period, timedelta):
        period = period.total_seconds()
    if not is_number(period) or period % 60 or not 60 <= period <= MOST_HISTORY_S:
        wanted = f"a multiple of 60 seconds, from 60 to {MOST_HISTORY_S}, or such a timedelta"
        raise InvalidParameterValue(f"period must be {wanted}, got {shown(period)}")
    ago = milliseconds("since", since, 1000 * MOST_HISTORY_S) if isinstance(since, timedelta) else None
    since_ms = epoch_ms("since", since) if ago is None else 0
    until_ms = None if until is None else epoch_ms("until", until)

    def span(now_ms: int) -> tuple[int, int]:
        end = now_ms if until_ms is None else until_ms
        begin = since_ms if ago is None else end - ago
        if begin >= end:
            raise InvalidParameterValue(
                f"since must be before until, got a time {(begin - end) / 1000:.12g} s after it"
            )
        if (points := -(-(end - begin) // (1000 * int(period)))) > MOST_POINTS:
            raise InvalidParameterValue(
                f"since, until and period must make up to {MOST_POINTS} points, got {points}: choose a longer period"
            )
        return begin, end

    return span, int(period)
