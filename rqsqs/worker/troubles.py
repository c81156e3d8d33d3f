"""What keeps a worker from its work: told once when it begins and once when it is over, and shown by /readyz."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from rqsqs.errors import AuthenticationFailed, RequestError, RqsqsError, ServerOutOfMemory, ServerTooOld
from rqsqs.models import Statistics

log = logging.getLogger("rqsqs.worker")

RECEIVE, SETTLE, BEAT = "receive from", "settle messages of", "beat for"  # kinds of calls
FOR_PEOPLE = (AuthenticationFailed, ServerOutOfMemory, ServerTooOld)  # does not pass by itself


class _Trouble:
    def __init__(self, error: Exception) -> None:
        self.error = error
        self.since = time.monotonic()
        self.who: set[str] = set()  # did not get through


class Troubles:
    """Of the server, which all queues share, and of single queues. Thread-safe.

    Who makes calls has a name for each kind of them: the trouble is over when each that met it got through again.
    """

    def __init__(self, statistics: Callable[[], Statistics]) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, _Trouble] = {}  # by queue; "" = the server
        self._statistics = statistics
        self._known = statistics()  # what was told of

    def __bool__(self) -> bool:
        return bool(self._found)

    def reasons(self) -> list[str]:
        """In words; none if all is well."""
        with self._lock:
            return [f"{queue or 'the server'}: {trouble.error}" for queue, trouble in self._found.items()]

    def met(self, queue: str, what: str, error: Exception) -> None:
        """A call failed.

        Args:
            what: the kind of the call.
        """
        place = queue if isinstance(error, RequestError) or not isinstance(error, RqsqsError) else ""
        if place:
            self._over("", f"{what} {queue}")  # it has answered
        with self._lock:
            trouble = self._found.get(place)
            is_news = trouble is None or (isinstance(error, FOR_PEOPLE) and type(error) is not type(trouble.error))
            if trouble is None:
                trouble = self._found[place] = _Trouble(error)
            trouble.error = error
            trouble.who.add(f"{what} {queue}")
        if not is_news:
            log.debug("cannot %s %s: %s", what, queue, error)
        elif place:
            log.error("%s cannot be served, trying again from time to time: %s", queue, error,
                      exc_info=None if isinstance(error, RqsqsError) else error)  # fmt: skip
        else:
            log.error("the server cannot be used, trying again from time to time: %s", error)

    def got_through(self, queue: str, what: str) -> None:
        """A call went well."""
        if self._found:
            for place in ("", queue):
                self._over(place, f"{what} {queue}")

    def _over(self, place: str, who: str) -> None:
        with self._lock:
            trouble = self._found.get(place)
            if trouble is None:
                return
            trouble.who.discard(who)
            if trouble.who:
                return
            del self._found[place]
        seconds = time.monotonic() - trouble.since
        if place:
            log.warning("%s is served again after %.1f s", place, seconds)
            return
        known, self._known = self._known, self._statistics()
        other = ": another server has taken over" if self._known.failovers > known.failovers else ""
        log.warning("the server is back after %.1f s%s", seconds, other)

    def look(self) -> None:
        """Tell of what mended itself and nobody had to wait for."""
        if self._found:
            return
        known, now = self._known, self._statistics()
        if now.failovers > known.failovers:
            log.warning("another server has taken over; no call failed")
        elif now.connections_lost > known.connections_lost:
            log.info("%d connections to the server broke and were opened again", 
                     now.connections_lost - known.connections_lost)  # fmt: skip
        self._known = now
