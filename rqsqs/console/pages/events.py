"""What was done to queues, and by whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rqsqs import Event
from rqsqs._base_message import moment
from rqsqs.console.pages.shown import Shown
from rqsqs.console.visits import Visit
from rqsqs.console.written import place_of
from rqsqs.event_models import KINDS, is_by
from rqsqs.inspection.events import changes, facts

SPANS = {"1h": ("Hour", timedelta(hours=1)), "1d": ("Day", timedelta(days=1)), "14d": ("Two weeks", timedelta(days=14))}
PER_PAGE = 100
FRESH_S = 2.0


async def index(visit: Visit) -> Shown:
    """The events of a time, the newest first."""
    span = visit.query.get("span", "1d")
    span = span if span in SPANS else "1d"
    known: _Known = visit.console.remembered((visit.caller.account, "events"), _Known)

    async def load() -> list[Event]:
        return await known.read(visit)

    since_ms = (datetime.now(UTC) - SPANS[span][1]).timestamp() * 1000
    found = [event for event in await visit.read("events", load, FRESH_S) if event.at_ms >= since_ms]
    kind, queue, who = (visit.query.get(name, "").strip() for name in ("kind", "queue", "who"))
    found = [
        event
        for event in reversed(found)
        if kind in ("", event.kind) and queue in ("", event.queue) and (not who or is_by(event.who, who))
    ]
    skip = place_of(visit.query.get("skip", ""), 0)
    return Shown(
        "events.html",
        {
            "section": "Events",
            "title": "Events",
            "events": [
                {
                    "id": event.id,
                    "at": moment(event.at_ms),
                    "kind": event.kind,
                    "queue": event.queue,
                    "who": str(event.who),
                    "api": " ".join(filter(None, (event.who.api, event.who.account))),
                    "says": [*changes(event.before, event.after), *facts(event.detail)],
                }
                for event in found[skip : skip + PER_PAGE]
            ],
            "found": len(found),
            "span": span,
            "spans": SPANS,
            "kinds": KINDS,
            "chosen": {"kind": kind, "queue": queue, "who": who},
            "skip": skip,
            "per_page": PER_PAGE,
        },
    )


class _Known:
    """The events of an account. What was read is not read again."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    async def read(self, visit: Visit) -> list[Event]:
        last = self._events[-1] if self._events else None
        since = None if last is None else moment(last.at_ms)
        known = {event.id for event in reversed(self._events) if last is not None and event.at_ms == last.at_ms}
        new = [event async for event in visit.connection.events(since) if event.id not in known]
        oldest_ms = (datetime.now(UTC) - SPANS["14d"][1]).timestamp() * 1000
        self._events = [event for event in self._events if event.at_ms >= oldest_ms] + new
        return self._events
