--[[
Read which chosen messages a message move task has still to move.

KEYS   1 chosen  HASH  message id -> "=GROUP", or "" = its group is not known
ARGV   -
RETURN {message id, group, ...}
ERRORS -
BOUND  1 calls, 1 MiB
]]
return redis.call("HGETALL", KEYS[1])
