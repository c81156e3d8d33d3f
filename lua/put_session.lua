--[[
Begin a session of the console. Those that nobody can use any more leave the list.

KEYS   1 session   STRING  when it ends at the latest (ms), a blank, what it is about
       2 sessions  ZSET    digest -> when it was used last (ms)
ARGV   1 now_us  "" = the server's clock
       2 idle_ms  until it ends if nobody uses it
       3 longest_ms  until it ends however it is used
       4 about
RETURN 1
ERRORS -
BOUND  6 calls, 16 KiB
]]
local session, sessions, idle_ms, longest_ms = KEYS[1], KEYS[2], tonumber(ARGV[2]), tonumber(ARGV[3])
local _, now = require("lib.clock")(ARGV[1], true)
local now_ms = tonumber(now)
local ends_ms = string.format("%.0f", now_ms + longest_ms)
redis.call("SET", session, ends_ms .. " " .. ARGV[4], "PX", string.format("%.0f", math.min(idle_ms, longest_ms)))
redis.call("ZREMRANGEBYSCORE", sessions, "-inf", string.format("(%.0f", now_ms - longest_ms))
redis.call("ZADD", sessions, string.format("%.0f", now_ms), string.match(session, "[^:]*$"))
return 1
