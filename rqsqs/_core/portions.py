"""How much one call carries. The server does nothing else while a script runs: large requests become several calls."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TypeVar

from rqsqs._core.delivery import Delivery

T = TypeVar("T")
BYTES = 4 * 1024 * 1024  # bytes of records in one call, beyond one message
ORDERED = 100  # messages of a FIFO queue in one call
BESIDE = 50  # messages of a FIFO queue that are deleted in the call that receives others (standard: SPECIAL)
SPECIAL = 250  # messages of a standard queue in one call, where each takes several steps
RELEASED = 75  # messages of a standard queue in one call, which go back to their places in it
PLAIN = 1000  # messages of a standard queue in one call, where all take one step together
RECORD = operator.attrgetter("record")
CUT_BYTES = BYTES // 2  # bytes that a receive hands out at least, before it stops because of its size


def portions(items: Sequence[T], count: int, size: Callable[[T], int] | None = None) -> list[Sequence[T]]:
    """Cut items into runs of at most `count`, which have at most BYTES together or are one item.

    Args:
        size: bytes of an item.
    """
    if len(items) <= count and (size is None or len(items) == 1 or sum([size(item) for item in items]) <= BYTES):
        return [items] if items else []
    found: list[Sequence[T]] = []
    start = total = 0
    for i, item in enumerate(items):
        more = size(item) if size is not None else 0
        if i > start and (i - start >= count or total + more > BYTES):
            found.append(items[start:i])
            start, total = i, 0
        total += more
    found.append(items[start:])
    return found


def is_cut(received: Sequence[Delivery]) -> bool:
    """May there be more where one call received these?"""
    return len(received) >= ORDERED or sum(map(len, map(RECORD, received))) >= CUT_BYTES
