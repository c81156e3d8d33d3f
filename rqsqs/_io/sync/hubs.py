"""The connection over which threads listen for wakeup tokens."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis.exceptions as rx

from rqsqs._io import tls, tuning
from rqsqs._io.tracking import HubState, Listener


class Hub(HubState):
    """One connection over which any number of threads listen (tracking.py); a thread of its own reads from it.

    Attributes:
        guard: must be held to touch the tracker or a listener; one for all hubs.
    """

    def __init__(
        self,
        connection: Any,
        guard: threading.Lock,
        wake: Callable[[list[str]], object],
        give_back: Callable[[Listener, Any], None],
    ) -> None:
        tls.share(connection)
        super().__init__(connection, wake, give_back)
        self.guard = guard
        self.ended = threading.Event()
        self._socket = connection._sock
        threading.Thread(target=self._read, name="rqsqs-hub", daemon=True).start()

    def listen(self, listener: Listener, lists: Sequence[str]) -> None:
        """Listen for tokens.

        Raises:
            ConnectionError: it broke.
        """
        with self.guard:
            if self.failure is not None:
                raise rx.ConnectionError(str(self.failure))
            self._tell(lambda: self.tracker.listen(listener, lists))

    def leave(self, listener: Listener) -> None:
        with self.guard:
            if self.failure is None:
                self._tell(lambda: self.tracker.leave(listener))

    def probe(self) -> None:
        """Ask the server something, so that its silence is noticed."""
        with self.guard:
            if self.failure is None and not self.tracker.is_silent:
                self._tell(self.tracker.probe)

    def fail(self, error: Exception) -> None:
        """End all waits, and close the connection."""
        with self.guard:
            if self.failure is None:
                self.failure = error
                self.tracker.fail(error)
        self.ended.set()
        self._hang_up()

    def _tell(self, what: Callable[[], bytes]) -> None:
        try:
            self._send(what())
        except BaseException:  # interrupted: the tracker may wait for answers to what was not sent
            self._hang_up()
            raise

    def _send(self, data: bytes) -> None:
        if not data:
            return
        self._owing_since = self._owing_since or time.monotonic()
        try:
            self._socket.sendall(data)
        except OSError:  # part of it may have been sent: nothing may follow
            self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):  # the thread that reads sees it
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        tracker, heard = self.tracker, time.monotonic()
        try:
            self._socket.settimeout(tuning.GRACE_S / 4)
            while True:
                try:
                    data = self._socket.recv(65_536)
                except TimeoutError:
                    with self.guard:
                        self._check_owed()
                        if not tracker.is_used and time.monotonic() - heard > tuning.HUB_REST_S:
                            self.failure = rx.ConnectionError("there are no waiters")
                            return
                    continue
                heard = time.monotonic()
                with self.guard:
                    self._send(self._take_in(data))
                    to_wake, unclaimed = tracker.to_wake, tracker.unclaimed
                    tracker.to_wake, tracker.unclaimed = [], []
                if to_wake or unclaimed:
                    threading.Thread(target=self._return, args=(to_wake, unclaimed), daemon=True).start()
        except Exception as e:  # whatever it is: those who wait must hear of it
            self.fail(e)
        finally:
            self.ended.set()
            self.connection.disconnect()

    def _return(self, to_wake: list[str], unclaimed: list[tuple[Listener, Any]]) -> None:
        self._wake(to_wake)
        for one in unclaimed:
            self._give_back(*one)
