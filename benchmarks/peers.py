"""Other queues on Redis, used as their documentation says, with the client and, if there is one, the worker of each."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from benchmarks.contestants import QUEUE, Contestant
from benchmarks.processes import CAP, Failed, Seat

take: Callable[[str], None] = print  # what the handler of a worker does, set in its process


def handle(body: str) -> None:
    """The handler of workers that find it by its name."""
    take(body)


class OwnWorker(Contestant):
    """A contestant that receives in a worker of its own only."""

    is_endless = is_process = True

    def work(self, take: Callable[[str], None]) -> None:
        """Run its worker, until the process ends."""
        raise NotImplementedError

    def consume(self, batch: int, seconds: float, done: Callable[[int], None]) -> None:
        self.work(lambda body: done(1))

    def listen(self, wait: float, take: Callable[[str], None]) -> None:
        self.work(take)


class Celery(OwnWorker):
    """Celery: Task.delay, a worker with the solo pool, acknowledgements after the task."""

    name = "Celery"
    needs = "celery"
    batches = ""
    setup = (
        "`Task.delay`; for each consumer a `worker --pool solo` with `task_acks_late`, `task_ignore_result`, "
        "`worker_prefetch_multiplier=64` and without gossip, mingle and heartbeat, as its pages advise for short tasks"
    )
    guarantee = "comes back after the broker's `visibility_timeout` (an hour unless set), if another worker looks"

    def open(self) -> None:
        import celery

        self.app = celery.Celery("bench", broker=self.url)
        self.app.conf.update(
            task_acks_late=True,
            task_ignore_result=True,
            task_default_queue=QUEUE,
            worker_prefetch_multiplier=64,
            worker_hijack_root_logger=False,
            broker_connection_retry_on_startup=True,
        )
        self.task = self.app.task(handle, name="bench.handle")

    def close(self) -> None:
        self.app.close()

    def send(self, bodies: Sequence[str]) -> None:
        for body in bodies:
            self.task.delay(body)

    def work(self, take: Callable[[str], None]) -> None:
        globals()["take"] = take
        self.app.WorkController(
            pool="solo",
            concurrency=1,
            hostname=f"worker-{os.getpid()}",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            ready_callback=lambda consumer: self.is_up.set(),
        ).start()


class RQ(OwnWorker):
    """RQ: Queue.enqueue_call and enqueue_many, its Worker, which forks for each job."""

    name = "RQ"
    needs = "rq"
    batches = "send"
    setup = "`Queue.enqueue_call`, `enqueue_many`, `result_ttl=0`; each consumer a `Worker`, which forks for each job"
    guarantee = "marked as failed; runs again only if enqueued with `Retry`, when maintenance finds it"
    worker = "Worker"

    def open(self) -> None:
        from rq import Queue

        self.client = redis.Redis.from_url(self.url)
        self.queue = Queue(QUEUE, connection=self.client)

    def send(self, bodies: Sequence[str]) -> None:
        if len(bodies) == 1:
            self.queue.enqueue_call("benchmarks.peers.handle", args=(bodies[0],), result_ttl=0)
        else:
            prepare = self.queue.prepare_data
            self.queue.enqueue_many([prepare("benchmarks.peers.handle", args=(body,), result_ttl=0) for body in bodies])

    def work(self, take: Callable[[str], None]) -> None:
        import rq

        globals()["take"] = take
        self.is_up.set()
        getattr(rq, self.worker)([self.queue], connection=self.client).work(logging_level="CRITICAL")


class RQSimple(RQ):
    """RQ with its SimpleWorker, which runs jobs in its own process."""

    name = "RQ, SimpleWorker"
    worker = "SimpleWorker"
    setup = "the same with a `SimpleWorker`, which runs jobs in its own process"


class BullMQ(OwnWorker):
    """BullMQ in node: Queue.add and addBulk, its Worker. Each client is a node process, started by one of ours."""

    name = "BullMQ (node)"
    batches = "send"
    slots = 50
    setup = "`Queue.add`, `addBulk`, `removeOnComplete`; for each consumer a `Worker` with `concurrency: 50`, in node"
    guarantee = "another worker's check for stalled jobs puts it back, after its lock has expired (30 s)"
    is_endless = False

    @classmethod
    def is_available(cls) -> bool:
        return bool(shutil.which("node")) and any(Path(f, "bullmq").is_dir() for f in node_modules())

    def open(self) -> None:
        self.node: subprocess.Popen[str] | None = None
        self.spent = 0.0

    def close(self) -> None:
        if self.node is not None:
            self.node.kill()
            self.node.communicate()

    def cpu(self) -> float:
        return self.spent

    def stamp(self) -> str:
        return "now"

    def get_ready(self, role: str, batch: int, seat: Seat) -> None:
        board = {"board": seat.board.path, "each": seat.board.each, "slot": seat.slot, "batch": batch, "cap": CAP}
        self.start(role, **board)

    def start(self, role: str, **given: Any) -> None:
        """Start node, and wait until it is connected."""
        program = str(Path(__file__).with_name("bullmq.cjs"))
        self.node = subprocess.Popen(
            ["node", program, role, self.url, QUEUE, json.dumps({"size": 1024, **given})],
            env={**os.environ, "NODE_PATH": os.pathsep.join(node_modules())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "READY"
        self.is_up.set()

    def line(self, said: str = "") -> str:
        """Say a line, and read the next one."""
        assert self.node
        assert self.node.stdin
        assert self.node.stdout
        assert self.node.stderr
        if said:
            self.node.stdin.write(said + "\n")
            self.node.stdin.flush()
        found = self.node.stdout.readline().strip()
        if not found:
            raise Failed(f"node: {self.node.stderr.read().strip()[-120:] or 'ended'}")
        return found

    def send(self, bodies: Sequence[str]) -> None:
        if self.node is None:
            self.start("send")
        self.line(json.dumps(list(bodies)))

    def produce(self, bodies: Sequence[str], seconds: float, seat: Seat) -> None:
        self.spent = float(self.line(str(seconds)))

    def consume(self, batch: int, seconds: float, done: Callable[[int], None]) -> None:
        self.spent = float(self.line(str(seconds)))

    def listen(self, wait: float, take: Callable[[str], None]) -> None:
        self.start("listen")
        while True:  # node has taken the time: what it costs to tell us is not part of it
            nanoseconds = int(self.line())
            take(str(time.monotonic_ns() - nanoseconds))


def node_modules() -> list[str]:
    """Folders where node packages may be: RQSQS_BENCH_NODE, that of `make bench`, and node's own."""
    chosen = os.environ.get("RQSQS_BENCH_NODE", "")
    folders = [chosen, str(Path(sys.prefix, "node_modules")), *os.environ.get("NODE_PATH", "").split(os.pathsep)]
    return [folder for folder in folders if folder]


