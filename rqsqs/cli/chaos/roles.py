"""A producer and a consumer, each a process that writes down what it was told.

python -m rqsqs.cli.chaos.roles produce|consume JSON
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

import rqsqs
from rqsqs.cli.chaos.history import Journal

PAUSE_S = 0.05  # after an error
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


def open_connection(settings: dict[str, Any]) -> rqsqs.Connection:
    durability = settings["durability"] or None
    return rqsqs.connect(settings["url"], prefix=settings["prefix"], durability=durability, **settings["options"])


def produce(settings: dict[str, Any]) -> None:
    """Send numbered messages until told to stop; on a FIFO queue each group has one producer, and a send that failed is
    repeated, as its deduplication id lets one do, before anything else is sent."""
    stopped, index, total = Stopped(), settings["index"], settings["producers"]
    path = Path(settings["folder"]) / f"producer-{index}.journal"
    rng = random.Random(index)
    number = index
    with Journal(path, f"producer-{index}") as journal, open_connection(settings) as connection:
        queue = connection.queue(settings["queue"])
        groups = [f"g{n}" for n in range(index, settings["groups"], total)]
        pause = total / settings["rate"]
        while not stopped:
            group = rng.choice(groups) if queue.is_fifo else ""
            options: dict[str, Any] = {"group": group, "deduplication_id": str(number)} if queue.is_fifo else {}
            while not stopped:
                told = journal.call("sending", number=number, group=group)
                try:
                    queue.send({"n": number}, **options)
                except rqsqs.RqsqsError as error:
                    told("error", text=str(error)[:200])
                    # What is repeatable the library has perhaps tried before, and that may have been stored.
                    is_stored = isinstance(error, rqsqs.DurabilityNotReached) or getattr(error, "request_sent", False)
                    if not queue.is_fifo and not is_stored:
                        told("refused")
                    time.sleep(PAUSE_S)
                    if not queue.is_fifo:
                        break  # it would perhaps be stored twice
                else:
                    told("sent")
                    break
            number += total
            time.sleep(rng.uniform(0.5, 1.5) * pause)


def consume(settings: dict[str, Any]) -> None:
    """Receive and delete until told to stop; what is in hand then is finished first."""
    stopped, name = Stopped(), f"consumer-{os.getpid()}-{secrets.token_hex(4)}"
    path = Path(settings["folder"]) / f"{name}.journal"
    rng = random.Random()
    with Journal(path, name) as journal, open_connection(settings) as connection:
        queue = connection.queue(settings["queue"])
        while not stopped:
            told, visible_s = journal.call(), settings["visibility_s"]
            try:
                messages = queue.receive(
                    rng.randint(1, 5), wait=rng.choice((0.02, WAIT_S)), visibility_timeout=visible_s
                )
            except rqsqs.RqsqsError as error:
                told("error", text=str(error)[:200])
                time.sleep(PAUSE_S)
                continue
            for message in messages:
                told("received", **about(message), receives=message.receive_count, visible_s=visible_s)
            time.sleep(rng.uniform(0, settings["work_s"]))
            for message in messages:
                told = journal.call("deleting", **about(message))
                try:
                    queue.delete(message)
                except rqsqs.ReceiptHandleExpired:  # it was too slow: an ordinary answer
                    told("kept")
                except rqsqs.RqsqsError as error:
                    told("error", text=str(error)[:200])
                else:
                    told("deleted")


def about(message: rqsqs.Message) -> dict[str, Any]:
    """What tells it from others."""
    return {"number": message.body["n"], "group": message.group or "", "message": message.message_id}


if __name__ == "__main__":
    logging.getLogger("rqsqs.server").setLevel(logging.ERROR)  # doctor tells
    {"produce": produce, "consume": consume}[sys.argv[1]](json.loads(sys.argv[2]))
