"""The worker at work, on one event loop: fetch, run, settle.

           ┌──────── finished messages are deleted by the call that fetches the next ones ────────┐
  fetch ───┴──▶ jobs ──▶ threads (plain functions) or tasks (coroutines) ──▶ outcomes ──▶ settle ─┘
                                                                               └─ failed: release

A worker asks for as many messages as it has free slots. While a fetch waits for a message to come, it holds no slot:
if others took them meanwhile, what comes too much is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from rqsqs._core import flows
from rqsqs._core.keys import QueueRef
from rqsqs._core.messages import Verdict
from rqsqs._core.operation import Flow, Sleep, Wait
from rqsqs._core.records import Delivery
from rqsqs._io import aio, sync
from rqsqs.errors import QueueDoesNotExist, RqsqsError
from rqsqs.worker.handlers import Handler
from rqsqs.worker.heart import SHOWN, Heart, consumer_id
from rqsqs.worker.jobs import Job
from rqsqs.worker.outcomes import HandlerTimeout, WorkerDied, back, failed
from rqsqs.worker.settings import Settings
from rqsqs.worker.threads import Threads

log = logging.getLogger("rqsqs.worker")

WAIT_MS = 3_600_000  # a fetch waits until something comes
QUICK_S = 0.005  # handlers that take less are waited for, so that one call settles several
LINGER_S = 0.001
PATIENCE_S = (0.1, 0.5, 1.0, 2.0, 5.0)  # pauses while the server is in trouble
LAST_WORDS_S = 5.0  # so long a worker that stops tries to settle what is left


class Lane:
    """One queue that the worker serves."""

    def __init__(self, handler: Handler, ref: QueueRef) -> None:
        self.handler = handler
        self.ref = ref
        self.held: dict[Delivery, Job] = {}  # everything that was received and is not settled
        self.finished: list[Delivery] = []  # to be deleted
        self.verdicts: list[Verdict] = []  # to be released
        self.waiting: deque[Job] = deque()  # jobs without a slot: a FIFO batch that had to be divided
        self.running = 0  # slots taken
        self.reserved = 0  # slots for what a fetch is about to bring
        self.fetch: asyncio.Task[None] | None = None
        self.is_asking = False  # a fetch is on its way
        self.is_backlogged = False  # its last fetch did not have to wait
        self.is_open = True  # it fetches
        self.state = "running"
        self.served = 0.0  # slots given, by weight
        self.seconds = 0.0  # what a call takes, about
        self.succeeded = 0
        self.failed = 0
        self.may_fetch = asyncio.Event()
        self.may_settle = asyncio.Event()


class Runtime:
    """Serves handlers until it is stopped; made and used in one event loop."""

    def __init__(self, settings: Settings, handlers: Iterable[Handler]) -> None:
        self.settings = settings
        self.consumer_id = consumer_id()
        self.transport = aio.Transport(settings.url, settings.prefix, **settings.options)
        beats = sync.Transport(settings.url, settings.prefix, **settings.options)
        self.lanes = [Lane(handler, self.transport.queue(handler.queue)) for handler in handlers]
        self.heart = Heart(
            beats,
            self.lanes,
            self.consumer_id,
            settings.beat,
            settings.max_hold,
            self._describe,
            lambda lane, lost: self._soon(self._lose, lane, lost),
            lambda lane, order: self._soon(self._obey, lane, order),
        )
        self.loop = asyncio.get_running_loop()
        self.threads = Threads(settings.concurrency, self._ended)
        self.started = time.time()
        self.state = "starting"
        self._done: deque[Job] = deque()  # by threads
        self._is_told = False  # the loop knows that there is something in it
        self._linger: asyncio.TimerHandle | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # Life

    async def serve(self) -> None:
        """Serve until stop().

        Raises:
            QueueDoesNotExist, ServerError: right at the start.
        """
        settlers: list[asyncio.Task[None]] = []
        try:
            await asyncio.to_thread(self.heart.start)
            settlers = [asyncio.create_task(self._settle(lane)) for lane in self.lanes]
            for lane in self.lanes:
                lane.fetch = asyncio.create_task(self._fetch(lane))
            self.state = "running"
            log.info("%s serves %s", self.consumer_id, ", ".join(lane.ref.name for lane in self.lanes))
            await self._stop.wait()
            await self._wind_up()
        finally:
            self.state = "stopped"
            for task in settlers:
                task.cancel()
            await asyncio.gather(*settlers, return_exceptions=True)
            await asyncio.to_thread(self.heart.stop)
            self.threads.close()
            await self.transport.close()
            self.heart.transport.close()

    def stop(self) -> None:
        """Take no more messages, finish those in hand, end. Called again: give everything back and end."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _wind_up(self) -> None:
        self.state = "stopping"
        for lane in self.lanes:
            self._close(lane, "draining")
        await asyncio.gather(*(lane.fetch for lane in self.lanes if lane.fetch), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.grace):
                await self._until_idle()
        left = sum(lane.running for lane in self.lanes)
        if left:
            log.warning("%d handlers are still running; their messages are given back", left)
            for lane in self.lanes:
                self._give_back(lane)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                while any(lane.held for lane in self.lanes):
                    self._wake()
                    await asyncio.sleep(0.005)
        lost = sum(len(lane.held) for lane in self.lanes)
        if lost:
            log.warning("%d messages could not be settled; they become visible again by themselves", lost)
        for task in self._tasks:
            task.cancel()

    async def _until_idle(self) -> None:
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            while any(lane.running for lane in self.lanes) and not hurry.done():
                self._is_idle.clear()
                idle = asyncio.create_task(self._is_idle.wait())
                await asyncio.wait([hurry, idle], return_when=asyncio.FIRST_COMPLETED)
                idle.cancel()
        finally:
            hurry.cancel()

    def _close(self, lane: Lane, state: str) -> None:
        """Fetch no more; what was not begun goes back."""
        lane.state = state
        lane.is_open = False
        if lane.fetch is not None:
            lane.fetch.cancel()
        others = []
        for job in self.threads.take_back():
            if job.lane is lane:
                lane.waiting.append(job)
                lane.running -= 1
            else:
                others.append(job)
        self.threads.start(others)
        while lane.waiting:
            self._return(lane.waiting.popleft())
        self._wake()

    def _give_back(self, lane: Lane) -> None:
        """Everything, also what is running: a coroutine is cancelled, a thread goes on for nothing."""
        for job in dict.fromkeys(lane.held.values()):
            if not job.is_settled:
                self._return(job)
                job.lose(job.deliveries)
        self._wake()

    def _return(self, job: Job) -> None:
        job.is_settled = True
        job.lane.verdicts += [back(d) for d in job.deliveries]

    # What the heart says

    def _soon(self, call: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(call, *args)

    def _lose(self, lane: Lane, lost: Sequence[Delivery]) -> None:
        for d in lost:
            job = lane.held.get(d)
            if job is not None and not job.is_settled:
                log.warning("message %s of %s was lost to another", d.message_id, lane.ref.name)
                lane.held.pop(d)
                job.lose([d])

    def _obey(self, lane: Lane, order: str) -> None:
        if not lane.is_open and (order != "evict" or lane.state == "evicted"):
            return
        log.warning("%s was ordered to %s: %s", self.consumer_id, order, lane.ref.name)
        self._close(lane, "evicted" if order == "evict" else "draining")
        if order == "evict":
            self._give_back(lane)
        if not any(lane.is_open for lane in self.lanes):
            self._stop.set()

    def _describe(self, lane: Lane) -> dict[str, Any]:
        held = list(lane.held.copy().items())
        offset = time.time() - time.monotonic()
        return {
            "state": lane.state,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": round(self.started * 1000),
            "concurrency": self.settings.concurrency,
            "in_flight": len(held),
            "held": [[d.message_id, round((job.since + offset) * 1000)] for d, job in held[:SHOWN]],
            "succeeded": lane.succeeded,
            "failed": lane.failed,
        }

    # Fetch

    def _allowance(self, lane: Lane) -> int:
        """How many slots a lane may fill now."""
        free = self.settings.concurrency - sum(other.running + other.reserved for other in self.lanes)
        rivals = [other for other in self.lanes if other.is_backlogged and other.is_open and other is not lane]
        if free > 0 and rivals:
            weights = lane.handler.weight + sum(other.handler.weight for other in rivals)
            share = max(1, round(self.settings.concurrency * lane.handler.weight / weights))
            free = min(free, share - lane.running)
        return max(free, 0)

    async def _fetch(self, lane: Lane) -> None:
        handler = lane.handler
        per_group = handler.size if lane.ref.is_fifo else 0
        trouble = 0
        while lane.is_open:
            slots = 0 if lane.waiting else self._allowance(lane)
            if not slots:
                lane.may_fetch.clear()
                await lane.may_fetch.wait()
                continue
            finished, lane.finished = lane.finished, []
            lane.reserved, lane.is_asking, lane.is_backlogged = slots, True, True
            asked = min(slots * handler.size, 1000)
            flow = flows.finish_and_receive(lane.ref, finished, asked, self.heart.lease_ms, WAIT_MS, per_group)
            try:
                got = await self.transport.run(self._noting_waits(lane, finished, flow))
            except RqsqsError as e:
                lane.finished[:0] = finished
                lane.is_asking, lane.is_backlogged, lane.reserved = False, False, 0
                pause = PATIENCE_S[-1 if isinstance(e, QueueDoesNotExist) else min(trouble, len(PATIENCE_S) - 1)]
                log.warning("cannot receive from %s, trying again in %g s: %s", lane.ref.name, pause, e)
                trouble += 1
                await asyncio.sleep(pause)
                continue
            except asyncio.CancelledError:
                lane.finished[:0] = finished
                raise
            finally:
                lane.is_asking, lane.reserved = False, 0
            trouble = 0
            self._deleted(lane, finished)
            self._take(lane, got)

    def _will_ask(self, lane: Lane) -> bool:
        """Does a call of a fetch come soon that can delete what is finished?"""
        if lane.is_asking:
            return lane.reserved > 0
        return lane.is_open and not lane.waiting and self._allowance(lane) > 0

    def _noting_waits(self, lane: Lane, finished: list[Delivery], flow: Flow[list[Delivery]]) -> Flow[list[Delivery]]:
        """The flow; when it begins to wait, its slots are free for others."""
        try:
            step = next(flow)
            while True:
                if lane.reserved and type(step) in (Wait, Sleep):
                    lane.reserved, lane.is_backlogged = 0, False
                    self._deleted(lane, finished)
                    self._wake()
                try:
                    result = yield step
                except BaseException as e:
                    step = flow.throw(e)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            found: list[Delivery] = end.value
            return found

    def _deleted(self, lane: Lane, finished: list[Delivery]) -> None:
        for d in finished:
            lane.held.pop(d, None)
        lane.succeeded += len(finished)
        finished.clear()

    def _take(self, lane: Lane, got: Sequence[Delivery]) -> None:
        """Make jobs of what was received and start them."""
        if not got:
            return
        since = time.monotonic()
        room = self.settings.concurrency - sum(other.running + other.reserved for other in self.lanes)
        start: list[Job] = []
        for deliveries in self._portions(lane, got):
            job = Job(self, lane, deliveries, since)
            for d in deliveries:
                lane.held[d] = job
            if any(d.receive_count > 1 and d.silent_receives >= self.settings.max_crashes for d in deliveries):
                self._bury(job)
            elif len(start) < room:
                start.append(job)
            elif lane.ref.is_fifo and lane.handler.batch and room > 0:
                lane.waiting.append(job)
            else:
                self._return(job)
        self.heart.quicken()
        self._start(lane, start)
        self._wake()

    def _portions(self, lane: Lane, got: Sequence[Delivery]) -> Iterable[list[Delivery]]:
        """What one call of the handler gets each. The messages of a FIFO group stay together."""
        size = lane.handler.size
        if size == 1:
            return [[d] for d in got]
        if not lane.ref.is_fifo:
            return [list(got[i : i + size]) for i in range(0, len(got), size)]
        groups: dict[str, list[Delivery]] = {}
        for d in got:
            groups.setdefault(d.group_name, []).append(d)
        portions: list[list[Delivery]] = []
        for group in groups.values():
            if not portions or len(portions[-1]) + len(group) > size:
                portions.append([])
            portions[-1] += group
        return portions

    def _bury(self, job: Job) -> None:
        """Some of its messages killed their workers again and again; the others go back."""
        job.is_settled = True
        for d in job.deliveries:
            if d.receive_count > 1 and d.silent_receives >= self.settings.max_crashes:
                error = WorkerDied(f"it was received {d.silent_receives} times and no worker lived to tell the outcome")
                job.lane.verdicts.append(failed(d, error, self.consumer_id))
                log.error("message %s of %s: %s", d.message_id, job.lane.ref.name, error)
            else:
                job.lane.verdicts.append(back(d))

    # Run

    def _start(self, lane: Lane, jobs: list[Job]) -> None:
        lane.running += len(jobs)
        lane.served += len(jobs) / lane.handler.weight
        if not lane.handler.is_coroutine:
            self.threads.start(jobs)
            return
        for job in jobs:
            job.task = task = self.loop.create_task(self._run(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job) -> None:
        await job.run_as_task()
        self._conclude(job)
        self._wake()

    def _ended(self, job: Job) -> None:
        """A thread has run a job."""
        self._done.append(job)
        if not self._is_told:
            self._is_told = True
            self._soon(self._collect)

    def _collect(self) -> None:
        self._is_told = False
        while self._done:
            self._conclude(self._done.popleft())
        self._wake()

    def _conclude(self, job: Job) -> None:
        """A job has ended and its slot is free."""
        lane = job.lane
        lane.running -= 1
        lane.seconds += 0.1 * (time.monotonic() - job.began - lane.seconds)
        self.settle(job, job.outcomes)
        if lane.waiting and lane.is_open:
            self._start(lane, [lane.waiting.popleft()])

    def expired(self, job: Job) -> None:
        """The timeout of a job that a thread runs is over."""
        timeout = job.lane.handler.timeout
        self.settle(job, [HandlerTimeout(f"the handler took longer than {timeout:g} s")] * len(job.deliveries))
        self._wake()

    def settle(self, job: Job, outcomes: Sequence[BaseException | None]) -> None:
        """Note what became of the messages of a job, once."""
        if job.is_settled:
            return
        job.is_settled = True
        lane = job.lane
        for d, error in zip(job.deliveries, outcomes, strict=True):
            if error is None:
                lane.finished.append(d)
            elif d not in lane.held:
                log.info("message %s of %s failed, but it was lost before: %r", d.message_id, lane.ref.name, error)
            else:
                lane.failed += 1
                log.warning("message %s of %s failed: %r", d.message_id, lane.ref.name, error, exc_info=error)
                lane.verdicts.append(failed(d, error, self.consumer_id))

    # Settle

    def _wake(self) -> None:
        """Something has changed: let the lanes see what they can do, the one that got least first.

        While quick handlers are running, a moment is waited for the others to end, so that one call does for all.
        """
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        running = sum(lane.running for lane in self.lanes)
        if not running:
            self._is_idle.set()
        elif running * 2 > self.settings.concurrency and all(lane.seconds < QUICK_S for lane in self.lanes):
            self._linger = self.loop.call_later(LINGER_S, self._wake_now)
            return
        self._wake_now()

    def _wake_now(self) -> None:
        for lane in sorted(self.lanes, key=lambda lane: lane.served):
            lane.may_fetch.set()
            if lane.finished or lane.verdicts:
                lane.may_settle.set()

    async def _settle(self, lane: Lane) -> None:
        """Release what failed; delete what is finished if no fetch will do it."""
        trouble = 0
        while True:
            await lane.may_settle.wait()
            lane.may_settle.clear()
            verdicts, finished = lane.verdicts, []
            lane.verdicts = []
            if not self._will_ask(lane):
                finished, lane.finished = lane.finished, []
            try:
                if finished:
                    await self.transport.run(flows.finish(lane.ref, finished))
                    self._deleted(lane, finished)
                if verdicts:
                    await self._release(lane, verdicts)
                trouble = 0
            except QueueDoesNotExist:
                self._deleted(lane, finished)
                for v in verdicts:
                    lane.held.pop(v.delivery, None)
            except RqsqsError as e:
                lane.finished += finished
                lane.verdicts += verdicts
                pause = PATIENCE_S[min(trouble, len(PATIENCE_S) - 1)]
                log.warning("cannot settle messages of %s, trying again in %g s: %s", lane.ref.name, pause, e)
                trouble += 1
                lane.may_settle.set()
                await asyncio.sleep(pause)

    async def _release(self, lane: Lane, verdicts: list[Verdict]) -> None:
        statuses = await self.transport.run(flows.release(lane.ref, verdicts))
        for v, status in zip(verdicts, statuses, strict=True):
            lane.held.pop(v.delivery, None)
            if v.kind == "back":
                continue
            number = v.delivery.message_id
            if status >= 0:
                log.info("message %s of %s is tried again in %g s", number, lane.ref.name, status / 1000)
            elif status == -3:
                log.error("message %s of %s went to the dead-letter queue", number, lane.ref.name)
            else:
                log.warning("message %s of %s was lost to another", number, lane.ref.name)
