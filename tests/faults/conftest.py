"""Processes that can be watched and killed."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rqsqs._core import flows
from rqsqs._core.keys import QueueRef
from rqsqs._io.sync.runner import Transport
from rqsqs.limits import NATIVE
from tests.clusters import until
from tests.faults import worker

CONTEXT = multiprocessing.get_context("forkserver")


class Process:
    """One of a fleet. It comes from a fork server that has imported everything: quick to start, and clean."""

    def __init__(self, job: dict[str, Any]) -> None:
        CONTEXT.set_forkserver_preload(["tests.faults.worker"])
        self._process = CONTEXT.Process(target=worker.run, args=(job,), daemon=True)
        self._process.start()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float = 60) -> int:
        """Its exit code."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, "it goes on"
        return self._process.exitcode


class Fleet:
    """Workers on one queue, and the log they share."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.log.touch()
        self.processes: list[Process] = []

    def start(self, role: str, url: str, prefix: str, queue: str, **job: Any) -> Process:
        job = {"role": role, "url": url, "prefix": prefix, "queue": queue, "log": str(self.log), **job}
        job.setdefault("who", f"{role}{len(self.processes)}")
        self.processes.append(Process(job))
        return self.processes[-1]

    def lines(self, what: str) -> list[dict[str, Any]]:
        """Everything told so far of one kind, in the order of telling."""
        found = [json.loads(line) for line in self.log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        return [line for line in found if line["what"] == what]

    def bodies(self, what: str) -> list[Any]:
        return [tuple(b) if isinstance(b, list) else b for b in (line["body"] for line in self.lines(what))]

    def wait_for(self, what: str, count: int) -> None:
        until(lambda: len(self.lines(what)) >= count, f"{count} times {what}")

    def join(self) -> None:
        for process in self.processes:
            assert process.wait() in (0, -9)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    one = Fleet(tmp_path)
    yield one
    one.stop()


@pytest.fixture
def transport_to(prefix: str) -> Iterator[Callable[[str], Transport]]:
    made: list[Transport] = []

    def make(url: str) -> Transport:
        made.append(Transport(url, prefix))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def create(transport: Transport, name: str, **attributes: str) -> QueueRef:
    q = transport.queue(name)
    transport.run(flows.create_queue(q, attributes, NATIVE))
    return q


def total(transport: Transport, q: QueueRef) -> int:
    counts = transport.run(flows.counts(q))
    return counts.visible + counts.in_flight + counts.delayed


def first_times_ascend(bodies: list[tuple[str, int]], groups: int) -> bool:
    """Is what each group delivered for the first time in the order in which it was sent?"""
    last: dict[tuple[str, int], int] = {}
    for who, n in bodies:
        group = who, n % groups
        if n > last.get(group, n - groups) + groups:
            return False
        last[group] = max(n, last.get(group, n))
    return True
