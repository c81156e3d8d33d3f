"""What all open pages share: each thing that they show is read once, however many browsers look at it.

A page asks for what it needs each second while it is open. What was read less than a second ago is given again; who
asks while it is being read waits for that. So nothing is read when nobody looks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

FRESH_S = 0.9
SOON_S = 0.1
MOST = 2_000  # things that are remembered
SHARE = 2.0  # what takes a second to be read is read every two seconds at most


@dataclass(slots=True)
class _Read:
    """One thing. `task` is what reads it; `until` when that is too old, None before it has ended; `before` what was
    read the time before."""

    task: asyncio.Task[Any]
    until: float | None = None
    before: Any = None


class Hub:
    """Reads things for open pages.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reads: dict[tuple[str, Hashable], _Read] = {}

    async def read(self, account: str, name: Hashable, load: Callable[[], Awaitable[T]], fresh_s: float = FRESH_S) -> T:
        """Something, as it was at most `fresh_s` seconds ago.

        Args:
            account: whose it is.
            name: what it is.
            load: reads it.
            fresh_s: how long it is given again; longer if reading it takes more than half of that.

        Raises:
            What `load` raises, which is not remembered.
        """
        result: T = await asyncio.shield(self._current((account, name), load, fresh_s).task)
        return result

    async def soon(
        self,
        account: str,
        name: Hashable,
        load: Callable[[], Awaitable[T]],
        fresh_s: float = FRESH_S,
        wait_s: float = SOON_S,
    ) -> T | None:
        """The same, for what may take long: if it is not there soon, what was read the time before; None = nothing.

        Args:
            account, name, load, fresh_s: as for `read`.
            wait_s: how long to wait for it.
        """
        found = self._current((account, name), load, fresh_s)
        await asyncio.wait({found.task}, timeout=wait_s)
        before: T | None = found.before
        return found.task.result() if found.task.done() else before

    def forget(self, account: str, name: Hashable = None) -> None:
        """Read everything of an account again next time, or what is named: somebody has changed something."""
        for key in [key for key in self._reads if key[0] == account and name in (None, key[1])]:
            del self._reads[key]

    async def close(self) -> None:
        """Read nothing any more."""
        reads, self._reads = list(self._reads.values()), {}
        for each in reads:
            each.task.cancel()
        await asyncio.gather(*[each.task for each in reads], return_exceptions=True)

    def _current(self, key: tuple[str, Hashable], load: Callable[[], Awaitable[T]], fresh_s: float) -> _Read:
        found = self._reads.get(key)
        if found is None or (found.until is not None and found.until <= self._clock()):
            found = self._begin(key, load, fresh_s)
        return found

    def _begin(self, key: tuple[str, Hashable], load: Callable[[], Awaitable[T]], fresh_s: float) -> _Read:
        began = self._clock()
        while len(self._reads) >= MOST:
            del self._reads[next(iter(self._reads))]  # what was read longest ago

        async def run() -> T:
            return await load()

        before = self._reads.pop(key, None)
        read = _Read(asyncio.create_task(run()), before=None if before is None else before.task.result())
        self._reads[key] = read

        def ended(task: asyncio.Task[Any]) -> None:
            now = self._clock()
            if task.cancelled() or task.exception() is not None:
                if self._reads.get(key) is read:
                    del self._reads[key]
            else:
                read.until = began + max(fresh_s, SHARE * (now - began))

        read.task.add_done_callback(ended)
        return read
