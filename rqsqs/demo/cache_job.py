"""The application: operations on a cache go through a FIFO queue, so that they are applied in order for each key.

The producer gives each operation its key as message group and a deduplication id, so that it may send a batch again
when it does not know whether it arrived. The consumer may be killed at any moment: what it did not delete comes again,
and applying an operation twice, or after a newer one of the same key, changes nothing.

    python -m rqsqs.demo.cache_job send OPERATIONS.jsonl      one operation per line
    python -m rqsqs.demo.cache_job consume
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import redis

import rqsqs
from rqsqs.demo.operations import WORDED_TTL, Operation

QUEUE = "cache-operations.fifo"
DEAD_LETTERS = "cache-operations-dead.fifo"
VISIBILITY_S = 3  # a demo does not want to wait for long until the messages of a dead consumer come again
MAX_RECEIVES = 3
BATCH = 50
CROWDED = 1500  # the producer lets the consumers catch up when so many messages wait

# Apply one operation unless a newer one was applied. KEYS: the entry, the versions; ARGV: key, version, value, ttl
APPLY = """
local known = redis.call("HGET", KEYS[2], ARGV[1])
if known and tonumber(known) >= tonumber(ARGV[2]) then return 0 end
redis.call("HSET", KEYS[2], ARGV[1], ARGV[2])
if ARGV[3] == "" then
  redis.call("DEL", KEYS[1])
else
  redis.call("SET", KEYS[1], ARGV[3], "EX", ARGV[4])
