"""Apply operations to the cache until Ctrl-C. Start as many as you like."""

import contextlib
import os

import redis

import rqsqs
from rqsqs.demo import cache_job

if __name__ == "__main__":
    url = os.environ.get("RQSQS_URL", "redis://localhost:6379/0")
    with (
        contextlib.suppress(KeyboardInterrupt),
        rqsqs.connect(url, prefix="cache-job") as connection,
        redis.Redis.from_url(url) as server,
    ):
        cache_job.consume(cache_job.create_queues(connection), cache_job.Cache(server, "cache-job"))
