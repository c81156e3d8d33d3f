#!lua flags=allow-oom
--[[
Last phase of moving messages to another hash slot, at their destination: they are forgotten where they came from, so
no caller puts them here again. Attempts that are late are recognised for an hour.

KEYS   1 handovers  HASH    batch -> message groups of which the hand-over has been done
       2 over       STRING  stands for an hour
ARGV   1 batch
RETURN 1 | 0 it was not known here
ERRORS -
BOUND  20 calls, 64 KiB
]]
redis.call("SET", KEYS[2], "1", "PX", "3600000")
return redis.call("HDEL", KEYS[1], ARGV[1])
