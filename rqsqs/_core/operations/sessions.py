"""Builders of what the console keeps of who is logged in, and of who tries to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation

LISTED = 250  # sessions in one call


class Listed(NamedTuple):
    """A session that is listed: its digest, when it was used last, and what it is about."""

    digest: str
    used_at_ms: int
    about: bytes


class Bucket(NamedTuple):
    """How often something may be tried: so many times at once, then once in each interval."""

    interval_s: float
    at_once: int


def digest_of(secret: str) -> str:
    """What the server knows of something that it shall not know."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def put_session(space: Keyspace, digest: str, about: bytes, *, idle_ms: int, longest_ms: int) -> Operation:
    """Begin a session.

    Args:
        space: where it is kept.
        digest: of its secret name.
        about: what is to be known of it.
        idle_ms: until it ends if nobody uses it.
        longest_ms: until it ends however it is used.
    """
    args = (space.now_us(), str(idle_ms), str(longest_ms), about)
    return Operation("put_session", _keys(space, digest), args, lambda reply: None)


def read_session(space: Keyspace, digest: str, *, idle_ms: int | None = None) -> Operation:
    """What a session is about, as bytes; None if it has ended.

    Args:
        space: where it is kept.
        digest: of its secret name.
        idle_ms: until it ends if nobody uses it again; None = it is only looked at.
    """
    args = (space.now_us(), "" if idle_ms is None else str(idle_ms))
    return Operation("read_session", _keys(space, digest), args)


def end_session(space: Keyspace, digest: str) -> Operation:
    """End a session; the result is False if there was none."""
    return Operation("end_session", _keys(space, digest), (), bool)


def list_sessions(space: Keyspace, offset: int, limit: int = LISTED) -> Operation:
    """Sessions, the one that was used last first; the result is ([Listed], where to go on or None)."""

    def parse(reply: list[Any]) -> tuple[list[Listed], int | None]:
        found = [Listed(reply[i].decode(), int(reply[i + 1]), reply[i + 2]) for i in range(1, len(reply), 3)]
        return found, offset + len(found) if reply[0] == limit else None

    return Operation("list_sessions", (space.sessions,), (space.now_us(), str(offset), str(limit)), parse)


def admit_login(space: Keyspace, tries: Mapping[str, Bucket]) -> Operation:
    """Count that somebody tries to log in; the result is False if that was tried too often.

    Args:
        space: where that is kept.
        tries: whose tries are counted -> how many there may be.
    """
    keys = tuple([space.login(digest_of(who)) for who in tries])
    args = [text for each in tries.values() for text in (f"{1000 * each.interval_s:.0f}", str(each.at_once))]
    return Operation("admit_login", keys, (space.now_us(), *args), bool)


def _keys(space: Keyspace, digest: str) -> tuple[str, ...]:
    return space.session(digest), space.sessions
