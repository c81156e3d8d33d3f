#!lua flags=allow-oom
--[[
Write something, whatever there is: WAIT and WAITAOF wait for the last write of their connection, and what was found
done was written by another one.

KEYS   1 mark  STRING  ends at once
ARGV   -
RETURN 1
ERRORS -
BOUND  20 calls, 64 KiB
]]
redis.call("SET", KEYS[1], "", "PX", "1")
return 1
