"""Who does something, for events. Each API says it once: for all that a transport does (`Keyspace.actor`), or, where
requests of many come over one transport, for the one that is answered (`requester`)."""

from __future__ import annotations

import getpass
import os
import sys
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

from rqsqs._core.keys import Keyspace
from rqsqs.event_models import Actor

if TYPE_CHECKING:
    from rqsqs._core.alarm_records import PutBy

requester: ContextVar[Actor | None] = ContextVar("rqsqs_requester", default=None)
# Whose right to send messages an alarm has that is put; None = that of a program, which may do everything
putter: ContextVar[PutBy | None] = ContextVar("rqsqs_putter", default=None)


def actor_of(space: Keyspace) -> Actor:
    """Who acts on these keys just now."""
    return requester.get() or space.actor or program("native")


@lru_cache(maxsize=8)
def program(api: str) -> Actor:
    """This program."""
    path = sys.argv[0] if sys.argv else ""
    name = os.path.basename(path)
    if name == "__main__.py":  # python -m PACKAGE
        name = os.path.basename(os.path.dirname(path))
    return Actor(api, name if name not in ("", "-c", "-") else "python", host())


def user() -> Actor:
    """Who typed a command."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # in a container: a number without a name
        name = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return Actor("cli", name, host())


def host() -> str:
    """The name of this machine."""
    return os.uname().nodename if hasattr(os, "uname") else "host"
