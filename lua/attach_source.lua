--[[
A queue becomes (or ceases to be) the dead-letter queue of another: remember the source and the hash tags under which
its dead letters will be. Or it gets more partitions: remember their hash tags. Run on the queue's home partition.

KEYS   1 meta     HASH  queue attributes
       2 shards   SET   hash tags of the other partitions: its own, and those of its dead letters
       3 sources  SET   queues whose redrive policy names this one
ARGV   1 source  queue name, "" = only tags
       2 detach  "1" = the source names this queue no more
       3 partition_state  "" or how many partitions of its own it has: COUNT, or COUNT/BEFORE while there may be groups in their
                 old places. An earlier state than the present one changes nothing; neither does one whose BEFORE is not
                 the present COUNT
       4... hash tags
RETURN {field, value, ...}: the attributes, to be copied to the shards; `partition_state` tells the state there is
ERRORS QUEUE_NOT_FOUND
BOUND  1100 calls, 256 KiB
]]
local meta, shards, sources = unpack(KEYS)
local state = redis.call("HMGET", meta, "created_us", "deleting", "partition_state", "partition")
if not state[1] or state[2] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if ARGV[2] == "1" then
  redis.call("SREM", sources, ARGV[1])
elseif ARGV[1] ~= "" then
  redis.call("SADD", sources, ARGV[1])
end
local partition_state, is_news = state[3], false
if ARGV[3] ~= "" and partition_state ~= ARGV[3] then
  local before = string.match(ARGV[3], "/(.*)$")
  -- a queue that is being created says the count in `partition` from its first moment on
  local present = partition_state or string.match(state[4] or "0/1", "/(.*)$")
  if before and not string.find(meta, "%.fifo:meta$") then -- a standard queue may grow again before it has settled
    present = string.match(present, "^%d+")
  end
  if before and present ~= before or not before and not partition_state and present ~= ARGV[3]
    or not require("lib.resharding")(ARGV[3], partition_state) then
    return redis.call("HGETALL", meta)
  end
  partition_state, is_news = ARGV[3], true
  redis.call("HSET", meta, "partition_state", partition_state, "Partitions", string.match(partition_state, "^%d+"))
end
local own = string.match(meta, "{(.-)}")
local added = 0
for i = 4, #ARGV do
  if ARGV[i] ~= own then
    added = added + redis.call("SADD", shards, ARGV[i])
  end
end
if added > 0 or is_news then -- no two lives of a queue share a topology
  local before = string.match(partition_state or "", "/.*$") or "/0"
  redis.call("HSET", meta, "topology", state[1] .. ":" .. redis.call("SCARD", shards) .. ":" .. string.sub(before, 2))
end
return redis.call("HGETALL", meta)
