#!lua flags=allow-oom
--[[
Read a session of the console, and let it last longer as it is used.

KEYS   1 session   STRING  when it ends at the latest (ms), a blank, what it is about
       2 sessions  ZSET    digest -> when it was used last (ms)
ARGV   1 now_us  "" = the server's clock
       2 idle_ms  until it ends if nobody uses it again; "" = it is only looked at
RETURN what it is about, or nil = there is no such session any more
ERRORS -
BOUND  6 calls, 16 KiB
]]
local session, sessions, idle_ms = KEYS[1], KEYS[2], tonumber(ARGV[2])
local found = redis.call("GET", session)
if not found then
  return false
end
local digest = string.match(session, "[^:]*$")
local _, now = require("lib.clock")(ARGV[1], true)
local ends_ms, about = string.match(found, "^(%d+) (.*)$")
local left_ms = (tonumber(ends_ms) or 0) - tonumber(now)
if left_ms <= 0 then
  redis.call("UNLINK", session)
  redis.call("ZREM", sessions, digest)
  return false
end
if idle_ms then
  redis.call("PEXPIRE", session, string.format("%.0f", math.min(idle_ms, left_ms)))
  redis.call("ZADD", sessions, now, digest)
end
return about
