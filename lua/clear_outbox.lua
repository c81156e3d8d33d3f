#!lua flags=allow-oom
--[[
Third phase of moving messages to another hash slot: they have arrived, forget them here.

KEYS   1 outbox  LIST  batch id, destination, then group, record ...
ARGV   1 batch
RETURN 1 | 0 it was another batch
ERRORS -
]]
if redis.call("LINDEX", KEYS[1], "0") ~= ARGV[1] then
  return 0
end
redis.call("UNLINK", KEYS[1])
return 1
