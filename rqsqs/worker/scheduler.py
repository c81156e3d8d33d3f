"""Decides who does what next: slots, weights, pauses. It makes no calls and has no threads.

A worker fetches as many messages as it has free slots. While a fetch waits for messages it holds no slot: if others
took them meanwhile, surplus messages are given back.

Of quick handlers it takes some ahead: these wait without a slot until a thread takes a burst of them, which it runs one
after the other in one slot. (Coroutines get slots one by one, as they become free.)
"""

from __future__ import annotations

import math
import time
from collections import deque
from queue import SimpleQueue

from rqsqs._core.delivery import Delivery
from rqsqs._core.operations import Outcome
from rqsqs.errors import QueueDamaged, QueueDoesNotExist
from rqsqs.worker.isolation import Isolation
from rqsqs.worker.jobs import Job
from rqsqs.worker.worker_queue import WorkerQueue

HELP_S = 0.001  # work that takes longer altogether is shared with another thread
TINY_S = 0.0001  # unless calls take no longer than this: then one thread runs
BURST_S = 0.008  # that much of it
START_S = 0.01  # after this time a first call is known to be slow
STUCK_LOOKS = 2  # of the watch
SHORT_S = 0.005  # handlers that take less are quick
ERROR_PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0)  # while the server has errors
RESTS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # after messages that a newer version has to handle


class ThreadWork:
    """The work of one thread: jobs that it runs, one after the other, or a call for a queue. If jobs take too long, the
    watch takes over those it can; if the thread dies, everything goes to others."""

    __slots__ = (
        "began", "burst", "done", "fetching", "finished", "job", "jobs", "lives", "outcomes", "settling", "wakes"
    )  # fmt: skip

    def __init__(self) -> None:
        self.wakes: SimpleQueue[None] = SimpleQueue()  # each element wakes the thread
        self.jobs: deque[Job] = deque()  # jobs that it is going to run
        self.job: Job | None = None  # the job that it runs
        self.done: deque[Job] = deque()  # jobs that it has run, until their slots are given back
        self.burst: WorkerQueue | None = None  # the queue whose jobs it runs in one slot
        self.began = 0.0  # when it was given the jobs (monotonic)
        self.lives = 0  # how often its thread began
        self.fetching: WorkerQueue | None = None  # the queue for which its fetch is on its way
        self.settling: WorkerQueue | None = None  # the queue for which its settlement is on its way
        self.finished: list[Delivery] = []  # messages that this call deletes
        self.outcomes: list[Outcome] = []  # outcomes that this call reports


