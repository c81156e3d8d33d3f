"""A connection on which requests of many tasks follow each other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import hiredis
import redis.exceptions as rx

from rqsqs._core.operation import Operation
from rqsqs._io import protocol
from rqsqs._io.counters import Counters
from rqsqs._io.protocol import CallSlot

GiveBack = Callable[[Operation, Any], None]  # an operation that nobody waits for any more, and its reply; see Caller

_PUSHED = getattr(hiredis, "PushNotification", None)  # what nobody asked for (RESP3); hiredis 3.0 has no type for it
READ = 262_144  # bytes read at once
HIGH_WATER = 65_536  # bytes that wait to be sent, beyond which senders wait

T = TypeVar("T")


async def exchange(connection: Any, steps: Generator[list[bytes], list[Any], T]) -> T:
    """Send what a generator yields, and send it the replies, of which each may be an exception."""
    try:
        commands = next(steps)
        while True:
            commands = steps.send(await replies_to(connection, commands))
    except StopIteration as end:
        result: T = end.value
        return result


async def replies_to(connection: Any, commands: list[bytes]) -> list[Any]:
    """The replies to commands, errors among them."""
    await connection.send_packed_command(commands, check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response(disable_decoding=True))
        except rx.ResponseError as e:
            replies.append(e)
    return replies


class Pipe:
    """One connection on which requests of many tasks follow each other.

    Args:
        timeout: seconds that the server may be silent while it owes an answer; None = for ever. It starts again
            with each answer: the last of many large ones may take longer.

    Attributes:
        slots: for its calls.
        buffered: how many bytes wait to be sent; drain() is due when they are many.
    """

    def __init__(self, connection: Any, counters: Counters, give_back: GiveBack, timeout: float | None) -> None:
        self.connection = connection
        self.counters = counters
        self.give_back = give_back
        self.slots = protocol.CallSlots()
        self.pending: deque[tuple[asyncio.Future[Any], Operation | None, CallSlot | None, float]] = deque()
        self.failure: Exception | None = None
        self._timeout = timeout
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.buffered: Callable[[], int] = connection._writer.transport.get_write_buffer_size
        self._reader = protocol.reader_of(connection)
        self.reader = asyncio.create_task(self._read())

    def ask(
        self, packed: bytes, operation: Operation | None = None, slot: CallSlot | None = None
    ) -> asyncio.Future[Any]:
        """Send a request; the answer comes as the result. A task that is cancelled meanwhile calls not_wanted().

        Args:
            slot: that of the call.

        Raises:
            ConnectionError: it broke, for all callers; also as the answer.
            TimeoutError: the same, only as the answer, if none came in time.
        """
        writer = self.connection._writer
        if self.failure is not None or writer is None:
            raise self.failure or rx.ConnectionError("the connection is closed")
        answer: asyncio.Future[Any] = self._loop.create_future()
        now = time.monotonic()
        if not self.pending:
            self._heard = now
        self.pending.append((answer, operation, slot, now))
        if self._watch is None and self._timeout is not None:
            self._watch = self._loop.call_later(self._timeout, self._check)
        writer.write(packed)
        return answer

    def ask_at_once(self, packed: list[bytes]) -> list[asyncio.Future[Any]]:
        """Send several requests together."""
        return [self.ask(b"".join(packed)), *[self.ask(b"") for _ in packed[1:]]]

    def not_wanted(self, answer: asyncio.Future[Any], operation: Operation, slot: CallSlot) -> None:
        """The task that waited for an answer was cancelled. The answer may have come, or have been lost, in the same
        turn of the loop: then it is given back here."""
        if answer.cancel() or answer.cancelled():
            return
        error = answer.exception()
        if error is None or isinstance(error, protocol.BROKEN):
            self.give_back(operation, answer.result() if error is None else slot)

    async def drain(self) -> None:
        """Wait until the buffer is small again."""
        try:
            await self.connection._writer.drain()
        except OSError as e:
            self._break(e)

    def _check(self) -> None:
        """Has the server been silent for too long?"""
        self._watch = None
        if not self.pending or self._timeout is None:
            return
        left = self._heard + self._timeout - time.monotonic()
        if left > 0:
            self._watch = self._loop.call_later(left, self._check)
            return
        self._break(rx.TimeoutError("no answer in time"))
        self.reader.cancel()

    async def _read(self) -> None:
        stream, reader, pending = self.connection._reader, self._reader, self.pending
        try:
            while True:
                data = await stream.read(READ)
                if not data:
                    raise rx.ConnectionError("Connection closed by server.")
                self._heard = time.monotonic()
                reader.feed(data)
                while (reply := reader.gets(False)) is not protocol.MORE:
                    if type(reply) is _PUSHED:
                        continue
                    if isinstance(reply, rx.ConnectionError):
                        raise reply
                    answer, operation, _, _ = pending.popleft()
                    if answer.cancelled():
                        if operation is not None and not isinstance(reply, Exception):
                            self.give_back(operation, reply)
                    elif isinstance(reply, Exception):
                        answer.set_exception(reply)
                    else:
                        answer.set_result(reply)
        except (rx.RedisError, OSError, IndexError, hiredis.HiredisError) as e:
            self._break(e)
        except asyncio.CancelledError:
            self._fail(rx.ConnectionError(protocol.CLOSED))
            raise
        except BaseException as e:  # a signal handler's, or a bug: those who wait must hear of it
            self._break(rx.ConnectionError(f"reading was broken off: {e!r:.200}"))
            raise
        finally:
            if self._watch is not None:
                self._watch.cancel()
            await self.connection.disconnect(nowait=True)

    def _break(self, error: Exception) -> None:
        if self.failure is None:
            self.counters.count("connections_lost")
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failure = rx.ConnectionError(str(error))
        is_silent = isinstance(error, rx.TimeoutError) and self._timeout is not None
        late = time.monotonic() - (self._timeout or 0) / 2
        while self.pending:
            answer, operation, slot, since = self.pending.popleft()
            if answer.cancelled():
                if operation is not None and slot is not None:
                    self.give_back(operation, slot)
            elif not answer.done():  # a call that has not waited for long is tried again
                kind = rx.TimeoutError if is_silent and since <= late else rx.ConnectionError
                answer.set_exception(kind(str(error)))

    async def answered(self) -> None:
        """Wait for the answers, also those that nobody wants any more: what they hand out is given back."""
        if self.pending:
            try:
                async with asyncio.timeout(2):
                    await self.ask(protocol.command("PING"))  # the last one
            except TimeoutError:
                self._fail(rx.ConnectionError(protocol.CLOSED))
            except (*protocol.BROKEN, rx.ResponseError):
                pass

    async def close(self) -> None:
        """Wait for the answers, then hang up."""
        await self.answered()
        self.reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.reader
        await self.connection.disconnect()
