"""What a process of a fleet does. It writes one line of JSON for everything it knows.

Lines are written at once and whole, so that several workers can share a file and a killed one leaves nothing half.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import time
from typing import Any

from rqsqs._core import envelope, flows
from rqsqs._io.aio.runner import Transport as AsyncTransport
from rqsqs._io.sync.runner import Transport
from rqsqs.errors import QueueDoesNotExist, ServerError
from rqsqs.limits import AWS, NATIVE


class Worker:
    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.transport = Transport(job["url"], job["prefix"])
        self.queue = self.transport.queue(job["queue"])

    def tell(self, what: str, **facts: Any) -> None:
        line = {"what": what, "who": self.job.get("who"), "at": time.time(), **facts}
        os.write(self.log, json.dumps(line).encode() + b"\n")

    def until_it_works(self, flow: Any) -> Any:
        """Run what `flow` makes; while the server is down, try again."""
        while True:
            try:
                return self.transport.run(flow())
            except ServerError:
                time.sleep(0.02)

    def produce(self) -> None:
        """Send `count` messages in batches; each is told once it was acknowledged."""
        who, is_fifo = self.job["who"], self.queue.is_fifo
        numbers = list(range(self.job["count"]))
        for start in range(0, len(numbers), self.job.get("batch", 5)):
            batch = []
            for n in numbers[start : start + self.job.get("batch", 5)]:
                group = f"{who}-{n % 3}" if is_fifo else None
                dedup_id = f"{who}-{n}"  # so that trying again is safe
                batch.append(envelope.outgoing([who, n], group=group, dedup_id=dedup_id))
            self.until_it_works(lambda batch=batch: flows.send_messages(self.queue, batch, NATIVE))
            for n in numbers[start : start + len(batch)]:
                self.tell("sent", body=[who, n])
            time.sleep(self.job.get("pause", 0))

    def consume(self) -> None:
        """Receive, tell, delete, tell; until nothing came for `patience` seconds."""
        last, limits = time.monotonic(), AWS if self.queue.is_fifo else NATIVE
        while time.monotonic() - last < self.job.get("patience", 1.0):
            got = self.until_it_works(
                lambda: flows.receive_messages(
                    self.queue, NATIVE, self.job.get("batch", 4), self.job.get("visibility_ms"), 200
                )
            )
            for d in got:
                last = time.monotonic()
                self.tell("got", body=d.body, count=d.receive_count)
            if self.job.get("hold"):
                continue
            time.sleep(self.job.get("pause", 0))
            for d in got:
                results = self.until_it_works(lambda d=d: flows.delete_messages(self.queue, [d.receipt_handle], limits))
                if results == [None]:
                    self.tell("deleted", body=d.body)

    def wait(self) -> None:
        """Wait for messages in several threads, until the queue is deleted."""

        def one() -> None:
            while True:
                try:
                    got = self.transport.run(self.waiting())
                except QueueDoesNotExist:
                    return
                for d in got:
                    self.tell("got", body=d.body)

        for _ in range(self.job["threads"]):
            threading.Thread(target=one, daemon=True).start()
        self.tell("waiting")
        time.sleep(3600)

    def wait_aio(self) -> None:
        """The same in several tasks."""

        async def one(transport: AsyncTransport) -> None:
            while True:
                for d in await transport.run(self.waiting()):
                    self.tell("got", body=d.body)

        async def all_of_them() -> None:
            transport = AsyncTransport(self.job["url"], self.job["prefix"])
            tasks = [asyncio.create_task(one(transport)) for _ in range(self.job["threads"])]
            self.tell("waiting")
            await asyncio.gather(*tasks)

        asyncio.run(all_of_them())

    def waiting(self) -> Any:
        """A receive that waits for 90 seconds, or for as long as the job says: for at least and at most so many ms."""
        wait_ms = random.randint(*self.job.get("wait_ms", (90_000, 90_000)))
        return flows.receive_messages(self.queue, NATIVE, 1, None, wait_ms, delete=True)

    def fork(self) -> None:
        """Fork while a thread waits and connections are open; both go on."""
        got: list[Any] = []

        def one() -> None:
            got.extend(self.transport.run(flows.receive_messages(self.queue, NATIVE, 1, None, 20_000, delete=True)))

        thread = threading.Thread(target=one)
        thread.start()
        time.sleep(0.3)
        pid = os.fork()
        who = "parent" if pid else "child"
        other = self.transport.queue("other")
        for n in range(50):
            self.transport.run(flows.send_messages(other, [envelope.outgoing([who, n])], NATIVE))
            for d in self.transport.run(flows.receive_messages(other, NATIVE, 1, None, 1000, delete=True)):
                self.tell("got", body=d.body, message_id=d.message_id, by=who)
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        self.transport.run(flows.send_messages(self.queue, [envelope.outgoing("for the thread")], NATIVE))
        thread.join(60)
        self.tell("thread", bodies=[d.body for d in got])


def run(job: dict[str, Any]) -> None:
    """In a process of its own: the whole job."""
    worker = Worker(job)
    getattr(worker, job["role"])()
    worker.tell("end")
