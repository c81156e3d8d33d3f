"""Does an event loop still turn? Asked from other threads; it costs nothing while nobody asks."""

from __future__ import annotations

import asyncio
import threading
import time

PATIENCE_S = 30.0  # a loop that answered nothing for so long hangs


class Pulse:
    """Asks a loop for a sign of life, and remembers since when it owes one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._asked: float | None = None  # monotonic

    def is_felt(self) -> bool:
        """False if the loop is closed, or has not answered for half a minute to somebody who asked."""
        with self._lock:
            asked = self._asked
            if asked is not None:  # and not answered yet
                return time.monotonic() - asked < PATIENCE_S
            self._asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # it is closed
                return False
            return True

    def _answer(self) -> None:
        self._asked = None
