"""`rqsqs worker` as a process for tests, with an application in a folder of its own; ended in every case."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
APP = """\
import logging
import os
import pathlib
import time

from rqsqs.worker import Worker

worker = Worker(heartbeat_interval=0.2)
log = logging.getLogger("app")
here = pathlib.Path(__file__).parent


@worker.handler("orders")
def handle(message):
    log.info("got %s", message.body)
    (here / f"got-{message.body}").write_text(str(os.getpid()))
    if message.body.startswith("slow"):
        while not (here / "go").exists():
            time.sleep(0.01)
    (here / f"done-{message.body}").touch()
"""


def wait_for(is_so: Callable[[], Any], what: Callable[[], str] = str) -> Any:
    """Until something is so; what it is then."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := is_so()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    """Does a process run?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):  # a zombie nobody has looked at yet is dead
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _hears_hangups() -> None:
    """Also where the tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Program:
    """`rqsqs worker` with some arguments, in a folder, on a server.

    Args:
        folder: where it runs, and its log goes.
        environment: RQSQS_URL and so on.
    """

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str) -> None:
        self.folder = folder
        self.pids: set[int] = set()  # of all processes ever seen
        self._log = folder / f"log-{secrets.token_hex(4)}"
        with open(self._log, "xb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rqsqs", "worker", *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_hears_hangups,
            )

    @property
    def log(self) -> str:
        """What was written."""
        return self._log.read_text()

    def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until the log has it so often; the last of them."""
        found = wait_for(lambda: list(re.finditer(pattern, self.log))[times - 1 :], lambda: f"{pattern}\n{self.log}")
        match: re.Match[str] = found[0]
        return match

    def has(self, name: str) -> str:
        """Wait until a handler has written a file; what is in it."""
        wait_for((self.folder / name).exists, lambda: f"{name}\n{self.log}")
        return (self.folder / name).read_text()

    @property
    def port(self) -> int:
        """Of its health checks, once it has said so."""
        return int(self.says(r"health checks: http://127\.0\.0\.1:(\d+)")[1])

    def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a health check."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def ready(self) -> dict[str, Any]:
        """Wait until it is; its status."""

        def look() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log
            code, status = self.ask("/readyz")
            self.pids |= {p["pid"] for p in status.get("processes", ()) if "pid" in p}
            return status if code == 200 else None

        found: dict[str, Any] = wait_for(look, lambda: self.log)
        return found

    def children(self) -> list[int]:
        """The process ids of the workers, when all are ready."""
        return [p["pid"] for p in self.ready()["processes"] if "pid" in p]

    def signal(self, number: int) -> None:
        """Send one."""
        self.process.send_signal(number)

    def ends(self) -> int:
        """Wait for its end; the exit code."""
        try:
            return self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.pids |= {int(pid) for pid in re.findall(r"starts as (\d+)", self.log)}
        self.process.kill()
        self.process.wait()
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
