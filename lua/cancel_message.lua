#!lua flags=allow-oom
--[[
Take a waiting message out of a standard queue by its id: cancel it, or give it another time. A message in flight is
left alone.

KEYS   1 meta     HASH    queue attributes
       2 ready    LIST    key, record ...
       3 store    HASH    key -> record
       4 inflight ZSET    member -> visible again + receives
       5 delayed  ZSET    key -> due (ms * 1000)
       6 bell     LIST    wake token
       7 keeper   STRING  who rings for the next due time
       8 ring     ZSET    message groups
ARGV   1 now_us  "" = the server's clock
       2 id      24 characters
       3 group   "" = none, or not known
       4 due_ms  "" = cancel; else the time at which it becomes visible
RETURN 1 done | 0 not found (here) | -1 in flight
ERRORS QUEUE_NOT_FOUND
]]
local clock = require("lib.clock")
local message = require("lib.message")
local bell = require("lib.bell")
local sorted = require("lib.sorted")

local meta, ready, store, inflight, delayed, token, keeper = unpack(KEYS)
local id, group, due = ARGV[2], ARGV[3], ARGV[4]
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now_ms = tonumber(string.sub(clock(ARGV[1]), 1, 13))
local base = string.sub(meta, 1, -5)
local key, record

-- Delayed?
for _, candidate in ipairs({id, id .. "@" .. group}) do
  if redis.call("ZREM", delayed, candidate) == 1 then
    key, record = candidate, redis.call("HGET", store, candidate)
    redis.call("HDEL", store, candidate)
  end
end

-- Ready? It leaves a hole in the list, which keeps its order; a hole weighs 25 bytes until it reaches the head.
if not key then
  for _, list in ipairs({ready, base .. "group:" .. group}) do
    local index = sorted.find(list, id)
    if index then
      local found = redis.call("LINDEX", list, 2 * index)
      if #found ~= 25 then
        key, record = found, redis.call("LINDEX", list, 2 * index + 1)
        redis.call("LSET", list, 2 * index, id .. "-")
        redis.call("LSET", list, 2 * index + 1, "")
        redis.call("HINCRBY", meta, "holes", 1)
        break
      end
    end
  end
end

-- Received before and visible again? In flight?
if not key then
  local member
  local again = redis.call("ZRANGEBYSCORE", inflight, "-inf", string.format("%.0f", now_ms) .. "999", "LIMIT", "0", "1000")
  for _, candidate in ipairs(again) do
    if string.sub(candidate, 1, 24) == id then
      member = candidate
    end
  end
  if not member then
    return redis.call("HEXISTS", store, id) == 1 and -1 or 0
  end
  key, record = member, redis.call("HGET", store, message.field(member))
  redis.call("HDEL", store, message.field(member))
  redis.call("ZREM", inflight, member)
end

if due ~= "" then
  local due_ms = tonumber(due)
  redis.call("HSET", store, key, record)
  redis.call("ZADD", delayed, string.format("%.0f", math.max(due_ms, now_ms) * 1000), key)
  if due_ms > now_ms then
    bell.ring_for(token, keeper, now_ms, due_ms)
  else
    bell.ring(token)
  end
end
return 1
