--[[
Enter a queue in the list of all queues, or take it out (after CreateQueue, DeleteQueue). An entry of a later life of
the same name stays.

KEYS   1 names    ZSET  queue names, all with score 0
       2 created  HASH  name -> created_us
ARGV   1 name
       2 created_us
       3 remove  "1" = take it out
RETURN 1 done | 0 a later life is entered
ERRORS -
BOUND  20 calls, 64 KiB
]]
local names, created = KEYS[1], KEYS[2]
local since = redis.call("HGET", created, ARGV[1])
if since and tonumber(since) > tonumber(ARGV[2]) then
  return 0
end
if ARGV[3] == "1" then
  redis.call("ZREM", names, ARGV[1])
  redis.call("HDEL", created, ARGV[1])
else
  redis.call("ZADD", names, "0", ARGV[1])
  redis.call("HSET", created, ARGV[1], ARGV[2])
end
return 1
