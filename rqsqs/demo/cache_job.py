"""The application: operations on a cache go through a FIFO queue, so that they are applied in order for each key.

A producer gives each operation its key as message group and a deduplication id, so that it may send a batch again when
it does not know whether it arrived. A worker applies a batch in one round trip. It may be killed at any moment: what it
held comes again, and applying an operation twice, or after a newer one of the same key, changes nothing.

    python -m rqsqs.demo.cache_job OPERATIONS.jsonl                     send: one operation per line
    rqsqs worker rqsqs.demo.cache_job:first_version --processes 4       apply; some it does not understand
    rqsqs worker rqsqs.demo.cache_job:repaired --processes 4            it does now
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import rqsqs
from rqsqs import Message
from rqsqs._io import defaults
from rqsqs._io.plain import Client, client_of
from rqsqs.demo.operations import WORDED_TTL, Operation
from rqsqs.worker import Worker

QUEUE = "cache-operations.fifo"
DEAD_LETTERS = "cache-operations-dead.fifo"
BEAT_S = 1.0  # a demo does not want to wait for long until the messages of a dead worker come again
BATCH = 50
CROWDED = 500  # the producer lets the workers catch up when so many messages wait

# Apply an operation unless a newer one of the same key was applied. KEYS: entry, version of the entry; ARGV: version,
# value, time to live; without a time to live the entry is removed. A version is remembered for longer than any queue
# keeps a message.
APPLY = """
local entry, known, version, value, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
if tonumber(version) > tonumber(redis.call("GET", known) or 0) then
  redis.call("SET", known, version, "EX", 14 * 86400)
  if ttl == "" then
    redis.call("DEL", entry)
  else
    redis.call("SET", entry, value, "EX", ttl)
  end
end
"""

Change = tuple[str, int, str, int | str]  # key, version, value, time to live; "" removes


class CannotApply(ValueError):
    """An operation that will not be understood the next time either."""


def create_queues(connection: rqsqs.Connection) -> rqsqs.Queue:
    """The queue and its dead-letter queue; what cannot be applied goes there without being tried again."""
    dead_letters = connection.create_queue(DEAD_LETTERS)
    policy = rqsqs.RetryPolicy(base=0.5, cap=60, dead_letter=("CannotApply",))
    return connection.create_queue(QUEUE, dead_letter_queue=dead_letters, max_receive_count=5, retry_policy=policy)


class Cache:
    """A cache in Redis whose entries know the version of their last operation. In a cluster it lies on all masters, an
    entry in one slot with its version.

    Args:
        server: a redis-py client.
        prefix: what its keys begin with.
    """

    def __init__(self, server: Client, prefix: str) -> None:
        self._server = server
        self._prefix = prefix

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes, in order for each key, in one round trip to each server."""
        pipeline = self._server.pipeline(transaction=False)
        for key, version, value, ttl in changes:
            pipeline.execute_command(
                "EVAL", APPLY, 2, self._name("entry", key), self._name("version", key), version, value, ttl
            )
        pipeline.execute()

    def content(self) -> dict[str, tuple[str, int]]:
        """Everything in it: key -> (value, time to live)."""
        first, _, last = self._name("entry", "*").partition("*")
        names = list(self._server.scan_iter(match=f"{first}*{last}", count=1000))
        pipeline = self._server.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
            pipeline.ttl(name)
        found = pipeline.execute()
        return {
            name.decode()[len(first) : -len(last)]: (found[2 * i].decode(), found[2 * i + 1])
            for i, name in enumerate(names)
            if found[2 * i] is not None
        }

    def _name(self, kind: str, key: str) -> str:
        return f"{self._prefix}:{kind}:{{{key}}}"


class Report:
    """What the processes did, kept in Redis, so that it is there even if one of them is killed."""

    def __init__(self, server: Client, prefix: str) -> None:
        self._server = server
        self._counters, self._latencies = f"{prefix}:report", f"{prefix}:latencies"

    def add(self, counts: Mapping[str, int], latencies_ms: Iterable[float] = ()) -> None:
        """Add to counters; note latencies."""
        pipeline = self._server.pipeline(transaction=False)
        for name, count in counts.items():
            if count:
                pipeline.hincrby(self._counters, name, count)
        noted = [f"{ms:.1f}" for ms in latencies_ms]
        if noted:
            pipeline.rpush(self._latencies, *noted)
        if len(pipeline):
            pipeline.execute()

    def counts(self) -> dict[str, int]:
        """All counters."""
        found: Any = self._server.hgetall(self._counters)
        return {name.decode(): int(count) for name, count in found.items()}

    def latencies_ms(self) -> list[float]:
        """All latencies, sorted."""
        found: Any = self._server.lrange(self._latencies, 0, -1)
        return sorted(float(ms) for ms in found)


