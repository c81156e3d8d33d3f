"""Ctrl-C and SIGTERM while a command starts processes."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Handle them at the end of the block.

    A KeyboardInterrupt in the middle of Popen() would leave a process that nobody knows and nobody ends.
    """
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number, handler in handlers.items():
            if handler is not signal.SIG_IGN:  # the new process would not inherit that it is ignored
                signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)
