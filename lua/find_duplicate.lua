--[[
Find the message that holds a deduplication id, and forget the id if asked to.

KEYS   1 dedup  STRING  time of the first send (standard: id, FIFO: stamp)
ARGV   1 forget  "1" = forget it
RETURN its id or stamp, "" if the id is not remembered
ERRORS -
]]
local value = redis.call("GET", KEYS[1]) or ""
if ARGV[1] == "1" then
  redis.call("DEL", KEYS[1])
end
return value
