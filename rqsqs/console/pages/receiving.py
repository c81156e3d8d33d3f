"""Receiving as a consumer: the messages are held, and their receipts are in the form, until they are deleted or
released, or until their visibility timeout is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.responses import Response

from rqsqs._core import ids, receipts
from rqsqs.aio import Queue
from rqsqs.console.pages.messages import list_url, tell
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
    """A received message: its receipt for the form, and its row, None if it is not held any more."""

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
    await tell(visit, queue, "received", [m.message_id for m in found])
    visit.changed()
    held = [Held(visit.sealed(m.receipt_handle), m.message_id, row_of(m, "in_flight")) for m in found]
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
        await change(queue, form, [visit.unsealed(text) for text in chosen])
    except BatchFailed as error:
        failures = [each for each in error.results if isinstance(each, FailedEntry)]
    failed = {chosen[each.index] for each in failures}
    await tell(
        visit, queue, verb.partition(" ")[0], [_whose(visit, queue, text)[0] for text in chosen if text not in failed]
    )
    visit.changed()
    told = f"{counted(len(chosen) - len(failed), 'message')} {verb}."
    if failures:
        told += f" {len(failures)} not: {failures[0].error}"
    left = [text for text in fields if text not in chosen or (not is_end and text not in failed)]
    if not left:
        return visit.back_to(list_url(visit, queue.name), told)
    return visit.page(
        "receive.html", _page(queue.name, list(await asyncio.gather(*[_held(visit, queue, t) for t in left])), told)
    )


async def _held(visit: Visit, queue: Queue, text: str) -> Held:
    message_id, group = _whose(visit, queue, text)
    found = await find(queue, message_id, group or None)
    return Held(text, message_id, row_of(*found) if found is not None and found[1] == "in_flight" else None)


def _whose(visit: Visit, queue: Queue, text: str) -> tuple[str, str]:
    """Id and group of the message of a receipt.

    Raises:
        ReceiptHandleIsInvalid: it is none.
    """
    receipt = receipts.decode(queue._ref, visit.unsealed(text))
    return ids.message_id(receipt.unmarked, receipt.partition.node), receipt.group


def _page(queue: str, held: list[Held], told: str) -> Values:
    common = {"section": "Queues", "tab": "messages", "title": f"Receive from {queue}", "queue": queue}
    return common | {"held": held, "most": MOST, "hold": DEFAULT_HOLD, "said": told}
