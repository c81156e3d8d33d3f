"""Alarms, evaluated by a worker: in a thread with an event loop of its own, which no handler can block."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import rqsqs.aio
from rqsqs._core.actors import program
from rqsqs.alarms.actions import ActionsFile
from rqsqs.alarms.running import AlarmRunner
from rqsqs.gateway.alarm_rights import SendRights
from rqsqs.sqs.context import DEFAULT_ACCOUNT
from rqsqs.worker.restarting_thread import RestartingThread
from rqsqs.worker.settings import Settings

END_S, ABORT_S = 12.0, 0.5  # for actions at work when the worker ends


class AlarmThread:
    """Evaluates the alarms of a worker's prefix, and does their actions, when it is its turn.

    Raises:
        ActionsFileInvalid: the actions file cannot be used.
    """

    def __init__(self, settings: Settings, prefix: str) -> None:
        assert settings.actions is not None
        self._settings, self._prefix = settings, prefix
        self._file = ActionsFile(settings.actions)
        self._lock = threading.Lock()
        self._ending: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._is_stopped = False
        self._ended = threading.Event()
        self.thread = RestartingThread("rqsqs-alarms", self._run)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Begin the end; from any thread, any number of times."""
        with self._lock:
            self._is_stopped = True
            self.thread.abort()
            if self._ending is not None:
                loop, event = self._ending
                with contextlib.suppress(RuntimeError):  # it is closed
                    loop.call_soon_threadsafe(event.set)

    def join(self, is_patient: bool) -> None:
        """Wait until actions at work have ended, or were given back."""
        if self.thread.is_started:
            self._ended.wait(END_S if is_patient else ABORT_S)

    def _run(self) -> None:
        if not self._is_stopped:
            asyncio.run(self._evaluate())
        self._ended.set()

    async def _evaluate(self) -> None:
        ending = asyncio.Event()
        with self._lock:
            if self._is_stopped:
                return
            self._ending = asyncio.get_running_loop(), ending
        settings = self._settings
        async with rqsqs.aio.connect(settings.url, prefix=self._prefix, **settings.options) as connection:
            connection.transport.space.actor = program("worker")
            rights = SendRights(connection.transport, DEFAULT_ACCOUNT)
            runner = AlarmRunner(connection, self._file.current, may_send=rights)
            tasks = [asyncio.create_task(runner.run()), asyncio.create_task(ending.wait())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            if not tasks[0].cancelled():
                tasks[0].result()
