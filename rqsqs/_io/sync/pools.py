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
        """It was taken."""
        key = id(thing)
        self[key] = weakref.ref(thing, functools.partial(self.pop, key))  # in C: no signal handler breaks it off

    def discard(self, thing: Any) -> None:
        """It was returned."""
        self.pop(id(thing), None)

    def things(self) -> Iterator[Any]:
        """What is taken."""
        return (thing for held in list(self.values()) if (thing := held()) is not None)


class Place:
    """Stands for a connection that is being opened."""


class Line:
    """A connection that one caller has to itself for a while.

    Attributes:
        pool: where it belongs.
        slot: names its calls.
        is_sent: the request of ask() is on its way.
        rested_at: when it was last used, by time.monotonic().
        client_id: its number at the server; None if it was not asked for yet.
    """

    __slots__ = ("__weakref__", "client_id", "connection", "is_sent", "pool", "rested_at", "slot")

    def __init__(self, connection: Any, pool: Pool) -> None:
        self.connection = connection
        self.pool: Any = pool
        self.slot = CallSlot()
        self.is_sent = False
        self.rested_at = 0.0
        self.client_id: int | None = None

    def ask(self, packed: bytes) -> Any:
        """Send a request and read the answer."""
        self.is_sent = False
        self.connection.send_packed_command([packed], check_health=False)
        self.is_sent = True
        return self.connection.read_response(disable_decoding=True)

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
        self._idle: deque[Line] = deque()
        self._own = Taken()
        self._guard = threading.Lock()
        self._is_closed = False

    def take(self, beyond: bool = False, until: float | None = None) -> Line | None:
        """A connection that looks healthy; None if all are in use.

        Args:
            beyond: open one beyond the limit.
            until: see Node.open().
        """
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - line.rested_at > tuning.IDLE_CHECK_S:
                try:
                    if line.connection.can_read(0):  # nothing should come unasked
                        raise rx.ConnectionError("unexpected data")
                except protocol.BROKEN:
                    self.lose(line)
                    continue
            if id(line) in self._own:  # not dropped by an interrupted caller
                return line
        place = Place()
        with self._guard:
            if len(self._own) >= self._most and not (beyond or self._is_closed):  # what was begun may end
                return None
            self._own.add(place)
        try:
            line = Line(self._open(until), self)
            self._own.add(line)
        finally:
            self._own.discard(place)
        return line

    def give(self, line: Line) -> None:
        """Return it for others to use."""
        if self._is_closed:
            self.drop(line)
        else:
            line.is_sent = False
            line.rested_at = time.monotonic()
            self._idle.append(line)

    def drop(self, line: Line) -> None:
        """Close it for good."""
        self._own.discard(line)
        line.connection.disconnect()

    def lose(self, line: Line, error: BaseException | None = None) -> None:
        """Close it, as it broke."""
        self.drop(line)
        self._lost()

    def refuse(self, line: Line, error: rx.ResponseError) -> None:
        """Return it after a server refused a request."""
        if isinstance(error, rx.ReadOnlyError):  # a name may point elsewhere by now
            self.drop(line)
        else:
            self.give(line)

    def shrink(self) -> None:
        """Hang up what is beyond the limit."""
        with contextlib.suppress(IndexError):
            while len(self._own) > self._most:
                self.drop(self._idle.pop())

    def close(self) -> None:
        """Hang up."""
        self._is_closed = True
        with contextlib.suppress(IndexError):
            while True:
                self.drop(self._idle.pop())
        for line in self._own.things():  # those who use it, or wait on it, see that
            with contextlib.suppress(AttributeError, OSError):  # it is being opened, or broke
                line.connection._sock.shutdown(socket.SHUT_RDWR)


class PatientPool(Pool):
    """A pool whose callers wait until a connection is free."""

    def __init__(self, open: Callable[[float | None], Any], most: int, lost: Callable[[], None]) -> None:
        super().__init__(open, most, lost)
        self._returned = threading.Condition()

    def take(self, beyond: bool = False, until: float | None = None) -> Line:
        """A connection, as soon as one is free."""
        while (line := super().take(beyond, until)) is None:
            with self._returned:  # one that is returned without a notice is found after this
                self._returned.wait(tuning.RETURN_S)
        return line

    def give(self, line: Line) -> None:
        """Return it for others to use."""
        super().give(line)
        with self._returned:
            self._returned.notify()

    def drop(self, line: Line) -> None:
        """Close it for good."""
        super().drop(line)
        with self._returned:
            self._returned.notify()
