#!lua flags=allow-oom
--[[
Say that all alarms were evaluated for a minute.

KEYS   1 evaluated  STRING  the last minute that was evaluated, a blank, JSON
ARGV   1 minute
       2 about  JSON: when, by whom
RETURN 1, or 0 = a later one was evaluated already
ERRORS -
BOUND  2 calls, 16 KiB
]]
local last = tonumber(string.match(redis.call("GET", KEYS[1]) or "", "^%d+"))
if last and last > tonumber(ARGV[1]) and last <= ARGV[1] + 60 then -- else the clock was put back
  return 0
end
redis.call("SET", KEYS[1], ARGV[1] .. " " .. ARGV[2])
return 1
