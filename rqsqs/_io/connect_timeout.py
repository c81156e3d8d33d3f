"""One time limit for everything until a server has answered: looking up its name, connecting to each of its addresses,
TLS, login and the first question.

The limits of redis-py are for one step each, and start again with every address and every byte that comes.
"""

from __future__ import annotations

import functools
import math
import socket
import threading
import time
from typing import Any

from rqsqs._io import protocol
from rqsqs._io.direct import Direct


def end_of(seconds: float | None, until: float | None) -> float:
    """The earlier one of two limits, by time.monotonic()."""
    return min(math.inf if seconds is None else time.monotonic() + seconds, math.inf if until is None else until)


def no_answer(seconds: float | None, is_connected: bool) -> protocol.NoAnswer:
    """What to raise when the time is over."""
    happened = (
        "it accepted the connection, and its answers did not come" if is_connected else "no connection came about"
    )
    return protocol.NoAnswer(happened if seconds is None else f"{happened} within {seconds:g} s")


class _LimitedSocket:
    """A socket with one time limit for all that is sent and received. The rest is that of the real socket."""

    def __init__(self, sock: Any, until: float) -> None:
        self.real = sock
        self._until = until

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def sendall(self, data: bytes) -> None:
        self.real.settimeout(_left(self._until))
        self.real.sendall(data)

    def recv(self, most: int) -> Any:
        self.real.settimeout(_left(self._until))
        return self.real.recv(most)

    def recv_into(self, buffer: Any) -> Any:
        self.real.settimeout(_left(self._until))
        return self.real.recv_into(buffer)


class _Limited:
    """Added to a connection of redis-py."""

    has_connected = False
    _until: float | None = None
    _each_s = 0.0  # for each address: if packets to one are lost, the next one may answer
    _socket_timeout: float | None
    _socket_connect_timeout: float | None

    def limit_until(self, until: float) -> None:
        """Set the limit, by time.monotonic(); infinity = there is none."""
        self._until = None if math.isinf(until) else until

    def lift_limit(self) -> None:
        """The server has answered: go back to the ordinary limits."""
        if self._until is not None:
            self._until = None
            connection: Any = self
            connection._sock = connection._parser._sock = connection._sock.real
            connection._parser._socket_timeout = self._socket_timeout
            connection._sock.settimeout(self._socket_timeout)

    @property
    def socket_timeout(self) -> float | None:
        """Seconds; redis-py reads this before TLS and before the login."""
        return self._socket_timeout if self._until is None else _left(self._until)

    @socket_timeout.setter
    def socket_timeout(self, seconds: float | None) -> None:
        self._socket_timeout = seconds

    @property
    def socket_connect_timeout(self) -> float | None:
        return self._socket_connect_timeout if self._until is None else min(self._each_s, _left(self._until))

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, seconds: float | None) -> None:
        self._socket_connect_timeout = seconds

    def _connect(self) -> Any:
        connection: Any = super()
        if self._until is None:
            return connection._connect()
        host = getattr(self, "host", None)
        count = 1 if host is None else _addresses(host, _left(self._until))
        self._each_s = _left(self._until) / count
        sock = _LimitedSocket(connection._connect(), self._until)
        self.has_connected = True
        return sock


class _LimitedAsync:
    """The same for asyncio, whose limits are set outside."""

    has_connected = False

    async def _connect(self) -> None:
        connection: Any = super()
        await connection._connect()
        self.has_connected = True


@functools.cache
def limited(kind: type[Any], is_async: bool) -> type[Any]:
    """The same kind of connection, with a limit for connecting; the sync one can go direct then."""
    return type(kind.__name__, (_LimitedAsync, kind) if is_async else (_Limited, Direct, kind), {})


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _addresses(host: str, seconds: float) -> int:
    """How many addresses a host has. A look-up cannot be interrupted, so another thread waits for it."""
    try:
        return len(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except OSError:  # it is a name
        pass
    found = [1]  # if it fails: redis-py says how
    thread = threading.Thread(target=lambda: found.append(_count(host)), name="rqsqs-look-up", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"the name {host} was not resolved")
    return found[-1]


def _count(host: str) -> int:
    try:
        return len(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return 1
