"""Runs handlers, in threads or as tasks, and the calls that fetch and settle.

Threads do all of it. A thread that has nothing to run fetches for a queue, runs what came, and fetches again, together
with deleting what is finished: while handlers are quick nothing is handed from thread to thread. When they are not, it
calls others to help; if it was mistaken, the watch does so. Coroutines run on the event loop; threads fetch and settle
for them as well.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from queue import Empty

from rqsqs.worker.jobs import Host, Job
from rqsqs.worker.restarting_thread import RestartingThread
from rqsqs.worker.scheduler import HELP_S, STUCK_LOOKS, TINY_S, Scheduler, ThreadWork
from rqsqs.worker.settler import Settler
from rqsqs.worker.worker_queue import WorkerQueue

log = logging.getLogger("rqsqs.worker")

WATCH_S = 0.01  # after this time others take over the jobs behind a handler that takes unexpectedly long
WATCHES = 100  # looks without finding anything to do until the watch goes to sleep


class Executor:
    """The threads and tasks of a worker.

    Args:
        most_threads: that it may have.
        on_idle: called when it was told to stop and no handler is running any more.
    """

    fetch: Callable[[ThreadWork, WorkerQueue, int], None]  # called by threads with their work, and the slots to fill

    def __init__(
        self, host: Host, scheduler: Scheduler, settler: Settler, most_threads: int, on_idle: Callable[[], None]
    ) -> None:
        self._host = host
        self._lock: threading.Lock = host.lock
        self._scheduler = scheduler
        self._settler = settler
        self._most_threads = most_threads
        self._on_idle = on_idle
        self._threads: list[RestartingThread] = []
        self._works: list[ThreadWork] = []  # one for each thread
        self._sleeping: list[ThreadWork] = []  # those whose threads nobody has woken yet
        self._watching = RestartingThread("rqsqs-watch", self._watch)
        self._is_watched = False
        self._watch_wanted = threading.Event()
        self._on_loop: set[Job] = set()  # run by tasks, which they keep alive, or about to be, not concluded yet
        self._ended: deque[Job] = deque()  # those of them that have ended
        self._taken: deque[Job] = deque()  # ended, not concluded yet: the watch took them from threads
        self.is_stopping = False  # no new jobs come
        self._is_closed = False

    # Life

    def begin(self) -> None:
        """Let a thread for each queue look for work. To be called on the event loop."""
        self._loop_thread = threading.get_ident()
        self._watching.start()
        for _ in self._scheduler.queues:
            with self._lock:
                self.wake()

    def cancel_tasks(self) -> None:
        """Those that still run have lost their messages."""
        for job in self._on_loop.copy():  # threads add to it
            if job.task is not None:
                job.task.cancel()

    def close(self) -> None:
        """Threads end when they find nothing to do."""
        with self._lock:
            self._is_closed = True
            for work in self._works:
                work.wakes.put(None)
        for thread in self.threads():
            thread.abort()
        self._watch_wanted.set()

    def threads(self) -> list[RestartingThread]:
        return [self._watching, *self._threads.copy()]

    def withdraw(self, queue: WorkerQueue) -> list[Job]:
        """With the lock: jobs of a queue that have a slot and were not begun give it back."""
        jobs = self._scheduler.withdraw(queue)
        for work in self._works:
            with contextlib.suppress(IndexError):
                while work.jobs and work.jobs[0].queue is queue:
                    jobs.append(work.jobs.popleft())
        queue.running -= sum([job.has_slot for job in jobs])
        return jobs

    def waiting(self, queue: WorkerQueue) -> int:
        """With the lock: how many jobs of a queue wait without a slot."""
        return len(queue.waiting) + sum([len(work.jobs) for work in self._works if work.burst is queue])

    # Threads

    def wake(self) -> None:
        """With the lock: let one thread see what is to be done."""
        if self._sleeping:
            self._sleeping.pop().wakes.put(None)
        elif len(self._threads) < self._most_threads and not self._is_closed:
            work = ThreadWork()
            name = f"rqsqs-worker-{len(self._threads) + 1}"
            thread = RestartingThread(name, functools.partial(self._work, work), functools.partial(self._recover, work))
            self._threads.append(thread)  # before it starts: whatever happens then, its end is not forgotten
            self._works.append(work)
            try:
                thread.start()
            except RuntimeError as e:  # the system gives no more
                self._threads.pop()
                self._works.pop()
                if not self._threads:
                    raise
                log.debug("cannot start a thread: %s", e)

    def call_others(self) -> None:
        """With the lock: is there a call for another thread to make?"""
        if self._scheduler.has_calls():
            self.wake()

    def _work(self, work: ThreadWork) -> None:
        scheduler = self._scheduler
        work.lives += 1
        if work.lives > 1:  # its recovery may have died as well
            self._recover(work, RuntimeError("the thread died that had the message"))
        while True:
            with self._lock:
                queue, slots, pause = scheduler.assign(work)
                if queue is None:
                    if self._is_closed:
                        return
                    self._sleeping.append(work)
                elif work.jobs or (slots and self._sleeping and len(scheduler.queues) > 1):
                    self._call_help(queue)
            if queue is None:
                self._sleep(work, pause)
                continue
            if slots:
                self.fetch(work, queue, slots)
            elif work.settling is not None:
                self._settler.settle(work, queue)
            else:
                self._run_jobs(work)
            if queue.paused_until or queue.rests_until:
                with self._lock:
                    self._want_watch()

    def _call_help(self, queue: WorkerQueue) -> None:
        """This thread is about to be busy for a queue: is there something to do for another one?"""
        if (
            self._scheduler.jobs
            or (queue.waiting and queue.seconds > TINY_S)
            or (queue.seconds > HELP_S and self._scheduler.has_calls())
        ):
            self.wake()
        if not self._is_watched:
            self._want_watch()

    def _run_jobs(self, work: ThreadWork) -> None:
        jobs, done = work.jobs, work.done
        try:
            while jobs:
                work.job = jobs[0]  # it is never nowhere, wherever the thread dies
                work.job = job = jobs.popleft()
                job.run()
                done.append(job)
                work.job = None
        except IndexError:  # the watch has taken it meanwhile
            work.job = None
        self._conclude(done, work)

    def _sleep(self, work: ThreadWork, seconds: float | None) -> None:
        try:
            work.wakes.get(timeout=seconds)
        except Empty:
            with self._lock:
                self._mark_awake(work)

    def _mark_awake(self, work: ThreadWork) -> None:
        """Its thread is awake, whether somebody woke it or not."""
        if work in self._sleeping:
            self._sleeping.remove(work)
        while not work.wakes.empty():
            work.wakes.get_nowait()

    def _recover(self, work: ThreadWork, error: BaseException) -> None:
        """Its thread died: what it held is tried again, others do what it was about to do. Once more if it dies."""
        with self._lock:
            self._mark_awake(work)
            job = work.job
            if job and job.began != job.since and not job.is_settled and job not in (*work.done, *self._taken):
                if not job.errors:  # it died before the handler had ended
                    job.errors = [error] * len(job.deliveries)
                    job.seconds = time.monotonic() - job.began
                work.done.append(job)
            work.job = None
            self._put_back(work)
            for queue in (work.fetching, work.settling):
                if queue is not None:
                    queue.finished[:0] = work.finished
                    queue.outcomes[:0] = work.outcomes
            if work.fetching is not None:
                work.fetching.is_fetching, work.fetching.reserved = False, 0
            if work.settling is not None:
                work.settling.is_settling = False
            work.fetching = work.settling = None
            work.finished, work.outcomes = [], []
            jobs = {*self._taken, *self._ended, *self._on_loop}
            lost = self._scheduler.lost_jobs(self._works, jobs)
            self._want_watch()
        self._conclude(work.done, work)
        for job in lost:
            outcomes = self._settler.outcomes_of(job, [error] * len(job.deliveries))
            with self._lock:
                self._settler.apply(job, outcomes)

    def _put_back(self, work: ThreadWork) -> None:
        """With the lock: another thread runs what this one has not begun."""
        with contextlib.suppress(IndexError):
            while True:
                job = work.jobs.pop()
                (self._scheduler.jobs if job.has_slot else job.queue.waiting).appendleft(job)

    # The watch

    def _want_watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._watch_wanted.set()

    def _watch(self) -> None:
        """While handlers are running, see to it that nothing waits behind one that is not as quick as expected."""
        while not self._is_closed:
            looks = 0  # also when it begins anew
            while looks < WATCHES and not self._is_closed:
                looks += 1
                if looks == WATCHES:  # before the last look: what begins after it is watched again
                    self._is_watched = False
                if self._look():
                    looks, self._is_watched = 0, True
                if looks < WATCHES:
                    time.sleep(WATCH_S)
            self._watch_wanted.wait()
            self._watch_wanted.clear()
            time.sleep(WATCH_S)

    def _look(self) -> bool:
        """Let others take over what waits. Returns whether there may be more soon."""
        scheduler = self._scheduler
        if any([queue.has_news for queue in scheduler.queues]):  # not the fetch, which wants to start handlers
            self._host.heartbeat.wake()
        if not self._taken and scheduler.is_at_rest():
            return False
        with self._lock:
            self._take_over()
            self.start_suspect()
            self._fill_all()  # slots that were reserved for a fetch may be free now
            for queue in scheduler.queues:
                if scheduler.is_stuck(queue):
                    self._slow_down(queue)
            is_needed = bool(scheduler.jobs) or scheduler.has_calls()
            if is_needed:
                self.wake()
        if self._taken:
            self._conclude(self._taken)
        return is_needed or scheduler.is_pausing() or scheduler.isolation.job is not None

    def _take_over(self) -> None:
        """With the lock: take jobs from threads that are stuck with the one before them, also those that are done."""
        late = time.monotonic() - WATCH_S
        for work in self._works:
            if work.job is not None and work.began < late and (work.jobs or work.done):
                self._put_back(work)
                with contextlib.suppress(IndexError):
                    while True:
                        self._taken.append(work.done.popleft())

    def _slow_down(self, queue: WorkerQueue) -> None:
        """With the lock: its handler is not quick any more, so what was taken ahead goes back."""
        queue.seconds = max(queue.seconds, STUCK_LOOKS * WATCH_S)
        for work in self._works:
            if work.burst is queue:
                self._put_back(work)
        self._give_surplus_back(queue)

    def _give_surplus_back(self, queue: WorkerQueue) -> None:
        for job in self._scheduler.surplus(queue):
            self._settler.give_back(job)

    # Jobs

    def take_ahead(self, queue: WorkerQueue, jobs: list[Job]) -> None:
        """With the lock: they wait for a slot, or for a thread that runs many of them in one."""
        queue.waiting.extend(jobs)  # of a fetch that was made when none were waiting, so one that came alone is first
        if queue.handler.is_coroutine:
            self._fill(queue)

    def _fill_all(self) -> None:
        """With the lock: the same for all queues whose jobs get slots one by one, the one that had the fewest first."""
        queues = self._scheduler.queues
        for queue in queues if len(queues) == 1 else sorted(queues, key=lambda queue: queue.served):
            if queue.waiting and (queue.handler.is_coroutine or queue.ref.is_fifo):
                self._fill(queue)

    def _fill(self, queue: WorkerQueue) -> None:
        """With the lock: jobs that wait get free slots, one each."""
        free = min(self._scheduler.free_slots(), len(queue.waiting))
        if free > 0:
            self.start(queue, [queue.waiting.popleft() for _ in range(free)])

    def take_suspect(self) -> None:
        """With the lock: one was received. The watch lets others begin beside it in the end."""
        self.start_suspect()
        self._want_watch()

    def start_suspect(self) -> None:
        """With the lock: the suspect, if there is one, begins as soon as it may."""
        job = self._scheduler.next_suspect()
        if job is not None:
            self.start(job.queue, [job])
            self.wake()

    def start(self, queue: WorkerQueue, jobs: list[Job]) -> None:
        """With the lock: they get slots, and run as soon as a thread or the event loop has time."""
        for job in jobs:
            job.has_slot = True
        self._scheduler.start(queue, jobs)
        if queue.handler.is_coroutine:
            self._on_loop.update(jobs)
            is_on_loop = threading.get_ident() == self._loop_thread  # then it is awake: a call from outside wakes it
            (self._host.loop.call_soon if is_on_loop else self._host.soon)(self._start_tasks, jobs)
            self._want_watch()

    def _start_tasks(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.task = self._host.loop.create_task(self._run(job))

    async def _run(self, job: Job) -> None:
        try:
            await job.run_as_task()
        except BaseException as e:  # of a middleware, or a bug
            job.errors = [e] * len(job.deliveries)
            job.seconds = time.monotonic() - job.began
        self._ended.append(job)
        if len(self._ended) == 1:  # tasks that end in the same turn are settled together
            self._host.loop.call_soon(self._collect, context=contextvars.Context())  # what it starts has none of this

    def _collect(self) -> None:
        self._conclude(self._ended)
        with self._lock:
            self.call_others()

    def _conclude(self, done: deque[Job], work: ThreadWork | None = None) -> None:
        """Jobs have ended and their slots are free; so is that of a thread that has run its burst. Jobs stay
        in `done` until then, unless the watch takes them."""
        ended: defaultdict[WorkerQueue, list[Job]] = defaultdict(list)
        concluded = self._settler.outcomes(done.copy())
        now = time.monotonic()
        with self._lock:
            if work is not None and work.burst is not None:
                burst, work.burst = work.burst, None
                burst.running -= 1
            for job, outcomes in concluded:
                if not done or done[0] is not job:
                    continue
                queue = job.queue
                queue.running -= job.has_slot
                self._settler.apply(job, outcomes, job.seconds)
                if job.task is not None:
                    self._on_loop.discard(job)
                ended[queue].append(job)
                done.popleft()
            for queue, jobs in ended.items():
                self._scheduler.ended(queue, (now - jobs[0].began) / len(jobs))
            if self._scheduler.isolation.job is not None:
                self.start_suspect()
            self._fill_all()
            for queue in ended:
                self._give_surplus_back(queue)
            if self.is_stopping and self._scheduler.is_idle():
                self._on_idle()

    def expired(self, job: Job, error: BaseException) -> None:
        job.seconds = time.monotonic() - job.began
        outcomes = self._settler.outcomes_of(job, [error] * len(job.deliveries))
        with self._lock:
            self._settler.apply(job, outcomes, job.seconds)
            self.wake()
