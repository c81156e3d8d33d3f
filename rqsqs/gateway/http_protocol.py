"""uvicorn's HTTP protocol with the limits that it lacks: on headers, on the time they take, on connections. And a
response is written at once, not its head and its body one after the other."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_BYTES = 64 * 1024
HEADER_FIELDS = 200
HEADERS_WITHIN_S = 10.0
MOST_CONNECTIONS = 10_000


class LimitedProtocol(HttpToolsProtocol):
    """One connection.

    Between two requests it may be idle as long as uvicorn says (keep-alive); from its first byte on, and from the
    beginning of the connection, a request has HEADERS_WITHIN_S for its headers.
    """

    _timer: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _cycles: tuple[Any, ...] = ()  # requests that are not answered yet, pipelined ones included
    _in_headers = False

    def connection_made(self, transport: Any) -> None:
        """Refuse it if there are too many."""
        super().connection_made(transport)
        self._tell()
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(b"503 Service Unavailable")
            return
        self._in_headers = True
        self._timer = self.loop.call_later(HEADERS_WITHIN_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_timer()
        super().connection_lost(exc)
        self._tell()

    def data_received(self, data: bytes) -> None:
        """Count what headers take."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self._in_headers = True  # of another request
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if not self._in_headers:
            return
        if self._header_bytes > HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(HEADERS_WITHIN_S, self._too_slow)

    def on_message_begin(self) -> None:
        """Another request, perhaps behind the last one in the same packet."""
        super().on_message_begin()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        """The headers are there."""
        self._stop_timer()
        self._in_headers, self._header_bytes = False, 0
        if len(self.headers) > HEADER_FIELDS:
            self._refuse(b"431 Request Header Fields Too Large")
        if not self.transport.is_closing():
            super().on_headers_complete()
            self.cycle.transport = _Joining(self.transport, self.cycle)  # type: ignore[assignment]
            self._cycles = (*[each for each in self._cycles if not each.response_complete], self.cycle)

    def on_body(self, body: bytes) -> None:
        """Nothing, if the request was refused."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing, if the request was refused."""
        if not self.transport.is_closing():
            super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more was asked; what the client has not read by now it does not get."""
        self.transport.abort()

    def eof_received(self) -> None:
        """The client sends no more, and the connection is closed by that."""
        self._forsake()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._forsake()
        super().send_400_response(msg)

    def _tell(self) -> None:
        counts = getattr(self.config.app, "counts", None)
        if counts is not None:
            counts.set_connections(len(self.connections))

    def _forsake(self) -> None:
        """Let the answers that are due go nowhere: the connection is about to be closed."""
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()

    def _too_slow(self) -> None:
        self._refuse(b"408 Request Timeout")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: bytes) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self._forsake()
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()


class _Joining:
    """What the response to a request is written to. A head that says how long its body is waits for the begin of the
    body: each write costs a good part of what a whole request does.

    Args:
        transport: of the connection.
        cycle: the request.
    """

    __slots__ = ("_cycle", "_head", "_respond", "_transport")

    def __init__(self, transport: Any, cycle: Any) -> None:
        self._transport, self._cycle = transport, cycle
        self._head = b""
        self._respond, cycle.on_response = cycle.on_response, self._end

    def write(self, data: bytes) -> None:
        """Write, or keep the head."""
        if self._cycle is None:
            self._transport.write(data)
        elif self._head:
            data, self._head, self._cycle = self._head + data, b"", None
            self._transport.write(data)
        elif self._cycle.response_started and not self._cycle.chunked_encoding:
            self._head = data
        else:  # 100 Continue, or the head of a stream
            self._transport.write(data)

    def close(self) -> None:
        """Write what was kept, and close."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Is the connection about to end?"""
        closing: bool = self._transport.is_closing()
        return closing

    def _end(self) -> None:
        self._flush()
        self._respond()

    def _flush(self) -> None:
        head, self._head, self._cycle = self._head, b"", None  # which has this: together they would stay in memory
        if head and not self._transport.is_closing():
            self._transport.write(head)
