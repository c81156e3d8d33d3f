--[[
Read the sets that tie a queue to others: the hash tags of its dead letters' shards and its sources.

KEYS   1 meta     HASH  queue attributes
       2 shards   SET   hash tags
       3 sources  SET   queue names
ARGV   -
RETURN {topology, {tag ...}, {source ...}}
ERRORS QUEUE_NOT_FOUND
BOUND  4 calls, 4 MiB
]]
local topology = redis.call("HGET", KEYS[1], "topology")
if not topology and redis.call("EXISTS", KEYS[1]) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. KEYS[1])
end
return {topology or "", redis.call("SMEMBERS", KEYS[2]), redis.call("SMEMBERS", KEYS[3])}
