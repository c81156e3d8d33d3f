#!lua flags=allow-oom
--[[
Give back actions that were taken and not done: they are due at once.

KEYS   1 outbox_due  ZSET  id -> when it is due (ms)
ARGV   1 now_us  "" = the server's clock
       2... id   of up to 100 actions
RETURN how many of them wait still
ERRORS -
BOUND  110 calls, 16 KiB
]]
local _, now = require("lib.clock")(ARGV[1], true)
local released = 0
for i = 2, #ARGV do
  released = released + redis.call("ZADD", KEYS[1], "XX", "CH", now, ARGV[i])
end
return released
