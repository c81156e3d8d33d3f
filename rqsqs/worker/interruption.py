"""Exceptions that are raised in threads by others."""

from __future__ import annotations

import ctypes
import threading

# Twice the same function, with other arguments.
_raise_in = ctypes.pythonapi["PyThreadState_SetAsyncExc"]
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)
_take_back = ctypes.pythonapi["PyThreadState_SetAsyncExc"]
_take_back.argtypes = (ctypes.c_ulong, ctypes.c_void_p)


class Interruption:
    """Lets a timeout raise an exception in the thread that runs a call, and in nothing the thread does afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = threading.get_ident()

    def send(self, error: type[BaseException]) -> bool:
        """Raise `error` there, at its next step of Python code. False if the call has ended. To be called once."""
        with self._lock:
            if self._thread is None:
                return False
            _raise_in(self._thread, error)
            return True

    def end(self) -> None:
        """The call has ended. What was sent and has not arrived yet may be raised in here, but no later."""
        with self._lock:
            self._thread = None
        _take_back(threading.get_ident(), None)
