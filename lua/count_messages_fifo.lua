#!lua flags=allow-oom
--[[
Count the messages of one partition of a FIFO queue, exactly, after dropping those whose retention is over from the
groups that can be served.

KEYS   1 meta      HASH  queue attributes
       2 available ZSET  group -> since when its head can be received (us)
       3 inflight  ZSET  stamp group -> visible again (ms * 1000) + receives
       4 state     HASH  stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 delayed   ZSET  stamp group -> due (ms)
       6 postponed ZSET  stamp group -> sent (ms)
ARGV   1 now_us  "" = the server's clock
RETURN {visible, in_flight, delayed, oldest_ms or "", more}; more = 1: drop on, call again
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 64 KiB
]]
local clock = require("lib.clock")
local born = require("lib.born")
local offer = require("lib.offer")
local fifo = require("lib.fifo")

local meta, available, inflight, states, delayed, postponed = unpack(KEYS)
local settings = redis.call("HMGET", meta, "MessageRetentionPeriod", "DelaySeconds")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now = string.sub(clock(ARGV[1]), 1, 13)
local now_ms = tonumber(now)
local retention, queue_delay = tonumber(settings[1]) * 1000, tonumber(settings[2] or "0") * 1000
local base = string.sub(meta, 1, -5)
local budget, oldest = 100, nil
local more = fifo.expire_due(base, now, 70)
more = fifo.promote_due(base, now_ms, queue_delay, 25) or more

local function see(stamp)
  local sent = string.sub(stamp, 1, 13)
  if not oldest or sent < oldest then
    oldest = sent
  end
end

-- A group came into `available` after its head was born: those that came before the limit may hold expired heads.
local late = string.format("%.0f", (now_ms - retention) * 1000)
local groups = redis.call("ZRANGEBYSCORE", available, "-inf", late, "LIMIT", "0", "100")
for _, group in ipairs(groups) do
  local list, dropped = fifo.list(base, group), 0
  local key = redis.call("LINDEX", list, "0")
  while key and budget > 0 and born.born_ms(key) + retention < now_ms
    and not redis.call("ZSCORE", inflight, string.sub(key, 1, 16) .. group) do
    redis.call("LPOP", list, "2")
    redis.call("HDEL", states, string.sub(key, 1, 16))
    redis.call("ZREM", delayed, string.sub(key, 1, 16) .. group)
    redis.call("ZREM", postponed, string.sub(key, 1, 16) .. group)
    dropped, budget = dropped + 1, budget - 1
    key = redis.call("LINDEX", list, "0")
  end
  if dropped > 0 then
    redis.call("HINCRBY", meta, "messages", -dropped)
    redis.call("ZREM", available, group)
    offer(base, group)
  end
end
if budget <= 0 or budget < 100 and #groups == 100 then
  more = true
end

for _, group in ipairs(redis.call("ZRANGE", available, "0", "99")) do
  local key = redis.call("LINDEX", fifo.list(base, group), "0")
  if key then
    see(key)
  end
end
for _, zset in ipairs({inflight, delayed, postponed}) do
  for _, member in ipairs(redis.call("ZRANGE", zset, "0", "99")) do
    see(member)
  end
end

local in_flight = redis.call("ZCOUNT", inflight, "(" .. now .. "999", "+inf")
local waiting = redis.call("ZCOUNT", delayed, "(" .. now, "+inf")
  + redis.call("ZCOUNT", postponed, "(" .. string.format("%.0f", now_ms - queue_delay), "+inf")
local total = tonumber(redis.call("HGET", meta, "messages") or "0")
return {total - in_flight - waiting, in_flight, waiting, oldest or "", more and 1 or 0}
