"""Open pages, which hear what changes as server-sent events."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

from rqsqs.errors import RqsqsError

from .refusals import LoginNeeded, TooManyStreams

TICK_S = 1.0
BEAT_S = 3.0  # a stream says something at least so often: console.js takes three times that for a lost connection
LATE_S = 3.0  # an open page says that it is not live when what it shows takes longer to be read
MOST_STREAMS = 200  # of one access key: others need connections, too
_LINE_END = re.compile(r"\r\n|\r|\n")


class Streams:
    """Those of a process.

    Args:
        ending: set when all of them shall end.
    """

    def __init__(self, ending: asyncio.Event) -> None:
        self._ending = ending
        self._open: Counter[str] = Counter()  # by access key

    def check_room(self, key_id: str) -> None:
        """Refuse an access key that has too many.

        Raises:
            TooManyStreams.
        """
        if self._open[key_id] >= MOST_STREAMS:
            raise TooManyStreams

    async def open(self, key_id: str, look: Callable[[], Awaitable[str]]) -> AsyncIterator[str]:
        """What changes on an open page.

        Args:
            key_id: of the access key that it counts for.
            look: what the page shows now.
        """
        self._open[key_id] += 1
        try:
            async for each in self._events(look):
                yield each
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]

    async def _events(self, look: Callable[[], Awaitable[str]]) -> AsyncIterator[str]:
        last, told_at = "", time.monotonic()
        while not self._ending.is_set():
            looking = asyncio.ensure_future(look())
            try:
                while not (await asyncio.wait({looking}, timeout=LATE_S))[0]:
                    if self._ending.is_set():
                        return
                    late = "the server does not answer"
                    yield event("beat", "") if last == late else event("failed", late)
                    last = late
                kind, text = "live", looking.result()
            except LoginNeeded:
                yield event("ended", "")
                return
            except (RqsqsError, OSError) as error:
                kind, text = "failed", told(error)
            finally:
                looking.cancel()
            if text != last:
                yield event(kind, text)
                last, told_at = text, time.monotonic()
            elif time.monotonic() - told_at > BEAT_S:
                yield event("beat", "")
                told_at = time.monotonic()
            try:
                await asyncio.wait_for(self._ending.wait(), TICK_S)
            except TimeoutError:
                continue


def told(error: Exception) -> str:
    """What went wrong with the server, for people."""
    return f"{type(error).__name__}: {error}"


def event(name: str, text: str) -> str:
    """A server-sent event."""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(text))  # no line is a field of its own
    return f"event: {name}\n{lines}\n"
