"""Builders of what the console keeps of who is logged in."""

from __future__ import annotations

import hashlib

from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation


def put_session(space: Keyspace, name: str, about: bytes, *, idle_ms: int, longest_ms: int) -> Operation:
    """Begin a session.

    Args:
        space: where it is kept.
        name: secret; the server knows its digest only.
        about: what is to be known of it.
        idle_ms: until it ends if nobody uses it.
        longest_ms: until it ends however it is used.
    """
    args = (space.now_us(), str(idle_ms), str(longest_ms), about)
    return Operation("put_session", _keys(space, name), args, lambda reply: None)


def read_session(space: Keyspace, name: str, *, idle_ms: int | None = None) -> Operation:
    """What a session is about, as bytes; None if it has ended.

    Args:
        space: where it is kept.
        name: of the session.
        idle_ms: until it ends if nobody uses it again; None = it is only looked at.
    """
    return Operation("read_session", _keys(space, name), (space.now_us(), "" if idle_ms is None else str(idle_ms)))


def end_session(space: Keyspace, name: str) -> Operation:
    """End a session; the result is False if there was none."""
    return Operation("end_session", _keys(space, name), (), bool)


def _keys(space: Keyspace, name: str) -> tuple[str, ...]:
    return (space.session(hashlib.sha256(name.encode()).hexdigest()),)
