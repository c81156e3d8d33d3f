"""A connection on which requests of many threads follow each other."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import redis.exceptions as rx

from rqsqs._io import protocol, tls, tuning
from rqsqs._io.protocol import CallSlot

T = TypeVar("T")


def exchange(connection: Any, steps: Generator[list[bytes], list[Any], T], timeout: float | None = None) -> T:
    """Send what a generator yields, and send it the replies, of which each may be an exception.

    Args:
        timeout: seconds for each reply; None = that of the connection.
    """
    try:
        commands = next(steps)
        while True:
            connection.send_packed_command([b"".join(commands)], check_health=False)
            replies: list[Any] = []
            for _ in commands:
                if timeout is not None and not connection.can_read(timeout):
                    raise rx.TimeoutError("no answer in time")
                try:
                    replies.append(connection.read_response(disable_decoding=True))
                except rx.ResponseError as e:
                    replies.append(e)
            commands = steps.send(replies)
    except StopIteration as end:
        result: T = end.value
        return result


class PipeTurn:
    """A call's turn on a pipe; as PooledConnection."""

    __slots__ = ("pool", "slot")

    is_sent = True  # as far as one can tell

    def __init__(self, pipe: Pipe, slot: CallSlot) -> None:
        self.pool: Any = pipe
        self.slot = slot

    @property
    def connection(self) -> Any:
        return self.pool.connection

    def ask(self, packed: bytes) -> Any:
        return self.pool.ask(packed)

    def load_and_ask(self, load: bytes, packed: bytes) -> Any:
        for _ in range(tuning.LOADS - 1):
            self.pool.ask(load)
            with contextlib.suppress(rx.NoScriptError):  # flushed again
                return self.pool.ask(packed)
        self.pool.ask(load)
        return self.pool.ask(packed)


class Pipe:
    """A connection on which requests of many threads follow each other. Each thread reads its own answer, then the next
    one has its turn.

    Args:
        slots: for its calls.
        lost: called when it broke (True), or must not be used any more (False).
    """

    def __init__(
        self, connection: Any, slots: protocol.CallSlots, lost: Callable[[Pipe, Exception, bool], None]
    ) -> None:
        tls.share(connection)
        self.connection = connection
        self.failure: BaseException | None = None
        self._slots = slots
        self._lost = lost
        self._guard = threading.Lock()
        self._turns: deque[threading.Lock] = deque()  # of those who wait for an answer; the first one reads

    def turn(self) -> PipeTurn:
        return PipeTurn(self, self._slots.take())

    def give(self, channel: PipeTurn) -> None:
        self._slots.give(channel.slot)

    def drop(self, channel: PipeTurn) -> None:
        """Its call was interrupted, which the pipe has noticed."""

    def lose(self, channel: PipeTurn, error: Exception) -> None:
        self._lost(self, error, True)

    def refuse(self, channel: PipeTurn, error: rx.ResponseError) -> None:
        self.give(channel)
        if isinstance(error, rx.ReadOnlyError):  # a name may point elsewhere by now
            self._lost(self, error, False)

    def ask(self, packed: bytes) -> Any:
        """Send a request and wait for its answer.

        Raises:
            ConnectionError, TimeoutError: it broke, for all callers.
        """
        turn = threading.Lock()
        since = time.monotonic()
        try:
            with self._guard:
                if self.failure is not None:
                    raise rx.ConnectionError(str(self.failure))
                self.connection.send_packed_command([packed], check_health=False)
                if self._turns:
                    turn.acquire()
                self._turns.append(turn)
            turn.acquire()
            if self.failure is not None:
                raise self._error_of(since)
            try:
                reply = self.connection.read_response(disable_decoding=True)
            except rx.ResponseError as e:
                reply = e
            with self._guard:
                if self._turns:
                    self._turns.popleft()
                if self._turns:
                    self._turns[0].release()
        except BaseException as e:  # it is not known any more which answer belongs to which call
            is_hung_up = self.failure is not None and isinstance(e, Exception)
            self.fail(e)
            if is_hung_up and not isinstance(e, rx.RedisError):
                raise rx.ConnectionError(str(self.failure)) from e
            raise
        if isinstance(reply, rx.ResponseError):
            raise reply
        return reply

    def _error_of(self, since: float) -> rx.RedisError:
        """The error for a caller that has waited since then. One that has not waited for long may ask again."""
        timeout = self.connection.socket_timeout
        is_silent = isinstance(self.failure, rx.TimeoutError) and timeout is not None
        if is_silent and time.monotonic() - since >= timeout / 2:
            return rx.TimeoutError(str(self.failure))
        return rx.ConnectionError(str(self.failure))

    def fail(self, error: BaseException) -> None:
        """Close it for all callers."""
        with self._guard:
            if self.failure is None:
                self.failure = error
            while self._turns:  # also if the thread that was about to do so was interrupted
                turn = self._turns.popleft()
                with contextlib.suppress(RuntimeError):  # it is reading
                    turn.release()
        self.connection.disconnect()
