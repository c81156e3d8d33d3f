"""What a worker process and its supervisor say to each other, as seen from the worker process.

    process ──▶ supervisor    {"state": "running", "is_ready": true, ...}    a line at each change and each second
    supervisor ──▶ process    stop | abort                                   again: abort
    supervisor ──▶ process    metrics                                        with each status from now on

Both over one socket. Commands do not come as signals, since these can come twice: systemd and terminals send SIGTERM
and SIGINT to all processes by themselves. When the supervisor dies, the socket ends, and the process stops as if it
was told to.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import select
import socket
import threading
import time
from typing import Any

from rqsqs.worker import process
from rqsqs.worker.app import SIGNALS, Worker
from rqsqs.worker.forked_children import forget_signals, watch
from rqsqs.worker.restarting_thread import RestartingThread

log = logging.getLogger("rqsqs.worker")

EVERY_S = 1.0
STARTING_S = 0.05  # between two looks until the worker is ready
SEND_TIMEOUT_S = 2.0  # with a supervisor that does not read


class Reporter:
    """Speaks with the supervisor through the socket that it left us, in a thread, from before the application is
    loaded."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # not for programs that handlers start
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(SEND_TIMEOUT_S)
        self._speaking, self._stopping = threading.Lock(), threading.Lock()
        self._worker: Worker | None = None
        self._said: dict[str, Any] = {}
        self._is_over = False
        self._with_metrics = False
        self._wishes = {"signals": 0, "supervisor": 0}  # how often each of them wanted us to stop
        self._stops = 0
        self._thread = RestartingThread("rqsqs-reporter", self._run)

    def forked(self) -> None:
        """In a child: the supervisor has nothing to do with it."""
        self._is_over = True
        self._socket.close()
        if self._worker is not None:
            forget_signals(SIGNALS)

    def start(self) -> None:
        watch(self)
        self._thread.start()

    def serve(self, worker: Worker) -> None:
        self._worker = worker
        process.run(worker._serve_process(SIGNALS, functools.partial(self._stop, "signals")))
        self._say(worker.status(), is_last=True)

    def _stop(self, who: str, why: str, level: int | None = None) -> None:
        """Somebody wants us to stop. That several want the same is no reason to abort."""
        with self._stopping:
            self._wishes[who] = self._wishes[who] + 1 if level is None else max(level, self._wishes[who])
            missing = min(max(self._wishes.values()), 2) - self._stops
            self._stops += missing
        if missing:
            log.info("%s: %s", why, "giving everything back" if self._stops > 1 else "stopping")
        if self._worker is None:  # it still loads the application and holds nothing
            os._exit(0)
        for _ in range(missing):
            self._worker.stop()
        if self._worker._guard is not None:
            self._worker._guard.begin(at_once=self._stops > 1)

    def _run(self) -> None:
        spoken = 0.0
        while not self._is_over:
            status = self._status()
            changed = status.get("state") != self._said.get("state") or status["is_ready"] != self._said["is_ready"]
            if changed or time.monotonic() - spoken >= EVERY_S:
                spoken = time.monotonic()
                self._say(status)
            pause = STARTING_S if status["state"] in ("loading", "stopped", "starting") else EVERY_S
            if select.select([self._socket], [], [], pause)[0] and not self._listen():
                return

    def _status(self) -> dict[str, Any]:
        if self._worker is None:
            return {"state": "loading", "is_ready": False, "is_live": True}
        try:
            status = {**self._worker.status(), "shutdown_timeout": self._worker.settings.shutdown_timeout}
            metrics = self._worker.metrics() if self._with_metrics else None
            return status if metrics is None else {**status, "metrics": dataclasses.asdict(metrics)}
        except Exception:  # a reporter does not stop: it has to hear what the supervisor says
            log.exception("no status")
            return {"state": "unknown", "is_ready": False, "is_live": False}

    def _say(self, status: dict[str, Any], *, is_last: bool = False) -> None:
        with self._speaking:
            if self._is_over:
                return
            self._said, self._is_over = status, is_last
            try:
                self._socket.sendall(json.dumps(status).encode() + b"\n")
            except OSError:  # it does not read, or is dead: then the socket tells so
                log.debug("the supervisor does not listen", exc_info=True)

    def _listen(self) -> bool:
        """Handle commands; False if nobody sends any more."""
        try:
            commands = self._socket.recv(4096).split()
        except TimeoutError:
            return True
        except OSError:
            commands = []
        if not commands and not self._is_over:
            self._stop("supervisor", "the supervisor is gone", 1)
        for command in commands:
            if command == b"metrics":
                self._with_metrics = True
                continue
            self._stop("supervisor", "the supervisor says so", 2 if command == b"abort" else 1)
        return bool(commands)
