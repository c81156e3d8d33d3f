--[[
Look at the messages of one group of a FIFO queue, in order, without touching them.

KEYS   1 meta      HASH  queue attributes
       2 inflight  ZSET  stamp group -> visible again (ms * 1000) + receives
       3 state     HASH  stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       4 delayed   ZSET  stamp group -> due (ms)
       5 postponed ZSET  stamp group -> sent (ms)
ALSO   group:NAME
ARGV   1 now_us  "" = the server's clock
       2 group
       3 offset  messages to skip
       4 limit   at most 1000
RETURN {seen, now_ms, key, state, until_ms, receives, first_ms, record, ...}; state v visible, f in flight, d delayed;
       seen < limit: the group ends here
ERRORS QUEUE_NOT_FOUND
BOUND  1100 calls, 4 MiB
]]
local fifo_key = require("lib.fifo_key")
local fifo = require("lib.fifo")

local MARKS = {visible = "v", in_flight = "f", delayed = "d"}
local meta, _, states = unpack(KEYS)
local group, offset, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local visibility, delay = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "DelaySeconds"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local now_ms, base = tonumber(now), string.match(meta, ".*:")
local found = redis.call("LRANGE", fifo.list(base, group), 2 * offset, 2 * (offset + limit) - 1)
local reply = {#found / 2, now_ms}
for i = 1, #found, 2 do
  local key, record, stamp = found[i], found[i + 1], fifo_key.stamp(found[i])
  local place, until_ms = fifo.place(base, key, stamp .. group, now_ms, (delay or 0) * 1000)
  local receives, first = fifo.shown(redis.call("HGET", states, stamp))
  for _, value in ipairs({key, MARKS[place], until_ms, receives, first, record}) do
    reply[#reply + 1] = value
  end
end
return reply
