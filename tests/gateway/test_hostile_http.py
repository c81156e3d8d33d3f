"""HTTP as nobody should write it: each connection is answered properly or closed, in time, and others do not notice."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from rqsqs.gateway import GatewaySettings, http_protocol
from tests.gateway.conftest import PATIENCE_S, ask, ask_json, running

LIST = b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: AmazonSQS.ListQueues\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: AmazonSQS.ListQueues\r\n"


@contextlib.contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE_S) as connection:
        yield connection


def said(connection: socket.socket) -> bytes:
    """All that the gateway says until it closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def said_to(address: str, *sent: bytes) -> bytes:
    """What the gateway says to bytes, with nothing behind them."""
    with connected(address) as connection:
        with contextlib.suppress(ConnectionError):
            for part in sent:
                connection.sendall(part)
        connection.settimeout(2)
        parts = []
        with contextlib.suppress(ConnectionError, TimeoutError):
            while part := connection.recv(65_536):
                parts.append(part)
        return b"".join(parts)


@pytest.fixture(autouse=True)
def others_do_not_notice(shared: str) -> Iterator[None]:
    yield
    assert ask_json(shared, "ListQueues").status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: +2\r\n\r\n{}",
        HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Bad Header: 1\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Nul: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\nHost: evil\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=range(19),
)
def test_what_is_no_http(shared: str, sent: bytes) -> None:
    answer = said_to(shared, sent)
    assert not answer or 400 <= int(answer[9:12]) < 500, answer
    assert b"Traceback" not in answer
    assert answer.count(b"HTTP/1.1 ") <= 1  # nothing behind it is taken for a request


@pytest.mark.parametrize(
    "line",
    [b"/%ff%fe", b"/%00", b"//", b"/../..//etc/passwd", b"/a/b/c?x=%", b"/?%", b"/?Action=%00", b"/livez/", b"*",
     b"http://localhost/?Action=Nothing", b"/" + b"a" * 30_000, b"/?" + b"a=b&" * 7000, b"/;x?Action", b"/#a"],
    ids=range(14),
)  # fmt: skip
def test_strange_targets(shared: str, line: bytes) -> None:
    answer = said_to(shared, b"GET " + line + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert 400 <= int(answer[9:12]) < 500, answer


@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"a" * 200_000,
        b"\r\n".join(b"X-%d: a" % n for n in range(5000)),
        b"X" * 200_000,
        b"a: b\r\n" * 300 + b"a: b",
    ],
    ids=["long", "many", "name", "same"],
)
def test_header_bombs(shared: str, headers: bytes) -> None:
    answer = said_to(shared, b"POST / HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n")
    assert not answer or answer.startswith(b"HTTP/1.1 431 "), answer[:100]


