--[[
Give a worker a command, which it gets with its next heartbeat.

KEYS   1 heartbeats  ZSET  consumer -> until when it counts as alive (ms)
       2 commands    HASH  consumer -> "drain" or "evict"
ARGV   1 consumer
       2 command  "drain" = finish what it holds and take no more; "evict" = give all back and take no more
RETURN 1 done | 0 there is no such consumer
ERRORS -
BOUND  20 calls, 64 KiB
]]
local heartbeats, commands = unpack(KEYS)
if not redis.call("ZSCORE", heartbeats, ARGV[1]) then
  return 0
end
redis.call("HSET", commands, ARGV[1], ARGV[2])
redis.call("PEXPIRE", commands, "86400000")
return 1
