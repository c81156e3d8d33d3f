"""Moves: how far redrives are, and their end."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from rqsqs._core import flows
from rqsqs.console.pages.queues import read_looks
from rqsqs.console.pages.shown import Shown
from rqsqs.console.refusals import NotFound
from rqsqs.console.visits import Visit
from rqsqs.errors import QueueDoesNotExist, ResourceNotFound
from rqsqs.inspection.words import counted
from rqsqs.models import MoveTask

RUNNING = ("RUNNING", "CANCELLING")
MOST = 200  # on one page
MOST_QUEUES = 1_000
REASONS = {
    "NotFound": "not there any more",
    "NotVisible": "in flight or delayed, or behind such a message of its group",
    "Cancelled": "the redrive was cancelled",
    "CouldNotDetermineMessageSource": "the next message was sent to this queue: it has no source to go back to",
    "AWS.SimpleQueueService.NonExistentQueue": "the queue that the next message came from does not exist",
}
OF_CHOSEN = REASONS | {  # of single ones, of which the others are moved
    "CouldNotDetermineMessageSource": "sent to this queue: without a source to go back to",
    "AWS.SimpleQueueService.NonExistentQueue": "from a queue that does not exist",
}


async def of_queue(visit: Visit) -> Shown:
    """The moves out of a queue."""
    queue = visit.queue()
    try:
        tasks = await visit.read(("moves", queue.name), lambda: tasks_of(visit, queue.name))
    except ResourceNotFound:
        raise NotFound(f"queue: {queue.name}") from None
    values = {"queue": queue.name, "tab": "moves", "title": f"Moves of {queue.name}", "section": "Queues"}
    return Shown("queue_moves.html", values | listed(tasks))


async def of_all(visit: Visit) -> Shown:
    """The moves out of all dead-letter queues."""
    read = await read_looks(visit)
    names = [look.queue for look in read or () if look.now.is_dead_letter_queue][:MOST_QUEUES]
    await visit.learn(*names)
    names = [name for name in names if visit.may_see("/queues/{queue}/moves", name)]

    async def load() -> list[MoveTask]:
        found: list[MoveTask] = []
        for n in range(0, len(names), 50):
            reads = [moves_of(visit, name) for name in names[n : n + 50]]
            found += [task for each in await asyncio.gather(*reads) for task in each]
        return sorted(found, key=lambda task: (task.status not in RUNNING, -task.started_at_ms))[:MOST]

    tasks = await visit.read(("moves of all", tuple(names)), load)
    return Shown("moves.html", {"title": "Moves", "section": "Moves", "is_read": read is not None} | listed(tasks))


async def cancel(visit: Visit) -> Response:
    """End one; what was moved stays moved."""
    form = await visit.form()
    queue = visit.queue()
    moved = await queue.cancel_redrive(str(form.get("task", "")))
    visit.changed()
    url = visit.url("moves") if form.get("of") == "all" else visit.url("queues", queue.name, "moves")
    return visit.back_to(url, f"The redrive of {queue.name} is being cancelled; {moved:,} had been moved.")


async def moves_of(visit: Visit, name: str) -> list[MoveTask]:
    """The last moves out of a queue."""
    try:
        return await tasks_of(visit, name)
    except (ResourceNotFound, QueueDoesNotExist):  # deleted meanwhile
        return []


async def tasks_of(visit: Visit, name: str) -> list[MoveTask]:
    """The same of a queue that is there. A read-only console takes no move over whose process is gone."""
    transport, is_read_only = visit.connection.transport, visit.console.settings.is_read_only
    return await transport.run(flows.list_moves(transport.queue(name), is_read_only=is_read_only))


def outcome(task: MoveTask) -> str:
    """What became of chosen messages."""
    told = [f"{counted(task.moved, 'message')} moved"]
    told += [f"{number:,} not moved: {OF_CHOSEN.get(why, why)}" for why, number in sorted(task.not_moved.items())]
    return "; ".join(told)


def listed(tasks: list[MoveTask]) -> dict[str, Any]:
    """What the templates need to show them."""
    return {"tasks": tasks, "running": RUNNING, "reasons": REASONS, "of_chosen": OF_CHOSEN}
