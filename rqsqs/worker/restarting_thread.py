"""Threads that begin anew when an exception escapes from them, which is logged."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("rqsqs.worker")

STEADY_S = 10.0  # one that lasted longer begins anew at once
PAUSE_S, PAUSE_MAX_S = 0.1, 30.0
MISSED_S = 2.0  # one that does nothing for longer is not healthy


class RestartingThread:
    """A daemon thread that runs a function to its end, again if an exception escapes from it. recover() is called in
    between, with the exception: it puts in order what the dead run left behind."""

    def __init__(
        self, name: str, run: Callable[[], None], recover: Callable[[BaseException], None] | None = None
    ) -> None:
        self.deaths = 0  # how often an exception escaped
        self._run = run
        self._recover = recover
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._is_done = False
        self._died: float | None = None  # when, if it has not begun anew yet (monotonic)
        self._pause = 0.0
        self._abort = threading.Event()

    @property
    def is_healthy(self) -> bool:
        """Does it run, or did until just now, or has its function ended, or was it not started?"""
        if self._is_done or self._thread.ident is None:
            return True
        died = self._died
        return self._thread.is_alive() and (died is None or time.monotonic() - died < MISSED_S)

    @property
    def is_started(self) -> bool:
        return self._thread.ident is not None

    def start(self) -> None:
        self._thread.start()

    def abort(self) -> None:
        """Pause no more before it begins anew: its function is about to end."""
        self._abort.set()

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()

    def _live(self) -> None:
        while not self._is_done:
            with contextlib.suppress(BaseException):  # another one while it recovers
                self._try()

    def _try(self) -> None:
        began = time.monotonic()
        self._died = None
        try:
            self._run()
            self._is_done = True
            return
        except BaseException as error:  # a bug, SystemExit, or what somebody raised in it from outside
            self.deaths += 1
            self._died = time.monotonic()
            with contextlib.suppress(Exception):
                log.critical("the thread %s died of %s; it begins anew", self._thread.name,
                             type(error).__name__, exc_info=error)  # fmt: skip
            try:
                if self._recover is not None:
                    self._recover(error)
            except BaseException:
                with contextlib.suppress(Exception):
                    log.critical("what the thread %s held is lost until it becomes visible again", self._thread.name,
                                 exc_info=True)  # fmt: skip
        self._pause = 0.0 if time.monotonic() - began > STEADY_S else min(2 * self._pause or PAUSE_S, PAUSE_MAX_S)
        if self._pause > PAUSE_S:
            self._abort.wait(self._pause)
