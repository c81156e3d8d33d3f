"""Requests that were denied again and again, as events: counted by caller and action.

Whoever sends such requests must not fill the stream of events with them. So only the most frequent ones are told, and
while they go on the periods that an event counts become longer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rqsqs._core import actors
from rqsqs._core.flows.events import tell
from rqsqs._io.aio.runner import Transport
from rqsqs.event_models import Actor

from .refusals import AccessDenied, InvalidSignature, MissingAuthenticationToken, UnrecognizedClient

KINDS = (AccessDenied, InvalidSignature, MissingAuthenticationToken, UnrecognizedClient)
REPEATEDLY = 5  # times in one period
SHORTEST_S, LONGEST_S = 60.0, 3600.0  # of periods; each is twice as long as the one before, while there are denials
MOST, MOST_TOLD = 1000, 10  # callers and actions of one period


@dataclass(slots=True)
class Denied:
    """A caller's requests for one action that were denied for the same reason."""

    actor: Actor
    action: str
    code: str
    count: int = 0
    queue: str = ""  # of the last one


class Denials:
    """Counts them, and tells at the end of each period; no task runs while there are none.

    Args:
        transport: gives that of where events are kept.
    """

    def __init__(self, transport: Callable[[], Awaitable[Transport]]) -> None:
        self._transport = transport
        self._found: dict[tuple[str, ...], Denied] = {}
        self._period_s = SHORTEST_S
        self._ended = 0.0
        self._telling: asyncio.Task[None] | None = None

    def note(self, error: Exception, actor: Actor, action: str, queue: str) -> None:
        """A request was refused."""
        if not isinstance(error, KINDS):
            return
        if self._telling is None:
            is_going_on = time.monotonic() - self._ended < self._period_s
            self._period_s = min(2 * self._period_s, LONGEST_S) if self._ended and is_going_on else SHORTEST_S
            self._telling = asyncio.create_task(self._tell_later())
        code = error.sqs_code
        key = (actor.name, actor.address, action, code)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= MOST:
                return
            found = self._found[key] = Denied(actor, action, code)
        found.count += 1
        found.queue = queue[-200:]

    async def close(self) -> None:
        """Tell what was counted."""
        if self._telling is not None:
            self._telling.cancel()
            await self._tell()

    async def _tell_later(self) -> None:
        await asyncio.sleep(self._period_s)
        await self._tell()

    async def _tell(self) -> None:
        found, self._found = self._found, {}
        self._ended, self._telling = time.monotonic(), None
        repeated = [each for each in found.values() if each.count >= REPEATEDLY]
        if not repeated:
            return
        transport = await self._transport()
        for each in sorted(repeated, key=lambda denied: -denied.count)[:MOST_TOLD]:
            detail = {"action": each.action, "code": each.code, "count": each.count, "within_s": round(self._period_s)}
            if each.queue:
                detail["last_queue"] = each.queue
            token = actors.requester.set(each.actor)
            try:
                await transport.run(tell(transport.space, "access-denied", detail=detail))
            finally:
                actors.requester.reset(token)
