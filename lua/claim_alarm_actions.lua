#!lua flags=allow-oom
--[[
Take actions that are due, so that nobody else does them for a while; or put them off.

KEYS   1 outbox      HASH  id -> action to be done, JSON
       2 outbox_due  ZSET  id -> when it is due (ms)
ARGV   1 now_us  "" = the server's clock
       2... id, ms  of up to 100 actions, and for how long each
RETURN {1 or 0, ...}: of each, 0 = it is not due (any more), somebody else took it
ERRORS -
BOUND  410 calls, 16 KiB
]]
local outbox, outbox_due = unpack(KEYS)
local _, now = require("lib.clock")(ARGV[1], true)
local reply = {}
for i = 2, #ARGV, 2 do
  local id, ms = ARGV[i], ARGV[i + 1]
  local due = redis.call("ZSCORE", outbox_due, id)
  local taken = 0
  if due and tonumber(due) <= tonumber(now) then
    if redis.call("HEXISTS", outbox, id) == 1 then
      redis.call("ZADD", outbox_due, string.format("%d", now + ms), id)
      taken = 1
    else
      redis.call("ZREM", outbox_due, id)
    end
  end
  reply[#reply + 1] = taken
end
return reply
