"""One server as the sync runner sees it: all connections to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis.exceptions as rx
from redis.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs._io import connect_timeout, protocol, server_checks, tuning
from rqsqs._io.counters import Counters
from rqsqs._io.protocol import CLOSED, BrokenOff
from rqsqs._io.servers import KnownServer, Steps
from rqsqs._io.sync.hubs import Hub
from rqsqs._io.sync.pipes import Pipe, exchange
from rqsqs._io.sync.pools import PatientPool, Place, Pool, PooledConnection, Taken
from rqsqs._io.tracking import start_listening


class _Opening:
    """One thread opens a connection for all that need it now."""

    def __init__(self) -> None:
        self.going_on = threading.Lock()
        self.going_on.acquire()
        self.made: Any = None
        self.error: Exception | None = None


class Node(KnownServer):
    """One server.

    Attributes:
        calls: connections that one call or waiter has to itself for a while. Further calls share a pipe.
        durable: the same for calls that wait for replicas or the disk.
        blocking: connections that block; up to tuning.BLOCKING, and more if the server allows no listening.
        hub: the connection to listen, if there was need for one.
    """

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters) -> None:
        super().__init__(url, settings, counters, ConnectionPool, UnixDomainSocketConnection)

    def forget(self) -> None:
        super().forget()
        self.calls = Pool(self._connect, tuning.OWN, self._count_lost)
        self.durable = PatientPool(self._connect, tuning.DURABLE, self._count_lost)
        self.blocking = Taken()
        self.is_hub_refused = False
        self.hub: Hub | None = None
        self._pipe: Pipe | None = None
        self._slots = protocol.CallSlots()  # a forked child's calls must not be taken for its parent's
        self._openings: dict[str, _Opening] = {}
        self._guard = threading.Lock()
        self._asking = threading.Lock()

    def _connect(self, until: float | None = None, then: Steps = (), **options: Any) -> Any:
        connection: Any = self.pool.connection_class(**{**self.pool.connection_kwargs, **options})
        is_new = not self.is_checked  # a server that has answered before may be busy for a while
        if is_new:
            connection.limit_until(connect_timeout.end_of(self.opening_s, until))
        try:
            connection.connect()
            exchange(connection, self.begin(then))
        except BaseException as e:
            connection.disconnect()
            if is_new and isinstance(e, rx.TimeoutError | TimeoutError):
                raise connect_timeout.no_answer(self.opening_s, connection.has_connected) from None
            raise
        if is_new:
            connection.lift_limit()
        connection.go_direct()
        return connection

    def open(self, until: float | None) -> None:
        """Make sure that the server answers.

        Args:
            until: when to give up, by time.monotonic(); None = after opening_s.
        """
        channel = self.calls.take(until=until)
        if channel is None:
            self.pipe(until)
        else:
            self.calls.give(channel)

    def look(self, key: str) -> None:
        """Make sure that what is stored has a format that we know, unless the first connection is going to."""
        if not self.has_format(key):
            try:
                found = self.ask(*server_checks.format_words(key))
            except (rx.ResponseError, *protocol.BROKEN) as e:
                found = e
            self.check_formats([key], [found])

    def _count_lost(self) -> None:
        self._counters.count("connections_lost")
        self.forget_formats()

    def pipe(self, until: float | None = None) -> Pipe:
        """The pipe, opened if need be.

        Args:
            until: see open().
        """
        pipe = self._pipe
        if pipe is not None and pipe.failure is None:
            return pipe
        opened: Pipe = self._opened("pipe", lambda: self._open_pipe(until))
        return opened

    def _open_pipe(self, until: float | None) -> Pipe:
        self._pipe = pipe = Pipe(self._connect(until), self._slots, self.lose_pipe)
        if self._is_closed:  # meanwhile
            self.lose_pipe(pipe, rx.ConnectionError(CLOSED), is_lost=False)
        return pipe

    def lose_pipe(self, pipe: Pipe, error: Exception, is_lost: bool = True) -> None:
        with self._guard:
            is_mine, self._pipe = self._pipe is pipe, None if self._pipe is pipe else self._pipe
        if is_mine:
            pipe.fail(error)
            if is_lost:
                self._count_lost()

    def block(self, always: bool = False) -> PooledConnection | None:
        """A connection that is going to block, and leaves `blocking` afterwards; None if enough connections block."""
        place = Place()
        with self._guard:
            if len(self.blocking) >= tuning.BLOCKING and not (always or self.is_hub_refused):
                return None
            self.blocking.add(place)
        for turn in range(tuning.BLOCK_TURNS):
            channel = self.calls.take(beyond=always or self.is_hub_refused)
            if channel is not None:
                self.blocking.add(channel)
                self.blocking.discard(place)
                return channel
            time.sleep(0.001 * (turn + 1 < tuning.BLOCK_TURNS))  # calls are short: one will be given back
        return None

    def open_hub(self, make: Callable[[Any], Hub]) -> Hub | None:
        """The connection to listen, opened if need be; None if the server does not let us listen."""
        hub = self.hub
        if hub is not None and hub.failure is None:
            return hub
        if self.is_hub_refused:
            return None
        opened: Hub | None = self._opened("hub", lambda: self._open_hub(make))
        return opened

    def _open_hub(self, make: Callable[[Any], Hub]) -> Hub | None:
        try:
            connection = self._connect(then=start_listening(), protocol=3)
        except rx.ResponseError as e:
            if protocol.is_elsewhere(e):
                raise rx.ConnectionError(str(e)) from e
            self.is_hub_refused = True
            return None
        self.hub = hub = make(connection)
        if self._is_closed:  # meanwhile
            hub.fail(rx.ConnectionError(CLOSED))
        return hub

    def _opened(self, name: str, make: Callable[[], Any]) -> Any:
        """What one thread makes for all that need it now: it is made once, and fails once."""
        mine: _Opening | None = None
        try:
            with self._guard:
                current = getattr(self, "_pipe" if name == "pipe" else "hub")
                if current is not None and current.failure is None:
                    return current
                opening = self._openings.get(name)
                if opening is None:
                    opening = mine = self._openings[name] = _Opening()
            if mine is not None:
                mine.made = make()
        except BaseException as e:
            if mine is not None:
                known = (rx.RedisError, OSError, *protocol.ERRORS)
                mine.error = e if isinstance(e, known) else rx.ConnectionError("interrupted")
            raise
        finally:
            if mine is not None:
                with self._guard:
                    self._openings.pop(name, None)
                mine.going_on.release()
        if mine is None:
            with opening.going_on:
                pass
            if opening.error is not None:
                raise opening.error
        return opening.made

    def ask(self, *words: Any, until: float | None = None) -> Any:
        """Send one command, and wait only shortly for the reply."""
        channel = self.calls.take(until=until)
        if channel is not None:
            return self._ask(channel, words, until)
        with self._asking:  # all are in use: one more for a moment
            try:
                channel = self.calls.take(beyond=True, until=until)
                assert channel is not None
                return self._ask(channel, words, until)
            finally:
                self.calls.shrink()

    def _ask(self, channel: PooledConnection, words: Sequence[Any], until: float | None) -> Any:
        try:
            channel.connection.send_command(*words)
            if not channel.connection.can_read(max(connect_timeout.end_of(tuning.ASK_S, until) - time.monotonic(), 0)):
                raise rx.TimeoutError(f"{self.where} does not answer")
            reply = channel.connection.read_response(disable_decoding=True)
        except rx.ResponseError:
            self.calls.give(channel)
            raise
        except protocol.BROKEN:
            self.calls.lose(channel)
            raise
        except BaseException:
            self.calls.drop(channel)
            raise
        self.calls.give(channel)
        return reply

    def close(self) -> None:
        self._is_closed = True
        self.calls.close()
        self.durable.close()
        if self._pipe is not None:
            self.lose_pipe(self._pipe, rx.ConnectionError(CLOSED), is_lost=False)
        if self.hub is not None:
            self.hub.fail(BrokenOff(f"{self.where} is not used any more"))
