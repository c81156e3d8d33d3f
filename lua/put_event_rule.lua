--[[
Create a rule for events, or replace it. With the first one, events are read from now on.

KEYS   1 rules        HASH    name -> JSON
       2 events_read  STRING  id of the last event that rules have seen
ARGV   1 name
       2 rule   JSON
       3 place  before the events that it is to see: an id
       4 most   how many rules there may be
RETURN 1, or -1 = there are too many rules
ERRORS -
BOUND  6 calls, 64 KiB
]]
local rules, events_read = unpack(KEYS)
local name, rule, place, most = unpack(ARGV)
local count = redis.call("HLEN", rules)
if count >= tonumber(most) and redis.call("HEXISTS", rules, name) == 0 then
  return -1
end
if count == 0 or redis.call("EXISTS", events_read) == 0 then
  redis.call("SET", events_read, place)
end
redis.call("HSET", rules, name, rule)
return 1
