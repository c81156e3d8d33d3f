"""What is compared: rqsqs through its APIs, and fixed points that cost what they must. The other queues on Redis are in
benchmarks/peers.py.

Each does the same: send, receive, delete. All are used as their documentation says, with the client they bring.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import hiredis
import redis

from benchmarks.processes import Seat

QUEUE = "bench"
RQSQS = "comes back when its visibility timeout ends; no poll, no maintenance process"


class Contestant:
    """One client of one queue. A receive returns (body, handle) pairs and waits at most about `wait` seconds."""

    name: ClassVar[str]
    needs: ClassVar[str] = ""  # a module that has to be installed
    batches: ClassVar[str] = "send receive delete"  # what it can do with ten messages in one trip
    setup: ClassVar[str] = ""  # how it is used
    guarantee: ClassVar[str] = ""  # what becomes of a message whose consumer dies
    is_endless: ClassVar[bool] = False  # its own worker consumes, until the process ends
    is_process: ClassVar[bool] = False  # a consumer is a process of its own, never a thread among others
    slots: ClassVar[int] = 1  # messages that one of its consumers handles at once

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_up = threading.Event()  # of a contestant that is a process: its worker waits for messages
        self.open()

    @classmethod
    def is_available(cls) -> bool:
        return not cls.needs or find_spec(cls.needs) is not None

    def get_ready(self, role: str, batch: int, seat: Seat) -> None:
        """Whatever takes its time before messages flow."""

    def cpu(self) -> float:
        """Seconds of CPU time so far, those of ended child processes included."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    def stamp(self) -> str:
        """A body that says when it was made, in nanoseconds of the monotonic clock."""
        return str(time.monotonic_ns())

    def open(self) -> None:
        self.client = redis.Redis.from_url(self.url, socket_timeout=60)

    def create(self) -> None:
        """Make the queue; called once, by one client."""

    def close(self) -> None:
        """Give connections up."""
        self.client.close()

    def send(self, bodies: Sequence[str]) -> None:
        raise NotImplementedError

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        raise NotImplementedError

    def delete(self, handles: Sequence[Any]) -> None:
        raise NotImplementedError

    def turn(self, finished: Sequence[Any], count: int, wait: float = 0) -> list[tuple[str, Any]]:
        """What a busy consumer does: delete what is finished and receive what comes next."""
        if finished:
            self.delete(finished)
        return self.receive(count, wait)

    def produce(self, bodies: Sequence[str], seconds: float, seat: Seat) -> None:
        """A busy producer: send batches for so long, and pause while enough messages are waiting."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.send(bodies)
            seat.add(len(bodies))
            while seat.is_full() and time.monotonic() < end:
                time.sleep(0.004)  # looking costs as well

    def consume(self, batch: int, seconds: float, done: Callable[[int], None]) -> None:
        """A busy consumer: handle messages for so long, and say how many are finished."""
        end = time.monotonic() + seconds
        finished: list[Any] = []
        while time.monotonic() < end:
            found = self.turn(finished, batch, 1)
            if time.monotonic() < end:
                done(len(finished))
            finished = [handle for _, handle in found]

    def listen(self, wait: float, take: Callable[[str], None]) -> None:
        """A waiting consumer: hand each body to `take` the moment it comes, without end."""
        while True:
            for body, handle in self.receive(1, wait):
                take(body)
                self.delete([handle])


class Native(Contestant):
    """The native sync API."""

    name = "rqsqs"
    setup = "`Queue.send`, `receive` and `delete`, a call for each; `send_batch`, `delete_batch`"
    guarantee = RQSQS

    def open(self) -> None:
        import rqsqs

        self.connection = rqsqs.connect(self.url)
        self.queue = self.connection.queue(QUEUE)

    def create(self) -> None:
        self.connection.create_queue(QUEUE)

    def close(self) -> None:
        self.connection.close()

    def send(self, bodies: Sequence[str]) -> None:
        if len(bodies) == 1:
            self.queue.send(bodies[0])
        else:
            self.queue.send_batch(bodies)

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        return [(m.body, m) for m in self.queue.receive(count, wait=wait)]

    def delete(self, handles: Sequence[Any]) -> None:
        if len(handles) == 1:
            self.queue.delete(handles[0])
        else:
            self.queue.delete_batch(handles)


class Joined(Native):
    """The same, where a busy consumer deletes and receives in one call."""

    name = "rqsqs, delete and receive"
    setup = "`Queue.delete_and_receive`: what is finished and what comes next in one call"

    def turn(self, finished: Sequence[Any], count: int, wait: float = 0) -> list[tuple[str, Any]]:
        found, failures = self.queue.delete_and_receive(finished, count, wait=wait)
        assert not failures
        return [(m.body, m) for m in found]


class Fleet(Native):
    """The worker, as it is unless one chooses otherwise: ten slots, here with a batch handler if there are batches."""

    name = "rqsqs worker"
    setup = "`Worker` with its defaults: ten slots; a batch handler in tens"
    is_endless = True
    slots = 10

    def consume(self, batch: int, seconds: float, done: Callable[[int], None]) -> None:
        from rqsqs.worker import Worker

        worker = Worker(self.url)

        def handle(message: Any) -> None:
            assert message.body
            done(1)

        def handle_batch(messages: list[Any]) -> None:
            assert all([message.body for message in messages])
            done(len(messages))

        if batch == 1:
            worker.add(QUEUE, handle)
        else:
            worker.add(QUEUE, handle_batch, batch=batch)
        threading.Thread(target=self._look, daemon=True).start()
        worker.run()

    def _look(self) -> None:
        """Is it among the consumers of the queue?"""
        while os.getpid() not in {consumer.pid for consumer in self.queue.consumers()}:
            time.sleep(0.02)
        self.connection.close()
        self.is_up.set()

    def listen(self, wait: float, take: Callable[[str], None]) -> None:
        from rqsqs.worker import Worker

        worker = Worker(self.url)
        worker.add(QUEUE, lambda message: take(message.body))
        worker.run()


class DropIn(Contestant):
    """The boto3 drop-in."""

    name = "rqsqs boto3"
    needs = "boto3"
    setup = "`rqsqs.boto3.client`, used as any boto3 client"
    guarantee = RQSQS

    def open(self) -> None:
        from rqsqs import boto3

        self.sqs = boto3.client("sqs", endpoint_url=self.url)
        self.address = f"https://sqs.us-east-1.amazonaws.com/000000000000/{QUEUE}"

    def create(self) -> None:
        self.sqs.create_queue(QueueName=QUEUE)

    def close(self) -> None:
        self.sqs.close()

    def send(self, bodies: Sequence[str]) -> None:
        if len(bodies) == 1:
            self.sqs.send_message(QueueUrl=self.address, MessageBody=bodies[0])
        else:
            entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(bodies)]
            self.sqs.send_message_batch(QueueUrl=self.address, Entries=entries)

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=self.address, MaxNumberOfMessages=count, WaitTimeSeconds=min(int(wait), 20)
        )
        return [(m["Body"], m["ReceiptHandle"]) for m in answer.get("Messages", ())]

    def delete(self, handles: Sequence[Any]) -> None:
        if len(handles) == 1:
            self.sqs.delete_message(QueueUrl=self.address, ReceiptHandle=handles[0])
        else:
            entries = [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(handles)]
            self.sqs.delete_message_batch(QueueUrl=self.address, Entries=entries)


class Streams(Contestant):
    """Bare streams (S): XADD, XREADGROUP, XACK + XDEL in a pipeline. What is not deleted is not delivered again."""

    name = "bare streams"
    setup = "`XADD`, `XREADGROUP`, `XACK` + `XDEL` from redis-py, a pipeline where there are several"
    guarantee = "stays pending for ever; nothing delivers it again"

    def create(self) -> None:
        self.client.xgroup_create(QUEUE, "group", id="0", mkstream=True)

    def send(self, bodies: Sequence[str]) -> None:
        if len(bodies) == 1:
            self.client.xadd(QUEUE, {"b": bodies[0]})
        else:
            pipeline = self.client.pipeline(transaction=False)
            for body in bodies:
                pipeline.xadd(QUEUE, {"b": body})
            pipeline.execute()

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        block = int(wait * 1000) or None
        found: Any = self.client.xreadgroup("group", f"c{os.getpid()}", {QUEUE: ">"}, count=count, block=block)
        if not found:
            return []
        entries = found[0][1] if isinstance(found, list) else next(iter(found.values()))
        if entries and isinstance(entries[0], list):
            entries = entries[0]
        return [(fields[b"b"].decode(), number) for number, fields in entries]

    def delete(self, handles: Sequence[Any]) -> None:
        pipeline = self.client.pipeline(transaction=False)
        pipeline.xack(QUEUE, "group", *handles)
        pipeline.xdel(QUEUE, *handles)
        pipeline.execute()


class Lists(Contestant):
    """RPUSH and BLPOP: the fastest hand-over there is; what a consumer took and did not finish is lost."""

    name = "bare list"
    batches = ""
    setup = "`RPUSH` and `BLPOP` from redis-py"
    guarantee = "lost"

    def send(self, bodies: Sequence[str]) -> None:
        self.client.rpush(QUEUE, *bodies)

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        if wait:
            found: Any = self.client.blpop([QUEUE], timeout=wait)
            return [(found[1].decode(), None)] if found else []
        popped: Any = self.client.lpop(QUEUE)
        return [(popped.decode(), None)] if popped else []

    def delete(self, handles: Sequence[Any]) -> None:
        pass


class HeldFloor(Contestant):
    """A script that does nothing, over one connection of redis-py that is held: no pool, no retries."""

    name = "trivial EVALSHA, held connection"

    def open(self) -> None:
        super().open()
        self.held: Any = redis.ConnectionPool.from_url(self.url, protocol=2).make_connection()
        self.held.connect()

    def create(self) -> None:
        self.client.script_load("return 1")

    def close(self) -> None:
        super().close()
        self.held.disconnect()

    sha = b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db"  # of "return 1"

    def call(self, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """One EVALSHA."""
        packed = hiredis.pack_command(("EVALSHA", self.sha, len(keys), *keys, *args))
        self.held.send_packed_command([packed], check_health=False)
        return self.held.read_response(disable_decoding=True)


OURS: tuple[type[Contestant], ...] = (Fleet, Joined, Native, DropIn)
