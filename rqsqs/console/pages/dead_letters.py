"""Dead letters: what they died of, and their way back."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.responses import Response

from rqsqs import _arguments as arguments
from rqsqs._core import flows
from rqsqs.console.letters import Census, Count, Damaged, Stride, look
from rqsqs.console.pages.moves import RUNNING, moves_of, outcome
from rqsqs.console.pages.queues import read_looks
from rqsqs.console.pages.shown import Shown
from rqsqs.console.refusals import ConsoleRefusal
from rqsqs.console.visits import Visit
from rqsqs.errors import QueueDoesNotExist
from rqsqs.inspection.causes import HOUR_S, Kind, cause_and_source
from rqsqs.metric_models import HistoryPoint
from rqsqs.models import MoveTask

MOST_QUEUES, MOST_KINDS = 500, 200  # on one page
HOURS = 48  # of the small charts
PER_PAGE, MOST_LOOKS, MOST_S = 100, 2_000, 1.0  # messages of a page; those looked at for one, for how long
SEE_SOURCES = "sqs:ListDeadLetterSourceQueues"
SOON_S = 1.0  # to wait for a move of chosen messages
DAY = timedelta(days=1)
STATES = ("visible", "in_flight", "delayed")
MOST_RATE, MOST_MESSAGES = 500, 10**9


class Choice(NamedTuple):
    """Which dead letters: of a cause and a source; None = any, "" = none of them is known."""

    cause: str | None
    source: str | None

    @property
    def is_some(self) -> bool:
        """Whether any are left out."""
        return self.cause is not None or self.source is not None

    @property
    def query(self) -> dict[str, str]:
        return {name: text for name, text in self._asdict().items() if text is not None}

    def has(self, kind: Kind) -> bool:
        """Whether messages of a kind are chosen."""
        return self.cause in (None, kind.cause) and self.source in (None, kind.source or "")


async def of_all(visit: Visit) -> Shown:
    """All dead-letter queues."""
    read = await read_looks(visit)
    looks = [look for look in read or () if look.now.is_dead_letter_queue]
    await visit.learn(*[look.queue for look in looks])
    looks = [look for look in looks if visit.may_see("/queues/{queue}/dead-letters", look.queue)]
    looks.sort(key=lambda look: (-look.depth, look.queue))

    async def sources(name: str) -> list[str]:
        if not visit.may(SEE_SOURCES, name):
            return []
        try:
            return await visit.read(("sources", name), visit.connection.queue(name).dead_letter_sources, 30.0)
        except QueueDoesNotExist:  # deleted meanwhile
            return []

    shown = looks[:MOST_QUEUES]
    names = [look.queue for look in shown]
    return Shown(
        "dead_letter_queues.html",
        {
            "section": "Dead letters",
            "title": "Dead letters",
            "looks": shown,
            "is_read": read is not None,
            "all": len(looks),
            "letters": sum(look.depth for look in looks),
            "sources": dict(zip(names, await asyncio.gather(*map(sources, names)), strict=True)),
        },
    )


async def of_queue(visit: Visit) -> Shown:
    """The dead letters of a queue by cause."""
    queue = visit.queue()
    values = await _common(visit)
    count: Count = values["count"]

    async def load_history() -> list[HistoryPoint]:
        return await queue.history(DAY, period=600)

    points = await visit.read(("history of letters", queue.name), load_history, 30.0)
    hour = int(time.time()) // HOUR_S
    return Shown(
        "dead_letters.html",
        values
        | {
            "rows": [(kind, _lately(kind, hour)) for kind in count.kinds],
            "most": MOST_KINDS,
            "chart": _chart(points) if any(not point.is_gap for point in points) else None,
        },
    )


async def messages(visit: Visit) -> Shown:
    """The messages of a cause, to choose some of them."""
    choice, state = _choice(visit), visit.query.get("state", "visible")
    state = state if state in STATES else "visible"
    values = await _common(visit)
    found: list[Any] = []
    cursor, looked, began = visit.query.get("at", ""), 0, time.monotonic()
    stride = Stride(PER_PAGE)
    while not looked or (looked < MOST_LOOKS and len(found) < PER_PAGE and time.monotonic() - began < MOST_S):
        seen, cursor = await look(visit.connection, values["queue"], state, cursor, stride.size)  # type: ignore[arg-type]
        stride.seen()
        looked += max(len(seen), 1)
        for message in seen:
            cause, source = cause_and_source(message)
            if choice.cause in (None, cause) and choice.source in (None, source or ""):
                found.append(message)
        if not cursor:
            break
    return Shown(
        "dead_letter_messages.html",
        values
        | {
            "choice": choice,
            "kind": next((kind for kind in values["count"].kinds if choice.has(kind)), None),
            "letters": found,
            "is_damaged": [isinstance(message, Damaged) for message in found],
            "looked": looked,
            "state": state,
            "states": STATES,
            "following": cursor,
        },
    )


async def redrive_form(visit: Visit) -> Shown:
    """What a redrive would move, and where to."""
    choice = _choice(visit)
    values = await _common(visit)
    to = visit.query.get("to", "").strip()
    limit = _number(visit.query.get("limit", ""), "the limit", MOST_MESSAGES)
    rate = _number(visit.query.get("rate", ""), "the rate", MOST_RATE)
    sources: Counter[str | None] = Counter()
    for kind in values["count"].kinds:
        if choice.has(kind):
            sources[kind.source] += kind.visible

    async def exists(name: str) -> bool:
        return await visit.read(("exists", name), lambda: visit.connection.exists(name), 5.0)

    await visit.learn(*{to or source or "" for source in sources})
    rows = []
    for source, number in sources.most_common():
        target = to or source
        problem = ""
        if target is None:
            problem = "sent here: it has no source to go back to"
        elif not visit.may("sqs:SendMessage", target):
            problem = "you may not send messages there"
        elif not await exists(target):
            problem = "this queue does not exist"
        rows.append({"source": source, "to": target, "messages": number, "problem": problem})
    total = sum(sources.values())
    return Shown(
        "redrive.html",
        values
        | {
            "choice": choice,
            "rows": rows,
            "total": total,
            "moved": total if limit is None else min(total, limit),
            "to": to,
            "limit": limit,
            "rate": rate,
            "seconds": None if not rate else (total if limit is None else min(total, limit)) / rate,
        },
    )


async def redrive(visit: Visit) -> Response:
    """Start one, or say what it would do."""
    form = await visit.form()
    queue = visit.queue()
    given = {name: str(form.get(name, "")).strip() for name in ("to", "rate", "limit")}
    choice = Choice(*(None if form.get(name) is None else unquote(str(form.get(name))) for name in Choice._fields))
    if form.get("do") == "look":
        asked = {name: text for name, text in given.items() if text} | choice.query
        return visit.back_to(visit.url("queues", queue.name, "redrive", **asked))
    await _require_to_send(visit, given["to"])
    limit = _number(given["limit"], "the limit", MOST_MESSAGES)
    if choice.is_some:  # counted, so that it is known how far it is
        census = _census(visit, queue.name)
        census.look_again()
        count = await census.go_on(visit.connection, queue.name)
        total = sum(kind.visible for kind in count.kinds if choice.has(kind))
        if count.is_whole and not total:
            raise ConsoleRefusal("no such message can be moved now: nothing was moved")
        limit = min(total, limit or total) if count.is_whole else limit
    await queue.redrive(
        given["to"] or None,
        max_per_second=_number(given["rate"], "the rate", MOST_RATE),
        max_messages=limit,
        cause=choice.cause,
        dead_letter_source=choice.source,
    )
    _changed(visit, queue.name)
    return visit.back_to(visit.url("queues", queue.name, "moves"), "The redrive has started.")


async def redrive_chosen(visit: Visit) -> Response:
    """Move the messages that were chosen."""
    form = await visit.form()
    queue = visit.queue()
    messages = [str(message_id) for message_id in form.getlist("message")]
    if not messages:
        raise ConsoleRefusal("choose at least one message: nothing was moved")
    to = str(form.get("to", "")).strip()
    await _require_to_send(visit, to)
    chosen = [(arguments.message_id(each).lower(), None) for each in arguments.batch("messages", messages, 1000)]
    target = arguments.destination(queue._ref, to or None, None)
    transport = visit.connection.transport
    task_id: str = await transport.run(flows.start_chosen(queue._ref, chosen, target))
    task = await _ended(visit, queue.name, task_id)
    _changed(visit, queue.name)
    if task is None:
        return visit.back_to(visit.url("queues", queue.name, "moves"), "The redrive has started.")
    return visit.back_to(visit.url("queues", queue.name, "dead-letters"), f"{outcome(task)}.")


async def _ended(visit: Visit, name: str, task_id: str) -> MoveTask | None:
    """A move, if it is over soon: one of a few messages is."""
    until = time.monotonic() + SOON_S
    while time.monotonic() < until:
        await asyncio.sleep(0.02)
        task = next((task for task in await moves_of(visit, name) if task.task_id == task_id), None)
        if task is None or task.status not in RUNNING:
            return task
    return None


async def _require_to_send(visit: Visit, to: str) -> None:
    """Go on only if the caller may send where the messages go: to a queue, else to all that they can come from."""
    for name in [to] if to else await visit.queue().dead_letter_sources():
        await visit.require("sqs:SendMessage", name)


async def _common(visit: Visit) -> dict[str, Any]:
    """What all pages of a queue's dead letters show."""
    queue = visit.queue()

    async def load() -> tuple[list[str], str | None, Count, list[MoveTask], int]:
        sources = await queue.dead_letter_sources()
        count = await _census(visit, queue.name).go_on(visit.connection, queue.name)
        counts = await queue.counts()
        policy = (await queue.info()).attributes.get("RedrivePolicy")
        tasks = await moves_of(visit, queue.name) if sources else []
        running = [task for task in tasks if task.status in RUNNING]
        return sources, _target(policy), count, running, counts.visible + counts.in_flight + counts.delayed

    sources, target, count, running, total = await visit.read(("letters", queue.name), load)
    return {
        "section": "Queues",
        "title": f"Dead letters of {queue.name}",
        "queue": queue.name,
        "tab": "dead-letters",
        "sources": sources,
        "named": sources if visit.may(SEE_SOURCES) else [],
        "target": target,
        "count": count,
        "tasks": running,
        "total": total,
    }


