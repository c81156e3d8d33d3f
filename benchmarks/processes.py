"""Child processes. They come from a fork server that has imported what they need: quick to start, and clean."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
_keeps_awake = True


def prepare(keeps_awake: bool = True) -> None:
    """Let the fork server import the contestants beforehand. That servers keep everything in memory is meant.

    Args:
        keeps_awake: whether `awake()` does something; for numbers that nobody reads it need not.
    """
    global _keeps_awake
    _keeps_awake = keeps_awake
    logging.getLogger("rqsqs.server").setLevel(logging.ERROR)
    CONTEXT.set_forkserver_preload(["benchmarks.processes", "benchmarks.contestants", "rqsqs", "rqsqs.boto3"])


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
