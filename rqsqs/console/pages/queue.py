"""One queue: its numbers, its charts, its settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.responses import Response

from rqsqs.console.pages.shown import Shown
from rqsqs.console.visits import Visit
from rqsqs.inspection.looks import Look, percentiles
from rqsqs.metric_models import HistoryPoint

SPANS = {"1h": ("Hour", 3_600, 60), "1d": ("Day", 86_400, 600), "14d": ("Two weeks", 1_209_600, 7_200)}
CHARTS = (
    ("Messages", (("visible", "visible"), ("in flight", "in_flight"), ("delayed", "delayed")), "last"),
    ("Per second", (("sent", "sent"), ("received", "received"), ("deleted", "deleted")), "rate"),
    ("Failures per second", (("redelivered", "redelivered"), ("dead-lettered", "dead_lettered")), "rate"),
    ("Age of the oldest message, s", (("age", "oldest_age_s"),), "maximum"),
)


async def overview(visit: Visit) -> Shown:
    """The numbers of now, and charts."""
    queue = visit.queue()

    async def load() -> Look:
        now = await queue.metrics()
        return visit.console.looked((visit.caller.account, "look", queue.name), now)

    look = await visit.read(("look", queue.name), load)
    span = visit.query.get("span", "1h")
    span = span if span in SPANS else "1h"
    _, seconds, period = SPANS[span]

    async def load_history() -> list[HistoryPoint]:
        return await queue.history(timedelta(seconds=seconds), period=period)

    points = await visit.read(("history", queue.name, span), load_history, 30.0)
    return Shown(
        "queue.html",
        {
            "section": "Queues",
            "title": queue.name,
            "queue": queue.name,
            "look": look,
            "dwell": percentiles(look.now.dwell),
            "processing": percentiles(look.now.processing),
            "span": span,
            "spans": SPANS,
            "charts": charts(points),
            "has_history": any(not point.is_gap for point in points),
        },
    )


async def purge(visit: Visit) -> Response:
    """Remove all messages."""
    form = await visit.form()
    queue = visit.queue()
    visit.check_name(queue.name, form)
    await queue.purge()
    visit.changed()
    return visit.back_to(visit.url("queues", queue.name), f"{queue.name} was purged.")


async def pause(visit: Visit) -> Response:
    """Hand nothing out any more."""
    await visit.form()
    queue = visit.queue()
    await queue.pause()
    visit.changed()
    return visit.back_to(visit.url("queues", queue.name), f"{queue.name} is paused: nothing is handed out.")


async def resume(visit: Visit) -> Response:
    """Go on."""
    await visit.form()
    queue = visit.queue()
    await queue.resume()
    visit.changed()
    return visit.back_to(visit.url("queues", queue.name), f"{queue.name} was resumed.")


async def delete(visit: Visit) -> Response:
    """Delete the queue."""
    form = await visit.form()
    queue = visit.queue()
    visit.check_name(queue.name, form)
    await visit.connection.delete_queue(queue)
    visit.changed()
    return visit.back_to(visit.url(""), f"{queue.name} was deleted.")


def charts(points: list[HistoryPoint]) -> list[dict[str, Any]]:
    """What uPlot draws: seconds since 1970, and the values of each line; None where nothing was measured."""
    times = [point.at_ms // 1000 for point in points]
    found = []
    for title, lines, what in CHARTS:
        data = [[_value(point, name, what) for point in points] for _, name in lines]
        found.append({"title": title, "lines": [name for name, _ in lines], "data": [times, *data]})
    return found


def _value(point: HistoryPoint, name: str, what: str) -> float | None:
    if what == "rate":
        rate = point.rate(name)
        return None if rate is None else round(rate, 3)
    statistics = point.metrics.get(name)
    return None if statistics is None else round(getattr(statistics, what), 3)
