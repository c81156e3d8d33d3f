"""The application: it changes data and says what is to become of the cache. Here the data are files:

python producer.py FOLDER    puts the digest of each *.py file below FOLDER into the cache for an hour; empty files out
"""

import hashlib
import sys
import time
from pathlib import Path
from typing import Any

from queues import QUEUE

import rqsqs


def store(key: str, value: str, ttl: int, version: int) -> rqsqs.Entry:
    return entry({"operation": "store", "key": key, "value": value, "ttl": ttl}, version)


def remove(key: str, version: int) -> rqsqs.Entry:
    return entry({"operation": "remove", "key": key}, version)


def entry(operation: dict[str, Any], version: int) -> rqsqs.Entry:
    """The group keeps the operations of a key in order (it has 128 characters at most: so the hash). If a batch is sent
    again because the first answer was lost, the deduplication id keeps it from being stored twice, for five minutes.
    The version is for the consumer: it grows with each change of the key, as a row's version or time of change does."""
    group = hash_of(operation["key"])
    return rqsqs.Entry(operation, group=group, deduplication_id=f"{group}-{version}", attributes={"version": version})


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def main(folder: str) -> None:
    with rqsqs.connect() as connection:
        queue = connection.queue(QUEUE)
        batch = []
        for path in sorted(Path(folder).rglob("*.py")):
            key, version = str(path), time.time_ns()
            if path.stat().st_size:
                batch.append(store(key, hash_of(path.read_text(errors="replace")), 3600, version))
            else:
                batch.append(remove(key, version))
            if len(batch) == 100:
                queue.send_batch(batch)
                batch.clear()
        if batch:
            queue.send_batch(batch)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
