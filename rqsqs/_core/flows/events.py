"""Flows of events: what is told after something was changed, and what was told.

Telling comes after the change, by a call of its own, as the stream is in a slot of its own. It never makes an operation
fail: users of Redis without the right to write the stream tell nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from rqsqs._core.actors import actor_of
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow, Sleep
from rqsqs._core.operations.events import Page, add_event, read_events
from rqsqs.errors import RqsqsError

log = logging.getLogger("rqsqs.events")

LOOK_MS = 500  # between two looks for new events
_NOTHING: Mapping[str, Any] = {}


def tell(
    space: Keyspace,
    kind: str,
    queue: str = "",
    *,
    before: Mapping[str, str | None] = _NOTHING,
    after: Mapping[str, str | None] = _NOTHING,
    detail: Mapping[str, Any] = _NOTHING,
    once: str = "",
    once_ms: int = 0,
) -> Flow[None]:
    """Add an event.

    Args:
        kind: one of event_models.KINDS.
        detail: what JSON can say.
        once: what it is of, if that is told once in `once_ms`.
    """
    about = f"{kind}:{queue}:{once}" if once else ""
    try:
        yield add_event(space, kind, queue, actor_of(space), before, after, detail, about, once_ms)
    except RqsqsError as error:
        log.debug("the event %s of %s was not written: %s", kind, queue or "no queue", error)


def tell_changes(
    space: Keyspace, kind: str, queue: str, before: Mapping[str, str | None], after: Mapping[str, str | None]
) -> Flow[None]:
    """Add an event of what differs, if anything does."""
    changed = [name for name, value in after.items() if before.get(name) != value]
    if changed:
        yield from tell(
            space,
            kind,
            queue,
            before={name: before.get(name) for name in changed},
            after={name: after[name] for name in changed},
        )


def next_events(space: Keyspace, after: str, since: str, is_followed: bool) -> Flow[Page]:
    """The next events, as read_events() has them; if there is none yet, waits a moment when they are followed."""
    page: Page = yield read_events(space, after, since)
    if is_followed and not page.events:
        yield Sleep(LOOK_MS)
    return page
