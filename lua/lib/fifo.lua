--[[
One partition of a FIFO queue. A message stays in the LIST of its group until it is deleted (lib/fifo_key.lua).

  available  ZSET  group -> since when (us) its head can be received; all groups that can be served, and no other
  inflight   ZSET  STAMP GROUP -> visible again (ms * 1000) + receives of this delivery cycle (lib/score.lua)
  state      HASH  STAMP -> "N/first_ms/available_us[/B]" of a message that was received and not deleted:
                     N             receives and returns unbegun. It never goes down, so handles and scores tell one
                                   receive from another by it
                     first_ms      time of the first receive that counts; 0 if none does
                     available_us  since when the message can be received; while it is in flight, when it was received
                     B             two for each return unbegun, left out if there was none: N - B receives count
                   Received: 1/F/R. Returned unbegun: 2/0/A/2, no receive counts. Received again: 3/F/R/2, one counts
  delayed    ZSET  STAMP GROUP -> due (ms)
  postponed  ZSET  STAMP GROUP -> sent (ms, rounded up); due at + the queue's DelaySeconds

A group is locked while its head is in flight: it is not in `available` then.
]]
local fifo_key = require("lib.fifo_key")
local score = require("lib.score")

local fifo = {}

-- The parts of a state: N, first_ms (string), available_us (string), B.
function fifo.parse(state)
  local n, first, since, b = string.match(state, "^(%d+)/(%d+)/(%d+)/?(%d*)$")
  return tonumber(n), first, since, b == "" and 0 or tonumber(b)
end

function fifo.state(n, first, since, b)
  return string.format(b > 0 and "%d/%s/%s/%d" or "%d/%s/%s", n, first, since, b)
end

-- Has a state (nil = none) the N of a receipt?
function fifo.is_latest(state, n)
  return string.match(state or "", "^%d+") == n
end

-- The receives that count and the first of them (ms, string), of a state or nil.
function fifo.shown(state)
  if not state then
    return 0, "0"
  end
  local n, first, _, b = fifo.parse(state)
  return n - b, first
end

function fifo.list(base, group)
  return base .. "group:" .. group
end

-- Where a message is: "in_flight" or "delayed", and until when (ms, string); "visible", "".
function fifo.place(base, key, member, now_ms, queue_delay_ms)
  local flight = redis.call("ZSCORE", base .. "inflight", member)
  if flight and tonumber(score.time(flight)) > now_ms then
    return "in_flight", score.time(flight)
  elseif not fifo_key.is_plain(key) then
    local due = redis.call("ZSCORE", base .. "delayed", member)
    local sent = redis.call("ZSCORE", base .. "postponed", member)
    local due_ms = due and tonumber(due) or sent and tonumber(sent) + queue_delay_ms
    if due_ms and due_ms > now_ms then
      return "delayed", string.format("%d", due_ms)
    end
  end
  return "visible", ""
end

-- Visibility of an in-flight message ends (at ms): remember its receives, let the group go on if it is the head.
function fifo.expire(base, member, at_ms)
  local stamp, group = fifo_key.stamp(member), fifo_key.group(member)
  redis.call("ZREM", base .. "inflight", member)
  local state = redis.call("HGET", base .. "state", stamp)
  if state then -- no state: the message was deleted together with its group
    local n, first, _, b = fifo.parse(state)
    redis.call("HSET", base .. "state", stamp, fifo.state(n, first, string.format("%d", at_ms * 1000), b))
    local key = redis.call("LINDEX", fifo.list(base, group), "0")
    if key and fifo_key.stamp(key) == stamp then
      return require("lib.make_available")(base, group)
    end
  end
  return false
end

local function split(members)
  local groups, stamps = {}, {}
  for i = 1, #members do
    stamps[i], groups[i] = fifo_key.stamp(members[i]), fifo_key.group(members[i])
  end
  return groups, stamps
end

-- End the visibility timeouts that are over, at most `limit` of them. Returns true if there may be more.
function fifo.expire_due(base, now, limit)
  local due = redis.call("ZRANGEBYSCORE", base .. "inflight", "-inf", score.highest(now), "WITHSCORES",
    "LIMIT", "0", limit)
  local members, states = {}, {}
  for i = 1, #due, 2 do
    members[#members + 1] = due[i]
  end
  if #members == 0 then
    return false
  end
  redis.call("ZREM", base .. "inflight", unpack(members))
  local groups, stamps = split(members)
  local known = redis.call("HMGET", base .. "state", unpack(stamps))
  for i = 1, #stamps do
    if known[i] then -- else the message was deleted together with its group
      local n, first, _, b = fifo.parse(known[i])
      local since = score.time(due[2 * i]) .. "000"
      states[#states + 1], states[#states + 2] = stamps[i], fifo.state(n, first, since, b)
    end
  end
  if #states > 0 then
    redis.call("HSET", base .. "state", unpack(states))
  end
  fifo.make_all_available(base, groups, stamps)
  return #due == 2 * limit
end

-- As lib/make_available.lua, for many groups. With `stamps`, only those groups whose head has the stamp. Groups
-- that are available keep their places.
function fifo.make_all_available(base, groups, stamps, turn)
  local heads, members, found, of_head = {}, {}, {}, {}
  for i = 1, #groups do
    local key = redis.call("LINDEX", fifo.list(base, groups[i]), "0")
    local stamp = key and fifo_key.stamp(key)
    if key and (not stamps or stamps[i] == stamp) then
      heads[#heads + 1], found[#found + 1], of_head[#of_head + 1] = key, groups[i], stamp
      members[#members + 1] = stamp .. groups[i]
    end
  end
  if #heads == 0 then
    return
  end
  local flights = redis.call("ZMSCORE", base .. "inflight", unpack(members))
  local states = redis.call("HMGET", base .. "state", unpack(of_head))
  local paused = redis.call("SMISMEMBER", base .. "paused", unpack(found))
  local sinces = {}
  for i = 1, #heads do
    if not flights[i] and paused[i] == 0 and not fifo_key.is_delayed(base, heads[i], members[i]) then
      local since = states[i] and string.match(states[i], "^%d+/%d+/(%d+)") or fifo_key.available_us(heads[i])
      sinces[#sinces + 1] = turn and turn > since and turn or since
      sinces[#sinces + 1] = found[i]
    end
  end
  if #sinces > 0 then
    redis.call("ZADD", base .. "available", "NX", unpack(sinces))
  end
end

-- Take messages that are due out of the delayed sets, at most `limit` of each. Returns true if there may be more.
function fifo.promote_due(base, now_ms, queue_delay_ms, limit)
  local has_more = false
  for _, set in ipairs({{base .. "delayed", now_ms}, {base .. "postponed", now_ms - queue_delay_ms}}) do
    local key, latest = unpack(set)
    local due = redis.call("ZRANGEBYSCORE", key, "-inf", string.format("%d", latest), "LIMIT", "0", limit)
    if #due > 0 then
      redis.call("ZREM", key, unpack(due))
      fifo.make_all_available(base, split(due))
    end
    has_more = has_more or #due == limit
  end
  return has_more
end

-- Remove the message at index (0 = head) of a group's list.
function fifo.remove_at(list, index)
  if index == 0 then
    redis.call("LPOP", list, "2")
  else
    redis.call("LSET", list, 2 * index, "")
    redis.call("LSET", list, 2 * index + 1, "")
    redis.call("LREM", list, "2", "")
  end
end

return fifo