def in_hand(pid: int) -> str:
    """The counter of the messages that a worker process is applying."""
    return f"in hand of {pid}"


# Workers


def make_worker(*, is_repaired: bool) -> Worker:
    """A worker that applies operations to the cache on the server of its queues.

    Args:
        is_repaired: understands a time to live in words, and what old producers call removing.
    """
    worker = Worker(heartbeat_interval=BEAT_S, concurrency=2)

    @worker.handler(QUEUE, batch=BATCH)
    def apply(messages: list[Message]) -> list[CannotApply | None]:
        cache, report = _belongings()
        report.add({in_hand(os.getpid()): len(messages)})
        outcomes: list[CannotApply | None] = []
        changes: list[Change] = []
        for message in messages:
            try:
                changes.append(change_of(message, is_repaired))
                outcomes.append(None)
            except CannotApply as error:
                outcomes.append(error)
        cache.apply(changes)
        now = time.time()
        report.add(
            {
                "processed": len(changes),
                "redelivered": sum(m.receive_count > 1 for m in messages),
                in_hand(os.getpid()): -len(messages),
            },
            [(now - m.sent_at.timestamp()) * 1000 for m in messages],
        )
        return outcomes

    return worker


def change_of(message: rqsqs.Message | Message, is_repaired: bool) -> Change:
    """What a message wants.

    Raises:
        CannotApply.
    """
    operation, version = message.body, int(message.attributes["version"])
    verb = operation["operation"]
    if verb == "remove" or (is_repaired and verb == "delete"):
        return operation["key"], version, "", ""
    if verb != "store":
        raise CannotApply(f"unknown operation {verb!r}")
    ttl = operation["ttl"]
    if is_repaired and ttl in WORDED_TTL:
        ttl = WORDED_TTL[ttl]
    if not isinstance(ttl, int) or ttl <= 0:
        raise CannotApply(f"the time to live must be a number of seconds, got {ttl!r}")
    return operation["key"], version, operation["value"], ttl


_made: dict[str, tuple[Cache, Report]] = {}


def _belongings() -> tuple[Cache, Report]:
    url, prefix = _environment()
    if url not in _made:
        server = client_of(url)
        _made[url] = Cache(server, prefix), Report(server, prefix)
    return _made[url]


def _environment() -> tuple[str, str]:
    """The server and what all keys begin with, as `rqsqs worker` understands them."""
    return defaults.url(), defaults.prefix_of()


first_version = make_worker(is_repaired=False)
repaired = make_worker(is_repaired=True)


# Producers


def produce(queue: rqsqs.Queue, operations: Iterable[tuple[int, Operation]], report: Report, repeat: float) -> None:
    """Send operations, each with its number as version.

    Args:
        repeat: so often a batch is sent a second time, as a producer does that got no answer.
    """
    rng = random.Random(1)
    rest = iter(operations)
    while batch := list(islice(rest, BATCH)):
        entries = [
            rqsqs.Entry(
                operation, group=operation["key"], deduplication_id=f"op-{version}", attributes={"version": version}
            )
            for version, operation in batch
        ]
        for _ in range(2 if rng.random() < repeat else 1):
            sent = queue.send_batch(entries)
            report.add({"sent": len(sent), "deduplicated": sum(s.is_duplicate for s in sent)})
        while queue.counts().visible > CROWDED:
            time.sleep(0.005)


def read_operations(path: str, share: str = "0/1") -> Iterator[tuple[int, Operation]]:
    """Numbered operations of a file of JSON Lines; of several producers each takes its share of the keys."""
    index, total = (int(n) for n in share.split("/"))
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            operation = json.loads(line)
            if zlib.crc32(operation["key"].encode()) % total == index:
                yield number, operation


def main() -> None:
    """Run a producer as a process."""
    parser = argparse.ArgumentParser(prog="cache_job", description="Send operations on a cache.")
    parser.add_argument("path", help="a file with one operation per line")
    parser.add_argument("--share", default="0/1", help="the share of this producer, 0/2 and 1/2 for two")
    parser.add_argument("--repeat", type=float, default=0.0, help="how many batches are sent twice, 0 to 1")
    given = parser.parse_args()
    url, prefix = _environment()
    with rqsqs.connect(url, prefix=prefix) as connection, client_of(url) as server:
        operations = read_operations(given.path, given.share)
        produce(create_queues(connection), operations, Report(server, prefix), given.repeat)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except rqsqs.RqsqsError as error:
        sys.exit(f"cache_job: {error}")
