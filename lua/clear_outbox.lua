#!lua flags=allow-oom
--[[
Third phase of moving messages to another hash slot: they have arrived, forget them here; or they cannot arrive, put
them back.

KEYS   1 outbox  LIST  batch id, destination, then key, group, record ...
       2 meta    HASH  attributes of the partition they were taken from
ARGV   1 batch
       2 back    "1" = put them back
       3 fifo    "1" = FIFO queues
RETURN 1 | 0 it was another batch
ERRORS -
]]
local outbox, meta = KEYS[1], KEYS[2]
if redis.call("LINDEX", outbox, "0") ~= ARGV[1] then
  return 0
end
if ARGV[2] == "1" then
  require("lib.transfer").put_back(meta, ARGV[3] == "1", redis.call("LRANGE", outbox, "2", "-1"))
end
redis.call("UNLINK", outbox)
return 1
