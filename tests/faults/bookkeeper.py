"""A process that does everything that clients do with queues, and keeps books of it.

Before each call it writes what can come of it at most, afterwards what it was told, as one line of JSON each:

    {"queue": "work", "most": {"sent": 5}, "at": 12.5}
    {"done": {"sent": 4, "deduplicated": 1}, "at": 12.6}

"got" is what was received, "rescheduled" the id of a message that begins a new delivery cycle.

A call without its second line was interrupted, or failed: perhaps all of it was done, perhaps nothing.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import rqsqs
from rqsqs.errors import DurabilityNotReached, MoveTaskRefused, RqsqsError
from tests.faults.sampler import FastClock

CHAIN = {"work": "dead", "fair": "dead", "line.fifo": "dead.fifo", "parts.fifo": "dead.fifo"}
SWEPT = ("swept", "swept.fifo")  # queues that are purged, and whose messages expire
OTHERS = ("dead", "dead.fifo", "other", "other.fifo")
QUEUES = (*CHAIN, *SWEPT, *OTHERS)
HELD_S = 3600.0  # visibility timeout of messages that are deleted at once
FORGOTTEN_S = 20.0  # of messages that are not
MOST = 20  # messages at a time


class Bookkeeper:
    """Does one thing after the other, by chance.

    Args:
        job: url, prefix, durability, seed, started and speed (of the clock), log (a file of its own), stop (a file:
            while it exists nothing is done).
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._stop = Path(job["stop"])
        self._draw = random.Random(job["seed"])
        self._clock = FastClock(job["started"], job["speed"])
        self._speed = job["speed"]
        self._connection = rqsqs.connect(
            job["url"], prefix=job["prefix"], clock=self._clock, durability=job["durability"], socket_timeout=5
        )
        self._queues = {name: self._connection.queue(name) for name in QUEUES}
        self._sent: dict[str, list[rqsqs.SentMessage]] = {name: [] for name in QUEUES}

    def run(self) -> None:
        """Work until it is killed."""
        while True:
            if self._stop.exists():
                self._write({"idle": True})
                while self._stop.exists():
                    time.sleep(0.02)
                self._write({"idle": False})
            self._step()

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._log, json.dumps({**line, "at": time.time()}).encode() + b"\n")

    def _call(
        self,
        queue: str,
        call: Callable[[], Any],
        tell: Callable[[Any], dict[str, int]],
        rescheduled: str | None = None,
        **most: int,
    ) -> Any:
        """Make a call and write what came of it; None if it failed."""
        self._write({"queue": queue, "most": most, "rescheduled": rescheduled})
        before = self._connection.statistics(), self._partitions(queue)
        try:
            answer = call()
        except RqsqsError as error:
            if is_refused(error):
                self._write({"done": {}})
            return None
        after = self._connection.statistics(), self._partitions(queue)
        done = {name: number for name, number in tell(answer).items() if number}
        got = [(m.message_id, m.receive_count, m.group) for m in answer] if "received" in most else []
        self._write({"done": done, "is_smooth": before == after, "got": got})
        return answer

    def _partitions(self, queue: str) -> tuple[Any, ...]:
        return self._connection.transport.queue(queue).partitions

    def _step(self) -> None:
        name = self._draw.choice([*CHAIN] * 5 + [*SWEPT] * 3 + [*OTHERS] * 2)
        queue, chance = self._queues[name], self._draw.random()
        if name in SWEPT:
            if chance < 0.45:
                self._send(queue)
            elif chance < 0.9:
                self._receive(queue, delete=True)
            elif chance < 0.92:
                self._call(name, queue.purge, lambda _: {})
            else:
                self._change_one(queue)
        elif chance < 0.3 and name not in ("dead", "dead.fifo"):
            self._send(queue)
        elif chance < 0.35:
            self._receive(queue, delete=True)
        elif chance < 0.85:
            self._consume(queue)
        elif chance < 0.9 and name in ("dead", "dead.fifo"):
            self._redrive(queue)
        elif chance < 0.92:
            group = f"g{self._draw.randrange(6)}"
            self._call(name, lambda: queue.pause(group), lambda _: {})
            self._call(name, lambda: queue.resume(group), lambda _: {})
        else:
            self._change_one(queue)

    def _send(self, queue: rqsqs.Queue) -> None:
        entries = []
        for _ in range(self._draw.choice([1, 1, 3, MOST])):
            options: dict[str, Any] = {}
            if queue.is_fifo or queue.name in ("fair", "swept"):
                options["group"] = f"g{self._draw.randrange(6)}"
            if self._draw.random() < 0.2 and not queue.is_fifo:
                options["delay"] = self._draw.choice([1, 5, 60])
            if queue.is_fifo or self._draw.random() < 0.2:
                options["deduplication_id"] = f"d{self._draw.randrange(50 if self._draw.random() < 0.2 else 10**12)}"
            entries.append(rqsqs.Entry(self._draw.randrange(10**6), **options))

        def send() -> list[rqsqs.SentMessage]:
            if len(entries) == 1 and not queue.is_fifo and self._draw.random() < 0.5:
                return [queue.send(entries[0].body)]
            return queue.send_batch(entries)

        def tell(sent: list[rqsqs.SentMessage]) -> dict[str, int]:
            duplicates = sum(one.is_duplicate for one in sent)
            return {"sent": len(sent) - duplicates, "deduplicated": duplicates}

        sent = self._call(queue.name, send, tell, sent=len(entries), deduplicated=len(entries))
        self._sent[queue.name] = (self._sent[queue.name] + (sent or []))[-50:]

    def _receive(
        self, queue: rqsqs.Queue, visibility_s: float = HELD_S, *, delete: bool = False, done: Iterable[Any] = ()
    ) -> list[rqsqs.Message]:
        count, finished = self._draw.choice([1, 3, MOST]), list(done)
        wait = self._draw.choice([0, 0, 0, 0.05])

        def receive() -> list[rqsqs.Message]:
            if not finished:
                return queue.receive(count, wait=wait, visibility_timeout=visibility_s, delete=delete)
            found, failures = queue.delete_and_receive(finished, count, wait=wait, visibility_timeout=visibility_s)
            if failures:  # a failover has forgotten something
                raise failures[0].error
            return found

        def tell(found: list[rqsqs.Message]) -> dict[str, int]:
            told = Counter(f"receive_{min(message.receive_count, 4)}" for message in found)
            deleted = len(found) if delete else len(finished)
            return {**told, "received": len(found), "empty_receives": not found, "deleted": deleted}

        most = {f"receive_{number}": count for number in (1, 2, 3, 4)}
        deleted = count if delete else len(finished)
        return self._call(queue.name, receive, tell, received=count, empty_receives=1, deleted=deleted, **most) or []

    def _consume(self, queue: rqsqs.Queue) -> None:
        if self._draw.random() < 0.15:
            self._receive(queue, FORGOTTEN_S)
            return
        since = time.monotonic()
        found = self._receive(queue)
        failed = [message for message in found if self._draw.random() < 0.3]
        finished = [message for message in found if message not in failed]
        if (time.monotonic() - since) * self._speed > HELD_S / 2:  # others may have it
            return
        how = self._draw.choice(["batch", "each", "with the next"]) if finished else "nothing"
        if how == "batch":
            told = {"deleted": len(finished)}
            self._call(queue.name, lambda: queue.delete_batch(finished), lambda _: told, **told)
        elif how == "each":
            for message in finished:
                self._call(queue.name, message.delete, lambda _: {"deleted": 1}, deleted=1)
        elif how == "with the next":
            self._receive(queue, FORGOTTEN_S, done=finished)
        for message in failed:
            after_s = self._draw.choice([0, 0, 1, 10])
            self._call(queue.name, lambda m=message, s=after_s: queue.change_visibility(m, s), lambda _: {})

    def _change_one(self, queue: rqsqs.Queue) -> None:
        """Cancel or reschedule a message that was sent."""
        if not self._sent[queue.name]:
            return
        one = self._sent[queue.name].pop(self._draw.randrange(len(self._sent[queue.name])))
        if self._draw.random() < 0.6:
            self._call(queue.name, lambda: queue.cancel(one), lambda is_done: {"cancelled": int(is_done)}, cancelled=1)
        else:
            delay = self._draw.choice([0, 5, 60])
            self._call(queue.name, lambda: queue.reschedule(one, delay=delay), lambda _: {}, one.message_id)

    def _redrive(self, queue: rqsqs.Queue) -> None:
        other = "other.fifo" if queue.is_fifo else "other"
        destination = self._draw.choice([None, other])
        if self._draw.random() < 0.5:
            self._call(queue.name, lambda: queue.redrive(destination), lambda _: {})
        else:
            chosen = self._call(queue.name, lambda: queue.peek(MOST), lambda _: {})
            if chosen:
                self._call(queue.name, lambda: queue.redrive_messages(chosen, destination), lambda _: {})


def is_refused(error: RqsqsError) -> bool:
    """Does the error say that nothing was done?"""
    return isinstance(error, MoveTaskRefused | rqsqs.MessageNotAvailable) and not isinstance(
        error, DurabilityNotReached
    )


def run(job: dict[str, Any]) -> None:
    """In a process of its own."""
    Bookkeeper(job).run()
