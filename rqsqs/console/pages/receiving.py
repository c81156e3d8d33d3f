"""Receiving as a consumer: the messages are held, and their receipts are in the form, until they are deleted or
released, or until their visibility timeout is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from starlette.datastructures import FormData
from starlette.responses import Response

from rqsqs.aio import Queue
from rqsqs.console.pages.messages import list_url
from rqsqs.console.pages.shown import Shown
from rqsqs.console.reading_messages import Row, find, row_of
from rqsqs.console.refusals import NothingChosen
from rqsqs.console.visits import Values, Visit
from rqsqs.console.written import seconds_of, whole_of
from rqsqs.errors import BatchFailed
from rqsqs.inspection.words import counted
from rqsqs.models import FailedEntry

MOST = 10
DEFAULT_HOLD = "5m"


@dataclass(frozen=True, slots=True)
class Held:
    """A received message; `row` is None if it is not held any more."""

    field: str
    message_id: str
    row: Row | None


async def form(visit: Visit) -> Shown:
    """How many, and for how long."""
    return Shown("receive.html", _page(visit.queue().name, [], ""))


async def receive(visit: Visit) -> Response:
    """Receive some."""
    form = await visit.form()
    queue = visit.queue()
    number = whole_of("how many", str(form.get("number", "")), 1)
    hold = seconds_of("hold for", str(form.get("hold", "")))
    found = await queue.receive(min(max(number, 1), MOST), wait=0, visibility_timeout=hold)
    visit.changed()
    held = [
        Held(
            f"{m.message_id} {visit.sealed(m.receipt_handle)} {quote(m._delivery.group_name)}",
            m.message_id,
            row_of(m, "in_flight"),
        )
        for m in found
    ]
    told = f"{counted(len(held), 'message')} received." if held else "There is no message to receive now."
    return visit.page("receive.html", _page(queue.name, held, told))


async def delete(visit: Visit) -> Response:
    """They are done with."""
    return await _settle(visit, "deleted", lambda queue, _, handles: queue.delete_batch(handles))


async def release(visit: Visit) -> Response:
    """Others may have them."""
    return await _settle(
        visit, "released", lambda queue, _, handles: queue.change_visibility_batch([(handle, 0) for handle in handles])
    )


async def hold(visit: Visit) -> Response:
    """Keep them for another time."""

    async def keep(queue: Queue, form: FormData, handles: list[str]) -> object:
        seconds = seconds_of("hold for", str(form.get("hold", "")), 300)
        return await queue.change_visibility_batch([(handle, seconds) for handle in handles])

    return await _settle(visit, "held from now on", keep, is_end=False)


Change = Callable[[Queue, FormData, list[str]], Awaitable[object]]


async def _settle(visit: Visit, verb: str, change: Change, *, is_end: bool = True) -> Response:
    form = await visit.form()
    queue = visit.queue()
    fields = [str(text) for text in form.getlist("held")]
    chosen = [str(text) for text in form.getlist("chosen")]
    if not chosen:
        raise NothingChosen
    failures: list[FailedEntry] = []
    try:
        await change(queue, form, [visit.unsealed(_parts(text)[1]) for text in chosen])
    except BatchFailed as error:
        failures = [each for each in error.results if isinstance(each, FailedEntry)]
    visit.changed()
    failed = {chosen[each.index] for each in failures}
    told = f"{counted(len(chosen) - len(failed), 'message')} {verb}."
    if failures:
        told += f" {len(failures)} not: {failures[0].error}"
    left = [text for text in fields if text not in chosen or (not is_end and text not in failed)]
    if not left:
        return visit.back_to(list_url(visit, queue.name), told)
    return visit.page(
        "receive.html", _page(queue.name, list(await asyncio.gather(*[_held(queue, t) for t in left])), told)
    )


async def _held(queue: Queue, text: str) -> Held:
    message_id, _, group = _parts(text)
    found = await find(queue, message_id, group or None)
    return Held(text, message_id, row_of(*found) if found is not None and found[1] == "in_flight" else None)


def _parts(text: str) -> tuple[str, str, str]:
    message_id, _, rest = text.partition(" ")
    handle, _, group = rest.partition(" ")
    return message_id, handle, unquote(group)


def _page(queue: str, held: list[Held], told: str) -> Values:
    common = {"section": "Queues", "tab": "messages", "title": f"Receive from {queue}", "queue": queue}
    return common | {"held": held, "most": MOST, "hold": DEFAULT_HOLD, "said": told}
