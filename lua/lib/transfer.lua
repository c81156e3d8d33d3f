--[[
Moving messages from one partition to another (message move tasks). Moved messages are new: new id, new time of
sending, no receives.

take() gives {{key, source, group, record, past} ...}; `past` is what put_back() needs. Of a standard message:
  ""                  it was in `ready`
  "group"             in the list of its group
  "SET SCORE MEMBER"  in `delayed`, or else (a group's, too) it goes to `inflight`
of a FIFO message: its state, "" = none; with "~" in front: it was not taken from the head of its group.

What is taken and put back is counted here, as moved by its place; who puts messages counts `moved_in`.
]]
local make_available = require("lib.make_available")
local deadletter = require("lib.deadletter")
local counting = require("lib.counting")
local fair_ring = require("lib.fair_ring")
local fifo_key = require("lib.fifo_key")
local message = require("lib.message")
local timeline = require("lib.timeline")
local wakeups = require("lib.wakeups")
local sorted = require("lib.sorted")
local large = require("lib.large")
local score = require("lib.score")
local fifo = require("lib.fifo")

local transfer = {}

local MOST, MOST_FIFO = 100, 50 -- messages that one step takes at most
local EXPIRED = 50 -- visibility timeouts that one step ends at most
local SKIPPED = 300 -- tombstones and empty groups that one step passes over at most

-- A function of (source, group) that returns why a message cannot go within the hash slot: "no_source", the name of the
-- queue that has no partition here that takes it, or an error reply that this is damaged; nil if it can. `destination`
-- is "" for the message's own source.
function transfer.elsewhere(base, is_fifo, destination)
  local known = {}
  -- Would the partition of that base take a message of the group?
  local function takes(target, group)
    local partition = is_fifo and redis.call("HGET", target .. "meta", "partition")
    local place = partition and require("lib.partition").place(partition, group, "") or "here"
    return place == "here" or place == "old" and redis.call("EXISTS", target .. "group:" .. group) == 1
  end
  return function(source, group)
    local name = destination ~= "" and destination or source
    if name == "" then
      return "no_source"
    end
    local target = deadletter.base(base, name)
    if known[name] == nil then
      known[name] = redis.call("HEXISTS", target .. "meta", "VisibilityTimeout") == 1
    end
    if not (known[name] and takes(target, group)) then
      return name
    end
    return require("lib.damaged").arrivals(target, is_fifo, group)
  end
end

-- The messages that a step of `take` has taken, up to `limit`.
local function taking(limit)
  local step = {taken = {}, received = {}, bytes = 0, stats = {moved_r = 0, moved_u = 0}}

  function step.has_room(record)
    return #step.taken < limit and (#step.taken == 0 or step.bytes + #(record or "") <= large.BYTES)
  end

  -- A message that counts as received ("r") or unreceived ("u"); `member` (FIFO: stamp) if it was received here: a
  -- handle of it may be used still.
  function step.add(m, counted_as, member)
    local field = "moved_" .. counted_as
    step.stats[field] = step.stats[field] + 1
    step.taken[#step.taken + 1] = m
    step.bytes = step.bytes + #m.record
    step.received[#step.received + 1] = member
  end

  return step
end

local function take_fifo(base, now, step, reason_to_stop)
  local more = fifo.make_due_visible(base, now, nil, EXPIRED) and "more" or nil
  local stamps, stop = {}, nil
  while step.has_room() do
    local group, since = unpack(redis.call("ZPOPMIN", base .. "available"))
    if not group then
      stop = more
      break
    end
    local list = fifo.list(base, group)
    local entries = redis.pcall("LRANGE", list, "0", "1")
    local key, record, source = entries[1], entries[2], ""
    if entries.err then
      stop = entries
    else
      source = select(4, fifo_key.earlier_receives(key)) or ""
      stop = reason_to_stop(source, group)
    end
    if stop or not step.has_room(record) then
      redis.call("ZADD", base .. "available", since, group)
      break
    end
    redis.call("LPOP", list, "2")
    local stamp = fifo_key.stamp(key)
    local state = redis.call("HGET", base .. "state", stamp)
    stamps[#stamps + 1] = stamp
    step.add({key = key, source = source, group = group, record = record, past = state or ""},
      state and "r" or "u", state and stamp or nil)
    make_available(base, group)
  end
  if #stamps > 0 then
    redis.call("HDEL", base .. "state", unpack(stamps))
    redis.call("HINCRBY", base .. "meta", "messages", -#stamps)
  end
  return stop
end

-- A message of a ZSET.
local function take_member(base, set, member, at, step, reason_to_stop)
  local part, receives = message.parse(member), score.receives(at)
  local stop = reason_to_stop(part.source)
  local record = redis.call("HGET", base .. "store", member) or ""
  if stop or not step.has_room(record) then
    return stop or "more"
  end
  local past = (set == "delayed" and "delayed " or "inflight ") .. at .. " " .. member
  step.add({
    key = message.with_receives(member, receives), source = part.source, group = part.group or "", record = record,
    past = past,
  }, counting.place(base, base .. set, receives), (set == "inflight" or receives > 0) and member or nil)
  redis.call("HDEL", base .. "store", member)
  redis.call("ZREM", base .. set, member)
  return nil
end

-- Visible messages in the groups of a fair queue, or in the list of another one.
local function take_ready(base, step, reason_to_stop)
  local meta, groups = base .. "meta", base .. "fair_ring"
  local is_fair = redis.call("HGET", meta, "fair")
  local tombstones, empty, grouped, stop = 0, 0, 0, nil
  while step.has_room() do
    if tombstones + empty == SKIPPED then
      stop = "more"
      break
    end
    local group = ""
    if is_fair then
      group = redis.call("ZRANGE", groups, "0", "0")[1]
      if not group then
        break
      end
    end
    local list = fair_ring.list(base, group)
    local key, record = unpack(redis.call("LRANGE", list, "0", "1"))
    if key and message.is_tombstone(key) then
      tombstones = tombstones + 1
    elseif key then
      local part = message.parse(key)
      stop = reason_to_stop(part.source) or not step.has_room(record) and "more" or nil
      if stop then
        break
      end
      local past = group ~= "" and "group" or ""
      step.add({key = key, source = part.source, group = part.group or "", record = record, past = past}, "u")
    elseif not is_fair then
      break
    else
      local member, at = unpack(redis.call("ZRANGE", fair_ring.again(base, group), "0", "0", "WITHSCORES"))
      if member then
        stop = take_member(base, "again:" .. group, member, at, step, reason_to_stop)
        if stop then
          break
        end
        redis.call("HINCRBY", meta, score.counter(at), "-1")
      else
        redis.call("ZREM", groups, group)
        empty = empty + 1
      end
    end
    if key then
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
  return stop
end

-- Messages whose time has come in `inflight` or `delayed`.
local function take_due(base, set, now, limit, step, reason_to_stop)
  local due = redis.call("ZRANGEBYSCORE", base .. set, "-inf", score.highest(now), "WITHSCORES", "LIMIT", "0", limit)
  for i = 1, #due, 2 do
    local stop = take_member(base, set, due[i], due[i + 1], step, reason_to_stop)
    if stop then
      return stop
    end
  end
  return nil
end

-- Take up to `limit` visible messages out of a partition, at most 100 (FIFO: 50) and 4 MiB, oldest first. It stops
-- before a message for which `reason_to_stop(source, group)` returns a reason. Returns the messages; and that reason,
-- or the error reply that a list is damaged, or "more" if it stopped at a limit of one step and there may be more, or
-- nil.
function transfer.take(base, is_fifo, now_us, limit, reason_to_stop)
  local now = string.sub(now_us, 1, 13)
  limit = math.min(limit, is_fifo and MOST_FIFO or MOST)
  local step = taking(limit)
  local stop
  if is_fifo then
    stop = take_fifo(base, now, step, reason_to_stop)
  else
    stop = take_ready(base, step, reason_to_stop)
    for _, set in ipairs({"inflight", "delayed"}) do
      if not stop and step.has_room() then
        stop = take_due(base, set, now, limit - #step.taken, step, reason_to_stop)
      end
    end
  end
  require("lib.moved").mark(base, tonumber(now), step.received)
  counting.add(base, step.stats)
  return step.taken, stop
end

local function put_back_fifo(base, messages)
  local groups, states = {}, {}
  for i = #messages - 3, 1, -4 do
    local key, group, record, past = unpack(messages, i, i + 3)
    local list, state = fifo.list(base, group), string.match(past, "^~?(.*)$")
    if state == past then
      redis.call("LPUSH", list, record, key)
    else
      sorted.insert(list, key, record, function(other)
        return fifo_key.stamp(other) < fifo_key.stamp(key)
      end, redis.call("LLEN", list) / 2)
    end
    groups[group] = true
    if state ~= "" then
      states[#states + 1], states[#states + 2] = fifo_key.stamp(key), state
    end
  end
  if #states > 0 then
    redis.call("HSET", base .. "state", unpack(states))
  end
  redis.call("HINCRBY", base .. "meta", "messages", #messages / 4)
  counting.add(base, {moved_r = -#states / 2, moved_u = #states / 2 - #messages / 4})
  for group in pairs(groups) do
    redis.call("ZREM", base .. "available", group)
    make_available(base, group)
  end
end

local function put_back_standard(base, messages)
  local settings, changes = require("lib.settings"), {}
  local stats = {moved_r = 0, moved_u = 0}
  local is_fair = redis.call("HGET", base .. "meta", "fair")
  for i = #messages - 3, 1, -4 do
    local key, group, record, past = unpack(messages, i, i + 3)
    local set, at, member = string.match(past, "^(%a+) (%S+) (.*)$")
    local field = set == "inflight" and "moved_r" or "moved_u"
    stats[field] = stats[field] - 1
    if set then
      redis.call("HSET", base .. "store", member, record)
      redis.call("ZADD", base .. set, at, member)
      redis.call("ZREM", base .. "moved", member)
      changes = set == "delayed" and {"delays", "1"} or changes
    else
      local name = past == "group" and group or ""
      redis.call("LPUSH", fair_ring.list(base, name), record, key)
      if name ~= "" then
        redis.call("HINCRBY", base .. "meta", "grouped", 1)
      end
      if is_fair then
        fair_ring.resume(base, name)
      end
    end
  end
  settings.unsort(base)
  settings.write(base, changes, {})
  counting.add(base, stats)
end

-- Put messages back that were taken last and cannot arrive, as they were: a flat array key, group, record, past ...
function transfer.put_back(base, is_fifo, messages)
  if is_fifo then
    put_back_fifo(base, messages)
  else
    put_back_standard(base, messages)
  end
  for i = 1, timeline.bound(base) and #messages or 0, 4 do
    timeline.add(base, "b", messages[i])
  end
  timeline.write()
  wakeups.wake(base)
end

-- Append a message to a partition as a new one, and return its key. `tail` makes ids of one microsecond distinct (8
-- characters).
function transfer.put(base, is_fifo, now_us, tail, group, record)
  local meta = base .. "meta"
  large.note(base, #record)
  if is_fifo then
    local stamp = fifo_key.next_stamp(redis.call("HGET", meta, "last") or "", now_us)
    redis.call("HSET", meta, "last", stamp)
    redis.call("HINCRBY", meta, "messages", 1)
    if redis.call("RPUSH", fifo.list(base, group), stamp, record) == 2 then
      make_available(base, group)
    end
    wakeups.wake(base)
    return stamp
  else
    local key = now_us .. tail
    if group ~= "" then
      fair_ring.push_new(base, group, key .. "@" .. group, record)
    elseif redis.call("HGET", meta, "fair") then
      fair_ring.push(base, "", key, record)
    else
      redis.call("RPUSH", base .. "ready", key, record)
    end
    wakeups.wake(base)
    return key
  end
end

return transfer
