"""Threads that run plain functions.

Jobs wait in a deque. A thread that takes one and sees more wakes one other, no more: quick handlers are run one after
the other without waking anybody, slow ones are soon spread over all threads.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, Protocol


class Job(Protocol):
    """What a thread runs."""

    def run(self) -> None:
        """Do it; keeps its outcome, raises nothing."""


class Threads:
    """At most `limit` threads, made when they are needed.

    Args:
        done: called in a thread after each job.
    """

    def __init__(self, limit: int, done: Callable[[Any], None]) -> None:
        self._limit = limit
        self._done = done
        self._jobs: deque[Any] = deque()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._lock = threading.Lock()
        self._sleeping = 0
        self._count = 0

    def start(self, jobs: Iterable[Job]) -> None:
        """Run jobs, as soon as threads are free."""
        self._jobs.extend(jobs)
        self._wake_one()

    def take_back(self) -> list[Any]:
        """Jobs that no thread has begun; they will not be run."""
        found = []
        while self._jobs:
            try:
                found.append(self._jobs.popleft())
            except IndexError:
                break
        return found

    def close(self) -> None:
        """Let threads end when they have nothing to do. Those that run a job are left alone."""
        for _ in range(self._count):
            self._wake.put(False)

    def _wake_one(self) -> None:
        with self._lock:
            if self._sleeping:
                self._sleeping -= 1
            elif self._count < self._limit:
                self._count += 1
                threading.Thread(target=self._work, name=f"rqsqs-handler-{self._count}", daemon=True).start()
                return
            else:
                return
        self._wake.put(True)

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                with self._lock:
                    if self._jobs:
                        continue
                    self._sleeping += 1
                if not self._wake.get():
                    return
                continue
            if self._jobs:
                self._wake_one()
            job.run()
            self._done(job)


class Interruption:
    """Lets a timeout raise an exception in the thread that runs a call, and in nothing the thread does afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = threading.get_ident()

    def send(self, error: type[BaseException]) -> bool:
        """Raise `error` there, at its next step of Python code. False if the call has ended."""
        with self._lock:
            if self._thread is None:
                return False
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(error))
            return True

    def end(self) -> None:
        """The call has ended. What was sent and has not arrived yet is raised here."""
        with self._lock:
            self._thread = None
        for _ in range(10):
            time.sleep(0)
