"""All queues."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from rqsqs._core.flows import list_queues
from rqsqs._core.portions import portions
from rqsqs.console.columns import COLUMNS, columns_of
from rqsqs.console.hub import SOON_S
from rqsqs.console.pages.shown import Shown
from rqsqs.console.visits import Visit
from rqsqs.console.written import place_of
from rqsqs.inspection.looks import ORDERS, Look, Looks, in_order
from rqsqs.metric_models import QueueMetrics

LOOKS = "metrics"  # all of them, in the hub
PER_PAGE = 100
MANY = 500  # of more queues the numbers are read behind the page
AT_ONCE = 250
NAMES_AT_ONCE = 1_000
NAMES_FRESH_S = 2.0
HOUR = timedelta(hours=1)
SEEN_FRESH_S = 5.0
DECIDED_FRESH_S = 60.0  # what own policies say changes with them, and with the time that conditions may look at
DECIDED_AT_ONCE = 200  # then others have their turn
SPARKS_FRESH_S = 60.0
MOST_LEARNED, LEARNED_AT_ONCE = 300, 50  # queues whose own policies are read, to tell who may see them


async def index(visit: Visit) -> Shown:
    """All queues: searched, sorted, page by page.

    If there are very many, their numbers take longer to read than a page may take. Then those of the rows are shown,
    in order of names, and the others follow.
    """
    names = await _names(visit)
    number = len(names)
    are_many = number > MANY
    looks: list[Look] | None = visit.latest(LOOKS) if are_many else await read_looks(visit)
    names, counted = await _seen(visit, names)
    every = {look.queue: look for look in looks or ()}
    if looks is not None:
        seen = set(names) if counted is None else counted
        looks = [look for look in looks if look.queue in seen]
    known = {look.queue: look for look in looks or ()}
    words = visit.query.get("q", "").casefold().split()
    found = [name for name in names if all(word in name.casefold() for word in words)]
    only = "problems" if visit.query.get("only") == "problems" else ""
    order, is_reversed = visit.query.get("sort", "name"), "reverse" in visit.query
    if looks is not None:
        chosen = set(found)
        kept = [look for look in looks if look.queue in chosen and (only != "problems" or look.is_problem)]
        kept = in_order(kept, order if order in ORDERS else "name", is_reversed=is_reversed)
        found = [look.queue for look in kept] + ([name for name in found if name not in known] if not only else [])
    elif order == "name" and is_reversed:
        found.reverse()
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(max(place_of(visit.query.get("page", ""), 1), 1), pages)
    shown = found[(page - 1) * PER_PAGE : page * PER_PAGE]
    if counted is not None:
        await visit.learn(*shown)
    allowed = [name for name in shown if counted is None or visit.may("sqs:GetQueueAttributes", name)]
    if looks is None:
        every = {look.queue: look for look in await _some(visit, allowed)}
    rows = {name: every.get(name) if name in allowed else None for name in shown}
    sparks = await _sparks(visit, [look for look in rows.values() if look is not None], 0 if are_many else SOON_S)
    if are_many:
        await read_looks(visit, 0)
    return Shown(
        "queues.html",
        {
            "section": "Queues",
            "title": "Queues",
            "rows": rows,
            "allowed": allowed,
            "sparks": sparks,
            "columns": columns_of(visit.columns),
            "every_column": COLUMNS,
            "is_usual": visit.columns is None,
            "waits": looks is None and (only == "problems" or order != "name"),
            "all": len(names),
            "are_policies_read": counted is None or visit.may("sqs:ListQueues", "") or number <= MOST_LEARNED,
            "found": len(found),
            "problems": None if looks is None else sum(look.is_problem for look in looks),
            "totals": None if looks is None else _totals(looks),
            "page": page,
            "pages": pages,
            "only": only,
        },
    )


async def create(visit: Visit) -> Response:
    """Create a queue."""
    form = await visit.form()
    name = str(form.get("name", "")).strip()
    if form.get("fifo") and not name.endswith(".fifo"):
        name += ".fifo"
    await visit.require("sqs:CreateQueue", name)
    await visit.connection.create_queue(name)
    visit.changed()
    return visit.back_to(visit.url("queues", name), f"{name} was created.")


async def read_looks(visit: Visit, wait_s: float = SOON_S) -> list[Look] | None:
    """All queues, with rates since the look before; None = they are still being read."""
    looks = visit.console.remembered((visit.caller.account, "looks"), Looks)

    async def load() -> list[Look]:
        found: list[QueueMetrics] = []
        for some in portions(await _list(visit), AT_ONCE):  # others have their turn between them
            found += await visit.connection.metrics(queues=some)
        return looks.add(found)

    return await visit.soon(LOOKS, load, wait_s=wait_s)


async def _seen(visit: Visit, names: list[str]) -> tuple[list[str], frozenset[str] | None]:
    """The queues that somebody may see of all, and those whose numbers too; None = of all. Of very many queues that is
    decided without the policies of these."""
    rights = visit.rights
    if rights.may_see_all:
        return names, None

    async def load() -> tuple[list[str], frozenset[str]]:
        may_list = rights.may("sqs:ListQueues")
        if len(names) <= MOST_LEARNED:
            for some in portions(names, LEARNED_AT_ONCE):
                await visit.learn(*some)
            counted = frozenset(name for name in names if visit.may("sqs:GetQueueAttributes", name))
            return (names if may_list else [name for name in names if name in counted]), counted
        minute = int(time.monotonic() / DECIDED_FRESH_S)
        decided: dict[str, bool] = visit.console.remembered(("counted", rights.key, minute), dict)
        for n, name in enumerate(names):
            if name not in decided:
                decided[name] = rights.may_by_identity("sqs:GetQueueAttributes", name)
                if n % DECIDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
        counted = frozenset(name for name in names if decided[name])
        return (names if may_list else [name for name in names if name in counted]), counted

    return await visit.read(("seen", rights.key), load, SEEN_FRESH_S)


async def _names(visit: Visit) -> list[str]:
    return await visit.read("names", lambda: _list(visit), NAMES_FRESH_S)


async def _list(visit: Visit) -> list[str]:
    """The names alone: very many Queue objects take longer to make than to read."""
    transport, found, is_over = visit.connection.transport, list[str](), False
    while not is_over:
        after = found[-1] if found else ""
        names: list[str] = await transport.run(list_queues(transport.space, "", after, NAMES_AT_ONCE))
        found += names
        is_over = len(names) < NAMES_AT_ONCE
    return found


async def _some(visit: Visit, names: list[str]) -> list[Look]:
    async def load() -> list[Look]:
        return [Look(now, None, now) for now in await visit.connection.metrics(queues=names)]

    return await visit.read(("metrics", tuple(names)), load)


def _totals(looks: list[Look]) -> dict[str, float | None]:
    return {
        "visible": sum(look.now.visible for look in looks),
        "in_flight": sum(look.now.in_flight for look in looks),
        "delayed": sum(look.now.delayed for look in looks),
        "in": _sum(look.in_per_s for look in looks),
        "out": _sum(look.out_per_s for look in looks),
        "failures": _sum(look.failures_per_s for look in looks),
    }


async def _sparks(visit: Visit, looks: list[Look], wait_s: float) -> dict[str, list[float | None]]:
    """How many messages there were, in each minute of the last hour; nothing of those still being read."""

    async def of(queue: str) -> list[float | None]:
        points = await visit.connection.queue(queue).history(HOUR)
        return [_depth(point.metrics) for point in points]

    async def load() -> dict[str, list[float | None]]:
        found = await asyncio.gather(*[of(look.queue) for look in looks], return_exceptions=True)
        pairs = zip(looks, found, strict=True)
        return {look.queue: values for look, values in pairs if not isinstance(values, BaseException)}

    if "trend" not in columns_of(visit.columns):
        return {}
    return await visit.soon(("sparks", tuple([look.queue for look in looks])), load, SPARKS_FRESH_S, wait_s) or {}


def _depth(metrics: dict[str, Any]) -> float | None:
    found = [metrics[name].last for name in ("visible", "in_flight", "delayed") if name in metrics]
    return sum(found) if found else None


def _sum(rates: Any) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None
