"""The application of examples/cache_job as the show runs it: its worker counts what it does, and its producers send
some batches twice.

    rqsqs worker rqsqs.cli.demo.application                   apply operations
    python -m rqsqs.cli.demo.application MESSAGES PRODUCER    send about that many, together with the other producers

The environment says where: RQSQS_URL and RQSQS_PREFIX, CACHE_URL and CACHE_PREFIX. With CACHE_JOB_REPAIRED the worker
understands what it does not understand at first.
"""

from __future__ import annotations

import os
import random
import sys
import time
import zlib
from types import SimpleNamespace

import rqsqs
from rqsqs.cli.demo import BEAT_S, CACHE_JOB, PRODUCERS
from rqsqs.cli.demo.counters import Report, in_hand
from rqsqs.cli.demo.operations import make, repaired
from rqsqs.worker import Worker

sys.path.insert(0, str(CACHE_JOB))  # its files import each other as those of a script

import consumer
import producer
import queues

BATCH = 50
CROWDED = 500  # the producer lets the workers catch up when this many messages wait
REPEAT = 0.05  # this part of the batches is sent twice, as by a producer that got no answer

report = Report(os.environ["CACHE_URL"], os.environ["CACHE_PREFIX"])
worker = Worker(heartbeat_interval=BEAT_S, concurrency=2)


@worker.handler(queues.QUEUE, batch=BATCH)
def apply(messages: list[rqsqs.Message]) -> list[Exception | None]:
    """Let the example apply them, and count."""
    pid = os.getpid()
    report.add({in_hand(pid): len(messages)})
    outcomes: list[Exception | None] = consumer.apply(messages)
    now = time.time()
    report.add(
        {
            "processed": outcomes.count(None),
            "redelivered": sum(message.receive_count > 1 for message in messages),
            in_hand(pid): -len(messages),
        },
        [(now - message.sent_at.timestamp()) * 1000 for message in messages],
    )
    return outcomes


change_of = consumer.change_of
if os.environ.get("CACHE_JOB_REPAIRED"):
    consumer.change_of = lambda message: change_of(
        SimpleNamespace(body=repaired(message.body), attributes=message.attributes)
    )


def produce(messages: int, number: int) -> None:
    """Send the share of one producer: the operations on some of the keys, each with its number as version. Half of
    them, and the others when its input ends."""
    rng = random.Random(1)
    mine = [
        producer.entry(operation, version)
        for version, operation in enumerate(make(messages), 1)
        if zlib.crc32(operation["key"].encode()) % PRODUCERS == number
    ]
    with rqsqs.connect() as connection:
        queue = connection.queue(queues.QUEUE)
        for start in range(0, len(mine), BATCH):
            if start >= len(mine) / 2:
                sys.stdin.read()
            entries = mine[start : start + BATCH]
            for _ in range(2 if rng.random() < REPEAT else 1):
                sent = queue.send_batch(entries)
                report.add({"sent": len(sent), "deduplicated": sum(s.is_duplicate for s in sent)})
            while queue.counts().visible > CROWDED:
                time.sleep(0.005)


if __name__ == "__main__":
    produce(*map(int, sys.argv[1:]))
