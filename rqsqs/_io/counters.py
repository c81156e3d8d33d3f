"""Counts of rare events of connections. Nothing is counted for a call that succeeds at once."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from rqsqs.models import Statistics


class Counters:
    """Counts of a link; see Statistics. It knows the transports that use the link. Thread-safe."""

    __slots__ = ("_counts", "_lock", "_transports")

    def __init__(self) -> None:
        self._transports: weakref.WeakSet[Any] = weakref.WeakSet()
        self.forget()

    def forget(self) -> None:
        """Begin at zero, in a forked child."""
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(Statistics.__slots__, 0)

    def join(self, transport: Any) -> None:
        with self._lock:
            self._transports.add(transport)

    def leave(self, transport: Any) -> None:
        with self._lock:
            self._transports.discard(transport)

    @property
    def formats(self) -> set[str]:
        """The keys that tell the formats of what the users of the link look at."""
        with self._lock:
            return {transport.space.format for transport in self._transports}

    def count(self, name: str, more: int = 1) -> None:
        with self._lock:
            self._counts[name] += more

    def statistics(self) -> Statistics:
        return Statistics(**self._counts)
