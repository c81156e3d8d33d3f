#!lua flags=allow-oom
--[[
List sessions of the console, the one that was used last first. Those that have ended leave the list.

KEYS   1 sessions  ZSET  digest -> when it was used last (ms)
ALSO   sessions:DIGEST
ARGV   1 now_us  "" = the server's clock
       2 offset  sessions to skip
       3 limit   at most 250
RETURN {looked at, digest, used_ms, about, ...}; fewer looked at than `limit` = these were the last
ERRORS -
BOUND  510 calls, 1 MiB
]]
local sessions = KEYS[1]
local _, now = require("lib.clock")(ARGV[1], true)
local offset, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local found = redis.call("ZREVRANGE", sessions, offset, offset + limit - 1, "WITHSCORES")
local reply = {#found / 2}
for i = 1, #found, 2 do
  local ends_ms, about = string.match(redis.call("GET", sessions .. ":" .. found[i]) or "", "^(%d+) (.*)$")
  if (tonumber(ends_ms) or 0) > tonumber(now) then
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = found[i], found[i + 1], about
  else
    redis.call("ZREM", sessions, found[i])
  end
end
return reply
