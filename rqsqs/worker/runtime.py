"""The worker at work: fetch, run, settle.

           ┌─── finished messages are deleted by the call that fetches the next ones ───┐
  fetch ───┴──▶ jobs ──▶ handlers, in threads or as tasks ──▶ outcomes ──▶ settle ──────┘
                                                                 └─ failed: release

Threads do all of it. A thread that has nothing to run fetches for a lane, runs what came, and fetches again, together
with deleting what is finished: while handlers are quick nothing is handed from thread to thread. When they are not, it
calls others to help; if it was mistaken, the watch does so. Coroutines run on the event loop; threads fetch and settle
for them as well.

A worker asks for as many messages as it has free slots. While a fetch waits for a message to come, it holds no slot:
if others took them meanwhile, what comes too much is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from rqsqs import _settings
from rqsqs._core import flows
from rqsqs._core.operation import Flow, Sleep, Wait
from rqsqs._core.operations import Outcome
from rqsqs._core.records import Delivery
from rqsqs._io import defaults
from rqsqs._io.sync.runner import Transport
from rqsqs._sync.connection import Connection
from rqsqs._sync.message import Message
from rqsqs._tracebacks import forget_own_frames
from rqsqs.errors import DurabilityNotReached, FormatNewer, QueueDamaged, QueueDoesNotExist
from rqsqs.models import Statistics
from rqsqs.worker import journal
from rqsqs.worker.forks import leave, watch
from rqsqs.worker.handlers import Handler
from rqsqs.worker.heart import SHOWN, Heart, consumer_id
from rqsqs.worker.jobs import Job
from rqsqs.worker.lanes import Lane
from rqsqs.worker.outcomes import HandlerTimeout, WorkerDied, back, failed
from rqsqs.worker.process import DaemonThreads
from rqsqs.worker.settings import Settings
from rqsqs.worker.threads import Lasting
from rqsqs.worker.troubles import RECEIVE, SETTLE, Troubles

T = TypeVar("T")
log = logging.getLogger("rqsqs.worker")

WAIT_MS = 3_600_000  # a fetch waits until something comes
HELP_S = 0.001  # what takes longer altogether is shared with another thread
SHORT_S = 0.005  # handlers that take less are quick
WATCH_S = 0.01  # so late somebody else takes over what waits behind a handler that took unexpectedly long
WATCHES = 100  # looks without finding anything to do until the watch goes to sleep
PATIENCE_S = (0.1, 0.5, 1.0, 2.0, 5.0)  # pauses while the server is in trouble
REST_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # pauses after messages that a newer version has to handle
LAST_WORDS_S = 5.0  # so long a worker that stops tries to settle what is left


class Burst:
    """What one thread has in hand: jobs that it runs, one after the other, or a call for a lane. If jobs take too long,
    the watch takes over what it can; if the thread dies, all goes to others."""

    __slots__ = ("asks", "began", "done", "finished", "job", "jobs", "settles", "verdicts", "wakes")

    def __init__(self) -> None:
        self.wakes: SimpleQueue[None] = SimpleQueue()  # each wakes its thread
        self.jobs: deque[Job] = deque()
        self.job: Job | None = None  # that is running
        self.done: deque[Job] = deque()  # and not concluded yet
        self.began = 0.0
        self.asks: Lane | None = None  # a fetch for it is on its way
        self.settles: Lane | None = None  # a settlement
        self.finished: list[Delivery] = []  # with it
        self.verdicts: list[Outcome] = []


class Closed(Exception):
    """Ends a fetch that waits for a lane that was closed."""


class Runtime:
    """Serves handlers until it is stopped; made and served in one event loop."""

    def __init__(
        self,
        settings: Settings,
        handlers: Collection[Handler],
        queues: Mapping[str, tuple[_settings.QueueSettings, Mapping[str, str] | None]],
    ) -> None:
        self.settings = settings
        self._queues = queues  # to be created
        self.durability = _settings.default_durability(settings.durability)
        self.consumer_id = consumer_id()
        prefix = defaults.prefix_of(settings.prefix)
        self.transport = Transport(settings.url, prefix, is_interruptible=True, **settings.options)
        beats = Transport(settings.url, prefix, **settings.options)
        options = {"prefix": prefix, "durability": settings.durability, **settings.options}
        self.connection = Connection(settings.url, **options)  # of handlers
        self.aio_connection: Any = None
        if any(handler.is_coroutine for handler in handlers):
            from rqsqs import aio

            self.aio_connection = aio.Connection(settings.url, **options)
        self.lanes = [self._lane(handler) for handler in handlers]
        self.troubles = Troubles(self.statistics)
        self.heart = Heart(
            beats,
            self.lanes,
            self.consumer_id,
            settings.heartbeat_interval,
            settings.max_extension,
            self._describe,
            self._lose,
            self._obey,
            self.troubles,
        )
        self.loop = asyncio.get_running_loop()
        self.started = time.time()
        self.state = "starting"
        self._lock = threading.Lock()  # guards the lanes and everything below
        self._jobs: deque[Job] = deque()  # that have a slot and wait for a thread
        self._threads: list[Lasting] = []
        self._bursts: list[Burst] = []  # one for each thread
        self._sleeping: list[Burst] = []  # those whose threads nobody has woken yet
        self._watching = Lasting("rqsqs-watch", self._watch)
        self._is_closed = False
        self._is_watched = False
        self._watch_wanted = threading.Event()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_told_to_stop = False
        self._is_idle = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._helpers = DaemonThreads()  # not the event loop's, which calls of handlers may all keep busy
        self._ended: deque[Job] = deque()  # run by tasks, not concluded yet
        self.is_forked = False  # this is a child of the process that serves
        self._loop_thread = threading.get_ident()
        watch(self)

    def forked(self) -> None:
        """In a child: see forks. Where a coroutine that forked waits for something, the event loop would go on."""
        self.is_forked = True
        self._lock = threading.Lock()
        if threading.get_ident() == self._loop_thread:
            with contextlib.suppress(Exception):
                self.loop.call_soon(leave)
                ready: Any = self.loop._ready  # type: ignore[attr-defined]
                for i in range(len(ready)):
                    ready[i] = ready[-1]

    def _lane(self, handler: Handler) -> Lane:
        ref = self.transport.queue(handler.queue)
        if not handler.is_coroutine:
            return Lane(handler, ref, Message, self.connection.queue(handler.queue))
        from rqsqs import aio  # only if somebody needs it

        return Lane(handler, ref, aio.Message, self.aio_connection.queue(handler.queue))

    # Life

    async def serve(self) -> None:
        """Serve until stop(). If its task is cancelled, everything is given back at once.

        Raises:
            QueueDoesNotExist, QueueNameExists, ServerError: right at the start.
        """
        try:
            await self.call(self._create_queues)
            try:
                await self.call(self.heart.start)
            except QueueDoesNotExist as e:
                hint = f"create it, or let the worker do so when it starts: worker.create_queue({e.queue!r})"
                raise type(e)(f"{e}; {hint}", sqs_message=e.sqs_message, detail=e.detail, queue=e.queue) from None
            self._watching.start()
            self.state = "running"
            names = [lane.ref.name for lane in self.lanes]
            journal.started(self.consumer_id, names, self.transport.link.where, self.settings.concurrency)
            for _ in self.lanes:
                with self._lock:
                    self._wake()
            try:
                await self._stop.wait()
                await self._wind_up()
            except asyncio.CancelledError:
                self._stop.set()
                self._hurry.set()
                await self._wind_up()
                raise
        finally:
            self.state = "stopped"
            with self._lock:
                self._is_closed = True
                for burst in self._bursts:
                    burst.wakes.put(None)
            for thread in self.threads():
                thread.hurry()
            self._watch_wanted.set()
            await self.call(self.heart.stop)
            self._helpers.shutdown()
            self.transport.close()
            self.heart.transport.close()
            self.connection.close()
            if self.aio_connection is not None:
                await self.aio_connection.close()

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call something that waits, in a thread."""
        return await self.loop.run_in_executor(self._helpers, function, *args)

    def _create_queues(self) -> None:
        for name, (settings, tags) in self._queues.items():
            self.connection.create_queue(name, tags=tags, **settings)

    def stop(self) -> None:
        """Take no more messages, finish those in hand, end. Called again: give everything back and end."""
        if self._is_told_to_stop:  # an order that drains the worker is no first time
            self._hurry.set()
        self._is_told_to_stop = True
        self._stop.set()

    async def _wind_up(self) -> None:
        self.state = "stopping"
        for lane in self.lanes:
            if lane.is_open:
                self._close(lane, "draining")
        hurry = asyncio.create_task(self._hurry.wait())
        idle = asyncio.create_task(self._is_idle.wait())
        with self._lock:
            if not any(lane.running for lane in self.lanes):
                self._is_idle.set()
        try:
            await asyncio.wait(
                [hurry, idle], timeout=self.settings.shutdown_timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            hurry.cancel()
            idle.cancel()
        self._give_all_back()
        deadline = time.monotonic() + LAST_WORDS_S
        while self._must_wait(deadline):
            self._nudge()
            await asyncio.sleep(0.002)
        for task in self._tasks:
            task.cancel()

    def end_without_loop(self) -> None:
        """A coroutine blocks the event loop: do without it what serve() would do now."""
        self._stop.set()
        for lane in self.lanes:
            if lane.is_open:
                self._close(lane, "draining")
        self._give_all_back()
        deadline = time.monotonic() + LAST_WORDS_S
        while self._must_wait(deadline):
            self._nudge()
            time.sleep(0.002)
        self.heart.stop()

    def _give_all_back(self) -> None:
        """What is still running."""
        with self._lock:
            running = {job for lane in self.lanes for job in lane.held.values() if not job.is_settled}
        if running:
            log.warning("still running: %d handlers; their messages are given back: %s", len(running),
                        journal.names([(job.lane.ref.name, job.lane.handler.function) for job in running]))  # fmt: skip
            for lane in self.lanes:
                self._give_back(lane)

    def _must_wait(self, deadline: float) -> bool:
        """Is there something left to settle, and time for it?"""
        with self._lock:  # else a fetch may be about to tell what it brought
            is_left = any(lane.held or lane.is_asking for lane in self.lanes)
        if is_left and time.monotonic() < deadline:
            return True
        lost = sum(len(lane.held) for lane in self.lanes)
        if lost:
            log.warning("%d messages could not be settled; they become visible again by themselves", lost)
        return False

    def _nudge(self) -> None:
        with self._lock:
            self._wake()

    def _close(self, lane: Lane, state: str) -> None:
        """Fetch no more; what was not begun goes back."""
        with self._lock:
            lane.state = state
            lane.is_open = False
            unbegun = [job for job in self._jobs if job.lane is lane]
            self._jobs = deque(job for job in self._jobs if job.lane is not lane)
            for burst in self._bursts:
                with contextlib.suppress(IndexError):
                    while burst.jobs and burst.jobs[0].lane is lane:
                        unbegun.append(burst.jobs.popleft())
            lane.running -= len(unbegun)
            for job in (*unbegun, *lane.waiting):
                self._return(job)
            lane.waiting.clear()
            self._wake()
        with contextlib.suppress(RuntimeError):  # the system gives no more threads: it ends by itself, later
            Lasting("rqsqs-end-fetch", functools.partial(self._end_fetch, lane)).start()

    def _end_fetch(self, lane: Lane) -> None:
        while lane.is_asking and not self._is_closed:
            with contextlib.suppress(Exception):  # the fetch finds out for itself
                self.transport.link.unblock(tuple(p.wakeups for p in lane.ref.partitions))
            time.sleep(0.005)

    def _give_back(self, lane: Lane) -> None:
        """Everything, also what is running: a coroutine is cancelled, a thread goes on for nothing."""
        with self._lock:
            for job in dict.fromkeys(lane.held.values()):
                if not job.is_settled:
                    self._return(job)
                    job.lose(job.deliveries)
            self._wake()

    def _return(self, job: Job) -> None:
        job.is_settled = True
        job.lane.verdicts += [back(d) for d in job.deliveries if not job.is_by_hand(d)]

    def soon(self, call: Any, *args: Any) -> None:
        """Call something on the event loop."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(call, *args)

    # What the heart says and asks

    def _lose(self, lane: Lane, lost: Sequence[Delivery]) -> None:
        with self._lock:
            gone = [(d, job) for d in lost if (job := lane.held.get(d)) is not None and not job.is_settled]
            for d, job in gone:
                lane.held.pop(d)
                job.lose([d])
        for d, _ in gone:
            journal.lost(lane.ref.name, d)

    def _obey(self, lane: Lane, order: str) -> None:
        if not lane.is_open and (order != "evict" or lane.state == "evicted"):
            return
        log.warning("%s was ordered to %s: %s", self.consumer_id, order, lane.ref.name)
        self._close(lane, "evicted" if order == "evict" else "draining")
        if order == "evict":
            self._give_back(lane)
        if not any(lane.is_open for lane in self.lanes):
            self.soon(self._stop.set)
        if all(lane.state == "evicted" for lane in self.lanes):
            self.soon(self._hurry.set)

    def statistics(self) -> Statistics:
        """What the connections with which it fetches and settles went through; from any thread."""
        return self.transport.link.counters.statistics()

    def problems(self) -> list[str]:
        """What keeps it from its work, in words."""
        found = self.troubles.reasons()
        if not found and not self.heart.is_well:
            found.append(f"the server: no heartbeat got through for {time.monotonic() - self.heart.last:.0f} s")
        return found

    def _describe(self, lane: Lane) -> dict[str, Any]:
        held = list(lane.held.copy().items())
        offset = time.time() - time.monotonic()
        return {
            "state": lane.shown_state,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": round(self.started * 1000),
            "concurrency": self.settings.concurrency,
            "in_flight": len(held),
            "held": [[d.message_id, round((job.since + offset) * 1000)] for d, job in held[:SHOWN]],
            "succeeded": lane.succeeded,
            "failed": lane.failed,
            "statistics": {name: number for name, number in asdict(self.statistics()).items() if number},
        }

    # Threads

    def _wake(self) -> None:
        """Let one thread see what is to be done."""
        if self._sleeping:
            self._sleeping.pop().wakes.put(None)
        elif len(self._threads) < self.settings.concurrency + len(self.lanes) and not self._is_closed:
            burst = Burst()
            name = f"rqsqs-worker-{len(self._threads) + 1}"
            thread = Lasting(name, functools.partial(self._work, burst), functools.partial(self._mend, burst))
            self._threads.append(thread)  # before it starts: whatever happens then, its end is not forgotten
            self._bursts.append(burst)
            try:
                thread.start()
            except RuntimeError as e:  # the system gives no more
                self._threads.pop()
                self._bursts.pop()
                if not self._threads:
                    raise
                log.debug("cannot start a thread: %s", e)

    def threads(self) -> list[Lasting]:
        """All that have to live."""
        return [self.heart.thread, self._watching, *self._threads.copy()]

    def _work(self, burst: Burst) -> None:
        while True:
            with self._lock:
                lane, slots, pause = self._choose(burst)
            if burst.jobs:
                self._run_burst(burst)
            elif lane is None:
                if self._is_closed:
                    return
                self._sleep(burst, pause)
            elif slots:
                self._fetch(burst, lane, slots)
            else:
                self._settle(burst, lane)

    def _run_burst(self, burst: Burst) -> None:
        jobs, done = burst.jobs, burst.done
        with contextlib.suppress(IndexError):
            while True:
                burst.job = job = jobs.popleft()
                job.run()
                if self.is_forked:
                    leave()
                done.append(job)
                burst.job = None
        self.conclude(done)

    def _sleep(self, burst: Burst, seconds: float | None) -> None:
        with contextlib.suppress(Empty):
            burst.wakes.get(timeout=seconds)
            return
        with self._lock:
            self._rouse(burst)

    def _rouse(self, burst: Burst) -> None:
        """Its thread is awake, whether somebody woke it or not."""
        if burst in self._sleeping:
            self._sleeping.remove(burst)
        with contextlib.suppress(Empty):
            while True:
                burst.wakes.get_nowait()

    def _mend(self, burst: Burst, error: BaseException) -> None:
        """Its thread died: what it held is tried again, and what it was about to do is done by others."""
        with self._lock:
            self._rouse(burst)
            self._jobs.extendleft(reversed(burst.jobs))
            burst.jobs.clear()
            for lane in (burst.asks, burst.settles):
                if lane is not None:
                    lane.finished[:0] = burst.finished
                    lane.verdicts[:0] = burst.verdicts
            if burst.asks is not None:
                burst.asks.is_asking, burst.asks.reserved = False, 0
            if burst.settles is not None:
                burst.settles.is_settling = False
            burst.asks = burst.settles = None
            burst.finished, burst.verdicts = [], []
            if burst.job is not None and burst.job not in burst.done:
                burst.job.outcomes = [error] * len(burst.job.deliveries)
                burst.done.append(burst.job)
            burst.job = None
        self.conclude(burst.done)

    def _choose(self, burst: Burst) -> tuple[Lane | None, int, float | None]:
        """What a thread does next: run jobs, fetch for a lane so many slots full, settle for it (0 slots), or sleep."""
        if self._jobs:
            first = self._jobs[0].lane
            quick = max(1, int(HELP_S / first.seconds))
            while self._jobs and quick and self._jobs[0].lane is first:
                burst.jobs.append(self._jobs.popleft())
                quick -= 1
            burst.began = time.monotonic()
            self._call_help(first)
            return None, 0, None
        pause = None
        is_full = self._is_full()
        for lane in self._by_need():
            if self._must_settle(lane):
                lane.is_settling = True
                burst.settles = lane
                return lane, 0, None
            slots = 0 if is_full else self._wanted(lane)
            if slots:
                left = self._linger(lane)
                if left <= 0:
                    lane.is_asking, lane.reserved = True, slots
                    burst.asks = lane
                    burst.finished, lane.finished = lane.finished, []
                    if self._sleeping and len(self.lanes) > 1:
                        self._call_help(lane)
                    return lane, slots, None
                pause = min(left, pause or left)
        self._sleeping.append(burst)
        return None, 0, pause

    def _by_need(self) -> list[Lane]:
        return self.lanes if len(self.lanes) == 1 else sorted(self.lanes, key=lambda lane: lane.served)

    def _call_help(self, lane: Lane) -> None:
        """This thread is about to be busy for a lane: is there something to do for another one?"""
        if self._jobs or (lane.seconds > HELP_S and self._has_calls()):
            self._wake()
        self._want_watch()

    def _has_calls(self) -> bool:
        """Is there a fetch or a settlement to be made?"""
        is_full = self._is_full()
        return any(self._must_settle(lane) or (not is_full and self._wanted(lane)) for lane in self.lanes)

    def _is_full(self) -> bool:
        """Are all slots taken or reserved? Asked once, since with many lanes it would be for each."""
        return sum(lane.running + lane.reserved for lane in self.lanes) >= self.settings.concurrency

    def _want_watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._watch_wanted.set()

    def _watch(self) -> None:
        """While handlers are running, see to it that nothing waits behind one that is not as quick as expected."""
        while not self._is_closed:
            self._watch_wanted.wait()
            looks = 0
            while looks < WATCHES and not self._is_closed:
                time.sleep(WATCH_S)
                looks += 1
                if any(lane.held for lane in self.lanes):  # not the fetch, which wants to start handlers
                    self.heart.quicken()
                with self._lock:
                    done = self._take_over()
                    if self._jobs or self._has_calls():
                        self._wake()
                        looks = 0
                    elif any(lane.paused_until or lane.rests_until for lane in self.lanes):
                        looks = 0
                if done:
                    self.conclude(done)
            with self._lock:
                self._is_watched = False
                self._watch_wanted.clear()

    def _take_over(self) -> deque[Job]:
        """Take jobs from threads that are stuck with the one before them; returns those that are done."""
        late = time.monotonic() - WATCH_S
        done: deque[Job] = deque()
        for burst in self._bursts:
            if burst.began < late and (burst.jobs or burst.done):
                with contextlib.suppress(IndexError):
                    while True:
                        self._jobs.append(burst.jobs.popleft())
                with contextlib.suppress(IndexError):
                    while True:
                        done.append(burst.done.popleft())
        return done

    # Fetch

    def _allowance(self, lane: Lane) -> int:
        """How many slots a lane may fill now."""
        if len(self.lanes) == 1:
            return self.settings.concurrency - lane.running - lane.reserved
        free = self.settings.concurrency - sum(other.running + other.reserved for other in self.lanes)
        if free <= 0:
            return 0
        rivals = [other for other in self.lanes if other.is_backlogged and other.is_open and other is not lane]
        if rivals:
            weights = lane.handler.weight + sum(other.handler.weight for other in rivals)
            share = math.ceil(self.settings.concurrency * lane.handler.weight / weights)  # _by_need() does the rest
            free = min(free, share - lane.running)
        return max(free, 0)

    def _wanted(self, lane: Lane) -> int:
        """How many slots a fetch should fill now; 0 = no fetch."""
        if lane.is_asking or lane.waiting or not lane.is_open or self._is_paused(lane) or self._is_resting(lane):
            return 0
        return self._allowance(lane)

    def _is_paused(self, lane: Lane) -> bool:
        if lane.paused_until and time.monotonic() >= lane.paused_until:
            lane.paused_until = 0.0
        return lane.paused_until > 0

    def _is_resting(self, lane: Lane) -> bool:
        if lane.rests_until and time.monotonic() >= lane.rests_until:
            lane.rests_until = 0.0
        return lane.rests_until > 0

    def _linger(self, lane: Lane) -> float:
        """Seconds until a fetch is worth its costs, with quick handlers: while others are running it waits for them,
        and while messages come one close upon the other, but fewer than asked for, it lets some gather."""
        if lane.seconds > SHORT_S:
            return 0.0
        if sum(other.running for other in self.lanes) * 2 > self.settings.concurrency:
            return lane.asked + HELP_S - time.monotonic()
        return 0.0 if lane.is_full else lane.asked + self.settings.linger - time.monotonic()

    def _fetch(self, burst: Burst, lane: Lane, slots: int) -> None:
        """Delete what is finished and receive what comes next."""
        finished = burst.finished
        handler = lane.handler
        asked = min(slots * handler.size, 1000)
        per_group = handler.size if lane.ref.is_fifo else 0
        weak = functools.partial(self._warn, lane)
        flow = flows.finish_and_receive(
            lane.ref, finished, asked, self.heart.lease_ms, WAIT_MS, per_group, self.durability, weak
        )
        lane.is_backlogged = True
        got: list[Delivery] = []
        unread: list[Outcome] = []
        error: Exception | None = None
        try:
            received = self.transport.run(self._noting_waits(lane, finished, flow))
            if received and time.time() * 1000 - int(received[0].received_ms) > self.heart.lease_ms:
                lost = self._lost_of(lane, received)  # this process stood still, or the clocks differ
                received = [d for d in received if d not in lost]
            got, unread = self._readable(lane, received)
        except Closed:
            pass
        except Exception as e:
            error = e
        with self._lock:
            burst.asks = None
            lane.is_asking, lane.reserved = False, 0
            lane.asked = time.monotonic()
            if error is None:
                lane.trouble = lane.rests = 0
                lane.is_full = len(got) >= asked or not lane.is_open
                if not lane.is_backlogged:
                    self._forget_rest(lane)
                self._deleted(lane, finished)
                self._take(lane, got, unread)
            else:
                lane.is_backlogged = False
                lane.finished[:0] = finished
                if isinstance(error, FormatNewer):
                    self._rest(lane)
                else:
                    self._pause(lane, error)
            burst.finished = []
        if error is None:
            self.troubles.got_through(lane.ref.name, RECEIVE)
        else:
            self.troubles.met(lane.ref.name, RECEIVE, error)

    def _pause(self, lane: Lane, error: Exception) -> None:
        """Leave a lane alone for a while."""
        is_lasting = isinstance(error, (QueueDoesNotExist, QueueDamaged))
        lane.paused_until = time.monotonic() + PATIENCE_S[-1 if is_lasting else min(lane.trouble, len(PATIENCE_S) - 1)]
        lane.trouble += 1
        self._want_watch()

    def _rest(self, lane: Lane) -> None:
        """Receive nothing for a while; what is in hand is settled."""
        lane.rests_until = time.monotonic() + REST_S[min(lane.rests, len(REST_S) - 1)]
        lane.rests += 1
        self._want_watch()

    def _readable(self, lane: Lane, received: Sequence[Delivery]) -> tuple[list[Delivery], list[Outcome]]:
        """What can be handled; and verdicts about the rest: what cannot be read has failed, and what stands behind it
        in its group (FIFO) goes back."""
        good: list[Delivery] = []
        rest: list[Outcome] = []
        stopped: set[str] = set()
        for d in received:
            if stopped and d.group_name in stopped:
                rest.append(back(d))
                continue
            damage = d.damage
            if damage is None:
                good.append(d)
                continue
            damage.__cause__ = None  # its text says it all
            rest.append(failed(d, damage.with_traceback(None), self.consumer_id))
            journal.failed(lane.ref.name, rest[-1])
            if lane.ref.is_fifo:
                stopped.add(d.group_name)
        return good, rest

    def _noting_waits(self, lane: Lane, finished: list[Delivery], flow: Flow[list[Delivery]]) -> Flow[list[Delivery]]:
        """The flow; when it begins to wait, its slots are free for others. A closed lane waits no longer."""
        try:
            step = next(flow)
            while True:
                if type(step) in (Wait, Sleep):
                    if not lane.is_open:
                        step = flow.throw(Closed())
                        continue
                    if lane.reserved:
                        self._begin_to_wait(lane, finished)
                try:
                    result = yield step
                except BaseException as e:
                    step = flow.throw(e)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            found: list[Delivery] = end.value
            return found

    def _begin_to_wait(self, lane: Lane, finished: list[Delivery]) -> None:
        with self._lock:
            lane.reserved, lane.is_backlogged = 0, False
            lane.trouble = lane.rests = 0
            self._deleted(lane, finished)
            if self._has_calls():
                self._wake()
        self.troubles.got_through(lane.ref.name, RECEIVE)

    def _forget_rest(self, lane: Lane) -> None:
        """A lane that had nothing to do for a while is the next one now, but does not make up for what it missed."""
        busy = [other.served for other in self.lanes if other.is_backlogged]
        lane.served = max(lane.served, min(busy, default=0.0) - 1 / lane.handler.weight)

    def _deleted(self, lane: Lane, finished: list[Delivery]) -> None:
        for d in finished:
            lane.held.pop(d, None)
        lane.succeeded += len(finished)
        finished.clear()

    def _take(self, lane: Lane, got: Sequence[Delivery], unread: Sequence[Outcome]) -> None:
        """Make jobs of what was received and start them."""
        since = time.monotonic()
        for v in unread:
            lane.held[v.delivery] = job = Job(self, lane, [v.delivery], since)
            job.is_settled = True
            lane.failed += v.kind == "retry"
            lane.verdicts.append(v)
        if not got:
            return
        room = self.settings.concurrency - sum(other.running + other.reserved for other in self.lanes)
        most = self.settings.max_crashes
        start: list[Job] = []
        for deliveries in lane.portions(got):
            job = Job(self, lane, deliveries, since)
            for d in deliveries:
                lane.held[d] = job
            if not lane.is_open:
                self._return(job)
            elif any([d.receive_count > most and self._is_deadly(d) for d in deliveries]):
                self._bury(job)
            elif len(start) < room:
                start.append(job)
            elif lane.ref.is_fifo and lane.handler.batch and room > 0:
                lane.waiting.append(job)
            else:
                self._return(job)
        self._start(lane, start)

    def _is_deadly(self, d: Delivery) -> bool:
        return d.unreported_receives >= self.settings.max_crashes

    def _bury(self, job: Job) -> None:
        """Some of its messages killed their workers again and again; the others go back."""
        job.is_settled = True
        for d in job.deliveries:
            if self._is_deadly(d):
                error = WorkerDied(
                    f"it was received {d.unreported_receives} times and no worker lived to tell the outcome"
                )
                job.lane.verdicts.append(failed(d, error, self.consumer_id))
                job.lane.failed += 1
            else:
                job.lane.verdicts.append(back(d))

    # Run

    def confirm(self, job: Job) -> bool:
        """Is a job that was not begun yet still ours? What is not is left out of it; if it cannot be told, all goes
        back."""
        lane = job.lane
        try:
            lost = self._lost_of(lane, job.deliveries)
        except Exception as e:
            log.warning("messages of %s are given back: %s", lane.ref.name, e)
            lost = None
        with self._lock:
            if job.is_settled:
                pass
            elif lost is None:
                self._return(job)
            else:
                for d in lost:
                    lane.held.pop(d, None)
                job.deliveries = [d for d in job.deliveries if d in lane.held]
                job.lost = frozenset()
                job.is_settled = not job.deliveries
            return not job.is_settled

    def _lost_of(self, lane: Lane, deliveries: Sequence[Delivery]) -> set[Delivery]:
        """Which of these are not ours any more? The others are, for another two beats."""
        try:
            return set(self.transport.run(flows.beat(lane.ref, deliveries, self.heart.lease_ms, "", None, 0))[1])
        except QueueDoesNotExist:
            return set(deliveries)

    def _start(self, lane: Lane, jobs: list[Job]) -> None:
        lane.running += len(jobs)
        lane.served += len(jobs) / lane.handler.weight
        if lane.handler.is_coroutine:
            self.soon(self._start_tasks, jobs)
            self._want_watch()
        else:
            self._jobs.extend(jobs)

    def _start_tasks(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.task = task = self.loop.create_task(self._run(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job) -> None:
        try:
            await job.run_as_task()
        except BaseException as e:  # of a middleware, or a bug
            job.outcomes = [e] * len(job.deliveries)
        if self.is_forked:
            leave()
        self._ended.append(job)
        if len(self._ended) == 1:  # tasks that end in the same turn are settled together
            self.loop.call_soon(self._collect)

    def _collect(self) -> None:
        self.conclude(self._ended)
        with self._lock:
            if self._has_calls():
                self._wake()

    def conclude(self, done: deque[Job]) -> None:
        """Jobs have ended and their slots are free."""
        judged: list[tuple[Job, Sequence[Outcome | None]]] = []
        with contextlib.suppress(IndexError):
            while True:
                job = done.popleft()
                try:
                    judged.append((job, self._judge(job, job.outcomes)))
                except BaseException as e:  # a logger's, or that of an exception which cannot be told
                    judged.append((job, self._unspoken(job, e)))
        now = time.monotonic()
        with self._lock:
            for job, verdicts in judged:
                lane = job.lane
                lane.running -= 1
                self._apply(job, verdicts)
                if lane.waiting:
                    self._start(lane, [lane.waiting.popleft()])
            if judged:
                took = (now - judged[0][0].began) / len(judged)
                lane.seconds += (0.1 if took < lane.seconds else 0.5) * (took - lane.seconds)
            if self._stop.is_set() and not any(other.running for other in self.lanes):
                self.soon(self._is_idle.set)

    def _unspoken(self, job: Job, trouble: BaseException) -> list[Outcome | None]:
        """What became of a job cannot be told: what did not succeed has failed."""
        with contextlib.suppress(Exception):
            log.error("cannot tell how a handler of %s ended: %s", job.lane.ref.name, type(trouble).__name__)
        if job.is_settled:
            return [None] * len(job.outcomes)
        why = RuntimeError(f"its handler failed, and telling that raised {type(trouble).__name__}")
        verdicts: list[Outcome | None] = []
        for d, error in zip(job.deliveries, job.outcomes, strict=True):
            verdicts.append(None)
            if error is not None:
                try:
                    verdicts[-1] = failed(d, error, self.consumer_id, job.seconds)
                except BaseException:
                    verdicts[-1] = failed(d, why, self.consumer_id, job.seconds)
        return verdicts

    def expired(self, job: Job) -> None:
        """The timeout of a job that a thread runs is over."""
        error = HandlerTimeout(f"the handler took longer than {job.lane.handler.timeout:g} s")
        job.seconds = time.monotonic() - job.began
        judged = self._judge(job, [error] * len(job.deliveries))
        with self._lock:
            self._apply(job, judged)
            self._wake()

    def _judge(self, job: Job, outcomes: Sequence[BaseException | None]) -> list[Outcome | None]:
        if job.is_settled or all(outcome is None for outcome in outcomes):
            if journal.wants_handled() and not job.is_settled:
                for d in job.deliveries:
                    journal.handled(job.lane.ref.name, d, job.seconds)
            return [None] * len(outcomes)
        judged: list[Outcome | None] = []
        for d, error in zip(job.deliveries, outcomes, strict=True):
            judged.append(None)
            if error is not None:
                forget_own_frames(error)
                verdict = failed(d, error, self.consumer_id, job.seconds)
                is_by_hand = job.is_by_hand(d)
                journal.failed(job.lane.ref.name, verdict, is_settled=is_by_hand)
                if not is_by_hand:
                    judged[-1] = verdict
            elif journal.wants_handled():
                journal.handled(job.lane.ref.name, d, job.seconds)
        return judged

    def _apply(self, job: Job, judged: Sequence[Outcome | None]) -> None:
        """Note what became of the messages of a job, once."""
        if job.is_settled:
            return
        job.is_settled = True
        lane = job.lane
        for d, verdict in zip(job.deliveries, judged, strict=True):
            if job.by_hand and job.is_by_hand(d):
                continue
            if verdict is None:
                lane.finished.append(d)
            elif d in lane.held:  # it was not lost meanwhile
                lane.failed += 1
                lane.verdicts.append(verdict)

    # Settle

    def _must_settle(self, lane: Lane) -> bool:
        """Is there something to release, or to delete that no fetch is going to delete?"""
        if lane.is_settling or not (lane.verdicts or lane.finished) or self._is_paused(lane):
            return False
        if lane.verdicts:
            return True
        return lane.reserved == 0 if lane.is_asking else not self._wanted(lane)

    def _settle(self, burst: Burst, lane: Lane) -> None:
        """Release what failed, delete what is finished."""
        with self._lock:
            verdicts, lane.verdicts = lane.verdicts, []
            finished: list[Delivery] = []
            if lane.reserved == 0 if lane.is_asking else not self._wanted(lane):
                finished, lane.finished = lane.finished, []
            burst.finished, burst.verdicts = finished, verdicts
        statuses: list[int] = []
        weak = functools.partial(self._warn, lane)
        error: Exception | None = None
        try:
            if finished:
                self.transport.run(flows.finish(lane.ref, finished, self.durability, weak))
            if verdicts:
                statuses = self.transport.run(flows.release(lane.ref, verdicts, self.durability, weak))
        except QueueDoesNotExist:
            pass
        except Exception as e:
            error = e
        with self._lock:
            burst.settles = None
            lane.is_settling = False
            if error is None:
                self._deleted(lane, finished)
                for v in verdicts:
                    lane.held.pop(v.delivery, None)
            else:
                lane.finished += finished
                for v in verdicts:
                    if v.kind == "requeue" and getattr(error, "request_sent", False):
                        lane.held.pop(v.delivery, None)  # perhaps another has it: it comes back by itself if not
                    else:
                        lane.verdicts.append(v)
                self._pause(lane, error)
            burst.finished, burst.verdicts = [], []
        if error is None:
            self.troubles.got_through(lane.ref.name, SETTLE)
        else:
            self.troubles.met(lane.ref.name, SETTLE, error)
        self._report(lane, verdicts, statuses)

    def _warn(self, lane: Lane, error: DurabilityNotReached) -> None:
        log.warning("%s: %s", lane.ref.name, error)

    def _report(self, lane: Lane, verdicts: Sequence[Outcome], statuses: Sequence[int]) -> None:
        for v, status in zip(verdicts, statuses, strict=False):
            if v.kind == "requeue":
                continue
            if status >= 0:
                journal.retried(lane.ref.name, v, status / 1000)
            elif status == -3:
                journal.dead_lettered(lane.ref.name, v)
            else:
                journal.lost(lane.ref.name, v.delivery)
