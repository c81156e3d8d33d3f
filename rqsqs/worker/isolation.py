"""Keeps suspects apart: messages that were received before and of which nobody said anything since, as they may have
killed their worker (lua/lib/ahead.lua).

The handler of a suspect begins when no other one is running in this process, and only then its receive counts. For a
second nothing else begins beside it, nor does it wait for handlers that have run for as long. The second time this is
ten seconds, and from then on a hundred: so a message that kills its worker within that time is blamed alone, and a slow
one does not keep the slots for long.
"""

from __future__ import annotations

import time

from rqsqs.worker.jobs import Job
from rqsqs.worker.worker_queue import WorkerQueue

APART_S = (1.0, 10.0, 100.0)  # by how many of its receives have counted, and nobody said anything of them


class Isolation:
    """One suspect at a time. All of it is called under the runtime's lock."""

    __slots__ = ("_apart_s", "_until", "job")

    def __init__(self) -> None:
        self.job: Job | None = None  # waits for others to end, or runs, and has a slot
        self._apart_s = 0.0
        self._until = 0.0  # when others begin beside it (monotonic)

    def take(self, job: Job) -> None:
        """It waits, and nothing else begins."""
        self.job = job
        self._apart_s = APART_S[min(max(job.deliveries[0].unreported_receives, 0), len(APART_S) - 1)]

    def is_over(self) -> bool:
        """May others begin?"""
        job = self.job
        if job is not None:
            is_over = time.monotonic() >= self._until if job.has_slot else len(job.lost) > 0  # it waits in vain
            if is_over or job.is_settled:
                self.job = None
        return self.job is None

    def next(self, is_idle: bool, begun_at: float) -> Job | None:
        """The suspect, if it waits and may begin.

        Args:
            is_idle: no handler is running.
            begun_at: when the last one began (monotonic).
        """
        if self.is_over():
            return None
        job, now = self.job, time.monotonic()
        if job is None or job.has_slot or not (is_idle or now - begun_at >= self._apart_s):
            return None
        self._until = now + self._apart_s
        return job

    def withdraw(self, queue: WorkerQueue) -> Job | None:
        """Take the suspect away if it waits, and is one of this queue."""
        job = self.job
        if self.is_over() or job is None or job.has_slot or job.queue is not queue:
            return None
        self.job = None
        return job
