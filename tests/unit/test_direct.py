"""Requests and replies straight over the socket of a connection that redis-py has opened."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis.exceptions as rx
from redis.connection import Connection

from rqsqs._io import direct
from rqsqs._io.connect_timeout import limited

ERRORS = {rx.NoScriptError: "NOSCRIPT", rx.ReadOnlyError: "READONLY", rx.BusyLoadingError: "LOADING"}
LARGE = 8 << 20  # more than a socket takes at once


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture(params=["the kernel keeps the limit", "poll() keeps the limit"])
def server(request: pytest.FixtureRequest, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    monkeypatch.setattr(direct, "getsignal", lambda number: int("poll" in request.param))  # pytest may have one
    return listener


@contextlib.contextmanager
def connected(
    server: socket.socket, timeout: float | None = 60, protocol: int = 2
) -> Iterator[tuple[Any, socket.socket]]:
    host, port = server.getsockname()
    kind = limited(Connection, is_async=False)
    connection = kind(host=host, port=port, socket_timeout=timeout, protocol=protocol)
    connection._sock = connection._connect()
    connection._parser.on_connect(connection)
    connection.go_direct()
    theirs, _ = server.accept()
    with theirs:
        yield connection, theirs
    connection.disconnect()


def received(theirs: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        data += theirs.recv(1 << 20)
    return bytes(data)


def test_a_request_has_its_reply(server: socket.socket) -> None:
    with connected(server) as (connection, theirs):
        assert connection._sock.gettimeout() is None  # the kernel knows the limit
        theirs.sendall(b"$5\r\nreply\r\n")
        assert connection.ask(b"request") == b"reply"
        assert connection.is_sent
        assert received(theirs, 7) == b"request"
        assert not connection.can_read(0)
        theirs.sendall(b":1\r\n")
        assert connection.can_read(60)
        assert connection.read_response(disable_decoding=True) == 1


def test_several_requests_follow_each_other(server: socket.socket) -> None:
    with connected(server) as (connection, theirs):
        connection.send_packed_command([b"one", b"two"], check_health=False)
        assert received(theirs, 6) == b"onetwo"
        theirs.sendall(b":1\r\n-ERR no\r\n*2\r\n:3\r\n$-1\r\n")
        assert connection.read_response(disable_decoding=True) == 1
        with pytest.raises(rx.ResponseError, match="no"):
            connection.read_response(disable_decoding=True)
        assert connection.can_read(0)
        assert connection.read_response(disable_decoding=True) == [3, None]
        assert not connection.can_read(0)


def test_what_was_read_ahead_is_found(server: socket.socket) -> None:
    with connected(server) as (connection, theirs):
        assert not connection.can_read(0)
        theirs.sendall(b":1\r\n:2\r\n")
        assert connection.can_read(60)
        assert connection.read_response(disable_decoding=True) == 1
        assert connection.can_read(0)
        assert connection.read_response(disable_decoding=True) == 2
        assert not connection.can_read(0)
        theirs.close()
        with pytest.raises(rx.ConnectionError, match="closed"):
            connection.can_read(60)


def test_large_requests_and_replies_arrive_whole(server: socket.socket) -> None:
    request = bytes(range(256)) * (LARGE // 256)
    with connected(server) as (connection, theirs):

        def answer() -> None:
            assert received(theirs, LARGE) == request
            theirs.sendall(b"$%d\r\n%b\r\n" % (LARGE, request))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert connection.ask(request) == request
        thread.join(60)


def test_an_error_is_that_of_redis_py(server: socket.socket) -> None:
    with connected(server) as (connection, theirs):
        for error, kind in ERRORS.items():
            theirs.sendall(f"-{kind} it is\r\n".encode())
            with pytest.raises(error):
                connection.ask(b"x")


def test_a_server_that_does_not_answer_in_time(server: socket.socket) -> None:
    with connected(server, timeout=0.01) as (connection, _):
        with pytest.raises(rx.TimeoutError, match="did not answer"):
            connection.ask(b"x")
        assert connection.is_sent
        with pytest.raises(rx.TimeoutError, match="did not take"):
            connection.ask(bytes(10 * LARGE))
        assert not connection.is_sent  # not all of it


@pytest.mark.parametrize("request_size", [1, 10 * LARGE])
def test_a_timer_does_not_let_the_limit_begin_anew(listener: socket.socket, request_size: int) -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        with connected(listener, timeout=0.3) as (connection, theirs):
            hang_up = threading.Timer(30, theirs.close)  # if it waits for ever
            hang_up.start()
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            with pytest.raises(rx.TimeoutError):
                connection.ask(bytes(request_size))
            hang_up.cancel()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung


def test_a_connection_without_a_limit_waits(server: socket.socket) -> None:
    with connected(server, timeout=None) as (connection, theirs):

        def answer() -> None:
            received(theirs, LARGE)
            theirs.sendall(b":1\r\n")

        threading.Thread(target=answer, daemon=True).start()
        assert connection.ask(bytes(LARGE)) == 1


def test_a_server_that_hangs_up(server: socket.socket) -> None:
    with connected(server) as (connection, theirs):
        theirs.sendall(b"$5\r\nre")
        theirs.close()
        with pytest.raises((rx.ConnectionError, OSError)):
            connection.ask(b"x")
    with connected(server) as (connection, theirs):
        theirs.close()
        with pytest.raises(rx.ConnectionError):
            connection.can_read(60)


def test_another_thread_can_end_a_wait(server: socket.socket) -> None:
    with connected(server) as (connection, theirs):
        sock = connection._sock

        def hang_up() -> None:
            received(theirs, 1)
            sock.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(rx.ConnectionError):
            connection.ask(b"x")


def test_what_comes_between_replies_is_left_to_redis_py(server: socket.socket) -> None:
    """RESP3 has messages that answer nothing."""
    with connected(server, protocol=3) as (connection, _):
        assert connection._sock.gettimeout() == 60  # as it was


def test_a_system_without_poll_is_left_to_redis_py(server: socket.socket) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(select, "poll")
        with connected(server) as (connection, theirs):
            theirs.sendall(b":1\r\n")
            assert connection.ask(b"x") == 1
            assert connection._sock.gettimeout() == 60


def test_sockets_of_other_libraries_are_left_to_redis_py(server: socket.socket) -> None:
    """They wait in their own way: gevent puts its class in the place of Python's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", type("socket", (socket.socket,), {"__module__": "gevent._socket3"}))
        with connected(server) as (connection, theirs):
            assert type(connection._sock) is socket.socket
            theirs.sendall(b":1\r\n")
            assert connection.ask(b"x") == 1
            assert connection._sock.gettimeout() == 60


def test_a_reply_that_stops_in_the_middle(server: socket.socket) -> None:
    with connected(server, timeout=0.05) as (connection, theirs):
        theirs.sendall(b"$5\r\nre")
        with pytest.raises(rx.TimeoutError, match="did not answer"):
            connection.ask(b"x")
        assert connection.is_sent
