"""The messages of a queue, by state, without receiving them; and what is done with those that were chosen."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import FormData
from starlette.responses import Response

from rqsqs._core import flows
from rqsqs.aio import Queue
from rqsqs.console.pages.shown import Shown
from rqsqs.console.reading_messages import SEARCHED, STATES, Row, Scan, Wanted, begin_scan, browse, rows_of
from rqsqs.console.reading_timelines import is_message_id
from rqsqs.console.refusals import NothingChosen
from rqsqs.console.visits import Visit
from rqsqs.console.written import due_of, seconds_of, whole_of
from rqsqs.errors import MessageNotAvailable
from rqsqs.inspection.words import counted
from rqsqs.models import Counts, State

PER_PAGE = 50
MOST_TOLD = 10  # ids in an event
FRESH_S = 2.0  # bodies may be large


async def index(visit: Visit) -> Shown:
    """A page of messages of one state, or those that are looked for."""
    queue = visit.queue()
    counts = await visit.read(("counts", queue.name), queue.counts)
    given = visit.query.get("state", "")
    wanted = Wanted(
        visit.query.get("text", ""),
        visit.query.get("group", ""),
        seconds_of("older than", visit.query.get("older", ""), 0),
        whole_of("receives", visit.query.get("receives", ""), 0),
    )
    common = {
        "section": "Queues",
        "tab": "messages",
        "title": f"Messages of {queue.name}",
        "queue": queue.name,
        "counts": counts,
        "names": STATES,
        "wanted": wanted,
        "run": secrets.token_urlsafe(6),
    }
    if wanted.is_all:
        state: State = next((name for name in STATES if name == given), "visible")
        is_newest_first = visit.query.get("order") == "newest"
        rows, following = await _page(visit, queue, state, visit.query.get("cursor", ""), is_newest_first)
        return Shown(
            "messages.html",
            common | {"state": state, "rows": rows, "next": following, "scan": None, "newest": is_newest_first},
        )
    states = [name for name in SEARCHED if given in ("", name)] or list(SEARCHED)
    scan = await _scan(visit, queue, wanted, states)
    values = {"state": given if len(states) == 1 else "", "rows": scan.found, "next": "", "scan": scan}
    values["is_message_id"] = is_message_id(wanted.text)
    return Shown("messages.html", common | values | {"total": total(counts, states)})


async def _page(visit: Visit, queue: Queue, state: State, cursor: str, newest_first: bool) -> tuple[list[Row], str]:
    async def load() -> tuple[list[Row], str]:
        messages, following = await browse(queue, state, cursor, PER_PAGE, newest_first=newest_first)
        while not messages and following:  # a step that met none of that state
            messages, following = await browse(queue, state, following, PER_PAGE, newest_first=newest_first)
        return await rows_of(messages, state), following

    return await visit.read(("messages", queue.name, state, cursor, newest_first), load, FRESH_S)


async def _scan(visit: Visit, queue: Queue, wanted: Wanted, states: list[State]) -> Scan:
    """Goes on each time that somebody looks, once a second at most."""
    place = visit.query.get("place", "")
    key = (visit.caller.account, "scan", queue.name, wanted, tuple(states), place, visit.query.get("run", ""))
    scan = visit.console.remembered(key, lambda: begin_scan(wanted, states, place))

    async def advance() -> None:
        await scan.advance(queue)

    if not scan.is_over and not scan.is_full:
        await visit.read(key, advance)
    return scan


def total(counts: Counts, states: list[State]) -> int:
    """How many messages are in some states."""
    return sum(int(getattr(counts, state)) for state in states)


# What is done with those that were chosen


async def cancel(visit: Visit) -> Response:
    """Remove them, once the name of the queue has been typed."""
    form = await visit.form()
    queue, chosen = visit.queue(), _chosen(form)
    if "name" not in form:
        state = form.get("state")
        values = {
            "section": "Queues",
            "tab": "messages",
            "title": f"Remove messages of {queue.name}",
            "queue": queue.name,
            "state": state if state in STATES else None,
            "chosen": [(text, text.partition(" ")[0]) for text in chosen],
            "most": MOST_TOLD,
        }
        return visit.page("remove.html", values)
    visit.check_name(queue.name, form)
    return await _each(visit, "removed", lambda queue, _, message_id, group: queue.cancel(message_id, group=group))


async def run_now(visit: Visit) -> Response:
    """Let them become visible at once."""

    async def now(queue: Queue, _: FormData, message_id: str, group: str | None) -> bool:
        return await queue.reschedule(message_id, delay=0, group=group)

    return await _each(visit, "made visible", now)


async def reschedule(visit: Visit) -> Response:
    """Let them become visible at another time."""

    async def later(queue: Queue, form: FormData, message_id: str, group: str | None) -> bool:
        return await queue.reschedule(message_id, group=group, **due_of(str(form.get("due", ""))))

    return await _each(visit, "rescheduled", later)


Change = Callable[[Queue, FormData, str, str | None], Awaitable[bool]]


def _chosen(form: FormData) -> list[str]:
    """Ids and groups of messages.

    Raises:
        NothingChosen: there are none.
    """
    chosen = [str(text) for text in form.getlist("id")]
    if not chosen:
        raise NothingChosen
    return chosen


async def _each(visit: Visit, verb: str, change: Change) -> Response:
    form = await visit.form()
    queue = visit.queue()
    chosen = _chosen(form)
    done, gone, taken = list[str](), 0, 0
    for text in chosen:
        message_id, _, group = text.partition(" ")
        try:
            if await change(queue, form, message_id, unquote(group) or None):
                done.append(message_id)
            else:
                gone += 1
        except MessageNotAvailable:
            taken += 1
    await tell(visit, queue, verb, done)
    visit.changed()
    parts = [f"{counted(len(done), 'message')} {verb}"]
    parts += [f"{gone:,} not there any more"] if gone else []
    parts += [f"{taken:,} in flight: their receivers decide about them"] if taken else []
    return visit.back_to(list_url(visit, queue.name, form.get("state")), f"{', '.join(parts)}.")


async def tell(visit: Visit, queue: Queue, change: str, message_ids: Sequence[str]) -> None:
    """Tell as an event what somebody did with messages."""
    if message_ids:
        space, ids = visit.connection.transport.space, list(message_ids[:MOST_TOLD])
        detail = {"change": change, "count": len(message_ids), "messages": ids}
        await visit.connection.transport.run(flows.tell(space, "messages-changed", queue.name, detail=detail))


def list_url(visit: Visit, queue: str, state: Any = None) -> str:
    """The list of messages of a state, or the form for sending, for who may see one of them."""
    if visit.may_see("/queues/{queue}/messages"):
        return visit.url("queues", queue, "messages", **({"state": state} if state in STATES else {}))
    page = ["send"] if visit.may_see("/queues/{queue}/send") else []
    return visit.url("queues", queue, *page)
