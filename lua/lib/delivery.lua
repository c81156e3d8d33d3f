--[[
The uncommon cases of receive_message.lua. `r` is the state of the receive (its local function uncommon()).
]]
local message = require("lib.message")
local ring = require("lib.ring")

local delivery = {}

local function is_paused(r, group)
  return r.paused_groups and group and redis.call("SISMEMBER", r.base .. "paused", group) == 1
end

-- Put a message of a paused group (back) into its list.
local function park(r, group, key, record)
  if redis.call("HEXISTS", r.meta, "fair") == 0 then
    ring.open(r.meta, r.base .. "ring", r.base .. "ready")
  end
  ring.push(r.base, r.base .. "ring", r.base .. "ready", group, key, record)
  redis.call("HINCRBY", r.meta, "grouped", 1)
  redis.call("HSET", r.meta, "unsorted", "1")
end

-- Messages whose visibility timeout is over (member, score, ...): hand them out again, or move them to the dead-letter
-- queue. Returns the name of a dead-letter queue that has no shard here, or "", and whether any was taken out of the way.
function delivery.retry(r, due)
  local deadletter = require("lib.deadletter")
  local meta, store, inflight = r.meta, r.base .. "store", r.base .. "inflight"
  local fields, moves, missing_dlq, dropped = {}, {}, "", false
  for i = 1, #due, 2 do
    fields[#fields + 1] = message.field(due[i])
  end
  local records = redis.call("HMGET", store, unpack(fields))
  local dlq = deadletter.policy(meta)
  for i = 1, #due, 2 do
    local member, field, record = due[i], fields[(i + 1) / 2], records[(i + 1) / 2]
    local receives = tonumber(string.sub(due[i + 1], -3))
    local part = (#member ~= 37 or receives == 999) and message.parse(member) or nil
    local over = dlq and receives + (part and part.count or 0) >= dlq.max_receives
    local function forget()
      redis.call("HDEL", store, field)
      redis.call("ZREM", inflight, member)
      dropped = true
    end
    if not record or message.expired(member, r.oldest) then
      forget()
    elseif part and is_paused(r, part.group) then
      forget()
      part.total, part.count = part.total + receives, part.count + receives
      park(r, part.group, message.format(part), record)
    elseif over and not dlq.missing then
      moves[#moves + 1] = member
      moves[#moves + 1] = receives
      moves[#moves + 1] = record
      forget()
    elseif over and not dlq.suspended(r.now_ms) then
      missing_dlq = dlq.name
    else
      if receives == 999 then -- the score counts to 999: carry over into the key
        forget()
        part.total, part.count, receives = part.total + 999, part.count + 999, 0
        member = message.format(part)
        redis.call("HSET", store, member, record)
      end
      r.retried[#r.retried + 1] = member
      r.retried[#r.retried + 1] = receives + 1
      r.retried[#r.retried + 1] = record
      r.scores[#r.scores + 1] = r.deadline .. string.sub("00" .. receives + 1, -3)
      r.scores[#r.scores + 1] = member
    end
  end
  if #moves > 0 then
    deadletter.move(meta, moves)
  end
  return missing_dlq, dropped
end

-- Was a message that has a history received too often already? Then it goes to the dead-letter queue, if there is one.
local function bury(r, key, record)
  local deadletter = require("lib.deadletter")
  local part = message.parse(key)
  local dlq = part.count > 0 and deadletter.policy(r.meta)
  if not dlq or part.count < dlq.max_receives or (dlq.missing and dlq.suspended(r.now_ms)) then
    return false
  end
  if dlq.missing then -- as visible again: the next receive names the dead-letter queue to its caller
    local member = message.member(key, r.now)
    redis.call("HSET", r.base .. "store", message.field(member), record)
    redis.call("ZADD", r.base .. "inflight", r.now .. "000", member)
  else
    deadletter.move(r.meta, {key, 0, record})
  end
  return true
end

-- One message that is received for the first time in this stay. Returns 1, or 0 if its retention is over or it went to
-- the dead-letter queue.
local function deliver(r, key, record)
  if message.expired(key, r.oldest) or (string.find(key, "^%d*/", 25) and bury(r, key, record)) then
    return 0
  end
  r.fresh[#r.fresh + 1] = key
  r.fresh[#r.fresh + 1] = record
  r.scores[#r.scores + 1] = r.deadline .. "001"
  r.scores[#r.scores + 1] = message.member(key, r.now)
  return 1
end

-- What was delayed and is due. Returns how many were delivered, and whether any was only taken out of the way.
function delivery.delayed(r, room)
  local store, delayed = r.base .. "store", r.base .. "delayed"
  local due = redis.call("ZRANGEBYSCORE", delayed, "-inf", r.now .. "999", "WITHSCORES", "LIMIT", "0", room)
  if #due == 0 then
    return 0, false
  end
  local keys, delivered = {}, 0
  for i = 1, #due, 2 do
    keys[#keys + 1] = due[i]
  end
  local records = redis.call("HMGET", store, unpack(keys))
  redis.call("ZREM", delayed, unpack(keys))
  redis.call("HDEL", store, unpack(keys))
  for i = 1, #keys do
    local key = message.scheduled(keys[i], tonumber(due[2 * i]) / 1000)
    local group = r.paused_groups and message.parse(key).group
    if is_paused(r, group) then
      park(r, group, key, records[i])
    elseif records[i] then
      delivered = delivered + deliver(r, key, records[i])
    end
  end
  return delivered, delivered < #keys
end

-- Deliver what was popped from a list. Returns how much room is left.
local function hand_out(r, popped, room)
  for i = 1, #popped, 2 do
    local group = r.paused_groups and #popped[i] > 25 and message.parse(popped[i]).group
    if #popped[i] == 25 then -- the hole of a cancelled message
      redis.call("HINCRBY", r.meta, "holes", -1)
    elseif is_paused(r, group) then -- dead letters stand outside of their groups' lists
      park(r, group, popped[i], popped[i + 1])
    else
      room = room - deliver(r, popped[i], popped[i + 1])
    end
  end
  return room
end

-- Popped from `ready`, some with a history, expired or cancelled: fill up again, twice at most. Returns the room left
-- and whether dropped messages are still in the way.
function delivery.ready(r, popped, room)
  for _ = 1, 3 do
    local asked = room
    room = hand_out(r, popped, room)
    if room == 0 or #popped < 2 * asked then
      return room, false
    end
    popped = redis.call("LPOP", r.base .. "ready", 2 * room) or {}
  end
  return hand_out(r, popped, room), true
end

-- The same round the ring of message groups.
function delivery.fair(r, room)
  for _ = 1, 3 do
    local popped, grouped = ring.take(r.base, r.base .. "ring", r.base .. "ready", room)
    if grouped > 0 then
      redis.call("HINCRBY", r.meta, "grouped", -grouped)
    end
    local asked = room
    room = hand_out(r, popped, room)
    if room == 0 or #popped < 2 * asked then
      return room, false
    end
  end
  return room, true
end

-- Keep the records of what was received for the first time: the members stand at the end of `scores`.
function delivery.keep(r)
  local kept, offset = {}, #r.scores - #r.fresh
  for i = 1, #r.fresh, 2 do
    kept[i] = message.field(r.scores[offset + i + 1])
    kept[i + 1] = r.fresh[i + 1]
  end
  redis.call("HSET", r.base .. "store", unpack(kept))
end

-- Delete at once what was received again.
function delivery.settle(r)
  for i = 1, #r.retried, 3 do
    redis.call("HDEL", r.base .. "store", message.field(r.retried[i]))
    redis.call("ZREM", r.base .. "inflight", r.retried[i])
  end
end

-- Messages were handed out while somebody may be waiting: wake a waiter if more are visible, or become so and nobody
-- guards the time.
function delivery.wake(r)
  if require("lib.bell").is_unguarded(r.base .. "keeper", r.now_ms, r.timers())
    or redis.call("EXISTS", r.base .. "ready", r.base .. "ring") > 0 then
    redis.call("RPUSH", r.base .. "bell", "1")
  end
end

return delivery
