"""Which events a caller wants, checked before any round trip."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from rqsqs._arguments import epoch_ms, milliseconds, name_of, text
from rqsqs._text import shown
from rqsqs.errors import InvalidParameterValue
from rqsqs.event_models import Event, is_by
from rqsqs.event_rule_models import checked_kinds

MOST_AGO_MS = 14 * 86_400_000  # for which events are kept


class Chosen:
    """The events to read.

    Attributes:
        since: as read_events() takes it; absolute once the server's time is known.
    """

    def __init__(self, since: Any, until: Any, queue: Any, kind: Any, who: Any) -> None:
        if since is None:
            self.since = "0"
        elif isinstance(since, timedelta):
            self.since = f"-{milliseconds('since', since, MOST_AGO_MS)}"
        else:
            self.since = str(epoch_ms("since", since))
        self._until_ms = None if until is None else epoch_ms("until", until)
        self._queue = None if queue is None else name_of(queue)
        self._kinds = _kinds(kind)
        self._who = None if who is None else text("who", who)

    def learn(self, now_ms: int) -> None:
        """Count `since` from that time on, so that it stays where it is."""
        if self.since.startswith("-"):
            self.since = str(max(now_ms + int(self.since), 0))

    def is_over(self, ms: int) -> bool:
        """Is that time behind all that is wanted?"""
        return self._until_ms is not None and ms >= self._until_ms

    def has(self, event: Event) -> bool:
        if self._queue is not None and event.queue != self._queue:
            return False
        if self._kinds and event.kind not in self._kinds:
            return False
        return self._who is None or is_by(event.who, self._who)


def _kinds(kind: Any) -> frozenset[str]:
    if kind is None:
        return frozenset()
    if not isinstance(kind, str) and not isinstance(kind, Iterable):
        raise InvalidParameterValue(f"kind must be a str or several, got {shown(kind)}")
    return frozenset(checked_kinds([kind] if isinstance(kind, str) else list(kind)))
