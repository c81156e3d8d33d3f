"""The application of examples/cache_job as the show runs it: its worker counts what it does, and its producers send
some batches twice.

    rqsqs worker rqsqs.cli.demo.application                               apply operations
    python -m rqsqs.cli.demo.application OPERATIONS.jsonl --share 0/2     send them, one per line of the file

The environment says where: RQSQS_URL and RQSQS_PREFIX, CACHE_URL and CACHE_PREFIX. With CACHE_JOB_REPAIRED the worker
understands what it does not understand at first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
import zlib
from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace

import rqsqs
from rqsqs.cli.demo import BEAT_S, CACHE_JOB
from rqsqs.cli.demo.counters import Report, in_hand
from rqsqs.cli.demo.operations import WORDED_TTL, Operation
from rqsqs.worker import Worker

sys.path.insert(0, str(CACHE_JOB))  # its files import each other as those of a script

import consumer
import producer
import queues

BATCH = 50
CROWDED = 500  # the producer lets the workers catch up when this many messages wait


# The worker

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


def repaired(operation: Operation) -> Operation:
    """What the first version does not understand, as it should be: old producers say "delete", and 1d for a ttl."""
    if operation["operation"] == "delete":
        return operation | {"operation": "remove"}
    return operation | ({"ttl": WORDED_TTL[operation["ttl"]]} if operation.get("ttl") in WORDED_TTL else {})


change_of = consumer.change_of
if os.environ.get("CACHE_JOB_REPAIRED"):
    consumer.change_of = lambda message: change_of(
        SimpleNamespace(body=repaired(message.body), attributes=message.attributes)
    )


# The producers


def produce(queue: rqsqs.Queue, operations: Iterator[tuple[int, Operation]], repeat: float) -> None:
    """Send operations, each with its number as version.

    Args:
        repeat: the share of the batches that are sent a second time, as a producer does that got no answer.
    """
    rng = random.Random(1)
    while batch := list(islice(operations, BATCH)):
        entries = [producer.entry(operation, version) for version, operation in batch]
        for _ in range(2 if rng.random() < repeat else 1):
            sent = queue.send_batch(entries)
            report.add({"sent": len(sent), "deduplicated": sum(s.is_duplicate for s in sent)})
        while queue.counts().visible > CROWDED:
            time.sleep(0.005)


def read_operations(path: str, share: str) -> Iterator[tuple[int, Operation]]:
    """Numbered operations of a file of JSON Lines; of several producers each takes its share of the keys."""
    index, total = (int(n) for n in share.split("/"))
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            operation = json.loads(line)
            if zlib.crc32(operation["key"].encode()) % total == index:
                yield number, operation


def main() -> None:
    """Run a producer as a process."""
    parser = argparse.ArgumentParser(description="Send operations on a cache.")
    parser.add_argument("path", help="a file with one operation per line")
    parser.add_argument("--share", default="0/1", help="the share of this producer, 0/2 and 1/2 for two")
    parser.add_argument("--repeat", type=float, default=0.0, help="the share of batches that are sent twice, 0 to 1")
    given = parser.parse_args()
    with rqsqs.connect() as connection:
        produce(connection.queue(queues.QUEUE), read_operations(given.path, given.share), given.repeat)


if __name__ == "__main__":
    main()
