"""What a link counts: all of it is rare, so that nothing is counted on the way of a call that goes well."""

from __future__ import annotations

import threading

from rqsqs.types import Statistics


class Counters:
    """Counts of a link; see Statistics. Thread-safe.

    Attributes:
        formats: the keys that tell the formats of what the users of the link look at.
    """

    __slots__ = ("_counts", "_lock", "formats")

    def __init__(self) -> None:
        self.formats: tuple[str, ...] = ()
        self.forget()

    def forget(self) -> None:
        """Begin from nothing, in a forked child."""
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(Statistics.__slots__, 0)

    def know(self, key: str) -> None:
        """One more key that tells a format."""
        with self._lock:
            if key not in self.formats:
                self.formats = (*self.formats, key)

    def count(self, name: str, more: int = 1) -> None:
        """So much more of something."""
        with self._lock:
            self._counts[name] += more

    def statistics(self) -> Statistics:
        """How much there was so far."""
        return Statistics(**self._counts)
