"""Counts of rare events of connections. Nothing is counted for a call that succeeds at once."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

from rqsqs.models import Statistics


class User(Protocol):
    """A transport, with the keys that it uses."""

    @property
    def space(self) -> Any:
        """Its keys."""


class Counters:
    """Counts of a link; see Statistics. Thread-safe.

    Attributes:
        formats: the keys that tell the formats of what the users of the link look at.
    """

    __slots__ = ("_counts", "_lock", "_users")

    def __init__(self) -> None:
        self._users: weakref.WeakSet[User] = weakref.WeakSet()
        self.forget()

    def forget(self) -> None:
        """Begin at zero, in a forked child."""
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(Statistics.__slots__, 0)

    def join(self, user: User) -> None:
        """A transport uses these connections."""
        with self._lock:
            self._users.add(user)

    def leave(self, user: User) -> None:
        """A transport is closed."""
        with self._lock:
            self._users.discard(user)

    @property
    def formats(self) -> set[str]:
        """The keys that tell the formats of what the users of the link look at."""
        with self._lock:
            return {user.space.format for user in self._users}

    def count(self, name: str, more: int = 1) -> None:
        """Add to a count."""
        with self._lock:
            self._counts[name] += more

    def statistics(self) -> Statistics:
        """The counts so far."""
        return Statistics(**self._counts)
