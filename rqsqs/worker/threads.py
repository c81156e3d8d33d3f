"""Threads that last: what escapes from one of them is logged, and another takes its place."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("rqsqs.worker")

STEADY_S = 10.0  # a thread that lived longer is replaced at once
PAUSE_S, PAUSE_MAX_S = 0.1, 30.0
MISSED_S = 2.0  # a place that is empty for longer is not well


class Lasting:
    """A daemon thread that runs a function to its end, again if an exception escapes from it.

    Args:
        name: of the thread.
        run: the function.
        mend: called in between, with the exception: puts in order what the dead thread left behind.
    """

    def __init__(self, name: str, run: Callable[[], None], mend: Callable[[BaseException], None] | None = None) -> None:
        self.name = name
        self._run = run
        self._mend = mend
        self._thread: threading.Thread | None = None
        self._is_done = False
        self._empty_since: float | None = None  # (monotonic)
        self._pause = 0.0

    @property
    def is_well(self) -> bool:
        """Is its place taken, or was it until just now, or has its function ended?"""
        thread, since = self._thread, self._empty_since
        if self._is_done or thread is None:
            return True
        if since is not None:
            return time.monotonic() - since < MISSED_S
        return thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        thread = threading.Thread(target=self._live, name=self.name, daemon=True)
        self._thread = thread
        thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the function has ended; is it so?"""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_done and self._thread is not None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            thread = self._thread
            thread.join(left)
            if thread is self._thread and not thread.is_alive():
                break
        return self._is_done or self._thread is None

    def _live(self) -> None:
        while True:
            began = time.monotonic()
            self._empty_since = None
            try:
                self._run()
                self._is_done = True
                return
            except BaseException as error:  # a bug, SystemExit, or what somebody raised in it from outside
                self._empty_since = time.monotonic()
                self._bury(error)
            self._pause = 0.0 if time.monotonic() - began > STEADY_S else min(2 * self._pause or PAUSE_S, PAUSE_MAX_S)
            if self._pause > PAUSE_S:
                time.sleep(self._pause)
            with contextlib.suppress(RuntimeError, MemoryError):  # it goes on itself if there can be no other
                self.start()
                return

    def _bury(self, error: BaseException) -> None:
        with contextlib.suppress(Exception):
            log.critical("the thread %s died of %s; another takes its place", self.name, type(error).__name__,
                         exc_info=error)  # fmt: skip
        try:
            if self._mend is not None:
                self._mend(error)
        except BaseException:
            with contextlib.suppress(Exception):
                log.critical("what the thread %s held is lost until it becomes visible again", self.name, exc_info=True)
