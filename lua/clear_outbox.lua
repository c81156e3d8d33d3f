#!lua flags=allow-oom
--[[
Third phase of moving messages to another hash slot: they have arrived, forget them here; or they cannot arrive, put
them back. Its batch id and destination remain until the destination has forgotten the hand-over (end_handover.lua).

KEYS   1 outbox  LIST  batch id, destination, then key, group, record, past ...
       2 meta    HASH  attributes of the partition they were taken from
ALSO   ready store group:NAME again:NAME fair_ring available inflight state delayed postponed paused moved wakeups
       stats timeline
ARGV   1 batch
       2 what    "arrived", "back" = put them back, "end" = what remained goes
       3 fifo    "1" = FIFO queues
RETURN 1 | 0 it was another batch
ERRORS QUEUE_DAMAGED
BOUND  1000 calls, 4 MiB
]]
local outbox, meta = KEYS[1], KEYS[2]
local batch, what, is_fifo = ARGV[1], ARGV[2], ARGV[3] == "1"
if redis.call("LINDEX", outbox, "0") ~= batch then
  return 0
end
if what == "end" then
  redis.call("UNLINK", outbox)
  return 1
elseif what == "back" then
  require("lib.transfer").put_back(string.match(meta, ".*:"), is_fifo, redis.call("LRANGE", outbox, "2", "-1"))
end
redis.call("LTRIM", outbox, "0", "1")
return 1
