"""Workers: which messages they hold, since when, and commands to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from starlette.responses import Response

from rqsqs.console.pages.queues import read_looks
from rqsqs.console.pages.shown import Shown
from rqsqs.console.refusals import ConsoleRefusal
from rqsqs.console.visits import Visit
from rqsqs.errors import QueueDoesNotExist
from rqsqs.models import Consumer

MOST = 500  # consumers on one page
MOST_QUEUES = 1_000  # whose consumers are asked for
STATES = {"drain": "to drain", "evict": "to be evicted"}  # told, and does not know it yet
DONE = {"drain": "was told to finish what it holds", "evict": "was told to give back what it holds"}


async def of_queue(visit: Visit) -> Shown:
    """The workers that serve a queue."""
    queue = visit.queue()
    return _shown(await visit.read(("consumers", queue.name), queue.consumers), queue.name)


async def of_all(visit: Visit) -> Shown:
    """The workers that serve any queue."""
    read = await read_looks(visit)
    names = [look.queue for look in read or () if look.now.consumers][:MOST_QUEUES]
    await visit.learn(*names)
    names = [name for name in names if visit.may_see("/queues/{queue}/consumers", name)]

    async def load() -> list[Consumer]:
        found: list[Consumer] = []
        for n in range(0, len(names), 50):
            reads = [_of(visit, name) for name in names[n : n + 50]]
            found += [consumer for each in await asyncio.gather(*reads) for consumer in each]
        return found

    shown = _shown(await visit.read(("consumers of all", tuple(names)), load), None)
    return Shown(shown.template, shown.values | {"is_read": read is not None})


async def drain(visit: Visit) -> Response:
    """Let a worker finish what it holds."""
    return await _order(visit, "drain")


async def evict(visit: Visit) -> Response:
    """Let a worker give back what it holds."""
    return await _order(visit, "evict")


async def _order(visit: Visit, command: str) -> Response:
    form = await visit.form()
    queue, consumer = visit.queue(), unquote(str(form.get("consumer", "")))
    told = await getattr(queue, command)(consumer)
    if not told:
        raise ConsoleRefusal(f"{queue.name} has no consumer {consumer!r} any more: what it held becomes visible again")
    visit.changed()
    url = visit.url("consumers") if form.get("of") == "all" else visit.url("queues", queue.name, "consumers")
    return visit.back_to(url, f"{consumer} {DONE[command]} of {queue.name}; it does so with its next heartbeat.")


async def _of(visit: Visit, name: str) -> list[Consumer]:
    try:
        return await visit.connection.queue(name).consumers()
    except QueueDoesNotExist:  # deleted meanwhile
        return []


def _shown(consumers: Iterable[Consumer], queue: str | None) -> Shown:
    found = sorted(consumers, key=lambda c: (not c.is_alive, c.consumer_id, c.queue))
    slots = {c.consumer_id: c.concurrency for c in found if c.is_alive}  # which its queues share
    values: dict[str, Any] = {
        "section": "Queues" if queue else "Consumers",
        "title": f"Consumers of {queue}" if queue else "Consumers",
        "consumers": found[:MOST],
        "all": len(found),
        "states": STATES,
        "alive": len(slots),
        "lost": len({c.consumer_id for c in found} - slots.keys()),
        "slots": sum(slots.values()),
        "in_flight": sum(c.in_flight for c in found),
    }
    if queue is None:
        return Shown("consumers.html", values)
    return Shown("queue_consumers.html", values | {"queue": queue, "tab": "consumers"})
