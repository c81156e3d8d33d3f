#!lua flags=allow-oom
--[[
Say what became of an action: it is done or given up, or it is to be tried again.

KEYS   1 outbox         HASH  id -> action to be done, JSON
       2 outbox_due     ZSET  id -> when it is due (ms)
       3 histories      ZSET  name -> when the last entry was made (ms)
       4 history        LIST  entries of its alarm or rule
       5 action_counts  HASH  outcome -> how many attempts had it, outcome_at -> when the last one (ms)
ARGV   1 id
       2 due_ms  when to try again, "" = it is over
       3 action  JSON, to be tried again
       4 name    of the alarm or rule
       5 at_ms
       6 entry   of the history, JSON; "" = none
       7 outcome  "done", "failed" or "given_up"
RETURN 1, or 0 = somebody else had settled it
ERRORS -
BOUND  40 calls, 64 KiB
]]
local outbox, outbox_due, histories, history, action_counts = unpack(KEYS)
local id, due, action, name, at, entry, outcome = unpack(ARGV)
if redis.call("HEXISTS", outbox, id) == 0 then
  redis.call("ZREM", outbox_due, id)
  return 0
end
if due == "" then
  redis.call("HDEL", outbox, id)
  redis.call("ZREM", outbox_due, id)
else
  redis.call("HSET", outbox, id, action)
  redis.call("ZADD", outbox_due, due, id)
end
redis.call("HINCRBY", action_counts, outcome, "1")
redis.call("HSET", action_counts, outcome .. "_at", at)
if entry ~= "" then
  require("lib.alarm_history")(histories, history, name, at, entry)
end
return 1
