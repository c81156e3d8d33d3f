"""A producer and a consumer, each a process that writes down what it was told.

python -m rqsqs.chaos.roles produce|consume JSON
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import rqsqs
from rqsqs.chaos.history import Journal

PAUSE_S = 0.05  # after trouble
WAIT_S = 0.2


class Stopped:
    """Becomes true with SIGTERM, or when the parent is gone."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._is_told = False
        signal.signal(signal.SIGTERM, self._tell)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent

    def _tell(self, *_: object) -> None:
        self._is_told = True

    def __bool__(self) -> bool:
        return self._is_told or os.getppid() != self._parent


def produce(settings: dict[str, Any]) -> None:
    """Send numbered messages until told to stop; on a FIFO queue each group has one producer, and a send whose outcome
    is unknown is repeated, as its deduplication id lets one do."""
    stopped, index, total = Stopped(), settings["index"], settings["producers"]
    journal = Journal(Path(settings["folder"]) / f"producer-{index}.journal", f"producer-{index}")
    rng = random.Random(index)
    number = index
    with rqsqs.connect(settings["url"], prefix=settings["prefix"]) as connection:
        queue = connection.queue(settings["queue"])
        groups = [f"g{n}" for n in range(index, settings["groups"], total)]
        pause = total / settings["rate"]
        while not stopped:
            group = rng.choice(groups) if queue.is_fifo else ""
            options: dict[str, Any] = {"group": group, "deduplication_id": str(number)} if queue.is_fifo else {}
            while not stopped:
                began = time.monotonic()
                try:
                    queue.send({"n": number}, **options)
                except rqsqs.RqsqsError as error:
                    now, unknown = time.monotonic(), getattr(error, "request_sent", False)
                    journal.write("trouble", began, now, number=number, group=group, text=str(error)[:200])
                    if unknown:
                        journal.write("unknown", began, now, number=number, group=group)
                    time.sleep(PAUSE_S)
                    if unknown and not queue.is_fifo:
                        break  # it would perhaps be stored twice
                else:
                    journal.write("sent", began, time.monotonic(), number=number, group=group)
                    break
            number += total
            time.sleep(rng.uniform(0.5, 1.5) * pause)


def consume(settings: dict[str, Any]) -> None:
    """Receive and delete until told to stop; what is in hand then is finished first."""
    stopped, name = Stopped(), f"consumer-{os.getpid()}"
    journal = Journal(Path(settings["folder"]) / f"{name}.journal", name)
    rng = random.Random()
    with rqsqs.connect(settings["url"], prefix=settings["prefix"]) as connection:
        queue = connection.queue(settings["queue"])
        while not stopped:
            began = time.monotonic()
            try:
                messages = queue.receive(5, wait=WAIT_S, visibility_timeout=settings["visibility_s"])
            except rqsqs.RqsqsError as error:
                journal.write("trouble", began, time.monotonic(), text=str(error)[:200])
                time.sleep(PAUSE_S)
                continue
            ended = time.monotonic()
            for message in messages:
                journal.write(
                    "received",
                    began,
                    ended,
                    number=message.body["n"],
                    group=message.group or "",
                    receives=message.receive_count,
                    visible_s=settings["visibility_s"],
                )
            time.sleep(rng.uniform(0, settings["work_s"]))
            for message in messages:
                began = time.monotonic()
                try:
                    queue.delete(message)
                except rqsqs.RqsqsError as error:
                    journal.write("trouble", began, time.monotonic(), text=str(error)[:200])
                else:
                    journal.write(
                        "deleted", began, time.monotonic(), number=message.body["n"], group=message.group or ""
                    )


if __name__ == "__main__":
    {"produce": produce, "consume": consume}[sys.argv[1]](json.loads(sys.argv[2]))
