--[[
Begin a session of the console.

KEYS   1 session  STRING  when it ends at the latest (ms), a blank, what it is about
ARGV   1 now_us  "" = the server's clock
       2 idle_ms  until it ends if nobody uses it
       3 longest_ms  until it ends however it is used
       4 about
RETURN 1
ERRORS -
BOUND  5 calls, 16 KiB
]]
local session, idle_ms, longest_ms = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local _, now = require("lib.clock")(ARGV[1], true)
local ends_ms = string.format("%.0f", tonumber(now) + longest_ms)
redis.call("SET", session, ends_ms .. " " .. ARGV[4], "PX", string.format("%.0f", math.min(idle_ms, longest_ms)))
return 1
