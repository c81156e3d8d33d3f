"""The least that a standard queue of this layout can cost: scripts of nothing but the redis calls it needs.

They check nothing, know no settings but the ones they read, and lose what is out of the ordinary: a lower bound for
lua/send_message.lua, lua/receive_message.lua and lua/delete_message.lua, not a queue. Two things that those do are no
part of it: the answer is kept, so that a call can be repeated (SET), and a receive is counted (HINCRBY). `kept and
counted` adds just these.
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
local key = now .. ARGV[1]
if #ARGV == 2 then
  call("RPUSH", KEYS[2], key, ARGV[2])
else
  local pairs_ = {}
  for i = 1, #ARGV, 2 do
    pairs_[i] = now .. ARGV[i]
    pairs_[i + 1] = ARGV[i + 1]
  end
  call("RPUSH", KEYS[2], unpack(pairs_))
end
call("EXISTS", KEYS[3])
-- KEPT call("SET", KEYS[4], key, "PX", "120000", "GET")
return now
"""

RECEIVE = """
local call = redis.call
call("HGET", KEYS[1], "quick")
local time = call("TIME")
local now = string.sub(time[1] .. string.sub("00000" .. time[2], -6), 1, 13)
call("ZCOUNT", KEYS[4], "-inf", now .. "999")
local popped = call("LPOP", KEYS[2], ARGV[1])
local score, scores = string.format("%d001", now + 30000), {}
for i = 1, #popped, 2 do
  local member = popped[i] .. now
  popped[i], scores[i], scores[i + 1] = member, score, member
end
call("HSET", KEYS[3], unpack(popped))
call("ZADD", KEYS[4], unpack(scores))
call("EXISTS", KEYS[5])
-- KEPT call("SET", KEYS[6], scores[2], "PX", "120000")
-- KEPT call("HINCRBY", KEYS[7], "A", "1")
return popped
"""

DELETE = """
redis.call("ZREM", KEYS[2], unpack(ARGV))
return redis.call("HDEL", KEYS[1], unpack(ARGV))
"""

# of the three scripts; those behind / are KEPT
KEYS = ("meta ready wakeups/call", "meta ready store inflight wakeups/call stats", "store inflight")


class Minimal:
    """Queues with a backlog, and the three scripts on them.

    Args:
        backlog: messages waiting in each queue.
        queues: how many there are; each call goes to the next one.
        in_flight: so many messages more were received in each, so that the keys do not come and go.
        is_kept: answers are kept and receives counted as well.
    """

    def __init__(
        self, bench: Bench, backlog: int, body: str, queues: int = 1, *, in_flight: int = 1, is_kept: bool = False
    ) -> None:
        self.bench = bench
        self.body = body
        self.is_kept = is_kept
        self.sources = [SEND, RECEIVE, DELETE]
        if is_kept:
            self.sources = [source.replace("-- KEPT", "") for source in self.sources]
        self.shas = [str(bench.client.script_load(source)) for source in self.sources]
        self._numbers = itertools.count(10_000_000)
        self._turns = itertools.cycle(range(queues))
        settings = ("plain", "1048576", "quick", "30 345600")
        others = [f"other-{number}" for number in range(in_flight)]
        for n in range(queues):
            meta, wakeups, store, inflight, stats = self._keys(n, "meta wakeups store inflight stats")
            commands = (
                ("HSET", meta, *settings),
                ("RPUSH", wakeups, "1"),
                ("HSET", store, *[word for name in others for word in (name, body)]),
                ("ZADD", inflight, *[word for name in others for word in ("9e15", name)]),
                ("HSET", stats, "A", "1"),
            )
            bench.pipeline([hiredis.pack_command(command) for command in commands])
            bench.pipeline([self._send(n, min(100, backlog)) for _ in range(max(1, backlog // 100))])

    def _keys(self, n: int, names: str) -> list[str]:
        return [f"bench:{{minimal-{n}}}:{name}" for name in names.split()]

    def _call(self, script: int, n: int, *args: str | bytes) -> bytes:
        keys = self._keys(n, KEYS[script].replace("/", " ") if self.is_kept else KEYS[script].partition("/")[0])
        packed: bytes = hiredis.pack_command(("EVALSHA", self.shas[script], len(keys), *keys, *args))
        return packed

    def _send(self, n: int, batch: int) -> bytes:
        pairs = ((f"{next(self._numbers):08d}", self.body) for _ in range(batch))
        return self._call(0, n, *itertools.chain.from_iterable(pairs))

    def cycle(self, batch: int, count: int) -> Iterator[tuple[str, Costs]]:
        """Send, receive and delete `count` messages; the server's costs of each step."""
        turns = list(itertools.islice(self._turns, count // batch))
        replies: list[list[bytes]] = []
        for step in ("send", "receive", "delete"):
            if step == "send":
                calls = [self._send(n, batch) for n in turns]
            elif step == "receive":
                calls = [self._call(1, n, str(2 * batch)) for n in turns]
            else:
                calls = [self._call(2, n, *reply[::2]) for n, reply in zip(turns, replies, strict=True)]
            before = self.bench.costs()
            replies = self.bench.pipeline(calls)
            yield step, spent(before, self.bench.costs())
        assert sum(int(number) for number in replies) == count  # type: ignore[call-overload]
