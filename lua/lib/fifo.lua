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

-- The key of a group's head; nil if the group is empty, or damaged.
function fifo.head(base, group)
  local key = redis.pcall("LINDEX", fifo.list(base, group), "0")
  return type(key) == "string" and key or nil
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
  local state = redis.call("HGET", base .. "state", stamp)
  redis.call("ZREM", base .. "inflight", member)
  if state then -- no state: the message was deleted together with its group
    local n, first, _, b = fifo.parse(state)
    redis.call("HSET", base .. "state", stamp, fifo.state(n, first, string.format("%d", at_ms * 1000), b))
    local key = fifo.head(base, group)
    if key and fifo_key.stamp(key) == stamp then
      return require("lib.make_available")(base, group)
    end
  end
  return false
end

-- Since when (us) the heads of groups can be received: {us, group ...} of those that can. groups[i] has the head
-- keys[i], with states[i] (false = none).
local function sinces_of(base, groups, keys, states)
  local paused, found = redis.pcall("SMISMEMBER", base .. "paused", unpack(groups)), {}
  for i = 1, #groups do
    if paused[i] ~= 1 then
      found[#found + 1] = states[i] and string.match(states[i], "^%d+/%d+/(%d+)") or fifo_key.available_us(keys[i])
      found[#found + 1] = groups[i]
    end
  end
  return found
end

-- As lib/make_available.lua, for many groups that may be available: these keep their places.
function fifo.make_all_available(base, groups, turn)
  local members, stamps, found, keys = {}, {}, {}, {}
  for i = 1, #groups do
    local key = fifo.head(base, groups[i])
    if key and not fifo_key.is_delayed(base, key, fifo_key.stamp(key) .. groups[i]) then
      keys[#keys + 1], found[#found + 1], stamps[#stamps + 1] = key, groups[i], fifo_key.stamp(key)
      members[#members + 1] = fifo_key.stamp(key) .. groups[i]
    end
  end
  if #keys == 0 then
    return
  end
  local flights = redis.call("ZMSCORE", base .. "inflight", unpack(members))
  local states = redis.call("HMGET", base .. "state", unpack(stamps))
  local free, free_keys, free_states = {}, {}, {}
  for i = 1, #found do
    if not flights[i] then
      free[#free + 1], free_keys[#free_keys + 1], free_states[#free_states + 1] = found[i], keys[i], states[i]
    end
  end
  local sinces = free[1] and sinces_of(base, free, free_keys, free_states) or {}
  for i = 1, #sinces, 2 do
    sinces[i] = turn > sinces[i] and turn or sinces[i]
  end
  if sinces[1] then
    redis.call("ZADD", base .. "available", "NX", unpack(sinces))
  end
end

-- End the visibility timeouts that are over; and the delays, with delay_ms, the queue's own: nil = nothing is delayed.
-- At most `limit` of each set. Returns true if there may be more. All is read before it writes, first to `available`.
function fifo.make_due_visible(base, now, delay_ms, limit)
  local has_more, members = false, {} -- the first ones were in flight
  local left = {} -- set -> members that leave it
  local function collect(set, latest, stride, ...)
    local due = redis.call("ZRANGEBYSCORE", base .. set, "-inf", latest, ...)
    left[set] = {}
    for i = 1, #due, stride do
      members[#members + 1] = due[i]
      left[set][#left[set] + 1] = due[i]
    end
    has_more = has_more or #left[set] == limit
    return due
  end
  local scores = collect("inflight", score.highest(now), 2, "WITHSCORES", "LIMIT", "0", limit)
  local ended = #members
  if delay_ms then
    collect("delayed", now, 1, "LIMIT", "0", limit)
    collect("postponed", string.format("%d", now - delay_ms), 1, "LIMIT", "0", limit)
  end
  if #members == 0 then
    return false
  end

  local stamps, groups, keys, of_heads, changed = {}, {}, {}, {}, {}
  for i = 1, #members do
    stamps[i] = fifo_key.stamp(members[i])
  end
  local states = redis.call("HMGET", base .. "state", unpack(stamps))
  for i = 1, #members do
    if states[i] and i <= ended then -- it has none if the message was deleted together with its group
      local n, first, _, b = fifo.parse(states[i])
      states[i] = fifo.state(n, first, score.time(scores[2 * i]) .. "000", b)
      changed[#changed + 1], changed[#changed + 2] = stamps[i], states[i]
    end
    local group = fifo_key.group(members[i])
    local key = fifo.head(base, group)
    if key and fifo_key.stamp(key) == stamps[i] then
      groups[#groups + 1], keys[#keys + 1], of_heads[#of_heads + 1] = group, key, states[i]
    end
  end
  local sinces = groups[1] and sinces_of(base, groups, keys, of_heads) or {}
  if sinces[1] then
    redis.call("ZADD", base .. "available", "NX", unpack(sinces))
  end
  if changed[1] then
    redis.call("HSET", base .. "state", unpack(changed))
  end
  for set, gone in pairs(left) do
    if gone[1] then
      redis.call("ZREM", base .. set, unpack(gone))
    end
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
