--[[
Read the sets that tie a queue to others: the hash tags of its dead letters' shards and its sources.

KEYS   1 meta     HASH  queue attributes
       2 shards   SET   hash tags
       3 sources  SET   queue names
ARGV   -
RETURN {topology, {tag ...}, {source ...}}
ERRORS QUEUE_NOT_FOUND
BOUND  3 calls, 4 MiB
]]
local state = redis.call("HMGET", KEYS[1], "created_us", "topology")
if not state[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. KEYS[1])
end
return {state[2] or "", redis.call("SMEMBERS", KEYS[2]), redis.call("SMEMBERS", KEYS[3])}
