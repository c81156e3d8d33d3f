--[[
The workers of a queue that are alive or died within the last minute, with their descriptions and commands.

KEYS   1 meta        HASH  queue attributes
       2 heartbeats  ZSET  consumer -> until when it counts as alive (ms)
       3 consumers   HASH  consumer -> its description of itself
       4 commands    HASH  consumer -> "drain" or "evict"
ARGV   1 now_us  "" = the server's clock
       2 limit   up to N of them
RETURN {now_ms, {consumer, alive_until_ms, description, order or "", ...}}: those that lapse last come first
ERRORS QUEUE_NOT_FOUND
BOUND  4 calls, 4 MiB
]]
local meta, heartbeats, consumers, commands = unpack(KEYS)
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local now_ms = tonumber(now)
local since = string.format("(%d", now_ms - 60000)
local found = redis.call("ZRANGE", heartbeats, "+inf", since, "BYSCORE", "REV", "LIMIT", "0", ARGV[2], "WITHSCORES")
local reply, names = {}, {}
for i = 1, #found, 2 do
  names[#names + 1] = found[i]
end
if #names > 0 then
  local described = redis.call("HMGET", consumers, unpack(names))
  local ordered = redis.call("HMGET", commands, unpack(names))
  for i = 1, #names do
    local n = #reply
    reply[n + 1], reply[n + 2] = names[i], found[2 * i]
    reply[n + 3], reply[n + 4] = described[i] or "{}", ordered[i] or ""
  end
end
return {now_ms, reply}
