"""Pages do not wait for the timeouts of connections: a server that seems silent is asked for something small."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from rqsqs._core.flows import list_queues
from rqsqs._io.aio.runner import Transport

from .refusals import ServerSilent
from .streams import LATE_S

T = TypeVar("T")
SILENCE_S = 2.0  # in which a server answers nothing, when a page is late already
LOOKS, LAG = 20, 1.5  # looks meanwhile; one that comes so much too late counts for nothing


async def unless_silent(work: Coroutine[Any, Any, T], transport: Transport) -> T:
    """Do something, unless it takes long because the server does not answer.

    Raises:
        ServerSilent: it does not.
    """
    task = asyncio.create_task(work)
    try:
        if not (await asyncio.wait({task}, timeout=LATE_S))[0] and await _is_silent(transport):
            raise ServerSilent
        return await task
    finally:
        task.cancel()


async def _is_silent(transport: Transport) -> bool:
    """Whether the server answers nothing for a while in which we would have heard it."""
    asked: asyncio.Future[list[str]] = asyncio.ensure_future(transport.run(list_queues(transport.space, "", "", 1)))
    try:
        for _ in range(LOOKS):
            is_busy = True
            while is_busy and not asked.done():  # with large bodies, or so is the machine
                began = time.monotonic()
                await asyncio.wait({asked}, timeout=SILENCE_S / LOOKS)
                is_busy = time.monotonic() - began > LAG * SILENCE_S / LOOKS
        return not asked.done()
    finally:
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