@pytest.mark.parametrize("first", [b"POST / HTTP/1.1\r\nA", HEAD + b"X", b"\r\n\r\n", LIST + b"POST /"], ids=range(4))
def test_slow_headers(shared: str, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    monkeypatch.setattr(http_protocol, "HEADERS_WITHIN_S", 0.5)
    with connected(shared) as connection:
        connection.sendall(first)
        end = time.monotonic() + PATIENCE_S
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:  # a byte now and then does not help
                time.sleep(0.1)
                connection.sendall(b"\r\n" if first == b"\r\n\r\n" else b"a")
        assert time.monotonic() < end


def test_no_headers_at_all(shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEADERS_WITHIN_S", 0.5)
    with connected(shared) as connection:
        assert said(connection).startswith(b"HTTP/1.1 408 ")


def test_slow_bodies(valkey_url: str, prefix: str) -> None:
    settings = GatewaySettings(url=valkey_url, prefix=prefix, body_timeout=0.5)
    with running(settings) as address, connected(address) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
        end = time.monotonic() + PATIENCE_S
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                connection.sendall(b" ")
                time.sleep(0.1)
        assert time.monotonic() < end


def test_bodies_that_are_too_large(shared: str) -> None:
    answer = said_to(shared, HEAD + b"Content-Length: 8388609\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")  # without a byte of it
    assert b"RequestEntityTooLarge" in answer
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = said_to(shared, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 9)
    assert not answer or answer.startswith(b"HTTP/1.1 413 ")


def test_chunked_bodies(shared: str, queue: str) -> None:
    body = json.dumps({"QueueUrl": queue}).encode()
    chunks = b"".join(b"1;ext=1\r\n%c\r\n" % byte for byte in body)
    head = (
        HEAD.replace(b"ListQueues", b"GetQueueAttributes") + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert said_to(shared, head, chunks, b"0\r\nTrailer: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_100_continue(shared: str) -> None:
    with connected(shared) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    answer = said_to(shared, HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_pipelined_requests(shared: str) -> None:
    with connected(shared) as connection:
        connection.sendall(LIST * 20)
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 20:
            part = connection.recv(65_536)
            assert part
            received += part


def test_a_byte_at_a_time(shared: str) -> None:
    with connected(shared) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in LIST:
            connection.sendall(bytes([byte]))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_http_1_0(shared: str) -> None:
    answer = said_to(shared, LIST.replace(b"1.1", b"1.0").replace(b"Host: localhost\r\n", b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


def test_an_upgrade_is_not_done(shared: str) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    upgrade += b"Sec-WebSocket-Version: 13\r\n"
    answer = said_to(shared, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
    assert not answer or 400 <= int(answer[9:12]) < 500, answer


def test_half_closed_connections_are_closed(shared: str) -> None:
    with connected(shared) as connection:
        connection.sendall(LIST)
        connection.shutdown(socket.SHUT_WR)
        said(connection)  # ends


def test_thousands_of_idle_connections(shared: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(connected(shared))
        assert ask_json(shared, "ListQueues").status == 200


def test_too_many_connections(shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(connected(shared))
        assert ask_json(shared, "ListQueues").status == 200  # so the first one is known by now
        monkeypatch.setattr(http_protocol, "MOST_CONNECTIONS", 0)
        assert said_to(shared, b"").startswith(b"HTTP/1.1 503 ")
        monkeypatch.undo()


def test_answers_are_not_cut_by_what_a_client_writes(shared: str) -> None:
    """A line break in the name of an action would end a header."""
    answer = ask(shared, "", "/?Action=a%0d%0aX-Evil:%20b", "GET")
    assert answer.status == 400
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:9324"},
        {"Host": "localhost.evil.example"},
        {"Host": "localhost, evil.example"},
        {"Host": "192.0.2.1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_pages_of_others_get_nothing(shared: str, headers: dict[str, str]) -> None:
    answer = ask(shared, "", "/?Action=ListQueues", "GET", **headers)
    assert (answer.status, answer.texts("Code")) == (403, ["AccessDenied"])
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:9324", "sqs.us-east-1.localhost"])
def test_own_names_are_answered(shared: str, host: str) -> None:
    assert ask(shared, "", "/?Action=ListQueues", "GET", Host=host).status == 200


def test_further_names(start: Any) -> None:
    address = start(allowed_hosts=("sqs.example.com",), base_url="https://queues.example.com/")
    for host in ("sqs.example.com", "queues.example.com"):
        answer = ask(address, "", f"/?Action=CreateQueue&QueueName={host[:3]}", "GET", Host=host)
        assert answer.texts("QueueUrl") == [f"https://queues.example.com/000000000000/{host[:3]}"]
    assert ask(address, "", "/?Action=ListQueues", "GET", Host="other.example.com").status == 403


def test_x_forwarded_counts_for_trusted_proxies_only(start: Any, shared: str) -> None:
    headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    path = "/?Action=CreateQueue&QueueName=forwarded"
    assert (ask(shared, "", path, "GET", **headers).texts("QueueUrl")[0] or "").startswith("http://localhost:")
    address = start(trusted_proxies=("127.0.0.0/8", "::1"), allowed_hosts=("sqs.example.com",))
    headers["X-Forwarded-Host"] = "sqs.example.com"
    answer = ask(address, "", path, "GET", **headers)
    assert answer.texts("QueueUrl") == ["https://sqs.example.com/000000000000/forwarded"]
