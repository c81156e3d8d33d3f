"""One thread reads from a TLS connection while others write: OpenSSL does one thing at a time."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from rqsqs._io import protocol
from rqsqs._io.sync.pipes import Pipe
from rqsqs._io.tls import SharedSocket


class Alone:
    """As a TLS socket: nobody else may use it at the same time."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self._busy = threading.Lock()
        self.looked = threading.Event()
        for name in ("fileno", "gettimeout", "settimeout"):
            setattr(self, name, getattr(real, name))

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        assert self._busy.acquire(blocking=False), "two at the same time"
        try:
            yield
        finally:
            self._busy.release()

    def recv_into(self, buffer: Any) -> int:
        with self._used():
            try:
                return self._real.recv_into(buffer)
            except TimeoutError:
                raise
            except BlockingIOError:
                raise ssl.SSLWantReadError from None
            finally:
                self.looked.set()

    def send(self, data: memoryview) -> int:
        with self._used():
            try:
                return self._real.send(data)
            except TimeoutError:
                raise
            except BlockingIOError:
                raise ssl.SSLWantWriteError from None


@pytest.fixture
def ends() -> Iterator[tuple[SharedSocket, Alone, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    theirs.settimeout(60)
    alone = Alone(ours)
    yield SharedSocket(alone), alone, theirs
    ours.close()
    theirs.close()


def test_a_thread_that_waits_for_an_answer_lets_others_write(
    ends: tuple[SharedSocket, Alone, socket.socket],
) -> None:
    shared, alone, server = ends
    got: list[int] = []
    buffer = bytearray(10)
    reader = threading.Thread(target=lambda: got.append(shared.recv_into(buffer)))
    reader.start()
    assert alone.looked.wait(60)  # and nothing was there
    shared.sendall(b"request")
    assert server.recv(10) == b"request"
    server.sendall(b"answer")
    reader.join(60)
    assert got == [6]
    assert buffer[:6] == b"answer"


def test_a_thread_whose_request_is_not_taken_lets_others_read(
    ends: tuple[SharedSocket, Alone, socket.socket],
) -> None:
    """The server takes no more before somebody has read its answer."""
    shared, _, server = ends
    request = bytes(range(256)) * 40_000  # more than the network holds
    writer = threading.Thread(target=shared.sendall, args=(request,), daemon=True)
    writer.start()
    got = server.recv(65_536)
    server.sendall(b"answer")
    buffer = bytearray(10)
    assert shared.recv_into(buffer) == 6  # while the other one still writes
    assert writer.is_alive()
    while len(got) < len(request):
        got += server.recv(1_000_000)
    writer.join(30)
    assert got == request


def test_what_is_not_taken_in_time_is_an_error(ends: tuple[SharedSocket, Alone, socket.socket]) -> None:
    shared, _, _ = ends
    shared.settimeout(0.05)
    with pytest.raises(TimeoutError):
        shared.sendall(bytes(10_000_000))


def test_what_does_not_come_in_time_is_an_error(ends: tuple[SharedSocket, Alone, socket.socket]) -> None:
    shared, alone, _ = ends
    shared.settimeout(0.05)
    with pytest.raises(TimeoutError):
        shared.recv_into(bytearray(10))
    assert alone.gettimeout() == 0.05


def test_threads_that_read_and_write_take_turns(ends: tuple[SharedSocket, Alone, socket.socket]) -> None:
    shared, _, server = ends
    count, size = 500, 100
    stop = threading.Event()

    owed: SimpleQueue[bytes] = SimpleQueue()  # as Redis does: it reads on, whoever does not take its answers

    def read() -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                owed.put(server.recv(65_536))

    def echo() -> None:
        with contextlib.suppress(OSError, Empty):
            while not stop.is_set():
                server.sendall(owed.get(timeout=60))

    def write() -> None:
        for _ in range(count):
            shared.sendall(b"x" * size)

    threads = [threading.Thread(target=work, daemon=True) for work in (read, echo, write, write)]
    for thread in threads:
        thread.start()
    left, buffer = 2 * count * size, bytearray(1000)
    while left:
        left -= shared.recv_into(buffer)  # two at the same time is an error here, or an answer that never comes
    for thread in threads[2:]:
        thread.join(60)
    stop.set()


def test_connections_that_threads_share_are_used_so() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    ours, theirs = socket.socketpair()
    with theirs, context.wrap_socket(ours, do_handshake_on_connect=False) as sock:
        connection = SimpleNamespace(_sock=sock, _parser=SimpleNamespace(_sock=sock))
        Pipe(connection, protocol.CallSlots(), lambda *_: None)
        assert isinstance(connection._sock, SharedSocket)
        assert connection._parser._sock is connection._sock
