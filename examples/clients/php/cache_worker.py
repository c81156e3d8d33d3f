"""Applies the operations that PHP sends to a cache in Redis: rqsqs worker cache_worker:worker

An operation is JSON: {"operation": "store", "key": ..., "value": ...} or {"operation": "remove", "key": ...}. What was
stored lives for a minute.
"""

import json
import os

import redis

from rqsqs import Message, RetryPolicy
from rqsqs.worker import Worker

worker = Worker()  # where RQSQS_URL says: the server behind the gateway
cache = redis.Redis.from_url(os.environ.get("CACHE_URL", "redis://localhost:6379"))

worker.create_queue("cache-operations-dead")
worker.create_queue(
    "cache-operations",
    dead_letter_queue="cache-operations-dead",
    max_receive_count=3,
    retry_policy=RetryPolicy(base=1, cap=60, dead_letter=("ValueError",)),  # what can never succeed goes there at once
)


@worker.handler("cache-operations")
def apply(message: Message) -> None:
    if cache.exists("cache-closed"):  # the demo closes it
        raise RuntimeError("the cache is closed")
    match json.loads(message.body):
        case {"operation": "store", "key": str(key), "value": str(value)}:
            cache.set(f"cache:{key}", value, ex=60)
        case {"operation": "remove", "key": str(key)}:
            cache.delete(f"cache:{key}")
        case _:
            raise ValueError(f"operation must be store or remove, got {message.body!r:.80}")
