"""One message in full, without receiving it: its body, what is told of it, and code that sends it again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from rqsqs._async.message import Message
from rqsqs._base_message import moment
from rqsqs.aio import Queue
from rqsqs.console import reading_timelines
from rqsqs.console.pages.shown import Shown
from rqsqs.console.reading_messages import Row, damage_of, find, row_of
from rqsqs.console.refusals import MessageGone
from rqsqs.console.visits import Visit
from rqsqs.inspection import copies
from rqsqs.inspection.bodies import attribute_text, body_type, cause_text, record_of
from rqsqs.inspection.body_views import VIEWS, body_bytes, shown_as, usual_view
from rqsqs.inspection.copies import Copy
from rqsqs.inspection.words import counted
from rqsqs.models import State
from rqsqs.timeline_models import Timeline

FRESH_S = 2.0
FRESH_BYTES = 512 * 1024  # for each of these a message stays a second longer as it was read


@dataclass(frozen=True, slots=True)
class Detail:
    """What the page of a message shows; of a large body the beginning.

    Attributes:
        body: as it is to be shown, and how much of it that is.
        attributes: name, type and value of each.
    """

    row: Row
    facts: list[tuple[str, str]]
    view: str
    body: str
    is_cut: bool
    attributes: list[tuple[str, str, str]]
    cause: str
    traceback: str
    copies: list[tuple[str, str, Copy]]


async def detail(visit: Visit) -> Shown:
    """The message, wherever it is."""
    queue, message_id = visit.queue(), visit.part("message")
    asked = visit.query.get("view", "")
    asked = asked if asked in VIEWS else ""

    async def load() -> Detail | None:
        found = await _find(visit, queue, message_id)
        return None if found is None else await asyncio.to_thread(_detail, *found, asked)

    seen: dict[str, int] = visit.console.remembered((visit.caller.account, "size", queue.name, message_id), dict)
    fresh_s = FRESH_S + seen.get("size", 0) / FRESH_BYTES
    shown = await visit.read(("message", queue.name, message_id, asked), load, fresh_s)
    happened = await _happened(visit, message_id, is_gone=shown is None)
    values = {"section": "Queues", "tab": "messages", "title": f"Message of {queue.name}", "queue": queue.name}
    if shown is None:
        if not happened.steps:
            raise MessageGone
        rows = reading_timelines.rows(visit, message_id, happened.steps)
        return Shown("message_gone.html", values | {"message_id": message_id, "timeline": rows})
    seen["size"] = shown.row.size
    return Shown(
        "message.html",
        values
        | {
            "views": VIEWS,
            "timeline": reading_timelines.rows(visit, message_id, happened.steps),
            "is_timeline_on": happened.is_on,
            "message": shown,
            "every_s": round(FRESH_S + shown.row.size / FRESH_BYTES),
            "again": {"copy": message_id} | ({"group": shown.row.group} if shown.row.group else {}),
        },
    )


async def _happened(visit: Visit, message_id: str, *, is_gone: bool) -> Timeline:
    """Its timeline; an empty one if that is no id of a message."""
    if not reading_timelines.is_message_id(message_id):
        return Timeline(message_id, (), False, None)
    return await reading_timelines.read(visit, message_id.lower(), is_gone=is_gone)


async def body(visit: Visit) -> Response:
    """The whole body, as a file."""
    message = await find_message(visit, visit.part("message"))
    ending = {"text": "txt", "object": "json", "bytes": "bin"}[body_type(message.body)]
    return as_file(body_bytes(message.body), f"{message.message_id}.{ending}")


async def line(visit: Visit) -> Response:
    """The message in a line of JSON, as `rqsqs send --file` reads it."""
    message = await find_message(visit, visit.part("message"))
    return as_file(copies.as_line(message).encode(), copies.file_name(message))


async def find_message(visit: Visit, message_id: str) -> Message:
    """A message of the queue that the path names.

    Raises:
        MessageGone: it is not there.
    """
    found = await _find(visit, visit.queue(), message_id)
    if found is None:
        raise MessageGone
    return found[0]


async def _find(visit: Visit, queue: Queue, message_id: str) -> tuple[Message, State] | None:
    """A group is found faster when it is known: the URL says it, or it was found before."""
    groups: dict[str, str | None] = visit.console.remembered(
        (visit.caller.account, "group", queue.name, message_id), dict
    )
    group = groups.get("") or visit.query.get("group") or None
    found = await find(queue, message_id, group)
    if found is not None:
        groups[""] = found[0]._delivery.group_name or None
    return found


def as_file(data: bytes, name: str) -> Response:
    """Something to be saved; no browser shows it."""
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _detail(message: Message, state: State, asked: str) -> Detail:
    row = row_of(message, state)
    facts = _facts(message, row)
    if damage_of(message._delivery):
        text, is_cut = shown_as("hex", message._delivery.record)
        return Detail(row, facts, "hex", text, is_cut, [], "", "", [])
    view = asked or usual_view(message.body)
    text, is_cut = shown_as(view, message.body)
    cause = message.cause
    queue, record = message.queue.name, record_of(message)
    made = [
        ("shell", "Shell", copies.shell(message, queue, record)),
        ("python", "Python", copies.python(message, queue, record)),
        ("boto3", "boto3", copies.boto3(message, queue)),
    ]
    return Detail(
        row,
        facts,
        view,
        text,
        is_cut,
        [(name, pair[0], attribute_text(pair[1])) for name, pair in message._delivery.attributes.items()],
        "" if cause is None else cause_text(cause),
        "" if cause is None else cause.traceback,
        made,
    )


def _facts(message: Message, row: Row) -> list[tuple[str, str]]:
    facts = [("state", row.state.replace("_", " ")), ("sent", _time(row.sent_at))]
    if row.visible_at is not None:
        facts.append(("visible again" if row.state == "in_flight" else "visible", _time(row.visible_at)))
    facts.append(("received", counted(row.receive_count, "time")))
    if message.first_received_at is not None:
        facts.append(("first received", _time(message.first_received_at)))
    facts.append(("body", f"{row.kind}, {row.size:,} bytes stored"))
    if row.damage:
        return facts
    cause = message.cause
    optional = [
        ("group", row.group),
        ("deduplication id", message.deduplication_id),
        ("sequence number", message.sequence_number),
        ("came from", row.source),
        ("failures", None if cause is None else f"{cause.failures:,} of {counted(cause.receives, 'receive')}"),
        ("failed at", None if cause is None or cause.at_ms is None else _time(moment(cause.at_ms))),
        ("worker", None if cause is None else cause.worker),
    ]
    facts += [(name, text) for name, text in optional if text]
    facts += list(message.trace_context.items())
    return facts


def _time(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
