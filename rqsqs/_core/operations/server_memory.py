"""Builders and parsers of the memory of the server: what it has, and what it had minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation

PAGE = 2_000  # minutes in one call
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Node:
    """The memory of one server.

    Attributes:
        used, limit: bytes; a limit of 0 is not known.
        run_id: tells servers apart.
        is_cluster: whether there are others.
    """

    used: int
    limit: int
    run_id: bytes
    is_cluster: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of all servers.

    Attributes:
        used, limit: bytes.
        percent: of the fullest server.
        at_ms: since when, if it is of the history: a minute.
    """

    used: int
    limit: int
    percent: float
    at_ms: int = 0


def read_memory(key: str) -> Operation:
    """The result is the Node that holds a key."""
    return Operation("read_memory", (key,), (), lambda r: Node(int(r[0] or 0), int(r[1] or 0), r[2], bool(r[3])))


def append_memory(space: Keyspace, memory: Memory) -> Operation:
    """The result is False if this minute has been sampled."""
    numbers = (memory.used // 1024, memory.limit // 1024, round(memory.percent * 100))
    return Operation("append_memory", (space.memory,), (space.now_us(), *map(str, numbers)), bool)


def read_history(space: Keyspace, skip: int = 0) -> Operation:
    """The result is a page of Memory, the newest first; and whether there may be more."""

    def parse(reply: Sequence[bytes]) -> tuple[list[Memory], bool]:
        found = [row for data in reversed(reply) if (row := _row(data)) is not None]
        return found, len(reply) == PAGE

    return Operation("read_memory_history", (space.memory,), (str(skip), str(PAGE)), parse)


def _row(data: Any) -> Memory | None:
    """None = somebody else wrote it."""
    try:
        minute, used, limit, share = map(int, data.split())
    except ValueError:
        return None
    return Memory(used * 1024, limit * 1024, share / 100, (minute - 1) * MINUTE_MS)  # it tells of the minute before
