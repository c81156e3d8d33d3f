#!lua flags=allow-oom
--[[
The handler of a suspect begins, so its receive counts (lib/ahead.lua): once, however often it is told.

KEYS   1 slot     STRING  the caller's call slot (lib/idempotency.lua)
       2 inflight ZSET    member -> visible again (ms * 1000) + receives of this delivery cycle
ALSO   meta again:NAME stats
ARGV   1 number       of the call; an "r" behind it: it is repeated
       2 now_us       "" = the server's clock
       3 extension_ms it stays invisible for this time from now
       4 member
       5 receives     of this delivery cycle, without this one
RETURN 1 | 0 the caller does not hold it any more
ERRORS -
BOUND  20 calls, 64 KiB
]]
return require("lib.idempotency").run(function()
  local inflight, member, receives = KEYS[1], ARGV[3], tonumber(ARGV[4])
  local score = require("lib.score")
  local at = require("lib.find_in_flight")(string.match(inflight, ".*:"), member)
  if not at or score.receives(at) ~= receives then
    return 0
  end
  local until_ms = math.ceil(require("lib.clock")(ARGV[1], true) / 1000) + ARGV[2]
  redis.call("ZADD", inflight, "XX", score.of(until_ms, receives + 1), member)
  return 1
end)
