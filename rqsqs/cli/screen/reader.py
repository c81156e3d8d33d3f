"""Looks at the queues in a thread of its own, so that keys never wait for the server."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import rqsqs
from rqsqs.cli.screen.detail import Detail, DetailReader
from rqsqs.cli.screen.trends import Trends
from rqsqs.inspection.looks import Look, Looker


@dataclass(frozen=True)
class Read:
    """What a look found.

    Attributes:
        looks: the queues, those of the last look that was answered.
        number: of this look, from 1.
        looked_at: when that was, on the clock on the wall.
        took_s: how long it took.
        failure: why it failed, or "".
        detail: of the queue that is opened, or why that cannot be read.
    """

    looks: list[Look]
    number: int
    looked_at: str
    took_s: float
    failure: str = ""
    detail: tuple[str, Detail | str] | None = None


class Reader:
    """Looks again and again, every `interval` seconds, or half of the time if a look takes as long.

    Args:
        tell: is called in its thread when there is something new in `last`.
    """

    def __init__(
        self, looker: Looker, details: DetailReader, trends: Trends, interval: float, tell: Callable[[], None]
    ) -> None:
        self._looker, self._details, self._trends = looker, details, trends
        self._interval, self._tell = interval, tell
        self._wake = threading.Event()
        self._is_over = False
        self._opened: str | None = None
        self._thread = threading.Thread(target=self._run, name="rqsqs-top", daemon=True)
        self.bug: Exception | None = None
        self.is_paused = False
        began = time.monotonic()
        self.last = self._first(began)

    def _first(self, began: float) -> Read:
        """In the caller's thread: where there is no server, there is nothing to show."""
        looks = self._looker.look()
        self._trends.add(looks)
        return Read(looks, 1, _clock(), time.monotonic() - began)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End soon; a call that hangs is not waited for."""
        self._is_over = True
        self._wake.set()
        self._thread.join(1)

    def open(self, queue: str | None) -> None:
        """Which queue's details are wanted, from now on."""
        if queue != self._opened:
            self._opened = queue
            self._wake.set()

    def pause(self, is_paused: bool) -> None:
        """Look no more for a while; what is opened is still read once."""
        if is_paused != self.is_paused:
            self.is_paused = is_paused
            self._wake.set()

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        detail_of: str | None = None
        while not self._is_over:
            is_due = time.monotonic() >= due and not self.is_paused
            try:
                if is_due:
                    began = time.monotonic()
                    self._look()
                    due = max(began + self._interval, 2 * time.monotonic() - began)
                if self._opened is not None and (is_due or detail_of != self._opened):
                    self._look_closely(self._opened)
                detail_of = self._opened
            except Exception as error:
                if not self._is_over:
                    self.bug = error
                    self._tell()
                return
            if self._opened == detail_of:
                self._wake.wait(None if self.is_paused else max(due - time.monotonic(), 0))
            self._wake.clear()

    def _look(self) -> None:
        before, began = self.last, time.monotonic()
        try:
            looks = self._looker.look()
            self._trends.add(looks)
            self.last = Read(looks, before.number + 1, _clock(), time.monotonic() - began, "", before.detail)
        except rqsqs.RqsqsError as error:
            if self._is_over:
                return
            self._trends.add(None)
            failure = (
                f"no answer at {_clock()}, these numbers are of {before.looked_at}: {' '.join(str(error).split())}"
            )
            self.last = Read(before.looks, before.number + 1, before.looked_at, before.took_s, failure, before.detail)
        self._tell()

    def _look_closely(self, queue: str) -> None:
        found: Detail | str
        try:
            found = self._details.read(queue)
        except (rqsqs.QueueDoesNotExist, rqsqs.ServerError):
            return  # the next look says it
        except rqsqs.RqsqsError as error:
            found = str(error)
        self.last = dataclasses.replace(self.last, detail=(queue, found))
        self._tell()


def _clock() -> str:
    return f"{datetime.now():%H:%M:%S}"
