"""One server as the asyncio runner sees it: all connections to it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import redis.exceptions as rx
from redis.asyncio.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs._io import connect_timeout, protocol, server_checks, tuning
from rqsqs._io.aio.hubs import Hub
from rqsqs._io.aio.pipes import GiveBack, Pipe, exchange
from rqsqs._io.counters import Counters
from rqsqs._io.servers import KnownServer, Steps
from rqsqs._io.tracking import start_listening


class Node(KnownServer):
    """One server: a pipe for requests, connections that block or rest until one has to, and one to listen.

    Attributes:
        blocking: how many connections block; up to tuning.BLOCKING, and more if the server allows no listening.
        hub: the connection to listen, if there was need for one.
        current_pipe: for requests, if it was opened; it may have failed.
    """

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters, give_back: GiveBack) -> None:
        super().__init__(url, settings, counters, ConnectionPool, UnixDomainSocketConnection)
        # Answers have a deadline of their own: connections may be silent for long. And with one of redis-py's a send
        # goes through asyncio.wait_for(), which swallows cancellations before Python 3.12.
        self.timeout: float | None = self.pool.connection_kwargs.get("socket_timeout")
        self.pool.connection_kwargs["socket_timeout"] = None
        self._give_back = give_back
        self.current_pipe: Pipe | None = None
        self._opening = asyncio.Lock()
        self._opening_error: Exception | None = None  # of the last one that failed
        self.durable = asyncio.Semaphore(tuning.DURABLE)
        self._silence: Exception = rx.TimeoutError()
        self._silent_at = 0.0  # when it was told: a connection was not opened in time
        self._resting: list[tuple[Any, int]] = []
        self.blocking = 0
        self.is_hub_refused = False
        self.hub: Hub | None = None
        self._opening_hub: asyncio.Task[Hub | None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def _connect(self, until: float | None = None, then: Steps = (), **options: Any) -> Any:
        if self._is_closed:
            raise rx.ConnectionError(protocol.CLOSED)
        connection: Any = self.pool.connection_class(**{**self.pool.connection_kwargs, **options})
        is_new = not self.is_checked  # a server that has answered before may be busy for a while
        end = connect_timeout.end_of(self.opening_s if is_new else self.timeout, until)
        left = end - time.monotonic()
        if left <= 0:  # others have tried meanwhile
            raise connect_timeout.no_answer(self.opening_s, False)
        try:
            async with asyncio.timeout(None if math.isinf(left) else left):
                await connection.connect()
                await exchange(connection, self.begin(then))
        except (TimeoutError, rx.TimeoutError):
            await connection.disconnect(nowait=True)
            if is_new:
                raise connect_timeout.no_answer(self.opening_s, connection.has_connected) from None
            raise rx.TimeoutError("no answer in time") from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def look(self, key: str) -> None:
        if not self.has_format(key):
            try:
                found = await self.ask(*server_checks.format_words(key))
            except (rx.ResponseError, *protocol.BROKEN) as e:
                found = e
            self.check_formats([key], [found])

    async def pipe(self, until: float | None = None) -> Pipe:
        """The pipe, opened if need be.

        Args:
            until: when to give up, by time.monotonic(); None = after opening_s, where it has not answered before.
        """
        pipe = self.current_pipe
        if pipe is not None and pipe.failure is None:
            return pipe
        error_before = self._opening_error
        async with self._opening:
            pipe = self.current_pipe
            if pipe is None or pipe.failure is not None:
                if self._opening_error is not None and self._opening_error is not error_before:
                    raise self._opening_error  # it is opened for all that need it now, and fails for all
                if pipe is not None:  # another server may be there
                    self.forget_formats()
                try:
                    connection = await self._connect(until)
                except Exception as e:
                    self._opening_error = e
                    raise
                if self._is_closed:  # meanwhile
                    await connection.disconnect(nowait=True)
                    raise rx.ConnectionError(protocol.CLOSED)
                self.current_pipe = pipe = Pipe(connection, self._counters, self._give_back, self.timeout)
            return pipe

    def drop(self, pipe: Pipe) -> None:
        if self.current_pipe is pipe:
            self.current_pipe = None
            task = asyncio.create_task(pipe.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def rested(self, since: float = math.inf) -> tuple[Any, int]:
        """A connection for blocking and its CLIENT ID.

        Args:
            since: when the caller began to wait for its turn (time.monotonic()): if one could not be opened in time
                since then, that is the answer. If each tried in turn, the last ones would hear of a silent server after
                very many timeouts.
        """
        if self._silent_at > since:
            raise type(self._silence)(*self._silence.args)
        while self._resting:
            connection, number = self._resting.pop()
            if connection.is_connected and not connection._reader.at_eof():
                return connection, number
            await connection.disconnect(nowait=True)
        try:
            return await self._with_id(await self._connect())
        except (TimeoutError, rx.TimeoutError) as e:
            self._silence, self._silent_at = type(e)(*e.args), time.monotonic()  # without its traceback
            raise

    async def _with_id(self, connection: Any) -> tuple[Any, int]:
        try:
            async with asyncio.timeout(self.timeout):
                await connection.send_command("CLIENT", "ID")
                return connection, int(await connection.read_response(disable_decoding=True))
        except (rx.ResponseError, ValueError):
            return connection, 0
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def rest(self, connection: Any, number: int) -> None:
        if self._is_closed:
            await connection.disconnect(nowait=True)
        else:
            self._resting.append((connection, number))

    def occupy(self, always: bool) -> bool:
        """May one more connection block?"""
        if self.blocking >= tuning.BLOCKING and not (always or self.is_hub_refused):
            return False
        self.blocking += 1
        return True

    async def open_hub(self, make: Callable[[Any], Hub]) -> Hub | None:
        if self.hub is not None and self.hub.failure is None:
            return self.hub
        if self.is_hub_refused:
            return None
        if self._opening_hub is None:
            self._opening_hub = asyncio.create_task(self._open_hub(make))
            self._opening_hub.add_done_callback(self._hub_is_open)
        return await asyncio.shield(self._opening_hub)

    def _hub_is_open(self, opening: asyncio.Task[Hub | None]) -> None:
        self._opening_hub = None
        if not opening.cancelled():
            opening.exception()  # those who waited for it tell

    async def _open_hub(self, make: Callable[[Any], Hub]) -> Hub | None:
        try:
            connection = await self._connect(then=start_listening(), protocol=3)
        except rx.ResponseError as e:
            if protocol.is_elsewhere(e):
                raise rx.ConnectionError(str(e)) from e
            self.is_hub_refused = True
            return None
        if self._is_closed:
            await connection.disconnect(nowait=True)
            raise rx.ConnectionError(protocol.CLOSED)
        self.hub = hub = make(connection)
        return hub

    async def ask(self, *words: Any, until: float | None = None) -> Any:
        try:
            async with asyncio.timeout(connect_timeout.end_of(tuning.ASK_S, until) - time.monotonic()):
                pipe = await self.pipe(until)
                return await pipe.ask(protocol.command(*words))
        except TimeoutError:
            raise rx.TimeoutError(f"{self.where} does not answer") from None

    async def close(self) -> None:
        self._is_closed = True
        if self.hub is not None:
            await self.hub.close()
        if self.current_pipe is not None:
            self.drop(self.current_pipe)
        while self._resting:
            await self._resting.pop()[0].disconnect(nowait=True)
        await asyncio.gather(*self._closing)
