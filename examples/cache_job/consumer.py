"""Applies the operations to the cache, in order for each key.

rqsqs worker consumer:worker --processes 4    four processes; a process that dies is replaced
python consumer.py                            one
"""

import logging
import os

import redis
from queues import QUEUE

from rqsqs import Message
from rqsqs.worker import Worker

worker = Worker()  # where RQSQS_URL says
cache = redis.Redis.from_url(os.environ.get("CACHE_URL") or os.environ.get("RQSQS_URL") or "redis://localhost:6379")
PREFIX = os.environ.get("CACHE_PREFIX", "cache")

# Applies operations in one round trip. KEYS: entry, its version, ...; ARGV: version, value, time to live, ...
# A message may come twice, and a dead letter comes late: what is not newer than what was applied changes nothing.
# Versions are remembered for longer than dead letters are kept; "" as time to live removes.
apply_all = cache.register_script("""
for i = 1, #KEYS, 2 do
  local at = 3 * (i - 1) / 2
  local version, value, ttl = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local known = redis.call("GET", KEYS[i + 1])
  if not known or #version > #known or #version == #known and version > known then
    redis.call("SET", KEYS[i + 1], version, "EX", 14 * 86400)
    if ttl == "" then
      redis.call("DEL", KEYS[i])
    else
      redis.call("SET", KEYS[i], value, "EX", ttl)
    end
  end
end
""")


class CannotApply(ValueError):
    """It would fail the next time as well: to the dead-letter queue with it (queues.py)."""


@worker.handler(QUEUE, batch=50)
def apply(messages: list[Message]) -> list[CannotApply | None]:
    """Apply up to 50 operations; for each message: None = done, or why it failed.

    If the cache does not answer, redis-py raises: all of them are tried again, later and later, still in order.
    """
    outcomes: list[CannotApply | None] = []
    keys, values = [], []
    for message in messages:
        try:
            key, version, value, ttl = change_of(message)
        except CannotApply as error:
            outcomes.append(error)
        else:
            keys += [f"{PREFIX}:{key}", f"{PREFIX}-version:{key}"]
            values += [version, value, ttl]
            outcomes.append(None)
    if keys:
        apply_all(keys, values)
    return outcomes


def change_of(message: Message) -> tuple[str, int, str, int | str]:
    """Key, version, value and time to live."""
    match message.body, message.attributes:
        case {"operation": "store", "key": str(key), "value": str(value), "ttl": int(ttl)}, {"version": int(version)}:
            if ttl > 0:
                return key, version, value, ttl
        case {"operation": "remove", "key": str(key)}, {"version": int(version)}:
            return key, version, "", ""
        case {"operation": "store", "ttl": ttl}, _:
            raise CannotApply(f"ttl must be a positive number of seconds, got {ttl!r:.80}")
        case {"operation": operation}, _:
            raise CannotApply(f"operation must be store or remove, got {operation!r:.80}")
    raise CannotApply(f"not an operation on a cache: {message.body!r:.200}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    worker.run()
