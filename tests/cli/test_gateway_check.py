"""`rqsqs gateway --check`: what the health check of a container hears."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from tests.cli.tools import Run
from tests.servers import free_port

pytest.importorskip("click")


class Answers(http.server.BaseHTTPRequestHandler):
    """A gateway's /readyz, with the status that the test wants."""

    status = 200
    paths = ("/readyz",)

    def do_GET(self) -> None:
        assert self.path in self.paths
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"ok\n" if self.status == 200 else b"ending\n")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_gateway_that_is_ready_is_healthy(run: Run, port: int) -> None:
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):  # what it listens on; the rules for a start do not matter here
        assert run("gateway", "--check", "--host", host, "--port", str(port)).stdout.endswith(f":{port}: ok\n")
    shown = run("gateway", "--check", "--port", str(port), "--json").stdout
    assert json.loads(shown)["is_ready"] is True


def test_a_gateway_that_is_not_ready_is_not(run: Run, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "status", 503)
    result = run("gateway", "--check", "--port", str(port), code=1)
    assert "ending" in result.stdout + result.stderr


def test_the_metrics_port_is_asked_as_well(run: Run, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "paths", ("/readyz", "/livez"))
    shown = run("gateway", "--check", "--port", str(port), "--metrics-port", str(port)).stdout
    assert shown.splitlines() == [f"127.0.0.1:{port}: ok"] * 2
    other = free_port()
    result = run("gateway", "--check", "--port", str(port), "--metrics-port", str(other), code=3)
    assert f"no gateway answers at 127.0.0.1:{other}" in result.stdout


def test_where_no_gateway_answers(run: Run) -> None:
    port = free_port()
    result = run("gateway", "--check", "--port", str(port), code=3)
    assert f"no gateway answers at 127.0.0.1:{port}" in result.stdout + result.stderr
