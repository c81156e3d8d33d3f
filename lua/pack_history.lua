#!lua flags=allow-oom
--[[
Replace the rows of an hour by what they were packed into. Nothing happens if another sampler did so.

KEYS   1 history       LIST  rows (append_history.lua)
       2 history_hours HASH  hour -> packed rows
ARGV   1 hour    since 1970
       2 packed
       3 oldest  hour that is kept
       4 first   row of the hour
       5 rows    how many it has
RETURN 1 done | 0 they are not there any more
ERRORS -
BOUND  20 calls, 128 KiB
]]
local history, hours = KEYS[1], KEYS[2]
if redis.call("LINDEX", history, "0") ~= ARGV[4] then
  return 0
end
redis.call("LTRIM", history, ARGV[5], "-1")
redis.call("HSET", hours, ARGV[1], ARGV[2])
redis.call("PEXPIRE", hours, "1296000000")
local old, oldest = {}, tonumber(ARGV[3])
for _, hour in ipairs(redis.call("HKEYS", hours)) do
  if (tonumber(hour) or 0) < oldest then
    old[#old + 1] = hour
  end
end
if #old > 0 then
  redis.call("HDEL", hours, unpack(old))
end
return 1
