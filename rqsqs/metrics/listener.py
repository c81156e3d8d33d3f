"""A small HTTP server in threads of its own, for what watches over processes: health checks, and scrapes.

Python's own does the HTTP: a few requests a minute need no more, and no package. It answers GET and HEAD. Handlers and
event loops cannot starve it, except by holding Python's interpreter lock.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import re
import selectors
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

log = logging.getLogger("rqsqs.metrics")

CLIENT_TIMEOUT_S = 10.0  # for a client that sends nothing
MOST_CONNECTIONS = 50  # at once; more are closed
_NAME = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")


class Request(NamedTuple):
    """What is asked.

    Attributes:
        path: without a slash at the end.
        query: what is behind the question mark.
        headers: with names in lower case.
    """

    path: str
    query: str
    headers: dict[str, str]


class Response(NamedTuple):
    """What is answered."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


class Listener(ThreadingHTTPServer):
    """Answers requests, each in a thread; respond() must not raise.

    Args:
        respond: makes the answer.
        host, port: where to listen; OSError if that cannot be had.
        listening: a socket that listens already, instead.
    """

    daemon_threads = True
    block_on_close = False
    timeout = 0  # serve() knows that somebody is there

    def __init__(
        self,
        respond: Callable[[Request], Response],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        listening: socket.socket | None = None,
    ) -> None:
        self.respond = respond
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler, bind_and_activate=listening is None)
        except (TypeError, ValueError) as error:  # no name of a host
            raise OSError(errno.EINVAL, str(error).rstrip()) from None
        if listening is not None:
            self.socket.close()
            self.socket = listening
            self.server_address = listening.getsockname()
        self._ends = socket.socketpair()  # closing one says it to the other
        self.is_loopback = ipaddress.ip_address(self.address[0]).is_loopback

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.server_address[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        """The same as a URL."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Answer in a thread until the end of the block."""
        thread = threading.Thread(target=self.serve, name="rqsqs-listener", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join()

    def serve(self) -> None:
        """Answer until stop(). Between requests it does nothing."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            ended = selector.register(self._ends[0], selectors.EVENT_READ)
            while ended not in [key for key, _ in selector.select()]:
                self.handle_request()
        self.server_close()
        self._ends[0].close()

    def stop(self) -> None:
        """Close the port, from any thread. What is being answered is left to its thread."""
        self._ends[1].close()

    def server_bind(self) -> None:
        """Without looking for the name of this machine, which can take seconds."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread, if there is room for one."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not logged."""
        log.debug("a request of %s broke off", client_address, exc_info=True)

    def answers_to(self, host: str) -> bool:
        """Whether a Host header may name it. A page in a browser can let its own name point to this machine; that of
        a listener that only this machine can reach is an address, or localhost."""
        name = _NAME.fullmatch(host)
        if not self.is_loopback or not host:
            return True
        if name is None:
            return False
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(name[1].strip("[]")).is_loopback
        return name[1].lower().removesuffix(".") == "localhost"


class _Handler(BaseHTTPRequestHandler):
    server: Listener
    timeout = CLIENT_TIMEOUT_S
    server_version = "rqsqs"

    def do_GET(self) -> None:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            name = name.lower()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        if not self.server.answers_to(headers.get("host", "")):
            self._send(Response(403, "text/plain", b"it answers under its own names only, such as localhost\n"))
            return
        path, _, query = self.path.partition("?")
        self._send(self.server.respond(Request(path.rstrip("/"), query, headers)))

    do_HEAD = do_GET

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s: %s", self.client_address[0], format % args)
