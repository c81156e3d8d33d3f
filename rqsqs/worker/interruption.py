"""Exceptions that are raised in threads by others."""

from __future__ import annotations

import ctypes
import threading
import time


class Interruption:
    """Lets a timeout raise an exception in the thread that runs a call, and in nothing the thread does afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = threading.get_ident()

    def send(self, error: type[BaseException]) -> bool:
        """Raise `error` there, at its next step of Python code. False if the call has ended."""
        with self._lock:
            if self._thread is None:
                return False
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(error))
            return True

    def end(self) -> None:
        """The call has ended. What was sent and has not arrived yet is raised here."""
        with self._lock:
            self._thread = None
        for _ in range(10):
            time.sleep(0)
