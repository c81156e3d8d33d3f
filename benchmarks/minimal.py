"""The least that a standard queue of this layout can cost: scripts of nothing but the redis calls it needs.

They check nothing, know no settings but the ones they read, and lose what is out of the ordinary: a lower bound for
lua/send_message.lua, lua/receive_message.lua and lua/delete_message.lua, not a queue. Two things that those do are no
part of it: the answer is kept, so that a call can be repeated (SET), and a receive is counted (HINCRBY). With `is_kept`
it does just these as well, and so touches the same keys. MinimalFair is the same of a queue whose message groups take
turns, MinimalFifo of a FIFO queue with deduplication ids.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import hiredis

from benchmarks.server import Bench, Costs, spent

MINIMUM, KEPT = "minimum (M)", "minimum that keeps answers (K)"
RECEIVE_DELETE = "receive, delete"  # one call after the other

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

# A message stays in the list of its group until it is deleted; `available` has the groups that can be served, `state`
# what was received. Deduplication ids are keys.
FIFO_SEND = """
local call, base = redis.call, ARGV[1]
local _, last, messages, bytes = unpack(call("HMGET", KEYS[1], "sends", "last", "messages", "bytes"))
local time = call("TIME")
local now = time[1] .. string.sub("00000" .. time[2], -6)
local heads = {}
for i = 2, #ARGV, 3 do
  local stamp, group = now, ARGV[i + 1]
  if stamp <= last then
    stamp = string.format("%d", last + 1)
  end
  last = stamp
  call("SET", base .. "dedup:" .. ARGV[i + 2], stamp, "NX", "PX", "300000")
  if call("RPUSH", base .. "group:" .. group, stamp, ARGV[i]) == 2 then
    heads[#heads + 1], heads[#heads + 2] = stamp, group
  end
  messages, bytes = messages + 1, bytes + #ARGV[i]
end
if #heads > 0 then
  call("ZADD", KEYS[2], unpack(heads))
end
call("HSET", KEYS[1], "last", last, "messages", messages, "bytes", bytes)
call("EXISTS", KEYS[3])
return last
"""

FIFO_RECEIVE = (
    LOOK
    + """
local base, count = ARGV[1], ARGV[2] / 2
local popped, scores, states, back, groups = {}, {}, {}, {}, 0
local score, state = string.format("%d001", now + 30000), "1/" .. now .. "/" .. now .. "000"
while #scores < 2 * count do
  local have = #scores / 2
  local turns = call("ZPOPMIN", KEYS[2], groups == 0 and 1 or math.ceil((count - have) * groups / have))
  if #turns == 0 then
    break
  end
  for t = 1, #turns, 2 do
    local group, left = turns[t], count - #scores / 2
    if left == 0 then
      back[#back + 1], back[#back + 2] = turns[t + 1], group
    else
      local entries = call("LRANGE", base .. "group:" .. group, "0", 2 * left - 1)
      for i = 1, #entries, 2 do
        local stamp = entries[i]
        popped[#popped + 1], popped[#popped + 2], popped[#popped + 3] = stamp, group, entries[i + 1]
        states[#states + 1], states[#states + 2] = stamp, state
        scores[#scores + 1], scores[#scores + 2] = score, stamp .. group
      end
      groups = groups + 1
    end
  end
end
if #back > 0 then
  call("ZADD", KEYS[2], unpack(back))
end
call("HSET", KEYS[3], unpack(states))
call("ZADD", KEYS[4], unpack(scores))
call("EXISTS", KEYS[5])
-- KEPT call("SET", KEYS[6], scores[2], "PX", "120000")
-- KEPT call("HINCRBY", KEYS[7], "A", "1")
return popped
"""
)

FIFO_DELETE = """
local call, base = redis.call, ARGV[1]
local members, stamps, runs = {}, {}, {}
for i = 2, #ARGV, 2 do
  local group = ARGV[i + 1]
  members[#members + 1], stamps[#stamps + 1] = ARGV[i] .. group, ARGV[i]
  if not runs[group] then
    runs[#runs + 1] = group
  end
  runs[group] = (runs[group] or 0) + 2
end
call("ZMSCORE", KEYS[2], unpack(members))
call("HDEL", KEYS[1], unpack(stamps))
local deleted = call("ZREM", KEYS[2], unpack(members))
call("HINCRBY", KEYS[3], "messages", -#members)
for _, group in ipairs(runs) do
  local list = base .. "group:" .. group
  call("LPOP", list, runs[group])
  local head = call("LINDEX", list, "0")
  if head then
    call("ZADD", KEYS[4], head, group)
  end
end
return deleted
"""


class Minimal:
    """Queues with a backlog, and the three scripts on them.

    Args:
        backlog: messages waiting in each queue.
        queues: how many there are; each call goes to the next one.
        in_flight: so many messages more were received in each, so that the keys do not come and go.
        is_kept: answers are kept and receives counted as well.
    """

    sources = (SEND, RECEIVE, DELETE)
    keys = KEYS
    held = "store"  # the HASH that has what is in flight

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
        settings = ("plain", "1048576", "quick", "30 345600", "last", "0", "messages", "0", "bytes", "0")
        others = [f"{number:037d}" for number in range(in_flight)]
        for n in range(queues):
            meta, wakeups, held, inflight, stats = self._keys(n, f"meta wakeups {self.held} inflight stats")
            commands = (
                ("HSET", meta, *settings),
                ("RPUSH", wakeups, "1"),
                ("HSET", held, *[word for name in others for word in (name, body)]),
                ("ZADD", inflight, *[word for name in others for word in ("9e15", name)]),
                ("HSET", stats, "A", "1"),
            )
            bench.pipeline([hiredis.pack_command(command) for command in commands])
            bench.pipeline([self._send(n, min(100, backlog)) for _ in range(max(1, backlog // 100))])

    def _keys(self, n: int, names: str) -> list[str]:
        return [f"bench:{{{self.name}-{n}}}:{name}" for name in names.split()]

    def _call(self, script: int, n: int, *args: str | bytes) -> bytes:
        names = self.keys[script]
        keys = self._keys(n, names.replace("/", " ") if self.is_kept else names.partition("/")[0])
        packed: bytes = hiredis.pack_command(("EVALSHA", self.shas[script], len(keys), *keys, *args))
        return packed

    def _send(self, n: int, batch: int) -> bytes:
        return self._call(0, n, *itertools.chain.from_iterable(self._message() for _ in range(batch)))

    def _message(self) -> Iterable[str]:
        """The arguments of the next one."""
        return f"{next(self._numbers):08d}", self.body

    def _receive(self, n: int, batch: int) -> bytes:
        return self._call(1, n, str(2 * batch))

    def _delete(self, n: int, received: list[bytes]) -> bytes:
        return self._call(2, n, *received[::2])

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
                calls = [self._delete(n, reply) for n, reply in zip(turns, replies, strict=True)]
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


class MinimalFifo(Minimal):
    """FIFO queues.

    Args:
        groups: over how many message groups the backlog and what is sent later are spread, in turn.
        one_by_one: a consumer has one call at a time: what a single message group allows.
    """

    sources = (FIFO_SEND, FIFO_RECEIVE, FIFO_DELETE)
    keys = (
        "meta available wakeups",  # deduplication ids recognise a repeated call
        "meta available state inflight wakeups/call stats",
        "state inflight meta available",
    )
    held = "state"

    def __init__(
        self,
        bench: Bench,
        backlog: int,
        body: str,
        groups: int,
        queues: int = 1,
        *,
        in_flight: int = 1,
        one_by_one: bool = False,
    ) -> None:
        self.groups, self.one_by_one = groups, one_by_one
        super().__init__(bench, backlog, body, queues, in_flight=in_flight, is_kept=True)

    def _call(self, script: int, n: int, *args: str | bytes) -> bytes:
        (meta,) = self._keys(n, "meta")
        return super()._call(script, n, meta.removesuffix("meta"), *args)

    def _message(self) -> Iterable[str]:
        number, body = super()._message()
        return body, f"group-{int(number) % self.groups}", f"message-{number}"

    def _delete(self, n: int, received: list[bytes]) -> bytes:
        named = (word for i in range(0, len(received), 3) for word in received[i : i + 2])
        return self._call(2, n, *named)

    def cycle(self, batch: int, count: int) -> Iterator[tuple[str, Costs]]:
        """As that of Minimal; with `one_by_one` in the steps of benchmarks.scripts.OneByOne."""
        if not self.one_by_one:
            yield from super().cycle(batch, count)
            return
        turns = list(itertools.islice(self._turns, count // batch))
        before = self.bench.costs()
        self.bench.pipeline([self._send(n, batch) for n in turns])
        sent = self.bench.costs()
        yield "send", spent(before, sent)
        for n in turns:
            (received,) = self.bench.pipeline([self._receive(n, batch)])
            (deleted,) = self.bench.pipeline([self._delete(n, received)])
            assert deleted == batch
        yield RECEIVE_DELETE, spent(sent, self.bench.costs())
