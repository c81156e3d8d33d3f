#!lua flags=allow-oom
--[[
Say how far rules have seen events, and put the actions of those that matched into the outbox, in one step: so none is
missed, and none is put twice, whoever reads events.

KEYS   1 events_read  STRING  id of the last event that rules have seen
       2 outbox       HASH    id -> action to be done, JSON
       3 outbox_due   ZSET    id -> when it is due (ms)
ARGV   1 before  the id that was there
       2 after   id of the last event that was looked at
       3 at_ms
       4... id, action  JSON
RETURN 1, or 0 = somebody else was quicker, -1 = too many actions wait
ERRORS -
BOUND  1300 calls, 4 MiB
]]
local events_read, outbox, outbox_due = unpack(KEYS)
local MOST = 5000 -- of 10,000 actions: the others are for alarms
if redis.call("GET", events_read) ~= ARGV[1] then
  return 0
end
if #ARGV > 3 and redis.call("HLEN", outbox) >= MOST then
  return -1
end
for i = 4, #ARGV, 2 do
  redis.call("HSET", outbox, ARGV[i], ARGV[i + 1])
  redis.call("ZADD", outbox_due, ARGV[3], ARGV[i])
end
redis.call("SET", events_read, ARGV[2])
return 1
