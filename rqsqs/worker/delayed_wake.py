"""Wakes a thread some time after another one asked for it, without a switch between the two."""

from __future__ import annotations

import ctypes
import os
import threading
import time

CLOCK_MONOTONIC, CLOEXEC = 1, 0o2000000
AT_ONCE_NS = 1  # 0 would disarm the timer
_libc = ctypes.PyDLL(None)  # it keeps the GIL: its calls do not wait


class DelayedWake:
    """Lets one thread sleep until `seconds` after another one asked for it.

    To wake a thread takes longer than a short handler: the system looks for a processor, which may be asleep, and both
    threads want the GIL. To set a timer of the kernel (timerfd, on Linux) takes a microsecond, and by the time it is
    over, whoever set it has often done what it was about to do. Elsewhere the thread is woken at once, and sleeps on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # struct itimerspec: the interval, which is none, and the time until then, in seconds and nanoseconds
        self._at_once = (ctypes.c_long * 4)(0, 0, 0, AT_ONCE_NS)
        self._later = (ctypes.c_long * 4)(0, 0, int(seconds), round(seconds % 1 * 1e9))
        self._asked = threading.Event()  # where there is no such timer
        try:
            self._timer: int = _libc.timerfd_create(CLOCK_MONOTONIC, CLOEXEC)
        except AttributeError:
            self._timer = -1

    def ask(self) -> None:
        """Let the thread continue in `seconds`; if that was asked for already, from now on."""
        if self._timer < 0:
            self._asked.set()
        else:
            _libc.timerfd_settime(self._timer, 0, self._later, None)

    def end(self) -> None:
        """Let it continue at once."""
        self._seconds = 0.0
        self._asked.set()
        if self._timer >= 0:
            _libc.timerfd_settime(self._timer, 0, self._at_once, None)

    def wait(self) -> None:
        """Sleep until it is time: of one thread."""
        if self._timer >= 0:
            os.read(self._timer, 8)
        else:
            self._asked.wait()
            self._asked.clear()
            time.sleep(self._seconds)

    def __del__(self) -> None:
        if self._timer >= 0:
            os.close(self._timer)