class Scheduler:
    """All of it is called under the runtime's lock."""

    def __init__(self, queues: list[WorkerQueue], concurrency: int, linger: float, prefetch: int) -> None:
        self.queues = queues
        self.jobs: deque[Job] = deque()  # that have a slot and wait for a thread
        self.isolation = Isolation()
        self._begun_at = 0.0  # when handlers began last (monotonic)
        self._concurrency = concurrency
        self._linger_s = linger
        self._prefetch = prefetch

    def assign(self, work: ThreadWork) -> tuple[WorkerQueue | None, int, float | None]:
        """Give a thread its next work: jobs, or a fetch for a queue to fill some slots, or a settlement for it (0
        slots), or none for some seconds (None = until it is woken)."""
        if self.jobs:
            first = self.jobs[0].queue
            quick = max(1, int(HELP_S / first.seconds))
            while self.jobs and quick and self.jobs[0].queue is first:
                work.jobs.append(self.jobs.popleft())
                quick -= 1
            work.began = time.monotonic()
            return first, 0, None
        pause = None
        is_full = self.free_slots() <= 0
        queues = self.queues if len(self.queues) == 1 else sorted(self.queues, key=lambda queue: queue.served)
        for queue in queues:
            if (queue.outcomes or queue.finished) and self._must_settle(queue):
                queue.is_settling = True
                work.settling = queue
                return queue, 0, None
            if not is_full and queue.waiting and self._has_burst(queue):
                self._take_burst(work, queue)
                return queue, 0, None
            slots = 0 if is_full else self._wanted(queue)
            if slots:
                left = self._linger(queue)
                if left <= 0:
                    queue.is_fetching, queue.reserved = True, slots
                    work.fetching = queue
                    work.finished, queue.finished = queue.finished, []
                    return queue, slots, None
                pause = min(left, pause or left)
        return None, 0, pause

    def ahead(self, queue: WorkerQueue) -> int:
        """For how many calls beyond its slots a fetch asks."""
        return queue.ahead(self._prefetch) if queue.is_quick else 0

    def has_calls(self) -> bool:
        is_full = self.free_slots() <= 0
        return any(
            self._must_settle(queue) or (not is_full and (self._has_burst(queue) or self._wanted(queue)))
            for queue in self.queues
        )

    def is_idle(self) -> bool:
        return not any(queue.running for queue in self.queues)

    def is_at_rest(self) -> bool:
        """Without the lock: do all queues wait for messages, with nothing in hand?"""
        return not any([queue.held or queue.running or not queue.waits for queue in self.queues])

    def is_pausing(self) -> bool:
        return any(queue.paused_until or queue.rests_until for queue in self.queues)

    def free_slots(self) -> int:
        """Neither taken nor reserved, nor kept from others by a suspect."""
        if self.isolation.job is not None and not self.isolation.is_over():
            return 0
        if len(self.queues) == 1:
            return self._concurrency - self.queues[0].running - self.queues[0].reserved
        return self._concurrency - sum(queue.running + queue.reserved for queue in self.queues)

    def _must_settle(self, queue: WorkerQueue) -> bool:
        """Is there something to release, or to delete that no fetch is going to delete?"""
        if queue.is_settling or not (queue.outcomes or queue.finished) or self._is_paused(queue):
            return False
        return bool(queue.outcomes) or self.deletes_alone(queue)

    def deletes_alone(self, queue: WorkerQueue) -> bool:
        """Is no fetch about to delete what is finished?"""
        if queue.is_fetching:
            return queue.reserved == 0
        elif self.isolation.job is not None:
            return True
        elif queue.is_quick and queue.is_open and (queue.waiting or self._is_kept_back(queue)):
            return False  # one follows soon
        return not self._wanted(queue)

    def _wanted(self, queue: WorkerQueue) -> int:
        """How many slots a fetch should fill now; 0 = no fetch."""
        if queue.is_fetching or queue.waiting or not queue.is_open or self._is_paused(queue) or self._is_resting(queue):
            return 0
        free = self.free_slots()
        if free <= 0 or self._is_kept_back(queue):
            return 0
        elif not (queue.is_measured or queue.running or queue.ref.is_fifo):
            return 1
        elif len(self.queues) == 1:
            return free
        rivals = [other for other in self.queues if other.is_backlogged and other.is_open and other is not queue]
        if rivals:
            weights = queue.handler.weight + sum(other.handler.weight for other in rivals)
            share = math.ceil(self._concurrency * queue.handler.weight / weights)  # the order of assign() does the rest
            free = min(free, share - queue.running)
        return max(free, 0)

    def _is_kept_back(self, queue: WorkerQueue) -> bool:
        """Is it too early for another fetch? Of tiny handlers one thread runs everything, and the first call of all
        shows how long they take."""
        is_early = queue.running > 0 and time.monotonic() - queue.burst_at < START_S and not queue.ref.is_fifo
        return is_early and (queue.seconds <= TINY_S or not queue.is_measured)

    def _has_burst(self, queue: WorkerQueue) -> bool:
        """Do jobs without a slot wait for a thread?"""
        return bool(queue.waiting) and not (queue.handler.is_coroutine or queue.ref.is_fifo)

    def _take_burst(self, work: ThreadWork, queue: WorkerQueue) -> None:
        """A thread gets jobs that it runs one after the other in one slot."""
        waiting, jobs = queue.waiting, work.jobs
        most = max(1, int((BURST_S if queue.seconds <= TINY_S else HELP_S) / queue.seconds))
        work.burst = queue
        queue.running += 1
        for _ in range(min(most, len(waiting))):
            jobs.append(waiting.popleft())
        queue.served += len(jobs) / queue.handler.weight
        work.began = queue.burst_at = self._begun_at = time.monotonic()

    def surplus(self, queue: WorkerQueue) -> list[Job]:
        """Take those away that wait beyond the slots, and are more than the handler may be behind with; the last one
        first."""
        if queue.ref.is_fifo or not queue.waiting:
            return []
        allowed = max(self.free_slots(), 0) + queue.ahead(self._prefetch)
        return [queue.waiting.pop() for _ in range(len(queue.waiting) - allowed)]

    def is_stuck(self, queue: WorkerQueue) -> bool:
        """To be called now and then: do calls of a quick handler run, or any wait in hand, and none has ended for a
        while?"""
        bursts, looks = queue.watched
        looks = looks + 1 if bursts == queue.bursts and (queue.running or queue.waiting) else 0
        queue.watched = queue.bursts, looks
        return looks >= STUCK_LOOKS and not queue.ref.is_fifo and (queue.is_quick or len(queue.waiting) > 0)

    def _is_paused(self, queue: WorkerQueue) -> bool:
        if queue.paused_until and time.monotonic() >= queue.paused_until:
            queue.paused_until = 0.0
        return queue.paused_until > 0

    def _is_resting(self, queue: WorkerQueue) -> bool:
        if queue.rests_until and time.monotonic() >= queue.rests_until:
            queue.rests_until = 0.0
        return queue.rests_until > 0

    def _linger(self, queue: WorkerQueue) -> float:
        """Seconds until a fetch is worth its costs, with quick handlers: while others are running it waits for them,
        and while messages come one close upon the other, but fewer than asked for, it lets some gather."""
        if queue.seconds > SHORT_S:
            return 0.0
        if sum(other.running for other in self.queues) * 2 > self._concurrency:
            return queue.fetched_at + HELP_S - time.monotonic()
        return 0.0 if queue.is_full else queue.fetched_at + self._linger_s - time.monotonic()

    # What changes it

    def pause(self, queue: WorkerQueue, error: Exception) -> None:
        is_lasting = isinstance(error, (QueueDoesNotExist, QueueDamaged))
        last = len(ERROR_PAUSES_S) - 1
        queue.paused_until = time.monotonic() + ERROR_PAUSES_S[last if is_lasting else min(queue.errors, last)]
        queue.errors += 1

    def rest(self, queue: WorkerQueue) -> None:
        """Receive nothing for a while; what is in hand is settled."""
        queue.rests_until = time.monotonic() + RESTS_S[min(queue.rests, len(RESTS_S) - 1)]
        queue.rests += 1

    def forget_idleness(self, queue: WorkerQueue) -> None:
        """A queue that had nothing to do for a while is the next one now, but does not make up for what it missed."""
        if len(self.queues) == 1:
            return
        busy = [other.served for other in self.queues if other.is_backlogged]
        queue.served = max(queue.served, min(busy, default=0.0) - 1 / queue.handler.weight)

    def start(self, queue: WorkerQueue, jobs: list[Job]) -> None:
        self._begun_at = time.monotonic()
        if queue.is_measured or not queue.running:  # else the first call is what matters
            queue.burst_at = self._begun_at
        queue.running += len(jobs)
        queue.served += len(jobs) / queue.handler.weight
        if not queue.handler.is_coroutine:
            self.jobs.extend(jobs)

    def withdraw(self, queue: WorkerQueue) -> list[Job]:
        """Jobs that no thread has taken yet lose their slots; so does a suspect that waits for one."""
        found = [job for job in self.jobs if job.queue is queue]
        suspect = self.isolation.withdraw(queue)
        if suspect is not None:
            found.append(suspect)
        self.jobs = deque(job for job in self.jobs if job.queue is not queue)
        return found

    def lost_jobs(self, works: list[ThreadWork], known: set[Job]) -> list[Job]:
        """After a thread died while it had them: messages and slots that were on their way from one place to another.
        Returns the jobs that nobody will run; settled messages that nobody reports come back by themselves."""
        known.update(self.jobs, *[work.jobs for work in works], *[work.done for work in works])
        known.update([work.job for work in works if work.job is not None])
        suspect = self.isolation.job
        if suspect is not None and not suspect.has_slot:
            known.add(suspect)
        lost: dict[Job, None] = {}
        for queue in self.queues:
            bursts = sum([work.burst is queue for work in works])
            queue.running = bursts + sum([job.queue is queue and job.has_slot for job in known])
            outcomes = [*queue.outcomes, *[outcome for work in works for outcome in work.outcomes]]
            reported = {*queue.finished, *[outcome.delivery for outcome in outcomes]}
            reported.update(*[work.finished for work in works])
            for delivery, job in list(queue.held.items()):
                if job.is_settled and delivery not in reported:
                    del queue.held[delivery]
                elif not job.is_settled and job not in known and job not in queue.waiting:
                    lost[job] = None
        return list(lost)

    def next_suspect(self) -> Job | None:
        """The suspect, if it may begin."""
        if self.isolation.job is None:
            return None
        return self.isolation.next(self.is_idle(), self._begun_at)

    def ended(self, queue: WorkerQueue, seconds: float) -> None:
        """Calls of its handler ended, and took about that long."""
        queue.bursts += 1
        if not queue.is_measured:
            queue.is_measured, queue.seconds = True, seconds
        queue.seconds += (0.1 if seconds < queue.seconds else 0.5) * (seconds - queue.seconds)
