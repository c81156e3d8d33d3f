"""Exceptions that one thread raises in another."""

from __future__ import annotations

import contextlib
import ctypes
import threading

_raise_in = ctypes.pythonapi["PyThreadState_SetAsyncExc"]
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)


class _Arrives(BaseException):
    """That of forget_raised()."""


def raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise an exception in a thread that runs, at its next step of Python."""
    assert thread.ident is not None
    assert _raise_in(thread.ident, error) == 1


def forget_raised() -> None:
    """Let the interpreter look no more for exceptions raised in threads that ended before they arrived: as long as it
    does, Python 3.11 lets a thread that is traced stand still. It ends when any exception arrives, here one of ours."""
    with contextlib.suppress(_Arrives):
        raise_in(threading.current_thread(), _Arrives)
        while True:
            pass