class PyRSMQ(Contestant):
    """PyRSMQ: no batches, no blocking receive; its consumer looks again after a pause of 2 seconds."""

    name = "PyRSMQ"
    needs = "rsmq"
    batches = ""
    setup = "`sendMessage`, `receiveMessage`, `deleteMessage`, a call for each"
    guarantee = "comes back when its visibility timeout ends"

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


class Asynchronous(Contestant):
    """A client that is written for asyncio, driven call by call here."""

    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.run(self.connect())

    def close(self) -> None:
        self.run(self.disconnect())
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Its result."""
        return self.loop.run_until_complete(coroutine)

    async def connect(self) -> None:
        raise NotImplementedError

    async def disconnect(self) -> None:
        raise NotImplementedError


class BullMQPython(Asynchronous):
    """bullmq: Queue.add and addBulk, Worker.getNextJob, moveToCompleted."""

    name = "bullmq (Python)"
    needs = "bullmq"
    batches = "send"
    setup = "`Queue.add`, `addBulk`, `Worker.getNextJob`, `moveToCompleted`, in Python, call by call"
    guarantee = "needs a running `Worker` with its check for stalled jobs"

    async def connect(self) -> None:
        from bullmq import Queue, Worker

        self.tokens = 0
        options = {"connection": self.url}
        self.queue = Queue(QUEUE, options)
        self.worker = Worker(QUEUE, None, {**options, "autorun": False})

    async def disconnect(self) -> None:
        await self.queue.close()
        await self.worker.close()

    def send(self, bodies: Sequence[str]) -> None:
        options = {"removeOnComplete": True}
        if len(bodies) == 1:
            self.run(self.queue.add("j", {"b": bodies[0]}, options))
        else:
            self.run(self.queue.addBulk([{"name": "j", "data": {"b": body}, "opts": options} for body in bodies]))

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        self.tokens += 1
        token = f"{self.worker.id}:{self.tokens}"
        job = self.run(self.worker.getNextJob(token))
        return [(job.data["b"], (job, token))] if job else []

    def delete(self, handles: Sequence[Any]) -> None:
        for job, token in handles:
            self.run(job.moveToCompleted(None, token, False))


class Dramatiq(Contestant):
    """dramatiq: RedisBroker.enqueue, its consumer with a prefetch of the batch, consumer.ack."""

    name = "dramatiq"
    needs = "dramatiq"
    batches = "receive"
    setup = "`RedisBroker.enqueue`, its consumer with a prefetch of the batch, `ack`"
    guarantee = "comes back when maintenance, drawn by chance, finds a worker without heartbeat"

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


class Saq(Asynchronous):
    """saq: Queue.enqueue, dequeue, Job.finish."""

    name = "saq"
    needs = "saq"
    batches = ""
    setup = "`Queue.enqueue`, `dequeue`, `Job.finish`, call by call"
    guarantee = "needs a running `Worker` whose sweep finds stuck jobs"

    async def connect(self) -> None:
        from saq import Queue

        self.queue = Queue.from_url(self.url, name=QUEUE)
        await self.queue.connect()

    async def disconnect(self) -> None:
        await self.queue.disconnect()

    def send(self, bodies: Sequence[str]) -> None:
        for body in bodies:
            self.run(self.queue.enqueue("j", b=body, ttl=-1))

    def receive(self, count: int, wait: float = 0) -> list[tuple[str, Any]]:
        job = self.run(self.queue.dequeue(timeout=wait or 0.05))
        return [(job.kwargs["b"], job)] if job else []

    def delete(self, handles: Sequence[Any]) -> None:
        from saq.job import Status

        for job in handles:
            self.run(job.finish(Status.COMPLETE))


PEERS: tuple[type[Contestant], ...] = (Dramatiq, PyRSMQ, BullMQ, BullMQPython, Saq, RQSimple, RQ, Celery)


def available(*groups: Sequence[type[Contestant]]) -> list[type[Contestant]]:
    """Those of the groups that are installed."""
    return [cls for group in groups for cls in group if cls.is_available()]


def missing(*groups: Sequence[type[Contestant]]) -> list[type[Contestant]]:
    """Those that are not."""
    return [cls for group in groups for cls in group if not cls.is_available()]
