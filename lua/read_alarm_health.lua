--[[
Read whether somebody evaluates alarms, and does their actions.

KEYS   1 definitions    HASH    name -> JSON
       2 evaluated      STRING  the last minute that was evaluated, a blank, JSON
       3 outbox_due     ZSET    id -> when it is due (ms)
       4 action_counts  HASH    outcome -> how many attempts had it, outcome_at -> when the last one (ms)
       5 rules          HASH    name -> JSON: a rule for events
ARGV   1 now_us  "" = the server's clock
RETURN {now_ms, alarms, rules, evaluated or "", actions that wait, when the first of them is due (ms) or "",
       field, value, ...}
ERRORS -
BOUND  10 calls, 64 KiB
]]
local definitions, evaluated, outbox_due, action_counts, rules = unpack(KEYS)
local _, now = require("lib.clock")(ARGV[1], true)
local first = redis.call("ZRANGE", outbox_due, "0", "0", "WITHSCORES")
return {
  now,
  redis.call("HLEN", definitions),
  redis.call("HLEN", rules),
  redis.call("GET", evaluated) or "",
  redis.call("ZCARD", outbox_due),
  first[2] or "",
  unpack(redis.call("HGETALL", action_counts)),
}
