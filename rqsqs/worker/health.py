"""Health checks over HTTP, for those who watch over processes: Kubernetes, load balancers, people with curl.

    GET /livez    200 = leave it alone; 503 = it hangs: restart it
    GET /readyz   200 = it is at work; 503 = it starts, stops, or cannot reach the server

Both show the status they judge by, as JSON. The server has threads of its own: handlers cannot starve it, except by
holding Python's interpreter lock.
"""

from __future__ import annotations

import json
import logging
import socket
import socketserver
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rqsqs._text import printable_json, shortened
from rqsqs.worker.forked_children import watch
from rqsqs.worker.restarting_thread import RestartingThread

log = logging.getLogger("rqsqs.worker")

Status = Callable[[], Mapping[str, Any]]
PATHS = {"/livez": "is_live", "/readyz": "is_ready"}
CLIENT_TIMEOUT_S = 10.0  # for a client that sends nothing


class Health:
    """A small HTTP server in a daemon thread. It shows what status() returns, which has is_live and is_ready."""

    def __init__(self, status: Status, port: int, host: str = "127.0.0.1") -> None:
        self._status = status
        self._host, self._port = host, port
        self._server: _Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        assert self._server is not None, "it was not started"
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        try:
            self._server = _Server(self._host, self._port, self._status)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OSError(f"cannot listen on {self._host}:{self._port} for health checks: {reason}") from error
        watch(self)
        RestartingThread("rqsqs-health", self._serve).start()
        log.info("health checks: %s/livez and /readyz", self.url)

    def _serve(self) -> None:
        server = self._server
        if server is not None:  # else it was stopped
            server.serve_forever()

    def forked(self) -> None:
        """In a child: leave the port to the parent."""
        if self._server is not None:
            self._server.socket.close()

    def stop(self) -> None:
        """Close the port. What is being answered is left to its thread."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, status: Status) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.status = status
        super().__init__((host, port), _Request)

    def server_bind(self) -> None:
        """Without looking for the name of this machine, which can take seconds."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not logged."""
        log.debug("a health check from %s broke off", client_address, exc_info=True)


TEXT_LIMIT = 1000  # characters of an error


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_TIMEOUT_S
    server_version = "rqsqs"

    def do_GET(self) -> None:
        claim = PATHS.get(self.path.partition("?")[0].rstrip("/"))
        if claim is None:
            self._answer(404, {"error": f"there is nothing but {' and '.join(PATHS)}"})
            return
        try:
            status = self.server.status()
        except Exception as error:
            log.exception("no status")
            status = {"error": shortened(repr(error), TEXT_LIMIT)}
        self._answer(200 if status.get(claim) else 503, status)

    do_HEAD = do_GET

    def _answer(self, code: int, record: Mapping[str, Any]) -> None:
        body = printable_json(json.dumps(record, ensure_ascii=False)).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("health check from %s: %s", self.client_address[0], format % args)
