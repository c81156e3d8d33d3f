"""What is compared: rqsqs through its faces, fixed points that cost what they must, and other queues on Redis.

Each does the same: send, receive, delete. All are used as their documentation says, with the client they bring.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar
from urllib.parse import urlsplit

import hiredis
import redis

QUEUE = "bench"


class Contestant:
    """One client of one queue. A receive returns (body, handle) pairs and waits at most about `wait` seconds."""

    name: ClassVar[str]
    needs: ClassVar[str] = ""  # a module that has to be installed
    batches: ClassVar[str] = "send receive delete"  # what it can do with ten messages in one trip
    is_floor: ClassVar[bool] = False  # does no work: shows what a round trip costs

    def __init__(self, url: str) -> None:
        self.url = url
        self.open()

    @classmethod
    def is_available(cls) -> bool:
        return not cls.needs or find_spec(cls.needs) is not None

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

    name = "rqsqs native"

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

    def turn(self, finished: Sequence[Any], count: int, wait: float = 0) -> list[tuple[str, Any]]:
        found, failures = self.queue.delete_and_receive(finished, count, wait=wait)
        assert not failures
        return [(m.body, m) for m in found]


class Fleet(Native):
    """The worker, as it is unless one chooses otherwise: ten slots, here with a batch handler if there are batches."""

    name = "rqsqs worker"

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
        threading.Timer(seconds, worker.stop).start()
        worker.run()

    def listen(self, wait: float, take: Callable[[str], None]) -> None:
        from rqsqs.worker import Worker

        worker = Worker(self.url)
        worker.add(QUEUE, lambda message: take(message.body))
        worker.run()


class DropIn(Contestant):
    """The boto3 drop-in."""

    name = "rqsqs boto3"
    needs = "boto3"

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


class RedisPyFloor(Contestant):
    """T through redis-py: three calls of a script that does nothing."""

    name = "trivial EVALSHA, redis-py"
    is_floor = True

    def create(self) -> None:
        self.client.script_load("return 1")

    _sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"  # of "return 1"

    def send(self, bodies: Sequence[str]) -> None:
        self._call(*bodies)

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        self._call()
        return [("", "handle")] * count

    def delete(self, handles: Sequence[Any]) -> None:
        self._call(*handles)

    def _call(self, *args: str) -> None:
        self.client.evalsha(self._sha, 1, QUEUE, *args)


class HeldFloor(RedisPyFloor):
    """T over one connection that is held: no pool, no retries, packed by hiredis."""

    name = "trivial EVALSHA, held connection"

    def open(self) -> None:
        super().open()
        self.held: Any = redis.ConnectionPool.from_url(self.url, protocol=2).make_connection()
        self.held.connect()

    def close(self) -> None:
        super().close()
        self.held.disconnect()

    def _call(self, *args: str) -> None:
        self.call(self._sha, (QUEUE,), args)

    def call(self, sha: str | bytes, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """One EVALSHA."""
        packed = hiredis.pack_command(("EVALSHA", sha, len(keys), *keys, *args))
        self.held.send_packed_command([packed], check_health=False)
        return self.held.read_response(disable_decoding=True)


class PyRSMQ(Contestant):
    """PyRSMQ: no batches, no blocking receive; its consumer looks again after a pause of 2 seconds."""

    name = "PyRSMQ"
    needs = "rsmq"
    batches = ""

    def open(self) -> None:
        from rsmq import RedisSMQ
        from rsmq.cmd.exceptions import NoMessageInQueue

        self.none = NoMessageInQueue
        self.client = redis.Redis.from_url(self.url, decode_responses=True)
        self.queue = RedisSMQ(client=self.client, qname=QUEUE)

    def create(self) -> None:
        self.queue.createQueue(qname=QUEUE, vt=60, delay=0).execute()

    def send(self, bodies: Sequence[str]) -> None:
        for body in bodies:
            self.queue.sendMessage(message=body).execute()

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        try:
            message = self.queue.receiveMessage().execute()
        except self.none:
            time.sleep(min(wait, 2.0))
            return []
        return [(message["message"], message["id"])]

    def delete(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            self.queue.deleteMessage(id=handle).execute()


class BullMQ(Contestant):
    """bullmq: Queue.add and addBulk, Worker.getNextJob, moveToCompleted. Asynchronous, driven call by call here."""

    name = "bullmq"
    needs = "bullmq"
    batches = "send"

    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.tokens = 0
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        from bullmq import Queue, Worker

        options = {"connection": self.url}
        self.queue = Queue(QUEUE, options)
        self.worker = Worker(QUEUE, None, {**options, "autorun": False})

    def close(self) -> None:
        async def close() -> None:
            await self.queue.close()
            await self.worker.close()

        self.loop.run_until_complete(close())
        self.loop.close()

    def send(self, bodies: Sequence[str]) -> None:
        options = {"removeOnComplete": True}
        if len(bodies) == 1:
            self.loop.run_until_complete(self.queue.add("j", {"b": bodies[0]}, options))
        else:
            jobs = [{"name": "j", "data": {"b": body}, "opts": options} for body in bodies]
            self.loop.run_until_complete(self.queue.addBulk(jobs))

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        self.tokens += 1
        token = f"{self.worker.id}:{self.tokens}"
        job = self.loop.run_until_complete(self.worker.getNextJob(token))
        return [(job.data["b"], (job, token))] if job else []

    def delete(self, handles: Sequence[Any]) -> None:
        for job, token in handles:
            self.loop.run_until_complete(job.moveToCompleted(None, token, False))


class Dramatiq(Contestant):
    """dramatiq: RedisBroker.enqueue, its consumer with a prefetch of the batch, consumer.ack."""

    name = "dramatiq"
    needs = "dramatiq"
    batches = "receive"

    def open(self) -> None:
        from dramatiq.brokers.redis import RedisBroker

        parts = urlsplit(self.url)
        self.broker = RedisBroker(host=parts.hostname, port=parts.port, middleware=[])
        self.broker.declare_queue(QUEUE)
        self.consumer: Any = None

    def close(self) -> None:
        self.broker.close()

    def send(self, bodies: Sequence[str]) -> None:
        from dramatiq import Message

        for body in bodies:
            self.broker.enqueue(Message(QUEUE, "a", (body,), {}, {}))

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        if self.consumer is None:
            self.consumer = self.broker.consume(QUEUE, prefetch=count, timeout=1000)
        found = []
        message = next(self.consumer)
        while message is not None:
            found.append((message.args[0], message))
            more = len(found) < count and self.consumer.message_cache
            message = next(self.consumer) if more else None
        return found

    def delete(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            self.consumer.ack(handle)


class Saq(Contestant):
    """saq: Queue.enqueue, dequeue, Job.finish. Asynchronous, driven call by call here."""

    name = "saq"
    needs = "saq"
    batches = ""

    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        from saq import Queue

        self.queue = Queue.from_url(self.url, name=QUEUE)
        await self.queue.connect()

    def close(self) -> None:
        self.loop.run_until_complete(self.queue.disconnect())
        self.loop.close()

    def send(self, bodies: Sequence[str]) -> None:
        for body in bodies:
            self.loop.run_until_complete(self.queue.enqueue("j", b=body, ttl=-1))

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        job = self.loop.run_until_complete(self.queue.dequeue(timeout=wait or 0.05))
        return [(job.kwargs["b"], job)] if job else []

    def delete(self, handles: Sequence[Any]) -> None:
        from saq.job import Status

        for job in handles:
            self.loop.run_until_complete(job.finish(Status.COMPLETE))


OURS: tuple[type[Contestant], ...] = (Native, DropIn)
PEERS: tuple[type[Contestant], ...] = (PyRSMQ, BullMQ, Dramatiq, Saq)
FLOORS: tuple[type[Contestant], ...] = (RedisPyFloor, HeldFloor)


def available(*groups: tuple[type[Contestant], ...]) -> list[type[Contestant]]:
    """Those of the groups that are installed."""
    return [cls for group in groups for cls in group if cls.is_available()]


def missing() -> list[str]:
    """Names of those that are not."""
    return [cls.name for cls in (*OURS, *PEERS) if not cls.is_available()]
