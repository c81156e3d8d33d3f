"""What a link counts: all of it is rare, so that nothing is counted on the way of a call that goes well."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

from rqsqs.models import Statistics


class User(Protocol):
    """A transport."""

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
        """Begin from nothing, in a forked child."""
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(Statistics.__slots__, 0)

    def join(self, user: User) -> None:
        """Somebody uses the link."""
        with self._lock:
            self._users.add(user)

    def leave(self, user: User) -> None:
        """Not any more."""
        with self._lock:
            self._users.discard(user)

    @property
    def formats(self) -> set[str]:
        """The keys that tell the formats of what the users of the link look at."""
        with self._lock:
            return {user.space.format for user in self._users}

    def count(self, name: str, more: int = 1) -> None:
        """So much more of something."""
        with self._lock:
            self._counts[name] += more

    def statistics(self) -> Statistics:
        """How much there was so far."""
        return Statistics(**self._counts)
