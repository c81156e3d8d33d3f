"""Connections that one caller has to itself for a while."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import redis.exceptions as rx

from rqsqs._io import protocol, tuning
from rqsqs._io.protocol import CallSlot


class Taken(dict[int, weakref.ref[Any]]):
    """What callers have taken, by id(). A thing counts as long as something refers to it: a caller that is interrupted
    between two steps leaves nothing behind."""

    def add(self, thing: Any) -> None:
        key = id(thing)
        self[key] = weakref.ref(thing, functools.partial(self.pop, key))  # in C: no signal handler breaks it off

    def discard(self, thing: Any) -> None:
        self.pop(id(thing), None)

    def things(self) -> Iterator[Any]:
        return (thing for held in list(self.values()) if (thing := held()) is not None)


class Place:
    """Stands for a connection that is being opened."""


class PooledConnection:
    """A connection that one caller has to itself for a while.

    Attributes:
        pool: where it belongs.
        ask: sends a request and waits for its reply; see Direct.ask().
        slot: names its calls.
        rested_at: when it was last used, by time.monotonic().
        client_id: its number at the server; None if it was not asked for yet.
    """

    __slots__ = ("__weakref__", "ask", "client_id", "connection", "pool", "rested_at", "slot")

    def __init__(self, connection: Any, pool: Pool) -> None:
        self.connection = connection
        self.ask: Callable[[bytes], Any] = connection.ask
        self.pool: Any = pool
        self.slot = CallSlot()
        self.rested_at = 0.0
        self.client_id: int | None = None

    @property
    def is_sent(self) -> bool:
        """The request of ask() is on its way."""
        sent: bool = self.connection.is_sent
        return sent

    def load_and_ask(self, load: bytes, packed: bytes) -> Any:
        """Load a script, and ask again at once."""
        for turn in range(tuning.LOADS):
            self.connection.send_packed_command([load, packed], check_health=False)
            refusal: rx.ResponseError | None = None
            try:
                self.connection.read_response(disable_decoding=True)
            except rx.ResponseError as e:
                refusal = e
            try:
                return self.connection.read_response(disable_decoding=True)
            except rx.NoScriptError:
                if refusal is not None or turn == tuning.LOADS - 1:  # or it was flushed again
                    raise refusal or rx.NoScriptError("the script is flushed all the time") from None
        raise AssertionError


class Pool:
    """Connections for one caller at a time, in a deque: threads take and return them without a lock.

    Args:
        open: makes a connection; see Node.open() for its argument.
        most: how many connections there may be.
    """

    def __init__(self, open: Callable[[float | None], Any], most: int, lost: Callable[[], None]) -> None:
        self._open = open
        self._most = most
        self._lost = lost
        self._idle: deque[PooledConnection] = deque()
        self._own = Taken()
        self._guard = threading.Lock()
        self._is_closed = False

    def take(self, beyond: bool = False, until: float | None = None) -> PooledConnection | None:
        """A connection that looks healthy; None if all are in use.

        Args:
            beyond: open one beyond the limit.
            until: see Node.open().
        """
        while True:
            try:
                channel = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - channel.rested_at > tuning.IDLE_CHECK_S:
                try:
                    if channel.connection.can_read(0):  # nothing should come unasked
                        raise rx.ConnectionError("unexpected data")
                except protocol.BROKEN:
                    self.lose(channel)
                    continue
            if id(channel) in self._own:  # not dropped by an interrupted caller
                return channel
        place = Place()
        with self._guard:
            if len(self._own) >= self._most and not (beyond or self._is_closed):  # what was begun may end
                return None
            self._own.add(place)
        try:
            channel = PooledConnection(self._open(until), self)
            self._own.add(channel)
        finally:
            self._own.discard(place)
        return channel

    def give(self, channel: PooledConnection) -> None:
        if self._is_closed:
            self.drop(channel)
        else:
            channel.connection.is_sent = False
            channel.rested_at = time.monotonic()
            self._idle.append(channel)

    def drop(self, channel: PooledConnection) -> None:
        self._own.discard(channel)
        channel.connection.disconnect()

    def lose(self, channel: PooledConnection, error: BaseException | None = None) -> None:
        """Close it, as it broke."""
        self.drop(channel)
        self._lost()

    def refuse(self, channel: PooledConnection, error: rx.ResponseError) -> None:
        """Return it after a server refused a request."""
        if isinstance(error, rx.ReadOnlyError):  # a name may point elsewhere by now
            self.drop(channel)
        else:
            self.give(channel)

    def shrink(self) -> None:
        """Hang up what is beyond the limit."""
        with contextlib.suppress(IndexError):
            while len(self._own) > self._most:
                self.drop(self._idle.pop())

    def close(self) -> None:
        self._is_closed = True
        with contextlib.suppress(IndexError):
            while True:
                self.drop(self._idle.pop())
        for channel in self._own.things():  # those who use it, or wait on it, see that
            with contextlib.suppress(AttributeError, OSError):  # it is being opened, or broke
                channel.connection._sock.shutdown(socket.SHUT_RDWR)


class PatientPool(Pool):
    """A pool whose callers wait until a connection is free, or one cannot be opened in time: if each tried in turn, the
    last ones would hear of a silent server after very many timeouts."""

    def __init__(self, open: Callable[[float | None], Any], most: int, lost: Callable[[], None]) -> None:
        super().__init__(open, most, lost)
        self._returned = threading.Condition()
        self._silent_at, self._silence = 0.0, rx.TimeoutError()  # when one was not opened in time, and the error

    def take(self, beyond: bool = False, until: float | None = None) -> PooledConnection:
        """A connection, as soon as one is free."""
        since = time.monotonic()
        while True:
            try:
                channel = super().take(beyond, until)
            except rx.TimeoutError as e:
                self._silence, self._silent_at = type(e)(*e.args), time.monotonic()
                raise
            if channel is not None:
                return channel
            with self._returned:  # one that is returned without a notice is found after this
                self._returned.wait(tuning.RETURN_S)
            if self._silent_at > since:
                raise type(self._silence)(*self._silence.args)

    def give(self, channel: PooledConnection) -> None:
        super().give(channel)
        with self._returned:
            self._returned.notify()

    def drop(self, channel: PooledConnection) -> None:
        super().drop(channel)
        with self._returned:
            self._returned.notify()
