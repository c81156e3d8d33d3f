"""The connection over which tasks listen for wakeup tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import redis.exceptions as rx

from rqsqs._io import tuning
from rqsqs._io.protocol import CLOSED, BrokenOff
from rqsqs._io.tracking import HubState, Listener


class Hub(HubState):
    """One connection over which any number of tasks listen (tracking.py)."""

    def __init__(
        self, connection: Any, wake: Callable[[list[str]], object], give_back: Callable[[Listener, Any], None]
    ) -> None:
        super().__init__(connection, wake, give_back)
        self._tasks = [asyncio.create_task(self._read())]

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something as long as this connection lives."""
        self._tasks.append(asyncio.create_task(work))

    def listen(self, listener: Listener, lists: Sequence[str]) -> None:
        if self.failure is not None:
            raise rx.ConnectionError(str(self.failure))
        self._send(self.tracker.listen(listener, lists))

    def leave(self, listener: Listener) -> None:
        out = self.tracker.leave(listener)
        if self.failure is None:
            self._send(out)

    def probe(self) -> None:
        if self.failure is None and not self.tracker.is_silent:
            self._send(self.tracker.probe())

    def fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error
            self.tracker.fail(error)
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()

    def _send(self, data: bytes) -> None:
        if data:
            self._owing_since = self._owing_since or time.monotonic()
            self.connection._writer.write(data)

    async def _read(self) -> None:
        stream, tracker = self.connection._reader, self.tracker
        try:
            while True:
                try:
                    async with asyncio.timeout(tuning.GRACE_S / 4) as scope:
                        data = await stream.read(65_536)
                except TimeoutError:
                    if not scope.expired():  # the network gave up
                        raise
                    self._check_owed()
                    continue
                self._send(self._take_in(data))
                if tracker.to_wake:
                    self._wake(tracker.to_wake)
                    tracker.to_wake = []
                while tracker.unclaimed:
                    self._give_back(*tracker.unclaimed.pop())
        except Exception as e:  # whatever it is: those who wait must hear of it
            self.fail(e)
        finally:
            await self.connection.disconnect(nowait=True)

    async def close(self) -> None:
        self.fail(BrokenOff(CLOSED))
        await asyncio.gather(*self._tasks, return_exceptions=True)
