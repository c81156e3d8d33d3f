--[[
Find the message that holds a deduplication id, and forget the id if asked to.

KEYS   1 dedup  STRING  id (FIFO: stamp and number of the call, lib/idempotency.lua) of the message
ARGV   1 forget  "1" = forget it
RETURN that, "" if the id is not remembered
ERRORS -
BOUND  20 calls, 64 KiB
]]
local value = redis.call("GET", KEYS[1]) or ""
if ARGV[1] == "1" then
  redis.call("DEL", KEYS[1])
end
return value
