"""Builders and parsers of events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation
from rqsqs.event_models import Actor, Event

MOST_BYTES = 32_000  # of what an event says
PAGE = 100
_CUTS = (4000, 1000, 100)  # characters of a text, if all of it is too long
_MOST_VALUES = 100


class Page(NamedTuple):
    """Some events, and the server's time."""

    now_ms: int
    events: list[Event]

    @property
    def is_last(self) -> bool:
        """Whether there are no more so far."""
        return len(self.events) < PAGE


def add_event(
    space: Keyspace,
    kind: str,
    queue: str,
    who: Actor,
    before: Mapping[str, str | None],
    after: Mapping[str, str | None],
    detail: Mapping[str, Any],
    about: str = "",
    once_ms: int = 0,
) -> Operation:
    """Add an event; the result is its id, or "" if it was told before.

    Args:
        about: what it is of, if that is told once in `once_ms`.
    """
    data = {"before": before, "after": after, "detail": detail}
    args = (
        *(space.now_us(), str(once_ms) if about else ""),
        *("kind", kind, "queue", queue),
        *("who", json.dumps([who.api, who.name[:200], who.address[:200], who.account[:200]])),
        *("data", _bounded({name: value for name, value in data.items() if value})),
    )
    return Operation("add_event", (space.events, space.told(about)), args, lambda r: r.decode())


def shortened(event: Event, most: int) -> Event:
    """An event that says what fits into so many bytes."""
    data = {"before": event.before, "after": event.after, "detail": event.detail}
    parts = json.loads(_bounded(data, most))
    return replace(event, **{name: parts.get(name, {}) for name in data})


def _bounded(data: dict[str, Any], most: int = MOST_BYTES) -> str:
    """As JSON; what is too long is cut, and says so."""
    text = json.dumps(data, separators=(",", ":"), sort_keys=True)
    for length in _CUTS:
        if len(text) <= most:
            break
        text = json.dumps(_cut(data, length), separators=(",", ":"), sort_keys=True)
    return text if len(text) <= most else json.dumps({"detail": {"left_out": f"{len(text)} bytes"}})


def _cut(value: Any, length: int) -> Any:
    if isinstance(value, str) and len(value) > length:
        return f"{value[:length]}... and {len(value) - length:,} more characters"
    if isinstance(value, Mapping):
        return {_cut(key, 200): _cut(each, length) for key, each in list(value.items())[:_MOST_VALUES]}
    if isinstance(value, list | tuple):
        return [_cut(each, length) for each in value[:_MOST_VALUES]]
    return value


def read_events(space: Keyspace, after: str, since: str) -> Operation:
    """Read some events; the result is a Page.

    Args:
        after: the id of the last event that was read; "" = those since.
        since: ms since 1970, or "-" and ms before now.
    """
    return Operation("read_events", (space.events,), (space.now_us(), after, since, str(PAGE)), _page)


def _page(reply: list[Any]) -> Page:
    now_ms, *entries = reply
    return Page(now_ms, [_event(entry_id.decode(), flat) for entry_id, flat in entries])


def _event(entry_id: str, flat: list[bytes]) -> Event:
    """An event; what somebody else wrote into it, or a later version, and cannot be read is left out."""
    fields = {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in zip(flat[::2], flat[1::2], strict=True)
    }
    who, data = _json(fields.get("who"), list), _json(fields.get("data"), dict)
    actor = Actor(*[str(each) for each in (*who, "?", "?", "", "")[:4]]) if who else Actor("?", "?")
    parts = [part if isinstance(part := data.get(name), dict) else {} for name in ("before", "after", "detail")]
    return Event(
        entry_id, int(entry_id.partition("-")[0]), fields.get("kind", "?"), fields.get("queue") or None, actor, *parts
    )


def _json(text: str | None, kind: type) -> Any:
    try:
        found = json.loads(text or "")
    except ValueError:
        return kind()
    return found if isinstance(found, kind) else kind()
