#!lua flags=allow-oom
--[[
Count the messages of one partition of a FIFO queue, after dropping those whose retention is over, wherever they are:
also in flight, delayed, or behind such a head. Counted too long are only expired messages behind a head that is not
over its retention (it was scheduled for later, or is a dead letter that came later), those of a group whose messages in
flight are not among the 1,000 that become visible first, and those of groups that are not among the 300 available
longest, if they became available within the retention period. Who may not write (ACL) counts them as well.

KEYS   1 meta      HASH  queue attributes
       2 available ZSET  group -> since when its head can be received (us)
       3 inflight  ZSET  stamp group -> visible again (ms * 1000) + receives
       4 state     HASH  stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 delayed   ZSET  stamp group -> due (ms)
       6 postponed ZSET  stamp group -> sent (ms)
ALSO   group:NAME paused wakeups stats sources heartbeats consumers commands
ARGV   1 now_us  "" = the server's clock
       2 metrics "1" = and what happened so far
RETURN {visible, in_flight, delayed, oldest_ms or "", more [, now_ms, created_us, topology, unreceived, received, is,
       since_ms or "", groups, field, number ...]}; more = 1: drop on, call again. What happened is that of
       lib/counting.lua, and since_ms and groups in flight those of lib/gauges.lua, if more = 0
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 1 MiB
]]
local make_available = require("lib.make_available")
local fifo_key = require("lib.fifo_key")
local score = require("lib.score")
local fifo = require("lib.fifo")

local meta, available, inflight, state, delayed, postponed = unpack(KEYS)
local retention, delay, paused_groups =
  unpack(redis.call("HMGET", meta, "MessageRetentionPeriod", "DelaySeconds", "paused_groups"))
if not retention then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local now_ms = tonumber(now)
local retention_ms, queue_delay_ms = retention * 1000, (delay or 0) * 1000
local base = string.match(meta, ".*:")
local steps, oldest = 1600, nil -- redis calls, about, to drop what is over its retention
local may_drop, is_metrics, more = redis.acl_check_cmd("HDEL", state), ARGV[2] == "1", false
if may_drop then
  more = fifo.make_due_visible(base, now, queue_delay_ms, 100)
end

local function see(stamp)
  local sent = fifo_key.sent(stamp)
  if not oldest or sent < oldest then
    oldest = sent
  end
end

-- Groups whose head may be over its retention: those that are available longest, and those of old messages in flight,
-- delayed by the queue, or paused.
local LOOKED_AT = 300
local earliest, groups, seen = string.format("%d", now_ms - retention_ms), {}, {}

local function suspect(group)
  if not seen[group] then
    seen[group], groups[#groups + 1] = true, group
  end
end

for _, group in ipairs(redis.call("ZRANGE", available, "0", LOOKED_AT - 1)) do
  suspect(group)
end
for _, member in ipairs(redis.call("ZRANGEBYSCORE", postponed, "-inf", earliest, "LIMIT", "0", LOOKED_AT)) do
  suspect(fifo_key.group(member))
end
for _, member in ipairs(redis.call("ZRANGE", inflight, "0", "999")) do
  if fifo_key.stamp(member) < earliest then
    suspect(fifo_key.group(member))
  end
end
for _, group in ipairs(paused_groups and redis.pcall("SSCAN", base .. "paused", "0", "COUNT", "100")[2] or {}) do
  suspect(group)
end

local total, visible = 0, false
for i = 1, may_drop and #groups or 0 do
  if steps <= 0 then
    more = true
    break
  end
  local dropped = require("lib.drop_expired_fifo")(base, groups[i], earliest, math.min(steps, 1000), false, now_ms)
  steps = steps - 1 - dropped
  if dropped > 0 then
    total, steps = total + dropped, steps - 17
    local was = redis.call("ZREM", available, groups[i])
    visible = make_available(base, groups[i]) and was == 0 or visible
  end
end
if total > 0 then
  redis.call("HINCRBY", meta, "messages", -total)
  more = more or #groups >= LOOKED_AT or is_metrics and total > 100 -- else there is no room for more numbers
end
if visible then -- behind one that was in flight or delayed
  require("lib.wakeups").wake(base)
end

for _, group in ipairs(redis.call("ZRANGE", available, "0", "99")) do
  local key = fifo.head(base, group)
  if key then
    see(key)
  end
end
for _, zset in ipairs({inflight, delayed, postponed}) do
  for _, member in ipairs(redis.call("ZRANGE", zset, "0", "99")) do
    see(member)
  end
end

local in_flight = redis.call("ZCOUNT", inflight, "(" .. score.highest(now), "+inf")
local waiting = redis.call("ZCOUNT", delayed, "(" .. now, "+inf")
  + redis.call("ZCOUNT", postponed, "(" .. string.format("%d", now_ms - queue_delay_ms), "+inf")
local messages = tonumber(redis.call("HGET", meta, "messages") or "0")
local reply = {messages - in_flight - waiting, in_flight, waiting, oldest or "", more and 1 or 0}
if is_metrics and not more then
  require("lib.report")(reply, base, true, now, require("lib.gauges").fifo(base, now))
end
return reply
