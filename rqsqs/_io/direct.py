"""Requests and replies straight over the socket of a connection that redis-py has opened.

redis-py connects, logs in, and knows what an error reply means. Between requests and socket it has several layers, and
its sockets have timeouts, with which Python polls before each write and each read. A call that takes the server a few
microseconds costs its client about a quarter less without both. So here the socket blocks, and the kernel knows the
limit (SO_RCVTIMEO): one call sends, one waits and reads.

A signal whose handler returns lets the limit of the kernel begin anew, so a timer with a shorter interval would let a
call wait for ever. If there is a handler for signals of timers, poll() keeps the limit instead.

Connections with TLS, with RESP3, on which messages come between the replies, and those whose sockets belong to another
library (gevent, eventlet) stay with redis-py.
"""

from __future__ import annotations

import select
import signal
import socket
import struct
from _signal import getsignal  # type: ignore[import-not-found]  # that of signal takes 30 times as long
from collections.abc import Sequence
from typing import Any

import hiredis
import redis.exceptions as rx

from rqsqs._io import protocol
from rqsqs._io.protocol import MORE

SILENT = "the server did not answer in time"
FULL = "the server did not take the request in time"
HUNG_UP = "the server closed the connection"
ALARM, PROFILE, DEFAULT = int(signal.SIGALRM), int(signal.SIGPROF), int(signal.SIG_DFL)
LONGEST_MS = 2**31 - 1  # of poll()


def has_timers() -> bool:
    """May signals of timers come, again and again?"""
    has: bool = getsignal(ALARM) != DEFAULT or getsignal(PROFILE) != DEFAULT
    return has


class Direct:
    """Added to a connection of redis-py, whose methods of the same names do the same until go_direct().

    Attributes:
        is_sent: the request of ask() is on its way.
    """

    is_sent = False
    _sock: Any
    _replies: hiredis.Reader | None = None  # as long as it is direct
    _readable: Any  # poll() waits for something to read

    def go_direct(self) -> None:
        """Read and write without redis-py from now on, if that can be done. Nothing may be left to read."""
        connection: Any = self
        kind = type(self._sock)
        is_plain = kind is socket.socket and kind.__module__ == "socket"  # not one that somebody has put in its place
        if not is_plain or str(connection.protocol) != "2" or not hasattr(select, "poll"):
            return
        seconds: float | None = connection.socket_timeout
        limit_us = 0 if seconds is None else max(round(seconds * 1e6), 1)  # 0 = none
        timeval = struct.pack("ll", limit_us // 1_000_000, limit_us % 1_000_000)
        self._sock.settimeout(None)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        self._read_size: int = connection._parser.socket_read_size
        self._readable = select.poll()
        self._readable.register(self._sock, select.POLLIN)
        self._replies = protocol.reader_of(self)

    def ask(self, packed: bytes) -> Any:
        """Send a request and wait for its reply.

        Raises:
            ResponseError: the server refuses it.
            ConnectionError, TimeoutError, OSError: the connection is of no use any more.
        """
        self.is_sent = False
        replies, sock = self._replies, self._sock
        if replies is None:
            self.send_packed_command([packed], check_health=False)
            self.is_sent = True
            return self.read_response(disable_decoding=True)
        try:
            if getsignal(ALARM) != DEFAULT or getsignal(PROFILE) != DEFAULT:  # has_timers(), without a frame
                self._send_rest(packed, 0)
                self.is_sent = True
                self._await(select.POLLIN)
            else:
                sent = sock.send(packed)
                if sent < len(packed):
                    self._send_rest(packed, sent)
                self.is_sent = True
            replies.feed(sock.recv(self._read_size))
        except BlockingIOError:
            raise rx.TimeoutError(SILENT if self.is_sent else FULL) from None
        reply = replies.gets(False)
        if reply is MORE or isinstance(reply, Exception):
            return self._rest_of(reply)
        return reply

    def send_packed_command(self, command: Sequence[bytes], check_health: bool = True) -> None:
        """As that of redis-py."""
        if self._replies is None:
            connection: Any = super()
            connection.send_packed_command(command, check_health)
            return
        try:
            self._send_rest(command[0] if len(command) == 1 else b"".join(command), 0)
        except BlockingIOError:
            raise rx.TimeoutError(FULL) from None

    def read_response(self, *args: Any, **options: Any) -> Any:
        """As that of redis-py."""
        if self._replies is None:
            connection: Any = super()
            return connection.read_response(*args, **options)
        reply = self._replies.gets(False)
        return self._rest_of(reply) if reply is MORE or isinstance(reply, Exception) else reply

    def can_read(self, timeout: float = 0) -> bool:
        """Is there something to read within that time (seconds)? It is read already, and read_response() finds it: who
        waits for long wants it soon.

        Raises:
            ConnectionError: the server closed it.
        """
        if self._replies is None:
            connection: Any = super()
            found: bool = connection.can_read(timeout)
            return found
        if self._replies.has_data():
            return True
        if not self._readable.poll(timeout * 1000):
            return False
        self._take_in(is_there=True)
        return True

    def disconnect(self, *args: Any) -> None:
        """As that of redis-py."""
        self._replies = None
        connection: Any = super()
        connection.disconnect(*args)

    def _send_rest(self, packed: bytes, sent: int) -> None:
        """Send what is left of a request.

        Raises:
            BlockingIOError: the server took nothing of it in time.
        """
        left = memoryview(packed)[sent:]
        while left:
            flags = 0
            if has_timers():
                self._await(select.POLLOUT)
                flags = socket.MSG_DONTWAIT
            left = left[self._sock.send(left, flags) :]

    def _await(self, event: int) -> None:
        """Wait within the limit, also if signals come meanwhile.

        Raises:
            BlockingIOError: it is over.
        """
        connection: Any = self
        seconds: float | None = connection.socket_timeout
        poll = select.poll()
        poll.register(self._sock, event)
        if not poll.poll(None if seconds is None else min(seconds * 1000, LONGEST_MS)):
            raise BlockingIOError

    def _rest_of(self, reply: Any) -> Any:
        """The reply, of which MORE may have to be read, or that refuses the request."""
        replies = self._replies
        assert replies is not None
        while reply is MORE:
            self._take_in()
            reply = replies.gets(False)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _take_in(self, is_there: bool = False) -> None:
        """Read what has come, or will come."""
        try:
            if not is_there and has_timers():
                self._await(select.POLLIN)
            data = self._sock.recv(self._read_size)
        except BlockingIOError:
            raise rx.TimeoutError(SILENT) from None
        if not data:
            raise rx.ConnectionError(HUNG_UP)
        assert self._replies is not None
        self._replies.feed(data)
