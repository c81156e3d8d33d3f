--[[
Read the actions that are due.

KEYS   1 outbox      HASH  id -> action to be done, JSON
       2 outbox_due  ZSET  id -> when it is due (ms)
ARGV   1 now_us  "" = the server's clock
       2 count   how many at most
RETURN {now_ms, length, next_ms or "", id, action, ...}: how many there are in all, and when the next one that is not
       read is due
ERRORS -
BOUND  10 calls, 1 MiB
]]
local outbox, outbox_due = unpack(KEYS)
local _, now = require("lib.clock")(ARGV[1], true)
local ids = redis.call("ZRANGEBYSCORE", outbox_due, "-inf", now, "LIMIT", "0", ARGV[2])
local following = redis.call("ZRANGE", outbox_due, #ids, #ids, "WITHSCORES")
local reply = {now, redis.call("ZCARD", outbox_due), following[2] or ""}
if #ids > 0 then
  for i, action in ipairs(redis.call("HMGET", outbox, unpack(ids))) do
    reply[#reply + 1] = ids[i]
    reply[#reply + 1] = action or ""
  end
end
return reply
