#!lua flags=allow-oom
--[[
Count receives that found nothing and ended without a last call, as their wait was over. All others are counted where
they end (lib/wakeups.lua).

KEYS   1 slot   STRING  the caller's call slot (lib/idempotency.lua)
       2 meta   HASH    queue attributes
       3 stats  HASH    lib/counting.lua
ARGV   1 number  of the call; an "r" behind it: it is repeated
       2 count   how many
RETURN 1 done | 0 there is no such queue
ERRORS -
BOUND  5 calls, 1 KiB
]]
return require("lib.idempotency").run(function()
  local meta, stats = unpack(KEYS)
  if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
    return 0
  end
  redis.pcall("HINCRBY", stats, "empty", ARGV[1])
  return 1
end)
