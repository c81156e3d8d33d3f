"""TLS connections on which one thread reads while others write."""

from __future__ import annotations

import select
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

RECORD = 16_384  # bytes of one TLS record


def share(connection: Any) -> None:
    """Prepare a connection of redis-py for use by several threads at the same time."""
    if isinstance(connection._sock, ssl.SSLSocket):
        connection._sock = connection._parser._sock = SharedSocket(connection._sock)


class SharedSocket:
    """OpenSSL does one thing at a time with a connection, so a reader waits outside of it until data has come.

    A connection used by two threads at once seems to end, or fails with errors of its records.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._timeout: float | None = sock.gettimeout()
        self._turn = threading.Lock()
        self._writing = threading.Lock()  # what one thread sends stays together

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, timeout: float | None) -> None:
        with self._turn:
            self._timeout = timeout
            self._sock.settimeout(timeout)

    def sendall(self, data: bytes) -> None:
        with self._writing:
            end = self._end()
            left = memoryview(data)
            while left:
                try:
                    left = left[self._at_once(partial(self._sock.send, left[:RECORD])) :]
                except ssl.SSLWantWriteError:  # others may read meanwhile, or the server would not continue
                    self._wait(select.POLLOUT, end)
                except ssl.SSLWantReadError:
                    self._wait(select.POLLIN, end)

    def pending(self) -> int:
        """Bytes that have come and were decrypted."""
        with self._turn:
            count: int = self._sock.pending()
            return count

    def recv(self, most: int) -> bytes:
        data: bytes = self._received(lambda: self._sock.recv(most))
        return data

    def recv_into(self, buffer: Any) -> int:
        count: int = self._received(lambda: self._sock.recv_into(buffer))
        return count

    def _received(self, receive: Callable[[], Any]) -> Any:
        end = self._end()
        while True:
            try:
                return self._at_once(receive)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, end)

    def _at_once(self, do: Callable[[], Any]) -> Any:
        """What can be done without waiting."""
        with self._turn:
            self._sock.settimeout(0)
            try:
                return do()
            finally:
                self._sock.settimeout(self._timeout)

    def _end(self) -> float | None:
        return None if self._timeout is None else time.monotonic() + self._timeout

    def _wait(self, event: int, end: float | None) -> None:
        poll = select.poll()
        poll.register(self._sock, event)
        if not poll.poll(None if end is None else max(end - time.monotonic(), 0) * 1000):
            raise TimeoutError("timed out")
