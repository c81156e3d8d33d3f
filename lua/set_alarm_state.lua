#!lua flags=allow-oom
--[[
Give an alarm another state, if nobody else did meanwhile: state, history and actions in one step. So each transition
happens once, and has its actions, whoever evaluates.

KEYS   1 definitions  HASH    name -> JSON
       2 states       HASH    name -> JSON
       3 evaluated    STRING  the last minute that was evaluated, a blank, JSON
       4 histories    ZSET    name -> when the last entry was made (ms)
       5 history      LIST    entries of this alarm
       6 outbox       HASH    id -> action to be done, JSON
       7 outbox_due   ZSET    id -> when it is due (ms)
ARGV   1 name
       2 minute      that was evaluated, "" = it was set by hand or by an alarm
       3 definition  by which it was evaluated
       4 before      the state that was there
       5 state       JSON
       6 at_ms
       7 entry       of the history, JSON; "" = none, as the value is the same
       8 full        entry of the history if the outbox is full, JSON
       9... id, action  JSON
RETURN 1, or 0 = the alarm is another one by now, or its state, or the minute was evaluated
ERRORS -
BOUND  90 calls, 64 KiB
]]
local definitions, states, evaluated, histories, history, outbox, outbox_due = unpack(KEYS)
local name, minute, definition, before, state, at, entry, full = unpack(ARGV)
local MOST = 10000 -- actions that nobody does
if redis.call("HGET", definitions, name) ~= definition or (redis.call("HGET", states, name) or "") ~= before then
  return 0
end
local last = minute ~= "" and tonumber(string.match(redis.call("GET", evaluated) or "", "^%d+"))
if last and last >= tonumber(minute) and last <= minute + 60 then -- else the clock was put back
  return 0
end
redis.call("HSET", states, name, state)
local append = require("lib.alarm_history")
if entry ~= "" then
  append(histories, history, name, at, entry)
end
if #ARGV > 8 and redis.call("HLEN", outbox) >= MOST then
  append(histories, history, name, at, full)
  return 1
end
for i = 9, #ARGV, 2 do
  redis.call("HSET", outbox, ARGV[i], ARGV[i + 1])
  redis.call("ZADD", outbox_due, at, ARGV[i])
end
return 1
