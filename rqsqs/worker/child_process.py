"""Worker processes as their supervisor sees them. See supervisor_link for the other side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import Any

log = logging.getLogger("rqsqs.supervisor")

MARGIN_S = 10.0  # beyond its shutdown timeout, until a process that does not end is killed
SHUTDOWN_TIMEOUT_S = 30.0  # of a process that has not reported its own
UNREPORTED_S = 5.0  # a process that has not reported for this time is not ready
HANGING_S = 30.0  # a process that has not reported for this time is not live
LINE = 1 << 24  # bytes of a status
LAST_LINES_S = 1.0  # for what a dead process has written; its own children may hold the socket open


class Child:
    """One worker process. Made by start()."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = process.pid
        self.status: dict[str, Any] = {"state": "loading", "is_ready": False, "is_live": True}  # reported last
        self.metrics: dict[str, Any] | None = None  # a WorkerMetrics, if it was asked for them
        self.was_ready = False
        self.is_stopping = False  # we told it to stop
        self.born = self._heard = time.monotonic()
        self._process = process
        self._reader, self._writer = reader, writer
        self._ready = asyncio.Event()
        self._kill_at: float | None = None
        self._killer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Task[int] = asyncio.create_task(self._attend())  # its exit code, as of subprocess

    @classmethod
    async def start(cls, command: Sequence[str]) -> Child:
        """Start a process, told where to report, in a process group of its own: Ctrl-C is for the supervisor alone."""
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            try:
                arguments = [*command, "--report-to", str(number)]
                process = await asyncio.create_subprocess_exec(
                    *arguments, stdin=subprocess.DEVNULL, pass_fds=(number,), process_group=0
                )
            except BaseException:
                ours.close()
                raise
        return cls(process, *await asyncio.open_unix_connection(sock=ours, limit=LINE))

    @property
    def age(self) -> float:
        return time.monotonic() - self.born

    @property
    def is_ready(self) -> bool:
        return not self.ended.done() and bool(self.status.get("is_ready")) and self._is_heard(UNREPORTED_S)

    @property
    def is_live(self) -> bool:
        """Does it not hang? What is dead does not hang."""
        return self.ended.done() or (bool(self.status.get("is_live")) and self._is_heard(HANGING_S))

    def _is_heard(self, seconds: float) -> bool:
        return time.monotonic() - self._heard < seconds

    @property
    def is_drained(self) -> bool:
        """Did it end because `rqsqs consumers drain` or `evict` told it to, for all its queues?"""
        return self.status.get("state") == "drained"

    async def is_up(self) -> bool:
        """Wait until it is ready; False if it ended before."""
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return self.was_ready

    def ask_for_metrics(self) -> None:
        """Let it tell its metrics with each status from now on."""
        self._tell("metrics")

    def stop(self) -> None:
        """Let it finish what it holds; it is killed when its shutdown timeout and a margin are over."""
        self.is_stopping = True
        self._tell("stop")
        timeout = self.status.get("shutdown_timeout", SHUTDOWN_TIMEOUT_S)
        self._kill_in(timeout + MARGIN_S)

    def abort(self) -> None:
        """Let it give everything back and end."""
        self.is_stopping = True
        self._tell("abort")
        self._kill_in(MARGIN_S)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _tell(self, command: str) -> None:
        if not self._writer.is_closing():
            self._writer.write(f"{command}\n".encode())

    def _kill_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._kill_at is None or at < self._kill_at:
            self._kill_at = at
            if self._killer is not None:
                self._killer.cancel()
            self._killer = loop.call_at(at, self._give_up)

    def _give_up(self) -> None:
        if not self.ended.done():
            log.warning("process %d does not end: it is killed", self.pid)
            self.kill()

    async def _attend(self) -> int:
        listening = asyncio.create_task(self._listen())
        code = await self._process.wait()
        await asyncio.wait([listening], timeout=LAST_LINES_S)
        listening.cancel()
        self._writer.close()
        if self._killer is not None:
            self._killer.cancel()
        return code

    async def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while line := await self._reader.readline():
                with contextlib.suppress(ValueError):  # it died in the middle of a line
                    status = json.loads(line)
                    self.metrics = status.pop("metrics", self.metrics)
                    self.status = status
                self._heard = time.monotonic()
                if self.is_ready:
                    self.was_ready = True
                    self._ready.set()


def fate(code: int) -> str:
    """How a process ended, in words: "was killed by SIGKILL", "exited with 3"."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
