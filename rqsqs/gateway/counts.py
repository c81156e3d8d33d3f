"""What the processes of a gateway count of their requests.

They share the memory in which they count: each has a part that only it writes, so nobody locks, and whoever is asked
for the metrics adds up all parts. A process that takes the place of one that died counts on in its part.
"""

from __future__ import annotations

import mmap
import time
from typing import TYPE_CHECKING

from . import sts
from .protocols import cloudwatch_shapes, shapes

if TYPE_CHECKING:
    from .exchange import Exchange

STATUSES = (200, 400, 403, 404, 408, 409, 413, 415, 429, 499, 500, 503)
UNIT_US = 250  # the first bucket; each of the others has twice the last one
BUCKETS = 18  # up to 32.768 s: a receive waits 20 s
NO_ACTION = ""  # of requests that name none that exists
NAMES = (*sorted(shapes.ACTIONS), *sorted(cloudwatch_shapes.ACTIONS), sts.ACTION, NO_ACTION)

_THROTTLED, _POLLS, _CONNECTIONS, _FIRST = range(4)
_GAUGES = (_POLLS, _CONNECTIONS)
_OF_STATUS = {status: n for n, status in enumerate(STATUSES)}
_TOOK = len(STATUSES)  # buckets, the last one for what took longer, and the sum in microseconds
_WIDTH = _TOOK + BUCKETS + 2
_OF_ACTION = {name: _FIRST + n * _WIDTH for n, name in enumerate(NAMES)}
_CELLS = _FIRST + len(NAMES) * _WIDTH


class Counts:
    """Those of all processes.

    Args:
        processes: how many there are; they are forked from the one that makes this.
    """

    def __init__(self, processes: int = 1) -> None:
        self._cells = memoryview(mmap.mmap(-1, 8 * _CELLS * processes)).cast("Q")
        self._starts = range(0, _CELLS * processes, _CELLS)
        self._own = self._cells[:_CELLS]

    def take(self, process: int) -> None:
        """Count in the part of this process, 0 is the first."""
        start = self._starts[process]
        self._own = self._cells[start : start + _CELLS]
        for gauge in _GAUGES:
            self._own[gauge] = 0

    def note(self, exchange: Exchange, status: int) -> None:
        """Count a request that was answered; 499 = its client did not wait."""
        own, start = self._own, _OF_ACTION[exchange.action]
        took = int((time.perf_counter() - exchange.started) * 1e6)
        own[start + _OF_STATUS[status]] += 1
        own[start + _TOOK + min((took // UNIT_US).bit_length(), BUCKETS)] += 1
        own[start + _WIDTH - 1] += took

    def note_throttled(self) -> None:
        """Count a request that was one too many."""
        self._own[_THROTTLED] += 1

    def set_polls(self, polls: int) -> None:
        """Say how many receives wait in this process."""
        self._own[_POLLS] = polls

    def set_connections(self, connections: int) -> None:
        """Say how many connections this process has."""
        self._own[_CONNECTIONS] = connections

    # All processes

    @property
    def throttled(self) -> int:
        return self._sum(_THROTTLED)

    @property
    def polls(self) -> int:
        return self._sum(_POLLS)

    @property
    def connections(self) -> int:
        return self._sum(_CONNECTIONS)

    def answered(self, action: str) -> dict[int, int]:
        """How many requests there were, by status."""
        start = _OF_ACTION[action]
        return {status: self._sum(start + n) for status, n in _OF_STATUS.items()}

    def took(self, action: str) -> tuple[list[int], float]:
        """How many requests took less than UNIT_US, twice that ...; the last number is of all others. And the sum of
        all, in seconds."""
        start = _OF_ACTION[action]
        counts = [self._sum(start + _TOOK + n) for n in range(BUCKETS + 1)]
        return counts, self._sum(start + _WIDTH - 1) / 1e6

    def _sum(self, cell: int) -> int:
        return sum([self._cells[start + cell] for start in self._starts])
