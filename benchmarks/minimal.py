"""The least that a standard queue of this layout can cost: scripts of nothing but the redis calls it needs.

They check nothing, know no settings but the ones they read, and lose what is out of the ordinary: a lower bound for
lua/send_message.lua, lua/receive_message.lua and lua/delete_message.lua, not a queue. Two things that those do are no
part of it: the answer is kept, so that a call can be repeated (SET), and a receive is counted (HINCRBY). With `is_kept`
it does just these as well, and so touches the same keys. MinimalFair is the same of a queue whose message groups take
turns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import hiredis

from benchmarks.server import Bench, Costs, spent

MINIMUM, KEPT = "minimum (M)", "minimum that keeps answers (K)"

BEGIN = """
local call = redis.call
call("HGET", KEYS[1], "%s")
local time = call("TIME")
local now = time[1] .. string.sub("00000" .. time[2], -6)
"""

SEND = (
    BEGIN % "plain"
    + """
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
)

LOOK = (
    BEGIN % "quick"
    + """
now = string.sub(now, 1, 13)
call("ZCOUNT", KEYS[4], "-inf", now .. "999")
"""
)

HAND_OUT = """
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

RECEIVE = LOOK + 'local popped = call("LPOP", KEYS[2], ARGV[1])' + HAND_OUT

DELETE = """
redis.call("ZREM", KEYS[2], unpack(ARGV))
return redis.call("HDEL", KEYS[1], unpack(ARGV))
"""

# of the three scripts; those behind / are KEPT
KEYS = ("meta ready wakeups/call", "meta ready store inflight wakeups/call stats", "store inflight")

# Each group has a list, whose name begins as ARGV[1], and a place in a ring: the group whose turn is over goes to the
# end, and so does one that comes in.
FAIR_SEND = (
    BEGIN % "plain"
    + """
local key
local new = {}
for i = 2, #ARGV, 3 do
  local group = ARGV[i + 2]
  key = now .. ARGV[i] .. "@" .. group
  if call("RPUSH", ARGV[1] .. group, key, ARGV[i + 1]) == 2 then
    new[#new + 1] = group
  end
end
if #new > 0 then
  local last = call("ZRANGE", KEYS[2], "-1", "-1", "WITHSCORES")[2] or 0
  local places = {}
  for i, group in ipairs(new) do
    places[2 * i - 1], places[2 * i] = string.format("%d", last + i), group
  end
  call("ZADD", KEYS[2], "NX", unpack(places))
end
call("HINCRBY", KEYS[1], "grouped", (#ARGV - 1) / 3)
call("EXISTS", KEYS[3])
-- KEPT call("SET", KEYS[4], key, "PX", "120000", "GET")
return now
"""
)

FAIR_RECEIVE = (
    LOOK
    + """
local left = ARGV[2] / 2
local turns = call("ZRANGE", KEYS[2], "0", string.format("%d", left - 1))
local last = call("ZRANGE", KEYS[2], "-1", "-1", "WITHSCORES")[2]
local share = math.ceil(left / #turns)
local popped, places, gone = {}, {}, {}
for i, group in ipairs(turns) do
  local list = ARGV[1] .. group
  for _, word in ipairs(call("LPOP", list, 2 * math.min(share, left - #popped / 2))) do
    popped[#popped + 1] = word
  end
  if call("EXISTS", list) == 1 then
    places[#places + 1], places[#places + 2] = string.format("%d", last + i), group
  else
    gone[#gone + 1] = group
  end
  if #popped == ARGV[2] + 0 then
    break
  end
end
if #places > 0 then
  call("ZADD", KEYS[2], "XX", unpack(places))
end
if #gone > 0 then
  call("ZREM", KEYS[2], unpack(gone))
end
call("HINCRBY", KEYS[1], "grouped", -#popped / 2)
"""
    + HAND_OUT
)


class Minimal:
    """Queues with a backlog, and the three scripts on them.

    Args:
        backlog: messages waiting in each queue.
        queues: how many there are; each call goes to the next one.
        in_flight: so many messages more were received in each, so that the keys do not come and go.
        is_kept: answers are kept and receives counted as well.
    """

    sources = (SEND, RECEIVE, DELETE)

    def __init__(
        self, bench: Bench, backlog: int, body: str, queues: int = 1, *, in_flight: int = 1, is_kept: bool = False
    ) -> None:
        self.bench = bench
        self.name = f"{'kept' if is_kept else 'minimal'}-{backlog}-{queues}-{in_flight}"
        self.body = body
        self.is_kept = is_kept
        sources = [source.replace("-- KEPT", "") if is_kept else source for source in self.sources]
        self.shas = [str(bench.client.script_load(source)) for source in sources]
        self._numbers = itertools.count(10_000_000)
        self._turns = itertools.cycle(range(queues))
        settings = ("plain", "1048576", "quick", "30 345600")
        others = [f"{number:037d}" for number in range(in_flight)]
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
        return [f"bench:{{{self.name}-{n}}}:{name}" for name in names.split()]

    def _call(self, script: int, n: int, *args: str | bytes) -> bytes:
        keys = self._keys(n, KEYS[script].replace("/", " ") if self.is_kept else KEYS[script].partition("/")[0])
        packed: bytes = hiredis.pack_command(("EVALSHA", self.shas[script], len(keys), *keys, *args))
        return packed

    def _send(self, n: int, batch: int) -> bytes:
        return self._call(0, n, *itertools.chain.from_iterable(self._message() for _ in range(batch)))

    def _message(self) -> Iterable[str]:
        """The arguments of the next one."""
        return f"{next(self._numbers):08d}", self.body

    def _receive(self, n: int, batch: int) -> bytes:
        return self._call(1, n, str(2 * batch))

    def cycle(self, batch: int, count: int) -> Iterator[tuple[str, Costs]]:
        """Send, receive and delete `count` messages; the server's costs of each step."""
        turns = list(itertools.islice(self._turns, count // batch))
        replies: list[list[bytes]] = []
        for step in ("send", "receive", "delete"):
            if step == "send":
                calls = [self._send(n, batch) for n in turns]
            elif step == "receive":
                calls = [self._receive(n, batch) for n in turns]
            else:
                calls = [self._call(2, n, *reply[::2]) for n, reply in zip(turns, replies, strict=True)]
            before = self.bench.costs()
            replies = self.bench.pipeline(calls)
            yield step, spent(before, self.bench.costs())
        assert sum(int(number) for number in replies) == count  # type: ignore[call-overload]


class MinimalFair(Minimal):
    """One queue whose message groups take turns; `ready` is their ring.

    Args:
        groups: over how many groups the backlog and what is sent later are spread, in turn.
    """

    sources = (FAIR_SEND, FAIR_RECEIVE, DELETE)

    def __init__(self, bench: Bench, backlog: int, body: str, groups: int, *, is_kept: bool = False) -> None:
        self.groups = groups
        super().__init__(bench, backlog, body, is_kept=is_kept)

    def _call(self, script: int, n: int, *args: str | bytes) -> bytes:
        lists = self._keys(n, "group:") if script < 2 else ()
        return super()._call(script, n, *lists, *args)

    def _message(self) -> Iterable[str]:
        number, body = super()._message()
        return number, body, f"group-{int(number) % self.groups}"
