"""A worker in a process of its own, which records in a list on the server what its handler does.

A record is [what, pid, body, receive count, time]. What: "begin", "end", "lost" (it learned that the message is not its
own any more). Processes are forked from one that has everything imported, so that hundreds of them can be killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from typing import Any

from rqsqs import Message, aio
from rqsqs.worker import Context, Worker
from tests.clusters import client_of

BEAT_S = 0.25
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def start(url: str, prefix: str, queue: str, kind: str, log: str, slow: float = 0.03) -> BaseProcess:
    """Start a worker.

    Args:
        kind: "plain" or "coroutine".
        log: key of the list.
        slow: the part of the messages that take longer than two beats.
    """
    process = _context.Process(target=serve, args=(url, prefix, queue, kind, log, slow), daemon=True)
    process.start()
    return process


def serve(url: str, prefix: str, queue: str, kind: str, log: str, slow: float) -> None:
    """What such a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("rqsqs.worker").setLevel(logging.CRITICAL)
    worker = Worker(url, prefix=prefix, concurrency=4, heartbeat_interval=BEAT_S)
    connection = client_of(url)
    chance = random.Random(os.getpid())

    def tell(what: str, message: Message) -> None:
        connection.rpush(log, json.dumps([what, os.getpid(), message.body, message.receive_count, time.time()]))

    def steps() -> int:
        return chance.randint(60, 90) if chance.random() < slow else chance.randint(0, 3)

    def plain(message: Message, context: Context) -> None:
        tell("begin", message)
        for _ in range(steps()):
            time.sleep(0.01)
            if context.is_lost:
                tell("lost", message)
                context.raise_if_lost()
        tell("end", message)

    async def coroutine(message: aio.Message) -> None:
        tell("begin", message)
        try:
            await asyncio.sleep(steps() * 0.01)
        except asyncio.CancelledError:
            tell("lost", message)
            raise
        tell("end", message)

    worker.add(queue, plain if kind == "plain" else coroutine)
    worker.run()


Record = tuple[str, int, Any, int, float]


def records(connection: Any, log: str) -> list[Record]:
    """What all have told, in order."""
    found: Any = connection.lrange(log, 0, -1)
    return [tuple(json.loads(line)) for line in found]
