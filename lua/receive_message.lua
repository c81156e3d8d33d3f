#!lua flags=allow-oom
--[[
Receive messages from one partition of a standard queue (ReceiveMessage); what was received too often moves to the
dead-letter queue on the way.

KEYS   1 meta     HASH    queue attributes
       2 ready    LIST    key, record, key, record ...
       3 store    HASH    key -> record of what is delayed or in flight
       4 inflight ZSET    member -> visible again (ms * 1000) + receives of this stay
       5 delayed  ZSET    key -> due (ms * 1000)
       6 bell     LIST    wake token
       7 keeper   STRING  who rings for the next due time
       8 ring     ZSET    message group -> virtual time (fair queues)
ARGV   1 now_us         "" = the server's clock
       2 count          how many messages at most
       3 visibility_ms  "" = the queue's VisibilityTimeout
       4 wait           "" = the caller does not wait, "?" as the queue says, "+ms" from now, "ms" until then
       5 waiter         name of the caller as a keeper; "" if it cannot be one
       6 flight_limit   OVER_LIMIT at so many messages in flight; 0 = no limit
       7 settle         "1" = delete at once what is received
RETURN {now_ms, topology, wake_at_ms, wait_until_ms, missing_dlq, retried, fresh}
       retried = {member, receives, record, ...}, fresh = {key, record, ...}: first receives of this stay, members of
       `inflight` by lib/message.lua; topology changes when the queue's partitions do; wake_at_ms > 0: the caller is
       the keeper and rings then; missing_dlq: a dead-letter queue that has no shard here yet
ERRORS QUEUE_NOT_FOUND, OVER_LIMIT
]]
local clock = require("lib.clock")
local message = require("lib.message")
local bell = require("lib.bell")
local ring = require("lib.ring")
local deadletter = require("lib.deadletter")

local meta, ready, store, inflight, delayed, token, keeper, groups = unpack(KEYS)
local count = tonumber(ARGV[2])

local settings = redis.call("HMGET", meta, "VisibilityTimeout", "MessageRetentionPeriod", "special", "topology")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now_us = clock.now_us(ARGV[1])
local now = string.sub(now_us, 1, 13)
local now_ms = tonumber(now)
local topology = settings[4] or ""

local flight_limit = tonumber(ARGV[6])
if flight_limit > 0 and redis.call("ZCARD", inflight) >= flight_limit
  and redis.call("ZCOUNT", inflight, now .. "999", "+inf") >= flight_limit then
  if bell.wait_until(meta, ARGV[4], now_ms) <= now_ms then
    return redis.error_reply("OVER_LIMIT " .. ARGV[6])
  end
  count = 0
end

local fair, paused_groups
if settings[3] then
  local special = redis.call("HMGET", meta, "fair", "paused", "paused_groups")
  fair, paused_groups = special[1], special[3]
  if special[2] then
    count = 0
  end
end

local oldest = string.format("%.0f", now_ms - tonumber(settings[2]) * 1000)
local visibility = ARGV[3] ~= "" and tonumber(ARGV[3]) or tonumber(settings[1]) * 1000
local deadline_ms = now_ms + visibility
local deadline = string.format("%.0f", deadline_ms)
local base = string.sub(meta, 1, -5)
local retried, fresh, scores, moves = {}, {}, {}, {}
local missing_dlq = ""
local delivered = 0

