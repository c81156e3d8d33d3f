"""A run of producers and consumers while things break, and what came of it."""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import redis

import rqsqs
from rqsqs.cli import signals
from rqsqs.cli.chaos import history

TIMEOUT_S = 60.0  # for consumers to receive what is left
FAULT_S = 60.0  # for a command of the user to end

Fault = Callable[["Trial"], str]  # breaks something, and says what


@dataclass(slots=True)
class Trial:
    """One run."""

    url: str  # of the server or cluster
    seconds: float = 20.0  # how long messages are sent
    is_fifo: bool = False
    producers: int = 2  # processes that send
    consumers: int = 4  # processes that receive and delete
    rate: float = 200.0  # messages a second, of all producers together
    groups: int = 20  # message groups of a FIFO queue
    visibility_s: float = 2.0
    work_s: float = 0.02  # the longest time a consumer takes for the messages it received
    partitions: int = 1
    durability: str = ""  # of producers and consumers, as text; "" = none
    prefix: str = field(default_factory=lambda: f"chaos-{secrets.token_hex(4)}")  # of all keys; removed in the end
    options: dict[str, Any] = field(default_factory=dict)  # for the connections of producers and consumers
    say: Callable[[str], object] = print  # told what happens
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="rqsqs-chaos-")))
    rng: random.Random = field(default_factory=random.Random)
    faults: list[str] = field(default_factory=list)
    left: int = 0
    _senders: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _receivers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, faults: Sequence[Fault] = (), every_s: float = 5.0) -> history.Verdict:
        """Send and receive, break things one after the other and from the beginning again, let the rest be consumed,
        and judge."""
        self._create()
        for index in range(self.producers):
            self._start(self._senders, "produce", index=index)
        for _ in range(self.consumers):
            self._start(self._receivers, "consume")
        self._await_all()
        end, count = time.monotonic() + self.seconds, 0
        following = time.monotonic() + every_s
        while time.monotonic() < end:
            time.sleep(0.05)
            self._look()
            if faults and time.monotonic() > following:
                said = faults[count % len(faults)](self)
                self.faults.append(said)
                self.say(said)
                count += 1
                following = time.monotonic() + every_s * self.rng.uniform(0.7, 1.3)
        self._stop(self._senders)
        self.left = self._drain()
        self._stop(self._receivers)
        return history.check(self.events(), is_drained=self.left == 0)

    def events(self) -> list[history.Event]:
        return list(history.read(self.folder))

    # Faults

    def kill_consumer(self) -> str:
        """SIGKILL a consumer, and start another one."""
        victim = self.rng.choice(self._receivers)
        victim.kill()
        victim.wait()
        self._receivers.remove(victim)
        self._start(self._receivers, "consume")
        return f"consumer {victim.pid} was killed with SIGKILL and replaced"

    def freeze_consumer(self) -> str:
        """SIGSTOP a consumer for longer than its messages stay invisible."""
        victim = self.rng.choice(self._receivers)
        victim.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * self.visibility_s)
        victim.send_signal(signal.SIGCONT)
        return f"consumer {victim.pid} stood still for {1.5 * self.visibility_s:g} s"

    @staticmethod
    def command(line: str) -> Fault:
        def fault(trial: Trial) -> str:
            try:
                done = subprocess.run(line, shell=True, capture_output=True, timeout=FAULT_S, check=False)
            except subprocess.TimeoutExpired:
                return f"{line!r} was given up after {FAULT_S:.0f} s"
            return f"{line!r} was run" + (f", exit code {done.returncode}" if done.returncode else "")

        return fault

    # Processes

    @property
    def queue(self) -> str:
        return "chaos.fifo" if self.is_fifo else "chaos"

    def _create(self) -> None:
        options: dict[str, Any] = {"deduplication_scope": "messageGroup"} if self.is_fifo else {}
        with rqsqs.connect(self.url, prefix=self.prefix) as connection:
            connection.create_queue(self.queue, partitions=self.partitions, **options)

    def _start(self, processes: list[subprocess.Popen[bytes]], role: str, **more: Any) -> None:
        names = ("url", "prefix", "durability", "options", "queue", "producers", "rate", "visibility_s", "work_s")
        settings = {name: getattr(self, name) for name in names} | more
        settings |= {"folder": str(self.folder), "groups": max(self.groups, self.producers)}
        command = [sys.executable, "-m", "rqsqs.cli.chaos.roles", role, json.dumps(settings)]
        with signals.deferred():
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))

    def _await_all(self) -> None:
        """Until everybody keeps a journal, and each producer has begun to send."""
        deadline = time.monotonic() + TIMEOUT_S

        def begun() -> int:
            journals = list(self.folder.glob("*.journal"))
            return sum(not path.name.startswith("producer-") or path.stat().st_size > 0 for path in journals)

        while begun() < self.producers + self.consumers:
            self._look()
            if time.monotonic() > deadline:
                raise RuntimeError(f"producers and consumers did not start within {TIMEOUT_S:.0f} s")
            time.sleep(0.02)

    def _look(self) -> None:
        for process in (*self._senders, *self._receivers):
            if process.poll() is not None:
                raise RuntimeError(f"process {process.pid} ended by itself with exit code {process.returncode}")

    def _drain(self) -> int:
        """Until nothing is left; returns how many are, if that takes too long; -1: nobody can tell. If the queue itself
        is gone, so is what was in it."""
        deadline = time.monotonic() + TIMEOUT_S
        left = -1
        with rqsqs.connect(self.url, prefix=self.prefix) as connection:
            queue = connection.queue(self.queue)
            while time.monotonic() < deadline:
                with contextlib.suppress(rqsqs.ServerError):
                    try:
                        counts = queue.counts()
                    except rqsqs.QueueDoesNotExist:
                        return 0
                    left = counts.visible + counts.in_flight + counts.delayed
                    if not left:
                        return 0
                time.sleep(0.1)
        return left

    def _stop(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.terminate()
            process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 30
        for process in processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        processes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._senders, *self._receivers):
            process.kill()
            process.wait()
        trouble = (rqsqs.RqsqsError, redis.RedisError, OSError)
        with contextlib.suppress(*trouble), rqsqs.connect(self.url, prefix=self.prefix) as connection:
            for queue in list(connection.queues()):
                connection.delete_queue(queue)
            transport = connection.transport  # the number of the format stands for what is there: now nothing is
            transport.link.router.node(transport.space.format).ask("UNLINK", transport.space.format)
        shutil.rmtree(self.folder, ignore_errors=True)
