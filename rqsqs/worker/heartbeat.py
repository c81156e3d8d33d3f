"""The heartbeat: a thread of its own with a connection of its own, which a busy handler cannot starve.

With each heartbeat, one call per queue keeps everything that is held invisible for two heartbeat intervals, shows that
this worker lives, and brings back which messages were lost, and commands. If heartbeats stop, because the process died
or was frozen, the messages become visible within two intervals, by themselves.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._io.sync.runner import Transport
from rqsqs.errors import QueueDoesNotExist, RqsqsError
from rqsqs.worker.error_reports import BEAT, ErrorReports
from rqsqs.worker.restarting_thread import RestartingThread

if TYPE_CHECKING:
    from rqsqs.worker.worker_queue import WorkerQueue

log = logging.getLogger("rqsqs.worker")

IDLE_S = 30.0  # a worker that holds nothing has nothing to keep invisible
LATE_S = 10.0  # that an idle worker's heartbeat may be late until the worker counts as lost
RENEW_S = 600.0  # after which an idle worker describes itself anew
EXTENDED = 2  # heartbeat intervals for which each heartbeat extends what is held
SHOWN = 100  # messages in hand that a worker names


@dataclass(eq=False)
class Heartbeat:
    """Keeps what a worker holds of all its queues until it is stopped."""

    transport: Transport  # its own
    queues: list[WorkerQueue]
    consumer_id: str
    interval: float  # seconds between two heartbeats while anything is held
    max_extension: float  # seconds after which a message is not kept invisible any more
    describe: Callable[[WorkerQueue], dict[str, Any]]
    lost: Callable[[WorkerQueue, list[Delivery]], None]  # called with deliveries that are not held any more
    command: Callable[[WorkerQueue, str], None]  # called with "drain" or "evict"
    reports: ErrorReports

    def __post_init__(self) -> None:
        self.idle = max(self.interval, IDLE_S)
        self.extension_s = self.interval * EXTENDED
        self.extension_ms = round(self.extension_s * 1000)
        # The last description that was sent for a queue, if nothing was held, else {}; and when (monotonic).
        self._sent: dict[WorkerQueue, tuple[dict[str, Any], float]] = {}
        self._wake = threading.Event()
        self._is_stopped = False
        self._is_resting = False  # nothing is held, nothing is to be told: the next heartbeat is far
        self.beats = 0  # rounds of heartbeats that went well
        self.last = 0.0  # when the last heartbeat that went well began (monotonic)
        self.beating = threading.Lock()  # what it says of messages in hand is true until it is answered
        self.thread = RestartingThread("rqsqs-heartbeat", self._run)

    @property
    def is_healthy(self) -> bool:
        """Has the server answered lately?"""
        return self.thread.is_healthy and time.monotonic() - self.last < self.idle + 2 * self.interval

    def start(self) -> None:
        """Beat for the first time, which may raise QueueDoesNotExist or a ServerError, and continue in a thread."""
        began = time.monotonic()
        for queue in self.queues:
            self._beat(queue)
        self.last, self.beats = began, 1
        self.thread.start()

    def wake(self) -> None:
        if self._is_resting:
            self._is_resting = False
            self._wake.set()

    def stop(self) -> None:
        """Beat no more, and sign off."""
        self._is_stopped = True
        self._wake.set()
        self.thread.join()
        for queue in self.queues:
            try:
                self.transport.run(flows.beat(queue.ref, (), 0, self.consumer_id, self.describe(queue), 0))
            except QueueDoesNotExist:
                continue
            except RqsqsError as e:
                log.info("could not sign off from %s: %s", queue.name, e)

    def _run(self) -> None:
        due = self.last + self.interval  # also when it begins anew
        is_well = True
        while not self._is_stopped:
            self._is_resting = True  # before looking, so that wake() misses nothing
            if any([queue.has_news for queue in self.queues]):
                self._is_resting = False
            if self._is_resting:
                self._wake.wait(self.idle if is_well else max(due - time.monotonic(), 0))
                if self._wake.is_set():  # what was just received is invisible for two intervals anyway
                    self._wake.clear()
                    due = time.monotonic() + self.interval
                    continue
                due = time.monotonic()
            elif self._wake.wait(max(due - time.monotonic(), 0)):
                self._wake.clear()
                continue
            began = time.monotonic()
            due = max(due + self.interval, began)
            is_well = True
            for queue in self.queues:
                try:
                    self._beat(queue)
                except QueueDoesNotExist as e:
                    self.reports.ended(queue.name, BEAT, e)
                    self.lost(queue, list(queue.held))
                    queue.told = queue.calls  # nobody is left to be told
                except Exception as e:  # it does not stop
                    is_well = False
                    self.reports.ended(queue.name, BEAT, e)
                else:
                    self.reports.ended(queue.name, BEAT, None)
            if is_well:
                self.last = began
                self.beats += 1
                self.reports.check()
            else:
                due = time.monotonic() + min(self.interval / 4, 1.0)

    def _beat(self, queue: WorkerQueue) -> None:
        held = list(queue.held.copy().items())
        now = time.monotonic()
        too_long = [d for d, job in held if now - job.since > self.max_extension]
        kept = [d for d, job in held if now - job.since <= self.max_extension] if too_long else [d for d, _ in held]
        life_s = self.extension_s + 1 if held else self.idle + max(self.extension_s, LATE_S)
        calls = queue.calls
        description = self.describe(queue)
        # A change of this count alone is not worth a description: an idle worker counts on.
        compared = {**description, "statistics": {**description["statistics"], "wait_checks": 0}}
        sent, sent_at = self._sent.get(queue, ({}, 0.0))
        is_same = not held and compared == sent and now - sent_at < RENEW_S
        with self.beating:
            command, lost = self.transport.run(
                flows.beat(
                    queue.ref, kept, self.extension_ms, self.consumer_id, description, round(life_s * 1000),
                    is_same=is_same,
                )
            )  # fmt: skip
        queue.told = calls
        if not is_same:
            self._sent[queue] = {} if held else compared, now
        if lost or too_long:
            self.lost(queue, lost + too_long)
        if command:
            self.command(queue, command)


def consumer_id() -> str:
    """A name for this process: HOST-PID-RANDOM."""
    return f"{os.uname().nodename if hasattr(os, 'uname') else 'host'}-{os.getpid()}-{os.urandom(3).hex()}"
