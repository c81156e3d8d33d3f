--[[
Read entries of the history of an alarm, from the newest on.

KEYS   1 history  LIST  entries of this alarm
ARGV   1 skip   so many of the newest
       2 count  how many at most
RETURN {entry, ...}: the oldest first; an entry is when it was made (ms), then JSON
ERRORS -
BOUND  1 calls, 2 MiB
]]
return redis.call("LRANGE", KEYS[1], string.format("%d", -ARGV[1] - ARGV[2]), string.format("%d", -ARGV[1] - 1))
