--[[
Find a message of a FIFO queue by its stamp among some groups, without touching it.

KEYS   1 meta      HASH  queue attributes
       2 inflight  ZSET  stamp group -> visible again (ms * 1000) + receives
       3 state     HASH  stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       4 delayed   ZSET  stamp group -> due (ms)
       5 postponed ZSET  stamp group -> sent (ms)
ALSO   group:NAME
ARGV   1 now_us  "" = the server's clock
       2 stamp   16 digits
       3... groups among which it is looked for
RETURN {group, key, state, until_ms, receives, first_ms, record}; state v visible, f in flight, d delayed | 0 not found
       in these groups | {n} not found in the first n of them, the others come next
ERRORS QUEUE_NOT_FOUND
BOUND  1500 calls, 4 MiB
]]
local sorted = require("lib.sorted")
local fifo = require("lib.fifo")

local meta, stamp = KEYS[1], ARGV[2]
local visibility, delay, largest = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "DelaySeconds", "large"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local base = string.match(meta, ".*:")
for i = 3, #ARGV do
  local group, list = ARGV[i], fifo.list(base, ARGV[i])
  local index = sorted.find(list, stamp) or sorted.search(list, stamp, largest)
  if index then
    local found = redis.call("LRANGE", list, 2 * index, 2 * index + 1)
    local look = require("lib.fifo_look")(base, {found[1]}, {group}, tonumber(now), (delay or 0) * 1000)[1]
    return {group, found[1], look[1], look[2], look[3], look[4], found[2]}
  elseif i < #ARGV and sorted.is_spent() then
    return {i - 2}
  end
end
return 0
