--[[
List the alarms that have a history, deleted ones among them: those with the newest entries first.

KEYS   1 histories  ZSET  name -> when the last entry was made (ms)
ARGV   1 since_ms  only those with later entries
       2 skip
       3 count     how many at most
RETURN {name, at_ms, ...}
ERRORS -
BOUND  1 calls, 1 MiB
]]
return redis.call("ZREVRANGEBYSCORE", KEYS[1], "+inf", ARGV[1], "WITHSCORES", "LIMIT", ARGV[2], ARGV[3])
