--[[
A queue becomes (or ceases to be) the dead-letter queue of another: remember the source and the hash tags under which
its dead letters will be. Run on the dead-letter queue's home partition.

KEYS   1 meta     HASH  queue attributes
       2 shards   SET   hash tags of the dead letters' partitions
       3 sources  SET   queues whose redrive policy names this one
ARGV   1 source  queue name, "" = only tags
       2 detach  "1" = the source names this queue no more
       3 before  how many partitions there were before more were added, while groups may be in their old places; "0" =
                 they are not any more; "" = as it is
       4... hash tags
RETURN {field, value, ...}: the attributes, to be copied to the shards
ERRORS QUEUE_NOT_FOUND
]]
local meta, shards, sources = unpack(KEYS)
local state = redis.call("HMGET", meta, "created_us", "deleting")
if not state[1] or state[2] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if ARGV[2] == "1" then
  redis.call("SREM", sources, ARGV[1])
elseif ARGV[1] ~= "" then
  redis.call("SADD", sources, ARGV[1])
end
local own = string.match(meta, "{(.-)}")
local topology = redis.call("HGET", meta, "topology") or ""
local before = ARGV[3] ~= "" and ARGV[3] or string.match(topology, "^%d+:%d+:(%d+)$") or "0"
local added = 0
for i = 4, #ARGV do
  if ARGV[i] ~= own then
    added = added + redis.call("SADD", shards, ARGV[i])
  end
end
if added > 0 or ARGV[3] ~= "" then -- no two lives of a queue share a topology
  local new = state[1] .. ":" .. redis.call("SCARD", shards) .. (before ~= "0" and ":" .. before or "")
  redis.call("HSET", meta, "topology", new)
end
return redis.call("HGETALL", meta)