end
return 1
"""


def create_queues(connection: rqsqs.Connection) -> rqsqs.Queue:
    """The queue and its dead-letter queue."""
    dead_letters = connection.create_queue(DEAD_LETTERS)
    return connection.create_queue(
        QUEUE, visibility_timeout=VISIBILITY_S, dead_letter_queue=dead_letters, max_receive_count=MAX_RECEIVES
    )


class Cache:
    """A cache in Redis whose entries know the version of their last operation.

    Args:
        server: a redis-py client.
        prefix: what its keys begin with.
    """

    def __init__(self, server: redis.Redis, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._versions = f"{prefix}:versions"
        self._apply = server.register_script(APPLY)

    def apply_all(self, changes: Iterable[tuple[int, str, str, int]]) -> None:
        """Apply changes, each of (version, key, value, time to live), in one round trip; value "" removes."""
        pipeline = self._server.pipeline(transaction=False)
        for version, key, value, ttl in changes:
            self._apply(keys=[self._name(key), self._versions], args=[key, version, value, ttl], client=pipeline)
        pipeline.execute()

    def content(self) -> dict[str, tuple[str, int]]:
        """Everything in it: key -> (value, time to live)."""
        names = list(self._server.scan_iter(match=f"{self._prefix}:entry:*", count=1000))
        pipeline = self._server.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
            pipeline.ttl(name)
        found = pipeline.execute()
        start = len(self._name(""))
        return {
            name.decode()[start:]: (found[2 * i].decode(), found[2 * i + 1])
            for i, name in enumerate(names)
            if found[2 * i] is not None
        }

    def _name(self, key: str) -> str:
        return f"{self._prefix}:entry:{key}"


class Report:
    """What the processes did, kept in Redis, so that it is there even if one of them is killed."""

    def __init__(self, server: redis.Redis, prefix: str) -> None:
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


def held_by(pid: int) -> str:
    """The counter of the messages that a consumer has in hand."""
    return f"held by {pid}"


def produce(
    queue: rqsqs.Queue,
    operations: Iterable[tuple[int, Operation]],
    report: Report | None = None,
    *,
    repeat: float = 0.0,
) -> None:
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
            if report is not None:
                duplicates = sum(s.is_duplicate for s in sent)
                report.add({"sent": len(sent), "deduplicated": duplicates})
        while queue.counts().visible > CROWDED:
            time.sleep(0.01)


def consume(
    queue: rqsqs.Queue,
    cache: Cache,
    report: Report | None = None,
    *,
    is_fixed: bool = True,
    goes_on: Callable[[], bool] = lambda: True,
) -> None:
    """Receive operations and apply them until `goes_on` says no.

    Args:
        is_fixed: understand a time to live in words. Without, such a message fails, again and again.
    """
    held = held_by(os.getpid())
    while goes_on():
        messages = queue.receive(BATCH, wait=0.5)
        if report is not None and messages:
            now = time.time()
            first = [m for m in messages if m.receive_count == 1]
            report.add(
                {"received": len(messages), "redelivered": len(messages) - len(first), held: len(messages)},
                ((now - m.sent_at.timestamp()) * 1000 for m in first),
            )
        done, changes = [], []
        for message in messages:
            try:
                changes.append(change_of(message, is_fixed))
            except ValueError:
                message.release()  # to be tried again, and set aside after MAX_RECEIVES; newer ones need not wait
            else:
                done.append(message)
        if done:
            cache.apply_all(changes)
            queue.delete_batch(done)
        if report is not None and messages:
            report.add({"applied": len(done), held: -len(messages)})


def change_of(message: rqsqs.Message, is_fixed: bool) -> tuple[int, str, str, int]:
    """What a message wants: (version, key, value, time to live); value "" removes.

    Raises:
        ValueError: the time to live is not understood.
    """
    operation, version = message.body, int(message.attributes["version"])
    if operation["operation"] == "remove":
        return version, operation["key"], "", 0
    ttl = operation["ttl"]
    if is_fixed and ttl in WORDED_TTL:
        ttl = WORDED_TTL[ttl]
    return version, operation["key"], operation["value"], int(ttl)


def read_operations(path: str, share: str = "0/1") -> Iterator[tuple[int, Operation]]:
    """Numbered operations of a file of JSON Lines; of several producers each takes its share of the keys."""
    index, total = (int(n) for n in share.split("/"))
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            operation = json.loads(line)
            if zlib.crc32(operation["key"].encode()) % total == index:
                yield number, operation


def main(arguments: list[str] | None = None) -> None:
    """Run a producer or a consumer as a process."""
    parser = argparse.ArgumentParser(prog="cache_job", description="Keep a cache up to date through a FIFO queue.")
    parser.add_argument("role", choices=["send", "consume"])
    parser.add_argument("path", nargs="?", help="send: a file with one operation per line")
    parser.add_argument("--url", help="of the server; else RQSQS_URL, else redis://localhost:6379/0")
    parser.add_argument("--prefix", default="cache-job", help="what all keys begin with")
    parser.add_argument("--share", default="0/1", help="send: the share of this producer, 0/2 and 1/2 for two")
    parser.add_argument("--repeat", type=float, default=0.0, help="send: how many batches are sent twice, 0 to 1")
    parser.add_argument("--without-fix", action="store_true", help="consume: fail on a time to live in words")
    given = parser.parse_args(arguments)
    if given.role == "send" and (not given.path or not Path(given.path).is_file()):
        parser.error("send needs a file with one operation per line")

    url = given.url or os.environ.get("RQSQS_URL") or "redis://localhost:6379/0"
    parent, ended = os.getppid(), []
    if given.role == "consume":  # a consumer finishes what it has in hand, a producer ends at once
        signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    with rqsqs.connect(url, prefix=given.prefix) as connection, redis.Redis.from_url(url) as server:
        queue = create_queues(connection)
        report = Report(server, given.prefix)
        if given.role == "send":
            produce(queue, read_operations(given.path, given.share), report, repeat=given.repeat)
            return
        consume(
            queue,
            Cache(server, given.prefix),
            report,
            is_fixed=not given.without_fix,
            goes_on=lambda: not ended and os.getppid() == parent,
        )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except rqsqs.RqsqsError as error:
        sys.exit(f"cache_job: {error}")
