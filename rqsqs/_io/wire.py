"""What both runners put on the wire, and when they lose patience."""

from __future__ import annotations

import functools
from typing import Any

import hiredis
import redis.exceptions as rx

from rqsqs._core import scripts
from rqsqs._core.operation import Operation

RETRY_AFTER_S = (0.0, 0.1, 0.4)  # pauses before an operation is tried again on a new connection
LOADS = 4  # a script is loaded so often before we give in to somebody who flushes scripts all the time
# What a connection raises that is lost: also by something that is no Redis.
BROKEN = (rx.ConnectionError, rx.TimeoutError, rx.InvalidResponse, OSError)
GRACE_S = 10.0  # so much later than it promised a blocking command may answer
TEST_WAIT_MS = 50  # under a test clock, which may be put forward between two steps, waiters look again this often


@functools.lru_cache(maxsize=20_000)
def _head(script: str, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return (b"EVALSHA", scripts.get(script).sha, len(keys), *keys)


def command(*words: Any) -> bytes:
    """A command, packed."""
    packed: bytes = hiredis.pack_command(words)
    return packed


def call(operation: Operation) -> bytes:
    """The EVALSHA of an operation, packed."""
    return command(*_head(operation.script, operation.keys), *operation.args)


def load(operation: Operation) -> bytes:
    """The SCRIPT LOAD an operation needs when the server does not know its script, packed."""
    return command("SCRIPT", "LOAD", scripts.get(operation.script).source)
