"""Fetches messages for queues with free slots, and makes jobs of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rqsqs._core import flows, telemetry
from rqsqs._core.delivery import Delivery, are_plain
from rqsqs._core.operation import Flow, Sleep, Wait
from rqsqs._core.operations import Outcome
from rqsqs._io.sync.runner import Transport
from rqsqs.errors import FormatNewer, QueueDoesNotExist
from rqsqs.worker import log_lines
from rqsqs.worker.error_reports import RECEIVE, ErrorReports
from rqsqs.worker.executor import Executor
from rqsqs.worker.jobs import Host, Job
from rqsqs.worker.outcomes import WorkerDied, requeue
from rqsqs.worker.scheduler import Scheduler, ThreadWork
from rqsqs.worker.settler import Settler
from rqsqs.worker.worker_queue import WorkerQueue

log = logging.getLogger("rqsqs.worker")

WAIT_MS = 3_600_000  # a fetch waits until something comes


class Closed(Exception):
    """Ends a fetch that waits for a queue that was closed."""


@dataclass(eq=False)
class Fetcher:
    """Called from the threads of the executor."""

    host: Host  # of the jobs
    scheduler: Scheduler
    settler: Settler
    executor: Executor
    transport: Transport
    reports: ErrorReports
    max_crashes: int  # receives in a row without a report, after which a message goes to the dead-letter queue

    def fetch(self, work: ThreadWork, queue: WorkerQueue, slots: int) -> None:
        finished = work.finished
        handler = queue.handler
        asked = min((slots + self.scheduler.ahead(queue)) * handler.size, 1000)
        extension_ms = self.host.heartbeat.extension_ms
        flow = flows.finish_and_receive(
            queue.ref,
            finished,
            asked,
            extension_ms,
            WAIT_MS,
            handler.size if queue.ref.is_fifo else 0,
            self.host.durability,
            self.settler.warning(queue),
            0 if queue.ref.is_fifo else slots * handler.size,
        )
        on = telemetry.current
        if on is not None:
            flow = on.fetch(self.transport.url, queue.ref, finished, flow)
        queue.is_backlogged = True
        got: list[Delivery] = []
        unreadable: list[Outcome] = []
        error: Exception | None = None
        try:
            received = self.transport.run(self._noting_waits(queue, finished, flow))
            if received and time.time() * 1000 - int(received[0].received_ms) > extension_ms:
                lost = self._lost_of(queue, received)  # this process stood still, or the clocks differ
                received = [d for d in received if d not in lost]
            if not queue.ref.is_fifo and are_plain(received):
                got = received
            else:
                got, unreadable = self._readable(queue, received)
        except Closed:
            pass
        except Exception as e:
            error = e
        with self.host.lock:
            work.fetching = None
            queue.is_fetching, queue.reserved = False, 0
            queue.fetched_at = time.monotonic()
            if error is None:
                queue.errors = queue.rests = 0
                queue.is_full = len(got) >= asked or not queue.is_open or (bool(got) and got[0].is_suspect)
                if not queue.is_backlogged:
                    self.scheduler.forget_idleness(queue)
                if finished:
                    self.settler.deleted(queue, finished)
                self._take(queue, got, unreadable)
            else:
                queue.is_backlogged = False
                queue.finished[:0] = finished
                if isinstance(error, FormatNewer):
                    self.scheduler.rest(queue)
                else:
                    self.scheduler.pause(queue, error)
            work.finished = []
        self.reports.ended(queue.name, RECEIVE, error)

    def _readable(self, queue: WorkerQueue, received: Sequence[Delivery]) -> tuple[list[Delivery], list[Outcome]]:
        """Messages that can be handled, and outcomes of the others: a damaged one has failed, and those behind it in
        its group (FIFO) go back."""
        good: list[Delivery] = []
        rest: list[Outcome] = []
        stopped: set[str] = set()
        for d in received:
            if stopped and d.group_name in stopped:
                rest.append(requeue(d))
                continue
            damage = d.damage
            if damage is None:
                good.append(d)
                continue
            damage.__cause__ = None  # its text says it all
            rest.append(self.settler.failure(d, damage.with_traceback(None)))
            log_lines.failed(queue.name, rest[-1])
            if queue.ref.is_fifo:
                stopped.add(d.group_name)
        return good, rest

    def _noting_waits(
        self, queue: WorkerQueue, finished: list[Delivery], flow: Flow[list[Delivery]]
    ) -> Flow[list[Delivery]]:
        """The flow; when it begins to wait, its slots are free for others. A closed queue waits no longer."""
        try:
            step = next(flow)
            while True:
                if type(step) in (Wait, Sleep):
                    if not queue.is_open:
                        step = flow.throw(Closed())
                        continue
                    if queue.reserved:
                        self._begin_to_wait(queue, finished)
                try:
                    result = yield step
                except BaseException as e:
                    step = flow.throw(e)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            found: list[Delivery] = end.value
            return found

    def _begin_to_wait(self, queue: WorkerQueue, finished: list[Delivery]) -> None:
        with self.host.lock:
            queue.reserved, queue.is_backlogged = 0, False
            queue.errors = queue.rests = 0
            self.settler.deleted(queue, finished)
            self.executor.call_others()
        self.reports.ended(queue.name, RECEIVE, None)

    def _take(self, queue: WorkerQueue, got: Sequence[Delivery], unreadable: Sequence[Outcome]) -> None:
        """Make jobs of what was received and start them."""
        since = time.monotonic()
        for outcome in unreadable:
            queue.held[outcome.delivery] = job = Job(self.host, queue, [outcome.delivery], since)
            self.settler.apply(job, [outcome])
        queue.received += len(got) + len(unreadable)
        if not got:
            return
        is_ahead, may_be_deadly = queue.is_quick, False
        if any([d.receives != -1 for d in got]):  # else none of them was received before
            queue.reclaimed += sum([is_reclaimed(d) for d in got if d.receives != -1])
            # of a fair queue each partition fills the slots, each message needs one, and its receive counts
            is_ahead = is_ahead and not any([d.receives >= 0 for d in got])
            may_be_deadly = any([d.receive_count > self.max_crashes for d in got])
            if not queue.ref.is_fifo:
                got = self._isolate(queue, got)
        room = self.scheduler.free_slots()
        is_kept = is_ahead and (room > 0 or self.scheduler.isolation.job is not None)
        jobs: list[Job] = []
        for deliveries in queue.portions(got):
            job = Job(self.host, queue, deliveries, since)
            for d in deliveries:
                queue.held[d] = job
            if not queue.is_open:
                self.settler.give_back(job)
            elif may_be_deadly and any([self._is_deadly(d) for d in deliveries]):
                self.settler.apply(
                    job, [self._dead_letter(d) if self._is_deadly(d) else requeue(d) for d in deliveries]
                )
            elif is_kept:
                job.has_slot = False
                jobs.append(job)
            elif len(jobs) < room:
                jobs.append(job)
            elif queue.ref.is_fifo and queue.handler.batch and room > 0:
                queue.waiting.append(job)
            else:
                self.settler.give_back(job)
        if is_ahead:
            self.executor.take_ahead(queue, jobs)
        else:
            self.executor.start(queue, jobs)

    def _isolate(self, queue: WorkerQueue, got: Sequence[Delivery]) -> Sequence[Delivery]:
        """One suspect waits until it may begin alone. If there are several, from as many partitions or queues, the
        others go back. Returns the messages that are none."""
        isolation = self.scheduler.isolation
        suspects = [d for d in got if d.is_suspect]  # as it begins, it is none any more
        others = [d for d in got if not d.is_suspect]
        for d in suspects:
            queue.held[d] = job = Job(self.host, queue, [d], time.monotonic())
            job.has_slot, job.is_suspect = False, True
            if self._is_deadly(d) and queue.is_open:
                self.settler.apply(job, [self._dead_letter(d)])
            elif queue.is_open and isolation.is_over():
                isolation.take(job)
                self.executor.take_suspect()
            else:
                self.settler.give_back(job)
        return others

    def _is_deadly(self, d: Delivery) -> bool:
        return d.receive_count > self.max_crashes and d.unreported_receives >= self.max_crashes

    def _dead_letter(self, d: Delivery) -> Outcome:
        """It killed its workers again and again."""
        why = f"it was received {d.unreported_receives} times and no worker lived to tell the outcome"
        return self.settler.failure(d, WorkerDied(why))

    def confirm(self, job: Job) -> bool:
        """Are the messages of a job that was not begun yet still ours? Others are left out of it; if it cannot be told,
        all go back."""
        queue = job.queue
        lost: set[Delivery] | None = None
        try:
            lost = self._lost_suspect(job) if job.is_suspect else self._lost_of(queue, job.deliveries)
        except Exception as e:
            log.warning("messages of %s are given back: %s", queue.name, e)
        with self.host.lock:
            if job.is_settled:
                pass
            elif lost is None:
                self.settler.give_back(job)
            else:
                for d in lost:
                    queue.lost += queue.held.pop(d, None) is not None
                job.deliveries = [d for d in job.deliveries if d in queue.held]
                job.lost = frozenset()
                job.is_settled = not job.deliveries
            return not job.is_settled

    def _lost_suspect(self, job: Job) -> set[Delivery]:
        heartbeat = self.host.heartbeat
        with heartbeat.beating:  # it tells how many receives have counted
            is_ours = self.transport.run(flows.begin(job.deliveries[0], heartbeat.extension_ms))
        return set() if is_ours else set(job.deliveries)

    def _lost_of(self, queue: WorkerQueue, deliveries: Sequence[Delivery]) -> set[Delivery]:
        """Those that are not ours any more. The others are, for another two heartbeat intervals."""
        extension_ms = self.host.heartbeat.extension_ms
        try:
            return set(self.transport.run(flows.beat(queue.ref, deliveries, extension_ms, "", None, 0))[1])
        except QueueDoesNotExist:
            return set(deliveries)


def is_reclaimed(d: Delivery) -> bool:
    """Was it received before, and nobody said anything about that receive? That one may not have counted
    (lua/lib/ahead.lua)."""
    if d.receive_count > 1 or d.partition.is_fifo:
        return d.unreported_receives > 0
    return d.first_received_at_ms != int(d.received_ms)
