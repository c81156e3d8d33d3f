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
RETURN {seen, end, key, state, until_ms, receives, first_ms, record, ...}; state v visible, f in flight, d delayed;
       end = 1: the group ends here. As many messages as fit in 4 MiB
ERRORS QUEUE_NOT_FOUND
BOUND  10 calls, 4 MiB
]]
local meta = KEYS[1]
local group, offset = ARGV[2], tonumber(ARGV[3])
local visibility, delay, largest = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "DelaySeconds", "large"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local base = string.match(meta, ".*:")
local limit = require("lib.large").chunk(largest, tonumber(ARGV[4]))
local list = require("lib.fifo").list(base, group)
local found = redis.call("LRANGE", list, 2 * offset, 2 * (offset + limit) - 1)
local reply, keys, groups = {#found / 2, #found < 2 * limit and 1 or 0}, {}, {}
for i = 1, #found, 2 do
  keys[#keys + 1], groups[#groups + 1] = found[i], group
end
for i, of_key in ipairs(require("lib.fifo_look")(base, keys, groups, tonumber(now), (delay or 0) * 1000)) do
  local place, until_ms, receives, first = unpack(of_key)
  for _, value in ipairs({keys[i], place, until_ms, receives, first, found[2 * i]}) do
    reply[#reply + 1] = value
  end
end
return reply
