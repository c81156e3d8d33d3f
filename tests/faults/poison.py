"""A worker in a process of its own, which a message "poison ..." kills as its handler begins."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess

from rqsqs import Message, aio
from rqsqs.worker import Worker

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def start(url: str, prefix: str, kind: str, seconds: float) -> BaseProcess:
    """Start a worker of the queue "q".

    Args:
        kind: "plain", "coroutine" or "batch"; "mixed" = plain, and coroutines of the queue "other", which both take up
            to 40 ms.
        seconds: from the begin of a handler to the death of its process.
    """
    process = _context.Process(target=serve, args=(url, prefix, kind, seconds), daemon=True)
    process.start()
    return process


def takes(body: str) -> float:
    """Seconds that a handler of the kind "mixed" takes."""
    return (0.0, 0.0, 0.0, 0.002, 0.01, 0.04)[int(body.rsplit(" ", 1)[1]) % 6]


def serve(url: str, prefix: str, kind: str, seconds: float) -> None:
    """What such a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("rqsqs.worker").setLevel(logging.CRITICAL)
    worker = Worker(url, prefix=prefix, heartbeat_interval=0.25 if kind == "mixed" else 0.05)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def plain(message: Message) -> None:
        if message.body.startswith("poison"):
            time.sleep(seconds)
            die()

    def batch(messages: list[Message]) -> None:
        for message in messages:
            plain(message)

    async def coroutine(message: aio.Message) -> None:
        if message.body.startswith("poison"):
            await asyncio.sleep(seconds)
            die()

    def mixed(message: Message) -> None:
        time.sleep(takes(message.body))
        plain(message)

    async def mixed_coroutine(message: aio.Message) -> None:
        await asyncio.sleep(takes(message.body))
        await coroutine(message)

    if kind == "mixed":
        worker.add("q", mixed)
        worker.add("other", mixed_coroutine)
    elif kind == "batch":
        worker.add("q", batch, batch=5)
    else:
        worker.add("q", coroutine if kind == "coroutine" else plain)
    worker.run()
