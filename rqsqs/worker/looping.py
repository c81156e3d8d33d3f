"""An event loop that lasts: SystemExit in a task does not end it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Coroutine
from typing import Any

from rqsqs.errors import UsageError

log = logging.getLogger("rqsqs.worker")


def run(main: Coroutine[Any, Any, None]) -> None:
    """asyncio.run() for a worker.

    A task that raises SystemExit or KeyboardInterrupt keeps it as its exception, as with any other; but asyncio lets it
    also end the loop, and with it all that other tasks do. Here the loop goes on until `main` has ended. If a signal
    handler raises one of them instead, `main` is cancelled, and it comes out of here.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        main.close()
        raise UsageError("an event loop is running in this thread: await worker.serve() in it")
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
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
                log.error("%s in a task that a handler started: the worker goes on", type(error).__name__,
                          exc_info=error)  # fmt: skip


def _is_of_the_loop(error: BaseException) -> bool:
    """Did it come out of a task or a callback? A signal handler that raises while the loop waits means the process."""
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code is asyncio.Handle._run.__code__ or code.co_flags & inspect.CO_COROUTINE:
            return True
        traceback = traceback.tb_next
    return False
