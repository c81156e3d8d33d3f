"""Health checks over HTTP, for those who watch over processes: Kubernetes, load balancers, people with curl.

    GET /livez    200 = leave it alone; 503 = it hangs: restart it
    GET /readyz   200 = it is at work; 503 = it starts, stops, or cannot reach the server
    GET /metrics  what Prometheus scrapes, of the processes behind this port alone

The first two show the status they judge by, as JSON.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from rqsqs._text import printable_json, shortened
from rqsqs.metrics.listener import Listener, Request, Response
from rqsqs.worker.forked_children import watch
from rqsqs.worker.restarting_thread import RestartingThread

log = logging.getLogger("rqsqs.worker")

Status = Callable[[], Mapping[str, Any]]
Processes = Callable[[], Mapping[int, Mapping[str, Any]]]
PATHS = {"/livez": "is_live", "/readyz": "is_ready"}
METRICS = "/metrics"
TEXT_LIMIT = 1000  # characters of an error


class Health:
    """A small HTTP server in a daemon thread. It shows what status() returns, which has is_live and is_ready.

    Args:
        status: how it is.
        port, host: where it listens.
        processes: of each process by its number, its status with `metrics`; see rqsqs.metrics.workers.
    """

    def __init__(
        self, status: Status, port: int, host: str = "127.0.0.1", *, processes: Processes | None = None
    ) -> None:
        self._status = status
        self._processes = processes
        self._host, self._port = host, port
        self._server: Listener | None = None

    @property
    def address(self) -> tuple[str, int]:
        assert self._server is not None, "it was not started"
        return self._server.address

    @property
    def url(self) -> str:
        assert self._server is not None, "it was not started"
        return self._server.url

    def start(self) -> None:
        try:
            self._server = Listener(self._respond, self._host, self._port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            where = f"{self._host}:{self._port}"
            raise OSError(
                f"cannot listen on {where} for health checks: {reason}; choose another port or address"
            ) from error
        watch(self)
        RestartingThread("rqsqs-health", self._serve).start()
        log.info("health checks: %s/livez and /readyz; for Prometheus: /metrics", self.url)

    def _serve(self) -> None:
        server = self._server
        if server is not None:  # else it was stopped
            server.serve()

    def forked(self) -> None:
        """In a child: leave the port to the parent."""
        if self._server is not None:
            self._server.socket.close()

    def stop(self) -> None:
        """Close the port. What is being answered is left to its thread."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _respond(self, request: Request) -> Response:
        if request.path == METRICS and self._processes is not None:
            from rqsqs.metrics import workers

            return workers.response(self._processes(), request.query, request.headers)
        claim = PATHS.get(request.path)
        if claim is None:
            return _shown(404, {"error": f"there is nothing but {', '.join(PATHS)} and {METRICS}"})
        try:
            status = self._status()
        except Exception as error:
            log.exception("no status")
            status = {"error": shortened(repr(error), TEXT_LIMIT)}
        return _shown(200 if status.get(claim) else 503, status)


def _shown(code: int, record: Mapping[str, Any]) -> Response:
    return Response(code, "application/json", printable_json(json.dumps(record, ensure_ascii=False)).encode() + b"\n")
