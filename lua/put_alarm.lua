--[[
Create an alarm, or replace its definition; its state stays.

KEYS   1 definitions  HASH    name -> JSON
       2 states       HASH    name -> JSON
       3 revision     STRING  counts changes of definitions
       4 names        ZSET    names in order, all with score 0
       5 histories    ZSET    name -> when the last entry was made (ms)
       6 history      LIST    entries of this alarm
ARGV   1 name
       2 revision    the one the caller knows
       3 definition  JSON
       4 state       JSON, of a new alarm
       5 at_ms
       6 entry       of the history, JSON; "" = none
       7 most        how many alarms there may be
RETURN 1, or 0 = the definitions have changed, -1 = there are too many alarms
ERRORS -
BOUND  40 calls, 64 KiB
]]
local definitions, states, revision, names, histories, history = unpack(KEYS)
local name = ARGV[1]
if (redis.call("GET", revision) or "0") ~= ARGV[2] then
  return 0
end
if redis.call("HEXISTS", definitions, name) == 0 and redis.call("HLEN", definitions) >= tonumber(ARGV[7]) then
  return -1
end
redis.call("HSET", definitions, name, ARGV[3])
redis.call("HSETNX", states, name, ARGV[4])
redis.call("ZADD", names, "0", name)
redis.call("INCR", revision)
if ARGV[6] ~= "" then
  require("lib.alarm_history")(histories, history, name, ARGV[5], ARGV[6])
end
return 1
