"""Decides what becomes of messages, and reports it to the server in batches.

Finished messages are deleted by the fetch that brings the next ones, if there is one; failed ones are released.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from rqsqs._core import flows, telemetry
from rqsqs._core.delivery import Delivery
from rqsqs._core.operation import Flow
from rqsqs._core.operations import DEAD_LETTERED, EXPIRED, GONE, Outcome
from rqsqs._io.sync.runner import Transport
from rqsqs._tracebacks import forget_own_frames
from rqsqs.errors import DurabilityNotReached, QueueDoesNotExist
from rqsqs.worker import log_lines
from rqsqs.worker.error_reports import SETTLE, ErrorReports
from rqsqs.worker.handlers import DONE, for_each
from rqsqs.worker.jobs import Host, Job
from rqsqs.worker.outcomes import failed, requeue
from rqsqs.worker.scheduler import Scheduler, ThreadWork
from rqsqs.worker.worker_queue import WorkerQueue

T = TypeVar("T")
log = logging.getLogger("rqsqs.worker")


class Settler:
    """Called from the threads of the executor, with the lock held where that is said."""

    def __init__(self, host: Host, scheduler: Scheduler, transport: Transport, reports: ErrorReports) -> None:
        self._lock: threading.Lock = host.lock
        self._scheduler = scheduler
        self._transport = transport
        self._durability = host.durability
        self._consumer_id = host.consumer_id
        self._reports = reports

    def failure(self, delivery: Delivery, error: BaseException, seconds: float | None = None) -> Outcome:
        """The outcome of a message whose handler raised an exception after some seconds."""
        return failed(delivery, error, self._consumer_id, seconds)

    # Decide

    def outcomes(self, jobs: Iterable[Job]) -> list[tuple[Job, Sequence[Outcome | None]]]:
        """The outcomes of jobs that have ended, logged."""
        is_logged = log_lines.wants_handled()
        return [
            (job, DONE if job.errors is DONE and not is_logged else self.outcomes_of(job, job.errors)) for job in jobs
        ]

    def outcomes_of(self, job: Job, errors: Sequence[BaseException | None]) -> Sequence[Outcome | None]:
        """The outcome of each message of a job (None = finished), logged; DONE if all are finished."""
        name, is_logged = job.queue.name, log_lines.wants_handled()
        found: list[Outcome | None] = []
        try:
            if job.is_settled or errors is DONE or all([error is None for error in errors]):
                if is_logged and not job.is_settled:
                    for d in job.deliveries:
                        log_lines.handled(name, d, job.seconds)
                return DONE
            for d, error in zip(job.deliveries, errors, strict=True):
                found.append(None)
                if error is not None:
                    forget_own_frames(error)
                    outcome = self.failure(d, error, job.seconds)
                    is_by_hand = job.is_by_hand(d)
                    log_lines.failed(name, outcome, is_settled=is_by_hand)
                    if not is_by_hand:
                        found[-1] = outcome
                elif is_logged:
                    log_lines.handled(name, d, job.seconds)
            return found
        except BaseException as error:  # a logger's, or of an exception that has no text
            return self._unlogged_outcomes(job, errors, error)

    def _unlogged_outcomes(
        self, job: Job, errors: Sequence[BaseException | None], why: BaseException
    ) -> Sequence[Outcome | None]:
        """The end of a job cannot be logged: messages that did not succeed have failed."""
        with contextlib.suppress(Exception):
            log.error("cannot tell how a handler of %s ended: %s", job.queue.name, type(why).__name__)
        if job.is_settled or errors is DONE:
            return DONE
        instead = RuntimeError(f"its handler failed, and telling that raised {type(why).__name__}")
        found: list[Outcome | None] = []
        for d, error in zip(job.deliveries, errors, strict=True):
            found.append(None)
            if error is not None:
                try:
                    found[-1] = self.failure(d, error, job.seconds)
                except BaseException:
                    found[-1] = self.failure(d, instead, job.seconds)
        return found

    def apply(self, job: Job, outcomes: Sequence[Outcome | None], seconds: float | None = None) -> None:
        """With the lock: note what becomes of the messages of a job, once.

        Args:
            seconds: what its handler took; None = it was not called.
        """
        if job.is_settled:
            return
        job.is_settled = True
        queue = job.queue
        if outcomes is DONE and not job.by_hand:  # the common case
            queue.finished += job.deliveries
            if seconds is not None:
                queue.note("succeeded", seconds, len(job.deliveries))
            return
        done = failed = 0
        for d, outcome in zip(job.deliveries, for_each(outcomes, job.deliveries), strict=True):
            if job.by_hand and job.is_by_hand(d):
                failed += d in job.released
                done += d not in job.released
            elif outcome is None:
                queue.finished.append(d)
                done += 1
            elif d in queue.held:  # it was not lost meanwhile
                failed += outcome.kind != "requeue"
                queue.failed += outcome.kind != "requeue"
                queue.given_back += outcome.kind == "requeue"
                queue.outcomes.append(outcome)
        if seconds is not None:
            if done:
                queue.note("succeeded", seconds, done)
            if failed:
                queue.note("failed", seconds, failed)

    def give_back(self, job: Job) -> None:
        """With the lock: its messages are visible again at once, uncounted."""
        job.is_settled = True
        outcomes = [requeue(d) for d in job.deliveries if not job.is_by_hand(d)]
        job.queue.given_back += len(outcomes)
        job.queue.outcomes += outcomes

    # Report

    def settle(self, work: ThreadWork, queue: WorkerQueue) -> None:
        """Release what failed, delete what is finished."""
        with self._lock:
            outcomes, queue.outcomes = queue.outcomes, []
            finished: list[Delivery] = []
            if self._scheduler.deletes_alone(queue):
                finished, queue.finished = queue.finished, []
            work.finished, work.outcomes = finished, outcomes
        statuses: list[int] = []
        warn = self.warning(queue)
        error: Exception | None = None
        try:
            if finished:
                self._run(queue, finished, flows.finish(queue.ref, finished, self._durability, warn))
            if outcomes:
                released = [outcome.delivery for outcome in outcomes]
                statuses = self._run(queue, released, flows.release(queue.ref, outcomes, self._durability, warn))
        except QueueDoesNotExist:
            pass
        except Exception as e:
            error = e
        with self._lock:
            work.settling = None
            queue.is_settling = False
            if error is None:
                self.deleted(queue, finished)
                for outcome, status in zip(outcomes, statuses, strict=False):
                    if outcome.kind != "requeue":
                        queue.retried += status >= 0
                        queue.dead_lettered += status == DEAD_LETTERED
                        queue.lost += status in (EXPIRED, GONE)
                for outcome in outcomes:
                    queue.held.pop(outcome.delivery, None)
            else:
                queue.finished += finished
                for outcome in outcomes:
                    if outcome.kind == "requeue" and getattr(error, "request_sent", False):
                        queue.held.pop(outcome.delivery, None)  # perhaps another has it: else it comes back by itself
                    else:
                        queue.outcomes.append(outcome)
                self._scheduler.pause(queue, error)
            work.finished, work.outcomes = [], []
        self._reports.ended(queue.name, SETTLE, error)
        for outcome, status in zip(outcomes, statuses, strict=False):
            if outcome.kind != "requeue":
                log_lines.released(queue.name, outcome, status)

    def _run(self, queue: WorkerQueue, deliveries: Sequence[Delivery], flow: Flow[T]) -> T:
        on = telemetry.current
        if on is not None:
            flow = on.settle(self._transport.url, queue.ref, deliveries, flow)
        return self._transport.run(flow)

    def deleted(self, queue: WorkerQueue, finished: list[Delivery]) -> None:
        """With the lock: they are gone; the list is emptied."""
        for d in finished:
            queue.held.pop(d, None)
        queue.succeeded += len(finished)
        finished.clear()

    def warning(self, queue: WorkerQueue) -> Callable[[DurabilityNotReached], None]:
        """Logs that deletes and releases are less durable than they have to be."""
        return functools.partial(log.warning, "%s: %s", queue.name)
