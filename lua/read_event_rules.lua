--[[
Read all rules for events, and how far they have seen events.

KEYS   1 rules        HASH    name -> JSON
       2 events_read  STRING  id of the last event that rules have seen
ARGV   1 now_us  "" = the server's clock
RETURN {now_ms, id or "", name, rule ...}
ERRORS -
BOUND  4 calls, 2 MiB
]]
local rules, events_read = unpack(KEYS)
local _, now = require("lib.clock")(ARGV[1], true)
local reply = redis.call("HGETALL", rules)
table.insert(reply, 1, redis.call("GET", events_read) or "")
table.insert(reply, 1, tonumber(now))
return reply
