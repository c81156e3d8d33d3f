#!lua flags=allow-oom
--[[
Delete rules for events, all of those named or none. Without any rule, nobody reads events.

KEYS   1 rules        HASH    name -> JSON
       2 events_read  STRING  id of the last event that rules have seen
ARGV   1... name
RETURN "", or the name of a rule that does not exist
ERRORS -
BOUND  300 calls, 16 KiB
]]
local rules, events_read = unpack(KEYS)
for _, name in ipairs(ARGV) do
  if redis.call("HEXISTS", rules, name) == 0 then
    return name
  end
end
for _, name in ipairs(ARGV) do
  redis.call("HDEL", rules, name)
end
if redis.call("HLEN", rules) == 0 then
  redis.call("UNLINK", events_read)
end
return ""
