"""The connection over which tasks listen for wakeup tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import hiredis
import redis.exceptions as rx

from rqsqs._io import tuning
from rqsqs._io.listening import Listener, Switch
from rqsqs._io.protocol import CLOSED, BrokenOff

_MORE = object()  # returned by a parser that needs more bytes


class Hub:
    """One connection over which any number of tasks listen (listening.py)."""

    def __init__(
        self, connection: Any, wake: Callable[[list[str]], object], give_back: Callable[[Listener, Any], None]
    ) -> None:
        self.connection = connection
        self.switch = Switch()
        self.failure: Exception | None = None
        self._wake = wake
        self._give_back = give_back
        self._reader = hiredis.Reader(replyError=connection._parser.parse_error, notEnoughData=_MORE)
        self._owing_since = 0.0  # the server, its next answer; 0 = none
        self._tasks = [asyncio.create_task(self._read())]

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something as long as this connection lives."""
        self._tasks.append(asyncio.create_task(work))

    def listen(self, listener: Listener, lists: Sequence[str]) -> None:
        """Listen for tokens.

        Raises:
            ConnectionError: it broke.
        """
        if self.failure is not None:
            raise rx.ConnectionError(str(self.failure))
        self._send(self.switch.listen(listener, lists))

    def leave(self, listener: Listener) -> None:
        """A task stops waiting."""
        out = self.switch.leave(listener)
        if self.failure is None:
            self._send(out)

    def probe(self) -> None:
        """Ask the server something, so that its silence is noticed."""
        if self.failure is None and not self.switch.is_silent:
            self._send(self.switch.probe())

    def fail(self, error: Exception) -> None:
        """End all waits, and close the connection."""
        if self.failure is None:
            self.failure = error
            self.switch.fail(error)
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()

    def _send(self, data: bytes) -> None:
        if data:
            self._owing_since = self._owing_since or time.monotonic()
            self.connection._writer.write(data)

    async def _read(self) -> None:
        stream, reader, switch = self.connection._reader, self._reader, self.switch
        try:
            while True:
                try:
                    async with asyncio.timeout(tuning.GRACE_S / 4) as scope:
                        data = await stream.read(65_536)
                except TimeoutError:
                    if not scope.expired():  # the network gave up
                        raise
                    if self._owing_since and time.monotonic() - self._owing_since >= tuning.GRACE_S:
                        raise rx.TimeoutError("no answer in time") from None
                    continue
                if not data:
                    raise rx.ConnectionError("the server closed the connection")
                reader.feed(data)
                out = b""
                while (reply := reader.gets(False)) is not _MORE:
                    if isinstance(reply, rx.ConnectionError):
                        raise reply
                    out += switch.feed(reply)
                self._owing_since = time.monotonic() if switch.is_silent else 0.0
                self._send(out)
                if switch.to_wake:
                    self._wake(switch.to_wake)
                    switch.to_wake = []
                while switch.unclaimed:
                    self._give_back(*switch.unclaimed.pop())
        except Exception as e:  # whatever it is: those who wait must hear of it
            self.fail(e)
        finally:
            await self.connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Hang up."""
        self.fail(BrokenOff(CLOSED))
        await asyncio.gather(*self._tasks, return_exceptions=True)
