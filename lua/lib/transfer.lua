--[[
Moving messages from one partition to another (message move tasks). Moved messages are new: new id, new time of
sending, no receives.
]]
local fifo_key = require("lib.fifo_key")
local deadletter = require("lib.deadletter")
local sorted = require("lib.sorted")
local message = require("lib.message")
local make_available = require("lib.make_available")
local fifo = require("lib.fifo")
local fair_ring = require("lib.fair_ring")
local wakeups = require("lib.wakeups")

local transfer = {}

local BYTES = 4194304 -- of records in one step, beyond one message
local TOMBSTONES, EXPIRED = 300, 50 -- so many tombstones and empty groups, or visibility timeouts that are over, end in one step

-- A function of (source, group) that says why a message cannot go within the hash slot: "no_source", or the name of the
-- queue that has no partition here that takes it; nil if it can. `destination` is "" for the message's own source.
function transfer.elsewhere(meta, is_fifo, destination)
  local known = {}
  -- Would the partition of that base take a message of the group?
  local function takes(base, group)
    local partition = is_fifo and redis.call("HGET", base .. "meta", "partition")
    local place = partition and require("lib.partition")(partition, group, "") or "here"
    return place == "here" or place == "old" and redis.call("EXISTS", base .. "group:" .. group) == 1
  end
  return function(source, group)
    local name = destination ~= "" and destination or source
    if name == "" then
      return "no_source"
    end
    if known[name] == nil then
      known[name] = redis.call("HEXISTS", deadletter.base(meta, name) .. "meta", "VisibilityTimeout") == 1
    end
    return not (known[name] and takes(deadletter.base(meta, name), group)) and name or nil
  end
end

