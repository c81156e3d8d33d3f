"""Send operations on a cache, made from the files of Python's standard library: producer.py [ABOUT-SO-MANY]."""

import sys

import rqsqs
from rqsqs.demo import cache_job, operations

if __name__ == "__main__":
    about = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with rqsqs.connect(prefix="cache-job") as connection:
        queue = cache_job.create_queues(connection)
        cache_job.produce(queue, enumerate(operations.make(about), 1))
