"""A worker as a process: its event loop, its signals, and its end within a bounded time.

Handlers must not keep a process that was told to stop. Threads of asyncio.to_thread() are daemons; tasks that do not
end when they are cancelled are left behind; and if a coroutine blocks the event loop itself, a guard gives the messages
back and ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from rqsqs.errors import UsageError
from rqsqs.worker import forked_children

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("rqsqs.worker")

CLOSE_S = 1.0  # for tasks that are cancelled when the loop ends
RESPONSE_S = 30.0  # an event loop that answers nothing for that time hangs
PROBE_S = 2.0  # an event loop that does not answer for that time is blocked
EXIT_S = 5.0  # for what Python waits for at the end: other threads, functions of atexit


def run(main: Coroutine[Any, Any, None]) -> None:
    """asyncio.run() for a worker.

    A task that raises SystemExit or KeyboardInterrupt keeps it as its exception, as with any other; but asyncio lets it
    also end the loop, and with it all that other tasks do. Here the loop continues until `main` has ended. If a signal
    handler raises one of them instead, `main` is cancelled, and it comes out of here.

    At the end asyncio.run() waits for all tasks and threads of to_thread(), however long they take; this does not.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        main.close()
        raise UsageError("an event loop is running in this thread: await worker.serve() in it")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(DaemonThreads())
    try:
        task = loop.create_task(main)
        while True:
            try:
                loop.run_until_complete(task)
                return
            except (SystemExit, KeyboardInterrupt) as error:
                if task.done() and not task.cancelled() and task.exception() is error:
                    raise
                if not _is_of_the_loop(error):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        loop.run_until_complete(task)
                    raise
                log.error("%s in a task that a handler started: the worker continues", type(error).__name__,
                          exc_info=error)  # fmt: skip
    finally:
        _close(loop)


def _is_of_the_loop(error: BaseException) -> bool:
    """Did it come out of a task or a callback? A signal handler that raises while the loop waits means the process."""
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code is asyncio.Handle._run.__code__ or code.co_flags & inspect.CO_COROUTINE:
            return True
        traceback = traceback.tb_next
    return False


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left, and wait for it for a short time only."""
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_S))
            loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), CLOSE_S))
        for task in tasks:
            if not task.done():
                log.warning("a task does not end although it was cancelled, it is left behind: %s", task.get_coro())
                _left_behind.append(task)
            elif not task.cancelled() and (error := task.exception()) is not None:
                loop.call_exception_handler(
                    {"message": "unhandled exception at the end of a worker", "exception": error, "task": task}
                )
    except TimeoutError:
        log.warning("asynchronous generators do not end although they were closed")
    finally:
        asyncio.set_event_loop(None)
        loop.close()


_left_behind: list[asyncio.Task[Any]] = []  # Python complains when one goes that has not ended


class DaemonThreads(ThreadPoolExecutor):
    """Runs the calls of asyncio.to_thread() in threads that Python does not wait for when the process ends.

    It has the class that event loops require, and nothing else of it.
    """

    def __init__(self) -> None:
        super().__init__(min(32, (os.cpu_count() or 1) + 4))  # as asyncio does
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._number = 0
        self._is_forked = False
        forked_children.watch(self)

    def forked(self) -> None:
        """In a child: it ends when the call that forked it comes back."""
        self._is_forked = True

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put(functools.partial(self._call, future, functools.partial(fn, *args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self._number < self._max_workers:
            thread = threading.Thread(target=self._work, name=f"asyncio_{self._number}", daemon=True)
            try:
                thread.start()
                self._number += 1
            except RuntimeError:  # the system gives no more
                if not self._number:
                    raise
        return future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call
            self._idle.release()

    def _call(self, future: Future[T], call: Callable[[], T]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as error:
            if self._is_forked:
                forked_children.leave(error)
            future.set_exception(error)
        else:
            if self._is_forked:
                forked_children.leave()
            future.set_result(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end that have nothing to do."""
        for _ in range(self._number):
            self._calls.put(None)


class LoopProbe:
    """Tells other threads whether an event loop still turns. It costs nothing while nobody asks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._asked: float | None = None  # monotonic

    def is_responsive(self) -> bool:
        """False if the loop is closed, or has not answered for half a minute to somebody who asked."""
        with self._lock:
            asked = self._asked
            if asked is not None:  # and not answered yet
                return time.monotonic() - asked < RESPONSE_S
            self._asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # it is closed
                return False
            return True

    def _answer(self) -> None:
        self._asked = None


class Guard:
    """Ends a process that was told to stop and whose event loop does not answer for some seconds, because a handler
    blocks it; before that, give_back() is called, which returns in bounded time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, give_back: Callable[[], None]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._give_back = give_back
        self._thread: threading.Thread | None = None
        self._is_over, self._is_due = threading.Event(), threading.Event()
        self._signals = 0

    def begin(self, *, at_once: bool = False) -> None:
        """The process was told to stop; from any thread, and from signal handlers."""
        if at_once:
            self._is_due.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="rqsqs-guard", daemon=True)
            with contextlib.suppress(RuntimeError):  # the system gives no more threads
                self._thread.start()

    def end(self) -> None:
        self._is_over.set()
        self._is_due.set()

    def install(self, numbers: Iterable[int], stop: Callable[[str], None]) -> None:
        """Call stop() with the name of a signal, on the event loop, and begin() even if that is blocked."""
        for number in numbers:
            self._loop.add_signal_handler(number, stop, signal.Signals(number).name)
            signal.signal(number, functools.partial(self._signalled, signal.getsignal(number)))
            signal.siginterrupt(number, False)

    def _signalled(self, of_loop: Any, number: int, frame: Any) -> None:
        self._signals += 1
        self.begin(at_once=self._signals > 1)
        if callable(of_loop):
            of_loop(number, frame)

    def _watch(self) -> None:
        self._is_due.wait(self._seconds)
        while not self._is_over.wait(PROBE_S / 4):
            answered = threading.Event()
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(answered.set)
            if not answered.wait(PROBE_S) and not self._is_over.is_set():
                break
        else:
            return
        try:
            log.error("a handler blocks the event loop: the process gives everything back and ends")
            self._give_back()
        finally:
            leave(0)


def exit_in_time(code: int) -> None:
    """The process is about to end with `code`: see to it that threads of handlers do not keep it."""

    def watch() -> None:
        threading.Event().wait(EXIT_S)
        log.warning("threads, or functions registered with atexit, keep the process: it is ended")
        leave(code)

    threading.Thread(target=watch, name="rqsqs-exit", daemon=True).start()


def leave(code: int) -> None:
    with contextlib.suppress(BaseException):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
