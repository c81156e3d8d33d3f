#!lua flags=allow-oom
--[[
Take a lease, or keep it: of several processes that could do something, one does it.

KEYS   1 lease  STRING  who holds it
ARGV   1 holder  a name
       2 ms      how long it holds
RETURN {holder, now_ms}: who holds it now, and the server's clock
ERRORS -
BOUND  5 calls, 64 KiB
]]
local holder = redis.call("GET", KEYS[1])
if not holder or holder == ARGV[1] then
  holder = ARGV[1]
  redis.call("SET", KEYS[1], holder, "PX", ARGV[2])
end
local _, now = require("lib.clock")("", true)
return {holder, now}
