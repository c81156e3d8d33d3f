"""A worker at work: its parts, its start and its end, and commands from outside.

         ┌─── finished messages are deleted by the call that fetches the next ones ───┐
fetcher ─┴─▶ jobs ─▶ executor: handlers in threads or as tasks ─▶ errors ─▶ settler ──┘
   ▲                     ▲                                           └─ failed: released
   └──── scheduler ──────┘    heartbeat: keeps all that is held
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from rqsqs import _settings
from rqsqs._core.actors import program
from rqsqs._core.delivery import Delivery
from rqsqs._io import defaults
from rqsqs._io.sync.runner import Transport
from rqsqs._sync.connection import Connection
from rqsqs._sync.message import Message
from rqsqs.errors import QueueDoesNotExist
from rqsqs.models import Statistics
from rqsqs.worker import log_lines
from rqsqs.worker.error_reports import ErrorReports
from rqsqs.worker.executor import Executor
from rqsqs.worker.fetcher import Fetcher
from rqsqs.worker.forked_children import leave, watch
from rqsqs.worker.handlers import Handler
from rqsqs.worker.heartbeat import SHOWN, Heartbeat, consumer_id
from rqsqs.worker.process import DaemonThreads
from rqsqs.worker.restarting_thread import RestartingThread
from rqsqs.worker.scheduler import Scheduler
from rqsqs.worker.settings import Settings
from rqsqs.worker.settler import Settler
from rqsqs.worker.worker_queue import WorkerQueue

if TYPE_CHECKING:
    from rqsqs.worker.alarms import AlarmThread

T = TypeVar("T")
log = logging.getLogger("rqsqs.worker")

DRAIN_TIMEOUT_S = 5.0  # for which a worker that stops tries to settle what is left


class Runtime:
    """Serves handlers until it is stopped; made and served in one event loop. It is the Host of its jobs."""

    def __init__(
        self,
        settings: Settings,
        handlers: Collection[Handler],
        queues: Mapping[str, tuple[_settings.QueueSettings, Mapping[str, str] | None]],
    ) -> None:
        self.settings = settings
        self.max_extension = settings.max_extension
        self.durability = _settings.default_durability(settings.durability)
        self.consumer_id = consumer_id()
        self.loop = asyncio.get_running_loop()
        self.started = time.time()
        self.state = "starting"
        self.lock = threading.Lock()  # guards the queues, and the state of scheduler and executor
        self.is_forked = False  # this is a child of the process that serves
        self._loop_thread = threading.get_ident()
        self._queues_to_create = queues
        self._stop, self._abort, self._is_idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._was_stopped = False
        self._is_closed = False
        self._sampling: asyncio.Task[None] | None = None
        self._helpers = DaemonThreads()  # not the event loop's, which calls of handlers may all keep busy

        prefix = defaults.prefix_of(settings.prefix)
        self.transport = Transport(settings.url, prefix, is_interruptible=True, **settings.options)
        beats = Transport(settings.url, prefix, **settings.options)
        options = {"prefix": prefix, "durability": settings.durability, **settings.options}
        self.connection = Connection(settings.url, **options)  # of handlers
        self.connection.transport.space.actor = program("worker")
        self.aio_connection: Any = None
        if any(handler.is_coroutine for handler in handlers):
            from rqsqs import aio

            self.aio_connection = aio.Connection(settings.url, **options)
            self.aio_connection.transport.space.actor = program("worker")
        self.queues = [self._queue(handler) for handler in handlers]
        self.reports = ErrorReports(self.statistics)
        self.heartbeat = Heartbeat(
            beats,
            self.queues,
            self.consumer_id,
            settings.heartbeat_interval,
            settings.max_extension,
            self._describe,
            self._lose,
            self._handle_command,
            self.reports,
        )
        self.scheduler = Scheduler(self.queues, settings.concurrency, settings.linger, settings.prefetch)
        self.settler = Settler(self, self.scheduler, self.transport, self.reports)
        most_threads = settings.concurrency + len(self.queues)
        on_idle = functools.partial(self.soon, self._is_idle.set)
        self.executor = Executor(self, self.scheduler, self.settler, most_threads, on_idle)
        parts = self.scheduler, self.settler, self.executor
        self.fetcher = Fetcher(self, *parts, self.transport, self.reports, settings.max_crashes)
        self.executor.fetch = self.fetcher.fetch
        self.confirm, self.expired = self.fetcher.confirm, self.executor.expired
        self.alarms: AlarmThread | None = None
        if settings.actions is not None:
            from rqsqs.worker.alarms import AlarmThread  # only if somebody needs it

            self.alarms = AlarmThread(settings, prefix)
        watch(self)

    def forked(self) -> None:
        """In a child: see forked_children. Where a coroutine that forked waits for something, the event loop would
        continue."""
        self.is_forked = True
        self.lock = threading.Lock()
        if threading.get_ident() == self._loop_thread:
            with contextlib.suppress(Exception):
                self.loop.call_soon(leave)
                ready: Any = self.loop._ready  # type: ignore[attr-defined]
                for i in range(len(ready)):
                    ready[i] = ready[-1]

    def _queue(self, handler: Handler) -> WorkerQueue:
        ref = self.transport.queue(handler.queue)
        if not handler.is_coroutine:
            return WorkerQueue(handler, ref, Message, self.connection.queue(handler.queue))
        from rqsqs import aio  # only if somebody needs it

        return WorkerQueue(handler, ref, aio.Message, self.aio_connection.queue(handler.queue))

    # Life

    async def serve(self) -> None:
        """Serve until stop(). If its task is cancelled, everything is given back at once."""
        try:
            await self.call(self._create_queues)
            try:
                await self.call(self.heartbeat.start)
            except QueueDoesNotExist as e:
                hint = f"create it, or let the worker do so when it starts: worker.create_queue({e.queue!r})"
                raise type(e)(f"{e}; {hint}", sqs_message=e.sqs_message, detail=e.detail, queue=e.queue) from None
            if self._stop.is_set():  # before it began: a handler that blocks would have nobody who ends it
                return
            self.state = "running"
            names = [queue.name for queue in self.queues]
            log_lines.started(self.consumer_id, names, self.transport.link.where, self.settings.concurrency)
            self.executor.begin()
            if defaults.writes_history(self.settings.history):
                self._sampling = asyncio.create_task(self._sample())
            if self.alarms is not None:
                self.alarms.start()
            try:
                await self._stop.wait()
                await self._wind_up()
            except asyncio.CancelledError:
                self._stop.set()
                self._abort.set()
                await self._wind_up()
                raise
        finally:
            self.state = "stopped"
            self._is_closed = True
            if self._sampling is not None:
                self._sampling.cancel()
            self.executor.close()
            self.heartbeat.thread.abort()
            await self.call(self.heartbeat.stop)
            if self.alarms is not None:
                self.alarms.stop()
                await self.call(self.alarms.join, not self._abort.is_set())
            self._helpers.shutdown()
            self.transport.close()
            self.heartbeat.transport.close()
            self.connection.close()
            if self.aio_connection is not None:
                await self.aio_connection.close()

    async def _sample(self) -> None:
        """Write the history of queues, when it is the turn of this process."""
        from rqsqs.metrics.sampling import Sampler

        transport = self.connection.transport
        sampler = Sampler(transport.space)
        while True:
            await asyncio.sleep(sampler.delay())
            if not await self.call(sampler.take, transport):
                return

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(call, *args)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call something that waits, in a thread."""
        return await self.loop.run_in_executor(self._helpers, function, *args)

    def _create_queues(self) -> None:
        for name, (settings, tags) in self._queues_to_create.items():
            self.connection.create_queue(name, tags=tags, **settings)

    def stop(self) -> None:
        """Take no more messages, finish those in hand, end. Called again: give everything back and end."""
        if self._was_stopped:  # a command that drains the worker is no first time
            self._abort.set()
        self._was_stopped = True
        self._stop.set()

    async def _wind_up(self) -> None:
        self._close_all()
        abort = asyncio.create_task(self._abort.wait())
        idle = asyncio.create_task(self._is_idle.wait())
        timeout = self.settings.shutdown_timeout
        try:
            await asyncio.wait([abort, idle], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            abort.cancel()
            idle.cancel()
        for pause in self._settle_rest():
            await asyncio.sleep(pause)
        self.executor.cancel_tasks()

    def end_without_loop(self) -> None:
        """A coroutine blocks the event loop: do without it what serve() would do now."""
        self._close_all()
        for pause in self._settle_rest():
            time.sleep(pause)
        self.heartbeat.stop()

    def _close_all(self) -> None:
        self.state = "stopping"
        if self.alarms is not None:
            self.alarms.stop()
        for queue in self.queues:
            if queue.is_open:
                self._close(queue, "draining")
        with self.lock:
            self.executor.is_stopping = True
            if self.scheduler.is_idle():
                self.soon(self._is_idle.set)

    def _settle_rest(self) -> Iterator[float]:
        """Give back what is still running. Yields pauses while something is left to settle and there is time for it."""
        with self.lock:
            running = {job for queue in self.queues for job in queue.held.values() if not job.is_settled}
        if running:
            log.warning("still running: %d handlers; their messages are given back: %s", len(running),
                        log_lines.names([(job.queue.name, job.queue.handler.function) for job in running]))  # fmt: skip
            for queue in self.queues:
                self._give_back(queue)
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while time.monotonic() < deadline:
            with self.lock:  # else a fetch may be about to tell what it brought
                if not any(queue.held or queue.is_fetching for queue in self.queues):
                    return
                self.executor.wake()
            yield 0.002
        lost = sum(len(queue.held) for queue in self.queues)
        if lost:
            log.warning("%d messages could not be settled; they become visible again by themselves", lost)

    def _close(self, queue: WorkerQueue, state: str) -> None:
        """Fetch no more; what was not begun goes back."""
        with self.lock:
            queue.state = state
            queue.is_open = False
            for job in reversed((*self.executor.withdraw(queue), *queue.waiting)):  # it costs least in this order
                self.settler.give_back(job)
            queue.waiting.clear()
            self.executor.wake()
        try:
            RestartingThread("rqsqs-end-fetch", functools.partial(self._end_fetch, queue)).start()
        except RuntimeError:  # the system gives no more threads
            self._unblock(queue)

    def _end_fetch(self, queue: WorkerQueue) -> None:
        while queue.is_fetching and not self._is_closed:
            self._unblock(queue)
            time.sleep(0.005)

    def _unblock(self, queue: WorkerQueue) -> None:
        with contextlib.suppress(Exception):  # the fetch finds out for itself
            self.transport.link.waiting.unblock(tuple(p.wakeups for p in queue.ref.partitions))

    def _give_back(self, queue: WorkerQueue) -> None:
        """Everything, also what is running: a coroutine is cancelled, a thread continues for nothing."""
        with self.lock:
            for job in dict.fromkeys(queue.held.values()):
                if not job.is_settled:
                    self.settler.give_back(job)
                    job.lose(job.deliveries)
            self.executor.wake()

    # What the heartbeat reports and asks

    def _lose(self, queue: WorkerQueue, lost: Sequence[Delivery]) -> None:
        with self.lock:
            gone = [(d, job) for d in lost if (job := queue.held.get(d)) is not None and not job.is_settled]
            for d, job in gone:
                queue.held.pop(d)
                queue.lost += 1
                job.lose([d])
        for d, _ in gone:
            log_lines.lost(queue.name, d)

    def _handle_command(self, queue: WorkerQueue, command: str) -> None:
        if not queue.is_open and (command != "evict" or queue.state == "evicted"):
            return
        log.warning("%s got the command to %s: %s", self.consumer_id, command, queue.name)
        self._close(queue, "evicted" if command == "evict" else "draining")
        if command == "evict":
            self._give_back(queue)
        if not any(queue.is_open for queue in self.queues):
            self.soon(self._stop.set)
        if all(queue.state == "evicted" for queue in self.queues):
            self.soon(self._abort.set)

    def statistics(self) -> Statistics:
        """What the connections with which it fetches and settles went through; from any thread."""
        return self.transport.link.counters.statistics()

    def problems(self) -> list[str]:
        found = self.reports.problems()
        if not found and not self.heartbeat.is_healthy:
            found.append(f"the server: no heartbeat got through for {time.monotonic() - self.heartbeat.last:.0f} s")
        return found

    def threads(self) -> list[RestartingThread]:
        alarms = [] if self.alarms is None else [self.alarms.thread]
        return [self.heartbeat.thread, *self.executor.threads(), *alarms]

    def _describe(self, queue: WorkerQueue) -> dict[str, Any]:
        held = list(queue.held.copy().items())
        offset = time.time() - time.monotonic()
        return {
            "counted": queue.counted(),
            "state": queue.shown_state,
            "waiters": int(queue.waits),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": round(self.started * 1000),
            "concurrency": self.settings.concurrency,
            "in_flight": len(held),
            "held": [[d.message_id, round((job.since + offset) * 1000)] for d, job in held[:SHOWN]],
            "succeeded": queue.succeeded,
            "failed": queue.failed,
            "statistics": {name: number for name, number in asdict(self.statistics()).items() if number},
        }
