#!lua flags=allow-oom
--[[
Delete alarms. Their histories stay for two weeks.

KEYS   1 definitions  HASH    name -> JSON
       2 states       HASH    name -> JSON
       3 revision     STRING  counts changes of definitions
       4 names        ZSET    names in order, all with score 0
       5 histories    ZSET    name -> when the last entry was made (ms)
       6... history   LIST    entries of each alarm
ARGV   1 revision  the one the caller knows
       2 at_ms
       3... name, entry  of the history, JSON
RETURN 1, or 0 = the definitions have changed
ERRORS -
BOUND  2000 calls, 64 KiB
]]
local definitions, states, revision, names, histories = unpack(KEYS)
if (redis.call("GET", revision) or "0") ~= ARGV[1] then
  return 0
end
local append = require("lib.alarm_history")
for i = 3, #ARGV, 2 do
  local name = ARGV[i]
  redis.call("HDEL", definitions, name)
  redis.call("HDEL", states, name)
  redis.call("ZREM", names, name)
  append(histories, KEYS[5 + (i - 1) / 2], name, ARGV[2], ARGV[i + 1])
end
redis.call("INCR", revision)
return 1
