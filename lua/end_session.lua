#!lua flags=allow-oom
--[[
End a session of the console.

KEYS   1 session   STRING
       2 sessions  ZSET    digest -> when it was used last (ms)
ARGV   -
RETURN 1, or 0 = there was none
ERRORS -
BOUND  3 calls, 16 KiB
]]
redis.call("ZREM", KEYS[2], string.match(KEYS[1], "[^:]*$"))
return redis.call("UNLINK", KEYS[1])
