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
KEPT_S = 15.0  # what has been too old for this long is not shown any more, even if reading it anew takes long


@dataclass(slots=True)
class _Read:
    """One thing. `task` is what reads it; `until` when that is too old, None before it has ended; `before` what was
    read the time before, and is shown until `before_until`."""

    task: asyncio.Task[Any]
    until: float | None = None
    before: Any = None
    before_until: float = 0.0


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
            wait_s: how long to wait for it; 0 = it is read behind what is being done now.
        """
        found = self._current((account, name), load, fresh_s)
        if wait_s > 0:
            await asyncio.wait({found.task}, timeout=wait_s)
        result: T | None = self._known(found)
        return result

    def latest(self, account: str, name: Hashable) -> Any:
        """What was read last, unless that is long ago; None = nothing. It is not read."""
        found = self._reads.get((account, name))
        return None if found is None else self._known(found)

    def _known(self, read: _Read) -> Any:
        now = self._clock()
        if not read.task.done():
            return read.before if now < read.before_until else None
        return read.task.result() if read.until is None or now < read.until + KEPT_S else None

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

        read, before = _Read(asyncio.create_task(run())), self._reads.pop(key, None)
        if before is not None and before.until is not None:
            read.before, read.before_until = before.task.result(), before.until + KEPT_S
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
