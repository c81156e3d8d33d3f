"""Errors that keep a worker from its work: logged when they begin and when they are over, and shown by /readyz."""

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


class _Report:
    def __init__(self, error: Exception) -> None:
        self.error = error
        self.since = time.monotonic()
        self.who: set[str] = set()  # did not get through


class ErrorReports:
    """Of the server, which all queues share, and of single queues. Thread-safe.

    Who makes calls has a name for each kind of them: an error is over when each call that met it succeeded again.
    """

    def __init__(self, statistics: Callable[[], Statistics]) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, _Report] = {}  # by queue; "" = the server
        self._statistics = statistics
        self._known = statistics()  # those that were logged

    def __bool__(self) -> bool:
        return bool(self._found)

    def problems(self) -> list[str]:
        with self._lock:
            return [f"{queue or 'the server'}: {report.error}" for queue, report in self._found.items()]

    def ended(self, queue: str, what: str, error: Exception | None) -> None:
        if error is not None:
            self._failed(queue, what, error)
        elif self._found:
            for place in ("", queue):
                self._over(place, f"{what} {queue}")

    def _failed(self, queue: str, what: str, error: Exception) -> None:
        place = queue if isinstance(error, RequestError) or not isinstance(error, RqsqsError) else ""
        if place:
            self._over("", f"{what} {queue}")  # it has answered
        with self._lock:
            report = self._found.get(place)
            is_news = report is None or (isinstance(error, FOR_PEOPLE) and type(error) is not type(report.error))
            if report is None:
                report = self._found[place] = _Report(error)
            report.error = error
            report.who.add(f"{what} {queue}")
        if not is_news:
            log.debug("cannot %s %s: %s", what, queue, error)
        elif place:
            log.error("%s cannot be served, trying again from time to time: %s", queue, error,
                      exc_info=None if isinstance(error, RqsqsError) else error)  # fmt: skip
        else:
            log.error("the server cannot be used, trying again from time to time: %s", error)

    def _over(self, place: str, who: str) -> None:
        with self._lock:
            report = self._found.get(place)
            if report is None:
                return
            report.who.discard(who)
            if report.who:
                return
            del self._found[place]
        seconds = time.monotonic() - report.since
        if place:
            log.warning("%s is served again after %.1f s", place, seconds)
            return
        known, self._known = self._known, self._statistics()
        other = ": another server has taken over" if self._known.failovers > known.failovers else ""
        log.warning("the server is back after %.1f s%s", seconds, other)

    def check(self) -> None:
        """Log errors that are over and that nobody had to wait for."""
        if self._found:
            return
        known, now = self._known, self._statistics()
        if now.failovers > known.failovers:
            log.warning("another server has taken over; no call failed")
        elif now.connections_lost > known.connections_lost:
            log.info("%d connections to the server broke and were opened again", 
                     now.connections_lost - known.connections_lost)  # fmt: skip
        self._known = now
