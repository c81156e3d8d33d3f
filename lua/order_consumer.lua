--[[
Tell a worker what to do; it obeys with its next heartbeat.

KEYS   1 beats   ZSET  consumer -> until when it counts as alive (ms)
       2 orders  HASH  consumer -> "drain" or "evict"
ARGV   1 consumer
       2 order  "drain" = finish what it holds and take no more; "evict" = give all back and take no more
RETURN 1 done | 0 there is no such consumer
ERRORS -
BOUND  20 calls, 64 KiB
]]
local beats, orders = unpack(KEYS)
if not redis.call("ZSCORE", beats, ARGV[1]) then
  return 0
end
redis.call("HSET", orders, ARGV[1], ARGV[2])
redis.call("PEXPIRE", orders, "86400000")
return 1
