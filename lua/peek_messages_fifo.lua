--[[
Look at the messages of one group of a FIFO queue, in order, without touching them.

KEYS   1 meta      HASH  queue attributes
       2 inflight  ZSET  stamp group -> visible again (ms * 1000) + receives
       3 state     HASH  stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       4 delayed   ZSET  stamp group -> due (ms)
       5 postponed ZSET  stamp group -> sent (ms)
ARGV   1 now_us  "" = the server's clock
       2 group
       3 offset  messages to skip
       4 limit   at most 1000
RETURN {seen, now_ms, key, state, until_ms, receives, first_ms, record, ...}; state v visible, f in flight, d delayed;
       seen < limit: the group ends here
ERRORS QUEUE_NOT_FOUND
BOUND  1100 calls, 4 MiB
]]
local clock = require("lib.clock")
local fifo = require("lib.fifo")

local meta, inflight, states, delayed, postponed = unpack(KEYS)
local settings = redis.call("HMGET", meta, "VisibilityTimeout", "DelaySeconds")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now_ms = tonumber(string.sub(clock(ARGV[1]), 1, 13))
local base, group = string.sub(meta, 1, -5), ARGV[2]
local offset, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
local found = redis.call("LRANGE", fifo.list(base, group), 2 * offset, 2 * (offset + limit) - 1)
local reply = {#found / 2, now_ms}
for i = 1, #found, 2 do
  local key = found[i]
  local stamp = string.sub(key, 1, 16)
  local member = stamp .. group
  local flight = redis.call("ZSCORE", inflight, member)
  local mark, until_ms = "v", ""
  if flight and tonumber(string.sub(flight, 1, -4)) > now_ms then
    mark, until_ms = "f", string.sub(flight, 1, -4)
  elseif #key > 16 then
    local due = redis.call("ZSCORE", delayed, member)
    local sent = redis.call("ZSCORE", postponed, member)
    local due_ms = due and tonumber(due) or sent and tonumber(sent) + tonumber(settings[2] or "0") * 1000
    if due_ms and due_ms > now_ms then
      mark, until_ms = "d", string.format("%.0f", due_ms)
    end
  end
  local receives, first = fifo.shown(redis.call("HGET", states, stamp))
  for _, value in ipairs({key, mark, until_ms, receives, first, found[i + 1]}) do
    reply[#reply + 1] = value
  end
end
return reply