-- Messages whose visibility timeout is over come first.
if count > 0 then
  local due = redis.call("ZRANGEBYSCORE", inflight, "-inf", now .. "999", "WITHSCORES", "LIMIT", "0", ARGV[2])
  if #due > 0 then
    local fields = {}
    for i = 1, #due, 2 do
      fields[#fields + 1] = message.field(due[i])
    end
    local records = redis.call("HMGET", store, unpack(fields))
    local dlq = deadletter.policy(meta)
    for i = 1, #due, 2 do
      local member, field, record = due[i], fields[(i + 1) / 2], records[(i + 1) / 2]
      local receives = tonumber(string.sub(due[i + 1], -3))
      local part = (#member ~= 37 or receives == 999) and message.parse(member) or nil
      if not record or message.expired(member, oldest) then
        redis.call("HDEL", store, field)
        redis.call("ZREM", inflight, member)
      elseif dlq and receives + (part and part.count or 0) >= dlq.max_receives and not dlq.missing then
        moves[#moves + 1] = member
        moves[#moves + 1] = receives
        moves[#moves + 1] = record
        redis.call("HDEL", store, field)
        redis.call("ZREM", inflight, member)
      elseif dlq and dlq.missing and not dlq.suspended(now_ms)
        and receives + (part and part.count or 0) >= dlq.max_receives then
        missing_dlq = dlq.name
      elseif paused_groups and part and part.group
        and redis.call("SISMEMBER", base .. "paused", part.group) == 1 then
        part.total, part.count = part.total + receives, part.count + receives
        redis.call("HDEL", store, field)
        redis.call("ZREM", inflight, member)
        ring.push(base, groups, ready, part.group, message.format(part), record)
        redis.call("HINCRBY", meta, "grouped", 1)
      else
        if receives == 999 then -- the score counts to 999: carry over into the key
          redis.call("HDEL", store, field)
          redis.call("ZREM", inflight, member)
          part.total, part.count, receives = part.total + 999, part.count + 999, 0
          member = message.format(part)
          redis.call("HSET", store, member, record)
        end
        retried[#retried + 1] = member
        retried[#retried + 1] = receives + 1
        retried[#retried + 1] = record
        scores[#scores + 1] = deadline .. string.sub("00" .. receives + 1, -3)
        scores[#scores + 1] = member
        delivered = delivered + 1
      end
    end
  end
end
if #moves > 0 then
  deadletter.move(meta, now, moves)
end

local function deliver(key, record)
  if not message.expired(key, oldest) then
    fresh[#fresh + 1] = key
    fresh[#fresh + 1] = record
    scores[#scores + 1] = deadline .. "001"
    scores[#scores + 1] = message.member(key, now)
    delivered = delivered + 1
  end
end

local function take_delayed(room)
  local due = redis.call("ZRANGEBYSCORE", delayed, "-inf", now .. "999", "WITHSCORES", "LIMIT", "0", room)
  if #due > 0 then
    local keys = {}
    for i = 1, #due, 2 do
      keys[#keys + 1] = due[i]
    end
    local records = redis.call("HMGET", store, unpack(keys))
    redis.call("ZREM", delayed, unpack(keys))
    redis.call("HDEL", store, unpack(keys))
    for i = 1, #keys do
      local key = message.scheduled(keys[i], tonumber(due[2 * i]) / 1000)
      local group = paused_groups and message.parse(key).group
      if group and redis.call("SISMEMBER", base .. "paused", group) == 1 then
        ring.push(base, groups, ready, group, key, records[i])
        redis.call("HINCRBY", meta, "grouped", 1)
      elseif records[i] then
        deliver(key, records[i])
      end
    end
  end
end

-- In one call of five what was delayed and is due goes before the ready ones, else it follows them.
local rest = count - delivered
local delayed_first = string.find(now_us, "[05]$")
if rest > 0 and delayed_first then
  take_delayed(rest)
  rest = count - delivered
end

-- Then the ready ones, oldest first. Holes of cancelled messages and expired ones take a second try.
local tries = 3
while rest > 0 and tries > 0 do
  local popped
  if fair then
    local grouped
    popped, grouped = ring.take(base, groups, ready, rest)
    if grouped > 0 then
      redis.call("HINCRBY", meta, "grouped", -grouped)
    end
  else
    popped = redis.call("LPOP", ready, 2 * rest) or {}
  end
  for i = 1, #popped, 2 do
    if #popped[i] == 25 then
      redis.call("HINCRBY", meta, "holes", -1)
    else
      deliver(popped[i], popped[i + 1])
    end
  end
  if #popped < 2 * rest then
    break
  end
  rest = count - delivered
  tries = tries - 1
end
local in_the_way = rest > 0 and tries == 0
rest = count - delivered
if rest > 0 and not delayed_first then
  take_delayed(rest)
end

if delivered > 0 then
  if ARGV[7] == "1" then
    for i = 1, #retried, 3 do
      redis.call("HDEL", store, message.field(retried[i]))
      redis.call("ZREM", inflight, retried[i])
    end
  else
    if #fresh == 2 then
      redis.call("HSET", store, message.field(scores[#scores]), fresh[2])
    elseif #fresh > 0 then
      local kept = {}
      local offset = #scores - #fresh
      for i = 1, #fresh, 2 do
        kept[i] = message.field(scores[offset + i + 1])
        kept[i + 1] = fresh[i + 1]
      end
      redis.call("HSET", store, unpack(kept))
    end
    redis.call("ZADD", inflight, unpack(scores))
  end
  if ARGV[5] ~= "" then
    bell.leave(token, keeper, ARGV[5])
  end
  if redis.call("EXISTS", token) == 0 then -- somebody may be waiting
    local guarded = bell.guarded(keeper, now_ms)
    if not guarded or guarded > deadline_ms or redis.call("EXISTS", ready) == 1 or (fair and redis.call("EXISTS", groups) == 1)
      or #redis.call("ZRANGEBYSCORE", inflight, "-inf", now .. "999", "LIMIT", "0", "1") > 0
      or #redis.call("ZRANGEBYSCORE", delayed, "-inf", now .. "999", "LIMIT", "0", "1") > 0 then
      redis.call("RPUSH", token, "1")
    end
  end
  return {now_ms, topology, 0, 0, missing_dlq, retried, fresh}
end

local wake_at, wait_until = now_ms, now_ms
if not in_the_way then -- else expired messages fill the head of the queue: the caller comes again at once
  wake_at, wait_until = bell.rest({meta = meta, bell = token, keeper = keeper}, ARGV[4], now_ms, function()
    local next_due
    for _, zset in ipairs({inflight, delayed}) do
      local first = redis.call("ZRANGE", zset, "0", "0", "WITHSCORES")
      if first[1] and count > 0 then
        local due = math.floor(tonumber(first[2]) / 1000)
        if not next_due or due < next_due then
          next_due = due
        end
      end
    end
    return next_due
  end, ARGV[5])
end
return {now_ms, topology, wake_at, wait_until, missing_dlq, retried, fresh}