-- What a step of `take` has taken, up to `limit` messages.
local function taking(limit)
  local step = {taken = {}, received = {}, bytes = 0}

  function step.has_room(record)
    return #step.taken < limit and (#step.taken == 0 or step.bytes + #(record or "") <= BYTES)
  end

  -- A message; `member` (FIFO: stamp) if it was received here: a handle of it may be used still.
  function step.add(m, member)
    step.taken[#step.taken + 1] = m
    step.bytes = step.bytes + #m.record
    step.received[#step.received + 1] = member
  end

  return step
end

local function take_fifo(base, meta, now, step, accept)
  local more = fifo.expire_due(base, now, EXPIRED) and "more" or nil
  local stamps, refusal = {}, nil
  while step.has_room() do
    local head = redis.call("ZPOPMIN", base .. "available")
    if #head == 0 then
      refusal = more
      break
    end
    local group = head[1]
    local pair = redis.call("LRANGE", fifo.list(base, group), "0", "1")
    local _, _, _, source = fifo_key.earlier_receives(pair[1])
    refusal = accept(source or "", group)
    if refusal or not step.has_room(pair[2]) then
      redis.call("ZADD", base .. "available", head[2], group)
      break
    end
    redis.call("LPOP", fifo.list(base, group), "2")
    local stamp = string.sub(pair[1], 1, 16)
    local state = redis.call("HGET", base .. "state", stamp)
    stamps[#stamps + 1] = stamp
    step.add({key = pair[1], source = source or "", group = group, record = pair[2], past = state or ""},
      state and stamp or nil)
    make_available(base, group)
  end
  if #stamps > 0 then
    redis.call("HDEL", base .. "state", unpack(stamps))
    redis.call("HINCRBY", meta, "messages", -#stamps)
  end
  return refusal
end

-- A message of a ZSET.
local function take_member(base, set, member, score, step, accept)
  local part, receives = message.parse(member), tonumber(string.sub(score, -3))
  local refusal = accept(part.source)
  local record = redis.call("HGET", base .. "store", member) or ""
  if refusal or not step.has_room(record) then
    return refusal or "more"
  end
  part.total, part.count = part.total + receives, part.count + receives
  local past = set == "delayed" and set or "inflight" -- there those of a group come from
  step.add({key = message.format(part), source = part.source, group = part.group or "", record = record,
    past = past .. " " .. score .. " " .. member}, receives > 0 and member or nil)
  redis.call("HDEL", base .. "store", member)
  redis.call("ZREM", base .. set, member)
  return nil
end

-- What is visible in the groups of a fair queue, or in the list of another one.
local function take_ready(base, meta, step, accept)
  local ready, groups = base .. "ready", base .. "fair_ring"
  local fair = redis.call("HGET", meta, "fair")
  local tombstones, empty, grouped, refusal = 0, 0, 0, nil
  while step.has_room() do
    if tombstones + empty == TOMBSTONES then
      refusal = "more"
      break
    end
    local group, list = "", ready
    if fair then
      group = redis.call("ZRANGE", groups, "0", "0")[1]
      if not group then
        break
      end
      list = fair_ring.list(base, group)
    end
    local pair = redis.call("LRANGE", list, "0", "1")
    if #pair == 0 then
      if not fair then
        break
      end
      local again = redis.call("ZRANGE", fair_ring.again(base, group), "0", "0", "WITHSCORES")
      if again[1] then
        refusal = take_member(base, "again:" .. group, again[1], again[2], step, accept)
        if refusal then
          break
        end
        redis.call("HINCRBY", meta, string.sub(again[2], -3) == "000" and "arrived" or "returned", "-1")
      else
        redis.call("ZREM", groups, group)
        empty = empty + 1
      end
    else
      if #pair[1] == 25 then
        tombstones = tombstones + 1
      else
        local part = message.parse(pair[1])
        refusal = accept(part.source) or not step.has_room(pair[2]) and "more" or nil
        if refusal then
          break
        end
        step.add({key = pair[1], source = part.source, group = part.group or "", record = pair[2],
          past = group ~= "" and "group" or ""})
      end
      redis.call("LPOP", list, "2")
      grouped = grouped + (group ~= "" and 1 or 0)
    end
  end
  if tombstones > 0 then
    redis.call("HINCRBY", meta, "tombstones", -tombstones)
  end
  if grouped > 0 then
    redis.call("HINCRBY", meta, "grouped", -grouped)
  end
  return refusal
end

-- Messages whose time has come in `inflight` or `delayed`.
local function take_due(base, set, now, limit, step, accept)
  local due = redis.call("ZRANGEBYSCORE", base .. set, "-inf", now .. "999", "WITHSCORES", "LIMIT", "0", limit)
  for i = 1, #due, 2 do
    local refusal = take_member(base, set, due[i], due[i + 1], step, accept)
    if refusal then
      return refusal
    end
  end
  return nil
end

-- Take up to `limit` visible messages out of a partition, at most 100 and 4 MiB, oldest first:
-- {{key, source, group, record, past} ...}; `past` is what put_back() needs. Stops before a message that
-- `accept(source, group)` refuses and returns what that said as second value, or "more" if there may be more although
-- it took none.
function transfer.take(meta, is_fifo, now_us, limit, accept)
  local base, now = string.sub(meta, 1, -5), string.sub(now_us, 1, 13)
  limit = math.min(limit, is_fifo and 50 or 100)
  local step = taking(limit)
  local refusal
  if is_fifo then
    refusal = take_fifo(base, meta, now, step, accept)
  else
    refusal = take_ready(base, meta, step, accept)
    for _, set in ipairs({"inflight", "delayed"}) do
      if not refusal and step.has_room() then
        refusal = take_due(base, set, now, limit - #step.taken, step, accept)
      end
    end
  end
  require("lib.moved").mark(base, tonumber(now), step.received)
  return step.taken, refusal
end

-- Put a message of a FIFO group before the first one that is later.
local function put_at_its_place(list, key, record)
  local function is_before(other)
    return string.sub(other, 1, 16) < string.sub(key, 1, 16)
  end
  local index = sorted.count(list, is_before, redis.call("LLEN", list) / 2)
  local following = redis.call("LINDEX", list, string.format("%d", 2 * index))
  if following then
    redis.call("LINSERT", list, "BEFORE", following, key)
    redis.call("LINSERT", list, "BEFORE", following, record)
  else
    redis.call("RPUSH", list, key, record)
  end
end

-- Put messages back that were taken last and cannot arrive, as they were: a flat array key, group, record, past ...
-- FIFO: a `past` that begins with "~" is that of a message that was not taken from the head.
function transfer.put_back(meta, is_fifo, messages)
  local base = string.sub(meta, 1, -5)
  if is_fifo then
    local groups, states = {}, {}
    for i = #messages - 3, 1, -4 do
      local list, past = fifo.list(base, messages[i + 1]), messages[i + 3]
      if string.sub(past, 1, 1) == "~" then
        past = string.sub(past, 2)
        put_at_its_place(list, messages[i], messages[i + 2])
      else
        redis.call("LPUSH", list, messages[i + 2], messages[i])
      end
      groups[messages[i + 1]] = true
      if past ~= "" then
        states[#states + 1], states[#states + 2] = string.sub(messages[i], 1, 16), past
      end
    end
    if #states > 0 then
      redis.call("HSET", base .. "state", unpack(states))
    end
    redis.call("HINCRBY", meta, "messages", #messages / 4)
    for group in pairs(groups) do
      redis.call("ZREM", base .. "available", group)
      make_available(base, group)
    end
  else
    local fair, is_delayed = redis.call("HGET", meta, "fair"), false
    for i = #messages - 3, 1, -4 do
      local key, group, record, past = messages[i], messages[i + 1], messages[i + 2], messages[i + 3]
      local set, score, member = string.match(past, "^(%a+) (%S+) (.*)$")
      if set then
        redis.call("HSET", base .. "store", member, record)
        redis.call("ZADD", base .. set, score, member)
        redis.call("ZREM", base .. "moved", member)
        is_delayed = is_delayed or set == "delayed"
      else
        local name = past == "group" and group or ""
        redis.call("LPUSH", fair_ring.list(base, name), record, key)
        if name ~= "" then
          redis.call("HINCRBY", meta, "grouped", 1)
        end
        if fair then
          fair_ring.resume(base, name)
        end
      end
    end
    require("lib.settings").unsort(meta)
    if is_delayed then
      require("lib.settings").write(meta, {"delays", "1"}, {})
    end
  end
  wakeups.wake(base)
end

-- Append a message to a partition as a new one. `tail` makes ids of one microsecond distinct (8 characters).
function transfer.put(meta, is_fifo, now_us, tail, group, record)
  local base = string.sub(meta, 1, -5)
  require("lib.large").note(meta, #record)
  if is_fifo then
    local last = redis.call("HGET", meta, "last") or ""
    local stamp = now_us
    if stamp <= last then
      stamp = string.format("%.0f", tonumber(last) + 1)
    end
    redis.call("HSET", meta, "last", stamp)
    redis.call("HINCRBY", meta, "messages", 1)
    if redis.call("RPUSH", fifo.list(base, group), stamp, record) == 2 then
      make_available(base, group)
    end
  else
    local key = now_us .. tail .. (group ~= "" and "@" .. group or "")
    local fair = redis.call("HGET", meta, "fair")
    if group ~= "" and not fair then
      fair_ring.open(base)
      fair = "1"
    end
    if fair then
      fair_ring.push(base, group, key, record)
      redis.call("HINCRBY", meta, "grouped", group ~= "" and 1 or 0)
    else
      redis.call("RPUSH", base .. "ready", key, record)
    end
  end
  wakeups.wake(base)
end

return transfer
