"""Message groups of a queue: which wait behind a message in flight, who has that, which are paused."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from starlette.responses import Response

from rqsqs._core import flows
from rqsqs.console.letters import look
from rqsqs.console.pages.shown import Shown
from rqsqs.console.refusals import ConsoleRefusal
from rqsqs.console.visits import Visit
from rqsqs.models import Consumer

PER_PAGE = 100
_PLACE = re.compile(r"\d{1,4}\|\d{1,12}")
SHOWN = {"blocked": "In flight", "all": "All", "paused": "Paused"}


async def of_queue(visit: Visit) -> Shown:
    """Groups with messages in flight, or all, or the paused ones."""
    queue = visit.queue()
    which, place = visit.query.get("show", "blocked"), visit.query.get("at", "")
    which = which if which in SHOWN else "blocked"

    async def load() -> dict[str, Any]:
        if which == "blocked":
            found = await _in_flight(visit, queue.name, place)
            names = [message.group for message, _ in found["rows"]]
        else:
            names, following = await _page(visit, place, is_paused=which == "paused")
            found = {"names": names, "following": following}
        transport = visit.connection.transport
        looks = await transport.run(flows.look_at_groups(transport.queue(queue.name), list(dict.fromkeys(names))))
        return found | {"looks": looks}

    found = await visit.read(("groups", queue.name, which, place), load)
    return Shown(
        "groups.html",
        {
            "section": "Queues",
            "title": f"Groups of {queue.name}",
            "queue": queue.name,
            "tab": "groups",
            "is_fifo": queue.is_fifo,
            "which": which,
            "shown": SHOWN,
            "rows": [],
            "names": [],
        }
        | found,
    )


async def pause(visit: Visit) -> Response:
    """Hand out nothing of a group."""
    return await _change(visit, is_paused=True)


async def resume(visit: Visit) -> Response:
    """Let a group go on."""
    return await _change(visit, is_paused=False)


async def _change(visit: Visit, *, is_paused: bool) -> Response:
    form = await visit.form()
    queue = visit.queue()
    group = unquote(str(form.get("group") or "")) or str(form.get("typed") or "")
    if not group:
        raise ConsoleRefusal("name a group: nothing was changed")
    await (queue.pause(group) if is_paused else queue.resume(group))
    visit.changed()
    told = "is paused: nothing of it is handed out" if is_paused else "was resumed"
    return visit.back_to(visit.url("queues", queue.name, "groups", show="paused"), f"The group {group} {told}.")


async def _page(visit: Visit, place: str, is_paused: bool) -> tuple[list[str], str]:
    if place and not _PLACE.fullmatch(place):
        raise ConsoleRefusal("the page must be one that this console named: open the groups again")
    transport = visit.connection.transport
    flow = flows.groups_page(transport.queue(visit.part("queue")), place, PER_PAGE, is_paused=is_paused)
    return await transport.run(flow)


async def _in_flight(visit: Visit, name: str, place: str) -> dict[str, Any]:
    """What is in flight, by group, and who has it."""
    found, following = await look(visit.connection, name, "in_flight", place, PER_PAGE)
    holders: dict[str, Consumer] = {
        held.message_id: consumer
        for consumer in await visit.read(("consumers", name), visit.connection.queue(name).consumers)
        for held in consumer.held
    }
    rows = [(message, holders.get(message.message_id)) for message in found if message.group]
    return {"rows": rows, "following": following}
