"""The least that a standard queue of this layout can cost: scripts of nothing but the redis calls it needs.

They check nothing, know no settings but the ones they read, and lose what is out of the ordinary: a lower bound for
lua/send_message.lua, lua/receive_message.lua and lua/delete_message.lua, not a queue.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import hiredis

from benchmarks.server import Bench, Costs, spent

SEND = """
local call = redis.call
call("HGET", KEYS[1], "plain")
local time = call("TIME")
local now = time[1] .. string.sub("00000" .. time[2], -6)
local pairs_ = {}
for i = 1, #ARGV, 2 do
  pairs_[i] = now .. ARGV[i]
  pairs_[i + 1] = ARGV[i + 1]
end
call("RPUSH", KEYS[2], unpack(pairs_))
call("EXISTS", KEYS[3])
return now
"""

RECEIVE = """
local call = redis.call
call("HMGET", KEYS[1], "VisibilityTimeout", "MessageRetentionPeriod", "special", "topology")
local time = call("TIME")
local now = string.sub(time[1] .. string.sub("00000" .. time[2], -6), 1, 13)
call("ZRANGEBYSCORE", KEYS[4], "-inf", now .. "999", "WITHSCORES", "LIMIT", "0", ARGV[1])
local popped = call("LPOP", KEYS[2], ARGV[2])
local score, scores = now + 30000 .. "001", {}
for i = 1, #popped, 2 do
  scores[i] = score
  scores[i + 1] = popped[i] .. now
end
call("HSET", KEYS[3], unpack(popped))
call("ZADD", KEYS[4], unpack(scores))
call("EXISTS", KEYS[5])
popped[#popped + 1] = now
return popped
"""

DELETE = """
redis.call("ZREM", KEYS[2], unpack(ARGV))
local fields = {}
for i = 1, #ARGV do
  fields[i] = string.sub(ARGV[i], 1, 24)
end
return redis.call("HDEL", KEYS[1], unpack(fields))
"""


class Minimal:
    """Queues with a backlog, and the three scripts on them.

    Args:
        backlog: messages waiting in each queue.
        queues: how many there are; each call goes to the next one.
    """

    def __init__(self, bench: Bench, backlog: int, body: str, queues: int = 1) -> None:
        self.bench = bench
        self.body = body
        self.shas = [str(bench.client.script_load(source)) for source in (SEND, RECEIVE, DELETE)]
        self._numbers = itertools.count(10_000_000)
        self._turns = itertools.cycle(range(queues))
        settings = ("plain", "1048576", "VisibilityTimeout", "30", "MessageRetentionPeriod", "345600")
        for n in range(queues):
            meta, bell, store, inflight = self._keys(n, "meta bell store inflight")
            commands = (
                ("HSET", meta, *settings),
                ("RPUSH", bell, "1"),
                ("HSET", store, "other", body),  # so that the keys do not come and go
                ("ZADD", inflight, "9e15", "other"),
            )
            bench.pipeline([hiredis.pack_command(command) for command in commands])
            bench.pipeline([self._send(n, min(100, backlog)) for _ in range(max(1, backlog // 100))])

    def _keys(self, n: int, names: str) -> list[str]:
        return [f"bench:{{minimal-{n}}}:{name}" for name in names.split()]

    def _call(self, script: int, n: int, names: str, *args: str | bytes) -> bytes:
        keys = self._keys(n, names)
        packed: bytes = hiredis.pack_command(("EVALSHA", self.shas[script], len(keys), *keys, *args))
        return packed

    def _send(self, n: int, batch: int) -> bytes:
        pairs = ((f"{next(self._numbers):08d}", self.body) for _ in range(batch))
        return self._call(0, n, "meta ready wakeups", *itertools.chain.from_iterable(pairs))

    def cycle(self, batch: int, count: int) -> Iterator[tuple[str, Costs]]:
        """Send, receive and delete `count` messages; the server's costs of each step."""
        turns = list(itertools.islice(self._turns, count // batch))
        replies: list[list[bytes]] = []
        for step in ("send", "receive", "delete"):
            if step == "send":
                calls = [self._send(n, batch) for n in turns]
            elif step == "receive":
                names, args = "meta ready store inflight wakeups", (str(batch), str(2 * batch))
                calls = [self._call(1, n, names, *args) for n in turns]
            else:
                members = [[key + reply[-1] for key in reply[:-1:2]] for reply in replies]
                calls = [self._call(2, n, "store inflight", *some) for n, some in zip(turns, members, strict=True)]
            before = self.bench.costs()
            replies = self.bench.pipeline(calls)
            yield step, spent(before, self.bench.costs())
        assert sum(int(number) for number in replies) == count  # type: ignore[call-overload]
