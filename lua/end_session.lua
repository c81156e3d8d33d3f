#!lua flags=allow-oom
--[[
End a session of the console.

KEYS   1 session  STRING
ARGV   -
RETURN 1, or 0 = there was none
ERRORS -
BOUND  2 calls, 16 KiB
]]
return redis.call("UNLINK", KEYS[1])