def _lately(kind: Kind, hour: int) -> list[float | None]:
    """How many failed in each of the last hours, if any did."""
    found: list[float | None] = [kind.hours[hour - ago] for ago in reversed(range(HOURS))]
    return found if any(found) else []


def _census(visit: Visit, name: str) -> Census:
    return visit.console.remembered((visit.caller.account, "census", name), Census)


def _changed(visit: Visit, name: str) -> None:
    _census(visit, name).look_again()
    visit.changed()


def _choice(visit: Visit) -> Choice:
    return Choice(visit.query.get("cause"), visit.query.get("source"))


def _number(text: str, what: str, most: int) -> int | None:
    """A number that somebody typed, or nothing."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= most):
        raise ConsoleRefusal(f"{what} must be a whole number from 1 to {most:,}, got {text[:40]!r}")
    return int(text)


def _target(policy: str | None) -> str | None:
    """The dead-letter queue of a queue."""
    return str(json.loads(policy)["deadLetterTargetArn"]).rpartition(":")[2] if policy else None


def _chart(points: list[HistoryPoint]) -> dict[str, Any]:
    times = [point.at_ms // 1000 for point in points]
    lines = (("came", "dead_letters"), ("redriven", "redriven_out"))
    data = [[_per_minute(point.rate(name)) for point in points] for _, name in lines]
    return {"title": "Dead letters per minute, last day", "lines": [name for name, _ in lines], "data": [times, *data]}


def _per_minute(rate: float | None) -> float | None:
    return None if rate is None else round(rate * 60, 3)
