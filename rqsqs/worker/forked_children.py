"""A child that is forked while a worker runs does not become a second worker.

Libraries fork (multiprocessing, daemons), and some children come back from the handler that forked them. The child has
one thread, a copy of everything, and shares all sockets: it receives, handles and settles nothing, has no heartbeat,
does not hear the signals of the worker, does not keep its port, and ends where it would go back to the worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import traceback
import weakref
from collections.abc import Iterable
from typing import NoReturn, Protocol

log = logging.getLogger("rqsqs.worker")


class Owner(Protocol):
    """Has what a child must not use."""

    def forked(self) -> None:
        """In the child: let go of it."""


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()


def watch(owner: Owner) -> None:
    _owners.add(owner)


def _after_in_child() -> None:
    for owner in list(_owners):
        owner.forked()
    _owners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)


def forget_signals(numbers: Iterable[int]) -> None:
    """In the child: they end it, and do not reach the event loop of the parent, to which they are still connected."""
    with contextlib.suppress(ValueError, OSError):
        signal.set_wakeup_fd(-1)
        for number in numbers:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def leave(error: BaseException | None = None) -> NoReturn:
    """End a child that came back from a handler, as Python ends: without what the parent registered with atexit."""
    code = 0
    with contextlib.suppress(BaseException):
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if not isinstance(error.code, int | None):
                print(error.code, file=sys.stderr)
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        log.debug("a child that a handler forked came back from it: it ends with %d", code)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    os._exit(code & 0xFF)
