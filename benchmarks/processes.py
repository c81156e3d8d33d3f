"""Child processes. They come from a fork server that has imported what they need: quick to start, and clean. What each
has done is on a board, a file that all map into their memory, programs in other languages too."""

from __future__ import annotations

import contextlib
import logging
import mmap
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ("rqsqs.worker", "celery.apps.worker", "rq", "dramatiq.brokers.redis", "saq", "bullmq", "rsmq")  # if there
CAP = 1000  # producers pause while more messages are waiting
_keeps_awake = True


class Failed(Exception):
    """A contestant did not do what it should; the others go on."""


class Board:
    """Numbers of messages, one for each process: producers first, then as many consumers."""

    def __init__(self, path: str, each: int) -> None:
        self.path, self.each = path, each
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16 * each)
        self.counts = memoryview(self._map).cast("q")

    def __reduce__(self) -> Any:
        return Board, (self.path, self.each)

    @property
    def sent(self) -> int:
        return sum(self.counts[: self.each])

    @property
    def received(self) -> int:
        return sum(self.counts[self.each :])


@contextlib.contextmanager
def board(each: int) -> Iterator[Board]:
    """A board for so many producers and as many consumers."""
    with tempfile.NamedTemporaryFile(
        prefix="rqsqs-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
    ) as file:
        file.write(bytes(16 * each))
        file.flush()
        yield Board(file.name, each)


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of one process on a board."""

    board: Board
    slot: int

    def add(self, count: int) -> None:
        """So many messages more."""
        self.board.counts[self.slot] += count

    def is_full(self) -> bool:
        """Are enough messages waiting?"""
        return self.board.sent - self.board.received > CAP


def reason(error: BaseException) -> str:
    """An error in one short line, as a table can hold it."""
    if isinstance(error, Failed):
        return str(error)
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return " ".join(text.replace("|", "/").split())[:160]


def prepare(keeps_awake: bool = True) -> None:
    """Let the fork server import the contestants beforehand. That servers keep everything in memory is meant.

    Args:
        keeps_awake: whether `awake()` does something; for numbers that nobody reads it need not.
    """
    global _keeps_awake
    _keeps_awake = keeps_awake
    logging.getLogger("rqsqs.server").setLevel(logging.ERROR)
    CONTEXT.set_forkserver_preload(["benchmarks.processes", "benchmarks.peers", "rqsqs", "rqsqs.boto3", *PRELOADED])


def start(target: Callable[..., None], *args: Any) -> Any:
    """Start a process that ends with its parent."""
    process = CONTEXT.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def end(processes: list[Any]) -> None:
    """End processes that may be waiting."""
    for process in processes:
        if process.is_alive():
            process.kill()
    for process in processes:
        process.join()
        with contextlib.suppress(ValueError):
            process.close()


def quietly() -> None:
    """In a child: what its libraries log or say at the end interests nobody."""
    logging.disable(logging.CRITICAL)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """Keep the processors from sleeping: a call that finds one asleep costs several times as much as any other.

    The children run only where nobody else wants to.
    """
    keeps = _keeps_awake and hasattr(os, "SCHED_IDLE")
    spinners = [start(_spin) for _ in range(os.cpu_count() or 1)] if keeps else []
    try:
        yield
    finally:
        end(spinners)


def _spin() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass
