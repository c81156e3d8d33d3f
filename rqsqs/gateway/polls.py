"""Receives that may wait: each ends early when its client hangs up, or when the gateway ends.

What a receive got in that moment goes back to its queue at once, as with every task that is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from rqsqs._core.operation import Flow, Sleep, Wait
from rqsqs._io.aio.runner import Transport

from .counts import Counts

Receive = Callable[[], Awaitable[Any]]

TURNS = 6  # read the socket, tell the connection, tell who looks, end the wait, cancel the task; one to spare


class HungUp(Exception):
    """The client does not want an answer any more."""


class Polls:
    """The receives that are at work.

    Args:
        counts: is told how many there are.

    Attributes:
        is_draining: whether no receive may wait any more.
    """

    def __init__(self, counts: Counts | None = None) -> None:
        self._counts = counts
        self._scopes: set[asyncio.Timeout] = set()
        self.is_draining = False

    def __len__(self) -> int:
        return len(self._scopes)

    async def run(self, transport: Transport, flow: Flow[dict[str, Any]], receive: Receive) -> dict[str, Any]:
        """Run the flow of a ReceiveMessage.

        Args:
            receive: of ASGI, after the whole body came: it tells next that the client hung up.

        Raises:
            HungUp: it did.
        """
        scope = asyncio.timeout(None)
        watch = _Watch(scope, receive)
        try:
            async with scope:
                self._scopes.add(scope)
                self._tell()
                return await transport.run(watch.over(flow))
        except TimeoutError:
            if not scope.expired():
                raise
            if watch.has_hung_up:
                raise HungUp from None
            return {}
        finally:
            self._scopes.discard(scope)
            self._tell()
            watch.end()

    def drain(self) -> None:
        """Let the receives that wait be answered with nothing, now; those that come do not wait."""
        self.is_draining = True
        for scope in list(self._scopes):
            _end(scope)

    def _tell(self) -> None:
        if self._counts is not None:
            self._counts.set_polls(len(self._scopes))


def _end(scope: asyncio.Timeout) -> None:
    if not scope.expired():
        scope.reschedule(asyncio.get_running_loop().time())


class _Watch:
    """Looks whether the client is there: from the moment when a receive waits, and once if it finds messages before."""

    def __init__(self, scope: asyncio.Timeout, receive: Receive) -> None:
        self._scope, self._receive = scope, receive
        self.has_hung_up = False
        self._has_looked = False
        self._task: asyncio.Task[None] | None = None

    def over(self, flow: Flow[dict[str, Any]]) -> Flow[dict[str, Any]]:
        """The flow of a receive. The occasion that it gives when it has messages, a sleep of no length, lasts so many
        turns of the event loop that a client that hung up is noticed; one that has not waited looks by itself."""
        try:
            step = next(flow)
            while True:
                turns = 1
                if type(step) is Wait or (type(step) is Sleep and step.ms):
                    self._begin()
                elif type(step) is Sleep:
                    turns = 0 if self._task is None and self._is_there() else TURNS
                result = None
                try:
                    for _ in range(turns):
                        result = yield step
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            response: dict[str, Any] = end.value
            return response

    def _is_there(self) -> bool:
        """Has nobody heard by now that the client hung up?"""
        while not (self.has_hung_up or self._has_looked):
            asking = self._receive().__await__()
            try:
                next(asking)
            except StopIteration as end:
                if end.value["type"] == "http.disconnect":
                    self._note()
            else:
                asking.close()
                self._has_looked = True
        return not self.has_hung_up

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._note()

    def _note(self) -> None:
        self.has_hung_up = True
        _end(self._scope)

    def end(self) -> None:
        """Look no longer."""
        if self._task is not None:
            self._task.cancel()
