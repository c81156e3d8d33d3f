"""All queues."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.responses import Response

from rqsqs.console.pages.shown import Shown
from rqsqs.console.visits import Visit
from rqsqs.inspection.looks import ORDERS, Look, Looks, in_order

PER_PAGE = 100
HOUR = timedelta(hours=1)
SPARK_FRESH_S = 60.0


async def index(visit: Visit) -> Shown:
    """All queues: searched, sorted, page by page."""
    looks = await _looks(visit)
    words = visit.query.get("q", "").casefold().split()
    only = visit.query.get("only", "")
    found = [look for look in looks if all(word in look.queue.casefold() for word in words)]
    if only == "problems":
        found = [look for look in found if look.is_problem]
    order = visit.query.get("sort", "name")
    found = in_order(found, order if order in ORDERS else "name", is_reversed=bool(visit.query.get("reverse")))
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(max(_whole(visit.query.get("page", "1")), 1), pages)
    rows = found[(page - 1) * PER_PAGE : page * PER_PAGE]
    sparks = {look.queue: await _spark(visit, look) for look in rows}
    totals = {
        "visible": sum(look.now.visible for look in looks),
        "in_flight": sum(look.now.in_flight for look in looks),
        "delayed": sum(look.now.delayed for look in looks),
        "in": _sum(look.in_per_s for look in looks),
        "out": _sum(look.out_per_s for look in looks),
        "failures": _sum(look.failures_per_s for look in looks),
    }
    return Shown(
        "queues.html",
        {
            "section": "Queues",
            "title": "Queues",
            "rows": rows,
            "sparks": sparks,
            "all": len(looks),
            "found": len(found),
            "problems": sum(look.is_problem for look in looks),
            "totals": totals,
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


async def _looks(visit: Visit) -> list[Look]:
    """All queues, with rates since the look before."""
    looks = visit.console.remembered((visit.caller.account, "looks"), Looks)

    async def load() -> list[Look]:
        return looks.add(await visit.connection.metrics())

    return await visit.read("metrics", load)


async def _spark(visit: Visit, look: Look) -> list[float | None]:
    """How many messages there were, in each minute of the last hour."""

    async def load() -> list[float | None]:
        points = await visit.connection.queue(look.queue).history(HOUR)
        return [_depth(point.metrics) for point in points]

    return await visit.read(("spark", look.queue), load, SPARK_FRESH_S)


def _depth(metrics: dict[str, Any]) -> float | None:
    found = [metrics[name].last for name in ("visible", "in_flight", "delayed") if name in metrics]
    return sum(found) if found else None


def _sum(rates: Any) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1
