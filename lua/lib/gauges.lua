--[[
What only metrics ask of a partition at one instant, beside the counts: how old its oldest message is, and what lies in
its message groups. Nothing is changed.

The age of a message counts from when it was sent, scheduled far ahead: from when it was due, a dead letter: from when
it came. Messages of standard queues that were received three times or more in the queue have none.

Looked at are up to 2,000 members of each sorted set, those that become visible first, the heads of up to 1,000 groups,
and as many of a list without groups as it takes to find one that was not received three times, up to 100. What a group
of a fair queue has of a larger set is estimated from these.
]]
local message = require("lib.message")
local fifo_key = require("lib.fifo_key")
local score = require("lib.score")

local gauges = {}
local MEMBERS, GROUPS, HEADS, CALLS, OFTEN, FAR_MS = 2000, 1000, 100, 1900, 3, 900000

local function earlier(a, b)
  return (not a or b < a) and b or a
end

-- What a group has, or nil if it is one too many. { visible, in flight, delayed, since when (ms) its oldest counts }
local function of_group(r, name)
  local found = r.by_name[name]
  if not found and #r.names < GROUPS then
    r.names[#r.names + 1] = name
    found = {0, 0, 0}
    r.by_name[name] = found
  end
  return found
end

-- A message: its key or member, how often it was received in this delivery cycle, and its group, if that counts.
local function look(r, key, receives, group)
  local since = string.sub(key, 1, 13)
  r.sent = earlier(r.sent, since)
  if message.has_past(key) then
    local part = message.parse(key)
    receives = receives + part.count
    since = part.moved ~= "" and part.moved or part.due ~= "" and part.due or since
  end
  if receives < OFTEN and since <= r.now then
    r.since = earlier(r.since, since)
    if group then
      group[4] = earlier(group[4], since)
    end
    return true
  end
end

-- The messages of a sorted set. `later`: what they are that are not visible yet, 2 in flight, 3 delayed.
local function look_at_set(r, name, later)
  local found, last = redis.call("ZRANGE", name, "0", MEMBERS - 1, "WITHSCORES"), score.highest(r.now)
  local each = #found < 2 * MEMBERS and 1 or redis.call("ZCARD", name) / MEMBERS
  for i = 1, #found, 2 do
    local key, at, group, since = found[i], found[i + 1], nil, r.since
    if r.is_fair then
      group = of_group(r, message.group(key))
      if group then
        local place = at > last and later or 1
        group[place] = group[place] + each
        since = group[4]
      end
    end
    if not since or key < since then -- else it is not the oldest
      look(r, key, score.receives(at), group)
    end
  end
end

-- The groups that wait in line or are paused, as far as the redis calls last.
local function look_at_groups(r, returned)
  local fair_ring, calls = require("lib.fair_ring"), CALLS
  local names = redis.call("ZRANGE", r.base .. "fair_ring", "0", GROUPS - 1)
  for _, name in ipairs(redis.call("SRANDMEMBER", r.base .. "paused", GROUPS - #names)) do
    names[#names + 1] = name
  end
  local each = string.format("%d", math.max(math.floor(MEMBERS / math.max(#names, 1)), 5))
  for _, name in ipairs(names) do
    if calls <= 0 then
      break
    end
    local list, again, group = fair_ring.list(r.base, name), fair_ring.again(r.base, name), of_group(r, name)
    local length = redis.call("LLEN", list)
    calls = calls - 1
    if length > 0 then
      group[1] = group[1] + length / 2
      look(r, redis.call("LINDEX", list, "0"), 0, group)
      calls = calls - 1
    end
    local more = returned > 0 and redis.call("ZCARD", again) or 0
    calls = calls - (returned > 0 and 1 or 0)
    if more > 0 then
      group[1], returned = group[1] + more, returned - more
      local found = redis.call("ZRANGE", again, "0", each, "WITHSCORES")
      calls = calls - 1
      for i = 1, #found, 2 do
        look(r, found[i], score.receives(found[i + 1]), group)
      end
    end
  end
end

-- Of a standard queue: since when the oldest message counts and when the oldest was sent (ms, strings, or nil), and, of
-- a fair queue, name, visible, in flight, delayed, since when (ms, "" = nothing counts) of each group, packed; else "".
function gauges.standard(base, now, is_fair, returned)
  local r = {base = base, now = now, is_fair = is_fair, names = {}, by_name = {}}
  if is_fair then
    look_at_groups(r, returned)
  else
    for i = 0, HEADS - 1 do
      local key = redis.call("LINDEX", base .. "ready", string.format("%d", 2 * i))
      if not key or not message.is_tombstone(key) and look(r, key, 0) then
        break
      end
    end
  end
  look_at_set(r, base .. "inflight", 2)
  look_at_set(r, base .. "delayed", 3)
  local packed = {}
  for _, name in ipairs(r.names) do
    local found = r.by_name[name]
    local n = #packed
    packed[n + 1], packed[n + 2], packed[n + 3] = name, math.floor(found[1]), math.floor(found[2])
    packed[n + 4], packed[n + 5] = math.floor(found[3]), found[4] or ""
  end
  return r.since, r.sent, is_fair and cmsgpack.pack(packed) or ""
end

-- Since when the head of a FIFO group counts (ms, string), nil = not yet.
local function since_of(key, now)
  local _, _, moved = fifo_key.earlier_receives(key)
  local sent, due = fifo_key.sent(key), string.match(key, "^%d+%+(%d+)")
  if moved and moved ~= "" then
    return moved
  elseif due and due - sent > FAR_MS then
    return due <= now and due or nil
  end
  return sent
end

-- Of a FIFO queue: since when the oldest message counts (ms, string, or nil), and how many groups have messages in
-- flight. The oldest one of a group is its head.
function gauges.fifo(base, now)
  local since, seen, groups = nil, {}, {}
  local function take(name)
    if not seen[name] then
      seen[name], groups[#groups + 1] = true, name
    end
  end
  local flights = redis.call("ZRANGEBYSCORE", base .. "inflight", "(" .. score.highest(now), "+inf",
    "LIMIT", "0", MEMBERS)
  local first = flights[1]
  for _, member in ipairs(flights) do
    take(fifo_key.group(member))
    first = member < first and member or first
  end
  local in_flight = #groups
  for i = in_flight, HEADS, -1 do
    seen[groups[i]], groups[i] = nil, nil
  end
  if first then -- the oldest one in flight
    take(fifo_key.group(first))
  end
  for _, name in ipairs(redis.call("ZRANGE", base .. "available", "0", GROUPS / 2 - 1)) do
    take(name)
  end
  for _, set in ipairs({"delayed", "postponed"}) do
    for _, member in ipairs(redis.call("ZRANGE", base .. set, "0", HEADS - 1)) do
      take(fifo_key.group(member))
    end
  end
  for _, name in ipairs(redis.call("SRANDMEMBER", base .. "paused", HEADS)) do
    take(name)
  end
  for i = 1, #groups do
    local key = redis.call("LINDEX", base .. "group:" .. groups[i], "0")
    local found = key and since_of(key, now)
    since = found and earlier(since, found) or since
  end
  return since, in_flight
end

return gauges
