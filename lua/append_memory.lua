#!lua flags=allow-oom
--[[
Append to the history of the memory of the server, once a minute: two samplers do no harm.

KEYS   1 memory  LIST  of each minute: its number since 1970, KiB used, KiB there are, share of the fullest server in
                       hundredths of a per cent
ARGV   1 now_us  "" = the server's clock
       2 used    KiB
       3 limit   KiB
       4 share
RETURN 1, or 0 = this minute has been sampled
ERRORS -
BOUND  5 calls, 16 KiB
]]
local memory = KEYS[1]
local _, now = require("lib.clock")(ARGV[1], true)
local MOST, KEPT_MS = 20160, 1296000000 -- minutes of 14 days; 15 days
local minute = math.floor(tonumber(now) / 60000)
local last = tonumber(string.match(redis.call("LINDEX", memory, "-1") or "", "^%d+"))
if last and last >= minute and last <= minute + 60 then -- else the clock was put back
  return 0
end
redis.call("RPUSH", memory, string.format("%d %s %s %s", minute, ARGV[2], ARGV[3], ARGV[4]))
redis.call("LTRIM", memory, -MOST, "-1")
redis.call("PEXPIRE", memory, KEPT_MS)
return 1
