--[[
Read alarms with their states: those named, or a page of all.

KEYS   1 definitions  HASH    name -> JSON
       2 states       HASH    name -> JSON
       3 revision     STRING  counts changes of definitions
       4 evaluated    STRING  the last minute that was evaluated, a blank, JSON
ARGV   1 now_us    "" = the server's clock
       2 cursor    "0" = the first page; else what the last one said to go on with
       3... name   only these
RETURN {now_ms, revision, evaluated or "", cursor or "0", name, definition, state or "", ...}
ERRORS -
BOUND  20 calls, 4 MiB
]]
local definitions, states, revision, evaluated = unpack(KEYS)
local AT_ONCE = 50
local _, now = require("lib.clock")(ARGV[1], true)
local reply = {now, redis.call("GET", revision) or "0", redis.call("GET", evaluated) or "", "0"}
local names, found = {}, {}
if #ARGV > 2 then
  names = {unpack(ARGV, 3)}
  found = redis.call("HMGET", definitions, unpack(names))
else
  local page = redis.call("HSCAN", definitions, ARGV[2], "COUNT", AT_ONCE)
  reply[4] = page[1]
  for i = 1, #page[2], 2 do
    names[#names + 1], found[#found + 1] = page[2][i], page[2][i + 1]
  end
end
if #names > 0 then
  local their_states = redis.call("HMGET", states, unpack(names))
  for i, name in ipairs(names) do
    if found[i] then
      reply[#reply + 1] = name
      reply[#reply + 1] = found[i]
      reply[#reply + 1] = their_states[i] or ""
    end
  end
end
return reply
