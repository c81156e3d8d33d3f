#!lua flags=allow-oom
--[[
Count receives that found nothing and ended without a last call, as their wait was over. All others are counted where
they end (lib/wakeups.lua).

KEYS   1 meta   HASH  queue attributes
       2 stats  HASH  lib/counting.lua
ARGV   1 number  how many; may be negative
RETURN 1 done | 0 there is no such queue
ERRORS -
BOUND  2 calls, 1 KiB
]]
if redis.call("HEXISTS", KEYS[1], "VisibilityTimeout") == 0 then
  return 0
end
redis.pcall("HINCRBY", KEYS[2], "empty", ARGV[1])
return 1
